package attesttest

import (
	"slices"
	"testing"

	"github.com/cleanstart/cleanstart/attest"
)

// Verifier checks an output directory. The names of artifacts in what it
// returns are those of [attest.Problem].
type Verifier func(t testing.TB, dir string) *attest.Verification

// TestVerifier damages a copy of dir, which must verify, in every way of a
// matrix, and requires that verify refuses each and calls what was hit by its
// name and state: missing, forged, stale or foreign. For each of the eleven
// artifacts, and for the evidence manifest:
//
//   - its file, its referrer, its blob deleted, each alone and all together;
//   - a byte flipped in file, payload, signature, timestamp and referrer, where
//     they lie and with every digest around them made anew;
//   - signed by a stranger, and forged under the signer's name, in its place
//     and beside it;
//   - listed twice, added once more, reordered, exchanged, attached elsewhere;
//   - replaced by, and beside, the donors' own: valid and not of this set.
//
// Beside that every file is deleted and flipped, every referrer stripped, and
// the label taken out of the image's configuration. Without donors the rows
// that need them are left out; there are more than two hundred others.
func TestVerifier(t *testing.T, dir string, verify Verifier, donors ...Donor) {
	b := newBox(t, dir)
	v := verify(t, b.dir)
	if !v.OK {
		t.Fatalf("the undamaged directory does not verify: %v", v.Problems)
	}
	owner := map[string]string{}
	for _, f := range v.Manifest.Files {
		owner[f.Path] = f.Role
	}
	kinds := map[string]bool{}
	for _, k := range attest.Kinds() {
		kinds[k.Name] = true
	}
	for _, d := range donors {
		if v := verify(t, d.Dir); !v.OK {
			t.Fatalf("the donor %s does not verify: %v", d.Name, v.Problems)
		}
	}
	cases := 0
	refuse := func(t *testing.T, want []finding) {
		t.Helper()
		cases++
		v := verify(t, b.dir)
		if v.OK {
			t.Error("it verifies")
			return
		}
		if v.Err() == nil {
			t.Error("it is not OK and has no error")
		}
		for _, f := range want {
			if !slices.ContainsFunc(v.Problems, func(p attest.Problem) bool { return p.Artifact == f.artifact && p.State == f.state }) {
				t.Errorf("no %s %s in %v", f.artifact, f.state, v.Problems)
			} else if got := v.Artifact(f.artifact).State; kinds[f.artifact] && got != f.state {
				t.Errorf("%s is %s, want %s: %v", f.artifact, got, f.state, v.Problems)
			}
		}
	}
	t.Run("Matrix", func(t *testing.T) {
		for _, row := range matrix(donors) {
			t.Run(row.name, func(t *testing.T) {
				b.t = t
				defer b.heal()
				if row.do(b) {
					refuse(t, row.want)
				}
			})
		}
	})
	t.Run("EveryFile", func(t *testing.T) {
		b.t = t
		for _, name := range b.files() {
			role := owner[name]
			if role == "" { // the evidence manifest's own, and the index
				role = "manifest"
			}
			if name == indexFile {
				role = "layout"
			}
			b.remove(name)
			refuse(t, []finding{{role, attest.Missing}})
			b.heal()
			data := b.read(name)
			bad := slices.Clone(data)
			bad[len(bad)/3] ^= 0x20 // the other case of a letter: the kindest flip
			b.write(name, bad)
			refuse(t, nil)
			b.heal()
			if t.Failed() {
				t.Fatalf("%s: see above", name)
			}
		}
	})
	b.t = t
	if v := verify(t, b.dir); !v.OK {
		t.Errorf("after all damage is undone it does not verify: %v", v.Problems)
	}
	t.Logf("%d cases", cases)
}
