// Package rules reads Prometheus' rule files: for tests, for what is generated from them, and for running them faster than they are
// written. The binary does not link it.
//
// [Load] gives [Files] with groups of [Rule]s. [Comparisons] finds the thresholds in an expression, [Selectors] what it reads.
package rules

import (
	"bytes"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v4"
)

// Files are rule files, by name.
type Files []File

// File is one rule file.
type File struct {
	Name   string // as in its folder, "queue.yml"
	Groups []Group
}

// Group is evaluated as one, in its order.
type Group struct {
	Name     string
	Interval time.Duration // 0: Prometheus' own
	Rules    []Rule
}

// Rule is an alert or a recording rule.
type Rule struct {
	Alert, Record      string // one of them
	Expr               parser.Expr
	For, KeepFiringFor time.Duration
	Labels             map[string]string
	Annotations        map[string]string
}

// Name of the alert, or of what is recorded.
func (r Rule) Name() string { return r.Alert + r.Record }

// PromQL parses what Prometheus takes without a feature flag.
var PromQL = parser.NewParser(parser.Options{})

// The file's own form. Its order of fields is that of the files here.
type (
	ruleFile struct {
		Groups []ruleGroup `yaml:"groups"`
	}
	ruleGroup struct {
		Name     string     `yaml:"name"`
		Interval string     `yaml:"interval,omitempty"`
		Rules    []ruleText `yaml:"rules"`
	}
	ruleText struct {
		Record        string            `yaml:"record,omitempty"`
		Alert         string            `yaml:"alert,omitempty"`
		Expr          string            `yaml:"expr"`
		For           string            `yaml:"for,omitempty"`
		KeepFiringFor string            `yaml:"keep_firing_for,omitempty"`
		Labels        map[string]string `yaml:"labels,omitempty"`
		Annotations   map[string]string `yaml:"annotations,omitempty"`
	}
)

// Load reads the *.yml of a folder that have groups at their top; others (alertmanager.yml) are passed over. The error names file
// and rule.
func Load(folder fs.FS) (Files, error) {
	names, err := fs.Glob(folder, "*.yml")
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	var files Files
	for _, name := range names {
		data, err := fs.ReadFile(folder, name)
		if err != nil {
			return nil, err
		}
		var top map[string]any
		if err := yaml.Unmarshal(data, &top); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if _, ok := top["groups"]; !ok {
			continue
		}
		f, err := Parse(name, data)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}

// Parse reads one rule file; fields that Prometheus does not know are errors.
func Parse(name string, data []byte) (File, error) {
	var text ruleFile
	if err := yaml.Load(data, &text, yaml.WithKnownFields()); err != nil {
		return File{}, fmt.Errorf("%s: %w", name, err)
	}
	f := File{Name: path.Base(name)}
	for _, g := range text.Groups {
		group := Group{Name: g.Name}
		var err error
		if group.Interval, err = duration(g.Interval); err != nil {
			return File{}, fmt.Errorf("%s: %s: interval: %w", name, g.Name, err)
		}
		for _, t := range g.Rules {
			r := Rule{Alert: t.Alert, Record: t.Record, Labels: t.Labels, Annotations: t.Annotations}
			if (r.Alert == "") == (r.Record == "") {
				return File{}, fmt.Errorf("%s: %s: %q: write alert or record, one of them", name, g.Name, r.Name())
			}
			if r.Expr, err = PromQL.ParseExpr(t.Expr); err != nil {
				return File{}, fmt.Errorf("%s: %s: %s: expr: %w", name, g.Name, r.Name(), err)
			}
			if r.For, err = duration(t.For); err != nil {
				return File{}, fmt.Errorf("%s: %s: %s: for: %w", name, g.Name, r.Name(), err)
			}
			if r.KeepFiringFor, err = duration(t.KeepFiringFor); err != nil {
				return File{}, fmt.Errorf("%s: %s: %s: keep_firing_for: %w", name, g.Name, r.Name(), err)
			}
			group.Rules = append(group.Rules, r)
		}
		f.Groups = append(f.Groups, group)
	}
	return f, nil
}

func duration(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := model.ParseDuration(text)
	return time.Duration(d), err
}

// YAML is the file as Prometheus loads it: its own text loses comments and layout, not meaning.
func (f File) YAML() ([]byte, error) {
	text := ruleFile{Groups: []ruleGroup{}}
	for _, g := range f.Groups {
		group := ruleGroup{Name: g.Name, Interval: durationText(g.Interval)}
		for _, r := range g.Rules {
			group.Rules = append(group.Rules, ruleText{
				Record: r.Record, Alert: r.Alert, Expr: r.Expr.String(), For: durationText(r.For), KeepFiringFor: durationText(r.KeepFiringFor),
				Labels: r.Labels, Annotations: r.Annotations,
			})
		}
		text.Groups = append(text.Groups, group)
	}
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(text); err != nil {
		return nil, err
	}
	return b.Bytes(), e.Close()
}

func durationText(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return model.Duration(d).String()
}

// Rules of all groups of all files, in their order.
func (fs Files) Rules() []Rule {
	var all []Rule
	for _, f := range fs {
		for _, g := range f.Groups {
			all = append(all, g.Rules...)
		}
	}
	return all
}

// Alerts of this name: more than one where an alert has several tiers; none is an error.
func (fs Files) Alerts(name string) ([]Rule, error) {
	var found []Rule
	for _, r := range fs.Rules() {
		if r.Alert == name {
			found = append(found, r)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("no alert is named %q", name)
	}
	return found, nil
}

// Recorded gives the rule that records the metric.
func (fs Files) Recorded(metric string) (Rule, bool) {
	for _, r := range fs.Rules() {
		if r.Record != "" && r.Record == metric {
			return r, true
		}
	}
	return Rule{}, false
}

// Metrics that the expression reads, as written, each once, sorted; selectors without a name give their matchers.
func Metrics(expr parser.Expr) []string {
	var names []string
	for _, s := range Selectors(expr) {
		names = append(names, s.Name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Selectors of the expression, in its order.
func Selectors(expr parser.Expr) []*parser.VectorSelector {
	var all []*parser.VectorSelector
	parser.Inspect(expr, func(n parser.Node, _ []parser.Node) error {
		if s, ok := n.(*parser.VectorSelector); ok {
			all = append(all, s)
		}
		return nil
	})
	return all
}

// flat text of an expression, for messages and comparisons.
func flat(expr parser.Expr) string { return strings.Join(strings.Fields(expr.String()), " ") }
