package collector

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/consistency"
	"github.com/cacheinv/cacheinv_exporter/internal/diagnosis"
	"github.com/cacheinv/cacheinv_exporter/internal/roundtrip"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// Options of an Exporter, from the command line.
type Options struct {
	// TimeoutOffset is left of a scrape's timeout for the answer (--scrape.timeout-offset).
	TimeoutOffset time.Duration
	// MinInterval within which the last answer is given again (--scrape.min-interval).
	MinInterval time.Duration
	// StallWindow after which a group that commits nothing though messages wait is stalled (--queue.stall-window).
	StallWindow time.Duration
	// Enabled collectors, by name (--collector.NAME); one that is not in it is enabled.
	Enabled map[string]*bool
	// Sampler and Probes are handed on; Sampler.Probes is set from Probes.
	Sampler consistency.Options
	Probes  probes.Options
}

// state is what survives a change of the configuration.
type state struct {
	history   *consistency.Memory
	episodes  *prometheus.HistogramVec
	replicas  *replicas
	queues    *QueueCounters
	probes    *InvalidationProbes
	causes    *diagnosis.Memory
	histories *Histories
}

func newState(opt Options) state {
	return state{
		history: consistency.NewMemory(), episodes: newTimeToConsistency(), replicas: newReplicas(),
		queues: NewQueueCounters(opt.StallWindow), probes: NewInvalidationProbes(), causes: diagnosis.NewMemory(),
		histories: NewHistories(),
	}
}

// target is one configuration with its connections.
type target struct {
	cfg     *config.Config
	crew    *crew
	closers []func()
}

func (t *target) close() {
	for i := len(t.closers) - 1; i >= 0; i-- {
		t.closers[i]()
	}
}

// open the connections that cfg needs for the enabled collectors. Nothing is asked yet.
func (e *Exporter) open(cfg *config.Config) (_ *target, err error) {
	t := &target{cfg: cfg}
	defer func() {
		if err != nil {
			t.close()
		}
	}()
	on := func(name string) bool {
		enabled, ok := e.opt.Enabled[name]
		return !ok || *enabled
	}
	fleet, err := probes.OpenFleet(cfg, e.opt.Probes, e.log)
	if err != nil {
		return nil, fmt.Errorf("opening the nodes: %w", err)
	}
	t.closers = append(t.closers, fleet.Close)

	var readers []reader
	if on("node") {
		readers = append(readers, nodeCollector{})
	}
	if on("replication") {
		readers = append(readers, &replicationCollector{known: e.state.replicas})
	}
	if on("config_drift") {
		readers = append(readers, &configDriftCollector{})
	}
	sampled := *cfg
	if on("canary") {
		readers = append(readers, canaryCollector{episodes: e.state.episodes})
	} else {
		sampled.Canaries = nil
	}
	opt := e.opt.Sampler
	opt.Probes = e.opt.Probes
	s, err := consistency.NewSampler(&sampled, fleet, opt, e.state.history, e.log)
	if err != nil {
		return nil, fmt.Errorf("opening the canaries: %w", err)
	}
	t.closers = append(t.closers, s.Close)

	var others []Collector
	if on("queue") {
		queues, err := probes.OpenQueues(cfg, fleet, e.opt.Probes, e.log)
		if err != nil {
			return nil, fmt.Errorf("opening the queues: %w", err)
		}
		for _, q := range queues {
			t.closers = append(t.closers, q.Close)
		}
		others = append(others, NewQueue(cfg.Queues, queues, e.state.queues, e.log))
	}
	if on("history") {
		histories, err := probes.OpenHistories(cfg, e.state.histories.counted, e.opt.Probes)
		if err != nil {
			return nil, fmt.Errorf("opening the histories: %w", err)
		}
		for _, h := range histories {
			t.closers = append(t.closers, h.Close)
		}
		others = append(others, newHistory(cfg.History, histories, e.state.histories))
	}
	if on("app_version") {
		apps, err := probes.OpenApps(cfg, e.opt.Probes, e.log)
		if err != nil {
			return nil, fmt.Errorf("opening the applications: %w", err)
		}
		var asked []appVersions
		for i, a := range apps {
			t.closers = append(t.closers, a.Close)
			asked = append(asked, appVersions{name: cfg.Versions[i].Name, sample: a.Sample})
		}
		others = append(others, &appVersionCollector{apps: asked})
	}
	if on("invalidation_probe") && len(cfg.Probes) > 0 {
		runner, err := roundtrip.Start(cfg, e.opt.Probes, e.state.probes, e.log)
		if err != nil {
			return nil, fmt.Errorf("opening the invalidation probes: %w", err)
		}
		t.closers = append(t.closers, runner.Close)
		var names []string
		for _, p := range cfg.Probes {
			names = append(names, p.Name)
		}
		others = append(others, newInvalidationProbeCollector(names, e.state.probes))
	}
	t.crew = newCrew(s, readers, others, e.log)
	t.crew.causes = &causeTeller{memory: e.state.causes, estate: estateOf(cfg), unknown: unknownOf(cfg, on), silent: !on(causeName)}
	return t, nil
}
