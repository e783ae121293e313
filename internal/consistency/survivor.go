package consistency

import (
	"context"
	"time"

	"github.com/cacheinv/cacheinv_exporter/probes"
)

// A survivor is a copy of which another node of its layer has lost its own, without any of the causes that caches have of
// their own: a delete that did not reach everyone. It is known before anything is filled anew, and so before any copy
// is wrong.

// restartSlack is how far a server's account of its uptime may be behind its true one.
const restartSlack = 2 * time.Second

// gone: a copy that the node's first read does not find was there at the last sampling, and nothing that the node tells of
// itself explains its loss.
func (r *round) gone(c *class, k *classKeys, past *copyHistory, m, key int) bool {
	was := past.there
	if k.columns[m].excused || !past.present || was == nil || !was.at.Equal(c.history.sampledAt) || !was.counted || was.replica {
		return false // a replica only follows its primary, whatever made that lose it
	}
	interval := r.began.Sub(was.began)
	if past.life != forever {
		life := time.Duration(past.life) * time.Millisecond
		// A sampling may take longer than what lies between two: until now the copy may have expired.
		if life <= c.layerTTL[k.columns[m].layer]/10 || life <= max(2*interval, time.Since(was.began)) {
			return false
		}
	}
	if s := k.spot(m, key); s.holding != probes.Holds || s.moving || s.moves != past.moves {
		return false
	}
	self := r.told(k.columns[m].result)
	return self.told && self.counted && self.role != "replica" && !self.loading && self.boots == was.boots &&
		seconds(self.uptime)+restartSlack >= interval && self.evicted == was.evicted && 2*self.items >= was.items
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// excuse asks a node that seems to have lost copies for its account once more: what it told before the reads knows nothing
// of what happened between the two. It reports whether that may explain the loss. own are its columns by class.
func (r *round) excuse(ctx context.Context, nr *nodeReads, own []int) bool {
	loss := false
	for i, m := range own {
		loss = loss || m >= 0 && r.keys[i].columns[m].loss
	}
	if !loss {
		return false
	}
	v, err := nr.node.Survey(ctx, nil)
	before := r.told(&nr.result)
	return err != nil || v.Loading || v.RunID != before.runID || v.UptimeSeconds.Value < before.uptime ||
		v.Evicted.Value != before.evicted || 2*v.Items.Value < before.items
}

// survived: another node of the layer still has, in its first read, what this one lost.
func (r *round) survived(c *class, k *classKeys, h *keyHistory, m, key int) bool {
	slot := k.columns[m].slot
	if slot >= len(h.copies) {
		return false
	}
	past := &h.copies[slot]
	if !past.present || !r.gone(c, k, past, m, key) {
		return false
	}
	for other := range k.columns {
		if k.mayOutlive(m, other) && !k.foreign(other, key) && c.outlives(k, h, past, other, k.read(other, key)) {
			return true
		}
	}
	return false
}

// mayOutlive: a copy on one node says something of a lost one on another: it is in the same layer, and both do not share
// a primary.
func (k *classKeys) mayOutlive(lost, other int) bool {
	return k.columns[lost].layer == k.columns[other].layer && k.root(lost) != k.root(other)
}

// root is the column of the primary that a node's copies come from: its own where it is one.
func (k *classKeys) root(m int) int {
	if p := k.columns[m].primary; p != noPrimary {
		return p
	}
	return m
}

// outlives: the node held at the last sampling what the lost copy held, and does now.
func (c *class) outlives(k *classKeys, h *keyHistory, lost *copyHistory, m int, now *read) bool {
	if now.Presence != Present || now.Content != lost.content || k.columns[m].slot >= len(h.copies) {
		return false
	}
	past := &h.copies[k.columns[m].slot]
	return past.present && past.content == lost.content && past.there.at.Equal(c.history.sampledAt)
}

// survivors marks and counts them, before what is remembered of the copies becomes what they are now.
func (t *tally) survivors(key int, h *keyHistory, row []read) {
	if t.c.Reread {
		for i, m := range t.here {
			first, last := &t.c.Copies[i].Reads[0], &t.c.Copies[i].Reads[1]
			past := &h.copies[t.slots[i]]
			if first.Presence == Absent && last.Presence == Absent && past.present && t.round.gone(t.class, t.keys, past, m, key) {
				t.markSurvivors(key, h, m, past)
			}
		}
	}
	marked := false
	for i := range t.here {
		past := &h.copies[t.slots[i]]
		if past.marks&(lost|survivor) == 0 {
			continue
		}
		switch o := &row[i]; {
		case o.Presence == Present && o.Content == past.content:
			past.marks &^= lost
		case o.Presence == Present:
			past.marks &^= lost | survivor
		case o.Presence == Absent:
			past.marks &^= survivor
		}
		marked = marked || past.marks&survivor != 0
	}
	if marked {
		t.countSurvivors(h, row)
	}
}

// markSurvivors of what node m lost.
func (t *tally) markSurvivors(key int, h *keyHistory, m int, past *copyHistory) {
	for i, other := range t.here {
		if !t.keys.mayOutlive(m, other) {
			continue
		}
		first, last := t.reads(other, key)
		if t.class.outlives(t.keys, h, past, other, first) && last.Presence == Present && last.Content == first.Content {
			if k := &h.copies[t.slots[i]]; k.marks&survivor == 0 {
				k.marks = k.marks&^still | survivor
			}
			past.marks |= lost
		}
	}
}

// countSurvivors whose loss still stands: a node that lost the same content is still without the key, or does not say.
func (t *tally) countSurvivors(h *keyHistory, row []read) {
	for i, m := range t.here {
		past := &h.copies[t.slots[i]]
		if past.marks&survivor == 0 {
			continue
		}
		stands := false
		for other, at := range t.here {
			loser := &h.copies[t.slots[other]]
			stands = stands || loser.marks&lost != 0 && loser.content == past.content && t.keys.mayOutlive(at, m)
		}
		switch {
		case !stands:
			past.marks &^= survivor
		case row[i].Presence == Present:
			t.Nodes[m].Survivors++
			if past.marks&still != 0 {
				t.Nodes[m].StillSurvivors++
			}
			past.marks |= still
		}
	}
}
