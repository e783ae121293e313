package collector

import (
	"context"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/consistency"
	"github.com/cacheinv/cacheinv_exporter/internal/diagnosis"
	"github.com/cacheinv/cacheinv_exporter/internal/events"
)

var (
	eventChecks = counter("event_checks_total",
		"Invalidations looked at since start, at each window, by the result of their worst copy: good are gone, rewritten and current, "+
			"bad are survived, restored and waiting.", "class", "window", "result")
	eventCopyChecks = counter("event_copy_checks_total",
		"Copies of invalidated keys looked at since start, at each window, by result.", "class", "layer", "node", "window", "result")
	eventsSeen = counter("events_seen_total",
		"Messages read since start of queues from which classes take keys.", "queue")
	eventsSkipped = counter("events_skipped_total",
		"Messages that were seen and left out since start: budget (there was no room for them), no_class (their keys are no class's), "+
			"too_old (10 minutes or more when they were first seen), unreadable (they do not say which keys they are about).", "queue", "reason")
	eventWithin = gauge("event_within_seconds",
		"Age at which an invalidation is to have taken effect everywhere, as configured, in seconds.", "class")
	eventPending = gauge("event_pending",
		"Invalidations that are still to be looked at.", "class")
	eventOldest = gauge("event_oldest_ineffective_seconds",
		"Age of the oldest invalidation that was without effect on some node when it was last looked at, in seconds; 0 without one.", "class")
)

const eventEffectName, eventEffectHelp = "cacheinv_event_effect_seconds",
	"Time from an invalidation until all copies of the layer were first seen without what it invalidated, in seconds."

func init() {
	declared = append(declared, Family{Name: eventEffectName, Type: "histogram", Labels: []string{"class", "layer"}, Help: eventEffectHelp})
}

// newEventEffect is kept for the life of the process: its counts never go back.
func newEventEffect() *prometheus.HistogramVec {
	buckets := []float64{1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600}
	return prometheus.NewHistogramVec(histogramOf(eventEffectName, eventEffectHelp, buckets), []string{"class", "layer"})
}

// eventName is the signal's: without it no queue is followed.
const eventName = "event"

// newEventSignal counts over all configurations. Without event checks in the configuration there is nothing to collect.
func newEventSignal(opt Options) Opener {
	effect := newEventEffect()
	return func(s *Setup) (Collector, error) {
		cfg := opt.sampled(s.Config)
		if !hasEvents(cfg) {
			return nil, nil
		}
		return &eventCollector{cfg: cfg, tracker: s.events, effect: effect}, nil
	}
}

func hasEvents(cfg *config.Config) bool { return len(cfg.EventQueues()) > 0 }

// eventSeries names the looks at a class's copies on a node at a window.
type eventSeries struct{ class, layer, node, window string }

// eventCollector reports whether invalidations take effect.
type eventCollector struct {
	cfg     *config.Config
	tracker *events.Tracker
	effect  *prometheus.HistogramVec
	// reported is what was counted up to the last Update at the promise's window; nil: there was none.
	reported map[eventSeries]events.NodeReport
	// evidence of the last Update.
	evidence []diagnosis.Events
}

// Update implements Collector. The looks are the canaries' sampling.
func (c *eventCollector) Update(_ context.Context, s *Sampling, ch chan<- prometheus.Metric) error {
	r := s.Consistency()
	c.evidence = nil
	reported := map[eventSeries]events.NodeReport{}
	for queue := range c.cfg.EventQueues() {
		c.sendQueue(queue, ch)
	}
	for i := range c.cfg.Canaries {
		if k := &c.cfg.Canaries[i]; k.Events != nil {
			c.sendClass(k, r.Nodes, reported, ch)
		}
	}
	c.reported = reported
	return nil
}

// AddEvidence implements Evidencer.
func (c *eventCollector) AddEvidence(e *diagnosis.Evidence) { e.Events = c.evidence }

func (c *eventCollector) sendQueue(queue string, ch chan<- prometheus.Metric) {
	q, ok := c.tracker.QueueReport(queue)
	if !ok {
		return
	}
	eventsSeen.send(ch, float64(q.Seen), queue)
	for reason, n := range q.Skipped {
		eventsSkipped.send(ch, float64(n), queue, events.SkipReason(reason).String())
	}
}

func (c *eventCollector) sendClass(k *config.Class, nodes []consistency.NodeResult, reported map[eventSeries]events.NodeReport, ch chan<- prometheus.Metric) {
	report, ok := c.tracker.Report(k.Name)
	if !ok {
		return
	}
	eventWithin.send(ch, report.Within.Seconds(), k.Name)
	eventPending.send(ch, float64(report.Pending), k.Name)
	eventOldest.send(ch, report.OldestIneffective.Seconds(), k.Name)
	evidence := diagnosis.Events{Class: k.Name, Within: report.Within, OldestIneffective: report.OldestIneffective, Bad: report.Bad}
	for i := range report.Windows {
		w := &report.Windows[i]
		for result, n := range w.Events {
			eventChecks.send(ch, float64(n), k.Name, w.Label, events.Result(result).String())
		}
		for _, n := range withNodes(w, k, nodes) {
			for result, count := range n.Results {
				eventCopyChecks.send(ch, float64(count), k.Name, n.Layer, n.Node, w.Label, events.Result(result).String())
			}
			at := eventSeries{k.Name, n.Layer, n.Node, w.Label}
			reported[at] = n
			if c.reported == nil { // all counts are of before
				continue
			}
			checks := newChecks(n, c.reported[at])
			if w.Age != report.Within {
				checks = diagnosis.EventNode{Layer: n.Layer, Node: n.Node, Restored: checks.Restored}
			}
			evidence.Nodes = withChecks(evidence.Nodes, checks)
		}
	}
	c.evidence = append(c.evidence, evidence)
	for _, e := range c.tracker.Effects(k.Name) {
		observe(c.effect.WithLabelValues(k.Name, e.Layer), e)
	}
	for _, l := range k.Layers {
		if l.MaxStaleness < k.Events.Windows[len(k.Events.Windows)-1].Age {
			ch <- frozen(c.effect.WithLabelValues(k.Name, l.Name).(prometheus.Metric))
		}
	}
}

func observe(h prometheus.Observer, e events.Effect) {
	if withExemplar, ok := h.(prometheus.ExemplarObserver); ok && e.TraceID != "" {
		withExemplar.ObserveWithExemplar(e.After.Seconds(), prometheus.Labels{"trace_id": e.TraceID})
		return
	}
	h.Observe(e.After.Seconds())
}

// withNodes are the counts of a window by node, with those sampled nodes at 0 on which nothing was looked at yet: a count that begins above 0
// has no increase.
func withNodes(w *events.WindowReport, k *config.Class, sampled []consistency.NodeResult) []events.NodeReport {
	out := slices.Clone(w.Copies)
	counted := map[[2]string]bool{}
	for _, n := range w.Copies {
		counted[[2]string{n.Layer, n.Node}] = true
	}
	for i := range sampled {
		n := &sampled[i]
		l := slices.IndexFunc(k.Layers, func(l config.ClassLayer) bool { return l.Name == n.Layer })
		left := n.Survey.Left || n.Survey.CalledDown // it is not looked at
		if l >= 0 && !left && k.Layers[l].MaxStaleness < w.Age && !counted[[2]string{n.Layer, n.Name}] {
			out = append(out, events.NodeReport{Layer: n.Layer, Node: n.Name})
		}
	}
	return out
}

// withChecks adds checks of a node at another window. An old value may come back later than the promise; what was restored at several
// windows is the most at one of them.
func withChecks(all []diagnosis.EventNode, more diagnosis.EventNode) []diagnosis.EventNode {
	for i := range all {
		if n := &all[i]; n.Layer == more.Layer && n.Node == more.Node {
			n.Good, n.Survived, n.Waiting = n.Good+more.Good, n.Survived+more.Survived, n.Waiting+more.Waiting
			n.Restored = max(n.Restored, more.Restored)
			return all
		}
	}
	return append(all, more)
}

// newChecks are those since the last time; a count that went back began anew.
func newChecks(now, before events.NodeReport) diagnosis.EventNode {
	since := func(r events.Result) float64 {
		if now.Results[r] < before.Results[r] {
			return float64(now.Results[r])
		}
		return float64(now.Results[r] - before.Results[r])
	}
	out := diagnosis.EventNode{
		Layer: now.Layer, Node: now.Node, Survived: since(events.Survived), Restored: since(events.Restored), Waiting: since(events.Waiting),
	}
	for r := range events.NumResults {
		if r.Good() {
			out.Good += since(r)
		}
	}
	return out
}
