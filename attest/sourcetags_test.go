package attest

import (
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

func TestScanTree(t *testing.T) {
	got, err := scanTree(fstest.MapFS{
		"a.c":       {Data: []byte("/* SPDX-License-Identifier: curl */\nint a;\n")},
		"lib/b.c":   {Data: []byte("// SPDX-License-Identifier: MIT\n")},
		"lib/c.c":   {Data: []byte("# SPDX-License-Identifier: MIT")},
		"lib/d.py":  {Data: []byte("#!/usr/bin/python\n# SPDX-License-Identifier: GPL-2.0-or-later WITH Classpath-exception-2.0\n")},
		"README":    {Data: []byte("nothing\n")},
		"odd":       {Data: []byte("SPDX-License-Identifier: see above")},
		"late":      {Data: append(make([]byte, tagSpan), "SPDX-License-Identifier: MIT"...)},
		"empty":     {},
		"page.html": {Data: []byte("<!-- SPDX-License-Identifier: Zlib -->")},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := &sourceLicences{Files: 9, Untagged: 4, Invalid: map[string]string{"odd": "see above"}, Tags: []sourceTag{
		{"GPL-2.0-or-later WITH Classpath-exception-2.0", []string{"lib/d.py"}},
		{"MIT", []string{"lib/b.c", "lib/c.c"}},
		{"Zlib", []string{"page.html"}},
		{"curl", []string{"a.c"}},
	}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("scanTree (-want +got):\n%s", d)
	}
}
