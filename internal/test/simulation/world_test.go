// Package simulation is a shop in fake time that knows the truth: a database, writers, invalidations that come late or
// never, and caches that readers fill. The real Sampler samples it, and what it reports of each copy is compared with
// what the database held at that moment. plans_test.go lists what happens, docs/verdict.md has what came of it.
package simulation

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"
)

// value is what the database holds, or held, under a key. Two are the same content only if they are one.
type value struct {
	version int64
	body    []byte
}

// record of a key in the database.
type record struct {
	key string
	// now is what is right; nil: the thing was deleted.
	now *value
	// version given last; a thing made anew begins at 1.
	version int64
	// past are the values with the time from which each counted, the newest last.
	past []valueSince
}

type valueSince struct {
	value   *value
	version int64
	since   time.Time
}

// at gives what the record held at a time.
func (r *record) at(t time.Time) valueSince {
	for i := len(r.past) - 1; i > 0; i-- {
		if !r.past[i].since.After(t) {
			return r.past[i]
		}
	}
	return r.past[0]
}

// world is the shop: all that happens in it is an event. Events are carried out when somebody looks: whatever the order in
// which goroutines come to look, all that was due by then has happened, in its own order.
type world struct {
	plan *plan
	// mu guards all that follows, and the nodes' copies.
	mu      sync.Mutex
	random  *rand.Rand
	events  events
	planned int
	// clock is the time of the event that is carried out.
	clock   time.Time
	records []*record
	byKey   map[string]*record
	// nodes in the order of the plan, primaries before their replicas; layers from the readers' to the database's.
	nodes  []*node
	layers []*layer
	// leaving nodes were replaced, and answer the exporter for a while.
	leaving  []*node
	contents int
}

// layer of nodes. Readers of an upper layer that find nothing there read from the one that it is filled from.
type layer struct {
	layerPlan
	// depth from the top: invalidations reach the lowest layer first, so that none above is filled from what is old.
	depth int
	nodes []*node
	// feeds: another layer is filled from this one, which has no other readers.
	feeds bool
}

func newWorld(p *plan, keys int, seed uint64) *world {
	name := fnv.New64a()
	_, _ = name.Write([]byte(p.name))
	w := &world{
		plan: p, random: rand.New(rand.NewPCG(seed, name.Sum64())), clock: time.Now(), byKey: map[string]*record{},
	}
	for i := range keys {
		r := &record{key: "k" + strconv.Itoa(i)}
		r.set(w.content(r), w.clock)
		w.records, w.byKey[r.key] = append(w.records, r), r
	}
	for depth, lp := range parseLayers(p.nodes) {
		l := &layer{layerPlan: lp, depth: depth}
		w.layers = append(w.layers, l)
		for _, name := range lp.names {
			w.add(l, name)
		}
	}
	for _, l := range w.layers {
		if from := w.layer(l.from); from != nil {
			from.feeds = !from.readers
		}
	}
	for _, n := range w.nodes {
		w.open(n)
	}
	for _, r := range w.records {
		w.every(p.writes, func() { w.write(r) })
		w.after(interval-10*time.Millisecond, func() { w.burst(r) })
	}
	w.planFaults()
	return w
}

func (w *world) layer(name string) *layer {
	for _, l := range w.layers {
		if l.name == name {
			return l
		}
	}
	return nil
}

// content makes the record's next value.
func (w *world) content(r *record) *value {
	w.contents++
	r.version++
	v := &value{version: r.version}
	v.body = fmt.Appendf(nil, `{"n":%d`, w.contents)
	switch p := w.plan; {
	case p.clocks:
		at := w.clock
		if w.chance(p.clockAhead) {
			at = at.Add(2 * time.Hour)
		}
		v.body = fmt.Appendf(v.body, `,"v":%d`, at.UnixMilli())
	case p.versions:
		v.body = fmt.Appendf(v.body, `,"v":%d`, v.version)
	}
	v.body = append(v.body, '}')
	return v
}

func (r *record) set(v *value, at time.Time) {
	r.now = v
	r.past = append(r.past, valueSince{v, r.version, at})
	if len(r.past) > 200 {
		r.past = append(r.past[:0], r.past[100:]...)
	}
}

// write changes a thing in the database and tells the caches.
func (w *world) write(r *record) {
	p, before := w.plan, r.now
	switch {
	case r.now == nil:
		r.set(w.content(r), w.clock)
	case w.chance(p.deletes):
		r.set(nil, w.clock)
		if p.versionsBeginAnew {
			r.version = 0
		}
	default:
		r.set(w.content(r), w.clock)
	}
	w.judge(r)
	w.tell(r, r.now, before)
	if before != nil && r.now != nil && w.chance(p.rolledBack) {
		w.after(time.Second, func() {
			if r.now == before {
				return
			}
			r.set(before, w.clock)
			r.version = before.version
			w.judge(r)
		})
	}
}

// burst of writes while the exporter reads, this time and the next.
func (w *world) burst(r *record) {
	for range w.plan.burst {
		w.after(w.between(0, 45*time.Millisecond), func() { w.write(r) })
	}
	if w.plan.burst > 0 {
		w.after(interval, func() { w.burst(r) })
	}
}

// tell the caches that a thing is now v. before is what it was.
func (w *world) tell(r *record, v, before *value) {
	p := w.plan
	if w.chance(p.untold) {
		return
	}
	base := w.between(p.lag/2, p.lag)
	for _, n := range w.nodes {
		if n.primary != nil || n.layer.ttlOnly || n.cut || w.chance(p.misses[n.role]) {
			continue
		}
		later := time.Duration(len(w.layers)-1-n.layer.depth) * (p.spread + 7*time.Millisecond)
		w.inOrder(n.copies[r.key], base+later+w.between(0, p.spread), func() {
			switch {
			case n.cut:
			case p.pushes && v != nil:
				n.set(r, v)
			default:
				n.drop(r)
			}
		})
	}
	if p.writerKeeps && v != nil { // the instance that wrote has the new value in its own cache
		top := w.layers[0]
		n := top.nodes[w.random.IntN(len(top.nodes))]
		w.inOrder(n.copies[r.key], 0, func() { n.set(r, v) })
	}
	if before != nil && w.chance(p.lateWrites) {
		from := w.random.IntN(len(w.nodes))
		late := w.between(5*time.Second, p.lateBy)
		for i := range p.lateOn {
			n := w.nodes[(from+i)%len(w.nodes)]
			w.after(late+w.between(0, 3*time.Millisecond), func() { n.set(r, before) })
		}
	}
}

// inOrder does what a queue does to a copy after d, though not before what the queue had for it earlier.
func (w *world) inOrder(c *held, d time.Duration, do func()) {
	if first := c.queued.Sub(w.clock); d <= first {
		d = first + time.Microsecond
	}
	c.queued = w.clock.Add(d)
	w.after(d, do)
}

// judge anew which copies of a thing are right.
func (w *world) judge(r *record) {
	for _, nodes := range [][]*node{w.nodes, w.leaving} {
		for _, n := range nodes {
			n.copies[r.key].judge(r, w.clock)
		}
	}
}

// answering are the nodes that the exporter finds.
func (w *world) answering() []*node { return append(slices.Clone(w.nodes), w.leaving...) }

// readSoon lets the next reader come to a node that has lost the key.
func (w *world) readSoon(n *node, r *record) {
	c := n.copies[r.key]
	if n.primary != nil || n.layer.feeds || c.awaited {
		return
	}
	c.awaited = true
	w.after(w.around(w.plan.reads), func() {
		c.awaited = false
		if !c.present() && !n.gone {
			w.fill(n, r)
		}
	})
}

// fill a node for a reader who found nothing.
func (w *world) fill(n *node, r *record) {
	v := r.now
	if n.cut {
		v = nil // nobody reads there
	} else if from := w.layer(n.layer.from); from != nil {
		v = w.fillFrom(from, r)
	}
	if v == nil {
		w.readSoon(n, r)
		return
	}
	took := w.between(time.Millisecond, 3*time.Millisecond)
	if w.chance(w.plan.lateFills) {
		took = w.between(2*time.Second, 20*time.Second)
		w.after(took, func() { n.set(r, v) })
		w.readSoon(n, r) // others read, too
		return
	}
	w.after(took, func() {
		n.set(r, v)
	})
}

// fillFrom gives what a reader finds in a lower layer, which is filled where it holds nothing.
func (w *world) fillFrom(from *layer, r *record) *value {
	n := from.nodes[w.random.IntN(len(from.nodes))]
	if n.cut || n.primary != nil {
		return r.now
	}
	if c := n.copies[r.key]; c.present() {
		return c.value
	}
	if v := r.now; v != nil {
		w.after(time.Millisecond, func() { n.set(r, v) })
	}
	return r.now
}
