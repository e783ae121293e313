package collector

import (
	"context"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/consistency"
	"github.com/cacheinv/cacheinv_exporter/internal/content"
	"github.com/cacheinv/cacheinv_exporter/internal/diagnosis"
	"github.com/cacheinv/cacheinv_exporter/internal/events"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/backends"
)

// followedQueue gives the messages that a test has it give, all of which its group has processed.
type followedQueue struct {
	visit    func(probes.Event)
	after    map[probes.Partition]probes.Position
	messages []string
	offset   uint64
	at       func() time.Time
}

func (q *followedQueue) Follow(after map[probes.Partition]probes.Position, visit func(probes.Event)) {
	q.after, q.visit = after, visit
}

func (q *followedQueue) Sample(context.Context) (probes.Backlog, error) {
	p := probes.Partition{Topic: "inv"}
	for _, m := range q.messages {
		q.offset++
		q.visit(probes.Event{
			Partition: p, At: probes.Position{Major: q.offset}, Value: []byte(m), Written: q.at(),
			TraceParent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
		})
	}
	f := &probes.Followed{Seen: len(q.messages), After: map[probes.Partition]probes.Position{p: {Major: q.offset}}}
	q.messages = nil
	passed := func(probes.Partition, probes.Position) (bool, bool) { return true, true }
	return probes.Backlog{Complete: true, Followed: f, Groups: []probes.GroupBacklog{{Group: "workers", Passed: passed}}}, nil
}

func (*followedQueue) Close() {}

// eventWorld is a class with event checks, its queue and a clock.
type eventWorld struct {
	cfg     *config.Config
	now     time.Time
	tracker *events.Tracker
	queue   *followedQueue
	queues  *queueCollector
	checks  *eventCollector
}

func eventConfig(t *testing.T, windows string) *config.Config {
	t.Helper()
	cfg, err := config.Parse("c.yml", []byte(eventYAML(windows)), backends.All)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func eventYAML(windows string) string {
	return `
layers:
  - {name: l2, ttl: 1h, nodes: [{name: redis-1, redis: {address: "a:1"}}, {name: redis-2, redis: {address: "b:1"}}]}
  - {name: edge, ttl: 1h, max_staleness: 2m, nodes: [{name: pop, http: {url: "http://pop/{key}"}}]}
queues:
  - {name: inv, kafka: {brokers: ["k:1"], topics: [inv], groups: [workers]}, message: {key: "$.key", version: "$.version"}}
canaries:
  - class: user
    layers: [l2, edge]
    match: "^user:"
    version: {json: "$.version"}
    events: {queue: inv, ` + windows + `}
`
}

func newEventWorld(t *testing.T) *eventWorld {
	t.Helper()
	w := &eventWorld{cfg: eventConfig(t, "windows: [1m, 5m]"), now: time.Now().Truncate(time.Millisecond)}
	w.tracker = events.NewTracker(events.Options{HashKey: []byte("key"), Now: func() time.Time { return w.now }})
	w.queue = &followedQueue{at: func() time.Time { return w.now }}
	w.checks = &eventCollector{tracker: w.tracker, effect: newEventEffect()}
	w.open(t, w.cfg)
	return w
}

// open a configuration, as a reload does.
func (w *eventWorld) open(t *testing.T, cfg *config.Config) {
	t.Helper()
	w.queues = newQueueCollector(cfg.Queues, []probes.Queue{w.queue}, newQueueCounters(0), slog.New(slog.DiscardHandler))
	if err := w.tracker.Configure(eventSpecs(cfg, func(string) []string { return nil })); err != nil {
		t.Fatal(err)
	}
	w.queues.follow(cfg.EventQueues(), w.tracker)
	w.checks = &eventCollector{cfg: cfg, tracker: w.tracker, effect: w.checks.effect}
}

// take messages of the queue.
func (w *eventWorld) take(t *testing.T, messages ...string) {
	t.Helper()
	w.queue.messages = messages
	if _, err := playQueues(t, w.queues, time.Minute); err != nil {
		t.Fatal(err)
	}
}

// look at what is due; versions of the copies by node, 0: it is gone.
func (w *eventWorld) look(t *testing.T, want []string, versions map[string]string) {
	t.Helper()
	due := w.tracker.Due("user", w.now)
	if slices.Sort(due); !slices.Equal(due, want) {
		t.Fatalf("due are %q, want %q", due, want)
	}
	for _, key := range due {
		var copies []events.NodeCopy
		for node, version := range versions {
			c := events.Copy{Asked: w.now, Read: w.now, Present: version != "0"}
			if c.Present {
				c.Version = content.ReadVersionOf("integer", version)
			}
			copies = append(copies, events.NodeCopy{Layer: "l2", Node: node, Copy: c, Twice: true})
		}
		w.tracker.Look("user", key, copies, w.now)
	}
}

// sampled nodes, of which one has left. The class has no canaries.
func (w *eventWorld) sampled() *consistency.Result {
	node := func(layer, name string) consistency.NodeResult {
		return consistency.NodeResult{Identity: probes.Identity{Layer: layer, Name: name}}
	}
	r := &consistency.Result{Nodes: []consistency.NodeResult{node("l2", "redis-1"), node("l2", "redis-2"), node("l2", "redis-3"), node("edge", "pop"), node("l3", "other")}}
	r.Nodes[2].Survey.Left = true
	return r
}

// eventLines of the text that begin with prefix, without it.
func eventLines(text, prefix string) (out []string) {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), prefix); ok && !strings.HasSuffix(rest, " 0") {
			out = append(out, rest)
		}
	}
	return out
}

// TestEvents: messages come in, copies are looked at, and what became of them is counted.
func TestEvents(t *testing.T) {
	w := newEventWorld(t)
	p := play(t, w.checks, w.sampled(), false)
	text := p.text(t)
	for _, line := range []string{
		`cacheinv_event_checks_total{class="user",result="survived",window="1m"} 0`,
		`cacheinv_event_copy_checks_total{class="user",layer="l2",node="redis-2",result="gone",window="5m"} 0`,
		`cacheinv_event_copy_checks_total{class="user",layer="edge",node="pop",result="gone",window="5m"} 0`,
		`cacheinv_event_effect_seconds_count{class="user",layer="l2"} 0`,
		`cacheinv_event_effect_seconds_count{class="user",layer="edge"} 0`,
		`cacheinv_events_seen_total{queue="inv"} 0`,
		`cacheinv_events_skipped_total{queue="inv",reason="too_old"} 0`,
		`cacheinv_event_within_seconds{class="user"} 60`,
		`cacheinv_event_pending{class="user"} 0`,
		`cacheinv_event_oldest_ineffective_seconds{class="user"} 0`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("before any message there is no %s", line)
		}
	}
	if strings.Contains(text, `node="pop",result="gone",window="1m"`) {
		t.Error("a layer counts at a window at which it is not asked")
	}
	if strings.Contains(text, `node="redis-3"`) || strings.Contains(text, `node="other"`) {
		t.Error("a node counts that has left, or is not of the class")
	}

	w.take(t, `{"key":"user:1","version":7}`, `{"key":"product:1","version":7}`, `{"key":"user:2","version":9}`)
	w.now = w.now.Add(61 * time.Second)
	w.take(t)
	w.look(t, []string{"user:1", "user:2"}, map[string]string{"redis-1": "0", "redis-2": "8"}) // 8 is above 7, and below 9
	p = play(t, w.checks, w.sampled(), false)
	text = p.text(t)
	for prefix, want := range map[string][]string{
		"cacheinv_events_seen_total":                {`{queue="inv"} 3`},
		"cacheinv_events_skipped_total":             {`{queue="inv",reason="no_class"} 1`},
		"cacheinv_event_checks_total":               {`{class="user",result="gone",window="1m"} 1`, `{class="user",result="survived",window="1m"} 1`},
		"cacheinv_event_pending":                    {`{class="user"} 2`},
		"cacheinv_event_oldest_ineffective_seconds": {`{class="user"} 61`},
		"cacheinv_event_copy_checks_total": {
			`{class="user",layer="l2",node="redis-1",result="gone",window="1m"} 2`,
			`{class="user",layer="l2",node="redis-2",result="current",window="1m"} 1`,
			`{class="user",layer="l2",node="redis-2",result="survived",window="1m"} 1`,
		},
		"cacheinv_event_effect_seconds_count": {`{class="user",layer="l2"} 1`},
	} {
		if got := eventLines(text, prefix); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", prefix, got, want)
		}
	}
	if id := exemplarOf(p, "cacheinv_event_effect_seconds"); id != "4bf92f3577b34da6a3ce929d0e0e4736" {
		t.Errorf("the exemplar's trace is %q", id)
	}

	var e diagnosis.Evidence
	w.checks.AddEvidence(&e)
	nodes := e.Events[0].Nodes
	at := slices.IndexFunc(nodes, func(n diagnosis.EventNode) bool { return n.Node == "redis-2" })
	if want := (diagnosis.EventNode{Layer: "l2", Node: "redis-2", Good: 1, Survived: 1}); at < 0 || nodes[at] != want {
		t.Errorf("the evidence is %+v", nodes)
	}
	if bad := e.Events[0].Bad; len(bad) != 1 || bad[0].Key != "user:2" || bad[0].VersionSeen != "8" || bad[0].VersionWanted != "9" {
		t.Errorf("bad are %+v", bad)
	}
	_ = play(t, w.checks, w.sampled(), false)
	w.checks.AddEvidence(&e)
	if slices.ContainsFunc(e.Events[0].Nodes, func(n diagnosis.EventNode) bool { return n.Survived+n.Good > 0 }) {
		t.Errorf("evidence comes twice: %+v", e.Events[0].Nodes)
	}
}

// TestValuesThatComeBackLate: what is restored after the promise is evidence, too; what is good or survives then is none.
func TestValuesThatComeBackLate(t *testing.T) {
	w := newEventWorld(t)
	_ = play(t, w.checks, w.sampled(), false)
	w.take(t, `{"key":"user:1","version":7}`, `{"key":"user:2","version":7}`)
	evidence := func(redis1, redis2 string) []diagnosis.EventNode {
		w.take(t)
		w.look(t, []string{"user:1", "user:2"}, map[string]string{"redis-1": redis1, "redis-2": redis2})
		_ = play(t, w.checks, w.sampled(), false)
		var e diagnosis.Evidence
		w.checks.AddEvidence(&e)
		return slices.DeleteFunc(e.Events[0].Nodes, func(n diagnosis.EventNode) bool { return n.Layer != "l2" })
	}
	w.now = w.now.Add(61 * time.Second)
	if diff := cmp.Diff([]diagnosis.EventNode{{Layer: "l2", Node: "redis-1", Good: 2}, {Layer: "l2", Node: "redis-2", Good: 2}}, evidence("7", "7")); diff != "" {
		t.Errorf("at the promise: %s", diff)
	}
	w.now = w.now.Add(4 * time.Minute)
	if diff := cmp.Diff([]diagnosis.EventNode{{Layer: "l2", Node: "redis-1"}, {Layer: "l2", Node: "redis-2", Restored: 2}}, evidence("7", "6")); diff != "" {
		t.Errorf("after it: %s", diff)
	}
}

// TestEventsOverReloads: counts go on, a window that is gone ends, and reading goes on where it was.
func TestEventsOverReloads(t *testing.T) {
	w := newEventWorld(t)
	w.take(t, `{"key":"user:1","version":7}`)
	w.now = w.now.Add(61 * time.Second)
	w.look(t, []string{"user:1"}, map[string]string{"redis-1": "0", "redis-2": "0"})
	w.open(t, eventConfig(t, "windows: [1m, 10m]"))
	if after := w.queue.after[probes.Partition{Topic: "inv"}]; after.Major != 1 {
		t.Errorf("reading goes on after %v, want 1", after)
	}
	text := play(t, w.checks, w.sampled(), false).text(t)
	if got := eventLines(text, "cacheinv_event_checks_total"); !slices.Equal(got, []string{`{class="user",result="gone",window="1m"} 1`}) {
		t.Errorf("after a reload: %q", got)
	}
	if strings.Contains(text, `window="5m"`) || !strings.Contains(text, `window="10m"`) {
		t.Error("the windows are not those of the configuration")
	}
	var e diagnosis.Evidence
	w.checks.AddEvidence(&e)
	if len(e.Events[0].Nodes) > 0 {
		t.Errorf("what was counted before the reload is evidence again: %+v", e.Events[0].Nodes)
	}
}

// TestEventsOfAnotherConfiguration: events whose keys, versions or progress were read in another way, or of another queue of the same
// name, are not waited for any more, and positions of another queue are no positions.
func TestEventsOfAnotherConfiguration(t *testing.T) {
	for _, change := range []struct {
		from, to   string
		kept, same bool
	}{
		{"windows: [1m, 5m]", "windows: [1m, 10m], sample: 20", true, true},
		{`match: "^user:"`, `match: "^users:"`, false, true},
		{`version: "$.version"}`, `version: "$.v"}`, false, true},
		{"windows: [1m, 5m]", `windows: [1m, 5m], keys: ["user:{key}"]`, false, true},
		{"groups: [workers]", "groups: [others]", false, true},
		{`brokers: ["k:1"]`, `brokers: ["other:1"]`, false, false},
		{"queues:\n  - {name: inv,", "queues:\n  - {name: another, kafka: {brokers: [\"k:1\"], topics: [b], groups: [workers]}}\n  - {name: inv,", true, true},
	} {
		w := newEventWorld(t)
		w.take(t, `{"key":"user:1","version":7}`)
		text := strings.Replace(eventYAML("windows: [1m, 5m]"), change.from, change.to, 1)
		cfg, err := config.Parse("c.yml", []byte(text), backends.All)
		if err != nil {
			t.Fatal(err)
		}
		cfg.Queues = cfg.Queues[len(cfg.Queues)-1:] // the one that is played
		w.open(t, cfg)
		if r, _ := w.tracker.Report("user"); (r.Pending == 1) != change.kept {
			t.Errorf("%s: %d pending", change.to, r.Pending)
		}
		if got := len(w.queue.after) > 0; got != change.same {
			t.Errorf("%s: reading goes on after %v", change.to, w.queue.after)
		}
	}
}

// TestEventSignals: without one of the three signals nothing is followed.
func TestEventSignals(t *testing.T) {
	cfg := eventConfig(t, "sample: 10")
	for _, off := range []string{"", canaryName, queueName, eventName} {
		opt := Options{Enabled: map[string]*bool{off: new(bool)}}
		if got := hasEvents(opt.sampled(cfg)); got != (off == "") {
			t.Errorf("without %q: followed %t", off, got)
		}
	}
	if cfg.Canaries[0].Events == nil {
		t.Error("the configuration was changed")
	}
}

// TestEventKeys: which of the keys that messages name are the class's.
func TestEventKeys(t *testing.T) {
	k := &config.Class{Pattern: "user:*", Keys: []string{"admin"}, Events: &config.Events{}}
	if takes := takesKey(k); !takes("user:1") || !takes("admin") || takes("product:1") {
		t.Error("a pattern does not choose")
	}
	k.Events.Keys = eventConfig(t, `keys: ["x:{key}"]`).Canaries[0].Events.Keys
	if takesKey(k) != nil {
		t.Error("keys that are named in events.keys are refused")
	}
	if takes := takesKey(&eventConfig(t, "sample: 1").Canaries[0]); takes("product:1") || !takes("user:1") {
		t.Error("match does not choose")
	}
}

// exemplarOf a histogram: its trace.
func exemplarOf(p *played, family string) string {
	for _, m := range p.metrics {
		if !strings.Contains(m.Desc().String(), `"`+family+`"`) {
			continue
		}
		var out dto.Metric
		if m.Write(&out) != nil {
			continue
		}
		for _, b := range out.GetHistogram().GetBucket() {
			for _, l := range b.GetExemplar().GetLabel() {
				return l.GetValue()
			}
		}
	}
	return ""
}

// documented is a configuration in docs/event-checks.md, by the name of its queue.
func documented(t *testing.T, queue string) *config.Config {
	t.Helper()
	page, err := os.ReadFile("../docs/event-checks.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(page), -1) {
		if cfg, err := config.Parse("c.yml", []byte(block[1]), backends.All); err == nil && cfg.Queues[0].Name == queue {
			return cfg
		}
	}
	t.Fatalf("the page has no example with the queue %s", queue)
	return nil
}

// TestDocumentedEvents: what the examples of the page make of messages as Debezium and an outbox write them.
func TestDocumentedEvents(t *testing.T) {
	now := time.Now()
	ms := strconv.FormatInt(now.UnixMilli(), 10)
	source := `"source":{"connector":"postgresql","lsn":24023128,"ts_ms":` + ms + `}`
	for queue, tt := range map[string]struct {
		class    string
		messages []string
		want     []string
	}{
		"users-changes": {"user_profile", []string{
			`{"payload":{"op":"c","before":null,"after":{"id":1,"name":"a","version":1},` + source + `}}`,
			`{"payload":{"op":"u","before":{"id":2,"version":1},"after":{"id":2,"name":"b","version":2},` + source + `}}`,
			`{"payload":{"op":"d","before":{"id":3},"after":null,` + source + `}}`,
			"", // its tombstone
		}, []string{"user:1:profile", "user:2:profile", "user:3:profile"}},
		"outbox": {"product", []string{`{"ids":[4,5]}`}, []string{"product:4", "product:4:price", "product:5", "product:5:price"}},
	} {
		cfg := documented(t, queue)
		clock := now
		tracker := events.NewTracker(events.Options{HashKey: []byte("key"), Now: func() time.Time { return clock }})
		if err := tracker.Configure(eventSpecs(cfg, func(string) []string { return nil })); err != nil {
			t.Fatal(err)
		}
		for i, m := range tt.messages {
			e := probes.Event{At: probes.Position{Major: uint64(i)}, Key: []byte(`{"payload":{"id":1}}`), Value: []byte(m), Written: now}
			if m == "" {
				e.Value = nil
			}
			tracker.Visit(queue, e)
		}
		tracker.Sampled(queue, cfg.Queues[0].Source.Traits(), &probes.Backlog{Followed: &probes.Followed{Seen: len(tt.messages)}}, now)
		clock = clock.Add(61 * time.Second)
		due := tracker.Due(tt.class, clock)
		if slices.Sort(due); !slices.Equal(due, tt.want) {
			t.Errorf("%s: due are %q, want %q", queue, due, tt.want)
		}
		if q, _ := tracker.QueueReport(queue); q.Skipped != [events.NumSkipReasons]uint64{} || q.Seen != uint64(len(tt.messages)) {
			t.Errorf("%s: %+v", queue, q)
		}
	}
}
