package attesttest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"github.com/cleanstart/cleanstart/attest/timestamp"
)

func ocispecDigest(b []byte) digest.Digest { return digest.FromBytes(b) }

// opened is a bundle as JSON, and the parts that attacks change.
type opened struct {
	t        testing.TB
	whole    map[string]any
	envelope map[string]any
	material map[string]any
}

func open(t testing.TB, bundle []byte) *opened {
	t.Helper()
	o := &opened{t: t}
	if err := json.Unmarshal(bundle, &o.whole); err != nil {
		t.Fatal(err)
	}
	o.envelope, _ = o.whole["dsseEnvelope"].(map[string]any)
	o.material, _ = o.whole["verificationMaterial"].(map[string]any)
	if o.envelope == nil || o.material == nil {
		t.Fatal("the bundle to damage has no envelope")
	}
	return o
}

func (o *opened) encode() []byte {
	out, err := json.Marshal(o.whole)
	if err != nil {
		o.t.Fatal(err)
	}
	return out
}

func (o *opened) decode(v any) []byte {
	b, err := base64.StdEncoding.DecodeString(v.(string))
	if err != nil {
		o.t.Fatal(err)
	}
	return b
}

func (o *opened) payload() []byte { return o.decode(o.envelope["payload"]) }

func (o *opened) signature() map[string]any {
	return o.envelope["signatures"].([]any)[0].(map[string]any)
}

func (o *opened) stamp() map[string]any {
	data := o.material["timestampVerificationData"].(map[string]any)
	return data["rfc3161Timestamps"].([]any)[0].(map[string]any)
}

func payloadOf(t testing.TB, bundle []byte) []byte { return open(t, bundle).payload() }

// flip changes one byte of a part of a bundle.
func flip(part string) func(t testing.TB, bundle []byte) []byte {
	return func(t testing.TB, bundle []byte) []byte {
		o := open(t, bundle)
		in, key := o.envelope, "payload"
		switch part {
		case "signature":
			in, key = o.signature(), "sig"
		case "timestamp":
			in, key = o.stamp(), "signedTimestamp"
		}
		b := o.decode(in[key])
		at := len(b) / 2
		if part == "payload" { // the case of the first letter of the subject's name: it is still JSON
			at = bytes.Index(b, []byte(`"name":"`)) + len(`"name":"`)
		}
		b[at] ^= 0x20
		in[key] = base64.StdEncoding.EncodeToString(b)
		return o.encode()
	}
}

func dropTimestamps(t testing.TB, bundle []byte) []byte {
	o := open(t, bundle)
	delete(o.material, "timestampVerificationData")
	return o.encode()
}

// forge changes what a bundle says and signs it with a key of its own. The
// bundle still names the honest key, and keeps the honest timestamp.
func forge(t testing.TB, bundle []byte) []byte {
	o := open(t, bundle)
	payload := bytes.Replace(o.payload(), []byte(`"predicate":`), []byte(`"predicate": `), 1)
	_, sig := o.sign(payload)
	o.put(payload, sig)
	return o.encode()
}

// resign signs what a bundle says with a stranger's key and a stranger's
// authority, and says so.
func resign(t testing.TB, bundle []byte) []byte {
	return resignPayload(t, bundle, payloadOf(t, bundle))
}

func resignPayload(t testing.TB, bundle, payload []byte) []byte {
	o := open(t, bundle)
	key, sig := o.sign(payload)
	o.put(payload, sig)
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	hint := sha256.Sum256(der)
	o.material["publicKey"] = map[string]any{"hint": base64.StdEncoding.EncodeToString(hint[:])}
	a, err := timestamp.New(timestamp.Config{Clock: time.Now, Random: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	tsr, err := a.Timestamp(t.Context(), sig)
	if err != nil {
		t.Fatal(err)
	}
	o.stamp()["signedTimestamp"] = base64.StdEncoding.EncodeToString(tsr)
	return o.encode()
}

func (o *opened) sign(payload []byte) (*ecdsa.PrivateKey, []byte) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		o.t.Fatal(err)
	}
	sum := sha256.Sum256(dsse.PAE(o.envelope["payloadType"].(string), payload))
	sig, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
	if err != nil {
		o.t.Fatal(err)
	}
	return key, sig
}

func (o *opened) put(payload, sig []byte) {
	o.envelope["payload"] = base64.StdEncoding.EncodeToString(payload)
	o.envelope["signatures"] = []any{map[string]any{"sig": base64.StdEncoding.EncodeToString(sig)}}
}
