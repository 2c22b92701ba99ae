package debian_test

import (
	"errors"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/cleanstart/cleanstart/source/debian"
)

// etc is a root file system from alternating names and contents.
func etc(files ...string) fstest.MapFS {
	m := fstest.MapFS{"etc/apt/apt.conf": {Data: []byte("APT::Architecture amd64;\n")}}
	for i := 0; i < len(files); i += 2 {
		m[files[i]] = &fstest.MapFile{Data: []byte(files[i+1])}
	}
	return m
}

const (
	key1 = "usr/share/keyrings/one.gpg"
	list = "etc/apt/sources.list"
	deb  = "etc/apt/sources.list.d/a.sources"
)

func TestReadConfigSources(t *testing.T) {
	fpr := strings.Repeat("0123456789", 4)
	entry := func(suite string, change ...func(*debian.Entry)) debian.Entry {
		e := debian.Entry{
			URIs: []string{"http://archive.invalid/debian"}, Suite: suite, Components: []string{"main"},
			Keyrings: [][]byte{[]byte("ONE")}, Binary: true,
		}
		for _, f := range change {
			f(&e)
		}
		return e
	}
	for _, c := range []struct {
		name  string
		files []string
		want  []debian.Entry
	}{
		{"one line", []string{list, "# comment\ndeb [ signed-by=/usr/share/keyrings/one.gpg arch=amd64,i386 ] http://archive.invalid/debian/ stable main contrib # more\n", key1, "ONE"},
			[]debian.Entry{entry("stable", func(e *debian.Entry) { e.Components = []string{"main", "contrib"} })}},
		{"deb822", []string{deb, "Types: deb\n# a comment\nURIs: http://archive.invalid/debian\nSuites: stable stable-updates\nComponents: main\nSigned-By: /usr/share/keyrings/one.gpg\n", key1, "ONE"},
			[]debian.Entry{entry("stable"), entry("stable-updates")}},
		{"deb and deb-src are one", []string{deb, "Types: deb deb-src\nURIs: http://archive.invalid/debian\nSuites: stable\nComponents: main\nSigned-By: /usr/share/keyrings/one.gpg\n", key1, "ONE"},
			[]debian.Entry{entry("stable")}},
		{"deb-src alone", []string{deb, "Types: deb-src\nURIs: http://archive.invalid/debian\nSuites: stable\nComponents: main\nSigned-By: /usr/share/keyrings/one.gpg\n", key1, "ONE"},
			[]debian.Entry{entry("stable", func(e *debian.Entry) { e.Binary = false })}},
		{"trusted keyrings", []string{list, "deb http://archive.invalid/debian stable main\n", "etc/apt/trusted.gpg.d/b.asc", "TWO", "etc/apt/trusted.gpg.d/a.gpg", "ONE", "etc/apt/trusted.gpg.d/c.old", "NOT"},
			[]debian.Entry{entry("stable", func(e *debian.Entry) { e.Keyrings = [][]byte{[]byte("ONE"), []byte("TWO")} })}},
		{"fingerprint", []string{list, "deb [signed-by=" + fpr + "!] http://archive.invalid/debian stable main\n", "etc/apt/trusted.gpg", "ONE"},
			[]debian.Entry{entry("stable", func(e *debian.Entry) { e.Signers = []string{fpr} })}},
		{"inline key", []string{deb, "Types: deb\nURIs: http://archive.invalid/debian\nSuites: stable\nComponents: main\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n AAAA\n -----END PGP PUBLIC KEY BLOCK-----\n"},
			[]debian.Entry{entry("stable", func(e *debian.Entry) {
				e.Keyrings = [][]byte{[]byte("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n-----END PGP PUBLIC KEY BLOCK-----\n")}
			})}},
		{"mirror list", []string{list, "deb [signed-by=/usr/share/keyrings/one.gpg] mirror+file:/etc/apt/mirrors.txt stable main\n", key1, "ONE",
			"etc/apt/mirrors.txt", "# ours\nhttp://near.invalid/debian/\tpriority:1\nhttp://far.invalid/debian\nftp://old.invalid/debian\n"},
			[]debian.Entry{entry("stable", func(e *debian.Entry) {
				e.URIs = []string{"http://near.invalid/debian", "http://far.invalid/debian"}
			})}},
		{"left out", []string{list, "deb [signed-by=/usr/share/keyrings/one.gpg] http://archive.invalid/debian stable main\ndeb cdrom:[disc]/ stable main\ndeb http://flat.invalid/ ./\ndeb [arch=arm64] http://arm.invalid/ stable main\n",
			key1, "ONE", deb, "Enabled: no\nTypes: deb\nURIs: http://off.invalid\nSuites: stable\nComponents: main\n", "etc/apt/sources.list.d/x.list.disabled", "nonsense"},
			[]debian.Entry{entry("stable")}},
	} {
		got, err := debian.ReadConfig(etc(c.files...))
		if err != nil {
			t.Errorf("%s: ReadConfig = %v", c.name, err)
			continue
		}
		if d := cmp.Diff(c.want, got.Entries); d != "" {
			t.Errorf("%s: entries (-want +got):\n%s", c.name, d)
		}
	}
}

func TestReadConfigRefuses(t *testing.T) {
	for name, files := range map[string][]string{
		"unknown type":        {list, "rpm http://archive.invalid stable main\n"},
		"short line":          {list, "deb http://archive.invalid\n"},
		"open options":        {list, "deb [arch=amd64 http://archive.invalid stable main\n"},
		"missing keyring":     {list, "deb [signed-by=/nowhere.gpg] http://archive.invalid stable main\n"},
		"neither":             {list, "deb [signed-by=0123] http://archive.invalid stable main\n"},
		"no component":        {list, "deb http://archive.invalid stable\n"},
		"climbing suite":      {list, "deb http://archive.invalid ../stable main\n"},
		"climbing component":  {list, "deb http://archive.invalid stable ../../main\n"},
		"no URI":              {deb, "Types: deb\nSuites: stable\nComponents: main\n"},
		"no field":            {deb, "Types: deb\nnonsense\n"},
		"continuation":        {deb, " deb\n"},
		"settings not closed": {"etc/apt/apt.conf.d/x", "Acquire { Check-Date \"false\";\n"},
		"string not closed":   {"etc/apt/apt.conf.d/x", "Acquire::Check-Date \"false;\n"},
		"auth":                {"etc/apt/auth.conf", "login me password secret\n"},
	} {
		if c, err := debian.ReadConfig(etc(files...)); err == nil || errors.Is(err, debian.ErrNoSources) {
			t.Errorf("%s: ReadConfig = %+v, %v, want an error about it", name, c, err)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error shows a password: %v", name, err)
		}
	}
	_, err := debian.ReadConfig(etc(list, "deb cdrom:[disc]/ stable main\n"))
	if !errors.Is(err, debian.ErrNoSources) || !strings.Contains(err.Error(), "cdrom") {
		t.Errorf("ReadConfig of nothing usable = %v, want ErrNoSources and why", err)
	}
	if _, err := debian.ReadConfig(fstest.MapFS{}); !errors.Is(err, debian.ErrNoSources) {
		t.Errorf("ReadConfig without apt = %v, want ErrNoSources", err)
	}
}

func TestReadConfigSettings(t *testing.T) {
	c, err := debian.ReadConfig(etc(
		list, "deb http://archive.invalid stable main\n", "etc/apt/trusted.gpg", "ONE",
		"etc/apt/apt.conf.d/10first", `
// a comment; with "quotes"
# another { one
Acquire { /* nested */
  Check-Valid-Until "false";
  http { Proxy "http://proxy.invalid:3128/"; Pipeline-Depth 0; };
};
acquire::check-date "0";
DPkg::Post-Invoke { "echo { ; }"; };
`,
		"etc/apt/apt.conf.d/20second.conf", "Acquire::Check-Date \"true\";\n",
		"etc/apt/apt.conf.d/30.bak", "Acquire::Check-Date \"false\";\n",
		"etc/apt/auth.conf.d/a.conf", "machine archive.invalid/debian login me password secret\nmachine http://plain.invalid\n login you password p2\n",
	))
	if err != nil {
		t.Fatal(err)
	}
	c.Entries, c.Ignored = nil, nil
	want := &debian.Config{
		Arch: "amd64", IgnoreValidUntil: true,
		Proxies: map[string]string{"http": "http://proxy.invalid:3128/", "https": "http://proxy.invalid:3128/"},
		Auth:    []debian.Auth{{"archive.invalid/debian", "me", "secret"}, {"http://plain.invalid", "you", "p2"}},
	}
	if d := cmp.Diff(want, c); d != "" {
		t.Errorf("settings (-want +got):\n%s", d)
	}
}

func FuzzReadConfig(f *testing.F) {
	f.Add("deb [signed-by=/k] http://a.invalid s main\n", "Types: deb\nURIs: http://a.invalid\nSuites: s\nComponents: main\n", "A { B \"c\"; };", "machine m login l password p")
	f.Add("deb-src mirror+file:/etc/apt/sources.list s main", "Signed-By:\n -----BEGIN PGP\n .\n", "/* */ # x\n", "")
	f.Fuzz(func(t *testing.T, one, many, settings, auth string) {
		c, err := debian.ReadConfig(etc(list, one, deb, many, "etc/apt/apt.conf.d/x", settings, "etc/apt/auth.conf", auth, "k", "K"))
		if err != nil {
			return
		}
		for _, e := range c.Entries {
			for _, p := range append([]string{e.Suite}, e.Components...) {
				if strings.Contains("/"+p+"/", "/../") || strings.HasPrefix(p, "/") {
					t.Errorf("unsafe path %q", p)
				}
			}
			if len(e.URIs) == 0 {
				t.Error("entry without a location")
			}
		}
	})
}
