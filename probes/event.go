package probes

import "time"

// Position of a message in its partition: the offset of a Kafka record is Major, with 1 as Minor, so that there is a position before the
// first; a stream's entry is its ID, milliseconds and sequence number. Of a channel it counts what arrived.
type Position struct{ Major, Minor uint64 }

// Compare gives -1, 0 or 1.
func (p Position) Compare(o Position) int {
	switch {
	case p == o:
		return 0
	case p.Major < o.Major || p.Major == o.Major && p.Minor < o.Minor:
		return -1
	}
	return 1
}

// Event is one message of a queue: something was invalidated. Its bytes are valid only while it is visited.
type Event struct {
	Partition Partition
	At        Position
	// Key of a Kafka record; nil: it has none.
	Key []byte
	// Value is the message: JSON or text, or an object of a stream entry's fields. nil: none, a Kafka tombstone.
	Value []byte
	// Written is when the record or entry was made by its own account, else when it arrived.
	Written time.Time
	// TraceParent is the message's W3C traceparent; empty: it has none.
	TraceParent string
}

// EventQueue is a Queue whose messages can be read one by one as they arrive, and not the newest alone.
type EventQueue interface {
	Queue
	// Follow has visit called, from the next Sample on, with the messages that arrive. It is called before the first Sample, at most
	// once. after says behind which position of a partition reading goes on; a partition that is not in it is read from its end as the
	// first Sample finds it. visit is called by one goroutine at a time, and only while Sample runs.
	Follow(after map[Partition]Position, visit func(Event))
}

// Followed is what following a queue came to in one sampling.
type Followed struct {
	// Seen messages, and LeftOut of them, which were not visited because there were more than a sampling has room for. They are
	// counted as messages, not as distances between positions, wherever the server lets them be told apart.
	Seen, LeftOut int
	// After are the positions behind which the next sampling goes on, of all partitions that are known. It is the receiver's.
	After map[Partition]Position
	// Anew are the partitions whose log is another one than before: a topic that was deleted and made anew. What was at a position of the
	// old log is at none of it.
	Anew map[Partition]bool
}
