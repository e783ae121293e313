package alerts_test

import (
	"bytes"
	"flag"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"

	"github.com/cacheinv/cacheinv_exporter/internal/tools/rules"
)

var update = flag.Bool("update", false, "write kubernetes/prometheusrule.yaml anew")

const prometheusRuleFile = "kubernetes/prometheusrule.yaml"

const prometheusRuleHead = "# Made from alerts/*.yml by `go test ./alerts -run TestPrometheusRule -update`; do not edit.\n" + `apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: cacheinv-exporter
  labels:
    app.kubernetes.io/name: cacheinv_exporter
spec:
  groups:
`

// prometheusRule has the groups of all rule files, as they are written there, comments too.
func prometheusRule(t *testing.T, folder fs.FS) string {
	t.Helper()
	files, err := rules.Load(folder)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString(prometheusRuleHead)
	for _, f := range files {
		data, err := fs.ReadFile(folder, f.Name)
		if err != nil {
			t.Fatal(err)
		}
		head, groups, found := strings.Cut(string(data), "\ngroups:\n")
		if !found {
			t.Fatalf("%s: no line is `groups:`", f.Name)
		}
		for _, line := range append(strings.Split(head, "\n"), strings.Split(strings.TrimRight(groups, "\n"), "\n")...) {
			switch {
			case line == "":
			case line[0] == '#': // what stands above the groups
				b.WriteString("    ")
			default:
				b.WriteString("  ")
			}
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}

// What Kubernetes loads says what the rule files say.
func TestPrometheusRule(t *testing.T) {
	want := prometheusRule(t, os.DirFS("."))
	if *update {
		if err := os.WriteFile(prometheusRuleFile, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(prometheusRuleFile)
	if err != nil || string(got) != want {
		t.Errorf("%s is not made from alerts/*.yml as they are (%v); run go test ./alerts -run TestPrometheusRule -update", prometheusRuleFile, err)
	}
}

// The kustomization has all that lies beside it.
func TestKustomization(t *testing.T) {
	text, err := os.ReadFile("kubernetes/kustomization.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var k struct {
		Kind      string
		Resources []string
	}
	if err := yaml.Load(text, &k); err != nil || k.Kind != "Kustomization" {
		t.Fatal(err, k.Kind)
	}
	names, err := fs.Glob(os.DirFS("kubernetes"), "*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	names = slices.DeleteFunc(names, func(name string) bool { return name == "kustomization.yaml" })
	slices.Sort(k.Resources)
	if !slices.Equal(k.Resources, names) || len(names) < 2 {
		t.Errorf("its resources are %v; beside it are %v", k.Resources, names)
	}
}

// The PrometheusRule parses to the same rules, in groups of the same names, in the order of the files.
func TestPrometheusRuleHasTheSameRules(t *testing.T) {
	files, err := rules.Load(os.DirFS("."))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(prometheusRuleFile)
	if err != nil {
		t.Fatal(err)
	}
	var resource struct {
		Kind string
		Spec yaml.Node
	}
	if err := yaml.Unmarshal(text, &resource); err != nil || resource.Kind != "PrometheusRule" {
		t.Fatal(err, resource.Kind)
	}
	spec, err := yaml.Marshal(&resource.Spec)
	if err != nil {
		t.Fatal(err)
	}
	got, err := rules.Parse("all.yml", spec)
	if err != nil {
		t.Fatal(err)
	}
	want := rules.File{Name: "all.yml"}
	for _, f := range files {
		want.Groups = append(want.Groups, f.Groups...)
	}
	a, err := want.YAML()
	if err != nil {
		t.Fatal(err)
	}
	b, err := got.YAML()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) || len(got.Groups) < 6 {
		t.Error(cmp.Diff(string(a), string(b)))
	}
}
