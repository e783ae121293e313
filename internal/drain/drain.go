// Package drain applies the messages that wait in queues: each message's keys are deleted on every node that can hold them, and
// only then is the message removed. It can be killed at any point: run again, it loses no message and applies each at least
// once.
//
// [New] gives a Drainer of a configuration; [Drainer.Plan] says what there is to do and writes nothing, [Drainer.Apply] does it.
package drain

import (
	"context"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/audit"
	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// Drainer applies the queues of one configuration. Its methods are called by one goroutine at a time, and no other one
// surveys the fleet meanwhile.
type Drainer struct {
	config *config.Config
	fleet  *probes.Fleet
	queues []probes.Queue
}

// New gives a Drainer. queues are those that cfg.OpenQueues gave over fleet.
func New(cfg *config.Config, fleet *probes.Fleet, queues []probes.Queue) *Drainer {
	return &Drainer{config: cfg, fleet: fleet, queues: queues}
}

// Options of a run.
type Options struct {
	// Queues by name; empty: all whose messages can be taken.
	Queues []string
	// Rate in messages per second; 0: as fast as it can.
	Rate float64
	// Batch is how many messages are applied at once; 0: 500. A Rate makes it smaller.
	Batch int
	// Before is called before each batch is taken; nil: nothing is. Its error ends the run, with what is not done left in
	// the queues: a circuit breaker, or a signal that asks for an end.
	Before func(ctx context.Context) error
	// Progress is called after each batch; nil: nobody is told.
	Progress func(Progress)
	// Audit gets what is done, before it is done and after; nil: nobody.
	Audit *audit.Log
	// DeadLetters is a folder for messages that can't be applied, of queues that have no place for them themselves
	// (--audit.dir). Empty: the report and the audit name them, and nobody keeps them but the queue's own log.
	DeadLetters string
}

// Progress of one queue.
type Progress struct {
	Queue string `json:"queue"`
	// Taken messages so far, and Total that there were when the run began.
	Taken int64 `json:"taken"`
	Total int64 `json:"total"`
	// Applied, Dead and Kept sum up to Taken: messages applied, put to the dead letters, and left for a later run.
	Applied int64 `json:"applied"`
	Dead    int64 `json:"dead_letters"`
	Kept    int64 `json:"kept"`
}

// Plan is what Apply would do.
type Plan struct {
	Queues []QueuePlan `json:"queues"`
	// Nodes from which keys would be deleted, by name.
	Nodes []NodePlan `json:"nodes"`
	// NotInvalidated are layers in which nothing can be deleted.
	NotInvalidated []LayerLeft `json:"not_invalidated"`
	// NotTaken are queues whose messages can't be taken, such as those over HTTP: their processors alone apply them.
	NotTaken []string `json:"queues_not_taken"`
	// Incomplete: something of this could not be done now; the errors say what.
	Incomplete bool `json:"incomplete"`
}

// QueuePlan is one queue of a plan.
type QueuePlan struct {
	Queue string `json:"queue"`
	Kind  string `json:"kind"`
	// Waiting messages, and Processing ones that an interrupted run took; null: unknown (Error).
	Waiting    *int64 `json:"waiting"`
	Processing *int64 `json:"processing"`
	// Sampled messages hold DistinctKeys keys; Poison of them can't be applied.
	Sampled      int `json:"sampled"`
	DistinctKeys int `json:"distinct_keys"`
	Poison       int `json:"poison"`
	// ProcessingIn and DeadLetters name where messages in hand and dead letters go; null: the queue has no such place.
	ProcessingIn *string `json:"processing_in"`
	DeadLetters  *string `json:"dead_letters_in"`
	// Note says what must be done before its messages can be taken.
	Note string `json:"note,omitempty"`
	// Error says why the queue can't be drained, and what to do.
	Error string `json:"error,omitempty"`
}

// NodePlan is one node of a plan.
type NodePlan struct {
	Layer string `json:"layer"`
	Node  string `json:"node"`
	// Error says why keys can't be deleted there now.
	Error string `json:"error,omitempty"`
}

// LayerLeft is a layer, or some of its nodes, in which no key can be deleted: stale copies stay until they expire.
type LayerLeft struct {
	Layer string   `json:"layer"`
	Nodes []string `json:"nodes"`
	// TTLSeconds bounds how long; null: copies there do not expire.
	TTLSeconds *float64 `json:"ttl_seconds"`
}

// Report is what a run did.
type Report struct {
	Queues []QueueReport `json:"queues"`
	Nodes  []NodeReport  `json:"nodes"`
	// NotInvalidated are layers in which nothing can be deleted. That is no failure.
	NotInvalidated []LayerLeft `json:"not_invalidated"`
	// NotTaken are queues whose messages can't be taken, such as those over HTTP: their processors alone apply them. That is
	// no failure.
	NotTaken []string `json:"queues_not_taken"`
	// Stopped says what ended the run before its end; empty: nothing did.
	Stopped string `json:"stopped,omitempty"`
	// Incomplete: something could not be done, and is still in a queue.
	Incomplete bool `json:"incomplete"`
	// Seconds that it took.
	Seconds float64 `json:"seconds"`
}

// QueueReport is what came of one queue.
type QueueReport struct {
	Queue string `json:"queue"`
	Kind  string `json:"kind"`
	// Waiting messages there were at the beginning, and Processing ones of interrupted runs, which were taken first; null:
	// unknown (Error).
	Waiting    *int64 `json:"waiting"`
	Processing *int64 `json:"processing"`
	// Taken messages: Applied, put to the dead letters, or Kept for a later run. Removed were taken off the queue.
	Taken   int64 `json:"taken"`
	Applied int64 `json:"applied"`
	Dead    int64 `json:"dead_letters"`
	Kept    int64 `json:"kept"`
	Removed int64 `json:"removed"`
	// Keys that were deleted, each counted once a batch.
	Keys int64 `json:"keys"`
	// Left messages, waiting and in processing, at the end; null: unknown.
	Left *int64 `json:"left"`
	// ProcessingIn and DeadLettersIn name where messages in processing and dead letters are; null: the queue has no such
	// place.
	ProcessingIn  *string `json:"processing_in"`
	DeadLettersIn *string `json:"dead_letters_in"`
	// DeadFile is where dead letters were written instead (Options.DeadLetters); empty: nowhere.
	DeadFile string `json:"dead_letter_file,omitempty"`
	// DeadIDs are the first dead letters by their name in the queue, as topic/partition/offset, with the reason.
	DeadIDs []DeadLetter `json:"dead_letter_ids,omitempty"`
	// Error says what ended the queue's run early, and what to do.
	Error   string  `json:"error,omitempty"`
	Seconds float64 `json:"seconds"`
}

// DeadLetter is a message that can't be applied.
type DeadLetter struct {
	ID     string `json:"id"`
	Reason string `json:"reason"`
}

// NodeReport is what came of one node.
type NodeReport struct {
	Layer string `json:"layer"`
	Node  string `json:"node"`
	// Deleted keys, present before or not; Failed ones could not be deleted there.
	Deleted int64 `json:"deleted"`
	Failed  int64 `json:"failed"`
	// Waiting messages are kept because of this node.
	Waiting int64 `json:"waiting_messages"`
	// Error of the last key that failed.
	Error string `json:"error,omitempty"`
}

// Plan says what Apply would do. It writes nothing.
func (d *Drainer) Plan(ctx context.Context, opt Options) (*Plan, error) {
	return d.plan(ctx, opt)
}

// Apply the messages of the queues. What could not be done is in the report; the error is of what ended the whole run, such
// as an audit log that can't be written, and comes with the report so far.
func (d *Drainer) Apply(ctx context.Context, opt Options) (*Report, error) {
	began := time.Now()
	r, err := d.apply(ctx, opt)
	r.Seconds = time.Since(began).Seconds()
	return r, err
}
