package probes

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// hold n bytes; it must be had before ctx ends.
func hold(ctx context.Context, t *testing.T, b *Budget, of *Holder, n int64, lost func()) *Hold {
	t.Helper()
	h, err := b.Hold(ctx, of, n, lost)
	if err != nil {
		t.Fatalf("%d bytes beside %d: %v", n, b.Held(), err)
	}
	return h
}

func mustNotLose(t *testing.T) func() { return func() { t.Error("it was taken back") } }

// One that holds for ever has half at most, however many values it reads, and keeps nobody waiting.
func TestHolderHasHalf(t *testing.T) {
	b := NewBudget()
	var stalling, honest Holder
	ctx := within(t, time.Minute)
	for range 16 {
		hold(ctx, t, b, &stalling, 1<<20, mustNotLose(t))
	}
	more := make(chan error, 1)
	waits, end := context.WithCancel(ctx)
	go func() {
		_, err := b.Hold(waits, &stalling, 1<<20, mustNotLose(t))
		more <- err
	}()
	for range 100 {
		h := hold(ctx, t, b, &honest, 16<<20, mustNotLose(t))
		h.Arrived()
		h.Release()
	}
	end()
	if err := <-more; !errors.Is(err, context.Canceled) {
		t.Errorf("beyond its half: %v", err)
	}
	if got := b.Held(); got != 16<<20 {
		t.Errorf("%d bytes are held", got)
	}
}

// What does not arrive while others wait is taken back, and whose it was has to share half with its like from then on.
func TestTakenBack(t *testing.T) {
	t.Parallel()
	b := NewBudget()
	slow := make([]Holder, 32)
	var lost atomic.Int64
	for i := range slow {
		hold(t.Context(), t, b, &slow[i], 1<<20, func() { lost.Add(1) })
	}
	var honest Holder
	ctx := within(t, 10*time.Second)
	h := hold(ctx, t, b, &honest, 2<<20, mustNotLose(t))
	h.Arrived()
	for end := time.Now().Add(10 * time.Second); lost.Load() < 32 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if got := b.Held(); got != 2<<20 || lost.Load() != 32 {
		t.Fatalf("%d bytes are held, %d were taken back", got, lost.Load())
	}
	for i := range 16 {
		hold(ctx, t, b, &slow[i], 1<<20, mustNotLose(t)).Arrived()
	}
	if _, err := b.Hold(within(t, 20*time.Millisecond), &slow[20], 1<<20, mustNotLose(t)); err == nil {
		t.Error("slow holders have more than half")
	}
	h.Release()
	hold(ctx, t, b, &honest, 16<<20, mustNotLose(t))
}

// Who waits among slow ones has what they do not read, and takes nothing from others.
func TestSlowAmongSlow(t *testing.T) {
	t.Parallel()
	b := NewBudget()
	var honest Holder
	slow := make([]Holder, 3)
	for i := range slow {
		slow[i].slowUntil = time.Now().Add(time.Hour)
	}
	hold(t.Context(), t, b, &honest, 10<<20, mustNotLose(t))
	hold(t.Context(), t, b, &slow[0], 10<<20, mustNotLose(t)).Arrived()
	lost := make(chan struct{})
	hold(t.Context(), t, b, &slow[1], 6<<20, func() { close(lost) })
	hold(within(t, 10*time.Second), t, b, &slow[2], 5<<20, mustNotLose(t))
	<-lost
}

// Small values do not count; smaller ones overtake larger ones that wait.
func TestSmallWaitsForNoLarge(t *testing.T) {
	t.Parallel()
	b := NewBudget()
	holders := make([]Holder, 4)
	ctx := within(t, time.Minute)
	for i := range 2 {
		hold(ctx, t, b, &holders[i], 15<<20, mustNotLose(t)).Arrived()
	}
	waits, end := context.WithCancel(ctx)
	large := make(chan error, 1)
	go func() {
		_, err := b.Hold(waits, &holders[2], 4<<20, mustNotLose(t))
		large <- err
	}()
	for {
		b.mu.Lock()
		n := len(b.waiting)
		b.mu.Unlock()
		if n > 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	hold(ctx, t, b, &holders[3], 1<<20, mustNotLose(t)).Release()
	for range 1000 {
		hold(ctx, t, b, &holders[3], SmallValue, mustNotLose(t))
	}
	end()
	if err := <-large; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if got := b.Held(); got != 30<<20 {
		t.Errorf("%d bytes are held", got)
	}
}

// A large value is not overtaken for ever.
func TestLargeIsNotOvertakenForEver(t *testing.T) {
	t.Parallel()
	b := NewBudget()
	ctx, end := context.WithCancel(within(t, time.Minute))
	var others sync.WaitGroup
	for range 8 {
		others.Go(func() {
			var of Holder
			for ctx.Err() == nil {
				h, err := b.Hold(ctx, &of, 5<<20, func() {})
				if err != nil {
					return
				}
				h.Arrived()
				time.Sleep(time.Millisecond)
				h.Release()
			}
		})
	}
	var of Holder
	hold(ctx, t, b, &of, HeldAtOnce, func() {}).Release()
	end()
	others.Wait()
	if got := b.Held(); got != 0 {
		t.Errorf("%d bytes are held", got)
	}
}

// Whatever happens at once, the bound holds, and in the end nothing is held by anybody.
func TestBudgetAtRandom(t *testing.T) {
	t.Parallel()
	b := NewBudget()
	holders := make([]Holder, 6)
	var all sync.WaitGroup
	for i := range 48 {
		random := rand.New(rand.NewPCG(uint64(i), 1))
		all.Go(func() {
			for range 60 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(random.IntN(20)+1)*time.Millisecond)
				gone := make(chan struct{})
				h, err := b.Hold(ctx, &holders[random.IntN(len(holders))], random.Int64N(8<<20), func() { close(gone) })
				if got := b.Held(); got > HeldAtOnce {
					t.Errorf("%d bytes are held", got)
				}
				if err == nil {
					switch random.IntN(3) {
					case 0:
						h.Arrived()
					case 1:
						select {
						case <-gone:
						case <-ctx.Done():
						}
					}
					h.Release()
					h.Release()
				}
				cancel()
			}
		})
	}
	all.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.held != 0 || b.slow != 0 || len(b.arriving) != 0 || len(b.waiting) != 0 {
		t.Errorf("left: %d held, %d of slow ones, %d arriving, %d waiting", b.held, b.slow, len(b.arriving), len(b.waiting))
	}
	for i := range holders {
		if holders[i].held != 0 {
			t.Errorf("holder %d has %d", i, holders[i].held)
		}
	}
}
