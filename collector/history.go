package collector

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/diagnosis"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

var (
	historyUp = gauge("history_up",
		"Whether the history answered, and what is counted of it is less than a minute behind (1) or not (0).", "history")
	invalidations = counter("invalidations_total",
		"Invalidations that were attempted since the exporter's start, failed ones too.", "history")
	invalidationFailures = counter("invalidation_failures_total",
		"Invalidations that failed since the exporter's start; they are part of the attempts.", "history")
)

const (
	// recent is the time over which the evidence counts attempts.
	recent = time.Minute
	// recentSteps at least this far apart are kept of it.
	recentSteps = time.Second
)

// historyCounters are what was counted of each history. They outlive configurations and samplings that failed.
type historyCounters struct {
	counted *probes.Histories
	mu      sync.Mutex
	recent  map[string]*lastMinute
}

// newHistoryCounters at 0.
func newHistoryCounters() *historyCounters {
	return &historyCounters{counted: probes.NewHistories(), recent: map[string]*lastMinute{}}
}

// keep only the histories with these names.
func (h *historyCounters) keep(names map[string]bool) {
	h.counted.Keep(names)
	h.mu.Lock()
	defer h.mu.Unlock()
	for name := range h.recent {
		if !names[name] {
			delete(h.recent, name)
		}
	}
}

// lastMinuteOf a history: what was counted in the last minute, from 0 where the history is new.
func (h *historyCounters) lastMinuteOf(name string) *lastMinute {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.recent[name]
	if r == nil {
		r = &lastMinute{marks: []mark{{at: time.Now()}}}
		h.recent[name] = r
	}
	return r
}

// mark is what was counted at a time.
type mark struct {
	at time.Time
	probes.Attempts
}

// lastMinute remembers what was counted about a minute ago. Its first mark is the youngest that is at least so old, if any is.
type lastMinute struct {
	mu    sync.Mutex
	marks []mark
}

// add what is counted now, and give what was added in the window.
func (r *lastMinute) add(now mark) (attempts, failures float64, window time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.marks) > 1 && now.at.Sub(r.marks[1].at) >= recent {
		r.marks = r.marks[1:]
	}
	first := r.marks[0]
	if now.at.Sub(r.marks[len(r.marks)-1].at) >= recentSteps {
		r.marks = append(r.marks, now)
	}
	return now.Total - first.Total, now.Failed - first.Failed, now.at.Sub(first.at)
}

// watchedHistory is one history, and whether a sampling of it is under way.
type watchedHistory struct {
	name    string
	history probes.History
	last    *lastMinute
	busy    atomic.Bool
}

// newHistorySignal counts over all configurations.
func newHistorySignal(Options) Opener {
	counters := newHistoryCounters()
	return func(s *Setup) (Collector, error) {
		histories, err := s.Config.OpenHistories(counters.counted, s.Env)
		if err != nil {
			return nil, fmt.Errorf("opening the histories: %w", err)
		}
		for _, h := range histories {
			s.OnClose(h.Close)
		}
		return newHistoryCollector(s.Config.History, histories, counters), nil
	}
}

// historyCollector counts invalidations and those that failed.
type historyCollector struct {
	histories []*watchedHistory
	kept      *historyCounters
	// evidence of the last Update.
	evidence []diagnosis.History
}

func newHistoryCollector(cfg []config.History, histories []probes.History, counters *historyCounters) *historyCollector {
	c := &historyCollector{kept: counters}
	for i, h := range cfg {
		c.histories = append(c.histories, &watchedHistory{name: h.Name, history: histories[i], last: counters.lastMinuteOf(h.Name)})
	}
	return c
}

// Update samples all histories in parallel. One that is not back soon after the end of ctx costs its own up alone: what
// was counted stays.
func (c *historyCollector) Update(ctx context.Context, _ *Sampling, ch chan<- prometheus.Metric) error {
	names := map[string]bool{}
	for _, t := range c.histories {
		names[t.name] = true
	}
	c.kept.keep(names)
	errs := make([]error, len(c.histories))
	for i := range errs {
		errs[i] = errNotBack
	}
	eachInTime(ctx, len(c.histories), func(i int) error { return c.histories[i].sample(ctx) }, func(i int, err error) { errs[i] = err })
	c.evidence = nil
	for i, t := range c.histories {
		c.send(t, errs[i], ch)
		if errs[i] != nil {
			errs[i] = fmt.Errorf("history %s: %w", t.name, errs[i])
		}
	}
	return errors.Join(errs...)
}

func (t *watchedHistory) sample(ctx context.Context) error {
	return onceAtATime(&t.busy, func() error { return t.history.Sample(ctx) })
}

func (c *historyCollector) send(t *watchedHistory, err error, ch chan<- prometheus.Metric) {
	historyUp.send(ch, number(err == nil), t.name)
	evidence := diagnosis.History{Name: t.name, Up: err == nil, Err: err}
	counted, known := t.history.Attempts()
	if !known {
		c.evidence = append(c.evidence, evidence)
		return
	}
	invalidations.send(ch, counted.Total, t.name)
	invalidationFailures.send(ch, counted.Failed, t.name)
	evidence.Attempts, evidence.Failures, evidence.Window = t.last.add(mark{time.Now(), counted})
	c.evidence = append(c.evidence, evidence)
}

// AddEvidence implements Evidencer: the attempts of the last minute or so.
func (c *historyCollector) AddEvidence(e *diagnosis.Evidence) {
	e.Histories = append(e.Histories, c.evidence...)
}
