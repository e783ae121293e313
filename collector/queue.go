package collector

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

var (
	queueUp = gauge("queue_up",
		"Whether depth or lag was learned for all that is configured of the queue (1) or not (0).", "queue", "kind")
	queueBrokers = gauge("queue_brokers",
		"Kafka brokers that answered in the last sampling (up), and known ones that did not (down).", "queue", "state")
	queueDepth = gauge("queue_depth",
		"Messages that wait: a list's length, else the largest over the consumer groups of what each has yet to process.", "queue", "kind")
	queueCapacity = gauge("queue_capacity",
		"Messages that the queue is meant to hold, as configured.", "queue", "kind")
	queueEnqueued = counter("queue_enqueued_total",
		"Messages enqueued since the exporter's start, by the forward movement of positions since each partition was first seen; "+
			"of a list, whose length alone is known, the least there were.", "queue", "kind")
	groupLag = gauge("consumer_group_lag",
		"Messages of the partition that the group has not committed (of a stream: not read), without those that are no longer in the log.",
		"queue", "group", "topic", "partition")
	groupMembers = gauge("consumer_group_members",
		"Members of the consumer group; 0 for a group that does not exist.", "queue", "group")
	groupState = gauge("consumer_group_state",
		"State of the consumer group as a label, as Kafka writes it; always 1.", "queue", "group", "state")
	groupProcessed = counter("consumer_group_processed_total",
		"Messages processed since the exporter's start, by the forward movement of commits (of a stream: of entries read less pending).",
		"queue", "group")
	groupUncommitted = gauge("consumer_group_uncommitted_partitions",
		"Partitions of the queue's topics on which the group has not committed; these have no lag.", "queue", "group")
)

// queueGrace is how long a queue may come after the end of the sampling's time.
const queueGrace = 50 * time.Millisecond

// queueID tells queues apart. A queue that changes its kind is another one.
type queueID struct{ name, kind string }

func idOf(q config.Queue) queueID {
	switch {
	case q.Redis != nil && q.Redis.List != "":
		return queueID{q.Name, "redis_list"}
	case q.Redis != nil:
		return queueID{q.Name, "redis_stream"}
	case q.Kafka != nil:
		return queueID{q.Name, "kafka"}
	}
	return queueID{q.Name, "http"}
}

// QueueCounters count what moved through the queues since the exporter's start. They outlive configurations and
// samplings that failed.
type QueueCounters struct {
	mu sync.Mutex
	by map[queueID]*queueCount
}

// NewQueueCounters at 0.
func NewQueueCounters() *QueueCounters { return &QueueCounters{by: map[queueID]*queueCount{}} }

// queueCount is of one queue. Groups are forgotten once they are no longer among those that are watched.
type queueCount struct {
	enqueued movement
	groups   map[string]*movement
}

// movement sums how far positions moved forward. The first sight of a partition counts nothing: where it was before is
// not known. Nor does a position that went back, which is where the count goes on from.
type movement struct {
	forward float64
	last    map[probes.Partition]float64
}

func (m *movement) observe(positions map[probes.Partition]float64) {
	if m.last == nil && len(positions) > 0 {
		m.last = map[probes.Partition]float64{}
	}
	for p, at := range positions {
		// Rewinds, where they are counted one day, are the other branch of this.
		if before, seen := m.last[p]; seen && at > before {
			m.forward += at - before
		}
		m.last[p] = at
	}
}

// forget partitions that are no longer there.
func (m *movement) forget(there map[probes.Partition]float64) {
	for p := range m.last {
		if _, ok := there[p]; !ok {
			delete(m.last, p)
		}
	}
}

// keep only these queues.
func (c *QueueCounters) keep(ids map[queueID]bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id := range c.by {
		if !ids[id] {
			delete(c.by, id)
		}
	}
}

// observe one sampling of a queue.
func (c *QueueCounters) observe(id queueID, b probes.Backlog) {
	c.mu.Lock()
	defer c.mu.Unlock()
	q := c.by[id]
	if q == nil {
		q = &queueCount{groups: map[string]*movement{}}
		c.by[id] = q
	}
	q.enqueued.observe(b.Ends)
	watched := map[string]bool{}
	for _, g := range b.Groups {
		watched[g.Group] = true
		if len(g.Positions) == 0 {
			continue
		}
		if q.groups[g.Group] == nil {
			q.groups[g.Group] = &movement{}
		}
		q.groups[g.Group].observe(g.Positions)
	}
	for name := range q.groups {
		if b.Groups != nil && !watched[name] {
			delete(q.groups, name)
		}
	}
	if !b.Complete || b.Ends == nil {
		return // what is missing may be there all the same
	}
	q.enqueued.forget(b.Ends)
	for _, g := range q.groups {
		g.forget(b.Ends)
	}
}

// send what was counted of a queue. Of positions that were never learned nothing is said.
func (c *QueueCounters) send(id queueID, ch chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	q := c.by[id]
	if q == nil {
		return
	}
	if q.enqueued.last != nil {
		queueEnqueued.send(ch, q.enqueued.forward, id.name, id.kind)
	}
	for name, g := range q.groups {
		groupProcessed.send(ch, g.forward, id.name, name)
	}
}

// queueTarget is one queue, and whether a sampling of it is under way.
type queueTarget struct {
	queueID
	capacity int64
	queue    probes.Queue
	busy     atomic.Bool
}

// queueCollector watches the queues of invalidations.
type queueCollector struct {
	targets  []*queueTarget
	counters *QueueCounters
}

// NewQueue collects from queues, which were opened for cfg in its order.
func NewQueue(cfg []config.Queue, queues []probes.Queue, counters *QueueCounters) Collector {
	c := queueCollector{counters: counters}
	for i, q := range cfg {
		c.targets = append(c.targets, &queueTarget{queueID: idOf(q), capacity: q.Capacity, queue: queues[i]})
	}
	return c
}

func (queueCollector) Name() string { return "queue" }

// queueAnswer is what one queue told.
type queueAnswer struct {
	of      int
	backlog probes.Backlog
	err     error
}

// Update samples all queues in parallel. One that is not back soon after the end of ctx costs its own series alone.
func (c queueCollector) Update(ctx context.Context, ch chan<- prometheus.Metric) error {
	ids := map[queueID]bool{}
	for _, t := range c.targets {
		ids[t.queueID] = true
	}
	c.counters.keep(ids)
	answers := make(chan queueAnswer, len(c.targets))
	for i, t := range c.targets {
		go func() { answers <- t.sample(ctx, i) }()
	}
	errs := make([]error, len(c.targets))
	back := make([]bool, len(c.targets))
	late := make(chan struct{})
	defer context.AfterFunc(ctx, func() { time.AfterFunc(queueGrace, func() { close(late) }) })()
	for waiting := len(c.targets); waiting > 0; waiting-- {
		select {
		case a := <-answers:
			back[a.of], errs[a.of] = true, c.tell(a, ch)
			continue
		case <-late:
		}
		break
	}
	for i, t := range c.targets {
		if !back[i] {
			errs[i] = c.tell(queueAnswer{of: i, err: errors.New("not back in time")}, ch)
		}
		if errs[i] != nil {
			errs[i] = fmt.Errorf("queue %s: %w", t.name, errs[i])
		}
	}
	return errors.Join(errs...)
}

func (t *queueTarget) sample(ctx context.Context, i int) (a queueAnswer) {
	a.of = i
	if !t.busy.CompareAndSwap(false, true) {
		a.err = errBusy
		return a
	}
	defer t.busy.Store(false)
	defer func() {
		if p := recover(); p != nil {
			a.err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	a.backlog, a.err = t.queue.Sample(ctx)
	return a
}

// tell what one queue said, and give its error.
func (c queueCollector) tell(a queueAnswer, ch chan<- prometheus.Metric) error {
	t, b := c.targets[a.of], a.backlog
	queueUp.send(ch, number(a.err == nil && b.Complete), t.name, t.kind)
	if t.kind == "kafka" {
		queueBrokers.send(ch, float64(b.BrokersUp), t.name, "up")
		queueBrokers.send(ch, float64(b.BrokersDown), t.name, "down")
	}
	if t.capacity > 0 {
		queueCapacity.send(ch, float64(t.capacity), t.name, t.kind)
	}
	if b.Depth.Known {
		queueDepth.send(ch, b.Depth.Value, t.name, t.kind)
	}
	for _, g := range b.Groups {
		tellGroup(t.name, g, ch)
	}
	c.counters.observe(t.queueID, b)
	c.counters.send(t.queueID, ch)
	return a.err
}

func tellGroup(queue string, g probes.GroupBacklog, ch chan<- prometheus.Metric) {
	if g.HasMembers {
		groupMembers.send(ch, float64(g.Members), queue, g.Group)
	}
	if g.State != "" {
		groupState.send(ch, 1, queue, g.Group, g.State)
	}
	if g.HasOffsets {
		groupUncommitted.send(ch, float64(g.Uncommitted), queue, g.Group)
	}
	for p, lag := range g.Lag {
		groupLag.send(ch, float64(lag), queue, g.Group, p.Topic, strconv.Itoa(int(p.ID)))
	}
}
