package settings

import (
	"slices"
	"strings"
	"testing"

	"github.com/cacheinv/cacheinv_exporter/collector"
)

func with(t *testing.T, choices map[*Setting]string) Values {
	t.Helper()
	var v Values
	for s, value := range choices {
		var err error
		if v, err = v.With(s, value); err != nil {
			t.Fatalf("%s %v", s.Name, err)
		}
	}
	return v
}

func TestValues(t *testing.T) {
	for _, tt := range []struct {
		s           *Setting
		value, want string // want: what files hold; empty: an error
	}{
		{StaleShare, "0.02", "0.02"},
		{StaleShare, "2%", "0.02"},
		{StaleShare, "7%", "0.07"},
		{StaleShare, ".5", "0.5"},
		{Budget, "0.05%", "0.0005"},
		{Budget, "1e-4", "0.0001"},
		{Budget, "6.9%", "0.069"},
		{Budget, "7%", ""},
		{EventBudget, "50%", ""},
		{EventBudget, "budget", ""},
		{StaleShare, "0", ""},
		{StaleShare, "1", ""},
		{StaleShare, "100%", ""},
		{StaleShare, "-1%", ""},
		{StaleShare, "NaN", ""},
		{StaleShare, "2 %", ""},
		{StaleShare, "0x1p-4", ""},
		{StaleShare, "two", ""},
		{StaleShare, "1e-9", ""},
		{Latency, "250ms", "250ms"},
		{Latency, "1500ms", "1s500ms"},
		{Latency, "2s", "2s"},
		{Latency, "0.5", ""},
		{Latency, "0s", ""},
		{Latency, "59s", "59s"},
		{Latency, "1m", ""},
		{Latency, "2m", ""},
		{ScrapeInterval, "60s", "1m"},
		{ScrapeInterval, "-60s", ""},
		{SeverityPage, "critical", "critical"},
		{SeverityPage, "P-1", "P-1"},
		{SeverityPage, "info", ""},
		{SeverityPage, "none", ""},
		{SeverityPage, "very bad", ""},
		{SeverityPage, "1st", ""},
		{SeverityTicket, `a"b`, ""},
		{Job, "cache-consistency", "cache-consistency"},
		{Job, "a b", ""},
		{Job, "{{x}}", ""},
		{ClusterLabel, "env", "env"},
		{ClusterLabel, "k8s_cluster", "k8s_cluster"},
		{ClusterLabel, "k8s-cluster", ""},
		{ClusterLabel, "__name__", ""},
		{ClusterLabel, "queue", ""},
		{GrafanaURL, "https://grafana.example:3000/a/", "https://grafana.example:3000/a"},
		{GrafanaURL, "grafana.example", ""},
		{RunbooksURL, "https://wiki.example/?a=b", ""},
	} {
		v, err := Values{}.With(tt.s, tt.value)
		if (err == nil) != (tt.want != "") || err == nil && v.Text(tt.s) != tt.want {
			t.Errorf("%s=%s: %q, %v", tt.s.Name, tt.value, v.Text(tt.s), err)
		}
		if err != nil && !strings.Contains(err.Error(), "write ") {
			t.Errorf("%s=%s does not say what to write: %v", tt.s.Name, tt.value, err)
		}
	}
}

func TestURLs(t *testing.T) {
	for url, want := range map[string]bool{
		"http://localhost:3000": true, "https://grafana.example/": true, "https://[::1]:3000/sub-path/": true,
		"grafana.example": false, "ftp://grafana.example": false, "https://": false, "https://user:pass@grafana.example": false,
		"https://grafana.example/?a=b": false, "https://grafana.example/#a": false, "https://grafana.example/a'b": false,
		`https://grafana.example/a"b`: false, "https://grafana.example/{{ $value }}": false, "https://grafana.example/a b": false, "https://a/\n": false,
	} {
		for _, s := range []*Setting{GrafanaURL, RunbooksURL} {
			if _, err := (Values{}).With(s, url); (err == nil) != want {
				t.Errorf("%s=%q: %v", s.Name, url, err)
			}
		}
	}
}

// An empty value takes a choice back; one choice leaves those before it as they were.
func TestChoices(t *testing.T) {
	one := with(t, map[*Setting]string{StaleShare: "2%", SeverityPage: "critical"})
	two, err := one.With(StaleShare, "")
	if err != nil || two.Text(StaleShare) != StaleShare.Default || one.Text(StaleShare) != "0.02" {
		t.Errorf("%v: %s, %s", err, two.Text(StaleShare), one.Text(StaleShare))
	}
	if got := one.Chosen(); !slices.Equal(got, []*Setting{StaleShare, SeverityPage}) {
		t.Errorf("chosen are %v", got)
	}
	for _, v := range []Values{with(t, map[*Setting]string{SeverityPage: "ticket"}), with(t, map[*Setting]string{FailureShare: "0.5%"})} {
		if err := v.Valid(); err == nil {
			t.Errorf("%v is valid", v.chosen)
		}
	}
	if err := with(t, map[*Setting]string{SeverityPage: "ticket", SeverityTicket: "page"}).Valid(); err != nil {
		t.Error(err)
	}
}

// The defaults are values that a user may write, and the table names each setting once.
func TestTable(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range All {
		v, err := Values{}.With(s, s.Default)
		if err != nil || v.Text(s) != s.Default || len(v.Chosen()) > 0 {
			t.Errorf("%s: %v", s.Name, err)
		}
		if seen[s.Name] || s.About == "" {
			t.Errorf("%s stands twice or says nothing", s.Name)
		}
		seen[s.Name] = true
		if got, err := Named(s.Name); err != nil || got != s {
			t.Errorf("%s: %v", s.Name, err)
		}
	}
	if _, err := Named("stale-shares"); err == nil || !strings.Contains(err.Error(), "did you mean stale_share?") {
		t.Errorf("%v", err)
	}
	if _, err := Named("nothing"); err == nil || !strings.Contains(err.Error(), "--list-settings") {
		t.Errorf("%v", err)
	}
}

// A cluster label of the name of another label would overwrite that.
func TestClusterLabelIsNoneOfTheExporters(t *testing.T) {
	for _, f := range collector.Families() {
		for _, name := range f.Labels {
			if _, err := (Values{}).With(ClusterLabel, name); err == nil {
				t.Errorf("%s, a label of %s, may be the cluster's", name, f.Name)
			}
		}
	}
}
