package probes

import "context"

// Backlogged is a queue whose waiting messages can be taken out, so that none is lost when whoever takes them is killed.
type Backlogged interface {
	Queue
	// OwnKeys are the keys in a cache node of which the queue itself consists: whatever a message says, they must not be
	// deleted.
	OwnKeys() []string
	// Waiting tells what there is to take, with a look at no more than sample messages. It changes nothing.
	Waiting(ctx context.Context, sample int) (Waiting, error)
	// Take begins a run that takes messages. An earlier run that is still under way loses the queue to this one, or goes
	// on beside it, as the backend has it: in neither case is a message finished that was not given to who finishes it.
	Take(ctx context.Context) (Taking, error)
}

// Waiting is what there is to take from a queue.
type Waiting struct {
	// Messages that nobody has taken yet, and Processing ones that an interrupted run (of a stream: any consumer) has taken
	// and not finished.
	Messages, Processing int64
	// Sample of messages, the oldest first.
	Sample []TakenMessage
	// ProcessingIn and DeadLetters name where messages in processing and dead letters are, in the backend's own words.
	// DeadLetters is empty where the queue has no place for them.
	ProcessingIn, DeadLetters string
	// Note is what must be done before they can be taken; empty: nothing.
	Note string
}

// TakenMessage is one message.
type TakenMessage struct {
	// ID names the message in its queue, such as a stream's entry; empty where messages have no names (lists).
	ID string
	// Text of the message, as the queue holds it.
	Text []byte
	// Keys that it invalidates. Poison says why there are none to be had.
	Keys   []string
	Poison string
}

// Taking is one run. Its methods are called by one goroutine at a time and return soon after ctx ends; what they sent may
// still be carried out then.
type Taking interface {
	// Next takes at most so many messages to where they outlive this process, and gives them: those first that earlier runs
	// left, then those that wait. Each is given once in a run. None: there are no more.
	Next(ctx context.Context, most int) ([]TakenMessage, error)
	// Finish what the last Next gave: done messages are removed (acknowledged, committed); dead ones go to the dead
	// letters and are removed; kept ones stay for a later run. finished counts the done and dead ones that will not be
	// given to a later run.
	Finish(ctx context.Context, outcome []Outcome) (finished int, err error)
	// Close ends the run. What was not finished stays for a later one.
	Close(ctx context.Context) error
}

// Outcome is what came of one message.
type Outcome uint8

const (
	// MessageKept is for one that a later run is to be given again.
	MessageKept Outcome = iota
	// MessageDone is for one whose keys are deleted wherever they can be.
	MessageDone
	// MessageDead is for one that can't be applied.
	MessageDead
)
