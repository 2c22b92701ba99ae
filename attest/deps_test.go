package attest_test

import (
	gobuild "go/build"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestNoCloudAndNoRuntime: whoever imports this package gets neither a cloud's
// key service nor a container runtime, nor the servers and clients that the
// sigstore project's own verifier brings. The list is that of the compiler, of
// this package without its tests.
func TestNoCloudAndNoRuntime(t *testing.T) {
	// What a test opens decides whether its cached result still holds.
	err := filepath.WalkDir("..", func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && (strings.HasSuffix(name, ".go") || d.Name() == "go.mod") {
			_, err = os.ReadFile(name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	root := gobuild.Default.GOROOT
	goTool := "go"
	if root != "" {
		goTool = root + "/bin/go"
	}
	cmd := exec.Command(goTool, "list", "-deps", "github.com/cleanstart/cleanstart/attest/...")
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=readonly", "GOPROXY=off")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	deps := strings.Fields(string(out))
	if len(deps) < 100 {
		t.Fatalf("only %d packages: the list is not that of the dependencies", len(deps))
	}
	for _, dep := range deps {
		for _, bad := range []string{
			"github.com/aws/", "cloud.google.com/", "google.golang.org/api", "github.com/Azure/", "github.com/hashicorp/vault",
			"github.com/docker/docker/", "github.com/moby/", "github.com/containerd/", "github.com/containers/", "k8s.io/",
			"google.golang.org/grpc", "github.com/go-openapi/", "github.com/theupdateframework/", "github.com/sigstore/sigstore-go", "github.com/sigstore/rekor",
		} {
			if strings.HasPrefix(dep, bad) {
				t.Errorf("attest imports %s", dep)
			}
		}
	}
}
