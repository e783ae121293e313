package collector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/diagnosis"
	"github.com/cacheinv/cacheinv_exporter/internal/events"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

var (
	queueUp = gauge("queue_up",
		"Whether depth or lag (of a channel: its subscribers) was learned for all that is configured of the queue (1) or not (0).", "queue", "kind")
	queueBrokers = gauge("queue_brokers",
		"Kafka brokers that answered in the last sampling (up), and known ones that did not (down).", "queue", "state")
	queueDepth = gauge("queue_depth",
		"Messages that wait: a list's length, else the largest over the consumer groups of what each has yet to process.", "queue", "kind")
	queueCapacity = gauge("queue_capacity",
		"Messages that the queue is meant to hold, as configured.", "queue", "kind")
	queueTargetRate = gauge("queue_target_messages_per_second",
		"Messages that processors are meant to process, per second, as configured.", "queue", "kind")
	queueLimit = gauge("queue_limit",
		"Limit beyond which the queue's alerts fire, as configured: depth and depth_ticket in messages, oldest and drain in seconds.", "queue", "limit")
	queueOldest = gauge("queue_oldest_message_age_seconds",
		"Age of the oldest message that still waits, in seconds; 0 where none waits. Of Kafka the largest lag in seconds.", "queue", "kind")
	queueSubscribers = gauge("queue_subscribers",
		"Subscribers of the Pub/Sub channel, without the exporter's own subscription and those by pattern.", "queue")
	queueExpectedSubscribers = gauge("queue_expected_subscribers",
		"Subscribers that the Pub/Sub channel should have: as configured, or as many as there are known instances of the application that is configured.", "queue")
	queueLost = counter("queue_lost_messages_total",
		"Messages that were deleted before the group had processed them, since the first sampling.", "queue", "group")
	queueEnqueued = counter("queue_enqueued_total",
		"Messages enqueued since the exporter's start, by the forward movement of positions since each partition was first seen; "+
			"of a list, whose length alone is known, the least there were.", "queue", "kind")
)

// queueID distinguishes queues. A queue that changes its kind is another one.
type queueID struct {
	name, kind string
	// traits of the kind.
	traits probes.QueueTraits
}

func idOf(q config.Queue) queueID { return queueID{q.Name, q.Source.Kind(), q.Source.Traits()} }

// watchedQueue is one queue, and whether a sampling of it is under way.
type watchedQueue struct {
	queueID
	capacity   int64
	targetRate float64
	limits     config.QueueLimits
	// subscribers that a channel should have, or the application of which each instance should be one.
	subscribers int64
	app         string
	queue       probes.Queue
	// followedBy takes in the queue's messages one by one; nil: no class takes its keys from it.
	followedBy *events.Tracker
	busy       atomic.Bool
	// topKey that the log has named.
	topKey string
	// unreadable parts of messages that the log has named.
	unreadable map[string]bool
}

// queueName is the signal's: without it no queue is asked.
const queueName = "queue"

// newQueueSignal counts what moves over all configurations.
func newQueueSignal(opt Options) Opener {
	counters := newQueueCounters(opt.StallWindow)
	return func(s *Setup) (Collector, error) {
		queues, err := s.Config.OpenQueues(s.Fleet, s.Env)
		if err != nil {
			return nil, fmt.Errorf("opening the queues: %w", err)
		}
		for _, q := range queues {
			s.OnClose(q.Close)
		}
		c := newQueueCollector(s.Config.Queues, queues, counters, s.Log)
		s.onConfigured(func() { c.follow(opt.sampled(s.Config).EventQueues(), s.events) })
		return c, nil
	}
}

// follow the queues with these names.
func (c *queueCollector) follow(names map[string]bool, tracker *events.Tracker) {
	for _, t := range c.queues {
		if q, ok := t.queue.(probes.EventQueue); ok && names[t.name] {
			name := t.name
			t.followedBy = tracker
			q.Follow(tracker.After(name), func(e probes.Event) { tracker.Visit(name, e) })
		}
	}
}

// queueCollector watches the queues of invalidations.
type queueCollector struct {
	queues   []*watchedQueue
	counters *queueCounters
	log      *slog.Logger

	mu sync.Mutex
	// evidence of the last Update.
	evidence []diagnosis.Queue
}

// newQueueCollector of queues, which were opened for cfg in its order.
func newQueueCollector(cfg []config.Queue, queues []probes.Queue, counters *queueCounters, log *slog.Logger) *queueCollector {
	c := &queueCollector{counters: counters, log: log}
	for i, q := range cfg {
		c.queues = append(c.queues, &watchedQueue{
			queueID: idOf(q), capacity: q.Capacity, targetRate: q.TargetRate, limits: q.Limits, subscribers: q.Subscribers, app: q.App,
			queue: queues[i], unreadable: map[string]bool{},
		})
	}
	return c
}

// queueAnswer is what one queue reported.
type queueAnswer struct {
	of      int
	backlog probes.Backlog
	err     error
}

// Update samples all queues in parallel. One that is not back soon after the end of ctx costs its own series alone.
func (c *queueCollector) Update(ctx context.Context, _ *Sampling, ch chan<- prometheus.Metric) error {
	c.mu.Lock()
	c.evidence = nil
	c.mu.Unlock()
	ids := map[queueID]bool{}
	for _, t := range c.queues {
		ids[t.queueID] = true
	}
	c.counters.keep(ids)
	errs := make([]error, len(c.queues))
	back := eachInTime(ctx, len(c.queues), func(i int) queueAnswer { return c.queues[i].sample(ctx, i) },
		func(i int, a queueAnswer) { errs[i] = c.send(a, ch) })
	for i, t := range c.queues {
		if !back[i] {
			errs[i] = c.send(queueAnswer{of: i, err: errNotBack}, ch)
		}
		if errs[i] != nil {
			errs[i] = fmt.Errorf("queue %s: %w", t.name, errs[i])
		}
	}
	return errors.Join(errs...)
}

func (t *watchedQueue) sample(ctx context.Context, i int) (a queueAnswer) {
	a.of = i
	a.err = onceAtATime(&t.busy, func() (err error) {
		began := time.Now()
		a.backlog, err = t.queue.Sample(ctx)
		if t.followedBy != nil {
			t.followedBy.Sampled(t.name, t.traits, &a.backlog, began)
		}
		return err
	})
	return a
}

// send what one queue reported, and give its error.
func (c *queueCollector) send(a queueAnswer, ch chan<- prometheus.Metric) error {
	t, b, now := c.queues[a.of], a.backlog, time.Now()
	queueUp.send(ch, number(b.Complete), t.name, t.kind) // also with an error about less than depth and lag
	if t.traits.Brokers {
		queueBrokers.send(ch, float64(b.BrokersUp), t.name, "up")
		queueBrokers.send(ch, float64(b.BrokersDown), t.name, "down")
	}
	t.sendConfigured(ch)
	if b.Depth.Known {
		queueDepth.send(ch, b.Depth.Value, t.name, t.kind)
	}
	if b.OldestAge.Known {
		queueOldest.send(ch, b.OldestAge.Value, t.name, t.kind)
	}
	if b.Subscribers.Known {
		queueSubscribers.send(ch, b.Subscribers.Value, t.name)
	}
	if b.LeftoverGroups.Known {
		queueLeftover.send(ch, b.LeftoverGroups.Value, t.name)
	}
	sendSample(t.queueID, b.Sample, ch)
	t.nameTopKey(b.Sample, c.log)
	t.nameUnreadable(b.Sample, c.log)
	for _, g := range b.Groups {
		sendConsumerGroup(t.name, g, ch)
	}
	c.counters.observe(t.queueID, b, now)
	c.counters.send(t.queueID, now, ch)
	evidence := c.evidenceOf(t, &b, b.Complete, a.err, now)
	c.mu.Lock()
	c.evidence = append(c.evidence, evidence)
	c.mu.Unlock()
	return a.err
}

// sendConfigured is what the configuration says of the queue, whether or not it answers. How many instances an
// application has is told by who asks these.
func (t *watchedQueue) sendConfigured(ch chan<- prometheus.Metric) {
	if t.capacity > 0 {
		queueCapacity.send(ch, float64(t.capacity), t.name, t.kind)
	}
	if t.targetRate > 0 {
		queueTargetRate.send(ch, t.targetRate, t.name, t.kind)
	}
	if t.subscribers > 0 {
		queueExpectedSubscribers.send(ch, float64(t.subscribers), t.name)
	}
	for limit, value := range map[string]float64{
		"depth": float64(t.limits.Depth), "depth_ticket": float64(t.limits.DepthTicket),
		"oldest": t.limits.Oldest.Seconds(), "drain": t.limits.Drain.Seconds(),
	} {
		if value > 0 {
			queueLimit.send(ch, value, t.name, limit)
		}
	}
}
