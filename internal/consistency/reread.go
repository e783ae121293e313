package consistency

import (
	"context"
	"slices"
	"sync"

	"github.com/cacheinv/cacheinv_exporter/internal/content"
	"github.com/cacheinv/cacheinv_exporter/internal/pause"
	"github.com/cacheinv/cacheinv_exporter/internal/verdict"
)

// suspicious: the copies of a key differ from each other, from the origin or from what is remembered, or are too
// old, or a node gave an answer that makes no sense: all of them are read again. Only then can a write on its way be told
// from a copy that is wrong.
func (r *round) suspicious(c *class, k *classKeys, key int) bool {
	h := c.memory.keys[k.names[key]]
	found := false
	var before *reading
	for i := range k.columns {
		col := &k.columns[i]
		if col.foreign(key) {
			continue // it is never compared
		}
		o := col.read(key)
		switch {
		case o.suspect:
			found = true
		case o.Presence == verdict.Present:
			found = found || o.differsInItself() || before != nil && before.Content != o.Content || r.refuted(k, h, col, o, key)
			before = o
		case o.Presence == verdict.Absent && h != nil && r.survived(c, k, h, col, key):
			col.lossSeen, found = true, true // every loser is asked to explain it
		}
	}
	return found
}

// refuted: something else than the other copies says that a present copy may be wrong.
func (*round) refuted(k *classKeys, h *keyMemory, col *nodeColumn, o *reading, key int) bool {
	answer := k.origin[0][key]
	return o.TooOld || col.primary != nil && col.primary.read(key).Presence == verdict.Absent ||
		answer.Asked && (answer.Deleted || answer.Content != o.Content) ||
		h != nil && h.isAbove(o.Version, col.memoryAt)
}

// isAbove: a version is below what is remembered of the key, or of its copy at this index.
func (k *keyMemory) isAbove(v content.Version, at memoryAt) bool {
	if v.IsZero() {
		return false
	}
	memory := k.copyAt(at)
	return v.Compare(k.confirmed) < 0 || memory != nil && v.Compare(memory.version) < 0
}

// patience is how many times the delay between the two reads a replica may be behind its primary, besides.
const patience = 4

// rereads reads every suspicious key a second time, on all nodes that answered. Keys of which a replica is still behind its
// primary are read once more: what a primary has just got is on its way to its replicas for longer than a write to several
// caches takes. That read then counts as the second.
func (r *round) rereads(ctx context.Context) {
	if !r.chooseReread() || !pause.For(ctx, r.opt.RereadDelay) {
		return
	}
	r.askOrigins(ctx, 1)
	// What is left of the time, less what the judgement needs.
	ctx, cancel := context.WithDeadline(ctx, r.began.Add(r.total-r.total/32))
	defer cancel()
	r.readAgain(ctx, func(k *classKeys, key int) bool { return k.reread[key] })
	if behind := r.behindPrimaries(); len(behind) > 0 && pause.For(ctx, patience*r.opt.RereadDelay) {
		r.readAgain(ctx, func(k *classKeys, key int) bool { return behind[keyOf{k, key}] })
	}
	for _, nr := range r.order {
		for _, col := range nr.columns {
			if col != nil {
				col.lossExplained = nr.lossExplained
			}
		}
	}
	for i, c := range r.classes {
		k := &r.keys[i]
		for key := range k.names {
			h := c.memory.keys[k.names[key]]
			for m := range k.second[key] {
				o := &k.second[key][m]
				o.TooOld = c.tooOld(o, h, r.began)
			}
		}
	}
}

// chooseReread finds the suspicious keys; false: there are none.
func (r *round) chooseReread() bool {
	for i, c := range r.classes {
		k := &r.keys[i]
		for key := range k.names {
			if r.suspicious(c, k, key) {
				k.readTwice(key)
			}
		}
	}
	r.chooseLooksAgain()
	return r.looksAgain || slices.ContainsFunc(r.keys, func(k classKeys) bool { return slices.Contains(k.reread, true) })
}

// readTwice notes that all copies of a key are read again.
func (k *classKeys) readTwice(key int) {
	if !k.reread[key] {
		k.reread[key], k.second[key] = true, make([]reading, len(k.columns))
	}
}

// keyOf a class in a round.
type keyOf struct {
	class *classKeys
	key   int
}

// behindPrimaries are the keys of which a replica held something else than its primary in both reads. One that is in an
// episode with what it holds was behind already.
func (r *round) behindPrimaries() map[keyOf]bool {
	behind := map[keyOf]bool{}
	for i, c := range r.classes {
		k := &r.keys[i]
		for key, again := range k.reread {
			if again && k.isBehind(c.memory.keys[k.names[key]], key) {
				behind[keyOf{k, key}] = true
			}
		}
	}
	return behind
}

func (k *classKeys) isBehind(h *keyMemory, key int) bool {
	for i := range k.columns {
		col := &k.columns[i]
		if col.primary == nil || col.foreign(key) {
			continue
		}
		last := k.secondRead(col, key)
		if last.Presence == verdict.Present && differs(col.read(key), col.primary.read(key)) && differs(last, k.secondRead(col.primary, key)) &&
			!h.isStale(col.memoryAt, last.Content) {
			return true
		}
	}
	return false
}

// differs: a replica holds something else than its primary, as far as both could be read.
func differs(replica, primary *reading) bool {
	return replica.Presence != verdict.Unread && primary.Presence != verdict.Unread && !replica.Same(&primary.Observation)
}

// isStale: the copy at this index is in an episode with this content.
func (k *keyMemory) isStale(at memoryAt, d content.Digest) bool {
	if k == nil {
		return false
	}
	memory := k.copyAt(at)
	return memory != nil && memory.episode != nil && memory.episode.Content == d
}

// readAgain reads some keys once more, on all nodes that answered, and the looks that have not been.
func (r *round) readAgain(ctx context.Context, which func(k *classKeys, key int) bool) {
	var wg sync.WaitGroup
	for _, nr := range r.order {
		if again := r.planAgain(nr, which); len(again.keys) > 0 {
			wg.Go(func() { r.readSecond(ctx, nr, again) })
		}
	}
	wg.Wait()
}

// planAgain lists the keys that a node is asked for once more, if it answered. They are few, so each may cost the request
// that tells why an answer made no sense.
func (r *round) planAgain(nr *nodeReads, wanted func(k *classKeys, key int) bool) *plan {
	again := &plan{second: true}
	if !nr.hasRead {
		return again
	}
	for i, at := range nr.plan.at {
		if at.key == noCanary && r.look(nr, at).again || at.key != noCanary && wanted(&r.keys[at.class], at.key) {
			key := nr.plan.keys[i]
			key.Check = true
			again.add(at, key)
		}
	}
	return again
}

// readSecond reads keys of one node once more, while others read those of theirs.
func (r *round) readSecond(ctx context.Context, nr *nodeReads, again *plan) {
	reads := make([]reading, again.canaries)
	if err := r.read(ctx, nr, again, reads, r.opt.ShowValues); err != nil {
		r.mu.Lock()
		nr.result.Err = err
		r.mu.Unlock()
	}
	if !nr.lossExplained {
		nr.lossExplained = r.explainLoss(ctx, nr)
	}
	for i, which := range again.at[:again.canaries] {
		*r.keys[which.class].secondRead(nr.columns[which.class], which.key) = reads[i]
	}
}
