package command

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/exporter-toolkit/web"
	"go.uber.org/goleak"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/internal/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeExporter has no metrics.
type fakeExporter struct {
	server.Exporter
	loads, closed atomic.Int64
}

func (f *fakeExporter) Load(*config.Config) error { f.loads.Add(1); return nil }
func (f *fakeExporter) Close()                    { f.closed.Add(1) }

var quiet = slog.New(slog.DiscardHandler)

func good() (*config.Config, error) { return &config.Config{}, nil }

func TestServe(t *testing.T) {
	listeners, err := Listen([]string{"127.0.0.1:0"}, false)
	if err != nil {
		t.Fatal(err)
	}
	none := ""
	e := &fakeExporter{}
	opt := server.Options{Web: &web.FlagConfig{WebConfigFile: &none, WebListenAddresses: &[]string{"unused"}}, Listeners: listeners, TelemetryPath: "/metrics", Load: good}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, e, opt, quiet) }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	poll(t, func() bool {
		r, err := client.Get(URL(listeners[0]) + "/-/ready") //nolint:noctx // on loopback, and polled
		if err != nil {
			return false
		}
		return r.Body.Close() == nil && r.StatusCode == http.StatusOK
	})
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	poll(t, func() bool { return e.loads.Load() == 2 })
	cancel()
	if err := <-ended; err != nil || e.closed.Load() != 1 {
		t.Errorf("%v, closed %d times", err, e.closed.Load())
	}
}

func TestServeWithAFault(t *testing.T) {
	e := &fakeExporter{}
	err := Serve(t.Context(), e, server.Options{Load: func() (*config.Config, error) {
		return nil, form.Faults{{File: "c.yml", Line: 1, Message: "bad"}}
	}}, quiet)
	var b bytes.Buffer
	if code := ExitCode(err, &b); code != ExitUsage || b.String() != "c.yml:1: bad\n" || e.closed.Load() != 1 {
		t.Errorf("code %d: %s", code, b.String())
	}
	if code := ExitCode(errors.New("port in use"), &b); code != 1 {
		t.Errorf("a failure gave %d", code)
	}
}

func TestListenOnABusyPort(t *testing.T) {
	first, err := Listen([]string{"127.0.0.1:0"}, false)
	if err != nil {
		t.Fatal(err)
	}
	busy := first[0].Addr().String()
	if _, err := Listen([]string{"127.0.0.1:0", busy}, false); err == nil {
		t.Error("a busy port was taken")
	}
	second, err := Listen([]string{busy}, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(first[0].Close(), second[0].Close()); err != nil {
		t.Error(err)
	}
}

func TestReadKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if key, err := readKey(path); err != nil || string(key) != "secret" {
		t.Errorf("%q, %v", key, err)
	}
	if key, err := readKey(""); err != nil || key != nil {
		t.Errorf("%q, %v", key, err)
	}
	if _, err := readKey(path + "x"); ExitCode(err, io.Discard) != ExitUsage {
		t.Errorf("a missing key: %v", err)
	}
}

func poll(t *testing.T, done func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it did not happen within 10 s")
		}
	}
}
