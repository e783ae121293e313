package rules

import (
	"fmt"
	"math"
	"time"

	"github.com/prometheus/prometheus/promql/parser"
)

// Scale gives the same rules for a time that goes faster by the factor: for, keep_firing_for, intervals, ranges, offsets, subqueries and
// their steps are divided by it, to the millisecond. Names of what is recorded stay, also where they tell a window. Numbers stay:
// seconds that an alert compares with, and window labels, are facts of the exporter, whose time does not change.
func (fs Files) Scale(factor float64) (Files, error) {
	if factor <= 0 || math.IsInf(factor, 0) || math.IsNaN(factor) {
		return nil, fmt.Errorf("the factor is %v; write one above 0", factor)
	}
	divide := func(d time.Duration) time.Duration {
		return time.Duration(float64(d) / factor).Round(time.Millisecond)
	}
	var scaled Files
	for _, f := range fs {
		file := File{Name: f.Name}
		for _, g := range f.Groups {
			group := Group{Name: g.Name, Interval: divide(g.Interval)}
			for _, r := range g.Rules {
				expr, err := Durations(r.Expr, divide)
				if err != nil {
					return nil, fmt.Errorf("%s: %s: %w", f.Name, r.Name(), err)
				}
				r.Expr, r.For, r.KeepFiringFor = expr, divide(r.For), divide(r.KeepFiringFor)
				group.Rules = append(group.Rules, r)
			}
			file.Groups = append(file.Groups, group)
		}
		scaled = append(scaled, file)
	}
	return scaled, nil
}

// Durations gives the expression with each range, offset and step changed; a range that would become 0 is an error.
func Durations(expr parser.Expr, change func(time.Duration) time.Duration) (parser.Expr, error) {
	changed := Copy(expr)
	var err error
	parser.Inspect(changed, func(n parser.Node, _ []parser.Node) error {
		switch n := n.(type) {
		case *parser.MatrixSelector:
			n.Range = change(n.Range)
			if n.Range <= 0 {
				err = fmt.Errorf("the range of %s is less than a millisecond", n)
			}
		case *parser.VectorSelector:
			n.OriginalOffset = change(n.OriginalOffset)
		case *parser.SubqueryExpr:
			n.Range, n.Step, n.OriginalOffset = change(n.Range), change(n.Step), change(n.OriginalOffset)
			if n.Range <= 0 {
				err = fmt.Errorf("the range of %s is less than a millisecond", n)
			}
		}
		return nil
	})
	return changed, err
}

// Copy of an expression, to be changed.
func Copy(expr parser.Expr) parser.Expr {
	again, err := PromQL.ParseExpr(expr.String())
	if err != nil {
		panic(fmt.Sprintf("what the parser printed does not parse: %v: %s", err, expr)) // the parser's own promise
	}
	return again
}
