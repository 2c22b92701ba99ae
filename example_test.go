package cleanstart_test

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/cleanstart/cleanstart/source"
	"github.com/cleanstart/cleanstart/source/archive"
	"github.com/cleanstart/cleanstart/source/openpgp"
)

// One package on its own: is this exactly what upstream released?
func Example() {
	tree, err := source.Verify(context.Background(), source.Component{
		Name: "curl", Version: "7.88.1", PURL: "pkg:generic/curl@7.88.1", License: "curl",
		Places: []source.Place{{Archive: "https://curl.se/download/curl-7.88.1.tar.gz", Signature: "https://curl.se/download/curl-7.88.1.tar.gz.asc"}},
		Policy: source.Policy{Least: source.Signed, Keys: []source.Key{{Fingerprint: "27EDEAF22F3ABCEB50DB9A125CC908FDB71E12C2", File: "curl.asc"}}},
	}, source.Options{
		Cache:      "cache",
		Keys:       os.DirFS("examples/quickstart/keys"),
		Transports: map[string]source.Transport{"https": &archive.Transport{}},
		Verifiers:  []source.Verifier{openpgp.Verifier{}},
		Now:        time.Now(),
	})
	if err != nil {
		fmt.Println(err) // no place gave an archive that this key signed
		return
	}
	fmt.Println(source.Explain(tree))
}
