package events

import (
	"cmp"
	"hash/maphash"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/content"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// queue that is followed.
type queue struct {
	source string
	after  map[probes.Partition]probes.Position
	// partitions in the order in which they came, and where each is in it.
	partitions []probes.Partition
	index      map[probes.Partition]uint16
	// readAt is when the last sampling began that read to the queue's end.
	readAt time.Time
	counts QueueReport
}

// After gives the positions behind which a queue is to be followed, for EventQueue.Follow.
func (t *Tracker) After(queue string) map[probes.Partition]probes.Position {
	t.mu.Lock()
	defer t.mu.Unlock()
	if q := t.queues[queue]; q != nil {
		return maps.Clone(q.after)
	}
	return nil
}

// Follows reports whether a class takes its keys from the queue.
func (t *Tracker) Follows(queue string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.queues[queue] != nil
}

// of gives the classes that take their keys from a queue.
func (t *Tracker) of(queue string) []*class {
	var out []*class
	for _, c := range t.classes {
		if c.spec.Queue == queue {
			out = append(out, c)
		}
	}
	return out
}

// Visit a message of a queue, as EventQueue.Follow has it visited.
func (t *Tracker) Visit(queue string, e probes.Event) {
	t.mu.Lock()
	classes := t.of(queue)
	t.mu.Unlock()
	now := t.opt.Now()
	read := make([]found, len(classes))
	for i, c := range classes { // an extractor does not change, and reading takes time
		read[i] = c.read(e, now)
	}
	tombstone := e.Value == nil

	t.mu.Lock()
	defer t.mu.Unlock()
	q := t.queues[queue]
	if q == nil {
		return
	}
	before := now
	if !q.readAt.IsZero() {
		before = q.readAt.Add(time.Second)
	}
	e.Key, e.Value = nil, nil
	m := &message{}
	readable, ours, tooOld := tombstone || len(classes) == 0, false, false
	for i, c := range classes {
		f := read[i]
		readable = readable || f.readable
		ours = ours || len(f.keys) > 0 || tombstone && !f.readable || t.classes[c.spec.Class] != c
		switch {
		case len(f.keys) == 0 || t.classes[c.spec.Class] != c:
		case now.Sub(f.at) > oldestTaken:
			tooOld = true
		default:
			if f.keys = t.unchecked(c, f); len(f.keys) > 0 {
				limit := before
				if f.at.Before(limit) {
					limit = f.at
				}
				c.candidates.offer(candidate{message: m, found: f, event: e, before: limit}, q.lose)
			}
		}
	}
	switch {
	case m.offered > 0 || m.taken:
	case tooOld:
		q.counts.Skipped[TooOld]++
	case !readable:
		q.counts.Skipped[Unreadable]++
	case !ours:
		q.counts.Skipped[NoClass]++
	}
}

// lose a message in one class.
func (q *queue) lose(m *message) {
	if m.offered--; m.offered == 0 && !m.taken {
		q.counts.Skipped[Budget]++
	}
}

// unchecked are the keys of an event whose version neither is nor was just checked, and was not offered in this sampling.
func (t *Tracker) unchecked(c *class, f found) []string {
	if f.version.IsZero() {
		return f.keys
	}
	return slices.DeleteFunc(f.keys, func(k string) bool {
		check := t.checkOf(c, k, f.version)
		if until, ok := t.checked[check]; ok && (until == 0 || until > t.clock.by(t.opt.Now())) || c.candidates.offers[uint64(check)] {
			return true
		}
		c.candidates.offers[uint64(check)] = true
		return false
	})
}

// checkOf a key and version.
func (t *Tracker) checkOf(c *class, key string, v content.Version) seenAt {
	var h maphash.Hash
	h.SetSeed(t.sights.seed)
	maphash.WriteComparable(&h, v)
	return t.sights.place(c.number, key) ^ seenAt(h.Sum64())
}

// Sampled says that a sampling of a queue has ended: what was visited in it is chosen from, and how far its groups are is learned. It is
// called after samplings that failed, too, with what they learned; began is when the sampling did.
func (t *Tracker) Sampled(queue string, traits probes.QueueTraits, b *probes.Backlog, began time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	q := t.queues[queue]
	if q == nil {
		return
	}
	now := t.clock.from(t.opt.Now())
	t.sweep(t.clock.by(t.opt.Now()))
	if b != nil && b.Followed != nil {
		t.loseLogs(queue, b.Followed.Anew)
	}
	t.dropAgain()
	for _, c := range t.of(queue) {
		c.candidates.cut(q.lose)
		for _, k := range c.candidates.chosen {
			if !t.take(c, q, k) {
				q.lose(k.message)
			}
		}
		c.candidates.clear()
		for _, p := range c.events {
			switch {
			case p.passed > 0, p.is(lost):
			case traits.AtOnce:
				p.passed = now
			default:
				passed, known := c.progress(b, q.partitions[p.partition], p.pos)
				if passed && known {
					p.passed = now
				}
				p.set(behind, known && !passed)
			}
		}
	}
	if b != nil && b.Followed != nil {
		q.after, q.readAt = maps.Clone(b.Followed.After), began
		q.counts.Seen += uint64(max(b.Followed.Seen, 0))
		q.counts.Skipped[Budget] += uint64(max(b.Followed.LeftOut, 0))
	}
	t.fit()
}

// dropAgain some of those that are only looked at again, where they are so many that they would take the room of events to come. Of each
// minute some stay, so that the age of the oldest does.
func (t *Tracker) dropAgain() {
	type again struct {
		c *class
		p *pending
	}
	var all []again
	for _, c := range t.classes {
		for _, p := range c.events {
			if p.is(ineffective) && int(p.next) >= len(c.spec.Windows) {
				all = append(all, again{c, p})
			}
		}
	}
	if len(all) <= mostAgain {
		return
	}
	slices.SortFunc(all, func(a, b again) int { return cmp.Compare(a.p.at, b.p.at) })
	minute, kept := int64(0), 0
	for _, a := range all {
		if m := a.p.at / time.Minute.Milliseconds(); m != minute {
			minute, kept = m, 0
		}
		if kept++; kept > mostAgain/int(ineffectiveFor.Minutes()) {
			t.finish(a.c, a.p)
		}
	}
}

// loseLogs of partitions that are made anew, of whose events positions tell nothing any more.
func (t *Tracker) loseLogs(queue string, anew map[probes.Partition]bool) {
	if len(anew) == 0 {
		return
	}
	for _, c := range t.of(queue) {
		for _, p := range c.events {
			if p.passed == 0 && anew[t.queues[queue].partitions[p.partition]] {
				p.set(lost, true)
				p.set(behind, false)
			}
		}
	}
}

// take an event that was chosen; false: there is no room.
func (t *Tracker) take(c *class, q *queue, k candidate) bool {
	p := &pending{version: k.found.version, pos: k.event.At, at: k.found.at.UnixMilli(), before: t.clock.by(k.before)}
	p.setText(k.found.keys, k.event.TraceParent)
	i, ok := q.index[k.event.Partition]
	if t.pending >= mostPending || t.bytes+p.bytes()+mapBytes(len(t.checked)+len(k.found.keys), checkedBytes) > mostBytes || !ok && len(q.partitions) > math.MaxUint16 {
		return false
	}
	if !ok {
		i = uint16(len(q.partitions))
		q.partitions = append(q.partitions, k.event.Partition)
		q.index[k.event.Partition] = i
	}
	p.partition = i
	if !p.version.IsZero() {
		for _, key := range k.found.keys {
			t.checked[t.checkOf(c, key, p.version)] = 0
		}
	}
	k.message.taken = true
	c.events = append(c.events, p)
	t.pending++
	t.bytes += p.bytes()
	return true
}

// progress of the group that counts, or of all groups: whether a message is passed. Not known: nothing was learned of one of them.
func (c *class) progress(b *probes.Backlog, partition probes.Partition, at probes.Position) (passed, known bool) {
	if b == nil {
		return false, false
	}
	passed, known = true, true
	asked := false
	for i := range b.Groups {
		g := &b.Groups[i]
		if c.spec.Group != "" && g.Group != c.spec.Group || c.spec.Group == "" && g.Leftover {
			continue
		}
		asked = true
		if g.Passed == nil {
			known = false
			continue
		}
		p, k := g.Passed(partition, at)
		if k && !p {
			return false, true
		}
		known = known && k
	}
	return passed && known && asked, known && asked
}
