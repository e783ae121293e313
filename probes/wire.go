package probes

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// owedLongest is how long a connection waits for replies that nobody needs any more, only to count what they moved.
const owedLongest = 30 * time.Second

// lastWords is how long a server that takes no more may still say why.
const lastWords = time.Second

// wire is a connection whose replies are read while they arrive, so that a value need never be held beside the others.
// It knows lines and values behind them; the protocol is the requests' own.
type wire struct {
	conn net.Conn
	r    *bufio.Reader
	// foreign is the error of a reply that breaks the protocol.
	foreign error
	// buf is reused from value to value.
	buf []byte
	// moved bytes were received.
	moved atomic.Int64
}

func newWire(conn net.Conn, foreign error) *wire {
	w := &wire{conn: conn, foreign: foreign}
	w.r = bufio.NewReaderSize(w, 32<<10)
	return w
}

// Read makes the wire its own reader's source, so that what arrives is seen.
func (w *wire) Read(p []byte) (int, error) {
	n, err := w.conn.Read(p)
	w.moved.Add(int64(n))
	return n, err
}

func (w *wire) close() { _ = w.conn.Close() } // nothing is left to be told

// request is some commands and how their replies are read. An error of read ends the connection.
type request struct {
	commands []byte
	read     func(x *exchange) error
}

// exchange is requests under way on a wire. It runs to its end in a goroutine of its own: when its caller's time is
// up, the replies that the server still owes are read and counted, but no longer handed on.
type exchange struct {
	*wire
	ctx  context.Context // the caller's
	done chan struct{}
	// err and answered (a reply arrived) are valid once done is closed.
	err      error
	answered bool
	// short: something was left out because ctx had ended.
	short bool
	// more is what replies made necessary to say. It is said once all else is answered, also if the caller is gone.
	more *request

	mu   sync.Mutex
	live bool
	// held bytes of budget, for the value that is being read.
	budget *Budget
	held   int64
}

// begin sends requests and reads their replies; after is called at the end, before done is closed.
func (w *wire) begin(ctx context.Context, requests []request, after func(*exchange)) *exchange {
	x := &exchange{wire: w, ctx: ctx, done: make(chan struct{}), live: true}
	// A server answers while we still write: both directions must move, or long pipelines stand still.
	sent := make(chan request, len(requests))
	written := make(chan error, 1)
	_ = w.conn.SetDeadline(time.Time{}) // fails only on a closed connection, and so will the rest
	go func() {
		var err error
		for _, rq := range requests {
			if ctx.Err() != nil { // nobody waits for the rest
				break
			}
			sent <- rq
			if _, err = w.conn.Write(rq.commands); err != nil {
				_ = w.conn.SetReadDeadline(time.Now().Add(lastWords))
				break
			}
		}
		close(sent)
		written <- err
	}()
	go func() {
		err := x.readAll(sent, len(requests))
		if err != nil {
			w.close() // ends a write under way
		}
		if werr := <-written; err == nil {
			err = werr
		}
		if cap(w.buf) > 64<<10 {
			w.buf = nil // many idle nodes need not keep their largest value's space
		}
		x.err = err
		after(x)
		close(x.done)
	}()
	return x
}

func (x *exchange) readAll(sent <-chan request, all int) error {
	for rq := range sent {
		if err := rq.read(x); err != nil {
			return err
		}
		all--
	}
	x.short = x.short || all > 0
	if x.more == nil {
		return nil
	}
	if _, err := x.conn.Write(x.more.commands); err != nil {
		return err
	}
	return x.more.read(x)
}

// wait gives the exchange's error, or gives the exchange up when ctx ends.
func (x *exchange) wait(ctx context.Context) error {
	select {
	case <-x.done:
		if x.err == nil && x.short {
			return noAnswer(ctx)
		}
		return x.err
	case <-ctx.Done():
	}
	x.mu.Lock()
	x.live = false
	x.mu.Unlock()
	x.release()                                         // a value that stopped half way must not keep others waiting
	_ = x.conn.SetDeadline(time.Now().Add(owedLongest)) // fails only on a closed connection, which ends by itself
	return noAnswer(ctx)
}

// converse runs requests over a wire that nobody else uses, and leaves nothing behind: an error closes the wire.
func (w *wire) converse(ctx context.Context, requests ...request) error {
	x := w.begin(ctx, requests, func(*exchange) {})
	err := x.wait(ctx)
	if err != nil {
		w.close()
	}
	<-x.done
	return err
}

// deliver runs f unless the caller is gone.
func (x *exchange) deliver(f func()) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.live {
		f()
	}
}

// acquire holds n bytes of budget until release; false: the caller is gone, and the value can be dropped.
func (x *exchange) acquire(b *Budget, n int64) bool {
	err := b.Acquire(x.ctx, n)
	x.mu.Lock()
	defer x.mu.Unlock()
	if err == nil && x.live {
		x.budget, x.held = b, n
		return true
	}
	if err == nil {
		b.Release(n)
	}
	x.short = true
	return false
}

func (x *exchange) release() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.budget != nil {
		x.budget.Release(x.held)
		x.budget = nil
	}
}

// line reads one line and gives it without its end, valid until the next read.
func (x *exchange) line() ([]byte, error) {
	b, err := x.r.ReadSlice('\n')
	if err != nil {
		if errors.Is(err, bufio.ErrBufferFull) {
			err = x.foreign
		}
		return nil, err
	}
	x.answered = true
	if len(b) < 2 || b[len(b)-2] != '\r' {
		return nil, x.foreign
	}
	return b[:len(b)-2], nil
}

// value reads a value of size bytes and hands it on, or as an error if it is larger than opt allows.
func (x *exchange) value(opt Options, size int64, hand func(Raw)) error {
	if size > opt.MaxValueBytes {
		hand(Raw{Err: tooLarge(size)})
		return x.drop(size)
	}
	if !x.acquire(opt.Budget, size) {
		return x.drop(size)
	}
	defer x.release()
	var err error
	if x.buf, err = x.bulk(x.buf[:0], size); err != nil {
		return err
	}
	hand(Raw{Present: true, Value: x.buf})
	return nil
}

func tooLarge(size int64) error {
	return fmt.Errorf("value of %d bytes is larger than --canary.max-value-bytes", size)
}

// bulk appends n bytes to buf, and passes the end of line behind them.
func (x *exchange) bulk(buf []byte, n int64) ([]byte, error) {
	start := len(buf)
	if int64(cap(buf)-start) < n {
		grown := make([]byte, start, max(int64(2*cap(buf)), int64(start)+n))
		copy(grown, buf)
		buf = grown
	}
	buf = buf[:int64(start)+n]
	if _, err := io.ReadFull(x.r, buf[start:]); err != nil {
		return buf[:start], err
	}
	return buf, x.endOfLine()
}

// drop passes n bytes and the end of line behind them.
func (x *exchange) drop(n int64) error {
	if _, err := x.r.Discard(int(n)); err != nil {
		return err
	}
	return x.endOfLine()
}

func (x *exchange) endOfLine() error {
	b, err := x.r.Peek(2)
	if err != nil {
		return err
	}
	if string(b) != "\r\n" {
		return x.foreign
	}
	_, err = x.r.Discard(2)
	return err
}

// parseInt reads a decimal number of at most 18 digits.
func parseInt(b []byte) (int64, bool) {
	digits := b
	if len(b) > 0 && b[0] == '-' {
		digits = b[1:]
	}
	if len(digits) == 0 || len(digits) > 18 {
		return 0, false
	}
	n := int64(0)
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	if len(digits) < len(b) {
		n = -n
	}
	return n, true
}
