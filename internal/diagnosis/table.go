package diagnosis

import "time"

// Cause of stale data.
type Cause string

// The causes, in the order in which one may bring about those after it.
const (
	Network  Cause = "network"
	Queueing Cause = "queue"
	Config   Cause = "config"
	Version  Cause = "version"
	Logic    Cause = "logic"
)

// Verdicts besides the causes.
const (
	// None: nothing is wrong.
	None = "none"
	// Nothing: nothing could be sampled, so nothing is known.
	Nothing = "unknown"
)

// Causes in their order of precedence.
var Causes = []Cause{Network, Queueing, Config, Version, Logic}

// Signal is one row of the table: a kind of finding, the cause that it points to, and how much it weighs.
type Signal struct {
	Name   string
	Cause  Cause
	Weight float64
	// Unit of its size: what Start and Full count.
	Unit string
	// Below Start it weighs nothing, there Floor of its weight, from Full on all of it; between them in proportion.
	Start, Full, Floor float64
	// Sum: sizes of several subjects are added; else the largest counts.
	Sum bool
	// After: the same subject must have shown it in this sampling and the one before, for so long; until then the finding
	// counts as a first sight. 0: it counts at once.
	After   time.Duration
	Meaning string
}

const (
	// twice: seen in two samplings, not in two requests that share one instant.
	twice = 250 * time.Millisecond
	// aWhile is longer than a consumer's restart, a rebalance or the pause between two automatic commits.
	aWhile = 8 * time.Second
)

// The names of the signals.
const (
	nodeUnreached     = "node_unreached"
	appUnreached      = "app_unreached"
	linkDown          = "replication_link_down"
	replicationLag    = "replication_lag"
	clusterDown       = "cluster_down"
	dividedViews      = "divided_views"
	splitBrain        = "split_brain"
	groupIncomplete   = "group_incomplete"
	isolatedNode      = "isolated_node"
	brokerDown        = "broker_down"
	queueUnreached    = "queue_unreached"
	probeLostSome     = "probe_lost_on_some"
	probeUnpublished  = "probe_unpublished"
	backlog           = "backlog"
	fallingBehind     = "falling_behind"
	oldMessages       = "old_messages"
	stalledGroup      = "stalled_group"
	noMembers         = "no_members"
	lostMessages      = "lost_messages"
	rewound           = "rewound_messages"
	underTarget       = "under_target"
	settingsDiffer    = "settings_differ"
	serversDiffer     = "server_versions_differ"
	strayCopies       = "stray_copies"
	immortalCopies    = "immortal_copies"
	appVersionsDiffer = "app_versions_differ"
	versionsExplain   = "versions_explain_stale"
	versionConflicts  = "version_conflicts"
	failedInval       = "failed_invalidations"
	loop              = "loop"
	survivorCopies    = "survivors"
	unexplainedStale  = "unexplained_stale"
	probeLostAll      = "probe_lost_everywhere"
)

// probeArrived is what is remembered of invalidations that reached a node; it is no signal.
const probeArrived = "probe_arrived"

// Signals is the table of weights. docs/diagnosis.md has a copy.
var Signals = []Signal{
	{nodeUnreached, Network, 0.95, "nodes", 1, 3, 0.6, true, twice, "A cache node does not answer, and is not loading."},
	{appUnreached, Network, 0.5, "instances", 1, 3, 0.5, true, twice, "An application instance does not tell its version."},
	{linkDown, Network, 0.85, "replicas", 1, 2, 0.8, true, twice, "A replica's link to its primary is down."},
	{replicationLag, Network, 0.7, "seconds", 0.5, 10, 0.5, false, 0, "A replica has not reached where its primary was so long ago, in an earlier sampling, though its link may be up."},
	{clusterDown, Network, 0.8, "groups", 1, 2, 0.9, true, twice, "A node of a Redis Cluster says that the cluster is not ok."},
	{dividedViews, Network, 0.8, "views too many", 1, 2, 0.8, false, twice, "The nodes of a Redis Cluster tell different shards."},
	{splitBrain, Network, 0.95, "primaries too many", 1, 2, 0.9, false, twice, "Two primaries claim the same slots, or one replication group has two."},
	{groupIncomplete, Network, 0.5, "nodes", 1, 3, 0.6, true, twice, "A group has fewer nodes than min_nodes, or none that are known."},
	{isolatedNode, Network, 0.75, "nodes", 1, 2, 0.8, true, twice, "A node that answers misses writes that its peers have: every stale copy is on it, or on few such nodes, or in layers of a shorter TTL."},
	{brokerDown, Network, 0.6, "brokers", 1, 2, 0.6, true, twice, "A Kafka broker does not answer."},
	{queueUnreached, Network, 0.5, "queues", 1, 2, 0.6, true, twice, "A queue could not be asked."},
	{probeLostSome, Network, 0.6, "probes", 3, 6, 0.5, true, twice, "An active probe's invalidation is lost on some nodes and arrives on others (the last minute)."},
	{probeUnpublished, Network, 0.4, "probes", 2, 5, 0.7, true, 0, "An active probe could not be published or set up (the last minute)."},

	{backlog, Queueing, 0.9, "times the limit", 1, 5, 0.3, false, twice, "More messages wait than the limit."},
	{fallingBehind, Queueing, 0.7, "times the limit", 1, 5, 0.3, false, aWhile, "At its present growth the queue is beyond the limit in ten seconds."},
	{oldMessages, Queueing, 0.8, "seconds", 60, 600, 0.4, false, 0, "The oldest message waits for so long."},
	{stalledGroup, Queueing, 0.9, "groups", 1, 2, 0.9, true, 0, "A consumer group commits nothing though messages wait."},
	{noMembers, Queueing, 0.6, "groups", 1, 2, 0.7, true, twice, "A consumer group has no members, and its messages wait for 30 s or longer."},
	{lostMessages, Queueing, 0.9, "messages", 1, 100, 0.6, true, 0, "Messages were deleted before they were processed (the last five minutes)."},
	{rewound, Queueing, 0.2, "messages", 1, 1000, 0.5, true, 0, "A group's commits went back (the last five minutes)."},
	{underTarget, Queueing, 0.4, "share missing", 0.5, 0.9, 0.6, false, aWhile, "A queue beyond its limit is processed more slowly than its target_rate."},

	{settingsDiffer, Config, 0.75, "settings", 1, 2, 0.8, true, 0, "eviction_policy or memory_limit differs within a layer."},
	{serversDiffer, Config, 0.4, "layers", 1, 2, 0.7, true, twice, "server_version differs within a layer."},
	{strayCopies, Config, 0.7, "copies", 1, 5, 0.5, true, twice, "Copies on a memcached server that is not the key's own: another server list or hashing."},
	{immortalCopies, Config, 0.15, "copies", 1, 10, 0.4, true, twice, "Copies without expiry, or with more than the layer's TTL: nothing corrects a lost invalidation."},

	{appVersionsDiffer, Version, 0.8, "versions too many", 1, 2, 0.9, false, twice, "Instances of one application run different versions."},
	{versionsExplain, Version, 0.6, "nodes", 1, 2, 0.8, true, twice, "Every stale copy is on instances that run another version than most."},
	{versionConflicts, Version, 0.6, "keys", 1, 10, 0.5, true, twice, "Keys with different content under the same highest version."},

	{failedInval, Logic, 0.85, "share", 0.05, 0.2, 0.4, false, 0, "Invalidations fail."},
	{loop, Logic, 0.85, "share", 0.2, 0.5, 0.5, false, twice, "The newest messages repeat keys without a higher version (where versions are unknown: one key is half of them) at a high rate."},
	{survivorCopies, Logic, 0.7, "copies", 1, 5, 0.5, true, twice, "Copies survived a delete that reached another node, in two samplings, and no cause before this one stands."},
	{unexplainedStale, Logic, 0.5, "copies", 1, 10, 0.5, true, twice, "Copies are overdue, and no cause before this one stands."},
	{probeLostAll, Logic, 0.6, "probes", 3, 6, 0.5, true, 0, "An active probe's invalidations are lost wherever its key is (the last minute), and no queue is backed up."},
}

// Limit is a threshold that belongs to no single signal.
type Limit struct {
	Name    string
	Value   float64
	Meaning string
}

// Limits are the other half of the table.
var Limits = []Limit{
	{"standing", 0.2, "A cause stands above this score."},
	{"first_sight", 0.18, "Findings that did not last bring a cause no further than this."},
	{"strong", 0.5, "No cause scores above one before it that has this score or more: that one may have brought it about."},
	{"isolated_copies", 3, "Stale copies on a node that may be cut off, at least."},
	{"isolated_elsewhere", 0.1, "Share of the stale copies that may be on other nodes, besides those in layers of a shorter TTL, which are filled from the cut-off nodes."},
	{"isolated_versions", 2, "A cut-off node is stale in two classes, or so many versions behind, or its staleness grew in the last minute."},
	{"fast_layer", 10, "Seconds of max_staleness up to which every stale copy counts; in slower layers, overdue ones alone."},
	{"backlog_messages", 1000, "Limit of a queue in messages, where no larger one follows from capacity or target_rate."},
	{"backlog_capacity", 0.05, "Share of its capacity that is a queue's limit, if that is more."},
	{"backlog_small", 0.5, "Share of its capacity that is a small queue's limit, if that is less than backlog_messages."},
	{"backlog_target", 10, "Seconds of target_rate that are a queue's limit instead, where no capacity is known."},
	{"backlog_least", 100, "Limit that follows from a target_rate, at least."},
	{"burst_seconds", 10, "A queue without capacity whose oldest message is younger than this, and which is empty in less than this at its present pace, ..."},
	{"burst_factor", 6, "... has so many times the limit: a burst that is being processed."},
	{"projection", 10, "Seconds ahead of falling_behind."},
	{"idle_seconds", 30, "Age of waiting messages from which a group without members counts."},
	{"failures", 3, "Failed invalidations, at least."},
	{"delete_seconds", 1, "Age of a waiting message from which survivors may be copies whose delete is on its way."},
	{"loop_messages", 20, "Sampled messages, at least."},
	{"loop_rate", 20, "Messages enqueued per second, at least; until the rate is known, a loop is a first sight."},
	{"loop_top_key", 0.5, "Share of one key from which it counts as a loop, where messages have no versions."},
	{"recent", 300, "Seconds for which lost and rewound messages are remembered."},
	{"recent_probes", 60, "Seconds for which what came of a probe is remembered."},
}

// limit by its name.
func limit(name string) float64 {
	for _, l := range Limits {
		if l.Name == name {
			return l.Value
		}
	}
	panic("no limit is called " + name)
}

func signal(name string) *Signal {
	for i := range Signals {
		if Signals[i].Name == name {
			return &Signals[i]
		}
	}
	panic("no signal is called " + name)
}

// strength of a finding of this size, 0 to 1.
func (s *Signal) strength(size float64) float64 {
	switch {
	case !(size >= s.Start): // NaN too
		return 0
	case size >= s.Full:
		return 1
	}
	return s.Floor + (1-s.Floor)*(size-s.Start)/(s.Full-s.Start)
}
