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

// Outcomes besides the causes.
const (
	// None: nothing is wrong.
	None = "none"
	// Nothing: nothing could be sampled, so nothing is known.
	Nothing = "unknown"
)

// Causes in their order of precedence.
var Causes = []Cause{Network, Queueing, Config, Version, Logic}

// Weight is one row of the table: a kind of finding, the cause that it points to, and how much it weighs. In what users
// read it is called a signal.
type Weight struct {
	Name  string
	Cause Cause
	Value float64
	// Unit of its size: what Start and Full count.
	Unit string
	// Below Start it weighs nothing, there Floor of its Value, from Full on all of it; between them in proportion.
	Start, Full, Floor float64
	// Over says what counts where several subjects show it.
	Over Over
	// After: the same subject must have shown it in this sampling and the one before, for so long; until then the finding
	// counts as a first sight. 0: it counts at once.
	After   time.Duration
	Meaning string
}

// Over says how the sizes of several subjects become one.
type Over string

const (
	// largest: the largest alone counts.
	largest Over = "largest"
	// sum: they are added.
	sum Over = "sum"
	// classSum: those of one class are added, and the class with most counts: they are shares of what the class has.
	classSum Over = "sum in a class"
)

const (
	// twice: seen in two samplings, not in two requests that share one instant.
	twice = 250 * time.Millisecond
	// aWhile is longer than a consumer's restart, a rebalance or the pause between two automatic commits.
	aWhile = 8 * time.Second
)

// arrived is the id under which invalidations that reached a node are remembered; they have no weight.
func arrived(subject string) string { return "probe_arrived " + subject }

// cameIn is the id under which messages that came into a queue are remembered; they have no weight.
func cameIn(queue string) string { return "came_in " + queue }

// Weights is the table of weights, in the order of its rows. docs/diagnosis.md has a copy.
var Weights []*Weight

// weightRow adds one to the table. A row is used by its variable, so that none can be misspelled.
func weightRow(row Weight) *Weight {
	Weights = append(Weights, &row)
	return &row
}

var (
	nodeUnreached    = weightRow(Weight{"node_unreached", Network, 0.95, "nodes", 1, 3, 0.6, sum, twice, "A cache node does not answer, and is not loading."})
	appUnreached     = weightRow(Weight{"app_unreached", Network, 0.5, "instances", 1, 3, 0.5, sum, twice, "An application instance does not answer."})
	linkDown         = weightRow(Weight{"replication_link_down", Network, 0.85, "replicas", 1, 2, 0.8, sum, twice, "A replica's link to its primary is down."})
	replicationLag   = weightRow(Weight{"replication_lag", Network, 0.7, "seconds", 0.5, 10, 0.5, largest, 0, "A replica has not reached where its primary was so long ago, in an earlier sampling, though its link may be up."})
	clusterDown      = weightRow(Weight{"cluster_down", Network, 0.8, "groups", 1, 2, 0.9, sum, twice, "A node of a Redis Cluster says that the cluster is not ok."})
	dividedViews     = weightRow(Weight{"divided_views", Network, 0.8, "views too many", 1, 2, 0.8, largest, twice, "The nodes of a Redis Cluster report different shards."})
	splitBrain       = weightRow(Weight{"split_brain", Network, 0.95, "primaries too many", 1, 2, 0.9, largest, twice, "Two primaries claim the same slots, or one replication group has two."})
	groupIncomplete  = weightRow(Weight{"group_incomplete", Network, 0.5, "nodes", 1, 3, 0.6, sum, twice, "A group has fewer nodes than min_nodes, or none that are known."})
	isolatedNode     = weightRow(Weight{"isolated_node", Network, 0.75, "nodes", 1, 2, 0.8, sum, twice, "A node that answers misses writes that its peers have: every stale copy is on it, or on few such nodes, or in layers of a shorter TTL."})
	brokerDown       = weightRow(Weight{"broker_down", Network, 0.6, "brokers", 1, 2, 0.6, sum, twice, "A Kafka broker does not answer."})
	queueUnreached   = weightRow(Weight{"queue_unreached", Network, 0.5, "queues", 1, 2, 0.6, sum, twice, "A queue does not answer."})
	probeLostSome    = weightRow(Weight{"probe_lost_on_some", Network, 0.6, "probes", 3, 6, 0.5, sum, twice, "An active probe's invalidation is lost on some nodes and arrives on others (the last minute)."})
	probeUnpublished = weightRow(Weight{"probe_unpublished", Network, 0.4, "probes", 2, 5, 0.7, sum, 0, "An active probe could not be published or set up, and no server refused it (the last minute)."})
	eventsMissed     = weightRow(Weight{"events_missed_on_some", Network, 0.7, "share of the node's checks", 0.03, 0.3, 0.4, largest, twice, "Copies on some nodes survive invalidations that their queue's processors passed, and other nodes of the layer lose theirs (the last five minutes)."})

	backlog       = weightRow(Weight{"backlog", Queueing, 0.9, "times the limit", 1, 5, 0.3, largest, twice, "More messages wait than the limit."})
	fallingBehind = weightRow(Weight{"falling_behind", Queueing, 0.7, "times the limit", 1, 5, 0.3, largest, aWhile, "At its present growth the queue is beyond the limit in ten seconds."})
	oldMessages   = weightRow(Weight{"old_messages", Queueing, 0.8, "seconds", 60, 600, 0.4, largest, 0, "The oldest message waits for so long; where its limit is configured, in proportion to oldest_limit."})
	stalledGroup  = weightRow(Weight{"stalled_group", Queueing, 0.9, "groups", 1, 2, 0.9, sum, 0, "A consumer group commits nothing, or nothing is taken from a list, though messages wait."})
	noCommits     = weightRow(Weight{"no_commits", Queueing, 0.7, "groups", 1, 2, 0.8, sum, twice, "A consumer group has committed nothing at all, or nothing in a topic that it reads, though messages are in the log: a misspelled name, one that never ran, commits that expired, or a topic made anew."})
	noMembers     = weightRow(Weight{"no_members", Queueing, 0.6, "groups", 1, 2, 0.7, sum, twice, "A consumer group has no members, and its messages wait for 30 s or longer."})
	lostMessages  = weightRow(Weight{"lost_messages", Queueing, 0.9, "messages", 1, 100, 0.6, sum, 0, "Messages were deleted before they were processed (the last five minutes)."})
	deafInstances = weightRow(Weight{"subscribers_missing", Queueing, 0.7, "subscribers", 1, 3, 0.6, sum, twice, "A Pub/Sub channel has fewer subscribers than configured: an instance hears no invalidation, and keeps its copies until their TTL ends."})
	rewound       = weightRow(Weight{"rewound_messages", Queueing, 0.2, "messages", 1, 1000, 0.5, sum, 0, "A group's commits went back (the last five minutes)."})
	underTarget   = weightRow(Weight{"under_target", Queueing, 0.4, "share missing", 0.5, 0.9, 0.6, largest, aWhile, "A queue beyond its limit is processed more slowly than its target_rate."})
	eventsWait    = weightRow(Weight{"events_wait", Queueing, 0.6, "share of the node's checks", 0.05, 0.5, 0.4, largest, twice, "Copies are as old as before their invalidation when its time is up, as the queue's processors have not passed it (the last five minutes)."})

	settingsDiffer = weightRow(Weight{"settings_differ", Config, 0.75, "settings", 1, 2, 0.8, sum, 0, "eviction_policy or memory_limit differs within a layer."})
	serversDiffer  = weightRow(Weight{"server_versions_differ", Config, 0.4, "layers", 1, 2, 0.7, sum, twice, "server_version differs within a layer."})
	strayCopies    = weightRow(Weight{"stray_copies", Config, 0.7, "share of the class's copies", 0.005, 0.05, 0.5, classSum, twice, "Copies on a memcached server that is not the key's own: another server list or hashing."})
	immortalCopies = weightRow(Weight{"immortal_copies", Config, 0.15, "share of the class's copies", 0.005, 0.05, 0.4, classSum, twice, "Copies without expiry, or with more than the layer's TTL: nothing corrects a lost invalidation."})

	appVersionsDiffer = weightRow(Weight{"app_versions_differ", Version, 0.8, "versions too many", 1, 2, 0.9, largest, twice, "Instances of one application run different versions."})
	versionsExplain   = weightRow(Weight{"versions_explain_stale", Version, 0.6, "nodes", 1, 2, 0.8, sum, twice, "Every stale copy is on instances that run another version than most."})
	versionConflicts  = weightRow(Weight{"version_conflicts", Version, 0.6, "share of the class's keys", 0.005, 0.05, 0.5, classSum, twice, "Keys with different content under the same highest version."})

	failedInval      = weightRow(Weight{"failed_invalidations", Logic, 0.85, "share", 0.05, 0.2, 0.4, largest, 0, "Invalidations fail."})
	loop             = weightRow(Weight{"loop", Logic, 0.85, "share", 0.2, 0.5, 0.5, largest, twice, "The newest messages repeat keys without a higher version (where versions are unknown: one key is half of them) at a high rate."})
	survivorCopies   = weightRow(Weight{"survivors", Logic, 0.7, "share of the class's copies", 0.005, 0.05, 0.5, classSum, twice, "Copies survived a delete that reached another node, in two samplings, and no cause before this one stands that is about them."})
	unexplainedStale = weightRow(Weight{"unexplained_stale", Logic, 0.5, "share of the class's copies", 0.005, 0.05, 0.5, classSum, twice, "Copies are overdue, and no cause before this one stands that is about them."})
	probeLostAll     = weightRow(Weight{"probe_lost_everywhere", Logic, 0.6, "probes", 3, 6, 0.5, sum, 0, "An active probe's invalidations are lost wherever its key is (the last minute), and no queue is backed up."})
	eventsIgnored    = weightRow(Weight{"events_missed_everywhere", Logic, 0.7, "share of the node's checks", 0.03, 0.3, 0.4, largest, twice, "Copies survive invalidations that their queue's processors passed, on every node of the layer that was looked at (the last five minutes)."})
	eventsRestored   = weightRow(Weight{"events_restored", Logic, 0.7, "share of the node's checks", 0.02, 0.2, 0.4, largest, twice, "An old value was stored again after its invalidation: a stale set (the last five minutes)."})
)

// Limit is a threshold that belongs to no single weight.
type Limit struct {
	Name    string
	Value   float64
	Meaning string
}

// Limits are the other half of the table.
var Limits []*Limit

// limitRow adds one to the table.
func limitRow(l Limit) *Limit {
	Limits = append(Limits, &l)
	return &l
}

var (
	standing           = limitRow(Limit{"standing", 0.2, "A cause stands above this score."})
	firstSight         = limitRow(Limit{"first_sight", 0.18, "Findings that did not last bring a cause no further than this."})
	strongScore        = limitRow(Limit{"strong", 0.5, "No cause scores above one before it that has this score or more: that one may have brought it about."})
	leastCopies        = limitRow(Limit{"least_copies", 20, "A share is of so many compared copies, or keys, at least: else one copy of a class that has two were half of it."})
	isolatedCopies     = limitRow(Limit{"isolated_copies", 3, "Stale copies on a node that may be cut off, at least."})
	isolatedOdds       = limitRow(Limit{"isolated_odds", 25, "By more than so much to one it is no chance that all these copies, of any of the nodes alike, are on this one: from 4 copies on where 3 to 5 nodes are compared, from 6 on where there are 2, one less where a copy is isolated_versions behind. A node that has nothing but stale copies needs isolated_copies alone."})
	nodeShare          = limitRow(Limit{"node_share", 0.01, "Share of its compared copies that are stale on a node that is cut off, or of another version, at least."})
	isolatedElsewhere  = limitRow(Limit{"isolated_elsewhere", 0.1, "Share of the stale copies that may be on other nodes, besides those in layers of a shorter TTL, which are filled from the cut-off nodes."})
	isolatedVersions   = limitRow(Limit{"isolated_versions", 2, "A cut-off node is stale in two classes, or so many versions behind, or its staleness grew in the last minute."})
	fastLayer          = limitRow(Limit{"fast_layer", 10, "Seconds of max_staleness up to which every stale copy counts; in slower layers, overdue ones alone."})
	backlogMessages    = limitRow(Limit{"backlog_messages", 1000, "Limit of a queue in messages, where none follows from limits, nor a larger one from capacity or target_rate."})
	backlogCapacity    = limitRow(Limit{"backlog_capacity", 0.05, "Share of its capacity that is a queue's limit, if that is more."})
	backlogSmall       = limitRow(Limit{"backlog_small", 0.5, "Share of its capacity that is a small queue's limit, if that is less than backlog_messages."})
	backlogTarget      = limitRow(Limit{"backlog_target", 10, "Seconds of target_rate that are a queue's limit instead, where no capacity is known."})
	backlogLeast       = limitRow(Limit{"backlog_least", 100, "Limit that follows from a target_rate, at least."})
	oldestLimit        = limitRow(Limit{"oldest_limit", 300, "Seconds that the oldest message may wait, where limits.oldest does not say it."})
	fewWait            = limitRow(Limit{"few_wait", 0.01, "Share of the messages that came in since the oldest did which waits, at least, if its age counts: else a message is stuck, such as an entry of a stream that nobody acknowledged, and the queue is not."})
	burstSeconds       = limitRow(Limit{"burst_seconds", 10, "A queue without capacity whose oldest message is younger than this, and which is empty in less than this at its present pace, ..."})
	burstFactor        = limitRow(Limit{"burst_factor", 6, "... has so many times the limit: a burst that is being processed."})
	projectionSeconds  = limitRow(Limit{"projection", 10, "Seconds ahead of falling_behind."})
	drainsSoon         = limitRow(Limit{"drains_soon", 600, "Seconds in which a backlog that is processed is let be, where limits.drain does not say it; where it takes longer, the next command is recover."})
	idleSeconds        = limitRow(Limit{"idle_seconds", 30, "Age of waiting messages from which a group without members counts."})
	leastFailures      = limitRow(Limit{"failures", 3, "Failed invalidations, at least."})
	deleteSeconds      = limitRow(Limit{"delete_seconds", 1, "Age of a waiting message from which survivors may be copies whose delete is on its way."})
	loopMessages       = limitRow(Limit{"loop_messages", 20, "Sampled messages, at least."})
	loopRate           = limitRow(Limit{"loop_rate", 20, "Messages enqueued per second, at least; until the rate is known, a loop is a first sight."})
	loopTopKey         = limitRow(Limit{"loop_top_key", 0.5, "Share of one key from which it counts as a loop, where messages have no versions."})
	recentSeconds      = limitRow(Limit{"recent", 300, "Seconds for which lost and rewound messages are remembered."})
	recentProbeSeconds = limitRow(Limit{"recent_probes", 60, "Seconds for which what came of a probe is remembered."})
	recentChecks       = limitRow(Limit{"recent_checks", 300, "Seconds for which what event checks found is remembered."})
	leastChecks        = limitRow(Limit{"least_checks", 100, "A share of event checks is of so many, at least: else one bad copy of a node that was looked at twice were half of them."})
)

// id under which findings of this kind are remembered for a subject.
func (row *Weight) id(subject string) string { return row.Name + " " + subject }

// strength of a finding of this size, 0 to 1.
func (row *Weight) strength(size float64) float64 {
	switch {
	case !(size >= row.Start): // NaN too
		return 0
	case size >= row.Full:
		return 1
	}
	return row.Floor + (1-row.Floor)*(size-row.Start)/(row.Full-row.Start)
}
