package collector

import (
	"context"
	"errors"
	"fmt"
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
	probesSent = counter("invalidation_probes_total",
		"Invalidation probes whose message was published while the node held the old version, counted once it is known what came of them "+
			"(it went, it was lost, or the node could not be asked any more); those that a reload or the exporter's end cut off are not.",
		"probe", "layer", "node")
	probeFailures = counter("invalidation_probe_failures_total",
		"Invalidation probes that failed: lost (the node still served the old version after the timeout), publish (the message could not "+
			"be published), setup (the node could not be written, or not be asked any more).", "probe", "layer", "node", "reason")
)

const probeDurationHelp = "Time from an invalidation's publishing until the node no longer served the old version, in seconds; " +
	"a lost one counts as twice the larger of its timeout and the top bucket."

func init() {
	families = append(families, Family{
		Name: "cacheinv_invalidation_probe_duration_seconds", Type: "histogram", Labels: []string{"probe", "layer", "node"},
		Help: probeDurationHelp,
	})
}

// probeBuckets in seconds.
var probeBuckets = []float64{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60}

// probeReasons are all reasons of failures.
var probeReasons = []roundtrip.Reason{roundtrip.Lost, roundtrip.Publish, roundtrip.Setup}

// probeSeries names what is counted by itself.
type probeSeries struct{ probe, layer, node string }

// probeCount is of one probe on one node.
type probeCount struct {
	sent, gone float64
	failures   map[roundtrip.Reason]float64
	duration   prometheus.Histogram
	// told is what the evidence was told already.
	told diagnosis.RoundTrip
	// known: the node is watched now. failing: its last probe could not be published or set up.
	known, failing bool
	// left is since when it is not watched.
	left time.Time
}

// InvalidationProbes counts what comes of the probes since the exporter's start. It outlives configurations.
type InvalidationProbes struct {
	mu sync.Mutex
	by map[probeSeries]*probeCount
}

// NewInvalidationProbes at 0.
func NewInvalidationProbes() *InvalidationProbes {
	return &InvalidationProbes{by: map[probeSeries]*probeCount{}}
}

// at gives the count of a series; the caller holds mu.
func (p *InvalidationProbes) at(probe string, node probes.Identity) *probeCount {
	s := probeSeries{probe, node.Layer, node.Name}
	c := p.by[s]
	if c == nil {
		c = &probeCount{failures: map[roundtrip.Reason]float64{}, duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "cacheinv_invalidation_probe_duration_seconds", Help: probeDurationHelp,
			ConstLabels:                     prometheus.Labels{"probe": probe, "layer": node.Layer, "node": strings.ToValidUTF8(node.Name, "\uFFFD")},
			Buckets:                         probeBuckets,
			NativeHistogramBucketFactor:     1.1,
			NativeHistogramMaxBucketNumber:  160,
			NativeHistogramMinResetDuration: time.Hour,
		})}
		p.by[s] = c
	}
	return c
}

// probesKept is how long what was counted of a node that is no longer watched is kept, should it come back.
const probesKept = time.Hour

// Nodes implements roundtrip.Observer. The series of a node that is no longer watched are not told.
func (p *InvalidationProbes) Nodes(probe string, nodes []probes.Identity, all bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, n := range nodes {
		p.at(probe, n).known = true
	}
	now := time.Now()
	for s, c := range p.by {
		there := slices.ContainsFunc(nodes, func(n probes.Identity) bool { return n.Layer == s.layer && n.Name == s.node })
		switch {
		case s.probe != probe || there || !all:
		case c.known:
			c.known, c.left = false, now
		case now.Sub(c.left) > probesKept:
			delete(p.by, s)
		}
	}
}

// Sent implements roundtrip.Observer.
func (p *InvalidationProbes) Sent(probe string, node probes.Identity) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at(probe, node).sent++
}

// Gone implements roundtrip.Observer.
func (p *InvalidationProbes) Gone(probe string, node probes.Identity, after time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.at(probe, node)
	c.gone++
	c.failing = false
	c.duration.Observe(after.Seconds())
}

// Failed implements roundtrip.Observer. A lost one lies beyond all buckets, so that no quantile looks better for it.
func (p *InvalidationProbes) Failed(probe string, node probes.Identity, reason roundtrip.Reason, timeout time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.at(probe, node)
	c.failures[reason]++
	c.failing = reason != roundtrip.Lost
	if reason == roundtrip.Lost {
		c.duration.Observe(2 * max(timeout.Seconds(), probeBuckets[len(probeBuckets)-1]))
	}
}

// keep only the series of these probes.
func (p *InvalidationProbes) keep(names map[string]bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for s := range p.by {
		if !names[s.probe] {
			delete(p.by, s)
		}
	}
}

// invalidationProbeCollector tells what the probes that run in the background found.
type invalidationProbeCollector struct {
	counts *InvalidationProbes
	names  map[string]bool
	ended  *[]diagnosis.RoundTrip
}

func newInvalidationProbeCollector(names []string, counts *InvalidationProbes) invalidationProbeCollector {
	c := invalidationProbeCollector{counts: counts, names: map[string]bool{}, ended: new([]diagnosis.RoundTrip)}
	for _, n := range names {
		c.names[n] = true
	}
	return c
}

func (invalidationProbeCollector) Name() string { return "invalidation_probe" }

// Update sends the counts. An error names the nodes whose last probe could not be published or set up; a lost one is
// no failure to probe.
func (c invalidationProbeCollector) Update(_ context.Context, ch chan<- prometheus.Metric) error {
	c.counts.keep(c.names)
	c.counts.mu.Lock()
	defer c.counts.mu.Unlock()
	var errs []error
	*c.ended = nil
	for s, n := range c.counts.by {
		if !n.known {
			continue
		}
		probesSent.send(ch, n.sent, s.probe, s.layer, s.node)
		for _, reason := range probeReasons {
			probeFailures.send(ch, n.failures[reason], s.probe, s.layer, s.node, string(reason))
		}
		ch <- still(n.duration)
		lost, failed := n.failures[roundtrip.Lost], n.failures[roundtrip.Publish]+n.failures[roundtrip.Setup]
		ended := diagnosis.RoundTrip{
			Name: s.probe, Layer: s.layer, Node: s.node,
			Sent: n.gone + lost - n.told.Sent, Lost: lost - n.told.Lost, Failed: failed - n.told.Failed,
		}
		n.told.Sent, n.told.Lost, n.told.Failed = n.gone+lost, lost, failed
		*c.ended = append(*c.ended, ended)
		if n.failing {
			errs = append(errs, fmt.Errorf("probe %s could not be published or set up on node %s", s.probe, s.node))
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

// testify implements witness.
func (c invalidationProbeCollector) testify(e *diagnosis.Evidence) { e.RoundTrips = *c.ended }

// snapshotMetric is a metric as it was when it was taken: a sampling's answer may be given again.
type snapshotMetric struct {
	desc *prometheus.Desc
	at   dto.Metric
}

// still takes a metric as it is now.
func still(m prometheus.Metric) prometheus.Metric {
	s := &snapshotMetric{desc: m.Desc()}
	if err := m.Write(&s.at); err != nil {
		return prometheus.NewInvalidMetric(s.desc, err)
	}
	return s
}

// Desc implements prometheus.Metric.
func (s *snapshotMetric) Desc() *prometheus.Desc { return s.desc }

// Write implements prometheus.Metric.
func (s *snapshotMetric) Write(out *dto.Metric) error {
	out.Label, out.Histogram = s.at.Label, s.at.Histogram // nobody changes them
	return nil
}
