package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

var presentVersion, olderVersion = "2.3.1", "2.2.9"

// webServer is an HTTP server on a free port.
type webServer struct {
	listener net.Listener
	server   *http.Server
	done     chan struct{}
}

func startWeb(handler http.Handler, logger *slog.Logger) (*webServer, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w := &webServer{listener: l, done: make(chan struct{}), server: &http.Server{
		Handler: handler, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}}
	go func() {
		defer close(w.done)
		_ = w.server.Serve(l) // ends by close, with an error that says so
	}()
	return w, nil
}

func (w *webServer) addr() string { return w.listener.Addr().String() }

func (w *webServer) close() {
	_ = w.server.Close() // the listener and all connections, whatever they were doing
	<-w.done
}

// app is one instance of the application, with its local cache.
type app struct {
	*webServer
	name    string
	started time.Time
	version atomic.Pointer[string]
	store
}

func startApp(name string, logger *slog.Logger) (*app, error) {
	a := &app{name: name, started: time.Now()}
	a.version.Store(&presentVersion)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /cache/entries/{key}", a.serveEntry)
	mux.HandleFunc("GET /cache/stats", a.serveStats)
	mux.HandleFunc("GET /cache/version", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = fmt.Fprintln(w, *a.version.Load()) // the client has gone, if this fails
	})
	web, err := startWeb(mux, logger)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	a.webServer = web
	return a, nil
}

func (a *app) node() string { return a.name }

func (a *app) serveEntry(w http.ResponseWriter, r *http.Request) {
	e, ok := a.entry(r.PathValue("key"))
	a.count(ok)
	if !ok {
		http.NotFound(w, r)
		return
	}
	left := max(0, int(time.Until(e.expires).Seconds()))
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "max-age="+strconv.Itoa(left))
	_, _ = w.Write(e.body) // the client has gone, if this fails
}

func (a *app) serveStats(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, struct {
		Hits    int64   `json:"hits"`
		Misses  int64   `json:"misses"`
		Evicted int64   `json:"evicted"`
		Size    int     `json:"size"`
		Uptime  float64 `json:"uptime"`
	}{a.hits.Load(), a.misses.Load(), 0, a.size(), time.Since(a.started).Seconds()})
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the client has gone, if this fails
}

// database answers for the truth.
type database struct{ *webServer }

func startDatabase(s *site, logger *slog.Logger) (*database, error) {
	serve := func(key func(id string) string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			body, ok := s.record(key(r.PathValue("id")))
			if !ok {
				http.NotFound(w, r)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(body) // the client has gone, if this fails
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/users/{id}", serve(func(id string) string { return "user:" + id + ":profile" }))
	mux.HandleFunc("GET /api/products/{id}", serve(func(id string) string { return "product:" + id + ":price" }))
	mux.HandleFunc("GET /api/sessions/{id}", serve(func(id string) string { return "session:" + id }))
	web, err := startWeb(mux, logger)
	if err != nil {
		return nil, fmt.Errorf("database: %w", err)
	}
	return &database{web}, nil
}
