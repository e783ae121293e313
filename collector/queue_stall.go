package collector

import (
	"maps"
	"time"

	"github.com/cacheinv/cacheinv_exporter/probes"
)

var queueStalled = gauge("queue_stalled",
	"Whether messages wait in the list and none was taken over --queue.stall-window and 3 samplings (1) or not (0); "+
		"absent until it was watched for so long.", "queue")

// stallSamplings that something must be seen at a standstill before it counts as stalled.
const stallSamplings = 3

// standstill follows for how long messages have waited and nothing moved.
type standstill struct {
	// seen first; idle since, and over so many samplings, messages waited and nothing moved.
	seen, idle        time.Time
	samplings, idling int
}

// observeWait of one sampling: whether messages wait, where that is known, and whether anything moved since the one before.
func (s *standstill) observeWait(waits, known, moved bool, now time.Time) {
	if s.samplings == 0 {
		s.seen = now
	}
	s.samplings++
	switch {
	case moved || known && !waits:
		s.idle, s.idling = time.Time{}, 0
	case !known:
		return
	case s.idle.IsZero():
		s.idle = now
	}
	if waits && !moved {
		s.idling++
	}
}

// stalled is unknown before it was watched for long enough.
func (s *standstill) stalled(window time.Duration, now time.Time) probes.Count {
	if s.samplings < stallSamplings || now.Sub(s.seen) < window {
		return probes.Count{}
	}
	is := s.idling >= stallSamplings && now.Sub(s.idle) >= window
	return probes.Count{Value: number(is), Known: true}
}

// takenCount follows whether messages are taken from a list.
type takenCount struct {
	standstill
	depth float64
	next  map[string]uint64
}

// observeTaken of one sampling of a list. A message was taken where the list is shorter, or another message is at the end
// from which they are taken; where it is not known which end that is, at both.
func (q *queueCount) observeTaken(b *probes.Backlog, now time.Time) {
	if b.Next == nil || !b.Depth.Known {
		q.taken = nil
		return
	}
	if q.taken == nil {
		q.taken = &takenCount{depth: b.Depth.Value, next: b.Next}
	}
	t := q.taken
	moved := b.Depth.Value < t.depth || anotherNext(t.next, b.Next)
	t.depth, t.next = b.Depth.Value, maps.Clone(b.Next)
	t.observeWait(b.Depth.Value > 0, true, moved, now)
}

// anotherNext: at none of the ends is the message that was there before.
func anotherNext(before, now map[string]uint64) bool {
	for end, message := range now {
		if was, ok := before[end]; ok && was == message {
			return false
		}
	}
	return true
}
