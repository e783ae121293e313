package probes

import "context"

// Health tells whether an application is well.
type Health interface {
	// Ask gives nil where it says so, and why not otherwise. It returns soon after ctx ends.
	Ask(ctx context.Context) error
	// Close ends all requests and connections.
	Close()
}

// HealthSource is where an application tells whether it is well, as configured.
type HealthSource interface {
	// Open it; nothing is asked yet.
	Open(env *Env) (Health, error)
}
