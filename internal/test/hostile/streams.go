package hostile

import (
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// streams are attacks on whoever reads a stream, whatever it asked for: bytes without an end, too slow, cut off, of no protocol, or
// of another request.
func streams() []Attack {
	all := []Attack{
		talking("redis-endless-bulk", "redis", sayForever("$9223372036854775806\r\n", "x")),
		talking("redis-endless-line", "redis", sayForever("-", "ERR x")),
		talking("redis-endless-array", "redis", sayForever("*2147483647\r\n", "$1\r\nx\r\n")),
		talking("memcached-endless-values", "memcached", sayForever("", "VALUE attack:0 0 5\r\nhello\r\n")),
		talking("memcached-endless-stats", "memcached", sayForever("", "STAT pid 1\r\n")),
		talking("http-endless-headers", "http", sayForever("HTTP/1.1 200 OK\r\n", "X-Header: value\r\n")),
		talking("http-endless-body", "http", sayForever("HTTP/1.1 200 OK\r\n\r\n", "x")),
		relaying("redis-other-replies", "redis", otherReplies),
		relaying("memcached-other-replies", "memcached", otherReplies),
	}
	for kind, said := range map[string]string{
		"redis": "$5\r\nhello\r\n", "memcached": "VA 5 t100\r\nhello\r\n", "http": "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nhello",
	} {
		all = append(all, talking(kind+"-drips", kind, drip(said)), talking(kind+"-random", kind, random))
	}
	for _, kind := range []string{"redis", "memcached"} {
		all = append(all, relaying(kind+"-hangs-up", kind, hangUp()))
	}
	return all
}

// talking is the attack of one node, whose server waits for a request and then talks.
func talking(name, kind string, talk func(net.Conn)) Attack {
	return Attack{Name: name, Start: func(t testing.TB) Config {
		addr := servers.Listen(t, func(c net.Conn) {
			defer func() { _ = c.Close() }()
			if _, err := c.Read(make([]byte, 64<<10)); err != nil {
				return
			}
			go func() { _, _ = io.Copy(io.Discard, c) }() // ends with the connection
			talk(c)
		})
		return oneNode(name, kind, addr)
	}}
}

// relaying is the attack of one node: a real server with right copies, behind somebody who spoils what it says.
func relaying(name, kind string, spoil func(client, server net.Conn)) Attack {
	return Attack{Name: name, Start: func(t testing.TB) Config {
		var to string
		if kind == "memcached" {
			to = servers.Memcached(t).Addr
		} else {
			to = servers.Redis(t).Addr
		}
		addr := servers.Listen(t, func(client net.Conn) {
			defer func() { _ = client.Close() }()
			server, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", to)
			if err != nil {
				return
			}
			defer func() { _ = server.Close() }()
			spoil(client, server)
		})
		return oneNode(name, kind, addr)
	}}
}

// oneNode is a layer with one node, and a class that is read from it.
func oneNode(name, kind, addr string) Config {
	block := fmt.Sprintf("%s: {address: %q}", kind, addr)
	if kind == "http" {
		block = fmt.Sprintf("http: {url: \"http://%s/{key}\"}", addr)
	}
	return Config{
		Layers:  []string{fmt.Sprintf("  - {name: %s, ttl: 1h, nodes: [{name: %s-1, %s}]}\n", name, name, block)},
		Classes: []string{fmt.Sprintf("  - {class: %s, layers: [%s], keys: [\"attack:0\", \"attack:1\"]}\n", name, name)},
	}
}

// sayForever says first, and then one thing for ever: fast enough to fill a memory in seconds, and slow enough to leave the machine to
// others.
func sayForever(first, again string) func(net.Conn) {
	const size, wait = 512 << 10, 10 * time.Millisecond
	return func(c net.Conn) {
		many := []byte(strings.Repeat(again, size/len(again)))
		_, err := io.WriteString(c, first)
		for ; err == nil; time.Sleep(wait) {
			_, err = c.Write(many)
		}
	}
}

// drip says one byte at a time, again and again.
func drip(said string) func(net.Conn) {
	return func(c net.Conn) {
		for i := 0; ; i = (i + 1) % len(said) {
			if _, err := io.WriteString(c, said[i:i+1]); err != nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
}

// random says what is of no protocol.
func random(c net.Conn) {
	for {
		b := make([]byte, 32<<10)
		_, _ = rand.Read(b) // it never fails
		if _, err := c.Write(b); err != nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// hangUp passes on more of what the server says with each connection, and then hangs up.
func hangUp() func(client, server net.Conn) {
	var connections atomic.Int64
	return func(client, server net.Conn) {
		go func() {
			_, _ = io.Copy(server, client)
			_ = server.Close() // the client has gone: nothing more will be said
		}()
		_, _ = io.CopyN(client, server, connections.Add(1)*7%4096)
	}
}

// otherReplies answers each request with the server's reply to the one before.
func otherReplies(client, server net.Conn) {
	last, b := []byte("+OK\r\n"), make([]byte, 256<<10)
	for {
		n, err := client.Read(b)
		if err != nil {
			return
		}
		if _, err := server.Write(b[:n]); err != nil {
			return
		}
		_ = server.SetReadDeadline(time.Now().Add(time.Second)) // a part of a command has no reply
		if n, err = server.Read(b); err != nil {
			return
		}
		if _, err := client.Write(last); err != nil {
			return
		}
		last = append(last[:0], b[:n]...)
	}
}
