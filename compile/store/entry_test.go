package store

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"

	"github.com/cleanstart/cleanstart/compile"
)

func FuzzDecodeEntry(f *testing.F) {
	action := compile.Action{Component: "fuzz"}
	e := &storedEntry{Schema: schema, Key: action.Key(), Action: action}
	e.Content = contentID(&e.Result.Output, e.Log)
	name := filepath.Join(f.TempDir(), "entry")
	if err := writeEntry(name, e); err != nil {
		f.Fatal(err)
	}
	good, err := os.ReadFile(name)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good[65:])
	f.Add([]byte(`{}`))
	f.Add([]byte(`{"schema":1,"key":"x"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		sum := sha256.Sum256(body)
		e, err := decodeEntry(append([]byte(hex.EncodeToString(sum[:])+"\n"), body...), action.Key())
		if err == nil && (e.Key != action.Key() || e.Schema != schema || len(e.Content) != 64) {
			t.Errorf("decodeEntry accepts %+v", e)
		}
	})
}
