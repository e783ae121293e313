package rules

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// Families tells the labels of a metric's series as scraped, those of the target too; false: nothing has this name.
type Families func(metric string) ([]string, bool)

// Labels that every series of the expression's result has. What is recorded has the labels of its own expression. A label that an
// expression asks for and its operand lacks is an error, as is a match of two vectors that differ in their labels: Prometheus
// takes both, and the result is empty, or matches what it should not.
func (fs Files) Labels(expr parser.Expr, families Families) ([]string, error) {
	t := tracer{files: fs, families: families, open: map[string]bool{}}
	names, err := t.of(expr)
	if err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(names)), nil
}

type set map[string]bool

func setOf(names ...string) set {
	s := set{}
	for _, n := range names {
		s[n] = true
	}
	return s
}

func (s set) without(names []string) set {
	s = maps.Clone(s)
	for _, n := range names {
		delete(s, n)
	}
	return s
}

// need is the subset of names; err says which is not there.
func (s set) need(names []string, in parser.Node) (set, error) {
	sub := set{}
	for _, n := range names {
		if !s[n] {
			return nil, fmt.Errorf("%s asks for the label %s, which its operand lacks: it has %v", in, n, slices.Sorted(maps.Keys(s)))
		}
		sub[n] = true
	}
	return sub, nil
}

type tracer struct {
	files    Files
	families Families
	open     map[string]bool // recordings on the way here
	inner    string          // the last of them
}

func (t *tracer) of(expr parser.Expr) (set, error) {
	switch e := expr.(type) {
	case *parser.NumberLiteral, *parser.StringLiteral:
		return set{}, nil
	case *parser.ParenExpr:
		return t.of(e.Expr)
	case *parser.UnaryExpr:
		return t.of(e.Expr)
	case *parser.SubqueryExpr:
		return t.of(e.Expr)
	case *parser.MatrixSelector:
		return t.of(e.VectorSelector)
	case *parser.VectorSelector:
		return t.selector(e)
	case *parser.AggregateExpr:
		return t.aggregate(e)
	case *parser.Call:
		return t.call(e)
	case *parser.BinaryExpr:
		return t.binary(e)
	default:
		return nil, fmt.Errorf("%s: labels of a %T are not known here", expr, expr)
	}
}

func (t *tracer) selector(e *parser.VectorSelector) (set, error) {
	var s set
	if r, ok := t.files.Recorded(e.Name); ok {
		var err error
		if s, err = t.recording(r); err != nil {
			return nil, fmt.Errorf("%s: %w", r.Record, err)
		}
	} else {
		names, ok := t.families(e.Name)
		if !ok {
			return nil, fmt.Errorf("nothing gives %s", e)
		}
		s = setOf(names...)
	}
	for _, m := range e.LabelMatchers {
		if m.Name != model.MetricNameLabel && !s[m.Name] {
			return nil, fmt.Errorf("%s: the metric has no label %s, but %v", e, m.Name, slices.Sorted(maps.Keys(s)))
		}
	}
	return s, nil
}

// recording gives the labels of what a rule records. One that reads itself remembers what it said before: that has the labels of its
// name's level.
func (t *tracer) recording(r Rule) (set, error) {
	if t.open[r.Record] {
		if t.inner != r.Record {
			return nil, errors.New("it is recorded from itself through others")
		}
		level, _, _ := strings.Cut(r.Record, ":")
		return setOf(append(strings.Split(level, "_"), "cluster")...), nil
	}
	outer := t.inner
	t.open[r.Record], t.inner = true, r.Record
	defer func() { delete(t.open, r.Record); t.inner = outer }()
	s, err := t.of(r.Expr)
	if err != nil {
		return nil, err
	}
	for name := range r.Labels {
		s[name] = true
	}
	return s, nil
}

func (t *tracer) aggregate(e *parser.AggregateExpr) (set, error) {
	s, err := t.of(e.Expr)
	if err != nil {
		return nil, err
	}
	if e.Op == parser.TOPK || e.Op == parser.BOTTOMK {
		_, err := s.need(e.Grouping, e)
		return s, err
	}
	named, err := s.need(e.Grouping, e)
	if err != nil {
		return nil, err
	}
	if e.Without {
		named = s.without(e.Grouping)
	}
	if e.Op == parser.COUNT_VALUES {
		named[e.Param.(*parser.StringLiteral).Val] = true
	}
	return named, nil
}

func (t *tracer) call(e *parser.Call) (set, error) {
	switch e.Func.Name {
	case "absent", "absent_over_time":
		s := set{}
		for _, selector := range Selectors(e.Args[0]) {
			if _, err := t.selector(selector); err != nil {
				return nil, err
			}
		}
		if v, ok := e.Args[0].(*parser.VectorSelector); ok { // of anything else nothing is known
			for _, m := range v.LabelMatchers {
				if m.Type == labels.MatchEqual && m.Name != model.MetricNameLabel {
					s[m.Name] = true
				}
			}
		}
		return s, nil
	case "vector", "scalar", "time", "pi":
		return set{}, nil
	case "histogram_quantile":
		s, err := t.of(e.Args[1])
		if err != nil {
			return nil, err
		}
		if !s["le"] {
			return nil, fmt.Errorf("%s: le was aggregated away", e)
		}
		return s.without([]string{"le"}), nil
	case "label_replace", "label_join":
		s, err := t.of(e.Args[0])
		if err == nil {
			s = maps.Clone(s)
			s[e.Args[1].(*parser.StringLiteral).Val] = true
		}
		return s, err
	}
	for _, a := range e.Args {
		if a.Type() == parser.ValueTypeVector || a.Type() == parser.ValueTypeMatrix {
			return t.of(a)
		}
	}
	return set{}, nil
}

func (t *tracer) binary(e *parser.BinaryExpr) (set, error) {
	left, err := t.of(e.LHS)
	if err != nil {
		return nil, err
	}
	right, err := t.of(e.RHS)
	if err != nil {
		return nil, err
	}
	m := e.VectorMatching
	if m == nil { // one side is a number
		if e.LHS.Type() == parser.ValueTypeScalar {
			return right, nil
		}
		return left, nil
	}
	if e.Op == parser.LOR {
		both := set{}
		for n := range left {
			if right[n] {
				both[n] = true
			}
		}
		return both, nil
	}
	if m.On {
		for _, side := range []set{left, right} {
			if _, err := side.need(m.MatchingLabels, e); err != nil {
				return nil, err
			}
		}
	} else if l, r := left.without(m.MatchingLabels), right.without(m.MatchingLabels); !maps.Equal(l, r) {
		return nil, fmt.Errorf("%s: the sides differ in their labels: %v and %v; say on which", e, slices.Sorted(maps.Keys(l)), slices.Sorted(maps.Keys(r)))
	}
	one, other := left, right // of many to one the many side, whose labels stay
	switch {
	case e.Op == parser.LAND || e.Op == parser.LUNLESS:
		return left, nil
	case m.Card == parser.CardOneToOne:
		if m.On {
			return setOf(m.MatchingLabels...), nil
		}
		return left.without(m.MatchingLabels), nil
	case m.Card == parser.CardOneToMany:
		one, other = right, left
	}
	included, err := other.need(m.Include, e)
	if err != nil {
		return nil, err
	}
	result := maps.Clone(one)
	maps.Copy(result, included)
	return result, nil
}
