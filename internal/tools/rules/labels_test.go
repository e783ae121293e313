package rules

import (
	"slices"
	"strings"
	"testing"
)

const recordings = `
groups:
  - name: g
    rules:
      - {record: 'layer:x:sum', expr: 'sum by (cluster, layer) (x)', labels: {extra: a}}
      - {record: 'layer:self:sum', expr: 'layer:self:sum{layer="a"} or sum by (cluster, layer) (x)'}
      - {record: 'loop:a:sum', expr: 'sum(loop:b:sum)'}
      - {record: 'loop:b:sum', expr: 'sum(loop:a:sum)'}
`

func TestLabels(t *testing.T) {
	files := load(t, recordings)
	families := func(metric string) ([]string, bool) {
		labels, ok := map[string][]string{
			"x": {"cluster", "layer", "node"}, "y": {"cluster", "layer"}, "up": {"cluster", "job", "instance"}, "h_bucket": {"cluster", "layer", "le"},
		}[metric]
		return labels, ok
	}
	for _, tt := range []struct{ expr, want, fault string }{
		{expr: `x{layer="a"}`, want: "cluster layer node"},
		{expr: `rate(x[5m] offset 1d)`, want: "cluster layer node"},
		{expr: `-sum by (layer) (max_over_time(x[5m:1m]))`, want: "layer"},
		{expr: `max without (node) (x)`, want: "cluster layer"},
		{expr: `topk(3, x) > 1`, want: "cluster layer node"},
		{expr: `count_values by (layer) ("value", x)`, want: "layer value"},
		{expr: `1 < (x)`, want: "cluster layer node"},
		{expr: `layer:x:sum{extra="a"}`, want: "cluster extra layer"},
		{expr: `absent(up{job="a", instance=~"b"})`, want: "job"},
		{expr: `absent(sum(up{job="a"}))`},
		{expr: `vector(1)`},
		{expr: `time() - 3`},
		{expr: `histogram_quantile(0.9, sum by (layer, le) (rate(h_bucket[5m])))`, want: "layer"},
		{expr: `label_replace(y, "new", "$1", "layer", "(.*)")`, want: "cluster layer new"},
		{expr: `x and on (cluster) up`, want: "cluster layer node"},
		{expr: `x unless on (cluster, layer) y`, want: "cluster layer node"},
		{expr: `sum by (cluster, layer) (x) / y`, want: "cluster layer"},
		{expr: `x / on (cluster) up`, want: "cluster"},
		{expr: `x * ignoring (node) group_left () y`, want: "cluster layer node"},
		{expr: `up * on (cluster) group_right (instance) y`, want: "cluster instance layer"},
		{expr: `x or y`, want: "cluster layer"},
		{expr: `layer:self:sum`, want: "cluster layer"},
		{expr: `nothing > 1`, fault: "nothing gives nothing"},
		{expr: `x{group="a"}`, fault: "no label group"},
		{expr: `layer:x:sum{node="a"}`, fault: "no label node"},
		{expr: `sum by (group) (x)`, fault: "label group"},
		{expr: `sum(loop:a:sum)`, fault: "from itself"},
		{expr: `x and y`, fault: "differ in their labels"},
		{expr: `x and on (node) y`, fault: "label node"},
		{expr: `y * on (cluster) group_left (node) y`, fault: "label node"},
		{expr: `histogram_quantile(0.9, y)`, fault: "le was"},
		{expr: `absent(nothing)`, fault: "nothing gives nothing"},
	} {
		expr, err := PromQL.ParseExpr(tt.expr)
		if err != nil {
			t.Fatal(err)
		}
		got, err := files.Labels(expr, families)
		if (err != nil) != (tt.fault != "") || err != nil && !strings.Contains(err.Error(), tt.fault) {
			t.Errorf("%s: %v, want %q", tt.expr, err, tt.fault)
		} else if err == nil && !slices.Equal(got, strings.Fields(tt.want)) {
			t.Errorf("%s: %v, want %s", tt.expr, got, tt.want)
		}
	}
}
