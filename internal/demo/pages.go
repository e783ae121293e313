package demo

import (
	"fmt"
	"hash/crc32"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// edge is a place of a CDN: it serves pages that it holds, and says that it did.
type edge struct {
	*webServer
	store
	name string
}

func startEdge(name string, s *site, logger *slog.Logger) (*edge, error) {
	e := &edge{name: name}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{key}", func(w http.ResponseWriter, r *http.Request) { e.serve(s, w, r) })
	web, err := startWeb(mux, logger)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	e.webServer = web
	return e, nil
}

func (e *edge) node() string { return e.name }

func (e *edge) serve(s *site, w http.ResponseWriter, r *http.Request) {
	key := r.PathValue("key")
	w.Header().Set("Content-Type", "application/json")
	if held, ok := e.entry(key); ok {
		w.Header().Set("X-Cache", "HIT")
		w.Header().Set("Cache-Control", "max-age="+strconv.Itoa(max(0, int(time.Until(held.expires).Seconds()))))
		_, _ = w.Write(held.body) // the client has gone, if this fails
		return
	}
	w.Header().Set("X-Cache", "MISS")
	if strings.Contains(r.Header.Get("Cache-Control"), "only-if-cached") {
		w.WriteHeader(http.StatusGatewayTimeout)
		return
	}
	body, ok := s.record(key)
	if !ok {
		http.NotFound(w, r)
		return
	}
	_, _ = w.Write(body) //nolint:gosec // a record that was found by the key, and not the key
}

// pool of memcached servers that share keys out, as gomemcache does.
type pool []*memcachedServer

func (p pool) node() string { return "pool" }

func (p pool) of(key string) *memcachedServer {
	return p[crc32.ChecksumIEEE([]byte(key))%uint32(len(p))]
}

func (p pool) put(key string, body []byte, ttl time.Duration) { p.of(key).put(key, body, ttl) }
func (p pool) lookup(key string) bool                         { return p.of(key).lookup(key) }
func (p pool) peek(key string) ([]byte, bool)                 { return p.of(key).peek(key) }
