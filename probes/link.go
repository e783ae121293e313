package probes

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// errAgain is greet's wish for another new connection, on which it will greet otherwise.
var errAgain = errors.New("the connection is to be opened anew")

// link is the connection to one server. It is opened when it is needed, carries one exchange at a time, in the
// server's lane, and is opened anew where the server has closed it.
type link struct {
	// address is host:port.
	address string
	// secure gives the TLS settings of a new connection; nil for a plain one.
	secure func() (*tls.Config, error)
	// foreign is the error of a reply that breaks the protocol.
	foreign error
	// greet begins a new connection. It may converse over it, and gives what is to be said in one piece with the first
	// requests. An error ends the connection; errAgain has it opened once more.
	greet func(ctx context.Context, w *wire) ([]request, error)
	// outdated, if set, tells that the present connection is to be given up for a new one.
	outdated func() bool
	// ping is what any server that is alive answers at once.
	ping   request
	server *server

	mu      sync.Mutex
	wire    *wire
	current *exchange
	closed  bool
}

// close ends the connection, and waits for what goes on over it.
func (l *link) close() {
	l.mu.Lock()
	l.closed = true
	w, x := l.wire, l.current
	l.wire = nil
	l.mu.Unlock()
	if w != nil {
		w.close()
	}
	if x != nil {
		<-x.done
	}
}

func (l *link) dial(ctx context.Context) (net.Conn, error) {
	settings, err := l.secure()
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	if settings == nil {
		return d.DialContext(ctx, "tcp", l.address)
	}
	if settings.ServerName == "" {
		if host, _, err := net.SplitHostPort(l.address); err == nil {
			settings.ServerName = host
		}
	}
	td := tls.Dialer{NetDialer: &d, Config: settings}
	return td.DialContext(ctx, "tcp", l.address)
}

// connect gives the connection and, for a new one, what it has to say before all else.
func (l *link) connect(ctx context.Context) (w *wire, greeting []request, fresh bool, err error) {
	l.mu.Lock()
	w = l.wire
	l.mu.Unlock()
	if w != nil {
		if l.outdated == nil || !l.outdated() {
			return w, nil, false, nil
		}
		l.lost(w)
		w.close()
	}
	for {
		w, greeting, err = l.open(ctx)
		if !errors.Is(err, errAgain) {
			return w, greeting, true, err
		}
	}
}

func (l *link) open(ctx context.Context) (*wire, []request, error) {
	if l.isClosed() {
		return nil, nil, errClosed
	}
	conn, err := l.dial(ctx)
	if err != nil {
		return nil, nil, err
	}
	w := newWire(conn, l.foreign)
	l.mu.Lock()
	closed := l.closed
	if !closed {
		l.wire = w
	}
	l.mu.Unlock()
	if closed {
		w.close()
		return nil, nil, errClosed
	}
	greeting, err := l.greet(ctx, w)
	if err != nil {
		l.lost(w)
		w.close()
		return nil, nil, err
	}
	return w, greeting, nil
}

func (l *link) isClosed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

// exchange sends requests over the connection. build gives them once there is one, again where that proves dead.
func (l *link) exchange(ctx context.Context, build func() []request) error {
	for {
		turn, err := l.server.enter(ctx, l.answers)
		if err != nil {
			return err
		}
		w, greeting, fresh, err := l.connect(ctx)
		if err != nil {
			l.server.leave(turn)
			return err
		}
		x := l.begin(ctx, w, turn, join(greeting, build()))
		err = x.wait(ctx)
		select {
		case <-x.done:
		default:
			l.server.abandon(turn, w.close, w.moved.Load)
			return err
		}
		switch {
		case x.err == nil || x.answered || ctx.Err() != nil:
			return err
		case !fresh:
			continue // the server had closed the connection since it was last used; the next one is new
		case dropped(err):
			return fmt.Errorf("the server closed the connection without an answer; if it speaks TLS, write tls: {} (%w)", err)
		}
		return err
	}
}

func (l *link) begin(ctx context.Context, w *wire, turn *turn, requests []request) *exchange {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.current = w.begin(ctx, requests, func(x *exchange) {
		if x.err != nil {
			l.lost(w)
		}
		l.server.leave(turn)
	})
	return l.current
}

// join merges the greeting's commands into the first request's, so that all leave in one piece.
func join(greeting, requests []request) []request {
	if len(greeting) == 0 || len(requests) == 0 {
		return append(greeting, requests...)
	}
	first := requests[0]
	var commands []byte
	for _, g := range greeting {
		commands = append(commands, g.commands...)
	}
	merged := request{append(commands, first.commands...), func(x *exchange) error {
		for _, g := range greeting {
			if err := g.read(x); err != nil {
				return err
			}
		}
		return first.read(x)
	}}
	return append([]request{merged}, requests[1:]...)
}

// lost forgets a connection that ended.
func (l *link) lost(w *wire) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.wire == w {
		l.wire = nil
	}
}

// answers asks over a new connection whether the server answers at all.
func (l *link) answers(ctx context.Context) bool {
	conn, err := l.dial(ctx)
	if err != nil {
		return false
	}
	w := newWire(conn, l.foreign)
	defer w.close()
	return w.converse(ctx, l.ping) == nil
}

// dropped tells whether err is a connection's end, not something that was said over it.
func dropped(err error) bool {
	var op *net.OpError
	var alert tls.AlertError
	if errors.As(err, &alert) {
		return false
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.As(err, &op) && op.Op != "dial"
}
