package alerts_test

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

const (
	costClasses, costNodes = 20, 55 // 1,100 class-nodes
	costScrape             = 15 * time.Second
)

// BenchmarkCanaryRules takes, from a real Prometheus, how long one evaluation of each group of canary.yml lasts: 1,100 class-nodes that
// two exporters scrape each 15 s, with three days of history. CACHEINV_ALERTS_DIR names other rules. -benchtime=1x, as it needs a minute.
func BenchmarkCanaryRules(b *testing.B) {
	rules, err := os.ReadFile(filepath.Join(dir(), "canary.yml"))
	if err != nil {
		b.Fatal(err)
	}
	dir := b.TempDir()
	blocks := filepath.Join(dir, "blocks")
	backfill(b, filepath.Join(dir, "history"), blocks, func(add func(series string, at time.Time, value float64)) { history(time.Now(), add) })
	end := time.Now().Add(time.Minute).Truncate(costScrape) // backfilling takes some of it
	backfill(b, filepath.Join(dir, "scrapes"), blocks, func(add func(series string, at time.Time, value float64)) { scrapes(end, add) })
	files := map[string]string{
		"prometheus.yml": "global: {evaluation_interval: 15s}\nrule_files: [canary.yml]\n",
		// Each minute costs as much as each quarter of one, and is longer to wait for.
		"canary.yml": strings.ReplaceAll(string(rules), "interval: 1m\n", "interval: 15s\n"),
	}
	if err := filepath.WalkDir(blocks, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		files["data/"+strings.TrimPrefix(path, blocks+"/")] = string(data)
		return err
	}); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		time.Sleep(time.Until(end)) // Prometheus records nothing before the end of its blocks
		p := servers.Prometheus(b, files)
		for group, seconds := range evaluations(b, p) {
			b.ReportMetric(seconds, "s/evaluation-of-"+group)
		}
	}
}

// scrapes of the last six minutes.
func scrapes(end time.Time, add func(series string, at time.Time, value float64)) {
	for k := range costClasses * costNodes * 2 {
		class, node, instance := k/2%costClasses, k/2/costClasses, k%2
		labels := fmt.Sprintf(`cluster="eu",class="c%d",layer="l%d",node="n%d",instance="%d"`, class, node%3, node, instance)
		each := func(series string, value func(n float64) float64) {
			n := 0.0
			for at := end.Add(-6 * time.Minute); at.Before(end); at = at.Add(costScrape) {
				add(series, at, value(n))
				n++
			}
		}
		for i, state := range []string{"fresh", "stale", "undecided", "unverified", "missing", "error"} {
			each(`cacheinv_canary_copies{`+labels+`,state="`+state+`"}`, func(float64) float64 { return float64(200 / (1 + 9*i)) })
			each(`cacheinv_canary_reads_total{`+labels+`,state="`+state+`"}`, func(n float64) float64 { return n * float64(200/(1+9*i)) })
		}
		each(`cacheinv_canary_overdue_copies{`+labels+`}`, func(float64) float64 { return float64(node % 7) })
		each(`cacheinv_canary_overdue_reads_total{`+labels+`}`, func(n float64) float64 { return n * float64(node%7) })
		each(`cacheinv_canary_survivor_copies{`+labels+`}`, func(float64) float64 { return 0 })
		if class == 0 && node%7 == 6 {
			each(fmt.Sprintf(`cacheinv_cause_node_score{cluster="eu",cause="network",layer="l%d",node="n%d",instance="%d"}`, node%3, node, instance), func(float64) float64 { return 0.6 })
		}
	}
}

// history that long windows read.
func history(end time.Time, add func(series string, at time.Time, value float64)) {
	for class := range costClasses {
		of := fmt.Sprintf(`cluster="eu",class="c%d"`, class)
		for at := end.Add(-3 * 24 * time.Hour); at.Before(end); at = at.Add(time.Minute) {
			add(`class:cacheinv_canary_compared_reads:increase5m{`+of+`}`, at, 1e5)
			add(`class:cacheinv_canary_overdue_reads:increase5m{`+of+`}`, at, 1e3)
			add(`class:cacheinv_canary_overdue_copies:max5m{`+of+`}`, at, 40)
			for layer := range 3 {
				add(fmt.Sprintf(`class_layer:cacheinv_canary_compared_reads:increase5m{%s,layer="l%d"}`, of, layer), at, 3e4)
				add(fmt.Sprintf(`class_layer:cacheinv_canary_overdue_reads:increase5m{%s,layer="l%d"}`, of, layer), at, 3e2)
			}
		}
	}
}

// backfill blocks from what fill adds; series of one metric follow each other.
func backfill(b *testing.B, name, blocks string, fill func(add func(series string, at time.Time, value float64))) {
	b.Helper()
	byMetric := map[string]*strings.Builder{}
	fill(func(series string, at time.Time, value float64) {
		metric, _, _ := strings.Cut(series, "{")
		if byMetric[metric] == nil {
			byMetric[metric] = &strings.Builder{}
		}
		fmt.Fprintf(byMetric[metric], "%s %v %d\n", series, value, at.Unix())
	})
	f, err := os.Create(name)
	if err != nil {
		b.Fatal(err)
	}
	w := bufio.NewWriter(f)
	for _, lines := range byMetric {
		_, _ = w.WriteString(lines.String())
	}
	_, _ = w.WriteString("# EOF\n")
	if err := w.Flush(); err != nil {
		b.Fatal(err)
	}
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
	if out, err := exec.Command("promtool", "tsdb", "create-blocks-from", "openmetrics", name, blocks).CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
}

func metricsOf(b *testing.B, p *servers.PrometheusServer) string {
	b.Helper()
	r, err := http.Get("http://" + p.Addr + "/metrics")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = r.Body.Close() }()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		b.Fatal(err)
	}
	return string(text)
}

var lastDuration = regexp.MustCompile(`(?m)^prometheus_rule_group_(iterations_total|last_duration_seconds)\{rule_group="[^"]*;([^"]*)"\} (\S+)$`)

// evaluations are how long the last one of each group took, once each had two.
func evaluations(b *testing.B, p *servers.PrometheusServer) map[string]float64 {
	b.Helper()
	took := map[string]float64{}
	servers.Eventually(b, "each group was evaluated twice", func() bool {
		all := true
		for _, m := range lastDuration.FindAllStringSubmatch(metricsOf(b, p), -1) {
			value, err := strconv.ParseFloat(m[3], 64)
			if err != nil {
				b.Fatal(err)
			}
			if m[1] == "iterations_total" {
				all = all && value >= 2
			} else {
				took[m[2]] = value
			}
		}
		return all && len(took) > 0
	})
	return took
}
