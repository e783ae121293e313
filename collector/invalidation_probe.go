package collector

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/cacheinv/cacheinv_exporter/internal/diagnosis"
	"github.com/cacheinv/cacheinv_exporter/internal/roundtrip"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

var (
	roundTripsSent = counter("invalidation_probes_total",
		"Invalidation probes whose message was published while the node held the old version, counted once it is known what came of them "+
			"(it went, it was lost, or the node could not be asked any more); those that a reload or the exporter's end cut off are not.",
		"probe", "layer", "node")
	roundTripFailures = counter("invalidation_probe_failures_total",
		"Invalidation probes that failed: lost (the node still served the old version after the timeout), publish (the message could not "+
			"be published), setup (the node could not be written, or not be asked any more).", "probe", "layer", "node", "reason")
)

const roundTripHelp = "Time from an invalidation's publishing until the node no longer served the old version, in seconds; " +
	"a lost one counts as twice the larger of its timeout and the top bucket."

func init() {
	declared = append(declared, Family{
		Name: "cacheinv_invalidation_probe_duration_seconds", Type: "histogram", Labels: []string{"probe", "layer", "node"},
		Help: roundTripHelp,
	})
}

// roundTripBuckets in seconds.
var roundTripBuckets = []float64{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60}

// roundTripReasons are all reasons of failures.
var roundTripReasons = []roundtrip.Reason{roundtrip.Lost, roundtrip.Publish, roundtrip.Setup}

// roundTripSeries names what is counted by itself.
type roundTripSeries struct{ probe, layer, node string }

// roundTripCount is of one probe on one node.
type roundTripCount struct {
	sent, gone float64
	failures   map[roundtrip.Reason]float64
	// refused are failures in which a server answered, and refused; refusal is why it did at last, nil where it did not.
	refused  float64
	refusal  error
	duration prometheus.Histogram
	// reported is what was evidence already.
	reported diagnosis.RoundTrip
	// known: the node is watched now. failing: its last probe could not be published or set up.
	known, failing bool
	// left is since when it is not watched.
	left time.Time
}

// roundTripCounters count what comes of the probes since the exporter's start. They outlive configurations.
type roundTripCounters struct {
	mu sync.Mutex
	by map[roundTripSeries]*roundTripCount
}

// newRoundTripCounters at 0.
func newRoundTripCounters() *roundTripCounters {
	return &roundTripCounters{by: map[roundTripSeries]*roundTripCount{}}
}

// at gives the count of a series; the caller holds mu.
func (p *roundTripCounters) at(probe string, node probes.Identity) *roundTripCount {
	s := roundTripSeries{probe, node.Layer, node.Name}
	c := p.by[s]
	if c == nil {
		duration := histogramOf("cacheinv_invalidation_probe_duration_seconds", roundTripHelp, roundTripBuckets)
		duration.ConstLabels = prometheus.Labels{"probe": probe, "layer": node.Layer, "node": strings.ToValidUTF8(node.Name, "\uFFFD")}
		c = &roundTripCount{failures: map[roundtrip.Reason]float64{}, duration: prometheus.NewHistogram(duration)}
		p.by[s] = c
	}
	return c
}

// roundTripsKept is how long what was counted of a node that is no longer watched is kept, should it come back.
const roundTripsKept = time.Hour

// Nodes implements roundtrip.Observer. A node that is no longer watched has no series.
func (p *roundTripCounters) Nodes(probe string, nodes []probes.Identity, all bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, n := range nodes {
		p.at(probe, n).known = true
	}
	if !all {
		return
	}
	there := make(map[roundTripSeries]bool, len(nodes))
	for _, n := range nodes {
		there[roundTripSeries{probe, n.Layer, n.Name}] = true
	}
	now := time.Now()
	var left []time.Time
	for s, c := range p.by {
		if s.probe != probe || there[s] {
			continue
		}
		if c.known {
			c.known, c.left = false, now
		}
		left = append(left, c.left)
	}
	before := probes.ForgottenBefore(left)
	maps.DeleteFunc(p.by, func(s roundTripSeries, c *roundTripCount) bool {
		return s.probe == probe && !there[s] && (now.Sub(c.left) > roundTripsKept || c.left.Before(before))
	})
}

// Sent implements roundtrip.Observer.
func (p *roundTripCounters) Sent(probe string, node probes.Identity) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at(probe, node).sent++
}

// Gone implements roundtrip.Observer.
func (p *roundTripCounters) Gone(probe string, node probes.Identity, after time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.at(probe, node)
	c.gone++
	c.failing, c.refusal = false, nil
	c.duration.Observe(after.Seconds())
}

// Failed implements roundtrip.Observer. A lost one lies beyond all buckets, so that no quantile looks better for it.
func (p *roundTripCounters) Failed(probe string, node probes.Identity, reason roundtrip.Reason, timeout time.Duration, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.at(probe, node)
	c.failures[reason]++
	if c.refusal = nil; errors.Is(err, probes.ErrRefused) {
		c.refused++
		c.refusal = err
	}
	c.failing = reason != roundtrip.Lost
	if reason == roundtrip.Lost {
		c.duration.Observe(2 * max(timeout.Seconds(), roundTripBuckets[len(roundTripBuckets)-1]))
	}
}

// keep only the series of these probes.
func (p *roundTripCounters) keep(names map[string]bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for s := range p.by {
		if !names[s.probe] {
			delete(p.by, s)
		}
	}
}

// newRoundTripSignal counts over all configurations. Without probes in the configuration there is nothing to collect.
func newRoundTripSignal(Options) Opener {
	counters := newRoundTripCounters()
	return func(s *Setup) (Collector, error) {
		if len(s.Config.RoundTrips) == 0 {
			return nil, nil
		}
		running, err := roundtrip.Start(s.Config, s.Env, counters)
		if err != nil {
			return nil, fmt.Errorf("opening the invalidation probes: %w", err)
		}
		s.OnClose(running.Close)
		var names []string
		for _, p := range s.Config.RoundTrips {
			names = append(names, p.Name)
		}
		return newRoundTripCollector(names, counters), nil
	}
}

// roundTripCollector reports what the probes that run in the background found.
type roundTripCollector struct {
	counts *roundTripCounters
	names  map[string]bool
	// evidence of the last Update: what ended since the one before.
	evidence []diagnosis.RoundTrip
}

func newRoundTripCollector(names []string, counts *roundTripCounters) *roundTripCollector {
	c := &roundTripCollector{counts: counts, names: map[string]bool{}}
	for _, n := range names {
		c.names[n] = true
	}
	return c
}

// Update sends the counts. An error names the nodes whose last probe could not be published or set up; a lost one is
// no failure to probe.
func (c *roundTripCollector) Update(_ context.Context, _ *Sampling, ch chan<- prometheus.Metric) error {
	c.counts.keep(c.names)
	c.counts.mu.Lock()
	defer c.counts.mu.Unlock()
	var errs []error
	c.evidence = nil
	for s, n := range c.counts.by {
		if !n.known {
			continue
		}
		roundTripsSent.send(ch, n.sent, s.probe, s.layer, s.node)
		for _, reason := range roundTripReasons {
			roundTripFailures.send(ch, n.failures[reason], s.probe, s.layer, s.node, string(reason))
		}
		ch <- frozen(n.duration)
		lost, failed := n.failures[roundtrip.Lost], n.failures[roundtrip.Publish]+n.failures[roundtrip.Setup]
		ended := diagnosis.RoundTrip{
			Name: s.probe, Layer: s.layer, Node: s.node,
			Sent: n.gone + lost - n.reported.Sent, Lost: lost - n.reported.Lost, Failed: failed - n.reported.Failed,
			Refused: n.refused - n.reported.Refused, Refusal: n.refusal,
		}
		n.reported.Sent, n.reported.Lost, n.reported.Failed, n.reported.Refused = n.gone+lost, lost, failed, n.refused
		c.evidence = append(c.evidence, ended)
		if n.failing {
			errs = append(errs, fmt.Errorf("probe %s could not be published or set up on node %s", s.probe, s.node))
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

// AddEvidence implements Evidencer.
func (c *roundTripCollector) AddEvidence(e *diagnosis.Evidence) { e.RoundTrips = c.evidence }

// frozenMetric is a metric as it was when it was taken: a sampling's answer may be given again.
type frozenMetric struct {
	desc *prometheus.Desc
	at   dto.Metric
}

// frozen takes a metric as it is now.
func frozen(m prometheus.Metric) prometheus.Metric {
	s := &frozenMetric{desc: m.Desc()}
	if err := m.Write(&s.at); err != nil {
		return prometheus.NewInvalidMetric(s.desc, err)
	}
	return s
}

// Desc implements prometheus.Metric.
func (s *frozenMetric) Desc() *prometheus.Desc { return s.desc }

// Write implements prometheus.Metric.
func (s *frozenMetric) Write(out *dto.Metric) error {
	out.Label, out.Histogram = s.at.Label, s.at.Histogram // nobody changes them
	return nil
}
