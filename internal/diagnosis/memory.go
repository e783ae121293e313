package diagnosis

import (
	"maps"
	"sync"
	"time"
)

const (
	// growthOver is the shortest time over which a queue's growth is measured, depthsKept how long its depths are kept.
	growthOver, depthsKept = 800 * time.Millisecond, 15 * time.Second
	// growingFor is the time in which staleness on a node must have grown.
	growingFor = time.Minute
)

// Memory is what lasts from one sampling to the next: since when findings stand, how queues grow, what was reported once, which
// nodes were isolated. It may be used by several goroutines.
type Memory struct {
	mu      sync.Mutex
	streaks map[string]Streak
	depths  map[string][]reading
	stale   map[string][]reading
	recent  map[string]*recentReadings
	// isolated has, by node, when it last looked isolated by what it held then.
	isolated map[string]time.Time
}

type reading struct {
	at    time.Time
	value float64
}

// NewMemory that knows nothing.
func NewMemory() *Memory {
	return &Memory{
		streaks: map[string]Streak{}, depths: map[string][]reading{}, stale: map[string][]reading{}, recent: map[string]*recentReadings{},
		isolated: map[string]time.Time{},
	}
}

// recentReadings are what was reported once, and for how long it counts.
type recentReadings struct {
	window   time.Duration
	readings []reading
}

// Diagnose fills e.Past from the samplings before, remembers e, and says what it points to. Call it once for each sampling,
// in their order.
func (m *Memory) Diagnose(e *Evidence) Diagnosis {
	found := m.recall(e)
	w := weigh(e, found)
	m.noteIsolated(e, w)
	return conclude(e, w)
}

// recall what the samplings before showed, and give the findings of this one.
func (m *Memory) recall(e *Evidence) []finding {
	m.mu.Lock()
	defer m.mu.Unlock()
	e.Past = Past{Growth: map[string]float64{}, Recent: map[string]float64{}, Growing: map[string]bool{}, Isolated: map[string]bool{}}
	for i := range e.Queues {
		m.grow(e, &e.Queues[i])
	}
	m.recentCounts(e)
	if e.Result != nil {
		m.staleness(e)
	}
	streaks := map[string]Streak{}
	found := findings(e)
	for _, f := range found {
		if !f.counts() {
			continue
		}
		s, was := m.streaks[f.id()]
		if !was {
			s.Since = e.At
		}
		s.Samplings++
		streaks[f.id()] = s
	}
	m.streaks, e.Past.Streaks = streaks, maps.Clone(streaks)
	return found
}

// younger readings than age, but for the last one that is older.
func younger(r []reading, now time.Time, age time.Duration) []reading {
	for len(r) > 1 && now.Sub(r[1].at) >= age {
		r = r[1:]
	}
	return r
}

// grow measures by how much a queue grew since the latest reading that is old enough.
func (m *Memory) grow(e *Evidence, q *Queue) {
	if !q.Depth.Known {
		return
	}
	known := younger(m.depths[q.Name], e.At, depthsKept)
	for i := len(known) - 1; i >= 0; i-- {
		if past := e.At.Sub(known[i].at); past >= growthOver {
			e.Past.Growth[q.Name] = (q.Depth.Value - known[i].value) / past.Seconds()
			break
		}
	}
	m.depths[q.Name] = append(known, reading{e.At, q.Depth.Value})
}

// recentCounts sums, over the last minutes, what each sampling reports of the time since the one before.
func (m *Memory) recentCounts(e *Evidence) {
	note := func(id string, window *Limit, value float64) {
		if value <= 0 {
			return
		}
		if m.recent[id] == nil {
			m.recent[id] = &recentReadings{window: time.Duration(window.Value * float64(time.Second))}
		}
		m.recent[id].readings = append(m.recent[id].readings, reading{e.At, value})
	}
	for _, q := range e.Queues {
		note(cameIn(q.Name), recentSeconds, q.Enqueued)
		for _, g := range q.Groups {
			subject := q.Name + "/" + g.Name
			note(lostMessages.id(subject), recentSeconds, g.Lost)
			note(rewound.id(subject), recentSeconds, g.Rewound)
		}
	}
	for _, p := range e.RoundTrips {
		subject := p.Name + "/" + p.Node
		note(probeLostAll.id(subject), recentProbeSeconds, p.Lost)
		note(arrived(subject), recentProbeSeconds, p.Sent-p.Lost-p.Failed)
		note(probeUnpublished.id(subject), recentProbeSeconds, p.unreached())
	}
	for _, c := range e.Events {
		for _, n := range c.Nodes {
			subject := eventSubject(c.Class, n.Node)
			note(checked(subject), recentChecks, n.Good+n.Survived+n.Restored+n.Waiting)
			note(eventsMissed.id(subject), recentChecks, n.Survived)
			note(eventsRestored.id(subject), recentChecks, n.Restored)
			note(eventsWait.id(subject), recentChecks, n.Waiting)
		}
	}
	for id, r := range m.recent {
		for len(r.readings) > 0 && e.At.Sub(r.readings[0].at) > r.window {
			r.readings = r.readings[1:]
		}
		if len(r.readings) == 0 {
			delete(m.recent, id)
			continue
		}
		for _, was := range r.readings {
			e.Past.Recent[id] += was.value
		}
	}
}

// staleness grows on a node where there are more stale copies, or they are further behind, than at any time in the last
// minute.
func (m *Memory) staleness(e *Evidence) {
	stale, _ := staleNodes(e)
	for name := range m.stale {
		if stale[name] == nil {
			delete(m.stale, name)
		}
	}
	for name, n := range stale {
		value := float64(n.counted) + n.behind
		known := younger(m.stale[name], e.At, growingFor)
		for _, r := range known {
			e.Past.Growing[name] = e.Past.Growing[name] || value > r.value
		}
		m.stale[name] = append(known, reading{e.At, value})
		if was, isolated := m.isolated[name]; isolated && n.oldest >= e.At.Sub(was) {
			e.Past.Isolated[name] = true
		}
	}
}

// noteIsolated nodes: those that look so by what they hold now, for long enough, with nothing known that explains it. A node that
// is isolated by its past alone is not: else copies that follow each other would keep the finding up for ever.
func (m *Memory) noteIsolated(e *Evidence, w *weighing) {
	if e.Result == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	sampled := map[string]bool{}
	for i := range e.Result.Nodes {
		sampled[e.Result.Nodes[i].Name] = true
	}
	maps.DeleteFunc(m.isolated, func(name string, _ time.Time) bool { return !sampled[name] })
	if w.muted[isolatedNode] != "" {
		return
	}
	stale, _ := staleNodes(e)
	for _, f := range w.found {
		if f.weight == isolatedNode && f.weight.lasted(e, &f) && stale[f.subject].looksIsolated(e.Past.Growing[f.subject]) {
			m.isolated[f.subject] = e.At
		}
	}
}
