typedef struct ssl_ctx SSL_CTX;
typedef struct md_ctx EVP_MD_CTX;
typedef struct method SSL_METHOD;
int SSL_library_init(void), OPENSSL_init_ssl(unsigned long, void *);
SSL_METHOD *SSLv3_method(void), *TLSv1_1_client_method(void), *SSLv23_method(void), *TLSv1_2_server_method(void), *TLS_method(void);
EVP_MD_CTX *EVP_MD_CTX_create(void), *EVP_MD_CTX_new(void);
int SHA256_Init(void *), AES_set_encrypt_key(const unsigned char *, int, void *), AES_cbc_encrypt(void);
void *RSA_new(void), *DSA_new(void), *DH_new(void), *EC_KEY_new_by_curve_name(int), *HMAC_CTX_new(void);
int RSA_public_encrypt(void), DH_compute_key(void), ECDSA_do_sign(void), HMAC_Init_ex(void *, void *, int, void *, void *);
void ENGINE_load_builtin_engines(void), CRYPTO_set_locking_callback(void *), ERR_remove_state(unsigned long);
unsigned long ERR_get_error_line(const char **, int *), ERR_get_error(void);
int RAND_pseudo_bytes(unsigned char *, int), RAND_bytes(unsigned char *, int);
const unsigned char *ASN1_STRING_data(void *), *ASN1_STRING_get0_data(void *);
long SSLeay(void);
void SSL_CTX_set_tmp_dh_callback(SSL_CTX *, void *);
void use(void *);
extern int wanted;

void bad(SSL_CTX *ctx, unsigned char *buf, void *data)
{
	SSL_library_init();                        // want "openssl-init: SSL_library_init"
	use(SSLv3_method());                       // want "openssl-old-protocol"
	use(TLSv1_1_client_method());              // want "openssl-old-protocol"
	use(SSLv23_method());                      // want "openssl-fixed-protocol"
	use(TLSv1_2_server_method());              // want "openssl-fixed-protocol"
	use(EVP_MD_CTX_create());                  // want "openssl-context-alloc"
	SHA256_Init(data);                         // want "openssl-low-level-digest"
	AES_set_encrypt_key(buf, 128, data);       // want "openssl-low-level-cipher"
	AES_cbc_encrypt();                         // want "openssl-low-level-cipher"
	use(RSA_new());                            // want "openssl-low-level-rsa"
	RSA_public_encrypt();                      // want "openssl-low-level-rsa"
	use(DSA_new());                            // want "openssl-low-level-dsa"
	use(DH_new());                             // want "openssl-low-level-dh"
	DH_compute_key();                          // want "openssl-low-level-dh"
	use(EC_KEY_new_by_curve_name(1));          // want "openssl-low-level-ec"
	ECDSA_do_sign();                           // want "openssl-low-level-ec"
	use(HMAC_CTX_new());                       // want "openssl-low-level-mac"
	ENGINE_load_builtin_engines();             // want "openssl-engine"
	CRYPTO_set_locking_callback(data);         // want "openssl-threads"
	ERR_get_error_line(0, 0);                  // want "openssl-error-queue"
	ERR_remove_state(0);                       // want "openssl-error-queue"
	wanted = RAND_pseudo_bytes(buf, 16);       // want "openssl-pseudo-random"
	use((void *)ASN1_STRING_data(data));       // want "openssl-accessor"
	wanted = (int)SSLeay();                    // want "openssl-version"
	SSL_CTX_set_tmp_dh_callback(ctx, data);    // want "openssl-temporary-keys"
}

void good(SSL_CTX *ctx, unsigned char *buf, void *data)
{
	OPENSSL_init_ssl(0, 0);
	use(TLS_method());
	use(EVP_MD_CTX_new());
	ERR_get_error();
	use((void *)ASN1_STRING_get0_data(data));
	if (RAND_bytes(buf, 16) != 1)
		return;
}
