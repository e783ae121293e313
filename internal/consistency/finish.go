package consistency

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/content"
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
	slots []int
	// there is what is remembered of each column's node for the copies that are there now.
	there []*presence
	// row, states and was (what was remembered before) are reused from key to key.
	row    []read
	states []State
	was    []*presence
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
		why: make([]error, len(k.columns)),
	}
	if c.Version != nil {
		t.VersionKind = c.Version.Kind
	}
	for _, l := range c.Class.Layers {
		t.Layers = append(t.Layers, ClassLayer{Layer: l.Name})
	}
	for m := range k.columns {
		col := &k.columns[m]
		t.slots[m] = col.slot
		self := r.history.nodes[col.result.Name]
		t.there = append(t.there, &presence{at: t.at, boots: self.boots, evicted: self.evicted})
		t.Nodes = append(t.Nodes, ClassNode{Layer: col.result.Layer, Node: col.result.Name})
	}
	for key := range k.names {
		t.judge(key)
	}
	t.forget()
	c.history.settle(r.began, r.opt.Probes.ForgetAfter)
	for m := range t.Nodes {
		n := &t.Nodes[m]
		totals := c.history.totals(n.Node)
		for s, count := range n.Copies {
			totals.reads[s] += uint64(count)
		}
		totals.overdue += uint64(n.Overdue)
		n.Reads, n.OverdueReads = totals.reads, totals.overdue
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
	if c.Version != nil {
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
	for m := range k.columns {
		first := &k.first[m][key]
		last := first
		if t.c.Reread {
			last = &k.second[key][m]
		}
		copied := &t.c.Copies[m]
		copied.Layer, copied.Primary = k.columns[m].layer, k.columns[m].primary
		copied.Reads = [2]Observation{first.Observation, last.Observation}
		copied.Held = 0
		past := h.copy(k.columns[m].slot)
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

// count turns the verdict on a key into numbers.
func (t *tally) count(key int, h *keyHistory, v *Verdict) {
	c, k := t.class, t.keys
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
	if !t.c.Reread {
		row = t.row[:0]
		for m := range k.first {
			row = append(row, k.first[m][key])
		}
		t.row = row
	}
	worst, fresh := false, false
	var report []CopyReport
	differs := false
	t.followAll(h, v, row)
	for m := range k.columns {
		o := &row[m]
		state := t.states[m]
		n := &t.Nodes[m]
		n.Copies[state]++
		n.Read = n.Read || state != Error
		open := h.copies[k.columns[m].slot].episode
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
			t.suppress(n, k.columns[m].result, t.was[m], c.layerTTL[k.columns[m].layer])
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
	t.divergence(h)
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
func (t *tally) followAll(h *keyHistory, v *Verdict, row []read) {
	for _, replicas := range [...]bool{false, true} {
		for m := range t.keys.columns {
			if t.keys.columns[m].primary >= 0 == replicas {
				t.was[m] = h.copies[t.keys.columns[m].slot].there
				t.states[m] = t.follow(m, h, v, &row[m])
			}
		}
	}
}

// shared is the outcome of a copy. A replica that holds what its primary holds shares the state that the primary's
// episode gives it, so the primary is followed first.
func (t *tally) shared(m int, h *keyHistory, v *Verdict) Outcome {
	own := v.Copies[m]
	c := &t.c.Copies[m]
	final := 0
	if t.c.Reread {
		final = 1
	}
	if !t.c.judgedByPrimary(m, final) || own.State == Missing || own.State == Error || own.State == Stale || !c.Reads[0].same(&c.Reads[1]) {
		return own
	}
	e := h.copies[t.keys.columns[c.Primary].slot].episode
	if e == nil || e.content != c.Reads[final].Content || t.c.Copies[c.Primary].Reads[final].Presence != Present {
		return own
	}
	return Outcome{State: Stale, By: e.by, Target: e.version, Votes: own.Votes}
}

// follow takes a copy's episode through this sampling and remembers the copy.
func (t *tally) follow(m int, h *keyHistory, v *Verdict, o *read) State {
	col := &t.keys.columns[m]
	past := &h.copies[col.slot]
	nodes := t.round.history.nodes
	self := nodes[col.result.Name]
	n := now{
		outcome: t.shared(m, h, v), content: o.Content, version: o.Version, reference: v.Reached, tooOld: o.TooOld,
		replica: self.role == "replica", offset: self.offset, regressions: h.regressions,
		read: t.round.began, ended: t.at,
	}
	if col.primary >= 0 {
		n.primaryOffset = nodes[t.keys.columns[col.primary].result.Name].offset
	}
	before := past.episode
	state, open, ended := follow(before, n)
	if ended {
		l := &t.Layers[col.layer]
		l.EndedEpisodes = append(l.EndedEpisodes, t.at.Sub(before.since).Seconds())
	}
	past.episode = open
	switch o.Presence {
	case Present:
		past.content, past.present = o.Content, true
		past.there = t.there[m]
	case Absent:
		past.present = false
	}
	return state
}

// suppress counts a missing copy whose loss has a known cause, for at most the layer's TTL since it was there.
func (t *tally) suppress(n *ClassNode, node *NodeResult, was *presence, ttl time.Duration) {
	if was == nil || ttl > 0 && t.at.Sub(was.at) > ttl {
		return
	}
	self := t.round.history.nodes[node.Name]
	switch {
	case self.loading:
		n.Suppressed[Loading]++
	case self.boots > was.boots:
		n.Suppressed[Restart]++
	case self.evicted > was.evicted:
		n.Suppressed[Eviction]++
	}
}

// ttls notes the spread of what is left to live between the copies of one key in one layer.
func (t *tally) ttls(row []read) {
	for layer := range t.skew {
		low, high, n := math.Inf(1), math.Inf(-1), 0
		for m := range row {
			if t.keys.columns[m].layer != layer || row[m].Presence != Present || !row[m].hasTTL || row[m].noExpiry {
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
func (t *tally) divergence(h *keyHistory) {
	differ, readable := false, false
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
