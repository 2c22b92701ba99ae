package ast

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"modernc.org/cc/v4"
)

// Rule is one check of C source. Its findings are reported; they raise
// attention, and nothing that a rule does not find is proof of anything.
type Rule struct {
	Name     string // lower case with hyphens, stable
	Doc      string // what is wrong, and what to write instead
	CWE      int    // of the Common Weakness Enumeration
	Severity Severity
	Run      func(*Pass)
}

// Severity of a rule's findings.
type Severity string

const (
	Low    Severity = "low"
	Medium Severity = "medium"
	High   Severity = "high"
)

// Found is one finding of a rule. The line is that of the original source, by
// the unit's line markers; the column counts bytes in the preprocessed line,
// which is the original's but behind an expanded macro.
type Found struct {
	Rule     string   `json:"rule"`
	CWE      int      `json:"cwe"`
	Severity Severity `json:"severity"`
	Message  string   `json:"message"`
	File     string   `json:"file"`
	Line     int      `json:"line"`
	Column   int      `json:"column"`
	Function string   `json:"function,omitempty"` // it is in
}

func (f Found) String() string {
	return fmt.Sprintf("%s:%d:%d: %s (%s, CWE-%d)", f.File, f.Line, f.Column, f.Message, f.Rule, f.CWE)
}

// Pass is one function definition under one rule.
type Pass struct {
	rule *Rule
	fn   *function
	out  *[]Found
}

// Reportf records a finding at a node.
func (p *Pass) Reportf(at cc.Node, format string, args ...any) {
	pos := at.Position()
	file, line := p.fn.unit.original(pos.Line)
	*p.out = append(*p.out, Found{
		p.rule.Name, p.rule.CWE, p.rule.Severity, fmt.Sprintf(format, args...), file, line, pos.Column, p.fn.name,
	})
}

// Rules are all rules, by name.
func Rules() []*Rule {
	out := slices.Concat(opensslRules, cryptoRules, unsafeRules, memoryRules, systemRules)
	slices.SortFunc(out, func(a, b *Rule) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// Check runs rules over the function definitions of one preprocessed unit of
// C and gives what they find, in the order of the source, each once. A unit
// that does not parse is an error. With types that cannot be resolved the
// rules that need them find less.
func Check(src []byte, rules []*Rule) ([]Found, error) {
	u := lex(src, nil, nil)
	tree, err := u.translate()
	if err != nil {
		return nil, err
	}
	var out []Found
	for _, fn := range definitions(u, tree) {
		for _, r := range rules {
			if err := (&Pass{r, fn, &out}).run(); err != nil {
				return nil, err
			}
		}
	}
	slices.SortFunc(out, compareFound)
	return slices.Compact(out), nil
}

// run keeps a rule that meets a tree it does not expect from ending the
// others.
func (p *Pass) run() (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("rule %s in %s: %v", p.rule.Name, p.fn.name, v)
		}
	}()
	p.rule.Run(p)
	return nil
}

// translate parses the unit with types, or without where they do not resolve.
func (u *unit) translate() (tree *cc.AST, err error) {
	defer func() {
		if p := recover(); p != nil {
			tree, err = nil, fmt.Errorf("the parser gave up: %.300v", p)
		}
	}()
	for _, f := range []func(*cc.Config, []cc.Source) (*cc.AST, error){typed, cc.Parse} {
		abi, abiErr := cc.NewABI("linux", "amd64")
		if abiErr != nil {
			return nil, abiErr
		}
		cfg := &cc.Config{ABI: abi, FS: noFiles{}, FSOnly: true, ExpansionLimit: 1 << 24}
		if tree, err = f(cfg, []cc.Source{{Name: "<predefined>", Value: predefined}, {Name: "<builtin>", Value: cc.Builtin}, {Name: "unit", Value: u.code()}}); err == nil {
			return tree, nil
		}
	}
	if s := err.Error(); len(s) > maxErrorText {
		err = errors.New(s[:maxErrorText])
	}
	return nil, err
}

// typed is cc.Translate; the checker's panics mean that there are no types.
func typed(cfg *cc.Config, sources []cc.Source) (tree *cc.AST, err error) {
	defer func() {
		if p := recover(); p != nil {
			tree, err = nil, fmt.Errorf("the checker gave up: %.300v", p)
		}
	}()
	return cc.Translate(cfg, sources)
}
