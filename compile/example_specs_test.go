package compile_test

import (
	"os"
	"strings"
	"testing"

	"github.com/cleanstart/cleanstart/compile"
)

func TestExampleSpecifications(t *testing.T) {
	for name, want := range map[string]string{
		"quickstart.yaml": "musl zlib curl",
		"tls.yaml":        "musl zlib openssl curl",
	} {
		s, err := compile.LoadSpec(os.DirFS("../examples/quickstart"), name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var got []string
		for _, c := range s.Components {
			got = append(got, c.Name)
		}
		if g := strings.Join(got, " "); g != want {
			t.Errorf("%s: components in order %s, want %s", name, g, want)
		}
	}
}
