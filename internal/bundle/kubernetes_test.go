package bundle

import (
	"bytes"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"

	"github.com/cacheinv/cacheinv_exporter/internal/rules"
)

var update = flag.Bool("update", false, "write alerts/kubernetes anew")

const made = "# Made from alerts/*.yml by `go test ./internal/bundle -update`; do not edit.\n"

const prometheusRuleHead = made + `apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: cacheinv-exporter
  labels:
    app.kubernetes.io/name: cacheinv_exporter
spec:
  groups:
`

const serviceMonitor = `# Scrapes every Service with this name for a label, on its port "metrics".
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata:
  name: cacheinv-exporter
  labels:
    app.kubernetes.io/name: cacheinv_exporter
spec:
  selector:
    matchLabels:
      app.kubernetes.io/name: cacheinv_exporter
  # The job is the value of this label of the Service: cacheinv_exporter, the name that the rules know.
  jobLabel: app.kubernetes.io/name
  endpoints:
    - port: metrics
      interval: 15s
      scrapeTimeout: 10s
`

const kustomization = `# What Prometheus Operator loads. Where its Prometheus takes only rules and monitors with a certain label, add it in a kustomization
# of your own:
#   resources: [alerts/kubernetes]
#   labels: [{pairs: {release: kube-prometheus-stack}}]
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
  - prometheusrule.yaml
  - servicemonitor.yaml
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

func kubernetes(t *testing.T, folder fs.FS) map[string]string {
	return map[string]string{
		"kubernetes/prometheusrule.yaml": prometheusRule(t, folder),
		"kubernetes/servicemonitor.yaml": serviceMonitor,
		"kubernetes/kustomization.yaml":  kustomization,
	}
}

// What Kubernetes loads says what the rule files say.
func TestKubernetes(t *testing.T) {
	for name, want := range kubernetes(t, os.DirFS("../../alerts")) {
		path := filepath.Join("../../alerts", name)
		if *update {
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(path)
		if err != nil || string(got) != want {
			t.Errorf("%s is not made from alerts/*.yml as they are (%v); run go test ./internal/bundle -update", name, err)
		}
	}
}

// The PrometheusRule parses to the same rules, in groups of the same names, in the order of the files.
func TestPrometheusRuleHasTheSameRules(t *testing.T) {
	folder := os.DirFS("../../alerts") // what is embedded is from before an update
	files, err := rules.Load(folder)
	if err != nil {
		t.Fatal(err)
	}
	text, err := fs.ReadFile(folder, "kubernetes/prometheusrule.yaml")
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
