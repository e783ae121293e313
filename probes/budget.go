package probes

import (
	"context"

	"golang.org/x/sync/semaphore"
)

// HeldAtOnce bounds the bytes of values that all probes hold at once.
const HeldAtOnce = 32 << 20

// Budget is a shared bound on bytes of values in memory.
type Budget struct{ sem *semaphore.Weighted }

// NewBudget of HeldAtOnce bytes.
func NewBudget() *Budget { return &Budget{sem: semaphore.NewWeighted(HeldAtOnce)} }

// Acquire waits until n bytes may be held, or ctx ends.
func (b *Budget) Acquire(ctx context.Context, n int64) error {
	return b.sem.Acquire(ctx, min(n, HeldAtOnce))
}

// TryAcquire holds n bytes if that can be done at once.
func (b *Budget) TryAcquire(n int64) bool { return b.sem.TryAcquire(min(n, HeldAtOnce)) }

// Release gives n bytes back.
func (b *Budget) Release(n int64) { b.sem.Release(min(n, HeldAtOnce)) }
