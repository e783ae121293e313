package consistency

import (
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/events"
	"github.com/cacheinv/cacheinv_exporter/internal/verdict"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// A look is the reading of a key that came out of a queue, on every node that should hold it. Looks ride in the pipelines of the
// canaries, behind them, so that they cost no round trip and no canary its time. They are read and digested as copies of their class
// are, and then they are not judged or counted as canaries, but told to who remembers the events. A key that is a canary as well
// is read once, for both.

// EventTracker remembers the events of the classes; *events.Tracker is one, and says what the methods do.
type EventTracker interface {
	Due(class string, now time.Time) []string
	Asks(class, key, layer string) bool
	Suspect(class, key, layer, node string, c events.Copy) bool
	Look(class, key string, copies []events.NodeCopy, now time.Time)
	Note(notes []events.NodeNotes)
	Restarted(layer, node string)
}

// lookAt is 1 and the index of a key in classKeys.looks; 0: there is no look at the key.
type lookAt int32

// lookedAt is a copy at one look.
type lookedAt struct {
	events.NodeCopy
	// asked: the node should hold the key, and its layer is asked for it.
	asked bool
	// again: it is read a second time.
	again bool
}

// chooseLooks says which keys are looked at in this round.
func (r *round) chooseLooks(c *class, k *classKeys) {
	if !r.follows(c) {
		return
	}
	k.noteFrom, k.noteTo = c.memory.takeTurn(len(k.names))
	r.numNotes += k.noteTo - k.noteFrom
	k.looksFrom = r.numLooks
	k.looks = r.opt.Events.Due(c.Name, r.began)
	r.numLooks += len(k.looks)
	if len(k.looks) == 0 {
		return
	}
	sampled := make(map[string]int, len(k.names)-k.literal)
	for i, name := range k.names[k.literal:] {
		sampled[name] = k.literal + i + 1
	}
	k.canaryOf = make([]int32, len(k.looks))
	k.lookOf = map[int]lookAt{}
	for look, name := range k.looks {
		if canary := max(c.literal[name], sampled[name]); canary > 0 {
			k.lookOf[canary-1], k.canaryOf[look] = lookAt(look+1), int32(canary)
		}
	}
}

// mostNoted canaries of a class are noted in one round, by which later looks at these keys are compared. Where there are more they take
// turns, so that no estate is so large that noting counts.
const mostNoted = 500

// takeTurn gives the first of n canaries that is noted in this round, and the one behind the last.
func (c *classMemory) takeTurn(n int) (from, to int) {
	if from = c.nextNoted; from >= n {
		from = 0
	}
	to = min(from+mostNoted, n)
	c.nextNoted = to
	return from, to
}

// notes: a canary is noted in this round.
func (k *classKeys) notes(key int) bool { return k.noteFrom <= key && key < k.noteTo }

// follows: keys of the class come out of a queue.
func (r *round) follows(c *class) bool { return c.Events != nil && r.opt.Events != nil }

// addLooks to the plan of a layer, behind its canaries.
func (r *round) addLooks(p *plan, layer string) {
	for i, c := range r.classes {
		k := &r.keys[i]
		own, ok := c.layerOf[layer]
		if !ok {
			continue
		}
		for look, key := range k.looks {
			if k.canaryOf[look] == 0 && r.opt.Events.Asks(c.Name, key, layer) {
				p.add(keyAt{class: i, key: noCanary, look: lookAt(look + 1)}, probes.Key{Name: c.nameIn(own, key), Hash: c.Hash, Identity: true})
			}
		}
	}
}

// lookAtCanary gives the look at a canary in a layer.
func (r *round) lookAtCanary(c *class, k *classKeys, key int, layer string) lookAt {
	look := k.lookOf[key]
	if look > 0 && !r.opt.Events.Asks(c.Name, k.names[key], layer) {
		return 0
	}
	return look
}

// expectLooks notes which keys a node is asked for. What it does not answer has failed. A node that has left is not asked: nobody
// reads from it any more, and no invalidation need reach it.
func (r *round) expectLooks(nr *nodeReads) {
	if r.numLooks == 0 {
		return
	}
	nr.looks = make([]lookedAt, r.numLooks)
	if nr.result.Survey.Left || nr.result.Survey.CalledDown {
		return
	}
	for _, at := range nr.plan.at {
		if at.look > 0 {
			l := r.look(nr, at)
			l.asked, l.Layer, l.Node, l.Copy.Failed = true, nr.result.Layer, nr.result.Name, true
		}
	}
}

func (r *round) look(nr *nodeReads, at keyAt) *lookedAt {
	return &nr.looks[r.keys[at.class].looksFrom+int(at.look)-1]
}

// noteEvent takes in what a node gave of a key of a class with events. began is when the node was asked.
func (r *round) noteEvent(nr *nodeReads, p *plan, at keyAt, got *reading, raw *probes.Raw, began time.Time) {
	k := &r.keys[at.class]
	highest := raw.CAS > nr.highestCAS
	nr.highestCAS = max(nr.highestCAS, raw.CAS)
	if at.look == 0 {
		if highest || k.notes(at.key) {
			r.noteCanary(nr, at, got, raw, highest)
		}
		return
	}
	seen := events.Copy{
		Failed: got.Presence == verdict.Unread, Present: got.Presence == verdict.Present, Asked: began, Read: time.Now(),
		Digest: got.Content, Version: got.Version, CAS: raw.CAS, ExpiresMS: raw.ExpiresMS, TTL: got.ttl, HasTTL: got.hasTTL,
		Age: raw.Age, HasAge: raw.HasAge, ETag: raw.ETag,
	}
	if got.cachedAt != 0 {
		seen.CachedAt = time.Unix(0, got.cachedAt)
	}
	l := r.look(nr, at)
	switch {
	case !l.asked:
	case raw.Further:
		if older(&seen, &l.Copy) {
			l.Copy = seen
		}
	default:
		l.Copy, l.Twice, l.again = seen, p.second, !p.second && got.suspect
	}
}

// noteCanary notes a canary that is to be noted in this round, or has the highest CAS id so far.
func (r *round) noteCanary(nr *nodeReads, at keyAt, got *reading, raw *probes.Raw, highest bool) {
	if got.Presence == verdict.Unread || raw.Further || got.suspect {
		return
	}
	k := &r.keys[at.class]
	seen := events.Noted{Class: r.classes[at.class].Name, Key: k.names[at.key], Identity: events.Identity{
		Seen: got.Presence == verdict.Present, Content: events.ContentOf(got.Content), CAS: raw.CAS, ExpiresMS: raw.ExpiresMS, ETag: raw.ETag,
	}}
	if !k.notes(at.key) {
		nr.highest = seen
		return
	}
	if highest {
		nr.highest = events.Noted{}
	}
	n := &nr.notes
	if n.Copies == nil {
		n.Copies = make([]events.Noted, 0, min(r.numNotes, nr.plan.canaries)+1) // and the one with the highest CAS id
	}
	n.Copies = append(n.Copies, seen)
}

// noteHighest notes the canary with the highest CAS id, where it is not noted already: it says which ids a node has given by now. asked
// is when the node was asked for the canaries that were noted.
func (nr *nodeReads) noteHighest(asked time.Time) {
	n := &nr.notes
	if nr.highest.Seen {
		n.Copies = append(n.Copies, nr.highest)
	}
	nr.highest = events.Noted{}
	if n.Asked.IsZero() { // else some that it gave when it was asked before are not told yet
		n.Asked = asked
	}
	n.Layer, n.Node, n.Read = nr.result.Layer, nr.result.Name, time.Now()
}

// tellNotes tells the canaries that were noted since it was last called. Nodes answer at once, and who remembers events takes one copy at
// a time.
func (r *round) tellNotes() {
	var notes []events.NodeNotes
	for _, nr := range r.order {
		if len(nr.notes.Copies) > 0 {
			notes = append(notes, nr.notes)
		}
		nr.notes = events.NodeNotes{}
	}
	if len(notes) > 0 {
		r.opt.Events.Note(notes)
	}
}

// older: of two variants of a copy, a further one says more against it. One that is not there is made when it is asked for, and says
// nothing.
func older(further, first *events.Copy) bool {
	switch {
	case first.Failed || !further.Failed && !further.Present:
		return false
	case further.Failed || !first.Present:
		return true
	case !further.Version.IsZero() && !first.Version.IsZero():
		return further.Version.Compare(first.Version) < 0
	case further.HasAge && first.HasAge:
		return further.Age > first.Age
	}
	return !further.CachedAt.IsZero() && (first.CachedAt.IsZero() || further.CachedAt.Before(first.CachedAt))
}

// chooseLooksAgain finds the copies that would be bad, or gave an answer that makes no sense. Of a canary all copies are read again.
func (r *round) chooseLooksAgain() {
	for i, c := range r.classes {
		k := &r.keys[i]
		for look, key := range k.looks {
			for _, nr := range r.order {
				l := &nr.looks[k.looksFrom+look]
				l.again = l.asked && !l.Copy.Failed && (l.again || r.opt.Events.Suspect(c.Name, key, l.Layer, l.Node, l.Copy))
				switch canary := k.canaryOf[look]; {
				case !l.again:
				case canary > 0:
					k.readTwice(int(canary - 1))
				default:
					r.looksAgain = true
				}
			}
		}
	}
}

// tellLooks says what was seen.
func (r *round) tellLooks() {
	r.tellNotes()
	var copies []events.NodeCopy
	for i, c := range r.classes {
		k := &r.keys[i]
		for look, key := range k.looks {
			copies = copies[:0]
			for _, nr := range r.order {
				if l := &nr.looks[k.looksFrom+look]; l.asked {
					l.Lagging = r.lags(nr.columns[i])
					copies = append(copies, l.NodeCopy)
				}
			}
			r.opt.Events.Look(c.Name, key, copies, r.began)
		}
	}
}

// lags: a replica has not all that its primary has sent, by what both told in this round.
func (r *round) lags(col *nodeColumn) bool {
	if !col.replica || col.result.Survey.Replication == nil {
		return false
	}
	own := col.result.Survey.Replication
	return !own.LinkUp || col.primary != nil && own.HasOffset && own.Offset < r.lastKnown(col.primary.result).offset
}

// noteRestart tells that a node began anew since it last told of itself.
func (r *round) noteRestart(n *NodeResult) {
	before := r.memory.nodes[n.Name]
	if r.opt.Events != nil && before != nil && before.restarted(&n.Survey, r.began) {
		r.opt.Events.Restarted(n.Layer, n.Name)
	}
}

// restarted: the node that told this has begun anew since it last told of itself, which its uptime shows even where that is already
// longer than it was then.
func (n *nodeMemory) restarted(s *probes.Survey, now time.Time) bool {
	return n.rebooted(s) || s.UptimeSeconds.Known && seconds(s.UptimeSeconds.Value)+restartSlack < now.Sub(n.told)
}

// KnownKeys of a class: those that it names, and those that were chosen from its pattern. It may be called at any time.
func (s *Sampler) KnownKeys(class string) []string {
	for _, c := range s.classes {
		if c.Name == class {
			return c.known()
		}
	}
	return nil
}
