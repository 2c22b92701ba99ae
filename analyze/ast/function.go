package ast

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"modernc.org/cc/v4"
)

// Body is one function definition of a unit.
type Body struct {
	Name string
	File string // as the line markers name it, "" without any
	Hash string // "sha256:HEX", see [Bodies]
}

// Bodies finds the function definitions of preprocessed C (or of C without
// directives) and hashes each: SHA-256 over its tokens from the function's
// name to the closing brace, one per line, so that layout, comments, storage
// class and return type do not matter and everything else does. The hash is
// what a [advisory.Fix] names as the fixed form.
//
// [advisory.Fix]: https://pkg.go.dev/github.com/cleanstart/cleanstart/analyze/advisory#Fix
func Bodies(src []byte) []Body { return lex(src, nil, nil).bodies() }

// bodies walks the external declarations: a '{' that follows a parameter list
// opens a function, any other belongs to a type or an initialiser.
func (u *unit) bodies() []Body {
	var out []Body
	ts := u.tokens
	start := 0 // of the declaration
	for i := 0; i < len(ts); {
		switch t := ts[i]; {
		case t.is(";"):
			if i++; !u.oldStyle(start, i) {
				start = i
			}
		case t.is("("), t.is("["):
			i = u.match(i)
		case t.is("{"):
			end := u.match(i)
			if name := u.declared(start, i); name >= 0 {
				h := sha256.New()
				for _, x := range ts[name:end] {
					h.Write(x.b)
					h.Write([]byte{'\n'})
				}
				out = append(out, Body{string(ts[name].b), u.files[ts[name].file], "sha256:" + hex.EncodeToString(h.Sum(nil))})
				start = end
			} else if i > start && ts[i-1].kind == text { // extern "C" {
				i++
				start = i
				continue
			}
			i = end
		case t.is("}"):
			i++
			start = i
		default:
			i++
		}
	}
	return out
}

// oldStyle reports whether the tokens from start to end are the head of a
// definition whose parameters are declared behind the parenthesis.
func (u *unit) oldStyle(start, end int) bool {
	name := u.declared(start, end)
	if name < 0 || name+1 >= end || !u.tokens[name+1].is("(") {
		return false
	}
	next := u.match(name + 1)
	return next < end && u.tokens[next].kind == ident && !attributes[string(u.tokens[next].b)]
}

// match is the index behind the bracket that closes the one at i, or the end.
func (u *unit) match(i int) int {
	depth := 0
	for ; i < len(u.tokens); i++ {
		if t := u.tokens[i]; t.kind == punct && len(t.b) == 1 {
			switch t.b[0] {
			case '(', '[', '{':
				depth++
			case ')', ']', '}':
				if depth--; depth == 0 {
					return i + 1
				}
			}
		}
	}
	return i
}

// declared is the index of the function's name when the tokens from start up
// to a '{' at end are the head of a definition, else -1.
func (u *unit) declared(start, end int) int {
	ts := u.tokens
	for i := start; i < end; i++ {
		switch t := ts[i]; {
		case t.is("="):
			return -1
		case t.kind == ident && attributes[string(t.b)]:
			if i+1 < end && ts[i+1].is("(") {
				i = u.match(i+1) - 1
			}
		case t.kind == ident && i+1 < end && ts[i+1].is("("):
			n := u.match(i + 1)
			if n < end && ts[n].is("(") {
				continue // a type, and its declarator in parentheses
			}
			if n <= end {
				return i
			}
		case t.is("["), t.is("{"):
			i = u.match(i) - 1
		case t.is("("): // a declarator in parentheses: (name)(…), (*name(…))(…)
			for k := i + 1; k < end; k++ {
				if ts[k].kind == ident && !attributes[string(ts[k].b)] {
					return k
				}
				if !ts[k].is("(") && !ts[k].is("*") {
					break
				}
			}
		}
	}
	return -1
}

// attributes are the words that take a parenthesis without declaring anything.
var attributes = map[string]bool{
	"__attribute__": true, "__attribute": true, "__declspec": true, "_Alignas": true, "__asm__": true, "__asm": true, "asm": true,
	"__typeof__": true, "__typeof": true, "typeof": true, "_Atomic": true, "_Static_assert": true, "__extension__": true,
}

// mayDefine reports whether a name that was asked for occurs in a way that could be the head of
// a function definition, at any depth. It errs towards true: a prototype with
// attributes counts.
func (u *unit) mayDefine(name string) bool {
	ts := u.tokens
	for _, i := range u.at[name] {
		k := i + 1
		for k < len(ts) && ts[k].is(")") { // (name)(…)
			k++
		}
		if k == len(ts) {
			return true
		}
		if !ts[k].is("(") {
			continue
		}
		k = u.match(k)
		if k >= len(ts) {
			return true
		}
		for k+1 < len(ts) && attributes[string(ts[k].b)] && ts[k+1].is("(") {
			k = u.match(k + 1)
		}
		if k >= len(ts) {
			return true
		}
		switch next := ts[k]; {
		case next.is("{"), next.is("<%"), next.kind == ident:
			return true
		case next.is(")") && k+1 < len(ts) && ts[k+1].is("("):
			return true
		}
	}
	return false
}

// prelude is what gcc has built in and the parser has not.
const prelude = `
int __predefined_declarator;
typedef void *__builtin_va_list;
#define __extension__
#define __restrict_arr restrict
#define __builtin_va_arg(va, type) (*(type *)__builtin_va_arg_impl(va))
#define __builtin_offsetof(type, member) ((unsigned long)&(((type *)0)->member))
#define __builtin_types_compatible_p(a, b) (sizeof(a) == sizeof(b))
`

const maxErrorText = 300

// defined parses the unit and gives the names of its function definitions.
func (u *unit) defined() (names map[string]int, err error) {
	defer func() {
		if p := recover(); p != nil {
			names, err = nil, fmt.Errorf("the parser gave up: %.300v", p)
		}
	}()
	abi, err := cc.NewABI("linux", "amd64")
	if err != nil {
		return nil, err
	}
	cfg := &cc.Config{ABI: abi, FS: noFiles{}, FSOnly: true, ExpansionLimit: 1 << 24}
	tree, err := cc.Parse(cfg, []cc.Source{{Name: "<prelude>", Value: prelude}, {Name: "unit", Value: u.code()}})
	if err != nil {
		if s := err.Error(); len(s) > maxErrorText {
			err = errors.New(s[:maxErrorText])
		}
		return nil, err
	}
	names = map[string]int{}
	for l := tree.TranslationUnit; l != nil; l = l.TranslationUnit {
		d := l.ExternalDeclaration
		if d == nil || d.Case != cc.ExternalDeclarationFuncDef || d.FunctionDefinition == nil {
			continue
		}
		names[d.FunctionDefinition.Declarator.Name()]++
	}
	return names, nil
}
