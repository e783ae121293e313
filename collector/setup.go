package collector

import (
	"fmt"
	"log/slog"
	"slices"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/consistency"
	"github.com/cacheinv/cacheinv_exporter/internal/events"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// Setup is one configuration with its connections: what signals open their collectors with.
type Setup struct {
	Config *config.Config
	// Fleet is the configuration's cache nodes.
	Fleet *probes.Fleet
	// Env is how backends are asked, the same for all signals.
	Env *probes.Env
	Log *slog.Logger

	// events outlive the configuration.
	events     *events.Tracker
	closers    []func()
	configured []func()
	runner     *runner
}

// OnClose has closing called when the configuration is no longer used: the last one first.
func (s *Setup) OnClose(closing func()) { s.closers = append(s.closers, closing) }

// onConfigured has f called once the events' tracker goes by the configuration, before anything is asked.
func (s *Setup) onConfigured(f func()) { s.configured = append(s.configured, f) }

func (s *Setup) close() {
	for i := len(s.closers) - 1; i >= 0; i-- {
		s.closers[i]()
	}
}

// open the connections that cfg needs for the enabled signals. Nothing is asked yet.
func (e *Exporter) open(cfg *config.Config) (_ *Setup, err error) {
	s := &Setup{Config: cfg, Env: e.opt.Env, Log: e.log, events: e.kept.events}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.Fleet, err = cfg.OpenFleet(e.opt.Env); err != nil {
		return nil, fmt.Errorf("opening the nodes: %w", err)
	}
	s.OnClose(s.Fleet.Close)
	sampled := e.opt.sampled(cfg)
	sampling := e.opt.Sampler
	sampling.Events = e.kept.events
	reading, err := consistency.NewSampler(sampled, s.Fleet, sampling, e.opt.Env, e.kept.copies)
	if err != nil {
		return nil, fmt.Errorf("opening the canaries: %w", err)
	}
	s.OnClose(reading.Close)
	var collectors []*signalCollector
	for i, signal := range e.opt.Signals {
		if e.kept.openers[i] == nil || !e.opt.enabled(signal.Name) {
			continue
		}
		c, err := e.kept.openers[i](s)
		if err != nil {
			return nil, err
		}
		if c != nil {
			collectors = append(collectors, &signalCollector{name: signal.Name, Collector: c})
		}
	}
	s.runner = newRunner(reading, collectors, e.log)
	s.runner.causes = &causeJudge{
		memory: e.kept.causes, configured: configuredOf(cfg), unknown: unknownOf(cfg, e.opt), silent: !e.opt.enabled(causeName),
	}
	// At the end, as it changes what the configuration before goes by, which stays where this one fails.
	if err := e.kept.events.Configure(eventSpecs(sampled, reading.KnownKeys)); err != nil {
		return nil, fmt.Errorf("following the queues: %w", err)
	}
	for _, f := range s.configured {
		f()
	}
	return s, nil
}

// sampled is the configuration with those classes alone whose signals are enabled.
func (o Options) sampled(cfg *config.Config) *config.Config {
	out := *cfg
	switch {
	case !o.enabled(canaryName):
		out.Canaries = nil
	case !o.enabled(eventName) || !o.enabled(queueName):
		out.Canaries = slices.Clone(cfg.Canaries)
		for i := range out.Canaries {
			out.Canaries[i].Events = nil
		}
	}
	return &out
}
