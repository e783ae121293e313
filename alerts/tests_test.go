package alerts_test

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/cacheinv/cacheinv_exporter/internal/tools/rules"
)

// testFile is a file for promtool test rules; fields that promtool does not know are errors.
type testFile struct {
	name               string
	RuleFiles          []string    `yaml:"rule_files"`
	EvaluationInterval string      `yaml:"evaluation_interval,omitempty"`
	GroupEvalOrder     []string    `yaml:"group_eval_order,omitempty"`
	FuzzyCompare       bool        `yaml:"fuzzy_compare,omitempty"`
	Tests              []testGroup `yaml:"tests"`
}

type testGroup struct {
	Name           string            `yaml:"name,omitempty"`
	Interval       string            `yaml:"interval,omitempty"`
	ExternalLabels map[string]string `yaml:"external_labels,omitempty"`
	ExternalURL    string            `yaml:"external_url,omitempty"`
	InputSeries    []struct {
		Series string `yaml:"series"`
		Values string `yaml:"values"`
	} `yaml:"input_series"`
	Alerts      []alertTest `yaml:"alert_rule_test,omitempty"`
	Expressions []exprTest  `yaml:"promql_expr_test,omitempty"`
}

type alertTest struct {
	EvalTime string          `yaml:"eval_time"`
	Alert    string          `yaml:"alertname"`
	Expected []expectedAlert `yaml:"exp_alerts"`
}

type expectedAlert struct {
	Labels      map[string]string `yaml:"exp_labels"`
	Annotations map[string]string `yaml:"exp_annotations"`
}

type exprTest struct {
	Expr     string    `yaml:"expr"`
	EvalTime string    `yaml:"eval_time"`
	Samples  yaml.Node `yaml:"exp_samples"`
}

func testFiles(t *testing.T) []testFile {
	t.Helper()
	folder := os.DirFS(dir())
	names, err := fs.Glob(folder, "tests/*.yml")
	if err != nil {
		t.Fatal(err)
	}
	var all []testFile
	for _, name := range names {
		data, err := fs.ReadFile(folder, name)
		if err != nil {
			t.Fatal(err)
		}
		f := testFile{name: name}
		if err := yaml.Load(data, &f, yaml.WithKnownFields()); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		all = append(all, f)
	}
	return all
}

// Each alert, and each tier of one, is seen to fire, with all that it says, and to stay quiet.
func TestEachAlertIsTested(t *testing.T) {
	tests := testFiles(t)
	eachAlert(t, func(t *testing.T, _ rules.Files, r rules.Rule) {
		fires, quiet := false, false
		for _, f := range tests {
			for _, g := range f.Tests {
				for _, a := range g.Alerts {
					if a.Alert != r.Alert {
						continue
					}
					quiet = quiet || len(a.Expected) == 0
					for _, e := range a.Expected {
						own := maps.Clone(e.Labels)
						maps.DeleteFunc(own, func(name, value string) bool { return r.Labels[name] != value })
						fires = fires || maps.Equal(own, r.Labels) && len(e.Annotations) == len(r.Annotations)
					}
				}
			}
		}
		if !fires {
			t.Errorf("no test in tests/ has it fire with the labels %v", r.Labels)
		}
		if !quiet && r.Labels["severity"] != "none" { // the watchdog is never quiet
			t.Error("no test in tests/ has it stay quiet")
		}
	})
}

// A test that names rule files elsewhere would not test these.
func TestTestsReadTheseRules(t *testing.T) {
	for _, f := range testFiles(t) {
		for _, name := range f.RuleFiles {
			if path := filepath.Join("tests", name); filepath.Dir(path) != "." {
				t.Errorf("%s: %s is not beside tests/", f.name, name)
			} else if _, err := os.Stat(filepath.Join(dir(), path)); err != nil {
				t.Error(fmt.Errorf("%s: %w", f.name, err))
			}
		}
	}
}
