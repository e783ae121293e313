package events

import (
	"cmp"
	"hash/maphash"
	"slices"
	"time"
)

// sights are what looks saw of copies. Those of one key lie together: its nodes are looked at in turn, and where there are many keys, to
// get at what is remembered of one takes longer than all that is then done with it.
type sights struct {
	seed maphash.Seed
	// by key. A key's are in the order of the nodes' numbers, and take no more room than they need.
	by map[seenAt][]sight
	// copies of all keys.
	copies int
	// evicted were dropped since others needed the room.
	evicted uint64
}

// seenAt is where a key's copies are remembered: a keyed hash of the class and the key.
type seenAt uint64

func (s *sights) place(class uint32, key string) seenAt {
	return seenAt(maphash.String(s.seed, key)) ^ seenAt(class)
}

// bytes that are taken.
func (s *sights) bytes() int { return s.bytesWith(0, 0) }

// bytesWith so many keys and copies more.
func (s *sights) bytesWith(keys, copies int) int {
	keys += len(s.by)
	return mapBytes(keys, seenKeyBytes) + keys*roundedUp + (s.copies+copies)*sightBytes
}

// on a node, what was seen of a key; nil: nothing. It is valid until another copy of the key is remembered.
func (s *sights) on(n *node, key seenAt) *sight {
	of := s.by[key]
	if i, known := find(of, n); known {
		return &of[i]
	}
	return nil
}

// remember a copy of which nothing was seen.
func (s *sights) remember(n *node, key seenAt) *sight {
	old := s.by[key]
	i, _ := find(old, n)
	of := make([]sight, len(old)+1)
	copy(of, old[:i])
	of[i].node = n.number
	copy(of[i+1:], old[i:])
	s.by[key] = of
	s.copies++
	return &of[i]
}

func find(of []sight, n *node) (i int, known bool) {
	return slices.BinarySearchFunc(of, n.number, func(s sight, number uint32) int { return cmp.Compare(s.node, number) })
}

// forget what was seen on nodes that are not known by these numbers any more.
func (s *sights) forget(known map[uint32]bool) {
	for key, of := range s.by {
		kept := slices.DeleteFunc(of, func(s sight) bool { return !known[s.node] })
		switch {
		case len(kept) == len(of):
			continue
		case len(kept) == 0:
			delete(s.by, key)
		default:
			s.by[key] = slices.Clone(kept)
		}
		s.copies -= len(of) - len(kept)
	}
}

// shrink to a number of bytes: keys that were not looked at for the longest time are dropped, some more at once than need be, so that it is
// seldom done. The map is made anew, as one keeps its room.
func (s *sights) shrink(most int) {
	if s.bytes() <= most {
		return
	}
	type old struct {
		key  seenAt
		seen tick
	}
	all := make([]old, 0, len(s.by))
	for key, of := range s.by {
		last := slices.MaxFunc(of, func(a, b sight) int { return cmp.Compare(a.seen, b.seen) })
		all = append(all, old{key, last.seen})
	}
	slices.SortFunc(all, func(a, b old) int { return cmp.Compare(b.seen, a.seen) })
	kept := sights{seed: s.seed, by: map[seenAt][]sight{}, evicted: s.evicted + uint64(s.copies)}
	for _, o := range all {
		of := s.by[o.key]
		if kept.bytesWith(1, len(of)) > most-most/8 {
			break
		}
		kept.by[o.key] = of
		kept.copies += len(of)
	}
	kept.evicted -= uint64(kept.copies)
	*s = kept
}

// NodeNotes are copies on a node that were read for another reason than a look, as canaries.
type NodeNotes struct {
	Layer, Node string
	// Asked and Read are when their reading began and had ended.
	Asked, Read time.Time
	Copies      []Noted
}

// Noted is a key's copy.
type Noted struct {
	Class, Key string
	// Identity is not Seen where the copy is missing.
	Identity
}

// Note copies of canaries: that is a look, too, which later ones are compared with. Keys that are given to Look are not noted besides. The
// nodes take turns, so that copies of one key follow each other where all nodes gave the same keys.
func (t *Tracker) Note(notes []NodeNotes) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.classes) == 0 {
		return
	}
	type place struct {
		node        *node
		asked, read tick
	}
	places, most := make([]place, len(notes)), 0
	for i := range notes {
		n := &notes[i]
		places[i] = place{t.node(n.Layer, n.Node), t.clock.by(n.Asked), t.clock.from(n.Read)}
		most = max(most, len(n.Copies))
	}
	before := &Noted{}
	var key seenAt
	remembered := false
	for turn := range most {
		for i := range notes {
			if turn >= len(notes[i].Copies) {
				continue
			}
			c, at := &notes[i].Copies[turn], &places[i]
			if c.Key != before.Key || c.Class != before.Class {
				k := t.classes[c.Class]
				if remembered = k != nil && len(c.Key) <= longestKey; remembered {
					key = t.sights.place(k.number, c.Key)
				}
				before = c
			}
			if remembered {
				t.note(at.node, key, &c.Identity, at.asked, at.read)
			}
			at.node.note(&c.Identity, at.asked, at.read)
		}
	}
}

// note a copy of a key, unless nothing was seen of it and there is no room.
func (t *Tracker) note(n *node, key seenAt, i *Identity, asked, read tick) {
	s := t.sights.on(n, key)
	if s == nil && t.used()-t.sights.bytes()+t.sights.bytesWith(1, 1) <= mostBytesNoted {
		s = t.sights.remember(n, key)
	}
	if s != nil {
		n.saw(s, i, asked, read)
	}
}
