package grafana

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

const example = `{"uid": "u", "panels": [
  {"id": 1, "type": "row", "collapsed": true, "panels": [{"id": 2, "type": "stat", "title": "In it",
    "targets": [{"refId": "A", "expr": "x{a=~\"$a\",b=~\"${b:regex}\"}", "legendFormat": "{{a}} of {{ b }}", "instant": true}]}]},
  {"id": 3, "type": "timeseries", "title": "Open",
    "targets": [{"refId": "B", "expr": "label_replace(rate(y[$__rate_interval]), \"n\", \"$1\", \"m\", \"(.*)\")", "legendFormat": "y"}]}],
 "templating": {"list": [{"name": "datasource", "type": "datasource", "query": "prometheus"},
   {"name": "a", "type": "query", "query": {"query": "label_values(x{b=~\"$b\"}, a)"}}]},
 "annotations": {"list": [{"name": "Fires", "expr": "ALERTS{a=~\"$a\"}", "titleFormat": "{{alertname}}", "tagKeys": "a,b"}]}}`

func TestQueries(t *testing.T) {
	d, err := Parse([]byte(example))
	if err != nil {
		t.Fatal(err)
	}
	want := []Query{
		{Where: `panel 2 "In it" A`, Panel: 2, RefID: "A", Expr: `x{a=~"one",b=~".*"}`, Legend: "{{a}} of {{ b }}", Instant: true, Labels: []string{"a", "b"}},
		{Where: `panel 3 "Open" B`, Panel: 3, RefID: "B", Expr: `label_replace(rate(y[2m]), "n", "$1", "m", "(.*)")`, Legend: "y"},
		{Where: "variable a", Expr: `x{b=~".*"}`, Instant: true, Labels: []string{"a"}},
		{Where: "annotation Fires", Expr: `ALERTS{a=~"one"}`, Labels: []string{"alertname", "a", "b"}},
	}
	if diff := cmp.Diff(want, d.Queries(map[string]string{"a": "one"})); diff != "" {
		t.Error(diff)
	}
}

func TestLegend(t *testing.T) {
	if got := Legend("{{a}} of {{ b }}, {{none}}", map[string]string{"a": "1", "b": "2"}); got != "1 of 2, " {
		t.Errorf("%q", got)
	}
}
