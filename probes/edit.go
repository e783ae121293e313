package probes

import (
	"context"
	"errors"
	"time"
)

// Editable is a node whose copies can be replaced or deleted, each only while it is still what was seen. Its methods may be
// called by several goroutines at once, also beside Survey, and return soon after ctx ends; what they sent may still be
// carried out then.
type Editable interface {
	Node
	// Load reads a copy whole, as the server stores it. ErrChanged: it is of another type than the key says.
	Load(ctx context.Context, key Key) (Stored, error)
	// Exchange puts next in the place of seen, which Load gave, in one step on the server. Where next is not Present the copy is
	// deleted; where seen is not Present, next is put only where nothing is. ErrChanged: the copy is no longer what was seen, and
	// was left alone. ErrReplica: the node is a replica. ErrExpiryUnknown: the node does not tell how long the copy has left
	// to live, so that this can't be kept.
	Exchange(ctx context.Context, key Key, seen, next Stored) error
}

// Stored is a copy as a server stores it: nothing is decoded.
type Stored struct {
	Present bool
	Value   []byte
	// Fields of a hash, where the key asks for one.
	Fields []Field
	// Flags that the client which wrote the copy keeps beside the value; valid where HasFlags.
	Flags    uint32
	HasFlags bool
	// Expires is when the copy does, by our clock; NoExpiry: never. With neither that is unknown.
	Expires  time.Time
	NoExpiry bool
	// KeepExpiry is for what is put: it expires when the copy does whose place it takes.
	KeepExpiry bool
	// Token is by what the server knows the copy again, where it gives one.
	Token uint64
}

var (
	// ErrChanged is the error of a copy that is no longer what was seen.
	ErrChanged = errors.New("the copy has changed since it was read")
	// ErrExpiryUnknown is the error of a copy of which the server does not tell when it expires.
	ErrExpiryUnknown = errors.New("the server does not tell how long the copy has left to live, so that this can't be kept; delete it instead")
)

// Raw is the copy as a reading gives it.
func (s Stored) Raw() Raw {
	return Raw{Present: s.Present, Value: s.Value, Fields: s.Fields, NoExpiry: s.NoExpiry}
}
