// Package storetest checks implementations of compile.Store.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"testing"

	"github.com/cleanstart/cleanstart/compile"
)

// Open gives a store over the same contents at each call. The suite calls it
// again to see what is still there afterwards.
type Open func() (compile.Store, error)

// TestStore runs the suite on the stores that open gives; they must be empty
// at first.
func TestStore(t *testing.T, open Open) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if err := c.run(t.TempDir(), open); err != nil {
				t.Error(err)
			}
		})
	}
}

// CheckOne runs one check by its name, without a test, with scratch as a
// directory for its own files: to see that it fails a store that is wrong. It panics for a
// name that is none.
func CheckOne(name, scratch string, open Open) error {
	for _, c := range cases {
		if c.name == name {
			return c.run(scratch, open)
		}
	}
	panic("storetest: no check named " + name)
}

var cases = []struct {
	name string
	run  func(dir string, open Open) error
}{
	{"Missing", missing},
	{"RoundTrip", roundTrip},
	{"TakesOver", takesOver},
	{"RefusesWrongResult", refusesWrongResult},
	{"RefusesWrongKey", refusesWrongKey},
	{"SeesChangedFile", damaged(func(dir string) error { return overwrite(filepath.Join(dir, "runtime/bin/tool")) })},
	{"SeesMissingFile", damaged(func(dir string) error { return os.Remove(filepath.Join(dir, "dev/include/a.h")) })},
	{"SeesAddedFile", damaged(func(dir string) error {
		return os.WriteFile(filepath.Join(dir, "runtime/bin/more"), []byte("x"), 0o755)
	})},
	{"SeesChangedMode", damaged(func(dir string) error { return os.Chmod(filepath.Join(dir, "runtime/bin/tool"), 0o700) })},
	{"SeesChangedLink", damaged(func(dir string) error {
		name := filepath.Join(dir, "runtime/bin/alias")
		return errors.Join(os.Remove(name), os.Symlink("other", name))
	})},
	{"SeesLostPart", damaged(func(dir string) error { return os.RemoveAll(filepath.Join(dir, "runtime")) })},
	{"Concurrent", concurrent},
	{"Cancelled", cancelled},
}

// Sample is an action with an output directory that fits its result: parts
// and a log, different for each seed.
func Sample(dir, seed string) (compile.Action, *compile.Result, error) {
	action := compile.Action{
		Component: "sample-" + seed, Version: "1", Tree: "sha256:" + seed, Platform: "linux/amd64",
		Commands: []compile.Command{{Args: []string{"make"}, Dir: compile.SourceDir}}, Schema: 1,
	}
	for name, content := range map[string]string{
		"runtime/bin/tool":            "#! " + seed,
		"dev/include/a.h":             "#define A \"" + seed + "\"\n",
		"dev/lib/liba.a":              "!<arch>\n" + seed,
		"debug/bin/tool":              "DWARF " + seed,
		"licenses/LICENSE":            "do what you like",
		"runtime/share/deep/er/empty": "",
		compile.LogName:               `{"seq":0,"component":"` + seed + `"}` + "\n",
	} {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return action, nil, err
		}
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			return action, nil, err
		}
	}
	if err := os.Chmod(filepath.Join(dir, "runtime/bin/tool"), 0o755); err != nil {
		return action, nil, err
	}
	if err := os.Symlink("tool", filepath.Join(dir, "runtime/bin/alias")); err != nil {
		return action, nil, err
	}
	out, err := compile.ScanOutput(dir)
	if err != nil {
		return action, nil, err
	}
	return action, &compile.Result{
		Output:   out,
		Commands: []compile.Execution{{Command: action.Commands[0], Env: map[string]string{"A": "b"}, Duration: 5}},
		Units:    []compile.Unit{{Source: "a.c", Object: "a.o", Language: "c", Args: []string{"cc", "-c", "a.c"}}},
		Hermetic: compile.Hermetic{Interfaces: []string{"lo"}, UID: 1000, Seccomp: true},
	}, nil
}

// put stores a sample and gives its key.
func put(s compile.Store, dir, seed string) (string, *compile.Item, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", nil, err
	}
	action, result, err := Sample(dir, seed)
	if err != nil {
		return "", nil, err
	}
	it, err := s.Put(context.Background(), action.Key(), action, result, dir)
	return action.Key(), it, err
}

func missing(dir string, open Open) error {
	s, err := open()
	if err != nil {
		return err
	}
	a := compile.Action{Component: "never put"}
	if it, err := s.Get(context.Background(), a.Key()); !errors.Is(err, compile.ErrNotStored) {
		return fmt.Errorf("Get = %v, %v, want ErrNotStored", it, err)
	}
	if _, err := s.Get(context.Background(), "../../etc"); err == nil || errors.Is(err, compile.ErrNotStored) {
		return fmt.Errorf("Get of a malformed key = %v, want its refusal", err)
	}
	return nil
}

func roundTrip(dir string, open Open) error {
	s, err := open()
	if err != nil {
		return err
	}
	out := filepath.Join(dir, "out")
	if err := os.Mkdir(out, 0o755); err != nil {
		return err
	}
	action, result, err := Sample(out, "round trip")
	if err != nil {
		return err
	}
	key := action.Key()
	it, err := s.Put(context.Background(), key, action, result, out)
	if err != nil {
		return fmt.Errorf("Put: %w", err)
	}
	if err := same(it, key, action, result); err != nil {
		return fmt.Errorf("Put's item: %w", err)
	}
	if s, err = open(); err != nil {
		return err
	}
	if it, err = s.Get(context.Background(), key); err != nil {
		return fmt.Errorf("Get: %w", err)
	}
	if err := same(it, key, action, result); err != nil {
		return fmt.Errorf("Get's item: %w", err)
	}
	return nil
}

// same compares an item with what was put.
func same(it *compile.Item, key string, action compile.Action, result *compile.Result) error {
	if it.Key != key || it.Action.Key() != key || !reflect.DeepEqual(it.Action, action) {
		return fmt.Errorf("key %s and action %+v, want %s and %+v", it.Key, it.Action, key, action)
	}
	got, want := it.Result, *result
	got.Output.Dir, want.Output.Dir = "", ""
	if !reflect.DeepEqual(got, want) {
		return fmt.Errorf("result %+v, want %+v", got, want)
	}
	if err := want.Output.VerifyOutput(it.Dir); err != nil {
		return err
	}
	if it.Result.Output.Dir != it.Dir {
		return fmt.Errorf("output lies in %q, the item in %q", it.Result.Output.Dir, it.Dir)
	}
	runtime, err := it.Part(compile.PartRuntime)
	if err != nil {
		return err
	}
	if _, err := fs.ReadFile(runtime, "bin/tool"); err != nil {
		return err
	}
	log, err := it.OpenLog()
	if err != nil {
		return err
	}
	return log.Close()
}

func takesOver(dir string, open Open) error {
	s, err := open()
	if err != nil {
		return err
	}
	out := filepath.Join(dir, "out")
	if _, _, err := put(s, out, "takes over"); err != nil {
		return err
	}
	if _, err := os.Lstat(out); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the directory is still there after Put (%v)", err)
	}
	return nil
}

func refusesWrongResult(dir string, open Open) error {
	s, err := open()
	if err != nil {
		return err
	}
	for name, spoil := range map[string]func(out string) error{
		"changed": func(out string) error { return overwrite(filepath.Join(out, "dev/lib/liba.a")) },
		"added": func(out string) error {
			return os.WriteFile(filepath.Join(out, "debug/more"), nil, 0o644)
		},
		"lost":   func(out string) error { return os.RemoveAll(filepath.Join(out, "licenses")) },
		"no log": func(out string) error { return os.Remove(filepath.Join(out, compile.LogName)) },
	} {
		out := filepath.Join(dir, name)
		if err := os.Mkdir(out, 0o755); err != nil {
			return err
		}
		action, result, err := Sample(out, "wrong result, "+name)
		if err != nil {
			return err
		}
		if err := spoil(out); err != nil {
			return err
		}
		if _, err := s.Put(context.Background(), action.Key(), action, result, out); err == nil {
			return fmt.Errorf("Put accepts an output that does not fit its result (%s)", name)
		}
		if _, err := s.Get(context.Background(), action.Key()); !errors.Is(err, compile.ErrNotStored) {
			return fmt.Errorf("after a refused Put, Get = %v, want ErrNotStored (%s)", err, name)
		}
	}
	return nil
}

func refusesWrongKey(dir string, open Open) error {
	s, err := open()
	if err != nil {
		return err
	}
	out := filepath.Join(dir, "out")
	if err := os.Mkdir(out, 0o755); err != nil {
		return err
	}
	action, result, err := Sample(out, "wrong key")
	if err != nil {
		return err
	}
	other := action
	other.Version = "2"
	if _, err := s.Put(context.Background(), other.Key(), action, result, out); err == nil {
		return errors.New("Put accepts an action under another's key")
	}
	return nil
}

// damaged stores a sample, spoils its files behind the store's back, and
// wants Get to see it, and another Put to mend it.
func damaged(spoil func(dir string) error) func(string, Open) error {
	return func(dir string, open Open) error {
		s, err := open()
		if err != nil {
			return err
		}
		seed := filepath.Base(dir) + " damaged"
		key, it, err := put(s, filepath.Join(dir, "one"), seed)
		if err != nil {
			return err
		}
		if err := spoil(it.Dir); err != nil {
			return err
		}
		if got, err := s.Get(context.Background(), key); !errors.Is(err, compile.ErrNotStored) {
			return fmt.Errorf("Get of a damaged item = %v, %v, want ErrNotStored", got, err)
		}
		if _, err := s.Get(context.Background(), key); !errors.Is(err, compile.ErrNotStored) {
			return fmt.Errorf("second Get of a damaged item = %v, want ErrNotStored", err)
		}
		if _, _, err := put(s, filepath.Join(dir, "two"), seed); err != nil {
			return fmt.Errorf("Put after damage: %w", err)
		}
		if _, err := s.Get(context.Background(), key); err != nil {
			return fmt.Errorf("Get after mending: %w", err)
		}
		return nil
	}
}

// overwrite changes a file's last byte, keeping its size and time.
func overwrite(name string) error {
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	b[len(b)-1] ^= 1
	if err := os.WriteFile(name, b, info.Mode().Perm()); err != nil {
		return err
	}
	return os.Chtimes(name, info.ModTime(), info.ModTime())
}

// concurrent puts and gets the same few keys through several stores at once.
func concurrent(dir string, open Open) error {
	const workers, keys = 6, 2
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			s, err := open()
			for k := 0; k < keys && err == nil; k++ {
				var key string
				key, _, err = put(s, filepath.Join(dir, fmt.Sprint(w, "-", k)), fmt.Sprint("concurrent ", k))
				if err == nil {
					_, err = s.Get(context.Background(), key)
				}
			}
			errs[w] = err
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func cancelled(dir string, open Open) error {
	s, err := open()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	out := filepath.Join(dir, "out")
	if err := os.Mkdir(out, 0o755); err != nil {
		return err
	}
	action, result, err := Sample(out, "cancelled")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.Put(ctx, action.Key(), action, result, out); !errors.Is(err, context.Canceled) {
		return fmt.Errorf("Put with a cancelled context = %v, want context.Canceled", err)
	}
	if _, err := s.Get(context.Background(), action.Key()); !errors.Is(err, compile.ErrNotStored) {
		return fmt.Errorf("after a cancelled Put, Get = %v, want ErrNotStored", err)
	}
	return nil
}
