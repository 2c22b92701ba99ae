typedef unsigned long size_t;
typedef struct file FILE;
extern FILE *stderr;
char *gets(char *), *getwd(char *), *mktemp(char *), *gettext(const char *);
int sprintf(char *, const char *, ...), snprintf(char *, size_t, const char *, ...), printf(const char *, ...), fprintf(FILE *, const char *, ...);
char *strcpy(char *, const char *), *strcat(char *, const char *), *strncpy(char *, const char *, size_t), *strncat(char *, const char *, size_t);
int sscanf(const char *, const char *, ...);
int system(const char *);
FILE *popen(const char *, const char *), *fopen(const char *, const char *);
int execl(const char *, const char *, ...), execvp(const char *, char **), execv(const char *, char **);
int access(const char *, int), open(const char *, int, ...), mkstemp(char *);
void *gethostbyname(const char *);
void bzero(void *, size_t);
void use(const void *);
extern int wanted;
static const char fixed_format[] = "%d\n";

void bad(char *dst, const char *src, const char *fmt, const char *cmd, char **argv)
{
	char buf[16], name[8];

	gets(buf);                                  // want "gets: gets"
	use(getwd(buf));                            // want "getwd"
	sprintf(buf, "%s", src);                    // want "sprintf-fixed: .*16 bytes"
	sprintf(buf, fmt, 1);                       // want "sprintf-fixed" "format-not-constant"
	sprintf(buf, "%s.%d", buf, 1);              // want "sprintf-fixed" "sprintf-overlap"
	strcpy(buf, src);                           // want "strcpy: strcpy has no bound"
	strcpy(name, "longer than eight");          // want "strcpy: .*18 bytes into 8"
	strcat(dst, src);                           // want "strcat: strcat has no bound"
	strncpy(name, src, sizeof name);            // want "strncpy-unterminated"
	strncat(buf, src, sizeof(buf));             // want "strncat-size"
	sscanf(src, "%d %s", &wanted, buf);         // want "scanf-width"
	sscanf(src, "%[a-z]", buf);                 // want "scanf-width"
	printf(src);                                // want "format-not-constant"
	fprintf(stderr, wanted ? "a" : src);        // want "format-not-constant"
	system(cmd);                                // want "command-not-constant"
	use(popen(cmd, "r"));                       // want "command-not-constant"
	execl("/bin/sh", "sh", "-c", cmd, (char *)0); // want "command-not-constant"
	execvp("ls", argv);                         // want "exec-path"
	system("ls -l");                            // want "exec-path"
	use(mktemp(buf));                           // want "temporary-name"
	use(gethostbyname(src));                    // want "obsolete-call"
	bzero(dst, 8);                              // want "obsolete-call"
	if (access(src, 4) == 0)
		wanted = open(src, 0);              // want "access-then-open"
}

void good(char *dst, const char *src, const char *other, char **argv)
{
	char buf[16], name[8];
	const char *format = "%s\n";

	snprintf(buf, sizeof buf, "%s", src);
	sprintf(buf, "%.10s", src);
	sprintf(buf, "%d", wanted);
	strcpy(buf, "short");
	strncpy(name, src, sizeof name - 1);
	name[sizeof name - 1] = 0;
	strncpy(buf, src, sizeof buf);
	buf[15] = '\0';
	strncat(buf, src, sizeof buf - 6);
	sscanf(src, "%7s %*s", name);
	printf("%s", src);
	printf(format, src);
	printf(fixed_format, 1);
	printf(gettext("%s"), src);
	printf(wanted ? "%d" : "%x", wanted);
	system("/bin/true");
	execv("/bin/ls", argv);
	use(&buf);
	if (access(src, 4) == 0)
		wanted = open(other, 0);
}
