package ast

import (
	"slices"
	"strings"

	"modernc.org/cc/v4"
)

// memoryRules are about how much memory is asked for, and what becomes of it.
var memoryRules = []*Rule{
	{"allocation-overflow", "A product of two variables may wrap around and give too small a block; use calloc or reallocarray.", 190, Medium, allocationOverflow},
	{"allocation-truncated", "A size cast to a narrower type loses its upper bits.", 197, Medium, allocationTruncated},
	{"allocation-signed", "A signed size that is negative becomes a huge one, and its arithmetic overflows; use size_t.", 195, Medium, allocationSigned},
	{"allocation-strlen", "strlen does not count the terminator.", 131, High, allocationStrlen},
	{"allocation-unchecked", "The block is used before anything has seen whether there is one.", 690, Low, allocationUnchecked},
	{"alloca-not-constant", "A stack has no limit that alloca would report.", 770, Medium, allocaNotConstant},
	{"variable-length-array", "A stack has no limit that an array of variable length would report.", 770, Low, variableLengthArray},
	{"realloc-same-pointer", "When realloc fails the old block is lost.", 401, Medium, reallocSame},
	{"sizeof-pointer", "The size of a pointer is not that of what it points to.", 467, High, sizeofPointer},
	{"erased-before-free", "A compiler removes a memset whose memory is freed; use explicit_bzero or OPENSSL_cleanse.", 14, Medium, erasedBeforeFree},
	{"erased-at-end", "A compiler removes a memset of a local array that nobody reads any more; use explicit_bzero or OPENSSL_cleanse.", 14, Medium, erasedAtEnd},
	{"double-free", "The same pointer is freed twice in one run of statements.", 415, High, doubleFree},
}

var sizeArguments = map[string]int{
	"malloc": 0, "alloca": 0, "realloc": 1, "OPENSSL_malloc": 0, "CRYPTO_malloc": 0, "CRYPTO_realloc": 1, "xmalloc": 0, "xrealloc": 1,
	"g_malloc": 0, "g_realloc": 1, "aligned_alloc": 1, "valloc": 0,
}

// sizes yields each allocation with the expression of its size.
func (p *Pass) sizes(yield func(c *call, size cc.ExpressionNode)) {
	for _, c := range p.fn.calls {
		if i, ok := sizeArguments[c.name]; ok && c.arg(i) != nil {
			yield(c, c.arg(i))
		}
	}
}

func allocationOverflow(p *Pass) {
	p.sizes(func(c *call, size cc.ExpressionNode) {
		if find(size, func(n cc.Node) bool {
			x, ok := n.(*cc.MultiplicativeExpression)
			if !ok || x.Case != cc.MultiplicativeExpressionMul {
				return false
			}
			_, a := p.value(x.MultiplicativeExpression)
			_, b := p.value(x.CastExpression)
			return !a && !b
		}) {
			p.Reportf(c.node, "the size of %s is a product that may wrap around", c.name)
		}
	})
}

func allocationTruncated(p *Pass) {
	p.sizes(func(c *call, size cc.ExpressionNode) {
		x, ok := unparenthesised(size).(*cc.CastExpression)
		if !ok || x.Case != cc.CastExpressionCast || x.Type() == nil || !cc.IsIntegerType(x.Type()) {
			return
		}
		inner := x.CastExpression
		if inner == nil || inner.Type() == nil || !cc.IsIntegerType(inner.Type()) {
			return
		}
		if _, constant := p.value(inner); !constant && x.Type().Size() < inner.Type().Size() {
			p.Reportf(c.node, "the size of %s is cut from %d to %d bytes", c.name, inner.Type().Size(), x.Type().Size())
		}
	})
}

func unparenthesised(n cc.Node) cc.Node {
	for {
		x, ok := n.(*cc.PrimaryExpression)
		if !ok || x.Case != cc.PrimaryExpressionExpr {
			return n
		}
		n = x.ExpressionList
	}
}

func allocationSigned(p *Pass) {
	p.sizes(func(c *call, size cc.ExpressionNode) {
		e := unparenthesised(size)
		switch e.(type) {
		case *cc.AdditiveExpression, *cc.MultiplicativeExpression, *cc.ShiftExpression:
		default:
			return
		}
		x := e.(cc.ExpressionNode)
		if _, constant := p.value(x); constant || x.Type() == nil {
			return
		}
		if cc.IsSignedInteger(x.Type()) {
			p.Reportf(c.node, "the size of %s is computed in %s", c.name, x.Type())
		}
	})
}

func allocationStrlen(p *Pass) {
	p.sizes(func(c *call, size cc.ExpressionNode) {
		if x := callOf(size); x != nil && plainName(nameOf(x.PostfixExpression)) == "strlen" {
			p.Reportf(c.node, "%s of strlen has no room for the terminator", c.name)
		}
	})
}

func allocationUnchecked(p *Pass) {
	for _, c := range p.calls("malloc", "calloc", "realloc", "strdup", "OPENSSL_malloc") {
		to := p.assignedTo(c)
		next := p.nextInBlock(c)
		if to == "" || next == nil {
			continue
		}
		if find(next, func(n cc.Node) bool {
			switch x := n.(type) {
			case *cc.SelectionStatement, *cc.ConditionalExpression, *cc.IterationStatement, *cc.LogicalAndExpression, *cc.LogicalOrExpression:
				_ = x
				return false
			case *cc.UnaryExpression:
				return x.Case == cc.UnaryExpressionDeref && textOf(x.CastExpression) == to
			case *cc.PostfixExpression:
				switch x.Case {
				case cc.PostfixExpressionIndex, cc.PostfixExpressionPSelect:
					return textOf(x.PostfixExpression) == to
				case cc.PostfixExpressionCall:
					name := plainName(nameOf(x.PostfixExpression))
					return slices.Contains([]string{"memcpy", "memset", "memmove", "strcpy", "strncpy", "sprintf"}, name) &&
						x.ArgumentExpressionList != nil && textOf(x.ArgumentExpressionList.AssignmentExpression) == to
				}
			}
			return false
		}) && !tests(next) {
			p.Reportf(c.node, "%s is used without a look at whether %s gave it", to, c.name)
		}
	}
}

// tests reports whether a statement decides something.
func tests(n cc.Node) bool {
	return find(n, func(n cc.Node) bool {
		switch n.(type) {
		case *cc.SelectionStatement:
			return true
		}
		return false
	})
}

func allocaNotConstant(p *Pass) {
	for _, c := range p.calls("alloca") {
		if _, ok := p.value(c.arg(0)); !ok {
			p.Reportf(c.node, "alloca of a size that is not constant")
		}
	}
}

func variableLengthArray(p *Pass) {
	find(p.fn.def.CompoundStatement, func(n cc.Node) bool {
		if d, ok := n.(*cc.InitDeclarator); ok && d.Declarator != nil {
			if a, ok := d.Declarator.Type().(*cc.ArrayType); ok && a != nil && a.IsVLA() {
				p.Reportf(d.Declarator, "%s has a length that is not constant", d.Declarator.Name())
			}
		}
		return false
	})
}

func reallocSame(p *Pass) {
	for _, c := range p.calls("realloc", "reallocarray", "OPENSSL_realloc", "CRYPTO_realloc") {
		if to := p.assignedTo(c); to != "" && to == textOf(c.arg(0)) {
			p.Reportf(c.node, "%s = %s(%s, …) loses the block when it fails", to, c.name, to)
		}
	}
}

func sizeofPointer(p *Pass) {
	at := map[string][2]int{"memset": {0, 2}, "memcpy": {0, 2}, "memmove": {0, 2}, "memcmp": {0, 2}, "strncpy": {0, 2}, "strncat": {0, 2}, "snprintf": {0, 1}, "strlcpy": {0, 2}, "strlcat": {0, 2}, "fgets": {0, 1}, "bzero": {0, 1}, "explicit_bzero": {0, 1}, "OPENSSL_cleanse": {0, 1}, "read": {1, 2}}
	for _, c := range p.fn.calls {
		i, ok := at[c.name]
		if !ok {
			continue
		}
		of := sizeofOf(c.arg(i[1]))
		if of == nil || !pointer(of) {
			continue
		}
		if textOf(of) == textOf(c.arg(i[0])) {
			p.Reportf(c.node, "%s with the size of the pointer %s", c.name, textOf(of))
		}
	}
	for _, c := range p.calls("malloc", "calloc") {
		of := sizeofOf(c.arg(len(c.args) - 1))
		if to := p.assignedTo(c); of != nil && to != "" && textOf(of) == to && pointer(of) {
			p.Reportf(c.node, "%s with the size of the pointer %s", c.name, to)
		}
	}
}

func erasedBeforeFree(p *Pass) {
	for _, c := range p.calls("memset", "bzero") {
		name := textOf(c.arg(0))
		if c.name == "memset" {
			if v, ok := p.value(c.arg(1)); !ok || v != 0 {
				continue
			}
		}
		rest := p.after(c)
		if len(rest) > 0 && (rest[0].name == "free" || strings.HasSuffix(rest[0].name, "_free")) && name != "" && textOf(rest[0].arg(0)) == name && rest[0].block == c.block && rest[0].at == c.at+1 {
			p.Reportf(c.node, "%s of %s just before it is freed", c.name, name)
		}
	}
}

func erasedAtEnd(p *Pass) {
	for _, c := range p.calls("memset", "bzero") {
		name := nameOf(c.arg(0))
		if name == "" || !p.fn.arrays[name] || !secret(name) {
			continue
		}
		used := false
		for _, d := range p.after(c) {
			used = used || slices.ContainsFunc(d.args, func(a cc.ExpressionNode) bool { return mentions(a, name) })
		}
		next := p.nextInBlock(c)
		if !used && (next == nil || returns(next) && !mentions(next, name)) {
			p.Reportf(c.node, "%s of %s at the end of its life", c.name, name)
		}
	}
}

func returns(n cc.Node) bool {
	return find(n, func(n cc.Node) bool {
		j, ok := n.(*cc.JumpStatement)
		return ok && j.Case == cc.JumpStatementReturn
	})
}

func mentions(n cc.Node, name string) bool {
	return find(n, func(n cc.Node) bool {
		x, ok := n.(*cc.PrimaryExpression)
		return ok && x.Case == cc.PrimaryExpressionIdent && x.Token.SrcStr() == name
	})
}

// holdsCall reports whether an expression holds a call.
func holdsCall(n cc.Node, c *call) bool {
	return find(n, func(n cc.Node) bool { return n == cc.Node(c.node) })
}

func doubleFree(p *Pass) {
	frees := p.calls("free", "OPENSSL_free", "CRYPTO_free")
	for i, c := range frees {
		name := textOf(c.arg(0))
		for _, d := range frees[i+1:] {
			if name == "" || textOf(d.arg(0)) != name || d.block != c.block || strings.ContainsAny(name, "(+-") && !strings.Contains(name, "->") {
				continue
			}
			if !p.touched(name, c, d) {
				p.Reportf(d.node, "%s of %s, which is freed already", d.name, name)
			}
			break
		}
	}
}

// touched reports whether the statements between two of one block assign the
// variable, pass on its address or leave the block.
func (p *Pass) touched(name string, c, d *call) bool {
	root := strings.FieldsFunc(name, func(r rune) bool { return r == '-' || r == '.' || r == '[' || r == '>' })
	for _, s := range p.fn.blocks[c.block][c.at+1 : d.at] {
		if find(s, func(n cc.Node) bool {
			switch x := n.(type) {
			case *cc.JumpStatement, *cc.LabeledStatement:
				return true
			case *cc.AssignmentExpression:
				return x.Case != cc.AssignmentExpressionCond && len(root) > 0 && mentions(x.UnaryExpression, root[0])
			case *cc.UnaryExpression:
				return x.Case == cc.UnaryExpressionAddrof && len(root) > 0 && mentions(x, root[0])
			}
			return false
		}) {
			return true
		}
	}
	return false
}
