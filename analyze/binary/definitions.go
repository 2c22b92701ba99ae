package binary

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
)

// Definition is one function definition in the text of a C source file.
type Definition struct {
	Name        string
	First, Last int    // lines, from the name to the closing brace
	Body        string // "sha256:HEX" over its tokens: layout and comments do not matter
}

// Definitions finds every function definition in C source, in order. It is
// lexical, as the layer's own reading of a tree is: it needs no headers and
// sees all branches of conditional compilation, whose directives are tokens.
func Definitions(src []byte) []Definition {
	lx := lexer{src: src, line: 1, start: true}
	var toks []token
	for {
		t, ok := lx.next()
		if !ok {
			break
		}
		toks = append(toks, t)
	}
	var out []Definition
	for i := 0; i < len(toks); i++ {
		t := toks[i]
		if t.kind != ident {
			continue
		}
		at := i + 1
		if i > 0 && toks[i-1].text == "(" && at < len(toks) && toks[at].text == ")" { // (name)(…)
			at++
		}
		body := bodyAfter(toks, at)
		if body < 0 {
			continue
		}
		t = toks[declarator(toks, i, body)]
		d := Definition{Name: t.text, First: t.line, Last: closing(toks, body, lx.line)}
		h := sha256.New()
		for ; i < len(toks) && toks[i].line <= d.Last; i++ {
			fmt.Fprintf(h, "%d ", toks[i].kind)
			io.WriteString(h, toks[i].text+"\n")
		}
		i--
		d.Body = "sha256:" + hex.EncodeToString(h.Sum(nil))
		out = append(out, d)
	}
	return out
}

// declarator is where the name of the function stands whose body comes behind
// a word and parentheses: the word itself, one in parentheses, (name)(…), or a
// later one, where the word is an attribute or a macro of its own.
func declarator(toks []token, i, body int) int {
	word := func(k int) bool { return toks[k].kind == ident && toks[k+1].text == "(" }
	if i+4 < body && toks[i+2].kind == ident && toks[i+3].text == ")" && toks[i+4].text == "(" && word(i) {
		return i + 2
	}
	name := i
	for k := i + 1; k+1 < body; k++ {
		if toks[k].text == "(" {
			if k = balanced(toks, k) - 1; k < 0 {
				break
			}
			continue
		}
		if word(k) && toks[k-1].text != ")" && bodyAfter(toks, k+1) == body {
			name = k
		}
	}
	return name
}
