package ast

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"modernc.org/cc/v4"
)

// calls yields the calls of the functions named, in order.
func (p *Pass) calls(names ...string) []*call {
	var out []*call
	for _, c := range p.fn.calls {
		if slices.Contains(names, c.name) {
			out = append(out, c)
		}
	}
	return out
}

// matching yields the calls whose name matches.
func (p *Pass) matching(re *regexp.Regexp) []*call {
	var out []*call
	for _, c := range p.fn.calls {
		if re.MatchString(c.name) {
			out = append(out, c)
		}
	}
	return out
}

// obsolete is the body of a rule that flags every call of some functions.
func obsolete(instead string, names ...string) func(*Pass) {
	return func(p *Pass) {
		for _, c := range p.calls(names...) {
			p.Reportf(c.node, "%s: %s", c.name, instead)
		}
	}
}

// obsoleteLike is obsolete for names by pattern.
func obsoleteLike(instead, pattern string) func(*Pass) {
	re := regexp.MustCompile(`^(?:` + pattern + `)$`)
	return func(p *Pass) {
		for _, c := range p.matching(re) {
			p.Reportf(c.node, "%s: %s", c.name, instead)
		}
	}
}

// value is the integer that an expression is, where it is constant. A local
// variable that is only initialised stands for its initialiser.
func (p *Pass) value(n cc.Node) (int64, bool) {
	if name := nameOf(n); name != "" {
		if init := p.fn.inits[name]; init != nil {
			return p.value(init)
		}
	}
	e, ok := n.(cc.ExpressionNode)
	if !ok {
		return 0, false
	}
	switch v := e.Value().(type) {
	case cc.Int64Value:
		return int64(v), true
	case cc.UInt64Value:
		return int64(v), true
	}
	if x, ok := bare(n).(*cc.PrimaryExpression); ok && x.Case == cc.PrimaryExpressionInt {
		s := strings.TrimRight(x.Token.SrcStr(), "uUlL")
		if v, err := strconv.ParseInt(s, 0, 64); err == nil {
			return v, true
		}
	}
	return 0, false
}

// name is the identifier that an argument is, through a variable that only
// holds it.
func (p *Pass) constantName(n cc.Node) string {
	name := nameOf(n)
	if init := p.fn.inits[name]; init != nil {
		if inner := nameOf(init); inner != "" {
			return inner
		}
	}
	return name
}

// text is the string that an expression is, where it is a literal, or a choice
// between literals, in which case it is the longest.
func (p *Pass) text(n cc.Node) (string, bool) {
	switch x := bare(n).(type) {
	case *cc.PrimaryExpression:
		switch x.Case {
		case cc.PrimaryExpressionString:
			var b strings.Builder
			for _, t := range cc.NodeTokens(x) {
				s, err := strconv.Unquote(t.SrcStr())
				if err != nil {
					s = strings.Trim(t.SrcStr(), `"`)
				}
				b.WriteString(s)
			}
			return b.String(), true
		case cc.PrimaryExpressionIdent:
			if v, ok := literal(x.Value()); ok {
				return v, true
			}
		}
	case *cc.ConditionalExpression:
		a, ok := p.text(x.ExpressionList)
		b, ok2 := p.text(x.ConditionalExpression)
		if ok && ok2 {
			if len(b) > len(a) {
				a = b
			}
			return a, true
		}
	}
	if e, ok := n.(cc.ExpressionNode); ok {
		return literal(e.Value())
	}
	return "", false
}

func literal(v cc.Value) (string, bool) {
	s, ok := v.(cc.StringValue)
	return strings.TrimSuffix(string(s), "\x00"), ok
}

// array is the size of the array in bytes that an expression names.
func array(n cc.Node) (int64, bool) {
	e, ok := bare(n).(cc.ExpressionNode)
	if !ok || e == nil {
		return 0, false
	}
	t := e.Type()
	if pt, ok := t.(*cc.PointerType); ok {
		t = pt.Undecay()
	}
	a, ok := t.(*cc.ArrayType)
	if !ok || a == nil || a.IsVLA() || a.Size() <= 0 {
		return 0, false
	}
	if x, ok := bare(n).(*cc.PrimaryExpression); ok {
		if d, ok := x.ResolvedTo().(*cc.Declarator); ok && d.IsParam() {
			return 0, false
		}
	}
	return a.Size(), true
}

// pointer reports whether an expression is of pointer type and no array.
func pointer(n cc.Node) bool {
	e, ok := bare(n).(cc.ExpressionNode)
	if !ok || e == nil || e.Type() == nil || e.Type().Kind() != cc.Ptr {
		return false
	}
	if pt, ok := e.Type().(*cc.PointerType); ok && pt.Undecay() != nil && pt.Undecay().Kind() == cc.Array {
		if x, ok := bare(n).(*cc.PrimaryExpression); ok {
			d, ok := x.ResolvedTo().(*cc.Declarator)
			return ok && d.IsParam()
		}
		return false
	}
	return true
}

// sizeofOf is what an expression takes the size of, or nil.
func sizeofOf(n cc.Node) cc.Node {
	if x, ok := bare(n).(*cc.UnaryExpression); ok && x.Case == cc.UnaryExpressionSizeofExpr {
		return x.UnaryExpression
	}
	return nil
}

// next are the calls after c in its block and the blocks inside, in order.
func (p *Pass) after(c *call) []*call {
	i := slices.Index(p.fn.calls, c)
	return p.fn.calls[i+1:]
}

// nextInBlock is the statement behind the call's, or nil.
func (p *Pass) nextInBlock(c *call) cc.Node {
	if c.block < 0 || c.at+1 >= len(p.fn.blocks[c.block]) {
		return nil
	}
	return p.fn.blocks[c.block][c.at+1]
}

// find visits a node and everything in it until the function is true.
func find(n cc.Node, f func(cc.Node) bool) (found bool) {
	if n == nil {
		return false
	}
	if f(n) {
		return true
	}
	children(n, func(c cc.Node) { found = found || find(c, f) })
	return found
}

// assignedTo is what the value of a call goes to in its own statement, or "".
func (p *Pass) assignedTo(c *call) string {
	for _, a := range p.fn.assigns {
		if callOf(a.value) == c.node {
			return a.to
		}
	}
	return ""
}

// conversion is one of a printf or scanf format.
type conversion struct {
	width, precision bool
	verb             byte
	suppressed       bool
}

var conversions = regexp.MustCompile(`%(\*)?([-+ #0']*)([0-9]+|\*)?(\.[0-9*]*)?(hh|h|ll|l|j|z|t|L|m)?(\[\^?\]?[^]]*\]|.)`)

func parseFormat(s string) []conversion {
	var out []conversion
	for _, m := range conversions.FindAllStringSubmatch(s, -1) {
		out = append(out, conversion{m[3] != "", m[4] != "", m[6][0], m[1] != ""})
	}
	return out
}

// secret reports whether a name tells of something that must not be guessed
// or shown.
var secretName = regexp.MustCompile(`(?i)(^|_|\b)(key|secret|token|nonce|iv|salt|passw(or)?d|passphrase|pwd|cookie|session_?id|sid|csrf|otp|pin|seed|mac|hmac|private)(s|_|\b|[0-9]|buf|$)`)

func secret(s string) bool { return secretName.MatchString(s) }
