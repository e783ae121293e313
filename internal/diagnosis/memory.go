package diagnosis

import (
	"maps"
	"strings"
	"sync"
	"time"
)

const (
	// shortest time over which a queue's growth is measured; longest for which its depths are kept.
	shortest, longest = 800 * time.Millisecond, 15 * time.Second
	// growingFor is the time in which staleness on a node must have grown.
	growingFor = time.Minute
)

// Memory is what lasts from one sampling to the next: since when findings stand, how queues grow, what was told once. It
// may be used by several goroutines.
type Memory struct {
	mu      sync.Mutex
	streaks map[string]Streak
	depths  map[string][]reading
	stale   map[string][]reading
	recent  map[string][]reading
}

type reading struct {
	at    time.Time
	value float64
}

// NewMemory that knows nothing.
func NewMemory() *Memory {
	return &Memory{
		streaks: map[string]Streak{}, depths: map[string][]reading{}, stale: map[string][]reading{}, recent: map[string][]reading{},
	}
}

// Recall fills e.Past from the samplings before, and remembers e. Call it once for each sampling, in their order.
func (m *Memory) Recall(e *Evidence) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e.Past = Past{Growth: map[string]float64{}, Recent: map[string]float64{}, Growing: map[string]bool{}}
	for i := range e.Queues {
		m.grow(e, &e.Queues[i])
	}
	m.tellOnce(e)
	if e.Result != nil {
		m.staleness(e)
	}
	streaks := map[string]Streak{}
	for _, f := range findings(e) {
		if signal(f.signal).strength(f.size) == 0 {
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
	known := younger(m.depths[q.Name], e.At, longest)
	for i := len(known) - 1; i >= 0; i-- {
		if past := e.At.Sub(known[i].at); past >= shortest {
			e.Past.Growth[q.Name] = (q.Depth.Value - known[i].value) / past.Seconds()
			break
		}
	}
	m.depths[q.Name] = append(known, reading{e.At, q.Depth.Value})
}

// tellOnce sums what each sampling tells of the time since the one before.
func (m *Memory) tellOnce(e *Evidence) {
	keep := func(id string) time.Duration {
		name := "recent"
		if strings.HasPrefix(id, "probe_") {
			name = "recent_probes"
		}
		return time.Duration(limit(name) * float64(time.Second))
	}
	note := func(signal, subject string, value float64) {
		id := signal + " " + subject
		if value > 0 {
			m.recent[id] = append(m.recent[id], reading{e.At, value})
		}
	}
	for _, q := range e.Queues {
		for _, g := range q.Groups {
			note(lostMessages, q.Name+"/"+g.Name, g.Lost)
			note(rewound, q.Name+"/"+g.Name, g.Rewound)
		}
	}
	for _, p := range e.Probes {
		note(probeLostAll, p.Name+"/"+p.Node, p.Lost)
		note(probeArrived, p.Name+"/"+p.Node, p.Sent-p.Lost-p.Failed)
		note(probeUnpublished, p.Name+"/"+p.Node, p.Failed)
	}
	for id, readings := range m.recent {
		for len(readings) > 0 && e.At.Sub(readings[0].at) > keep(id) {
			readings = readings[1:]
		}
		if len(readings) == 0 {
			delete(m.recent, id)
			continue
		}
		m.recent[id] = readings
		for _, r := range readings {
			e.Past.Recent[id] += r.value
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
	}
}
