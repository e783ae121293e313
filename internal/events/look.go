package events

import (
	"slices"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/content"
)

// NodeCopy is a key on a node.
type NodeCopy struct {
	Layer, Node string
	Copy        Copy
	// Twice: the copy was read twice, and Copy is the second read. What would be bad counts as not read without it.
	Twice bool
	// Lagging: the node is a replica, and its primary's account explains that it is behind: the cause is the network.
	Lagging bool
}

// look at one event in a sampling.
type look struct {
	event *pending
	// upTo is the index behind that of the last window that is due.
	upTo uint8
	// left keys to look at.
	left int
	// newer events there are of these of its keys.
	newer []string
	seen  []seenCopy
}

// seenCopy is what a look saw.
type seenCopy struct {
	layer   int
	node    nodeName
	key     string
	result  Result
	version content.Version
	read    time.Time
	lagging bool
}

// Due gives the keys of a class that are to be looked at in the sampling that begins now, each once: those of events that reached a window,
// and of the oldest events without effect, as many as a sampling takes.
func (t *Tracker) Due(class string, now time.Time) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.classes[class]
	if c == nil {
		return nil
	}
	c.looks = map[string][]*look{}
	var keys []string
	for _, l := range t.dueLooks(c, now) {
		for k := range l.event.keys() {
			l.left++
			if len(c.looks[k]) == 0 {
				keys = append(keys, k)
			}
			c.looks[k] = append(c.looks[k], l)
		}
	}
	for _, p := range c.events {
		for k := range p.keys() {
			for _, l := range c.looks[k] {
				if p.at > l.event.at {
					l.newer = append(l.newer, k)
				}
			}
		}
	}
	return keys
}

// dueLooks in a sampling. Events that are over are dropped.
func (t *Tracker) dueLooks(c *class, now time.Time) []*look {
	var due, again []*look
	last := c.spec.Windows[len(c.spec.Windows)-1].Age
	for _, p := range c.events {
		age := now.Sub(p.time())
		l := &look{event: p, upTo: p.next}
		for int(l.upTo) < len(c.spec.Windows) && c.spec.Windows[l.upTo].Age <= age {
			l.upTo++
		}
		switch {
		case p.is(ineffective) && age > max(ineffectiveFor, last), age > ineffectiveFor+last: // or its keys can't be looked at
			p.set(ineffective, false)
			t.finish(c, p)
		case l.upTo > p.next:
			due = append(due, l)
		case p.is(ineffective):
			again = append(again, l)
		}
	}
	c.events = slices.DeleteFunc(c.events, func(p *pending) bool { return p.is(over) })
	slices.SortStableFunc(again, func(a, b *look) int { return int(min(max(a.event.at-b.event.at, -1), 1)) })
	return append(due, again[:min(len(again), c.spec.Sample)]...)
}

// ageOf a look: that of its window, and where it is at none, of the last one before.
func (c *class) ageOf(l *look) time.Duration { return c.spec.Windows[max(l.upTo, 1)-1].Age }

// asks: a look at a key asks a layer, since it is at an age above the layer's max_staleness.
func (c *class) asks(l *look, layer int) bool { return c.spec.Layers[layer].MaxStaleness < c.ageOf(l) }

// Asks reports whether a layer is to be asked for a key that is due.
func (t *Tracker) Asks(class, key, layer string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.classes[class]
	if c == nil || c.layer(layer) < 0 {
		return false
	}
	return slices.ContainsFunc(c.looks[key], func(l *look) bool { return c.asks(l, c.layer(layer)) })
}

// Suspect reports whether a copy of a key that is due would be bad, so that it is to be read a second time.
func (t *Tracker) Suspect(class, key, layer, name string, c Copy) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	k := t.classes[class]
	if k == nil {
		return false
	}
	at := k.layer(layer)
	if at < 0 {
		return false
	}
	n := t.node(layer, name)
	s := t.sights.on(n, t.sights.place(k.number, key))
	return slices.ContainsFunc(k.looks[key], func(l *look) bool { return k.asks(l, at) && t.judge(k, l, key, n, at, s, c).Bad() })
}

// judge a copy as it was read for an event. layer is the class's index of its layer. s is what earlier looks saw of it; nil: nothing.
func (t *Tracker) judge(k *class, l *look, key string, n *node, layer int, s *sight, c Copy) Result {
	p, asked := l.event, t.clock.by(c.Asked)
	e := Evidence{
		At: p.time(), Version: p.version, TTLMin: k.spec.TTLMin, Newer: slices.Contains(l.newer, key), Effective: p.effective&(1<<layer) != 0,
	}
	if c.CAS > 0 {
		e.HighestBefore, e.HighestAfter = n.highestBy(p.before), n.highestAfter(t.clock.from(e.At), asked)
	}
	switch {
	case p.passed > 0 && p.passed+second <= asked:
		e.Progress = Passed
	case p.passed > 0 || p.is(behind):
		e.Progress = Behind
	}
	if s != nil {
		id := c.Identity()
		s.tell(&e, &id, t.clock, p.before)
	}
	if asked < n.distrusted {
		c.CAS = 0
	}
	return Judge(c, e)
}

// Look says what was seen of a key that Due gave: a copy for each node that should hold the key, those that could not be asked
// included. Nodes that are not asked for it, as other shards of a Cluster, are left out. now is what Due was given.
func (t *Tracker) Look(class, key string, copies []NodeCopy, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	k := t.classes[class]
	if k == nil {
		return
	}
	looks := k.looks[key]
	delete(k.looks, key)
	for _, l := range looks {
		l.seen = slices.Grow(l.seen, len(copies))
	}
	place := t.sights.place(k.number, key)
	for i := range copies {
		nc := &copies[i]
		n, layer := t.node(nc.Layer, nc.Node), k.layer(nc.Layer)
		n.seen = max(n.seen, t.clock.by(now))
		s := t.sights.on(n, place)
		for _, l := range looks {
			if layer < 0 {
				break
			}
			r := t.judge(k, l, key, n, layer, s, nc.Copy)
			if r.Bad() && !nc.Twice {
				r = Error
			}
			l.seen = append(l.seen, seenCopy{layer, nodeName{n.layer, n.name}, key, r, nc.Copy.Version, nc.Copy.Read, nc.Lagging})
		}
		if !nc.Copy.Failed {
			if s == nil {
				s = t.sights.remember(n, place)
			}
			id, asked, read := nc.Copy.Identity(), t.clock.by(nc.Copy.Asked), t.clock.from(nc.Copy.Read)
			n.saw(s, &id, asked, read)
			n.note(&id, asked, read)
		}
	}
	for _, l := range looks {
		if l.left--; l.left == 0 {
			t.settle(k, l, now)
		}
	}
	t.fit()
}

// settle a look at an event, all of whose keys were looked at.
func (t *Tracker) settle(k *class, l *look, now time.Time) {
	p := l.event
	if p.is(over) {
		return
	}
	for w := p.next; w < l.upTo; w++ {
		k.count(int(w), p, l)
	}
	p.next = l.upTo
	asked := k.ageOf(l)
	result, found := k.worst(l, asked)
	switch {
	case found && result.Bad():
		p.set(ineffective, true)
	case found && result.Good():
		p.set(ineffective, false)
	}
	k.takeEffect(l, asked)
	if k.settled(p) || now.Sub(p.time()) > max(ineffectiveFor, asked) {
		t.finish(k, p)
	}
}

// worst result of the copies on the layers that are asked at an age; false: there are none.
func (c *class) worst(l *look, age time.Duration) (result Result, found bool) {
	for _, s := range l.seen {
		if c.spec.Layers[s.layer].MaxStaleness < age {
			if !found {
				result = s.result
			}
			result, found = worst(result, s.result), true
		}
	}
	return result, found
}

// mostBad looks of a class that are remembered.
const mostBad = 50

// count a look at a window.
func (c *class) count(window int, p *pending, l *look) {
	w, counts := c.spec.Windows[window], &c.windows[window]
	result, found := c.worst(l, w.Age)
	if !found {
		return
	}
	counts.events[result]++
	for _, s := range l.seen {
		if c.spec.Layers[s.layer].MaxStaleness >= w.Age {
			continue
		}
		node := counts.copies[s.node]
		if node == nil {
			node = &[NumResults]uint64{}
			counts.copies[s.node] = node
		}
		node[s.result]++
		if s.result.Bad() {
			c.bad = append(c.bad, BadLook{
				Key: s.key, Layer: s.node.layer, Node: s.node.name, Window: w.Label, Result: s.result, Event: p.time(),
				VersionSeen: s.version.String(), VersionWanted: p.version.String(), Lagging: s.lagging,
			})
		}
	}
	if extra := len(c.bad) - mostBad; extra > 0 {
		c.bad = slices.Clone(c.bad[extra:])
	}
}

// mostEffects that wait to be taken.
const mostEffects = 20_000

// takeEffect notes the layers all of whose copies are good for the first time.
func (c *class) takeEffect(l *look, age time.Duration) {
	p := l.event
	for i, layer := range c.spec.Layers {
		if layer.MaxStaleness >= age || p.effective&(1<<i) != 0 {
			continue
		}
		found, all, last := false, true, time.Time{}
		for _, s := range l.seen {
			if s.layer == i {
				found, all = true, all && s.result.Good()
				if s.read.After(last) {
					last = s.read
				}
			}
		}
		if found && all {
			p.effective |= 1 << i
			if len(c.effects) < mostEffects {
				c.effects = append(c.effects, Effect{Layer: layer.Name, After: max(last.Sub(p.time()), 0), TraceID: p.trace()})
			}
		}
	}
}
