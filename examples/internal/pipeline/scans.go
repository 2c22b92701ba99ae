package pipeline

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cleanstart/cleanstart/analyze"
	"github.com/cleanstart/cleanstart/analyze/ast"
	"github.com/cleanstart/cleanstart/compile"
	"github.com/cleanstart/cleanstart/internal/atomicfile"
	"github.com/cleanstart/cleanstart/internal/bounded"
)

// maxScans bounds what is read back of a cached scan.
const maxScans = 64 << 20

// scans are what the rules find in the source of the image. The same source
// under the same program gives the same, so it is kept in the cache: a run
// again does not parse what it parsed before.
func (w *Workshop) scans(ctx context.Context, s *analyze.Subject) ([]analyze.Scan, error) {
	key, err := scanKey(s.Image.Record)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(w.cache, "scans")
	if b, err := bounded.ReadFile(os.DirFS(dir), key+".json", maxScans); err == nil {
		var out []analyze.Scan
		if json.Unmarshal(b, &out) == nil {
			return out, nil
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	out, err := ast.Scans(ctx, s)
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(out)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	return out, atomicfile.WriteBytes(filepath.Join(dir, key+".json"), 0o644, b)
}

// scanKey names this program, whose rules they are, and what was compiled.
func scanKey(r *compile.Record) (string, error) {
	h := sha256.New()
	exe, err := os.Executable()
	if err != nil {
		return "", err
	}
	f, err := os.Open(exe)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("%s: %w", exe, err)
	}
	for _, c := range r.Components {
		fmt.Fprintf(h, "\n%s %s %s", c.Component.Name, c.Key, c.Result.Output.Parts[compile.PartDebug].Digest)
		if err := json.NewEncoder(h).Encode(c.Result.Units); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
