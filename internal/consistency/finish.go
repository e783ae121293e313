package consistency

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/content"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// finish judges every key and counts.
func (r *round) finish() *Result {
	out := &Result{Began: r.began, Groups: r.fleet.Groups()}
	for _, nr := range r.order {
		out.Nodes = append(out.Nodes, nr.result)
	}
	for i, c := range r.classes {
		out.Classes = append(out.Classes, r.finishClass(c, &r.keys[i]))
	}
	out.Ended = time.Now()
	return out
}

// tally of one class while its keys are judged.
type tally struct {
	*ClassResult
	round *round
	class *class
	keys  *classKeys
	at    time.Time
	skew  []float64
	// known: a TTL was read in the layer.
	known []bool
	c     Case
	// here are the columns of the case's copies, slots theirs; index is the copy of each column, -1 where there is none.
	here, slots, index []int
	// there is what is remembered of each column's node for the copies that are there now.
	there []*presence
	// row, states and was (what was remembered before) are reused from key to key.
	row    []read
	states []State
	was    []*presence
	// present copies of each column, and whether any of them told its TTL.
	present []int
	ttlTold []bool
	// why the first copy of each column could not be read.
	why []error
}

func (r *round) finishClass(c *class, k *classKeys) ClassResult {
	t := &tally{
		ClassResult: &ClassResult{
			Class: c.Name, SampledKeys: len(k.names) - k.literal, HasVersion: c.Version != nil, HasOrigin: c.origin != nil,
			KeyConsistent: map[string]bool{},
		},
		round: r, class: c, keys: k, at: time.Now(),
		skew: make([]float64, len(c.policies)), known: make([]bool, len(c.policies)),
		c:     Case{Layers: c.policies, Copies: make([]Copy, len(k.columns))},
		slots: make([]int, len(k.columns)), states: make([]State, len(k.columns)), was: make([]*presence, len(k.columns)),
		here: make([]int, len(k.columns)), index: make([]int, len(k.columns)),
		present: make([]int, len(k.columns)), ttlTold: make([]bool, len(k.columns)), why: make([]error, len(k.columns)),
	}
	if c.Version != nil {
		t.VersionKind = c.Version.Kind
	}
	for _, l := range c.Class.Layers {
		t.Layers = append(t.Layers, ClassLayer{Layer: l.Name})
	}
	for m := range k.columns {
		col := &k.columns[m]
		t.slots[m], t.here[m], t.index[m] = col.slot, m, m
		t.c.Copies[m].Layer, t.c.Copies[m].Primary = col.layer, col.primary
		self := r.history.nodes[col.result.Name]
		t.there = append(t.there, &presence{
			began: r.began, at: t.at, boots: self.boots, evicted: self.evicted, items: self.items,
			counted: self.told && self.counted, replica: self.role == "replica",
		})
		t.Nodes = append(t.Nodes, ClassNode{Layer: col.result.Layer, Node: col.result.Name})
	}
	for key := range k.names {
		t.judge(key)
	}
	t.forget()
	c.history.sampledAt = t.at
	c.history.settle(r.began, r.probing.ForgetAfter)
	for m := range t.Nodes {
		n := &t.Nodes[m]
		totals := c.history.totals(n.Node)
		for s, count := range n.Copies {
			totals.reads[s] += uint64(count)
		}
		totals.overdue += uint64(n.Overdue)
		n.Reads, n.OverdueReads = totals.reads, totals.overdue
		totals.toldTTL = totals.toldTTL || t.ttlTold[m]
		// Without a copy none is immortal, where the node would tell; only HTTP has nodes that never do.
		n.TTLsRead = t.ttlTold[m] || n.Read && t.present[m] == 0 && (totals.toldTTL || k.columns[m].result.Traits.TellsTTL)
	}
	for i := range t.Layers {
		t.Layers[i].TTLSkew, t.Layers[i].TTLKnown = t.skew[i], t.known[i]
	}
	t.VersionRegressions = c.history.regressions
	t.OriginRequests = map[string]uint64{}
	for result, n := range c.history.origin {
		t.OriginRequests[result] = n
	}
	t.Err = errors.Join(r.failure(k), t.unreadable())
	return *t.ClassResult
}

// failure of what a class needed, for cacheinv_collector_success.
func (r *round) failure(k *classKeys) error {
	var errs []error
	for m := range k.columns {
		if n := k.columns[m].result; n.Err != nil {
			errs = append(errs, fmt.Errorf("node %s: %w", n.Name, n.Err))
		}
	}
	if k.originFailed {
		errs = append(errs, errors.New("the origin did not answer every request"))
	}
	return errors.Join(errs...)
}

// unreadable says of which nodes that answered no copy of the class could be read, and where its pattern is not listed.
func (t *tally) unreadable() error {
	var errs []error
	for m := range t.Nodes {
		node := t.keys.columns[m].result
		if node.Err != nil {
			continue // that is told
		}
		if t.class.Pattern != "" && node.Survey.ScanErr != nil {
			errs = append(errs, fmt.Errorf("node %s: %w", node.Name, node.Survey.ScanErr))
		}
		if !t.Nodes[m].Read && t.why[m] != nil {
			errs = append(errs, fmt.Errorf("node %s: no copy could be read: %w", node.Name, t.why[m]))
		}
	}
	return errors.Join(errs...)
}

// judge one key and follow its copies' episodes.
func (t *tally) judge(key int) {
	c, k := t.class, t.keys
	name := k.names[key]
	h := c.history.key(name)
	t.build(key, h)
	final := 0
	if t.c.Reread {
		final = 1
	}
	t.c.Versions = c.Version != nil
	if t.c.Versions {
		if h.regressionOf(&t.c, t.slots, final) {
			c.history.regressions++
		}
		t.c.Versions = !h.regressed
	}
	t.c.Remembered, t.c.RememberedContent = h.confirmed, h.confirmedContent
	if c.ttl > 0 && t.at.Sub(h.confirmedSeen) > c.ttl || h.regressed {
		t.c.Remembered = content.Version{}
	}
	verdict := t.round.judge.Decide(&t.c)
	useOrigin := t.c.Origin[0].Asked && t.c.Origin[final].Asked
	t.count(key, h, &verdict)
	if c.Version != nil && (len(t.here) > 0 || t.nobodyHas(key)) {
		h.remember(&t.c, verdict.Copies, t.slots, final, useOrigin && !verdict.OriginBehind, t.at, c.ttl)
	}
}

// build fills the case from the reads.
func (t *tally) build(key int, h *keyHistory) {
	k := t.keys
	h.widen(len(t.class.history.slots) + len(t.class.history.free))
	t.c.Reread = k.reread[key]
	t.c.Origin = [2]Answer{k.origin[0][key], k.origin[1][key]}
	if t.class.origin != nil && t.class.Origin != nil {
		t.c.MaxLag = t.class.Origin.MaxLag
	}
	if !t.c.Reread {
		t.c.Origin[1] = t.c.Origin[0]
	}
	if k.placed {
		t.gather(key)
	}
	for i, m := range t.here {
		first, last := t.reads(m, key)
		copied := &t.c.Copies[i]
		copied.Reads = [2]Observation{first.Observation, last.Observation}
		copied.Held = 0
		past := &h.copies[t.slots[i]]
		if last.Presence == Present {
			if past.present && past.content == last.Content {
				copied.Held = t.at.Sub(past.heldSince)
			} else {
				past.heldSince = t.round.began
				if t.c.Reread && first.Presence == Present && first.Content == last.Content {
					copied.Held = t.at.Sub(t.round.began)
				}
			}
		}
	}
}

// reads of a key on a node: the first, and the last that is needed.
func (t *tally) reads(m, key int) (first, last *read) {
	first = t.keys.read(m, key)
	if t.c.Reread {
		return first, &t.keys.second[key][m]
	}
	return first, first
}

// nobodyHas: of a key without a copy in the case, at least one node was asked, and every one that was said that it has none.
func (t *tally) nobodyHas(key int) bool {
	asked := false
	for m := range t.keys.columns {
		if t.keys.spot(m, key).holding != probes.Anywhere {
			continue
		}
		_, last := t.reads(m, key)
		if last.Presence != Absent {
			return false
		}
		asked = true
	}
	return asked
}

// count turns the verdict on a key into numbers.
func (t *tally) count(key int, h *keyHistory, v *Verdict) {
	k := t.keys
	if v.Counted {
		t.Keys[v.Reference]++
	}
	if v.Conflict {
		t.VersionConflicts++
	}
	if v.OriginBehind {
		t.OriginBehind++
	}
	row := k.second[key]
	if !t.c.Reread || k.placed {
		row = t.row[:0]
		for _, m := range t.here {
			_, last := t.reads(m, key)
			row = append(row, *last)
		}
		t.row = row
	}
	t.survivors(key, h, row)
	if k.placed {
		t.elsewhere(key, h)
	}
	worst, fresh := false, false
	var report []CopyReport
	differs := false
	t.followAll(key, h, v, row)
	for i, m := range t.here {
		o := &row[i]
		state := t.states[i]
		n := &t.Nodes[m]
		if state == Missing && k.spot(m, key).holding == probes.Anywhere {
			continue // it went between the reads
		}
		n.Copies[state]++
		n.Read = n.Read || state != Error
		open := h.copies[t.slots[i]].episode
		if open != nil {
			age := t.at.Sub(open.since)
			n.OldestStale = max(n.OldestStale, age)
			if state == Stale {
				t.stale(n, open, age, t.c.Layers[k.columns[m].layer])
			}
		}
		if state == Stale {
			if behind, ok := v.Reached.Above(o.Version); ok {
				n.VersionLag = math.Max(n.VersionLag, behind)
			}
		}
		if state == Missing {
			t.suppress(n, m, key, &h.copies[t.slots[i]], t.was[i])
		}
		if o.Presence == Present {
			t.lives(n, m, o)
		}
		if state == Error && t.why[m] == nil {
			t.why[m] = o.why()
		}
		worst = worst || state == Stale || state == Undecided
		fresh = fresh || state == Fresh
		differs = differs || state == Stale || state == Undecided || state == Error
		if t.round.opt.Details {
			report = append(report, t.report(m, o, state))
		}
	}
	t.ttls(row)
	t.divergence(key, h)
	if key < k.literal && key < t.round.opt.MaxKeySeries && (worst || fresh) {
		t.KeyConsistent[k.names[key]] = !worst
	}
	if t.round.opt.Details && differs {
		t.Reports = append(t.Reports, KeyReport{Key: k.names[key], Reference: v.Reference, Copies: report})
	}
}

func (t *tally) stale(n *ClassNode, e *episode, age, policy time.Duration) {
	n.Convicted[e.by]++
	for w, window := range Windows {
		if age >= window {
			n.StaleWindows[w]++
		}
	}
	if age > policy {
		n.Overdue++
	}
}

// followAll takes the copies of a key through this sampling: replicas after their primaries, whose state they may share.
func (t *tally) followAll(key int, h *keyHistory, v *Verdict, row []read) {
	for _, replicas := range [...]bool{false, true} {
		for i := range t.here {
			if t.c.Copies[i].Primary >= 0 == replicas {
				t.was[i] = h.copies[t.slots[i]].there
				t.states[i] = t.follow(i, key, h, v, &row[i])
			}
		}
	}
}

// shared is the outcome of a copy. A replica that holds what its primary holds shares the state that the primary's
// episode gives it, so the primary is followed first.
func (t *tally) shared(i int, h *keyHistory, v *Verdict) Outcome {
	own := v.Copies[i]
	c := &t.c.Copies[i]
	final := 0
	if t.c.Reread {
		final = 1
	}
	if !t.c.judgedByPrimary(i, final) || own.State == Missing || own.State == Error || own.State == Stale || !c.Reads[0].same(&c.Reads[1]) {
		return own
	}
	e := h.copies[t.slots[c.Primary]].episode
	if e == nil || e.content != c.Reads[final].Content || t.c.Copies[c.Primary].Reads[final].Presence != Present {
		return own
	}
	return Outcome{State: Stale, By: e.by, Target: e.version, Votes: own.Votes}
}

// follow takes a copy's episode through this sampling and remembers the copy.
func (t *tally) follow(i, key int, h *keyHistory, v *Verdict, o *read) State {
	m := t.here[i]
	col := &t.keys.columns[m]
	past := &h.copies[col.slot]
	nodes := t.round.history.nodes
	self := nodes[col.result.Name]
	n := now{
		outcome: t.shared(i, h, v), content: o.Content, version: o.Version, reference: v.Reached, tooOld: o.TooOld,
		replica: self.role == "replica", offset: self.offset, regressions: h.regressions,
		read: t.round.began, ended: t.at,
	}
	if col.primary >= 0 {
		n.primaryOffset = nodes[t.keys.columns[col.primary].result.Name].offset
	}
	before := past.episode
	state, open, ended := follow(before, n)
	if ended {
		t.ended(m, before)
	}
	past.episode = open
	switch o.Presence {
	case Present:
		past.content, past.present = o.Content, true
		past.there, past.life, past.moves = t.there[m], lifeOf(o), t.keys.spot(m, key).moves
	case Absent:
		past.present = false
	}
	return state
}

// ended observes how long an episode lasted.
func (t *tally) ended(m int, e *episode) {
	l := &t.Layers[t.keys.columns[m].layer]
	l.EndedEpisodes = append(l.EndedEpisodes, t.at.Sub(e.since).Seconds())
}

// suppress counts a missing copy whose loss has a known cause, for at most the layer's TTL since it was there.
func (t *tally) suppress(n *ClassNode, m, key int, past *copyHistory, was *presence) {
	ttl := t.class.layerTTL[t.keys.columns[m].layer]
	if was == nil || ttl > 0 && t.at.Sub(was.at) > ttl {
		return
	}
	self := t.round.told(t.keys.columns[m].result)
	spot := t.keys.spot(m, key)
	switch {
	case self.loading:
		n.Suppressed[Loading]++
	case self.boots > was.boots:
		n.Suppressed[Restart]++
	case spot.moving || spot.moves != past.moves:
		n.Suppressed[Resharding]++
	case self.evicted > was.evicted:
		n.Suppressed[Eviction]++
	}
}

// lifeSlack is how much more than was set a server may say that a copy has left: it may count whole seconds.
const lifeSlack = time.Second

// lives notes a present copy that will live for longer than copies of its layer do.
func (t *tally) lives(n *ClassNode, m int, o *read) {
	t.present[m]++
	if !o.hasTTL && !o.noExpiry {
		return
	}
	t.ttlTold[m] = true
	switch ttl := t.class.layerTTL[t.keys.columns[m].layer]; {
	case ttl == 0: // copies without expiry are intended
	case o.noExpiry:
		n.Immortal++
	case o.ttl > ttl+lifeSlack:
		n.OverLimit++
	}
}

// ttls notes the spread of what is left to live between the copies of one key in one layer.
func (t *tally) ttls(row []read) {
	for layer := range t.skew {
		low, high, n := math.Inf(1), math.Inf(-1), 0
		for m := range row {
			if t.c.Copies[m].Layer != layer || row[m].Presence != Present || !row[m].hasTTL || row[m].noExpiry {
				continue
			}
			n++
			low, high = math.Min(low, row[m].ttl.Seconds()), math.Max(high, row[m].ttl.Seconds())
		}
		if n > 0 {
			t.known[layer] = true
			t.skew[layer] = math.Max(t.skew[layer], high-low)
		}
	}
}

// divergence: copies that held still between the two reads differ. What moved is not called divergent.
func (t *tally) divergence(key int, h *keyHistory) {
	differ, readable := false, len(t.here) == 0 && t.nobodyHas(key)
	if t.c.Reread {
		still := -1
		for m := range t.c.Copies {
			o := &t.c.Copies[m]
			readable = readable || o.Reads[1].Presence != Unread
			if o.Reads[1].Presence != Present || !o.Reads[0].same(&o.Reads[1]) {
				continue
			}
			if still >= 0 && t.c.Copies[still].Reads[1].Content != o.Reads[1].Content {
				differ = true
			}
			still = m
		}
	} else {
		for m := range t.c.Copies {
			readable = readable || t.c.Copies[m].Reads[0].Presence != Unread
		}
	}
	switch {
	case !readable: // nothing was learned
	case !differ:
		h.divergentSince = time.Time{}
	case h.divergentSince.IsZero():
		h.divergentSince = t.round.began
	}
	if h.divergentSince.IsZero() {
		return
	}
	for w, window := range Windows {
		if t.at.Sub(h.divergentSince) >= window {
			t.Divergent[w]++
		}
	}
}

func (t *tally) report(m int, o *read, state State) CopyReport {
	col := &t.keys.columns[m]
	c := CopyReport{
		Layer: col.result.Layer, Node: col.result.Name, State: state, Present: o.Presence == Present, Digest: o.Content,
		Version: o.Version, TTL: o.ttl, HasTTL: o.hasTTL, NoExpiry: o.noExpiry, Err: o.why(),
	}
	if o.particular != nil {
		c.Value = o.value
	}
	if c.Err == nil && state == Error {
		c.Err = col.result.Err
	}
	return c
}

// forget drops keys that are no longer read.
func (t *tally) forget() {
	if len(t.class.history.keys) == len(t.keys.names) {
		return
	}
	names := slices.Clone(t.keys.names)
	slices.Sort(names)
	for name := range t.class.history.keys {
		if _, ok := slices.BinarySearch(names, name); !ok {
			delete(t.class.history.keys, name)
		}
	}
}
