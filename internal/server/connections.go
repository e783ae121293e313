package server

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
)

// leastConnections and mostConnections of clients that are open at once: a quarter of the process's descriptors between them, so that
// the backends always have theirs.
const (
	leastConnections = 16
	mostConnections  = 128
	// mostUnread bytes of an answer wait in the system for a client to take them: it would let them become megabytes, which are memory
	// too, and hide who takes something from who takes nothing.
	mostUnread = 256 << 10
)

// connections of clients. Where one comes for which there is no room, the one that was used longest ago ends: an idle one, or one whose
// request or whose reading of an answer takes long, but none for which an answer is being made.
type connections struct {
	most int

	mu   sync.Mutex
	open map[net.Conn]*connection
	used uint64 // how many times any was
}

type connection struct {
	conn net.Conn
	// used is the number of its last use; answering are the requests for which answers are made now.
	used      uint64
	answering int
}

// newConnections for a process with so many descriptors.
func newConnections(descriptors uint64) *connections {
	return &connections{most: int(min(max(descriptors/4, leastConnections), mostConnections)), open: map[net.Conn]*connection{}}
}

type connectionKey struct{}

// connContext is for http.Server.ConnContext: a new connection comes.
func (c *connections) connContext(ctx context.Context, conn net.Conn) context.Context {
	if tcp, ok := belowTLS(conn).(*net.TCPConn); ok {
		_ = tcp.SetWriteBuffer(mostUnread) // what the system has is good enough
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	mine := &connection{conn: conn}
	c.use(mine)
	c.open[conn] = mine
	if len(c.open) > c.most {
		last := mine
		for _, k := range c.open {
			if k.answering == 0 && k.used < last.used {
				last = k
			}
		}
		last.end()
		delete(c.open, last.conn)
	}
	return context.WithValue(ctx, connectionKey{}, mine)
}

// connState is for http.Server.ConnState.
func (c *connections) connState(conn net.Conn, state http.ConnState) {
	if state != http.StateClosed && state != http.StateHijacked {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, conn)
}

// answering marks that an answer is made to a request, until the function that it gives is called.
func (c *connections) answering(ctx context.Context) (done func()) {
	k, ok := ctx.Value(connectionKey{}).(*connection)
	if !ok {
		return func() {}
	}
	change := func(by int) {
		c.mu.Lock()
		defer c.mu.Unlock()
		k.answering += by
		c.use(k)
	}
	change(1)
	return func() { change(-1) }
}

func (c *connections) use(k *connection) {
	c.used++
	k.used = c.used
}

// end a connection at once: TLS's own way waits for who may read nothing.
func (k *connection) end() { _ = belowTLS(k.conn).Close() } // the server notices

func belowTLS(conn net.Conn) net.Conn {
	if t, ok := conn.(*tls.Conn); ok {
		return t.NetConn()
	}
	return conn
}
