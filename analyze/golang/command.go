package golang

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/tools/go/packages"

	"github.com/cleanstart/cleanstart/internal/run"
)

// goCommand runs the go command in the loader's place and environment.
func goCommand(pc *packages.Config, args ...string) ([]byte, error) {
	var out bytes.Buffer
	c := run.Command{Tool: "go", Args: args, Env: pc.Env, Dir: pc.Dir, Stdout: &out}
	for _, kv := range pc.Env {
		if v, ok := strings.CutPrefix(kv, "PATH="); ok {
			c.Path = v
		}
	}
	if err := c.Run(pc.Context); err != nil {
		return nil, fmt.Errorf("go %s: %w", args[0], err)
	}
	return out.Bytes(), nil
}

// goVersion is the release that the go command is of.
func goVersion(pc *packages.Config) (string, error) {
	b, err := goCommand(pc, "env", "GOVERSION")
	return strings.TrimSpace(string(b)), err
}

// listModules adds the modules that the build list has and no package is of:
// they are required.
func listModules(pc *packages.Config, modules map[string]module) error {
	b, err := goCommand(pc, "list", "-m", "-json", "all")
	if err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	for {
		var m struct {
			Path, Version string
			Replace       *struct{ Path, Version string }
		}
		switch err := dec.Decode(&m); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("go list: %w", err)
		}
		if m.Replace != nil {
			m.Path, m.Version = m.Replace.Path, m.Replace.Version
		}
		if _, ok := modules[m.Path]; !ok {
			modules[m.Path] = module{m.Path, m.Version}
		}
	}
}
