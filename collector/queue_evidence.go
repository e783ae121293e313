package collector

import (
	"maps"
	"slices"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/diagnosis"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// AddEvidence implements Evidencer.
func (c *queueCollector) AddEvidence(e *diagnosis.Evidence) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e.Queues = append(e.Queues, c.evidence...)
}

// evidenceOf a queue: what it reported, with what was counted of it.
func (c *queueCollector) evidenceOf(t *watchedQueue, b *probes.Backlog, up bool, err error, now time.Time) diagnosis.Queue {
	q := diagnosis.Queue{
		Name: t.name, Kind: t.kind, Traits: t.traits, Up: up, Answered: up || b.Depth.Known || b.Groups != nil || b.Ends != nil || b.BrokersUp > 0 || b.Subscribers.Known,
		Depth: b.Depth, Capacity: t.capacity, Target: t.targetRate,
		Limits: diagnosis.QueueLimits{
			Messages: float64(t.limits.DepthTicket), OldestSeconds: t.limits.Oldest.Seconds(), DrainSeconds: t.limits.Drain.Seconds(),
		},
		OldestSeconds: b.OldestAge, Err: err, BrokersDown: b.BrokersDown, Sample: b.Sample,
		Subscribers: b.Subscribers, ExpectedSubscribers: float64(t.subscribers), App: t.app,
	}
	c.counters.addRates(t.queueID, b, &q, now)
	return q
}

// addRates since the sampling before; of several groups the slowest.
func (c *queueCounters) addRates(id queueID, b *probes.Backlog, out *diagnosis.Queue, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	count := c.by[id]
	if count == nil {
		return
	}
	if count.step.took > 0 {
		out.Enqueued = count.step.enqueued
		out.EnqueuedRate = probes.Count{Value: count.step.enqueued / count.step.took.Seconds(), Known: true}
	}
	if count.taken != nil {
		out.Stalled = count.taken.stalled(c.window, now)
	}
	for i := range b.Groups {
		g := &b.Groups[i]
		if g.Leftover {
			continue
		}
		group := diagnosis.Group{
			Name: g.Group, State: g.State, Members: probes.Count{Value: float64(g.Members), Known: g.HasMembers},
			Committed: len(g.Positions) > 0 || len(g.Lag) > 0,
		}
		for _, topic := range slices.Sorted(maps.Keys(g.UncommittedMessages)) {
			group.Uncommitted = append(group.Uncommitted, diagnosis.Uncommitted{
				Topic: topic, Messages: float64(g.UncommittedMessages[topic]), Growing: count.step.grown[topic],
			})
		}
		for _, lag := range g.LagSeconds {
			group.LagSeconds = probes.Count{Value: max(group.LagSeconds.Value, lag), Known: true}
		}
		if k := count.groups[g.Group]; k != nil {
			group.Stalled, group.Lost, group.Rewound = k.stalled(c.window, now), k.step.lost, k.step.rewound
			if k.step.took > 0 && k.counts {
				rate := k.step.processed / k.step.took.Seconds()
				if !out.ProcessedRate.Known || rate < out.ProcessedRate.Value {
					out.ProcessedRate = probes.Count{Value: rate, Known: true}
				}
			}
		}
		out.Groups = append(out.Groups, group)
	}
}
