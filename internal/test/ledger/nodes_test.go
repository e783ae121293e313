package ledger

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
	"github.com/redis/go-redis/v9"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// ttl is long enough that nothing expires while a test runs.
const ttl = 2 * time.Hour

// patience of the application with a cache. What it gives up would be a lost delete, so a busy machine must not reach it.
const patience = time.Minute

// node is a cache of the shop.
type node struct {
	layer, name string
	// config is what the configuration says of it.
	config string
	store
	// remove a key. What is on the way to the node may drop that, and says all the same that it was done.
	remove func(key string) error
	// restart the server: it comes back empty.
	restart func()
}

// store of a node.
type store interface {
	// missing are those of the keys that it does not hold.
	missing(ctx context.Context, keys []string) ([]string, error)
	put(ctx context.Context, key, value string) error
}

// gate stands before a server that takes a line for each delete. One that is lost is answered, and not passed on. It gives its address.
func gate(t testing.TB, to, command, answer string, lost func(key string) bool) string {
	t.Helper()
	return servers.Listen(t, func(conn net.Conn) {
		defer func() { _ = conn.Close() }()
		server, err := net.Dial("tcp", to)
		if err != nil {
			return // the server is away, and so is what stands before it
		}
		defer func() { _ = server.Close() }()
		deletes, answers := bufio.NewReader(conn), bufio.NewReader(server)
		for {
			line, err := deletes.ReadString('\n')
			if err != nil {
				return
			}
			got := answer + "\r\n"
			if !lost(strings.TrimSpace(strings.TrimPrefix(line, command))) {
				if _, err := io.WriteString(server, line); err != nil {
					return
				}
				if got, err = answers.ReadString('\n'); err != nil {
					return
				}
			}
			if _, err := io.WriteString(conn, got); err != nil {
				return
			}
		}
	})
}

// deletes keys through a gate, on one connection.
type deletes struct {
	gate, command string
	// done are the answers of a server that did it.
	done []string
	conn net.Conn
}

func (d *deletes) remove(key string) error {
	answer, err := d.ask(key)
	if err != nil {
		d.close()
		return err
	}
	for _, a := range d.done {
		if a == strings.TrimSpace(answer) {
			return nil
		}
	}
	return fmt.Errorf("%s %s: %s", d.command, key, answer)
}

func (d *deletes) ask(key string) (answer string, err error) {
	if d.conn == nil {
		if d.conn, err = net.DialTimeout("tcp", d.gate, patience); err != nil {
			return "", err
		}
	}
	if err := d.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(d.conn, d.command+" "+key+"\r\n"); err != nil {
		return "", err
	}
	return bufio.NewReader(d.conn).ReadString('\n') // one answer comes for one line
}

func (d *deletes) close() {
	if d.conn != nil {
		_ = d.conn.Close()
		d.conn = nil
	}
}

type redisStore struct{ c *redis.Client }

func (r redisStore) missing(ctx context.Context, keys []string) (missing []string, err error) {
	values, err := r.c.MGet(ctx, keys...).Result()
	for i, v := range values {
		if v == nil {
			missing = append(missing, keys[i])
		}
	}
	return missing, err
}

// put a copy that expires between two seconds, as those do whose time to live has jitter.
func (r redisStore) put(ctx context.Context, key, value string) error {
	at := time.Now().Add(ttl).UnixMilli()
	if at%1000 == 0 {
		at++
	}
	return r.c.Do(ctx, "set", key, value, "pxat", at).Err()
}

func newRedis(t testing.TB, name string, lost func(key string) bool, args ...string) *node {
	t.Helper()
	r := servers.Redis(t, args...)
	client := redis.NewClient(&redis.Options{Addr: r.Addr, Protocol: 2, DisableIdentity: true, ReadTimeout: patience, MaxRetries: -1})
	t.Cleanup(func() { _ = client.Close() })
	d := &deletes{gate: gate(t, r.Addr, "DEL", ":1", lost), command: "DEL", done: []string{":0", ":1"}}
	t.Cleanup(d.close)
	return &node{
		layer: "l2", name: name, config: fmt.Sprintf("redis: {address: %q}", r.Addr), store: redisStore{client}, remove: d.remove,
		restart: func() {
			r.Stop()
			r = servers.RedisAt(t, r.Addr, args...)
		},
	}
}

type memcachedStore struct{ c *memcache.Client }

func (m memcachedStore) missing(_ context.Context, keys []string) (missing []string, err error) {
	items, err := m.c.GetMulti(keys)
	for _, k := range keys {
		if items[k] == nil {
			missing = append(missing, k)
		}
	}
	return missing, err
}

func (m memcachedStore) put(_ context.Context, key, value string) error {
	return m.c.Set(&memcache.Item{Key: key, Value: []byte(value), Expiration: int32(ttl.Seconds())})
}

func newMemcached(t testing.TB, name string, lost func(key string) bool, args ...string) *node {
	t.Helper()
	m := servers.Memcached(t, args...)
	d := &deletes{gate: gate(t, m.Addr, "delete", "DELETED", lost), command: "delete", done: []string{"DELETED", "NOT_FOUND"}}
	t.Cleanup(d.close)
	return &node{
		layer: "l3", name: name, config: fmt.Sprintf("memcached: {address: %q}", m.Addr), store: memcachedStore{servers.MemcachedClient(t, m.Addr)},
		remove: d.remove,
		restart: func() {
			m.Stop()
			m = servers.MemcachedAt(t, m.Addr, args...)
		},
	}
}

// instance of the application, with a cache of its own that it shows over HTTP, and whose keys are deleted over HTTP.
type instance struct {
	t      testing.TB
	server *httptest.Server

	mu      sync.Mutex
	entries map[string]entry
}

type entry struct {
	value  string
	stored time.Time
}

func (a *instance) missing(_ context.Context, keys []string) (missing []string, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, k := range keys {
		if _, ok := a.entries[k]; !ok {
			missing = append(missing, k)
		}
	}
	return missing, nil
}

func (a *instance) put(_ context.Context, key, value string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.entries[key] = entry{value, time.Now()}
	return nil
}

func (a *instance) serve(w http.ResponseWriter, r *http.Request) {
	key := r.PathValue("key")
	a.mu.Lock()
	defer a.mu.Unlock()
	if r.Method == http.MethodDelete {
		delete(a.entries, key)
		w.WriteHeader(http.StatusNoContent)
		return
	}
	e, ok := a.entries[key]
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Age", strconv.Itoa(int(time.Since(e.stored).Seconds())))
	w.Header().Set("ETag", strconv.Quote(e.value[:min(len(e.value), 40)]))
	_, _ = io.WriteString(w, e.value) // who asked may be gone
}

// start the instance on an address, with nothing in its cache.
func (a *instance) start(address string) {
	a.t.Helper()
	a.mu.Lock()
	a.entries = map[string]entry{}
	a.mu.Unlock()
	mux := http.NewServeMux()
	mux.HandleFunc("/{key}", a.serve)
	server := httptest.NewUnstartedServer(mux)
	_ = server.Listener.Close() // it has one of its own
	var err error
	if server.Listener, err = new(net.ListenConfig).Listen(a.t.Context(), "tcp", address); err != nil {
		a.t.Fatal(err)
	}
	server.Start()
	a.server = server
}

func newInstance(t testing.TB, name string, lost func(key string) bool) *node {
	t.Helper()
	a := &instance{t: t}
	a.start("127.0.0.1:0")
	t.Cleanup(func() { a.server.Close() })
	to, err := url.Parse(a.server.URL)
	if err != nil {
		t.Fatal(err)
	}
	pass := httputil.NewSingleHostReverseProxy(to)
	pass.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }
	gate := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if lost(strings.TrimPrefix(r.URL.Path, "/")) {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		pass.ServeHTTP(w, r)
	}))
	t.Cleanup(gate.Close)
	return &node{
		layer: "l1", name: name, config: fmt.Sprintf("http: {url: \"%s/{key}\"}", to), store: a,
		remove: func(key string) error {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, gate.URL+"/"+key, nil)
			if err != nil {
				return err
			}
			answer, err := gate.Client().Do(r)
			if err != nil {
				return err
			}
			_ = answer.Body.Close()
			if answer.StatusCode != http.StatusNoContent {
				return fmt.Errorf("DELETE %s: %s", key, answer.Status)
			}
			return nil
		},
		restart: func() {
			a.server.CloseClientConnections()
			a.server.Close()
			a.start(to.Host)
		},
	}
}
