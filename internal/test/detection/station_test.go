package detection

import (
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"go.uber.org/goleak"
	"go.yaml.in/yaml/v4"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/internal/tools/rules"
)

const (
	// idle is the cluster of an exporter that is always there.
	idle        = "idle"
	targetsFile = "targets.json"
	// atOnce is how many scenarios are played beside each other; most of their time is waiting.
	atOnce = 5
)

var (
	// factor by which time goes faster here: a scrape each second instead of each 15.
	factor time.Duration = 15
	// interval between two scrapes, and between two evaluations.
	interval = time.Second
)

var (
	realTime  = flag.Bool("real-time", false, "let time go as fast as it does")
	alertsDir = flag.String("alerts", "../../../alerts", "folder of the rules, and of alertmanager.yml")
	update    = flag.Bool("update", false, "write docs/detection.md anew")
)

// soak plays everything, for as long as it should.
var soak = os.Getenv("CACHEINV_SOAK") != ""

func TestMain(m *testing.M) {
	flag.Parse()
	if *realTime {
		factor, interval = 1, 15*time.Second
	}
	servers.TestsAtOnce(atOnce)
	for name, value := range servers.DynamoDBEnvironment() {
		if err := os.Setenv(name, value); err != nil {
			panic(err)
		}
	}
	goleak.VerifyTestMain(m)
}

// station is a Prometheus and an Alertmanager with this repository's rules, faster by the factor. Each scenario is a cluster of its own.
type station struct {
	t       *testing.T
	hook    *servers.Receivers
	manager *servers.AlertmanagerServer
	binary  string
	// broker is one for all scenarios; each has a topic of its own.
	broker *servers.KafkaServer
	// rules in use, and what receives pages.
	rules rules.Files
	pager string

	mu      sync.Mutex
	prom    *servers.PrometheusServer
	targets map[string]string // address by cluster
	played  []*outcome
}

func openStation(t *testing.T) *station {
	t.Helper()
	s := &station{t: t, hook: servers.AlertReceivers(t), binary: servers.Build(t), targets: map[string]string{}}
	source := os.DirFS(*alertsDir)
	files, err := rules.Load(source)
	if err != nil {
		t.Fatal(err)
	}
	if s.rules, err = files.Scale(float64(factor)); err != nil {
		t.Fatal(err)
	}
	s.manager = s.openAlertmanager(source)
	s.watch(idle, s.openIdle())
	return s
}

// openIdle is an exporter over two caches in which nothing happens: a Prometheus without any exporter would page for that.
func (s *station) openIdle() string {
	s.t.Helper()
	var addresses []any
	for range 2 {
		r := servers.Redis(s.t)
		r.Must(s.t, "set", "user:1:profile", "x", "ex", "36000")
		addresses = append(addresses, r.Addr)
	}
	path := filepath.Join(s.t.TempDir(), "cacheinv.yml")
	if err := os.WriteFile(path, fmt.Appendf(nil, `
layers: [{name: l2, ttl: 10h, nodes: [{name: redis-1, redis: {address: %q}}, {name: redis-2, redis: {address: %q}}]}]
canaries: [{class: user_profile, layers: [l2], keys: ["user:1:profile"]}]
`, addresses...), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return servers.Exporter(s.t, s.binary, servers.FreeAddr(s.t), s.flags(path)...).Addr
}

// openPrometheus; the lock is held.
func (s *station) openPrometheus(targets string) {
	s.t.Helper()
	config := map[string]string{"prometheus.yml": fmt.Sprintf(`
global: {scrape_interval: %[1]s, scrape_timeout: %[1]s, evaluation_interval: %[1]s}
rule_files: [rules/*.yml]
alerting:
  alertmanagers: [{static_configs: [{targets: [%[2]q]}]}]
scrape_configs:
  - job_name: cacheinv_exporter
    file_sd_configs: [{files: [targets.json], refresh_interval: 5s}]
`, interval, s.manager.Addr), targetsFile: targets}
	for _, f := range s.rules {
		text, err := f.YAML()
		if err != nil {
			s.t.Fatal(err)
		}
		config["rules/"+f.Name] = string(text)
	}
	s.prom = servers.Prometheus(s.t, config, "--rules.alert.resend-delay="+scaled("1m"))
}

// scaled is a duration of Prometheus' and Alertmanager's, faster by the factor.
func scaled(text string) string {
	d, err := model.ParseDuration(text)
	if err != nil {
		panic(err)
	}
	return model.Duration((time.Duration(d) / factor).Round(time.Millisecond)).String()
}

// openAlertmanager with the repository's routes and inhibition, faster, whose receivers are all the webhook.
func (s *station) openAlertmanager(source fs.FS) *servers.AlertmanagerServer {
	s.t.Helper()
	text, err := fs.ReadFile(source, "alertmanager.yml")
	if err != nil {
		s.t.Fatal(err)
	}
	var c map[string]any
	if err := yaml.Unmarshal(text, &c); err != nil {
		s.t.Fatal(err)
	}
	scaleRoute(c["route"].(map[string]any))
	for _, r := range c["receivers"].([]any) {
		receiver := r.(map[string]any)
		for field := range receiver {
			if field != "name" {
				delete(receiver, field)
			}
		}
		receiver["webhook_configs"] = []any{map[string]any{"url": s.hook.URL + "/" + receiver["name"].(string), "send_resolved": true}}
	}
	out, err := yaml.Marshal(c)
	if err != nil {
		s.t.Fatal(err)
	}
	files := map[string]string{"alertmanager.yml": strings.ReplaceAll(string(out), "1h0m0s", "1h")}
	templates, err := fs.Glob(source, "*.tmpl")
	if err != nil {
		s.t.Fatal(err)
	}
	for _, name := range templates {
		b, err := fs.ReadFile(source, name)
		if err != nil {
			s.t.Fatal(err)
		}
		files[name] = string(b)
	}
	dir := s.t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "alertmanager.yml")
	s.pager = s.route(file, "severity=page")
	for _, other := range []string{s.route(file, "severity=ticket"), s.route(file, "severity=none")} {
		if other == s.pager {
			s.t.Fatalf("%s receives more than pages", s.pager)
		}
	}
	return servers.Alertmanager(s.t, file)
}

// scaleRoute makes a route and those below it faster.
func scaleRoute(route map[string]any) {
	for field, value := range route {
		switch field {
		case "group_wait", "group_interval", "repeat_interval":
			if text := value.(string); text != "0s" {
				route[field] = scaled(text)
			}
		case "routes":
			for _, r := range value.([]any) {
				scaleRoute(r.(map[string]any))
			}
		}
	}
}

// route is the receiver of a cacheinv alert with these labels, by Alertmanager's own tool.
func (s *station) route(file string, labels ...string) string {
	s.t.Helper()
	args := append([]string{"config", "routes", "test", "--config.file=" + file, "alertname=CacheInvalX", "cluster=c"}, labels...)
	cmd := exec.CommandContext(s.t.Context(), "amtool", args...)
	var problems strings.Builder
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		s.t.Fatalf("amtool: %v\n%s", err, problems.String())
	}
	return strings.TrimSpace(string(out))
}

// watch an exporter as the target of a cluster; without an address, no longer.
func (s *station) watch(cluster, address string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.targets[cluster] = address
	if address == "" {
		delete(s.targets, cluster)
	}
	groups := []map[string]any{}
	for _, c := range slices.Sorted(maps.Keys(s.targets)) {
		groups = append(groups, map[string]any{"targets": []string{s.targets[c]}, "labels": map[string]string{"cluster": c}})
	}
	b, err := json.Marshal(groups)
	if err != nil {
		s.t.Fatal(err)
	}
	if s.prom == nil {
		s.openPrometheus(string(b))
		return
	}
	path := filepath.Join(s.prom.Dir, targetsFile)
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		s.t.Fatal(err)
	}
}

// scrapes of a cluster after some moment until another, as Prometheus counts them; failed ones too where any.
func (s *station) scrapes(t testing.TB, cluster string, after, until time.Time, anyway bool) int {
	t.Helper()
	n := 0
	for _, series := range s.prom.Samples(t, fmt.Sprintf("up{cluster=%q}[%ds]", cluster, int(time.Since(after).Seconds())+2)) {
		for _, sample := range series.Values {
			at := sample.Timestamp.Time()
			if at.After(after) && !at.After(until) && (anyway || sample.Value == 1) {
				n++
			}
		}
	}
	return n
}

// await something that Prometheus or Alertmanager comes to by itself; it fails after patience.
func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	patience := 4 * time.Minute
	if *realTime {
		patience = time.Hour
	}
	for end := time.Now().Add(patience); !ok(); time.Sleep(interval / 4) {
		if time.Now().After(end) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// page is a group that was opened at the pager.
type page struct {
	cluster string
	at      time.Time
	// first alerts it told, and all that it came to tell.
	first, alerts []string
	causes        []string
}

func (p page) String() string {
	return fmt.Sprintf("%s at %s: %s, then %s, causes %v", p.cluster, p.at.Format(time.TimeOnly), strings.Join(p.first, " "), strings.Join(p.alerts, " "), p.causes)
}

// cause is the first in the order of docs/diagnosis.md.
func (p page) cause() string {
	for _, c := range []string{"network", "queue", "config", "version", "logic"} {
		if slices.Contains(p.causes, c) {
			return c
		}
	}
	return ""
}

// pages of a cluster so far, or of all (""); a group that fires again after it was resolved is another page.
func (s *station) pages(cluster string) []page {
	var out []page
	open := map[string]int{} // by the group's key
	for _, n := range s.hook.Received("") {
		if len(n.Alerts) == 0 || n.Receiver != s.pager || cluster != "" && n.Alerts[0].Labels["cluster"] != cluster {
			continue
		}
		if n.Status != "firing" {
			delete(open, n.GroupKey)
			continue
		}
		i, known := open[n.GroupKey]
		if !known {
			i = len(out)
			open[n.GroupKey] = i
			out = append(out, page{cluster: n.Alerts[0].Labels["cluster"], at: n.At})
		}
		for _, a := range n.Alerts {
			if a.Status != "firing" {
				continue
			}
			out[i].alerts = with(out[i].alerts, a.Labels["alertname"])
			if !known {
				out[i].first = with(out[i].first, a.Labels["alertname"])
			}
			if cause := a.Labels["cause"]; cause != "" {
				out[i].causes = with(out[i].causes, cause)
			}
		}
	}
	return out
}

// tickets of a cluster so far, and whatever else reached another receiver than the pager, but the watchdog.
func (s *station) tickets(cluster string) []string {
	var out []string
	for _, n := range s.hook.Received("") {
		for _, a := range n.Alerts {
			if n.Receiver != s.pager && a.Labels["cluster"] == cluster && a.Labels["severity"] != "none" {
				out = with(out, a.Labels["alertname"])
			}
		}
	}
	slices.Sort(out)
	return out
}

func with(list []string, s string) []string {
	if slices.Contains(list, s) {
		return list
	}
	return append(list, s)
}
