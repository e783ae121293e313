package probetest

import (
	"fmt"
	"net"
	"runtime"
	"testing"
	"time"
)

// Endless is a connection on which a server never comes to an end: it says first, and then again and again the same thing. Who reads
// for long enough is cut off, as a deadline would.
type Endless struct {
	net.Conn // nothing else is called

	say func(i int) string // the i-th piece
	i   int
	now string
	// read bytes so far; the memory is looked at again at next.
	read, next int64
	// Held is the most memory that was alive at any time beyond what was before, in bytes.
	Held  int64
	began int64
}

const (
	// endlessBytes are read from an Endless at the most, and its memory is looked at after each endlessStep of them.
	endlessBytes = 18 << 20
	endlessStep  = 5 << 20
)

// NewEndless is such a connection. again gives the i-th piece.
func NewEndless(first string, again func(i int) string) *Endless {
	return &Endless{now: first, say: again, next: endlessStep, began: alive()}
}

// Again is the same piece each time, made large so that the server costs nothing.
func Again(piece string) func(int) string {
	many := make([]byte, 0, 64<<10+len(piece))
	for len(many) < 64<<10 {
		many = append(many, piece...)
	}
	return func(int) string { return string(many) }
}

// Numbered are pieces that are never the same: format has a place for a number.
func Numbered(format string) func(int) string {
	n := 0
	return func(int) string {
		var many []byte
		for len(many) < 64<<10 {
			many = fmt.Appendf(many, format, n)
			n++
		}
		return string(many)
	}
}

// alive is the memory that is still in use after a collection.
func alive() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// Read gives what the server sends.
func (e *Endless) Read(p []byte) (int, error) {
	if e.read >= endlessBytes {
		return 0, net.ErrClosed
	}
	if e.read >= e.next {
		e.next += endlessStep
		e.Held = max(e.Held, alive()-e.began)
	}
	if e.now == "" {
		e.now = e.say(e.i)
		e.i++
	}
	n := copy(p, e.now)
	e.now = e.now[n:]
	e.read += int64(n)
	return n, nil
}

// HeldLittle demands that whoever read it held no more than most bytes at any time.
func (e *Endless) HeldLittle(t testing.TB, most int64) {
	t.Helper()
	if e.Held = max(e.Held, alive()-e.began); e.Held > most {
		t.Errorf("%.1f MB were held of %.1f MB that came, at most %.1f MB", float64(e.Held)/1e6, float64(e.read)/1e6, float64(most)/1e6)
	}
}

// Write drops what is sent to the server.
func (*Endless) Write(p []byte) (int, error) { return len(p), nil }

// Close does nothing.
func (*Endless) Close() error { return nil }

// RemoteAddr gives none.
func (*Endless) RemoteAddr() net.Addr { return nil }

// SetDeadline does nothing.
func (*Endless) SetDeadline(time.Time) error { return nil }

// SetReadDeadline does nothing.
func (*Endless) SetReadDeadline(time.Time) error { return nil }
