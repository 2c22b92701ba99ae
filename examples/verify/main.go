// Verify is an auditor's check of what quickstart wrote: offline, and with
// exit status 1 and the artifact's name when anything is missing, forged,
// stale or foreign.
//
//	go run ./examples/verify qs
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/cleanstart/cleanstart/attest"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}

// run is the command: 0 verified, 1 not, 2 could not be checked.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("verify", flag.ContinueOnError)
	flags.SetOutput(stderr)
	key := flags.String("key", "", "PEM public key to trust (default: the directory's own, which shows integrity, not origin)")
	image := flags.String("image", "", "manifest digest to expect (default: any)")
	asJSON := flags.Bool("json", false, "print the verification as JSON")
	if flags.Parse(args) != nil {
		return 2
	}
	if flags.NArg() != 1 {
		fmt.Fprintln(stderr, "usage: verify [-key FILE] [-image DIGEST] [-json] DIR")
		return 2
	}
	opts := attest.Options{Image: *image}
	if *key != "" {
		b, err := os.ReadFile(*key)
		if err == nil {
			opts.Key, err = attest.ParsePublicKey(b)
		}
		if err != nil {
			fmt.Fprintf(stderr, "verify: key %s: %v\n", *key, err)
			return 2
		}
	}
	v, err := attest.Verify(ctx, flags.Arg(0), opts)
	if err != nil {
		fmt.Fprintln(stderr, "verify:", err)
		return 2
	}
	if *asJSON {
		e := json.NewEncoder(stdout)
		e.SetIndent("", "  ")
		err = e.Encode(v)
	} else {
		err = v.WriteText(stdout)
	}
	if err != nil {
		fmt.Fprintln(stderr, "verify:", err)
		return 2
	}
	if err := v.Err(); err != nil {
		fmt.Fprintln(stderr, "verify:", err)
		return 1
	}
	if *key == "" && !*asJSON {
		fmt.Fprintln(stdout, "\nnext: name the key you trust, verify -key cosign.pub", flags.Arg(0))
	}
	return 0
}
