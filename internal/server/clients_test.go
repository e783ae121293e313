package server

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/exporter-toolkit/web"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// serve runs a server on a free port until the test or the function that it gives ends it.
func serve(t *testing.T, s *Server) (address string, stop func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	none := ""
	s.opt.Listeners, s.opt.Web, s.opt.TelemetryPath = []net.Listener{l}, &web.FlagConfig{WebConfigFile: &none}, "/metrics"
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return l.Addr().String(), stop
}

// dial a connection that says something at once. It ends with the test.
func dial(t *testing.T, address, say string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil { // what is sent waits for who reads it
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, say); err != nil {
		t.Fatal(err)
	}
	return conn
}

const get = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"

// status of the answer that comes over a connection; 0: it ended without one.
func status(t *testing.T, conn net.Conn) (int, string) {
	t.Helper()
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Error(err)
	}
	return answer.StatusCode, string(body)
}

// Over the limit a request is refused with a text that says so; health is answered all the same, and the next request too.
func TestMostRequests(t *testing.T) {
	began, goOn := make(chan struct{}), make(chan struct{})
	e := &fakeExporter{serve: func(http.ResponseWriter, *http.Request) {
		began <- struct{}{}
		<-goOn
	}}
	s := New(e, Options{MaxRequests: 2, Load: good}, quiet)
	at, _ := serve(t, s)
	under := []net.Conn{dial(t, at, get), dial(t, at, get)}
	<-began
	<-began
	if code, body := status(t, dial(t, at, get)); code != http.StatusServiceUnavailable || !strings.Contains(body, "--web.max-requests") {
		t.Errorf("a third request: %d %s", code, body)
	}
	for _, path := range []string{"/-/healthy", "/-/ready"} {
		if code, body := status(t, dial(t, at, strings.Replace(get, "/metrics", path, 1))); code != http.StatusOK {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	close(goOn)
	for _, conn := range under {
		if code, body := status(t, conn); code != http.StatusOK {
			t.Errorf("under way: %d %s", code, body)
		}
	}
	e.serve = nil
	if code, body := status(t, dial(t, at, get)); code != http.StatusOK || body != "metrics" {
		t.Errorf("afterwards: %d %s", code, body)
	}
}

// Nobody waits for a client that reads nothing but the client: the answer is made, and its place is free.
func TestClientThatReadsNothing(t *testing.T) {
	made := make(chan struct{}, 1000)
	large := strings.Repeat("x", 8<<20)
	e := &fakeExporter{serve: func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, large)
		made <- struct{}{}
	}}
	s := New(e, Options{MaxRequests: 1, Load: good}, quiet)
	at, _ := serve(t, s)
	for range 3 {
		servers.Eventually(t, "the next answer is made", func() bool {
			dial(t, at, get)
			select {
			case <-made:
				return true
			case <-time.After(100 * time.Millisecond): // it was refused: the one before was just being made
				return false
			}
		})
	}
}

// Whoever holds connections, idle or with half a request, takes nobody else's place; those for which answers are made stay.
func TestMostConnections(t *testing.T) {
	began, goOn := make(chan struct{}), make(chan struct{})
	e := &fakeExporter{serve: func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Slow") != "" {
			began <- struct{}{}
			<-goOn
		}
		_, _ = io.WriteString(w, "metrics")
	}}
	s := New(e, Options{Load: good}, quiet)
	s.connections.most = leastConnections
	at, _ := serve(t, s)
	slow := dial(t, at, strings.Replace(get, "\r\n\r\n", "\r\nSlow: 1\r\n\r\n", 1))
	<-began
	for i := range 10 * leastConnections {
		dial(t, at, []string{"", "GET /metrics HTTP/1.1\r\nX: "}[i%2])
	}
	if code, body := status(t, dial(t, at, get)); code != http.StatusOK || body != "metrics" {
		t.Errorf("beside them: %d %s", code, body)
	}
	s.connections.mu.Lock()
	if n := len(s.connections.open); n > leastConnections {
		t.Errorf("%d connections are open", n)
	}
	s.connections.mu.Unlock()
	close(goOn)
	if code, body := status(t, slow); code != http.StatusOK || body != "metrics" {
		t.Errorf("the one that was being answered: %d %s", code, body)
	}
}

// A body that never comes is not waited for: the answer is there before it.
func TestBodyThatNeverComes(t *testing.T) {
	s := New(&fakeExporter{}, Options{Load: good}, quiet)
	at, _ := serve(t, s)
	if code, body := status(t, dial(t, at, strings.Replace(get, "\r\n\r\n", "\r\nContent-Length: 1000\r\n\r\n", 1))); code != http.StatusOK || body != "metrics" {
		t.Errorf("%d %s", code, body)
	}
}

// A client that goes away before its answer is told at debug alone.
func TestClientThatGoesAway(t *testing.T) {
	var log logged
	began, goOn := make(chan struct{}), make(chan struct{})
	e := &fakeExporter{serve: func(w http.ResponseWriter, _ *http.Request) {
		began <- struct{}{}
		<-goOn
		_, _ = io.WriteString(w, strings.Repeat("x", 8<<20))
	}}
	s := New(e, Options{Load: good}, slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	at, stop := serve(t, s)
	conn := dial(t, at, get)
	<-began
	_ = conn.Close()
	close(goOn)
	stop()
	if got := log.String(); strings.Contains(got, "level=WARN") || strings.Contains(got, "level=ERROR") || strings.Count(got, "hung up") != 1 {
		t.Error(got)
	}
}

// The end does not wait for a reload, which waits for a sampling that hangs.
func TestEndDuringAReload(t *testing.T) {
	began, ended := make(chan struct{}), make(chan struct{})
	e := &fakeExporter{
		loading: func() { close(began); <-ended },
		ending:  func() { close(ended) },
	}
	s := New(e, Options{Load: good}, quiet)
	at, stop := serve(t, s)
	if code, body := status(t, dial(t, at, get)); code != http.StatusOK { // it listens for signals by now
		t.Fatal(code, body)
	}
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	<-began
	if code, body := status(t, dial(t, at, get)); code != http.StatusOK {
		t.Errorf("a scrape meanwhile: %d %s", code, body)
	}
	stop()
	if n := e.closed.Load(); n != 1 {
		t.Errorf("closed %d times", n)
	}
}

// Of few descriptors clients get a quarter, of many no more than is of use.
func TestConnectionsForDescriptors(t *testing.T) {
	for files, want := range map[uint64]int{0: 16, 64: 16, 256: 64, 1024: 128, 1 << 63: 128} {
		if got := newConnections(files).most; got != want {
			t.Errorf("%d descriptors: %d connections, want %d", files, got, want)
		}
	}
	if descriptors() < 64 {
		t.Error(fmt.Sprint("the process has ", descriptors(), " descriptors"))
	}
}
