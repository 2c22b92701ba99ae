package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/cleanstart/cleanstart/compile"
	"github.com/cleanstart/cleanstart/internal/atomicfile"
)

// Put takes over dir (the parts and the build log; whatever else is in it is
// removed), compares it with the result, and makes it durable under the
// action's key. A result that does not describe dir is refused, and dir is
// then left as it was. Putting a key again replaces its entry.
func (s *Store) Put(ctx context.Context, key string, action compile.Action, result *compile.Result, dir string) (*compile.Item, error) {
	h, err := hexKey(key)
	if err != nil {
		return nil, err
	}
	if got := action.Key(); got != key {
		return nil, fmt.Errorf("store: the action has key %s, it was put under %s", got, key)
	}
	it, err := s.put(ctx, h, key, action, result, dir)
	if err != nil {
		return nil, fmt.Errorf("store: put %s (%s): %w", key, action.Component, err)
	}
	return it, nil
}

func (s *Store) put(ctx context.Context, h, key string, action compile.Action, result *compile.Result, dir string) (*compile.Item, error) {
	// Times first: what changes after them is read again by Get.
	times, err := scanStamps(dir)
	if err != nil {
		return nil, err
	}
	e := &storedEntry{Schema: schema, Key: key, Action: action, Result: *result}
	e.Result.Output.Dir = ""
	if err := e.Result.Output.VerifyOutput(dir); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	e.Log, e.LogSize, err = hashFile(root, compile.LogName)
	root.Close()
	if err != nil {
		return nil, fmt.Errorf("build log: %w", err)
	}
	e.Content = contentID(&e.Result.Output, e.Log)

	tmp, err := os.MkdirTemp(s.tmp, "put-")
	if err != nil {
		return nil, err
	}
	defer atomicfile.RemoveTree(tmp) // empty by then, unless we fail
	content := filepath.Join(tmp, "content")
	if err := gather(dir, content, times); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := s.publish(ctx, e, content); err != nil {
		return nil, err
	}
	if err := writeEntry(s.path("entries", h+".json"), e); err != nil {
		return nil, err
	}
	return e.item(s.path("contents", e.Content)), atomicfile.RemoveTree(dir)
}

// gather moves the parts and the log from dir to content.
func gather(dir, content string, times stamps) error {
	if err := os.Mkdir(content, 0o755); err != nil {
		return err
	}
	for _, name := range append(parts[:], compile.LogName) {
		err := move(filepath.Join(dir, name), filepath.Join(content, name))
		if errors.Is(err, fs.ErrNotExist) && name != compile.LogName {
			err = os.Mkdir(filepath.Join(content, name), 0o755) // an empty part
		}
		if err != nil {
			return err
		}
	}
	b, err := json.Marshal(times)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(content, stampsName), b, 0o444)
}

// publish puts a content in its place unless an equal one is there.
func (s *Store) publish(ctx context.Context, e *storedEntry, content string) error {
	unlock, err := s.lockContent(ctx, e.Content)
	if err != nil {
		return err
	}
	defer unlock()
	final := s.path("contents", e.Content)
	err = checkContent(ctx, final, e, true)
	if err == nil {
		return nil
	}
	var damage *damageError
	if !errors.As(err, &damage) {
		return err
	}
	if err := s.drop(final); err != nil {
		return err
	}
	if err := atomicfile.SyncTree(content); err != nil {
		return err
	}
	if err := os.Rename(content, final); err != nil {
		return err
	}
	return atomicfile.SyncDir(filepath.Dir(final))
}

// move renames, or copies where the file systems differ; then the original
// stays, and is removed with its directory.
func move(from, to string) error {
	info, err := os.Lstat(from)
	if err != nil {
		return err
	}
	if info.IsDir() && info.Mode().Perm()&0o200 == 0 { // its own ".." changes
		if err := os.Chmod(from, info.Mode().Perm()|0o700); err != nil {
			return err
		}
	}
	err = os.Rename(from, to)
	if !errors.Is(err, syscall.EXDEV) {
		return err
	}
	if info.Mode().IsRegular() {
		return copyFile(from, to, info)
	}
	return copyTree(from, to)
}

// copyTree copies directories, regular files and links, with modes and times.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, name)
		if err != nil {
			return err
		}
		dst := filepath.Join(to, rel)
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch info.Mode().Type() {
		case fs.ModeDir:
			return os.Mkdir(dst, 0o755)
		case fs.ModeSymlink:
			target, err := os.Readlink(name)
			if err != nil {
				return err
			}
			return os.Symlink(target, dst)
		case 0:
			return copyFile(name, dst, info)
		}
		return fmt.Errorf("%s is neither file, directory nor link", name)
	})
}

func copyFile(from, to string, info fs.FileInfo) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err = io.Copy(out, in); err == nil {
		err = out.Chmod(info.Mode().Perm())
	}
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return os.Chtimes(to, info.ModTime(), info.ModTime())
}
