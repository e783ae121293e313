package http

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/httpclient"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

// answeringEach reads one request after the other and answers each with text.
func answeringEach(text string) func(net.Conn) {
	return func(conn net.Conn) {
		buf := make([]byte, 4096)
		for {
			if _, err := conn.Read(buf); err != nil {
				return
			}
			if _, err := io.WriteString(conn, text); err != nil {
				return
			}
		}
	}
}

// However a server hangs, Survey and Read return with their time, and leave nothing behind.
func TestHangingServer(t *testing.T) {
	silent := func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }
	for _, c := range []struct {
		name, scheme string
		talk         func(net.Conn)
	}{
		{"says nothing", "http", silent},
		{"no handshake", "https", silent},
		{"half a head", "http", answeringEach("HTTP/1.1 200 OK\r\nContent-")},
		{"half a body", "http", answeringEach("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")},
		{"half a chunk", "http", answeringEach("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe")},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) {
			servers.NoLeaks(t)
			url := c.scheme + "://" + servers.Listen(t, c.talk)
			node := nodeConfig{URL: urlTemplate(t, url+"/{key}"), Stats: &statsConfig{URL: url + "/stats", Hits: "$.hits"}}
			env := probetest.Env()
			n := openNode(t, node, env)
			check := func(what string, ask func(context.Context) error) {
				t.Helper()
				start := time.Now()
				err := ask(probetest.Within(t, 100*time.Millisecond))
				if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no answer in time") {
					t.Errorf("%s: %v", what, err)
				}
				if took := time.Since(start); took > 2*time.Second {
					t.Errorf("%s took %v", what, took)
				}
			}
			for range 2 {
				check("survey", func(ctx context.Context) error { _, err := n.Survey(ctx, nil); return err })
				check("read", func(ctx context.Context) error {
					return n.Read(ctx, profileKeys(t, 40), func(i int, r probes.Raw) { t.Errorf("visited %d: %+v", i, r) })
				})
			}
			budgetIsFree(t, env.Budget)
		})
	}
}

// profileKeys gives so many keys.
func profileKeys(t testing.TB, n int) []probes.Key {
	t.Helper()
	keys := make([]probes.Key, n)
	for i := range keys {
		keys[i].Name = fmt.Sprintf("user:%d:profile", i)
	}
	return keys
}

// budgetIsFree checks that nothing is held any more, without a wait.
func budgetIsFree(t testing.TB, b *probes.Budget) {
	t.Helper()
	if n := b.Held(); n > 0 {
		t.Errorf("%d bytes of the budget are still held", n)
	}
}

// allReturned: nothing of the budget is held.
// Keys that hang cost the others nothing.
func TestSlowKeysAmongOthers(t *testing.T) {
	servers.NoLeaks(t)
	s := startServer(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/k/slow") {
			<-r.Context().Done()
			return
		}
		_, _ = io.WriteString(w, r.URL.Path)
	})
	n := openNode(t, nodeAt(t, s), probetest.Env())
	keys := append([]probes.Key{{Name: "slow1"}, {Name: "slow2"}}, profileKeys(t, 200)...)
	visited := map[int]string{}
	err := n.Read(probetest.Within(t, time.Second), keys, func(i int, r probes.Raw) { visited[i] = string(r.Value) })
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	for i := 2; i < len(keys); i++ {
		if visited[i] != "/k/"+keys[i].Name {
			t.Errorf("key %d: %q", i, visited[i])
		}
	}
	if len(visited) != 200 || !n.Answered() {
		t.Errorf("%d visited, answered %t", len(visited), n.Answered())
	}
}

func TestSlowBodyInTimeIsRead(t *testing.T) {
	servers.NoLeaks(t)
	s := startServer(t, func(w http.ResponseWriter, r *http.Request) {
		for _, part := range []string{"a", "b", "c"} {
			_, _ = io.WriteString(w, part)
			w.(http.Flusher).Flush()
			select {
			case <-time.After(20 * time.Millisecond):
			case <-r.Context().Done():
			}
		}
	})
	if got := string(probetest.Read(t, openNode(t, nodeAt(t, s), probetest.Env()), probes.Key{Name: "a"})[0].Value); got != "abc" {
		t.Errorf("read %q", got)
	}
}

// A body that nobody needs is not waited for, and one that comes at once leaves its connection to the next request.
func TestBodiesNobodyNeeds(t *testing.T) {
	servers.NoLeaks(t)
	var dials atomic.Int32
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, "none here")
		for r.URL.Path == "/k/slow" && http.NewResponseController(w).Flush() == nil && r.Context().Err() == nil {
			_, _ = io.WriteString(w, "x")
			time.Sleep(10 * time.Millisecond)
		}
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			dials.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	n := openNode(t, nodeAt(t, s), probetest.Env())
	for range 5 {
		if got := stateOf(probetest.Read(t, n, probes.Key{Name: "quick"})[0]); got != "missing" {
			t.Error(got)
		}
	}
	if n := dials.Load(); n != 1 {
		t.Errorf("%d connections for answers that came at once", n)
	}
	start := time.Now()
	if got := stateOf(probetest.Read(t, n, probes.Key{Name: "slow"})[0]); got != "missing" {
		t.Error(got)
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("a copy that is known to be missing took %v", took)
	}
}

// Bodies up to the limit are read whole, however they come; larger ones are an error, and nothing stays held.
func TestBodySizes(t *testing.T) {
	servers.NoLeaks(t)
	s := startServer(t, func(w http.ResponseWriter, r *http.Request) {
		how, size, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/k/"), "-")
		n, _ := strconv.Atoi(size)
		body := strings.Repeat("0123456789abcdef", n/16+1)[:n]
		if how == "chunked" {
			w.(http.Flusher).Flush()
		} else {
			w.Header().Set("Content-Length", size)
		}
		_, _ = io.WriteString(w, body)
	})
	for _, limit := range []int{1000, httpclient.UnheldBody, httpclient.UnheldBody + 1, 300_000} {
		env := probetest.Env()
		env.MaxBody = int64(limit)
		n := openNode(t, nodeAt(t, s), env)
		for _, size := range []int{0, 1, limit - 1, limit, limit + 1, httpclient.UnheldBody - 1, httpclient.UnheldBody, httpclient.UnheldBody + 1, 3 * limit} {
			for _, how := range []string{"chunked", "whole"} {
				got := probetest.Read(t, n, probes.Key{Name: fmt.Sprintf("%s-%d", how, size)})[0]
				want := "present"
				if size > limit {
					want = fmt.Sprintf("the body is larger than --http.max-body (%d bytes)", limit)
				}
				if state := stateOf(got); state != want || got.Present && len(got.Value) != size {
					t.Errorf("%s, %d bytes of %d: %s with %d bytes", how, size, limit, state, len(got.Value))
				}
			}
		}
		budgetIsFree(t, env.Budget)
	}
}

// While others hold the whole budget no body is read, and Read still returns with its time.
func TestBodiesCountAgainstTheBudget(t *testing.T) {
	servers.NoLeaks(t)
	s := startServer(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "chunked") {
			w.(http.Flusher).Flush()
		}
		_, _ = io.WriteString(w, strings.Repeat("x", 100_000))
	})
	env := probetest.Env()
	env.MaxBody = 100_000
	n := openNode(t, nodeAt(t, s), env)
	keys := []probes.Key{{Name: "chunked"}, {Name: "whole"}}
	release := probetest.Fill(t, env.Budget, 199_999)
	held := 0
	err := n.Read(probetest.Within(t, 10*time.Second), keys, func(_ int, r probes.Raw) {
		held++
		if left := probes.HeldAtOnce - env.Budget.Held(); left > 100_000 {
			t.Errorf("%d bytes are held and not counted, %d are left", len(r.Value), left)
		}
	})
	if err != nil || held != 2 {
		t.Errorf("%d read one after the other, %v", held, err)
	}
	release()
	defer probetest.Fill(t, env.Budget, 0)()
	err = n.Read(probetest.Within(t, 100*time.Millisecond), keys, func(i int, r probes.Raw) { t.Errorf("visited %d: %+v", i, r) })
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
}

// A node that gives no answer to any key failed as a whole; one key without an answer is that key's error.
func TestKeysWithoutAnswer(t *testing.T) {
	servers.NoLeaks(t)
	s := startServer(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "cut") {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				_ = conn.Close()
			}
		}
	})
	n := openNode(t, nodeAt(t, s), probetest.Env())
	got := probetest.Read(t, n, probes.Key{Name: "cut"}, probes.Key{Name: "a"}, probes.Key{Name: "cut"}, probes.Key{Name: "b"})
	for i, want := range []string{httpclient.ErrCutOff.Error(), "present", httpclient.ErrCutOff.Error(), "present"} {
		if state := stateOf(got[i]); state != want {
			t.Errorf("%d: %s, want %s", i, state, want)
		}
	}
	cut := make([]probes.Key, 1000)
	for i := range cut {
		cut[i].Name = "cut"
	}
	err := n.Read(probetest.Within(t, 10*time.Second), cut, func(i int, r probes.Raw) { t.Errorf("visited %d: %+v", i, r) })
	if !errors.Is(err, httpclient.ErrCutOff) {
		t.Errorf("all cut off: %v", err)
	}
	n = openNode(t, nodeConfig{URL: urlTemplate(t, urlOfNobody(t)+"/{key}")}, probetest.Env())
	for _, keys := range []int{1, 1000} {
		err = n.Read(probetest.Within(t, 10*time.Second), profileKeys(t, keys), func(i int, r probes.Raw) { t.Errorf("visited %d: %+v", i, r) })
		if err == nil || !strings.Contains(err.Error(), "connection refused") || n.Answered() {
			t.Errorf("%d keys, nothing listens: %v", keys, err)
		}
	}
	if err := n.Read(probetest.Within(t, time.Second), nil, nil); err != nil {
		t.Errorf("no keys: %v", err)
	}
}

// A thousand keys go over few connections, which the next scrape uses again, and are visited one at a time.
func TestThousandKeysOverFewConnections(t *testing.T) {
	servers.NoLeaks(t)
	var opened, atOnce, most atomic.Int64
	all := make(chan struct{}) // closed once all connections have asked
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now := atOnce.Add(1)
		defer atOnce.Add(-1)
		for was := most.Load(); now > was; was = most.Load() {
			most.CompareAndSwap(was, now)
		}
		if now == httpclient.MaxConns {
			select {
			case <-all:
			default:
				close(all)
			}
		}
		<-all
		if strings.HasSuffix(r.URL.Path, "7:profile") {
			http.NotFound(w, r)
			return
		}
		_, _ = io.WriteString(w, strings.TrimPrefix(r.URL.Path, "/k/"))
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	n := openNode(t, nodeAt(t, s), probetest.Env())
	keys := profileKeys(t, 1000)
	for range 3 {
		var visiting atomic.Int32
		seen := make([]int, len(keys))
		err := n.Read(probetest.Within(t, 20*time.Second), keys, func(i int, r probes.Raw) {
			if visiting.Add(1) != 1 {
				t.Error("two visits at once")
			}
			defer visiting.Add(-1)
			seen[i]++
			if missing := strings.HasSuffix(keys[i].Name, "7:profile"); r.Err != nil || r.Present == missing || r.Present && string(r.Value) != keys[i].Name {
				t.Errorf("key %d: %+v", i, r)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		for i, times := range seen {
			if times != 1 {
				t.Errorf("key %d was visited %d times", i, times)
			}
		}
	}
	// net/http does not use a connection again whose request it has not seen written within 50 ms, as on a busy machine: a few more
	// are opened then, for 3,000 requests.
	if opened.Load() < httpclient.MaxConns || opened.Load() > 2*httpclient.MaxConns || most.Load() != httpclient.MaxConns {
		t.Errorf("%d connections, %d requests at once, want %d", opened.Load(), most.Load(), httpclient.MaxConns)
	}
	n.Close()
	if err := n.Read(probetest.Within(t, time.Second), keys, nil); !errors.Is(err, probes.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// A server that closed its idle connections in between is asked over new ones.
func TestIdleConnectionsClosedByTheServer(t *testing.T) {
	servers.NoLeaks(t)
	s := startServer(t, func(http.ResponseWriter, *http.Request) {})
	n := openNode(t, nodeAt(t, s), probetest.Env())
	for range 20 {
		for _, got := range probetest.Read(t, n, profileKeys(t, 40)...) {
			if !got.Present {
				t.Fatalf("%+v", got)
			}
		}
		s.CloseClientConnections()
	}
}

// Close ends what goes on, and waits for it.
func TestCloseEndsRequests(t *testing.T) {
	servers.NoLeaks(t)
	asked := make(chan struct{}, 100)
	s := startServer(t, func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-r.Context().Done()
	})
	n := openNode(t, nodeAt(t, s), probetest.Env())
	done := make(chan error)
	go func() {
		done <- n.Read(probetest.Within(t, time.Minute), profileKeys(t, 40), func(i int, r probes.Raw) { t.Errorf("visited %d: %+v", i, r) })
	}()
	<-asked
	n.Close()
	if err := <-done; !errors.Is(err, probes.ErrClosed) {
		t.Errorf("error %v", err)
	}
}
