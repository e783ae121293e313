package drain

import (
	"context"

	"github.com/cacheinv/cacheinv_exporter/probes"
)

// planSample is how many messages of each queue a plan looks at.
const planSample = 200

func (d *Drainer) plan(ctx context.Context, opt Options) (*Plan, error) {
	r := d.newRun(opt)
	out := &Plan{Queues: []QueuePlan{}, Nodes: []NodePlan{}, NotInvalidated: []LayerLeft{}}
	queues, others, err := d.chosen(opt.Queues)
	out.NotTaken = others
	if err != nil {
		return out, err
	}
	r.targets.survey(ctx)
	if len(r.targets.units) == 0 && len(queues) > 0 {
		return out, errNoTargets
	}
	for _, i := range queues {
		q := r.planQueue(ctx, i)
		out.Incomplete = out.Incomplete || q.Error != "" || q.Note != ""
		out.Queues = append(out.Queues, q)
	}
	out.NotInvalidated = append(out.NotInvalidated, r.targets.left...)
	out.Nodes = r.planNodes()
	for _, n := range out.Nodes {
		out.Incomplete = out.Incomplete || n.Error != ""
	}
	return out, nil
}

// planQueue looks at one queue.
func (r *run) planQueue(ctx context.Context, index int) QueuePlan {
	configured := r.config.Queues[index]
	out := QueuePlan{Queue: configured.Name, Kind: configured.Source.Kind()}
	asking, cancel := context.WithTimeout(ctx, queueLongest)
	defer cancel()
	w, err := r.queues[index].(probes.Backlogged).Waiting(asking, planSample) //nolint:forcetypeassert // as chosen
	if err != nil {
		out.Error = err.Error()
		return out
	}
	out.Waiting, out.Processing, out.Note = &w.Messages, &w.Processing, w.Note
	out.ProcessingIn, out.DeadLetters = textOrNil(w.ProcessingIn), textOrNil(w.DeadLetters)
	b := newBatch(w.Sample)
	out.Sampled, out.DistinctKeys = len(w.Sample), len(b.keys)
	for _, m := range w.Sample {
		if m.Poison != "" {
			out.Poison++
		}
	}
	return out
}

// planNodes are the nodes to which a run would write: primaries, and those of which it is not known.
func (r *run) planNodes() []NodePlan {
	out := []NodePlan{}
	for _, u := range r.targets.units {
		if u.err != nil {
			out = append(out, NodePlan{Layer: u.layer, Node: u.name, Error: u.err.Error()})
		}
		for _, k := range u.targets {
			p := NodePlan{Layer: u.layer, Node: k.id.Name}
			switch {
			case !k.answered:
				p.Error = "it did not answer"
			case k.role() != "replica":
			case u.replicates, !r.targets.orphan(k):
				continue
			default:
				p.Error = errOrphan.Error()
			}
			out = append(out, p)
		}
	}
	return out
}
