package collector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cacheinv/cacheinv_exporter/internal/consistency"
	"github.com/cacheinv/cacheinv_exporter/internal/diagnosis"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

var (
	collectorSuccess = gauge("collector_success",
		"Whether every target of the collector answered in the last sampling (1) or any failed (0).", "collector")
	collectorDuration = gauge("collector_duration_seconds",
		"Time that the collector needed in the last sampling, in seconds.", "collector")
)

// errPanic says that a collector broke off, so that it may still hold what an earlier sampling learned.
var errPanic = errors.New("panic")

// signalCollector is the collector of one signal, and whether an Update of it is under way.
type signalCollector struct {
	name string
	Collector
	busy atomic.Bool
}

// runner has the collectors of one configuration. One sampling runs at a time.
type runner struct {
	sampler    sampler
	collectors []*signalCollector
	// causes says what the evidence of a sampling points to; nil: nobody does.
	causes *causeJudge
	log    *slog.Logger
	// failing collectors, and what was logged of each.
	failing map[string]told
}

func newRunner(s sampler, collectors []*signalCollector, log *slog.Logger) *runner {
	return &runner{sampler: s, collectors: collectors, log: log, failing: map[string]told{}}
}

// names of the signals that have metrics.
func (r *runner) names() []string {
	var names []string
	for _, k := range r.collectors {
		names = append(names, k.name)
	}
	if r.causes != nil && !r.causes.silent {
		names = append(names, causeName)
	}
	return names
}

// sample runs all collectors in parallel and gives what they sent. It waits for grace beyond the end of ctx; a
// collector that is not back by then has failed, and what it sent so far counts.
func (r *runner) sample(ctx context.Context, grace time.Duration) ([]prometheus.Metric, *diagnosis.Report) {
	began, s := time.Now(), newSampling(ctx, r.sampler)
	outcomes, back := r.start(ctx, s)
	await(ctx, back, grace)
	got := answers{result: s.ended.Load()}
	ch := make(chan prometheus.Metric, 2)
	var metrics []prometheus.Metric
	for i, k := range r.collectors {
		sent, took, err := got.add(k, outcomes[i], began)
		r.logChange(k.name, err)
		collectorSuccess.send(ch, number(err == nil), k.name)
		collectorDuration.send(ch, took.Seconds(), k.name)
		metrics = append(append(metrics, sent...), <-ch, <-ch)
	}
	if r.causes == nil {
		return metrics, nil
	}
	began = time.Now()
	report, err := r.causes.guarded(got)
	r.logChange(causeName, err)
	return append(metrics, r.causes.metrics(report, time.Since(began))...), report
}

// start the collectors, but those that are still busy. back is closed once all have ended.
func (r *runner) start(ctx context.Context, s *Sampling) (outcomes []*outcome, back <-chan struct{}) {
	outcomes = make([]*outcome, len(r.collectors))
	var wait sync.WaitGroup
	for i, k := range r.collectors {
		o := &outcome{}
		outcomes[i] = o
		if !k.busy.CompareAndSwap(false, true) {
			o.err, o.done, o.skipped = probes.ErrBusy, true, true
			continue
		}
		wait.Go(func() {
			defer k.busy.Store(false)
			o.run(ctx, s, k)
		})
	}
	ended := make(chan struct{})
	go func() {
		wait.Wait()
		close(ended)
	}()
	return outcomes, ended
}

func await(ctx context.Context, back <-chan struct{}, grace time.Duration) {
	select {
	case <-back:
		return
	case <-ctx.Done():
	}
	late := time.NewTimer(grace)
	defer late.Stop()
	select {
	case <-back:
	case <-late.C:
	}
}

// outcome of one collector in one sampling. Its collector may still be at it when it is read.
type outcome struct {
	mu      sync.Mutex
	metrics []prometheus.Metric
	err     error
	took    time.Duration
	done    bool
	// skipped: it was not run, as an earlier sampling's run goes on. One of its targets may be busy without that.
	skipped bool
}

// answers are what came of all collectors in one sampling.
type answers struct {
	// result is nil where the canaries were not sampled in time.
	result *consistency.Result
	// evidencers are those that were back in time.
	evidencers []Evidencer
	// timedOut and panicked are names of signals.
	timedOut, panicked []string
}

// add what came of a collector by now, and give what it sent. It began with the sampling.
func (a *answers) add(k *signalCollector, o *outcome, began time.Time) (sent []prometheus.Metric, took time.Duration, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.done {
		o.err, o.took = errNotBack, time.Since(began)
	}
	sent, bad := usable(o.metrics)
	switch {
	case !o.done || o.skipped:
		a.timedOut = append(a.timedOut, k.name)
	case errors.Is(o.err, errPanic):
		a.panicked = append(a.panicked, k.name)
	default:
		if c, ok := k.Collector.(Evidencer); ok {
			a.evidencers = append(a.evidencers, c)
		}
	}
	if bad != nil {
		o.err = errors.Join(o.err, bad)
	}
	return sent, o.took, o.err
}

// run one collector and keep what it sends, also if it panics.
func (o *outcome) run(ctx context.Context, s *Sampling, k Collector) {
	began := time.Now()
	ch := make(chan prometheus.Metric, 128)
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		for m := range ch {
			o.mu.Lock()
			o.metrics = append(o.metrics, m)
			for range len(ch) { // what is there already
				o.metrics = append(o.metrics, <-ch)
			}
			o.mu.Unlock()
		}
	}()
	err := guarded(ctx, s, k, ch)
	close(ch)
	<-drained
	o.mu.Lock()
	defer o.mu.Unlock()
	o.err, o.took, o.done = err, time.Since(began), true
}

// guarded runs a collector; its panic becomes its error.
func guarded(ctx context.Context, s *Sampling, k Collector, ch chan<- prometheus.Metric) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %s", errPanic, probes.PanicReport(p))
		}
	}()
	return k.Update(ctx, s, ch)
}

// logChange when a collector begins to fail, fails otherwise, and recovers, not each time between.
func (r *runner) logChange(name string, err error) {
	known, failed := r.failing[name]
	switch {
	case err == nil && failed:
		r.log.Info("collector recovered", "collector", name)
		delete(r.failing, name)
		return
	case err == nil:
		return
	case !failed:
		known = told{}
		r.failing[name] = known
	}
	if news := known.news(err.Error(), time.Now()); news != "" {
		r.log.Warn("collector failed", "collector", name, "err", news)
		return
	}
	r.log.Debug("collector still fails", "collector", name, "err", err)
}
