package ast

// systemRules are calls whose failure, or whose permissions, matter.
var systemRules = []*Rule{
	{"privileges-unchecked", "A drop of privileges that failed goes on with all of them.", 273, High,
		unchecked("setuid", "setgid", "seteuid", "setegid", "setreuid", "setregid", "setresuid", "setresgid", "setgroups", "initgroups", "chroot", "capset", "cap_set_proc", "prctl")},
	{"random-unchecked", "Bytes that were not filled in are no secret.", 252, High,
		unchecked("RAND_bytes", "RAND_priv_bytes", "RAND_bytes_ex", "getrandom", "getentropy", "gnutls_rnd", "mbedtls_ctr_drbg_random", "wc_RNG_GenerateBlock", "BN_rand", "BN_rand_range")},
	{"verification-unchecked", "A verification whose result nobody takes verifies nothing.", 252, High,
		unchecked("SSL_get_verify_result", "X509_verify_cert", "X509_verify", "EVP_VerifyFinal", "EVP_DigestVerifyFinal", "EVP_DigestVerify", "EVP_PKEY_verify", "EVP_DecryptFinal_ex", "EVP_DecryptFinal",
			"EVP_OpenFinal", "RSA_verify", "DSA_verify", "ECDSA_verify", "PKCS7_verify", "CMS_verify", "OCSP_basic_verify", "X509_check_host", "CRYPTO_memcmp", "SSL_CTX_load_verify_locations", "SSL_set1_host", "gnutls_certificate_verify_peers2")},
	{"resource-unchecked", "What was to be set is not set when the call fails.", 252, Low,
		unchecked("fchmod", "fchown", "chown", "lchown", "setrlimit", "ftruncate", "pthread_mutex_init", "sem_init", "mlock", "SSL_CTX_use_PrivateKey_file", "SSL_CTX_use_certificate_file", "SSL_CTX_set_cipher_list")},
	{"world-writable", "Everybody may write what is made with these permissions.", 732, High, worldWritable},
	{"umask-zero", "Files made from here on may be written by everybody.", 732, Medium, umaskZero},
	{"chroot-without-chdir", "A process that stays outside its new root can leave it.", 243, High, chrootWithoutChdir},
}

// unchecked flags calls whose result is thrown away.
func unchecked(names ...string) func(*Pass) {
	return func(p *Pass) {
		for _, c := range p.calls(names...) {
			if c.discarded {
				p.Reportf(c.node, "the result of %s is not looked at", c.name)
			}
		}
	}
}

func worldWritable(p *Pass) {
	at := map[string]int{"chmod": 1, "fchmod": 1, "fchmodat": 2, "mkdir": 1, "mkdirat": 2, "creat": 1, "open": 2, "open64": 2, "openat": 3, "mkfifo": 1, "mknod": 1, "shm_open": 2, "sem_open": 2}
	for _, c := range p.fn.calls {
		if i, ok := at[c.name]; ok && i < len(c.args) {
			if v, ok := p.value(c.args[i]); ok && v&0o002 != 0 && v&0o1000 == 0 {
				p.Reportf(c.node, "%s with permissions %#o", c.name, v)
			}
		}
	}
}

func umaskZero(p *Pass) {
	for _, c := range p.calls("umask") {
		if v, ok := p.value(c.arg(0)); ok && v == 0 {
			p.Reportf(c.node, "umask(0)")
		}
	}
}

func chrootWithoutChdir(p *Pass) {
	for i, c := range p.fn.calls {
		if c.name != "chroot" {
			continue
		}
		ok := false
		for j, d := range p.fn.calls {
			ok = ok || (d.name == "chdir" || d.name == "fchdir") && (j > i || j == i-1)
		}
		if !ok {
			p.Reportf(c.node, "chroot without chdir")
		}
	}
}
