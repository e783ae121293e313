package consistency

import "github.com/cacheinv/cacheinv_exporter/internal/verdict"

// followAll takes the copies of a key through this sampling: replicas after their primaries, whose state they may share.
func (ct *counts) followAll(key int, h *keyMemory, v *verdict.Verdict) {
	for _, replicas := range [...]bool{false, true} {
		for i := range ct.copies {
			if ct.c.Copies[i].Primary.InCase == replicas {
				ct.copies[i].previous = ct.copies[i].memory.lastPresent
				ct.follow(verdict.CopyAt(i), key, h, v)
			}
		}
	}
}

// shared is the outcome of a copy. A replica that holds what its primary holds shares the state that the primary's
// episode gives it, so the primary is followed first.
func (ct *counts) shared(i verdict.CopyAt, v *verdict.Verdict) verdict.Outcome {
	own := v.Copies[i]
	c, final := &ct.c.Copies[i], ct.c.Final()
	if !ct.c.JudgedByPrimary(i, final) || own.State == verdict.Missing || own.State == verdict.Error || own.State == verdict.Stale ||
		!c.Reads[0].Same(&c.Reads[1]) {
		return own
	}
	e := ct.copies[c.Primary.At].memory.episode
	if e == nil || e.Content != c.Reads[final].Content || ct.c.Copies[c.Primary.At].Reads[final].Presence != verdict.Present {
		return own
	}
	return verdict.Outcome{State: verdict.Stale, By: e.By, Target: e.Version, Votes: own.Votes}
}

// follow takes a copy's episode through this sampling and remembers the copy.
func (ct *counts) follow(i verdict.CopyAt, key int, h *keyMemory, v *verdict.Verdict) {
	cp := &ct.copies[i]
	col, memory, o := cp.on.column, cp.memory, cp.last
	self := ct.round.lastKnown(col.result)
	seen := verdict.Sighting{
		Outcome: ct.shared(i, v), Content: cp.judged.Content, Version: cp.judged.Version, Reference: v.Reached, TooOld: cp.judged.TooOld,
		Replica: self.role == "replica" || cp.byVariant(), Offset: self.offset, Regressions: h.regressions, Read: ct.round.began,
	}
	if col.primary != nil {
		seen.PrimaryOffset = ct.round.lastKnown(col.primary.result).offset
	}
	before := memory.episode
	state, open, ended := verdict.Follow(before, seen)
	if ended {
		ct.ended(col, before)
	}
	memory.episode = open
	switch o.Presence {
	case verdict.Present:
		if memory.lastPresent == nil || memory.content != o.Content {
			h.see(o.Content, ct.round.began.UnixNano())
		}
		memory.content, memory.present = o.Content, true
		memory.lastPresent, memory.ttlLeft, memory.moves = cp.on.mark, ttlLeftOf(o), col.placement(key).moves
	case verdict.Absent:
		memory.present = false
	}
	cp.state = state
}

// ended observes how long an episode lasted.
func (ct *counts) ended(col *nodeColumn, e *verdict.Episode) {
	l := &ct.result.Layers[col.layer]
	l.EndedEpisodes = append(l.EndedEpisodes, ct.at.Sub(e.Since).Seconds())
}
