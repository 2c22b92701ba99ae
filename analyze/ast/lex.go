package ast

import (
	"bytes"
	"strconv"
)

// kind of a token.
type kind byte

const (
	ident kind = iota
	number
	text // string or character
	punct
)

// token is one preprocessing token. Its bytes are a part of the source.
type token struct {
	kind kind
	file int32 // index into unit.files
	b    []byte
}

func (t token) is(s string) bool { return string(t.b) == s }

// event is a #define or #undef of one macro.
type event struct {
	at    int // tokens before it
	value string
	undef bool
}

// unit is one preprocessed translation unit, taken apart.
type unit struct {
	tokens   []token
	files    []string           // as line markers name them
	events   map[string][]event // by macro, of those asked for
	first    int                // first '{' of the main file, an index into tokens; -1 for none
	restores bool               // #pragma pop_macro: definitions that leave no trace
	src      []byte
	blank    [][2]int         // the directives in src
	at       map[string][]int // where the names asked for are, indices into tokens
	wanted   map[string]bool
	markers  []marker
}

// marker is one line marker: the line after it is line of file.
type marker struct {
	at   int // its own line in the unit, from 1
	file string
	line int
}

// code is the text without directives, line for line.
func (u *unit) code() []byte {
	out := bytes.Clone(u.src)
	for _, r := range u.blank {
		for k := r[0]; k < r[1]; k++ {
			if out[k] != '\n' {
				out[k] = ' '
			}
		}
	}
	return out
}

// operators of more than one character, longest first.
var operators = [][]byte{
	[]byte("%:%:"), []byte("..."), []byte("<<="), []byte(">>="),
	[]byte("->"), []byte("++"), []byte("--"), []byte("<<"), []byte(">>"), []byte("<="), []byte(">="), []byte("=="), []byte("!="),
	[]byte("&&"), []byte("||"), []byte("*="), []byte("/="), []byte("%="), []byte("+="), []byte("-="), []byte("&="), []byte("^="),
	[]byte("|="), []byte("##"), []byte("<:"), []byte(":>"), []byte("<%"), []byte("%>"), []byte("%:"),
}

// lex takes preprocessed C apart. It keeps what happens to the macros asked
// for, and where the names asked for occur. It accepts any bytes: what is no token of C becomes punctuation, and
// the parser is there to object.
func lex(src []byte, macros, names map[string]bool) *unit {
	u := &unit{src: src, events: map[string][]event{}, at: map[string][]int{}, first: -1, tokens: make([]token, 0, len(src)/6), wanted: macros}
	known := map[string]int32{"": 0}
	u.files = []string{""}
	file, start := int32(0), true
	line, counted := 1, 0 // the line of the byte at counted
	for i := 0; i < len(src); {
		c := src[i]
		switch {
		case c == '\n':
			start = true
			i++
			continue
		case c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == '\v':
			i++
			continue
		case c == '\\' && i+1 < len(src) && src[i+1] == '\n':
			i += 2
			continue
		case c == '/' && i+1 < len(src) && src[i+1] == '*':
			end := bytes.Index(src[i+2:], []byte("*/"))
			if end < 0 {
				return u
			}
			i += end + 4
			continue
		case c == '/' && i+1 < len(src) && src[i+1] == '/':
			for i < len(src) && src[i] != '\n' {
				i++
			}
			continue
		case c == '#' && start:
			end := i
			for end < len(src) && src[end] != '\n' {
				if src[end] == '\\' && end+1 < len(src) && src[end+1] == '\n' {
					end++
				}
				end++
			}
			end = min(end, len(src))
			u.blank = append(u.blank, [2]int{i, end})
			if name, ok := u.directive(src[i+1 : end]); ok {
				line += bytes.Count(src[counted:i], []byte{'\n'})
				counted = i
				u.markers = append(u.markers, marker{line, name, markedLine(src[i+1 : end])})
				id, seen := known[name]
				if !seen {
					id = int32(len(u.files))
					known[name] = id
					u.files = append(u.files, name)
				}
				file = id
			}
			i = end
			continue
		}
		start = false
		n, k := scan(src[i:])
		t := token{k, file, src[i : i+n]}
		if k == punct && c == '{' && u.first < 0 && u.main(file) {
			u.first = len(u.tokens)
		}
		if k == ident && names[string(t.b)] {
			u.at[string(t.b)] = append(u.at[string(t.b)], len(u.tokens))
		}
		u.tokens = append(u.tokens, t)
		i += n
	}
	return u
}

// main reports whether a file is the one that the compiler was given: the
// first that a marker names.
func (u *unit) main(file int32) bool { return file == 0 || file == 1 }

// directive reads one line after its '#'; for a line marker it gives the file.
func (u *unit) directive(b []byte) (file string, marker bool) {
	b = bytes.TrimLeft(b, " \t")
	word, rest := cutIdent(b)
	switch {
	case len(b) > 0 && b[0] >= '0' && b[0] <= '9', string(word) == "line":
		i, j := bytes.IndexByte(b, '"'), bytes.LastIndexByte(b, '"')
		if i < 0 || j <= i {
			return "", false
		}
		name, err := strconv.Unquote(string(b[i : j+1]))
		if err != nil {
			name = string(b[i+1 : j])
		}
		return name, true
	case string(word) == "define", string(word) == "undef":
		name, value := cutIdent(bytes.TrimLeft(rest, " \t"))
		if u.wanted[string(name)] {
			u.events[string(name)] = append(u.events[string(name)], event{len(u.tokens), string(bytes.TrimSpace(value)), string(word) == "undef"})
		}
	case string(word) == "pragma":
		u.restores = u.restores || bytes.Contains(rest, []byte("pop_macro"))
	}
	return "", false
}

// markedLine is the number in a line marker.
func markedLine(b []byte) int {
	b = bytes.TrimPrefix(bytes.TrimLeft(b, " \t"), []byte("line"))
	n := 0
	for _, c := range bytes.TrimLeft(b, " \t") {
		if !digit(c) || n > 1<<28 {
			break
		}
		n = n*10 + int(c-'0')
	}
	return n
}

func cutIdent(b []byte) (ident, rest []byte) {
	i := 0
	for i < len(b) && (letter(b[i]) || i > 0 && digit(b[i])) {
		i++
	}
	return b[:i], b[i:]
}

func letter(c byte) bool {
	return c == '_' || c == '$' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

// scan measures the token at the head of b, which is not empty.
func scan(b []byte) (int, kind) {
	c := b[0]
	switch {
	case letter(c):
		i := 1
		for i < len(b) && (letter(b[i]) || digit(b[i])) {
			i++
		}
		return i, ident
	case digit(c), c == '.' && len(b) > 1 && digit(b[1]):
		i := 1
		for i < len(b) {
			switch {
			case letter(b[i]), digit(b[i]), b[i] == '.':
			case (b[i] == '+' || b[i] == '-') && bytes.IndexByte([]byte("eEpP"), b[i-1]) >= 0:
			default:
				return i, number
			}
			i++
		}
		return i, number
	case c == '"' || c == '\'':
		for i := 1; i < len(b); i++ {
			switch b[i] {
			case '\\':
				i++
			case c:
				return i + 1, text
			case '\n':
				return i, text
			}
		}
		return len(b), text
	}
	for _, op := range operators {
		if bytes.HasPrefix(b, op) {
			return len(op), punct
		}
	}
	return 1, punct
}
