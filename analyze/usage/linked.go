package usage

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"

	"github.com/cleanstart/cleanstart/analyze/binary"
	"github.com/cleanstart/cleanstart/internal/dwarfx"
)

// linked is one program with its graph.
type linked struct {
	program *binary.Program
	graph   *Graph
	names   map[string]int            // object as the map has it → index
	byName  map[int]map[string][]Node // object → section name → nodes
	digest  string                    // over the objects' digests, in load order
	nodes   int                       // sections with bytes
	live    int                       // of those, live
	extra   int                       // of those, live and discarded all the same
}

func newLinked(p *binary.Program) (*linked, error) {
	o, err := options(p.Link.Args)
	if err != nil {
		return nil, err
	}
	o.Exports = p.Exports
	l := &linked{program: p, names: map[string]int{}, byName: map[int]map[string][]Node{}}
	h := sha256.New()
	inputs := make([]Input, len(p.Objects))
	for i := range p.Objects {
		in := &p.Objects[i]
		inputs[i] = Input{Name: in.Name(), Object: in.Object}
		l.names[in.Name()] = i
		io.WriteString(h, in.Digest+"\n")
	}
	same := map[string]int{}
	for _, in := range inputs {
		same[in.Name]++
	}
	for i := range inputs {
		inputs[i].Doubtful = same[inputs[i].Name] > 1
	}
	l.digest = "sha256:" + hex.EncodeToString(h.Sum(nil))
	if l.graph, err = New(inputs, o); err != nil {
		return nil, err
	}
	for n, s := range l.graph.Nodes {
		if l.byName[n.Object] == nil {
			l.byName[n.Object] = map[string][]Node{}
		}
		l.byName[n.Object][s.Name] = append(l.byName[n.Object][s.Name], n)
		if s.Size == 0 || l.graph.Dropped(n) {
			continue
		}
		l.nodes++
		if l.graph.Live(n) {
			l.live++
		}
	}
	return l, l.check()
}

type sectionOf struct{ file, section string }

// check compares the dead set with what the linker discarded. The linker
// keeps nothing that the graph calls dead: such a section is live through an
// edge that the graph lacks, and then nothing it says is proof. The other way
// round the graph only says too much.
func (l *linked) check() error {
	if !collects(l.program.Link.Args) {
		return nil
	}
	discarded := map[sectionOf]int{}
	for _, d := range l.program.Map.Discarded {
		discarded[sectionOf{d.File, d.Section}]++
	}
	for n, s := range l.graph.Nodes {
		if s.Size == 0 || l.graph.Dropped(n) || l.graph.Live(n) {
			continue
		}
		key := sectionOf{l.graph.inputs[n.Object].Name, s.Name}
		if discarded[key] == 0 {
			return fmt.Errorf("the linker kept section %s of %s, which the reference graph calls dead: the graph is not sound here", s.Name, key.file)
		}
		discarded[key]--
	}
	for n, s := range l.graph.Nodes {
		if s.Size != 0 && !l.graph.Dropped(n) && l.graph.Live(n) && discarded[sectionOf{l.graph.inputs[n.Object].Name, s.Name}] > 0 {
			l.extra++
		}
	}
	return nil
}

// reaches reports whether code lies in a live section; code that the map does
// not place is taken for live.
func (l *linked) reaches(c binary.Code) bool {
	if c.Address == c.End && c.How == dwarfx.Inlined.String() {
		// a marker without bytes may stand behind the section it belongs to
		return l.at(c.Address) || l.at(c.Address-1)
	}
	return l.at(c.Address)
}

func (l *linked) at(addr uint64) bool {
	placed, ok := l.program.Map.At(addr)
	if !ok {
		return true
	}
	i, ok := l.names[placed.File]
	if !ok {
		return true
	}
	nodes := l.byName[i][placed.Section]
	for _, n := range nodes {
		if l.graph.Live(n) {
			return true
		}
	}
	return len(nodes) == 0
}

// lives reports whether code of a function lies in a live section.
func (l *linked) lives(f *dwarfx.Function) bool {
	for _, i := range f.Instances {
		if l.reaches(binary.Code{Address: i.Low, End: i.High, How: i.Kind.String()}) {
			return true
		}
	}
	return false
}

// copies reports whether live code of a function of one of the names is
// linked, under a symbol or inlined.
func (l *linked) copies(names []string) (string, bool) {
	for _, name := range names {
		for _, f := range l.program.Debug.Functions(name) {
			if l.lives(f) {
				return name, true
			}
		}
	}
	return "", false
}
