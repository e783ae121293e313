package consistency

import (
	"github.com/cacheinv/cacheinv_exporter/internal/verdict"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// placement of one key in a group that shares keys out, as seen from one node: whether the node should hold the key, and
// where its read is found. placeKeys fills one for each key of the node's layer, before the first reads.
type placement struct {
	// at is the index of the key's read among the node's; below 0: it was not asked.
	at      int32
	moves   uint16
	holding probes.Holding
	moving  bool
}

// unasked stands for the read of a key that a node was not asked for. Nobody writes to it.
var unasked reading

// placeKeys asks the node which of its layer's keys it has to do with, and leaves only these in its plan.
func (nr *nodeReads) placeKeys(p probes.Placer) {
	nr.placer, nr.shared = true, nr.plan
	nr.placements = make([]placement, len(nr.shared.at))
	own := &plan{}
	for i := range nr.shared.keys {
		placed, at := p.Place(nr.shared.keys[i].Name), nr.shared.at[i]
		s := placement{at: -1, moves: uint16(placed.Moves), holding: placed.Holding, moving: placed.Moving}
		if s.holding == probes.Foreign {
			at.look = 0 // nobody reads it here
		}
		if s.holding != probes.Elsewhere && (at.look > 0 || at.key != noCanary) {
			s.at = int32(len(own.keys))
			own.add(at, nr.shared.keys[i])
		}
		nr.placements[i] = s
	}
	nr.plan = own
}

// rememberedPlaces lets what the node held when it last said so stand, where its survey failed and nothing is known of it
// now.
func (c *class) rememberedPlaces(k *classKeys, col *nodeColumn) {
	for key := range col.placements {
		s := &col.placements[key]
		h := c.memory.keys[k.names[key]]
		if s.holding != probes.Elsewhere || h == nil {
			continue
		}
		if memory := h.copyAt(col.memoryAt); memory != nil && memory.marks&markHeld != 0 {
			s.holding = probes.Holds
		}
	}
}

// placement of a key on a node; nodes that do not share keys out hold all of them.
func (col *nodeColumn) placement(key int) placement {
	if col.placements != nil {
		return col.placements[key]
	}
	return placement{at: int32(key), holding: probes.Holds}
}

// foreign: a copy of the key on the node would be a stray.
func (col *nodeColumn) foreign(key int) bool {
	return col.placements != nil && col.placements[key].holding == probes.Foreign
}

// has: a copy of the key on the node has a state, given its two reads: the node should hold the key, or may and did.
func (col *nodeColumn) has(key int, first, last *reading) bool {
	if col.placements == nil {
		return true
	}
	switch col.placements[key].holding {
	case probes.Elsewhere, probes.Foreign:
		return false
	case probes.Anywhere:
		return first.Presence != verdict.Absent || last.Presence != verdict.Absent
	}
	return true
}

// gather makes the case of the nodes that the key has copies on.
func (ct *counts) gather(key int) {
	ct.copies, ct.c.Copies = ct.copies[:0], ct.c.Copies[:0]
	for i := range ct.columns {
		on := &ct.columns[i]
		first, last := ct.reads(on.column, key)
		on.inCase = on.column.has(key, first, last)
		if on.inCase {
			ct.add(on)
		}
	}
	ct.pointAtPrimaries()
}

// elsewhere notes the keys of groups that share them out: copies that are strays, and what is remembered of copies that
// have gone to other nodes. One sampling may have seen a slot between two owners; after the second the copy is forgotten,
// but for when it was there.
func (ct *counts) elsewhere(key int, h *keyMemory) {
	for i := range ct.columns {
		on := &ct.columns[i]
		if on.column.placements == nil {
			continue
		}
		memory := &h.copies[on.column.memoryAt]
		switch holding := on.column.placements[key].holding; {
		case holding == probes.Foreign:
			_, last := ct.reads(on.column, key)
			on.node.StraysRead = on.node.StraysRead || last.Presence != verdict.Unread
			if last.Presence == verdict.Present {
				on.node.Strays++
			}
			memory.leave()
		case holding == probes.Elsewhere:
			memory.leave()
		case !on.inCase: // any server may hold it: this one does not
			if memory.episode != nil {
				ct.ended(on.column, memory.episode)
			}
			*memory = copyMemory{}
		case holding == probes.Holds:
			memory.marks = memory.marks&^markAway | markHeld
		default:
			memory.marks &^= markAway
		}
	}
}

// leave notes that other nodes hold the copy's key.
func (memory *copyMemory) leave() {
	memory.marks &^= markHeld | markLost | markSurvivor
	if memory.marks&markAway != 0 {
		*memory = copyMemory{lastPresent: memory.lastPresent, moves: memory.moves, marks: markAway}
	}
	memory.marks |= markAway
}
