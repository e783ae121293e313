package bundle

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/cacheinv/cacheinv_exporter/internal/bundle/settings"
)

// What Prometheus Operator and Grafana's sidecar load, made from the other files of the bundle.
const (
	ruleResource      = "alerts/kubernetes/prometheusrule.yaml"
	dashboardResource = "alerts/kubernetes/dashboards.yaml"
	monitorResource   = "alerts/kubernetes/servicemonitor.yaml"
)

// mixinRules are the groups of all rule files for alerts/mixin.libsonnet.
const mixinRules = "alerts/rules.json"

const ruleHead = "# Made from alerts/*.yml; do not edit.\n" + `apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: cacheinv-exporter
  labels:
    app.kubernetes.io/name: cacheinv_exporter
spec:
  groups:
`

const dashboardHead = `---
apiVersion: v1
kind: ConfigMap
metadata:
  name: cacheinv-exporter-%[1]s
  labels:
    app.kubernetes.io/name: cacheinv_exporter
    # What Grafana's sidecar looks for, as kube-prometheus-stack sets it.
    grafana_dashboard: "1"
data:
  # A name of its own: the sidecar puts all dashboards of the cluster into one folder.
  cacheinv-%[1]s.json: |
    %[2]s
`

// monitorInterval is that of the ServiceMonitor as it is carried.
const monitorInterval = "interval: 15s"

// kubernetes adds what is made from the files, and has the ServiceMonitor scrape as seldom as the rules are made for.
func kubernetes(files []file, v settings.Values) ([]file, error) {
	var rules, boards strings.Builder
	rules.WriteString(ruleHead)
	boards.WriteString("# Made from dashboards/*.json; do not edit. One for each, since an object that `kubectl apply` takes may have 256 KiB.\n")
	for i, f := range files {
		switch {
		case path.Dir(f.path) == "dashboards":
			var compact bytes.Buffer
			if err := json.Compact(&compact, []byte(f.text)); err != nil {
				return nil, fmt.Errorf("%s: %w", f.path, err)
			}
			fmt.Fprintf(&boards, dashboardHead, strings.TrimSuffix(path.Base(f.path), ".json"), compact.String())
		case path.Dir(f.path) == "alerts" && path.Ext(f.path) == ".yml":
			writeGroups(&rules, f.text)
		case f.path == monitorResource && v.Number(settings.ScrapeInterval) > (settings.Values{}).Number(settings.ScrapeInterval):
			files[i].text = strings.Replace(f.text, monitorInterval, "interval: "+v.Text(settings.ScrapeInterval), 1)
		}
	}
	twin, err := ruleJSON(files)
	return append(files, file{ruleResource, rules.String()}, file{dashboardResource, boards.String()}, file{mixinRules, twin}), err
}

// ruleJSON has the groups of the rule files as JSON.
func ruleJSON(files []file) (string, error) {
	all := struct {
		Groups []map[string]any `json:"groups" yaml:"groups"`
	}{}
	for _, f := range files {
		if path.Dir(f.path) != "alerts" || path.Ext(f.path) != ".yml" {
			continue
		}
		one := all
		one.Groups = nil
		if err := yaml.Unmarshal([]byte(f.text), &one); err != nil { // Alertmanager's has no groups
			return "", fmt.Errorf("%s: %w", f.path, err)
		}
		all.Groups = append(all.Groups, one.Groups...)
	}
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // PromQL compares with < and >
	e.SetIndent("", "  ")
	err := e.Encode(all)
	return b.String(), err
}

// writeGroups writes the groups of a rule file as they stand there, comments too; of a file without groups nothing.
func writeGroups(b *strings.Builder, text string) {
	head, groups, found := strings.Cut(text, "\ngroups:\n")
	if !found {
		return
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
