package collector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/expfmt"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/diagnosis"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/backends"
)

// fakeQueue tells what it is given.
type fakeQueue struct {
	backlog probes.Backlog
	err     error
}

func (q *fakeQueue) Sample(context.Context) (probes.Backlog, error) { return q.backlog, q.err }

func (*fakeQueue) Close() {}

// funcQueue is a queue that misbehaves.
type funcQueue func(context.Context) (probes.Backlog, error)

func (f funcQueue) Sample(ctx context.Context) (probes.Backlog, error) { return f(ctx) }

func (funcQueue) Close() {}

// queueSources are one of each kind.
var queueSources = sync.OnceValue(func() map[string]probes.QueueSource {
	const text = `
layers:
  - {name: l2, ttl: 1h, nodes: [{name: redis-1, redis: {address: "cache-1:6379"}}]}
queues:
  - {name: redis_list, redis: {node: redis-1, list: l}}
  - {name: redis_stream, redis: {node: redis-1, stream: inv}}
  - {name: kafka, kafka: {brokers: ["kafka:9092"], topics: [inv]}}
  - {name: http, http: {url: "http://app/queue", depth: "$.depth"}}
`
	cfg, err := config.Parse("queues.yml", []byte(text), backends.All)
	if err != nil {
		panic(err)
	}
	out := map[string]probes.QueueSource{}
	for _, q := range cfg.Queues {
		out[q.Name] = q.Source
	}
	return out
})

func queueOf(kind, name string) config.Queue {
	return config.Queue{Name: name, Source: queueSources()[kind]}
}

func listQueue(name string) config.Queue { return queueOf("redis_list", name) }

func kafkaQueue(name string) config.Queue { return queueOf("kafka", name) }

// playQueues gives what one Update sends.
func playQueues(t *testing.T, c Collector, within time.Duration) (*played, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	ch := make(chan prometheus.Metric, 10000)
	err := c.Update(ctx, nil, ch)
	close(ch)
	p := &played{}
	for m := range ch {
		p.metrics = append(p.metrics, m)
	}
	return p, err
}

// text of the families.
func (p *played) text(t *testing.T) string {
	t.Helper()
	text, err := testutil.CollectAndFormat(p, expfmt.TypeTextPlain, allNames()...)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// drop the family that has part in its name.
func (p *played) drop(part string) {
	p.metrics = slices.DeleteFunc(p.metrics, func(m prometheus.Metric) bool { return strings.Contains(m.Desc().String(), part) })
}

func at(topic string, id int32) probes.Partition { return probes.Partition{Topic: topic, ID: id} }

func TestQueue(t *testing.T) {
	cfg := []config.Queue{
		{Name: "list", Capacity: 20000, Source: queueSources()["redis_list"]},
		queueOf("redis_stream", "stream"),
		kafkaQueue("topics"),
		kafkaQueue("partly"),
		{
			Name: "down", Source: queueSources()["kafka"], Capacity: 5,
			Limits: config.QueueLimits{Depth: 300, DepthTicket: 60, Oldest: 15 * time.Minute, Drain: 90 * time.Second},
		},
		queueOf("http", "app"),
	}
	list := &fakeQueue{backlog: probes.Backlog{
		Complete: true, Depth: count(3), Ends: map[probes.Partition]float64{{}: 3}, Sample: &probes.MessageSample{Messages: 3, Rate: count(2.5)},
	}}
	stream := &fakeQueue{backlog: probes.Backlog{
		Complete: true, Depth: count(9), Ends: map[probes.Partition]float64{at("inv", 0): 10},
		Groups: []probes.GroupBacklog{
			{
				Group: "processors", Members: 2, HasMembers: true, HasOffsets: true, Lag: map[probes.Partition]int64{at("inv", 0): 6},
				Positions: map[probes.Partition]float64{at("inv", 0): 1},
			},
			{Group: "absent", HasMembers: true, HasOffsets: true, Uncommitted: 1},
		},
	}}
	topics := &fakeQueue{backlog: probes.Backlog{
		Complete: true, BrokersUp: 3, BrokersDown: 1, Depth: count(40),
		Ends: map[probes.Partition]float64{at("inv", 0): 100, at("inv", 1): 50},
		Groups: []probes.GroupBacklog{
			{
				Group: "inv-a", State: "Stable", Members: 2, HasMembers: true, HasOffsets: true, Uncommitted: 0,
				Lag:       map[probes.Partition]int64{at("inv", 0): 40, at("inv", 1): 0},
				Positions: map[probes.Partition]float64{at("inv", 0): 60, at("inv", 1): 50},
			},
			{Group: "inv-\xff", State: "Dead", HasMembers: true, HasOffsets: true, Uncommitted: 2},
		},
	}}
	partly := &fakeQueue{err: errors.New("group b: no"), backlog: probes.Backlog{
		BrokersUp: 1, Ends: map[probes.Partition]float64{at("inv", 0): 100},
		Groups: []probes.GroupBacklog{
			{Group: "a", HasOffsets: true, Uncommitted: 1, Positions: map[probes.Partition]float64{at("inv", 0): 60}},
			{Group: "b"},
		},
	}}
	down := &fakeQueue{err: errors.New("no broker told of the topics"), backlog: probes.Backlog{BrokersDown: 3}}
	app := &fakeQueue{backlog: probes.Backlog{Complete: true, Depth: count(0)}}
	c := newQueueCollector(cfg, []probes.Queue{list, stream, topics, partly, down, app}, newQueueCounters(time.Minute), slog.New(slog.DiscardHandler))
	if _, err := playQueues(t, c, time.Second); err == nil {
		t.Error("two of the queues failed")
	}
	list.backlog.Ends = map[probes.Partition]float64{{}: 7}
	stream.backlog.Groups[0].Positions = map[probes.Partition]float64{at("inv", 0): 4}
	topics.backlog.Ends = map[probes.Partition]float64{at("inv", 0): 110, at("inv", 1): 55}
	topics.backlog.Groups[0].Positions = map[probes.Partition]float64{at("inv", 0): 61, at("inv", 1): 51}
	p, err := playQueues(t, c, time.Second)
	if want := "queue partly: group b: no\nqueue down: no broker told of the topics"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	p.drop("last_commit_timestamp") // it is of now
	p.compare(t, "queue.prom")
}

// sum of what the counters of one queue say.
func (c *queueCounters) told(t *testing.T, id queueID) (enqueued float64, processed map[string]float64) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	q := c.by[id]
	if q == nil {
		t.Fatalf("queue %v is not known", id)
	}
	processed = map[string]float64{}
	for name, g := range q.groups {
		processed[name] = g.processed
	}
	return q.enqueued.forward, processed
}

func TestQueueCountersCountForwardMovementAlone(t *testing.T) {
	c := newQueueCounters(time.Minute)
	id := queueID{"q", "kafka", probes.QueueTraits{Brokers: true, Positions: true}}
	type positions = map[probes.Partition]float64
	a, b, fresh := at("t", 0), at("t", 1), at("t", 2)
	for i, step := range []struct {
		ends, commits positions
		complete      bool
		enqueued      float64
		processed     float64
	}{
		{positions{a: 1000, b: 10}, positions{a: 900}, true, 0, 0},             // the first sight counts nothing
		{positions{a: 1005, b: 10}, positions{a: 903}, true, 5, 3},             //
		{positions{a: 1005}, nil, false, 5, 3},                                 // what is missing is unknown
		{nil, nil, false, 5, 3},                                                // a failed sampling
		{positions{a: 1006, b: 20}, positions{a: 910, b: 4}, true, 16, 10},     // what was missed meanwhile counts
		{positions{a: 0, b: 21}, positions{a: 100, b: 4}, true, 17, 10},        // back: the topic was made anew, the group rewound
		{positions{a: 7, b: 21}, positions{a: 150, b: 5}, true, 24, 61},        // from there on
		{positions{a: 7, b: 21, fresh: 500}, positions{a: 150}, true, 24, 61},  // a new partition, from its first sight
		{positions{a: 7, fresh: 501}, positions{a: 150, b: 9}, true, 25, 65},   // b is gone
		{positions{a: 7, b: 30, fresh: 501}, positions{b: 10}, true, 25, 65},   // and comes back as a new one
		{positions{a: 7, b: 31, fresh: 501}, positions{b: 11}, true, 26, 66},   //
		{positions{a: 7, b: 31, fresh: 501}, positions{a: 151}, false, 26, 67}, // not complete, but known
	} {
		groups := []probes.GroupBacklog{{Group: "g", Positions: step.commits}}
		c.observe(id, probes.Backlog{Complete: step.complete, Ends: step.ends, Groups: groups}, time.Now())
		enqueued, processed := c.told(t, id)
		if enqueued != step.enqueued || processed["g"] != step.processed {
			t.Errorf("step %d: enqueued %v, processed %v; want %v and %v", i, enqueued, processed["g"], step.enqueued, step.processed)
		}
	}
}

func TestQueueCountersForgetGroups(t *testing.T) {
	c := newQueueCounters(time.Minute)
	id := queueID{"q", "kafka", probes.QueueTraits{Brokers: true, Positions: true}}
	group := func(at float64) probes.GroupBacklog {
		return probes.GroupBacklog{Group: "g", Positions: map[probes.Partition]float64{{}: at}}
	}
	groups := func(g ...probes.GroupBacklog) probes.Backlog { return probes.Backlog{Groups: g} }
	for i, step := range []struct {
		b    probes.Backlog
		want float64
		lost bool
	}{
		{groups(group(1)), 0, false},
		{groups(group(5)), 4, false},
		{probes.Backlog{}, 4, false},                               // which groups there are was not learned
		{groups(probes.GroupBacklog{Group: "g"}), 4, false},        // it is there, its commits are unknown
		{groups(group(6)), 5, false},                               //
		{probes.Backlog{Groups: []probes.GroupBacklog{}}, 0, true}, // it is gone
		{groups(group(9)), 0, false},
	} {
		c.observe(id, step.b, time.Now())
		_, processed := c.told(t, id)
		if got, there := processed["g"]; got != step.want || there == step.lost {
			t.Errorf("step %d: %v, there: %v", i, got, there)
		}
	}
}

// Counters outlive reloads; a queue that left the configuration, or became one of another kind, begins anew.
func TestQueueCountersOutliveReloads(t *testing.T) {
	counters := newQueueCounters(time.Minute)
	queue := &fakeQueue{backlog: probes.Backlog{Complete: true}}
	end := 0.0
	update := func(cfg ...config.Queue) string {
		t.Helper()
		end += 10
		queue.backlog.Ends = map[probes.Partition]float64{{}: end}
		var queues []probes.Queue
		for range cfg {
			queues = append(queues, queue)
		}
		p, err := playQueues(t, newQueueCollector(cfg, queues, counters, slog.New(slog.DiscardHandler)), time.Second)
		if err != nil {
			t.Error(err)
		}
		return p.text(t)
	}
	http := queueOf("http", "a")
	for i, step := range []struct {
		cfg  []config.Queue
		want map[string]int
	}{
		{[]config.Queue{listQueue("a")}, map[string]int{`kind="redis_list",queue="a"`: 0}},
		{[]config.Queue{listQueue("b"), listQueue("a")}, map[string]int{`kind="redis_list",queue="a"`: 10, `kind="redis_list",queue="b"`: 0}},
		{[]config.Queue{listQueue("a")}, map[string]int{`kind="redis_list",queue="a"`: 20}},
		{[]config.Queue{listQueue("b")}, map[string]int{`kind="redis_list",queue="b"`: 0}},
		{[]config.Queue{listQueue("a")}, map[string]int{`kind="redis_list",queue="a"`: 0}},
		{[]config.Queue{http}, map[string]int{`kind="http",queue="a"`: 0}},
	} {
		text := update(step.cfg...)
		if strings.Count(text, "\ncacheinv_queue_enqueued_total{") != len(step.want) {
			t.Errorf("step %d:\n%s", i, text)
		}
		for labels, n := range step.want {
			if line := fmt.Sprintf("cacheinv_queue_enqueued_total{%s} %d\n", labels, n); !strings.Contains(text, line) {
				t.Errorf("step %d: no %s in\n%s", i, line, text)
			}
		}
	}
}

// Limits are the present configuration's, and no earlier one's.
func TestQueueLimitsFollowTheConfiguration(t *testing.T) {
	counters := newQueueCounters(time.Minute)
	for i, step := range []struct {
		limits config.QueueLimits
		want   []string
	}{
		{config.QueueLimits{Depth: 10, DepthTicket: 2, Drain: time.Minute}, []string{
			`{limit="depth",queue="a"} 10`, `{limit="depth_ticket",queue="a"} 2`, `{limit="drain",queue="a"} 60`,
		}},
		{config.QueueLimits{Oldest: time.Hour}, []string{`{limit="oldest",queue="a"} 3600`}},
		{config.QueueLimits{}, nil},
	} {
		q := listQueue("a")
		q.Limits = step.limits
		backlog := probes.Backlog{Complete: true, Depth: count(7), OldestAge: count(9)}
		c := newQueueCollector([]config.Queue{q}, []probes.Queue{&fakeQueue{backlog: backlog}}, counters, slog.New(slog.DiscardHandler))
		p, err := playQueues(t, c, time.Second)
		if err != nil {
			t.Error(err)
		}
		var told []string
		for line := range strings.Lines(p.text(t)) {
			if limit, ok := strings.CutPrefix(strings.TrimSpace(line), "cacheinv_queue_limit"); ok {
				told = append(told, limit)
			}
		}
		if !slices.Equal(told, step.want) {
			t.Errorf("step %d: %q, want %q", i, told, step.want)
		}
		var e diagnosis.Evidence
		c.AddEvidence(&e)
		want := diagnosis.QueueLimits{
			Messages: float64(step.limits.DepthTicket), OldestSeconds: step.limits.Oldest.Seconds(), DrainSeconds: step.limits.Drain.Seconds(),
		}
		if e.Queues[0].Limits != want {
			t.Errorf("step %d: the evidence says %v, want %v", i, e.Queues[0].Limits, want)
		}
	}
}

// A queue that neither comes back nor ends costs its own series, and is not asked twice at once.
func TestQueueHungQueue(t *testing.T) {
	var asked, inside atomic.Int64
	release := make(chan struct{})
	hung := funcQueue(func(context.Context) (probes.Backlog, error) {
		asked.Add(1)
		if inside.Add(1) > 1 {
			t.Error("it was asked twice at once")
		}
		defer inside.Add(-1)
		<-release
		return probes.Backlog{Complete: true, Depth: count(1), Ends: map[probes.Partition]float64{{}: 1}}, nil
	})
	well := &fakeQueue{backlog: probes.Backlog{Complete: true, Depth: count(5)}}
	counters := newQueueCounters(time.Minute)
	c := newQueueCollector([]config.Queue{kafkaQueue("hung"), listQueue("well")}, []probes.Queue{hung, well}, counters, slog.New(slog.DiscardHandler))
	for i, says := range []string{"queue hung: not back in time", "queue hung: still busy with an earlier sampling"} {
		began := time.Now()
		p, err := playQueues(t, c, 100*time.Millisecond)
		if took := time.Since(began); took > time.Second {
			t.Errorf("it took %v", took)
		}
		if err == nil || err.Error() != says {
			t.Errorf("sampling %d: error %v, want %s", i, err, says)
		}
		text := p.text(t)
		for _, line := range []string{
			`cacheinv_queue_up{kind="kafka",queue="hung"} 0`, `cacheinv_queue_brokers{queue="hung",state="up"} 0`,
			`cacheinv_queue_brokers{queue="hung",state="down"} 0`, `cacheinv_queue_up{kind="redis_list",queue="well"} 1`,
			`cacheinv_queue_depth{kind="redis_list",queue="well"} 5`,
		} {
			if !strings.Contains(text, line+"\n") {
				t.Errorf("no %s in\n%s", line, text)
			}
		}
	}
	close(release)
	poll(t, func() bool { return inside.Load() == 0 })
	if n := asked.Load(); n != 1 {
		t.Errorf("it was asked %d times", n)
	}
	poll(t, func() bool {
		_, err := playQueues(t, c, time.Second)
		return err == nil
	})
	if enqueued, _ := counters.told(t, idOf(kafkaQueue("hung"))); enqueued != 0 {
		t.Errorf("what came late was counted: %v", enqueued)
	}
}

func TestQueuePanicCostsItsQueue(t *testing.T) {
	c := newQueueCollector([]config.Queue{listQueue("broken"), listQueue("well")}, []probes.Queue{
		funcQueue(func(context.Context) (probes.Backlog, error) { panic("oops") }),
		&fakeQueue{backlog: probes.Backlog{Complete: true, Depth: count(5)}},
	}, newQueueCounters(time.Minute), slog.New(slog.DiscardHandler))
	for range 2 {
		p, err := playQueues(t, c, time.Second)
		if err == nil || !strings.HasPrefix(err.Error(), "queue broken: panic: a value of type string\n") || strings.Contains(err.Error(), "oops") {
			t.Errorf("error %v", err)
		}
		if text := p.text(t); !strings.Contains(text, `cacheinv_queue_depth{kind="redis_list",queue="well"} 5`) ||
			!strings.Contains(text, `cacheinv_queue_up{kind="redis_list",queue="broken"} 0`) {
			t.Error(text)
		}
	}
}

// The old configuration's collector may still be at work when the new one's begins.
func TestQueueCountersAreShared(t *testing.T) {
	counters := newQueueCounters(time.Minute)
	var at atomic.Int64
	moving := funcQueue(func(context.Context) (probes.Backlog, error) {
		n := float64(at.Add(1))
		return probes.Backlog{
			Complete: true, Ends: map[probes.Partition]float64{{}: n},
			Groups: []probes.GroupBacklog{{Group: "g", Positions: map[probes.Partition]float64{{}: n}}},
		}, nil
	})
	var running sync.WaitGroup
	for range 4 {
		running.Go(func() {
			c := newQueueCollector([]config.Queue{listQueue("q")}, []probes.Queue{moving}, counters, slog.New(slog.DiscardHandler))
			for range 50 {
				if _, err := playQueues(t, c, time.Second); err != nil {
					t.Error(err)
				}
			}
		})
	}
	running.Wait()
}

func TestQueueWithoutQueues(t *testing.T) {
	p, err := playQueues(t, newQueueCollector(nil, nil, newQueueCounters(time.Minute), slog.New(slog.DiscardHandler)), time.Second)
	if err != nil || len(p.metrics) != 0 {
		t.Errorf("%d metrics, %v", len(p.metrics), err)
	}
}
