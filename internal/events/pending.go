package events

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"iter"
	"math/bits"
	"slices"
	"strconv"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/content"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

const (
	// mostPending events of all classes, and mostBytes of them with what is remembered of copies.
	mostPending = 20_000
	mostBytes   = 3_000_000
	// mostBytesNoted are taken when no more canaries are noted of which nothing is remembered. What is left is for events, which come and
	// go: else each one that comes would drop what the next canaries then fill again.
	mostBytesNoted = mostBytes - mostBytes/8
	// mostAgain of them are those that wait for no window, and are looked at again since they are without effect.
	mostAgain = mostPending / 4
	// oldestTaken is how old an event may be when it is first seen.
	oldestTaken = 10 * time.Minute
	// checkedFor is how long after its last look a key is not checked again for the same version.
	checkedFor = tick(10 * time.Minute / tickLength)
	// ineffectiveFor is how long an event without effect is looked at again, from when it was.
	ineffectiveFor = time.Hour
)

// What one of each takes in memory, with its share of the slices and maps that hold it. A test measures them.
const (
	pendingBytes = 80 + 16
	checkedBytes = 8 + 8
	seenKeyBytes = 8 + 24
	sightBytes   = 42
	// roundedUp bytes of an allocation, at the middle.
	roundedUp = 8
)

// mapBytes that so many entries of a size take. A map has a power of two of slots, nearly all of which may be taken, and a byte of each
// beside it.
func mapBytes(entries, size int) int { return (1 + size) << bits.Len(uint(entries+entries*3/8)) }

// pending is an event with looks to come. There may be many.
type pending struct {
	version content.Version
	// text is the trace's id where the event is traced, and then the keys, each behind its length.
	text string
	pos  probes.Position
	// at is when it was, in Unix milliseconds.
	at int64
	// passed is when it was learned that the processor had passed it; 0: it was not.
	passed tick
	// before is up to when looks count as before the event.
	before tick
	// partition is an index into the queue's.
	partition uint16
	// effective are the layers that were seen to be good, by their index.
	effective uint16
	// next is the index of the window of the next look.
	next  uint8
	flags flags
}

type flags uint8

const (
	// behind: it was last learned that the processor has not passed it.
	behind flags = 1 << iota
	// ineffective: the last look was bad.
	ineffective
	// traced: the text begins with the trace's id.
	traced
	// lost: the log that it was in is gone, and it was not learned that the processor had passed it.
	lost
	// over: there are no looks to come.
	over
)

func (p *pending) is(f flags) bool { return p.flags&f != 0 }

func (p *pending) set(f flags, on bool) {
	if p.flags &^= f; on {
		p.flags |= f
	}
}

func (p *pending) time() time.Time { return time.UnixMilli(p.at) }

// traceLength of a trace's id, in bytes of text.
const traceLength = 32

// trace is the trace's id; empty: it has none.
func (p *pending) trace() string {
	if !p.is(traced) {
		return ""
	}
	return p.text[:traceLength]
}

// keys of the event.
func (p *pending) keys() iter.Seq[string] {
	return func(yield func(string) bool) {
		rest := p.text[len(p.trace()):]
		for rest != "" {
			n := int(binary.BigEndian.Uint16([]byte(rest[:2])))
			if !yield(rest[2 : 2+n]) {
				return
			}
			rest = rest[2+n:]
		}
	}
}

// setText to keys, and the id of a trace's parent as W3C writes it.
func (p *pending) setText(keys []string, traceParent string) {
	var b []byte
	if id := traceID(traceParent); id != "" {
		p.set(traced, true)
		b = append(b, id...)
	}
	for _, k := range keys {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(k))), k...)
	}
	p.text = string(b)
}

// traceID of a traceparent, in hexadecimal; empty: it has none.
func traceID(traceParent string) string {
	if len(traceParent) < 55 || traceParent[2] != '-' || traceParent[35] != '-' {
		return ""
	}
	id := traceParent[3 : 3+traceLength]
	for _, c := range []byte(id) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return ""
		}
	}
	return id
}

// bytes that the event takes.
func (p *pending) bytes() int { return pendingBytes + len(p.text) }

// message that was visited, and its place in the count of those that were left out.
type message struct {
	// offered is how many classes may yet take it.
	offered int
	taken   bool
}

// candidate is an event from which a sampling chooses.
type candidate struct {
	priority uint64
	message  *message
	found    found
	event    probes.Event // without its bytes
	before   time.Time
}

// candidates of one sampling: those with the lowest priority are chosen. That is a keyed hash of the key, so that the same keys come
// again, and of a key's second event and those after it, of their number too, so that one key does not take all the room.
type candidates struct {
	mac    hash.Hash
	most   int
	chosen []candidate
	// times that each key was offered, and versions of a key.
	times  map[string]int
	offers map[uint64]bool
}

func newCandidates(hashKey []byte, most int) *candidates {
	return &candidates{mac: hmac.New(sha256.New, hashKey), most: most, times: map[string]int{}, offers: map[uint64]bool{}}
}

// priority of an event of these keys.
func (s *candidates) priority(keys []string) uint64 {
	lowest := ^uint64(0)
	for _, k := range keys {
		s.mac.Reset()
		s.mac.Write([]byte(k))
		if n := s.times[k]; n > 0 {
			s.mac.Write([]byte{0})
			s.mac.Write(strconv.AppendInt(nil, int64(n), 10))
		}
		s.times[k]++
		lowest = min(lowest, binary.BigEndian.Uint64(s.mac.Sum(nil)))
	}
	return lowest
}

// offer an event; lost are those that are not chosen for it.
func (s *candidates) offer(c candidate, lost func(*message)) {
	c.priority = s.priority(c.found.keys)
	s.chosen = append(s.chosen, c)
	c.message.offered++
	if len(s.chosen) > 2*s.most {
		s.cut(lost)
	}
}

func (s *candidates) cut(lost func(*message)) {
	slices.SortStableFunc(s.chosen, func(a, b candidate) int { return cmp.Compare(a.priority, b.priority) })
	for i := min(s.most, len(s.chosen)); i < len(s.chosen); i++ {
		lost(s.chosen[i].message)
		s.chosen[i] = candidate{}
	}
	s.chosen = s.chosen[:min(s.most, len(s.chosen))]
}

// clear for the next sampling. A map keeps its room, which is of use in no other sampling.
func (s *candidates) clear() {
	s.chosen, s.times, s.offers = nil, map[string]int{}, map[uint64]bool{}
}
