package probes

import "context"

// Application is one whose instances tell the version of their caching code.
type Application interface {
	// Sample asks all instances at once, and gives their answers by name. The error says that which instances there are is
	// not known, or no longer surely. It returns soon after ctx ends; one Sample runs at a time.
	Sample(ctx context.Context) ([]AppInstance, error)
	// Close ends all requests and connections.
	Close()
}

// AppInstance is what one instance told: its Version, or why there is none.
type AppInstance struct {
	Node, Version string
	Err           error
	// Left: the DNS name no longer has the instance.
	Left bool
}
