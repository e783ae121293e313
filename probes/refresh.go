package probes

import "context"

// RefresherSource is how an application is asked to make its copies of a key anew, as configured.
type RefresherSource interface {
	// Request is what is sent for the key that vars name, in words for a person, without secrets.
	Request(vars map[string]string) string
	// Open it; nothing is asked yet.
	Open(env *Env) (Refresher, error)
}

// Refresher asks an application to make its copies of a key anew. Refresh may be called by several goroutines at once.
type Refresher interface {
	// Refresh the copies of the key that vars name, as templates do. nil: the application said that it has done so, or will.
	// It returns soon after ctx ends; what was sent may still be carried out then.
	Refresh(ctx context.Context, vars map[string]string) error
	Close()
}
