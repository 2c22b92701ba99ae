package debian

import (
	"bytes"
	"fmt"
	"testing"
)

// packagesIndex is n paragraphs of the usual size.
func packagesIndex(n int) []byte {
	var b bytes.Buffer
	for i := range n {
		fmt.Fprintf(&b, "Package: lib-example-%d\nSource: example\nVersion: 1:%d.2.3-4+deb12u1\nInstalled-Size: 2048\n"+
			"Maintainer: Nobody <nobody@example.org>\nArchitecture: amd64\nProvides: virtual-%d (= 1)\n"+
			"Depends: libc6 (>= 2.36), lib-example-%d (>= 1.2), a | b\nDescription: an example\n"+
			"Homepage: https://example.org/\nDescription-md5: %032x\nTag: devel::lang:c, role::shared-lib,\n implemented-in::c\n"+
			"Section: libs\nPriority: optional\nFilename: pool/main/e/example/lib-example-%d_1_amd64.deb\nSize: 123456\n"+
			"MD5sum: %032x\nSHA256: %064x\n\n", i, i, i%100, i/2, i, i, i, i)
	}
	return b.Bytes()
}

func BenchmarkBuildBody(b *testing.B) {
	index := packagesIndex(60_000)
	b.SetBytes(int64(len(index)))
	for b.Loop() {
		if _, err := buildBody(bytes.NewReader(index), packageIndex); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLookup(b *testing.B) {
	body, err := buildBody(bytes.NewReader(packagesIndex(60_000)), packageIndex)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		found := 0
		lookup(body, "lib-example-59999", func([]string) { found++ })
		if found != 1 {
			b.Fatalf("found %d lines, want 1", found)
		}
	}
}

func BenchmarkUniverse(b *testing.B) {
	body, err := buildBody(bytes.NewReader(packagesIndex(60_000)), packageIndex)
	if err != nil {
		b.Fatal(err)
	}
	s := &suite{entry: &Entry{Suite: "s", URIs: []string{"http://archive.invalid"}}, packages: [][]byte{body}}
	for b.Loop() {
		u := newUniverse([]*suite{s})
		if list, err := u.versions("lib-example-7"); err != nil || len(list) != 1 {
			b.Fatal(list, err)
		}
	}
}
