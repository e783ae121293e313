package probes

import (
	"context"
	"errors"
)

// Lister is a node that can list all of its keys.
type Lister interface {
	Node
	// List hands all keys that the server holds to found, some at a time, in any order; a key that comes or goes meanwhile may be among
	// them or not, and one may be handed over twice. match is a glob that the keys it is asked for have in common, by which the server may
	// leave others out; empty: none. An error of found ends the listing, and is given back. What List holds in memory does not grow
	// with the keys. ErrNoList: the server does not list its keys.
	List(ctx context.Context, match string, found func(keys []string) error) error
}

// Flusher is a node all of whose keys can be deleted at once, for a server that does not list them.
type Flusher interface {
	Node
	// Flush deletes every key of the server.
	Flush(ctx context.Context) error
}

// ErrNoList is wrapped by the error of a server that refuses to list its keys.
var ErrNoList = errors.New("the server does not list its keys")

// KeyedQueue is a QueueSource whose messages lie under keys of a cache node.
type KeyedQueue interface {
	QueueSource
	// Keys that may hold messages of the queue, which Backlogged.OwnKeys tells exactly once it is open.
	Keys() []string
}
