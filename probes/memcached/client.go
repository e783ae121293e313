package memcached

import (
	"bufio"
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/bradfitz/gomemcache/memcache"

	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/wire"
)

const (
	// clientTimeout bounds each command of the library, which knows no contexts.
	clientTimeout = 5 * time.Second
	// clientConnections to one server: the library sends one command at a time over each.
	clientConnections = 16
)

// libraryClient is gomemcache's client of one server, which changes what the server holds. It is opened when it is first needed, and
// anew once a connection was lost: the library keeps others that have died with it.
type libraryClient struct {
	mu      sync.Mutex
	current *memcache.Client
	closed  bool
	// working are the goroutines that use it.
	working sync.WaitGroup
}

// open gives the client, and notes that someone works with it until done is called.
func (l *libraryClient) open(n *node) (c *memcache.Client, done func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, nil, probes.ErrClosed
	}
	if l.current == nil {
		l.current = memcache.NewFromSelector(oneServer(n.link.Address))
		l.current.Timeout, l.current.MaxIdleConns, l.current.DialContext = clientTimeout, clientConnections, n.dialLibrary
	}
	l.working.Add(1)
	return l.current, l.working.Done, nil
}

// drop a client that lost a connection; the next command gets a new one.
func (l *libraryClient) drop(c *memcache.Client) {
	l.mu.Lock()
	if l.current == c {
		l.current = nil
	}
	l.mu.Unlock()
	_ = c.Close() // its idle connections have nobody left to tell
}

// close the client, and wait for those who work with it: clientTimeout at the most.
func (l *libraryClient) close() {
	l.mu.Lock()
	c := l.current
	l.closed, l.current = true, nil
	l.mu.Unlock()
	l.working.Wait()
	if c != nil {
		_ = c.Close() // as above
	}
}

// dialLibrary opens a connection for the library, with TLS and logged in.
func (n *node) dialLibrary(ctx context.Context, _, _ string) (net.Conn, error) {
	conn, err := n.link.Dial(ctx)
	if err != nil {
		return nil, dialError{err}
	}
	if err := n.login(ctx, n.link.Conn(conn)); err != nil {
		_ = conn.Close() // the login's error is the one to tell
		return nil, dialError{err}
	}
	return conn, nil
}

// dialError marks an error of a new connection: its text is ours.
type dialError struct{ error }

// Unwrap gives the error that was marked.
func (d dialError) Unwrap() error { return d.error }

// libraryFault gives an error of the library as it can be told: where it does not know an answer it quotes that.
func libraryFault(err error) error {
	var network net.Error
	var dialed dialError
	switch {
	case errors.As(err, &dialed):
		return dialed.error
	case err == nil, errors.Is(err, memcache.ErrCASConflict), errors.Is(err, memcache.ErrCacheMiss), errors.Is(err, memcache.ErrNotStored),
		errors.Is(err, memcache.ErrMalformedKey), errors.Is(err, probes.ErrRefused), errors.Is(err, probes.ErrPanic), wire.Dropped(err),
		errors.As(err, &network):
		return err
	case errors.Is(err, memcache.ErrServerError):
		return probes.Refusal(err)
	case errors.Is(err, bufio.ErrBufferFull):
		return errNotMemcached
	}
	return errOtherAnswer
}

// lost reports an error of the connection, not one that the server said over it.
func lost(err error) bool {
	var network net.Error
	return wire.Dropped(err) || errors.As(err, &network)
}

// oneServer is the list of one server, and its address. The library's own list asks DNS.
type oneServer string

// PickServer implements memcache.ServerSelector.
func (s oneServer) PickServer(string) (net.Addr, error) { return s, nil }

// Each implements memcache.ServerSelector.
func (s oneServer) Each(f func(net.Addr) error) error { return f(s) }

// Network implements net.Addr.
func (oneServer) Network() string { return "tcp" }

// String implements net.Addr.
func (s oneServer) String() string { return string(s) }
