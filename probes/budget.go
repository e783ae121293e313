package probes

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"
)

const (
	// HeldAtOnce bounds the bytes of values that all probes hold at once.
	HeldAtOnce = 32 << 20
	// SmallValue is the size in bytes up to which a value does not count: a connection holds one at a time, in a buffer that it
	// has anyway. So no small value waits for large ones.
	SmallValue = 32 << 10
	// holderMost is how much one Holder may have at once, and all slow ones together. A hold that is larger has it alone.
	holderMost = HeldAtOnce / 2
	// longestPatience bounds how long who waits lets others hold room for what does not come. It is less where the waiting must end
	// sooner: a quarter of that time.
	longestPatience = time.Second
	// slowFor is how long a Holder counts as slow once it has lost a hold.
	slowFor = time.Minute
)

// ErrTooSlow is the error of a read whose room others needed.
var ErrTooSlow = fmt.Errorf("the value came too slowly while others waited for memory, of which all values share %d MiB; "+
	"read smaller values, or look why it is slow", HeldAtOnce>>20)

// Budget is a shared bound on bytes of values in memory. No Holder can keep others out: it has half at most, those that have less are
// served first, and what does not arrive while others wait is taken back. Those from which something was taken share half between
// them for a while.
type Budget struct {
	mu sync.Mutex
	// held bytes, and those of slow holders among them.
	held, slow int64
	// arriving are holds whose bytes are still being read.
	arriving map[*Hold]struct{}
	// waiting for room, in the order in which they came.
	waiting []*waiter
}

// Holder is who holds: one node, origin or queue. Its zero value is ready.
type Holder struct {
	// held and slowUntil are guarded by the budget's lock.
	held      int64
	slowUntil time.Time
}

// Hold is room for one value. It lasts until Release, or until it is taken back.
type Hold struct {
	budget *Budget
	of     *Holder
	n      int64
	lost   func()

	// The budget's lock guards what follows.
	since    time.Time
	slow     bool
	released bool
}

// unheld is the hold of a small value.
var unheld = &Hold{}

type waiter struct {
	hold  *Hold
	ready chan struct{} // closed when it has its room
	// impatient: it waited for so long that nobody may overtake it.
	impatient bool
}

// NewBudget of HeldAtOnce bytes.
func NewBudget() *Budget { return &Budget{arriving: map[*Hold]struct{}{}} }

// Held gives the bytes that are held now.
func (b *Budget) Held() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.held
}

// Hold waits until of may hold n bytes, or ctx ends. lost is called, in a goroutine of its own, if the room is taken back because
// others wait and the value has not Arrived in time: the read is to end. A Budget that is nil bounds nothing.
func (b *Budget) Hold(ctx context.Context, of *Holder, n int64, lost func()) (*Hold, error) {
	if b == nil || n <= SmallValue {
		return unheld, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	h := &Hold{budget: b, of: of, n: min(n, HeldAtOnce), lost: lost}
	b.mu.Lock()
	h.slow = time.Now().Before(of.slowUntil)
	if len(b.waiting) == 0 && b.held+h.n <= HeldAtOnce && !b.hasShare(h) {
		b.take(h)
		b.mu.Unlock()
		return h, nil
	}
	w := &waiter{hold: h, ready: make(chan struct{})}
	b.waiting = append(b.waiting, w)
	b.serve()
	b.mu.Unlock()
	if err := b.await(ctx, w); err != nil {
		return nil, err
	}
	return h, nil
}

// await the waiter's turn.
func (b *Budget) await(ctx context.Context, w *waiter) error {
	patience := longestPatience
	if end, ok := ctx.Deadline(); ok {
		patience = min(patience, time.Until(end)/4)
	}
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		select {
		case <-w.ready:
			return nil
		case <-late.C:
			b.takeBack(w, patience)
			late.Reset(max(patience/4, time.Millisecond))
		case <-ctx.Done():
			b.leave(w)
			return ctx.Err()
		}
	}
}

// take room for a hold.
func (b *Budget) take(h *Hold) {
	h.since = time.Now()
	b.held += h.n
	h.of.held += h.n
	if h.slow {
		b.slow += h.n
	}
	b.arriving[h] = struct{}{}
}

// hasShare: the holder, or the slow ones together, have all that they may.
func (b *Budget) hasShare(h *Hold) bool { return h.ownShare() || b.slowShare(h) }

func (h *Hold) ownShare() bool { return h.of.held > 0 && h.of.held+h.n > holderMost }

func (b *Budget) slowShare(h *Hold) bool { return h.slow && b.slow > 0 && b.slow+h.n > holderMost }

// serve those who wait for as long as there is room.
func (b *Budget) serve() {
	for {
		w := b.next()
		if w == nil || b.held+w.hold.n > HeldAtOnce {
			return
		}
		b.take(w.hold)
		b.forget(w)
		close(w.ready)
	}
}

// next to be served: whose holder has least, and of these who came first. While there is no room for it, smaller ones overtake it, but
// not for ever. Who has his share already keeps nobody.
func (b *Budget) next() *waiter {
	first := b.firstBelow(math.MaxInt64)
	if first == nil || first.impatient || b.held+first.hold.n <= HeldAtOnce {
		return first
	}
	return b.firstBelow(min(first.hold.n, HeldAtOnce-b.held+1))
}

// firstBelow gives the first of those who want less than so many bytes; nil: there is none.
func (b *Budget) firstBelow(n int64) (first *waiter) {
	now := time.Now()
	for _, w := range b.waiting {
		w.hold.slow = now.Before(w.hold.of.slowUntil)
		if w.hold.n < n && !b.hasShare(w.hold) && (first == nil || w.hold.of.held < first.hold.of.held) {
			first = w
		}
	}
	return first
}

func (b *Budget) forget(w *waiter) {
	b.waiting = slices.DeleteFunc(b.waiting, func(other *waiter) bool { return other == w })
}

// takeBack the room of what has been arriving for as long as a waiter has waited: of all, or of those with whom it shares what it
// lacks.
func (b *Budget) takeBack(w *waiter, patience time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	w.impatient = true
	now := time.Now()
	w.hold.slow = now.Before(w.hold.of.slowUntil)
	own, slow := w.hold.ownShare(), b.slowShare(w.hold)
	for h := range b.arriving {
		if now.Sub(h.since) < patience || own && h.of != w.hold.of || slow && !h.slow {
			continue
		}
		h.of.slowUntil = now.Add(slowFor)
		b.give(h)
		go h.lost()
	}
	b.serve()
}

// leave the queue; the room that came meanwhile is given back.
func (b *Budget) leave(w *waiter) {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-w.ready:
		b.give(w.hold)
	default:
		b.forget(w)
	}
	b.serve()
}

// give back a hold, once.
func (b *Budget) give(h *Hold) {
	if h.released {
		return
	}
	h.released = true
	delete(b.arriving, h)
	b.held -= h.n
	h.of.held -= h.n
	if h.slow {
		b.slow -= h.n
	}
}

// Arrived says that all of the value is there, so that it will not be held for long: it is not taken back any more.
func (h *Hold) Arrived() {
	if h.budget == nil {
		return
	}
	h.budget.mu.Lock()
	defer h.budget.mu.Unlock()
	delete(h.budget.arriving, h)
}

// Release gives the room back; more than once is no more.
func (h *Hold) Release() {
	if h.budget == nil {
		return
	}
	h.budget.mu.Lock()
	defer h.budget.mu.Unlock()
	h.budget.give(h)
	if len(h.budget.waiting) > 0 {
		h.budget.serve()
	}
}
