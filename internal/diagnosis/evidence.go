// Package diagnosis decides from the evidence of one sampling what causes stale data, with one table of weights and
// thresholds.
//
// [Evidence] is all that one sampling showed. [Diagnose] weighs it by the tables [Weights] and [Limits], and gives a [Diagnosis]:
// a score for each [Cause], the steps that lead there, and the next command to run. [Diagnose] is pure; a [Memory] adds what
// earlier samplings showed.
package diagnosis

import (
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/consistency"
	"github.com/cacheinv/cacheinv_exporter/internal/events"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// Evidence is what one sampling learned. A part whose collector is off, or did not come back, is empty: nothing is known
// of it.
type Evidence struct {
	// At is when the sampling ended.
	At time.Time
	// Result holds the nodes, the groups and the canaries; nil: not sampled.
	Result *consistency.Result
	// Replicas by what they, or their primaries, tell.
	Replicas  []Replica
	Queues    []Queue
	Apps      []App
	Histories []History
	// Settings that must agree within a layer.
	Settings []Setting
	// RoundTrips are the active invalidation probes.
	RoundTrips []RoundTrip
	// Events are the event checks, by class.
	Events []Events
	// Primaries are the replication groups that are no Cluster, with the primaries seen in them.
	Primaries []Primaries

	// Unknown parts, and why nothing is known of them.
	Unknown []Unknown
	// Configured is what the configuration says.
	Configured Configured
	// Past is what the samplings before showed; Memory.Diagnose fills it.
	Past Past
}

// Primaries is a replication group with the most primaries seen in it at once.
type Primaries struct {
	Layer, Group string
	Count        int
}

const (
	// NotConfigured is why nothing is known of a part that the configuration leaves out.
	NotConfigured = "not configured"
	// SwitchedOff is why nothing is known of a part that a flag leaves out.
	SwitchedOff = "its collector is off"
)

// Unknown is a part of the evidence that is not there.
type Unknown struct {
	// Part is the name of its collector.
	Part string
	// Why: off, not configured, or not back in time.
	Why string
}

// Configured is what the configuration says of the layers, and the commands that look at what it names. It holds
// no credentials.
type Configured struct {
	// MaxStaleness by class and layer.
	MaxStaleness map[ClassLayer]time.Duration
	// TTL by layer; the longest possible where copies need not expire.
	TTL map[string]time.Duration
	// Nodes, Queues and Versions (of applications) are what the next command to run looks at, by name.
	Nodes    map[string]NodeCommander
	Queues   map[string]QueueCommander
	Versions map[string]VersionsCommander
}

// NodeCommander knows the commands that look at a node; probes.NodeSource is one.
type NodeCommander interface {
	Commands(member string) probes.NodeCommands
}

// QueueCommander knows the commands that look at a queue; probes.QueueSource is one.
type QueueCommander interface {
	On() string
	Command(look probes.QueueLook) string
}

// VersionsCommander knows the command that shows an application's versions; probes.ApplicationSource is one.
type VersionsCommander interface{ Command() string }

// ClassLayer is a class in a layer.
type ClassLayer struct{ Class, Layer string }

// Past is what the samplings up to this one showed.
type Past struct {
	// Streaks of findings that stand now, by weight and subject.
	Streaks map[string]Streak
	// Growth of queues' depths in messages per second; a queue without one was not yet watched for long enough.
	Growth map[string]float64
	// Recent counts of what is reported once, over the last minutes.
	Recent map[string]float64
	// Growing are nodes on which staleness grew in the last minute.
	Growing map[string]bool
	// Isolated are nodes that looked isolated in earlier samplings, and still have a stale copy of then.
	Isolated map[string]bool
}

// Streak is how often, and since when, a finding was there without a sampling between that lacked it.
type Streak struct {
	Samplings int
	Since     time.Time
}

// Replica is a Redis replica's part in its replication.
type Replica struct {
	Layer, Node string
	LinkUp      bool
	// LagBytes behind its primary, and LagSeconds since its primary was first ahead of where it is now.
	LagBytes, LagSeconds probes.Count
}

// Queue is what a queue told, and what was counted of it since the sampling before.
type Queue struct {
	Name, Kind string
	Traits     probes.QueueTraits
	// Up: depth or lag was learned for all that is configured. Answered: at least something was learned.
	Up, Answered bool
	// Err: why something of it could not be learned; nil where all was.
	Err   error
	Depth probes.Count
	// Capacity in messages and Target in messages per second; 0: not configured.
	Capacity int64
	Target   float64
	// Limits of its own, instead of the table's.
	Limits QueueLimits
	// OldestSeconds is the age of the oldest message that waits.
	OldestSeconds probes.Count
	// EnqueuedRate and ProcessedRate are messages per second since the sampling before; of several groups the slowest.
	EnqueuedRate, ProcessedRate probes.Count
	// Enqueued messages since the sampling before, where that is known.
	Enqueued    float64
	BrokersDown int
	// Stalled: 1 where nothing was taken from a list for the stall window though messages wait; unknown before that.
	Stalled probes.Count
	Groups  []Group
	// Subscribers of a channel, and how many there should be; 0: not configured. App: as many as this application has instances.
	Subscribers         probes.Count
	ExpectedSubscribers float64
	App                 string
	// Sample of the newest messages; nil: none was taken.
	Sample *probes.MessageSample
}

// QueueLimits are a queue's own; 0: the table's.
type QueueLimits struct {
	// Messages that may wait, seconds that the oldest may wait, and seconds in which the queue is to be empty.
	Messages, OldestSeconds, DrainSeconds float64
}

// Group is a consumer group of a queue.
type Group struct {
	Name, State string
	Members     probes.Count
	// Stalled: 1 where nothing was committed for the stall window though messages wait; unknown before that.
	Stalled probes.Count
	// Uncommitted are the topics in which it has committed nothing though messages are in their logs; of a group that has committed
	// nothing at all (Committed is false) these are all such topics.
	Uncommitted []Uncommitted
	Committed   bool
	// Lost messages, and Rewound ones, since the sampling before.
	Lost, Rewound float64
	// LagSeconds is the largest over its partitions.
	LagSeconds probes.Count
}

// Uncommitted is a topic in which a group has committed nothing.
type Uncommitted struct {
	Topic    string
	Messages float64
	// Growing: messages were enqueued since the sampling before.
	Growing bool
}

// App is an application whose instances tell a version.
type App struct {
	Name string
	// Versions by instance; Down are the instances that could not be reached, and Refused those that answered without a version,
	// with why.
	Versions map[string]string
	Down     []string
	Refused  map[string]error
	// Instances that are known, whatever they answered.
	Instances probes.Count
}

// History counts invalidation attempts of the last minute or so: Window says of how long.
type History struct {
	Name string
	Up   bool
	// Err: why it could not be queried; nil where it was.
	Err                error
	Attempts, Failures float64
	Window             time.Duration
}

// Setting is one that must agree over a layer's nodes.
type Setting struct {
	Layer string
	// Name: eviction_policy, memory_limit or server_version.
	Name string
	// Nodes by value.
	Nodes map[string][]string
}

// RoundTrip is an active invalidation probe on one node: what came of those that ended since the sampling before.
type RoundTrip struct {
	Name, Layer, Node string
	Sent, Lost        float64
	// Failed to be published or set up; Refused are those of them that a server answered, and refused.
	Failed, Refused float64
	// Refusal is why a server refused the last one; nil where it did not.
	Refusal error
}

// unreached are those that failed though no server refused them.
func (p *RoundTrip) unreached() float64 { return p.Failed - p.Refused }

// Events are the event checks of a class.
type Events struct {
	Class string
	// Within is the promise: the age at which an invalidation is to have taken effect.
	Within time.Duration
	// OldestIneffective is the age of the oldest invalidation that was without effect when it was last looked at; 0: there is none.
	OldestIneffective time.Duration
	// Nodes that were looked at when the promise's time was up.
	Nodes []EventNode
	// Bad are the latest looks that were bad, the newest last.
	Bad []events.BadLook
}

// EventNode counts the looks at a class's copies on a node since the sampling before.
type EventNode struct {
	Layer, Node string
	// Good is for copies that the invalidation reached, the others for those that it did not.
	Good, Survived, Restored, Waiting float64
}
