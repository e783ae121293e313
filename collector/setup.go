package collector

import (
	"fmt"
	"log/slog"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/consistency"
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

	closers []func()
	runner  *runner
}

// OnClose has closing called when the configuration is no longer used: the last one first.
func (s *Setup) OnClose(closing func()) { s.closers = append(s.closers, closing) }

func (s *Setup) close() {
	for i := len(s.closers) - 1; i >= 0; i-- {
		s.closers[i]()
	}
}

// open the connections that cfg needs for the enabled signals. Nothing is asked yet.
func (e *Exporter) open(cfg *config.Config) (_ *Setup, err error) {
	s := &Setup{Config: cfg, Env: e.opt.Env, Log: e.log}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.Fleet, err = cfg.OpenFleet(e.opt.Env); err != nil {
		return nil, fmt.Errorf("opening the nodes: %w", err)
	}
	s.OnClose(s.Fleet.Close)
	sampled := *cfg
	if !e.opt.enabled(canaryName) {
		sampled.Canaries = nil
	}
	reading, err := consistency.NewSampler(&sampled, s.Fleet, e.opt.Sampler, e.opt.Env, e.kept.copies)
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
	return s, nil
}
