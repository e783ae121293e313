package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// ErrAgain is what Greet gives to have another new connection opened, on which it will greet otherwise.
var ErrAgain = errors.New("the connection is to be opened anew")

// Link is the connection to one server. It is opened when it is needed, carries one exchange at a time, under the
// Account's lock, and is opened anew where the server has closed it. Its exported fields are set before it is used.
type Link struct {
	// Address is host:port.
	Address string
	// TLS of its connections; nil for plain ones.
	TLS *form.TLS
	// Foreign is the error of a reply that breaks the protocol.
	Foreign error
	// Greet begins a new connection. It may use Converse, and gives what is to be sent in one piece with the first
	// requests. An error ends the connection; ErrAgain has it opened once more.
	Greet func(ctx context.Context, c *Conn) ([]Request, error)
	// Outdated, if set, reports that the present connection is to be given up for a new one.
	Outdated func() bool
	// Ping is what any server that is alive answers at once.
	Ping Request
	// Secrets that are given over its connections, which nothing that the server says may repeat.
	Secrets *probes.Secrets
	// Words tells why a server closes a connection; nil: nothing does.
	Words Words
	// Account of the server, which counts what requests add to its hits and misses.
	Account *Account

	// holder of the values of all its connections.
	holder probes.Holder

	mu      sync.Mutex
	conn    *Conn // nil where none is open
	current *Exchange
	closed  bool
}

// Close ends the connection, and waits for what goes on over it.
func (l *Link) Close() {
	l.mu.Lock()
	l.closed = true
	c, x := l.conn, l.current
	l.conn = nil
	l.mu.Unlock()
	if c != nil {
		c.Close()
	}
	if x != nil {
		<-x.done
	}
}

// Dial opens another connection to the server, which is the caller's to close.
func (l *Link) Dial(ctx context.Context) (net.Conn, error) {
	conn, err := l.TLS.Dial(ctx, l.Address)
	if err != nil {
		return nil, err
	}
	return withWords(conn, l.Words), nil
}

// Conn reads and writes over a connection that Dial gave.
func (l *Link) Conn(conn net.Conn) *Conn {
	c := NewConn(conn, l.Foreign)
	c.Secrets, c.holder = l.Secrets, &l.holder
	return c
}

// connect gives the connection and, for a new one (fresh), what is to be sent before all else.
func (l *Link) connect(ctx context.Context) (c *Conn, greeting []Request, fresh bool, err error) {
	l.mu.Lock()
	c = l.conn
	l.mu.Unlock()
	if c != nil {
		if l.Outdated == nil || !l.Outdated() {
			return c, nil, false, nil
		}
		l.lost(c)
		c.Close()
	}
	for {
		c, greeting, err = l.open(ctx)
		if !errors.Is(err, ErrAgain) {
			return c, greeting, true, err
		}
	}
}

func (l *Link) open(ctx context.Context) (*Conn, []Request, error) {
	if l.isClosed() {
		return nil, nil, probes.ErrClosed
	}
	conn, err := l.Dial(ctx)
	if err != nil {
		return nil, nil, err
	}
	c := l.Conn(conn)
	l.mu.Lock()
	closed := l.closed
	if !closed {
		l.conn = c
	}
	l.mu.Unlock()
	if closed {
		c.Close()
		return nil, nil, probes.ErrClosed
	}
	greeting, err := l.Greet(ctx, c)
	if err != nil {
		l.lost(c)
		c.Close()
		return nil, nil, err
	}
	return c, greeting, nil
}

func (l *Link) isClosed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

// Do sends requests over the connection and waits until their replies are read, or ctx ends. build gives them once there is
// a connection, and again where that proves dead.
func (l *Link) Do(ctx context.Context, build func() []Request) error {
	for {
		lease, err := l.Account.Lock(ctx, l.Answers)
		if err != nil {
			return err
		}
		c, greeting, fresh, err := l.connect(ctx)
		if err != nil {
			l.Account.Unlock(lease)
			return err
		}
		x := l.begin(ctx, c, lease, join(greeting, build()))
		err = x.wait(ctx)
		select {
		case <-x.done:
		default:
			l.Account.Abandon(lease, c.Close, c.moved.Load)
			return err
		}
		switch {
		case x.err == nil || x.answered || ctx.Err() != nil:
			return err
		case !fresh:
			continue // the server had closed the connection since it was last used; the next one is new
		case Dropped(err):
			return fmt.Errorf("the server closed the connection without an answer; if it speaks TLS, write tls: {} (%w)", err)
		}
		return err
	}
}

func (l *Link) begin(ctx context.Context, c *Conn, lease *Lease, requests []Request) *Exchange {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.current = c.begin(ctx, requests, func(x *Exchange) {
		if x.err != nil {
			l.lost(c)
		}
		l.Account.Unlock(lease)
	})
	return l.current
}

// join merges the greeting's commands into the first request's, so that all leave in one piece.
func join(greeting, requests []Request) []Request {
	if len(greeting) == 0 || len(requests) == 0 {
		return append(greeting, requests...)
	}
	first := requests[0]
	var commands []byte
	for _, g := range greeting {
		commands = append(commands, g.Commands...)
	}
	merged := Request{append(commands, first.Commands...), func(x *Exchange) error {
		for _, g := range greeting {
			if err := g.Read(x); err != nil {
				return err
			}
		}
		return first.Read(x)
	}}
	return append([]Request{merged}, requests[1:]...)
}

// lost forgets a connection that ends.
func (l *Link) lost(c *Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn == c {
		l.conn = nil
	}
}

// Answers asks over a new connection whether the server answers at all.
func (l *Link) Answers(ctx context.Context) bool {
	conn, err := l.Dial(ctx)
	if err != nil {
		return false
	}
	c := l.Conn(conn)
	defer c.Close()
	return c.Converse(ctx, l.Ping) == nil
}

// Dropped reports whether err is a connection's end, not something that was said over it.
func Dropped(err error) bool {
	var op *net.OpError
	var alert tls.AlertError
	if errors.As(err, &alert) {
		return false
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.As(err, &op) && op.Op != "dial"
}
