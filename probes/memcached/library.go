package memcached

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/bradfitz/gomemcache/memcache"

	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/wire"
)

// libraryTimeout bounds each of the library's own waits; contexts end them before.
const libraryTimeout = 30 * time.Second

// library is gomemcache for one server, over a connection of its own that logs in as the node's does. What writes goes through
// it: it has no contexts, so that the connection is closed where one ends. It does one command at a time.
type library struct {
	client *memcache.Client
	turn   chan struct{} // held by the one whose command is under way
	// ctx of that command, since the library hands on none, and whether it opened a connection. They belong to who holds turn.
	ctx    context.Context
	opened bool

	mu     sync.Mutex // guards what follows
	conn   net.Conn   // the last one that was opened
	closed bool
}

// oneServer is the selector of a client that has but one.
type oneServer string

func (s oneServer) PickServer(string) (net.Addr, error) { return s, nil }
func (s oneServer) Each(f func(net.Addr) error) error   { return f(s) }
func (oneServer) Network() string                       { return "tcp" }
func (s oneServer) String() string                      { return string(s) }

func newLibrary(n *node) *library {
	l := &library{client: memcache.NewFromSelector(oneServer(n.config.Address)), turn: make(chan struct{}, 1)}
	l.client.Timeout, l.client.MaxIdleConns = libraryTimeout, 1
	l.client.DialContext = func(context.Context, string, string) (net.Conn, error) {
		l.opened = true
		conn, err := n.link.Dial(l.ctx)
		if err != nil {
			return nil, err
		}
		if err := n.login(l.ctx, wire.NewConn(conn, errNotMemcached)); err != nil {
			_ = conn.Close() // the login's failure is what is told
			return nil, err
		}
		return conn, l.keep(conn)
	}
	return l
}

func (l *library) keep(conn net.Conn) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		_ = conn.Close() // nobody waits for it any more
		return probes.ErrClosed
	}
	l.conn = conn
	return nil
}

// do runs use, whose command ends with ctx.
func (l *library) do(ctx context.Context, use func(c *memcache.Client) error) error {
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-ctx.Done():
		return probes.NoAnswer(ctx)
	}
	err := l.try(ctx, use)
	if err != nil && ctx.Err() == nil && wire.Dropped(err) && !l.opened {
		err = l.try(ctx, use) // the server had closed the connection since it was last used
	}
	return err
}

func (l *library) try(ctx context.Context, use func(c *memcache.Client) error) error {
	l.ctx, l.opened = ctx, false
	stop := context.AfterFunc(ctx, l.cut)
	defer stop()
	err := use(l.client)
	if err != nil && ctx.Err() != nil {
		return probes.NoAnswer(ctx)
	}
	return err
}

// cut ends the command under way.
func (l *library) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn != nil {
		_ = l.conn.Close() // it may be closed already
	}
}

// close ends the connection, and with it a command under way.
func (l *library) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.cut()
	_ = l.client.Close() // nothing is left to be told
}
