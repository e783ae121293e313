package alerts_test

import (
	"bufio"
	"fmt"
	"io/fs"
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

// BenchmarkCanaryRules takes, from a real Prometheus, how much of a processor one evaluation of both groups of canary.yml takes: 1,100
// class-nodes that two exporters scrape each 15 s, with three days of history. Others on the machine do not matter to it. CACHEINV_ALERTS_DIR names other rules. -benchtime=1x, as it needs a minute.
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
		// Once a minute would be long to wait for.
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
		b.ReportMetric(evaluation(b, p), "cpu-s/evaluation")
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

var (
	iterations = regexp.MustCompile(`(?m)^prometheus_rule_group_iterations_total\{rule_group="[^"]*;cacheinv-canary-history"\} (\S+)$`)
	processor  = regexp.MustCompile(`(?m)^process_cpu_seconds_total (\S+)$`)
)

// evaluation gives how much of a processor both groups take together, from one evaluation to the next but one.
func evaluation(b *testing.B, p *servers.PrometheusServer) float64 {
	b.Helper()
	read := func(of *regexp.Regexp) float64 {
		m := of.FindStringSubmatch(p.Metrics(b))
		if m == nil {
			return 0
		}
		value, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			b.Fatal(err)
		}
		return value
	}
	until := func(times float64) {
		for read(iterations) < times {
			time.Sleep(2 * time.Second) // what is asked costs, too
		}
	}
	until(1)
	before := read(processor)
	until(3)
	return (read(processor) - before) / 2
}
