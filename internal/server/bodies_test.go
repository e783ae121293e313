package server

import (
	"bufio"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// Clients that read nothing hold no more than there is room for: those that took nothing for the longest time are cut off. An answer
// beside them is whole and waits for nobody, and so is that of a client that reads slowly.
func TestBodiesThatWaitForClients(t *testing.T) {
	const size, waiting = 2 << 20, 8
	large := strings.Repeat("x", size)
	e := &fakeExporter{serve: func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, large) }}
	var log logged
	s := New(e, Options{Load: good}, slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	s.bodies.most = 3 * size / blockSize
	at, _ := serve(t, s)
	ask := func() *http.Response {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+at+"/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = answer.Body.Close() })
		return answer
	}
	slow := ask()
	for range waiting {
		conn := dial(t, at, get)
		defer func() { _ = conn.Close() }()
		if _, err := bufio.NewReaderSize(conn, 16).ReadByte(); err != nil { // its answer is on its way
			t.Fatal(err)
		}
		if _, err := io.CopyN(io.Discard, slow.Body, size/waiting); err != nil {
			t.Fatalf("the client that reads slowly: %v", err)
		}
		before := time.Now()
		if n, err := io.Copy(io.Discard, ask().Body); err != nil || n != size || time.Since(before) > 5*time.Second {
			t.Fatalf("beside them: %d bytes after %v, %v", n, time.Since(before), err)
		}
		s.bodies.mu.Lock()
		if s.bodies.held > s.bodies.most {
			t.Errorf("%d blocks are held, and there is room for %d", s.bodies.held, s.bodies.most)
		}
		s.bodies.mu.Unlock()
	}
	servers.Eventually(t, "a client is told to be cut off", func() bool { return strings.Contains(log.String(), "was cut off") })
	if n := strings.Count(log.String(), "was cut off"); n > waiting {
		t.Errorf("%d were cut off:\n%s", n, log.String())
	}
}

// A body that is larger than all may be is whole where nobody else can be cut off, and what panics holds nothing.
func TestBodiesThatAreMade(t *testing.T) {
	s := New(&fakeExporter{serve: func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, strings.Repeat("x", 5*blockSize+1))
		if r.Header.Get("Panic") != "" {
			panic("s3cret")
		}
	}}, Options{Load: good}, quiet)
	s.bodies.most = 2
	at, _ := serve(t, s)
	if code, body := status(t, dial(t, at, get)); code != http.StatusOK || len(body) != 5*blockSize+1 {
		t.Errorf("%d, %d bytes", code, len(body))
	}
	if code, _ := status(t, dial(t, at, strings.Replace(get, "\r\n\r\n", "\r\nPanic: 1\r\n\r\n", 1))); code != 0 {
		t.Errorf("after a panic: %d", code)
	}
	servers.Eventually(t, "nothing is held any more", func() bool {
		s.bodies.mu.Lock()
		defer s.bodies.mu.Unlock()
		return s.bodies.held == 0
	})
}
