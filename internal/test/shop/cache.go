package shop

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
	"github.com/redis/go-redis/v9"
)

// caches by the name of their node, as the application reaches them.
type caches map[string]cache

// patience of the application with a cache: what it gives up is a lost invalidation, so a busy machine must not reach it.
const patience = time.Second

// cache is what the application needs of one.
type cache interface {
	get(key string) bool
	set(key, value string)
	remove(keys []string)
}

type redisCache struct {
	t testing.TB
	c *redis.Client
}

func (r redisCache) get(key string) bool { return r.c.Exists(r.t.Context(), key).Val() == 1 }

func (r redisCache) set(key, value string) { r.c.Set(r.t.Context(), key, value, ttl) }

// remove all keys at once; a node that can't be reached keeps what it has.
func (r redisCache) remove(keys []string) { _ = r.c.Del(r.t.Context(), keys...).Err() }

// memcachedCache has a connection of its own for deletes, so that many of them are one round trip.
type memcachedCache struct {
	c       *memcache.Client
	address string

	mu   sync.Mutex
	conn net.Conn
}

func (m *memcachedCache) get(key string) bool {
	_, err := m.c.Get(key)
	return err == nil
}

func (m *memcachedCache) set(key, value string) {
	_ = m.c.Set(&memcache.Item{Key: key, Value: []byte(value), Expiration: int32(ttl.Seconds())}) // the next reader does
}

// remove all keys at once; a node that can't be reached keeps what it has.
func (m *memcachedCache) remove(keys []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.delete(keys) != nil {
		m.hangUp()
	}
}

func (m *memcachedCache) delete(keys []string) (err error) {
	if m.conn == nil {
		if m.conn, err = net.DialTimeout("tcp", m.address, patience); err != nil {
			return err
		}
	}
	if err := m.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := m.conn.Write([]byte("delete " + strings.Join(keys, "\r\ndelete ") + "\r\n")); err != nil {
		return err
	}
	answers := bufio.NewReader(m.conn)
	for range keys {
		if _, err := answers.ReadSlice('\n'); err != nil {
			return err
		}
	}
	return nil
}

func (m *memcachedCache) close() {
	_ = m.c.Close()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hangUp()
}

// hangUp, so that the next deletes begin anew; the lock is held.
func (m *memcachedCache) hangUp() {
	if m.conn != nil {
		_ = m.conn.Close()
		m.conn = nil
	}
}

// appInstance is an instance of the application, with a cache of its own that only some shops use.
type appInstance struct {
	server  *httptest.Server
	release atomic.Value
	started time.Time

	mu           sync.Mutex
	entries      map[string]string
	hits, misses int64
}

func newInstance(t testing.TB) *appInstance {
	a := &appInstance{entries: map[string]string{}, started: time.Now()}
	a.release.Store(Release)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /cache/version", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"version":%q}`, a.release.Load())
	})
	mux.HandleFunc("GET /cache/entries/{key}", func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		value, held := a.entries[r.PathValue("key")]
		a.count(held)
		a.mu.Unlock()
		if !held {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write([]byte(value)) // who asked may be gone
	})
	mux.HandleFunc("GET /cache/stats", func(w http.ResponseWriter, _ *http.Request) {
		a.mu.Lock()
		defer a.mu.Unlock()
		_ = json.NewEncoder(w).Encode(map[string]any{ // who asked may be gone
			"hits": a.hits, "misses": a.misses, "evicted": 0, "size": len(a.entries), "uptime": time.Since(a.started).Seconds(),
		})
	})
	a.server = httptest.NewServer(mux)
	t.Cleanup(a.server.Close)
	return a
}

// count a read; the lock is held.
func (a *appInstance) count(hit bool) {
	if hit {
		a.hits++
	} else {
		a.misses++
	}
}

func (a *appInstance) get(key string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, held := a.entries[key]
	a.count(held)
	return held
}

func (a *appInstance) set(key, value string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.entries[key] = value
}

func (a *appInstance) remove(keys []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, k := range keys {
		delete(a.entries, k)
	}
}
