package consistency

import (
	"context"
	"math"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/verdict"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// A survivor is a copy of which another node of its layer has lost its own, without any of the causes that caches have of
// their own: a delete that did not reach everyone. It is known before anything is filled anew, and so before any copy
// is wrong.

// restartSlack is how far a server's account of its uptime may be behind its true one.
const restartSlack = 2 * time.Second

// gone: a copy that the node's first read does not find was there at the last sampling, and nothing that the node tells of
// itself explains its loss.
func (r *round) gone(c *class, col *nodeColumn, memory *copyMemory, key int) bool {
	before := memory.lastPresent
	if col.lossExplained || !memory.present || before == nil || !before.at.Equal(c.memory.sampledAt) || !before.counted || before.replica {
		return false // a replica only follows its primary, whatever made that lose it
	}
	interval := r.began.Sub(before.began)
	if memory.ttlLeft != forever {
		ttlLeft := time.Duration(memory.ttlLeft) * time.Millisecond
		// A sampling may take longer than what lies between two: until now the copy may have expired.
		if ttlLeft <= c.perLayer[col.layer].ttl/10 || ttlLeft <= max(2*interval, time.Since(before.began)) {
			return false
		}
	}
	if s := col.placement(key); s.holding != probes.Holds || s.moving || s.moves != memory.moves {
		return false
	}
	self := r.lastKnown(col.result)
	return self.answered && self.counted && self.role != "replica" && !self.loading && self.boots == before.boots &&
		seconds(self.uptime)+restartSlack >= interval && self.evicted == before.evicted && 2*self.items >= before.items
}

// mostUptime is what a larger one is taken for: a Duration ends at 292 years, and what is beyond becomes negative.
const mostUptime = 100 * 365 * 24 * 3600

func seconds(uptime float64) time.Duration {
	return time.Duration(min(uptime, mostUptime) * float64(time.Second))
}

// explainLoss asks a node that seems to have lost copies for its account once more: what it told before the reads knows
// nothing of what happened between the two. It reports whether that may explain the loss.
func (r *round) explainLoss(ctx context.Context, nr *nodeReads) bool {
	seen := false
	for _, col := range nr.columns {
		seen = seen || col != nil && col.lossSeen
	}
	if !seen {
		return false
	}
	v, err := nr.node.Survey(ctx, nil)
	before := r.lastKnown(&nr.result)
	return err != nil || v.Loading || v.RunID != before.runID || v.UptimeSeconds.Value < before.uptime ||
		v.Evicted.Value != before.evicted || 2*v.Items.Value < before.items
}

// survived: another node of the layer still has, in its first read, what this one lost.
func (r *round) survived(c *class, k *classKeys, h *keyMemory, col *nodeColumn, key int) bool {
	memory := h.copyAt(col.memoryAt)
	if memory == nil || !memory.present || !r.gone(c, col, memory, key) {
		return false
	}
	for i := range k.columns {
		other := &k.columns[i]
		if other.mayOutlive(col) && !other.foreign(key) && c.outlives(h, memory, other, other.read(key)) {
			return true
		}
	}
	return false
}

// outlives: the node held at the last sampling what the lost copy held, and does now.
func (c *class) outlives(h *keyMemory, gone *copyMemory, col *nodeColumn, now *reading) bool {
	memory := h.copyAt(col.memoryAt)
	if now.Presence != verdict.Present || now.Content != gone.content || memory == nil {
		return false
	}
	return memory.present && memory.content == gone.content && memory.lastPresent.at.Equal(c.memory.sampledAt)
}

// survivors marks and counts them, before what is remembered of the copies becomes what they are now.
func (ct *counts) survivors(key int, h *keyMemory) {
	if ct.c.Reread {
		for i := range ct.copies {
			cp := &ct.copies[i]
			absent := cp.first.Presence == verdict.Absent && cp.last.Presence == verdict.Absent
			if absent && cp.memory.present && ct.round.gone(ct.class, cp.on.column, cp.memory, key) {
				ct.markSurvivors(h, cp)
			}
		}
	}
	marked := false
	for i := range ct.copies {
		memory := ct.copies[i].memory
		if memory.marks&(markLost|markSurvivor) == 0 {
			continue
		}
		switch o := ct.copies[i].last; {
		case o.Presence == verdict.Present && o.Content == memory.content:
			memory.marks &^= markLost
		case o.Presence == verdict.Present:
			memory.marks &^= markLost | markSurvivor
		case o.Presence == verdict.Absent:
			memory.marks &^= markSurvivor
		}
		marked = marked || memory.marks&markSurvivor != 0
	}
	if marked {
		ct.countSurvivors()
	}
}

// markSurvivors of a copy that is gone.
func (ct *counts) markSurvivors(h *keyMemory, gone *copyCount) {
	for i := range ct.copies {
		cp := &ct.copies[i]
		if !cp.on.column.mayOutlive(gone.on.column) {
			continue
		}
		if ct.class.outlives(h, gone.memory, cp.on.column, cp.first) && cp.last.Presence == verdict.Present && cp.last.Content == cp.first.Content {
			if cp.memory.marks&markSurvivor == 0 {
				cp.memory.marks = cp.memory.marks&^markStill | markSurvivor
				cp.memory.markedSince = ct.round.began.UnixNano()
			}
			gone.memory.marks |= markLost
			gone.memory.markedSince = ct.round.began.UnixNano()
		}
	}
}

// countSurvivors of a loss that has stood for longer than the layer's max_staleness: a node that lost the same content is
// still without the key, or does not say. Of several losses the first that stands counts.
func (ct *counts) countSurvivors() {
	for i := range ct.copies {
		cp := &ct.copies[i]
		if cp.memory.marks&markSurvivor == 0 {
			continue
		}
		stands, since := false, int64(math.MaxInt64)
		for other := range ct.copies {
			loser := &ct.copies[other]
			if loser.memory.marks&markLost != 0 && loser.memory.content == cp.memory.content && cp.on.column.mayOutlive(loser.on.column) {
				stands, since = true, min(since, loser.memory.markedSince)
			}
		}
		since = max(since, cp.memory.markedSince) // what was lost before the copy was there says nothing of it
		switch {
		case !stands:
			cp.memory.marks &^= markSurvivor
		case cp.last.Presence == verdict.Present:
			if ct.at.Sub(time.Unix(0, since)) > ct.c.Layers[cp.on.column.layer] {
				cp.survivor = true
				cp.on.node.Survivors++
				if cp.memory.marks&markStill != 0 {
					cp.on.node.StillSurvivors++
				}
			}
			cp.memory.marks |= markStill
		}
	}
}
