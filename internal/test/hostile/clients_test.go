package hostile

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// limited is the binary with few descriptors.
func limited(t *testing.T, binary string, files int) string {
	t.Helper()
	script := filepath.Join(t.TempDir(), "limited")
	if err := os.WriteFile(script, fmt.Appendf(nil, "#!/bin/sh\nulimit -n %d && exec %s \"$@\"\n", files, binary), 0o700); err != nil {
		t.Fatal(err)
	}
	return script
}

// crowd dials many times, says something over each connection, and holds them until the test ends.
func crowd(t *testing.T, address string, n int, say string) (held []net.Conn) {
	t.Helper()
	for range n {
		conn, err := net.DialTimeout("tcp", address, 10*time.Second)
		if err != nil {
			t.Fatalf("after %d connections: %v", len(held), err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		_ = conn.(*net.TCPConn).SetReadBuffer(4 << 10)
		_, _ = io.WriteString(conn, say) // it may have been ended already
		held = append(held, conn)
	}
	return held
}

// Clients that hold connections, send half a header or don't read their answers take no descriptors from the backends, no place from
// Prometheus and no memory; and none of them is an error.
func TestClientsOfAllKinds(t *testing.T) {
	v := Start(t, limited(t, build(t), 256), 4, nil)
	v.Scrape(t)
	crowd(t, v.Addr, 2000, "")
	v.Scrape(t)
	crowd(t, v.Addr, 300, "GET /metrics HTTP/1.1\r\nHost: x\r\nX-Slow: ")
	v.Scrape(t)
	for _, path := range []string{"/metrics", "/status", "/api/v1/status"} {
		for _, conn := range crowd(t, v.Addr, 100, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n") {
			_ = conn.SetReadDeadline(time.Now().Add(30 * time.Second))
			_, _ = bufio.NewReaderSize(conn, 16).ReadByte() // it is answered, or was ended to make room
		}
		v.Scrape(t)
	}
	for _, conn := range crowd(t, v.Addr, 100, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n") {
		_ = conn.Close()
	}
	servers.Eventually(t, "the answers to those that went away are made", func() bool {
		status, _ := v.ask(t) // a request that is one too many is refused
		return status == http.StatusOK
	})
	v.Scrape(t)
	v.Small(t)
	if log := v.Output(); strings.Contains(log, "level=WARN") || strings.Contains(log, "level=ERROR") {
		t.Errorf("a client's doing is told as an error:\n%s", tail(log))
	}
}
