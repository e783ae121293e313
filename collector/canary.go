package collector

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

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

// Pairs of the last labels of what is given of each class on each node, which are many series: each pair is there once.
var (
	statePairs     = constantPairs("state", verdict.NumStates)
	reasonPairs    = constantPairs("reason", consistency.NumReasons)
	referencePairs = constantPairs("reference", verdict.NumReferences)
	windowPairs    = func() (pairs [len(consistency.Windows)]*dto.LabelPair) {
		name := "window"
		for i := range windowLabels {
			pairs[i] = &dto.LabelPair{Name: &name, Value: &windowLabels[i]}
		}
		return pairs
	}()
)

const timeToConsistencyHelp = "How long copies were stale, in seconds, observed when their episodes ended."

func init() {
	declared = append(declared, Family{
		Name: "cacheinv_canary_time_to_consistency_seconds", Type: "histogram", Labels: []string{"class", "layer"},
		Help: timeToConsistencyHelp,
	})
}

// newTimeToConsistency is kept for the life of the process: its counts never go back.
func newTimeToConsistency() *prometheus.HistogramVec {
	buckets := []float64{1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600, 21600}
	return prometheus.NewHistogramVec(histogramOf("cacheinv_canary_time_to_consistency_seconds", timeToConsistencyHelp, buckets), []string{"class", "layer"})
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
	labels := canaryStrays.label(class.Class, n.Layer, n.Node)
	for s := range verdict.NumStates {
		ofState := further(labels, statePairs[s])
		canaryCopies.sendWith(ch, float64(n.Copies[s]), ofState)
		canaryReads.sendWith(ch, float64(n.Reads[s]), ofState)
	}
	for reason := range consistency.NumReasons {
		canarySuppressed.sendWith(ch, float64(n.Suppressed[reason]), further(labels, reasonPairs[reason]))
	}
	if n.Read || n.StraysRead {
		canaryStrays.sendWith(ch, float64(n.Strays), labels)
	}
	if n.TTLsRead {
		canaryImmortal.sendWith(ch, float64(n.Immortal), labels)
		canaryOverLimit.sendWith(ch, float64(n.OverLimit), labels)
	}
	if !n.Read {
		return
	}
	canarySurvivors.sendWith(ch, float64(n.Survivors), labels)
	for ref := range verdict.NumReferences {
		if ref != verdict.ByNone { // convicts nobody
			canaryConvicted.sendWith(ch, float64(n.Convicted[ref]), further(labels, referencePairs[ref]))
		}
	}
	canaryOverdue.sendWith(ch, float64(n.Overdue), labels)
	canaryOverdueReads.sendWith(ch, float64(n.OverdueReads), labels)
	for w, pair := range windowPairs {
		canaryStale.sendWith(ch, float64(n.StaleWindows[w]), further(labels, pair))
	}
	canaryOldestStale.sendWith(ch, n.OldestStale.Seconds(), labels)
	if class.HasVersion {
		canaryUnversioned.sendWith(ch, float64(n.Unversioned), labels)
		switch class.VersionKind {
		case "integer":
			canaryLagVersions.sendWith(ch, n.VersionLag, labels)
		case "timestamp", "timestamp_ms", "rfc3339":
			canaryLagSeconds.sendWith(ch, n.VersionLag, labels)
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
