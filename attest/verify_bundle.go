package attest

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	bundlepb "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	commonpb "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	"github.com/sigstore/sigstore/pkg/signature"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/encoding/protojson"
)

const maxTimestamps = 32 // as in sigstore clients

// attached is one referrer of the index, as far as it could be read.
type attached struct {
	desc     ocispec.Descriptor
	role     string // what it says of itself: for naming only
	raw      []byte // of the manifest
	manifest *ocispec.Manifest
	blob     string // digest of its one layer
	err      error  // why it is not to be believed
	subject  string // digest of what it is attached to

	// of bundles that verified:
	bundle    bool
	payload   []byte
	statement *statement
	signedBy
}

// signedBy is whose signature verified, and the earliest time that an
// authority attests.
type signedBy struct {
	signer string // hint of the key
	at     time.Time
}

// readReferrers opens every referrer and verifies the signatures of those that
// are bundles, as many at a time as there are processors.
func (c *checker) readReferrers() {
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, d := range c.index.referrers {
		a := &attached{desc: d, role: guessRole(d.Annotations)}
		c.attached = append(c.attached, a)
		g.Go(func() error {
			if a.err = c.ctx.Err(); a.err == nil {
				a.err = c.readReferrer(a)
			}
			return nil
		})
	}
	g.Wait()
}

func (c *checker) readReferrer(a *attached) error {
	raw, err := c.blob(string(a.desc.Digest), maxManifest)
	if err != nil {
		return fmt.Errorf("referrer: %w", err)
	}
	m := new(ocispec.Manifest)
	if err := strictJSON(raw, m); err != nil {
		return fmt.Errorf("referrer: %w", err)
	}
	if len(m.Layers) != 1 {
		return fmt.Errorf("referrer has %d layers, want one", len(m.Layers))
	}
	a.raw, a.manifest, a.blob = raw, m, string(m.Layers[0].Digest)
	if m.Subject != nil {
		a.subject = string(m.Subject.Digest)
	}
	if r := guessRole(m.Annotations); r != "" {
		a.role = r
	}
	b, err := c.blob(a.blob, maxBundle)
	if err != nil {
		return fmt.Errorf("blob: %w", err)
	}
	if int64(len(b)) != m.Layers[0].Size {
		return fmt.Errorf("blob has %d bytes, the referrer says %d", len(b), m.Layers[0].Size)
	}
	if m.ArtifactType != bundleMediaType {
		return nil
	}
	a.bundle = true
	payload, by, err := c.openBundle(b)
	if payload != nil { // for the name of what does not verify
		if st, err := parseStatement(payload); err == nil {
			if r := nameOfPredicate(st.PredicateType); r != "" {
				a.role = r
			}
		}
	}
	if err != nil {
		return err
	}
	st, err := parseStatement(payload)
	if err != nil {
		return err
	}
	a.payload, a.statement, a.signedBy = payload, st, by
	return nil
}

func guessRole(notes map[string]string) string {
	if r := nameOfPredicate(notes[annotationPredicateType]); r != "" {
		return r
	}
	r := notes[annotationRole]
	if _, ok := kindOf(r); ok || slices.Contains([]string{roleVSA, roleSums, roleManifest, roleKey, roleTrust, roleExtra}, r) {
		return r
	}
	return ""
}

// openBundle verifies a sigstore bundle with a DSSE envelope. The payload is
// returned beside an error as well, so that a forgery can be named; only
// without an error is it to be believed.
func (c *checker) openBundle(raw []byte) (payload []byte, by signedBy, err error) {
	b, err := parseBundle(raw)
	if err != nil {
		return nil, by, err
	}
	env := b.GetDsseEnvelope()
	if env == nil {
		return nil, by, errors.New("bundle: no DSSE envelope")
	}
	payload = env.Payload
	switch {
	case env.PayloadType != payloadType:
		return payload, by, fmt.Errorf("bundle: payload type %q, want %q", env.PayloadType, payloadType)
	case len(env.Signatures) != 1:
		return payload, by, fmt.Errorf("bundle: %d signatures, want one", len(env.Signatures))
	}
	by, err = c.checkSignature(b, env.Signatures[0].Sig, dsse.PAE(payloadType, payload))
	return payload, by, err
}

// openMessage verifies a sigstore bundle with a signature over msg itself.
func (c *checker) openMessage(raw, msg []byte) error {
	b, err := parseBundle(raw)
	if err != nil {
		return err
	}
	ms := b.GetMessageSignature()
	if ms == nil {
		return errors.New("bundle: no message signature")
	}
	sum := sha256.Sum256(msg)
	if d := ms.GetMessageDigest(); d.GetAlgorithm() != commonpb.HashAlgorithm_SHA2_256 || !bytes.Equal(d.GetDigest(), sum[:]) {
		return errors.New("bundle: is about other bytes")
	}
	_, err = c.checkSignature(b, ms.Signature, msg)
	return err
}

// parseBundle reads a bundle strictly: unknown fields are refused, since a
// reader that knows them might decide otherwise.
func parseBundle(raw []byte) (*bundlepb.Bundle, error) {
	b := new(bundlepb.Bundle)
	if err := protojson.Unmarshal(raw, b); err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	if b.MediaType != bundleMediaType {
		return nil, fmt.Errorf("bundle: media type %q, want %q", b.MediaType, bundleMediaType)
	}
	return b, nil
}

// checkSignature verifies one signature by the trusted key that it names, and
// its timestamps. All of them must lie in the key's window; the earliest
// counts.
func (c *checker) checkSignature(b *bundlepb.Bundle, sig, msg []byte) (by signedBy, err error) {
	vm := b.GetVerificationMaterial()
	switch {
	case len(vm.GetTlogEntries()) > 0:
		return by, errors.New("signature: has log entries, which this policy does not know")
	case vm.GetPublicKey() == nil:
		return by, errors.New("signature: not by a key")
	}
	key, err := c.keyOf(vm.GetPublicKey().GetHint())
	if err != nil {
		return by, err
	}
	v, err := signature.LoadVerifier(key.key, crypto.SHA256)
	if err != nil {
		return by, fmt.Errorf("signature: %w", err)
	}
	if err := v.VerifySignature(bytes.NewReader(sig), bytes.NewReader(msg)); err != nil {
		return by, fmt.Errorf("signature does not verify: %w", err)
	}
	var stamps [][]byte
	for _, s := range vm.GetTimestampVerificationData().GetRfc3161Timestamps() {
		stamps = append(stamps, s.GetSignedTimestamp())
	}
	times, err := c.verifyTimes(stamps, sig)
	if err != nil {
		return by, err
	}
	for _, t := range times {
		if err := key.during(t); err != nil {
			return by, err
		}
	}
	return signedBy{key.hint, slices.MinFunc(times, time.Time.Compare)}, nil
}

// parseConfig reads an image's configuration.
func parseConfig(raw []byte) (*v1.ConfigFile, error) {
	f := new(v1.ConfigFile)
	if err := json.Unmarshal(raw, f); err != nil {
		return nil, err
	}
	return f, nil
}
