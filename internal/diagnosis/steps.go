package diagnosis

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/consistency"
	"github.com/cacheinv/cacheinv_exporter/internal/verdict"
)

// manyLines is how many lines of one kind a step has.
const manyLines = 12

// lines of a step.
type lines []string

func (l *lines) add(format string, args ...any) { *l = append(*l, fmt.Sprintf(format, args...)) }

// some of the lines, and how many more there are.
func some(all lines) lines {
	if len(all) <= manyLines {
		return all
	}
	return append(slices.Clone(all[:manyLines]), fmt.Sprintf("and %d more like these", len(all)-manyLines))
}

// steps of the guide's first assessment; w is nil where nothing is known.
func steps(e *Evidence, found []finding, w *weighing) []Step {
	out := []Step{
		{"A", "Stale data", staleData(e)},
		{"B", "Invalidation queues and history", queueLines(e, found)},
		{"C", "Consistency across nodes", across(e, found)},
		{"D", "TTLs", ttls(e)},
		{"E", "Versions and settings", versionLines(e, found)},
		{"F", "User impact", impact(e)},
		{"G", "Root cause", rootCause(e, w)},
	}
	for i := range out {
		if out[i].Evidence == nil {
			out[i].Evidence = []string{}
		}
	}
	return out
}

// unknownParts writes which of the parts are not known, and why.
func unknownParts(e *Evidence, parts ...string) (out lines) {
	for _, u := range e.Unknown {
		if slices.Contains(parts, u.Part) {
			out.add("%s: unknown (%s)", u.Part, u.Why)
		}
	}
	return out
}

// copyCount is how many copies there are of each kind.
type copyCount struct{ compared, stale, overdue, undecided, unread int }

func (t *copyCount) add(n *consistency.ClassNode) {
	t.compared += n.Compared()
	t.stale += n.Copies[verdict.Stale]
	t.overdue += n.Overdue
	t.undecided += n.Copies[verdict.Undecided]
	t.unread += n.Copies[verdict.Error]
}

func (t copyCount) String() string {
	if t.compared == 0 {
		return fmt.Sprintf("no copy was compared; %d could not be read", t.unread)
	}
	s := fmt.Sprintf("%s of %s compared copies are stale (%s), %s overdue", Count(float64(t.stale)), Count(float64(t.compared)),
		percent(float64(t.stale), float64(t.compared)), Count(float64(t.overdue)))
	if t.undecided > 0 {
		s += fmt.Sprintf(", %d undecided", t.undecided)
	}
	if t.unread > 0 {
		s += fmt.Sprintf("; %d could not be read", t.unread)
	}
	return s
}

func staleData(e *Evidence) (out lines) {
	if e.Result == nil || len(e.Result.Classes) == 0 {
		return append(out, unknownParts(e, "canary")...)
	}
	var all copyCount
	var longest time.Duration
	at := ""
	divergent, long := 0, 0
	for i := range e.Result.Classes {
		c := &e.Result.Classes[i]
		divergent += c.Divergent[0]
		long += c.Divergent[1]
		for k := range c.Nodes {
			n := &c.Nodes[k]
			all.add(n)
			if n.OldestStale > longest {
				longest, at = n.OldestStale, c.Class+" on "+n.Layer+" "+n.Node
			}
		}
	}
	out.add("%s", all)
	if longest > 0 {
		out.add("the oldest has been stale for %s: %s", Duration(longest.Seconds()), at)
	}
	if divergent > 0 {
		out.add("%d keys have copies that differ, %d of them for a minute or longer", divergent, long)
	}
	return out
}

// TimeToDrain is how many seconds are left until a queue is empty at its present rates, or by how it shrinks where a rate is
// unknown: +Inf where it never is. It is unknown where neither is known.
func (e *Evidence) TimeToDrain(q *Queue) (left float64, known bool) {
	var gain float64 // messages a second by which the queue shrinks
	switch growth, watched := e.Past.Growth[q.Name]; {
	case !q.Depth.Known:
		return 0, false
	case q.Depth.Value <= 0:
		return 0, true
	case q.ProcessedRate.Known && q.EnqueuedRate.Known:
		gain = q.ProcessedRate.Value - q.EnqueuedRate.Value
	case watched:
		gain = -growth
	default:
		return 0, false
	}
	if gain <= 0 {
		return math.Inf(1), true
	}
	return q.Depth.Value / gain, true
}

func queueLines(e *Evidence, found []finding) (out lines) {
	out = unknownParts(e, "queue")
	for i := range e.Queues {
		out = append(out, queueLine(e, &e.Queues[i]))
	}
	out = append(out, texts(found, brokerDown, deafInstances, fallingBehind, stalledGroup, noCommits, noMembers, lostMessages, rewound, underTarget, loop)...)
	out = append(out, unknownParts(e, "history")...)
	for _, h := range e.Histories {
		switch {
		case !h.Up:
			out.add("history %s: could not be queried%s", h.Name, because(h.Err))
		case h.Attempts == 0:
			out.add("history %s: no invalidation in the last %s", h.Name, Duration(h.Window.Seconds()))
		default:
			out.add("history %s: %s of %s invalidations failed (%s) in the last %s", h.Name, Count(h.Failures), Count(h.Attempts),
				percent(h.Failures, h.Attempts), Duration(h.Window.Seconds()))
		}
	}
	out = append(out, unknownParts(e, "invalidation_probe")...)
	out = append(out, texts(found, probeLostSome, probeLostAll, probeUnpublished)...)
	out = append(out, unknownParts(e, "event")...)
	return append(out, texts(found, eventsMissed, eventsWait, eventsIgnored, eventsRestored)...)
}

func queueLine(e *Evidence, q *Queue) string {
	parts := []string{"depth unknown"}
	switch {
	case q.Traits.AtOnce && q.Subscribers.Known:
		parts[0] = Count(q.Subscribers.Value) + " subscribers"
	case q.Traits.AtOnce:
		parts[0] = "subscribers unknown"
	case q.Depth.Known:
		parts[0] = Count(q.Depth.Value) + " messages wait"
		if q.Capacity > 0 {
			parts[0] += fmt.Sprintf(" (%s of its capacity)", percent(q.Depth.Value, float64(q.Capacity)))
		}
	}
	if !q.Up {
		parts = append(parts, "not all of it could be queried")
	}
	if age, known := oldestWait(q); known && age > 0 {
		parts = append(parts, "the oldest for "+Duration(age))
	}
	if q.EnqueuedRate.Known {
		parts = append(parts, Count(q.EnqueuedRate.Value)+"/s come in")
	}
	if q.ProcessedRate.Known {
		done := Count(q.ProcessedRate.Value) + "/s are processed"
		if q.Target > 0 {
			done += fmt.Sprintf(" (%s of the target)", percent(q.ProcessedRate.Value, q.Target))
		}
		parts = append(parts, done)
	}
	switch drain, known := e.TimeToDrain(q); {
	case !known || drain == 0:
	case math.IsInf(drain, 1) && q.Depth.Value < backlogLeast.Value: // what comes in and goes out
	case math.IsInf(drain, 1):
		parts = append(parts, "it never drains at these rates")
	default:
		parts = append(parts, "it drains in "+Duration(drain))
	}
	return fmt.Sprintf("queue %s (%s): %s", q.Name, q.Kind, strings.Join(parts, ", "))
}

// texts of the findings of these weights, in the order of the weights.
func texts(found []finding, weights ...*Weight) (out lines) {
	for _, row := range weights {
		var own lines
		for _, f := range found {
			if f.weight == row && f.counts() {
				own = append(own, f.text)
			}
		}
		out = append(out, some(own)...)
	}
	return out
}

func across(e *Evidence, found []finding) (out lines) {
	if e.Result == nil {
		out = unknownParts(e, "node", "replication")
	} else {
		up := 0
		for i := range e.Result.Nodes {
			if e.Result.Nodes[i].Up {
				up++
			}
		}
		out.add("%d of %d nodes answer", up, len(e.Result.Nodes))
		out = append(out, some(e.reticent())...)
		out = append(out, unknownParts(e, "replication")...)
	}
	out = append(out, texts(found, nodeUnreached, linkDown, replicationLag, clusterDown, dividedViews, splitBrain, isolatedNode)...)
	if e.Result == nil {
		return out
	}
	var stale lines
	for i := range e.Result.Classes {
		c := &e.Result.Classes[i]
		for k := range c.Nodes {
			if n := &c.Nodes[k]; n.Copies[verdict.Stale] > 0 || n.Copies[verdict.Undecided] > 0 {
				stale.add("%s on %s %s: %d stale (%d overdue), %d undecided, %d fresh", c.Class, n.Layer, n.Node, n.Copies[verdict.Stale],
					n.Overdue, n.Copies[verdict.Undecided], n.Copies[verdict.Fresh])
			}
		}
	}
	out = append(out, some(stale)...)
	return append(out, texts(found, survivorCopies, strayCopies)...)
}

// reticent are the nodes that are read, and refuse to tell of themselves, so that their role, replication and counters are unknown.
func (e *Evidence) reticent() (out lines) {
	for i := range e.Result.Nodes {
		if n := &e.Result.Nodes[i]; n.Up && n.Survey.Refused != nil {
			out.add("%s %s is read, and does not tell of itself%s", n.Layer, n.Name, because(n.Survey.Refused))
		}
	}
	return out
}

func ttls(e *Evidence) (out lines) {
	if e.Result == nil || len(e.Result.Classes) == 0 {
		return unknownParts(e, "canary")
	}
	immortal, over, missing := 0, 0, 0
	var suppressed [consistency.NumReasons]int
	var skews lines
	for i := range e.Result.Classes {
		c := &e.Result.Classes[i]
		for k := range c.Nodes {
			n := &c.Nodes[k]
			immortal, over, missing = immortal+n.Immortal, over+n.OverLimit, missing+n.Copies[verdict.Missing]
			for r := range n.Suppressed {
				suppressed[r] += n.Suppressed[r]
			}
		}
		for _, l := range c.Layers {
			if l.TTLKnown {
				skews.add("%s in %s: the TTLs of one key's copies are up to %s apart", c.Class, l.Layer, Duration(l.TTLSkew))
			}
		}
	}
	out.add("%d copies without expiry, %d with more than their layer's TTL", immortal, over)
	known := ""
	for r, n := range suppressed {
		if n > 0 {
			known += fmt.Sprintf(", %d by %s", n, consistency.Reason(r))
		}
	}
	out.add("%d copies are missing%s", missing, known)
	return append(out, some(skews)...)
}

func versionLines(e *Evidence, found []finding) (out lines) {
	out = unknownParts(e, "app_version")
	for _, a := range e.Apps {
		versions := byVersion(a)
		if len(versions) == 1 {
			out.add("application %s: %s", a.Name, whoHas(versions))
		}
	}
	out = append(out, texts(found, appVersionsDiffer, appUnreached, versionsExplain, versionConflicts)...)
	if e.Result != nil {
		for i := range e.Result.Classes {
			if c := &e.Result.Classes[i]; c.OriginBehind > 0 {
				out.add("%s: the origin is behind the caches on %d keys", c.Class, c.OriginBehind)
			}
		}
	}
	out = append(out, unknownParts(e, "config_drift")...)
	return append(out, texts(found, settingsDiffer, serversDiffer)...)
}

func impact(e *Evidence) (out lines) {
	if e.Result == nil || len(e.Result.Classes) == 0 {
		return unknownParts(e, "canary")
	}
	for i := range e.Result.Classes {
		c := &e.Result.Classes[i]
		var layers []string
		byLayer := map[string]*copyCount{}
		for k := range c.Nodes {
			n := &c.Nodes[k]
			if byLayer[n.Layer] == nil {
				byLayer[n.Layer], layers = &copyCount{}, append(layers, n.Layer)
			}
			byLayer[n.Layer].add(n)
		}
		for _, l := range layers {
			out.add("%s in %s: %s", c.Class, l, byLayer[l])
		}
	}
	return out
}

func rootCause(e *Evidence, w *weighing) (out lines) {
	if w == nil {
		out.add("unknown: nothing could be sampled, so nothing is known of any cause")
		return append(out, why(e)...)
	}
	none := true
	for _, c := range Causes {
		if !stands(w.score[c]) {
			continue
		}
		none = false
		out.add("%s stands at %.2f:", c, w.score[c])
		out = append(out, some(w.texts(c))...)
	}
	if none {
		if len(e.unlearned()) > 0 {
			out.add("nothing that was learned points to a cause, and not all was learned")
		} else {
			out.add("nothing points to a cause")
		}
		for _, c := range Causes {
			out = append(out, some(w.texts(c))...)
		}
	}
	for _, row := range Weights {
		if reason := w.muted[row]; reason != "" && len(texts(w.found, row)) > 0 {
			out.add("%s does not count: %s", row.Name, reason)
		}
		explained := map[Cause]lines{}
		for _, f := range w.found {
			if f.weight == row && f.explained != "" {
				explained[f.explained] = append(explained[f.explained], f.subject)
			}
		}
		for _, c := range Causes {
			if subjects := explained[c]; len(subjects) > 0 {
				out.add("%s of %s does not count: %s stands, and is about the same copies", row.Name, list(subjects), c)
			}
		}
	}
	for _, text := range some(e.unlearned()) {
		out.add("not learned: %s", text)
	}
	return append(out, why(e)...)
}

// why lists what is unknown, except what the configuration leaves out.
func why(e *Evidence) (out lines) {
	for _, u := range e.Unknown {
		if u.Why != NotConfigured {
			out.add("unknown, and without weight: %s (%s)", u.Part, u.Why)
		}
	}
	return out
}

// texts of a cause's findings, the heaviest first, each with its weight.
func (w *weighing) texts(c Cause) (out lines) {
	own := slices.Clone(Weights)
	own = slices.DeleteFunc(own, func(row *Weight) bool { return row.Cause != c || w.part[row] == 0 })
	slices.SortStableFunc(own, func(a, b *Weight) int {
		switch {
		case w.part[a] > w.part[b]:
			return -1
		case w.part[a] < w.part[b]:
			return 1
		}
		return 0
	})
	for _, row := range own {
		counted := slices.DeleteFunc(slices.Clone(w.found), func(f finding) bool { return f.explained != "" })
		for _, text := range texts(counted, row) {
			out.add("%s (%s %.2f)", text, row.Name, w.part[row])
		}
	}
	return out
}
