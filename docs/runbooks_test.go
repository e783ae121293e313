package docs_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v4"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// sections of a runbook, in their order; what is further to be looked at may be missing.
var sections = []string{
	"First two minutes", "Is it over?", "Meaning", "Impact", "Diagnosis", "Mitigation", "When it fires", "Further diagnosis", "Without harm, and tuning",
}

// mostWords before Mitigation begins: somebody who was just woken reads them.
const mostWords = 200

// foreign are metrics that Prometheus itself, or every exporter's own process, gives.
var foreign = []string{
	"ALERTS", "up", "scrape_duration_seconds", "process_cpu_seconds_total", "process_start_time_seconds",
	"prometheus_config_last_reload_successful", "prometheus_notifications_errors_total", "prometheus_rule_group_last_evaluation_timestamp_seconds",
}

// targetLabels are given by the scrape configuration and by Prometheus.
var targetLabels = []string{"cluster", "job", "instance", "le", "__name__"}

// rule of a file in alerts/.
type rule struct {
	Record      string            `yaml:"record"`
	Alert       string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	For         string            `yaml:"for"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

// loadRules from alerts/; files without groups, such as Alertmanager's, have none.
func loadRules(t *testing.T) []rule {
	t.Helper()
	paths, err := filepath.Glob("../alerts/*.yml")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no rules: %v", err)
	}
	var rules []rule
	for _, path := range paths {
		var file struct {
			Groups []struct {
				Rules []rule `yaml:"rules"`
			} `yaml:"groups"`
		}
		if err := yaml.Unmarshal([]byte(read(t, path)), &file); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		for _, group := range file.Groups {
			rules = append(rules, group.Rules...)
		}
	}
	return rules
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// pages are the paths of the runbooks, with README.md.
func pages(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob("runbooks/*.md")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no runbooks: %v", err)
	}
	return paths
}

func alertOf(path string) string { return strings.TrimSuffix(filepath.Base(path), ".md") }

var fenced = regexp.MustCompile("(?m)^ *```(\\w*)\n((?s:.*?))^ *```$")

// blocks of a language, without their indentation.
func blocks(page, language string) []string {
	var out []string
	for _, b := range fenced.FindAllStringSubmatch(page, -1) {
		if b[1] == language {
			out = append(out, strings.TrimSpace(strings.ReplaceAll(b[2], "\n   ", "\n")))
		}
	}
	return out
}

var (
	heading   = regexp.MustCompile(`(?m)^#+ .*$`)
	noAnchor  = regexp.MustCompile(`[^\p{L}\p{N}\- _]`)
	familyRow = regexp.MustCompile("(?m)^\\| `(cacheinv_\\w+)` \\| (\\w+) \\| ([^|]*) \\|")
)

// headings of a page, with their marks, without those that only look like it in code.
func headings(page string) []string {
	return heading.FindAllString(fenced.ReplaceAllString(page, ""), -1)
}

func TestEachAlertHasARunbook(t *testing.T) {
	alerts := map[string]bool{}
	for _, r := range loadRules(t) {
		if r.Alert != "" {
			alerts[r.Alert] = false
		}
	}
	for _, path := range pages(t) {
		if name := alertOf(path); name != "README" {
			if _, ok := alerts[name]; !ok {
				t.Errorf("%s is about no alert", path)
			}
			alerts[name] = true
		}
	}
	for name, described := range alerts {
		if !described {
			t.Errorf("%s has no runbook", name)
		}
	}
}

// Each alert's link leads to its own page.
func TestAlertsLeadToTheirRunbooks(t *testing.T) {
	for _, r := range loadRules(t) {
		if want := repository + "docs/runbooks/" + r.Alert; r.Alert != "" && strings.TrimSuffix(r.Annotations["runbook_url"], ".md") != want {
			t.Errorf("%s leads to %q, not to %s.md", r.Alert, r.Annotations["runbook_url"], want)
		}
	}
}

var listed = regexp.MustCompile(`(?m)^\| \[(CacheInval\w+)\]\((CacheInval\w+)\.md\) \| ([^|]*) \| ([^|]*) \| ([^|]*) \|`)

// README.md lists the alerts as the rules have them.
func TestRunbooksAreListed(t *testing.T) {
	type row struct{ severity, family, cause string }
	want := map[string]row{}
	for _, r := range loadRules(t) {
		if r.Alert == "" {
			continue
		}
		w := want[r.Alert]
		w.family, w.cause = r.Labels["family"], r.Labels["cause"]
		if !slices.Contains(strings.Split(w.severity, ", "), r.Labels["severity"]) {
			w.severity = strings.TrimPrefix(w.severity+", "+r.Labels["severity"], ", ")
		}
		want[r.Alert] = w
	}
	for _, m := range listed.FindAllStringSubmatch(read(t, "runbooks/README.md"), -1) {
		w, ok := want[m[1]]
		delete(want, m[1])
		got := row{strings.TrimSpace(m[3]), strings.TrimSpace(m[4]), strings.TrimSpace(m[5])}
		switch {
		case !ok:
			t.Errorf("README.md lists %s, which is no alert, or twice", m[1])
		case m[1] != m[2]:
			t.Errorf("README.md: %s leads to %s", m[1], m[2])
		case got != w && got != (row{reversed(w.severity), w.family, w.cause}):
			t.Errorf("README.md says %q of %s; the rules say %q", got, m[1], w)
		}
	}
	for name := range want {
		t.Errorf("README.md does not list %s", name)
	}
}

// reversed list of severities: which tier stands first in a file says nothing.
func reversed(list string) string {
	parts := strings.Split(list, ", ")
	slices.Reverse(parts)
	return strings.Join(parts, ", ")
}

func TestRunbooksHaveTheirSections(t *testing.T) {
	for _, path := range pages(t) {
		if alertOf(path) == "README" {
			continue
		}
		page := read(t, path)
		if !strings.HasPrefix(page, "# "+alertOf(path)+"\n\n## "+sections[0]+"\n\n") {
			t.Errorf("%s does not begin with its alert's name and %s", path, sections[0])
		}
		var found []string
		for _, h := range headings(page) {
			if name, ok := strings.CutPrefix(h, "## "); ok {
				found = append(found, name)
			}
		}
		want := slices.DeleteFunc(slices.Clone(sections), func(s string) bool { return s == "Further diagnosis" && !slices.Contains(found, s) })
		if !slices.Equal(found, want) {
			t.Errorf("%s has the sections %q; want %q", path, found, want)
		}
		for i, text := range strings.Split(page, "\n## ")[1:] {
			if len(strings.TrimSpace(text)) < len("Meaning")+40 {
				t.Errorf("%s: section %d says next to nothing", path, i+1)
			}
		}
		head, _, _ := strings.Cut(page, "\n## Mitigation\n")
		if n := len(strings.Fields(head)); n > mostWords {
			t.Errorf("%s has %d words before Mitigation; want %d at most", path, n, mostWords)
		}
		if when := section(t, page, "When it fires"); !strings.Contains(strings.ReplaceAll(when, "\n", " "), "nly this alert ") {
			t.Errorf("%s does not say what nobody but this alert tells", path)
		}
	}
}

// What the user of the site sees comes before what was measured.
func TestRunbooksBeginWithTheUser(t *testing.T) {
	for _, path := range pages(t) {
		_, meaning, ok := strings.Cut(read(t, path), "## Meaning\n\n")
		if !ok {
			continue
		}
		first := strings.SplitAfterN(strings.ReplaceAll(meaning, "\n", " "), ". ", 2)[0]
		if strings.Contains(first, "cacheinv_") || strings.ContainsAny(first[:1], "`0123456789") {
			t.Errorf("%s begins with the measurement: %q", path, first)
		}
	}
}

var inMinutes = regexp.MustCompile(`(\d+(?:\.\d+)?) ?(m|min|minutes?|s|seconds|h|hours?)\b`)

// Each page tells for how long the conditions of its alert must hold.
func TestRunbooksTellFor(t *testing.T) {
	for _, r := range loadRules(t) {
		path := filepath.Join("runbooks", r.Alert+".md")
		if r.Alert == "" || r.For == "" {
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil {
			continue // another test says so
		}
		wanted, err := model.ParseDuration(r.For)
		if err != nil {
			t.Fatalf("%s: for %q: %v", r.Alert, r.For, err)
		}
		if !tells(section(t, string(data), "When it fires"), time.Duration(wanted)) {
			t.Errorf("%s does not say under When it fires that the alert waits for %s", path, r.For)
		}
	}
}

func tells(text string, wanted time.Duration) bool {
	words := strings.NewReplacer("a minute", "1 min", "one minute", "1 min", "two minutes", "2 min", "three minutes", "3 min",
		"five minutes", "5 min", "ten minutes", "10 min", "a quarter of an hour", "15 min", "half an hour", "30 min", "\n", " ")
	for _, m := range inMinutes.FindAllStringSubmatch(words.Replace(text), -1) {
		if d, err := time.ParseDuration(m[1] + m[2][:1]); err == nil && d == wanted {
			return true
		}
	}
	return strings.Contains(text, wanted.String())
}

var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

// repository is how a full address of a file here begins.
const repository = "https://github.com/cacheinv/cacheinv_exporter/blob/main/"

func TestLinksLead(t *testing.T) {
	for _, path := range documents(t) {
		for _, m := range link.FindAllStringSubmatch(fenced.ReplaceAllString(read(t, path), ""), -1) {
			file, anchor, _ := strings.Cut(m[1], "#")
			target := path
			if ours, ok := strings.CutPrefix(file, repository); ok {
				target = filepath.Join("..", filepath.FromSlash(ours))
			} else if strings.Contains(file, "://") {
				continue
			} else if file != "" {
				target = filepath.Join(filepath.Dir(path), filepath.FromSlash(file))
			}
			if info, err := os.Stat(target); err == nil && info.IsDir() && anchor == "" {
				continue
			}
			data, err := os.ReadFile(target)
			if err != nil {
				t.Errorf("%s leads to %s: %v", path, m[1], err)
				continue
			}
			if anchor != "" && !slices.Contains(anchors(string(data)), anchor) {
				t.Errorf("%s leads to %s, which has no such heading", path, m[1])
			}
		}
	}
}

// anchors of a page, as GitHub makes them of headings.
func anchors(page string) []string {
	var out []string
	for _, h := range headings(page) {
		slug := strings.ToLower(strings.TrimSpace(strings.TrimLeft(h, "#")))
		slug = noAnchor.ReplaceAllString(slug, "")
		out = append(out, strings.ReplaceAll(slug, " ", "-"))
	}
	return out
}

// families that the exporter has, by docs/metrics.md, with their labels.
func families(t *testing.T) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for _, row := range familyRow.FindAllStringSubmatch(read(t, "metrics.md"), -1) {
		labels := strings.FieldsFunc(row[3], func(r rune) bool { return r == ',' || r == ' ' })
		out[row[1]] = labels
		if row[2] == "histogram" {
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				out[row[1]+suffix] = labels
			}
		}
	}
	if len(out) < 50 {
		t.Fatalf("docs/metrics.md lists %d families", len(out))
	}
	return out
}

// recorded metrics, with the labels that their level names.
func recorded(t *testing.T) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for _, r := range loadRules(t) {
		if r.Record != "" {
			level, _, _ := strings.Cut(r.Record, ":")
			out[r.Record] = strings.Split(level, "_")
		}
	}
	return out
}

func TestQueriesOfRunbooks(t *testing.T) {
	known := families(t)
	for name, labels := range recorded(t) {
		known[name] = labels
	}
	promQL := parser.NewParser(parser.Options{})
	for _, path := range pages(t) {
		for _, query := range blocks(read(t, path), "promql") {
			expr, err := promQL.ParseExpr(query)
			if err != nil {
				t.Errorf("%s: %q: %v", path, query, err)
				continue
			}
			parser.Inspect(expr, func(node parser.Node, parents []parser.Node) error {
				if v, ok := node.(*parser.VectorSelector); ok {
					checkSelector(t, path, query, v, parents, known)
				}
				return nil
			})
		}
	}
}

// checkSelector tells a metric that nothing gives, and labels that it does not have.
func checkSelector(t *testing.T, path, query string, v *parser.VectorSelector, parents []parser.Node, known map[string][]string) {
	t.Helper()
	if slices.Contains(foreign, v.Name) {
		return
	}
	labels, ok := known[v.Name]
	if !ok {
		t.Errorf("%s: %q asks for %q, which nothing gives", path, query, v.Name)
		return
	}
	labels = append(slices.Clone(labels), targetLabels...)
	for _, l := range slices.Clone(labels) { // what Prometheus makes of a label that a target has too
		labels = append(labels, "exported_"+l)
	}
	for _, m := range v.LabelMatchers {
		if !slices.Contains(labels, m.Name) {
			t.Errorf("%s: %q: %s has no label %q", path, query, v.Name, m.Name)
		}
	}
	for _, parent := range parents {
		if a, ok := parent.(*parser.AggregateExpr); ok && !a.Without {
			for _, l := range a.Grouping {
				if !slices.Contains(labels, l) {
					t.Errorf("%s: %q: by %q, which %s does not have", path, query, l, v.Name)
				}
			}
		}
	}
}

var metric = regexp.MustCompile(`\b[\w]*:?cacheinv_\w+(?::\w+)?`)

// Also in running text and in `code` only what exists is named.
func TestMetricsOfRunbooks(t *testing.T) {
	known, rules := families(t), recorded(t)
	for _, path := range pages(t) {
		for _, name := range metric.FindAllString(read(t, path), -1) {
			_, isFamily := known[name]
			_, isRecorded := rules[name]
			if !isFamily && !isRecorded && name != "cacheinv_exporter" {
				t.Errorf("%s names %s, which nothing gives", path, name)
			}
		}
	}
}

var (
	// named is a command line of ours in running text.
	named    = regexp.MustCompile("`cacheinv_exporter ([^`]*)`")
	argument = regexp.MustCompile(`'[^']*'|"[^"]*"|\S+`)
)

// Each command line of ours in running text is one that the binary takes; those of blocks are run.
func TestCommandsInTextsOfRunbooks(t *testing.T) {
	binary := servers.Build(t)
	seen := map[string]bool{}
	for _, path := range pages(t) {
		text := strings.ReplaceAll(fenced.ReplaceAllString(read(t, path), ""), "\n", " ")
		for _, m := range named.FindAllStringSubmatch(text, -1) {
			line, _, _ := strings.Cut(m[1], "&&")
			if seen[line] {
				continue
			}
			seen[line] = true
			var args []string
			for _, a := range argument.FindAllString(line, -1) {
				args = append(args, strings.Trim(a, `'"`))
			}
			// With --help a command line is parsed, and nothing is run.
			if out, err := exec.CommandContext(t.Context(), binary, append(args, "--help")...).CombinedOutput(); err != nil {
				t.Errorf("%s: cacheinv_exporter %s: %v\n%s", path, line, err, out)
			}
		}
	}
	if len(seen) < 3 {
		t.Errorf("only %d command lines were found", len(seen))
	}
}
