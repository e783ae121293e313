package collector

import (
	"context"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

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

// snapshot is what one sampling gave; it is never changed.
type snapshot struct {
	metrics []prometheus.Metric
	// report is nil where nobody says what the evidence points to.
	report *diagnosis.Report
	ended  time.Time
}

// pending is a sampling under way; snapshot is set when done closes (nil where nothing could be sampled in time).
type pending struct {
	done     chan struct{}
	snapshot *snapshot
}

// timeoutOf that the request announces.
func timeoutOf(r *http.Request) time.Duration {
	seconds, err := strconv.ParseFloat(r.Header.Get("X-Prometheus-Scrape-Timeout-Seconds"), 64)
	if err != nil || math.IsNaN(seconds) || seconds <= 0 {
		return defaultTimeout
	}
	return time.Duration(min(seconds, longestTimeout.Seconds()) * float64(time.Second))
}

// samplingTime is the part of a request's timeout that a sampling may use; what is left is for the answer.
func (e *Exporter) samplingTime(timeout time.Duration) time.Duration {
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
		if e.last != nil && time.Since(e.last.ended) < e.opt.MinInterval || e.setup == nil || e.closed {
			defer e.mu.Unlock()
			return e.last
		}
		e.running = &pending{done: make(chan struct{})}
		go e.sample(e.running, began.Add(e.samplingTime(timeout)), (timeout-e.samplingTime(timeout))/2)
	}
	s := e.running
	e.mu.Unlock()

	// A sampling may come up to half of what is left for the answer after its deadline; wait a little longer.
	patience := e.samplingTime(timeout) + (timeout-e.samplingTime(timeout))*3/4
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
func (e *Exporter) sample(s *pending, deadline time.Time, grace time.Duration) {
	ctx, cancel := context.WithDeadline(e.base, deadline)
	defer cancel()
	var got *snapshot
	select {
	case e.samplingLock <- struct{}{}:
		e.mu.Lock()
		setup := e.setup
		e.mu.Unlock()
		if setup != nil && ctx.Err() == nil {
			metrics, report := setup.runner.sample(ctx, grace)
			got = &snapshot{metrics: metrics, report: report, ended: time.Now()}
		}
		if e.base.Err() != nil { // cut short by Close: what was not read then says nothing of the nodes
			got = nil
		}
		e.end(s, got)
		<-e.samplingLock
	case <-ctx.Done():
		e.end(s, nil)
	}
}

// end of a sampling; got is nil where nothing was sampled.
func (e *Exporter) end(s *pending, got *snapshot) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.running = nil
	if got != nil {
		e.last = got
	}
	s.snapshot = got
	close(s.done)
}
