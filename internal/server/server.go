// Package server serves an Exporter over HTTP: its metrics, its status, its health. Server loads the configuration again
// when asked to.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/common/version"
	"github.com/prometheus/exporter-toolkit/web"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/internal/incident"
	"github.com/cacheinv/cacheinv_exporter/internal/turn"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// farewell is how long requests may go on after the end was asked for.
const farewell = 10 * time.Second

// Exporter answers scrapes of one configuration at a time.
type Exporter interface {
	http.Handler
	incident.Reporter
	incident.RequestReporter
	// Load makes cfg the configuration; on an error the one before is kept.
	Load(cfg *config.Config) error
	// LoadFailed notes that a configuration could not be read.
	LoadFailed()
	// Close ends what is under way.
	Close()
}

// Options of a Server.
type Options struct {
	// Web has the listen addresses and the web configuration file.
	Web *web.FlagConfig
	// Listeners to serve on instead of Web's addresses.
	Listeners []net.Listener
	// TelemetryPath of the metrics (--web.telemetry-path).
	TelemetryPath string
	// Lifecycle allows /-/reload (--web.enable-lifecycle).
	Lifecycle bool
	// MaxRequests that are answered at once, but for health and readiness (--web.max-requests); 0: any number.
	MaxRequests int
	// Load reads the configuration; its error has one line for each fault.
	Load func() (*config.Config, error)
}

// Server is the exporter's HTTP side.
type Server struct {
	opt      Options
	exporter Exporter
	log      *slog.Logger
	reload   sync.Mutex
	// connections of clients, and bodies of the answers to them.
	connections *connections
	bodies      *bodies
}

// New Server. The exporter has a configuration already.
func New(exporter Exporter, opt Options, log *slog.Logger) *Server {
	return &Server{opt: opt, exporter: exporter, log: log, connections: newConnections(descriptors()), bodies: newBodies()}
}

// Run serves until ctx ends, then lets requests end and closes the exporter. SIGHUP loads the configuration again.
func (s *Server) Run(ctx context.Context) error {
	handler, err := s.Handler()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	server := &http.Server{
		Handler: handler, ErrorLog: slog.NewLogLogger(connectionLog{s.log.Handler()}, slog.LevelError),
		ReadHeaderTimeout: headerTime, IdleTimeout: idleTime, MaxHeaderBytes: mostHeader,
		ConnContext: s.connections.connContext, ConnState: s.connections.connState,
	}
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)

	var wait sync.WaitGroup
	wait.Go(func() { s.reloadOn(ctx, hangup) })
	wait.Go(func() {
		<-ctx.Done()
		s.stop(server)
	})
	if s.opt.Listeners != nil {
		err = web.ServeMultiple(s.opt.Listeners, server, s.opt.Web, s.log)
	} else {
		err = web.ListenAndServe(server, s.opt.Web, s.log)
	}
	cancel()
	wait.Wait()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serving: %w", err)
}

// reloadOn a signal, until ctx ends. A reload waits for the sampling under way, and the end does not wait for that.
func (s *Server) reloadOn(ctx context.Context, hangup <-chan os.Signal) {
	for {
		select {
		case <-hangup:
			_ = s.Reload() // it is in the log
		case <-ctx.Done():
			return
		}
	}
}

// connectionLog is for what net/http logs. That a client did not complete its handshake (a port scan, a probe of a load balancer, one
// that hung up) is no error of ours.
type connectionLog struct{ slog.Handler }

// Handle implements slog.Handler.
func (h connectionLog) Handle(ctx context.Context, r slog.Record) error {
	if strings.HasPrefix(r.Message, "http: TLS handshake error") {
		r.Level = slog.LevelDebug
		if !h.Enabled(ctx, r.Level) {
			return nil
		}
	}
	return h.Handler.Handle(ctx, r)
}

func (s *Server) stop(server *http.Server) {
	s.log.Info("stopping")
	ctx, cancel := context.WithTimeout(context.Background(), farewell)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		s.log.Warn("requests were cut off", "err", err)
		_ = server.Close() // they are lost either way
	}
	s.exporter.Close()
}

// Reload loads the configuration again; a bad one changes nothing, and each of its faults is logged.
func (s *Server) Reload() error {
	s.reload.Lock()
	defer s.reload.Unlock()
	cfg, err := s.opt.Load()
	if err == nil {
		err = s.exporter.Load(cfg)
	}
	if err != nil {
		s.exporter.LoadFailed()
		LogFaults(s.log, "the configuration was not reloaded, the old one is kept", err)
		return err
	}
	s.log.Info("configuration reloaded")
	return nil
}

// LogFaults logs each fault of a configuration by itself.
func LogFaults(log *slog.Logger, message string, err error) {
	var faults form.Faults
	if !errors.As(err, &faults) {
		log.Error(message, "err", err)
		return
	}
	for _, f := range faults {
		log.Error(message, "fault", f.Error())
	}
}

// Handler of all paths.
func (s *Server) Handler() (http.Handler, error) {
	mux, health := http.NewServeMux(), http.NewServeMux()
	mux.Handle(s.opt.TelemetryPath, s.exporter)
	oneByOne := turn.NewLine(1)
	mux.Handle("GET /status", incident.StatusPage(s.exporter, oneByOne))
	mux.Handle("GET /api/v1/status", incident.StatusJSON(s.exporter, oneByOne))
	mux.HandleFunc("/-/reload", s.handleReload)
	if s.opt.TelemetryPath != "/" {
		landing, err := web.NewLandingPage(web.LandingConfig{
			Name:        "cacheinv_exporter",
			Description: "Tells whether the copies of cached keys agree, and why not.",
			Version:     version.Info(),
			Profiling:   "false",
			Links: []web.LandingLinks{
				{Address: s.opt.TelemetryPath, Text: "Metrics"},
				{Address: "/status", Text: "Status", Description: "What is wrong, and why"},
				{Address: "/api/v1/status", Text: "Status as JSON"},
				{Address: "/-/healthy", Text: "Health"},
				{Address: "/-/ready", Text: "Readiness"},
			},
		})
		if err != nil {
			return nil, fmt.Errorf("making the landing page: %w", err)
		}
		mux.Handle("/{$}", landing)
	}
	health.HandleFunc("/-/healthy", say("healthy\n"))
	health.HandleFunc("/-/ready", say("ready\n"))
	health.Handle("/", s.limited(mux))
	return s.guarded(s.held(health)), nil
}

// guarded answers requests, and tells of a panic in an answer itself: net/http would log what it says, which may be a cached value.
func (s *Server) guarded(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			switch p := recover(); p {
			case nil:
			case http.ErrAbortHandler: // of which net/http logs nothing
				panic(p)
			default:
				s.log.Error("an answer broke off; please report it", "path", r.URL.Path, "panic", probes.PanicReport(p))
				panic(http.ErrAbortHandler)
			}
		}()
		h.ServeHTTP(w, r)
	})
}

func say(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte(text)) // the client is gone
	}
}

func (s *Server) handleReload(w http.ResponseWriter, r *http.Request) {
	switch {
	case !s.opt.Lifecycle:
		http.Error(w, "reloading over HTTP is off; start with --web.enable-lifecycle", http.StatusForbidden)
	case r.Method != http.MethodPost && r.Method != http.MethodPut:
		w.Header().Set("Allow", "POST, PUT")
		http.Error(w, "use POST or PUT", http.StatusMethodNotAllowed)
	default:
		if err := s.Reload(); err != nil {
			http.Error(w, "the old configuration is kept:\n"+err.Error(), http.StatusInternalServerError)
		}
	}
}
