package probes

import "context"

// Queue is one configured queue. Sample is called by one goroutine at a time and returns soon after ctx ends; the
// Backlog beside an error holds what was learned all the same.
type Queue interface {
	Sample(ctx context.Context) (Backlog, error)
	Close()
}

// Message says where an invalidation's key, version and time (since 1970) stand, as paths in its JSON; an empty one is
// unknown. A stream's entry counts as one object of its fields.
type Message struct {
	Key, Version, TimestampMS string
}

// Backlog is what a queue reported in one sampling. Its positions are absolute: the collector counts how far they move.
type Backlog struct {
	// Complete: depth or lag was learned for all that is configured.
	Complete bool
	// Depth is how many messages wait: the queue's length, or the most that a group still has to read.
	Depth Count
	// BrokersUp and BrokersDown count brokers; valid where QueueTraits.Brokers.
	BrokersUp, BrokersDown int
	// Ends are the positions up to which messages were enqueued, by partition (one without a name where there are none).
	Ends map[Partition]float64
	// Groups are the consumer groups that are watched, by name; nil where there are none, or it could not be learned which
	// there are.
	Groups []GroupBacklog
	// LeftoverGroups that were found; known where it was learned which groups there are, of a kind that has regexps for them.
	LeftoverGroups Count
	// OldestAge in seconds of the oldest message that still waits.
	OldestAge Count
	// Next identifies the messages of a list of which one is taken next, by its end: one message where it is known which end that is, and
	// else both; empty where there is none. nil: not known, or no list.
	Next map[string]uint64
	// Sample of the newest messages; nil where they could not be read.
	Sample *MessageSample
	// Subscribers that get a channel's messages, without the exporter's own. Those by pattern are not among them.
	Subscribers Count
	// Followed messages; nil where they could not be read, or nobody follows the queue.
	Followed *Followed
}

// MessageSample is a look at a queue's newest messages.
type MessageSample struct {
	// Messages looked at.
	Messages int
	// DistinctKeys among them, and how many have the most frequent one, TopKey; known where HasKeys. A key is never a
	// label. TopKey is empty where each key occurs once.
	HasKeys        bool
	DistinctKeys   int
	TopKey         string
	TopKeyMessages int
	// Repeats of a key without a higher version; known where messages have versions.
	Repeats Count
	// Rate in messages per second at which they were written, by their own times up to now.
	Rate Count
	// Unreadable messages by part (key, version, timestamp), of the parts whose path is configured: there was nothing at the
	// path that can be used.
	Unreadable map[string]int
}

// Partition of a topic. A stream is partition 0 of the topic that its key names.
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
	// Leftover: it is one of an instance that is gone, and counts nowhere.
	Leftover bool
	// Lag by partition, as the server's own tool tells it; a partition whose lag is unknown is absent.
	Lag map[Partition]int64
	// Waiting by partition are the messages that the group can still process: its lag without what is known to be none, and of
	// a stream with the pending ones. nil: as Lag and Pending say.
	Waiting map[Partition]int64
	// Positions are commits by partition (streams: entries read less pending); one behind its log's end is absent.
	Positions map[Partition]float64
	// Standing changes whenever the group gets on, and only then; empty: Positions tell. A stream's group has none until it
	// has read something.
	Standing string
	// Uncommitted partitions have no lag; known where HasOffsets.
	Uncommitted int
	// UncommittedMessages are in the logs of topics in which the group has committed nothing though it is to read them, by topic;
	// of a group that has committed nothing at all these are all topics. Topics without messages are absent. Kafka alone.
	UncommittedMessages map[string]int64
	// HasOffsets: which partitions the group has committed was learned.
	HasOffsets bool
	// LagSeconds by partition: how long ago the oldest message that the group has not committed (of a stream: not read)
	// was written; 0 where it has committed all, absent where unknown.
	LagSeconds map[Partition]float64
	// Starts are the log's first offsets by committed partition: a group that has committed less lost messages. Kafka alone.
	Starts map[Partition]float64
	// Pending messages of a stream's group, delivered and not acknowledged, and the age in seconds of the oldest.
	Pending, OldestPending Count
	// Passed reports whether the group has processed the message at a position: committed what comes after it, or, of a stream,
	// taken and acknowledged it. known is false where that was not learned. nil: nothing of that kind was.
	Passed func(p Partition, at Position) (passed, known bool)
}

// Waits reports whether messages wait for the group. Not known: neither lag nor anything else says so.
func (g *GroupBacklog) Waits() (waits, known bool) {
	if g.Waiting == nil {
		for _, n := range g.Lag {
			waits = waits || n > 0
		}
		waits = waits || g.Pending.Value > 0
		return waits, waits || len(g.Lag) > 0
	}
	for _, n := range g.Waiting {
		waits = waits || n > 0
	}
	return waits, waits || len(g.Lag) > 0
}

// Publisher sends invalidations to where an application's processors take them from.
type Publisher interface {
	// Publish a message about key. After an error of ctx's end the message may have been taken all the same. It may be
	// called by several goroutines at once.
	Publish(ctx context.Context, key string, message []byte) error
	Close()
}

// QueueTraits are what queues of a kind tell.
type QueueTraits struct {
	// Brokers: it has brokers, which are up or down.
	Brokers bool
	// Positions: it tells positions, from which what was enqueued and processed is counted; else it tells counts.
	Positions bool
	// LengthOnly: all that it tells of what waits is its length.
	LengthOnly bool
	// Messages: it shows messages.
	Messages bool
	// Events: its queues are EventQueues.
	Events bool
	// AtOnce: a message is delivered when it is sent, or never: nobody's progress is waited for.
	AtOnce bool
}
