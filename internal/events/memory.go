package events

import (
	"cmp"
	"hash/maphash"
	"slices"
	"time"
)

// tick counts tenths of a second since a Tracker began; 0 is before that. As there are as many as keys and nodes, they are small.
type tick uint32

const (
	tickLength = 100 * time.Millisecond
	second     = tick(time.Second / tickLength)
)

// clock of a Tracker.
type clock struct{ began time.Time }

// by gives the last tick that is not after a time.
func (c clock) by(t time.Time) tick {
	if t.Before(c.began) {
		return 0
	}
	return tick(min(t.Sub(c.began)/tickLength, 1<<32-2)) + 1
}

// from gives the first tick that is not before a time.
func (c clock) from(t time.Time) tick { return c.by(t.Add(tickLength - 1)) }

// at is the time of a tick; zero: of none.
func (c clock) at(t tick) time.Time {
	if t == 0 {
		return time.Time{}
	}
	return c.began.Add(time.Duration(t-1) * tickLength)
}

// tokens that tell one storing of a copy from the next.
const (
	noToken uint8 = iota
	casToken
	expiryToken
	etagToken
)

func tokenOf(c *Copy) (token uint64, kind uint8) {
	switch {
	case c.CAS > 0:
		return c.CAS, casToken
	case c.ExpiresMS > 0:
		return uint64(c.ExpiresMS), expiryToken
	case c.ETag > 0:
		return c.ETag, etagToken
	}
	return 0, noToken
}

// sight is what looks saw of a copy. There are as many as keys and nodes.
type sight struct {
	content, token uint64
	// since and contentSince are when both together and the content alone were first seen, where the last look, or the last but those
	// that found nothing, saw them.
	since, contentSince tick
	// after is the last look that saw the copy missing, or with a lower CAS, before what it is now; 0: none did.
	after tick
	// seen is the last look.
	seen tick
	kind uint8
	// held: it was there once. missing: at the last look it was not. other: it held another content before.
	held, missing, other bool
}

// same: the copy is the very one that was stored before.
func (s *sight) same(c *Copy) bool {
	token, kind := tokenOf(c)
	return s.held && kind == s.kind && (kind == casToken || kind == expiryToken) && token == s.token && s.content == ContentOf(c.Digest)
}

// storedAfter gives the last look that saw the copy missing, or with a lower CAS; 0: none is known.
func (s *sight) storedAfter(c *Copy) tick {
	switch {
	case s.same(c):
		return s.after
	case s.missing, s.held && s.kind == casToken && c.CAS > s.token:
		return s.seen
	}
	return 0
}

// add what a look saw; false: what is seen shows that the node's CAS does not rise with time. highest is the node's by the last look.
func (s *sight) add(c *Copy, t clock, highest uint64) (rises bool) {
	asked, read := t.by(c.Asked), t.from(c.Read)
	rises = true
	if !c.Present {
		s.missing, s.seen = true, asked
		return rises
	}
	token, kind := tokenOf(c)
	if !s.same(c) {
		if kind == casToken && (s.missing || s.held && s.kind == casToken) {
			rises = c.CAS > highest && (!s.held || s.kind != casToken || c.CAS > s.token)
		}
		s.after = s.storedAfter(c)
		changed := s.content != ContentOf(c.Digest)
		if !s.held || changed {
			s.contentSince, s.other = read, s.held && changed || s.other
		}
		if changed || kind != s.kind || token != s.token || s.missing || !s.held {
			s.since = read
		}
		s.content, s.token, s.kind, s.held = ContentOf(c.Digest), token, kind, true
	}
	s.missing, s.seen = false, asked
	return rises
}

// tell what was seen of a copy before it was read as it is now. Looks count as before the event until before, as after it from at.
func (s *sight) tell(e *Evidence, c *Copy, t clock, before tick) {
	if after := s.storedAfter(c); after > 0 {
		e.StoredAfter = t.at(after)
	}
	if !s.held {
		return
	}
	e.Changed = s.content != ContentOf(c.Digest) || s.other && s.contentSince > t.from(e.At)
	if s.contentSince > before {
		return
	}
	e.Before = Identity{Seen: true, Content: s.content}
	if s.since > before {
		return
	}
	switch s.kind {
	case casToken:
		e.Before.CAS = s.token
	case expiryToken:
		e.Before.ExpiresMS = int64(s.token)
	case etagToken:
		e.Before.ETag = s.token
	}
}

// node is what is known of a node.
type node struct {
	layer, name string
	// number is another one once the node began anew.
	number uint32
	// marks are rounds of looks, the oldest first. Their highest never falls.
	marks []mark
	// distrusted: until then its CAS is no evidence, since it was seen not to rise with time.
	distrusted tick
	seen       tick
}

// mark is a round of looks at a node.
type mark struct {
	// highest CAS that was seen by then.
	highest uint64
	// asked is when its first reading began, read when its last one had ended.
	asked, read tick
}

const (
	// mostMarks of a node. Where there are more, every second of the older half is dropped, which takes evidence away, and makes none.
	mostMarks = 64
	// distrust is how long a CAS that does not rise is no evidence.
	distrust = tick(time.Hour / tickLength)
)

// note the CAS of a copy.
func (n *node) note(c *Copy, t clock) {
	asked, read := t.by(c.Asked), t.from(c.Read)
	n.seen = max(n.seen, asked)
	if c.Failed || !c.Present || c.CAS == 0 {
		return
	}
	last := len(n.marks) - 1
	switch {
	case last >= 0 && asked < n.marks[last].asked+second:
		m := &n.marks[last]
		m.highest, m.asked, m.read = max(m.highest, c.CAS), min(m.asked, asked), max(m.read, read)
	case last >= 0:
		n.marks = append(n.marks, mark{max(n.marks[last].highest, c.CAS), asked, read})
	default:
		n.marks = append(n.marks, mark{c.CAS, asked, read})
	}
	if len(n.marks) > mostMarks {
		kept := n.marks[:0]
		for i, m := range n.marks {
			if i%2 == 0 || i >= mostMarks/2 {
				kept = append(kept, m)
			}
		}
		n.marks = kept
	}
}

// distrustFrom now on.
func (n *node) distrustFrom(now tick) { n.marks, n.distrusted = nil, now+distrust }

// highestBy a time; 0: no look had seen any.
func (n *node) highestBy(by tick) uint64 {
	for _, m := range slices.Backward(n.marks) {
		if m.read <= by {
			return m.highest
		}
	}
	return 0
}

// highestAfter is the highest by the first look after a time that was over before until; 0: there was none.
func (n *node) highestAfter(after, until tick) uint64 {
	for _, m := range n.marks {
		if m.asked > after {
			if m.read+second <= until {
				return m.highest
			}
			return 0
		}
	}
	return 0
}

// seenAt is where a copy is remembered: a hash of the class, the node and the key.
type seenAt uint64

// sights are what looks saw of copies, by a keyed hash of the class, the key and the node.
type sights struct {
	seed maphash.Seed
	by   map[seenAt]sight
	// evicted were dropped since others needed the room.
	evicted uint64
}

func (s *sights) place(class uint32, key string, node uint32) seenAt {
	var h maphash.Hash
	h.SetSeed(s.seed)
	maphash.WriteComparable(&h, [2]uint32{class, node})
	_, _ = h.WriteString(key) // it never fails
	return seenAt(h.Sum64())
}

// shrink to a number of them: those that were not looked at for the longest time are dropped, some more at once than need be, so that it is
// seldom done. The map is made anew, as one keeps its room.
func (s *sights) shrink(most int) {
	if len(s.by) <= most {
		return
	}
	type old struct {
		at   seenAt
		seen tick
	}
	all := make([]old, 0, len(s.by))
	for at, v := range s.by {
		all = append(all, old{at, v.seen})
	}
	slices.SortFunc(all, func(a, b old) int { return cmp.Compare(b.seen, a.seen) })
	kept := make(map[seenAt]sight, most)
	for _, o := range all[:most-most/8] {
		kept[o.at] = s.by[o.at]
	}
	s.evicted += uint64(len(s.by) - len(kept))
	s.by = kept
}
