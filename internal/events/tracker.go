package events

import (
	"cmp"
	"errors"
	"fmt"
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

// mostWindows and mostLayers of a class: what is pending counts them in a byte, and a bit each.
const (
	mostWindows = 16
	mostLayers  = 16
)

// Configure says what is followed from now on. What was learned stays where the configuration still justifies it: a class, window,
// layer or queue that is gone takes along what belongs to it. The error names what is wrong with each spec that can't be
// followed; the others are.
func (t *Tracker) Configure(specs []Spec) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	classes, queues := map[string]*class{}, map[string]*queue{}
	var faults []error
	for _, s := range specs {
		c, err := t.newClass(s)
		if err != nil {
			faults = append(faults, fmt.Errorf("class %s: events: %w", s.Class, err))
			continue
		}
		old := t.classes[s.Class]
		c.keep(old)
		if old == nil || old.spec.Queue != s.Queue || old.spec.Contents != s.Contents {
			t.numbers++
			c.number = t.numbers
		} else {
			t.keepEvents(c, old)
			delete(t.classes, s.Class)
		}
		classes[s.Class] = c
		if queues[s.Queue] == nil {
			if queues[s.Queue] = t.queues[s.Queue]; queues[s.Queue] == nil {
				queues[s.Queue] = &queue{index: map[probes.Partition]uint16{}}
			}
		}
	}
	for _, gone := range t.classes {
		for _, p := range gone.events {
			t.finish(gone, p)
		}
	}
	t.classes, t.queues = classes, queues
	return errors.Join(faults...)
}

func (t *Tracker) newClass(s Spec) (*class, error) {
	s.Windows = slices.Clone(s.Windows)
	slices.SortFunc(s.Windows, func(a, b Window) int { return cmp.Compare(a.Age, b.Age) })
	if len(s.Windows) == 0 || len(s.Windows) > mostWindows || len(s.Layers) > mostLayers {
		return nil, fmt.Errorf("has %d windows and %d layers; at most %d and %d can be looked at", len(s.Windows), len(s.Layers), mostWindows, mostLayers)
	}
	c := &class{spec: s, candidates: newCandidates(t.opt.HashKey, s.Sample), windows: make([]windowCounts, len(s.Windows))}
	for i := range c.windows {
		c.windows[i].copies = map[nodeName]*[NumResults]uint64{}
	}
	var err error
	c.extractor, err = newExtractor(&c.spec)
	return c, err
}

// keep the counts of the windows and layers that are still there, and what was bad at them.
func (c *class) keep(old *class) {
	if old == nil {
		return
	}
	gone := func(layer string) bool { return c.layer(layer) < 0 }
	for i, w := range c.spec.Windows {
		if at := slices.Index(old.spec.Windows, w); at >= 0 {
			c.windows[i] = old.windows[at]
			maps.DeleteFunc(c.windows[i].copies, func(n nodeName, _ *[NumResults]uint64) bool { return gone(n.layer) })
		}
	}
	label := func(s string) bool {
		return slices.ContainsFunc(c.spec.Windows, func(w Window) bool { return w.Label == s })
	}
	c.bad = slices.DeleteFunc(old.bad, func(b BadLook) bool { return gone(b.Layer) || !label(b.Window) })
	c.effects = slices.DeleteFunc(old.effects, func(e Effect) bool { return gone(e.Layer) })
}

// keepEvents of a class whose windows and layers may have changed.
func (t *Tracker) keepEvents(c, old *class) {
	c.number = old.number
	for _, p := range old.events {
		looked := time.Duration(0)
		if p.next > 0 {
			looked = old.spec.Windows[p.next-1].Age
		}
		p.next = 0
		for _, w := range c.spec.Windows {
			if w.Age <= looked {
				p.next++
			}
		}
		effective := uint16(0)
		for i, l := range old.spec.Layers {
			if at := c.layer(l.Name); at >= 0 && p.effective&(1<<i) != 0 {
				effective |= 1 << at
			}
		}
		p.effective = effective
		if c.settled(p) {
			t.finish(old, p)
			continue
		}
		c.events = append(c.events, p)
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
