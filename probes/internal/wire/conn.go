// Package wire speaks the text protocols of Redis and memcached, whose commands and replies its callers know.
//
// Link is the connection to one server, opened when it is needed; Request is some commands and how their replies are read;
// Exchange is requests under way; Account counts what our own reads add to the server's hits and misses.
package wire

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cacheinv/cacheinv_exporter/probes"
)

// OwedLongest is how long a connection waits for replies that nobody needs any more, only to count what they moved.
const OwedLongest = 30 * time.Second

// lastWords is how long the replies of a server that takes no more commands are still read: they may say why.
const lastWords = time.Second

// givenAhead is how much memory a value gets before it has come, in bytes.
const givenAhead = 128 << 10

// longestLine is how long a line may be before it is taken for none.
const longestLine = 16 << 20

// Conn is a connection whose replies are read while they arrive, so that a value need never be held beside the others.
// It knows lines, and values that follow them; the protocol is the requests' own.
type Conn struct {
	conn net.Conn
	// Reader gives what the server sends; ReadLine and the like read from it.
	Reader *bufio.Reader
	// Foreign is the error of a reply that breaks the protocol.
	Foreign error
	// Buf is reused from value to value.
	Buf []byte
	// holder of its values.
	holder *probes.Holder
	// Secrets that were given over the connection; nil: none.
	Secrets *probes.Secrets
	// moved bytes were received.
	moved atomic.Int64
}

// Peer is the host:port at which the server was reached; empty where there is none.
func (c *Conn) Peer() string {
	if at := c.conn.RemoteAddr(); at != nil {
		return at.String()
	}
	return ""
}

// NewConn reads and writes over conn. foreign is the error of a reply that breaks the protocol.
func NewConn(conn net.Conn, foreign error) *Conn {
	c := &Conn{conn: conn, Foreign: foreign, holder: &probes.Holder{}}
	c.Reader = bufio.NewReaderSize(c, 32<<10)
	return c
}

// Read reads from the connection for Reader, and counts what arrives.
func (c *Conn) Read(p []byte) (int, error) {
	n, err := c.conn.Read(p)
	c.moved.Add(int64(n))
	return n, err
}

// Close ends the connection, and with it a request under way.
func (c *Conn) Close() { _ = c.conn.Close() } // nothing is left to be told

// Request is some commands and how their replies are read. An error of Read ends the connection.
type Request struct {
	Commands []byte
	Read     func(x *Exchange) error
}

// Exchange is requests under way on a connection. It runs to its end in a goroutine of its own: when its caller's time is
// up, the replies that the server still owes are read and counted, but no longer handed on (Deliver).
type Exchange struct {
	*Conn
	ctx  context.Context // the caller's
	done chan struct{}
	// err and answered (a reply arrived) are valid once done is closed.
	err      error
	answered bool
	// short: something was left out because ctx had ended.
	short bool
	// More is a request that a reply made necessary. It is sent once all else is answered, also if the caller is gone.
	More *Request

	mu sync.Mutex
	// live: the caller still waits.
	live bool
	// hold of the value that is being read; nil: there is none.
	hold *probes.Hold
	// tooSlow: the hold was taken back.
	tooSlow bool
	// lost is lose, made once: a thousand values would each make their own.
	lost func()
}

// NewExchange is for who reads what c brings by himself, request by request.
func NewExchange(c *Conn) *Exchange { return newExchange(context.Background(), c) }

func newExchange(ctx context.Context, c *Conn) *Exchange {
	x := &Exchange{Conn: c, ctx: ctx, live: true}
	x.lost = x.lose
	return x
}

// begin sends requests and reads their replies; after is called at the end, before done is closed.
func (c *Conn) begin(ctx context.Context, requests []Request, after func(*Exchange)) *Exchange {
	x := newExchange(ctx, c)
	x.done = make(chan struct{})
	// A server answers while we still write: both directions must move, or long pipelines block.
	sent := make(chan Request, len(requests))
	written := make(chan error, 1)
	_ = c.conn.SetDeadline(time.Time{}) // fails only on a closed connection, and so will the rest
	go func() {
		var err error
		for _, rq := range requests {
			if ctx.Err() != nil { // nobody waits for the rest
				break
			}
			sent <- rq
			if _, err = c.conn.Write(rq.Commands); err != nil {
				_ = c.conn.SetReadDeadline(time.Now().Add(lastWords))
				break
			}
		}
		close(sent)
		written <- err
	}()
	go func() {
		err := probes.Guarded(func() error { return x.readAll(sent, len(requests)) })
		if err != nil {
			c.Close() // ends a write under way
		}
		if werr := <-written; err == nil {
			err = werr
		}
		if cap(c.Buf) > 64<<10 {
			c.Buf = nil // many idle nodes need not keep their largest value's space
		}
		x.err = x.reason(err)
		after(x)
		close(x.done)
	}()
	return x
}

func (x *Exchange) readAll(sent <-chan Request, all int) error {
	for rq := range sent {
		if err := rq.Read(x); err != nil {
			return err
		}
		all--
	}
	x.short = x.short || all > 0
	if x.More == nil {
		return nil
	}
	if _, err := x.conn.Write(x.More.Commands); err != nil {
		return err
	}
	return x.More.Read(x)
}

// wait gives the exchange's error, or gives the exchange up when ctx ends.
func (x *Exchange) wait(ctx context.Context) error {
	select {
	case <-x.done:
		if x.err == nil && x.short {
			return probes.NoAnswer(ctx)
		}
		return x.err
	case <-ctx.Done():
	}
	x.mu.Lock()
	x.live = false
	x.mu.Unlock()
	x.Release()                                         // a value that stopped half way must not keep others waiting
	_ = x.conn.SetDeadline(time.Now().Add(OwedLongest)) // fails only on a closed connection, which ends by itself
	return probes.NoAnswer(ctx)
}

// Converse sends requests over a connection that nobody else uses, and waits until their replies are read. An error closes
// the connection.
func (c *Conn) Converse(ctx context.Context, requests ...Request) error {
	x := c.begin(ctx, requests, func(*Exchange) {})
	err := x.wait(ctx)
	if err != nil {
		c.Close()
	}
	<-x.done
	return err
}

// Deliver runs f, which hands results to the caller, unless the caller is gone.
func (x *Exchange) Deliver(f func()) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.live {
		f()
	}
}

// Acquire holds n bytes of b until Release; false: the caller is gone, and the value can be dropped. If it comes too slowly while
// others wait, the connection ends.
func (x *Exchange) Acquire(b *probes.Budget, n int64) bool {
	hold, err := b.Hold(x.ctx, x.holder, n, x.lost)
	x.mu.Lock()
	defer x.mu.Unlock()
	if err == nil && x.live {
		x.hold = hold
		return true
	}
	if err == nil {
		hold.Release()
	}
	x.short = true
	return false
}

// lose ends the connection: whoever waits for the budget must not wait for this server.
func (x *Exchange) lose() {
	x.mu.Lock()
	x.tooSlow = true
	x.mu.Unlock()
	x.Close()
}

// reason why the exchange ended in err.
func (x *Exchange) reason(err error) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if err != nil && x.tooSlow {
		return probes.ErrTooSlow
	}
	return err
}

// Arrived says that what Acquire is held for has been read.
func (x *Exchange) Arrived() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.hold != nil {
		x.hold.Arrived()
	}
}

// Release gives back what Acquire holds, if anything.
func (x *Exchange) Release() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.hold != nil {
		x.hold.Release()
		x.hold = nil
	}
}

// ReadLine reads one line and gives it without its end, valid until the next read. A line that is longer than the buffer is
// cut.
func (x *Exchange) ReadLine() ([]byte, error) {
	b, cut, err := x.readLine()
	switch {
	case err != nil || cut:
		return b, err
	case len(b) == 0 || b[len(b)-1] != '\r':
		return nil, x.Foreign
	}
	return b[:len(b)-1], nil
}

// ReadLooseLine is ReadLine for lines that may end in a line feed alone.
func (x *Exchange) ReadLooseLine() ([]byte, error) {
	b, _, err := x.readLine()
	return bytes.TrimRight(b, "\r"), err
}

// readLine reads a line up to its line feed, or the start of one that is longer than the buffer.
func (x *Exchange) readLine() (line []byte, cut bool, err error) {
	b, err := x.Reader.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		line, err = x.cutLine(b)
		return line, true, err
	}
	if err != nil {
		return nil, false, err
	}
	x.answered = true
	return b[:len(b)-1], false, nil
}

// cutLine gives the start of a line, and drops the rest. What is not in lines at all must not be read for ever.
func (x *Exchange) cutLine(start []byte) ([]byte, error) {
	start = slices.Clone(start)
	for dropped := 0; dropped < longestLine; {
		b, err := x.Reader.ReadSlice('\n')
		dropped += len(b)
		switch {
		case err == nil:
			x.answered = true
			return bytes.TrimSuffix(start, []byte{'\r'}), nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
	return nil, x.Foreign
}

// ReadValue reads a value of size bytes and gives it to hand, or an error if it is larger than env allows.
func (x *Exchange) ReadValue(env *probes.Env, size int64, hand func(probes.Raw)) error {
	if size > env.MaxValueBytes {
		hand(probes.Raw{Err: TooLarge(size)})
		return x.Discard(size)
	}
	if !x.Acquire(env.Budget, size) {
		return x.Discard(size)
	}
	defer x.Release()
	var err error
	if x.Buf, err = x.ReadBulk(x.Buf[:0], size); err != nil {
		return err
	}
	x.Arrived()
	hand(probes.Raw{Present: true, Value: x.Buf})
	return nil
}

// TooLarge is the error of a value of more bytes than are allowed.
func TooLarge(size int64) error {
	return fmt.Errorf("value of %d bytes is larger than --canary.max-value-bytes", size)
}

// ReadBulk appends n bytes to buf, and reads the end of line behind them.
func (x *Exchange) ReadBulk(buf []byte, n int64) ([]byte, error) {
	buf, err := x.readFull(buf, n)
	if err != nil {
		return buf, err
	}
	return buf, x.endOfLine()
}

// readFull appends n bytes to buf. A server gets memory for what it has sent, not for what it says that it will.
func (x *Exchange) readFull(buf []byte, n int64) ([]byte, error) {
	start := len(buf)
	for end := int64(start) + n; int64(len(buf)) < end; {
		at := len(buf)
		next := min(end, int64(at)+givenAhead)
		if int64(cap(buf)) < next {
			grown := make([]byte, at, max(next, min(end, int64(2*cap(buf)))))
			copy(grown, buf)
			buf = grown
		}
		buf = buf[:min(end, int64(cap(buf)))]
		if _, err := io.ReadFull(x.Reader, buf[at:]); err != nil {
			return buf[:start], err
		}
	}
	return buf, nil
}

// ReadEnds appends what a text of n bytes begins and ends with to buf, most bytes at the most, and drops what is between. It is cut
// at the ends of lines.
func (x *Exchange) ReadEnds(buf []byte, n, most int64) ([]byte, error) {
	if n <= most {
		return x.ReadBulk(buf, n)
	}
	buf, err := x.readFull(buf, most/2)
	if err != nil {
		return buf, err
	}
	buf = buf[:bytes.LastIndexByte(buf, '\n')+1]
	if err := x.drop(n - most/2*2); err != nil {
		return buf, err
	}
	rest, err := x.ReadBulk(nil, most/2)
	if err != nil {
		return buf, err
	}
	return append(buf, rest[bytes.IndexByte(rest, '\n')+1:]...), nil
}

// Discard reads n bytes and the end of line behind them, and drops them.
func (x *Exchange) Discard(n int64) error {
	if err := x.drop(n); err != nil {
		return err
	}
	return x.endOfLine()
}

func (x *Exchange) drop(n int64) error {
	for n > 0 {
		part := min(n, math.MaxInt32)
		if _, err := x.Reader.Discard(int(part)); err != nil {
			return err
		}
		n -= part
	}
	return nil
}

func (x *Exchange) endOfLine() error {
	b, err := x.Reader.Peek(2)
	if err != nil {
		return err
	}
	if string(b) != "\r\n" {
		return x.Foreign
	}
	_, err = x.Reader.Discard(2)
	return err
}

// ParseInt reads a decimal number. What an int64 can't hold saturates.
func ParseInt(b []byte) (int64, bool) {
	digits, most := b, uint64(math.MaxInt64)
	negative := len(b) > 0 && b[0] == '-'
	if negative {
		digits, most = b[1:], most+1
	}
	if len(digits) == 0 {
		return 0, false
	}
	n := uint64(0)
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		if d := uint64(c - '0'); n > (most-d)/10 {
			n = most
		} else {
			n = n*10 + d
		}
	}
	if negative {
		return -int64(n), true // of most, too: it is its own opposite
	}
	return int64(n), true
}

// TTL of so many units, saturating: a copy may be kept for thousands of years.
func TTL(n int64, unit time.Duration) time.Duration {
	if n > int64(math.MaxInt64/unit) {
		return math.MaxInt64
	}
	return time.Duration(n) * unit
}
