package events

import (
	"hash/maphash"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cacheinv/cacheinv_exporter/probes"
)

// Options of a Tracker.
type Options struct {
	// HashKey keys the hash by which events are chosen, so that exporters with one HashKey choose the same.
	HashKey []byte
	// ForgetAfter is how long a node may not be looked at until what is known of it is dropped; 0: ten minutes.
	ForgetAfter time.Duration
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// Tracker remembers the events with looks to come, and what looks saw. It outlives configurations, and may be called by several
// goroutines at once.
type Tracker struct {
	opt   Options
	clock clock

	mu      sync.Mutex
	classes map[string]*class
	queues  map[string]*queue
	nodes   map[nodeName]*node
	sights  sights
	// checked keys and versions: until when they are not checked again; 0: an event of them is pending.
	checked map[seenAt]tick
	// pending events of all classes, and the bytes that they take.
	pending, bytes int
	// numbers that classes and nodes got.
	numbers uint32
	// swept is when what was forgotten was last dropped.
	swept tick
}

type nodeName struct{ layer, name string }

// class whose keys come out of a queue.
type class struct {
	spec Spec
	*extractor
	// number is another one where contents became incomparable.
	number     uint32
	events     []*pending
	candidates *candidates
	// looks of the sampling under way, by key.
	looks   map[string][]*look
	windows []windowCounts
	bad     []BadLook
	effects []Effect
}

// windowCounts are what was seen at one window.
type windowCounts struct {
	events [NumResults]uint64
	copies map[nodeName]*[NumResults]uint64
}

// NewTracker of nothing; Configure says what to follow.
func NewTracker(o Options) *Tracker {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.ForgetAfter == 0 {
		o.ForgetAfter = 10 * time.Minute
	}
	return &Tracker{
		opt: o, clock: clock{o.Now()}, classes: map[string]*class{}, queues: map[string]*queue{}, nodes: map[nodeName]*node{},
		sights: sights{seed: maphash.MakeSeed(), by: map[seenAt][]sight{}}, checked: map[seenAt]tick{},
	}
}

// layer is the index of a layer; below 0: the class is not on it.
func (c *class) layer(name string) int {
	return slices.IndexFunc(c.spec.Layers, func(l Layer) bool { return l.Name == name })
}

// settled: an event needs no more looks.
func (c *class) settled(p *pending) bool {
	return int(p.next) >= len(c.spec.Windows) && !p.is(ineffective)
}

// finish an event: there are no looks to come.
func (t *Tracker) finish(c *class, p *pending) {
	if p.is(over) {
		return
	}
	p.set(over, true)
	p.set(ineffective, false)
	t.pending--
	t.bytes -= p.bytes()
	if p.version.IsZero() {
		return
	}
	for k := range p.keys() {
		t.checked[t.checkOf(c, k, p.version)] = t.clock.by(t.opt.Now()) + checkedFor
	}
}

// fit what is remembered of copies into the room that events leave.
func (t *Tracker) fit() {
	t.sights.shrink(max(0, mostBytes-t.used()+t.sights.bytes()))
}

// used are the bytes that events, and what is remembered of copies, take.
func (t *Tracker) used() int {
	return t.bytes + mapBytes(len(t.checked), checkedBytes) + t.sights.bytes()
}

// sweep drops, once a minute, what is too old to count.
func (t *Tracker) sweep(now tick) {
	if now < t.swept+60*second {
		return
	}
	t.swept = now
	maps.DeleteFunc(t.checked, func(_ seenAt, until tick) bool { return until > 0 && until < now })
	forget := tick(t.opt.ForgetAfter / tickLength)
	var seen []tick
	for _, n := range t.nodes {
		seen = append(seen, n.seen)
	}
	slices.Sort(seen)
	oldest := tick(0)
	if len(seen) > mostNodes {
		oldest = seen[len(seen)-mostNodes]
	}
	known := map[uint32]bool{}
	for name, n := range t.nodes {
		if n.seen+forget >= now && n.seen >= oldest {
			known[n.number] = true
			continue
		}
		delete(t.nodes, name)
		for _, c := range t.classes {
			for i := range c.windows {
				delete(c.windows[i].copies, name)
			}
			c.bad = slices.DeleteFunc(c.bad, func(b BadLook) bool { return b.Layer == name.layer && b.Node == name.name })
		}
	}
	t.sights.forget(known)
}

// mostNodes that are remembered.
const mostNodes = 5 * probes.MostLeft

// node of this name, which is looked at.
func (t *Tracker) node(layer, name string) *node {
	n := t.nodes[nodeName{layer, name}]
	if n == nil {
		t.numbers++
		n = &node{layer: layer, name: name, number: t.numbers}
		t.nodes[nodeName{layer, name}] = n
	}
	return n
}

// Restarted says that a node began anew since it was last looked at: it counts from the beginning. It is called before the copies of the
// sampling in which that was seen are given to Note, Suspect and Look.
func (t *Tracker) Restarted(layer, name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := t.nodes[nodeName{layer, name}]; n != nil {
		t.numbers++
		n.number, n.marks, n.distrusted = t.numbers, nil, 0
	}
}
