package collector

import (
	"github.com/cacheinv/cacheinv_exporter/internal/consistency"
	"github.com/cacheinv/cacheinv_exporter/internal/diagnosis"
	"github.com/cacheinv/cacheinv_exporter/internal/events"
)

// kept is what survives a change of the configuration.
type kept struct {
	// copies is what the sampler remembers of keys and their copies.
	copies *consistency.Memory
	causes *diagnosis.Memory
	// events are the messages of queues whose keys are still to be looked at.
	events *events.Tracker
	// openers by their signal's index; nil for one without a collector. Each keeps what is its signal's own.
	openers []Opener
}

func newKept(opt Options) kept {
	k := kept{
		copies: consistency.NewMemory(), causes: diagnosis.NewMemory(), events: events.NewTracker(events.Options{HashKey: opt.Sampler.DigestKey}),
	}
	for _, s := range opt.Signals {
		var open Opener
		if s.New != nil {
			open = s.New(opt)
		}
		k.openers = append(k.openers, open)
	}
	return k
}
