package collector

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/probes/backends"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/consistency"
	"github.com/cacheinv/cacheinv_exporter/internal/diagnosis"
)

// judging is an exporter that says what its samplings point to.
func judging(t *testing.T, judge *causeJudge, s sampler, others ...funcEvidencer) *Exporter {
	t.Helper()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	e := New(Options{TimeoutOffset: 250 * time.Millisecond, MinInterval: time.Hour}, log)
	judge.memory = diagnosis.NewMemory()
	collectors := []*signalCollector{{name: "node", Collector: nodeCollector{}}}
	for _, o := range others {
		collectors = append(collectors, &signalCollector{name: o.name, Collector: o})
	}
	r := newRunner(s, collectors, log)
	r.causes = judge
	e.use(&Setup{Config: oneLayer, runner: r})
	t.Cleanup(e.Close)
	return e
}

// deadNodes are sampled, and none answers.
type deadNodes struct{}

func (deadNodes) Sample(context.Context) *consistency.Result {
	return &consistency.Result{Nodes: make([]consistency.NodeResult, 2)}
}

// funcEvidencer is a collector with something to add.
type funcEvidencer struct {
	funcCollector
	adds func(e *diagnosis.Evidence)
}

func (f funcEvidencer) AddEvidence(e *diagnosis.Evidence) { f.adds(e) }

func nothingToSend(context.Context, chan<- prometheus.Metric) error { return nil }

// TestCauseScores: five scores, from what the collectors learned, and the report is of the same sampling.
func TestCauseScores(t *testing.T) {
	s := &fakeSampler{}
	queue := funcEvidencer{funcCollector{"queue", nothingToSend}, func(e *diagnosis.Evidence) {
		e.Queues = []diagnosis.Queue{{Name: "list", Up: true, Groups: []diagnosis.Group{{Name: "g", Lost: 1000}}}}
	}}
	e := judging(t, &causeJudge{}, s, queue)
	body := scrape(t, e, "10")
	wantLines(t, body, `cacheinv_cause_score{cause="queue"} 0.9`, `cacheinv_collector_success{collector="cause"} 1`)
	if n := strings.Count(body, "\ncacheinv_cause_score{"); n != len(diagnosis.Causes) {
		t.Errorf("%d scores in\n%s", n, ours(body))
	}
	r := e.Report(t.Context(), 10*time.Second)
	if r.Diagnosis.Verdict != "queue" || s.calls.Load() != 1 {
		t.Errorf("verdict %s after %d samplings", r.Diagnosis.Verdict, s.calls.Load())
	}
}

func TestNoCauseScores(t *testing.T) {
	body := scrape(t, judging(t, &causeJudge{}, deadNodes{}), "10")
	wantLines(t, body, `cacheinv_collector_success{collector="cause"} 0`)
	if strings.Contains(body, "cacheinv_cause_score{") {
		t.Errorf("nothing was sampled, but there are scores in\n%s", ours(body))
	}
	e := judging(t, &causeJudge{silent: true}, &fakeSampler{})
	if body := scrape(t, e, "10"); strings.Contains(body, "cacheinv_cause_score{") || strings.Contains(body, `collector="cause"`) {
		t.Errorf("--no-collector.cause, but there is one in\n%s", ours(body))
	}
	if r := e.Report(t.Context(), 10*time.Second); r == nil || r.Diagnosis.Verdict != diagnosis.None {
		t.Errorf("without the metrics the report is %+v", r)
	}
}

// TestWhoAddsNoEvidence: what is late or broke off may hold what an earlier sampling learned.
func TestWhoAddsNoEvidence(t *testing.T) {
	never := func(*diagnosis.Evidence) { t.Error("it was asked") }
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	late := funcEvidencer{funcCollector{"queue", func(context.Context, chan<- prometheus.Metric) error {
		<-release
		return nil
	}}, never}
	broken := funcEvidencer{funcCollector{"history", func(context.Context, chan<- prometheus.Metric) error { panic("broken") }}, never}
	e := judging(t, &causeJudge{}, &fakeSampler{}, late, broken)
	scrape(t, e, "0.3")
	var got []string
	for _, u := range e.Report(t.Context(), time.Second).Evidence.Unknown {
		got = append(got, u.Part+": "+u.Why)
	}
	want := []string{"queue: not back in time", "history: its collector broke; the log says how"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestEvidencePanics: it costs the scores alone.
func TestEvidencePanics(t *testing.T) {
	bad := funcEvidencer{funcCollector{"queue", nothingToSend}, func(*diagnosis.Evidence) { panic("broken") }}
	e := judging(t, &causeJudge{}, &fakeSampler{}, bad)
	body := scrape(t, e, "10")
	wantLines(t, body, `cacheinv_collector_success{collector="cause"} 0`, `cacheinv_collector_success{collector="queue"} 1`,
		`cacheinv_node_up{kind="redis",layer="l2",node="redis-1"} 1`)
	if strings.Contains(body, "cacheinv_cause_score{") || e.Report(t.Context(), time.Second) != nil {
		t.Errorf("there is a judgement in\n%s", ours(body))
	}
}

func TestUnknownOf(t *testing.T) {
	cfg := &config.Config{Queues: make([]config.Queue, 1), History: make([]config.History, 1)}
	off := new(bool)
	got := unknownOf(cfg, Options{Signals: Signals, Enabled: map[string]*bool{"history": off, "app_version": off, "cause": off}})
	want := []diagnosis.Unknown{
		{Part: "canary", Why: diagnosis.NotConfigured}, {Part: "app_version", Why: diagnosis.NotConfigured}, {Part: "history", Why: "its collector is off"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestConfiguredOf says where the servers are, and nothing of what authenticates.
func TestConfiguredOf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cacheinv.yml")
	const text = `
layers:
  - name: l2
    ttl: 1h
    max_staleness: 3s
    nodes:
      - {name: redis-1, redis: {address: "redis://user:SECRET@10.0.0.1:6380/2"}}
      - {name: redis-2, redis: {address: "rediss://10.0.0.2", username: user, password: SECRET}}
      - {name: pair, redis: {replication: ["10.0.0.3:6379"], password: SECRET}}
      - {name: main, redis: {sentinel: {master: m, addresses: ["10.0.0.4:26379"], password: SECRET}, password: SECRET}}
      - {name: mc, memcached: {address: "10.0.0.5:11212", username: user, password: SECRET}}
      - {name: app, http: {url: "https://app.example:8443/{key}", username: user, password: SECRET, headers: {X-Token: SECRET}}}
      - {name: apps, http: {dns: "apps:8080", url: "https://{host}:{port}/{key}"}}
  - {name: forever, ttl: none, nodes: [{name: kept, redis: {address: "redis://10.0.0.7:6379"}}]}
queues:
  - {name: list, redis: {node: redis-1, list: inv}}
  - {name: kafka, kafka: {brokers: ["10.0.0.6:9092"], topics: [inv], groups: [g], sasl: {mechanism: PLAIN, username: user, password: SECRET}}}
  - {name: web, http: {url: "http://web/queue?token=SECRET", depth: "$.depth", username: user, password: SECRET}}
canaries:
  - {class: user, keys: ["user:1"], layers: [l2]}
versions:
  - {app: web, nodes: {app-1: "http://app-1/version?token=SECRET"}, username: user, password: SECRET}
`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(path, backends.All)
	if err != nil {
		t.Fatal(err)
	}
	got := configuredOf(cfg)
	if all := fmt.Sprintf("%+v", got); strings.Contains(all, "SECRET") || strings.Contains(all, "user:") {
		t.Errorf("it tells a secret: %s", all)
	}
	want := diagnosis.Configured{
		MaxStaleness: map[diagnosis.ClassLayer]time.Duration{{Class: "user", Layer: "l2"}: 3 * time.Second},
		TTL:          map[string]time.Duration{"l2": time.Hour, "forever": math.MaxInt64},
		Servers: map[string]diagnosis.Server{
			"redis-1": {Kind: "redis", Host: "10.0.0.1", Port: "6380"}, "redis-2": {Kind: "redis", Host: "10.0.0.2", Port: "6379", TLS: true},
			"pair": {Kind: "redis", Host: "10.0.0.3", Port: "6379"}, "main": {Kind: "redis", Port: "6379"},
			"mc": {Kind: "memcached", Host: "10.0.0.5", Port: "11212"}, "app": {Kind: "http", URL: "https://app.example:8443"},
			"kept": {Kind: "redis", Host: "10.0.0.7", Port: "6379"}, "apps": {Kind: "http", URL: "https://"},
		},
		Queues: map[string]diagnosis.QueuePlace{
			"list": {Node: "redis-1", Key: "inv"}, "kafka": {Brokers: []string{"10.0.0.6:9092"}}, "web": {URL: "http://web/queue"},
		},
		Versions: map[string][]string{"web": {"http://app-1/version"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
