package x509sig

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"time"

	"github.com/sigstore/timestamp-authority/v2/pkg/verification"

	"github.com/cleanstart/cleanstart/source"
)

// when says at what time the signature was made, and who says so: a timestamp
// authority or, by the policy's exception, the signer, whose name is then
// empty.
func (s *signature) when(sub source.Subject, roots []*x509.Certificate) (at time.Time, witness string, x *source.Exception, err error) {
	var refused []error
	for _, token := range s.timestamps {
		at, witness, err := s.witnessed(token, roots)
		if err == nil {
			return at, witness, nil, nil
		}
		refused = append(refused, err)
	}
	if s.stated == nil {
		return at, "", nil, errors.Join(append(refused, fmt.Errorf("%w: neither a witness nor the signer states when it was made", ErrTime))...)
	}
	if x = sub.Policy.Exception(source.AllowSignerTime, sub.Now); x == nil {
		return at, "", nil, errors.Join(append(refused, fmt.Errorf("%w: only the signer says that it was made on %s; the policy may accept that by an exception (allow: %s, with a reason and an until date that is not past)",
			ErrTime, s.stated.Format(time.DateOnly), source.AllowSignerTime))...)
	}
	return *s.stated, "", x, nil
}

// witnessed verifies a timestamp token (RFC 3161) over the signature's bytes.
// The library does what that RFC asks; that digests and keys are above the
// floor is seen to before.
func (s *signature) witnessed(token []byte, roots []*x509.Certificate) (time.Time, string, error) {
	fail := func(err error) (time.Time, string, error) {
		return time.Time{}, "", fmt.Errorf("%w: timestamp: %w", ErrTime, err)
	}
	t, err := parse(token, oidTimestampInfo)
	if err != nil {
		return fail(err)
	}
	h := t.hash.New()
	h.Write(t.content)
	if err := t.check(h.Sum(nil)); err != nil {
		return fail(err)
	}
	response, err := asn1.Marshal(struct {
		Status struct{ Status int }
		Token  asn1.RawValue
	}{Token: asn1.RawValue{FullBytes: token}})
	if err != nil {
		return fail(err)
	}
	stamp, err := verification.VerifyTimestampResponse(response, bytes.NewReader(s.bytes), verification.VerifyOpts{Roots: roots})
	if err != nil {
		return fail(err)
	}
	if err := verifyChain(t.certificate, t.others, roots, stamp.Time, x509.ExtKeyUsageTimeStamping); err != nil {
		return fail(err)
	}
	return stamp.Time.UTC(), t.certificate.Subject.String(), nil
}
