package sigstore_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	bundlepb "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	commonpb "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	dssepb "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	rekorpb "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/testing/ca"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/cleanstart/cleanstart/source"
	"github.com/cleanstart/cleanstart/source/sigstore"
	"github.com/cleanstart/cleanstart/source/sourcetest"
)

var (
	archive  = []byte("the bytes of a release\r\nwith lines\n")
	identity = "release-manager@example.org"
	issuer   = "https://accounts.example.org"
)

// now is after the virtual instances' bundles, whose times are of the clock.
func now() time.Time { return time.Now().Add(time.Hour) }

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

var instance = sync.OnceValues(ca.NewVirtualSigstore)

// lists says what a trusted root leaves out or adds.
type lists struct{ noLogs, noAuthorities, certificateLogs bool }

func trustedRoot(t testing.TB, v *ca.VirtualSigstore, l lists) []byte {
	t.Helper()
	logs := func(in map[string]*root.TransparencyLog) map[string]*root.TransparencyLog {
		for id, log := range in { // the instance has the hexadecimal text of it
			log.ID = must[[]byte](t)(hex.DecodeString(id))
		}
		return in
	}
	var rekor, certificates map[string]*root.TransparencyLog
	var authorities []root.TimestampingAuthority
	if !l.noLogs {
		rekor = logs(v.RekorLogs())
	}
	if !l.noAuthorities {
		authorities = v.TimestampingAuthorities()
	}
	if l.certificateLogs {
		certificates = logs(v.CTLogs())
	}
	r := must[*root.TrustedRoot](t)(root.NewTrustedRoot(root.TrustedRootMediaType01, v.FulcioCertificateAuthorities(), certificates, authorities, rekor))
	return must[[]byte](t)(json.Marshal(r))
}

// pack writes what an instance made as a bundle. A promise of the log is
// enough for version 0.1; later ones need a proof.
func pack(t testing.TB, v *ca.VirtualSigstore, e *ca.TestEntity, version string, change ...func(*bundlepb.Bundle)) []byte {
	t.Helper()
	content, err := e.SignatureContent()
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := e.VerificationContent()
	if err != nil {
		t.Fatal(err)
	}
	material := &bundlepb.VerificationMaterial{TimestampVerificationData: &bundlepb.TimestampVerificationData{}}
	raw := &commonpb.X509Certificate{RawBytes: certificate.Certificate().Raw}
	b := &bundlepb.Bundle{VerificationMaterial: material}
	if version == "0.3" {
		b.MediaType = "application/vnd.dev.sigstore.bundle.v0.3+json"
		material.Content = &bundlepb.VerificationMaterial_Certificate{Certificate: raw}
	} else {
		b.MediaType = "application/vnd.dev.sigstore.bundle+json;version=" + version
		material.Content = &bundlepb.VerificationMaterial_X509CertificateChain{
			X509CertificateChain: &commonpb.X509CertificateChain{Certificates: []*commonpb.X509Certificate{raw}}}
	}
	entries, _ := e.TlogEntries()
	for _, entry := range entries {
		log := entry.TransparencyLogEntry()
		log.KindVersion = &rekorpb.KindVersion{Kind: "hashedrekord", Version: "0.0.1"}
		if content.EnvelopeContent() != nil {
			log.KindVersion.Kind = "dsse"
		}
		promise := tlog.RekorPayload{Body: base64.StdEncoding.EncodeToString(log.CanonicalizedBody), IntegratedTime: log.IntegratedTime,
			LogIndex: log.LogIndex, LogID: hex.EncodeToString(log.LogId.KeyId)}
		log.InclusionPromise = &rekorpb.InclusionPromise{SignedEntryTimestamp: must[[]byte](t)(v.RekorSignPayload(promise))}
		if log.InclusionProof == nil && version != "0.1" {
			p, err := v.GetInclusionProof(log.CanonicalizedBody)
			if err != nil {
				t.Fatal(err)
			}
			log.InclusionProof = &rekorpb.InclusionProof{LogIndex: *p.LogIndex, TreeSize: *p.TreeSize,
				RootHash: must[[]byte](t)(hex.DecodeString(*p.RootHash)), Checkpoint: &rekorpb.Checkpoint{Envelope: *p.Checkpoint}}
		}
		material.TlogEntries = append(material.TlogEntries, log)
	}
	stamps, _ := e.Timestamps()
	for _, s := range stamps {
		material.TimestampVerificationData.Rfc3161Timestamps = append(material.TimestampVerificationData.Rfc3161Timestamps,
			&commonpb.RFC3161SignedTimestamp{SignedTimestamp: s})
	}
	if m := content.MessageSignatureContent(); m != nil {
		b.Content = &bundlepb.Bundle_MessageSignature{MessageSignature: &commonpb.MessageSignature{
			MessageDigest: &commonpb.HashOutput{Algorithm: commonpb.HashAlgorithm(commonpb.HashAlgorithm_value[m.DigestAlgorithm()]), Digest: m.Digest()},
			Signature:     m.Signature()}}
	} else {
		env := content.EnvelopeContent().RawEnvelope()
		b.Content = &bundlepb.Bundle_DsseEnvelope{DsseEnvelope: &dssepb.Envelope{
			Payload: must[[]byte](t)(base64.StdEncoding.DecodeString(env.Payload)), PayloadType: env.PayloadType,
			Signatures: []*dssepb.Signature{{Sig: content.Signature()}}}}
	}
	for _, f := range change {
		f(b)
	}
	return must[[]byte](t)(protojson.Marshal(b))
}

func sign(t testing.TB, v *ca.VirtualSigstore, who, by string, message []byte, change ...func(*bundlepb.Bundle)) []byte {
	t.Helper()
	return pack(t, v, must[*ca.TestEntity](t)(v.Sign(who, by, message)), "0.3", change...)
}

func attest(t testing.TB, v *ca.VirtualSigstore, predicate string, message []byte) []byte {
	t.Helper()
	statement := fmt.Appendf(nil, `{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"release","digest":{"sha256":"%x"}}],"predicateType":%q,"predicate":{}}`,
		sha256.Sum256(message), predicate)
	e, err := v.AttestAtTime(identity, issuer, statement, time.Now().Add(5*time.Minute), true)
	if err != nil {
		t.Fatal(err)
	}
	return pack(t, v, e, "0.3")
}

func noEntries(b *bundlepb.Bundle) { b.VerificationMaterial.TlogEntries = nil }
func noStamps(b *bundlepb.Bundle)  { b.VerificationMaterial.TimestampVerificationData = nil }

func noPromise(b *bundlepb.Bundle) { b.VerificationMaterial.TlogEntries[0].InclusionPromise = nil }

func pinning(t testing.TB, v *ca.VirtualSigstore, bundle []byte) sourcetest.Case {
	return sourcetest.Case{
		Archive:   archive,
		Signature: bundle,
		Version:   "3.12.1",
		Policy: source.Policy{Least: source.Signed, Keys: []source.Key{
			{Kind: source.Sigstore, Identity: identity, Issuer: issuer, File: "trusted_root.json"}}},
		Keys: fstest.MapFS{"trusted_root.json": {Data: trustedRoot(t, v, lists{})}},
		Now:  now(),
	}
}

func with(c sourcetest.Case, change func(*source.Key)) sourcetest.Case {
	k := c.Policy.Keys[0]
	change(&k)
	c.Policy.Keys = []source.Key{k}
	return c
}

func trusting(c sourcetest.Case, root []byte) sourcetest.Case {
	c.Keys = fstest.MapFS{"trusted_root.json": {Data: root}}
	return c
}

func TestVerifier(t *testing.T) {
	v, other := must[*ca.VirtualSigstore](t)(instance()), must[*ca.VirtualSigstore](t)(ca.NewVirtualSigstore())
	good := pinning(t, v, sign(t, v, identity, issuer, archive))
	bad := map[string]sourcetest.Case{
		"other identity":           pinning(t, v, sign(t, v, "other@example.org", issuer, archive)),
		"other issuer":             pinning(t, v, sign(t, v, identity, "https://accounts.example.com", archive)),
		"other instance":           pinning(t, v, sign(t, other, identity, issuer, archive)),
		"other trusted root":       trusting(good, trustedRoot(t, other, lists{})),
		"bundle of another file":   pinning(t, v, sign(t, v, identity, issuer, []byte("another"))),
		"no log entry":             pinning(t, v, sign(t, v, identity, issuer, archive, noEntries)),
		"no witness":               pinning(t, v, sign(t, v, identity, issuer, archive, noEntries, noStamps)),
		"no identity in policy":    with(good, func(k *source.Key) { k.Identity = "" }),
		"no issuer in policy":      with(good, func(k *source.Key) { k.Issuer = "" }),
		"identity in another case": with(good, func(k *source.Key) { k.Identity = "Release-Manager@example.org" }),
		"part of the identity":     with(good, func(k *source.Key) { k.Identity = "release-manager@example" }),
		"no trusted root":          trusting(good, nil),
		"empty trusted root":       trusting(good, []byte(`{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}`)),
	}
	noTime := good
	noTime.Now = time.Time{}
	bad["no time"] = noTime
	sourcetest.TestVerifier(t, sigstore.Verifier{}, sourcetest.Suite{Good: good, Grade: source.Signed, Bad: bad})

	oldest := pinning(t, v, pack(t, v, must[*ca.TestEntity](t)(v.Sign(identity, issuer, archive)), "0.1"))
	sourcetest.TestVerifier(t, sigstore.Verifier{}, sourcetest.Suite{Good: oldest, Grade: source.Signed})

	attested := pinning(t, v, attest(t, v, "https://slsa.dev/provenance/v1", archive))
	sourcetest.TestVerifier(t, sigstore.Verifier{}, sourcetest.Suite{Good: attested, Grade: source.Signed, Bad: map[string]sourcetest.Case{
		"statement of another kind": pinning(t, v, attest(t, v, "https://example.org/tests-failed/v1", archive)),
		"statement of another file": pinning(t, v, attest(t, v, "https://slsa.dev/provenance/v1", []byte("another"))),
	}})

	list := fmt.Appendf(nil, "%x  release.tar.gz\n", sha256.Sum256(archive))
	listed := pinning(t, v, sign(t, v, identity, issuer, list))
	listed.List, listed.File = list, "release.tar.gz"
	sourcetest.TestVerifier(t, sigstore.Verifier{}, sourcetest.Suite{Good: listed, Grade: source.Signed})
}

func TestStates(t *testing.T) {
	v := must[*ca.VirtualSigstore](t)(instance())
	good := pinning(t, v, sign(t, v, identity, issuer, archive))
	unlogged := pinning(t, v, sign(t, v, identity, issuer, archive, noEntries))
	unstamped := pinning(t, v, sign(t, v, identity, issuer, archive, noStamps))
	early := good
	early.Now = time.Now().Add(-time.Hour)
	forged := func(change func(*bundlepb.Bundle)) sourcetest.Case {
		return pinning(t, v, sign(t, v, identity, issuer, archive, change))
	}
	for name, c := range map[string]struct {
		c    sourcetest.Case
		want error // nil: accepted
	}{
		"logged and timestamped":                {good, nil},
		"logged":                                {unstamped, nil},
		"timestamped, logs are listed":          {unlogged, sigstore.ErrBad},
		"timestamped, none is listed":           {trusting(unlogged, trustedRoot(t, v, lists{noLogs: true})), nil},
		"logged, no authority is listed":        {trusting(unstamped, trustedRoot(t, v, lists{noAuthorities: true})), nil},
		"logged, none is listed":                {trusting(unstamped, trustedRoot(t, v, lists{noLogs: true})), sigstore.ErrBad},
		"nothing is listed":                     {trusting(good, trustedRoot(t, v, lists{noLogs: true, noAuthorities: true})), sigstore.ErrBad},
		"certificate without a log's timestamp": {trusting(good, trustedRoot(t, v, lists{certificateLogs: true})), sigstore.ErrBad},
		"dated in the future":                   {early, sigstore.ErrExpired},
		"of this series":                        {with(good, func(k *source.Key) { k.Series = []string{"3.12"} }), nil},
		"not JSON":                              {pinning(t, v, []byte(`{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json"`)), sigstore.ErrMalformed},
		"unknown version":                       {forged(func(b *bundlepb.Bundle) { b.MediaType = "application/vnd.dev.sigstore.bundle.v0.4+json" }), sigstore.ErrMalformed},
		"too long":                              {pinning(t, v, append(bytes.Repeat([]byte(" "), 5<<20), good.Signature...)), sigstore.ErrMalformed},
		"another kind":                          {pinning(t, v, []byte("untrusted comment: x\n")), source.ErrNoSignature},
		"trusted root that is none":             {trusting(good, []byte("{}")), sigstore.ErrKeyFile},
		"key without a certificate":             {forged(func(b *bundlepb.Bundle) { b.VerificationMaterial.Content = publicKey }), sigstore.ErrMalformed},
		"digest SHA-1":                          {forged(func(b *bundlepb.Bundle) { b.GetMessageSignature().MessageDigest.Algorithm = 0 }), sigstore.ErrWeak},
		"digest of another length": {forged(func(b *bundlepb.Bundle) {
			b.GetMessageSignature().MessageDigest.Algorithm = commonpb.HashAlgorithm_SHA2_512
		}), sigstore.ErrBad},
		"log entry of another time":              {forged(func(b *bundlepb.Bundle) { b.VerificationMaterial.TlogEntries[0].IntegratedTime-- }), sigstore.ErrBad},
		"log entry without a promise":            {forged(noPromise), nil},
		"only a proof, which has no time":        {pinning(t, v, sign(t, v, identity, issuer, archive, noPromise, noStamps)), sigstore.ErrBad},
		"log entry with another proof":           {forged(func(b *bundlepb.Bundle) { b.VerificationMaterial.TlogEntries[0].InclusionProof.RootHash[0] ^= 1 }), sigstore.ErrBad},
		"log entry of another signature":         {forged(func(b *bundlepb.Bundle) { b.GetMessageSignature().Signature[8] ^= 1 }), sigstore.ErrBad},
		"log entry of another log":               {forged(func(b *bundlepb.Bundle) { b.VerificationMaterial.TlogEntries[0].LogId.KeyId[0] ^= 1 }), sigstore.ErrBad},
		"timestamp of nothing, beside the log's": {forged(func(b *bundlepb.Bundle) { stamp(b)[20] ^= 1 }), nil},
	} {
		t.Run(name, func(t *testing.T) {
			proofs, err := sigstore.Verifier{}.Verify(t.Context(), c.c.Subject())
			if !errors.Is(err, c.want) || err == nil != (c.want == nil) {
				t.Fatalf("Verify = %+v, %v, want %v", proofs, err, c.want)
			}
		})
	}

	// A signer for other versions is none, and the core says so.
	series := with(good, func(k *source.Key) { k.Series = []string{"3.13"} })
	if proofs, err := (sigstore.Verifier{}).Verify(t.Context(), series.Subject()); err != nil || len(proofs) != 0 {
		t.Errorf("another series: %v, %v, want nothing", proofs, err)
	}
	missing := good
	missing.Keys = fstest.MapFS{}
	if _, err := (sigstore.Verifier{}).Verify(t.Context(), missing.Subject()); !errors.Is(err, sigstore.ErrKeyFile) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	var e *sigstore.SignerError
	if _, err := (sigstore.Verifier{}).Verify(t.Context(), pinning(t, v, sign(t, v, "other@example.org", issuer, archive)).Subject()); !errors.As(err, &e) ||
		e.Identity != "other@example.org" || e.Issuer != issuer || len(e.Pinned) != 1 {
		t.Errorf("another signer: %v, want a SignerError that names it", err)
	}
}

var publicKey = &bundlepb.VerificationMaterial_PublicKey{PublicKey: &commonpb.PublicKeyIdentifier{Hint: "x"}}

func stamp(b *bundlepb.Bundle) []byte {
	return b.VerificationMaterial.TimestampVerificationData.Rfc3161Timestamps[0].SignedTimestamp
}

func TestProof(t *testing.T) {
	v := must[*ca.VirtualSigstore](t)(instance())
	for name, c := range map[string]struct {
		change  func(*bundlepb.Bundle)
		witness string
		within  time.Duration // of the present
	}{
		"log":       {noStamps, "https://rekor.localhost", 6 * time.Minute},
		"authority": {func(*bundlepb.Bundle) {}, "https://virtual.tsa.sigstore.dev", time.Minute},
	} {
		proofs, err := sigstore.Verifier{}.Verify(t.Context(), pinning(t, v, sign(t, v, identity, issuer, archive, c.change)).Subject())
		if err != nil {
			t.Fatal(err)
		}
		p := proofs[0]
		if p.Witness != c.witness || p.Log != "https://rekor.localhost" || p.SignedAt == nil || time.Until(*p.SignedAt).Abs() > c.within {
			t.Errorf("%s: proof = %+v", name, p)
		}
		if p.Signer != identity || p.Issuer != issuer || p.Algorithm != "ECDSA-P256" || p.Hash != "SHA-256" {
			t.Errorf("%s: proof = %+v", name, p)
		}
	}
}

// Two identities, and the second time the same one.
func TestSeveral(t *testing.T) {
	v := must[*ca.VirtualSigstore](t)(instance())
	c := pinning(t, v, sign(t, v, identity, issuer, archive))
	second := c.Policy.Keys[0]
	second.Identity = "second@example.org"
	c.Policy.Keys = append(c.Policy.Keys, second)
	s := c.Subject()
	s.Statements = append(s.Statements, s.Detached("mem:2", []byte("{}")), s.Detached("mem:3", sign(t, v, identity, issuer, archive)),
		s.Detached("mem:4", sign(t, v, second.Identity, issuer, archive)), s.Detached("mem:5", sign(t, v, "third@example.org", issuer, archive)))
	proofs, err := sigstore.Verifier{}.Verify(t.Context(), s)
	if err != nil || len(proofs) != 2 || proofs[1].Signer != second.Identity {
		t.Errorf("Verify = %+v, %v, want proofs by two signers", proofs, err)
	}
}

// Whatever bit is flipped, the bundle is refused, or proves what it proved:
// one of two witnesses may be lost.
func TestFlippedBits(t *testing.T) {
	v := must[*ca.VirtualSigstore](t)(instance())
	good := pinning(t, v, sign(t, v, identity, issuer, archive))
	want := must[[]source.Proof](t)(sigstore.Verifier{}.Verify(t.Context(), good.Subject()))[0]
	refused := 0
	for i := 0; i < 8*len(good.Signature); i += 37 {
		c := good
		c.Signature = bytes.Clone(good.Signature)
		c.Signature[i/8] ^= 1 << (i % 8)
		proofs, err := sigstore.Verifier{}.Verify(t.Context(), c.Subject())
		if err != nil {
			refused++
			continue
		}
		p := proofs[0]
		if p.Signer != want.Signer || p.Issuer != want.Issuer || p.Hash != want.Hash || p.SigningKey != want.SigningKey || p.SignedAt.Before(*want.SignedAt) {
			t.Errorf("bit %d: the proof changed: %+v", i, p)
		}
	}
	if refused == 0 {
		t.Error("no flipped bit made a difference")
	}
}
