package collector

import "github.com/cacheinv/cacheinv_exporter/internal/config"

// Signal is one thing that the exporter watches. To add one, write a file with its families and its Collector, and a line
// in Signals: flags, metrics, the status and what a diagnosis says of unknown parts follow from it.
type Signal struct {
	// Name as in --collector.NAME, and in the label collector.
	Name string
	// Configured reports whether the configuration has something for it; where not, a diagnosis says so. nil: it needs no
	// block of its own.
	Configured func(cfg *config.Config) bool
	// New is called once in a process: what the signal remembers beyond one configuration belongs to the Opener that it
	// gives. nil: its collector is not run beside the others.
	New func(opt Options) Opener
}

// Opener opens a signal's collector for one configuration. It asks nothing yet. A nil Collector has nothing to collect.
type Opener func(s *Setup) (Collector, error)

// Signals are all, in the order of their flags.
var Signals = []Signal{
	{Name: canaryName, Configured: hasCanaries, New: newCanarySignal},
	{Name: "node", New: newNodeSignal},
	{Name: queueName, Configured: hasQueues, New: newQueueSignal},
	{Name: eventName, New: newEventSignal},
	{Name: "replication", New: newReplicationSignal},
	{Name: "app_version", Configured: hasVersions, New: newAppVersionSignal},
	{Name: "config_drift", New: newConfigDriftSignal},
	{Name: "history", Configured: hasHistory, New: newHistorySignal},
	{Name: "invalidation_probe", New: newRoundTripSignal},
	{Name: "repair", New: newRepairSignal},
	{Name: causeName}, // it judges what the others found, once they are back
}

func hasCanaries(cfg *config.Config) bool { return len(cfg.Canaries) > 0 }
func hasQueues(cfg *config.Config) bool   { return len(cfg.Queues) > 0 }
func hasVersions(cfg *config.Config) bool { return len(cfg.Versions) > 0 }
func hasHistory(cfg *config.Config) bool  { return len(cfg.History) > 0 }
