package collector

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/consistency"
	"github.com/cacheinv/cacheinv_exporter/internal/diagnosis"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/backends"
)

// judging is an exporter that says what its samplings point to.
func judging(t *testing.T, judge *causeJudge, s sampler, others ...funcEvidencer) *Exporter {
	t.Helper()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	e := New(Options{TimeoutOffset: 250 * time.Millisecond, MinInterval: time.Hour, Env: &probes.Env{Log: log}})
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

// oneDown has two nodes, of which one does not answer.
type oneDown struct{}

func (oneDown) Sample(context.Context) *consistency.Result {
	return &consistency.Result{Nodes: []consistency.NodeResult{
		{Identity: probes.Identity{Layer: "l2", Name: "redis-1"}, Up: true}, {Identity: probes.Identity{Layer: "l2", Name: "redis-2"}, Err: io.EOF},
	}}
}

// TestCauseNodeScores: of the nodes that a cause is about, and of no others.
func TestCauseNodeScores(t *testing.T) {
	body := scrape(t, judging(t, &causeJudge{}, oneDown{}), "10")
	wantLines(t, body, `cacheinv_cause_score{cause="network"} 0.18`, `cacheinv_cause_node_score{cause="network",layer="l2",node="redis-2"} 0.18`)
	if n := strings.Count(body, "\ncacheinv_cause_node_score{"); n != 1 {
		t.Errorf("%d scores of nodes in\n%s", n, ours(body))
	}
	if body := scrape(t, judging(t, &causeJudge{silent: true}, oneDown{}), "10"); strings.Contains(body, "cacheinv_cause_") {
		t.Errorf("--no-collector.cause, but there is one in\n%s", ours(body))
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

// A target that is still busy costs itself alone: what the others of its collector say is evidence all the same.
func TestBusyTargetLeavesEvidence(t *testing.T) {
	asked := make(chan struct{}, 1)
	busy := funcEvidencer{funcCollector{"queue", func(context.Context, chan<- prometheus.Metric) error {
		return errors.Join(nil, fmt.Errorf("queue slow: %w", probes.ErrBusy))
	}}, func(*diagnosis.Evidence) { asked <- struct{}{} }}
	e := judging(t, &causeJudge{}, &fakeSampler{}, busy)
	wantLines(t, scrape(t, e, "10"), `cacheinv_collector_success{collector="queue"} 0`)
	select {
	case <-asked:
	default:
		t.Error("the collector came back, and was not asked for its evidence")
	}
}

// What a panic says may be a cached value: its error has the functions alone.
func TestPanicsAreToldWithoutValues(t *testing.T) {
	failing := errors.New("s3cret")
	_, judged := (&causeJudge{}).guarded(answers{evidencers: []Evidencer{funcEvidencer{funcCollector{"queue", nothingToSend}, func(*diagnosis.Evidence) { panic("s3cret") }}}})
	for name, err := range map[string]error{
		"a collector": guarded(t.Context(), nil, funcCollector{"queue", func(context.Context, chan<- prometheus.Metric) error { panic(failing) }}, nil),
		"a backend":   onceAtATime(&atomic.Bool{}, func() error { panic([]byte("s3cret")) }),
		"the judge":   judged,
	} {
		if err == nil || strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "0x") || !strings.Contains(err.Error(), "collector.TestPanicsAreToldWithoutValues") {
			t.Errorf("%s: %v", name, err)
		}
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
	maxStaleness := map[diagnosis.ClassLayer]time.Duration{{Class: "user", Layer: "l2"}: 3 * time.Second}
	if diff := cmp.Diff(maxStaleness, got.MaxStaleness); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]time.Duration{"l2": time.Hour, "forever": math.MaxInt64}, got.TTL); diff != "" {
		t.Error(diff)
	}
	commands := commandsOf(got)
	if all := fmt.Sprintf("%+v", commands); strings.Contains(all, "SECRET") || strings.Contains(all, "user:") {
		t.Errorf("it tells a secret: %s", all)
	}
	redis := func(at string) probes.NodeCommands {
		cli := "timeout 5 redis-cli " + at
		return probes.NodeCommands{Ask: cli + " INFO replication", Group: cli + " INFO replication", Version: cli + " INFO server", Settings: cli + " INFO memory"}
	}
	memcached := func(at string) probes.NodeCommands {
		ask := `timeout 5 bash -c 'exec 3<>"/dev/tcp/$0/$1"; printf "version\r\n" >&3; head -1 <&3' ` + at
		return probes.NodeCommands{Ask: ask, Version: ask}
	}
	curl := func(url string) probes.NodeCommands {
		return probes.NodeCommands{Ask: `curl -sS -m 5 -o /dev/null -w '%{http_code} %{time_total}s\n' ` + url}
	}
	plain, secure := redis("-h 10.9.9.9 -p 7777"), redis("-h 10.9.9.9 -p 7777 --tls")
	want := commandTexts{
		Nodes: map[string]probes.NodeCommands{
			"redis-1": redis("-h 10.0.0.1 -p 6380"), "redis-2": redis("-h 10.0.0.2 -p 6379 --tls"), "pair": redis("-h 10.0.0.3 -p 6379"),
			"main": {}, "mc": memcached("10.0.0.5 11212"), "app": curl("https://app.example:8443"), "apps": {}, "kept": redis("-h 10.0.0.7 -p 6379"),
		},
		Members: map[string]probes.NodeCommands{
			"redis-1": plain, "redis-2": secure, "pair": plain, "main": plain, "mc": memcached("10.9.9.9 7777"),
			"app": curl("https://10.9.9.9:7777/"), "apps": curl("https://10.9.9.9:7777/"), "kept": plain,
		},
		Queues: map[string][]string{
			"list": {
				"redis-1", "timeout 5 redis-cli -h 10.0.0.1 -p 6380 LLEN inv", "timeout 5 redis-cli -h 10.0.0.1 -p 6380 LRANGE inv -20 -1",
				"timeout 5 redis-cli -h 10.9.9.9 -p 7777 LLEN inv",
			},
			"kafka": {
				"", "kafka-consumer-groups --bootstrap-server 10.0.0.6:9092 --describe --all-groups",
				"kafka-consumer-groups --bootstrap-server 10.0.0.6:9092 --describe --all-groups",
				"kafka-consumer-groups --bootstrap-server 10.0.0.6:9092 --describe --group g",
			},
			"web": {"", "curl -sS -m 5 http://web/queue", "curl -sS -m 5 http://web/queue", "curl -sS -m 5 http://web/queue"},
		},
		Versions: map[string]string{"web": `for url in http://app-1/version; do echo "$url: $(curl -sS -m 5 "$url")"; done`},
	}
	if diff := cmp.Diff(want, commands); diff != "" {
		t.Error(diff)
	}
}

// commandTexts are all that a diagnosis may print of a configuration.
type commandTexts struct {
	// Nodes as configured, and Members of them as if each was a group.
	Nodes, Members map[string]probes.NodeCommands
	// Queues: on which node, what waits, the newest messages, and a group on a member.
	Queues   map[string][]string
	Versions map[string]string
}

func commandsOf(c diagnosis.Configured) commandTexts {
	const found = "10.9.9.9:7777"
	out := commandTexts{
		Nodes: map[string]probes.NodeCommands{}, Members: map[string]probes.NodeCommands{}, Queues: map[string][]string{}, Versions: map[string]string{},
	}
	for name, n := range c.Nodes {
		out.Nodes[name], out.Members[name] = n.Commands(""), n.Commands(found)
	}
	for name, q := range c.Queues {
		out.Queues[name] = []string{
			q.On(), q.Command(probes.QueueLook{}), q.Command(probes.QueueLook{Newest: true}), q.Command(probes.QueueLook{Group: "g", Member: found}),
		}
	}
	for name, a := range c.Versions {
		out.Versions[name] = a.Command()
	}
	return out
}
