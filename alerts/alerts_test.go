package alerts_test

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/cacheinv/cacheinv_exporter/collector"
	"github.com/cacheinv/cacheinv_exporter/internal/diagnosis"
	"github.com/cacheinv/cacheinv_exporter/internal/tools/rules"
)

// dir of the rules under test. CACHEINV_ALERTS_DIR names another, to try rules before they come here.
func dir() string {
	if d := os.Getenv("CACHEINV_ALERTS_DIR"); d != "" {
		return d
	}
	return "."
}

func ruleFiles(t *testing.T) rules.Files {
	t.Helper()
	files, err := rules.Load(os.DirFS(dir()))
	if err != nil {
		t.Fatal(err)
	}
	if len(files.Rules()) < 50 {
		t.Fatalf("%s has only %d rules", dir(), len(files.Rules()))
	}
	return files
}

// families are the exporter's, and what Prometheus itself records of a scrape, with the labels of the target: job, instance, and
// cluster and shard where the configuration of Prometheus sets them. A label of the target that hides the exporter's own makes
// it exported_NAME. Prometheus records alerts, too: their labels may be any of these.
func families() rules.Families {
	target := []string{"cluster", "instance", "job", "shard"}
	all := map[string][]string{"up": target, "scrape_duration_seconds": target, "process_start_time_seconds": target}
	fired := append([]string{"alertname", "alertstate", "severity"}, target...)
	for _, f := range collector.Families() {
		fired = append(fired, f.Labels...)
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
	all["ALERTS"] = fired
	return func(metric string) ([]string, bool) {
		names, ok := all[metric]
		return names, ok
	}
}

// eachAlert runs a test for each alert; those of several tiers are told apart by number.
func eachAlert(t *testing.T, check func(t *testing.T, files rules.Files, r rules.Rule)) {
	t.Helper()
	files := ruleFiles(t)
	for _, r := range files.Rules() {
		if r.Alert != "" {
			t.Run(r.Alert, func(t *testing.T) { check(t, files, r) })
		}
	}
}

// Every metric is one that exists, with the labels that are asked for, and both sides of each match can match.
func TestMetricsAndLabelsExist(t *testing.T) {
	files := ruleFiles(t)
	for _, r := range files.Rules() {
		if _, err := files.Labels(r.Expr, families()); err != nil {
			t.Errorf("%s: %v", r.Name(), err)
		}
	}
}

var (
	templateLabel = regexp.MustCompile(`\$labels\.(\w+)`)
	otherLabel    = regexp.MustCompile(`\.Labels|index \$labels|\$externalLabels`)
	// linkCluster is the cluster of a link: it may be a label of Prometheus itself alone, and some alerts have it in one of their parts.
	linkCluster = "{{ or $labels.cluster $externalLabels.cluster }}"
)

// A template on a label that the expression lost prints nothing, and nobody notices before the night.
func TestTemplatesNameLabelsThatSurvive(t *testing.T) {
	seen := 0
	eachAlert(t, func(t *testing.T, files rules.Files, r rules.Rule) {
		has, err := files.Labels(r.Expr, families())
		if err != nil {
			t.Fatal(err)
		}
		for _, templates := range []map[string]string{r.Annotations, r.Labels} {
			for name, text := range templates {
				text = strings.ReplaceAll(text, linkCluster, "")
				if otherLabel.MatchString(text) {
					t.Errorf("%s: write labels as $labels.NAME, which this test reads: %s", name, text)
				}
				for _, m := range templateLabel.FindAllStringSubmatch(text, -1) {
					seen++
					if !slices.Contains(has, m[1]) {
						t.Errorf("%s names the label %s; the expression gives %v", name, m[1], has)
					}
				}
			}
		}
	})
	if seen < 50 {
		t.Errorf("only %d labels were found in templates", seen)
	}
}

func TestAlertsSayWhatTheyAre(t *testing.T) {
	eachAlert(t, func(t *testing.T, _ rules.Files, r rules.Rule) {
		if !strings.HasPrefix(r.Alert, "CacheInval") {
			t.Error("the name does not begin with CacheInval")
		}
		if !slices.Contains([]string{"page", "ticket", "info", "none"}, r.Labels["severity"]) {
			t.Errorf("severity is %q", r.Labels["severity"])
		}
		if r.Labels["family"] == "" {
			t.Error("no family")
		}
		if cause, ok := r.Labels["cause"]; ok && !slices.Contains([]string{"network", "queue", "config", "version", "logic"}, cause) {
			t.Errorf("cause is %q", cause)
		}
		for _, name := range []string{"summary", "description"} {
			if len(r.Annotations[name]) < 15 {
				t.Errorf("%s is %q", name, r.Annotations[name])
			}
		}
		if url := r.Annotations["runbook_url"]; !strings.HasPrefix(url, "https://") || !strings.HasSuffix(url, "/"+r.Alert+".md") || strings.Contains(url, "{{") {
			t.Errorf("runbook_url is %q", url)
		}
		if url := r.Annotations["dashboard_url"]; !strings.Contains(url, "/d/cacheinv-") {
			t.Errorf("dashboard_url is %q", url)
		}
		for name, text := range r.Annotations {
			if strings.Count(text, "{{") != strings.Count(text, "}}") {
				t.Errorf("%s: braces do not match: %s", name, text)
			}
		}
	})
}

// Each tier of an alert has labels of its own: Alertmanager takes alerts with the same labels for one.
func TestTiersDiffer(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range ruleFiles(t).Rules() {
		if r.Alert == "" {
			continue
		}
		id := r.Alert + labels.FromMap(r.Labels).String()
		if seen[id] {
			t.Errorf("two alerts are %s", id)
		}
		seen[id] = true
	}
}

var (
	recordName = regexp.MustCompile(`^([a-z_]+):(cacheinv_[a-z0-9_]+):([a-z0-9_]+)$`)
	operation  = regexp.MustCompile(`^(max|min|sum|count|ratio|bool|info|nines|p[0-9]+|rate|increase)?(_?(rate|increase|offset)?[0-9]+[smhd])*(_offset[0-9]+[smhd])?$`)
)

// level:metric:operations, where the level is the labels that the metric has, less those of the target.
func TestNamesOfRecordings(t *testing.T) {
	files := ruleFiles(t)
	for _, r := range files.Rules() {
		if r.Record == "" {
			continue
		}
		m := recordName.FindStringSubmatch(r.Record)
		if m == nil || !operation.MatchString(m[3]) {
			t.Errorf("%s is not level:metric:operations", r.Record)
			continue
		}
		has, err := files.Labels(r.Expr, families())
		if err != nil {
			t.Errorf("%s: %v", r.Record, err)
			continue
		}
		if level := strings.Join(slices.DeleteFunc(slices.Clone(has), func(l string) bool { return l == "cluster" }), "_"); !sameWords(level, m[1]) && (level != "" || m[1] != "cluster") {
			t.Errorf("%s has the labels %v", r.Record, has)
		}
	}
}

func sameWords(a, b string) bool {
	x, y := strings.Split(a, "_"), strings.Split(b, "_")
	slices.Sort(x)
	slices.Sort(y)
	return slices.Equal(x, y)
}

// Nobody has to rename a job: rules know one name, and ask for it only where a metric is not the exporter's own.
func TestJobName(t *testing.T) {
	for _, r := range ruleFiles(t).Rules() {
		for _, s := range rules.Selectors(r.Expr) {
			job := ""
			for _, m := range s.LabelMatchers {
				if m.Name == "job" {
					job = m.String()
				}
			}
			if want := `job="cacheinv_exporter"`; job != want && (job != "" || !strings.Contains(s.Name, "cacheinv_")) && s.Name != "ALERTS" {
				t.Errorf("%s: %s should ask for %s", r.Name(), s, want)
			}
		}
	}
}

// A group is evaluated in its order: what is recorded after its reader is one evaluation late.
func TestRecordingsStandBeforeTheirReaders(t *testing.T) {
	for _, f := range ruleFiles(t) {
		for _, g := range f.Groups {
			for i, r := range g.Rules {
				for _, later := range g.Rules[i+1:] { // one that reads itself remembers
					if later.Record != "" && slices.Contains(rules.Metrics(r.Expr), later.Record) {
						t.Errorf("%s: %s is recorded after %s reads it", f.Name, later.Record, r.Name())
					}
				}
			}
		}
	}
}

// Four scrapes are a minute at 15 s, and two at 30 s: one that fails is bridged. A minute alone would be too little at 30 s.
func TestWindowsHoldFourScrapes(t *testing.T) {
	for _, r := range ruleFiles(t).Rules() {
		longest := time.Duration(0)
		parser.Inspect(r.Expr, func(n parser.Node, _ []parser.Node) error {
			m, ok := n.(*parser.MatrixSelector)
			if ok && !strings.Contains(m.VectorSelector.(*parser.VectorSelector).Name, ":") { // what is recorded has a point at each evaluation
				longest = max(longest, m.Range)
				if m.Range < time.Minute {
					t.Errorf("%s: the window of %s is below 1m", r.Name(), m)
				}
			}
			return nil
		})
		if either, ok := r.Expr.(*parser.BinaryExpr); longest > 0 && longest < 2*time.Minute && (!ok || either.Op != parser.LOR) {
			t.Errorf("%s has windows below 2m alone, and no `or` with a longer one", r.Name())
		}
	}
}

// promtool as it is installed, on the files as they are.
func TestPromtoolTakesTheRules(t *testing.T) {
	var names []string
	for _, f := range ruleFiles(t) {
		names = append(names, f.Name)
	}
	promtool(t, append([]string{"check", "rules"}, names...)...)
}

func promtool(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.Command("promtool", args...)
	cmd.Dir = dir()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// A condition that comes and goes within five minutes is one incident: Prometheus posts a page all the while.
func TestPagesKeepFiring(t *testing.T) {
	eachAlert(t, func(t *testing.T, _ rules.Files, r rules.Rule) {
		if r.Labels["severity"] == "page" && r.KeepFiringFor < 5*time.Minute {
			t.Errorf("keep_firing_for is %v", r.KeepFiringFor)
		}
	})
}

// The diagnosis calls messages few by the number of the rules.
func TestFewMessagesAreAsFewAsInTheDiagnosis(t *testing.T) {
	limit := slices.IndexFunc(diagnosis.Limits, func(l *diagnosis.Limit) bool { return l.Name == "few_wait" })
	if limit < 0 {
		t.Fatal("the diagnosis has no limit few_wait")
	}
	want := fmt.Sprintf("< %v * queue:cacheinv_queue_enqueued:rate30m", diagnosis.Limits[limit].Value)
	for _, r := range ruleFiles(t).Rules() {
		if r.Record == "queue:cacheinv_queue_few_wait:bool" {
			if !strings.Contains(r.Expr.String(), want) {
				t.Errorf("%s does not ask for %q", r.Expr, want)
			}
			return
		}
	}
	t.Error("no rule records it")
}
