package source

import (
	"encoding/json"
	"errors"
	"os"
	"testing"
)

// FuzzLock: a lock is read whole and strictly, or refused.
func FuzzLock(f *testing.F) {
	if b, err := os.ReadFile("testdata/lock.json"); err == nil {
		f.Add(b)
	}
	f.Add([]byte(`{"format":1,"components":null}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := parseLock(b)
		if err != nil {
			if !errors.Is(err, ErrLocked) {
				t.Fatalf("unclassified error: %v", err)
			}
			return
		}
		again, err := json.Marshal(l)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseLock(again); err != nil {
			t.Fatalf("what was read is not read again: %v", err)
		}
	})
}
