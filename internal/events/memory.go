package events

import (
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

func (i *Identity) token() (token uint64, kind uint8) {
	switch {
	case i.CAS > 0:
		return i.CAS, casToken
	case i.ExpiresMS > 0:
		return uint64(i.ExpiresMS), expiryToken
	case i.ETag > 0:
		return i.ETag, etagToken
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
	// node is its number.
	node uint32
	kind uint8
	// held: it was there once. missing: at the last look it was not. other: it held another content before.
	held, missing, other bool
}

// same: the copy is the very one that was stored before.
func (s *sight) same(i *Identity) bool {
	token, kind := i.token()
	return s.held && kind == s.kind && (kind == casToken || kind == expiryToken) && token == s.token && s.content == i.Content
}

// storedAfter gives the last look that saw the copy missing, or with a lower CAS; 0: none is known.
func (s *sight) storedAfter(i *Identity) tick {
	switch {
	case s.same(i):
		return s.after
	case s.missing, s.held && s.kind == casToken && i.CAS > s.token:
		return s.seen
	}
	return 0
}

// add what a look saw; false: what is seen shows that the node's CAS does not rise with time. n is the node, without what this look saw.
func (s *sight) add(i *Identity, n *node, asked, read tick) (rises bool) {
	rises = true
	if !i.Seen {
		s.missing, s.seen = true, asked
		return rises
	}
	token, kind := i.token()
	if !s.same(i) {
		if kind == casToken && (s.missing || s.held && s.kind == casToken) {
			rises = i.CAS > n.highestBy(s.seen) && (!s.held || s.kind != casToken || i.CAS > s.token)
		}
		s.after = s.storedAfter(i)
		changed := s.content != i.Content
		if !s.held || changed {
			s.contentSince, s.other = read, s.held && changed || s.other
		}
		if changed || kind != s.kind || token != s.token || s.missing || !s.held {
			s.since = read
		}
		s.content, s.token, s.kind, s.held = i.Content, token, kind, true
	}
	s.missing, s.seen = false, asked
	return rises
}

// tell what was seen of a copy before it was read as it is now. Looks count as before the event until before, as after it from at.
func (s *sight) tell(e *Evidence, now *Identity, t clock, before tick) {
	if after := s.storedAfter(now); after > 0 {
		e.StoredAfter = t.at(after)
	}
	if !s.held {
		return
	}
	e.Changed = s.content != now.Content || s.other && s.contentSince > t.from(e.At)
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
func (n *node) note(i *Identity, asked, read tick) {
	n.seen = max(n.seen, asked)
	if !i.Seen || i.CAS == 0 {
		return
	}
	last := len(n.marks) - 1
	switch {
	case last >= 0 && asked < n.marks[last].asked+second:
		m := &n.marks[last]
		m.highest, m.asked, m.read = max(m.highest, i.CAS), min(m.asked, asked), max(m.read, read)
	case last >= 0:
		n.marks = append(n.marks, mark{max(n.marks[last].highest, i.CAS), asked, read})
	default:
		n.marks = append(n.marks, mark{i.CAS, asked, read})
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

// saw a copy, of which s is remembered.
func (n *node) saw(s *sight, i *Identity, asked, read tick) {
	if !s.add(i, n, asked, read) {
		n.marks, n.distrusted = nil, asked+distrust
	}
}

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
