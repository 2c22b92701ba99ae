typedef unsigned long size_t;
int setuid(unsigned), setgid(unsigned), chroot(const char *), chdir(const char *), fchmod(int, unsigned), chmod(const char *, unsigned), mkdir(const char *, unsigned);
int open(const char *, int, ...);
unsigned umask(unsigned);
long getrandom(void *, size_t, unsigned);
int RAND_bytes(unsigned char *, int);
long SSL_get_verify_result(const void *);
int X509_verify_cert(void *);
void use(int);
extern int wanted;

void bad(unsigned char *buf, void *ssl)
{
	setuid(1000);                        // want "privileges-unchecked"
	(void)setgid(1000);                  // want "privileges-unchecked"
	chroot("/var/empty");                // want "privileges-unchecked" "chroot-without-chdir"
	RAND_bytes(buf, 16);                 // want "random-unchecked"
	getrandom(buf, 16, 0);               // want "random-unchecked"
	SSL_get_verify_result(ssl);          // want "verification-unchecked"
	X509_verify_cert(ssl);               // want "verification-unchecked"
	fchmod(3, 0644);                     // want "resource-unchecked"
	wanted = chmod("/tmp/x", 0777);      // want "world-writable: .*0777"
	wanted = open("/tmp/x", 0101, 0666); // want "world-writable"
	umask(0);                            // want "umask-zero"
}

int good(unsigned char *buf, void *ssl)
{
	if (setgid(1000) != 0 || setuid(1000) != 0)
		return 1;
	if (chroot("/var/empty") != 0 || chdir("/") != 0)
		return 1;
	if (RAND_bytes(buf, 16) != 1 || getrandom(buf, 16, 0) != 16)
		return 1;
	if (SSL_get_verify_result(ssl) != 0)
		return 1;
	wanted = chmod("/tmp/x", 0640);
	wanted = mkdir("/tmp/x", 01777);
	wanted = open("/tmp/x", 0101, 0600);
	use(umask(022));
	return 0;
}
