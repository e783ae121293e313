package collector

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cacheinv/cacheinv_exporter/internal/diagnosis"
)

const (
	// youngEnough is the age up to which an earlier sampling answers a request that could not wait for the next.
	youngEnough = 60 * time.Second
	// leastPart of a sampling's time is less than any part of it that may end by itself, such as the eighth for an origin: what took
	// no longer was cut short nowhere.
	leastPart = 32
	// mostRecent samplings are kept.
	mostRecent = 3
)

// snapshot is what one sampling gave; it is never changed.
type snapshot struct {
	metrics []prometheus.Metric
	// report is nil where nobody says what the evidence points to.
	report *diagnosis.Report
	ended  time.Time
	// given is the time that the sampling had. hurried: it needed so much of it that something may have been cut short.
	given   time.Duration
	hurried bool
}

// answers reports whether it may answer a request for which a sampling would have the time wanted: what is slower than another
// request allowed is not down.
func (s *snapshot) answers(wanted time.Duration) bool { return !s.hurried || s.given >= wanted }

// recentSamplings are kept, the newest first. Each but the first had more time than all that are newer, so it may answer requests that those
// may not.
type recentSamplings []*snapshot

// add a sampling that has ended.
func (r recentSamplings) add(s *snapshot) recentSamplings {
	out := recentSamplings{s}
	for _, old := range r {
		if !s.answers(old.given) && s.ended.Sub(old.ended) < youngEnough {
			out = append(out, old)
		}
	}
	if len(out) > mostRecent { // the newest and the longest matter
		out = append(out[:mostRecent-1], out[len(out)-1])
	}
	return out
}

// answer gives the newest that may answer a request for which a sampling would have the time wanted; nil: none is younger than age.
func (r recentSamplings) answer(wanted, age time.Duration) *snapshot {
	for _, s := range r {
		if s.answers(wanted) && time.Since(s.ended) < age {
			return s
		}
	}
	return nil
}
