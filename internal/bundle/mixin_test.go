package bundle

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"
)

// jsonnet evaluates an expression in which m is the written mixin.
func jsonnet[T any](t *testing.T, dir, expr string) (into T) {
	t.Helper()
	out := installed(t, "jsonnet", "-J", dir, "-e", "local m = import 'alerts/mixin.libsonnet'; "+expr)
	if err := json.Unmarshal([]byte(out), &into); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return into
}

// plain is a value as JSON gives it, whatever it was parsed from.
func plain(t *testing.T, value any) (into any) {
	t.Helper()
	data, err := json.Marshal(value)
	if err == nil {
		err = json.Unmarshal(data, &into)
	}
	if err != nil {
		t.Fatal(err)
	}
	return into
}

type group struct {
	Name  string
	Rules []struct {
		Alert       string
		Labels      map[string]string
		Annotations map[string]string
	}
}

// The mixin has each group of the written rule files once and as it is there, and each dashboard.
func TestMixin(t *testing.T) {
	dir, files := written(t, "severity_page=critical", "cluster_label=env")
	groups := map[string]any{}
	for name, text := range files {
		if filepath.Dir(name) != "alerts" || filepath.Ext(name) != ".yml" || !strings.Contains(text, "\ngroups:\n") {
			continue
		}
		var parsed struct{ Groups []map[string]any }
		if err := yaml.Unmarshal([]byte(text), &parsed); err != nil {
			t.Fatal(err)
		}
		for _, g := range parsed.Groups {
			groups[g["name"].(string)] = plain(t, g)
		}
	}
	got := map[string]any{}
	for _, g := range jsonnet[[]map[string]any](t, dir, "m.prometheusAlerts.groups + m.prometheusRules.groups") {
		name := g["name"].(string)
		if _, twice := got[name]; twice {
			t.Errorf("the group %s stands twice", name)
		}
		got[name] = plain(t, g)
	}
	if diff := cmp.Diff(groups, got); diff != "" || len(groups) < 6 {
		t.Errorf("%d groups: %s", len(groups), diff)
	}
	boards := jsonnet[map[string]any](t, dir, "m.grafanaDashboards")
	for _, name := range glob(t, dir, "dashboards", "*.json") {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var want any
		if err := json.Unmarshal(data, &want); err != nil {
			t.Fatal(err)
		}
		key := "cacheinv-" + filepath.Base(name)
		if diff := cmp.Diff(want, boards[key]); diff != "" {
			t.Errorf("%s: %s", key, diff)
		}
		delete(boards, key)
	}
	if len(boards) > 0 {
		t.Errorf("dashboards that nobody wrote: %v", boards)
	}
}

// What a user of the mixin may say in _config.
func TestMixinConfig(t *testing.T) {
	dir, _ := written(t)
	const config = "(m + {_config+:: {alertLabels: {team: 'caches'}, runbookURLPattern: 'https://wiki.example/%s', dashboardNamePrefix: 'X ', dashboardTags: ['a']}})"
	alerts := 0
	for _, g := range jsonnet[[]group](t, dir, config+".prometheusAlerts.groups") {
		for _, r := range g.Rules {
			if r.Alert == "" {
				if len(r.Annotations) > 0 {
					t.Errorf("what is recorded has annotations: %v", r)
				}
				continue
			}
			alerts++
			if r.Labels["team"] != "caches" || r.Labels["severity"] == "" || r.Annotations["runbook_url"] != "https://wiki.example/"+r.Alert || r.Annotations["summary"] == "" {
				t.Errorf("%+v", r)
			}
		}
	}
	if alerts < 30 {
		t.Errorf("only %d alerts", alerts)
	}
	for name, board := range jsonnet[map[string]map[string]any](t, dir, config+".grafanaDashboards") {
		if title := board["title"].(string); !strings.HasPrefix(title, "X Cache invalidation") || len(board["tags"].([]any)) != 1 || board["tags"].([]any)[0] != "a" {
			t.Errorf("%s: %s, %v", name, title, board["tags"])
		}
	}
}
