package collector

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/cacheinv/cacheinv_exporter/probes"
)

// answerGrace is how long after the end of the sampling's time an answer to a collector may come.
const answerGrace = 50 * time.Millisecond

var errNotBack = errors.New("not back in time")

// eachInTime asks n backends at once and hands each answer on as it comes, one at a time. take never gets one that is not
// there soon after the end of ctx; back says whose were.
func eachInTime[T any](ctx context.Context, n int, ask func(i int) T, take func(i int, answer T)) (back []bool) {
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
	defer context.AfterFunc(ctx, func() { time.AfterFunc(answerGrace, func() { close(late) }) })()
	for range n {
		select {
		case r := <-replies:
			back[r.of] = true
			take(r.of, r.answer)
		case <-late:
			return back
		}
	}
	return back
}

// onceAtATime asks, but not a backend that has not answered an earlier sampling yet. A panic in ask becomes its error.
func onceAtATime(busy *atomic.Bool, ask func() error) (err error) {
	if !busy.CompareAndSwap(false, true) {
		return probes.ErrBusy
	}
	defer busy.Store(false)
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %s", probes.ErrPanic, probes.PanicReport(p))
		}
	}()
	return ask()
}
