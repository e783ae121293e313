package collector

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"
)

// targetGrace is how long a collector's target may come after the end of the sampling's time.
const targetGrace = 50 * time.Millisecond

var errNotBack = errors.New("not back in time")

// eachInTime asks n targets at once, and tells each answer as it comes, one at a time. One that is not back soon after the
// end of ctx is not told; back says which were.
func eachInTime[T any](ctx context.Context, n int, ask func(i int) T, tell func(i int, answer T)) (back []bool) {
	type reply struct {
		of     int
		answer T
	}
	replies := make(chan reply, n)
	for i := range n {
		go func() { replies <- reply{i, ask(i)} }()
	}
	back = make([]bool, n)
	late := make(chan struct{})
	defer context.AfterFunc(ctx, func() { time.AfterFunc(targetGrace, func() { close(late) }) })()
	for range n {
		select {
		case r := <-replies:
			back[r.of] = true
			tell(r.of, r.answer)
		case <-late:
			return back
		}
	}
	return back
}

// onceAtATime: a target that is still busy is not asked again. A panic in ask becomes its error.
func onceAtATime(busy *atomic.Bool, ask func() error) (err error) {
	if !busy.CompareAndSwap(false, true) {
		return errBusy
	}
	defer busy.Store(false)
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return ask()
}
