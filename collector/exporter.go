package collector

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	versioncollector "github.com/prometheus/client_golang/prometheus/collectors/version"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/consistency"
	"github.com/cacheinv/cacheinv_exporter/internal/diagnosis"
	"github.com/cacheinv/cacheinv_exporter/internal/turn"
	"github.com/cacheinv/cacheinv_exporter/probes"
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
	declared = append(declared, Family{
		Name: "cacheinv_build_info", Type: "gauge",
		Labels: []string{"branch", "goarch", "goos", "goversion", "revision", "tags", "version"},
		Help: "A metric with a constant '1' value labeled by version, revision, branch, goversion from which cacheinv was built, " +
			"and the goos and goarch for the build.",
	})
}

// Options of an Exporter, from the command line.
type Options struct {
	// TimeoutOffset is left of a scrape's timeout for the answer (--scrape.timeout-offset).
	TimeoutOffset time.Duration
	// MinDeadline is the least time that a sampling gets, whatever the request waits that begins it (--scrape.min-deadline).
	MinDeadline time.Duration
	// MinInterval within which the last answer is given again (--scrape.min-interval).
	MinInterval time.Duration
	// StallWindow after which a group that commits nothing though messages wait is stalled (--queue.stall-window).
	StallWindow time.Duration
	// Signals to collect; nil: Signals.
	Signals []Signal
	// Enabled signals, by name (--collector.NAME); one that is not in it is enabled.
	Enabled map[string]*bool
	// AuditDir has the audit logs of commands that change caches (--audit.dir); empty: none are counted.
	AuditDir string
	// Sampler and Env are handed on.
	Sampler consistency.Options
	Env     *probes.Env
}

// enabled reports whether the command line has not switched a signal off.
func (o Options) enabled(name string) bool {
	on, ok := o.Enabled[name]
	return !ok || *on
}

// Exporter serves the metrics of the configuration loaded last. A sampling belongs to no request: those that come
// meanwhile share it.
type Exporter struct {
	opt Options
	log *slog.Logger
	// process has the metrics of the process itself and of its build.
	process *prometheus.Registry
	// handler answers scrapes, compressed where that is asked for.
	handler http.Handler
	kept    kept
	base    context.Context
	cancel  context.CancelFunc
	// samplingLock is held by the one who samples or changes the setup.
	samplingLock chan struct{}
	// writing is the line for answers that are written.
	writing turn.Line

	mu       sync.Mutex
	closed   bool
	setup    *Setup
	running  *pending
	recent   recentSamplings
	reloadOK bool
	loadedAt time.Time
}

// New Exporter without a configuration: Load one before it serves anything of use.
func New(opt Options) *Exporter {
	if opt.Signals == nil {
		opt.Signals = Signals
	}
	e := &Exporter{opt: opt, log: opt.Env.Log, samplingLock: make(chan struct{}, 1), writing: turn.NewLine(mostWriting), kept: newKept(opt)}
	e.base, e.cancel = context.WithCancel(context.Background())
	e.process = prometheus.NewRegistry()
	e.process.MustRegister(versioncollector.NewCollector("cacheinv"), collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	e.handler = compressed(http.HandlerFunc(e.serveMetrics))
	return e
}

// errClosed is of a configuration that comes when the exporter ends.
var errClosed = errors.New("the exporter ends")

// Load makes cfg the configuration, once the sampling under way has ended. What was learned of keys and queues
// before stays. On an error the old one is kept.
func (e *Exporter) Load(cfg *config.Config) error {
	select {
	case e.samplingLock <- struct{}{}:
	case <-e.base.Done():
		return errClosed
	}
	old, err := e.replace(cfg)
	<-e.samplingLock
	if old != nil {
		old.close() // what hangs there holds up no sampling
	}
	return err
}

// replace the setup and give the old one; the caller holds the samplingLock.
func (e *Exporter) replace(cfg *config.Config) (old *Setup, err error) {
	if e.base.Err() != nil {
		return nil, errClosed
	}
	next, err := e.open(cfg)
	if err != nil {
		return nil, err
	}
	return e.use(next), nil
}

// use another setup, and give the old one; the caller holds the samplingLock.
func (e *Exporter) use(next *Setup) (old *Setup) {
	e.mu.Lock()
	defer e.mu.Unlock()
	old = e.setup
	e.setup, e.recent = next, nil
	e.reloadOK, e.loadedAt = true, time.Now()
	return old
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
	e.samplingLock <- struct{}{}
	defer func() { <-e.samplingLock }()
	e.mu.Lock()
	old := e.setup
	e.setup = nil
	e.mu.Unlock()
	if old != nil {
		old.close()
	}
}

// ServeHTTP answers a scrape, always with 200 and all that is known by the end of its time; in OpenMetrics where that is asked
// for. That a client hung up is no fault of ours, and told once.
func (e *Exporter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer := &answerWriter{ResponseWriter: w}
	e.handler.ServeHTTP(answer, r)
	if err := cmp.Or(answer.err, r.Context().Err()); err != nil {
		e.log.Debug("a client hung up before it had its answer", "client", r.RemoteAddr, "err", err)
	}
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
	return e.Report(r.Context(), timeoutOf(r))
}
