package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/diagnosis"
	"github.com/cacheinv/cacheinv_exporter/internal/form"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type fakeExporter struct {
	loads, failures, closed atomic.Int64
	refuse                  error
	// serve is what it answers; nil: metrics. loading is called by each Load, ending by Close.
	serve           http.HandlerFunc
	loading, ending func()
}

func (f *fakeExporter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if f.serve != nil {
		f.serve(w, r)
		return
	}
	_, _ = io.WriteString(w, "metrics")
}

func (f *fakeExporter) Report(context.Context, time.Duration) *diagnosis.Report {
	return nil
}
func (f *fakeExporter) ReportFor(*http.Request) *diagnosis.Report { return nil }
func (f *fakeExporter) LoadFailed()                               { f.failures.Add(1) }

func (f *fakeExporter) Close() {
	if f.closed.Add(1); f.ending != nil {
		f.ending()
	}
}

func (f *fakeExporter) Load(*config.Config) error {
	if f.loads.Add(1); f.loading != nil {
		f.loading()
	}
	return f.refuse
}

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func good() (*config.Config, error) { return &config.Config{}, nil }

func request(t *testing.T, s *Server, method, path string) *httptest.ResponseRecorder {
	t.Helper()
	h, err := s.Handler()
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, path, nil))
	return w
}

func TestPaths(t *testing.T) {
	s := New(&fakeExporter{}, Options{TelemetryPath: "/metrics", Load: good}, quiet)
	for _, tt := range []struct {
		method, path string
		status       int
		text         string
	}{
		{"GET", "/", 200, "/metrics"},
		{"GET", "/", 200, "/status"},
		{"GET", "/metrics", 200, "metrics"},
		{"GET", "/status", 200, "nothing could be sampled"},
		{"GET", "/api/v1/status", 200, `"verdict": "unknown"`},
		{"GET", "/-/healthy", 200, ""},
		{"GET", "/-/ready", 200, ""},
		{"POST", "/-/reload", 403, "--web.enable-lifecycle"},
		{"GET", "/nothing", 404, ""},
	} {
		w := request(t, s, tt.method, tt.path)
		if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.text) {
			t.Errorf("%s %s: %d %s", tt.method, tt.path, w.Code, w.Body)
		}
	}
	s = New(&fakeExporter{}, Options{TelemetryPath: "/", Load: good}, quiet)
	if w := request(t, s, "GET", "/"); w.Body.String() != "metrics" {
		t.Errorf("metrics at /: %s", w.Body)
	}
}

func TestReload(t *testing.T) {
	var log bytes.Buffer
	e := &fakeExporter{}
	load := good
	s := New(e, Options{TelemetryPath: "/metrics", Lifecycle: true, Load: func() (*config.Config, error) { return load() }},
		slog.New(slog.NewTextHandler(&log, nil)))
	if w := request(t, s, "GET", "/-/reload"); w.Code != 405 || e.loads.Load() != 0 {
		t.Errorf("GET: %d", w.Code)
	}
	for _, method := range []string{"POST", "PUT"} {
		if w := request(t, s, method, "/-/reload"); w.Code != 200 {
			t.Errorf("%s: %d %s", method, w.Code, w.Body)
		}
	}
	if e.loads.Load() != 2 || e.failures.Load() != 0 {
		t.Errorf("%d loads, %d failures", e.loads.Load(), e.failures.Load())
	}
	load = func() (*config.Config, error) {
		return nil, form.Faults{{File: "c.yml", Line: 3, Field: "layers[0].ttl", Message: "one"}, {File: "c.yml", Line: 4, Message: "two"}}
	}
	if w := request(t, s, "POST", "/-/reload"); w.Code != 500 || e.loads.Load() != 2 || e.failures.Load() != 1 {
		t.Errorf("a bad file: %d, %d loads, %d failures", w.Code, e.loads.Load(), e.failures.Load())
	}
	if n := strings.Count(log.String(), "not reloaded"); n != 2 || !strings.Contains(log.String(), "c.yml:3: layers[0].ttl: one") {
		t.Errorf("log:\n%s", log.String())
	}
	load, e.refuse = good, errors.New("no such certificate")
	if w := request(t, s, "POST", "/-/reload"); w.Code != 500 || e.failures.Load() != 2 {
		t.Errorf("a configuration that cannot be used: %d", w.Code)
	}
}

// A client that hangs up in its handshake is told at debug; what else net/http logs is an error.
func TestHandshakesThatFail(t *testing.T) {
	for level, want := range map[slog.Level]string{
		slog.LevelInfo:  "level=ERROR msg=\"http: panic serving\"\n",
		slog.LevelDebug: "level=DEBUG msg=\"http: TLS handshake error from 192.0.2.1:5: EOF\"\nlevel=ERROR msg=\"http: panic serving\"\n",
	} {
		var logged bytes.Buffer
		handler := slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: level, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}})
		log := slog.NewLogLogger(connectionLog{handler}, slog.LevelError)
		log.Print("http: TLS handshake error from 192.0.2.1:5: EOF")
		log.Print("http: panic serving")
		if logged.String() != want {
			t.Errorf("at %v: %q", level, logged.String())
		}
	}
}

// An answer that panics is cut off, and the log has the functions without what the panic says.
func TestPanicsAreToldWithoutValues(t *testing.T) {
	var logged bytes.Buffer
	s := &Server{log: slog.New(slog.NewTextHandler(&logged, nil))}
	h := s.guarded(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("s3cret") }))
	func() {
		defer func() {
			if p := recover(); p != http.ErrAbortHandler { //nolint:errorlint // as net/http compares it
				t.Errorf("%v, of which net/http logs something", p)
			}
		}()
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/status", nil))
	}()
	if log := logged.String(); strings.Contains(log, "s3cret") || !strings.Contains(log, "path=/status") || !strings.Contains(log, "server.TestPanicsAreToldWithoutValues") {
		t.Error(log)
	}
}
