package dashboards_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cacheinv/cacheinv_exporter/alerts"
	"github.com/cacheinv/cacheinv_exporter/collector"
	"github.com/cacheinv/cacheinv_exporter/internal/diagnosis"
	"github.com/cacheinv/cacheinv_exporter/internal/tools/grafana"
	"github.com/cacheinv/cacheinv_exporter/internal/tools/rules"
)

const runbooks = "https://github.com/cacheinv/cacheinv_exporter/blob/main/docs/runbooks/"

// uids that alerts link to, with the path that follows them.
var uids = map[string]string{
	"overview.json": "cacheinv-overview/overview", "consistency.json": "cacheinv-consistency/consistency",
	"queues.json": "cacheinv-queues/queues", "exporter.json": "cacheinv-exporter/exporter-health",
}

// each runs a test for each dashboard.
func each(t *testing.T, check func(t *testing.T, d *grafana.Dashboard)) {
	t.Helper()
	names, err := filepath.Glob("*.json")
	if err != nil || len(names) != len(uids) {
		t.Fatalf("%v, %v", names, err)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		d, err := grafana.Parse(data)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if uid, _, _ := strings.Cut(uids[name], "/"); d.UID != uid {
			t.Errorf("%s has the uid %q", name, d.UID)
		}
		t.Run(name, func(t *testing.T) { check(t, d) })
	}
}

func load(t *testing.T) rules.Files {
	t.Helper()
	files, err := rules.Load(alerts.Files)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// families are the exporter's, what client_golang and Prometheus add to them, and the alerts themselves. A target has job, instance
// and, where the configuration of Prometheus sets them, cluster and shard; a label of it that is one of ours makes that exported_NAME.
func families(files rules.Files) rules.Families {
	target := []string{"cluster", "instance", "job", "shard"}
	all := map[string][]string{}
	for _, name := range []string{
		"up", "scrape_duration_seconds", "scrape_samples_scraped",
		"process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds", "go_goroutines",
	} {
		all[name] = target
	}
	for _, f := range collector.Families() {
		names := append(slices.Clone(f.Labels), target...)
		for _, own := range f.Labels {
			names = append(names, "exported_"+own)
		}
		if f.Type == "histogram" {
			all[f.Name+"_bucket"] = append(slices.Clone(names), "le")
			all[f.Name+"_sum"], all[f.Name+"_count"] = names, names
			continue
		}
		all[f.Name] = names
	}
	fired := []string{"alertname", "alertstate", "cluster"}
	for _, r := range files.Rules() {
		if r.Alert == "" {
			continue
		}
		for name := range r.Labels {
			fired = append(fired, name)
		}
		names, err := files.Labels(r.Expr, func(m string) ([]string, bool) { n, ok := all[m]; return n, ok })
		if err == nil {
			fired = append(fired, names...)
		}
	}
	all["ALERTS"] = fired
	return func(metric string) ([]string, bool) {
		names, ok := all[metric]
		return names, ok
	}
}

func TestPanelsAreComplete(t *testing.T) {
	each(t, func(t *testing.T, d *grafana.Dashboard) {
		if d.Title == "" || d.Description == "" || !slices.Contains(d.Tags, "cacheinv") {
			t.Errorf("%q, %q, %q", d.Title, d.Description, d.Tags)
		}
		if d.SchemaVersion < 36 || d.SchemaVersion > 39 {
			t.Errorf("schema %d is not one that Grafana 10 reads", d.SchemaVersion)
		}
		ids := map[int]bool{}
		titles := map[string]bool{}
		for _, p := range d.Panels {
			if p.ID == 0 || ids[p.ID] {
				t.Errorf("%q has the id %d", p.Title, p.ID)
			}
			ids[p.ID] = true
		}
		for _, p := range d.All() {
			if p.Title == "" || titles[p.Title] {
				t.Errorf("panel %d: the title %q is empty or not the only one", p.ID, p.Title)
			}
			titles[p.Title] = true
			for _, word := range []string{"**Healthy:** ", "**Otherwise:** "} {
				if !strings.Contains(p.Description, word) {
					t.Errorf("%q: its description lacks %q", p.Title, word)
				}
			}
			field := p.FieldConfig.Defaults
			if field.Unit == "" || field.NoValue == "" {
				t.Errorf("%q: unit %q, no value %q", p.Title, field.Unit, field.NoValue)
			}
			if len(p.Targets) == 0 {
				t.Errorf("%q asks nothing", p.Title)
			}
			refs := map[string]bool{}
			for _, q := range p.Targets {
				if q.RefID == "" || refs[q.RefID] || q.LegendFormat == "" || q.Expr == "" || q.Instant == q.Range || q.Format == "" {
					t.Errorf("%q: %+v", p.Title, q)
				}
				refs[q.RefID] = true
				if q.Datasource != (grafana.Source{Type: "prometheus", UID: "${datasource}"}) || p.Datasource != q.Datasource {
					t.Errorf("%q asks %+v", p.Title, q.Datasource)
				}
			}
			// What Grafana would choose by itself differs between its versions.
			o := p.Options
			switch p.Type {
			case "timeseries":
				if o.Legend == nil || len(o.Legend.Calcs) == 0 || o.Tooltip == nil || o.Tooltip.Mode != "multi" {
					t.Errorf("%q: legend %+v, tooltip %+v", p.Title, o.Legend, o.Tooltip)
				}
			case "stat", "bargauge":
				if o.ReduceOptions == nil || len(o.ReduceOptions.Calcs) == 0 {
					t.Errorf("%q: %+v", p.Title, o.ReduceOptions)
				}
			case "table":
				if len(p.Transformations) != 1 || len(o.SortBy) != 1 {
					t.Errorf("%q: %+v, %+v", p.Title, p.Transformations, o.SortBy)
				}
			default:
				t.Errorf("%q is a %s", p.Title, p.Type)
			}
		}
		if len(titles) < 15 {
			t.Errorf("only %d panels", len(titles))
		}
	})
}

func TestPanelsDoNotOverlap(t *testing.T) {
	each(t, func(t *testing.T, d *grafana.Dashboard) {
		used := map[[2]int]string{}
		for _, p := range d.Panels {
			if p.GridPos.W < 1 || p.GridPos.H < 1 || p.GridPos.X < 0 || p.GridPos.X+p.GridPos.W > 24 {
				t.Errorf("%q stands at %+v", p.Title, p.GridPos)
			}
			for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
				for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
					if other := used[[2]int{x, y}]; other != "" {
						t.Fatalf("%q and %q overlap", p.Title, other)
					}
					used[[2]int{x, y}] = p.Title
				}
			}
		}
	})
}

// What one needs when paged is seen without scrolling on a screen of 1920 by 1080: a row of Grafana's grid has 30 pixels and 8 between,
// and Grafana and the browser take some 170.
func TestFirstScreen(t *testing.T) {
	each(t, func(t *testing.T, d *grafana.Dashboard) {
		if d.UID != "cacheinv-overview" {
			return
		}
		wanted := []string{"Pages firing", "Nodes down", "Wrong copies", "Firing alerts", "Causes", "What answers", "Where copies are wrong"}
		for _, title := range wanted {
			i := slices.IndexFunc(d.Panels, func(p grafana.Panel) bool { return p.Title == title })
			if i < 0 || (d.Panels[i].GridPos.Y+d.Panels[i].GridPos.H)*38 > 1080-170 {
				t.Errorf("%q is not on the first screen", title)
			}
		}
	})
}

// Every query reads metrics and labels that exist, and every label that a legend, a variable or an annotation names is in the result.
func TestMetricsAndLabelsExist(t *testing.T) {
	files := load(t)
	known := families(files)
	each(t, func(t *testing.T, d *grafana.Dashboard) {
		for _, q := range d.Queries(nil) {
			expr, err := rules.PromQL.ParseExpr(q.Expr)
			if err != nil {
				t.Errorf("%s: %v", q.Where, err)
				continue
			}
			has, err := files.Labels(expr, known)
			if err != nil {
				t.Errorf("%s: %v", q.Where, err)
				continue
			}
			for _, l := range q.Labels {
				if !slices.Contains(has, l) {
					t.Errorf("%s names the label %s; the expression gives %v", q.Where, l, has)
				}
			}
		}
		for _, a := range d.Annotations.List {
			if !a.Enable || a.Expr == "" || a.Target.Expr != a.Expr {
				t.Errorf("annotation %s asks %q in Grafana 10 and %q later", a.Name, a.Expr, a.Target.Expr)
			}
		}
		if len(d.Annotations.List) == 0 {
			t.Error("no annotation shows when alerts fire")
		}
	})
}

// One exporter of two counts, never both: only each one's own reads are added up.
func TestNothingIsSummedOverExporters(t *testing.T) {
	raw := regexp.MustCompile(`(sum|avg|count) by \([^)]*\) \((rate|increase|last_over_time)?\(?cacheinv_(\w+)`)
	each(t, func(t *testing.T, d *grafana.Dashboard) {
		for _, q := range d.Queries(nil) {
			for _, m := range raw.FindAllStringSubmatch(q.Expr, -1) {
				if m[3] != "node_own_reads_total" {
					t.Errorf("%s sums what each exporter tells: %s", q.Where, m[0])
				}
			}
		}
	})
}

var variableName = regexp.MustCompile(`\$([a-z]\w*)`)

func TestVariables(t *testing.T) {
	each(t, func(t *testing.T, d *grafana.Dashboard) {
		defined := map[string]bool{}
		asked := ""
		for _, p := range d.All() {
			for _, q := range p.Targets {
				asked += q.Expr + "\n"
			}
		}
		for i, v := range d.Templating.List {
			if v.Type == "datasource" {
				if i != 0 || v.Name != "datasource" || string(v.RawQuery) != `"prometheus"` {
					t.Errorf("%+v", v)
				}
				continue
			}
			selector, label, ok := v.LabelValues()
			if !ok || label != v.Name || !v.Multi || !v.IncludeAll || v.AllValue != ".*" {
				t.Errorf("%s: %s, multi %v, all %v %q", v.Name, v.Definition, v.Multi, v.IncludeAll, v.AllValue)
			}
			for _, m := range variableName.FindAllStringSubmatch(selector, -1) {
				if !defined[m[1]] {
					t.Errorf("%s needs $%s, which is not chosen before it", v.Name, m[1])
				}
			}
			if !strings.Contains(asked, v.Name+`=~"$`+v.Name) {
				t.Errorf("nothing depends on $%s", v.Name)
			}
			defined[v.Name] = true
		}
		for _, m := range variableName.FindAllStringSubmatch(asked, -1) {
			if !defined[m[1]] {
				t.Errorf("a query names $%s, which is not a variable", m[1])
			}
		}
		for _, p := range d.All() {
			for _, q := range p.Targets {
				if !strings.Contains(q.Expr, `cluster=~"$cluster`) && !strings.Contains(q.Expr, "cacheinv_build_info") {
					t.Errorf("%q %s does not ask for the cluster", p.Title, q.RefID)
				}
			}
		}
	})
}

// Each link of an alert leads to a dashboard, and sets variables that it has.
func TestAlertsLeadToDashboards(t *testing.T) {
	variables := map[string]map[string]bool{}
	each(t, func(_ *testing.T, d *grafana.Dashboard) {
		names := map[string]bool{}
		for _, v := range d.Templating.List {
			names[v.Name] = true
		}
		for _, path := range uids {
			if strings.HasPrefix(path, d.UID+"/") {
				variables[path] = names
			}
		}
	})
	for _, r := range load(t).Rules() {
		if r.Alert == "" {
			continue
		}
		_, path, _ := strings.Cut(r.Annotations["dashboard_url"], "/d/")
		path, query, _ := strings.Cut(path, "?")
		names := variables[path]
		if names == nil {
			t.Errorf("%s leads to %q", r.Alert, r.Annotations["dashboard_url"])
			continue
		}
		for _, m := range regexp.MustCompile(`var-(\w+)=`).FindAllStringSubmatch(query, -1) {
			if !names[m[1]] {
				t.Errorf("%s sets var-%s, which %s does not have", r.Alert, m[1], path)
			}
		}
	}
}

// Thresholds are numbers of alerts that the panel names: of comparisons with what the panel draws. A cause's 0.2 is the diagnosis's.
func TestThresholdsAreThoseOfAlerts(t *testing.T) {
	files := load(t)
	alertName := regexp.MustCompile(`\[(CacheInval\w+)\]\(` + regexp.QuoteMeta(runbooks) + `(CacheInval\w+)\.md\)`)
	drawn := 0
	each(t, func(t *testing.T, d *grafana.Dashboard) {
		for _, p := range d.All() {
			var allowed []float64
			named := alertName.FindAllStringSubmatch(p.Description, -1)
			for _, m := range named {
				if m[1] != m[2] {
					t.Errorf("%q: %s leads to the runbook of %s", p.Title, m[1], m[2])
				}
				found, err := files.Alerts(m[1])
				if err != nil {
					t.Errorf("%q: %v", p.Title, err)
				}
				for _, r := range found {
					for _, c := range files.Compared(r) {
						if c.Of == "" {
							allowed = append(allowed, c.Value)
						}
					}
				}
				if !slices.ContainsFunc(p.Links, func(l grafana.Link) bool { return l.URL == runbooks+m[1]+".md" }) {
					t.Errorf("%q names %s and has no link to its runbook", p.Title, m[1])
				}
			}
			if len(named) == 0 {
				t.Errorf("%q names no alert", p.Title)
			}
			if p.Title == "Causes" { // the diagnosis's own limit, which the alerts repeat
				allowed = append(allowed, diagnosis.Limits[0].Value)
			}
			steps := p.FieldConfig.Defaults.Thresholds.Steps
			if len(steps) == 0 || steps[0].Value != nil {
				t.Errorf("%q: %+v", p.Title, steps)
				continue
			}
			for i, s := range steps[1:] {
				drawn++
				if s.Value == nil || !slices.Contains(allowed, *s.Value) {
					t.Errorf("%q draws %v; its alerts compare with %v", p.Title, *s.Value, allowed)
				}
				if i > 0 && *s.Value <= *steps[i].Value {
					t.Errorf("%q: its thresholds do not rise", p.Title)
				}
			}
		}
	})
	if drawn < 15 {
		t.Errorf("only %d thresholds are drawn", drawn)
	}
}

// Ratios are shown as percent, and nothing else is.
func TestRatiosArePercent(t *testing.T) {
	each(t, func(t *testing.T, d *grafana.Dashboard) {
		for _, p := range d.All() {
			for _, q := range p.Targets {
				ratio := strings.Contains(q.Expr, ":ratio") || strings.Contains(q.Expr, "cpu_seconds")
				if ratio != (p.FieldConfig.Defaults.Unit == "percentunit") {
					t.Errorf("%q: %s in %s", p.Title, q.Expr, p.FieldConfig.Defaults.Unit)
				}
			}
		}
	})
}

// A state has one colour wherever it is drawn, and all states have one.
func TestColoursOfStates(t *testing.T) {
	want := map[string]string{"fresh": "green", "stale": "red", "undecided": "orange", "missing": "#8e8e8e", "error": "purple", "unverified": "blue"}
	seen := 0
	each(t, func(t *testing.T, d *grafana.Dashboard) {
		for _, p := range d.All() {
			if !slices.ContainsFunc(p.Targets, func(q grafana.Target) bool { return q.LegendFormat == "{{state}}" }) {
				continue
			}
			seen++
			for state, colour := range want {
				if !slices.ContainsFunc(p.FieldConfig.Overrides, func(o grafana.Override) bool {
					return o.Matcher.ID == "byName" && o.Matcher.Options == state && strings.Contains(string(o.Properties[0].Value), `"`+colour+`"`)
				}) {
					t.Errorf("%q does not draw %s in %s", p.Title, state, colour)
				}
			}
		}
	})
	if seen == 0 {
		t.Error("no panel draws states")
	}
}

func TestLinks(t *testing.T) {
	each(t, func(t *testing.T, d *grafana.Dashboard) {
		for _, path := range uids {
			if strings.HasPrefix(path, d.UID+"/") {
				continue
			}
			if !slices.ContainsFunc(d.Links, func(l grafana.Link) bool { return l.URL == "/d/"+path && l.IncludeVars && l.KeepTime }) {
				t.Errorf("no link leads to %s with variables and time", path)
			}
		}
		if !slices.ContainsFunc(d.Links, func(l grafana.Link) bool { return l.URL == runbooks }) {
			t.Error("no link leads to the runbooks")
		}
		if d.UID != "cacheinv-overview" && d.UID != "cacheinv-exporter" {
			return
		}
		if !slices.ContainsFunc(d.All(), func(p grafana.Panel) bool {
			return slices.ContainsFunc(p.FieldConfig.Defaults.Links, func(l grafana.Link) bool { return l.URL == "http://${__field.labels.instance}/status" })
		}) {
			t.Error("nothing leads to the exporter's /status")
		}
	})
}

// Prometheus takes every query: promtool reads them as rules.
func TestPromtoolTakesTheQueries(t *testing.T) {
	each(t, func(t *testing.T, d *grafana.Dashboard) {
		text := "groups:\n  - name: queries\n    rules:\n"
		for i, q := range d.Queries(nil) {
			text += "      - record: q:" + strings.Repeat("a", i+1) + "\n        expr: |\n          " + strings.ReplaceAll(q.Expr, "\n", "\n          ") + "\n"
		}
		file := filepath.Join(t.TempDir(), "queries.yml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), "promtool", "check", "rules", file).CombinedOutput()
		if err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
}
