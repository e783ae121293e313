package rules

import (
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
)

const example = `# A comment.
groups:
  - name: first
    interval: 30s
    rules:
      - record: layer:x:rate5m
        expr: sum by (layer) (rate(x_total[5m]))
      - alert: High
        expr: |
          layer:x:rate5m > 14.4 * 0.001
          and
          max by (layer) (y) / (sum by (layer) (z) > 5) >= 0.5
        for: 90s
        keep_firing_for: 2m
        labels: {severity: page}
        annotations: {summary: '{{ $value }} of it''s'}
      - alert: High
        expr: layer:x:rate5m > 3 * 0.001
      - alert: Relative
        expr: 10 * (layer:x:rate5m offset 1d) < layer:x:rate5m or 3 < y{a="b"} or y > z or (layer:x:rate5m < 0.6 * (w offset 1d))
      - alert: Subquery
        expr: max_over_time(y[10m:30s] offset 5m) == bool 1
      - record: harm:bool
        expr: (y / (z > 0) >= bool 0.01) * (layer:x:rate5m > 7)
      - record: harm:min2m
        expr: min_over_time(harm:bool[2m])
      - alert: Tiers
        expr: harm:min2m == 1 or w > 5
        labels: {severity: page}
      - alert: Tiers
        expr: w > limit / 4 and w > 2
        labels: {severity: ticket}
`

func load(t *testing.T, text string) Files {
	t.Helper()
	files, err := Load(fstest.MapFS{"a.yml": {Data: []byte(text)}, "alertmanager.yml": {Data: []byte("route: {}\n")}})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestLoad(t *testing.T) {
	files := load(t, example)
	if len(files) != 1 || files[0].Name != "a.yml" || files[0].Groups[0].Interval != 30*time.Second || len(files.Rules()) != 9 {
		t.Fatalf("%+v", files)
	}
	r := files.Rules()[1]
	if r.Name() != "High" || r.For != 90*time.Second || r.KeepFiringFor != 2*time.Minute || r.Labels["severity"] != "page" || r.Annotations["summary"] != "{{ $value }} of it's" {
		t.Errorf("%+v", r)
	}
	if _, ok := files.Recorded("layer:x:rate5m"); !ok {
		t.Error("the recording rule is not found")
	}
	if _, ok := files.Recorded(""); ok {
		t.Error("an alert is taken for a recording rule")
	}
}

func TestLoadFaults(t *testing.T) {
	for name, text := range map[string]string{
		"keep":        "groups: [{name: g, rules: [{alert: A, expr: x, keep: 1m}]}]",
		"alert or":    "groups: [{name: g, rules: [{expr: x}]}]",
		"A: expr":     "groups: [{name: g, rules: [{alert: A, expr: 'sum('}]}]",
		"A: for":      "groups: [{name: g, rules: [{alert: A, expr: x, for: 1}]}]",
		"A: keep_fir": "groups: [{name: g, rules: [{alert: A, expr: x, keep_firing_for: 1}]}]",
		"g: interval": "groups: [{name: g, interval: x}]",
		"a.yml":       "groups: [",
	} {
		_, err := Load(fstest.MapFS{"a.yml": {Data: []byte(text)}})
		if err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "a.yml") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What is written says what was read.
func TestYAML(t *testing.T) {
	files := load(t, example)
	text, err := files[0].YAML()
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse("a.yml", text)
	if err != nil {
		t.Fatal(err)
	}
	second, err := again.YAML()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(text), string(second)); diff != "" || !strings.Contains(string(text), "[5m]") {
		t.Errorf("%s\n%s", text, diff)
	}
}

func TestComparisons(t *testing.T) {
	files := load(t, example)
	high, err := files.Alerts("High")
	if err != nil {
		t.Fatal(err)
	}
	relative, err := files.Alerts("Relative")
	if err != nil {
		t.Fatal(err)
	}
	got := append(Comparisons(high[0].Expr), Comparisons(relative[0].Expr)...)
	want := []Comparison{
		{Left: "layer:x:rate5m", Metrics: []string{"layer:x:rate5m"}, Op: ">", Value: 0.0144},
		{Left: "max by (layer) (y) / (sum by (layer) (z) > 5)", Metrics: []string{"y", "z"}, Op: ">=", Value: 0.5},
		{Left: "y{a=\"b\"}", Metrics: []string{"y"}, Op: ">", Value: 3},
		{Left: "layer:x:rate5m", Metrics: []string{"layer:x:rate5m"}, Op: "<", Value: 0.6, Of: "(w offset 1d)"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestThreshold(t *testing.T) {
	files := load(t, example)
	for _, tt := range []struct {
		alert, severity, metric, fault string
		want                           float64
	}{
		{alert: "High", metric: "y", want: 0.5},
		{alert: "Subquery", want: 1},
		{alert: "High", metric: "layer:x:rate5m", fault: "[0.003 0.0144]"},
		{alert: "High", metric: "no", fault: "[]"},
		{alert: "Relative", want: 3},
		{alert: "No", fault: "no alert"},
		{alert: "Tiers", metric: "w", fault: "[2 5]"},
		{alert: "Tiers", severity: "page", metric: "w", want: 5},
		{alert: "Tiers", severity: "ticket", metric: "w", want: 2},
		{alert: "Tiers", metric: "z", want: 0.01}, // of a recorded condition, not of its divisor
		{alert: "Tiers", metric: "layer:x:rate5m", fault: "[]"},
	} {
		got, err := files.Threshold(tt.alert, tt.severity, tt.metric)
		if got != tt.want || (err != nil) != (tt.fault != "") || err != nil && !strings.Contains(err.Error(), tt.fault) {
			t.Errorf("%s of %s: %v, %v", tt.metric, tt.alert, got, err)
		}
	}
}

func TestFactor(t *testing.T) {
	files := load(t, example)
	if got, err := files.Factor("Relative", "w"); err != nil || got != 0.6 {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := files.Factor("Tiers", "limit"); err != nil || got != 0.25 {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := files.Factor("Relative", "y"); err == nil {
		t.Errorf("%v is no factor", got)
	}
}

func TestScale(t *testing.T) {
	files := load(t, example)
	before, err := files[0].YAML()
	if err != nil {
		t.Fatal(err)
	}
	scaled, err := files.Scale(15)
	if err != nil {
		t.Fatal(err)
	}
	text, err := scaled[0].YAML()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"interval: 2s", "layer:x:rate5m", "x_total[20s]", "for: 6s", "keep_firing_for: 8s", "offset 1h36m", "[40s:2s] offset 20s", "14.4 * 0.001",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	if after, err := files[0].YAML(); err != nil || string(after) != string(before) {
		t.Errorf("the original was changed: %v", err)
	}
	for _, factor := range []float64{0, -1, 1e9} {
		if _, err := files.Scale(factor); err == nil {
			t.Errorf("%v is taken for a factor", factor)
		}
	}
}
