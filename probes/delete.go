package probes

import (
	"context"
	"errors"
)

// Deleter is a node in which keys of the application can be deleted. Delete may be called by several goroutines at once, also
// beside Survey.
type Deleter interface {
	Node
	// Delete these keys now, in as few round trips as the backend allows. It gives an error for each key, in their order; a
	// key that is not there is no error. ErrReplica: the node is a replica, and its primary is the one to delete from.
	// ErrCannotHold: the node can't have such a key. It returns soon after ctx ends; what it sent may still be carried out
	// then.
	Delete(ctx context.Context, keys []string) []error
}

// ErrCannotHold is the error of a key that a node can't have: it is too long, or has letters that the protocol doesn't take.
var ErrCannotHold = errors.New("the node can't hold such a key")

// SameError gives an error for each of n keys: err, for what failed as a whole.
func SameError(n int, err error) []error {
	out := make([]error, n)
	for i := range out {
		out[i] = err
	}
	return out
}
