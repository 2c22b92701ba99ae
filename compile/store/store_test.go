package store_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cleanstart/cleanstart/compile"
	"github.com/cleanstart/cleanstart/compile/store"
	"github.com/cleanstart/cleanstart/compile/store/storetest"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("STORE_TEST_CHILD"); dir != "" {
		putForever(dir, os.Getenv("STORE_TEST_SCRATCH"))
	}
	os.Exit(m.Run())
}

func open(t testing.TB, dir string, opts store.Options) *store.Store {
	t.Helper()
	s, err := store.Open(context.Background(), dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// put stores a sample.
func put(t testing.TB, s *store.Store, seed string) *compile.Item {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "out")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	action, result, err := storetest.Sample(dir, seed)
	if err != nil {
		t.Fatal(err)
	}
	it, err := s.Put(context.Background(), action.Key(), action, result, dir)
	if err != nil {
		t.Fatal(err)
	}
	return it
}

func TestConformance(t *testing.T) {
	dir := t.TempDir()
	storetest.TestStore(t, func() (compile.Store, error) { return open(t, dir, store.Options{}), nil })
}

// careless believes whatever it is given.
type careless struct{ items map[string]*compile.Item }

func (c careless) Get(_ context.Context, key string) (*compile.Item, error) {
	if it := c.items[key]; it != nil {
		return it, nil
	}
	return nil, compile.ErrNotStored
}

func (c careless) Put(_ context.Context, key string, a compile.Action, r *compile.Result, dir string) (*compile.Item, error) {
	it := &compile.Item{Key: key, Action: a, Result: *r, Dir: dir}
	it.Result.Output.Dir = dir
	c.items[key] = it
	return it, nil
}

func TestConformanceFailsCarelessStore(t *testing.T) {
	for _, want := range []string{"Missing", "RefusesWrongResult", "RefusesWrongKey", "SeesChangedFile", "SeesAddedFile", "TakesOver", "Cancelled"} {
		// One at a time: the careless store is not safe for concurrent use.
		c := careless{map[string]*compile.Item{}}
		err := storetest.CheckOne(want, t.TempDir(), func() (compile.Store, error) { return c, nil })
		if err == nil {
			t.Errorf("check %s passes a store that checks nothing", want)
		}
	}
}

func TestEqualContentIsSharedAcrossKeys(t *testing.T) {
	s := open(t, t.TempDir(), store.Options{})
	one := put(t, s, "same")
	dir := filepath.Join(t.TempDir(), "out")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	action, result, err := storetest.Sample(dir, "same")
	if err != nil {
		t.Fatal(err)
	}
	action.Version = "2"
	two, err := s.Put(context.Background(), action.Key(), action, result, dir)
	if err != nil {
		t.Fatal(err)
	}
	if one.Dir != two.Dir || one.Key == two.Key {
		t.Errorf("contents at %s and %s for keys %s and %s, want one content, two keys", one.Dir, two.Dir, one.Key, two.Key)
	}
}

func TestDebugPartIsReadWhereItsTimeChanged(t *testing.T) {
	s := open(t, t.TempDir(), store.Options{})
	it := put(t, s, "debug")
	name := filepath.Join(it.Dir, "debug/bin/tool")
	later := time.Now().Add(time.Hour)
	if err := os.Chtimes(name, later, later); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(context.Background(), it.Key); err != nil {
		t.Errorf("Get after a change of time alone = %v, want the item", err)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if err := os.WriteFile(name, b, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(context.Background(), it.Key); !errors.Is(err, compile.ErrNotStored) {
		t.Errorf("Get after a change of content = %v, want ErrNotStored", err)
	}
}

func TestSkipHashStillSeesOrdinaryChanges(t *testing.T) {
	s := open(t, t.TempDir(), store.Options{SkipHash: true})
	it := put(t, s, "skip")
	if _, err := s.Get(context.Background(), it.Key); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(it.Dir, "dev/lib/liba.a"), []byte("!<arch>\nskiq"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(context.Background(), it.Key); !errors.Is(err, compile.ErrNotStored) {
		t.Errorf("Get = %v, want ErrNotStored", err)
	}
}

func TestDamagedEntryOrLog(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, store.Options{})
	for name, spoil := range map[string]func(it *compile.Item) string{
		"entry": func(it *compile.Item) string {
			return filepath.Join(dir, "entries", strings.TrimPrefix(it.Key, "sha256:")+".json")
		},
		"log": func(it *compile.Item) string { return filepath.Join(it.Dir, compile.LogName) },
	} {
		it := put(t, s, name)
		file := spoil(it)
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		b[len(b)/2] ^= 1
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, b, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Get(context.Background(), it.Key); !errors.Is(err, compile.ErrNotStored) {
			t.Errorf("Get after a flipped bit of the %s = %v, want ErrNotStored", name, err)
		}
		put(t, s, name)
		if _, err := s.Get(context.Background(), it.Key); err != nil {
			t.Errorf("Get after mending the %s = %v", name, err)
		}
	}
}

func TestGC(t *testing.T) {
	dir := t.TempDir()
	s, err := store.Open(context.Background(), dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	kept, lost := put(t, s, "kept"), put(t, s, "lost")
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if _, err := store.GC(ctx, dir, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("GC of an open store = %v, want to wait", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := store.GC(context.Background(), dir, []string{"sha256:typo"}); err == nil {
		t.Error("GC accepts a malformed root")
	}
	r, err := store.GC(context.Background(), dir, []string{kept.Key})
	if err != nil || r.Entries != 1 || r.Contents != 1 || r.Bytes == 0 {
		t.Errorf("GC = %+v, %v, want one entry and one content", r, err)
	}
	s = open(t, dir, store.Options{})
	if _, err := s.Get(context.Background(), kept.Key); err != nil {
		t.Errorf("Get of a root = %v", err)
	}
	if _, err := s.Get(context.Background(), lost.Key); !errors.Is(err, compile.ErrNotStored) {
		t.Errorf("Get of no root = %v, want ErrNotStored", err)
	}
	keys, err := s.Keys()
	if err != nil || len(keys) != 1 || keys[0] != kept.Key {
		t.Errorf("Keys = %v, %v", keys, err)
	}
}

// putForever is the child of TestKill: it stores samples until it is killed,
// and prints each key once Put has returned.
func putForever(dir, scratch string) {
	s, err := store.Open(context.Background(), dir, store.Options{})
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	for n := 0; ; n++ {
		out := filepath.Join(scratch, fmt.Sprint(os.Getpid(), "-", n))
		err := os.Mkdir(out, 0o755)
		var action compile.Action
		var result *compile.Result
		if err == nil {
			action, result, err = storetest.Sample(out, fmt.Sprint(os.Getpid(), " ", n%9))
		}
		if err == nil {
			_, err = s.Put(context.Background(), action.Key(), action, result, out)
		}
		if err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		fmt.Println(action.Key())
	}
}

func TestKill(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir, scratch := t.TempDir(), t.TempDir()
	acked := map[string]bool{}
	for round := range 10 {
		cmd := exec.Command(self)
		cmd.Env = []string{"STORE_TEST_CHILD=" + dir, "STORE_TEST_SCRATCH=" + scratch}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// Killed at another moment of the next Put each time.
		lines := bufio.NewScanner(out)
		for n := 0; n <= round%3 && lines.Scan(); n++ {
			if strings.HasPrefix(lines.Text(), "error:") {
				t.Error(lines.Text())
			}
			acked[lines.Text()] = true
		}
		time.Sleep(time.Duration(round*round) * 300 * time.Microsecond)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() {
			if len(lines.Text()) == len("sha256:")+64 { // a whole line
				acked[lines.Text()] = true
			}
		}
		_ = cmd.Wait() // killed
		s, err := store.Open(context.Background(), dir, store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for key := range acked {
			if _, err := s.Get(context.Background(), key); err != nil {
				t.Errorf("round %d: Get of an acknowledged key = %v", round, err)
			}
		}
		keys, err := s.Keys()
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range keys { // whole or absent, acknowledged or not
			if _, err := s.Get(context.Background(), key); err != nil {
				t.Errorf("round %d: Get of a listed key = %v", round, err)
			}
		}
		if left, err := os.ReadDir(filepath.Join(dir, "tmp")); err != nil || len(left) != 1 {
			t.Errorf("round %d: tmp holds %d directories, %v, want only the open store's", round, len(left), err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if len(acked) == 0 {
		t.Error("no round acknowledged a put, so nothing was checked")
	}
	t.Logf("%d keys acknowledged", len(acked))
}

func TestRefusesBadDirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Open(context.Background(), file, store.Options{}); err == nil {
		t.Error("Open accepts a file")
	}
}
