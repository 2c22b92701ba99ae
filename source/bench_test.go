package source_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"

	pgp "github.com/ProtonMail/go-crypto/openpgp"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/cleanstart/cleanstart/source"
	"github.com/cleanstart/cleanstart/source/archive"
	"github.com/cleanstart/cleanstart/source/checksum"
	"github.com/cleanstart/cleanstart/source/mirror"
	"github.com/cleanstart/cleanstart/source/openpgp"
)

// prose is n bytes that compress about as well as source code, the same for
// the same seed.
func prose(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	words := make([]string, 2000)
	for i := range words {
		words[i] = fmt.Sprintf("%x", r.Uint64()>>(8+r.IntN(40)))
	}
	b := make([]byte, 0, n+64)
	for len(b) < n {
		b = append(b, words[int(r.ExpFloat64()*200)%len(words)]...)
		b = append(b, " \n\t;("[r.IntN(5)])
	}
	return b[:n]
}

// release is the files of a synthetic release, most of them small.
func release(files int) map[string][]byte {
	text := prose(1, 1<<20)
	r := rand.New(rand.NewPCG(2, 2))
	out := map[string][]byte{}
	for i := range files {
		n := min(int(r.ExpFloat64()*11_000), len(text))
		at := r.IntN(len(text) - n + 1)
		out[fmt.Sprintf("demo-1.0/dir%03d/file%d.c", i/40, i)] = text[at : at+n]
	}
	return out
}

func pack(b testing.TB, files map[string][]byte, format string) []byte {
	b.Helper()
	var out bytes.Buffer
	check := func(err error) {
		if err != nil {
			b.Helper()
			b.Fatal(err)
		}
	}
	if format == "zip" {
		w := zip.NewWriter(&out)
		for name, body := range files {
			f, err := w.Create(name)
			check(err)
			f.Write(body)
		}
		check(w.Close())
		return out.Bytes()
	}
	z := io.WriteCloser(nil)
	var err error
	switch format {
	case "tar.gz":
		z = gzip.NewWriter(&out)
	case "tar.xz":
		z, err = xz.NewWriter(&out)
	case "tar.zst":
		z, err = zstd.NewWriter(&out)
	case "tar":
		z = nopCloser{&out}
	}
	check(err)
	w := tar.NewWriter(z)
	for name, body := range files {
		check(w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(body)), ModTime: day}))
		w.Write(body)
	}
	check(w.Close())
	check(z.Close())
	return out.Bytes()
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// decompressed times the decompressor alone.
func decompressed(b testing.TB, packed []byte) (time.Duration, int64) {
	start := time.Now()
	z, err := source.Decompress(bytes.NewReader(packed))
	if err != nil {
		b.Fatal(err)
	}
	defer z.Close()
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{z}, make([]byte, 256<<10))
	if err != nil {
		b.Fatal(err)
	}
	return time.Since(start), n
}

// tools decompress formats on the command line.
var tools = map[string]string{"tar.gz": "gzip", "tar.xz": "xz", "tar.zst": "zstd"}

// byTool times the tool that decompresses a format, alone, or is nil where
// there is none.
func byTool(b testing.TB, format string, packed []byte) func(string) time.Duration {
	tool, err := exec.LookPath(tools[format])
	if err != nil {
		return nil
	}
	name := filepath.Join(b.TempDir(), "packed")
	if err := os.WriteFile(name, packed, 0o644); err != nil {
		b.Fatal(err)
	}
	return func(string) time.Duration {
		in, err := os.Open(name)
		if err != nil {
			b.Fatal(err)
		}
		defer in.Close()
		cmd := exec.Command(tool, "-dc")
		cmd.Stdin = in
		start := time.Now()
		if err := cmd.Run(); err != nil {
			b.Fatalf("%s: %v", tool, err)
		}
		return time.Since(start)
	}
}

// fresh runs f with empty caches, stopping the clock around peers, which run in
// turn with it; it gives the fastest run of each, which other work on the
// machine disturbed least.
func fresh(b *testing.B, f func(cache string), peers ...func(dir string) time.Duration) (own time.Duration, others []time.Duration) {
	own, others = time.Hour, make([]time.Duration, len(peers))
	for i := range others {
		others[i] = time.Hour
	}
	for b.Loop() {
		b.StopTimer()
		for i, p := range peers {
			dir := b.TempDir()
			others[i] = min(others[i], p(dir))
			source.RemoveCache(dir)
		}
		cache := b.TempDir()
		b.StartTimer()
		start := time.Now()
		f(cache)
		own = min(own, time.Since(start))
		b.StopTimer()
		if err := source.RemoveCache(cache); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	return own, others
}

// BenchmarkFormats verifies and extracts a release of 3000 files. The metrics
// are the throughput relative to the decompressor alone, ours and the format's
// own tool.
func BenchmarkFormats(b *testing.B) {
	files := release(3000)
	size := int64(0)
	for _, body := range files {
		size += int64(len(body))
	}
	for _, format := range []string{"tar", "tar.gz", "tar.xz", "tar.zst", "zip"} {
		b.Run(format, func(b *testing.B) {
			packed := pack(b, files, format)
			o := options(b, &memory{files: map[string][]byte{"mem:a": packed}})
			b.SetBytes(size)
			peers := []func(string) time.Duration{func(string) time.Duration {
				d, _ := decompressed(b, packed)
				return d
			}}
			tool := byTool(b, format, packed)
			if tool != nil {
				peers = append(peers, tool)
			}
			own, others := fresh(b, func(cache string) {
				o := o
				o.Cache = cache
				if _, err := source.Verify(b.Context(), pinnedTo(packed, "mem:a"), o); err != nil {
					b.Fatal(err)
				}
			}, peers...)
			if format != "zip" {
				b.ReportMetric(others[0].Seconds()/own.Seconds(), "of-decompressor")
			}
			if tool != nil {
				b.ReportMetric(others[1].Seconds()/own.Seconds(), "of-"+tools[format])
			}
		})
	}
}

// BenchmarkRelease verifies and extracts the release that the environment
// names in CLEANSTART_BENCH_ARCHIVE, a .tar.gz signed by
// CLEANSTART_BENCH_SIGNATURE with CLEANSTART_BENCH_KEY. The metrics are the
// throughput relative to the decompressor alone, ours and gzip, and how many
// times as fast it is as gpg and tar.
func BenchmarkRelease(b *testing.B) {
	name, signature, key := os.Getenv("CLEANSTART_BENCH_ARCHIVE"), os.Getenv("CLEANSTART_BENCH_SIGNATURE"), os.Getenv("CLEANSTART_BENCH_KEY")
	if name == "" || signature == "" || key == "" {
		b.Skip("needs CLEANSTART_BENCH_ARCHIVE, CLEANSTART_BENCH_SIGNATURE and CLEANSTART_BENCH_KEY")
	}
	packed, err := os.ReadFile(name)
	if err != nil {
		b.Fatal(err)
	}
	cert, err := os.ReadFile(key)
	if err != nil {
		b.Fatal(err)
	}
	ring, err := pgp.ReadArmoredKeyRing(bytes.NewReader(cert))
	if err != nil {
		b.Fatal(err)
	}
	at := func(name string) string { return (&url.URL{Scheme: "file", Path: name}).String() }
	c := source.Component{Name: "release", Version: "1", Places: []source.Place{{Archive: at(name), Signature: at(signature)}}}
	c.Policy.Least = source.Signed
	for _, k := range ring {
		c.Policy.Keys = append(c.Policy.Keys, source.Key{Fingerprint: fmt.Sprintf("%X", k.PrimaryKey.Fingerprint), File: filepath.Base(key)})
	}
	o := source.Options{
		Keys:       os.DirFS(filepath.Dir(key)),
		Transports: map[string]source.Transport{"file": &archive.Transport{}},
		Verifiers:  []source.Verifier{openpgp.Verifier{}, checksum.Verifier{}},
		Now:        day,
	}
	_, size := decompressed(b, packed)

	b.Run("verify", func(b *testing.B) {
		peers := []func(string) time.Duration{func(string) time.Duration {
			d, _ := decompressed(b, packed)
			return d
		}}
		gzip := byTool(b, "tar.gz", packed)
		gpg, found := gpgAndTar(b, name, signature, key)
		if found = found && gzip != nil; found {
			peers = append(peers, gzip, gpg)
		}
		b.SetBytes(size)
		own, others := fresh(b, func(cache string) {
			o := o
			o.Cache = cache
			if _, err := source.Verify(b.Context(), c, o); err != nil {
				b.Fatal(err)
			}
		}, peers...)
		b.ReportMetric(float64(own.Milliseconds()), "ms-fastest")
		b.ReportMetric(others[0].Seconds()/own.Seconds(), "of-decompressor")
		if found {
			b.ReportMetric(others[1].Seconds()/own.Seconds(), "of-gzip")
			b.ReportMetric(others[2].Seconds()/own.Seconds(), "x-gpg+tar")
		}
	})
	b.Run("load", func(b *testing.B) {
		o := o
		o.Cache = writableTempDir(b)
		if _, err := source.Verify(b.Context(), c, o); err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			if _, err := source.Load(b.Context(), c, o); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// gpgAndTar does the same by the usual tools, if they are there.
func gpgAndTar(b *testing.B, archive, signature, key string) (func(string) time.Duration, bool) {
	for _, tool := range []string{"gpg", "tar"} {
		if _, err := exec.LookPath(tool); err != nil {
			return nil, false
		}
	}
	home := b.TempDir()
	run := func(name string, arg ...string) {
		cmd := exec.Command(name, arg...)
		cmd.Env = append(os.Environ(), "GNUPGHOME="+home)
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("%s: %v\n%s", name, err, out)
		}
	}
	os.Chmod(home, 0o700)
	run("gpg", "--batch", "--quiet", "--import", key)
	return func(dir string) time.Duration {
		start := time.Now()
		run("gpg", "--batch", "--trust-model", "always", "--verify", signature, archive)
		run("tar", "xf", archive, "-C", dir)
		return time.Since(start)
	}, true
}

// BenchmarkMemory extracts a tarball of 1 GiB; the metric is the most that the
// process had of memory at any time.
func BenchmarkMemory(b *testing.B) {
	if testing.Short() {
		b.Skip("short: writes several GiB")
	}
	for _, format := range []string{"tar", "tar.gz"} {
		b.Run(format, func(b *testing.B) {
			name := filepath.Join(b.TempDir(), "big")
			sum := writeBig(b, name, format == "tar.gz")
			c := source.Component{Name: "big", Version: "1", Places: []source.Place{{Archive: (&url.URL{Scheme: "file", Path: name}).String()}}}
			c.Policy = source.Policy{Least: source.Pinned, Digest: sum}
			o := options(b, nil)
			o.Transports = map[string]source.Transport{"file": &archive.Transport{}}
			o.Limits.Archive = 2 << 30
			b.SetBytes(1 << 30)
			debug.FreeOSMemory() // what writing it took
			peak := peakMemory(func() {
				fresh(b, func(cache string) {
					o.Cache = cache
					if _, err := source.Verify(b.Context(), c, o); err != nil {
						b.Fatal(err)
					}
				})
			})
			b.ReportMetric(float64(peak)/(1<<20), "MiB-peak")
		})
	}
}

// writeBig writes 1 GiB in 20,480 files and some large ones.
func writeBig(b *testing.B, name string, packed bool) string {
	f, err := os.Create(name)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	var z io.WriteCloser = nopCloser{f}
	if packed {
		z, _ = gzip.NewWriterLevel(f, gzip.BestSpeed)
	}
	w := tar.NewWriter(z)
	text := prose(3, 64<<20)
	write := func(name string, body []byte) {
		w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(body)), ModTime: day})
		w.Write(body)
	}
	for i := range 20480 {
		write(fmt.Sprintf("big-1/d%d/f%d", i/100, i), text[i*1000:][:32<<10])
	}
	for i := range 6 {
		write(fmt.Sprintf("big-1/large%d", i), text)
	}
	w.Close()
	if err := z.Close(); err != nil {
		b.Fatal(err)
	}
	return fileDigest(b, name)
}

func fileDigest(b testing.TB, name string) string {
	b.Helper()
	f, err := os.Open(name)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	sum, err := source.Subject{Open: func() (io.ReadSeekCloser, error) { return os.Open(name) }}.Rehash(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	return sum
}

// peakMemory runs f and samples what the runtime holds of the system's memory.
func peakMemory(f func()) (peak uint64) {
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
		for {
			metrics.Read(s)
			peak = max(peak, s[0].Value.Uint64()-s[1].Value.Uint64())
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	f()
	close(stop)
	<-done
	return peak
}

// BenchmarkVerifyAll fetches 100 components from a mirror; the metric is how
// much faster that is than one after the other.
func BenchmarkVerifyAll(b *testing.B) {
	dir := b.TempDir()
	var components []source.Component
	files := release(40)
	for i := range 100 {
		files["demo-1.0/n"] = fmt.Append(nil, i)
		packed := pack(b, files, "tar.gz")
		c := pinnedTo(packed, "mirror:"+digest(packed))
		name := filepath.Join(dir, "sha256", c.Policy.Digest[len("sha256:"):])
		os.MkdirAll(filepath.Dir(name), 0o777)
		if err := os.WriteFile(name, packed, 0o644); err != nil {
			b.Fatal(err)
		}
		components = append(components, c)
	}
	o := source.Options{
		Transports: map[string]source.Transport{"mirror": mirror.Transport{Files: os.DirFS(dir)}},
		Verifiers:  []source.Verifier{checksum.Verifier{}},
		Now:        day,
	}
	all := func(workers int) func(string) time.Duration {
		return func(cache string) time.Duration {
			o := o
			o.Cache = cache
			start := time.Now()
			if _, err := source.VerifyAll(b.Context(), components, o, workers); err != nil {
				b.Fatal(err)
			}
			return time.Since(start)
		}
	}
	parallel := all(0)
	own, others := fresh(b, func(cache string) { parallel(cache) }, all(1))
	b.ReportMetric(others[0].Seconds()/own.Seconds(), "x-one-worker")
	b.ReportMetric(float64(len(components))/own.Seconds(), "components/s")
}

// BenchmarkLoad opens a tree of 3000 files that is there.
func BenchmarkLoad(b *testing.B) {
	packed := pack(b, release(3000), "tar.gz")
	_, o, err := verified(b, packed, source.Limits{})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := source.Load(b.Context(), pinnedTo(packed, "mem:a"), o); err != nil {
			b.Fatal(err)
		}
	}
}
