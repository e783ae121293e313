// Package collector turns what was sampled into metrics: one file for each signal, with its families beside the code that
// sends them. Three types to know: Signal is a line of the table of signals, Collector is what a signal opens for one
// configuration, and Exporter runs the collectors, shares one sampling among requests and serves it.
package collector

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cacheinv/cacheinv_exporter/internal/consistency"
	"github.com/cacheinv/cacheinv_exporter/internal/diagnosis"
)

// Collector gives the metrics of one signal.
type Collector interface {
	// Update learns what there is to know in this sampling, and sends it. It returns soon after ctx ends; an error says that
	// something of what it asks failed, not that nothing was sent.
	Update(ctx context.Context, s *Sampling, ch chan<- prometheus.Metric) error
}

// Evidencer is a Collector that contributes to the diagnosis.
type Evidencer interface {
	// AddEvidence of the last Update. It is called after one that came back in time, before the next begins.
	AddEvidence(e *diagnosis.Evidence)
}

// sampler reads all canaries once; *consistency.Sampler is one.
type sampler interface {
	Sample(ctx context.Context) *consistency.Result
}

// Sampling is one round of all collectors.
type Sampling struct {
	read func() *consistency.Result
	// ended holds the result once there is one.
	ended atomic.Pointer[consistency.Result]
}

func newSampling(ctx context.Context, from sampler) *Sampling {
	s := &Sampling{}
	s.read = sync.OnceValue(func() *consistency.Result {
		r := from.Sample(ctx)
		s.ended.Store(r)
		return r
	})
	return s
}

// Consistency of the nodes and their copies. The first collector that asks has them read; all get the same result, and
// wait for it.
func (s *Sampling) Consistency() *consistency.Result { return s.read() }
