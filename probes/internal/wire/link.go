package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/cacheinv/cacheinv_exporter/probes"
)

// ErrAgain is greet's wish for another new connection, on which it will greet otherwise.
var ErrAgain = errors.New("the connection is to be opened anew")

// Link is the connection to one server. It is opened when it is needed, carries one exchange at a time, in the
// account, and is opened anew where the server has closed it.
type Link struct {
	// Address is host:port.
	Address string
	// Secure gives the TLS settings of a new connection; nil for a plain one.
	Secure func() (*tls.Config, error)
	// Foreign is the error of a reply that breaks the protocol.
	Foreign error
	// Greet begins a new connection. It may converse over it, and gives what is to be said in one piece with the first
	// requests. An error ends the connection; errAgain has it opened once more.
	Greet func(ctx context.Context, w *Conn) ([]Request, error)
	// outdated, if set, tells that the present connection is to be given up for a new one.
	Outdated func() bool
	// Ping is what any server that is alive answers at once.
	Ping    Request
	Account *Account

	mu      sync.Mutex
	wire    *Conn
	current *Exchange
	closed  bool
}

// Close ends the connection, and waits for what goes on over it.
func (l *Link) Close() {
	l.mu.Lock()
	l.closed = true
	w, x := l.wire, l.current
	l.wire = nil
	l.mu.Unlock()
	if w != nil {
		w.Close()
	}
	if x != nil {
		<-x.done
	}
}

func (l *Link) Dial(ctx context.Context) (net.Conn, error) {
	settings, err := l.Secure()
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	if settings == nil {
		return d.DialContext(ctx, "tcp", l.Address)
	}
	if settings.ServerName == "" {
		if host, _, err := net.SplitHostPort(l.Address); err == nil {
			settings.ServerName = host
		}
	}
	td := tls.Dialer{NetDialer: &d, Config: settings}
	return td.DialContext(ctx, "tcp", l.Address)
}

// connect gives the connection and, for a new one, what it has to say before all else.
func (l *Link) connect(ctx context.Context) (w *Conn, greeting []Request, fresh bool, err error) {
	l.mu.Lock()
	w = l.wire
	l.mu.Unlock()
	if w != nil {
		if l.Outdated == nil || !l.Outdated() {
			return w, nil, false, nil
		}
		l.lost(w)
		w.Close()
	}
	for {
		w, greeting, err = l.open(ctx)
		if !errors.Is(err, ErrAgain) {
			return w, greeting, true, err
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
	w := NewConn(conn, l.Foreign)
	l.mu.Lock()
	closed := l.closed
	if !closed {
		l.wire = w
	}
	l.mu.Unlock()
	if closed {
		w.Close()
		return nil, nil, probes.ErrClosed
	}
	greeting, err := l.Greet(ctx, w)
	if err != nil {
		l.lost(w)
		w.Close()
		return nil, nil, err
	}
	return w, greeting, nil
}

func (l *Link) isClosed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

// Do sends requests over the connection. build gives them once there is one, again where that proves dead.
func (l *Link) Do(ctx context.Context, build func() []Request) error {
	for {
		turn, err := l.Account.Lock(ctx, l.Answers)
		if err != nil {
			return err
		}
		w, greeting, fresh, err := l.connect(ctx)
		if err != nil {
			l.Account.Unlock(turn)
			return err
		}
		x := l.begin(ctx, w, turn, join(greeting, build()))
		err = x.wait(ctx)
		select {
		case <-x.done:
		default:
			l.Account.Abandon(turn, w.Close, w.moved.Load)
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

func (l *Link) begin(ctx context.Context, w *Conn, turn *Turn, requests []Request) *Exchange {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.current = w.begin(ctx, requests, func(x *Exchange) {
		if x.err != nil {
			l.lost(w)
		}
		l.Account.Unlock(turn)
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

// lost forgets a connection that ended.
func (l *Link) lost(w *Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.wire == w {
		l.wire = nil
	}
}

// Answers asks over a new connection whether the server answers at all.
func (l *Link) Answers(ctx context.Context) bool {
	conn, err := l.Dial(ctx)
	if err != nil {
		return false
	}
	w := NewConn(conn, l.Foreign)
	defer w.Close()
	return w.Converse(ctx, l.Ping) == nil
}

// Dropped tells whether err is a connection's end, not something that was said over it.
func Dropped(err error) bool {
	var op *net.OpError
	var alert tls.AlertError
	if errors.As(err, &alert) {
		return false
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.As(err, &op) && op.Op != "dial"
}
