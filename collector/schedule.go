package collector

import (
	"context"
	"math"
	"net/http"
	"strconv"
	"time"
)

const (
	// defaultTimeout of a request that does not announce its own.
	defaultTimeout = 10 * time.Second
	// longestTimeout that a request may ask for.
	longestTimeout = 2 * time.Minute
	// LongestSampling is the most time that a sampling gets, whatever the request waits that begins it.
	LongestSampling = 30 * time.Second
)

// pending is a sampling under way; snapshot is set when done closes (nil where nothing could be sampled in time).
type pending struct {
	// given is the time that it has.
	given    time.Duration
	done     chan struct{}
	snapshot *snapshot
	// next is the first of those who wait for it and may not be content with it; nil: all will. The exporter's lock guards it.
	next *patience
}

// timeoutOf that the request announces.
func timeoutOf(r *http.Request) time.Duration {
	seconds, err := strconv.ParseFloat(r.Header.Get("X-Prometheus-Scrape-Timeout-Seconds"), 64)
	if math.IsInf(seconds, 1) { // also of what is too large for a number
		err = nil
	}
	if err != nil || math.IsNaN(seconds) || seconds <= 0 {
		return defaultTimeout
	}
	return max(time.Duration(min(seconds, longestTimeout.Seconds())*float64(time.Second)), 1)
}

// patience of a request: until when it waits.
type patience struct {
	end time.Time
	// full is the time that a sampling would have had that began with the request.
	full time.Duration
	// offset is left for the answer (--scrape.timeout-offset), least the least time of a sampling.
	offset, least time.Duration
}

func (e *Exporter) patienceFor(timeout time.Duration) *patience {
	p := &patience{end: time.Now().Add(timeout), offset: e.opt.TimeoutOffset, least: e.opt.MinDeadline}
	p.full = p.samplingTime(timeout)
	return p
}

// forAnswer is the part of what is left of a request's time that a sampling may not use.
func (p *patience) forAnswer(left time.Duration) time.Duration {
	if left <= p.offset {
		return left / 2
	}
	return p.offset
}

// samplingTime is what a sampling may have that began with so much left of the request's time. The request says how long it waits
// itself, and what it gets is others' too: so there is a least and a most.
func (p *patience) samplingTime(left time.Duration) time.Duration {
	return min(max(left-p.forAnswer(left), p.least), LongestSampling)
}

// wanted is samplingTime now.
func (p *patience) wanted() time.Duration { return p.samplingTime(max(time.Until(p.end), 0)) }

// wait gives the sampling under way, or begins one; nil where the request's time ends without one that may answer it and is young
// enough.
func (e *Exporter) wait(ctx context.Context, timeout time.Duration) *snapshot {
	p := e.patienceFor(timeout)
	// A sampling may come up to half of what is left for the answer after its deadline; wait a little longer.
	late := time.NewTimer(timeout - p.forAnswer(timeout)/4)
	defer late.Stop()
	for wanted := p.full; ; wanted = p.wanted() {
		s, answer := e.join(p, wanted)
		if s == nil {
			return answer
		}
		select {
		case <-s.done:
			if s.snapshot != nil && s.snapshot.answers(p.wanted()) {
				return s.snapshot
			}
			if s.snapshot != nil {
				continue // another request had it cut short
			}
		case <-late.C:
		case <-ctx.Done():
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		return e.recent.answer(p.full, youngEnough)
	}
}

// join the sampling under way, or begin one of the time wanted; nil: there is an answer already, or there will be none.
func (e *Exporter) join(p *patience, wanted time.Duration) (*pending, *snapshot) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if got := e.recent.answer(p.full, e.opt.MinInterval); got != nil {
		return nil, got
	}
	if e.running == nil {
		if e.setup == nil || e.closed {
			return nil, e.recent.answer(p.full, youngEnough)
		}
		e.begin(wanted)
	} else if e.running.next == nil && e.running.given < wanted {
		e.running.next = p
	}
	return e.running, nil
}

// begin a sampling; the caller holds mu.
func (e *Exporter) begin(given time.Duration) {
	s := &pending{given: given, done: make(chan struct{})}
	e.running = s
	go e.sample(s)
}

// sample to the deadline; collectors that are late get half of what is left for the answer.
func (e *Exporter) sample(s *pending) {
	began, grace := time.Now(), min(e.opt.TimeoutOffset, s.given)/2
	ctx, cancel := context.WithTimeout(e.base, s.given)
	defer cancel()
	var got *snapshot
	select {
	case e.samplingLock <- struct{}{}:
		e.mu.Lock()
		setup := e.setup
		e.mu.Unlock()
		if setup != nil && ctx.Err() == nil {
			metrics, report := setup.runner.sample(ctx, grace)
			got = &snapshot{metrics: metrics, report: report, ended: time.Now(), given: s.given}
			got.hurried = got.ended.Sub(began) >= s.given/leastPart
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

// end of a sampling; got is nil where nothing was sampled. If it was cut short, it is the turn of who needs more time: else requests
// with less could keep it out.
func (e *Exporter) end(s *pending, got *snapshot) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.running = nil
	if got != nil {
		e.recent = e.recent.add(got)
	}
	s.snapshot = got
	close(s.done)
	if got != nil && s.next != nil && !got.answers(s.next.wanted()) && e.setup != nil && !e.closed {
		e.begin(s.next.wanted())
	}
}
