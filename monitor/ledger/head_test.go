package ledger

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
)

func key(t testing.TB) signature.SignerVerifier {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sv, err := signature.LoadECDSASignerVerifier(k, crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return sv
}

// signedLedger has heads of entries 2 and 4, and entries 5 and 6 behind them.
func signedLedger(t testing.TB, k signature.SignerVerifier) (ledger, heads []byte) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "ledger")
	for i := range 3 {
		fill(t, name, 2)
		if i == 2 {
			break
		}
		l, err := Open(name)
		if err != nil {
			t.Fatal(err)
		}
		c, err := l.SignHead(k, at.Add(time.Hour))
		again, err2 := l.SignHead(k, at.Add(2*time.Hour))
		if err != nil || err2 != nil || c != again || c.Head != l.Head() {
			t.Fatalf("SignHead = %v, %v, again %v, %v", c, err, again, err2)
		}
		l.Close()
		if i == 0 { // a crash left half a line
			f, err := os.OpenFile(headsName(name), os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			f.WriteString(`{"payload":`)
			f.Close()
		}
	}
	ledger, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	heads, err = os.ReadFile(headsName(name))
	if err != nil {
		t.Fatal(err)
	}
	return ledger, heads
}

func TestSignedHeads(t *testing.T) {
	k := key(t)
	ledger, heads := signedLedger(t, k)
	head, signed, err := VerifySigned(bytes.NewReader(ledger), bytes.NewReader(heads), k)
	if err != nil || head.Seq != 6 || signed.Seq != 4 {
		t.Fatalf("VerifySigned = %v, %v, %v", head, signed, err)
	}
	lines := bytes.SplitAfter(ledger, []byte("\n"))
	marks := bytes.SplitAfter(heads, []byte("\n"))
	// A ledger with the same chain up to entry 3 and another end.
	name := filepath.Join(t.TempDir(), "ledger")
	if err := os.WriteFile(name, bytes.Join(lines[:3], nil), 0o644); err != nil {
		t.Fatal(err)
	}
	fill(t, name, 4)
	forged, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	name = filepath.Join(t.TempDir(), "ledger")
	fill(t, name, 7)
	another, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	_, otherHeads := signedLedger(t, key(t))
	for what, c := range map[string]struct{ ledger, heads []byte }{
		"another key":              {ledger, otherHeads},
		"heads of another ledger":  {another, heads},
		"a rewritten end":          {forged, heads},
		"cut below a signed entry": {join(lines[:3]...), heads},
		"heads in another order":   {ledger, join(marks[1], marks[0])},
		"a head twice":             {ledger, join(marks[0], marks[0])},
		"no head":                  {ledger, nil},
		"a head that is none":      {ledger, []byte("{}\n")},
		"half a ledger line":       {ledger[:len(ledger)-3], heads},
		"another payload type":     {ledger, bytes.Replace(heads, []byte("ledger-head.v1"), []byte("ledger-head.v2"), 1)},
		"no signature":             {ledger, bytes.Replace(heads, []byte(`"signatures":[`), []byte(`"signatures":[],"x":[`), 1)},
	} {
		if _, _, err := VerifySigned(bytes.NewReader(c.ledger), bytes.NewReader(c.heads), k); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
	for i := range heads {
		b := bytes.Clone(heads)
		b[i] ^= 1
		if _, c, err := VerifySigned(bytes.NewReader(ledger), bytes.NewReader(b), k); err == nil && c.Seq == 4 && !harmless(heads, i) {
			t.Errorf("byte %d %q: a flipped bit was not seen", i, heads[max(0, i-10):i+1])
		}
	}
}

// harmless bytes are those of the key id, which is not signed and not used, and
// the case of JSON's member names.
func harmless(heads []byte, i int) bool {
	line := heads[bytes.LastIndexByte(heads[:i], '\n')+1:]
	at := i - (len(heads) - len(line))
	id := bytes.Index(line, []byte(`"keyid"`))
	return id >= 0 && at >= id && at < id+len(`"keyid":""`)
}

// TestClockGoesBack: the ledger does not.
func TestClockGoesBack(t *testing.T) {
	name := filepath.Join(t.TempDir(), "ledger")
	l, err := Open(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []time.Duration{0, time.Hour, -time.Hour, 2 * time.Hour} {
		if _, err := l.Append(t.Context(), at.Add(d), Event{"tick", d.String()}, Event{"tock", 1}); err != nil {
			t.Fatal(err)
		}
	}
	if c, err := l.SignHead(key(t), at); err != nil || !c.Time.Equal(at.Add(2*time.Hour)) {
		t.Errorf("SignHead with a clock that went back = %v, %v", c, err)
	}
	l.Close()
	if l, err = Open(name); err != nil { // and not over a restart
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := l.Append(t.Context(), at, Event{"tick", 1}); err != nil {
		t.Fatal(err)
	}
	var times, clocks []string
	for e, err := range l.Entries(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		times = append(times, e.Time.Sub(at).String())
		if !e.Clock.IsZero() {
			clocks = append(clocks, e.Clock.Sub(at).String())
		}
	}
	if got, want := strings.Join(times, " "), "0s 0s 1h0m0s 1h0m0s 1h0m0s 1h0m0s 2h0m0s 2h0m0s 2h0m0s"; got != want {
		t.Errorf("times %s, want %s", got, want)
	}
	if got, want := strings.Join(clocks, " "), "-1h0m0s -1h0m0s 0s"; got != want {
		t.Errorf("clocks %s, want %s", got, want)
	}
	// A line that goes back is tampering even where its hash fits.
	first := Head{}
	a, one, err := first.Next(time.Time{}, at, Event{"a", 1})
	if err != nil {
		t.Fatal(err)
	}
	_, two, err := Head{a.Seq, a.Hash}.Next(time.Time{}, at.Add(-time.Hour), Event{"b", 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(bytes.NewReader(append(one, two...)), Head{}); err == nil {
		t.Error("a ledger that goes back in time was accepted")
	}
}

func FuzzVerifySigned(f *testing.F) {
	k := key(f)
	ledger, heads := signedLedger(f, k)
	f.Add(heads)
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, c, err := VerifySigned(bytes.NewReader(ledger), bytes.NewReader(b), k); err == nil && c.Seq != 2 && c.Seq != 4 {
			t.Errorf("a head of entry %d was never signed", c.Seq)
		}
	})
}
