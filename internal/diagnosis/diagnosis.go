package diagnosis

import (
	"maps"
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
	// Nodes that a cause is about, in the causes' order.
	Nodes []NodeScore `json:"-"`
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

// NodeScore is how strongly what is known of one node points to a cause: above 0, and never above the cause's own score.
type NodeScore struct {
	Cause       Cause
	Layer, Node string
	Score       float64
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
	d.Nodes = w.nodeScores(e)
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
