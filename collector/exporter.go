package collector

import (
	"context"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	versioncollector "github.com/prometheus/client_golang/prometheus/collectors/version"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/diagnosis"
)

const (
	// defaultTimeout of a request that does not announce its own.
	defaultTimeout = 10 * time.Second
	// longestTimeout that a request may ask for.
	longestTimeout = 2 * time.Minute
	// youngEnough is the age up to which the last sampling answers a request that could not wait for the next.
	youngEnough = 60 * time.Second
)

var (
	reloadSuccessful = gauge("config_last_reload_successful",
		"Whether the last attempt to load the configuration succeeded (1) or the one before is still used (0).")
	reloadTime = gauge("config_last_reload_success_timestamp_seconds",
		"When the configuration in use was loaded, in seconds since the epoch.")
	layerTTL = gauge("layer_ttl_seconds",
		"Longest TTL that the application sets in the layer, as configured, in seconds; +Inf for ttl: none.", "layer")
	layerMaxStaleness = gauge("layer_max_staleness_seconds",
		"How long the design allows a copy in the layer to be stale, as configured, in seconds.", "layer")
)

func init() { // what the Prometheus libraries declare
	families = append(families, Family{
		Name: "cacheinv_build_info", Type: "gauge",
		Labels: []string{"branch", "goarch", "goos", "goversion", "revision", "tags", "version"},
		Help: "A metric with a constant '1' value labeled by version, revision, branch, goversion from which cacheinv was built, " +
			"and the goos and goarch for the build.",
	})
}

// snapshot is what one sampling gave; it is never changed.
type snapshot struct {
	metrics []prometheus.Metric
	// report is nil where nobody says what the evidence points to.
	report *diagnosis.Report
	ended  time.Time
}

// sampling is one under way; snapshot is set when done closes (nil where nothing could be sampled in time).
type sampling struct {
	done     chan struct{}
	snapshot *snapshot
}

// Exporter serves the metrics of the configuration loaded last. A sampling belongs to no request: those that come
// meanwhile share it.
type Exporter struct {
	opt    Options
	log    *slog.Logger
	fixed  *prometheus.Registry
	state  state
	base   context.Context
	cancel context.CancelFunc
	// slot is held by the one who samples or changes the target.
	slot chan struct{}

	mu       sync.Mutex
	closed   bool
	target   *target
	running  *sampling
	last     *snapshot
	reloadOK bool
	loadedAt time.Time
}

// New Exporter without a configuration: Load one before it serves anything of use.
func New(opt Options, log *slog.Logger) *Exporter {
	e := &Exporter{opt: opt, log: log, fixed: prometheus.NewRegistry(), slot: make(chan struct{}, 1), state: newState(opt)}
	e.base, e.cancel = context.WithCancel(context.Background())
	e.fixed.MustRegister(
		versioncollector.NewCollector("cacheinv"),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return e
}

// Load makes cfg the configuration, once the sampling under way has ended. What was learned of keys and queues
// before stays. On an error the old one is kept.
func (e *Exporter) Load(cfg *config.Config) error {
	e.slot <- struct{}{}
	defer func() { <-e.slot }()
	next, err := e.open(cfg)
	if err != nil {
		return err
	}
	e.use(next)
	return nil
}

// use replaces the target; the caller holds the slot.
func (e *Exporter) use(next *target) {
	e.mu.Lock()
	old := e.target
	e.target, e.last = next, nil
	e.reloadOK, e.loadedAt = true, time.Now()
	e.mu.Unlock()
	if old != nil {
		old.close()
	}
}

// LoadFailed notes that a configuration could not be loaded and that the one before is still used.
func (e *Exporter) LoadFailed() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.reloadOK = false
}

// Close ends the sampling under way and all connections.
func (e *Exporter) Close() {
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
	e.cancel()
	e.slot <- struct{}{}
	defer func() { <-e.slot }()
	e.mu.Lock()
	old := e.target
	e.target = nil
	e.mu.Unlock()
	if old != nil {
		old.close()
	}
}

// ServeHTTP answers a scrape, always with 200 and all that is known by the end of its time.
func (e *Exporter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	got := e.wait(r.Context(), timeout(r))
	registry := prometheus.NewRegistry()
	registry.MustRegister(answer{e: e, snapshot: got})
	promhttp.HandlerFor(prometheus.Gatherers{e.fixed, registry}, promhttp.HandlerOpts{
		ErrorLog:      slog.NewLogLogger(e.log.Handler(), slog.LevelError),
		ErrorHandling: promhttp.ContinueOnError,
	}).ServeHTTP(w, r)
}

// Report gives what the sampling says with which a scrape would be answered that has this timeout; nil where nothing could
// be sampled in that time. What it gives is shared, and never changed.
func (e *Exporter) Report(ctx context.Context, timeout time.Duration) *diagnosis.Report {
	if got := e.wait(ctx, timeout); got != nil {
		return got.report
	}
	return nil
}

// ReportFor a request, which may announce its timeout as a scrape does.
func (e *Exporter) ReportFor(r *http.Request) *diagnosis.Report {
	return e.Report(r.Context(), timeout(r))
}

// timeout that the request announces.
func timeout(r *http.Request) time.Duration {
	seconds, err := strconv.ParseFloat(r.Header.Get("X-Prometheus-Scrape-Timeout-Seconds"), 64)
	if err != nil || math.IsNaN(seconds) || seconds <= 0 {
		return defaultTimeout
	}
	return time.Duration(min(seconds, longestTimeout.Seconds()) * float64(time.Second))
}

// budget is the part of a request's timeout that a sampling may use; what is left is for the answer.
func (e *Exporter) budget(timeout time.Duration) time.Duration {
	if timeout <= e.opt.TimeoutOffset {
		return timeout / 2
	}
	return timeout - e.opt.TimeoutOffset
}

// wait gives the sampling under way, or begins one; nil where the request's time ends without one that is young enough.
func (e *Exporter) wait(ctx context.Context, timeout time.Duration) *snapshot {
	began := time.Now()
	e.mu.Lock()
	if e.running == nil {
		if e.last != nil && time.Since(e.last.ended) < e.opt.MinInterval || e.target == nil || e.closed {
			defer e.mu.Unlock()
			return e.last
		}
		e.running = &sampling{done: make(chan struct{})}
		go e.sample(e.running, began.Add(e.budget(timeout)), (timeout-e.budget(timeout))/2)
	}
	s := e.running
	e.mu.Unlock()

	// A sampling may come up to half of what is left for the answer after its deadline; wait a little longer.
	patience := e.budget(timeout) + (timeout-e.budget(timeout))*3/4
	late := time.NewTimer(time.Until(began.Add(patience)))
	defer late.Stop()
	select {
	case <-s.done:
		if s.snapshot != nil {
			return s.snapshot
		}
	case <-late.C:
	case <-ctx.Done():
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.last != nil && time.Since(e.last.ended) < youngEnough {
		return e.last
	}
	return nil
}

// sample to the deadline; collectors that are late get grace.
func (e *Exporter) sample(s *sampling, deadline time.Time, grace time.Duration) {
	ctx, cancel := context.WithDeadline(e.base, deadline)
	defer cancel()
	var got *snapshot
	select {
	case e.slot <- struct{}{}:
		e.mu.Lock()
		t := e.target
		e.mu.Unlock()
		if t != nil && ctx.Err() == nil {
			metrics, report := t.crew.sample(ctx, grace)
			got = &snapshot{metrics: metrics, report: report, ended: time.Now()}
		}
		if e.base.Err() != nil { // cut short by Close: what was not read then says nothing of the nodes
			got = nil
		}
		e.end(s, got)
		<-e.slot
	case <-ctx.Done():
		e.end(s, nil)
	}
}

// end of a sampling; got is nil where nothing was sampled.
func (e *Exporter) end(s *sampling, got *snapshot) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.running = nil
	if got != nil {
		e.last = got
	}
	s.snapshot = got
	close(s.done)
}

// answer is one request's metrics.
type answer struct {
	e        *Exporter
	snapshot *snapshot
}

// Describe nothing: what there is to tell depends on the configuration.
func (a answer) Describe(chan<- *prometheus.Desc) {}

// Collect gives the snapshot, and what is known without one.
func (a answer) Collect(ch chan<- prometheus.Metric) {
	a.e.mu.Lock()
	t, ok, at := a.e.target, a.e.reloadOK, a.e.loadedAt
	a.e.mu.Unlock()
	reloadSuccessful.send(ch, number(ok))
	if !at.IsZero() {
		reloadTime.send(ch, float64(at.UnixMilli())/1000)
	}
	if t != nil {
		t.configured(ch)
	}
	if a.snapshot != nil {
		for _, m := range a.snapshot.metrics {
			ch <- m
		}
		return
	}
	if t != nil {
		for _, name := range t.crew.names() {
			collectorSuccess.send(ch, 0, name)
		}
	}
}

// configured gives what the configuration says of the layers.
func (t *target) configured(ch chan<- prometheus.Metric) {
	for _, l := range t.cfg.Layers {
		ttl := l.TTL.Seconds()
		if l.NoExpiry {
			ttl = math.Inf(1)
		}
		layerTTL.send(ch, ttl, l.Name)
		layerMaxStaleness.send(ch, l.MaxStaleness.Seconds(), l.Name)
	}
}
