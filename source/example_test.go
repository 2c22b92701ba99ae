package source_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"log"
	"os"
	"testing/fstest"
	"time"

	"github.com/cleanstart/cleanstart/source"
	"github.com/cleanstart/cleanstart/source/archive"
	"github.com/cleanstart/cleanstart/source/checksum"
	"github.com/cleanstart/cleanstart/source/mirror"
	"github.com/cleanstart/cleanstart/source/openpgp"
)

// A release is fetched from the first place that has it and believed for its
// proofs alone.
func ExampleVerify() {
	cache, err := os.MkdirTemp("", "source-*")
	if err != nil {
		log.Fatal(err)
	}
	defer source.RemoveCache(cache)

	// Stands in for a real release and a mirror that holds it.
	var release bytes.Buffer
	w := tar.NewWriter(&release)
	w.WriteHeader(&tar.Header{Name: "hello-1.0/hello.c", Typeflag: tar.TypeReg, Mode: 0o644, Size: 5, ModTime: time.Unix(1e9, 0)})
	w.Write([]byte("main;"))
	w.Close()
	hex := fmt.Sprintf("%x", sha256.Sum256(release.Bytes()))

	tree, err := source.Verify(context.Background(), source.Component{
		Name:    "hello",
		Version: "1.0",
		Places:  []source.Place{{Archive: "mirror:sha256:" + hex}, {Archive: "https://example.org/hello-1.0.tar"}},
		Policy:  source.Policy{Least: source.Pinned, Digest: "sha256:" + hex},
	}, source.Options{
		Cache: cache,
		Transports: map[string]source.Transport{
			"mirror": mirror.Transport{Files: fstest.MapFS{"sha256/" + hex: {Data: release.Bytes()}}},
			"https":  &archive.Transport{},
		},
		Verifiers: []source.Verifier{openpgp.Verifier{}, checksum.Verifier{}},
		Now:       time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC),
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(source.Explain(tree))
	// Output:
	// hello 1.0
	//   policy   at least pinned, digest pinned
	//   archive  sha256:ee8e31ec3fb7f287636c58cc59b8980ddb04d13e59dcdf3d198c917188531c2e
	//            from mirror:sha256:ee8e31ec3fb7f287636c58cc59b8980ddb04d13e59dcdf3d198c917188531c2e (transport only)
	//   proof    pinned by digest: the specification pins these bytes
	//   tree     sha256:7df93297990cac54a595175263be43dba2700c526a3038b787bc669a0436130e
	//            epoch 2001-09-09T01:46:40Z
}
