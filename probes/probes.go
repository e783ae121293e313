// Package probes asks backends and returns plain data. It knows no Prometheus, and no type of a backend's
// library leaves it.
package probes

import (
	"context"
	"strconv"
	"time"
)

// Identity names one cache node.
type Identity struct {
	Layer string
	Name  string
	// Kind is its backend's name: redis, memcached or http.
	Kind string
	// Traits are what a node of its kind can do and tell.
	Traits NodeTraits
	// Group is the configured group that found the node; empty for a node configured by itself.
	Group string
}

// Node is one cache server. Survey and Read are called by one goroutine at a time; both return soon after ctx ends.
type Node interface {
	Identity() Identity
	// Survey asks the node how it is, before any key is read. scan may be nil.
	Survey(ctx context.Context, scan *Scan) (Survey, error)
	// Read asks for all keys in as few round trips as the backend allows and calls visit for each key exactly
	// once, in any order, from one goroutine at a time. Raw's bytes are valid only during the call. An error
	// means that the node failed as a whole; keys not visited by then were not read.
	Read(ctx context.Context, keys []Key, visit func(i int, r Raw)) error
	Close()
}

// Key is one key as the node's layer names it.
type Key struct {
	// Name on this node: what {key} stands for.
	Name string
	// Hash: a Redis hash is expected.
	Hash bool
	// Check: the key's type is asked too, where that can solve a riddle (Raw.Suspect).
	Check bool
}

// Raw is one copy as the node gave it: present, missing (neither Present nor Err), or unreadable (Err).
type Raw struct {
	Present bool
	Value   []byte
	// Fields of a hash, where one was asked for.
	Fields []Field
	// TTL that is left; valid where HasTTL. NoExpiry: the server says that the copy never expires.
	TTL      time.Duration
	HasTTL   bool
	NoExpiry bool
	// Suspect: the server answered nil for a key with a TTL (expired or replaced in between, or of another type).
	Suspect bool
	Err     error
}

// Field of a hash.
type Field struct{ Name, Value []byte }

// BatchKeys is how many keys go into one pipeline.
const BatchKeys = 1000

// Count is a number that a server may not tell.
type Count struct {
	Value float64
	Known bool
}

// ParseCount reads a decimal number, as INFO and stats tell them; what is none is not known.
func ParseCount(s string) Count {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return Count{}
	}
	return Count{Value: f, Known: true}
}

// Survey is what a node said of itself.
type Survey struct {
	// Took is the time that the survey needed.
	Took time.Duration
	// Unasked: there was nothing to ask this node (an HTTP node without stats and health URL), or it told nothing that
	// counts; its keys are read all the same, and Answerer says whether it is up.
	Unasked bool
	// Left: the group's source no longer has the node, which is asked for a while all the same.
	Left    bool
	Loading bool
	RunID   string
	Version string
	// Role: primary or replica; empty where unknown.
	Role           string
	EvictionPolicy string

	Hits, Misses, Evicted, Expired, Items, MemoryUsed, MemoryLimit, UptimeSeconds Count

	// OwnHits and OwnMisses are what this process's reads had added to Hits and Misses by then.
	OwnHits, OwnMisses uint64
	// Fills are this process's reads that an edge answered from its origin.
	Fills uint64

	// Replication is nil where the node does not replicate (memcached, HTTP).
	Replication *Replication
	// Found are keys that the scan step found; ScanErr says why the server refused it.
	Found   []string
	ScanErr error
}

// Replication is a Redis server's own account (INFO replication).
type Replication struct {
	ReplID, ReplID2 string
	// Primary is host:port of the replica's primary.
	Primary string
	LinkUp  bool
	// Offset: master_repl_offset of a primary, slave_repl_offset of a replica, in bytes.
	Offset   int64
	Replicas []Replica
}

// Replica as its primary announces it.
type Replica struct {
	Address string
	Online  bool
	Offset  int64
}

// Scan asks for one step of listing keys.
type Scan struct {
	// Count is the COUNT of SCAN.
	Count int
	// Match is the glob to send along, where one serves all classes; may be empty.
	Match string
}

// Holding says what a node has to do with a key.
type Holding uint8

const (
	// Holds is for a node that should hold the key.
	Holds Holding = iota
	// Elsewhere is for a node that is not asked, because others hold the key.
	Elsewhere
	// Foreign is for a node that is asked although others hold the key: a copy here is a stray.
	Foreign
	// Anywhere is for a pool of which any server may hold the key: what is found is a copy, and what is not is no missing one.
	Anywhere
)

// Placement of a key, as the node's group knows it since the survey.
type Placement struct {
	Holding Holding
	// Moving: the key's slot is being handed over to another shard.
	Moving bool
	// Moves counts the times that the slot was seen to change its owner.
	Moves int
}

// Placer is a node of a group that shares keys out. Place is called after the node's survey, with the key's name as the
// node's layer knows it; what it says holds until the next one. Nodes that are none hold every key of their layer.
type Placer interface{ Place(key string) Placement }

// Answerer is a node whose survey may be Unasked: Answered tells whether what shows that it is up was answered since the
// last Survey began.
type Answerer interface{ Answered() bool }

// Group is a configured group as known now.
type Group struct {
	Layer, Name string
	// Nodes known, by name.
	Nodes []string
	// Expected is min_nodes; 0: not configured.
	Expected int
	// Err says why the nodes are not known, or no longer surely known; nil: they are.
	Err error
	// Replication: the nodes are one primary and its replicas.
	Replication bool
	// Cluster is nil where the group is no Redis Cluster.
	Cluster *Cluster
}

// Cluster is what the nodes of a Redis Cluster told of it in the last survey.
type Cluster struct {
	// Answered nodes; of the rest nothing is known where it is 0.
	Answered int
	// OK: each of them says cluster_state:ok.
	OK bool
	// Views are the distinct answers to which primary owns which slots and who replicates whom.
	Views int
	// ContestedSlots are claimed by two primaries or more, each for itself.
	ContestedSlots int
	// Masters is the most primaries that claim the same slot; 1 is healthy.
	Masters int
}

// Message says where an invalidation's key, version and time stand, as paths in its JSON; an empty one is unknown. A
// stream's entry counts as one object of its fields.
type Message struct {
	Key, Version, TimestampMS string
}

// Backlog is what a queue told in one sampling. Absolute positions: the collector counts their forward movement.
type Backlog struct {
	// Complete: depth or lag was learned for all that is configured.
	Complete bool
	// Depth as the contract defines it.
	Depth Count
	// BrokersUp and BrokersDown are known where the queue has brokers.
	BrokersUp, BrokersDown int
	// Ends are the positions up to which was ever enqueued, by partition (one without a name where there are none).
	Ends map[Partition]float64
	// Groups are all that are selected, by name; nil where there are none or which they are could not be learned.
	Groups []GroupBacklog
	// OldestAge in seconds of the oldest message that still waits.
	OldestAge Count
	// Sample of the newest messages; nil where they could not be read.
	Sample *Sample
}

// Sample is a look at a queue's newest messages.
type Sample struct {
	// Messages looked at.
	Messages int
	// DistinctKeys among them, and how many have the most frequent one, TopKey; known where HasKeys. A key is never a
	// label.
	HasKeys        bool
	DistinctKeys   int
	TopKey         string
	TopKeyMessages int
	// Repeats of a key without a higher version; known where messages have versions.
	Repeats Count
}

// Partition of a topic; a stream is topic = its key, partition 0.
type Partition struct {
	Topic string
	ID    int32
}

// GroupBacklog is a consumer group's part of a queue.
type GroupBacklog struct {
	Group string
	// State as Kafka writes it; empty elsewhere.
	State string
	// Members that the group has; known where HasMembers.
	Members    int
	HasMembers bool
	// Lag by partition; a partition whose lag is unknown is absent.
	Lag map[Partition]int64
	// Positions are commits by partition (streams: entries read less pending).
	Positions map[Partition]float64
	// Uncommitted partitions have no lag; known where HasOffsets.
	Uncommitted int
	// HasOffsets: which partitions the group has committed was learned.
	HasOffsets bool
	// LagSeconds by partition: how long ago the oldest message that the group has not committed (of a stream: not read) was written; 0 where it has
	// committed all, absent where unknown.
	LagSeconds map[Partition]float64
	// Starts are the log's first offsets by committed partition: commits behind them lost messages. Kafka alone.
	Starts map[Partition]float64
	// Pending messages of a stream's group, delivered and not acknowledged, and the age in seconds of the oldest.
	Pending, OldestPending Count
}
