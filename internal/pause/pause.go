// Package pause waits for a time or for the end of a context: [For].
package pause

import (
	"context"
	"time"
)

// For waits for d; false: ctx ended first.
func For(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
