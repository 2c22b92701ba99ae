// Quickstart takes signed upstream tarballs to a hardened container image with
// findings, VEX and eleven signed artifacts, in one directory.
//
//	go run ./examples/quickstart -out qs
//	go run ./examples/quickstart -spec examples/quickstart/tls.yaml -out tls
package main

import (
	"context"
	"embed"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/cleanstart/cleanstart/compile"
	"github.com/cleanstart/cleanstart/compile/local"
	"github.com/cleanstart/cleanstart/examples/internal/pipeline"
	"github.com/cleanstart/cleanstart/examples/internal/progress"
	"github.com/cleanstart/cleanstart/source"
	"github.com/cleanstart/cleanstart/source/mirror"
)

// builtin is what a run without flags uses, so that the program needs no file
// beside it.
//
//go:embed *.yaml keys advisories
var builtin embed.FS

func main() {
	local.Init()            // before anything else: a sandbox's first process is this program
	debug.SetGCPercent(400) // a short run, with memory to spare
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", pipeline.Explain(err))
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("quickstart", flag.ExitOnError)
	out := flags.String("out", "", "directory to write; an earlier run there is replaced")
	specFile := flags.String("spec", "", "specification; its keys lie beside it (default: musl, zlib and curl, built in)")
	advisories := flags.String("advisories", "", "directory of OSV records (default: a small set, built in)")
	cache := flags.String("cache", "", "cache directory (default: in the user's)")
	key := flags.String("key", "", "PEM private key to sign with; its password in COSIGN_PASSWORD (default: a new one)")
	lock := flags.String("lock", "", "file to write what was resolved to: every digest, tag and signer")
	locked := flags.String("locked", "", "lock file of an earlier run; anything else than it holds is refused")
	mirrorDir := flags.String("mirror", "", "directory of archives by digest, as -fill makes; asked first for what -locked names")
	fill := flags.String("fill", "", "directory to fill with every archive and signature that was resolved")
	flags.Parse(args)
	if *out == "" || flags.NArg() > 0 {
		return fmt.Errorf("usage: quickstart -out DIR [-spec FILE] [-advisories DIR] [-cache DIR] [-key FILE] [-lock FILE | -locked FILE] [-mirror DIR] [-fill DIR]")
	}
	if *cache == "" {
		dir, err := pipeline.DefaultCache()
		if err != nil {
			return err
		}
		*cache = dir
	}
	var files fs.FS = builtin
	name := "quickstart.yaml"
	if *specFile != "" {
		files, name = os.DirFS(filepath.Dir(*specFile)), filepath.Base(*specFile)
	}
	osv, err := fs.Sub(builtin, "advisories")
	if err != nil {
		return err
	}
	if *advisories != "" {
		osv = os.DirFS(*advisories)
	}

	spec, err := compile.LoadSpec(files, name)
	if err != nil {
		return err
	}
	now := time.Now().UTC()
	id, err := pipeline.NewIdentity(*key, os.Getenv("COSIGN_PASSWORD"))
	if err != nil {
		return err
	}
	board := progress.New(os.Stderr)
	settings := pipeline.Settings{Cache: *cache, Now: now, Board: board, Mirror: *mirrorDir}
	if *locked != "" {
		if settings.Lock, err = source.ReadLock(os.DirFS(filepath.Dir(*locked)), filepath.Base(*locked)); err != nil {
			return err
		}
	}
	workshop, err := pipeline.Open(ctx, settings)
	if err != nil {
		return err
	}
	defer workshop.Close()
	built, err := workshop.Build(ctx, spec, files)
	if err != nil {
		return err
	}
	if err := keep(ctx, built, *lock, *fill, filepath.Join(*cache, "source", "archives")); err != nil {
		return err
	}
	judged, err := workshop.Judge(ctx, built.Image, osv)
	if err != nil {
		return err
	}
	if _, err := workshop.Attest(ctx, judged, id, *out); err != nil {
		return err
	}
	board.Close()
	pipeline.Summary(os.Stdout, judged, *out)
	return judged.Err()
}

// keep writes the lock of what was built from, and fills a mirror with it.
func keep(ctx context.Context, built *pipeline.Built, lock, dir, archives string) error {
	if lock == "" && dir == "" {
		return nil
	}
	l, err := source.NewLock(built.Trees...)
	if err != nil {
		return err
	}
	if lock != "" {
		if err := l.Write(lock); err != nil {
			return err
		}
	}
	if dir == "" {
		return nil
	}
	return mirror.Fill(ctx, dir, l, mirror.Transport{Files: os.DirFS(archives)})
}
