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

// Guarded runs f, and gives its error or, as an error, its panic: whatever a server sends must not end the process. Each goroutine
// that reads what a server sent runs under it. The text is the same whenever the same place panics in the same way.
func Guarded(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %s (in %s); please report it", ErrPanic, panicText(p), panicCalls()[0])
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

// PanicReport is what can be told of a panic, where it is recovered from: what it says, and the functions that it broke off, with their
// lines. Their arguments may be cached values.
func PanicReport(p any) string { return panicText(p) + "\n" + strings.Join(panicCalls(), "\n") }

// panicText is what a panic says, where that is the runtime's, which names numbers and types alone. Anything else may hold what a server
// sent, and its type is told instead.
func panicText(p any) string {
	if err, ok := p.(runtime.Error); ok {
		return err.Error()
	}
	return fmt.Sprintf("a value of type %T", p)
}

// panicCalls gives the place of the panic that is being recovered from, below the runtime's own functions, and then who called it.
func panicCalls() []string {
	calls := make([]uintptr, 64)
	frames := runtime.CallersFrames(calls[:runtime.Callers(0, calls)])
	var out []string
	panicked, from := false, false
	for {
		at, more := frames.Next()
		own := strings.HasPrefix(at.Function, "runtime.")
		panicked = panicked || at.Function == "runtime.gopanic"
		if from = from || panicked && !own; from {
			out = append(out, fmt.Sprintf("%s:%d", at.Function, at.Line))
		}
		if !more {
			return append(out, "(the goroutine's start)") // at least one, whatever the runtime calls its functions
		}
	}
}
