package bundle

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v4"

	"github.com/cacheinv/cacheinv_exporter/alerts/situations"
	"github.com/cacheinv/cacheinv_exporter/internal/bundle/settings"
	"github.com/cacheinv/cacheinv_exporter/internal/tools/grafana"
	"github.com/cacheinv/cacheinv_exporter/internal/tools/rules"
)

// names are the settings that all tests of the rules follow.
var names = []string{
	"severity_page=critical", "severity_ticket=warning", "job=cache-consistency", "cluster_label=env",
	"runbooks_url=https://wiki.example/runbooks", "grafana_url=https://grafana.example:3000/a/",
}

// numbers are the others.
var numbers = []string{"stale_share=3%", "budget=0.05%", "event_budget=0.003", "failure_share=9%", "failure_share_ticket=2%", "latency=750ms", "scrape_interval=1m"}

// written writes the bundle with settings, and gives its folder and its files' contents.
func written(t *testing.T, set ...string) (string, map[string]string) {
	t.Helper()
	o := options(t.TempDir())
	o.Set = set
	if err := o.Valid(); err != nil {
		t.Fatal(err)
	}
	if err := Write(o, io.Discard); err != nil {
		t.Fatal(err)
	}
	return o.Dir, contents(t, o.Dir)
}

func loaded(t *testing.T, dir string) rules.Files {
	t.Helper()
	files, err := rules.Load(os.DirFS(filepath.Join(dir, "alerts")))
	if err != nil || len(files.Rules()) < 50 {
		t.Fatalf("%d rules: %v", len(files.Rules()), err)
	}
	return files
}

func checkRules(t *testing.T, dir string) {
	t.Helper()
	args := []string{"check", "rules"}
	for _, f := range loaded(t, dir) {
		args = append(args, filepath.Join(dir, "alerts", f.Name))
	}
	promtool(t, args...)
}

// played are the situations that runTests has time for: the share that pages, and shares below it, which must not spend the budget so fast
// that they page, whatever both are.
var played = map[string]*regexp.Regexp{
	"situations_copies.yml":    regexp.MustCompile("the cause network (stands on its|explains)"),
	"situations_exporters.yml": regexp.MustCompile(`0\.[68]%`),
	"situations_incidents.yml": regexp.MustCompile(`0\.7% .*: no page`),
}

// runTests runs the tests of a written bundle: all of them with CACHEINV_SOAK, else the shortest for each set of rule files, and some
// situations.
func runTests(t *testing.T, dir string) {
	t.Helper()
	all := glob(t, dir, "alerts", "tests", "*.yml")
	size, shortest := map[string]int{}, map[string]string{}
	var few []string
	for _, name := range all {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var test map[string]any
		if err := yaml.Unmarshal(data, &test); err != nil {
			t.Fatal(err)
		}
		of := fmt.Sprint(test["rule_files"])
		switch some := played[filepath.Base(name)]; {
		case some != nil:
			few = append(few, shortened(t, name, test, some))
		case strings.HasPrefix(filepath.Base(name), "situations_"):
		case shortest[of] == "" || len(data) < size[of]:
			size[of], shortest[of] = len(data), name
		}
	}
	if len(shortest) < 3 || len(few) != len(played) {
		t.Errorf("only %d sets of rule files have tests, and %v are played of the situations", len(shortest), few)
	}
	if os.Getenv("CACHEINV_SOAK") == "" {
		all = append(few, slices.Sorted(maps.Values(shortest))...)
	}
	promtool(t, append([]string{"test", "rules"}, all...)...)
}

// shortened writes a file of tests with the two of these names, or one, beside the whole, and gives its path.
func shortened(t *testing.T, name string, test map[string]any, of *regexp.Regexp) string {
	t.Helper()
	tests, _ := test["tests"].([]any)
	var some []any
	for _, one := range tests {
		if fields, _ := one.(map[string]any); of.MatchString(fmt.Sprint(fields["name"])) {
			some = append(some, one)
		}
	}
	if len(some) == 0 || len(some) > 2 {
		t.Errorf("%s has %d tests that are called %s", name, len(some), of)
	}
	test["tests"] = some
	data, err := yaml.Marshal(test)
	if err != nil {
		t.Fatal(err)
	}
	name = strings.TrimSuffix(name, ".yml") + "_short.yml"
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// With other names all files are whole, all tests of the rules ship and pass, and nothing speaks of the old names.
func TestNames(t *testing.T) {
	dir, files := written(t, names...)
	checkRules(t, dir)
	runTests(t, dir)
	if n := len(glob(t, dir, "alerts", "tests", "*.yml")); n < 40 {
		t.Errorf("only %d tests are written", n)
	}
	installed(t, "amtool", "check-config", filepath.Join(dir, "alerts", "alertmanager.yml"))
	severity := regexp.MustCompile(`severity\W{1,4}(page|ticket)\b`)
	for name, text := range files {
		for _, old := range []string{settings.GrafanaURL.Default + "/d/", settings.RunbooksURL.Default + "/", `job="cacheinv_exporter"`, `job=\"cacheinv_exporter\"`, `job == "cacheinv_exporter"`} {
			if strings.Contains(text, old) && name != memoryFile {
				t.Errorf("%s has %s", name, old)
			}
		}
		if found := severity.FindString(text); found != "" {
			t.Errorf("%s has %s", name, found)
		}
	}
	for _, r := range loaded(t, dir).Rules() {
		ofCluster(t, r.Name(), r.Expr)
		if r.Alert == "" {
			continue
		}
		if s := r.Labels["severity"]; !slices.Contains([]string{"critical", "warning", "info", "none"}, s) {
			t.Errorf("%s has the severity %s", r.Alert, s)
		}
		if url := r.Annotations["runbook_url"]; url != "https://wiki.example/runbooks/"+r.Alert+".md" {
			t.Errorf("%s: %s", r.Alert, url)
		}
		if url := r.Annotations["dashboard_url"]; !strings.HasPrefix(url, "https://grafana.example:3000/a/d/cacheinv-") {
			t.Errorf("%s: %s", r.Alert, url)
		}
		for name, text := range r.Annotations {
			if strings.Contains(text, "abels.cluster") {
				t.Errorf("%s: %s names the label cluster: %s", r.Alert, name, text)
			}
		}
	}
	for name, text := range files {
		if filepath.Dir(name) == "dashboards" {
			queriesOfCluster(t, name, text)
		}
	}
	var routes struct{ Route any }
	if err := yaml.Unmarshal([]byte(files["alerts/alertmanager.yml"]), &routes); err != nil || strings.Contains(fmt.Sprint(routes), "cluster") {
		t.Errorf("%v: %v", err, routes)
	}
}

// ofCluster finds the label cluster in an expression.
func ofCluster(t *testing.T, name string, expr parser.Expr) {
	t.Helper()
	parser.Inspect(expr, func(n parser.Node, _ []parser.Node) error {
		var has []string
		switch n := n.(type) {
		case *parser.AggregateExpr:
			has = n.Grouping
		case *parser.BinaryExpr:
			if n.VectorMatching != nil {
				has = append(slices.Clone(n.VectorMatching.MatchingLabels), n.VectorMatching.Include...)
			}
		case *parser.VectorSelector:
			for _, m := range n.LabelMatchers {
				if m.Name != model.MetricNameLabel {
					has = append(has, m.Name)
				}
			}
		case *parser.StringLiteral:
			has = []string{n.Val}
		}
		if slices.Contains(has, "cluster") {
			t.Errorf("%s has the label cluster in %s", name, n)
		}
		return nil
	})
}

var variable = regexp.MustCompile(`\$\{?cluster\b`)

// queriesOfCluster finds the label cluster in a dashboard's queries and legends, where the variable of that name is none.
func queriesOfCluster(t *testing.T, name, text string) {
	t.Helper()
	var board any
	if err := json.Unmarshal([]byte(text), &board); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	seen := 0
	var visit func(key string, node any)
	visit = func(key string, node any) {
		switch node := node.(type) {
		case map[string]any:
			for k, v := range node {
				if k == "cluster" {
					t.Errorf("%s: a column is cluster", name)
				}
				visit(k, v)
			}
		case []any:
			for _, v := range node {
				visit(key, v)
			}
		case string:
			if !slices.Contains([]string{"expr", "query", "definition", "legendFormat"}, key) {
				return
			}
			seen++
			if regexp.MustCompile(`\bcluster\b([^:]|$)`).MatchString(variable.ReplaceAllString(node, "")) {
				t.Errorf("%s: %s: %s", name, key, node)
			}
		}
	}
	visit("", board)
	if seen < 20 {
		t.Errorf("%s: only %d queries were seen", name, seen)
	}
}

var (
	used     = regexp.MustCompile(`\$\{?([a-z]\w*)`)
	setByURL = regexp.MustCompile(`\bvar-(\w+)`)
	leadsTo  = regexp.MustCompile(`/d/(cacheinv-\w+)/`)
)

// However the label is called, variables keep their names: each that a dashboard uses, or a link sets, is one of its own.
func TestVariables(t *testing.T) {
	read, err := carried()
	if err != nil {
		t.Fatal(err)
	}
	for _, label := range []string{"cluster", "k8s_cluster"} {
		v, err := settings.Values{}.With(settings.ClusterLabel, label)
		if err != nil {
			t.Fatal(err)
		}
		texts, variables := map[string]string{}, map[string][]string{}
		for _, f := range read {
			if texts[f.path], err = v.Render(f.text, nil); err != nil {
				t.Fatal(err)
			}
			if filepath.Dir(f.path) != "dashboards" {
				continue
			}
			board, err := grafana.Parse([]byte(texts[f.path]))
			if err != nil {
				t.Fatal(err)
			}
			for _, one := range board.Templating.List {
				variables[board.UID] = append(variables[board.UID], one.Name)
				if _, of, ok := one.LabelValues(); ok && one.Name == "cluster" && of != label {
					t.Errorf("%s of %s has the values of %s", one.Name, f.path, of)
				}
			}
			for _, m := range used.FindAllStringSubmatch(texts[f.path], -1) {
				if !slices.Contains(variables[board.UID], m[1]) {
					t.Errorf("%s: %s uses $%s, which is no variable of it", label, f.path, m[1])
				}
			}
		}
		links := 0
		for name, text := range texts {
			for line := range strings.Lines(text) {
				to := leadsTo.FindStringSubmatch(line)
				if to == nil {
					continue
				}
				for _, m := range setByURL.FindAllStringSubmatch(line, -1) {
					links++
					if !slices.Contains(variables[to[1]], m[1]) {
						t.Errorf("%s: %s sets var-%s, which %s does not have", label, name, m[1], to[1])
					}
				}
			}
		}
		if len(variables) < 4 || links < 50 {
			t.Errorf("%d dashboards, %d links", len(variables), links)
		}
	}
}

// With other numbers the rules hold them, and the tests that ship pass.
func TestNumbers(t *testing.T) {
	dir, files := written(t, append(slices.Clone(names), numbers...)...)
	checkRules(t, dir)
	for name, text := range files {
		if filepath.Ext(name) == ".json" && !json.Valid([]byte(text)) {
			t.Errorf("%s is no JSON", name)
		}
	}
	runTests(t, dir)
	if !strings.Contains(files["alerts/kubernetes/servicemonitor.yaml"], "interval: 1m\n") {
		t.Error("the ServiceMonitor scrapes more often than asked for")
	}
}

// Tests that cannot follow a number are left out, those of other rules ship and pass.
func TestTestsThatCannotFollow(t *testing.T) {
	read := []source{
		{file: file{"alerts/a.yml", "groups:\n- x # setting: latency\n"}},
		{file: file{"alerts/b.yml", "groups:\n"}},
		{file: file{"alerts/tests/a.yml", "rule_files: [../b.yml, ../a.yml]"}},
		{file: file{"alerts/tests/b.yml", "rule_files: [../b.yml]"}},
	}
	for set, want := range map[string]int{"latency=1s": 1, "latency=500ms": 0, "stale_share=2%": 0, "scrape_interval=15s": 0, "job=x": 0} {
		o := options("")
		o.Set = []string{set}
		m, err := o.remembered()
		if err != nil {
			t.Fatal(err)
		}
		stuck, err := fixedTests(read, m.values)
		if err != nil || len(stuck) != want {
			t.Errorf("%s: %v, %v", set, stuck, err)
		}
	}
}

// Situations are rendered for the settings; the usual ones are those of their table.
func TestSituationsFollow(t *testing.T) {
	if got := situationSettings(settings.Values{}); got != situations.Default() {
		t.Errorf("the usual settings are %+v, and those of the situations %+v", got, situations.Default())
	}
	name := "alerts/tests/situations_copies.yml"
	_, usual := written(t)
	_, other := written(t, "stale_share=3%")
	if usual[name] == "" || other[name] == "" || usual[name] == other[name] {
		t.Errorf("%s does not follow: %d and %d bytes", name, len(usual[name]), len(other[name]))
	}
}

func installed(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Errorf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// A setting that changes no rule would be kept by the folder, and do nothing.
func TestEverySettingIsInTheRules(t *testing.T) {
	read, err := carried()
	if err != nil {
		t.Fatal(err)
	}
	for _, set := range slices.Concat(names, numbers) {
		name, value, _ := strings.Cut(set, "=")
		s, err := settings.Named(name)
		if err != nil {
			t.Fatal(err)
		}
		v, err := settings.Values{}.With(s, value)
		if err != nil {
			t.Fatal(err)
		}
		changed := 0
		for _, f := range read {
			if text, err := v.Render(f.text, nil); err != nil {
				t.Errorf("%s: %v", f.repository, err)
			} else if filepath.Dir(f.path) == "alerts" && filepath.Ext(f.path) == ".yml" && text != f.text {
				changed++
			}
		}
		if changed == 0 {
			t.Errorf("%s changes no file of the rules", name)
		}
	}
}
