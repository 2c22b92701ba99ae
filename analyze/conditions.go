package analyze

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/cleanstart/cleanstart/analyze/advisory"
)

// Leaves calls yield for every leaf of a condition: file, macro, function,
// api, caller, option or platform, in order. A layer answers the leaves it knows with one
// [ConditionFact] each in Evidence.Conditions; [Evaluate] does the rest.
func Leaves(c advisory.Condition, yield func(advisory.Condition)) {
	for _, list := range [][]advisory.Condition{c.All, c.Any} {
		for _, sub := range list {
			Leaves(sub, yield)
		}
	}
	if c.Not != nil {
		Leaves(*c.Not, yield)
	}
	if len(c.All) == 0 && len(c.Any) == 0 && c.Not == nil {
		yield(c)
	}
}

// EvalCondition evaluates a condition from its leaves in Kleene's three-valued
// logic: All is Absent when one is, Present when every one is; Any the other
// way round; Not exchanges the two; Unknown stays Unknown. A condition with no
// predicate, or with several, is Unknown.
func EvalCondition(c advisory.Condition, leaf func(advisory.Condition) Verdict) Verdict {
	if c.Predicates() != 1 {
		return Unknown
	}
	switch {
	case len(c.All) > 0:
		return fold(c.All, leaf, Absent, Present)
	case len(c.Any) > 0:
		return fold(c.Any, leaf, Present, Absent)
	case c.Not != nil:
		switch EvalCondition(*c.Not, leaf) {
		case Present:
			return Absent
		case Absent:
			return Present
		}
		return Unknown
	}
	if v := leaf(c); v == Present || v == Absent {
		return v
	}
	return Unknown
}

// fold is decisive when one of the conditions is, neutral when all are.
func fold(cs []advisory.Condition, leaf func(advisory.Condition) Verdict, decisive, neutral Verdict) Verdict {
	all := neutral
	for _, c := range cs {
		switch EvalCondition(c, leaf) {
		case decisive:
			return decisive
		case neutral:
		default:
			all = Unknown
		}
	}
	return all
}

// LeafFact is what the evidence says of one leaf of a condition, over all
// layers. Layers that contradict each other make it Unknown, and so does
// evidence with an error.
func LeafFact(evidence []Evidence, leaf advisory.Condition) ConditionFact {
	key := leafKey(leaf)
	out := ConditionFact{Condition: leaf, Reason: "no layer answered"}
	for _, e := range evidence {
		if e.Error != "" {
			continue
		}
		for _, f := range e.Conditions {
			if leafKey(f.Condition) != key {
				continue
			}
			reason := e.Layer + ": " + f.Reason
			switch {
			case f.Verdict != Present && f.Verdict != Absent:
				if out.Verdict == Unknown {
					out.Reason = reason
				}
			case out.Verdict == Unknown:
				out.Verdict, out.Reason = f.Verdict, reason
			case out.Verdict != f.Verdict:
				return ConditionFact{leaf, Unknown, fmt.Sprintf("contradiction: %s; %s", out.Reason, reason)}
			}
		}
	}
	return out
}

// Evaluate gives every condition of the candidate's map its verdict from the
// leaves that the evidence answers.
func Evaluate(c Candidate, evidence []Evidence) []ConditionFact {
	if c.Advisory == nil {
		return nil
	}
	var out []ConditionFact
	for _, cond := range c.Advisory.Map.Conditions {
		var reasons []string
		v := EvalCondition(cond, func(leaf advisory.Condition) Verdict { return LeafFact(evidence, leaf).Verdict })
		Leaves(cond, func(leaf advisory.Condition) {
			if s := Describe(leaf) + ": " + LeafFact(evidence, leaf).Reason; !slices.Contains(reasons, s) {
				reasons = append(reasons, s)
			}
		})
		out = append(out, ConditionFact{cond, v, strings.Join(reasons, "; ")})
	}
	return out
}

// Describe is a condition's predicate in words.
func Describe(c advisory.Condition) string {
	list := func(cs []advisory.Condition, sep string) string {
		var s []string
		for _, c := range cs {
			s = append(s, Describe(c))
		}
		return "(" + strings.Join(s, sep) + ")"
	}
	switch {
	case c.File != "":
		return c.File + " is compiled in"
	case c.Macro != nil && c.Macro.Value != "":
		return fmt.Sprintf("%s is %s in %s", c.Macro.Name, c.Macro.Value, c.Macro.File)
	case c.Macro != nil:
		return c.Macro.Name + " is defined in " + c.Macro.File
	case c.Function != nil:
		return c.Function.Name + " is live"
	case len(c.API) > 0:
		return strings.Join(c.API, " or ") + " is used"
	case c.Caller != nil:
		return fmt.Sprintf("%s is used by code outside %s", strings.Join(c.Caller.API, " or "), strings.Join(c.Caller.Besides, ", "))
	case c.Option != "":
		return "it is configured with " + c.Option
	case c.Platform != "":
		return "the platform is " + c.Platform
	case len(c.All) > 0:
		return list(c.All, " and ")
	case len(c.Any) > 0:
		return list(c.Any, " or ")
	case c.Not != nil:
		return "not " + Describe(*c.Not)
	}
	return "nothing"
}

// leafKey identifies a leaf by its predicate alone: quotes do not matter.
func leafKey(c advisory.Condition) string {
	c.Quote, c.URL = "", ""
	b, err := json.Marshal(c)
	if err != nil {
		return ""
	}
	return string(b)
}
