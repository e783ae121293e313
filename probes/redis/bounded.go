package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/wire"
)

const (
	// longestReply is how much of a reply is read before its connection is given up, and mostDropped how much more of one that is larger
	// than allowed.
	longestReply, mostDropped = 64 << 20, 16 << 20
	// commandBytes and commandElements of the replies to what a command does, such as taking messages of any size.
	commandBytes, commandElements = 32 << 20, 1 << 18
	// sampledBytes and sampledElements of a sampling's replies, besides the bytes of messages that it holds of the budget.
	sampledBytes, sampledElements = 1 << 20, 1 << 17
)

// allowance is how much the replies of one Do may bring to the library, which takes the room that a reply announces.
type allowance struct{ bytes, elements atomic.Int64 }

func newAllowance(bytes, elements int64) *allowance {
	a := &allowance{}
	a.bytes.Store(bytes)
	a.elements.Store(elements)
	return a
}

type allowanceKey struct{}

// allowing gives a context whose Do has this allowance.
func allowing(ctx context.Context, a *allowance) context.Context {
	return context.WithValue(ctx, allowanceKey{}, a)
}

// allowed in a Do with this context.
func allowed(ctx context.Context) *allowance {
	if a, ok := ctx.Value(allowanceKey{}).(*allowance); ok {
		return a
	}
	return newAllowance(commandBytes, commandElements)
}

// tooLargeWord begins the error that stands in the place of a reply that is larger than allowed.
const tooLargeWord = "TOOLARGE"

// endlessReply is the error of a connection on which a reply is so large that it is not even dropped.
type endlessReply struct{ bytes int64 }

// Error says what was announced.
func (e endlessReply) Error() string {
	return fmt.Sprintf("the server's answer is larger than any that was asked for (%d bytes or more); is it a Redis or Valkey?", e.bytes)
}

// tooLarge reports whether an answer was larger than allowed, and the bytes of the text in it that was; 0: no text was.
func tooLarge(err error) (bytes int64, large bool) {
	var endless endlessReply
	if errors.As(err, &endless) {
		return endless.bytes, true
	}
	if err == nil {
		return 0, false
	}
	rest, large := strings.CutPrefix(err.Error(), tooLargeWord+" ")
	if !large {
		return 0, false
	}
	bytes, _ = strconv.ParseInt(rest, 10, 64) // it is written below
	return bytes, true
}

// boundedConn gives the library nothing but whole replies that are within the allowance, of the shape that it expects. What is
// larger or deeper is dropped, and an error stands in its place.
type boundedConn struct {
	net.Conn
	metered *meter
	x       *wire.Exchange
	allowed func() *allowance
	// reply that was read; rest of it is still to be handed on.
	reply, rest []byte
	// dropping: the reply is too large; large is the text that was, 0: none was.
	dropping bool
	large    int64
	err      error
}

// rawBoundedConn lets the library look whether a connection that is idle was closed.
type rawBoundedConn struct {
	*boundedConn
	syscall.Conn
}

// bounded bounds what is read from conn; allowed gives the present allowance. Errors that the server replies repeat no secret.
func bounded(conn net.Conn, secrets *probes.Secrets, allowed func() *allowance) net.Conn {
	metered := &meter{Conn: conn}
	from := wire.NewConn(metered, errProtocol)
	from.Secrets = secrets
	b := &boundedConn{Conn: conn, metered: metered, x: wire.NewExchange(from), allowed: allowed}
	if raw, ok := conn.(syscall.Conn); ok {
		return rawBoundedConn{b, raw}
	}
	return b
}

// meter ends a connection over which a single reply has brought most bytes.
type meter struct {
	net.Conn
	read, most int64
}

// Read implements net.Conn.
func (m *meter) Read(p []byte) (int, error) {
	if m.read >= m.most {
		return 0, endlessReply{m.read}
	}
	n, err := m.Conn.Read(p)
	m.read += int64(n)
	return n, err
}

// Read implements net.Conn. What broke off in the middle of a reply stays broken.
func (b *boundedConn) Read(p []byte) (int, error) {
	if len(b.rest) == 0 && b.err == nil {
		b.err = probes.Guarded(b.next)
	}
	if b.err != nil {
		return 0, b.err
	}
	n := copy(p, b.rest)
	if b.rest = b.rest[n:]; len(b.rest) == 0 && cap(b.reply) > 64<<10 {
		b.reply, b.rest = nil, nil // an idle connection need not keep its largest reply's space
	}
	return n, nil
}

// next reads one reply.
func (b *boundedConn) next() error {
	b.metered.read, b.metered.most = 0, longestReply
	b.reply, b.dropping, b.large = b.reply[:0], false, 0
	if err := b.element(b.allowed(), 0); err != nil {
		return err
	}
	if b.dropping {
		b.reply = fmt.Appendf(b.reply[:0], "-%s %d\r\n", tooLargeWord, b.large)
	}
	b.rest = b.reply
	return nil
}

// element reads one element of a reply, as the library may have it.
func (b *boundedConn) element(a *allowance, depth int) error {
	kind, n, text, err := readHeader(b.x)
	if err != nil {
		return err
	}
	if b.dropping {
		return b.drop(kind, n)
	}
	room := a.elements.Add(-1) >= 0
	switch {
	case kind == '+' || kind == '-':
		room = room && a.bytes.Add(-int64(len(text))) >= 0
		b.reply = append(append(append(b.reply, kind), text...), "\r\n"...)
	case kind == ':':
		b.reply = append(strconv.AppendInt(append(b.reply, ':'), n, 10), "\r\n"...)
	case kind == unusable && depth == 0:
		b.reply = fmt.Appendf(b.reply, "-%s\r\n", errUnusable)
	case kind == unusable || kind == '$' && n < 0:
		b.reply = append(b.reply, "$-1\r\n"...)
	case kind == '*' && n < 0:
		b.reply = append(b.reply, "*-1\r\n"...)
	case kind == '$':
		return b.text(a, n, room)
	default:
		return b.list(a, n, depth, room)
	}
	b.dropping = b.dropping || !room
	return nil
}

// text reads a text of n bytes.
func (b *boundedConn) text(a *allowance, n int64, room bool) (err error) {
	if !room || n > longestReply || a.bytes.Add(-n) < 0 {
		b.dropping, b.large = true, n
		return b.drop('$', n)
	}
	b.reply = append(strconv.AppendInt(append(b.reply, '$'), n, 10), "\r\n"...)
	if b.reply, err = b.x.ReadBulk(b.reply, n); err != nil {
		return err
	}
	b.reply = append(b.reply, "\r\n"...)
	return nil
}

// list reads a list of n elements.
func (b *boundedConn) list(a *allowance, n int64, depth int, room bool) error {
	if !room || depth == mostDepth || n > a.elements.Load() {
		b.dropping = true
		return b.drop('*', n)
	}
	b.reply = append(strconv.AppendInt(append(b.reply, '*'), n, 10), "\r\n"...)
	for range n {
		if err := b.element(a, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// drop what follows a header, unless it never ends.
func (b *boundedConn) drop(kind byte, n int64) error {
	if kind == '$' && n > mostDropped {
		return endlessReply{n}
	}
	b.metered.most = min(b.metered.most, b.metered.read+mostDropped)
	return skip(b.x, kind, n)
}
