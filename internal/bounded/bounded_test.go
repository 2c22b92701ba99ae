package bounded

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
	"testing/iotest"
)

func TestRead(t *testing.T) {
	for text, ok := range map[string]bool{"": true, "1234": true, "12345": false} {
		b, err := Read(strings.NewReader(text), 4)
		if (err == nil) != ok || ok && string(b) != text || !ok && b != nil {
			t.Errorf("%q: %q, %v", text, b, err)
		}
	}
	broken := errors.New("broken")
	if b, err := Read(iotest.ErrReader(broken), 4); b != nil || !errors.Is(err, broken) {
		t.Errorf("%q, %v", b, err)
	}
}

func TestReadFile(t *testing.T) {
	files := fstest.MapFS{"a": {Data: []byte("1234")}, "d/b": {Data: []byte("12345")}}
	if b, err := ReadFile(files, "a", 4); err != nil || string(b) != "1234" {
		t.Errorf("%q, %v", b, err)
	}
	for name, is := range map[string]error{"d/b": nil, "d": nil, "none": fs.ErrNotExist} {
		b, err := ReadFile(files, name, 4)
		var at *fs.PathError
		if b != nil || !errors.As(err, &at) || at.Path != name || is != nil && !errors.Is(err, is) {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
}
