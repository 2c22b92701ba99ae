package git_test

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/cleanstart/cleanstart/source"
	"github.com/cleanstart/cleanstart/source/git"
	"github.com/cleanstart/cleanstart/source/openpgp"
)

// A release that upstream publishes as a signed tag. The certificate is in
// keys/maintainer.asc; nothing of the environment is used but what Env names.
func Example() {
	transport := &git.Transport{Dir: "/var/tmp/cleanstart/git", Env: []string{"HTTPS_PROXY=http://proxy.example:3128"}}
	c := source.Component{
		Name: "project", Version: "1.2.3", PURL: "pkg:generic/project@1.2.3", License: "MIT",
		Places: []source.Place{{Archive: "git+https://git.example.org/project.git"}},
		Policy: source.Policy{
			Least: source.Signed,
			Tag:   "v1.2.3",
			Keys:  []source.Key{{Fingerprint: "0123456789ABCDEF0123456789ABCDEF01234567", File: "maintainer.asc"}},
		},
	}
	tree, err := source.Verify(context.Background(), c, source.Options{
		Cache:      "/var/tmp/cleanstart/source",
		Keys:       os.DirFS("keys"),
		Transports: map[string]source.Transport{"git+https": transport},
		Verifiers:  []source.Verifier{openpgp.Verifier{}},
		Now:        time.Now(),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(tree.Proofs()[0].Git.Commit)
}
