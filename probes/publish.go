package probes

import "context"

// Publisher sends invalidations to where an application's processors take them from.
type Publisher interface {
	// Publish a message about key. After an error of ctx's end the message may have been taken all the same. It may be
	// called by several goroutines at once.
	Publish(ctx context.Context, key string, message []byte) error
	Close()
}
