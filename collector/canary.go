package collector

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cacheinv/cacheinv_exporter/internal/consistency"
	"github.com/cacheinv/cacheinv_exporter/internal/verdict"
)

var (
	canaryKeys = gauge("canary_keys",
		"Keys with a present copy, by what decided which of their copies are right.", "class", "reference")
	canaryConvicted = gauge("canary_convicted_copies",
		"Stale copies, by what convicted them.", "class", "layer", "node", "reference")
	canarySampledKeys = gauge("canary_sampled_keys",
		"Keys that were read because they match the class's pattern.", "class")
	canaryCopies = gauge("canary_copies",
		"Copies now in each state.", "class", "layer", "node", "state")
	canaryReads = counter("canary_reads_total",
		"Copies read since start, by the state that they were in.", "class", "layer", "node", "state")
	canaryOverdue = gauge("canary_overdue_copies",
		"Copies that have been stale for longer than the layer's max_staleness.", "class", "layer", "node")
	canaryOverdueReads = counter("canary_overdue_reads_total",
		"Copies read since start that had been stale for longer than the layer's max_staleness.", "class", "layer", "node")
	canaryStale = gauge("canary_stale_copies",
		"Copies that have been stale for at least the window; windows are cumulative, never to be summed.",
		"class", "layer", "node", "window")
	canaryDivergent = gauge("canary_divergent_keys",
		"Keys whose present copies have differed for at least the window; windows are cumulative, never to be summed.",
		"class", "window")
	canaryOldestStale = gauge("canary_oldest_stale_seconds",
		"For how long the copy that has been stale longest has been so, in seconds; 0 without a stale copy.", "class", "layer", "node")
	canaryLagVersions = gauge("canary_version_lag_versions",
		"How far the furthest copy is behind its reference, in versions.", "class", "layer", "node")
	canaryLagSeconds = gauge("canary_version_lag_seconds",
		"How far the furthest copy is behind its reference, in seconds between their versions.", "class", "layer", "node")
	canaryConflicts = gauge("canary_version_conflict_keys",
		"Keys with different content under the same highest version.", "class")
	canaryRegressions = counter("canary_version_regressions_total",
		"Times that a key's version went down on a node while no other rose, since start.", "class")
	canaryOriginBehind = gauge("canary_origin_behind_keys",
		"Keys of which a copy has a higher version than the origin's answer.", "class")
	canaryTTLSkew = gauge("canary_ttl_skew_seconds",
		"Largest spread of remaining TTL between the copies of one key in the layer, in seconds.", "class", "layer")
	canaryImmortal = gauge("canary_immortal_copies",
		"Copies without expiry in a layer that has a TTL.", "class", "layer", "node")
	canaryOverLimit = gauge("canary_ttl_over_limit_copies",
		"Copies that have more left to live than the layer's TTL.", "class", "layer", "node")
	canarySurvivors = gauge("canary_survivor_copies",
		"Copies that another node of the layer has lost without a known cause: a delete that did not reach everyone.", "class", "layer", "node")
	canaryStrays = gauge("canary_stray_copies",
		"Copies of keys that another server of the pool should hold; they are compared with nothing.", "class", "layer", "node")
	canaryUnversioned = gauge("canary_unversioned_copies",
		"Present copies in which the configured version is not there or can't be read.", "class", "layer", "node")
	canarySuppressed = gauge("canary_suppressed_copies",
		"Missing copies with a known cause; they are part of the missing ones.", "class", "layer", "node", "reason")
	canaryKeyConsistent = gauge("canary_key_consistent",
		"Whether a key that the configuration names has copies that agree (1) or any that is stale or undecided (0).", "class", "key")
	originRequests = counter("origin_requests_total",
		"Requests to the class's origin since start, by result.", "class", "result")
)

// windowLabels of consistency.Windows.
var windowLabels = func() (labels [len(consistency.Windows)]string) {
	for i, w := range consistency.Windows {
		labels[i] = fmt.Sprintf("%ds", int(w.Seconds()))
		if w >= time.Minute {
			labels[i] = fmt.Sprintf("%dm", int(w.Minutes()))
		}
	}
	return labels
}()

const timeToConsistencyHelp = "How long copies were stale, in seconds, observed when their episodes ended."

func init() {
	declared = append(declared, Family{
		Name: "cacheinv_canary_time_to_consistency_seconds", Type: "histogram", Labels: []string{"class", "layer"},
		Help: timeToConsistencyHelp,
	})
}

// newTimeToConsistency is kept for the life of the process: its counts never go back.
func newTimeToConsistency() *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "cacheinv_canary_time_to_consistency_seconds", Help: timeToConsistencyHelp,
		Buckets:                         []float64{1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600, 21600},
		NativeHistogramBucketFactor:     1.1,
		NativeHistogramMaxBucketNumber:  160,
		NativeHistogramMinResetDuration: time.Hour,
	}, []string{"class", "layer"})
}

// canaryName is the signal's: without it no keys are read.
const canaryName = "canary"

// newCanarySignal counts ended episodes over all configurations.
func newCanarySignal(Options) Opener {
	episodes := newTimeToConsistency()
	return func(*Setup) (Collector, error) { return canaryCollector{episodes: episodes}, nil }
}

// canaryCollector reports which copies of the canaries are wrong.
type canaryCollector struct{ episodes *prometheus.HistogramVec }

// Update implements Collector.
func (c canaryCollector) Update(_ context.Context, s *Sampling, ch chan<- prometheus.Metric) error {
	r := s.Consistency()
	var errs []error
	for i := range r.Classes {
		class := &r.Classes[i]
		c.sendClass(class, ch)
		for n := range class.Nodes {
			sendClassNode(class, &class.Nodes[n], ch)
		}
		for n := range class.Layers {
			c.sendClassLayer(class, &class.Layers[n], ch)
		}
		if class.Err != nil {
			errs = append(errs, fmt.Errorf("class %s: %w", class.Class, class.Err))
		}
	}
	return errors.Join(errs...)
}

func (c canaryCollector) sendClass(class *consistency.ClassResult, ch chan<- prometheus.Metric) {
	name := class.Class
	for ref := verdict.ByOrigin; ref <= verdict.ByNone; ref++ {
		canaryKeys.send(ch, float64(class.Keys[ref]), name, ref.String())
	}
	canarySampledKeys.send(ch, float64(class.SampledKeys), name)
	read := slices.ContainsFunc(class.Nodes, func(n consistency.ClassNode) bool { return n.Read })
	if read {
		for w, label := range windowLabels {
			canaryDivergent.send(ch, float64(class.Divergent[w]), name, label)
		}
	}
	if class.HasVersion {
		if read {
			canaryConflicts.send(ch, float64(class.VersionConflicts), name)
		}
		canaryRegressions.send(ch, float64(class.VersionRegressions), name)
	}
	if class.HasOrigin {
		canaryOriginBehind.send(ch, float64(class.OriginBehind), name)
		for _, result := range []string{"ok", "not_found", "error"} {
			originRequests.send(ch, float64(class.OriginRequests[result]), name, result)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(class.KeyConsistent)) {
		canaryKeyConsistent.send(ch, number(class.KeyConsistent[key]), name, key)
	}
}

// sendClassNode gives a class on one node. Where nothing was read there, only how many copies could not be is known.
func sendClassNode(class *consistency.ClassResult, n *consistency.ClassNode, ch chan<- prometheus.Metric) {
	name := class.Class
	for s := range verdict.NumStates {
		canaryCopies.send(ch, float64(n.Copies[s]), name, n.Layer, n.Node, s.String())
		canaryReads.send(ch, float64(n.Reads[s]), name, n.Layer, n.Node, s.String())
	}
	for reason := range consistency.NumReasons {
		canarySuppressed.send(ch, float64(n.Suppressed[reason]), name, n.Layer, n.Node, reason.String())
	}
	if n.Read || n.StraysRead {
		canaryStrays.send(ch, float64(n.Strays), name, n.Layer, n.Node)
	}
	if n.TTLsRead {
		canaryImmortal.send(ch, float64(n.Immortal), name, n.Layer, n.Node)
		canaryOverLimit.send(ch, float64(n.OverLimit), name, n.Layer, n.Node)
	}
	if !n.Read {
		return
	}
	canarySurvivors.send(ch, float64(n.Survivors), name, n.Layer, n.Node)
	for ref := range verdict.NumReferences {
		if ref != verdict.ByNone { // convicts nobody
			canaryConvicted.send(ch, float64(n.Convicted[ref]), name, n.Layer, n.Node, ref.String())
		}
	}
	canaryOverdue.send(ch, float64(n.Overdue), name, n.Layer, n.Node)
	canaryOverdueReads.send(ch, float64(n.OverdueReads), name, n.Layer, n.Node)
	for w, label := range windowLabels {
		canaryStale.send(ch, float64(n.StaleWindows[w]), name, n.Layer, n.Node, label)
	}
	canaryOldestStale.send(ch, n.OldestStale.Seconds(), name, n.Layer, n.Node)
	if class.HasVersion {
		canaryUnversioned.send(ch, float64(n.Unversioned), name, n.Layer, n.Node)
		switch class.VersionKind {
		case "integer":
			canaryLagVersions.send(ch, n.VersionLag, name, n.Layer, n.Node)
		case "timestamp", "timestamp_ms", "rfc3339":
			canaryLagSeconds.send(ch, n.VersionLag, name, n.Layer, n.Node)
		}
	}
}

func (c canaryCollector) sendClassLayer(class *consistency.ClassResult, l *consistency.ClassLayer, ch chan<- prometheus.Metric) {
	if l.TTLKnown {
		canaryTTLSkew.send(ch, l.TTLSkew, class.Class, l.Layer)
	}
	episodes := c.episodes.WithLabelValues(class.Class, l.Layer)
	for _, seconds := range l.EndedEpisodes {
		episodes.Observe(seconds)
	}
	ch <- episodes.(prometheus.Metric)
}
