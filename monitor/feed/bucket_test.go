package feed

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// bucket is a server with the layout of OSV's.
type bucket struct {
	t  *testing.T
	mu sync.Mutex
	// records by id; the index and the zip are made of them where they are not
	// set, and the zip is of an older state where it is.
	records map[string]string
	times   map[string]string
	index   *string
	zip     []byte
	broken  map[string]int // status by file
	cut     int            // bytes after which the zip's connection is cut; 0: never
	asked   []string       // method-less log: file and status
}

func newBucket(t *testing.T) (*bucket, Bucket) {
	s := &bucket{t: t, records: map[string]string{}, times: map[string]string{}, broken: map[string]int{}}
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	return s, Bucket{URL: srv.URL, Ecosystems: []string{"Test"}, Dir: t.TempDir(), Client: srv.Client(), Now: func() time.Time { return now }}
}

func (s *bucket) put(id, fixed, modified string) {
	s.records[id] = fmt.Sprintf(`{"id":%q,"modified":%q,"affected":[{"package":{"ecosystem":"npm","name":"x"},"ranges":[{"type":"SEMVER","events":[{"introduced":"0"},{"fixed":%q}]}]}]}`, id, modified, fixed)
	s.times[id] = modified
}

func (s *bucket) freezeZip() {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, id := range slices.Sorted(maps.Keys(s.records)) {
		w, err := z.Create(id + ".json")
		if err == nil {
			_, err = w.Write([]byte(s.records[id]))
		}
		if err != nil {
			s.t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		s.t.Fatal(err)
	}
	s.zip = b.Bytes()
}

func (s *bucket) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	file := strings.TrimPrefix(r.URL.Path, "/Test/")
	if code := s.broken[file]; code != 0 {
		s.asked = append(s.asked, fmt.Sprint(file, " ", code))
		w.WriteHeader(code)
		return
	}
	var body []byte
	switch {
	case file == "modified_id.csv" && s.index != nil:
		body = []byte(*s.index)
	case file == "modified_id.csv":
		var lines []string
		for id, t := range s.times {
			lines = append(lines, t+","+id+"\n")
		}
		slices.SortFunc(lines, func(a, b string) int { return strings.Compare(b, a) }) // as strings
		body = []byte(strings.Join(lines, ""))
	case file == "all.zip":
		if s.zip == nil {
			s.freezeZip()
		}
		body = s.zip
	default:
		rec, ok := s.records[strings.TrimSuffix(file, ".json")]
		if !ok {
			s.asked = append(s.asked, file+" 404")
			w.WriteHeader(http.StatusNotFound)
			return
		}
		body = []byte(rec)
	}
	w.Header().Set("ETag", fmt.Sprintf(`"%x"`, sha256.Sum256(body)))
	rec := &recorder{ResponseWriter: w, cut: -1}
	if file == "all.zip" && s.cut > 0 {
		rec.cut = s.cut
	}
	http.ServeContent(rec, r, file, time.Time{}, bytes.NewReader(body))
	s.asked = append(s.asked, fmt.Sprint(file, " ", rec.code))
	if rec.cut == 0 {
		panic(http.ErrAbortHandler)
	}
}

// recorder notes the status and cuts the body.
type recorder struct {
	http.ResponseWriter
	code, cut int
}

func (r *recorder) WriteHeader(code int) {
	r.code = code
	r.ResponseWriter.WriteHeader(code)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.cut < 0 {
		return r.ResponseWriter.Write(b)
	}
	n := min(r.cut, len(b))
	r.cut -= n
	r.ResponseWriter.Write(b[:n])
	if n < len(b) {
		r.ResponseWriter.(http.Flusher).Flush()
		return n, http.ErrAbortHandler
	}
	return n, nil
}

func (s *bucket) log() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.asked
	s.asked = nil
	return out
}

func TestBucketFollows(t *testing.T) {
	s, f := newBucket(t)
	now := f.Now()
	f.Now = func() time.Time { return now }
	var cursor []byte
	step := func(what string, want []string, problems int, asked ...string) Batch {
		t.Helper()
		b, err := f.Since(t.Context(), cursor)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if diff := cmp.Diff(want, kinds(b)); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
		if len(b.Problems) != problems {
			t.Errorf("%s: problems %v, want %d", what, b.Problems, problems)
		}
		if got := s.log(); asked != nil && !slices.Equal(got, asked) {
			t.Errorf("%s: asked for %q, want %q", what, got, asked)
		}
		cursor = b.Next
		return b
	}
	s.put("A-1", "1", "2026-01-01T00:00:00Z")
	s.put("A-2", "1", "2026-01-01T00:00:00.5Z")
	step("the first poll takes the zip", []string{"new A-1", "new A-2"}, 0, "all.zip 200", "modified_id.csv 200")
	step("nothing new costs one request", nil, 0, "modified_id.csv 304")
	s.put("A-1", "2", "2026-01-02T00:00:00Z")
	s.put("A-3", "1", "2025-01-01T00:00:00Z") // late, and dated before everything
	step("what is new is fetched alone", []string{"changed A-1", "new A-3"}, 0, "modified_id.csv 200", "A-1.json 200", "A-3.json 200")
	s.put("A-1", "3", "2026-01-03T00:00:00Z")
	s.broken["A-1.json"] = 404
	step("a record that is listed and not there stays pending", nil, 1, "modified_id.csv 200", "A-1.json 404")
	step("and is asked for again", nil, 1, "modified_id.csv 304", "modified_id.csv 200", "A-1.json 404")
	delete(s.broken, "A-1.json")
	step("until it is there", []string{"changed A-1"}, 0)
	delete(s.records, "A-2")
	delete(s.times, "A-2")
	step("what the index lacks is deleted", []string{"deleted A-2"}, 0)
	s.records["A-3"] = strings.Replace(s.records["A-3"], `"fixed":"1"`, `"fixed":"9"`, 1)
	s.zip = nil
	step("an edit without a new time is not in the index", nil, 0)
	now = now.Add(25 * time.Hour)
	step("but in the zip of the next day", []string{"changed A-3"}, 0)
	now = now.Add(25 * time.Hour)
	step("a zip that is the same costs one request", nil, 0, "all.zip 304", "modified_id.csv 304")
	s.times["A-3"] = "2026-01-04T00:00:00Z"
	step("a body that is older than the index says is not taken", nil, 1)
	s.put("A-3", "10", "2026-01-04T00:00:00Z")
	step("its successor is", []string{"changed A-3"}, 0)
	s.put("A-4", "1", "2026-01-05T00:00:00Z")
	s.records["A-4"] = `{"id":"A-4","modified":`
	step("a record that is none is pending and stops nothing", nil, 1)
	s.put("A-4", "1", "2026-01-06T00:00:00Z")
	s.put("A-5", "1", "2026-01-06T00:00:00Z")
	s.records["A-5"] = s.records["A-1"]
	step("nor does one that is another", []string{"new A-4"}, 1)
	delete(s.records, "A-5")
	delete(s.times, "A-5")
	s.broken["modified_id.csv"] = 503
	step("a server that is down is a problem", nil, 2)
	if all, err := f.Since(t.Context(), nil); err != nil || len(all.Changes) != 3 {
		t.Errorf("and what the mirror has still counts: %v, %v", kinds(all), err)
	}
	delete(s.broken, "modified_id.csv")
	step("then it is up", nil, 0)
	for i := range 300 {
		s.put(fmt.Sprintf("B-%03d", i), "1", "2026-02-01T00:00:00Z")
	}
	s.zip = nil
	s.log()
	var want []string
	for i := range 300 {
		want = append(want, fmt.Sprintf("new B-%03d", i))
	}
	step("much is taken as a zip", want, 0, "modified_id.csv 200", "all.zip 200")
}

// TestBucketResumes cuts the zip at every part of it.
func TestBucketResumes(t *testing.T) {
	s, f := newBucket(t)
	for i := range 50 {
		s.put(fmt.Sprintf("A-%02d", i), "1", "2026-01-01T00:00:00Z")
	}
	s.freezeZip()
	s.cut = 1 + len(s.zip)/4
	tries := 0
	for ; tries < 10; tries++ {
		b, err := f.Since(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if b.Complete() {
			if len(b.Changes) != 50 {
				t.Errorf("%d records", len(b.Changes))
			}
			break
		}
	}
	log := s.log()
	if tries != 3 || !slices.Contains(log, "all.zip 206") {
		t.Errorf("%d tries: %q", tries, log)
	}
	// A zip that changed meanwhile is begun anew.
	s, f = newBucket(t)
	s.put("A-1", "1", "2026-01-01T00:00:00Z")
	s.freezeZip()
	s.cut = 10
	if b, err := f.Since(t.Context(), nil); err != nil || b.Complete() {
		t.Fatalf("a zip that was cut: %v, %v", b, err)
	}
	s.cut = 0
	s.put("A-1", "2", "2026-01-02T00:00:00Z")
	s.freezeZip()
	if b, err := f.Since(t.Context(), nil); err != nil || !slices.Equal(kinds(b), []string{"new A-1"}) || !b.Complete() {
		t.Errorf("a zip that changed meanwhile: %v, %v, %v", kinds(b), b.Problems, err)
	}
}

// TestBucketSurvivesDamage damages the mirror in each file.
func TestBucketSurvivesDamage(t *testing.T) {
	for _, file := range []string{"held.json", "all.zip"} {
		s, f := newBucket(t)
		s.put("A-1", "1", "2026-01-01T00:00:00Z")
		first, err := f.Since(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(f.Dir, "Test", file)
		if file == "held.json" {
			err = os.WriteFile(name, []byte("{"), 0o644)
		} else {
			err = os.Remove(name)
		}
		if err != nil {
			t.Fatal(err)
		}
		now := f.Now().Add(48 * time.Hour)
		f.Now = func() time.Time { return now }
		b, err := f.Since(t.Context(), first.Next)
		if err != nil || len(b.Changes) != 0 || !b.Complete() {
			t.Errorf("%s: %v, %v, %v", file, kinds(b), b.Problems, err)
		}
	}
}

func TestIndexRefuses(t *testing.T) {
	for _, s := range []string{"x", "2026-01-01T00:00:00Z,A-1", "yesterday,A-1\n", "2026-01-01T00:00:00Z,../../x y\n", "2026-01-01T00:00:00Z\n"} {
		if _, err := readIndex([]byte(s)); err == nil {
			t.Errorf("%q was read as an index", s)
		}
	}
	got, err := readIndex([]byte("2026-01-01T00:00:00.5Z,Test/A-1\r\n2026-01-01T00:00:00Z,A-1\n\n"))
	if err != nil || got["A-1"].Nanosecond() == 0 {
		t.Errorf("readIndex = %v, %v", got, err)
	}
}

func FuzzIndex(f *testing.F) {
	f.Add([]byte("2026-01-01T00:00:00.5Z,Test/A-1\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		index, err := readIndex(b)
		if err != nil {
			return
		}
		for id := range index {
			if filepath.Base(id) != id || !bucketID.MatchString(id) {
				t.Errorf("id %q", id)
			}
		}
	})
}

// TestZipIsADir: a zip file of records is read as a directory.
func TestZipIsADir(t *testing.T) {
	s := &bucket{t: t, records: map[string]string{}, times: map[string]string{}}
	s.put("A-1", "1", "2026-01-01T00:00:00Z")
	s.freezeZip()
	z, err := zip.NewReader(bytes.NewReader(s.zip), int64(len(s.zip)))
	if err != nil {
		t.Fatal(err)
	}
	b, err := Dir{FS: z}.Since(t.Context(), nil)
	if err != nil || !slices.Equal(kinds(b), []string{"new A-1"}) || b.Live != 1 {
		t.Errorf("%v, %d live, %v", kinds(b), b.Live, err)
	}
}

func TestGuardHolds(t *testing.T) {
	files := fstest.MapFS{}
	fill := func(n int, fixed string) {
		clear(files)
		for i := range n {
			id := fmt.Sprintf("CVE-1-%04d", i)
			files[id+".json"] = record(id, fixed)
		}
	}
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	g := Guard{Feed: Dir{FS: files}, Now: func() time.Time { return now }}
	fill(1000, "1.0")
	first, err := g.Since(t.Context(), nil)
	if err != nil || len(first.Changes) != 1000 || !first.Complete() {
		t.Fatalf("%d changes, %v, %v", len(first.Changes), first.Problems, err)
	}
	fill(960, "1.0")
	if b, err := g.Since(t.Context(), first.Next); err != nil || len(b.Changes) != 40 || !b.Complete() {
		t.Errorf("a few that are gone: %d changes, %v, %v", len(b.Changes), b.Problems, err)
	}
	for what, change := range map[string]func(){
		"many are gone": func() { fill(900, "1.0") },
		"all are gone":  func() { fill(0, "") },
		"many are withdrawn": func() {
			for i := range 100 {
				id := fmt.Sprintf("CVE-1-%04d", i)
				files[id+".json"] = withdrawn(id)
			}
		},
		"many go back": func() {
			for i := range 20 {
				id := fmt.Sprintf("CVE-1-%04d", i)
				files[id+".json"] = &fstest.MapFile{Data: bytes.Replace(record(id, "2.0").Data, []byte("2026-"), []byte("2025-"), 1)}
			}
		},
		"one is of the future": func() {
			files["x.json"] = &fstest.MapFile{Data: bytes.Replace(record("CVE-2-1", "2.0").Data, []byte("2026-"), []byte("2027-"), 1)}
		},
	} {
		fill(1000, "1.0")
		change()
		b, err := g.Since(t.Context(), first.Next)
		if err != nil || len(b.Changes) != 0 || b.Complete() || !bytes.Equal(b.Next, first.Next) {
			t.Errorf("%s: %d changes, problems %v, %v", what, len(b.Changes), b.Problems, err)
		}
		obey := g
		obey.Accept = func(h Held) bool { return h.Key == b.Problems[len(b.Problems)-1].Digest }
		if b, err := obey.Since(t.Context(), first.Next); err != nil || len(b.Changes) == 0 || !b.Complete() {
			t.Errorf("%s, accepted: %d changes, problems %v, %v", what, len(b.Changes), b.Problems, err)
		}
		fill(1000, "1.0")
		if b, err := g.Since(t.Context(), b.Next); err != nil || len(b.Changes) != 0 || !b.Complete() {
			t.Errorf("%s, and whole again: %v, %v, %v", what, kinds(b), b.Problems, err)
		}
	}
	if _, err := g.Since(t.Context(), []byte("x")); err == nil {
		t.Error("a foreign cursor was accepted")
	}
}

const cveRecord = `{"dataType":"CVE_RECORD","dataVersion":"5.1","cveMetadata":{"cveId":"CVE-2026-1234","state":"PUBLISHED","datePublished":"2026-01-01T00:00:00","dateUpdated":"2026-01-02T00:00:00.000Z"},
"containers":{"cna":{"descriptions":[{"lang":"en","value":"d"}],"affected":[%s]}}}`

func TestCVE5(t *testing.T) {
	for affected, want := range map[string]string{
		`{"product":"p","versions":[{"version":"1.0","status":"affected","lessThan":"1.5","versionType":"semver"}]}`: `[{"events":[{"introduced":"1.0"},{"fixed":"1.5"}],"type":"ECOSYSTEM"}]`,
		`{"product":"p","versions":[{"version":"unspecified","status":"affected","lessThanOrEqual":"1.5"}]}`:         `[{"events":[{"introduced":"0"},{"last_affected":"1.5"}],"type":"ECOSYSTEM"}]`,
		`{"product":"p","versions":[{"version":"1.2","status":"affected"},{"version":"1.3","status":"unaffected"}]}`: `[{"events":[{"introduced":"1.2"},{"last_affected":"1.2"}],"type":"ECOSYSTEM"}]`,
		`{"product":"p","versions":[{"version":"1.2","status":"affected","lessThan":"*"}]}`:                          `[{"events":[{"introduced":"1.2"}],"type":"ECOSYSTEM"}]`,
		`{"product":"p","versions":[{"version":"abc","versionType":"git","lessThan":"def","status":"affected"}]}`:    `[{"events":[{"introduced":"0"}],"type":"ECOSYSTEM"}]`,
		`{"product":"p","defaultStatus":"affected","versions":[{"version":"2","status":"unaffected"}]}`:              `[{"events":[{"introduced":"0"}],"type":"ECOSYSTEM"}]`,
		`{"product":"p"}`: `[{"events":[{"introduced":"0"}],"type":"ECOSYSTEM"}]`,
		`{"product":"n/a","versions":[{"version":"n/a","status":"affected"}]}`:                            "",
		`{"product":"p","defaultStatus":"unaffected","versions":[{"version":"1","status":"unaffected"}]}`: "",
	} {
		b, err := FromCVE5(fmt.Appendf(nil, cveRecord, affected))
		if err != nil {
			t.Errorf("%s: %v", affected, err)
			continue
		}
		if want == "" {
			if b != nil {
				t.Errorf("%s: %s", affected, b)
			}
			continue
		}
		if !bytes.Contains(b, []byte(`"ranges":`+want)) {
			t.Errorf("%s: %s, want %s", affected, b, want)
		}
		if _, err := readHeader(b); err != nil {
			t.Errorf("%s: no record of ours: %v", affected, err)
		}
	}
	files := fstest.MapFS{
		"cves/2026/1xxx/CVE-2026-1234.json": {Data: fmt.Appendf(nil, cveRecord, `{"product":"p"}`)},
		"cves/2026/1xxx/CVE-2026-1235.json": {Data: []byte(`{"dataType":"CVE_RECORD","dataVersion":"5.1","cveMetadata":{"cveId":"CVE-2026-1235","state":"REJECTED","dateRejected":"2026-01-02T00:00:00Z"}}`)},
		"cves/deltaLog.json":                {Data: []byte(`[{"fetchTime":"x"}]`)},
		"cves/delta.json":                   {Data: []byte(`{"fetchTime":"x"}`)},
		"cves/torn.json":                    {Data: []byte(`{"containers":{}}`)},
		"cves/array.json":                   {Data: []byte(`[{"id":"x"}]`)},
		"cves/bad.json":                     {Data: []byte(`{"dataType":"CVE_RECORD","dataVersion":"4.0","cveMetadata":{"cveId":"CVE-2026-1236"}}`)},
	}
	b, err := Dir{FS: files, Convert: FromCVE5}.Since(t.Context(), nil)
	if err != nil || !slices.Equal(kinds(b), []string{"new CVE-2026-1234", "withdrawn CVE-2026-1235"}) || len(b.Problems) != 3 {
		t.Errorf("%v, %v, %v", kinds(b), b.Problems, err)
	}
	again, err := Dir{FS: files, Convert: FromCVE5}.Since(t.Context(), b.Next)
	if err != nil || len(again.Changes) != 0 {
		t.Errorf("again: %v, %v", kinds(again), err)
	}
}

func FuzzCVE5(f *testing.F) {
	f.Add(fmt.Appendf(nil, cveRecord, `{"product":"p","packageURL":"pkg:npm/p","versions":[{"version":"1.0","status":"affected","lessThan":"1.5"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if out, err := FromCVE5(b); err == nil && out != nil {
			readHeader(out)
		}
	})
}

func TestEnrichment(t *testing.T) {
	known := map[string]Exploitation{}
	problems, err := ReadKEV(strings.NewReader(`{"count":3,"vulnerabilities":[{"cveID":"CVE-2026-1234","dateAdded":"2026-01-02","dueDate":"2026-01-16","knownRansomwareCampaignUse":"Known"},{"cveID":"x"},7]}`), known)
	if err != nil || len(problems) != 2 {
		t.Errorf("KEV: %v, %v", problems, err)
	}
	problems, err = ReadEPSS(strings.NewReader("#model_version:v2026\ncve,epss,percentile\nCVE-2026-1234,0.5,0.99\nCVE-2026-1235,7,0\nx\n"), known)
	if err != nil || len(problems) != 2 {
		t.Errorf("EPSS: %v, %v", problems, err)
	}
	want := map[string]Exploitation{"CVE-2026-1234": {
		Known: time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC), Due: time.Date(2026, 1, 16, 0, 0, 0, 0, time.UTC), Ransomware: true, EPSS: 0.5, Percentile: 0.99,
	}}
	if diff := cmp.Diff(want, known); diff != "" {
		t.Error(diff)
	}
	for _, s := range []string{"", "{}", `{"count":2,"vulnerabilities":[]}`} {
		if _, err := ReadKEV(strings.NewReader(s), known); err == nil {
			t.Errorf("%q is a catalogue", s)
		}
	}
	for _, s := range []string{"", "a,b\n"} {
		if _, err := ReadEPSS(strings.NewReader(s), known); err == nil {
			t.Errorf("%q is a list of scores", s)
		}
	}
}

func FuzzEnrichment(f *testing.F) {
	f.Add([]byte("cve,epss,percentile\nCVE-2026-1234,0.5,0.99\n"))
	f.Add([]byte(`{"vulnerabilities":[{"cveID":"CVE-2026-1234","dateAdded":"2026-01-02"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		known := map[string]Exploitation{}
		ReadKEV(bytes.NewReader(b), known)
		ReadEPSS(bytes.NewReader(b), known)
		for id, x := range known {
			if !cveID.MatchString(id) || !(x.EPSS >= 0 && x.EPSS <= 1) {
				t.Errorf("%s %v", id, x)
			}
		}
	})
}
