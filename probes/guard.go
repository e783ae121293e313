package probes

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
)

// ErrPanic is what an error is that was a panic (errors.Is).
var ErrPanic = errors.New("panic")

// longestPanic that is told of what a panic says, in bytes.
const longestPanic = 200

// Guarded runs f, and gives its error or, as an error, its panic: whatever a server sends must not end the process. Each goroutine
// that reads what a server sent runs under it. The text is the same whenever the same place panics in the same way.
func Guarded(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			said := strings.ToValidUTF8(fmt.Sprint(p), "")
			err = fmt.Errorf("%w: %s (in %s); please report it", ErrPanic, said[:min(len(said), longestPanic)], panickedAt())
		}
	}()
	return f()
}

// GuardedSurvey asks n for its survey; a panic in it is an error of that node.
func GuardedSurvey(ctx context.Context, n Node, scan *Scan) (s Survey, err error) {
	err = Guarded(func() (err error) {
		s, err = n.Survey(ctx, scan)
		return err
	})
	return s, err
}

// panickedAt gives the place of the panic that is being recovered from, below the runtime's own functions.
func panickedAt() string {
	calls := make([]uintptr, 32)
	frames := runtime.CallersFrames(calls[:runtime.Callers(3, calls)])
	for {
		at, more := frames.Next()
		if !strings.HasPrefix(at.Function, "runtime.") || !more {
			return fmt.Sprintf("%s:%d", at.Function, at.Line)
		}
	}
}
