package servers

import (
	"net"
	"sync"
	"testing"
	"time"
)

// Proxy passes one server's bytes on, counts them, and can fail as networks do.
type Proxy struct {
	// Addr to connect to instead of the server.
	Addr string

	to       string
	listener net.Listener
	running  sync.WaitGroup

	mu    sync.Mutex
	ended bool
	conns map[net.Conn]struct{}
	delay time.Duration
	mute  bool
	// muted sources, by host.
	muted  map[string]bool
	counts ProxyCounts
}

// ProxyCounts is what went through a Proxy.
type ProxyCounts struct {
	// Connections that were opened.
	Connections int
	// RoundTrips is how often the client spoke after the server had, or first.
	RoundTrips int
	// Sent by the client and Received by it, in bytes.
	Sent, Received int64
}

// NewProxy before the server at to.
func NewProxy(t testing.TB, to string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{Addr: l.Addr().String(), to: to, listener: l, conns: map[net.Conn]struct{}{}, muted: map[string]bool{}}
	p.running.Go(p.accept)
	t.Cleanup(p.close)
	return p
}

func (p *Proxy) close() {
	_ = p.listener.Close() // ends accept
	p.mu.Lock()
	p.ended = true
	for c := range p.conns {
		_ = c.Close() // ends its reader
	}
	p.mu.Unlock()
	p.running.Wait()
}

// Delay what is passed on, in each direction, by d.
func (p *Proxy) Delay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// Mute swallows everything, as a cut network does, until it is called with false; what was swallowed stays lost.
func (p *Proxy) Mute(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mute = on
}

// MuteFrom swallows everything, in both directions, on connections from one host, until it is called with false.
// Connections that lost something end then.
func (p *Proxy) MuteFrom(host string, on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.muted[host] = on
}

// Counts since the last Reset.
func (p *Proxy) Counts() ProxyCounts {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.counts
}

// Reset the counts.
func (p *Proxy) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.counts = ProxyCounts{}
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.to)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.mu.Lock()
		if p.ended {
			p.mu.Unlock()
			_, _ = client.Close(), server.Close()
			return
		}
		p.conns[client], p.conns[server] = struct{}{}, struct{}{}
		p.counts.Connections++
		p.mu.Unlock()
		host, _, _ := net.SplitHostPort(client.RemoteAddr().String())
		c := &connection{p: p, host: host, client: client, server: server}
		p.running.Go(func() { c.pass(server, client, true) })
		p.running.Go(func() { c.pass(client, server, false) })
	}
}

// connection is one through the proxy.
type connection struct {
	p              *Proxy
	host           string // of the client
	client, server net.Conn
	// Guarded by p.mu. clientSpoke: last. gap: bytes were lost that the client's host being muted swallowed.
	clientSpoke, gap bool
}

// packet is bytes that are to leave at a time.
type packet struct {
	bytes []byte
	at    time.Time
}

func (c *connection) pass(dst, src net.Conn, fromClient bool) {
	// What arrives is passed on later without holding up what arrives next: a delay, not a bandwidth.
	packets := make(chan packet, 1<<12)
	c.p.running.Go(func() {
		defer func() { _, _ = c.client.Close(), c.server.Close() }()
		for k := range packets {
			time.Sleep(time.Until(k.at))
			if _, err := dst.Write(k.bytes); err != nil {
				break
			}
		}
		for range packets { // the reader must not stand still
			continue
		}
	})
	defer close(packets)
	for {
		b := make([]byte, 32<<10)
		n, err := src.Read(b)
		if n > 0 {
			at, ok, end := c.count(n, fromClient)
			if end {
				break
			}
			if ok {
				packets <- packet{bytes: b[:n], at: at}
			}
		}
		if err != nil {
			break
		}
	}
	c.p.mu.Lock()
	delete(c.p.conns, src)
	c.p.mu.Unlock()
}

// count what arrived, and say when it is to leave; not ok: it is lost. end: what comes now would follow a gap.
func (c *connection) count(n int, fromClient bool) (at time.Time, ok, end bool) {
	p := c.p
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.muted[c.host] {
		c.gap = true
	}
	switch {
	case p.muted[c.host] || p.mute:
		return time.Time{}, false, false
	case c.gap:
		return time.Time{}, false, true
	}
	if fromClient {
		p.counts.Sent += int64(n)
		if !c.clientSpoke {
			p.counts.RoundTrips++
		}
	} else {
		p.counts.Received += int64(n)
	}
	c.clientSpoke = fromClient
	return time.Now().Add(p.delay), true, false
}
