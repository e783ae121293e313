package recovery

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/pause"
)

// monitor watches until the depths and the application's health hold.
func (r *run) monitor(ctx context.Context, s *Step) error {
	m := r.recovery.Monitor
	wanted := fmt.Sprintf("each queue's depth at most %d", m.Depth)
	if r.health != nil {
		wanted += " and recovery.health_url well"
	}
	wanted += fmt.Sprintf(", %d times in a row, for at most %s", m.Looks, shown(m.Timeout))
	switch {
	case !r.opt.Apply:
		s.plan("watch until it is over: " + wanted)
		return nil
	case r.report.left:
		s.skip("something is not done, so it can't be over; the run that finishes it watches")
		return nil
	}
	end := time.Now().Add(m.Timeout)
	last := ratios(r.survey(ctx))
	for good, looks := 0, 1; ; looks++ {
		now := r.look(ctx)
		seen := ratios(r.survey(ctx))
		now.lines = append(now.lines, seen.since(last)...)
		last = seen
		if interrupted(ctx) {
			s.fail(Incomplete, "interrupted; the backlog is applied")
			return nil
		}
		r.tell(Progress{Step: stepMonitor, Text: strings.Join(now.lines, ", ")})
		if good++; !now.well {
			good = 0
		}
		switch {
		case good >= m.Looks:
			s.note(fmt.Sprintf("over, after %d looks: %s", looks, strings.Join(now.lines, ", ")))
			return nil
		case time.Now().After(end):
			s.fail(Failed, fmt.Sprintf("not over after %s: %s; wanted: %s", shown(m.Timeout), strings.Join(now.lines, ", "), wanted))
			return nil
		}
		pause.For(ctx, min(m.Every, max(time.Until(end), 0))) // an interruption shows above
	}
}

// state at one look.
type state struct {
	well  bool
	lines []string
}

func (r *run) look(ctx context.Context) state {
	out := state{well: true}
	for _, q := range r.config.Queues {
		if q.Source.Traits().AtOnce {
			continue // nothing waits there
		}
		depth := r.sampleDepth(ctx, q.Name)
		if depth == nil {
			out.well = false
			out.lines = append(out.lines, q.Name+" depth unknown")
			continue
		}
		out.well = out.well && *depth <= r.recovery.Monitor.Depth
		out.lines = append(out.lines, fmt.Sprintf("%s depth %d", q.Name, *depth))
	}
	if r.health == nil {
		return out
	}
	limited, cancel := context.WithTimeout(ctx, askLongest)
	defer cancel()
	if err := r.health.Ask(limited); err != nil {
		out.well = false
		out.lines = append(out.lines, fmt.Sprintf("health: %v", err))
	} else {
		out.lines = append(out.lines, "health well")
	}
	return out
}

// hits are hits and lookups of the layers, since their servers began, less our own reads.
type hits struct {
	layers      []string
	hit, looked map[string]float64
}

func ratios(nodes []nodeSeen) hits {
	out := hits{hit: map[string]float64{}, looked: map[string]float64{}}
	for i := range nodes {
		n := &nodes[i]
		v, layer := n.survey, n.id().Layer
		if n.err != nil || !v.Hits.Known || !v.Misses.Known {
			continue
		}
		if _, known := out.looked[layer]; !known {
			out.layers = append(out.layers, layer)
		}
		hit := v.Hits.Value - float64(v.OwnHits)
		out.hit[layer] += hit
		out.looked[layer] += hit + v.Misses.Value - float64(v.OwnMisses)
	}
	return out
}

// since an earlier look: the share of hits in each layer that was read meanwhile.
func (h hits) since(last hits) []string {
	var out []string
	for _, l := range h.layers {
		if looked := h.looked[l] - last.looked[l]; looked > 0 {
			out = append(out, fmt.Sprintf("%s hits %.0f%%", l, 100*max(h.hit[l]-last.hit[l], 0)/looked))
		}
	}
	return out
}
