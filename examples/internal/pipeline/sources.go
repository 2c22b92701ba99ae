package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/cleanstart/cleanstart/compile"
	"github.com/cleanstart/cleanstart/source"
	"github.com/cleanstart/cleanstart/source/archive"
	"github.com/cleanstart/cleanstart/source/checksum"
	"github.com/cleanstart/cleanstart/source/git"
	"github.com/cleanstart/cleanstart/source/gomod"
	"github.com/cleanstart/cleanstart/source/minisign"
	"github.com/cleanstart/cleanstart/source/mirror"
	"github.com/cleanstart/cleanstart/source/openpgp"
	"github.com/cleanstart/cleanstart/source/signify"
	"github.com/cleanstart/cleanstart/source/sigstore"
	"github.com/cleanstart/cleanstart/source/sshsig"
	"github.com/cleanstart/cleanstart/source/x509sig"
)

// verification is every transport and every proof engine that there is. A
// program that needs only one of them imports only that one.
func (w *Workshop) verification(keys fs.FS) (source.Options, error) {
	web := &archive.Transport{}
	proxies, err := gomod.ReadConfig(os.Getenv, os.DirFS("/"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return source.Options{}, err
	}
	var env []string
	for _, name := range git.Variables {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	repository := &git.Transport{Dir: filepath.Join(w.cache, "git"), Env: env}
	return source.Options{
		Cache: filepath.Join(w.cache, "source"),
		Keys:  keys,
		Transports: map[string]source.Transport{
			"debian":    w.archive,
			"https":     web,
			"http":      web,
			"file":      web,
			"mirror":    mirror.Transport{Files: os.DirFS(w.mirror)},
			"gomod":     gomod.Transport{Proxies: proxies, HTTP: web},
			"git+https": repository,
			"git+http":  repository,
			"git+ssh":   repository,
			"git+file":  repository,
		},
		Verifiers: []source.Verifier{openpgp.Verifier{}, sshsig.Verifier{}, minisign.Verifier{}, signify.Verifier{},
			sigstore.Verifier{}, x509sig.Verifier{}, checksum.Verifier{},
			gomod.Verifier{Proxies: proxies, HTTP: web, Cache: filepath.Join(w.cache, "sumdb")}},
		Lock: w.lock,
		Now:  w.now,
	}, nil
}

// sources verifies every component, two at a time.
func (w *Workshop) sources(ctx context.Context, spec *compile.Spec, keys fs.FS) (map[string]*source.Tree, error) {
	opts, err := w.verification(keys)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	trees := map[string]*source.Tree{}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(2)
	for _, c := range spec.Components {
		g.Go(func() error {
			task := w.board.Start("verify " + c.Name + " " + c.Version)
			o := opts
			o.Events = &source.Events{Fetched: func(_ source.Component, _ string, have, total int64) {
				if total > 0 {
					task.Note("%d of %d KiB", have>>10, total>>10)
				} else {
					task.Note("%d KiB", have>>10)
				}
			}}
			t, err := source.Verify(gctx, c.Component, o)
			if err != nil {
				task.Fail()
				return err
			}
			task.Done("%s", describe(t))
			mu.Lock()
			trees[c.Name] = t
			mu.Unlock()
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return trees, nil
}

// describe is one line on why a tree is believed.
func describe(t *source.Tree) string {
	ps := t.Proofs()
	if len(ps) == 0 {
		return "no proof"
	}
	p := ps[0]
	text := fmt.Sprintf("%s by %s", p.Grade, p.Mechanism)
	if p.Signer != "" {
		text = fmt.Sprintf("%s by %s", p.Grade, p.Signer)
	}
	if slices.ContainsFunc(ps, func(p source.Proof) bool { return p.Mechanism == "tagmatch" }) {
		text += ", and equal to its tag"
	}
	return strings.TrimSpace(text)
}
