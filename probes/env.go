package probes

import (
	"context"
	"log/slog"
	"net"
	"time"

	"golang.org/x/sync/semaphore"
)

// Env is what all backends of one process share: its limits from the command line, its budget, what it remembers of servers,
// and its log. It is made once, and not changed afterwards.
type Env struct {
	// MaxValueBytes bounds a value of Redis and memcached (--canary.max-value-bytes).
	MaxValueBytes int64
	// MaxBody bounds an HTTP body, in bytes (--http.max-body).
	MaxBody int64
	// ForgetAfter bounds how long a node that left its group is still asked (--discovery.forget-after).
	ForgetAfter time.Duration
	// SampleMessages bounds the newest messages that are looked at in each queue (--queue.sample); 0: none.
	SampleMessages int
	// Budget bounds the bytes of values held at once by all probes.
	Budget *Budget
	// Kept is what the process remembers of servers.
	Kept *Kept
	// Resolver of the DNS names that stand for groups; nil: the system's.
	Resolver *net.Resolver
	// Log is where groups say what changed.
	Log *slog.Logger
}

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
