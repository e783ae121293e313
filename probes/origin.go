package probes

import "context"

// Origin answers for the truth of the keys of a canary class.
type Origin interface {
	// Ask for the truth of the key that vars name, and hand it to visit, once where there is no error.
	Ask(ctx context.Context, vars map[string]string, visit func(OriginAnswer)) error
	// Close ends all requests and connections.
	Close()
}

// OriginAnswer is the truth: Body (valid only during the call that gives it), or that the thing is Deleted.
type OriginAnswer struct {
	Body    []byte
	Deleted bool
}
