package consistency

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/content"
	"github.com/cacheinv/cacheinv_exporter/internal/verdict"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// finish judges every key and counts.
func (r *round) finish() *Result {
	out := &Result{Began: r.began, Groups: r.fleet.Groups()}
	for _, nr := range r.order {
		out.Nodes = append(out.Nodes, nr.result)
	}
	for i, c := range r.classes {
		result := r.finishClass(c, &r.keys[i])
		if c.hasCanaries() { // else its keys all come out of a queue
			out.Classes = append(out.Classes, result)
		}
	}
	out.Ended = time.Now()
	return out
}

// counts of one class while its keys are judged, one after the other.
type counts struct {
	result *ClassResult
	round  *round
	class  *class
	keys   *classKeys
	at     time.Time
	// layers by the class's own index; columns in the order of keys.columns.
	layers  []layerCount
	columns []columnCount

	// c is the case of the key that is judged now, and copies what is counted of its copies, in the same order. Both are
	// used again from key to key.
	c      verdict.Case
	copies []copyCount
	// rows of the matrix.
	rows matrixRows
}

// layerCount is what is counted of a class in one layer.
type layerCount struct {
	skew float64
	// known: a TTL was read in the layer.
	known bool
}

// columnCount is what is counted of a class on one node.
type columnCount struct {
	column *nodeColumn
	node   *ClassNode
	// mark is what is remembered of the node for the copies that are there now.
	mark *nodeMark
	// present copies, and whether any of them told its TTL.
	present int
	ttlTold bool
	// why the first copy could not be read.
	why error
	// inCase: the key that is judged now has a copy on the node, at.
	inCase bool
	at     verdict.CopyAt
}

// copyCount is one copy of the key that is judged now.
type copyCount struct {
	on *columnCount
	// memory is what is remembered of the copy. It becomes what the copy is now while the key is judged; previous is the mark
	// that was remembered before.
	memory   *copyMemory
	previous *nodeMark
	// first and last of its reads; the same one where one was enough. judged is what its state is about: the last read, or a
	// variant in it.
	first, last, judged *reading
	state               verdict.State
	// survivor: the copy is counted as one.
	survivor bool
}

func (r *round) finishClass(c *class, k *classKeys) ClassResult {
	ct := r.newCounts(c, k)
	for key := range k.names {
		ct.judge(key)
	}
	ct.result.Matrix.Rows = append(ct.rows.differing, ct.rows.others...)
	ct.forget()
	ct.warnOfVersions()
	c.memory.sampledAt = ct.at
	c.memory.settle(r.began, r.env.ForgetAfter)
	for i := range ct.columns {
		ct.addTotals(&ct.columns[i])
	}
	for i := range ct.layers {
		ct.result.Layers[i].TTLSkew, ct.result.Layers[i].TTLKnown = ct.layers[i].skew, ct.layers[i].known
	}
	ct.result.VersionRegressions = c.memory.regressions
	ct.result.OriginRequests = map[string]uint64{}
	for result, n := range c.memory.origin {
		ct.result.OriginRequests[result] = n
	}
	ct.result.Err = errors.Join(r.failure(k), ct.unreadable())
	return *ct.result
}

func (r *round) newCounts(c *class, k *classKeys) *counts {
	ct := &counts{
		result: &ClassResult{
			Class: c.Name, SampledKeys: len(k.names) - k.literal, HasVersion: c.Version != nil, HasOrigin: c.origin != nil,
			KeyConsistent: map[string]bool{}, Nodes: make([]ClassNode, len(k.columns)),
		},
		round: r, class: c, keys: k, at: time.Now(),
		layers: make([]layerCount, len(c.policies)), columns: make([]columnCount, len(k.columns)),
		c:      verdict.Case{Layers: c.policies, Copies: make([]verdict.Copy, 0, len(k.columns))},
		copies: make([]copyCount, 0, len(k.columns)),
	}
	if c.Version != nil {
		ct.result.VersionKind = c.Version.Kind
	}
	for _, l := range c.Class.Layers {
		ct.result.Layers = append(ct.result.Layers, ClassLayer{Layer: l.Name})
	}
	for i := range k.columns {
		col, on := &k.columns[i], &ct.columns[i]
		ct.result.Nodes[i] = ClassNode{Layer: col.result.Layer, Node: col.result.Name}
		*on = columnCount{column: col, node: &ct.result.Nodes[i], mark: r.lastKnown(col.result).mark(r.began, ct.at), inCase: true}
		ct.add(on) // where no group shares its keys out, every key has a copy on every node
	}
	ct.pointAtPrimaries()
	return ct
}

// add a copy to the case, of a key on this node.
func (ct *counts) add(on *columnCount) {
	on.at = verdict.CopyAt(len(ct.copies))
	ct.copies = append(ct.copies, copyCount{on: on})
	ct.c.Copies = append(ct.c.Copies, verdict.Copy{
		Layer: on.column.layer, Primary: on.column.primaryInCase(), Left: on.column.result.Survey.Left || on.column.result.Survey.CalledDown,
	})
}

// pointAtPrimaries points each replica's copy at its primary's, where the case has that.
func (ct *counts) pointAtPrimaries() {
	for i := range ct.copies {
		primary := ct.copies[i].on.column.primary
		if primary == nil {
			continue
		}
		if on := &ct.columns[primary.index]; on.inCase {
			p := &ct.c.Copies[i].Primary
			p.InCase, p.At = true, on.at
		}
	}
}

// addTotals of a node since the process began, and says whether its TTLs are known.
func (ct *counts) addTotals(on *columnCount) {
	n := on.node
	totals := ct.class.memory.totals(n.Node)
	for s, count := range n.Copies {
		totals.reads[s] += uint64(count)
	}
	totals.overdue += uint64(n.Overdue)
	n.Reads, n.OverdueReads = totals.reads, totals.overdue
	totals.toldTTL = totals.toldTTL || on.ttlTold
	// Without a copy none is immortal, where the node would tell; only HTTP has nodes that never do.
	n.TTLsRead = on.ttlTold || n.Read && on.present == 0 && (totals.toldTTL || on.column.result.Traits.TellsTTL)
}

// failure of what a class needed, for cacheinv_collector_success.
func (r *round) failure(k *classKeys) error {
	var errs []error
	for i := range k.columns {
		if n := k.columns[i].result; n.Err != nil {
			errs = append(errs, fmt.Errorf("node %s: %w", n.Name, n.Err))
		}
	}
	if k.originFailed {
		errs = append(errs, errors.New("the origin did not answer every request"))
	}
	return errors.Join(errs...)
}

// unreadable says of which nodes that answered no copy of the class could be read, and where its pattern is not listed.
func (ct *counts) unreadable() error {
	var errs []error
	for i := range ct.columns {
		on := &ct.columns[i]
		node := on.column.result
		if node.Err != nil {
			continue // that is told
		}
		if ct.class.Pattern != "" && node.Survey.ScanErr != nil && !errors.Is(node.Survey.ScanErr, probes.ErrListing) {
			errs = append(errs, fmt.Errorf("node %s: %w", node.Name, node.Survey.ScanErr))
		}
		if !on.node.Read && on.why != nil {
			on.node.Why = on.why
			errs = append(errs, fmt.Errorf("node %s: no copy could be read: %w", node.Name, on.why))
		}
	}
	return errors.Join(errs...)
}

// judge one key and follow its copies' episodes.
func (ct *counts) judge(key int) {
	c := ct.class
	h := c.memory.key(ct.keys.names[key])
	ct.build(key, h)
	ct.c.Versions = c.Version != nil
	ct.c.Regressed, ct.c.Highest, ct.c.Known = h.regressed, h.highest, h.known
	ct.c.Remembered, ct.c.RememberedContent = h.confirmed, h.confirmedContent
	if c.ttl > 0 && ct.at.Sub(h.confirmedSeen) > c.ttl || h.regressed {
		ct.c.Remembered = content.Version{}
	}
	judged := ct.round.judge.Decide(&ct.c)
	ct.foldVariants(&judged)
	if judged.Fell {
		c.memory.regressions++
	}
	h.fell(&judged)
	ct.count(key, h, &judged)
	if c.Version != nil && (len(ct.copies) > 0 || ct.nobodyHas(key)) {
		useOrigin := ct.c.Origin[0].Asked && ct.c.Origin[ct.c.Final()].Asked
		h.remember(&judgedKey{
			c: &ct.c, copies: ct.copies, outcomes: judged.Copies, useOrigin: useOrigin, at: ct.at, ttl: c.ttl,
		})
	}
}

// build fills the case from the reads.
func (ct *counts) build(key int, h *keyMemory) {
	k := ct.keys
	h.widen(ct.class.memory.width()) // what follows points into its copies
	ct.c.Reread = k.reread[key]
	ct.c.Origin = [2]verdict.Answer{k.origin[0][key], k.origin[1][key]}
	if ct.class.origin != nil && ct.class.Origin != nil {
		ct.c.MaxLag = ct.class.Origin.MaxLag
	}
	if !ct.c.Reread {
		ct.c.Origin[1] = ct.c.Origin[0]
	}
	ct.c.Copies = ct.c.Copies[:len(ct.copies)] // without variants of the key before
	if k.placed {
		ct.gather(key)
	}
	for i := range ct.copies {
		cp, copied := &ct.copies[i], &ct.c.Copies[i]
		cp.first, cp.last = ct.reads(cp.on.column, key)
		cp.judged = cp.last
		cp.memory, cp.survivor = &h.copies[cp.on.column.memoryAt], false
		copied.Reads = [2]verdict.Observation{cp.first.Observation, cp.last.Observation}
		copied.Past, copied.Held = cp.memory.past(), ct.held(cp)
	}
	ct.addVariants(h)
}

// held is how long the content of the last read has been seen on a copy, whose memory begins anew with another content.
func (ct *counts) held(cp *copyCount) time.Duration {
	switch {
	case cp.last.Presence != verdict.Present:
		return 0
	case cp.memory.present && cp.memory.content == cp.last.Content:
		return ct.at.Sub(time.Unix(0, cp.memory.heldSince))
	}
	cp.memory.heldSince = ct.round.began.UnixNano()
	if ct.c.Reread && cp.first.Presence == verdict.Present && cp.first.Content == cp.last.Content {
		return ct.at.Sub(ct.round.began)
	}
	return 0
}

// reads of a key on a node: the first, and the last that is needed.
func (ct *counts) reads(col *nodeColumn, key int) (first, last *reading) {
	first = col.read(key)
	if ct.c.Reread {
		return first, ct.keys.secondRead(col, key)
	}
	return first, first
}

// nobodyHas: of a key without a copy in the case, at least one node was asked, and every one that was said that it has none.
func (ct *counts) nobodyHas(key int) bool {
	asked := false
	for i := range ct.columns {
		col := ct.columns[i].column
		if col.placement(key).holding != probes.Anywhere {
			continue
		}
		_, last := ct.reads(col, key)
		if last.Presence != verdict.Absent {
			return false
		}
		asked = true
	}
	return asked
}

// count turns the verdict on a key into numbers.
func (ct *counts) count(key int, h *keyMemory, v *verdict.Verdict) {
	k := ct.keys
	if v.Counted {
		ct.result.Keys[v.Reference]++
	}
	if v.Conflict {
		ct.result.VersionConflicts++
	}
	if v.OriginBehind {
		ct.result.OriginBehind++
	}
	ct.survivors(key, h)
	if k.placed {
		ct.elsewhere(key, h)
	}
	ct.followAll(key, h, v)
	worst, fresh, differs := false, false, false
	var report []CopyReport
	for i := range ct.copies {
		cp := &ct.copies[i]
		if cp.state == verdict.Missing && cp.on.column.placement(key).holding == probes.Anywhere {
			continue // it went between the reads
		}
		ct.countCopy(key, cp, v)
		bad := cp.state == verdict.Stale || cp.state == verdict.Undecided
		worst = worst || bad
		fresh = fresh || cp.state == verdict.Fresh
		differs = differs || bad || cp.state == verdict.Error
		if ct.round.opt.Details {
			report = append(report, cp.report(ct.class.nameIn(cp.on.column.layer, k.names[key])))
		}
	}
	ct.addRow(key, v, worst)
	ct.spreads()
	ct.divergence(key, h)
	if key < k.literal && key < ct.round.opt.MaxKeySeries && (worst || fresh) {
		ct.result.KeyConsistent[k.names[key]] = !worst
	}
	if ct.round.opt.Details && differs {
		ct.result.Reports = append(ct.result.Reports, KeyReport{
			Key: k.names[key], Reference: v.Reference, Copies: report, Vars: ct.class.vars(k.names[key]),
		})
	}
}

// countCopy turns the state of one copy into numbers of its node.
func (ct *counts) countCopy(key int, cp *copyCount, v *verdict.Verdict) {
	n := cp.on.node
	n.Copies[cp.state]++
	n.Read = n.Read || cp.state != verdict.Error
	if open := cp.memory.episode; open != nil {
		age := ct.at.Sub(open.Since)
		n.OldestStale = max(n.OldestStale, age)
		if cp.state == verdict.Stale {
			n.countStale(open, age, ct.c.Layers[cp.on.column.layer])
		}
	}
	switch cp.state {
	case verdict.Stale:
		if behind, ok := v.Reached.Above(cp.judged.Version); ok {
			n.VersionLag = math.Max(n.VersionLag, behind)
		}
	case verdict.Missing:
		ct.suppress(key, cp)
	case verdict.Error:
		if cp.on.why == nil {
			cp.on.why = cp.last.why()
		}
	}
	if cp.last.Presence == verdict.Present {
		ct.noteTTL(cp)
		if cp.last.unversioned {
			n.Unversioned++
		}
	}
}

// countStale notes a stale copy whose episode is of this age. policy is the layer's max_staleness.
func (n *ClassNode) countStale(e *verdict.Episode, age, policy time.Duration) {
	n.Convicted[e.By]++
	for w, window := range Windows {
		if age >= window {
			n.StaleWindows[w]++
		}
	}
	if age > policy {
		n.Overdue++
	}
}

// suppress counts a missing copy whose loss has a known cause, for at most the layer's TTL since it was there.
func (ct *counts) suppress(key int, cp *copyCount) {
	n, previous := cp.on.node, cp.previous
	ttl := ct.class.perLayer[cp.on.column.layer].ttl
	if previous == nil || ttl > 0 && ct.at.Sub(previous.at) > ttl {
		return
	}
	self := ct.round.lastKnown(cp.on.column.result)
	placed := cp.on.column.placement(key)
	switch {
	case self.loading:
		n.Suppressed[Loading]++
	case self.boots > previous.boots:
		n.Suppressed[Restart]++
	case placed.moving || placed.moves != cp.memory.moves:
		n.Suppressed[Resharding]++
	case self.evicted > previous.evicted:
		n.Suppressed[Eviction]++
	}
}

// divergence of a key begins where copies that stood still between the two reads differ, and lasts until its present copies
// are seen to agree, or at most one is left. Copies that move are not seen to agree.
func (ct *counts) divergence(key int, h *keyMemory) {
	present, unread := 0, false
	differ, moves := false, false
	var still *verdict.Observation // the last one before that did
	for i := range ct.c.Copies {
		first, last := &ct.c.Copies[i].Reads[0], &ct.c.Copies[i].Reads[ct.c.Final()]
		switch {
		case last.Presence == verdict.Unread:
			unread = true
		case last.Presence != verdict.Present:
		case !first.Same(last):
			present++
			moves = true
		default:
			present++
			differ = differ || still != nil && still.Content != last.Content
			still = last
		}
	}
	if len(ct.c.Copies) == 0 {
		unread = !ct.nobodyHas(key)
	}
	switch {
	case differ && h.divergentSince.IsZero():
		h.divergentSince = ct.round.began
	case differ:
	case present > 1 && !moves, present <= 1 && !unread:
		h.divergentSince = time.Time{}
	}
	if h.divergentSince.IsZero() {
		return
	}
	for w, window := range Windows {
		if ct.at.Sub(h.divergentSince) >= window {
			ct.result.Divergent[w]++
		}
	}
}

// report of a copy for check; name is the key's in the copy's layer.
func (cp *copyCount) report(name string) CopyReport {
	node, o := cp.on.column.result, cp.judged
	c := CopyReport{
		Layer: node.Layer, Node: node.Name, Name: name, State: cp.state, Present: o.Presence == verdict.Present, Digest: o.Content,
		Version: o.Version, TTL: o.ttl, HasTTL: o.hasTTL, NoExpiry: o.noExpiry, Err: o.why(), cachedAt: o.cachedAt,
	}
	if o.detail != nil {
		c.Value, c.ValueSize, c.Variant = o.value, o.size, o.variant
	}
	if c.Err == nil && cp.state == verdict.Error {
		c.Err = node.Err
	}
	return c
}

// forget drops keys that are no longer read.
func (ct *counts) forget() {
	if len(ct.class.memory.keys) == len(ct.keys.names) {
		return
	}
	names := slices.Clone(ct.keys.names)
	slices.Sort(names)
	for name := range ct.class.memory.keys {
		if _, ok := slices.BinarySearch(names, name); !ok {
			delete(ct.class.memory.keys, name)
		}
	}
}
