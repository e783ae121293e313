package collector

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cacheinv/cacheinv_exporter/probes"
)

// queueCounters count what moved through the queues since the exporter's start. They outlive configurations and
// samplings that failed.
type queueCounters struct {
	// window of a stall (--queue.stall-window).
	window time.Duration

	mu sync.Mutex
	by map[queueID]*queueCount
}

// newQueueCounters at 0; window is the time without a commit after which a group is stalled.
func newQueueCounters(window time.Duration) *queueCounters {
	return &queueCounters{window: window, by: map[queueID]*queueCount{}}
}

// queueCount is of one queue. Groups are forgotten once they are no longer among those that are watched.
type queueCount struct {
	// at is the last sampling in which the queue's ends were learned.
	at       time.Time
	enqueued movement
	groups   map[string]*groupCount
	step     step
	// taken from a list; nil: not known of late, or no list.
	taken *takenCount
}

// step is what moved between the last two samplings.
type step struct {
	took     time.Duration
	enqueued float64
	// grown are the topics of which a partition's end moved forward.
	grown map[string]bool
}

// movement sums how far positions moved forward. The first sight of a partition counts nothing: where it was before is
// not known. Nor does a position that went back, which is where the count goes on from, nor what can be none.
type movement struct {
	forward float64
	last    map[probes.Partition]float64
}

// observe positions, and give those that went back: what they count was made anew; and the topics of those that moved forward.
func (m *movement) observe(positions map[probes.Partition]float64) (back []probes.Partition, grown map[string]bool) {
	grown = map[string]bool{}
	if m.last == nil && len(positions) > 0 {
		m.last = map[probes.Partition]float64{}
	}
	for p, at := range positions {
		before, seen := m.last[p]
		switch {
		case at > probes.MostCount:
			continue
		case seen && at > before:
			m.forward += at - before
			grown[p.Topic] = true
		case seen && at < before:
			back = append(back, p)
		}
		m.last[p] = at
	}
	return back, grown
}

// forget partitions that are no longer there.
func (m *movement) forget(there map[probes.Partition]float64) {
	for p := range m.last {
		if _, ok := there[p]; !ok {
			delete(m.last, p)
		}
	}
}

// groupCount is of one consumer group.
type groupCount struct {
	processed, lost, rewinds, rewound float64
	// counts: it is known how far the group is, without which nothing is known of what it processed.
	counts bool
	// starts of logs were learned, without which nothing is known of lost messages.
	starts bool
	// step holds the same of the last sampling alone.
	step groupStep
	// commits by partition.
	commits map[probes.Partition]*committed
	// changed is when the present commits were first seen; zero until a change was.
	changed time.Time
	// standing is probes.GroupBacklog.Standing of the last sampling.
	standing string
	standstill
}

type groupStep struct {
	at                       time.Time
	took                     time.Duration
	processed, lost, rewound float64
}

// committed is where a group is in a partition. Messages before floor that it had not committed by then
// are lost.
type committed struct{ at, floor float64 }

// observe a group's commits. rewinds: a position that goes back is one.
func (g *groupCount) observe(b *probes.GroupBacklog, rewinds bool, now time.Time) {
	if g.commits == nil {
		g.commits = map[probes.Partition]*committed{}
	}
	before := groupStep{processed: g.processed, lost: g.lost, rewound: g.rewound}
	g.counts = len(b.Positions) > 0
	moved := false
	for p, at := range b.Positions {
		start, hasStart := b.Starts[p]
		if hasStart = hasStart && start <= probes.MostCount; !hasStart {
			start = 0
		}
		if at > probes.MostCount {
			continue
		}
		g.starts = g.starts || hasStart
		commit := g.commits[p]
		if commit == nil {
			g.commits[p] = &committed{at: at, floor: start} // what was lost before counts for nothing
			moved = moved || g.samplings > 0
			continue
		}
		switch {
		case at > commit.at:
			g.processed += max(0, at-max(commit.at, commit.floor))
		case at < commit.at && rewinds:
			g.rewinds++
			g.rewound += commit.at - at
		}
		moved = moved || at != commit.at
		if lostFrom := max(at, commit.floor); hasStart && start > lostFrom {
			g.lost += start - lostFrom
			commit.floor = start
		}
		commit.at = at
	}
	g.step = groupStep{
		at: now, processed: g.processed - before.processed, lost: g.lost - before.lost, rewound: g.rewound - before.rewound,
	}
	if b.Standing != "" {
		moved = g.standing != "" && b.Standing != g.standing
		g.standing = b.Standing
	}
	if moved {
		g.changed = now
	}
	waits, known := b.Waits()
	g.observeWait(waits, known, moved, now)
}

// forget partitions that are no longer there.
func (g *groupCount) forget(there map[probes.Partition]float64) {
	for p := range g.commits {
		if _, ok := there[p]; !ok {
			delete(g.commits, p)
		}
	}
}

// keep only these queues.
func (c *queueCounters) keep(ids map[queueID]bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id := range c.by {
		if !ids[id] {
			delete(c.by, id)
		}
	}
}

// observe one sampling of a queue.
func (c *queueCounters) observe(id queueID, b probes.Backlog, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	q := c.by[id]
	if q == nil {
		q = &queueCount{groups: map[string]*groupCount{}}
		c.by[id] = q
	}
	q.step = step{}
	before, known := q.enqueued.forward, q.enqueued.last != nil
	// Where a log's end went back, the log is another one, and commits of the old say nothing of it.
	back, grown := q.enqueued.observe(b.Ends)
	for _, p := range back {
		for _, g := range q.groups {
			delete(g.commits, p)
		}
	}
	if b.Ends != nil {
		if known {
			q.step = step{took: now.Sub(q.at), enqueued: q.enqueued.forward - before, grown: grown}
		}
		q.at = now
	}
	q.observeTaken(&b, now)
	watched := map[string]bool{}
	for i := range b.Groups {
		if g := &b.Groups[i]; !g.Leftover {
			watched[g.Group] = true
			q.observeGroup(g, id.traits.Positions, now)
		}
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

// observeGroup of a queue. Nothing is counted of one whose positions were never learned.
func (q *queueCount) observeGroup(g *probes.GroupBacklog, positions bool, now time.Time) {
	learned := len(g.Positions) > 0 || g.Standing != ""
	count := q.groups[g.Group]
	if count == nil {
		if !learned {
			return
		}
		count = &groupCount{}
		q.groups[g.Group] = count
	}
	last := count.step.at
	count.step = groupStep{at: last}
	if !learned {
		return
	}
	count.observe(g, positions, now)
	if !last.IsZero() {
		count.step.took = now.Sub(last)
	}
}

// send what was counted of a queue. Of positions that were never learned nothing is said.
func (c *queueCounters) send(id queueID, now time.Time, ch chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	q := c.by[id]
	if q == nil {
		return
	}
	if q.enqueued.last != nil {
		queueEnqueued.send(ch, q.enqueued.forward, id.name, id.kind)
	}
	if q.taken != nil {
		if s := q.taken.stalled(c.window, now); s.Known {
			queueStalled.send(ch, s.Value, id.name)
		}
	}
	for name, g := range q.groups {
		if g.counts {
			groupProcessed.send(ch, g.processed, id.name, name)
		}
		if !id.traits.Positions {
			continue // it reports a number, not where it is
		}
		groupRewinds.send(ch, g.rewinds, id.name, name)
		groupRewound.send(ch, g.rewound, id.name, name)
		if g.starts {
			queueLost.send(ch, g.lost, id.name, name)
		}
		if !g.changed.IsZero() {
			groupLastCommit.send(ch, float64(g.changed.UnixMilli())/1000, id.name, name)
		}
		if s := g.stalled(c.window, now); s.Known {
			groupStalled.send(ch, s.Value, id.name, name)
		}
	}
}
