package x509sig

import (
	"bytes"
	"crypto"
	_ "crypto/sha256" // the digests of hashes
	_ "crypto/sha512"
	"crypto/subtle"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

const (
	maxSignature    = 1 << 20
	maxCertificates = 16
	maxAttributes   = 32
)

var (
	oidData          = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	oidSignedData    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	oidTimestampInfo = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 1, 4}

	oidContentType   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 3}
	oidMessageDigest = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 4}
	oidSigningTime   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 5}
	oidTimestamp     = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 14}
)

// hashes are the digests that are accepted.
var hashes = map[string]crypto.Hash{
	"2.16.840.1.101.3.4.2.1": crypto.SHA256,
	"2.16.840.1.101.3.4.2.2": crypto.SHA384,
	"2.16.840.1.101.3.4.2.3": crypto.SHA512,
}

// algorithm is how a signature is made, and over which digest; zero is
// whatever the signature states beside it.
type algorithm struct {
	hash crypto.Hash
	of   map[crypto.Hash]x509.SignatureAlgorithm
}

var (
	rsaOver   = map[crypto.Hash]x509.SignatureAlgorithm{crypto.SHA256: x509.SHA256WithRSA, crypto.SHA384: x509.SHA384WithRSA, crypto.SHA512: x509.SHA512WithRSA}
	ecdsaOver = map[crypto.Hash]x509.SignatureAlgorithm{crypto.SHA256: x509.ECDSAWithSHA256, crypto.SHA384: x509.ECDSAWithSHA384, crypto.SHA512: x509.ECDSAWithSHA512}
	edOver    = map[crypto.Hash]x509.SignatureAlgorithm{crypto.SHA256: x509.PureEd25519, crypto.SHA384: x509.PureEd25519, crypto.SHA512: x509.PureEd25519}
)

// algorithms are those that are accepted (RFC 3370, RFC 5754, RFC 8419).
var algorithms = map[string]algorithm{
	"1.2.840.113549.1.1.1":  {0, rsaOver},
	"1.2.840.113549.1.1.11": {crypto.SHA256, rsaOver},
	"1.2.840.113549.1.1.12": {crypto.SHA384, rsaOver},
	"1.2.840.113549.1.1.13": {crypto.SHA512, rsaOver},
	"1.2.840.10045.2.1":     {0, ecdsaOver},
	"1.2.840.10045.4.3.2":   {crypto.SHA256, ecdsaOver},
	"1.2.840.10045.4.3.3":   {crypto.SHA384, ecdsaOver},
	"1.2.840.10045.4.3.4":   {crypto.SHA512, ecdsaOver},
	"1.3.101.112":           {0, edOver},
}

// signature is a SignedData (RFC 5652, section 5) by one signer.
type signature struct {
	certificate *x509.Certificate   // the signer's
	others      []*x509.Certificate // that came along
	content     []byte              // encapsulated; nil if detached
	hash        crypto.Hash
	algorithm   x509.SignatureAlgorithm
	attributes  []byte     // as they are signed
	digest      []byte     // of the message, among the attributes
	stated      *time.Time // when it was made, as the signer says
	bytes       []byte
	timestamps  [][]byte // tokens over bytes
}

// pemTypes head a signature in PEM: git's name for it, OpenSSL's, and that of
// RFC 7468.
var pemTypes = []string{"SIGNED MESSAGE", "PKCS7", "CMS"}

// isSignature says whether a file is of this kind, well formed or not.
func isSignature(b []byte) bool {
	for _, t := range pemTypes {
		if bytes.Contains(b, []byte("-----BEGIN "+t+"-----")) {
			return true
		}
	}
	return len(b) > 0 && b[0] == 0x30 && bytes.Contains(b[:min(len(b), 32)], []byte{6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2})
}

// unarmor gives the DER of a signature file.
func unarmor(b []byte) ([]byte, error) {
	if len(b) > maxSignature {
		return nil, fmt.Errorf("%w: it is longer than %d bytes", ErrMalformed, maxSignature)
	}
	if len(b) > 0 && b[0] == 0x30 {
		return b, nil
	}
	b = bytes.Trim(b, " \t\r\n")
	block, rest := pem.Decode(b)
	if block == nil || len(rest) > 0 || len(block.Headers) > 0 || !slices.Contains(pemTypes, block.Type) ||
		!bytes.HasPrefix(b, []byte("-----BEGIN "+block.Type+"-----")) {
		return nil, fmt.Errorf("%w: its armor is not whole, or not alone", ErrMalformed)
	}
	return block.Bytes, nil
}

// parse reads a SignedData in DER whose content is of a type.
func parse(der []byte, contentType asn1.ObjectIdentifier) (*signature, error) {
	malformed := func(what string) (*signature, error) {
		return nil, fmt.Errorf("%w: %s", ErrMalformed, what)
	}
	in := cryptobyte.String(der)
	var info, wrapped, data cryptobyte.String
	var kind asn1.ObjectIdentifier
	if !in.ReadASN1(&info, cbasn1.SEQUENCE) || !in.Empty() || !info.ReadASN1ObjectIdentifier(&kind) || !kind.Equal(oidSignedData) ||
		!info.ReadASN1(&wrapped, explicit(0)) || !info.Empty() || !wrapped.ReadASN1(&data, cbasn1.SEQUENCE) || !wrapped.Empty() {
		return malformed("it is no SignedData in DER")
	}
	var version int
	var content, held, certificates, signers, signer cryptobyte.String
	var hasContent, hasCertificates bool
	if !data.ReadASN1Integer(&version) || !data.SkipASN1(cbasn1.SET) || !data.ReadASN1(&content, cbasn1.SEQUENCE) ||
		!data.ReadOptionalASN1(&certificates, &hasCertificates, explicit(0)) || !data.SkipOptionalASN1(explicit(1)) ||
		!data.ReadASN1(&signers, cbasn1.SET) || !data.Empty() {
		return malformed("its SignedData is not well formed")
	}
	if !signers.ReadASN1(&signer, cbasn1.SEQUENCE) || !signers.Empty() {
		return malformed("it has not one signer")
	}
	if !content.ReadASN1ObjectIdentifier(&kind) || !kind.Equal(contentType) ||
		!content.ReadOptionalASN1(&held, &hasContent, explicit(0)) || !content.Empty() {
		return malformed("its content is of another type")
	}
	s := &signature{}
	if hasContent {
		var octets cryptobyte.String
		if !held.ReadASN1(&octets, cbasn1.OCTET_STRING) || !held.Empty() {
			return malformed("its content is no string of bytes")
		}
		s.content = append([]byte{}, octets...)
	}
	all, err := x509.ParseCertificates(certificates)
	if err != nil {
		return nil, fmt.Errorf("%w: certificates: %w", ErrMalformed, err)
	}
	if len(all) == 0 || len(all) > maxCertificates {
		return malformed(fmt.Sprintf("it has %d certificates, want the signer's and at most %d", len(all), maxCertificates))
	}
	return s, s.signer(signer, all, contentType)
}

func explicit(n uint8) cbasn1.Tag { return cbasn1.Tag(n).ContextSpecific().Constructed() }

// signer reads a SignerInfo (RFC 5652, section 5.3).
func (s *signature) signer(in cryptobyte.String, certificates []*x509.Certificate, contentType asn1.ObjectIdentifier) error {
	malformed := func(what string) error { return fmt.Errorf("%w: %s", ErrMalformed, what) }
	var version int
	if !in.ReadASN1Integer(&version) {
		return malformed("its signer has no version")
	}
	if err := s.choose(&in, certificates); err != nil {
		return err
	}
	var attributes, sig, unsigned cryptobyte.String
	var hasUnsigned bool
	digest, ok := readAlgorithm(&in)
	if !ok || !in.ReadASN1Element(&attributes, explicit(0)) {
		return malformed("its signer signed no attributes")
	}
	how, ok := readAlgorithm(&in)
	if !ok || !in.ReadASN1(&sig, cbasn1.OCTET_STRING) || !in.ReadOptionalASN1(&unsigned, &hasUnsigned, explicit(1)) || !in.Empty() {
		return malformed("its signer is not well formed")
	}
	s.bytes = append([]byte{}, sig...)

	// What is signed is the DER of the set, and not of the field it is in.
	s.attributes = append([]byte{}, attributes...)
	s.attributes[0] = byte(cbasn1.SET)
	var inner cryptobyte.String
	attributes.ReadASN1(&inner, explicit(0))
	signed, err := readAttributes(inner)
	if err != nil {
		return err
	}
	if err := s.signedAttributes(signed, contentType); err != nil {
		return err
	}
	if s.hash, ok = hashes[digest.String()]; !ok {
		return fmt.Errorf("%w: digest %s; accepted are SHA-256, SHA-384 and SHA-512", ErrWeak, digest)
	}
	a, ok := algorithms[how.String()]
	if !ok {
		return fmt.Errorf("%w: signature algorithm %s; accepted are RSA (PKCS #1 v1.5), ECDSA and Ed25519 over SHA-2", ErrWeak, how)
	}
	if a.hash != 0 && a.hash != s.hash {
		return malformed("it is signed over another digest than it states")
	}
	s.algorithm = a.of[s.hash]
	if !hasUnsigned {
		return nil
	}
	other, err := readAttributes(unsigned)
	s.timestamps = other[oidTimestamp.String()]
	return err
}

// choose finds the signer's certificate by its issuer and serial number or its
// key's identifier.
func (s *signature) choose(in *cryptobyte.String, certificates []*x509.Certificate) error {
	var id, issuer cryptobyte.String
	var byKey bool
	var match func(*x509.Certificate) bool
	serial := new(big.Int)
	switch {
	case !in.ReadOptionalASN1(&id, &byKey, cbasn1.Tag(0).ContextSpecific()):
		return fmt.Errorf("%w: its signer's name is not well formed", ErrMalformed)
	case byKey:
		match = func(c *x509.Certificate) bool { return len(id) > 0 && bytes.Equal(c.SubjectKeyId, id) }
	case in.ReadASN1(&id, cbasn1.SEQUENCE) && id.ReadASN1Element(&issuer, cbasn1.SEQUENCE) && id.ReadASN1Integer(serial) && id.Empty():
		match = func(c *x509.Certificate) bool {
			return bytes.Equal(c.RawIssuer, issuer) && c.SerialNumber.Cmp(serial) == 0
		}
	default:
		return fmt.Errorf("%w: its signer has no name", ErrMalformed)
	}
	for _, c := range certificates {
		switch {
		case !match(c):
			s.others = append(s.others, c)
		case s.certificate != nil && !s.certificate.Equal(c):
			return fmt.Errorf("%w: two certificates are the signer's", ErrMalformed)
		default:
			s.certificate = c
		}
	}
	if s.certificate == nil {
		return fmt.Errorf("%w: the signer's certificate is not in it", ErrMalformed)
	}
	return nil
}

// readAlgorithm reads an AlgorithmIdentifier. Parameters are of no interest:
// those of the algorithms that are accepted say nothing.
func readAlgorithm(in *cryptobyte.String) (asn1.ObjectIdentifier, bool) {
	var seq cryptobyte.String
	var oid asn1.ObjectIdentifier
	ok := in.ReadASN1(&seq, cbasn1.SEQUENCE) && seq.ReadASN1ObjectIdentifier(&oid)
	return oid, ok
}

// readAttributes gives the values of each type of attribute, which may be
// there once.
func readAttributes(in cryptobyte.String) (map[string][][]byte, error) {
	out := map[string][][]byte{}
	for !in.Empty() {
		var attribute, values, value cryptobyte.String
		var kind asn1.ObjectIdentifier
		if !in.ReadASN1(&attribute, cbasn1.SEQUENCE) || !attribute.ReadASN1ObjectIdentifier(&kind) ||
			!attribute.ReadASN1(&values, cbasn1.SET) || !attribute.Empty() {
			return nil, fmt.Errorf("%w: an attribute is not well formed", ErrMalformed)
		}
		name := kind.String()
		if out[name] != nil || len(out) >= maxAttributes {
			return nil, fmt.Errorf("%w: attribute %s is there twice, or there are too many", ErrMalformed, name)
		}
		out[name] = [][]byte{}
		for !values.Empty() {
			var tag cbasn1.Tag
			if len(out[name]) >= maxAttributes || !values.ReadAnyASN1Element(&value, &tag) {
				return nil, fmt.Errorf("%w: attribute %s has too many values, or one that is none", ErrMalformed, name)
			}
			out[name] = append(out[name], value)
		}
	}
	return out, nil
}

// signedAttributes reads those of RFC 5652, section 11. The first two must be
// there.
func (s *signature) signedAttributes(attributes map[string][][]byte, contentType asn1.ObjectIdentifier) error {
	one := func(oid asn1.ObjectIdentifier) (cryptobyte.String, bool) {
		values := attributes[oid.String()]
		if len(values) != 1 {
			return nil, false
		}
		return values[0], true
	}
	var kind asn1.ObjectIdentifier
	if v, ok := one(oidContentType); !ok || !v.ReadASN1ObjectIdentifier(&kind) || !v.Empty() || !kind.Equal(contentType) {
		return fmt.Errorf("%w: its signed attributes state another type of content, or none", ErrMalformed)
	}
	var digest cryptobyte.String
	if v, ok := one(oidMessageDigest); !ok || !v.ReadASN1(&digest, cbasn1.OCTET_STRING) || !v.Empty() {
		return fmt.Errorf("%w: its signed attributes have no digest of the message", ErrMalformed)
	}
	s.digest = append([]byte{}, digest...)
	if attributes[oidSigningTime.String()] == nil {
		return nil
	}
	v, ok := one(oidSigningTime)
	var at time.Time
	if utc := v.PeekASN1Tag(cbasn1.UTCTime); !ok || utc && !v.ReadASN1UTCTime(&at) || !utc && !v.ReadASN1GeneralizedTime(&at) || !v.Empty() {
		return fmt.Errorf("%w: its signing time is not well formed", ErrMalformed)
	}
	at = at.UTC()
	s.stated = &at
	return nil
}

// check does the arithmetic over a digest of the message.
func (s *signature) check(digest []byte) error {
	if subtle.ConstantTimeCompare(digest, s.digest) != 1 {
		return fmt.Errorf("%w: it is over another message", ErrBad)
	}
	if err := s.certificate.CheckSignature(s.algorithm, s.attributes, s.bytes); err != nil {
		return fmt.Errorf("%w: %w", ErrBad, err)
	}
	return nil
}
