package timestamp

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"testing"
	"time"
)

var t0 = time.Now().UTC().Truncate(time.Second)

func authority(t testing.TB, clock func() time.Time) *Authority {
	t.Helper()
	a, err := New(Config{Clock: clock, Random: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func fixed(at time.Time) func() time.Time { return func() time.Time { return at } }

func stamp(t testing.TB, a *Authority, msg []byte) []byte {
	t.Helper()
	r, err := a.Timestamp(context.Background(), msg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestTimestampVerifies(t *testing.T) {
	at := t0.Add(90 * time.Minute)
	now := t0
	a := authority(t, func() time.Time { return now })
	now = at
	got, err := Verify(stamp(t, a, []byte("m")), []byte("m"), a.Chain())
	if err != nil || !got.Equal(at) {
		t.Errorf("Verify = %v, %v, want %v", got, err, at)
	}
	if c, err := ParsePEM(PEM(a.Chain())); err != nil || len(c) != 3 || !c[0].Equal(a.Chain()[0]) {
		t.Errorf("ParsePEM(PEM(chain)) = %d certificates, %v", len(c), err)
	}
}

func TestVerifyRefuses(t *testing.T) {
	now := t0
	a := authority(t, func() time.Time { return now })
	other := authority(t, fixed(t0))
	good := stamp(t, a, []byte("m"))
	now = t0.Add(11 * 365 * 24 * time.Hour)
	late := stamp(t, a, []byte("m"))
	now = t0.Add(-2 * time.Hour)
	early := stamp(t, a, []byte("m"))
	flipped := append([]byte(nil), good...)
	flipped[len(flipped)-5] ^= 1
	for _, c := range []struct {
		name      string
		der, msg  string
		authority *Authority
	}{
		{"another message", string(good), "n", a},
		{"another authority", string(good), "m", other},
		{"after the certificate expired", string(late), "m", a},
		{"before the certificate was valid", string(early), "m", a},
		{"flipped signature byte", string(flipped), "m", a},
		{"truncated", string(good[:len(good)/2]), "m", a},
		{"empty", "", "m", a},
	} {
		if at, err := Verify([]byte(c.der), []byte(c.msg), c.authority.Chain()); err == nil {
			t.Errorf("%s: Verify = %v, nil, want an error", c.name, at)
		}
	}
	if _, err := Verify(good, []byte("m"), nil); err == nil {
		t.Error("Verify without a chain succeeds")
	}
}

func TestNewRequiresClockAndRandom(t *testing.T) {
	if _, err := New(Config{Random: rand.Reader}); err == nil {
		t.Error("New without a clock succeeds")
	}
	if _, err := New(Config{Clock: time.Now}); err == nil {
		t.Error("New without randomness succeeds")
	}
}

func TestChainIsForTimestampingOnly(t *testing.T) {
	c := authority(t, fixed(t0)).Chain()
	if len(c) != 3 || c[0].IsCA || !c[1].IsCA || !c[2].IsCA {
		t.Fatalf("chain of %d, want leaf, intermediate, root", len(c))
	}
	if len(c[0].ExtKeyUsage) != 1 || c[0].ExtKeyUsage[0] != x509.ExtKeyUsageTimeStamping {
		t.Errorf("leaf usage = %v, want time-stamping only", c[0].ExtKeyUsage)
	}
}

func FuzzVerify(f *testing.F) {
	a := authority(f, fixed(t0))
	good := stamp(f, a, []byte("m"))
	f.Add(good)
	f.Add(good[:40])
	f.Fuzz(func(t *testing.T, der []byte) {
		if at, err := Verify(der, []byte("m"), a.Chain()); err == nil && !at.Equal(t0) {
			t.Errorf("Verify accepts %v, only %v was attested", at, t0)
		}
	})
}

func BenchmarkTimestamp(b *testing.B) {
	a := authority(b, fixed(t0))
	for b.Loop() {
		stamp(b, a, []byte("m"))
	}
}
