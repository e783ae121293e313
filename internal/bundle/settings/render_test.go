package settings

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var other = map[*Setting]string{
	StaleShare: "2.5%", Budget: "0.002", FailureShare: "10%", FailureShareTicket: "3%", Latency: "2s", ScrapeInterval: "1m",
	SeverityPage: "critical", SeverityTicket: "warning", Job: "caches", ClusterLabel: "env",
	RunbooksURL: "https://wiki.example/books", GrafanaURL: "https://grafana.example",
}

func TestRender(t *testing.T) {
	v := with(t, other)
	for _, tt := range []struct{ text, want string }{
		// Numbers, on marked lines alone.
		{"  >= 0.01 # setting: stale_share\n  > 0.01\n", "  >= 0.025 # setting: stale_share\n  > 0.01\n"},
		{"d: 'Not 1 or 0.1% or 10.01, more than 1%.' # setting: stale_share", "d: 'Not 1 or 0.1% or 10.01, more than 2.5%.' # setting: stale_share"},
		{"x > 14.4 * 0.001 # setting: budget", "x > 14.4 * 0.002 # setting: budget"},
		{"d: '1.44% of 0.1%' # setting: budget, budget*14.4", "d: '2.88% of 0.2%' # setting: budget, budget*14.4"},
		{"x > 0.5 # setting: latency", "x > 2 # setting: latency"},
		{"d: '500ms, 500 ms, 0.5s or 0.5 s' # setting: latency", "d: '2s, 2 s, 2s or 2 s' # setting: latency"},
		{"x > 30 # setting: scrape_interval", "x > 60 # setting: scrape_interval"},
		{"d: 'every 30 s' # setting: scrape_interval", "d: 'every 60 s' # setting: scrape_interval"},
		{"d: '1% and 5%' # setting: failure_share_ticket, failure_share", "d: '3% and 10%' # setting: failure_share_ticket, failure_share"},
		{"replacement: cacheinv_exporter # setting: job", "replacement: caches # setting: job"},
		{"at <!-- setting: stale_share -->1%<!-- end -->, not 1%", "at <!-- setting: stale_share -->2.5%<!-- end -->, not 1%"},
		// Severities.
		{"severity: page", "severity: critical"},
		{"severity: 'ticket'", "severity: 'warning'"},
		{"['severity=\"page\"']", "['severity=\"critical\"']"},
		{`ALERTS{severity=~"page|ticket|none"}`, `ALERTS{severity=~"critical|warning|none"}`},
		{`"expr": "ALERTS{severity=\"ticket\"}"`, `"expr": "ALERTS{severity=\"warning\"}"`},
		{"with severity page, `severity=page`; severity pages, page", "with severity critical, `severity=critical`; severity pages, page"},
		// Jobs.
		{`up{job="cacheinv_exporter"}`, `up{job="caches"}`},
		{`up{job=\"cacheinv_exporter\"}, job: cacheinv_exporter, cacheinv_exporter check`, `up{job=\"caches\"}, job: caches, cacheinv_exporter check`},
		{`jq 'select(.labels.job == "cacheinv_exporter")'`, `jq 'select(.labels.job == "caches")'`},
		// Cluster labels.
		{"sum by (cluster, class) (x) / on (cluster) group_left (a, cluster) y", "sum by (env, class) (x) / on (env) group_left (a, env) y"},
		{"max without(cluster) (cacheinv_cluster_ok)", "max without(env) (cacheinv_cluster_ok)"},
		{`x{cluster="a",cluster=~"$cluster"}`, `x{env="a",env=~"$cluster"}`},
		{`"x{cluster=~\"$cluster\"}", "name": "cluster",`, `"x{env=~\"$cluster\"}", "name": "cluster",`},
		{"x?var-cluster={{ $labels.cluster }}&var-cluster={{ or $labels.cluster $externalLabels.cluster }}", "x?var-cluster={{ $labels.env }}&var-cluster={{ or $labels.env $externalLabels.env }}"},
		{"{{ with .CommonLabels.cluster }}[{{ . }}]", "{{ with .CommonLabels.env }}[{{ . }}]"},
		{"  group_by: [cluster, queue]\n  equal: [a, cluster]", "  group_by: [env, queue]\n  equal: [a, env]"},
		{"    exp_labels:\n      cluster: shop\n    labels: {a: b, cluster: c}", "    exp_labels:\n      env: shop\n    labels: {a: b, env: c}"},
		{`"cluster": "Cluster",`, `"env": "Cluster",`},
		{"label_values(x{cluster=~\"a\"}, cluster)", "label_values(x{env=~\"a\"}, env)"},
		{`label_values(x{cluster=~\"$cluster\"}, class), label_values(x{a=~"${cluster}"}, cluster)`, `label_values(x{env=~\"$cluster\"}, class), label_values(x{a=~"${cluster}"}, env)`},
		{`label_replace(x, "cluster", "$1", "cluster", "")`, `label_replace(x, "env", "$1", "env", "")`},
		{"a cluster of Redis; silence `cluster`; amtool cluster=shop", "a cluster of Redis; silence `env`; amtool env=shop"},
		{"cluster:cacheinv_canary_harmful_copies:sum", "cluster:cacheinv_canary_harmful_copies:sum"},
		// URLs.
		{"http://localhost:3000/d/x http://localhost:3000/api", "https://grafana.example/d/x http://localhost:3000/api"},
		{RunbooksURL.Default + "/X.md", "https://wiki.example/books/X.md"},
	} {
		got, err := v.Render(tt.text, nil)
		if err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Error(diff)
		}
		if same, err := (Values{}).Render(tt.text, nil); err != nil || same != tt.text {
			t.Errorf("the defaults make %q of %q: %v", same, tt.text, err)
		}
	}
}

func TestRenderChangesWords(t *testing.T) {
	swapped := with(t, map[*Setting]string{SeverityPage: "ticket", SeverityTicket: "page"})
	if got, err := swapped.Render("severity=~\"page|ticket\"", nil); err != nil || got != "severity=~\"ticket|page\"" {
		t.Errorf("%s, %v", got, err)
	}
	shorter := with(t, map[*Setting]string{ScrapeInterval: "15s"})
	if got, err := shorter.Render("rate(x[1m])", nil); err != nil || got != "rate(x[1m])" {
		t.Errorf("%s, %v", got, err)
	}
}

func TestRenderMarkedLines(t *testing.T) {
	lines, err := ParseLines("# made\n\na.json:2: stale_share\na.json:3: budget*3, stale_share\nb.json:1: latency\n")
	if err != nil {
		t.Fatal(err)
	}
	v := with(t, other)
	got, err := v.Render("0.01\n\"value\": 0.01,\n\"0.3% and 1%\"\n", lines["a.json"])
	if err != nil || got != "0.01\n\"value\": 0.025,\n\"0.6% and 2.5%\"\n" {
		t.Errorf("%v: %s", err, got)
	}
	for _, text := range []string{"a.json: stale_share", "a.json:x: stale_share", "a.json:1: nothing", "a.json:1: budget*x", "a.json:1: job*2"} {
		if _, err := ParseLines(text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

// A mark that does nothing is a fault: the rest follows, and this does not.
func TestRenderFaults(t *testing.T) {
	for _, text := range []string{
		"x > 0.02 # setting: stale_share", "x > 0.01 # setting: stale_shar", "<!-- setting: stale_share -->2%<!-- end -->", "<!-- setting: x -->2%<!-- end -->",
		"x > 0.0100 # setting: stale_share",
	} {
		if got, err := (Values{}).Render("\n"+text, nil); err == nil {
			t.Errorf("%s: %s", text, got)
		} else if !strings.Contains(err.Error(), "setting") && !strings.Contains(err.Error(), "marked") {
			t.Error(err)
		}
	}
}

func TestMarkOf(t *testing.T) {
	v := with(t, other)
	for _, tt := range []struct {
		s                 *Setting
		line, other, want string
	}{
		{StaleShare, `"value": 0.01,`, `"value": 0.025,`, "stale_share"},
		{Budget, `"value": 0.0144,`, `"value": 0.0288,`, "budget*14.4"},
		{Budget, `"text": "1.44% of the reads",`, `"text": "2.88% of the reads",`, "budget*14.4"},
		{Latency, `"text": "500 ms"`, `"text": "2 s"`, "latency"},
		{Latency, `"value": 5`, `"value": 20`, "latency*10"},
		{Latency, `"value": 5`, `"value": 21`, ""},
	} {
		m, err := MarkOf(tt.s, v, tt.line, tt.other)
		if (err == nil) != (tt.want != "") || err == nil && m.String() != tt.want {
			t.Errorf("%s: %v, %v", tt.line, m, err)
		}
	}
	if got := v.Prose(StaleShare) + v.Prose(Latency) + (Values{}).Prose(Latency); got != "2.5%2 s500 ms" {
		t.Error(got)
	}
}
