package consistency

import (
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/content"
)

// Presence of a copy in one read.
type Presence uint8

// A copy is Unread until a node said something about it.
const (
	Unread Presence = iota
	Absent
	Present
)

// Observation is one copy in one read.
type Observation struct {
	Presence Presence
	// TooOld: its cached_at is older than the class's max_age, and the origin did not vouch for the content since.
	TooOld  bool
	Content content.Digest
	// Version is zero where there is none, where it can't be read, and where it lies too far in the future.
	Version content.Version
}

func (o *Observation) same(p *Observation) bool {
	return o.Presence == p.Presence && (o.Presence != Present || o.Content == p.Content)
}

// Copy is one key on one node, read twice.
type Copy struct {
	// Layer indexes Case.Layers.
	Layer int
	// Primary is the index of the copy on this replica's primary; noPrimary where it is no replica. Below that it is a
	// primary which is not asked, the same number for all of its replicas.
	Primary int
	// Reads are the first and the second; the second is that of the first where none was needed.
	Reads [2]Observation
	// Held is how long the content of the last read has been seen on the copy.
	Held time.Duration
}

// noPrimary of a copy that is no replica's.
const noPrimary = -1

// judgedByPrimary: copy i is a replica's, and its primary was read.
func (c *Case) judgedByPrimary(i, read int) bool {
	p := c.Copies[i].Primary
	return p >= 0 && c.Copies[p].Reads[read].Presence != Unread
}

// Answer is what the origin said in one round.
type Answer struct {
	Asked bool
	// Deleted: 404 or 410.
	Deleted bool
	Content content.Digest
	Version content.Version
}

// Case is all that is known of one key when its copies are judged.
type Case struct {
	// Layers' max_staleness, for the class.
	Layers []time.Duration
	Copies []Copy
	// Origin's answers, before the first judgement and before the second read.
	Origin [2]Answer
	// MaxLag of the origin.
	MaxLag time.Duration
	// Reread: a second read was needed.
	Reread bool
	// Versions: the class has versions, and no regression keeps them from deciding.
	Versions bool
	// Remembered is the highest version confirmed earlier; zero: none.
	Remembered        content.Version
	RememberedContent content.Digest
}

// Outcome of one copy.
type Outcome struct {
	State State
	// By is what convicted a stale copy, or confirmed a fresh one (ByNone: it only moved).
	By Reference
	// Target is the version that a copy convicted by version lacks.
	Target content.Version
	// Votes: the copy spoke for its replication group, or for itself, in the final read.
	Votes bool
}

// Verdict on one key.
type Verdict struct {
	Copies []Outcome
	// Reference that the key counts under; valid where Counted.
	Reference Reference
	Counted   bool
	// Conflict: equal highest versions with different content, in both reads.
	Conflict bool
	// OriginBehind: a copy's version was above the origin's, in both reads.
	OriginBehind bool
	// Reached is the version of the reference that was in force; zero: none.
	Reached content.Version
}

// Judge says which copies of a key are stale, from two reads of all of them. It is the only place that decides
// this; it keeps nothing, and what it is given decides alone. The Outcomes are valid until the Judge's next call.
type Judge struct {
	reads    [2]judgement
	outcomes []Outcome
}

// opinion of a copy in one read.
type opinion uint8

const (
	none opinion = iota // absent or unread
	right
	wrong
	undecided
	alone
)

type finding struct {
	opinion opinion
	by      Reference
	target  content.Version
}

type vote struct {
	layer, id int
	copy      int
}

// counts: the vote is among contents, where some are given.
func (v vote) counts(contents []bool) bool { return contents == nil || contents[v.id] }

// judgement of one read.
type judgement struct {
	findings  []finding
	ids       []int // content of each copy as an index into contents; -1: not present
	contents  []content.Digest
	votes     []vote
	reference Reference
	present   bool
	conflict  bool
	behind    bool
	// asked: the origin answered, whether its answer is used or not.
	asked bool
	// reached is the version of the reference: what surely existed when the read was made; reachedContent is its
	// content, where known.
	reached        content.Version
	reachedContent content.Digest
}

// Decide judges one key.
func (j *Judge) Decide(c *Case) Verdict {
	useOrigin := c.Origin[0].Asked && (!c.Reread || c.Origin[1].Asked)
	j.reads[0].judge(c, 0, useOrigin)
	second := &j.reads[0]
	if c.Reread {
		second = &j.reads[1]
		second.judge(c, 1, useOrigin)
	}
	first := &j.reads[0]
	j.outcomes = j.outcomes[:0]
	for i := range c.Copies {
		j.outcomes = append(j.outcomes, combine(c, i, first, second))
	}
	for _, v := range second.votes {
		j.outcomes[v.copy].Votes = true
	}
	return Verdict{
		Copies:       j.outcomes,
		Reference:    second.reference,
		Counted:      second.present,
		Conflict:     first.conflict && second.conflict,
		OriginBehind: first.behind && second.behind,
		Reached:      second.reached,
	}
}

// combine is the rule of the two reads.
func combine(c *Case, i int, first, second *judgement) Outcome {
	a, b := &c.Copies[i].Reads[0], &c.Copies[i].Reads[1]
	if !c.Reread {
		b = a
	}
	fa, fb := &first.findings[i], &second.findings[i]
	moved := !a.same(b)
	if b.Presence == Present {
		if !moved && c.Reread && fa.opinion == wrong && fb.opinion == wrong {
			return Outcome{State: Stale, By: fb.by, Target: fb.target}
		}
		if c.Reread && first.above(c, i) && !second.excuses(c, i) {
			by := ByVersion
			if fb.opinion == wrong && fb.by == ByOrigin {
				by = ByOrigin
			}
			return Outcome{State: Stale, By: by, Target: first.reached}
		}
	}
	switch {
	case b.Presence == Absent && a.Presence != Unread:
		return Outcome{State: Missing, By: ByNone}
	case a.Presence == Unread || b.Presence == Unread:
		return Outcome{State: Error, By: ByNone}
	case moved && fb.opinion == alone:
		return Outcome{State: Unverified, By: ByNone}
	case moved && fb.opinion == right:
		return Outcome{State: Fresh, By: fb.by}
	case moved:
		return Outcome{State: Fresh, By: ByNone}
	case fb.opinion == right:
		return Outcome{State: Fresh, By: fb.by}
	case fa.opinion == right:
		return Outcome{State: Fresh, By: fa.by}
	case fb.opinion == alone:
		return Outcome{State: Unverified, By: ByNone}
	default:
		return Outcome{State: Undecided, By: ByNone}
	}
}

// above: in this read, the first, something newer existed than what the copy holds in the second.
func (j *judgement) above(c *Case, i int) bool {
	b := &c.Copies[i].Reads[1]
	return c.Versions && !b.Version.IsZero() && b.Version.Compare(j.reached) < 0 && b.Content != j.reachedContent
}

// excuses: in this read, the second, the origin holds what the copy holds, though its version is low.
func (j *judgement) excuses(c *Case, i int) bool {
	f := &j.findings[i]
	return f.opinion == right && f.by == ByOrigin || j.behind && c.Copies[i].Reads[1].Content == c.Origin[1].Content
}

// judge one read by the references in their order.
func (j *judgement) judge(c *Case, read int, useOrigin bool) {
	j.reset(c, read)
	j.asked = useOrigin
	answer := &c.Origin[read]
	if useOrigin && c.Versions && !answer.Version.IsZero() {
		for i := range c.Copies {
			if o := &c.Copies[i].Reads[read]; o.Presence == Present && o.Version.Compare(answer.Version) > 0 {
				j.behind = true
			}
		}
	}
	v := j.versions(c, read)
	all := j.majority(c, nil)
	among := all
	if v.conflict {
		among = j.majority(c, v.highest)
		if among >= 0 {
			v.id = among
		}
	}
	useAnswer := useOrigin && !j.behind
	j.conflict = v.conflict && !useAnswer
	for i := range c.Copies {
		if j.ids[i] >= 0 && !c.judgedByPrimary(i, read) {
			j.findings[i] = j.find(c, read, i, answer, useAnswer, &v, all, among)
		}
	}
	// A copy with nothing to compare it to is not confirmed by itself.
	if !useOrigin && len(j.votes) < 2 && j.alike(c, read) {
		for i := range j.findings {
			if j.findings[i].opinion == right {
				j.findings[i] = finding{opinion: alone, by: ByNone}
			}
		}
	}
	byPrimary := false
	for i := range c.Copies {
		if j.ids[i] >= 0 && c.judgedByPrimary(i, read) {
			j.findings[i] = j.findReplica(c, read, i, answer, useAnswer, &v, all, among)
			byPrimary = byPrimary || j.findings[i].by == ByPrimary
		}
	}
	for i := range c.Copies {
		f := &j.findings[i]
		switch {
		case f.opinion == none:
		case j.behind && f.opinion == wrong && c.Copies[i].Reads[read].Content == answer.Content:
			*f = finding{opinion: undecided, by: ByNone}
		case c.Copies[i].Reads[read].TooOld && f.opinion != wrong && (f.opinion != right || f.by != ByOrigin):
			*f = finding{opinion: wrong, by: ByAge}
		}
	}
	switch {
	case useAnswer:
		j.reference = ByOrigin
	case v.any && !v.conflict:
		j.reference = ByVersion
	case among >= 0:
		j.reference = ByMajority
	case byPrimary:
		j.reference = ByPrimary
	default:
		j.reference = ByNone
	}
	j.reached = v.top
	switch {
	case v.id >= 0:
		j.reachedContent = j.contents[v.id]
	case v.top == c.Remembered:
		j.reachedContent = c.RememberedContent
	}
	if useAnswer && c.Versions && answer.Version.Compare(j.reached) > 0 {
		j.reached, j.reachedContent = answer.Version, answer.Content
	}
}

// reset numbers the contents and counts the votes.
func (j *judgement) reset(c *Case, read int) {
	j.findings, j.ids = j.findings[:0], j.ids[:0]
	j.contents, j.votes = j.contents[:0], j.votes[:0]
	j.present, j.conflict, j.behind, j.reached, j.reachedContent = false, false, false, content.Version{}, content.Digest{}
	for i := range c.Copies {
		o := &c.Copies[i].Reads[read]
		id := -1
		if o.Presence == Present {
			j.present = true
			id = j.id(o.Content)
			if id < 0 {
				id = len(j.contents)
				j.contents = append(j.contents, o.Content)
			}
		}
		j.ids = append(j.ids, id)
		j.findings = append(j.findings, finding{by: ByNone})
	}
	for i := range c.Copies {
		k := &c.Copies[i]
		switch {
		case j.ids[i] < 0 || k.Reads[read].TooOld || c.judgedByPrimary(i, read):
		case k.Primary == noPrimary || j.speaks(c, read, i):
			j.votes = append(j.votes, vote{layer: k.Layer, id: j.ids[i], copy: i})
		}
	}
}

// speaks: i, present, is the first replica of a primary that can't be read, and all its replicas that were read agree.
func (j *judgement) speaks(c *Case, read, i int) bool {
	for k := range c.Copies {
		o := &c.Copies[k].Reads[read]
		if k == i || c.Copies[k].Primary != c.Copies[i].Primary || o.Presence == Unread || o.TooOld {
			continue
		}
		if j.ids[k] != j.ids[i] || k < i {
			return false
		}
	}
	return true
}

func (j *judgement) id(d content.Digest) int {
	for i := range j.contents {
		if j.contents[i] == d {
			return i
		}
	}
	return -1
}

// alike: the copies that are not judged by a primary, too old ones aside, hold the same.
func (j *judgement) alike(c *Case, read int) bool {
	seen := -1
	for i := range c.Copies {
		if j.ids[i] < 0 || c.Copies[i].Reads[read].TooOld || c.judgedByPrimary(i, read) {
			continue
		}
		if seen >= 0 && seen != j.ids[i] {
			return false
		}
		seen = j.ids[i]
	}
	return true
}

// reach is what versions say in one read.
type reach struct {
	// any copy has a version that may decide.
	any bool
	top content.Version
	// id of the content at top; -1: held by no copy, or in conflict.
	id       int
	conflict bool
	// highest contents, by id, in a conflict.
	highest []bool
}

func (j *judgement) versions(c *Case, read int) reach {
	v := reach{id: -1}
	if !c.Versions {
		return v
	}
	for i := range c.Copies {
		o := &c.Copies[i].Reads[read]
		if o.Presence == Present && !c.judgedByPrimary(i, read) && !o.Version.IsZero() {
			v.any = true
			if o.Version.Compare(v.top) > 0 {
				v.top = o.Version
			}
		}
	}
	if !v.any {
		return v
	}
	if c.Remembered.Compare(v.top) > 0 {
		v.top = c.Remembered
		v.id = j.id(c.RememberedContent)
		return v
	}
	for i := range c.Copies {
		o := &c.Copies[i].Reads[read]
		if o.Presence != Present || c.judgedByPrimary(i, read) || o.Version != v.top {
			continue
		}
		switch {
		case v.id < 0:
			v.id = j.ids[i]
		case v.id != j.ids[i]:
			v.conflict = true
		}
	}
	if v.conflict {
		v.highest = make([]bool, len(j.contents))
		for i := range c.Copies {
			o := &c.Copies[i].Reads[read]
			if o.Presence == Present && !c.judgedByPrimary(i, read) && o.Version == v.top {
				v.highest[j.ids[i]] = true
			}
		}
		v.id = -1
	}
	return v
}

// majority is the content that a strict majority of the votes hold, and of the layers; -1: none. Only votes for
// contents among those given count, where some are given. One vote alone is no majority.
func (j *judgement) majority(c *Case, contents []bool) int {
	total := 0
	for _, v := range j.votes {
		if v.counts(contents) {
			total++
		}
	}
	if total < 2 {
		return -1
	}
	for id := range j.contents {
		n := 0
		for _, v := range j.votes {
			if v.counts(contents) && v.id == id {
				n++
			}
		}
		if 2*n <= total {
			continue
		}
		holding, layers := 0, 0
		for layer := range c.Layers {
			held := j.holds(layer, contents)
			if held >= 0 {
				layers++
				if held == id {
					holding++
				}
			}
		}
		if 2*holding > layers {
			return id
		}
		return -1
	}
	return -1
}

// holds is the content that a strict majority of a layer's own votes hold; -1: none.
func (j *judgement) holds(layer int, contents []bool) int {
	// Boyer-Moore finds the only candidate; a second pass counts it.
	candidate, balance := -1, 0
	for _, v := range j.votes {
		if v.layer != layer || !v.counts(contents) {
			continue
		}
		switch {
		case balance == 0:
			candidate, balance = v.id, 1
		case v.id == candidate:
			balance++
		default:
			balance--
		}
	}
	n, total := 0, 0
	for _, v := range j.votes {
		if v.layer == layer && v.counts(contents) {
			total++
			if v.id == candidate {
				n++
			}
		}
	}
	if 2*n > total {
		return candidate
	}
	return -1
}

// convicts: may a majority that holds id convict a copy of this layer? Not where every layer that holds it is
// allowed to be staler.
func (j *judgement) convicts(c *Case, id, layer int, contents []bool) bool {
	for l := range c.Layers {
		if j.holds(l, contents) == id && c.Layers[l] <= c.Layers[layer] {
			return true
		}
	}
	return false
}

// byOrigin judges a copy by the origin's answer; ok is false where the next reference has to. lagging: no majority
// may convict it meanwhile.
func byOrigin(c *Case, read, i int, answer *Answer) (f finding, ok, lagging bool) {
	o := &c.Copies[i].Reads[read]
	if !answer.Deleted && o.Content == answer.Content {
		return finding{opinion: right, by: ByOrigin}, true, false
	}
	compare := c.Versions && !answer.Deleted && !o.Version.IsZero() && !answer.Version.IsZero()
	if compare || c.Copies[i].Held >= c.MaxLag {
		return finding{opinion: wrong, by: ByOrigin, target: answer.Version}, true, false
	}
	return finding{}, false, true
}

// find judges a copy that no primary judges.
func (j *judgement) find(c *Case, read, i int, answer *Answer, useAnswer bool, v *reach, all, among int) finding {
	lagging := false
	if useAnswer {
		f, ok, lags := byOrigin(c, read, i, answer)
		if ok {
			return f
		}
		lagging = lags
	}
	id := j.ids[i]
	mayConvict := func(majority int, contents []bool) bool {
		return majority >= 0 && !lagging && j.convicts(c, majority, c.Copies[i].Layer, contents)
	}
	if v.any {
		f, ok := j.byVersion(c, read, i, v)
		if ok {
			return f
		}
		if !v.conflict || !v.highest[id] {
			// Without a version: convicted only for differing from what the versions hold.
			if v.id >= 0 && all == v.id && mayConvict(all, nil) {
				return finding{opinion: wrong, by: ByMajority}
			}
			return finding{opinion: undecided, by: ByNone}
		}
	}
	switch {
	case among >= 0 && id == among:
		return finding{opinion: right, by: ByMajority}
	case mayConvict(among, v.highest):
		return finding{opinion: wrong, by: ByMajority}
	case among < 0 && !j.asked && len(j.votes) < 2 && j.alike(c, read):
		return finding{opinion: alone, by: ByNone}
	default:
		return finding{opinion: undecided, by: ByNone}
	}
}

// byVersion judges a copy by its version; ok is false where the next reference has to.
func (j *judgement) byVersion(c *Case, read, i int, v *reach) (finding, bool) {
	o := &c.Copies[i].Reads[read]
	switch {
	case v.conflict && v.highest[j.ids[i]]:
		return finding{}, false
	case v.id >= 0 && j.ids[i] == v.id:
		return finding{opinion: right, by: ByVersion}, true
	case o.Version.IsZero():
		return finding{}, false
	case o.Version.Compare(v.top) < 0:
		return finding{opinion: wrong, by: ByVersion, target: v.top}, true
	}
	// A replica above its primary, or one of an unsettled conflict.
	return finding{}, false
}

// findReplica judges a replica whose primary was read.
func (j *judgement) findReplica(c *Case, read, i int, answer *Answer, useAnswer bool, v *reach, all, among int) finding {
	p := c.Copies[i].Primary
	if j.ids[p] == j.ids[i] {
		f := j.findings[p]
		if f.opinion == alone {
			return finding{opinion: right, by: ByPrimary}
		}
		return f
	}
	lagging := false
	if useAnswer {
		f, ok, lags := byOrigin(c, read, i, answer)
		if ok {
			return f
		}
		lagging = lags
	}
	if v.any {
		f, ok := j.byVersion(c, read, i, v)
		if ok {
			return f
		}
		if c.Copies[i].Reads[read].Version.IsZero() && (v.id < 0 || j.ids[p] != v.id) {
			if v.id >= 0 && all == v.id && !lagging && j.convicts(c, all, c.Copies[i].Layer, nil) {
				return finding{opinion: wrong, by: ByMajority}
			}
			return finding{opinion: undecided, by: ByNone}
		}
	}
	// Against versions no majority confirms what has none.
	unversioned := v.any && c.Copies[i].Reads[read].Version.IsZero()
	if among >= 0 && j.ids[i] == among && !unversioned {
		return finding{opinion: right, by: ByMajority}
	}
	return finding{opinion: wrong, by: ByPrimary}
}
