package simulation

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/backends"
)

// node is a cache.
type node struct {
	w     *world
	layer *layer
	// name as the exporter knows it; role is its name in the plan, which outlives it where nodes are replaced.
	name, role string
	primary    *node
	copies     map[string]*held
	// cut off from the application: nothing is written here, and nobody reads but the exporter.
	cut bool
	// unread: the exporter gets no answer.
	unread bool
	// frozen replica: nothing reaches it from its primary.
	frozen bool
	// gone: another one took its place; left: it answers the exporter all the same, for a while.
	gone, left bool
	started    time.Time
	evicted    int
	offset     int64
	// turn counts the reads of this sampling; seen is what they found.
	turn int
	seen [2]map[string]sight
}

// held is a key on a node.
type held struct {
	value   *value // nil: none
	expires time.Time
	// expiring: its end is planned.
	expiring bool
	// awaited: the next reader is on the way.
	awaited bool
	// queued is when the last of what the queue has for the copy arrives.
	queued time.Time
	// wrongSince it has differed from the database; zero: it does not.
	wrongSince time.Time
}

func (c *held) present() bool { return c.value != nil }

func (c *held) judge(r *record, at time.Time) {
	switch {
	case c.value == nil || c.value == r.now:
		c.wrongSince = time.Time{}
	case c.wrongSince.IsZero():
		c.wrongSince = at
	}
}

// add a node, named as in "p" or "r<p", a replica of p.
func (w *world) add(l *layer, name string) *node {
	role, primary := name, ""
	for i := range name {
		if name[i] == '<' {
			role, primary = name[:i], name[i+1:]
		}
	}
	n := &node{w: w, layer: l, name: role, role: role, copies: map[string]*held{}}
	for _, other := range w.nodes {
		if other.role == primary {
			n.primary = other
		}
	}
	l.nodes, w.nodes = append(l.nodes, n), append(w.nodes, n)
	return n
}

// open a node, with nothing in it yet.
func (w *world) open(n *node) {
	n.started = w.clock.Add(-time.Hour)
	for _, r := range w.records {
		n.copies[r.key] = &held{}
		w.readSoon(n, r)
	}
}

// set a value, as the application or a primary does.
func (n *node) set(r *record, v *value) {
	n.put(r, v)
	n.replicate(func(replica *node) { replica.put(r, v) })
}

func (n *node) put(r *record, v *value) {
	c := n.copies[r.key]
	c.value = v
	c.judge(r, n.w.clock)
	lives := n.layer.ttl - time.Duration(n.w.random.Float64()*float64(n.layer.ttl)/10)
	c.expires = n.w.clock.Add(lives)
	if n.primary == nil && !c.expiring { // a replica's copies are expired by its primary
		c.expiring = true
		n.w.after(lives, func() { n.expire(r) })
	}
}

// expire a value whose time is over; one that was set since has its own time.
func (n *node) expire(r *record) {
	c := n.copies[r.key]
	left := c.expires.Sub(n.w.clock)
	if c.present() && left > 0 {
		n.w.after(left, func() { n.expire(r) })
		return
	}
	c.expiring = false
	if c.present() {
		n.drop(r)
	}
}

// drop a value: invalidated, expired or evicted.
func (n *node) drop(r *record) {
	n.take(r)
	n.replicate(func(replica *node) { replica.take(r) })
}

func (n *node) take(r *record) {
	c := n.copies[r.key]
	c.value = nil
	c.judge(r, n.w.clock)
	n.w.readSoon(n, r)
}

func (n *node) replicate(do func(replica *node)) {
	n.offset += 100
	for _, replica := range n.w.nodes {
		if replica.primary != n {
			continue
		}
		offset := n.offset
		n.w.after(n.w.plan.replicaLag, func() {
			if !replica.frozen {
				replica.offset = offset
				do(replica)
			}
		})
	}
}

// sync a replica with its primary.
func (n *node) sync() {
	n.offset = n.primary.offset
	for _, r := range n.w.records {
		if v := n.primary.copies[r.key].value; v != nil {
			n.put(r, v)
		} else {
			n.take(r)
		}
	}
}

// restart a node that keeps nothing.
func (n *node) restart() {
	n.started = n.w.clock
	for _, r := range n.w.records {
		n.drop(r)
	}
}

// What the exporter sees of it.

var errNoAnswer = errors.New("no answer")

// redisTraits are what a Redis node can do and tell.
var redisTraits = backends.All[slices.IndexFunc(backends.All, func(b probes.Backend) bool { return b.Name == "redis" })].NodeTraits

func (n *node) Identity() probes.Identity {
	return probes.Identity{Layer: n.layer.name, Name: n.name, Kind: "redis", Traits: redisTraits}
}

func (n *node) Survey(ctx context.Context, _ *probes.Scan) (probes.Survey, error) {
	n.w.mu.Lock()
	n.w.catchUp()
	n.turn, n.seen = 0, [2]map[string]sight{}
	unread := n.unread
	s := n.survey()
	n.w.mu.Unlock()
	if unread {
		<-ctx.Done()
		return probes.Survey{}, errNoAnswer
	}
	return s, nil
}

// survey of a node that answers.
func (n *node) survey() probes.Survey {
	known := func(v float64) probes.Count { return probes.Count{Value: v, Known: true} }
	items := 1000.0 // others' keys
	for _, c := range n.copies {
		if c.present() {
			items++
		}
	}
	s := probes.Survey{
		Left: n.left, Took: time.Millisecond, RunID: n.name + strconv.FormatInt(n.started.Unix(), 10), Role: "primary",
		UptimeSeconds: known(time.Since(n.started).Seconds()), Evicted: known(float64(n.evicted)), Items: known(items),
		Replication: &probes.Replication{ReplID: n.name, Offset: n.offset, HasOffset: true},
	}
	if n.primary != nil {
		s.Role, s.Replication.ReplID, s.Replication.LinkUp = "replica", n.primary.name, true
	}
	return s
}

func (n *node) Read(ctx context.Context, keys []probes.Key, visit func(int, probes.Raw)) error {
	n.w.mu.Lock()
	unread := n.unread
	n.w.mu.Unlock()
	if unread {
		<-ctx.Done()
		return errNoAnswer
	}
	turn := min(n.turn, 1)
	n.turn++
	time.Sleep(n.delay(turn))
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	n.w.catchUp()
	if n.seen[turn] == nil { // a third read replaces the second of the keys that it is of
		n.seen[turn] = make(map[string]sight, len(keys))
	}
	for i, k := range keys {
		c := n.copies[k.Name]
		if n.primary != nil && c.expires.Before(n.w.clock) { // a replica shows nothing that is past its time
			c = &held{}
		}
		n.seen[turn][k.Name] = sight{value: c.value, wrongSince: c.wrongSince, at: n.w.clock}
		if !c.present() {
			visit(i, probes.Raw{})
			continue
		}
		visit(i, probes.Raw{Present: true, Value: slices.Clone(c.value.body), HasTTL: true, TTL: max(0, c.expires.Sub(n.w.clock))})
	}
	return nil
}

func (*node) Close() {}

// delay of an answer: nodes answer one after the other, at the same times whatever else is read.
func (n *node) delay(turn int) time.Duration {
	at := uint64(time.Now().Truncate(time.Second).Unix())
	return time.Duration(rand.NewPCG(at<<1|uint64(turn), uint64(len(n.name))<<8|uint64(n.name[0])).Uint64() % uint64(n.w.plan.answers))
}

// fleet is the world's nodes, as the exporter finds them.
type fleet struct{ w *world }

func (f fleet) Survey(ctx context.Context, scanFor func(probes.Identity) *probes.Scan, visit func(probes.Node, probes.Survey, error)) {
	f.w.mu.Lock()
	f.w.catchUp()
	nodes := f.w.answering()
	f.w.mu.Unlock()
	done := make(chan struct{})
	for _, n := range nodes {
		go func() {
			s, err := n.Survey(ctx, scanFor(n.Identity()))
			visit(n, s, err)
			done <- struct{}{}
		}()
	}
	for range nodes {
		<-done
	}
}

func (fleet) Groups() []probes.NodeGroup { return nil }

// origin is the database, or a replica of it, as the exporter asks it.
type origin struct {
	w *world
}

func (o origin) Ask(_ context.Context, vars map[string]string, visit func(probes.OriginAnswer)) error {
	time.Sleep(time.Millisecond)
	o.w.mu.Lock()
	defer o.w.mu.Unlock()
	o.w.catchUp()
	v := o.w.byKey[vars["key"]].at(o.w.clock.Add(-o.w.plan.originLag)).value
	if v == nil {
		visit(probes.OriginAnswer{Deleted: true})
	} else {
		visit(probes.OriginAnswer{Body: v.body})
	}
	return nil
}

func (origin) Close() {}

// originSource opens it.
type originSource struct {
	probes.OriginSource
	w *world
}

func (o originSource) Open(*probes.Env) (probes.Origin, error) { return origin{o.w}, nil }
