package probes

import "context"

// Application is an application whose instances report the version of their caching code.
type Application interface {
	// Sample asks all instances at once, and gives their answers by name. The error says that which instances there are is
	// not known, or no longer surely. It returns soon after ctx ends; one Sample runs at a time.
	Sample(ctx context.Context) ([]AppInstance, error)
	// Close ends all requests and connections.
	Close()
}

// AppInstance is what one instance answered: its Version, or why there is none (Err).
type AppInstance struct {
	Node, Version string
	Err           error
	// Left: the DNS name no longer has the instance.
	Left bool
}

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
