package collector

import (
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/diagnosis"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// testify what the queues told in the last sampling.
func (c *queueCollector) testify(e *diagnosis.Evidence) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e.Queues = append(e.Queues, c.evidence...)
}

// evidence of a queue: what it told, with what was counted of it.
func (c *queueCollector) evidenceOf(t *queueTarget, b *probes.Backlog, up bool, now time.Time) diagnosis.Queue {
	q := diagnosis.Queue{
		Name: t.name, Kind: t.kind, Up: up, Answered: up || b.Depth.Known || b.Groups != nil || b.Ends != nil || b.BrokersUp > 0,
		Depth: b.Depth, Capacity: t.capacity, Target: t.targetRate,
		OldestSeconds: b.OldestAge, BrokersDown: b.BrokersDown, Sample: b.Sample,
	}
	c.counters.testify(t.queueID, b, &q, now)
	return q
}

// testify the rates since the sampling before; of several groups the slowest.
func (c *QueueCounters) testify(id queueID, b *probes.Backlog, out *diagnosis.Queue, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	count := c.by[id]
	if count == nil {
		return
	}
	if count.step.took > 0 {
		out.EnqueuedRate = probes.Count{Value: count.step.enqueued / count.step.took.Seconds(), Known: true}
	}
	for i := range b.Groups {
		g := &b.Groups[i]
		told := diagnosis.Group{Name: g.Group, State: g.State, Members: probes.Count{Value: float64(g.Members), Known: g.HasMembers}}
		for _, lag := range g.LagSeconds {
			told.LagSeconds = probes.Count{Value: max(told.LagSeconds.Value, lag), Known: true}
		}
		if k := count.groups[g.Group]; k != nil {
			told.Stalled, told.Lost, told.Rewound = k.stalled(c.window, now), k.step.lost, k.step.rewound
			if k.step.took > 0 {
				rate := k.step.processed / k.step.took.Seconds()
				if !out.ProcessedRate.Known || rate < out.ProcessedRate.Value {
					out.ProcessedRate = probes.Count{Value: rate, Known: true}
				}
			}
		}
		out.Groups = append(out.Groups, told)
	}
}
