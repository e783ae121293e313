package probes

import (
	"context"
	"errors"
	"time"
)

// Writable is a node in which keys of our own can be written and watched. Keys and values are the caller's alone. All
// methods may be called by several goroutines at once, also beside Survey, and return soon after ctx ends; what they sent
// may still be carried out then.
type Writable interface {
	Node
	// Put stores value under key for ttl. ErrReplica: the node is a replica, and its primary is the one to write to.
	Put(ctx context.Context, key string, value []byte, ttl time.Duration) error
	// Watch tells of each key whether the node serves the value that was put there, all in one round trip. Its reads are
	// counted as our own.
	Watch(ctx context.Context, keys []string, values [][]byte) ([]Seen, error)
	// Remove deletes keys; those that are not there are no error.
	Remove(ctx context.Context, keys []string) error
}

// ErrReplica is what a replica answers that is asked to write.
var ErrReplica = errors.New("the node is a replica, which takes no writes")

// Seen is what Look saw of a key.
type Seen uint8

const (
	// NotTold is of a key of which the node did not say.
	NotTold Seen = iota
	// Served is the value that was put.
	Served
	// Changed is another value.
	Changed
	// Gone is none.
	Gone
)
