// Package consistency reads the copies of canaries, twice where it matters, asks package verdict for the state of each, counts
// the states, and remembers the copies from one sampling to the next. Exporter and check use it alike.
//
// A Sampler reads all canaries of one configuration; each Sample is a round: choose keys, read them on every node, read
// those that differ again, have them judged, and count. Its Result is plain data. A Memory is kept from sampling to
// sampling, and from one configuration to the next.
package consistency

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/verdict"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// Options of a Sampler.
type Options struct {
	// RereadDelay between the two reads of a key (--canary.reread-delay).
	RereadDelay time.Duration
	// ScanCount is the COUNT of a SCAN step (--canary.scan-count).
	ScanCount int
	// MaxKeySeries bounds the literal keys told one by one (--canary.max-key-series).
	MaxKeySeries int
	// DigestKey keys the hash that chooses sampled keys; empty: a random one.
	DigestKey []byte
	// Events remembers what comes out of queues; nil: nobody does.
	Events EventTracker
	// Details asks for KeyReports of the keys that are not all fresh, ShowValues for their values too.
	Details, ShowValues bool
	// Without are rules that the verdict does without; none but in tests.
	Without verdict.Rule
}

// Fleet is the nodes of a configuration; *probes.Fleet is one.
type Fleet interface {
	Survey(ctx context.Context, scanFor func(probes.Identity) *probes.Scan, visit func(probes.Node, probes.Survey, error))
	Groups() []probes.NodeGroup
}

// Sampler reads all canaries of one configuration.
type Sampler struct {
	fleet   Fleet
	opt     Options
	env     *probes.Env
	memory  *Memory
	classes []*class
	layers  map[string]config.Layer
	judge   verdict.Judge
	// buffers of first reads by node.
	buffers map[string][]reading
}

// NewSampler over the nodes of fleet, which were opened with env.
func NewSampler(cfg *config.Config, fleet Fleet, opt Options, env *probes.Env, memory *Memory) (*Sampler, error) {
	if len(opt.DigestKey) == 0 {
		opt.DigestKey = make([]byte, 32)
		if _, err := rand.Read(opt.DigestKey); err != nil {
			return nil, fmt.Errorf("no randomness for the choice of sampled keys: %w", err)
		}
	}
	s := &Sampler{fleet: fleet, opt: opt, env: env, memory: memory, layers: map[string]config.Layer{}, buffers: map[string][]reading{}}
	s.judge.Without = opt.Without
	for _, l := range cfg.Layers {
		s.layers[l.Name] = l
	}
	memory.mu.Lock()
	defer memory.mu.Unlock()
	for _, c := range cfg.Canaries {
		k, err := s.open(c)
		if err != nil {
			s.Close()
			return nil, fmt.Errorf("canary class %q: %w", c.Name, err)
		}
		s.classes = append(s.classes, k)
	}
	return s, nil
}

// Close ends the connections to the origins.
func (s *Sampler) Close() {
	for _, c := range s.classes {
		if c.origin != nil {
			c.origin.Close()
		}
	}
}

// Sample reads everything once. It returns by ctx's deadline, whatever the nodes do; the first reads get half of
// the time, the origin an eighth in each of its two rounds.
func (s *Sampler) Sample(ctx context.Context) *Result {
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	began := time.Now()
	s.memory.keepClasses(s.classes, began)
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = began.Add(10 * time.Second)
	}
	r := &round{Sampler: s, began: began, total: deadline.Sub(began), replicated: s.memory.replicated()}
	r.chooseKeys()
	r.readFirst(ctx)
	slices.SortFunc(r.order, r.compare)
	r.noteNodes()
	for i := range s.classes {
		r.arrange(i)
	}
	r.tellNotes()
	r.askOrigins(ctx, 0)
	r.rereads(ctx)
	r.tellLooks()
	defer r.keepBuffers()
	return r.finish()
}

// Listing is what a Search came to.
type Listing struct {
	// Keys that were chosen from the patterns so far.
	Keys int
	// Largest is how many items the largest node that is listed step by step holds.
	Largest float64
}

// Search takes one step through the nodes' keys for the classes' patterns, and reads none of them.
func (s *Sampler) Search(ctx context.Context) Listing {
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	r := &round{Sampler: s, began: time.Now(), replicated: s.memory.replicated(), waits: true}
	var out Listing
	s.fleet.Survey(ctx, r.scanFor, func(n probes.Node, survey probes.Survey, _ error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if n.Identity().Traits.StepsThroughKeys {
			out.Largest = max(out.Largest, survey.Items.Value)
		}
	})
	for _, c := range s.classes {
		if c.sampled != nil {
			out.Keys += len(c.sampled.choose(r.began, func(string) bool { return false }))
		}
	}
	return out
}
