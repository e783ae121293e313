package rules

import (
	"fmt"
	"math"
	"slices"

	"github.com/prometheus/prometheus/promql/parser"
)

// Comparison is what an alert compares with a number.
type Comparison struct {
	Left string // the expression on the left, printed
	// Metrics that Left reads, as written, sorted.
	Metrics []string
	Op      string // "<", ">=", ...
	Value   float64
	// Bool: it gives 0 or 1.
	Bool bool
	// Of is the expression that Value is a multiple of, printed; empty where Value is the number compared with.
	Of string
}

// Comparisons of an expression with constants, in its order and the constants folded (14.4 * 0.001). A comparison within a
// side of another (the `> 0` of a divisor) is no threshold of the alert, and is left out; so is one of two series without a number.
func Comparisons(expr parser.Expr) []Comparison {
	switch e := expr.(type) {
	case *parser.ParenExpr:
		return Comparisons(e.Expr)
	case *parser.BinaryExpr:
		if !e.Op.IsComparisonOperator() {
			return append(Comparisons(e.LHS), Comparisons(e.RHS)...)
		}
		left, right, op := e.LHS, e.RHS, e.Op
		if _, ok := constant(left); ok {
			left, right, op = right, left, turned(op)
		}
		factor, of, ok := multiple(right)
		if !ok {
			return nil
		}
		c := Comparison{Left: flat(left), Metrics: Metrics(left), Op: op.String(), Value: factor, Bool: e.ReturnBool}
		if of != nil {
			c.Of = flat(of)
		}
		return []Comparison{c}
	}
	var all []Comparison
	for n := range parser.ChildrenIter(expr) {
		if child, ok := n.(parser.Expr); ok {
			all = append(all, Comparisons(child)...)
		}
	}
	return all
}

// turned is the operator with its sides changed.
func turned(op parser.ItemType) parser.ItemType {
	switch op {
	case parser.GTR:
		return parser.LSS
	case parser.LSS:
		return parser.GTR
	case parser.GTE:
		return parser.LTE
	case parser.LTE:
		return parser.GTE
	default:
		return op
	}
}

// multiple takes `3`, `3 * x`, `x * 3` and `x / 3` apart.
func multiple(expr parser.Expr) (factor float64, of parser.Expr, ok bool) {
	if v, ok := constant(expr); ok {
		return v, nil, true
	}
	for {
		p, ok := expr.(*parser.ParenExpr)
		if !ok {
			break
		}
		expr = p.Expr
	}
	e, ok := expr.(*parser.BinaryExpr)
	if !ok || e.Op != parser.MUL && e.Op != parser.DIV {
		return 0, nil, false
	}
	if e.Op == parser.DIV {
		v, ok := constant(e.RHS)
		return round(1 / v), e.LHS, ok
	}
	if v, ok := constant(e.LHS); ok {
		return v, e.RHS, true
	}
	if v, ok := constant(e.RHS); ok {
		return v, e.LHS, true
	}
	return 0, nil, false
}

// constant folds an expression of numbers alone.
func constant(expr parser.Expr) (float64, bool) {
	switch e := expr.(type) {
	case *parser.NumberLiteral:
		return e.Val, true
	case *parser.ParenExpr:
		return constant(e.Expr)
	case *parser.UnaryExpr:
		v, ok := constant(e.Expr)
		if e.Op == parser.SUB {
			v = -v
		}
		return v, ok
	case *parser.BinaryExpr:
		l, okLeft := constant(e.LHS)
		r, okRight := constant(e.RHS)
		if !okLeft || !okRight {
			return 0, false
		}
		switch e.Op {
		case parser.ADD:
			return l + r, true
		case parser.SUB:
			return l - r, true
		case parser.MUL:
			// Decimal factors are meant as they are written: 14.4 * 0.001 is 0.0144, and not the binary number beside it.
			return round(l * r), true
		case parser.DIV:
			return round(l / r), true
		case parser.POW:
			return math.Pow(l, r), true
		}
	}
	return 0, false
}

// round to 12 significant digits.
func round(v float64) float64 {
	if v == 0 || math.IsInf(v, 0) || math.IsNaN(v) {
		return v
	}
	scale := math.Pow(10, 11-math.Floor(math.Log10(math.Abs(v))))
	return math.Round(v*scale) / scale
}

// Compared is what an alert compares with constants: in its own expression, and in the recorded conditions (0 or 1) that it reads.
func (fs Files) Compared(r Rule) []Comparison {
	return append(Comparisons(r.Expr), fs.conditions(r.Expr, map[string]bool{})...)
}

// conditions that recorded rules behind an expression hold, each rule once.
func (fs Files) conditions(expr parser.Expr, seen map[string]bool) []Comparison {
	var all []Comparison
	for _, metric := range Metrics(expr) {
		r, ok := fs.Recorded(metric)
		if !ok || seen[metric] {
			continue
		}
		seen[metric] = true
		for _, c := range Comparisons(r.Expr) {
			if c.Bool {
				all = append(all, c)
			}
		}
		all = append(all, fs.conditions(r.Expr, seen)...)
	}
	return all
}

// Threshold is the number that the alert compares the metric with, or what is made of it: the `1000` of `queue_depth > 1000`. With
// an empty metric the alert must have one number in its own expression. Tiers that compare the same metric with different numbers are
// an error, which names all that the alert compares; a severity tells them apart, an empty one is any.
func (fs Files) Threshold(alert, severity, metric string) (float64, error) {
	return fs.one(alert, severity, metric, func(c Comparison) bool {
		return c.Of == "" && (metric == "" || slices.Contains(c.Metrics, metric))
	})
}

// Factor is what the alert multiplies the other metric with before it compares: the `3` of `rate > 3 * target`, by target.
func (fs Files) Factor(alert, of string) (float64, error) {
	return fs.one(alert, "", of, func(c Comparison) bool {
		if c.Of == "" {
			return false
		}
		expr, err := PromQL.ParseExpr(c.Of)
		return err == nil && slices.Contains(Metrics(expr), of)
	})
}

func (fs Files) one(alert, severity, metric string, wanted func(Comparison) bool) (float64, error) {
	tiers, err := fs.Alerts(alert)
	if err != nil {
		return 0, err
	}
	var all []Comparison
	var values []float64
	for _, r := range tiers {
		if severity != "" && r.Labels["severity"] != severity {
			continue
		}
		compared := Comparisons(r.Expr)
		if metric != "" {
			compared = fs.Compared(r)
		}
		for _, c := range compared {
			all = append(all, c)
			if wanted(c) {
				values = append(values, c.Value)
			}
		}
	}
	slices.Sort(values)
	if values = slices.Compact(values); len(values) != 1 {
		return 0, fmt.Errorf("%s compares %q with %v, not with one number; it has %+v", alert, metric, values, all)
	}
	return values[0], nil
}
