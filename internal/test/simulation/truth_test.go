package simulation

import (
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/consistency"
	"github.com/cacheinv/cacheinv_exporter/internal/verdict"
)

const (
	// interval between samplings.
	interval = 15 * time.Second
	// grace in which a wrong copy need not be found: two samplings.
	grace = 2 * interval
	// longEnough is how many samplings in a row could have seen an incident, after the grace; shorter ones are none.
	longEnough = 4
)

// sight is a copy as the exporter read it, with what is true of it.
type sight struct {
	value      *value
	wrongSince time.Time
	at         time.Time
}

// right: it was there, and as in the database.
func (s sight) right() bool { return s.value != nil && s.wrongSince.IsZero() }

// overdue: wrong for longer than is allowed.
func (s sight) overdue(allowed time.Duration) bool {
	return s.value != nil && !s.wrongSince.IsZero() && s.at.Sub(s.wrongSince) > allowed
}

// outcome of a plan.
type outcome struct {
	plan *plan
	// samplings, and copies that were compared in them.
	samplings, compared int
	// convicted copies were right, and called stale.
	convicted int
	// early copies were wrong, for no longer than is allowed, and called stale; disputed keys divergent without an incident.
	early, disputed int
	// missed copies were wrong for longer than is allowed, and called fresh; alarms are survivors that were right.
	missed, alarms int
	// incidents are times for which a key had a wrong copy that the exporter could read, longer than is allowed. One is told
	// if in at least half of the samplings a wrong copy was stale or a survivor, or the key divergent; named, if a wrong copy
	// was stale in as many; silent, if nothing was said in any.
	incidents, told, named, silent int
}

// observer compares what is reported with the truth.
type observer struct {
	w *world
	outcome
	// open incidents by key.
	open map[string]*incident
}

// incident of one key, so far.
type incident struct{ samplings, told, named int }

func newObserver(w *world) *observer {
	return &observer{w: w, outcome: outcome{plan: w.plan}, open: map[string]*incident{}}
}

// observe one sampling, in which each key is a class of its own.
func (o *observer) observe(result *consistency.Result) {
	o.samplings++
	nodes := map[string]*node{}
	for _, n := range o.w.answering() {
		nodes[n.name] = n
	}
	for i := range result.Classes {
		o.observeKey(&result.Classes[i], nodes)
	}
}

func (o *observer) observeKey(c *consistency.ClassResult, nodes map[string]*node) {
	// A copy is wrong for longer than is allowed; one of these is called stale, or a survivor.
	wrong, stale, survives := false, false, false
	for i := range c.Nodes {
		reported := &c.Nodes[i]
		n := nodes[reported.Node]
		if n == nil || reported.Copies[verdict.Error] > 0 {
			continue // replaced meanwhile, or not read
		}
		o.compared += reported.Compared()
		last := n.lastSight(c.Class)
		overdue := last.overdue(o.allowed(n)) && !n.left // nobody reads what has left
		wrong = wrong || overdue
		switch {
		case reported.Copies[verdict.Stale] > 0 && last.right():
			o.convicted++
			if *explain {
				o.explain(c, n)
			}
		case reported.Copies[verdict.Stale] > 0 && overdue:
			stale = true
		case reported.Copies[verdict.Stale] > 0:
			o.early++
		case reported.Copies[verdict.Fresh] > 0 && overdue:
			o.missed++
		}
		switch {
		case reported.Survivors == 0:
		case overdue:
			survives = true
		case last.right():
			o.alarms++
		}
	}
	if c.Divergent[0] > 0 && !wrong {
		o.disputed++
	}
	o.follow(c.Class, wrong, stale, stale || survives || c.Divergent[0] > 0)
}

// allowed is how long a copy may be wrong on a node.
func (o *observer) allowed(n *node) time.Duration {
	return max(n.layer.maxStaleness, o.w.plan.lag+o.w.plan.spread) + grace
}

// lastSight of a key in this sampling.
func (n *node) lastSight(key string) sight {
	if s, ok := n.seen[1][key]; ok {
		return s
	}
	return n.seen[0][key]
}

// follow a key's incident.
func (o *observer) follow(key string, wrong, named, told bool) {
	in := o.open[key]
	switch {
	case wrong && in == nil:
		in = &incident{}
		o.open[key] = in
	case !wrong && in != nil:
		o.close(in)
		delete(o.open, key)
	}
	if wrong {
		in.samplings++
		if told {
			in.told++
		}
		if named {
			in.named++
		}
	}
}

func (o *observer) close(in *incident) {
	if in.samplings < longEnough {
		return
	}
	o.incidents++
	if 2*in.told >= in.samplings {
		o.outcome.told++
	}
	if 2*in.named >= in.samplings {
		o.outcome.named++
	}
	if in.told == 0 {
		o.silent++
	}
}

// finish gives what came of it.
func (o *observer) finish() *outcome {
	for _, in := range o.open {
		o.close(in)
	}
	return &o.outcome
}
