package ast

import (
	"reflect"
	"strings"
	"sync"

	"modernc.org/cc/v4"
)

// function is one definition, with what the rules ask of it.
type function struct {
	unit    *unit
	name    string
	def     *cc.FunctionDefinition
	calls   []*call            // in the order of the source
	assigns []assign           // initialisers too, in the order of the source
	inits   map[string]cc.Node // local variables → initialiser, of those declared once
	arrays  map[string]bool    // local arrays
	blocks  [][]cc.Node        // statements and declarations of each compound statement
	nodes   []cc.Node          // every expression
	conds   map[cc.Node]bool   // calls that stand as a condition, or negated
}

// call is one call by name.
type call struct {
	name      string
	args      []cc.ExpressionNode
	node      *cc.PostfixExpression
	discarded bool // its result is
	block     int  // index into blocks, and of the statement there
	at        int
}

// assign is one assignment or initialisation.
type assign struct {
	to    string // source of the left side, or the variable's name
	value cc.Node
	node  cc.Node
}

// definitions are the functions of a unit's tree that come from files of the
// tree or of the main file; inline functions of system headers are left out.
func definitions(u *unit, tree *cc.AST) []*function {
	var out []*function
	for l := tree.TranslationUnit; l != nil; l = l.TranslationUnit {
		d := l.ExternalDeclaration
		if d == nil || d.Case != cc.ExternalDeclarationFuncDef || d.FunctionDefinition == nil {
			continue
		}
		def := d.FunctionDefinition
		pos := def.Declarator.Position()
		if pos.Filename != "unit" {
			continue
		}
		if file, _ := u.original(pos.Line); strings.HasPrefix(file, "/usr/") {
			continue
		}
		f := &function{unit: u, name: def.Declarator.Name(), def: def, inits: map[string]cc.Node{}, arrays: map[string]bool{}, conds: map[cc.Node]bool{}}
		w := walker{f: f, block: -1}
		w.walk(def.CompoundStatement)
		out = append(out, f)
	}
	return out
}

type walker struct {
	f         *function
	block, at int
}

func (w *walker) walk(n cc.Node) {
	f := w.f
	switch x := n.(type) {
	case *cc.CompoundStatement:
		save := *w
		f.blocks = append(f.blocks, nil)
		w.block, w.at = len(f.blocks)-1, 0
		for l := x.BlockItemList; l != nil; l = l.BlockItemList {
			if l.BlockItem == nil {
				continue
			}
			w.at = len(f.blocks[w.block])
			f.blocks[w.block] = append(f.blocks[w.block], l.BlockItem)
			w.walk(l.BlockItem)
		}
		w.block, w.at = save.block, save.at
		return
	case *cc.ExpressionStatement:
		if c := callOf(x.ExpressionList); c != nil {
			f.discard(w, c)
			return
		}
	case *cc.SelectionStatement:
		f.condition(x.ExpressionList)
	case *cc.UnaryExpression:
		if x.Case == cc.UnaryExpressionNot {
			f.condition(x.CastExpression)
		}
	case *cc.PostfixExpression:
		if x.Case == cc.PostfixExpressionCall {
			w.call(x)
		}
	case *cc.AssignmentExpression:
		if x.Case == cc.AssignmentExpressionAssign {
			f.assigns = append(f.assigns, assign{textOf(x.UnaryExpression), x.AssignmentExpression, x})
		}
	case *cc.InitDeclarator:
		if x.Declarator != nil {
			name := x.Declarator.Name()
			if t := x.Declarator.Type(); t != nil && t.Kind() == cc.Array {
				f.arrays[name] = true
			}
			if x.Initializer != nil && x.Initializer.AssignmentExpression != nil {
				f.assigns = append(f.assigns, assign{name, x.Initializer.AssignmentExpression, x})
				if _, twice := f.inits[name]; twice {
					f.inits[name] = nil
				} else {
					f.inits[name] = x.Initializer.AssignmentExpression
				}
			}
		}
	}
	if e, ok := n.(cc.ExpressionNode); ok {
		f.nodes = append(f.nodes, e)
	}
	children(n, w.walk)
}

func (f *function) condition(e cc.Node) {
	if c := callOf(e); c != nil {
		f.conds[c] = true
	}
}

// discard walks a call whose result nobody takes.
func (f *function) discard(w *walker, c *cc.PostfixExpression) {
	at := len(f.calls)
	f.nodes = append(f.nodes, c)
	w.call(c)
	if len(f.calls) > at && f.calls[at].node == c {
		f.calls[at].discarded = true
	}
	children(c, w.walk)
}

func (w *walker) call(x *cc.PostfixExpression) {
	name := nameOf(x.PostfixExpression)
	if name == "" {
		return
	}
	c := &call{name: plainName(name), node: x, block: w.block, at: w.at}
	for l := x.ArgumentExpressionList; l != nil; l = l.ArgumentExpressionList {
		if l.AssignmentExpression != nil {
			c.args = append(c.args, l.AssignmentExpression)
		}
	}
	w.f.calls = append(w.f.calls, c)
}

// plainName is the function behind the compiler's and the C library's
// spellings of it: __builtin_memcpy, __builtin___memcpy_chk, __memcpy_chk.
func plainName(s string) string {
	s = strings.TrimPrefix(s, "__builtin_")
	if t, ok := strings.CutSuffix(s, "_chk"); ok && strings.HasPrefix(t, "__") {
		return strings.TrimLeft(t, "_")
	}
	return s
}

// argument i, or nil.
func (c *call) arg(i int) cc.ExpressionNode {
	if i < 0 || i >= len(c.args) {
		return nil
	}
	return c.args[i]
}

// bare takes parentheses and casts off an expression.
func bare(n cc.Node) cc.Node {
	for {
		switch x := n.(type) {
		case *cc.PrimaryExpression:
			if x == nil || x.Case != cc.PrimaryExpressionExpr {
				return n
			}
			n = x.ExpressionList
		case *cc.CastExpression:
			if x == nil || x.Case != cc.CastExpressionCast {
				return n
			}
			n = x.CastExpression
		default:
			return n
		}
	}
}

// callOf is the call that an expression is, through parentheses and casts.
func callOf(n cc.Node) *cc.PostfixExpression {
	if x, ok := bare(n).(*cc.PostfixExpression); ok && x != nil && x.Case == cc.PostfixExpressionCall {
		return x
	}
	return nil
}

// nameOf is the name that an expression is, or "".
func nameOf(n cc.Node) string {
	if x, ok := bare(n).(*cc.PrimaryExpression); ok && x != nil && x.Case == cc.PrimaryExpressionIdent {
		return x.Token.SrcStr()
	}
	return ""
}

// textOf is the text of an expression, without parentheses and casts around
// it, in one spelling.
func textOf(n cc.Node) string {
	n = bare(n)
	if n == nil || reflect.ValueOf(n).IsNil() {
		return ""
	}
	return strings.Join(strings.Fields(cc.NodeSource(n)), "")
}

// children calls yield for each child of a node.
func children(n cc.Node, yield func(cc.Node)) {
	v := reflect.ValueOf(n)
	if !v.IsValid() || v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		return
	}
	v = v.Elem()
	for _, i := range fields(v.Type()) {
		f := v.Field(i)
		if f.IsNil() {
			continue
		}
		if c, ok := f.Interface().(cc.Node); ok {
			yield(c)
		}
	}
}

var (
	nodeType   = reflect.TypeFor[cc.Node]()
	fieldCache sync.Map // reflect.Type → []int
)

// fields are the indices of a node's fields that are nodes.
func fields(t reflect.Type) []int {
	if v, ok := fieldCache.Load(t); ok {
		return v.([]int)
	}
	var out []int
	for i := range t.NumField() {
		f := t.Field(i)
		if f.IsExported() && !f.Anonymous && f.Type.Implements(nodeType) && (f.Type.Kind() == reflect.Pointer || f.Type.Kind() == reflect.Interface) {
			out = append(out, i)
		}
	}
	fieldCache.Store(t, out)
	return out
}

// original maps a line of the unit back through its line markers.
func (u *unit) original(line int) (string, int) {
	lo, hi := 0, len(u.markers)
	for lo < hi {
		if mid := (lo + hi) / 2; u.markers[mid].at < line {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == 0 {
		return "", line
	}
	m := u.markers[lo-1]
	return m.file, m.line + line - m.at - 1
}
