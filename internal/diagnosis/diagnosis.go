package diagnosis

import (
	"maps"
	"math"
	"slices"
)

// Diagnosis of one sampling.
type Diagnosis struct {
	// Verdict is the outcome: the first cause that stands, in their order; None where none does, Nothing where nothing is known, or
	// where none stands and something could not be learned.
	Verdict string `json:"verdict"`
	// Causes that stand, in their order.
	Causes []Score `json:"causes"`
	// Scores of all causes; nil where nothing is known.
	Scores []Score `json:"scores"`
	// Steps of the first assessment, A to G.
	Steps []Step `json:"steps"`
	// Next is a command to run.
	Next string `json:"next"`
}

// Report is the evidence of one sampling with what it points to.
type Report struct {
	Evidence  Evidence
	Diagnosis Diagnosis
}

// Score of a cause, 0 to 1.
type Score struct {
	Cause Cause   `json:"cause"`
	Score float64 `json:"score"`
}

// Step of the assessment, with what was learned in plain words.
type Step struct {
	// Step is its letter.
	Step     string   `json:"step"`
	Title    string   `json:"title"`
	Evidence []string `json:"evidence"`
}

// Diagnose says what the evidence points to. It depends on nothing else, and changes nothing.
func Diagnose(e Evidence) Diagnosis {
	return conclude(&e, weigh(&e, findings(&e)))
}

// conclude from the weighed findings of e.
func conclude(e *Evidence, w *weighing) Diagnosis {
	d := Diagnosis{Verdict: Nothing, Causes: []Score{}}
	if !e.known() {
		d.Steps, d.Next = steps(e, w.found, nil), next(e, nil)
		return d
	}
	d.Verdict = None
	for _, c := range Causes {
		score := Score{c, w.score[c]}
		d.Scores = append(d.Scores, score)
		if !stands(score.Score) {
			continue
		}
		d.Causes = append(d.Causes, score)
		if d.Verdict == None {
			d.Verdict = string(c)
		}
	}
	if d.Verdict == None && len(e.unlearned()) > 0 {
		d.Verdict = Nothing
	}
	d.Steps, d.Next = steps(e, w.found, w), next(e, w)
	return d
}

func stands(score float64) bool { return score > standing.Value }

// known reports whether anything at all was sampled.
func (e *Evidence) known() bool {
	if e.Result != nil {
		for i := range e.Result.Nodes {
			if e.Result.Nodes[i].Up {
				return true
			}
		}
	}
	return slices.ContainsFunc(e.Queues, func(q Queue) bool { return q.Up || q.Depth.Known }) ||
		slices.ContainsFunc(e.Apps, func(a App) bool { return len(a.Versions) > 0 }) ||
		slices.ContainsFunc(e.Histories, func(h History) bool { return h.Up }) ||
		slices.ContainsFunc(e.RoundTrips, func(p RoundTrip) bool { return p.Sent > 0 })
}

// unlearned says what was asked for and not learned, though nothing of it is a finding: it may hide anything.
func (e *Evidence) unlearned() (out lines) {
	if e.Result != nil {
		out = e.Result.Unlearned()
		for i := range e.Result.Classes {
			c := &e.Result.Classes[i]
			for k := range c.Nodes {
				if n := &c.Nodes[k]; n.Why != nil {
					out.add("%s on %s %s: none of its copies could be read%s", c.Class, n.Layer, n.Node, because(n.Why))
				}
			}
		}
	}
	for i := range e.Queues {
		if q := &e.Queues[i]; !q.Up {
			out.add("queue %s could not be queried as a whole%s", q.Name, because(q.Err))
		}
	}
	for _, h := range e.Histories {
		if !h.Up {
			out.add("history %s could not be queried%s", h.Name, because(h.Err))
		}
	}
	for _, a := range e.Apps {
		for _, n := range slices.Sorted(maps.Keys(a.Refused)) {
			out.add("application %s: %s answers, and does not report its version%s", a.Name, n, because(a.Refused[n]))
		}
	}
	for _, p := range e.RoundTrips {
		if p.Refusal != nil {
			out.add("probe %s could not be published or set up for %s%s", p.Name, p.Node, because(p.Refusal))
		}
	}
	for _, u := range e.Unknown {
		if u.Why != NotConfigured && u.Why != SwitchedOff {
			out.add("%s: %s", u.Part, u.Why)
		}
	}
	return out
}

// weighing is the findings with their part in the scores.
type weighing struct {
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
	w := &weighing{found: found, score: map[Cause]float64{}, part: map[*Weight]float64{}, muted: map[*Weight]string{}}
	lasting, fleeting := map[*Weight]float64{}, map[*Weight]float64{}
	for _, row := range Weights {
		lasts, first := row.sizes(e, found)
		lasting[row], fleeting[row] = row.Value*row.strength(lasts), row.Value*row.strength(first)
	}
	total := func(c Cause, muted map[*Weight]string) float64 {
		lasts, first := 1.0, 1.0
		for _, row := range Weights {
			if row.Cause == c && muted[row] == "" {
				lasts, first = lasts*(1-lasting[row]), first*(1-fleeting[row])
			}
		}
		return math.Round(1000*max(1-lasts, min(1-first, firstSight.Value))) / 1000
	}
	w.mute(e, total, fleeting)
	highest := 1.0
	for _, c := range Causes {
		score := min(total(c, w.muted), highest)
		w.score[c] = score
		if score >= strongScore.Value {
			highest = min(highest, score)
		}
	}
	for _, row := range Weights {
		if w.muted[row] == "" {
			w.part[row] = max(lasting[row], min(fleeting[row], firstSight.Value))
		}
	}
	return w
}

// mute the weights that another cause explains.
func (w *weighing) mute(e *Evidence, total func(Cause, map[*Weight]string) float64, first map[*Weight]float64) {
	// A node's stale copies point to a partition only where nothing that is known of the processing of invalidations is wrong.
	switch {
	case first[appVersionsDiffer] > 0:
		w.muted[isolatedNode] = "the application's versions differ"
	case stands(total(Queueing, nil)):
		w.muted[isolatedNode] = "a queue is backed up"
	case first[failedInval] > 0 || first[loop] > 0:
		w.muted[isolatedNode] = "invalidations fail or go round"
	case w.set(e):
		w.muted[isolatedNode] = "its settings differ"
	}
	for i := range e.Queues {
		if age, known := oldestWait(&e.Queues[i]); known && age >= deleteSeconds.Value {
			w.muted[survivorCopies] = "deletes may be on their way: messages wait in queue " + e.Queues[i].Name
		}
	}
	if stands(total(Queueing, nil)) {
		w.muted[probeLostAll] = "a queue is backed up: they may wait there"
	}
	for _, c := range []Cause{Network, Queueing, Config, Version} {
		if stands(total(c, w.muted)) {
			w.muted[survivorCopies], w.muted[unexplainedStale] = string(c)+" stands", string(c)+" stands"
			return
		}
	}
}

// set reports whether an isolated node has a setting of its own.
func (w *weighing) set(e *Evidence) bool {
	for _, x := range e.Settings {
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

// sizes of what has this weight: of what lasted as long as it must, and of all that is there.
func (row *Weight) sizes(e *Evidence, found []finding) (lasting, first float64) {
	add := func(to *float64, size float64) {
		if row.Sum {
			*to += size
		} else {
			*to = max(*to, size)
		}
	}
	for _, f := range found {
		if f.weight != row || math.IsNaN(f.size) {
			continue
		}
		add(&first, f.size)
		if !f.early && row.lasted(e, f) {
			add(&lasting, f.size)
		}
	}
	return lasting, first
}

func (row *Weight) lasted(e *Evidence, f finding) bool {
	if row.After == 0 {
		return true
	}
	streak := e.Past.Streaks[f.id()]
	return streak.Samplings > 1 && e.At.Sub(streak.Since) >= row.After
}
