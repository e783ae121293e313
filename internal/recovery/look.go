package recovery

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/drain"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// lookLongest is how long one look at all nodes or queues may take.
const lookLongest = 5 * time.Second

// nodeSeen is a node as its survey showed it.
type nodeSeen struct {
	probes.Node
	survey probes.Survey
	err    error
}

func (n *nodeSeen) id() probes.Identity { return n.Identity() }

// replica reports whether the node takes no writes.
func (n *nodeSeen) replica() bool { return n.survey.Follows() }

// survey all nodes, and give them by layer and name.
func (r *run) survey(ctx context.Context) []nodeSeen {
	limited, cancel := context.WithTimeout(ctx, lookLongest)
	defer cancel()
	var mu sync.Mutex
	var out []nodeSeen
	r.fleet.Survey(limited, func(probes.Identity) *probes.Scan { return nil }, func(n probes.Node, s probes.Survey, err error) {
		mu.Lock()
		defer mu.Unlock()
		out = append(out, nodeSeen{n, s, err})
	})
	layers := map[string]int{}
	for i, l := range r.config.Layers {
		layers[l.Name] = i
	}
	slices.SortFunc(out, func(a, b nodeSeen) int {
		return cmp.Or(cmp.Compare(layers[a.id().Layer], layers[b.id().Layer]), cmp.Compare(a.id().Name, b.id().Name))
	})
	return out
}

// tellNodes of a layer: how many answer, and which do not.
func (r *run) tellNodes(s *Step, layer string) {
	up, unasked, all := 0, 0, 0
	for i := range r.nodes {
		n := &r.nodes[i]
		if n.id().Layer != layer {
			continue
		}
		all++
		switch {
		case n.err != nil:
			s.fail(Incomplete, fmt.Sprintf("%s: %s does not answer: %v", layer, n.id().Name, n.err))
		case n.survey.Unasked:
			unasked++
		default:
			up++
		}
	}
	if unasked < all {
		s.note(fmt.Sprintf("%s: %d of %d nodes answer", layer, up, all-unasked))
	}
	if unasked > 0 {
		s.note(fmt.Sprintf("%s: %s can't be asked for its health", layer, plural(int64(unasked), "node", "nodes")))
	}
}

// lookAtHealth asks every node how it is, and the application. What is down is named: the steps go on with the others.
func (r *run) lookAtHealth(ctx context.Context, s *Step) error {
	r.nodes = r.survey(ctx)
	for _, l := range r.config.Layers {
		r.tellNodes(s, l.Name)
	}
	if r.health != nil {
		limited, cancel := context.WithTimeout(ctx, askLongest)
		err := r.health.Ask(limited)
		cancel()
		if err == nil {
			s.note("recovery.health_url: well")
			r.breaker.add("recovery.health_url", r.health.Ask)
		} else { // it can't tell whether the recovery makes it worse, so the breaker does not ask it
			s.note(fmt.Sprintf("recovery.health_url: not well before anything was done: %v", err))
		}
	}
	if !r.opt.Apply || interrupted(ctx) {
		return nil
	}
	r.heed(s, r.breaker.check(ctx))
	return nil
}

// heed what says stop, if anything does: what comes after this step is skipped, and what waits stays in the queues.
func (r *run) heed(s *Step, why error) {
	if why == nil {
		return
	}
	s.fail(Failed, why.Error())
	r.report.stopped = fmt.Sprintf("the procedure ended at the step %s", s.Step)
	r.report.notDone("the steps after "+s.Step, why.Error(), "mend that and run the command again; what was not applied is still in the queues")
}

// lookAtQueues says what waits, and chooses by that how far to go.
func (r *run) lookAtQueues(ctx context.Context, s *Step) error {
	plan, err := r.drainer.Plan(ctx, drain.Options{})
	if err != nil {
		return fmt.Errorf("looking at the queues: %w", err)
	}
	if !r.opt.Apply {
		r.report.BacklogPlan = plan
	}
	deepest := ""
	for _, configured := range r.config.Queues {
		if configured.Source.Traits().AtOnce {
			continue // nothing waits there
		}
		q := drain.QueuePlan{Queue: configured.Name, Note: "its messages can't be taken from here, and are left to its own processors"}
		if i := slices.IndexFunc(plan.Queues, func(p drain.QueuePlan) bool { return p.Queue == configured.Name }); i >= 0 {
			q = plan.Queues[i]
		}
		if r.lookAtQueue(ctx, s, q) {
			deepest = q.Queue
		}
	}
	r.choose(s, deepest)
	return nil
}

// lookAtQueue tells what waits there; true: it is the deepest so far.
func (r *run) lookAtQueue(ctx context.Context, s *Step, q drain.QueuePlan) (deepest bool) {
	depth := r.sampleDepth(ctx, q.Queue) // as the exporter tells it, and alerts go by
	if depth == nil {
		depth = q.Waiting
	}
	line := q.Queue + ": how many messages wait is unknown"
	if depth != nil {
		line = q.Queue + ": " + plural(*depth, "message waits", "messages wait")
		if deepest = r.report.Depth == nil || *depth > *r.report.Depth; deepest {
			r.report.Depth = depth
		}
	}
	if q.Processing != nil && *q.Processing > 0 {
		line += fmt.Sprintf(", and %d that an interrupted run has taken, which are applied first", *q.Processing)
	}
	s.note(line)
	if q.Note != "" {
		s.note(q.Queue + ": " + q.Note)
	}
	if q.Error != "" {
		s.fail(Incomplete, q.Queue+": "+q.Error)
	}
	return deepest
}

// choose the strategy.
func (r *run) choose(s *Step, deepest string) {
	c := r.recovery
	depth := int64(0)
	if r.report.Depth != nil {
		depth = *r.report.Depth
	}
	why := fmt.Sprintf("the depth is %d (%s)", depth, deepest)
	switch {
	case r.opt.Strategy != Auto:
		why = "as --strategy asks"
	case r.report.Depth == nil:
		r.report.Strategy, why = Minimal, "no depth is known"
	case depth > c.AggressiveAbove:
		r.report.Strategy, why = Aggressive, fmt.Sprintf("%s, above aggressive_above (%d)", why, c.AggressiveAbove)
	case depth > c.StandardAbove:
		r.report.Strategy, why = Standard, fmt.Sprintf("%s, above standard_above (%d)", why, c.StandardAbove)
	default:
		r.report.Strategy, why = Minimal, fmt.Sprintf("%s, not above standard_above (%d)", why, c.StandardAbove)
	}
	s.note(fmt.Sprintf("strategy %s: %s", r.report.Strategy, why))
}

// sampleDepth of a queue whose messages can't be taken; nil: unknown.
func (r *run) sampleDepth(ctx context.Context, name string) *int64 {
	limited, cancel := context.WithTimeout(ctx, lookLongest)
	defer cancel()
	for i, q := range r.config.Queues {
		if q.Name != name {
			continue
		}
		b, _ := r.queues[i].Sample(limited) // what it could not learn is not known
		if b.Depth.Known {
			depth := int64(b.Depth.Value)
			return &depth
		}
	}
	return nil
}

func plural(n int64, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}
