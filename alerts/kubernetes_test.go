package alerts_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"

	"github.com/cacheinv/cacheinv_exporter/internal/bundle"
	"github.com/cacheinv/cacheinv_exporter/internal/tools/rules"
)

var update = flag.Bool("update", false, "write anew what is made from the rules and the dashboards")

const prometheusRuleFile = "kubernetes/prometheusrule.yaml"

// What Kubernetes and the mixin load is made from the rule files and the dashboards as they are.
func TestPrometheusRule(t *testing.T) {
	dir := t.TempDir()
	if err := bundle.Write(bundle.Options{Dir: dir}, io.Discard); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{prometheusRuleFile, "kubernetes/dashboards.yaml", "rules.json"} {
		want, err := os.ReadFile(filepath.Join(dir, "alerts", name))
		if err != nil {
			t.Fatal(err)
		}
		if *update {
			if err := os.WriteFile(name, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what is made now (%v); run go test ./alerts -run TestPrometheusRule -update", name, err)
		}
	}
}

// Grafana's sidecar finds each dashboard by a label, as it is in dashboards/, and kubectl takes it.
func TestDashboardConfigMaps(t *testing.T) {
	text, err := os.ReadFile("kubernetes/dashboards.yaml")
	if err != nil {
		t.Fatal(err)
	}
	uids := map[string]bool{}
	for d := yaml.NewDecoder(bytes.NewReader(text)); ; {
		var m struct {
			Kind     string
			Metadata struct{ Labels map[string]string }
			Data     map[string]string
		}
		if err := d.Decode(&m); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if m.Kind != "ConfigMap" || m.Metadata.Labels["grafana_dashboard"] != "1" || len(m.Data) != 1 {
			t.Errorf("%s, %v, %d entries", m.Kind, m.Metadata.Labels, len(m.Data))
		}
		for name, text := range m.Data {
			if len(text) > 250<<10 { // what `kubectl apply` remembers of it may have 256 KiB
				t.Errorf("%s has %d bytes", name, len(text))
			}
			file, err := os.ReadFile("../dashboards/" + strings.TrimPrefix(name, "cacheinv-"))
			if err != nil {
				t.Fatal(err)
			}
			var got, want map[string]any
			if err := errors.Join(json.Unmarshal([]byte(text), &got), json.Unmarshal(file, &want)); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
			uids[got["uid"].(string)] = true
		}
	}
	if len(uids) != len(boards(t)) {
		t.Errorf("the dashboards %v", uids)
	}
}

// Without honorLabels a target's label `node` would hide the exporter's, and the job is the one that the rules know.
func TestServiceMonitor(t *testing.T) {
	text, err := os.ReadFile("kubernetes/servicemonitor.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var m struct {
		Kind string
		Spec struct {
			Endpoints []struct {
				HonorLabels bool `yaml:"honorLabels"`
				Relabelings []struct {
					TargetLabel string `yaml:"targetLabel"`
					Replacement string
				}
			}
		}
	}
	if err := yaml.Unmarshal(text, &m); err != nil || m.Kind != "ServiceMonitor" || len(m.Spec.Endpoints) != 1 {
		t.Fatalf("%v: %+v", err, m)
	}
	e := m.Spec.Endpoints[0]
	if !e.HonorLabels || len(e.Relabelings) != 1 || e.Relabelings[0].TargetLabel != "job" || e.Relabelings[0].Replacement != "cacheinv_exporter" {
		t.Errorf("%+v", e)
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
