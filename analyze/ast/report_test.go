package ast_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/cleanstart/cleanstart/analyze"
	"github.com/cleanstart/cleanstart/analyze/ast"
	"github.com/cleanstart/cleanstart/analyze/binary/binarytest"
)

func TestScans(t *testing.T) {
	s := binarytest.Build(t, []string{"-static-pie"},
		binarytest.Project{Name: "lib", Files: map[string]string{
			"lib.c":  "#include <string.h>\nchar name[8];\nvoid keep(const char *s) { strcpy(name, s); }\n",
			"asm.s":  ".text\n.globl nothing\nnothing: ret\n",
			"more.c": "int more(int x) { return x; }\n",
		}},
		binarytest.Project{Name: "prog", Files: map[string]string{"main.c": "void keep(const char *);\nint main(int n, char **v) { keep(v[0]); return 0; }\n"}})
	got, err := ast.Scans(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[0].Component != "lib" || got[1].Component != "prog" || len(got[1].Found) != 0 {
		t.Fatalf("%+v", got)
	}
	lib := got[0]
	if lib.Rules != len(ast.Rules()) || lib.Units != 2 || len(lib.Skipped) != 1 || !strings.Contains(lib.Skipped[0], "asm.s") {
		t.Errorf("%+v", lib)
	}
	if len(lib.Found) != 1 || lib.Found[0].File != "lib.c" || lib.Found[0].Line != 3 || lib.Found[0].Function != "keep" || lib.Found[0].CWE == 0 {
		t.Errorf("found %+v, want strcpy in lib.c:3", lib.Found)
	}
	if again, err := ast.Scans(t.Context(), s); err != nil || !reflect.DeepEqual(got, again) {
		t.Errorf("another answer: %+v, %v", again, err)
	}

	s.Image.Record.Components[0].Result.Units[1].Preprocessed = "none"
	if got, err := ast.Scans(t.Context(), s); err != nil || len(got[0].Skipped) != 2 {
		t.Errorf("a unit that is gone: %+v, %v; want it named", got, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := ast.Scans(ctx, s); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := ast.Scans(t.Context(), &analyze.Subject{}); err == nil {
		t.Error("without a record: no error")
	}
}

// A report is bounded, says what it leaves out and keeps what matters.
func TestScanReportIsBounded(t *testing.T) {
	var s ast.Scan
	for i := range 1200 {
		f := ast.Found{Rule: "r", Severity: ast.Low, File: "a.c", Line: i}
		if i%4 == 0 {
			f.Severity = ast.High
		}
		s.Found = append(s.Found, f)
		s.Skipped = append(s.Skipped, fmt.Sprint("u", i))
	}
	r := s.Report(1)
	high := 0
	for i, f := range r.Found {
		if f.Severity == "high" {
			high++
		}
		if i > 0 && r.Found[i-1].Line >= f.Line {
			t.Fatalf("line %d behind line %d", f.Line, r.Found[i-1].Line)
		}
	}
	if high != 300 || len(r.Found)+r.MoreFound != 1200 || len(r.Skipped)+r.MoreSkipped != 1200 || len(r.Found) > 600 || len(r.Skipped) > 100 {
		t.Errorf("%d high of %d, %d more; %d skipped, %d more", high, len(r.Found), r.MoreFound, len(r.Skipped), r.MoreSkipped)
	}
	if len(s.Found) != 1200 || s.Found[0].Line != 0 || s.Found[1].Line != 1 {
		t.Error("the scan itself was changed")
	}
}
