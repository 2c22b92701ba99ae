package source_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"testing"
	"time"

	"github.com/cleanstart/cleanstart/internal/need"
	"github.com/cleanstart/cleanstart/source"
	"github.com/cleanstart/cleanstart/source/debian"
	"github.com/cleanstart/cleanstart/source/openpgp"
)

// verifyCurl is all that a program needs to have curl's source, proven, from
// the Debian archive that the machine is configured for.
func verifyCurl(ctx context.Context, cache string, now time.Time) (*source.Tree, error) {
	config, err := debian.ReadConfig(os.DirFS("/"))
	if err != nil {
		return nil, err
	}
	apt, err := debian.New(config, cache+"/debian", debian.Options{Now: now})
	if err != nil {
		return nil, err
	}
	return source.Verify(ctx, source.Component{Name: "curl", Version: "7.88.1",
		Places: []source.Place{{Archive: "debian:curl@7.88.1/orig.tar", Signature: "debian:curl@7.88.1/orig.tar.asc"}},
		Policy: source.Policy{Least: source.Signed, Directory: "curl-7.88.1", Keys: []source.Key{{Fingerprint: "27EDEAF22F3ABCEB50DB9A125CC908FDB71E12C2", File: "curl.asc"}}},
	}, source.Options{Cache: cache, Keys: os.DirFS("../examples/quickstart/keys"), Now: now,
		Transports: map[string]source.Transport{"debian": apt}, Verifiers: []source.Verifier{openpgp.Verifier{}}})
}

// Is this exactly what upstream released, who says so, and how strongly?
func ExampleVerify_signed() {
	tree, err := verifyCurl(context.Background(), os.TempDir()+"/source", time.Now())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(source.Explain(tree))
	// curl 7.88.1
	//   policy   at least signed, signed by one of 1 pinned key, directory curl-7.88.1
	//   archive  sha256:…
	//            from debian:curl@7.88.1/orig.tar (transport only)
	//   proof    signed by openpgp: detached signature by Daniel Stenberg <daniel@haxx.se>
	//            primary key 27EDEAF22F3ABCEB50DB9A125CC908FDB71E12C2
	//            RSA-2048, SHA-512, on 2023-02-20
	//   tree     sha256:…
}

func TestExampleSigned(t *testing.T) {
	if testing.Short() {
		t.Skip("short: reads the system's Debian archive")
	}
	if _, err := debian.ReadConfig(os.DirFS("/")); err != nil {
		need.Skip(t, "debian-archive", err.Error())
	}
	tree, err := verifyCurl(t.Context(), writableTempDir(t), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	t.Log(source.Explain(tree))
	if p := tree.Proofs()[0]; p.Grade != source.Signed || p.Signer != curlKey || p.SignedAt.Format(time.DateOnly) != "2023-02-20" {
		t.Errorf("proof = %+v", p)
	}
}
