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
	// recent is the time of which the evidence tells attempts.
	recent = time.Minute
	// recentSteps at least this far apart are kept of it.
	recentSteps = time.Second
)

// Histories are what was counted of each history. They outlive configurations and samplings that failed.
type Histories struct {
	counted *probes.Histories
	mu      sync.Mutex
	recent  map[string]*ring
}

// NewHistories at 0.
func NewHistories() *Histories {
	return &Histories{counted: probes.NewHistories(), recent: map[string]*ring{}}
}

// keep only the histories with these names.
func (h *Histories) keep(names map[string]bool) {
	h.counted.Keep(names)
	h.mu.Lock()
	defer h.mu.Unlock()
	for name := range h.recent {
		if !names[name] {
			delete(h.recent, name)
		}
	}
}

// of gives the ring of a history, which begins at 0.
func (h *Histories) of(name string) *ring {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.recent[name]
	if r == nil {
		r = &ring{marks: []mark{{at: time.Now()}}}
		h.recent[name] = r
	}
	return r
}

// mark is what was counted at a time.
type mark struct {
	at time.Time
	probes.Attempts
}

// ring remembers what was counted about a minute ago. Its first mark is the youngest that is at least so old, if any is.
type ring struct {
	mu    sync.Mutex
	marks []mark
}

// add what is counted now, and give what was added in the window.
func (r *ring) add(now mark) (attempts, failures float64, window time.Duration) {
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

// historyTarget is one history, and whether a sampling of it is under way.
type historyTarget struct {
	name    string
	history probes.History
	ring    *ring
	busy    atomic.Bool
}

// historyCollector counts invalidations and those that failed.
type historyCollector struct {
	targets []*historyTarget
	kept    *Histories
	// told in the last sampling.
	told []diagnosis.History
}

func newHistory(cfg []config.History, histories []probes.History, kept *Histories) *historyCollector {
	c := &historyCollector{kept: kept}
	for i, h := range cfg {
		c.targets = append(c.targets, &historyTarget{name: h.Name, history: histories[i], ring: kept.of(h.Name)})
	}
	return c
}

func (*historyCollector) Name() string { return "history" }

// Update samples all histories in parallel. One that is not back soon after the end of ctx costs its own up alone: what
// was counted stays.
func (c *historyCollector) Update(ctx context.Context, ch chan<- prometheus.Metric) error {
	names := map[string]bool{}
	for _, t := range c.targets {
		names[t.name] = true
	}
	c.kept.keep(names)
	errs := make([]error, len(c.targets))
	for i := range errs {
		errs[i] = errNotBack
	}
	eachInTime(ctx, len(c.targets), func(i int) error { return c.targets[i].sample(ctx) }, func(i int, err error) { errs[i] = err })
	c.told = nil
	for i, t := range c.targets {
		c.tell(t, errs[i] == nil, ch)
		if errs[i] != nil {
			errs[i] = fmt.Errorf("history %s: %w", t.name, errs[i])
		}
	}
	return errors.Join(errs...)
}

func (t *historyTarget) sample(ctx context.Context) error {
	return onceAtATime(&t.busy, func() error { return t.history.Sample(ctx) })
}

func (c *historyCollector) tell(t *historyTarget, up bool, ch chan<- prometheus.Metric) {
	historyUp.send(ch, number(up), t.name)
	counted, known := t.history.Attempts()
	if !known {
		c.told = append(c.told, diagnosis.History{Name: t.name, Up: up})
		return
	}
	invalidations.send(ch, counted.Total, t.name)
	invalidationFailures.send(ch, counted.Failed, t.name)
	attempts, failures, window := t.ring.add(mark{time.Now(), counted})
	c.told = append(c.told, diagnosis.History{Name: t.name, Up: up, Attempts: attempts, Failures: failures, Window: window})
}

// testify gives the attempts of the last minute or so.
func (c *historyCollector) testify(e *diagnosis.Evidence) {
	e.Histories = append(e.Histories, c.told...)
}
