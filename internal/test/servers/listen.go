package servers

import (
	"net"
	"sync"
	"testing"
)

// Listen accepts connections and hands each to talk; all end with the test. It gives the address.
func Listen(t testing.TB, talk func(conn net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var conns []net.Conn
	var talking sync.WaitGroup
	talking.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, conn)
			mu.Unlock()
			talking.Go(func() { talk(conn) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for _, c := range conns {
			_ = c.Close()
		}
		mu.Unlock()
		talking.Wait()
	})
	return l.Addr().String()
}

// Hung accepts connections and never answers. It gives the address.
func Hung(t testing.TB) string {
	t.Helper()
	return Listen(t, func(net.Conn) {})
}
