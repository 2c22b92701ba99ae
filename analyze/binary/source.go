package binary

import (
	"strings"
)

// definition is what a source file's text says of one function.
type definition struct {
	ranges     [][2]int // lines from the name to the closing brace, one for each definition
	local      bool     // every definition is static
	macro      bool     // the file also defines a macro of that name that does not just call the function
	redirected bool     // the file holds #line directives: its lines go by other names
}

// define looks for definitions of a function in C source. It is lexical: it
// needs no headers and sees all branches of conditional compilation. A name
// followed by parentheses and then a brace, with nothing but attributes or
// old-style parameter declarations between, is a definition.
func define(src []byte, name string) (d definition) {
	lx := lexer{src: src, line: 1, start: true}
	toks := make([]token, 0, len(src)/8)
	for {
		t, ok := lx.next()
		if !ok {
			break
		}
		if t.kind == directive {
			word, rest := cutWord(t.text)
			switch {
			case word == "line" || word != "" && word[0] >= '0' && word[0] <= '9':
				d.redirected = true
			case word == "define":
				m, body := cutWord(rest)
				d.macro = d.macro || m == name && !calls(body, name)
			}
		}
		toks = append(toks, t)
	}
	d.local = true
	for i, t := range toks {
		if t.kind != ident || t.text != name {
			continue
		}
		at := i + 1
		if i > 0 && toks[i-1].text == "(" && at < len(toks) && toks[at].text == ")" { // (name)(…)
			at++
		}
		if body := bodyAfter(toks, at); body >= 0 {
			d.ranges = append(d.ranges, [2]int{t.line, closing(toks, body, lx.line)})
			d.local = d.local && static(toks, i)
		}
	}
	return d
}

// calls reports whether a macro's parameters and replacement do nothing but
// call the function of the same name: its uses then leave a reference.
func calls(body, name string) bool {
	params, replacement, ok := strings.Cut(body, ")")
	if !ok || !strings.HasPrefix(params, "(") {
		return false
	}
	args, ok := strings.CutPrefix(strings.TrimSpace(replacement), name+"(")
	return ok && strings.HasSuffix(args, ")") && !strings.ContainsAny(args[:len(args)-1], "()")
}

// bodyAfter is the index of the brace that opens the body of a function whose
// parameter list starts at toks[i], or -1.
func bodyAfter(toks []token, i int) int {
	if i >= len(toks) || toks[i].text != "(" {
		return -1
	}
	i = balanced(toks, i)
	old := false // in old-style declarations, where semicolons may stand
	for i >= 0 && i < len(toks) {
		switch t := toks[i]; {
		case t.text == "{":
			return i
		case t.kind == directive:
			i++
		case t.text == "(":
			i = balanced(toks, i)
		case t.kind == ident:
			old = true
			i++
		case old && (t.text == ";" || t.text == "," || t.text == "*" || t.text == "[" || t.text == "]" || t.kind == literal):
			i++
		default:
			return -1
		}
	}
	return -1
}

// balanced is the index after the parenthesis that closes toks[i], or -1.
func balanced(toks []token, i int) int {
	depth := 0
	for ; i < len(toks); i++ {
		switch toks[i].text {
		case "(":
			depth++
		case ")":
			if depth--; depth == 0 {
				return i + 1
			}
		case "{", "}":
			return -1
		}
	}
	return -1
}

// closing is the line of the brace that closes toks[i]. Branches of one #if
// count once; a body that never closes ends with the file.
func closing(toks []token, i, last int) int {
	depth := 0
	var saved []int
	for ; i < len(toks); i++ {
		switch t := toks[i]; {
		case t.kind == directive:
			word, _ := cutWord(t.text)
			switch word {
			case "if", "ifdef", "ifndef":
				saved = append(saved, depth)
			case "else", "elif":
				if len(saved) > 0 {
					depth = saved[len(saved)-1]
				}
			case "endif":
				if len(saved) > 0 {
					saved = saved[:len(saved)-1]
				}
			}
		case t.text == "{":
			depth++
		case t.text == "}":
			if depth--; depth <= 0 && len(saved) == 0 {
				return t.line
			}
		}
	}
	return last
}

// static reports whether the declaration that toks[i] stands in is static.
func static(toks []token, i int) bool {
	for i--; i >= 0; i-- {
		switch t := toks[i]; {
		case t.text == "static":
			return true
		case t.text == ";" || t.text == "}" || t.text == "{":
			return false
		}
	}
	return false
}

func cutWord(s string) (word, rest string) {
	s = strings.TrimLeft(s, " \t")
	i := strings.IndexFunc(s, func(r rune) bool { return !isWord(r) })
	if i < 0 {
		return s, ""
	}
	return s[:i], s[i:]
}

func isWord(r rune) bool {
	return r == '_' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '$'
}

type tokenKind uint8

const (
	punct tokenKind = iota
	ident
	literal
	directive // a preprocessor line, text without the #
)

type token struct {
	kind tokenKind
	text string
	line int
}

// lexer splits C source. Comments vanish; a directive is one token.
type lexer struct {
	src   []byte
	at    int
	line  int
	start bool // nothing but blanks since the line began
}

func (l *lexer) peek(n int) byte {
	if l.at+n < len(l.src) {
		return l.src[l.at+n]
	}
	return 0
}

func (l *lexer) next() (token, bool) {
	for l.at < len(l.src) {
		c := l.src[l.at]
		switch {
		case c == '\n':
			l.line++
			l.start = true
			l.at++
		case c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == '\v' || c == '\\':
			l.at++
		case c == '/' && l.peek(1) == '*':
			l.comment()
		case c == '/' && l.peek(1) == '/':
			for l.at < len(l.src) && l.src[l.at] != '\n' {
				l.at++
			}
		case c == '#' && l.start:
			return l.directive(), true
		case c == '"' || c == '\'':
			return l.quoted(c), true
		case isWord(rune(c)):
			from := l.at
			for isWord(rune(l.peek(0))) {
				l.at++
			}
			l.start = false
			kind := ident
			if c >= '0' && c <= '9' {
				kind = literal
			}
			return token{kind, string(l.src[from:l.at]), l.line}, true
		default:
			l.start = false
			l.at++
			return token{punct, string(c), l.line}, true
		}
	}
	return token{}, false
}

func (l *lexer) comment() {
	for l.at += 2; l.at < len(l.src); l.at++ {
		if l.src[l.at] == '\n' {
			l.line++
		}
		if l.src[l.at] == '*' && l.peek(1) == '/' {
			l.at += 2
			return
		}
	}
}

func (l *lexer) quoted(q byte) token {
	t := token{literal, "", l.line}
	l.start = false
	for l.at++; l.at < len(l.src); l.at++ {
		switch l.src[l.at] {
		case '\\':
			if l.peek(1) == '\n' {
				l.line++
			}
			l.at++
		case '\n': // unterminated: an apostrophe in text that is not compiled
			return t
		case q:
			l.at++
			return t
		}
	}
	return t
}

// directive reads to the end of the line, over continuations and comments.
func (l *lexer) directive() token {
	t := token{directive, "", l.line}
	var text strings.Builder
	for l.at++; l.at < len(l.src); {
		switch c := l.src[l.at]; {
		case c == '\\' && (l.peek(1) == '\n' || l.peek(1) == '\r' && l.peek(2) == '\n'):
			for l.src[l.at] != '\n' {
				l.at++
			}
			l.at++
			l.line++
		case c == '\n':
			t.text = text.String()
			return t
		case c == '/' && l.peek(1) == '*':
			l.comment()
			text.WriteByte(' ')
		default:
			text.WriteByte(c)
			l.at++
		}
	}
	t.text = text.String()
	return t
}
