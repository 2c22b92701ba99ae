typedef struct ssl_ctx SSL_CTX;
typedef unsigned long size_t;
typedef enum { CURLOPT_URL = 10002, CURLOPT_SSL_VERIFYPEER = 64, CURLOPT_SSL_VERIFYHOST = 81, CURLOPT_PROXY_SSL_VERIFYPEER = 248 } CURLoption;
const void *EVP_md5(void), *EVP_sha1(void), *EVP_sha256(void), *EVP_des_cbc(void), *EVP_rc4(void), *EVP_aes_128_ecb(void), *EVP_aes_128_gcm(void);
const void *EVP_get_digestbyname(const char *), *EVP_CIPHER_fetch(void *, const char *, const char *);
void SSL_CTX_set_verify(SSL_CTX *, int, void *);
void SSL_CTX_set_cert_verify_callback(SSL_CTX *, int (*)(void), void *);
int accept_anything(void), check_chain(void);
int curl_easy_setopt(void *, CURLoption, ...);
int EVP_VerifyFinal(void *, const unsigned char *, unsigned, void *);
int EVP_EncryptInit_ex(void *, const void *, void *, const unsigned char *, const unsigned char *);
int PKCS5_PBKDF2_HMAC(const char *, int, const unsigned char *, int, int, const void *, int, unsigned char *);
int RSA_generate_key_ex(void *, int, void *, void *);
int rand(void);
void srand(unsigned), srandom(unsigned);
long time(long *);
int memcmp(const void *, const void *, size_t), CRYPTO_memcmp(const void *, const void *, size_t);
char *crypt(const char *, const char *);
void use(const void *);
extern int wanted;

void bad(SSL_CTX *ctx, void *h, unsigned char *sig, unsigned char *key, unsigned char *salt, const unsigned char *mac, unsigned char *out)
{
	unsigned char expected_mac[32];
	int token;

	use(EVP_md5());                                         // want "weak-hash"
	use(EVP_sha1());                                        // want "weak-hash"
	use(EVP_get_digestbyname("MD5"));                       // want "weak-hash: MD5"
	use(EVP_des_cbc());                                     // want "weak-cipher"
	use(EVP_rc4());                                         // want "weak-cipher"
	use(EVP_CIPHER_fetch(0, "DES-EDE3-CBC", 0));            // want "weak-cipher"
	use(EVP_aes_128_ecb());                                 // want "ecb-mode"
	use(EVP_CIPHER_fetch(0, "AES-256-ECB", 0));             // want "ecb-mode"
	SSL_CTX_set_verify(ctx, 0x00, 0);                       // want "certificate-not-verified"
	SSL_CTX_set_cert_verify_callback(ctx, accept_anything, 0); // want "certificate-not-verified"
	curl_easy_setopt(h, CURLOPT_SSL_VERIFYPEER, 0L);        // want "curl-not-verified: CURLOPT_SSL_VERIFYPEER"
	curl_easy_setopt(h, CURLOPT_SSL_VERIFYHOST, 1L);        // want "curl-not-verified"
	({ CURLoption _opt = (CURLOPT_PROXY_SSL_VERIFYPEER); curl_easy_setopt(h, _opt, 0L); }); // want "curl-not-verified: CURLOPT_PROXY_SSL_VERIFYPEER"
	if (!EVP_VerifyFinal(h, sig, 64, h))                    // want "verify-result-as-boolean"
		return;
	if (EVP_VerifyFinal(h, sig, 64, h))                     // want "verify-result-as-boolean"
		wanted = 1;
	wanted = EVP_EncryptInit_ex(h, 0, 0, (const unsigned char *)"0123456789abcdef", 0); // want "constant-key"
	wanted = EVP_EncryptInit_ex(h, 0, 0, key, (const unsigned char *)"0000000000000000"); // want "constant-iv"
	wanted = PKCS5_PBKDF2_HMAC("x", 1, salt, 16, 1000, 0, 32, out); // want "few-iterations"
	wanted = RSA_generate_key_ex(h, 1024, h, 0);            // want "short-key: .*1024" "openssl-low-level-rsa"
	token = rand() % 1000;                                  // want "guessable-random"
	srand(time(0));                                         // want "time-seed"
	wanted = token;
	wanted = memcmp(mac, expected_mac, 32);                 // want "timing-compare"
	use(crypt("a", "b"));                                   // want "weak-password-hash"
}

void good(SSL_CTX *ctx, void *h, unsigned char *sig, unsigned char *key, unsigned char *iv, unsigned char *salt, const unsigned char *mac, unsigned char *out)
{
	unsigned char expected_mac[32];
	int jitter;

	use(EVP_sha256());
	use(EVP_get_digestbyname("SHA256"));
	use(EVP_aes_128_gcm());
	use(EVP_CIPHER_fetch(0, "AES-256-GCM", 0));
	SSL_CTX_set_verify(ctx, 0x01, 0);
	SSL_CTX_set_verify(ctx, wanted, 0);
	SSL_CTX_set_cert_verify_callback(ctx, check_chain, 0);
	curl_easy_setopt(h, CURLOPT_SSL_VERIFYPEER, 1L);
	curl_easy_setopt(h, CURLOPT_SSL_VERIFYHOST, 2L);
	curl_easy_setopt(h, CURLOPT_URL, 0L);
	if (EVP_VerifyFinal(h, sig, 64, h) != 1)
		return;
	wanted = EVP_EncryptInit_ex(h, 0, 0, key, iv);
	wanted = PKCS5_PBKDF2_HMAC("x", 1, salt, 16, 600000, 0, 32, out);
	jitter = rand() % 1000;
	srand(wanted);
	wanted = jitter;
	wanted = CRYPTO_memcmp(mac, expected_mac, 32);
	wanted = memcmp(salt, "x", 1);
}
