package verdict

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/cacheinv/cacheinv_exporter/internal/content"
)

// digest is a content of its own for each number.
func digest(n int) content.Digest { return letters("c" + itoa(n)) }

var versions sync.Map // by number

func version(t interface{ Fatalf(string, ...any) }, n int) content.Version {
	if v, ok := versions.Load(n); ok {
		return v.(content.Version)
	}
	r, err := content.Compile(content.Spec{Version: &content.VersionSpec{JSON: "$.v", Kind: "integer"}, MaxBytes: 1 << 20})
	if err != nil {
		t.Fatalf("compile: %v", err)
	}
	c, err := r.Value([]byte(`{"v":` + itoa(n) + `}`))
	if err != nil || c.Version.IsZero() {
		t.Fatalf("version %d: %v", n, err)
	}
	versions.Store(n, c.Version)
	return c.Version
}

func itoa(n int) string { return fmt.Sprint(n) }

// source of choices: rapid, which finds the smallest counterexample, or a fixed seed, which is faster.
type source struct {
	testing.TB
	choose func(label string, low, high int) int
}

func (s *source) chance(label string, of int) bool { return s.choose(label, 0, of-1) == of-1 }

// fails is what a property says against a choice; empty: nothing.
type property func(s *source) (fault string)

// always checks a property with rapid, then n times from a fixed seed.
func always(t *testing.T, n int, p property) {
	t.Helper()
	rapid.Check(t, func(r *rapid.T) {
		s := &source{TB: t, choose: func(label string, low, high int) int { return rapid.IntRange(low, high).Draw(r, label) }}
		if fault := p(s); fault != "" {
			r.Fatal(fault)
		}
	})
	random := rand.New(rand.NewPCG(1, 2))
	s := &source{TB: t, choose: func(_ string, low, high int) int { return low + random.IntN(high-low+1) }}
	for range n {
		if fault := p(s); fault != "" {
			t.Fatal(fault)
		}
	}
}

// drawCase makes a key of up to 6 copies in up to 3 layers, some of them replicas, with two arbitrary reads. Content n is
// mostly of version n.
func drawCase(s *source) *Case {
	c := &Case{Reread: true, Versions: s.chance("versions", 2)}
	for range s.choose("layers", 1, 3) {
		c.Layers = append(c.Layers, time.Duration(s.choose("policy", 0, 2))*time.Minute)
	}
	made := func(id int) (v content.Version) {
		if c.Versions && !s.chance("no version", 5) {
			v = version(s, id)
			if s.chance("another version", 6) {
				v = version(s, s.choose("version", 1, 4))
			}
		}
		return v
	}
	observe := func() Observation {
		o := Observation{Presence: Present}
		switch s.choose("presence", 0, 5) {
		case 5:
			return Observation{Presence: Unread}
		case 4:
			return Observation{Presence: Absent}
		}
		id := s.choose("content", 1, 4)
		o.Content, o.Version, o.TooOld = digest(id), made(id), s.chance("too old", 12)
		if o.Version.IsZero() {
			o.Future = c.Versions && s.chance("in the future", 3)
		}
		return o
	}
	plain := []CopyAt{}
	for i := range s.choose("copies", 1, 6) {
		k := Copy{Layer: s.choose("layer", 0, len(c.Layers)-1), Held: []time.Duration{time.Hour, 0}[s.choose("held", 0, 1)]}
		switch role := s.choose("role", 0, 5); {
		case role == 4 && len(plain) > 0:
			k.Primary = replicaOf(plain[s.choose("primary", 0, len(plain)-1)])
			k.Layer = c.Copies[k.Primary.At].Layer
		case role == 5:
			k.Primary, k.Layer = replicaOfUnknown(s.choose("unknown primary", 0, 1)), 0
		default:
			plain = append(plain, CopyAt(i))
		}
		k.Left = s.chance("left", 8)
		if s.chance("a past", 2) {
			id := s.choose("content", 1, 4)
			k.Past = Past{Seen: true, Present: s.chance("was present", 2), Fell: s.chance("fell", 4), Content: digest(id), Version: made(id)}
		}
		k.Reads[0] = observe()
		k.Reads[1] = k.Reads[0]
		if s.chance("moves", 3) {
			k.Reads[1] = observe()
		}
		c.Copies = append(c.Copies, k)
	}
	if s.chance("origin", 2) {
		c.MaxLag = []time.Duration{0, time.Minute}[s.choose("max_lag", 0, 1)]
		answer := func() Answer {
			switch s.choose("answer", 0, 7) {
			case 7:
				return Answer{}
			case 6:
				return Answer{Asked: true, Deleted: true}
			}
			id := s.choose("content", 1, 4)
			return Answer{Asked: true, Content: digest(id), Version: made(id)}
		}
		c.Origin[0] = answer()
		c.Origin[1] = c.Origin[0]
		if s.chance("another answer", 3) {
			c.Origin[1] = answer()
		}
	}
	for id := range s.choose("known", 0, 4) {
		c.Known = append(c.Known, Known{digest(1 + id), int64(s.choose("first", 1, 3))})
	}
	if c.Versions && s.chance("regressed", 6) {
		c.Regressed, c.Highest = true, version(s, s.choose("highest", 1, 4))
	}
	if c.Versions && s.chance("remembered", 4) {
		id := s.choose("content", 1, 4)
		c.Remembered, c.RememberedContent = version(s, id), digest(id)
	}
	return c
}

// written as in the tables of rules_test.go.
func written(c *Case) string {
	at := func(d content.Digest, v content.Version) string {
		text := strings.TrimRight(string(d[:]), "\x00")
		if !v.IsZero() {
			text += "@" + v.String()
		}
		return text
	}
	seen := func(o *Observation) string {
		text := at(o.Content, o.Version)
		if o.Future {
			text += "@+"
		}
		switch {
		case o.Presence == Unread:
			return "?"
		case o.Presence == Absent:
			return "-"
		case o.TooOld:
			text += "!"
		}
		return text
	}
	said := func(a *Answer) string {
		switch {
		case !a.Asked:
			return "?"
		case a.Deleted:
			return "404"
		}
		return at(a.Content, a.Version)
	}
	var out []string
	for i := range c.Copies {
		k := &c.Copies[i]
		name := itoa(i)
		switch {
		case k.Primary.InCase:
			name += "<" + itoa(int(k.Primary.At))
		case k.IsReplica():
			name += "<unknown" + itoa(k.Primary.Group)
		}
		past := "new"
		if k.Past.Seen {
			past = at(k.Past.Content, k.Past.Version)
			if k.Past.Fell {
				past += "!"
			}
			if !k.Past.Present {
				past += "*"
			}
		}
		if k.Left {
			name = "left:" + name
		}
		out = append(out, fmt.Sprintf("l%d/%s: %s=%s>%s^%s~%s", k.Layer, c.Layers[k.Layer], name, seen(&k.Reads[0]), seen(&k.Reads[1]), past, k.Held))
	}
	if c.Versions {
		out = append(out, "versions")
	}
	if c.Regressed {
		out = append(out, "regression highest="+c.Highest.String())
	}
	for _, k := range c.Known {
		out = append(out, fmt.Sprintf("known:%d=%s", k.First, at(k.Content, content.Version{})))
	}
	if c.Origin[0].Asked || c.Origin[1].Asked {
		out = append(out, fmt.Sprintf("origin=%s>%s lag=%s", said(&c.Origin[0]), said(&c.Origin[1]), c.MaxLag))
	}
	if !c.Remembered.IsZero() {
		out = append(out, "remembered="+at(c.RememberedContent, c.Remembered))
	}
	return strings.Join(out, " ")
}

func decide(c *Case) Verdict {
	var j Judge
	return j.Decide(c)
}

// reordered gives the copies another order.
func reordered(c *Case, order []int) *Case {
	out := *c
	out.Copies = make([]Copy, len(c.Copies))
	place := make([]CopyAt, len(c.Copies))
	for to, from := range order {
		place[from] = CopyAt(to)
	}
	for to, from := range order {
		out.Copies[to] = c.Copies[from]
		if p := c.Copies[from].Primary; p.InCase {
			out.Copies[to].Primary.At = place[p.At]
		}
	}
	return &out
}

func TestOrderOfNodesChangesNothing(t *testing.T) {
	always(t, 5000, func(s *source) string {
		c := drawCase(s)
		order := indices(len(c.Copies))
		for i := range order { // shuffle
			k := s.choose("swap", i, len(order)-1)
			order[i], order[k] = order[k], order[i]
		}
		got, then := decide(c), decide(reordered(c, order))
		if got.Reference != then.Reference || got.Counted != then.Counted || got.Conflict != then.Conflict ||
			got.OriginBehind != then.OriginBehind || got.Reached != then.Reached || got.Fell != then.Fell ||
			got.Regressed != then.Regressed || got.Forget != then.Forget {
			return fmt.Sprintf("%s\nthe key's verdict in the order %v is %+v, not %+v", written(c), order, then, got)
		}
		votes := [2]int{}
		for to, from := range order {
			a, b := got.Copies[from], then.Copies[to]
			if a.State != b.State || a.By != b.By || a.Target != b.Target || a.Fell != b.Fell {
				return fmt.Sprintf("%s\ncopy %d in the order %v is %s by %s, not %s by %s", written(c), from, order, b.State, b.By, a.State, a.By)
			}
			for i, o := range []Outcome{a, b} {
				if o.Votes {
					votes[i]++
				}
			}
		}
		if votes[0] != votes[1] {
			return fmt.Sprintf("%s\n%d votes in the order %v, not %d", written(c), votes[1], order, votes[0])
		}
		return ""
	})
}

func indices(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

// The order of layers, and of what stands for which content, says nothing either.
func TestNamesChangeNothing(t *testing.T) {
	always(t, 3000, func(s *source) string {
		c := drawCase(s)
		other := *c
		other.Layers = slices.Clone(c.Layers)
		slices.Reverse(other.Layers)
		other.Copies = slices.Clone(c.Copies)
		rename := func(d content.Digest) content.Digest {
			if d == (content.Digest{}) {
				return d
			}
			d[15]++
			d[1] ^= 7
			return d
		}
		for i := range other.Copies {
			k := &other.Copies[i]
			k.Layer = len(c.Layers) - 1 - k.Layer
			for r := range k.Reads {
				k.Reads[r].Content = rename(k.Reads[r].Content)
			}
			k.Past.Content = rename(k.Past.Content)
		}
		for i := range other.Origin {
			other.Origin[i].Content = rename(other.Origin[i].Content)
		}
		other.RememberedContent = rename(other.RememberedContent)
		other.Known = slices.Clone(c.Known)
		for i := range other.Known {
			other.Known[i].Content = rename(other.Known[i].Content)
		}
		if a, b := fmt.Sprint(decide(c)), fmt.Sprint(decide(&other)); a != b {
			return fmt.Sprintf("%s\n%s\n%s", written(c), a, b)
		}
		return ""
	})
}

// A Judge keeps nothing from one key to the next.
func TestAJudgeKeepsNothing(t *testing.T) {
	var used Judge
	always(t, 5000, func(s *source) string {
		c := drawCase(s)
		if a, b := fmt.Sprint(used.Decide(c)), fmt.Sprint(decide(c)); a != b {
			return fmt.Sprintf("%s\nafter others %s\nalone        %s", written(c), a, b)
		}
		return ""
	})
}

// A copy that is missing, or could not be read, changes nothing for the others. (Those of a replication group do.)
func TestACopyThatIsNotThereChangesNothing(t *testing.T) {
	always(t, 5000, func(s *source) string {
		c := drawCase(s)
		k := Copy{Layer: s.choose("layer", 0, len(c.Layers)-1)}
		for i := range k.Reads {
			k.Reads[i].Presence = Absent
		}
		if s.chance("unread", 2) { // it has no vote where its node left
			k.Left = true
			k.Reads[s.choose("read", 0, 1)].Presence = Unread
		}
		more := *c
		more.Copies = append(slices.Clone(c.Copies), k)
		a, b := decide(c), decide(&more)
		b.Copies = b.Copies[:len(c.Copies)]
		if fmt.Sprint(a) != fmt.Sprint(b) {
			return fmt.Sprintf("%s\n%v\nwith one more: %v", written(c), a, b)
		}
		return ""
	})
}

// A node more that holds what the reference holds makes no other copy look worse. Worse is:
//   - a fresh copy that holds the same, or moved, is fresh no more;
//   - any other copy that holds the same is stale, or undecided where it was not;
//   - a missing or unreadable copy is anything else.
//
// A copy that holds another thing may well be convicted by one voice more where nothing was certain before. It may even have
// been fresh: while max_lag runs a majority confirms what the origin does not hold, and one voice more can end it.
func TestANodeThatAgreesHarmsNoOther(t *testing.T) {
	always(t, 10000, func(s *source) string {
		c := drawCase(s)
		verdict := decide(c)
		if verdict.Fell { // it may be the one that makes a regression of late writes, or late writes of a regression
			return ""
		}
		before := verdict.Copies
		var agreeing []int
		for i, o := range before {
			k := &c.Copies[i]
			if k.Reads[0] == k.Reads[1] && !k.IsReplica() && o.State == Fresh && agrees(c, i, 0) && agrees(c, i, 1) {
				agreeing = append(agreeing, i)
			}
		}
		if len(agreeing) == 0 {
			return ""
		}
		k := c.Copies[agreeing[s.choose("agrees", 0, len(agreeing)-1)]]
		k.Layer = s.choose("its layer", 0, len(c.Layers)-1)
		k.Past = Past{Seen: true} // nor does its past say anything
		more := *c
		more.Copies = append(slices.Clone(c.Copies), k)
		after := decide(&more).Copies
		if got := after[len(before)]; got.State != Fresh {
			return fmt.Sprintf("%s\none more of %s in layer %d is %s", written(c), written(&Case{Layers: c.Layers, Copies: []Copy{k}}), k.Layer, got.State)
		}
		for i := range before {
			a, b := before[i].State, after[i].State
			first, second := c.Copies[i].Reads[0], c.Copies[i].Reads[1]
			same := second.Presence == Present && second.Content == k.Reads[1].Content && !second.TooOld
			worse := a == Fresh && (same || !first.Same(&second)) && b != Fresh ||
				a != Stale && same && (b == Stale || b == Undecided && a != Undecided) ||
				(a == Missing || a == Error) && b != a
			if worse {
				return fmt.Sprintf("%s\ncopy %d was %s; one more of %s in layer %d, and it is %s by %s",
					written(c), i, a, written(&Case{Layers: c.Layers, Copies: []Copy{k}}), k.Layer, b, after[i].By)
			}
		}
		return ""
	})
}

// agrees: judged by one read unopposed, the copy is confirmed.
func agrees(c *Case, i, read int) bool {
	one := *c
	one.Copies = slices.Clone(c.Copies)
	for k := range one.Copies {
		one.Copies[k].Reads = [2]Observation{c.Copies[k].Reads[read], c.Copies[k].Reads[read]}
	}
	answer := c.Origin[read]
	answer.Asked = c.Origin[0].Asked && c.Origin[1].Asked
	one.Origin = [2]Answer{answer, answer}
	o := decide(&one).Copies[i]
	return o.State == Fresh && o.By < ByNone
}

// What no rule could ever give.
func TestWhatIsNeverSaid(t *testing.T) {
	always(t, 10000, func(s *source) string {
		c := drawCase(s)
		v := decide(c)
		highest := c.Remembered
		for i := range c.Copies {
			if o := c.Copies[i].Reads[0]; o.Presence == Present && o.Version.Compare(highest) > 0 {
				highest = o.Version
			}
		}
		if a := c.Origin[0]; a.Asked && a.Version.Compare(highest) > 0 {
			highest = a.Version
		}
		for i, o := range v.Copies {
			a, b := c.Copies[i].Reads[0], c.Copies[i].Reads[1]
			asked := c.Origin[0].Asked && c.Origin[1].Asked
			fault := ""
			switch {
			case b.Presence != Present && (o.State == Fresh || o.State == Stale || o.State == Undecided || o.State == Unverified):
				fault = "it is not there"
			case b.Presence == Present && o.State == Missing:
				fault = "it is there"
			case a.Presence == Absent && b.Presence == Absent && o.State != Missing:
				fault = "it is missing"
			case b.Presence == Unread && o.State != Error:
				fault = "it could not be read"
			case o.State == Stale && !a.Same(&b) && (!c.Versions || b.Version.Compare(highest) >= 0):
				fault = "it moved, and is not below what existed"
			case o.State == Stale && o.By == ByOrigin && !asked:
				fault = "the origin was not asked"
			case o.State == Stale && o.By == ByVersion && !c.Versions:
				fault = "versions do not decide"
			case o.State == Stale && o.By != ByAge && asked && !c.Origin[0].Deleted && !c.Origin[1].Deleted && a.Same(&b) &&
				b.Content == c.Origin[0].Content && b.Content == c.Origin[1].Content:
				fault = "the origin holds the same"
			case o.State == Unverified && asked:
				fault = "the origin answered"
			case o.State == Stale && a.Same(&b) && a.Content == b.Content && alikeInBoth(c) && !asked && c.Remembered.IsZero() && !a.TooOld:
				fault = "all copies are alike"
			}
			if fault != "" {
				return fmt.Sprintf("%s\ncopy %d is %s by %s: %s", written(c), i, o.State, o.By, fault)
			}
		}
		return ""
	})
}

// alikeInBoth: all present copies hold the same, in each of the reads, and no primary has not got what its replica has.
func alikeInBoth(c *Case) bool {
	for read := range 2 {
		held := map[content.Digest]bool{}
		for i := range c.Copies {
			switch o := c.Copies[i].Reads[read]; o.Presence {
			case Present:
				held[o.Content] = true
			case Absent:
				if slices.ContainsFunc(c.Copies, func(k Copy) bool { return k.Primary.InCase && k.Primary.At == CopyAt(i) }) {
					return false
				}
			}
		}
		if len(held) > 1 {
			return false
		}
	}
	return true
}

// history of one key in a database and its caches: a writer that only ever raises the version, and readers that refill what
// is missing.
type history struct {
	// writes are when the database was written, by version from 1; version 0 was there before.
	writes []int
	nodes  []cache
}

// cache hears of every write in their order.
type cache struct {
	// arrive is when it hears of a write: the later version is set, or what it has deleted.
	arrive  []int
	deleted []bool
	// fills are when a reader comes that puts the database's content where there is none.
	fills []int
	// starts with the version before, or with nothing.
	starts int
	// unordered: what arrives is set, though it is older than what is there.
	unordered bool
	// A replica has what its primary had lag before.
	primary, lag int
}

const (
	nothing   = -1
	noPrimary = -1
)

// wait is the delay between the reads, in the histories' own unit.
const wait = 20

// drawHistory of n nodes, replicas of them aside. No write takes longer than spread to reach all of them.
func drawHistory(s *source, n, replicas int) *history {
	spread := wait - 1
	if replicas > 0 {
		spread = wait/2 - 1
	}
	h := &history{}
	at := 0
	often := s.choose("longest pause", 1, 2*wait)
	for range s.choose("writes", 1, 10) {
		at += s.choose("pause", 1, often)
		h.writes = append(h.writes, at)
	}
	deletes := s.choose("deletes", 0, 2) // never, sometimes, always
	for range n {
		c := cache{primary: noPrimary, starts: s.choose("starts", nothing, 0)}
		last := 0
		for _, w := range h.writes {
			last = max(last, w+s.choose("takes", 0, spread))
			c.arrive = append(c.arrive, last)
			c.deleted = append(c.deleted, deletes == 2 || deletes == 1 && s.chance("deletes", 2))
		}
		fill := 0
		for range s.choose("fills", 0, 8) {
			fill += s.choose("pause", 0, wait)
			c.fills = append(c.fills, fill)
		}
		h.nodes = append(h.nodes, c)
	}
	for range replicas {
		h.nodes = append(h.nodes, cache{primary: s.choose("primary", 0, n-1), lag: s.choose("lag", 0, wait/2-1)})
	}
	return h
}

func (h *history) end() int { return h.writes[len(h.writes)-1] + wait }

func (h *history) database(at int) int {
	v := 0
	for k, w := range h.writes {
		if w <= at {
			v = k + 1
		}
	}
	return v
}

// arrivals are the cache's writes in the order in which it hears of them.
func (c *cache) arrivals() []int {
	out := indices(len(c.arrive))
	slices.SortStableFunc(out, func(a, b int) int { return c.arrive[a] - c.arrive[b] })
	return out
}

// held by a node at a moment: a version, or nothing.
func (h *history) held(node, at int) int {
	c := &h.nodes[node]
	if c.primary != noPrimary {
		return h.held(c.primary, at-c.lag)
	}
	held, fill := c.starts, 0
	refill := func(until int) {
		for ; fill < len(c.fills) && c.fills[fill] <= until; fill++ {
			if held == nothing {
				held = h.database(c.fills[fill])
			}
		}
	}
	for _, k := range c.arrivals() {
		t := c.arrive[k]
		if t > at {
			break
		}
		refill(t - 1)
		if c.unordered {
			held = k + 1
		}
		held = max(held, k+1)
		if c.deleted[k] {
			held = nothing
		}
	}
	refill(at)
	return held
}

// read both times, from the moment start, within width each time, the delay between; primaries not before their replicas if
// told so. second says whether the origin's second round is answered.
func (h *history) read(s *source, start, width int, versioned, origin, second, replicasFirst bool) *Case {
	c := &Case{Reread: true, Versions: versioned, Layers: []time.Duration{0}}
	starts := [2]int{start, start + width + wait}
	if origin {
		round := s.choose("origin's round", 0, 5)
		starts[1] += 2 * round
		for i, at := range []int{start + width + s.choose("asked", 0, round), starts[1] - s.choose("asked", 0, round)} {
			c.Origin[i] = Answer{Asked: i == 0 || second, Content: digest(h.database(at))}
			if versioned {
				c.Origin[i].Version = version(s, h.database(at))
			}
		}
	}
	for node := range h.nodes {
		k := Copy{Held: time.Hour}
		if primary := h.nodes[node].primary; primary != noPrimary {
			k.Primary = replicaOf(CopyAt(primary))
		}
		for i := range k.Reads {
			at := s.choose("read", 0, width)
			switch {
			case replicasFirst && !k.IsReplica():
				at = width
			case replicasFirst:
				at = s.choose("read", 0, width)
			}
			held := h.held(node, starts[i]+at)
			if held == nothing {
				k.Reads[i].Presence = Absent
				continue
			}
			k.Reads[i] = Observation{Presence: Present, Content: digest(held)}
			if versioned {
				k.Reads[i].Version = version(s, held)
			}
		}
		c.Copies = append(c.Copies, k)
	}
	c.Reread = differ(c)
	if !c.Reread {
		c.Origin[1] = c.Origin[0]
		for i := range c.Copies {
			c.Copies[i].Reads[1] = c.Copies[i].Reads[0]
		}
	}
	return c
}

// differ: the first reads differ from each other, from the origin or from what is remembered.
func differ(c *Case) bool {
	held := map[content.Digest]bool{}
	for i := range c.Copies {
		o := &c.Copies[i].Reads[0]
		if p := c.Copies[i].Primary; o.Presence == Present && p.InCase && c.Copies[p.At].Reads[0].Presence == Absent {
			return true
		}
		if o.Presence == Present {
			held[o.Content] = true
			if o.Version.Compare(c.Remembered) < 0 {
				return true
			}
		}
	}
	if len(held) > 0 && c.Origin[0].Asked {
		held[c.Origin[0].Content] = true
	}
	return len(held) > 1
}

// convicts nobody, nor leaves anyone undecided.
func convictsNobody(c *Case, undecided bool) string {
	for i, o := range decide(c).Copies {
		if o.State == Stale || undecided && o.State == Undecided {
			return fmt.Sprintf("%s\ncopy %d is %s by %s", written(c), i, o.State, o.By)
		}
	}
	return ""
}

// A writer with versions that only ever raises them, by SET or DEL, in any order of nodes, and whose writes reach all of them
// within the re-read delay, is never convicted, at whatever moment each node is read.
func TestAMonotoneWriterIsNeverConvicted(t *testing.T) {
	for _, c := range []struct {
		name           string
		origin, second bool
	}{
		{"without an origin", false, false},
		{"with an origin", true, true},
		{"with an origin that does not answer twice", true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			always(t, 5000, func(s *source) string {
				h := drawHistory(s, s.choose("nodes", 1, 5), 0)
				return convictsNobody(h.read(s, s.choose("moment", 0, h.end()), s.choose("width", 0, wait), true, c.origin, c.second, false), true)
			})
		})
	}
}

// Nor are its replicas that lag by less than the delay, where no primary is read before its replicas, and what was deleted
// does not come back as it was.
func TestAMonotoneWritersReplicasAreNotConvicted(t *testing.T) {
	always(t, 5000, func(s *source) string {
		h := drawHistory(s, s.choose("nodes", 1, 3), s.choose("replicas", 1, 3))
		for i := range h.nodes {
			h.nodes[i].fills = nil
		}
		c := h.read(s, s.choose("moment", 0, h.end()), s.choose("width", 0, wait), true, s.chance("origin", 2), true, true)
		// What had nothing to compare it to in the first read, and is behind in the second, is undecided.
		votes := 0
		for i := range c.Copies {
			if !c.Copies[i].IsReplica() && c.Copies[i].Reads[0].Presence == Present {
				votes++
			}
		}
		return convictsNobody(c, votes > 1)
	})
}

// Nor is one of what was confirmed before.
func TestAMonotoneWriterIsNotConvictedByWhatIsRemembered(t *testing.T) {
	always(t, 5000, func(s *source) string {
		h := drawHistory(s, s.choose("nodes", 1, 5), 0)
		moment := s.choose("moment", 0, h.end())
		c := h.read(s, moment, s.choose("width", 0, wait), true, false, false, false)
		if known := h.database(moment - wait); known > 0 { // it had reached everyone by then
			c.Remembered, c.RememberedContent = version(s, known), digest(known)
			c.Reread = c.Reread || differ(c)
		}
		return convictsNobody(c, true)
	})
}

// A writer of content that was never there before, without versions, to three independent nodes one after the other, never
// makes one stale: the nodes are read at one moment, twice.
func TestAWriterWithoutVersionsIsNotConvicted(t *testing.T) {
	always(t, 5000, func(s *source) string {
		h := drawHistory(s, 3, 0)
		for i := range h.nodes {
			n := &h.nodes[i]
			n.starts, n.fills, n.deleted = 0, nil, make([]bool, len(h.writes))
			if i > 0 { // it hears of each write after the node before it did
				for k := range n.arrive {
					n.arrive[k] = max(n.arrive[k], h.nodes[i-1].arrive[k])
				}
			}
		}
		return convictsNobody(h.read(s, s.choose("moment", 0, h.end()), 0, false, false, false, false), false)
	})
}

// An origin that is never behind convicts nobody either, without versions and in whatever order the nodes are written.
func TestAWriterWithoutVersionsIsNotConvictedByAnOrigin(t *testing.T) {
	always(t, 5000, func(s *source) string {
		h := drawHistory(s, s.choose("nodes", 1, 5), 0)
		return convictsNobody(h.read(s, s.choose("moment", 0, h.end()), s.choose("width", 0, wait), false, true, true, false), false)
	})
}

// A node that hears of nothing any more is stale as soon as a newer version is seen elsewhere, whatever the others do.
func TestANodeThatIsCutOffIsConvicted(t *testing.T) {
	always(t, 5000, func(s *source) string {
		h := drawHistory(s, s.choose("nodes", 2, 5), 0)
		off := &h.nodes[0]
		off.starts, off.arrive, off.deleted, off.fills = 0, nil, nil, nil
		for i := range h.nodes[1:] { // one at least is never empty
			h.nodes[1+i].starts, h.nodes[1+i].deleted = 0, make([]bool, len(h.writes))
		}
		c := h.read(s, s.choose("moment", h.writes[0]+wait, h.end()+wait), s.choose("width", 0, wait), true, false, false, false)
		if got := decide(c).Copies[0]; got.State != Stale || got.By != ByVersion {
			return fmt.Sprintf("%s\nit is %s by %s", written(c), got.State, got.By)
		}
		return ""
	})
}

func TestOneCopyThatStoppedIsConvictedAmongMovingOnes(t *testing.T) {
	rule{"", "a=x@5>y@6 b=x@5>y@6 c=w@3", "fresh fresh stale:version / version"}.test(t)
}

// Of the states that a key may have, a copy's own comes from the spec, read by read and slowly: a second opinion.
func TestASecondOpinion(t *testing.T) {
	always(t, 20000, func(s *source) string {
		c := drawCase(s)
		got, want := decide(c), secondOpinion(c)
		var faults []string
		for i, o := range got.Copies {
			if want.states[i] != unsure && o.State != want.states[i] {
				faults = append(faults, fmt.Sprintf("copy %d is %s, not %s", i, o.State, want.states[i]))
			}
		}
		if got.Counted && want.reference != NumReferences && got.Reference != want.reference {
			faults = append(faults, fmt.Sprintf("it counts under %s, not %s", got.Reference, want.reference))
		}
		if len(faults) > 0 {
			return written(c) + "\n" + strings.Join(faults, "\n")
		}
		return ""
	})
}

// unsure where verdict.md can be read in two ways.
const unsure = NumStates

type secondOpinions struct {
	states    []State
	reference Reference
}

func secondOpinion(c *Case) secondOpinions {
	asked := c.Origin[0].Asked && c.Origin[1].Asked
	versions := c.Versions && !secondFalls(c)
	first, second := readOnce(c, 0, asked, versions), readOnce(c, 1, asked, versions)
	out := secondOpinions{reference: second.reference}
	for i := range c.Copies {
		a, b := c.Copies[i].Reads[0], c.Copies[i].Reads[1]
		same := a.Presence == Present && b.Presence == Present && a.Content == b.Content
		was, is := first.opinions[i], second.opinions[i]
		// Its version in the second read is below the reference's in the first.
		behind := versions && b.Presence == Present && !b.Version.IsZero() && b.Version.Compare(first.version) < 0 &&
			!slices.Contains(first.contents, b.Content)
		if asked && b.Content == c.Origin[1].Content && !c.Origin[1].Deleted {
			behind = false
		}
		out.states = append(out.states, func() State {
			switch {
			case first.doubt || second.doubt:
				return unsure
			case a.Presence == Unread && b.Presence == Absent: // gone, or unreadable in either?
				return unsure
			case behind && (a.Presence == Unread || slices.Contains(first.unsettled, b.Content)):
				return unsure
			case same && was == wrong && is == wrong && (c.Copies[i].Past.Present && c.Copies[i].Past.Content == b.Content ||
				second.convictors[i] == nil || first.convictors[i] != nil && *first.convictors[i] == *second.convictors[i] && *second.convictors[i] != (content.Digest{})):
				return Stale
			case behind:
				return Stale
			case same && was == wrong && is == wrong && first.convictors[i] == nil: // did it stand still?
				return unsure
			case b.Presence == Absent:
				return Missing
			case a.Presence == Unread || b.Presence == Unread:
				return Error
			case !same && is == unopposed:
				return Unverified
			case !same, was == right, is == right:
				return Fresh
			case is == unopposed:
				return Unverified
			}
			return Undecided
		}())
	}
	return out
}

const doubtful = unopposed + 1

type oneRead struct {
	opinions []opinion
	// convictors are the contents that convict by primary or majority; nil: nothing does.
	convictors []*content.Digest
	reference  Reference
	// version of the reference, and its contents (several in a conflict).
	version  content.Version
	contents []content.Digest
	// unsettled is what is remembered beside a conflict that nothing decided.
	unsettled []content.Digest
	doubt     bool
}

// secondFalls: a regression keeps versions from deciding.
func secondFalls(c *Case) bool {
	type one struct {
		past       Past
		version    content.Version
		content    content.Digest
		down, old  bool
		at         int
		hasVersion bool
	}
	last := len(c.Copies[0].Reads) - 1
	var there []one
	var before, highest content.Version
	for i, k := range c.Copies {
		if p := k.Primary; p.InCase && c.Copies[p.At].Reads[last].Presence != Unread {
			continue
		}
		if k.Past.Version.Compare(before) > 0 {
			before = k.Past.Version
		}
		o := k.Reads[last]
		if o.Presence != Present {
			continue
		}
		if o.Version.Compare(highest) > 0 {
			highest = o.Version
		}
		there = append(there, one{
			past: k.Past, version: o.Version, content: o.Content, at: i, hasVersion: !o.Version.IsZero(),
			down: !o.Version.IsZero() && o.Version.Compare(k.Past.Version) < 0,
			old:  k.Past.Fell && (o.Version.IsZero() || o.Version.Compare(k.Past.Version) <= 0),
		})
	}
	if c.Regressed {
		return highest.Compare(c.Highest) <= 0
	}
	if highest.Compare(before) > 0 {
		return false
	}
	first := func(d content.Digest) int64 {
		i := slices.IndexFunc(c.Known, func(k Known) bool { return k.Content == d })
		if i < 0 {
			return 1 << 62
		}
		return c.Known[i].First
	}
	spread := func(o one) bool {
		for i, k := range c.Copies {
			own := k.Primary.InCase && int(k.Primary.At) == o.at
			if i == o.at || own || !k.Past.Present || k.Past.Content != o.content || k.Past.Fell {
				continue
			}
			for _, other := range c.Copies {
				if other.Past.Version == before && first(o.content) <= first(other.Past.Content) {
					return true
				}
			}
		}
		return false
	}
	falls, anew, holders, unknown := 0, 0, 0, 0
	for _, o := range there {
		switch {
		case o.hasVersion && o.version.Compare(before) == 0, !o.hasVersion && before.IsZero():
			holders++
		}
		switch {
		case o.down && spread(o):
		case o.down:
			falls, anew = falls+1, anew+1
			if first(o.content) == 1<<62 {
				unknown++
			}
		case o.old:
			falls++
		}
	}
	if anew == 0 {
		return false
	}
	return falls > holders || holders == 0 || falls == holders && unknown > 0
}

func readOnce(c *Case, read int, asked, versions bool) oneRead {
	see := func(i int) *Observation { return &c.Copies[i].Reads[read] }
	present := func(i int) bool { return see(i).Presence == Present }
	// A replica is judged by its own primary's copy, where that was read.
	replica := func(i int) bool { p := c.Copies[i].Primary; return p.InCase && see(int(p.At)).Presence != Unread }

	// A vote is what can disagree independently.
	type voice struct {
		layer   int
		content content.Digest
	}
	var votes []voice
	groups := map[int][]int{}
	unread := map[int]int{} // votes that could not be read, by layer
	hidden := func(members []int) {
		// Nobody knows what a group holds that can't be read, or of which some hold this and some that.
		held := map[content.Digest]bool{}
		read, left := 0, true
		layer := 0
		for _, i := range members {
			layer = c.Copies[i].Layer
			left = left && c.Copies[i].Left
			if see(i).Presence == Unread || see(i).TooOld {
				continue
			}
			read++
			held[see(i).Content] = true // of an absent one it is zero
		}
		if !left && (read == 0 || len(held) > 1) {
			unread[layer]++
		}
	}
	for i := range c.Copies {
		if c.Copies[i].Primary.Group == 0 && see(i).Presence == Unread && !c.Copies[i].Left {
			members := []int{i}
			for r := range c.Copies {
				if p := c.Copies[r].Primary; p.InCase && int(p.At) == i {
					members = append(members, r)
				}
			}
			hidden(members)
		}
	}
	sources := map[int][]int{}
	for i := range c.Copies {
		if p := c.Copies[i].Primary; p.Group != 0 && !p.InCase {
			sources[p.Group] = append(sources[p.Group], i)
		}
	}
	for _, members := range sources {
		hidden(members)
	}
	for i := range c.Copies {
		switch p := c.Copies[i].Primary; {
		case p.Group == 0 && present(i) && !see(i).TooOld:
			votes = append(votes, voice{c.Copies[i].Layer, see(i).Content})
		case p.Group != 0 && !replica(i) && see(i).Presence != Unread && !see(i).TooOld:
			groups[p.Group] = append(groups[p.Group], i)
		}
	}
	doubt := false
	for _, members := range groups {
		held := map[content.Digest]bool{}
		there := 0
		for _, i := range members {
			if present(i) {
				held[see(i).Content] = true
				there++
			}
		}
		// Does one that is missing disagree with one that is there?
		doubt = doubt || there > 0 && there < len(members)
		if len(held) == 1 {
			votes = append(votes, voice{c.Copies[members[0]].Layer, see(members[slices.IndexFunc(members, present)]).Content})
		}
	}

	type judgement struct {
		opinion opinion
		by      Reference
	}
	majority := func(votes []voice) (content.Digest, bool, func(layer int) bool) {
		count, byLayer := map[content.Digest]int{}, map[int]map[content.Digest]int{}
		for _, v := range votes {
			count[v.content]++
			if byLayer[v.layer] == nil {
				byLayer[v.layer] = map[content.Digest]int{}
			}
			byLayer[v.layer][v.content]++
		}
		holds := map[int]content.Digest{}
		for layer, contents := range byLayer {
			total := unread[layer]
			for _, n := range contents {
				total += n
			}
			for d, n := range contents {
				if 2*n > total {
					holds[layer] = d
				}
			}
		}
		for d, n := range count {
			layers := 0
			for _, held := range holds {
				if held == d {
					layers++
				}
			}
			all := len(votes)
			for _, more := range unread {
				all += more
			}
			if all >= 2 && 2*n > all && 2*layers > len(holds) {
				return d, true, func(layer int) bool {
					for l, held := range holds {
						if held == d && c.Layers[layer] >= c.Layers[l] {
							return true
						}
					}
					return false
				}
			}
		}
		return content.Digest{}, false, func(int) bool { return false }
	}

	// Origin.
	answer := c.Origin[read]
	behind := false
	for i := range c.Copies {
		behind = behind || asked && versions && present(i) && !answer.Version.IsZero() && see(i).Version.Compare(answer.Version) > 0 &&
			(c.Copies[i].Held < time.Minute || c.Copies[i].Held < c.MaxLag)
	}
	used := asked && !behind
	origin := func(i int) (j judgement, decided bool) {
		o := see(i)
		switch {
		case !used:
			return j, false
		case !answer.Deleted && o.Content == answer.Content:
			return judgement{right, ByOrigin}, true
		case versions && !o.Version.IsZero() && !answer.Version.IsZero(), c.Copies[i].Held >= c.MaxLag:
			return judgement{wrong, ByOrigin}, true
		}
		return j, false
	}

	// Version.
	var top content.Version
	highest := map[content.Digest]bool{}
	for i := range c.Copies {
		if o := see(i); versions && present(i) && !replica(i) && !o.Version.IsZero() {
			switch o.Version.Compare(top) {
			case 1:
				top = o.Version
				clear(highest)
				fallthrough
			case 0:
				highest[o.Content] = true
			}
		}
	}
	versioned := !top.IsZero()
	// Two new nodes that agree end what is remembered, where nobody else knows of it.
	strangers, witness := map[content.Digest]int{}, false
	for i, k := range c.Copies {
		witness = witness || !k.Left && (present(i) && (see(i).Version.Compare(c.Remembered) >= 0 || see(i).Content == c.RememberedContent) ||
			k.Past.Present && k.Past.Version.Compare(c.Remembered) >= 0)
	}
	counted := map[int]bool{}
	for i, k := range c.Copies {
		one := k.Primary.Group
		switch {
		case !present(i) || see(i).TooOld || replica(i):
			continue
		case one != 0:
			held := map[content.Digest]bool{}
			first := -1
			for _, m := range groups[one] {
				held[see(m).Content] = true
				if first < 0 || m < first {
					first = m
				}
			}
			if len(held) > 1 || counted[one] {
				continue
			}
			counted[one] = true
		}
		if !k.Past.Seen {
			strangers[see(i).Content]++
		}
	}
	forget := false
	for _, n := range strangers {
		forget = forget || n > 1 && !witness
	}
	if versioned && !forget && c.Remembered.Compare(top) > 0 {
		top = c.Remembered
		clear(highest)
		highest[c.RememberedContent] = true
	}
	conflict := len(highest) > 1
	all, agreed, convicts := majority(votes)
	among, decided, convictsAmong := all, agreed, convicts
	if conflict {
		var few []voice
		for _, v := range votes {
			if highest[v.content] {
				few = append(few, v)
			}
		}
		among, decided, convictsAmong = majority(few)
	}

	// Copies alike, of fewer than two votes, too old ones aside.
	alike := map[content.Digest]bool{}
	for i := range c.Copies {
		if present(i) && !replica(i) && !see(i).TooOld {
			alike[see(i).Content] = true
		}
	}
	nobody := len(votes) < 2 && len(alike) <= 1

	// What the leading content may not convict unsettles it.
	first := func(d content.Digest) int64 {
		for _, k := range c.Known {
			if k.Content == d {
				return k.First
			}
		}
		return 1 << 62
	}
	future, unsettled := false, false
	for i := range c.Copies {
		future = future || versions && present(i) && !replica(i) && see(i).Future
		d := see(i).Content
		if decided && present(i) && !replica(i) && !see(i).TooOld && d != among && (!conflict || highest[d]) {
			unsettled = unsettled || first(d) > first(among)
		}
	}
	for _, v := range votes {
		unsettled = unsettled || decided && v.content != among && (!conflict || highest[v.content]) && !convictsAmong(v.layer)
	}
	confirmed := judgement{right, ByMajority}
	if unsettled {
		confirmed = judgement{unclear, ByNone}
	}

	judge := func(i int) judgement {
		o := see(i)
		j, ok := origin(i)
		if ok {
			return j
		}
		if versioned && (!conflict || !highest[o.Content]) {
			switch {
			case highest[o.Content] && future && decided && among == o.Content:
				return confirmed
			case highest[o.Content] && future:
				return judgement{unclear, ByNone}
			case highest[o.Content]:
				return judgement{right, ByVersion}
			case !o.Version.IsZero() && o.Version.Compare(top) < 0:
				return judgement{wrong, ByVersion}
			case replica(i) && !o.Version.IsZero():
				// above its primary: by what comes next
			case conflict:
				return judgement{doubtful, ByNone} // which is the versions' content?
			case replica(i) && present(int(c.Copies[i].Primary.At)) && highest[see(int(c.Copies[i].Primary.At)).Content]:
				return judgement{wrong, ByPrimary}
			case agreed && highest[all] && convicts(c.Copies[i].Layer) && !used && first(o.Content) <= first(all):
				return judgement{wrong, ByMajority}
			default:
				return judgement{unclear, ByNone}
			}
		}
		switch {
		case conflict && replica(i) && o.Version.IsZero(): // does it differ from the versions' content?
			return judgement{doubtful, ByNone}
		case decided && o.Content == among:
			return confirmed
		case replica(i):
			return judgement{wrong, ByPrimary}
		case decided && convictsAmong(c.Copies[i].Layer) && !used && first(o.Content) <= first(among):
			return judgement{wrong, ByMajority}
		case !decided && len(alike) <= 1 && !asked:
			return judgement{unopposed, ByNone}
		}
		return judgement{unclear, ByNone}
	}
	judged := make([]judgement, len(c.Copies))
	for i := range c.Copies {
		if present(i) && !replica(i) {
			judged[i] = judge(i)
			if nobody && !asked && judged[i].opinion == right {
				judged[i] = judgement{unopposed, ByNone}
			}
			if nobody && used && answer.Deleted && judged[i].opinion == right {
				judged[i] = judgement{unclear, ByNone}
			}
		}
	}
	for i := range c.Copies {
		if !present(i) || !replica(i) {
			continue
		}
		if p := int(c.Copies[i].Primary.At); present(p) && see(p).Content == see(i).Content {
			judged[i] = judged[p]
			if judged[i].opinion == unopposed {
				judged[i] = judgement{right, ByPrimary}
			}
			continue
		}
		judged[i] = judge(i)
	}

	out := oneRead{version: top, contents: slices.Collect(maps.Keys(highest)), reference: ByNone}
	if conflict && !decided {
		out.unsettled = append(out.unsettled, c.RememberedContent)
	}
	if used && versions && answer.Version.Compare(top) > 0 {
		out.version, out.contents = answer.Version, []content.Digest{answer.Content}
	}
	onlyReplicas := false
	for i := range c.Copies {
		j := &judged[i]
		onlyReplicas = onlyReplicas || present(i) && replica(i) && j.by == ByPrimary
		doubt = doubt || j.opinion == doubtful
		switch {
		case !present(i):
		case behind && see(i).Content == answer.Content && j.opinion == wrong:
			*j = judgement{unclear, ByNone}
		case see(i).TooOld && j.opinion != wrong && (j.opinion != right || j.by != ByOrigin):
			*j = judgement{wrong, ByAge}
		}
		out.opinions = append(out.opinions, j.opinion)
		out.convictors = append(out.convictors, nil)
		switch p := c.Copies[i].Primary.At; {
		case j.opinion != wrong:
		case j.by == ByMajority && versioned && !conflict:
			out.convictors[i] = &all
		case j.by == ByMajority:
			out.convictors[i] = &among
		case j.by == ByPrimary:
			d := see(int(p)).Content
			out.convictors[i] = &d
		}
	}
	out.doubt = doubt
	switch {
	case doubt:
		out.reference = NumReferences
	case used:
		out.reference = ByOrigin
	case versioned && !conflict:
		out.reference = ByVersion
	case decided:
		out.reference = ByMajority
	case onlyReplicas:
		out.reference = ByPrimary
	}
	return out
}
