package ast

import (
	"regexp"
	"strings"
)

// cryptoRules are uses of cryptography that give less than they seem to.
var cryptoRules = []*Rule{
	{"weak-hash", "MD2, MD4, MD5 and SHA-1 are not collision resistant; use SHA-256.", 328, Medium, weakHash},
	{"weak-cipher", "DES, 3DES, RC2, RC4, Blowfish, CAST5 and IDEA are broken or have blocks of 64 bits; use AES-GCM or ChaCha20-Poly1305.", 327, High, weakCipher},
	{"ecb-mode", "ECB shows which blocks are equal; use an authenticated mode.", 327, High, ecbMode},
	{"certificate-not-verified", "A TLS connection whose certificate is not verified is open to anyone in the middle.", 295, High, tlsVerifyOff},
	{"curl-not-verified", "libcurl is told to accept any certificate or any host name.", 295, High, curlVerifyOff},
	{"verify-result-as-boolean", "The function gives a negative value on errors, which a test for zero takes for success.", 253, High, verifyAsBoolean},
	{"constant-key", "A key that stands in the source is no secret.", 321, High, constantKey},
	{"constant-iv", "An initialisation vector that never changes makes equal texts equal, and breaks stream and counter modes.", 329, Medium, constantIV},
	{"few-iterations", "Passwords need a slow derivation: at least 100,000 iterations of PBKDF2.", 916, Medium, fewIterations},
	{"short-key", "RSA, DSA and DH need at least 2,048 bits.", 326, High, shortKey},
	{"guessable-random", "rand and its kin can be guessed; use getrandom, getentropy or RAND_bytes for secrets.", 338, High, guessableRandom},
	{"time-seed", "A generator seeded with the time gives what anyone can compute.", 337, Low, timeSeed},
	{"timing-compare", "memcmp and strcmp stop at the first difference, which tells where it is; use CRYPTO_memcmp.", 208, Medium, timingCompare},
	{"weak-password-hash", "crypt's traditional hashes fall to a dictionary; use a modern scheme.", 916, Medium,
		obsolete("uses DES; use crypt_r with yescrypt or Argon2", "crypt", "DES_crypt", "DES_fcrypt", "setkey", "encrypt")},
}

var (
	weakHashNames   = regexp.MustCompile(`^(EVP_(md2|md4|md5|md5_sha1|sha1|mdc2)|MD[245]|SHA1|CC_MD[245]|CC_SHA1|(wc_)?(Md5|Sha)Hash|mbedtls_(md[245]|sha1)(_ret)?)$`)
	weakHashText    = regexp.MustCompile(`(?i)^(md2|md4|md5|md5-sha1|sha1|sha-1)$`)
	weakCipherNames = regexp.MustCompile(`^EVP_(des|desx|rc2|rc4|bf|cast5|idea|seed)(_\w+)?$|^(RC4|RC2|DES|BF|CAST|IDEA)_\w*(encrypt|key\w*)$|^RC4$`)
	weakCipherText  = regexp.MustCompile(`(?i)^(des|desx|des3|3des|rc2|rc4|bf|blowfish|cast5?|idea)([-_].*)?$`)
	byName          = map[string]int{"EVP_get_digestbyname": 0, "EVP_get_cipherbyname": 0, "EVP_MD_fetch": 1, "EVP_CIPHER_fetch": 1}
)

func weakHash(p *Pass) { weak(p, weakHashNames, weakHashText, "is not collision resistant") }
func weakCipher(p *Pass) {
	weak(p, weakCipherNames, weakCipherText, "is broken or has blocks of 64 bits")
}

func weak(p *Pass, names, text *regexp.Regexp, why string) {
	for _, c := range p.fn.calls {
		if names.MatchString(c.name) && !strings.HasSuffix(c.name, "_free") {
			p.Reportf(c.node, "%s %s", c.name, why)
		}
		if i, ok := byName[c.name]; ok {
			if s, ok := p.text(c.arg(i)); ok && text.MatchString(s) {
				p.Reportf(c.node, "%s %s", s, why)
			}
		}
	}
}

var ecbNames = regexp.MustCompile(`^(EVP_\w+_ecb|\w+_ecb_encrypt|DES_ecb3?_encrypt|AES_encrypt)$`)

func ecbMode(p *Pass) {
	for _, c := range p.fn.calls {
		s, ok := "", false
		if i, named := byName[c.name]; named {
			s, ok = p.text(c.arg(i))
		}
		if ecbNames.MatchString(c.name) && c.name != "AES_encrypt" || ok && strings.HasSuffix(strings.ToUpper(s), "-ECB") {
			p.Reportf(c.node, "%s encrypts each block by itself", c.name)
		}
	}
}

func tlsVerifyOff(p *Pass) {
	for _, c := range p.calls("SSL_CTX_set_verify", "SSL_set_verify") {
		if v, ok := p.value(c.arg(1)); ok && v&1 == 0 {
			p.Reportf(c.node, "%s turns verification of the peer off", c.name)
		}
	}
	for _, c := range p.calls("mbedtls_ssl_conf_authmode", "wolfSSL_CTX_set_verify", "wolfSSL_set_verify") {
		if v, ok := p.value(c.arg(1)); ok && v == 0 {
			p.Reportf(c.node, "%s turns verification of the peer off", c.name)
		}
	}
	for _, c := range p.calls("SSL_CTX_set_cert_verify_callback") {
		if name := nameOf(c.arg(1)); regexp.MustCompile(`(?i)(always|dummy|accept|allow|ignore|noop|true)`).MatchString(name) {
			p.Reportf(c.node, "%s accepts by the sound of its name", name)
		}
	}
}

func curlVerifyOff(p *Pass) {
	for _, c := range p.calls("curl_easy_setopt") {
		name := p.constantName(c.arg(1))
		switch strings.TrimPrefix(strings.TrimPrefix(strings.TrimPrefix(name, "CURLOPT_"), "PROXY_"), "DOH_") {
		case "SSL_VERIFYPEER", "SSL_VERIFYHOST":
			if v, ok := p.value(c.arg(2)); ok && (v == 0 || v == 1 && strings.HasSuffix(name, "HOST")) {
				p.Reportf(c.node, "%s is turned off", name)
			}
		}
	}
}

func verifyAsBoolean(p *Pass) {
	for _, c := range p.calls("EVP_VerifyFinal", "EVP_DigestVerifyFinal", "EVP_DigestVerify", "EVP_PKEY_verify", "EVP_PKEY_verify_recover",
		"DSA_verify", "DSA_do_verify", "ECDSA_verify", "ECDSA_do_verify", "X509_verify", "X509_CRL_verify", "X509_REQ_verify", "OCSP_basic_verify", "SSL_do_handshake", "SSL_connect", "SSL_accept") {
		if p.fn.conds[c.node] {
			p.Reportf(c.node, "%s is tested as a truth value, and gives a negative value on errors; compare with 1", c.name)
		}
	}
}

// keyArguments are where functions take a key, and an initialisation vector.
var keyArguments = map[string][2]int{
	"EVP_EncryptInit": {2, 3}, "EVP_DecryptInit": {2, 3}, "EVP_CipherInit": {2, 3},
	"EVP_EncryptInit_ex": {3, 4}, "EVP_DecryptInit_ex": {3, 4}, "EVP_CipherInit_ex": {3, 4},
	"EVP_EncryptInit_ex2": {2, 3}, "EVP_DecryptInit_ex2": {2, 3}, "EVP_CipherInit_ex2": {2, 3},
	"AES_set_encrypt_key": {0, -1}, "AES_set_decrypt_key": {0, -1}, "HMAC": {1, -1}, "HMAC_Init_ex": {1, -1}, "RC4_set_key": {2, -1},
}

func constantKey(p *Pass) { constant(p, 0, "key") }
func constantIV(p *Pass)  { constant(p, 1, "initialisation vector") }

func constant(p *Pass, which int, what string) {
	for _, c := range p.fn.calls {
		args, ok := keyArguments[c.name]
		if !ok || args[which] < 0 {
			continue
		}
		a := c.arg(args[which])
		if a == nil {
			continue
		}
		s, ok := p.text(a)
		if init := p.fn.inits[nameOf(a)]; !ok && init != nil {
			s, ok = p.text(init)
		}
		if ok && s != "" {
			p.Reportf(c.node, "the %s of %s stands in the source", what, c.name)
		}
	}
}

func fewIterations(p *Pass) {
	for _, c := range p.calls("PKCS5_PBKDF2_HMAC", "PKCS5_PBKDF2_HMAC_SHA1", "EVP_BytesToKey") {
		i := 4
		if c.name == "EVP_BytesToKey" {
			i = 5
		}
		if v, ok := p.value(c.arg(i)); ok && v < 100_000 {
			p.Reportf(c.node, "%s with %d iterations", c.name, v)
		}
	}
}

func shortKey(p *Pass) {
	at := map[string]int{"RSA_generate_key_ex": 1, "RSA_generate_key": 0, "DSA_generate_parameters_ex": 1, "DH_generate_parameters_ex": 1,
		"EVP_RSA_gen": 0, "EVP_PKEY_CTX_set_rsa_keygen_bits": 1, "EVP_PKEY_CTX_set_dsa_paramgen_bits": 1, "EVP_PKEY_CTX_set_dh_paramgen_prime_len": 1}
	for _, c := range p.fn.calls {
		if i, ok := at[c.name]; ok {
			if v, ok := p.value(c.arg(i)); ok && v > 0 && v < 2048 {
				p.Reportf(c.node, "%s makes a key of %d bits", c.name, v)
			}
		}
	}
}

func guessableRandom(p *Pass) {
	for _, c := range p.calls("rand", "random", "rand_r", "drand48", "lrand48", "mrand48", "nrand48", "erand48") {
		if to := p.assignedTo(c); secret(p.fn.name) || to != "" && secret(to) || p.secretUse(c) {
			p.Reportf(c.node, "%s makes something secret", c.name)
		}
	}
}

// secretUse reports whether an assignment whose value holds the call goes to
// something secret.
func (p *Pass) secretUse(c *call) bool {
	for _, a := range p.fn.assigns {
		if secret(a.to) && holdsCall(a.value, c) {
			return true
		}
	}
	return false
}

func timeSeed(p *Pass) {
	for _, c := range p.calls("srand", "srandom", "srand48", "RAND_seed", "RAND_add") {
		for _, in := range p.calls("time", "getpid", "clock") {
			if len(c.args) > 0 && holdsCall(c.args[0], in) {
				p.Reportf(c.node, "%s is seeded with %s", c.name, in.name)
				break
			}
		}
	}
}

var macName = regexp.MustCompile(`(?i)(^|_|\.|>|&)(h?mac|digest|tag|signature|token|passw(or)?d|secret|hash)[0-9]*($|_|\[)`)

func timingCompare(p *Pass) {
	for _, c := range p.calls("memcmp", "bcmp", "strcmp", "strncmp") {
		if len(c.args) < 2 {
			continue
		}
		if _, ok := p.text(c.args[0]); ok {
			continue
		}
		if _, ok := p.text(c.args[1]); ok {
			continue
		}
		if macName.MatchString(textOf(c.args[0])) && macName.MatchString(textOf(c.args[1])) {
			p.Reportf(c.node, "%s compares something secret", c.name)
		}
	}
}
