package diagnosis

import (
	"maps"
	"math"
	"slices"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/verdict"
)

// weighing is the findings with their part in the scores.
type weighing struct {
	e     *Evidence
	found []finding
	score map[Cause]float64
	// part of each weight in its cause's score, 0 to 1.
	part map[*Weight]float64
	// muted weights, and what explains them instead.
	muted map[*Weight]string
}

// weigh the findings. A cause's score is 1 less the product of what its findings leave: it grows with each, and none is
// needed. What did not last counts no further than a first sight.
func weigh(e *Evidence, found []finding) *weighing {
	w := &weighing{e: e, found: slices.Clone(found), score: map[Cause]float64{}, part: map[*Weight]float64{}, muted: map[*Weight]string{}}
	w.mute()
	w.explain()
	highest := 1.0
	for _, c := range Causes {
		score := min(w.total(c, w.found), highest)
		w.score[c] = score
		if score >= strongScore.Value {
			highest = min(highest, score)
		}
	}
	for _, row := range Weights {
		if w.muted[row] == "" {
			lasting, first := w.weights(row, w.found)
			w.part[row] = max(lasting, min(first, firstSight.Value))
		}
	}
	return w
}

// total of a cause by these findings, without the weights that are muted.
func (w *weighing) total(c Cause, found []finding) float64 {
	lasts, first := 1.0, 1.0
	for _, row := range Weights {
		if row.Cause == c && w.muted[row] == "" {
			lasting, fleeting := w.weights(row, found)
			lasts, first = lasts*(1-lasting), first*(1-fleeting)
		}
	}
	return math.Round(1000*max(1-lasts, min(1-first, firstSight.Value))) / 1000
}

// weights of what lasted as long as it must, and of all that is there.
func (w *weighing) weights(row *Weight, found []finding) (lasting, first float64) {
	lasts, all := row.sizes(w.e, found)
	return row.Value * row.strength(lasts), row.Value * row.strength(all)
}

// shows reports whether there is anything of a weight, if only for this once.
func (w *weighing) shows(row *Weight) bool {
	_, first := w.weights(row, w.found)
	return first > 0
}

// mute the weights that another cause explains.
func (w *weighing) mute() {
	// An instance that is deaf holds up no message: it is cut off itself.
	queueing := stands(w.total(Queueing, slices.DeleteFunc(slices.Clone(w.found), func(f finding) bool { return f.weight == deafInstances })))
	// A node's stale copies point to a partition only where nothing that is known of the processing of invalidations is wrong.
	switch {
	case w.shows(appVersionsDiffer):
		w.muted[isolatedNode] = "the application's versions differ"
	case queueing:
		w.muted[isolatedNode] = "a queue is backed up"
	case w.shows(failedInval) || w.shows(loop):
		w.muted[isolatedNode] = "invalidations fail or go round"
	case w.set():
		w.muted[isolatedNode] = "its settings differ"
	}
	for i := range w.e.Queues {
		if age, known := oldestWait(&w.e.Queues[i]); known && age >= deleteSeconds.Value {
			w.muted[survivorCopies] = "deletes may be on their way: messages wait in queue " + w.e.Queues[i].Name
		}
	}
	if queueing {
		w.muted[probeLostAll] = "a queue is backed up: they may wait there"
	}
}

// set reports whether an isolated node has a setting of its own.
func (w *weighing) set() bool {
	for _, x := range w.e.Settings {
		if x.Name == "server_version" {
			continue
		}
		for _, nodes := range others(x.Nodes) {
			for _, f := range w.found {
				if f.weight == isolatedNode && slices.Contains(nodes, f.subject) {
					return true
				}
			}
		}
	}
	return false
}

// everywhere are findings of what invalidations pass through on their way: any copy may be stale for it.
func (f *finding) everywhere() bool {
	return f.weight.Cause == Queueing || f.weight == brokerDown || f.weight == queueUnreached || f.weight == probeUnpublished
}

// explain marks the stale copies and the survivors for which another cause stands that is about them: their node, their class, a
// node from which theirs is filled, or the way of invalidations. What is wrong elsewhere explains nothing here.
func (w *weighing) explain() {
	for _, c := range []Cause{Network, Queueing, Config, Version} {
		if !stands(w.total(c, w.found)) {
			continue
		}
		nodes, classes, everywhere := w.standing(c)
		filled := w.filled(nodes)
		for i := range w.found {
			f := &w.found[i]
			if f.explained != "" || f.weight != unexplainedStale && f.weight != survivorCopies {
				continue
			}
			if everywhere || nodes[f.nodes[0]] || classes[f.class] || filled[f.class][f.nodes[0]] {
				f.explained = c
			}
		}
	}
}

// standing are the nodes and classes for which a cause stands by what is known of each, and whether it does so everywhere.
func (w *weighing) standing(c Cause) (nodes, classes map[string]bool, everywhere bool) {
	var way []finding
	byNode, byClass := map[string][]finding{}, map[string][]finding{}
	for _, f := range w.found {
		if f.weight.Cause != c {
			continue
		}
		if f.everywhere() {
			way = append(way, f)
		}
		for _, n := range f.nodes {
			byNode[n] = append(byNode[n], f)
		}
		if len(f.nodes) == 0 && f.class != "" {
			byClass[f.class] = append(byClass[f.class], f)
		}
	}
	standing := func(by map[string][]finding) map[string]bool {
		maps.DeleteFunc(by, func(_ string, found []finding) bool { return !stands(w.total(c, found)) })
		out := map[string]bool{}
		for name := range by {
			out[name] = true
		}
		return out
	}
	return standing(byNode), standing(byClass), stands(w.total(c, way))
}

// filled are, by class, the nodes whose layer has a shorter TTL than that of one of these, which has stale copies of the class: such
// layers are filled from it.
func (w *weighing) filled(from map[string]bool) map[string]map[string]bool {
	out := map[string]map[string]bool{}
	if w.e.Result == nil {
		return out
	}
	for i := range w.e.Result.Classes {
		c := &w.e.Result.Classes[i]
		longest := time.Duration(0)
		for k := range c.Nodes {
			if n := &c.Nodes[k]; from[n.Node] && n.Copies[verdict.Stale] > 0 {
				longest = max(longest, w.e.Configured.TTL[n.Layer])
			}
		}
		out[c.Class] = map[string]bool{}
		for k := range c.Nodes {
			n := &c.Nodes[k]
			out[c.Class][n.Node] = w.e.Configured.TTL[n.Layer] < longest
		}
	}
	return out
}

// nodeScores of the nodes that were sampled, by what is known of each.
func (w *weighing) nodeScores(e *Evidence) (out []NodeScore) {
	if e.Result == nil {
		return nil
	}
	about := map[string][]finding{}
	for _, f := range w.found {
		for _, n := range f.nodes {
			about[n] = append(about[n], f)
		}
	}
	for _, c := range []Cause{Network, Config, Version} {
		for i := range e.Result.Nodes {
			n := &e.Result.Nodes[i]
			if score := min(w.total(c, about[n.Name]), w.score[c]); score > 0 {
				out = append(out, NodeScore{c, n.Layer, n.Name, score})
			}
		}
	}
	return out
}

// sizes of what has this weight: of what lasted as long as it must, and of all that is there.
func (row *Weight) sizes(e *Evidence, found []finding) (lasting, first float64) {
	var lasts, all size
	for i := range found {
		f := &found[i]
		if f.weight != row || f.explained != "" || math.IsNaN(f.size) {
			continue
		}
		all.add(row.Over, f)
		if !f.early && row.lasted(e, f) {
			lasts.add(row.Over, f)
		}
	}
	return lasts.value, all.value
}

// size of several findings of one weight.
type size struct {
	value   float64
	byClass map[string]float64
}

func (s *size) add(over Over, f *finding) {
	switch over {
	case sum:
		s.value += f.size
	case largest:
		s.value = max(s.value, f.size)
	case classSum:
		if s.byClass == nil {
			s.byClass = map[string]float64{}
		}
		s.byClass[f.class] += f.size
		s.value = max(s.value, s.byClass[f.class])
	}
}

func (row *Weight) lasted(e *Evidence, f *finding) bool {
	if row.After == 0 {
		return true
	}
	streak := e.Past.Streaks[f.id()]
	return streak.Samplings > 1 && e.At.Sub(streak.Since) >= row.After
}
