package consistency

import (
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/content"
)

// History is what is remembered of keys and nodes from one sampling to the next. It survives reloads of the
// configuration and samplings that failed; it belongs to one Sampler at a time.
type History struct {
	mu      sync.Mutex
	classes map[string]*classHistory
	nodes   map[string]*nodeHistory
}

// NewHistory without memories.
func NewHistory() *History {
	return &History{classes: map[string]*classHistory{}, nodes: map[string]*nodeHistory{}}
}

// replicated are the names of the primaries of which a replica answered the last survey.
func (h *History) replicated() map[string]bool {
	data := map[string]bool{} // that a replica holds, by replication id
	for _, n := range h.nodes {
		if n.told && n.role == "replica" {
			data[n.replID] = true
		}
	}
	out := map[string]bool{}
	for name, n := range h.nodes {
		if n.role == "primary" && n.replID != "" && data[n.replID] {
			out[name] = true
		}
	}
	return out
}

// classHistory of one class. Totals count since the process began.
type classHistory struct {
	// identity is the part of the configuration that contents depend on; another one makes contents incomparable.
	identity string
	// slots of keyHistory.copies by layer and node, and when each was last asked; free are those that were forgotten.
	slots       map[string]*slot
	free        []int
	keys        map[string]*keyHistory
	sampled     *sampledKeys
	nodes       map[string]*nodeTotals
	regressions uint64
	// sampledAt is when the last sampling ended.
	sampledAt time.Time
	origin    map[string]uint64
	// originIdentity is what the origin's contents depend on.
	originIdentity string
	turn           int
}

type slot struct {
	index int
	asked time.Time // last
}

type nodeTotals struct {
	reads   [NumStates]uint64
	overdue uint64
	// toldTTL: the node once told what a copy of the class has left to live.
	toldTTL bool
}

func (h *History) class(name, identity string) *classHistory {
	c := h.classes[name]
	if c == nil || c.identity != identity {
		next := &classHistory{
			identity: identity, slots: map[string]*slot{}, keys: map[string]*keyHistory{},
			nodes: map[string]*nodeTotals{}, origin: map[string]uint64{"ok": 0, "not_found": 0, "error": 0},
		}
		if c != nil { // counters never go back
			next.nodes, next.origin, next.regressions = c.nodes, c.origin, c.regressions
		}
		h.classes[name] = next
		return next
	}
	return c
}

// askedThrough says how the origin is read from now on; what it held as read otherwise is forgotten.
func (c *classHistory) askedThrough(o *config.Origin) {
	identity := ""
	if o != nil {
		identity = fmt.Sprintf("%q %q %q", o.Source.Identity(), o.Decode, o.Select)
	}
	if identity == c.originIdentity {
		return
	}
	c.originIdentity = identity
	for _, k := range c.keys {
		k.originContent, k.originAt = content.Digest{}, time.Time{}
	}
}

// slot of a node's copies, which is asked at this time.
func (c *classHistory) slot(name string, at time.Time) int {
	s := c.slots[name]
	if s == nil {
		s = &slot{index: len(c.slots) + len(c.free)}
		if last := len(c.free) - 1; last >= 0 {
			s.index = c.free[last]
			c.free = c.free[:last]
		}
		c.slots[name] = s
	}
	s.asked = at
	return s.index
}

// settle forgets the copies on nodes that have not been asked for longer than after, and their episodes, which are not
// observed.
func (c *classHistory) settle(at time.Time, after time.Duration) {
	for name, s := range c.slots {
		if at.Sub(s.asked) <= after {
			continue
		}
		delete(c.slots, name)
		c.free = append(c.free, s.index)
		for _, k := range c.keys {
			if s.index < len(k.copies) {
				k.copies[s.index] = copyHistory{}
			}
		}
	}
}

func (c *classHistory) totals(node string) *nodeTotals {
	t := c.nodes[node]
	if t == nil {
		t = &nodeTotals{}
		c.nodes[node] = t
	}
	return t
}

func (c *classHistory) key(name string) *keyHistory {
	k := c.keys[name]
	if k == nil {
		k = &keyHistory{}
		c.keys[name] = k
	}
	return k
}

// keyHistory of one key of a class.
type keyHistory struct {
	copies []copyHistory

	// confirmed is the highest version that two votes or the origin held; seen last at confirmedSeen.
	confirmed        content.Version
	confirmedContent content.Digest
	confirmedSeen    time.Time
	// highest version ever seen, and whether versions do not decide since one went down.
	highest   content.Version
	regressed bool
	// regressions that this key had.
	regressions int

	// divergentSince: the present copies have differed since; zero: they do not.
	divergentSince time.Time

	// originContent is what the origin held at originAt.
	originContent content.Digest
	originAt      time.Time
}

// copyHistory of one copy.
type copyHistory struct {
	// content that was last seen, first at heldSince.
	content   content.Digest
	heldSince time.Time
	// version seen last, kept while the copy is missing.
	version content.Version
	// there is what the node was when the copy was last present; nil: never.
	there *presence
	// life is what the copy then had left to live, in milliseconds; 0: unknown, or too little to count.
	life uint32
	// moves of the key's slot by then.
	moves   uint16
	present bool
	marks   mark

	episode *episode
}

// mark is something remembered of a copy beside what it held.
type mark uint8

const (
	// held: the node should have held the key when it last said where its keys are.
	held mark = 1 << iota
	// away: other nodes held the key at the last sampling.
	away
	// lost: the copy went without a known cause, while another of the same content survived.
	lost
	// survivor: the copy is one that survived.
	survivor
	// still: it was one at the last sampling, too. It means nothing without survivor.
	still
)

// forever is the life of a copy without expiry.
const forever = math.MaxUint32

// lifeOf is what a copy has left to live, as it is remembered.
func lifeOf(o *read) uint32 {
	switch {
	case o.noExpiry:
		return forever
	case o.hasTTL:
		return uint32(min(max(o.ttl.Milliseconds(), 0), forever-1))
	}
	return 0
}

// presence is a node at a sampling in which copies were there.
type presence struct {
	// began and at are when the sampling began and ended.
	began, at time.Time
	boots     int
	evicted   float64
	items     float64
	// counted: the node told its evictions, items and uptime, in this sampling.
	counted bool
	replica bool
}

func (k *keyHistory) copy(slot int) *copyHistory {
	k.widen(slot + 1)
	return &k.copies[slot]
}

// widen makes room for n slots and no more: there are many keys, and few nodes that come later.
func (k *keyHistory) widen(n int) {
	if len(k.copies) < n {
		k.copies = append(make([]copyHistory, 0, n), k.copies...)[:n]
	}
}

// inEpisode: any copy lacks what convicted it.
func (k *keyHistory) inEpisode() bool {
	for i := range k.copies {
		if k.copies[i].episode != nil {
			return true
		}
	}
	return false
}

// episode is the time for which a copy has lacked what convicted it when the episode began.
type episode struct {
	since time.Time
	by    Reference
	// content that the copy held when last read.
	content content.Digest
	// version to be reached, of one convicted by version.
	version content.Version
	// offset to be reached in bytes, of a replica convicted by its primary.
	offset int64
	// regressions of the key when it began.
	regressions int
}

// now is one copy as a sampling found it, for its episode.
type now struct {
	outcome Outcome
	content content.Digest
	version content.Version
	// reference is the version of what decided.
	reference content.Version
	tooOld    bool
	// replica: the copy is still one of a replica; offset is the node's, primaryOffset its primary's.
	replica               bool
	offset, primaryOffset int64
	regressions           int
	// read is the first of the two reads, ended the end of the sampling.
	read, ended time.Time
}

// follow takes an episode through one sampling. It returns the state to report, the episode that is open after it
// (nil: none), and whether the one before it ended.
func follow(e *episode, n now) (State, *episode, bool) {
	stale := n.outcome.State == Stale
	begin := func() *episode {
		return &episode{
			since: n.read, by: n.outcome.By, content: n.content, version: n.outcome.Target,
			offset: n.primaryOffset, regressions: n.regressions,
		}
	}
	switch {
	case e == nil && stale:
		return Stale, begin(), false
	case e == nil:
		return n.outcome.State, nil, false
	case n.outcome.State == Missing:
		return Missing, nil, true
	case n.outcome.State == Error:
		return Error, e, false
	case !stale && (n.content != e.content || e.confirmedBy(n)):
		return n.outcome.State, nil, true
	case !stale:
		// Neither that the witnesses went away nor a weaker reference makes it right.
		return Stale, e, false
	case n.content != e.content && e.reachedBy(n):
		return Stale, begin(), true
	}
	e.content = n.content
	return Stale, e, false
}

// confirmedBy: a copy of unchanged content is right by a reference at least as strong as what convicted it.
func (e *episode) confirmedBy(n now) bool {
	if e.by == ByPrimary && !n.replica {
		return true
	}
	if e.by == ByAge {
		return !n.tooOld
	}
	if n.outcome.State != Fresh || n.outcome.By == ByNone || n.outcome.By > e.by {
		return false
	}
	if e.by == ByVersion && n.outcome.By == ByVersion {
		return n.reference.Compare(e.version) >= 0 || n.regressions > e.regressions
	}
	return true
}

// reachedBy: a copy of other content, wrong again, has what convicted it when the episode began.
func (e *episode) reachedBy(n now) bool {
	switch e.by {
	case ByVersion:
		return n.version.Compare(e.version) >= 0
	case ByPrimary:
		return n.offset >= e.offset
	default:
		return true
	}
}

// nodeHistory of one node.
type nodeHistory struct {
	// told: it answered the last survey.
	told bool
	// boots counts restarts seen.
	boots   int
	uptime  float64
	runID   string
	evicted float64
	items   float64
	// counted: it told uptime, evictions and items.
	counted bool
	loading bool
	// role, replID, primary and offset as the node last told.
	role, replID, replID2 string
	offset                int64
}

// regressionOf decides whether a version went down on its own node while the highest did not rise, and whether one
// that was noted is over. k is as the last sampling left it; the observations are the final ones. Replicas whose
// primary was read are left out: they follow it.
func (k *keyHistory) regressionOf(c *Case, slots []int, read int) (began bool) {
	var highest, before content.Version
	down := false
	for i := range c.Copies {
		if c.judgedByPrimary(i, read) {
			continue
		}
		last := k.copy(slots[i]).version
		if last.Compare(before) > 0 {
			before = last
		}
		o := &c.Copies[i].Reads[read]
		if o.Presence != Present || o.Version.IsZero() {
			continue
		}
		if o.Version.Compare(highest) > 0 {
			highest = o.Version
		}
		down = down || o.Version.Compare(last) < 0
	}
	if k.regressed {
		k.regressed = highest.Compare(k.highest) <= 0
		return false
	}
	if down && highest.Compare(before) <= 0 {
		k.regressed = true
		k.regressions++
		k.forgetConfirmed()
		return true
	}
	return false
}

func (k *keyHistory) forgetConfirmed() {
	k.confirmed, k.confirmedContent, k.confirmedSeen = content.Version{}, content.Digest{}, time.Time{}
}

// remember what the final read showed, after the key was judged. ttl is how long a confirmed version is kept. There is
// at least one copy, or every node said that it has none.
func (k *keyHistory) remember(c *Case, outcomes []Outcome, slots []int, read int, useOrigin bool, at time.Time, ttl time.Duration) {
	allRead, anyPresent, alike := true, false, true
	votes := 0
	var first content.Digest
	var top content.Version
	for i := range c.Copies {
		o := &c.Copies[i].Reads[read]
		switch o.Presence {
		case Unread:
			allRead = false
			continue
		case Absent:
			continue
		}
		if !anyPresent {
			first = o.Content
		}
		anyPresent = true
		alike = alike && first == o.Content
		if outcomes[i].Votes {
			votes++
		}
		if o.Version.Compare(top) > 0 && !c.judgedByPrimary(i, read) {
			top = o.Version
		}
	}
	if allRead && !anyPresent { // deleted: what comes next is a new thing
		k.forgetConfirmed()
		k.highest, k.regressed = content.Version{}, false
		for i := range k.copies {
			k.copies[i].version = content.Version{}
		}
		return
	}
	for i := range c.Copies {
		if o := &c.Copies[i].Reads[read]; o.Presence == Present && !o.Version.IsZero() {
			k.copy(slots[i]).version = o.Version
		}
	}
	if k.regressed {
		if alike && votes >= 2 {
			k.regressed, k.highest = false, top
			for i := range c.Copies { // what a missing copy once held says nothing of the new thing
				if c.Copies[i].Reads[read].Presence != Present {
					k.copy(slots[i]).version = content.Version{}
				}
			}
		}
		return
	}
	if top.Compare(k.highest) > 0 {
		k.highest = top
	}
	if c.Versions {
		k.confirm(c, outcomes, read, useOrigin, at, ttl)
	}
}

// confirm keeps the highest version that two votes, or the origin, hold.
func (k *keyHistory) confirm(c *Case, outcomes []Outcome, read int, useOrigin bool, at time.Time, ttl time.Duration) {
	if ttl > 0 && at.Sub(k.confirmedSeen) > ttl {
		k.forgetConfirmed()
	}
	note := func(v content.Version, d content.Digest) {
		if !v.IsZero() && v.Compare(k.confirmed) >= 0 {
			k.confirmed, k.confirmedContent, k.confirmedSeen = v, d, at
		}
	}
	if a := &c.Origin[read]; useOrigin && !a.Deleted {
		note(a.Version, a.Content)
	}
	for i := range c.Copies {
		o := &c.Copies[i].Reads[read]
		if o.Presence != Present || o.Version.IsZero() || o.Version.Compare(k.confirmed) < 0 || c.judgedByPrimary(i, read) {
			continue
		}
		if o.Version == k.confirmed {
			k.confirmedSeen = at
			continue
		}
		if !outcomes[i].Votes {
			continue
		}
		for m := i + 1; m < len(c.Copies); m++ {
			if p := &c.Copies[m].Reads[read]; outcomes[m].Votes && p.Version == o.Version && p.Content == o.Content {
				note(o.Version, o.Content)
				break
			}
		}
	}
}
