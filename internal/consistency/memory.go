package consistency

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/content"
	"github.com/cacheinv/cacheinv_exporter/internal/verdict"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// Memory is what is remembered of keys and nodes from one sampling to the next. It survives reloads of the
// configuration and samplings that failed; it belongs to one Sampler at a time.
type Memory struct {
	mu      sync.Mutex
	classes map[string]*classMemory
	nodes   map[string]*nodeMemory
}

// NewMemory of nothing.
func NewMemory() *Memory {
	return &Memory{classes: map[string]*classMemory{}, nodes: map[string]*nodeMemory{}}
}

// forgetNodes that were not asked for longer than after, or before too many others that left; at is this sampling.
func (m *Memory) forgetNodes(at time.Time, after time.Duration) {
	var left []time.Time
	for _, n := range m.nodes {
		if n.asked.Before(at) {
			left = append(left, n.asked)
		}
	}
	before := probes.ForgottenBefore(left)
	maps.DeleteFunc(m.nodes, func(_ string, n *nodeMemory) bool { return at.Sub(n.asked) > after || n.asked.Before(before) })
}

// replicated are the names of the primaries of which a replica answered the last survey.
func (m *Memory) replicated() map[string]bool {
	data := map[string]bool{} // that a replica holds, by replication id
	for _, n := range m.nodes {
		if n.answered && n.role == "replica" {
			data[n.replID] = true
		}
	}
	out := map[string]bool{}
	for name, n := range m.nodes {
		if n.role == "primary" && n.replID != "" && data[n.replID] {
			out[name] = true
		}
	}
	return out
}

// classMemory of one class. Totals count since the process began.
type classMemory struct {
	// identity is the part of the configuration that contents depend on; another one makes contents incomparable.
	identity string
	// indices into keyMemory.copies by layer and node, and when each node was last asked; free are those that were forgotten.
	indices     map[string]*memoryIndex
	free        []memoryAt
	keys        map[string]*keyMemory
	sampled     *sampledKeys
	nodes       map[string]*nodeTotals
	regressions uint64
	// warnedOfVersions: the log says that no copy gives a version.
	warnedOfVersions bool
	// sampledAt is when the last sampling ended.
	sampledAt time.Time
	// takenOut is when the class was first missed in the configuration; zero: it is there.
	takenOut time.Time
	origin   map[string]uint64
	// originIdentity is what the origin's contents depend on.
	originIdentity string
	// nextAsked is the index of the key at which the next sampling begins to ask the origin.
	nextAsked int
	// nextNoted is the index of the canary from which the next sampling notes some for later looks.
	nextNoted int
}

// memoryAt is where the copies on one node lie in every keyMemory.copies of a class. It outlives samplings, in which nodes
// come and go, and so is another index than that of a nodeColumn.
type memoryAt int

// memoryIndex is where the copies on one node are remembered.
type memoryIndex struct {
	index memoryAt
	asked time.Time // last
}

type nodeTotals struct {
	reads   [verdict.NumStates]uint64
	overdue uint64
	// toldTTL: the node once told what a copy of the class has left to live.
	toldTTL bool
}

// classForgotten is how long a class may be out of the configuration until it begins anew.
const classForgotten = 10 * time.Minute

// class of this name, for a configuration that is read now.
func (m *Memory) class(name, madeOf string, now time.Time) *classMemory {
	c := m.classes[name]
	if c != nil && c.isForgotten(now) {
		c = nil
	}
	if c == nil || c.identity != madeOf {
		next := &classMemory{
			identity: madeOf, indices: map[string]*memoryIndex{}, keys: map[string]*keyMemory{},
			nodes: map[string]*nodeTotals{}, origin: map[string]uint64{"ok": 0, "not_found": 0, "error": 0},
		}
		if c != nil { // counters never go back
			next.nodes, next.origin, next.regressions = c.nodes, c.origin, c.regressions
		}
		m.classes[name] = next
		return next
	}
	return c
}

// keepClasses that are sampled now, and others for a while.
func (m *Memory) keepClasses(sampled []*class, now time.Time) {
	for name, c := range m.classes {
		switch {
		case slices.ContainsFunc(sampled, func(s *class) bool { return s.memory == c }):
			c.takenOut = time.Time{}
		case c.takenOut.IsZero():
			c.takenOut = now
		case c.isForgotten(now):
			delete(m.classes, name)
		}
	}
}

func (c *classMemory) isForgotten(now time.Time) bool {
	return !c.takenOut.IsZero() && now.Sub(c.takenOut) > classForgotten
}

// askedThrough says how the origin is read from now on; what it held as read otherwise is forgotten.
func (c *classMemory) askedThrough(o *config.Origin) {
	now := ""
	if o != nil {
		now = fmt.Sprintf("%q %q %q", o.Source.Identity(), o.Decode, o.Select)
	}
	if now == c.originIdentity {
		return
	}
	c.originIdentity = now
	for _, k := range c.keys {
		k.originContent, k.originAt = content.Digest{}, time.Time{}
	}
}

// indexOf a node's copies. The node is asked at this time.
func (c *classMemory) indexOf(name string, at time.Time) memoryAt {
	s := c.indices[name]
	if s == nil {
		s = &memoryIndex{index: memoryAt(c.width())}
		if last := len(c.free) - 1; last >= 0 {
			s.index = c.free[last]
			c.free = c.free[:last]
		}
		c.indices[name] = s
	}
	s.asked = at
	return s.index
}

// width is how many indices there are, those included that wait for another node.
func (c *classMemory) width() int { return len(c.indices) + len(c.free) }

// settle forgets the copies on nodes that have not been asked for longer than after, or before too many others that left, and their
// episodes, which are not observed.
func (c *classMemory) settle(at time.Time, after time.Duration) {
	known := len(c.free)
	var left []time.Time
	for _, s := range c.indices {
		if s.asked.Before(at) {
			left = append(left, s.asked)
		}
	}
	before := probes.ForgottenBefore(left)
	for name, s := range c.indices {
		if at.Sub(s.asked) > after || s.asked.Before(before) {
			delete(c.indices, name)
			c.free = append(c.free, s.index)
		}
	}
	forgotten := c.free[known:]
	if len(forgotten) == 0 {
		return
	}
	c.forgetTotals()
	if len(c.free) > len(c.indices) {
		c.compact()
		return
	}
	for _, k := range c.keys {
		for _, i := range forgotten {
			if memory := k.copyAt(i); memory != nil {
				*memory = copyMemory{}
			}
		}
	}
}

// compact gives the nodes that are known new indices, so that there are no free ones.
func (c *classMemory) compact() {
	from := make([]memoryAt, 0, len(c.indices)) // by the new index
	indices := make(map[string]*memoryIndex, len(c.indices))
	for name, s := range c.indices {
		indices[name] = &memoryIndex{index: memoryAt(len(from)), asked: s.asked}
		from = append(from, s.index)
	}
	c.indices, c.free = indices, nil
	for _, k := range c.keys {
		copies := make([]copyMemory, len(from))
		for to, i := range from {
			if memory := k.copyAt(i); memory != nil {
				copies[to] = *memory
			}
		}
		k.copies = copies
	}
}

// forgetTotals of nodes of which nothing else is known.
func (c *classMemory) forgetTotals() {
	known := map[string]bool{}
	for name := range c.indices {
		known[nodeOf(name)] = true
	}
	maps.DeleteFunc(c.nodes, func(name string, _ *nodeTotals) bool { return !known[name] })
}

func (c *classMemory) totals(node string) *nodeTotals {
	t := c.nodes[node]
	if t == nil {
		t = &nodeTotals{}
		c.nodes[node] = t
	}
	return t
}

func (c *classMemory) key(name string) *keyMemory {
	k := c.keys[name]
	if k == nil {
		k = &keyMemory{}
		c.keys[name] = k
	}
	return k
}

// keyMemory of one key of a class.
type keyMemory struct {
	// copies by memoryAt. It may be shorter than there are indices until the key is judged.
	copies []copyMemory

	// confirmed is the highest version that two votes or the origin held; seen last at confirmedSeen.
	confirmed        content.Version
	confirmedContent content.Digest
	confirmedSeen    time.Time
	// highest version ever seen, and whether versions do not decide since one went down.
	highest   content.Version
	regressed bool
	// regressions that this key had.
	regressions int

	// known are the contents that were seen last, knownContents of them and those that copies hold. The last one came last.
	known []verdict.Known

	// divergentSince: the present copies have differed since; zero: they do not.
	divergentSince time.Time

	// originContent is what the origin held at originAt.
	originContent content.Digest
	originAt      time.Time
}

// inEpisode: any copy of the key lacks what convicted it.
func (c *classMemory) inEpisode(key string) bool {
	k := c.keys[key]
	return k != nil && k.inEpisode()
}

// copyMemory of one copy. There are as many as keys and nodes, so its size matters.
type copyMemory struct {
	// content that was last seen, first at heldSince (in Unix nanoseconds).
	content   content.Digest
	heldSince int64
	// markedSince is when the copy was found lost, or first found to survive another, in Unix nanoseconds. It means nothing
	// without markLost or markSurvivor, of which a copy has one at most.
	markedSince int64
	// version seen last, kept while the copy is missing.
	version content.Version
	// lastPresent is what the node was when the copy was last present; nil: never.
	lastPresent *nodeMark
	// ttlLeft is what the copy then had left to live, in milliseconds; 0: unknown, or too little to count.
	ttlLeft uint32
	// moves of the key's slot by then.
	moves   uint16
	present bool
	marks   marks

	episode *verdict.Episode
}

// marks are things remembered of a copy beside what it held.
type marks uint8

const (
	// markHeld: the node should have held the key when it last said where its keys are.
	markHeld marks = 1 << iota
	// markAway: other nodes held the key at the last sampling.
	markAway
	// markLost: the copy went without a known cause, while another of the same content survived.
	markLost
	// markSurvivor: the copy is one that survived.
	markSurvivor
	// markFell is verdict.Past.Fell.
	markFell
	// markStill: it was one at the last sampling, too. It means nothing without markSurvivor.
	markStill
)

// past is what a verdict has to know of the copy.
func (m *copyMemory) past() verdict.Past {
	return verdict.Past{
		Seen: m.lastPresent != nil, Present: m.present, Fell: m.marks&markFell != 0, Content: m.content, Version: m.version,
	}
}

// forever is the ttlLeft of a copy without expiry.
const forever = math.MaxUint32

// ttlLeftOf is what a copy has left to live, as it is remembered.
func ttlLeftOf(o *reading) uint32 {
	switch {
	case o.noExpiry:
		return forever
	case o.hasTTL:
		return uint32(min(max(o.ttl.Milliseconds(), 0), forever-1))
	}
	return 0
}

// nodeMark is a node at a sampling in which copies were there. All copies on it share one.
type nodeMark struct {
	// began and at are when the sampling began and ended.
	began, at time.Time
	boots     int
	evicted   float64
	items     float64
	// counted: the node told its evictions, items and uptime, in this sampling.
	counted bool
	replica bool
}

// widen makes room for n copies and no more: there are many keys, and few nodes that come later.
func (k *keyMemory) widen(n int) {
	if len(k.copies) < n {
		k.copies = append(make([]copyMemory, 0, n), k.copies...)[:n]
	}
}

// copyAt is the copy at an index; nil: nothing is remembered there yet.
func (k *keyMemory) copyAt(i memoryAt) *copyMemory {
	if int(i) < len(k.copies) {
		return &k.copies[i]
	}
	return nil
}

// knownContents is how many contents of a key are remembered, more only where more are held.
const knownContents = 6

// see a content that a copy did not hold before, at this time in Unix nanoseconds.
func (k *keyMemory) see(d content.Digest, at int64) {
	seen := verdict.Known{Content: d, First: at}
	for i := range k.known {
		if k.known[i].Content == d {
			seen = k.known[i]
			k.known = append(slices.Delete(k.known, i, i+1), seen)
			return
		}
	}
	k.known = append(k.known, seen)
	for i := 0; len(k.known) > knownContents && i < len(k.known)-1; {
		if k.holds(k.known[i].Content) {
			i++
			continue
		}
		k.known = slices.Delete(k.known, i, i+1)
	}
}

// holds: a copy held the content when it was last there.
func (k *keyMemory) holds(d content.Digest) bool {
	return slices.ContainsFunc(k.copies, func(m copyMemory) bool { return m.content == d })
}

// inEpisode: any copy lacks what convicted it.
func (k *keyMemory) inEpisode() bool {
	for i := range k.copies {
		if k.copies[i].episode != nil {
			return true
		}
	}
	return false
}

// nodeMemory of one node: what it last told of itself. noteNodes fills it.
type nodeMemory struct {
	// asked is when it was last part of a sampling.
	asked time.Time
	// told is when the sampling began in which it last told of itself.
	told time.Time
	// answered: it answered the last survey.
	answered bool
	// boots counts restarts seen.
	boots   int
	uptime  float64
	runID   string
	evicted float64
	items   float64
	// counted: it told uptime, evictions and items.
	counted bool
	loading bool
	// role, replID, primary and offset as the node last told. A replica that takes writes of its own has no role.
	role, replID, replID2 string
	offset                int64
}

// mark of the node in a sampling that began and ended then.
func (n *nodeMemory) mark(began, at time.Time) *nodeMark {
	return &nodeMark{
		began: began, at: at, boots: n.boots, evicted: n.evicted, items: n.items,
		counted: n.answered && n.counted, replica: n.role == "replica",
	}
}
