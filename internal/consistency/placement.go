package consistency

import "github.com/cacheinv/cacheinv_exporter/probes"

// spot is what a node has to do with one key.
type spot struct {
	// at is the index of the key's read among the node's; below 0: it was not asked.
	at      int32
	moves   uint16
	holding probes.Holding
	moving  bool
}

// unasked stands for the read of a key that a node was not asked for. Nobody writes to it.
var unasked read

// place asks the node which of its layer's keys it has to do with, and leaves only these in its plan.
func (nr *nodeReads) place(p probes.Placer) {
	nr.placer, nr.shared = true, nr.plan
	nr.spots = make([]spot, len(nr.shared.places))
	own := &plan{}
	for i := range nr.shared.keys {
		placed := p.Place(nr.shared.keys[i].Name)
		s := spot{at: -1, moves: uint16(placed.Moves), holding: placed.Holding, moving: placed.Moving}
		if s.holding != probes.Elsewhere {
			s.at = int32(len(own.keys))
			own.places, own.keys = append(own.places, nr.shared.places[i]), append(own.keys, nr.shared.keys[i])
		}
		nr.spots[i] = s
	}
	nr.plan = own
}

// column gives the node's reads of a class that has n keys, and where they are.
func (nr *nodeReads) column(class, n int, col *column) []read {
	if !nr.placer {
		return nr.reads[nr.first[class] : nr.first[class]+n]
	}
	col.spots = nr.spots[nr.shared.first[class]:][:n]
	return nr.reads
}

// lastPlaces lets what the node held when it last said so stand, where its survey failed and nothing is known of it now.
func (c *class) lastPlaces(k *classKeys, col *column) {
	for key := range col.spots {
		s := &col.spots[key]
		h := c.history.keys[k.names[key]]
		if s.holding == probes.Elsewhere && h != nil && col.slot < len(h.copies) && h.copies[col.slot].marks&held != 0 {
			s.holding = probes.Holds
		}
	}
}

// read gives a node's first read of a key.
func (k *classKeys) read(m, key int) *read {
	spots := k.columns[m].spots
	if spots == nil {
		return &k.first[m][key]
	}
	if at := spots[key].at; at >= 0 {
		return &k.first[m][at]
	}
	return &unasked
}

// spot of a key on a node; nodes that do not share keys out hold all of them.
func (k *classKeys) spot(m, key int) spot {
	if spots := k.columns[m].spots; spots != nil {
		return spots[key]
	}
	return spot{at: int32(key), holding: probes.Holds}
}

// foreign: a copy of the key on the node would be a stray.
func (k *classKeys) foreign(m, key int) bool {
	spots := k.columns[m].spots
	return spots != nil && spots[key].holding == probes.Foreign
}

// has: a copy of the key on the node has a state, given its two reads: the node should hold the key, or may and did.
func (k *classKeys) has(m, key int, first, last *read) bool {
	spots := k.columns[m].spots
	if spots == nil {
		return true
	}
	switch spots[key].holding {
	case probes.Elsewhere, probes.Foreign:
		return false
	case probes.Anywhere:
		return first.Presence != Absent || last.Presence != Absent
	}
	return true
}

// gather finds the columns that the key has copies on, and points each replica at its primary's copy.
func (t *tally) gather(key int) {
	k := t.keys
	t.here = t.here[:0]
	t.c.Copies = t.c.Copies[:0]
	t.slots = t.slots[:0]
	for m := range k.columns {
		first, last := t.reads(m, key)
		t.index[m] = -1
		if k.has(m, key, first, last) {
			t.index[m] = len(t.here)
			t.here = append(t.here, m)
			t.c.Copies = append(t.c.Copies, Copy{Layer: k.columns[m].layer, Primary: k.columns[m].primary})
			t.slots = append(t.slots, k.columns[m].slot)
		}
	}
	for i := range t.c.Copies {
		c := &t.c.Copies[i]
		if c.Primary < 0 {
			continue
		}
		if p := t.index[c.Primary]; p >= 0 {
			c.Primary = p
		} else { // as one that is not asked; those that are none of the columns have numbers down to -1-len(columns)
			c.Primary = noPrimary - 1 - len(k.columns) - c.Primary
		}
	}
}

// elsewhere notes the keys of groups that share them out: copies that are strays, and what is remembered of copies that
// have gone to other nodes. One sampling may have seen a slot between two owners; after the second the copy is forgotten,
// but for when it was there.
func (t *tally) elsewhere(key int, h *keyHistory) {
	k := t.keys
	for m := range k.columns {
		spots := k.columns[m].spots
		if spots == nil {
			continue
		}
		_, last := t.reads(m, key)
		past := &h.copies[k.columns[m].slot]
		n := &t.Nodes[m]
		switch {
		case spots[key].holding == probes.Foreign:
			n.StraysRead = n.StraysRead || last.Presence != Unread
			if last.Presence == Present {
				n.Strays++
			}
			fallthrough
		case spots[key].holding == probes.Elsewhere:
			past.marks &^= held | lost | survivor
			if past.marks&away != 0 {
				*past = copyHistory{there: past.there, moves: past.moves, marks: away}
			}
			past.marks |= away
		case t.index[m] < 0: // any server may hold it: this one does not
			if past.episode != nil {
				t.ended(m, past.episode)
			}
			*past = copyHistory{}
		case spots[key].holding == probes.Holds:
			past.marks = past.marks&^away | held
		default:
			past.marks &^= away
		}
	}
}
