package collector

import (
	"log/slog"
	"math"
	"net/http"

	"github.com/klauspost/compress/gzhttp"
	"github.com/klauspost/compress/gzip"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
)

// mostWriting answers are written at once, as each takes several times its length until it is made; others wait for their turn.
const mostWriting = 2

// serveMetrics waits for a sampling, and writes its families.
func (e *Exporter) serveMetrics(w http.ResponseWriter, r *http.Request) {
	process := make(chan gathering, 1)
	go func() { process <- gatherFrom(e.process) }() // while the sampling goes on
	snapshot := e.wait(r.Context(), timeoutOf(r))
	if !e.writing.Wait(w, r) {
		return
	}
	defer e.writing.Leave()
	promhttp.HandlerFor(prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		all := e.gather(snapshot).with(<-process)
		return all.families, all.err
	}), promhttp.HandlerOpts{
		ErrorLog:           slog.NewLogLogger(e.log.Handler(), slog.LevelError),
		ErrorHandling:      promhttp.ContinueOnError,
		EnableOpenMetrics:  true,
		DisableCompression: true,
	}).ServeHTTP(w, r)
}

// gather the families of a snapshot, and what is known without one.
func (e *Exporter) gather(s *snapshot) gathering {
	e.mu.Lock()
	setup, ok, at := e.setup, e.reloadOK, e.loadedAt
	e.mu.Unlock()
	var all []*series
	all = append(all, reloadSuccessful.series(number(ok)))
	if !at.IsZero() {
		all = append(all, reloadTime.series(float64(at.UnixMilli())/1000))
	}
	if setup != nil {
		all = append(all, layerSeries(setup.Config)...)
	}
	switch {
	case s != nil:
		var others metrics
		for _, m := range s.metrics {
			if one, ok := m.(*series); ok {
				all = append(all, one)
			} else {
				others = append(others, m)
			}
		}
		return gatherSeries(all).with(others.gather())
	case setup != nil:
		for _, name := range setup.runner.names() {
			all = append(all, collectorSuccess.series(0, name))
		}
	}
	return gatherSeries(all)
}

// layerSeries are what the configuration says of the layers.
func layerSeries(cfg *config.Config) (out []*series) {
	for _, l := range cfg.Layers {
		ttl := l.TTL.Seconds()
		if l.NoExpiry {
			ttl = math.Inf(1)
		}
		out = append(out, layerTTL.series(ttl, l.Name), layerMaxStaleness.series(l.MaxStaleness.Seconds(), l.Name))
	}
	return out
}

// leastCompressed is the length of an answer from which it is compressed: a shorter one would cost both ends more than it saves.
const leastCompressed = 32 << 10

// compressed answers where the client asks for it, with the least work: that of the usual level is a good part of a scrape, and makes
// answers of many series hardly shorter.
func compressed(h http.Handler) http.Handler {
	wrap, err := gzhttp.NewWrapper(gzhttp.CompressionLevel(gzip.BestSpeed), gzhttp.MinSize(leastCompressed), gzhttp.EnableZstd(false))
	if err != nil {
		panic(err) // the options are constants
	}
	return wrap(h)
}

// answerWriter notes the first error of a client that does not listen any more, and takes what follows as if it were sent:
// promhttp would log an error for each family.
type answerWriter struct {
	http.ResponseWriter
	err error
}

// Write implements http.ResponseWriter.
func (w *answerWriter) Write(b []byte) (int, error) {
	if w.err == nil {
		_, w.err = w.ResponseWriter.Write(b)
	}
	return len(b), nil
}
