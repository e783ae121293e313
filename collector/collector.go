// Package collector turns what was sampled into metrics: one file for each signal, with its descriptors beside the
// code that emits them. Exporter runs the collectors, shares one sampling among requests and serves it.
package collector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cacheinv/cacheinv_exporter/internal/consistency"
	"github.com/cacheinv/cacheinv_exporter/internal/diagnosis"
)

// Names of the collectors, as in --collector.NAME.
var Names = []string{
	"canary", "node", "queue", "replication", "app_version", "config_drift", "history", "invalidation_probe", "cause",
}

// Collector gives the metrics of one signal.
type Collector interface {
	// Name as in --collector.NAME.
	Name() string
	// Update samples and sends what was learned. It returns soon after ctx ends; an error says that a target failed,
	// not that nothing was sent.
	Update(ctx context.Context, ch chan<- prometheus.Metric) error
}

// sampler reads all canaries once; *consistency.Sampler is one.
type sampler interface {
	Sample(ctx context.Context) *consistency.Result
}

// reader is a collector that reads the one consistency result that a sampling shares.
type reader interface {
	Name() string
	update(r *consistency.Result, ch chan<- prometheus.Metric) error
}

// witness is a collector that adds what its last Update learned to the evidence of causes. testify is called after an
// Update that came back in time, before the next one begins.
type witness interface{ testify(e *diagnosis.Evidence) }

// bound is a reader with the result of the sampling under way.
type bound struct {
	reader
	result func() *consistency.Result
}

// Update of a reader waits for the shared result.
func (b bound) Update(_ context.Context, ch chan<- prometheus.Metric) error {
	return b.update(b.result(), ch)
}

var (
	collectorSuccess = gauge("collector_success",
		"Whether every target of the collector answered in the last sampling (1) or any failed (0).", "collector")
	collectorDuration = gauge("collector_duration_seconds",
		"Time that the collector needed in the last sampling, in seconds.", "collector")
)

var (
	// errBusy says that a collector has not come back from an earlier sampling.
	errBusy = errors.New("still busy with an earlier sampling")
	// errPanic says that a collector broke off, so that it may still hold what an earlier sampling told.
	errPanic = errors.New("panic")
)

// crew is the collectors of one configuration. One sampling runs at a time.
type crew struct {
	sampler    sampler
	readers    []reader
	collectors []Collector
	// causes says what the evidence of a sampling points to; nil: nobody does.
	causes *causeTeller
	log    *slog.Logger
	busy   map[string]*atomic.Bool
	// failing collectors, and the error that was logged.
	failing map[string]string
}

func newCrew(s sampler, readers []reader, collectors []Collector, log *slog.Logger) *crew {
	c := &crew{sampler: s, readers: readers, collectors: collectors, log: log, busy: map[string]*atomic.Bool{}, failing: map[string]string{}}
	for _, r := range readers {
		c.busy[r.Name()] = new(atomic.Bool)
	}
	for _, k := range collectors {
		c.busy[k.Name()] = new(atomic.Bool)
	}
	return c
}

// names of the collectors, those of the consistency result first.
func (c *crew) names() []string {
	var names []string
	for _, r := range c.readers {
		names = append(names, r.Name())
	}
	for _, k := range c.collectors {
		names = append(names, k.Name())
	}
	if c.causes != nil && !c.causes.silent {
		names = append(names, causeName)
	}
	return names
}

// outcome of one collector in one sampling.
type outcome struct {
	mu      sync.Mutex
	metrics []prometheus.Metric
	err     error
	took    time.Duration
	done    bool
}

// sample runs all collectors in parallel and gives what they sent. It waits for grace beyond the end of ctx; a
// collector that is not back by then has failed, and what it sent so far counts.
func (c *crew) sample(ctx context.Context, grace time.Duration) ([]prometheus.Metric, *diagnosis.Report) {
	all := make([]Collector, 0, len(c.readers)+len(c.collectors))
	var sampled atomic.Pointer[consistency.Result]
	result := sync.OnceValue(func() *consistency.Result {
		r := c.sampler.Sample(ctx)
		sampled.Store(r)
		return r
	})
	for _, r := range c.readers {
		all = append(all, bound{reader: r, result: result})
	}
	all = append(all, c.collectors...)

	began := time.Now()
	outcomes := make([]*outcome, len(all))
	var wait sync.WaitGroup
	for i, k := range all {
		o := &outcome{}
		outcomes[i] = o
		busy := c.busy[k.Name()]
		if !busy.CompareAndSwap(false, true) {
			o.err, o.done = errBusy, true
			continue
		}
		wait.Go(func() {
			defer busy.Store(false)
			o.run(ctx, k)
		})
	}
	back := make(chan struct{})
	go func() {
		wait.Wait()
		close(back)
	}()
	c.await(ctx, back, grace)

	var metrics []prometheus.Metric
	heard := witnessed{result: sampled.Load()}
	ch := make(chan prometheus.Metric, len(diagnosis.Causes)+2)
	for i, k := range all {
		o := outcomes[i]
		o.mu.Lock()
		switch {
		case !o.done:
			o.err, o.took = errNotBack, time.Since(began)
			heard.late = append(heard.late, k.Name())
		case errors.Is(o.err, errBusy):
			heard.late = append(heard.late, k.Name())
		case errors.Is(o.err, errPanic):
			heard.broken = append(heard.broken, k.Name())
		default:
			heard.came = append(heard.came, unbound(k))
		}
		metrics = append(metrics, o.metrics...)
		err, took := o.err, o.took
		o.mu.Unlock()
		c.tell(k.Name(), err)
		collectorSuccess.send(ch, number(err == nil), k.Name())
		collectorDuration.send(ch, took.Seconds(), k.Name())
		metrics = append(metrics, <-ch, <-ch)
	}
	if c.causes == nil {
		return metrics, nil
	}
	began = time.Now()
	report, err := c.causes.guarded(heard)
	c.tell(causeName, err)
	c.causes.send(report, time.Since(began), ch)
	for len(ch) > 0 {
		metrics = append(metrics, <-ch)
	}
	return metrics, report
}

// unbound gives the reader behind a bound one.
func unbound(k Collector) any {
	if b, ok := k.(bound); ok {
		return b.reader
	}
	return k
}

func (c *crew) await(ctx context.Context, back <-chan struct{}, grace time.Duration) {
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

// run one collector and keep what it sends, also if it panics.
func (o *outcome) run(ctx context.Context, k Collector) {
	began := time.Now()
	ch := make(chan prometheus.Metric, 64)
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		for m := range ch {
			o.mu.Lock()
			o.metrics = append(o.metrics, m)
			o.mu.Unlock()
		}
	}()
	err := guarded(ctx, k, ch)
	close(ch)
	<-drained
	o.mu.Lock()
	defer o.mu.Unlock()
	o.err, o.took, o.done = err, time.Since(began), true
}

// guarded runs a collector; its panic becomes its error.
func guarded(ctx context.Context, k Collector, ch chan<- prometheus.Metric) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v\n%s", errPanic, p, debug.Stack())
		}
	}()
	return k.Update(ctx, ch)
}

// tell logs when a collector begins to fail, fails otherwise, and recovers, not each time between.
func (c *crew) tell(name string, err error) {
	before, failed := c.failing[name]
	switch {
	case err == nil && failed:
		c.log.Info("collector recovered", "collector", name)
		delete(c.failing, name)
	case err == nil:
	case err.Error() != before:
		c.log.Warn("collector failed", "collector", name, "err", err)
		c.failing[name] = err.Error()
	default:
		c.log.Debug("collector still fails", "collector", name, "err", err)
	}
}
