package local

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cleanstart/cleanstart/compile"
)

// input is an object or archive that a linker loaded.
type input struct {
	digest  string
	size    int64
	copy    string              // path in the debug part
	rel     bool                // a relocatable object
	taken   bool                // an archive that gave members
	members map[string][]member // of an archive
}

type member struct {
	digest string
	size   int64
}

// key is how an input of a link is found in t.inputs.
func (r *record) key(l loaded) string {
	p := absolute(r.dir, l.Path)
	if splitObject(p) && strings.HasPrefix(p, r.in+".") {
		return r.host + strings.TrimPrefix(p, r.in)
	}
	return p
}

// gather copies every loaded file into the debug part and digests it. The
// files are read inside the sandbox: a link that the build made must not lead
// to the host's files.
func (t *tracer) gather(ctx context.Context, made []*record, loads [][]loaded) error {
	var list []string
	for i, r := range made {
		for _, l := range loads[i] {
			k := r.key(l)
			if in := t.inputs[k]; in != nil {
				in.taken = in.taken || l.Member != ""
				continue
			}
			t.inputs[k] = &input{taken: l.Member != ""}
			if !strings.HasPrefix(k, t.dir+"/") {
				list = append(list, k)
				continue
			}
			b, err := readBounded(k, maxInput)
			if err != nil {
				return err
			}
			if err := t.keep(k, b); err != nil {
				return err
			}
		}
	}
	if len(list) == 0 {
		return nil
	}
	slices.Sort(list)
	tools := filepath.Join(t.dir, "trace", "tools")
	if err := os.MkdirAll(tools, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(tools, "list"), []byte(strings.Join(list, "\x00")+"\x00"), 0o644); err != nil {
		return err
	}
	r, pipe := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := t.tool(ctx, pipe, "/", []string{"tar", "--create", "--file=-", "--dereference", "--hard-dereference", "--absolute-names",
			"--no-recursion", "--null", "--verbatim-files-from", "--files-from=" + compile.TraceDir + "/list"})
		pipe.CloseWithError(err)
		done <- err
	}()
	err := t.readTar(r)
	r.CloseWithError(err)
	if terr := <-done; terr != nil {
		return fmt.Errorf("read what was linked (was an object removed after its link?): %w", terr)
	}
	if err != nil {
		return err
	}
	for _, k := range list {
		if t.inputs[k].digest == "" {
			return fmt.Errorf("the linked file %s could not be read", k)
		}
	}
	return nil
}

func (t *tracer) readTar(r io.Reader) error {
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			_, err := io.Copy(io.Discard, r)
			return err
		}
		if err != nil {
			return err
		}
		if h.Typeflag != tar.TypeReg || h.Size > maxInput || t.inputs[h.Name] == nil {
			return fmt.Errorf("the linked file %s is not a regular file of at most %d bytes", h.Name, maxInput)
		}
		b := make([]byte, h.Size)
		if _, err := io.ReadFull(tr, b); err != nil {
			return err
		}
		if err := t.keep(h.Name, b); err != nil {
			return err
		}
	}
}

// keep digests an input and puts a copy into the debug part, named by digest.
func (t *tracer) keep(key string, b []byte) error {
	in := t.inputs[key]
	archive := bytes.HasPrefix(b, []byte(arMagic)) || bytes.HasPrefix(b, []byte(arThin))
	if archive { // members keep their bytes, so that equal links leave equal copies
		if err := normalizeArchive(b); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	sum := sha256.Sum256(b)
	in.digest, in.size = hex.EncodeToString(sum[:]), int64(len(b))
	dir, ext := "objects", ".o"
	if archive {
		dir, ext = "archives", ".a"
		list, err := parseArchive(b)
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		in.members = make(map[string][]member, len(list))
		for _, m := range list {
			d := sha256.Sum256(m.Data)
			in.members[m.Name] = append(in.members[m.Name], member{hex.EncodeToString(d[:]), int64(len(m.Data))})
		}
	} else if e, err := readELF(bytes.NewReader(b)); err != nil {
		return fmt.Errorf("%s: %w", key, err)
	} else {
		in.rel = e != nil && !e.linked
	}
	if in.members != nil && !in.taken {
		return nil
	}
	in.copy = path.Join(dir, in.digest+ext)
	to := filepath.Join(t.parts, compile.PartDebug, in.copy)
	if _, err := os.Lstat(to); err == nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o644)
}
