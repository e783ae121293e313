package probes

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/pause"
)

// once tells whether a group was surveyed to the end: before that it may have no members yet, which is no fault.
type once struct{ surveyed atomic.Bool }

func (o *once) end() { o.surveyed.Store(true) }

// foundEvery is the wait before a group that is being surveyed is looked at again.
const foundEvery = 5 * time.Millisecond

// found waits until there holds, under mu, or a survey has ended.
func (o *once) found(ctx context.Context, mu *sync.Mutex, there func() bool) error {
	for {
		surveyed := o.surveyed.Load()
		mu.Lock()
		ok := there()
		mu.Unlock()
		if ok || surveyed {
			return nil
		}
		if !pause.For(ctx, foundEvery) {
			return noAnswer(ctx)
		}
	}
}
