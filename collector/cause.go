package collector

import (
	"fmt"
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/diagnosis"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

var causeScore = gauge("cause_score",
	"How strongly the evidence of the last sampling points to each cause of stale data, from 0 to 1; above 0.2 it stands. "+
		"Absent where nothing could be sampled.", "cause")

var causeNodeScore = gauge("cause_node_score",
	"How strongly what is known of the node alone (not reached, replication, isolated, split brain, settings, strays, versions) points to the cause, "+
		"from 0 to 1, and never above the cause's score. Only nodes and causes above 0 have a series.", "cause", "layer", "node")

// causeName is the signal's.
const causeName = "cause"

// causeJudge says after each sampling which cause its evidence points to.
type causeJudge struct {
	memory     *diagnosis.Memory
	configured diagnosis.Configured
	// unknown are the parts that nobody samples: not enabled, or not configured.
	unknown []diagnosis.Unknown
	// silent: the scores are no metrics (--no-collector.cause), and in the status alone.
	silent bool
}

// guarded judges; a panic in it, or in what a collector adds, costs the judgement alone.
func (c *causeJudge) guarded(from answers) (report *diagnosis.Report, err error) {
	defer func() {
		if p := recover(); p != nil {
			report, err = nil, fmt.Errorf("%w: %s", errPanic, probes.PanicReport(p))
		}
	}()
	return c.judge(from), nil
}

// judge the evidence of a sampling.
func (c *causeJudge) judge(from answers) *diagnosis.Report {
	e := diagnosis.Evidence{At: time.Now(), Result: from.result, Configured: c.configured}
	for _, k := range from.evidencers {
		k.AddEvidence(&e)
	}
	if from.result != nil {
		e.Primaries = groupPrimaries(from.result)
	}
	e.Unknown = append(e.Unknown, c.unknown...)
	for _, name := range from.timedOut {
		e.Unknown = append(e.Unknown, diagnosis.Unknown{Part: name, Why: "not back in time"})
	}
	for _, name := range from.panicked {
		e.Unknown = append(e.Unknown, diagnosis.Unknown{Part: name, Why: "its collector broke; the log says how"})
	}
	d := c.memory.Diagnose(&e)
	return &diagnosis.Report{Evidence: e, Diagnosis: d}
}

// metrics of the scores; there are none where nothing could be sampled, nor without a report.
func (c *causeJudge) metrics(r *diagnosis.Report, took time.Duration) (sent []prometheus.Metric) {
	if c.silent {
		return nil
	}
	var d diagnosis.Diagnosis
	if r != nil {
		d = r.Diagnosis
	}
	ch := make(chan prometheus.Metric, len(d.Scores)+len(d.Nodes)+2)
	for _, s := range d.Scores {
		causeScore.send(ch, s.Score, string(s.Cause))
	}
	for _, n := range d.Nodes {
		causeNodeScore.send(ch, n.Score, string(n.Cause), n.Layer, n.Node)
	}
	collectorSuccess.send(ch, number(d.Scores != nil), causeName)
	collectorDuration.send(ch, took.Seconds(), causeName)
	close(ch)
	for m := range ch {
		sent = append(sent, m)
	}
	return sent
}

// unknownOf a configuration: the parts of the evidence that no enabled signal gives.
func unknownOf(cfg *config.Config, opt Options) (out []diagnosis.Unknown) {
	for _, s := range opt.Signals {
		switch {
		case s.New == nil: // it is no part of the evidence
		case s.Configured != nil && !s.Configured(cfg):
			out = append(out, diagnosis.Unknown{Part: s.Name, Why: diagnosis.NotConfigured})
		case !opt.enabled(s.Name):
			out = append(out, diagnosis.Unknown{Part: s.Name, Why: diagnosis.SwitchedOff})
		}
	}
	return out
}

// configuredOf is what a diagnosis may say of a configuration.
func configuredOf(cfg *config.Config) diagnosis.Configured {
	e := diagnosis.Configured{
		MaxStaleness: map[diagnosis.ClassLayer]time.Duration{}, TTL: map[string]time.Duration{}, Nodes: map[string]diagnosis.NodeCommander{},
		Queues: map[string]diagnosis.QueueCommander{}, Versions: map[string]diagnosis.VersionsCommander{},
	}
	for _, c := range cfg.Canaries {
		for _, l := range c.Layers {
			e.MaxStaleness[diagnosis.ClassLayer{Class: c.Name, Layer: l.Name}] = l.MaxStaleness
		}
	}
	for _, l := range cfg.Layers {
		e.TTL[l.Name] = l.TTL
		if l.NoExpiry {
			e.TTL[l.Name] = math.MaxInt64
		}
		for _, n := range l.Nodes {
			e.Nodes[n.Name] = n.Source
		}
	}
	for _, q := range cfg.Queues {
		e.Queues[q.Name] = q.Source
	}
	for _, a := range cfg.Versions {
		e.Versions[a.Name] = a.Source
	}
	return e
}
