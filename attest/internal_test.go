package attest

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	spdx "github.com/spdx/tools-golang/spdx/v2/v2_3"

	"github.com/cleanstart/cleanstart/compile"
)

func TestRedact(t *testing.T) {
	pat := "ghp_" + strings.Repeat("a1B2", 9)
	for _, c := range []struct {
		in, want string
		n        int
	}{
		{"cc -O2 -c a.c", "cc -O2 -c a.c", 0},
		{"checking for token.h... yes", "checking for token.h... yes", 0},
		{"TOKEN=1", "TOKEN=1", 0}, // too short for a secret, and common in configure output
		{"DB_PASSWORD=hunter22 ./x", "DB_PASSWORD=[removed] ./x", 1},
		{"secret_key=\"a b c d\" y", "secret_key=[removed] y", 1},
		{"git clone https://me:s3cr3t@host/x", "git clone https://me:[removed]@host/x", 1},
		{"https://host:8080/x@y", "https://host:8080/x@y", 0},
		{"Authorization: Bearer abc.def", "Authorization: Bearer [removed]", 1},
		{"key " + pat + " end", "key [removed] end", 1},
		{"AKIAIOSFODNN7EXAMPLE", "[removed]", 1},
		{"-----BEGIN RSA PRIVATE KEY-----MIIE", "[removed]", 1},
	} {
		if got, n := redact(c.in); got != c.want || n != c.n {
			t.Errorf("redact(%q) = %q, %d, want %q, %d", c.in, got, n, c.want, c.n)
		}
	}
}

func TestLicenceConclusion(t *testing.T) {
	text := func(percent float64, ids ...string) licenceText {
		lt := licenceText{Path: "COPYING", Percent: percent}
		for _, id := range ids {
			lt.Matches = append(lt.Matches, licenceMatch{ID: id})
		}
		return lt
	}
	for _, c := range []struct {
		name, declared string
		texts          []licenceText
		want, verdict  string
	}{
		{"no text", "MIT", nil, noAssertion, "unknown"},
		{"nothing known", "MIT", []licenceText{text(0)}, noAssertion, "unknown"},
		{"the same", "MIT", []licenceText{text(98, "MIT")}, "MIT", "agrees"},
		{"thin but the same", "MIT", []licenceText{text(20, "MIT")}, "MIT", "agrees"},
		{"thin and another", "MIT", []licenceText{text(20, "GPL-2.0-only")}, noAssertion, "unknown"},
		{"another", "MIT", []licenceText{text(99, "GPL-2.0-only")}, "GPL-2.0-only", "differs"},
		{"more than declared", "MIT", []licenceText{text(99, "MIT"), text(99, "Zlib")}, "MIT AND Zlib", "differs"},
		{"a choice", "MIT OR Zlib", []licenceText{text(99, "MIT", "Zlib")}, "MIT OR Zlib", "agrees"},
	} {
		l := licence{Declared: c.declared, Concluded: noAssertion, Verdict: "unknown", Texts: c.texts}
		if l.conclude(); l.Concluded != c.want || l.Verdict != c.verdict {
			t.Errorf("%s: %s, %s, want %s, %s", c.name, l.Concluded, l.Verdict, c.want, c.verdict)
		}
	}
}

func TestStatementKeepsThePredicatesBytes(t *testing.T) {
	pred := []byte("{\n \"b\": 1,  \"a\": \"<&>\"}")
	raw, err := newStatement([]Subject{{Name: "x", Digest: map[string]string{"sha256": strings.Repeat("0", 64)}}}, "https://example.org/p", pred)
	if err != nil {
		t.Fatal(err)
	}
	st, err := parseStatement(raw)
	if err != nil || !bytes.Equal(st.Predicate, pred) {
		t.Errorf("predicate = %q, %v, want %q", st.Predicate, err, pred)
	}
	for name, bad := range map[string]string{
		"no predicate": "", "not JSON": "{", "two values": "{} {}",
	} {
		if _, err := newStatement(st.Subject, "https://example.org/p", []byte(bad)); err == nil {
			t.Errorf("%s: newStatement succeeds", name)
		}
	}
	if _, err := newStatement(nil, "https://example.org/p", pred); err == nil {
		t.Error("newStatement without a subject succeeds")
	}
}

func TestKindsAreEleven(t *testing.T) {
	seen := map[string]bool{}
	for i, k := range Kinds() {
		if k.Number != i+1 || k.Name == "" || k.File == "" || k.MediaType == "" || seen[k.Name] || seen[k.File] || seen[k.PredicateType] {
			t.Errorf("row %d: %+v", i, k)
		}
		seen[k.Name], seen[k.File], seen[k.PredicateType] = true, true, true
		if k.PredicateType != "" && nameOfPredicate(k.PredicateType) != k.Name {
			t.Errorf("nameOfPredicate(%s) = %s", k.PredicateType, nameOfPredicate(k.PredicateType))
		}
	}
}

func TestMatrixClaimsNothingItCannotShow(t *testing.T) {
	open := compile.ComponentRecord{Result: compile.Result{Hermetic: compile.Hermetic{Interfaces: []string{"lo", "eth0"}, Namespaces: []string{"net"}}}}
	shut := compile.ComponentRecord{Result: compile.Result{Hermetic: compile.Hermetic{Interfaces: []string{"lo"}, Namespaces: []string{"net"}}}}
	status := func(level int, comps ...compile.ComponentRecord) map[string]string {
		m := map[string]string{}
		for _, r := range slsaMatrix(&facts{record: &compile.Record{Components: comps}}, level) {
			m[r.ID] = r.Status
		}
		return m
	}
	for _, c := range []struct {
		name string
		got  map[string]string
		id   string
		want string
	}{
		{"one way out", status(1, shut, open), "hermetic", notMet},
		{"no way out", status(1, shut), "hermetic", met},
		{"nothing built", status(1), "hermetic", notAssessed},
		{"a library", status(1, shut), "build-service", notMet},
		{"a service", status(2, shut), "build-service", asserted},
		{"a service", status(2, shut), "non-falsifiable", notMet},
		{"a person's work", status(3, shut), "two-person-reviewed", notAssessed},
		{"one build", status(3, shut), "reproducible", notAssessed},
	} {
		if c.got[c.id] != c.want {
			t.Errorf("%s: %s = %s, want %s", c.name, c.id, c.got[c.id], c.want)
		}
	}
	if n := len(status(1)); n != 20 {
		t.Errorf("%d requirements, want 20", n)
	}
}

func TestSPDXLibraryReadsIt(t *testing.T) {
	var doc spdx.Document
	f := &facts{name: "x", purl: "pkg:oci/x@sha256%3A00", manifest: "sha256:00", components: []component{
		{name: "a", version: "1", purl: "pkg:generic/a@1", license: licence{Declared: "MIT", Concluded: noAssertion}, files: []shipped{{path: "bin/a", sha1: "00"}}},
	}}
	p, err := buildSPDX(&Input{}, f, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(p.predicate, &doc); err != nil {
		t.Fatal(err)
	}
	if len(doc.Packages) != 2 || len(doc.Files) != 1 || doc.Packages[1].PackageVerificationCode == nil {
		t.Errorf("%d packages, %d files", len(doc.Packages), len(doc.Files))
	}
}

func FuzzParseStatement(f *testing.F) {
	f.Add([]byte(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"x","digest":{"sha256":"00"}}],"predicateType":"p","predicate":{}}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		st, err := parseStatement(b)
		if err == nil && (st.Type != statementType || len(st.Subject) == 0) {
			t.Errorf("accepted %+v", st)
		}
	})
}

func FuzzParseBundle(f *testing.F) {
	f.Add([]byte(`{"mediaType":"` + bundleMediaType + `","verificationMaterial":{"publicKey":{"hint":"x"}},"dsseEnvelope":{"payload":"e30=","payloadType":"` + payloadType + `","signatures":[{"sig":"AA=="}]}}`))
	f.Add([]byte(`{"mediaType":"x"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		c := &checker{}
		if _, _, err := c.openBundle(raw); err == nil {
			t.Error("a bundle verifies without a key")
		}
	})
}

func FuzzTrust(f *testing.F) {
	f.Add([]byte(`{"mediaType":"` + trustedRootMediaType + `"}`))
	f.Add([]byte("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if chains, err := parseTrustedRoot(b); err == nil && len(chains) == 0 {
			t.Error("a trusted root without an authority is accepted")
		}
		if key, err := ParsePublicKey(b); err == nil && key == nil {
			t.Error("a key that is none")
		}
	})
}

func FuzzComponentSets(f *testing.F) {
	f.Add([]byte(`{"bomFormat":"CycloneDX","specVersion":"1.6","components":[{"type":"library","name":"a","purl":"pkg:generic/a@1"}]}`))
	f.Add([]byte(`{"spdxVersion":"SPDX-2.3","packages":[null,{"name":"a"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		cycloneDXPURLs(b)
		spdxPURLs(b)
	})
}
