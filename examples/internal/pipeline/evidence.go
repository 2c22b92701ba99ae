package pipeline

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
	"golang.org/x/sync/errgroup"

	"github.com/cleanstart/cleanstart/analyze"
	"github.com/cleanstart/cleanstart/analyze/advisory"
	"github.com/cleanstart/cleanstart/analyze/ast"
	"github.com/cleanstart/cleanstart/analyze/binary"
	"github.com/cleanstart/cleanstart/analyze/golang"
	"github.com/cleanstart/cleanstart/analyze/reach"
	"github.com/cleanstart/cleanstart/analyze/suite"
	"github.com/cleanstart/cleanstart/analyze/usage"
	"github.com/cleanstart/cleanstart/attest"
	"github.com/cleanstart/cleanstart/attest/timestamp"
	"github.com/cleanstart/cleanstart/compile"
	"github.com/cleanstart/cleanstart/examples/internal/report"
	"github.com/cleanstart/cleanstart/internal/atomicfile"
	"github.com/cleanstart/cleanstart/vex"
)

// Identity signs the evidence: a key and an authority for the time.
type Identity = attest.Signer

// NewIdentity signs with the PEM key in file, which may be encrypted with the
// password in COSIGN_PASSWORD. Without a file it makes a key that lives as
// long as the process. The authority is in this process too.
func NewIdentity(file, password string) (*Identity, error) {
	var key crypto.PrivateKey
	if file == "" {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		key = k
	} else {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("signing key: %w", err)
		}
		if key, err = cryptoutils.UnmarshalPEMToPrivateKey(b, cryptoutils.StaticPasswordFunc([]byte(password))); err != nil {
			return nil, fmt.Errorf("signing key %s: %w", file, err)
		}
	}
	signer, err := signature.LoadSigner(key, crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("signing key: %w", err)
	}
	tsa, err := timestamp.New(timestamp.Config{Clock: time.Now, Random: rand.Reader})
	if err != nil {
		return nil, err
	}
	return &Identity{Key: signer, Time: tsa}, nil
}

// Judged is an image with everything that was found about it.
type Judged struct {
	Image     *compile.Image
	Report    *analyze.Report
	Decisions []vex.Decision
}

// Judge runs the four layers and the suite over an image and decides every
// finding. A failed test is no error here; see [Judged.Failures].
func (w *Workshop) Judge(ctx context.Context, img *compile.Image, advisories fs.FS) (*Judged, error) {
	db, err := advisory.Load(advisories)
	if err != nil {
		return nil, err
	}
	work := filepath.Join(w.cache, "work")
	if err := os.MkdirAll(work, 0o755); err != nil { // no build may have made it: all came from the store
		return nil, err
	}
	dir, err := os.MkdirTemp(work, "judge-")
	if err != nil {
		return nil, err
	}
	defer atomicfile.RemoveTree(dir)
	subject, err := analyze.NewSubject(ctx, img, dir)
	if err != nil {
		return nil, err
	}
	task := w.board.Start("analyze")
	var scans []analyze.Scan // beside the layers, which wait for the workload
	scanning, sctx := errgroup.WithContext(ctx)
	scanning.Go(func() (err error) { scans, err = w.scans(sctx, subject); return err })
	defer scanning.Wait()      // on every way out, before the subject is removed
	index := new(binary.Index) // debug information is read once for all layers
	protection, err := binary.Protect(ctx, index, subject)
	if err != nil {
		task.Fail()
		return nil, err
	}
	observer := reach.New(index, img.Record.Spec.Image.Workload, reach.Options{})
	layers := []analyze.Layer{ast.Layer(), binary.Layer(index), observer.Layer(), usage.Layer(index)}
	rep, err := analyze.Run(ctx, subject, db, layers, analyze.Options{
		Clock:      func() time.Time { return time.Now().UTC() },
		Protection: func() []analyze.Protection { return protection },
		Coverage:   observer.Coverage,
		Scans:      func() []analyze.Scan { scanning.Wait(); return scans }, // before the suite, which measures time
	})
	if err == nil {
		err = scanning.Wait()
	}
	if err != nil {
		task.Fail()
		return nil, err
	}
	if err := w.goPrograms(ctx, subject, advisories, rep); err != nil {
		task.Fail()
		return nil, err
	}
	task.Done("%d candidates, %d outside upstream's range", len(rep.Findings), len(rep.Excluded))

	task = w.board.Start("test")
	rep.Tests, err = suite.Run(ctx, suite.All(), subject, suite.Options{Now: w.now, Protection: protection})
	if err != nil {
		task.Fail()
		return nil, err
	}
	j := &Judged{Image: img, Report: rep}
	task.Done("%d tests, %d failed", len(rep.Tests), len(j.Failures()))

	if j.Decisions, err = vex.DecideAll(rep); err != nil {
		return nil, err
	}
	return j, nil
}

// goPrograms adds what the modules of the image's Go programs have. The records
// are those of the Go vulnerability database among the advisories.
func (w *Workshop) goPrograms(ctx context.Context, s *analyze.Subject, advisories fs.FS, rep *analyze.Report) error {
	programs, err := golang.Programs(ctx, s, new(golang.DB))
	if err != nil || len(programs) == 0 {
		return err
	}
	db, err := golang.Load(advisories)
	if err != nil {
		return err
	}
	if programs, err = golang.Programs(ctx, s, db); err != nil {
		return err
	}
	rep.Findings = append(rep.Findings, db.Findings(programs)...)
	slices.SortStableFunc(rep.Findings, func(a, b analyze.Finding) int {
		return cmp.Or(cmp.Compare(a.Component, b.Component), cmp.Compare(a.Advisory.ID, b.Advisory.ID))
	})
	return nil
}

// Failures are the tests that keep the image from release.
func (j *Judged) Failures() []analyze.TestResult { return suite.Failures(j.Report.Tests) }

// Err names the failed tests.
func (j *Judged) Err() error {
	var errs []error
	for _, t := range j.Failures() {
		errs = append(errs, fmt.Errorf("test %s %s: %s", t.ID, t.Status, strings.Join(t.Detail, "; ")))
	}
	return errors.Join(errs...)
}

// Count is how many findings have the status.
func (j *Judged) Count(statuses ...string) int {
	n := 0
	for _, d := range j.Decisions {
		for _, s := range statuses {
			if string(d.Status) == s {
				n++
			}
		}
	}
	return n
}

// Attest signs everything and writes the output directory whole.
func (w *Workshop) Attest(ctx context.Context, j *Judged, id *Identity, out string) (*attest.Manifest, error) {
	task := w.board.Start("attest")
	m, err := w.attest(ctx, j, id, out)
	if err != nil {
		task.Fail()
		return nil, err
	}
	task.Done("eleven artifacts, signed and time-stamped")
	return m, nil
}

func (w *Workshop) attest(ctx context.Context, j *Judged, id *Identity, out string) (*attest.Manifest, error) {
	now := time.Now().UTC() // of the evidence, which is later than the build
	r := j.Image.Record
	product := vex.Product{Name: r.Spec.Name, Digest: r.Image.Manifest}
	merged, err := vex.Document(j.Report, j.Decisions, product, "CleanStart", now)
	if err != nil {
		return nil, err
	}
	each, err := vex.Split(merged)
	if err != nil {
		return nil, err
	}
	ev, err := attest.Build(ctx, attest.Input{
		Image: j.Image, Report: j.Report, Decisions: j.Decisions, VEX: merged, Each: each, Time: now,
	})
	if err != nil {
		return nil, err
	}
	data := &report.Data{Record: r, Report: j.Report, Decisions: j.Decisions,
		Verify: "go run ./examples/verify " + filepath.Base(out)}
	for _, k := range attest.Kinds() {
		data.Artifacts = append(data.Artifacts, report.Artifact{Kind: k.Name, Predicate: k.PredicateType, File: "evidence/" + k.File})
	}
	var page bytes.Buffer
	if err := report.Write(&page, data); err != nil {
		return nil, err
	}
	return attest.Write(ctx, out, ev, *id, attest.File{Path: "report.html", Data: page.Bytes()})
}
