package collector

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/consistency"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeSampler counts its samplings; each waits for gate, if there is one, or for the end of its time.
type fakeSampler struct {
	calls    atomic.Int64
	gate     chan struct{}
	deadline atomic.Int64 // of the last sampling, from its begin, in milliseconds
	panics   bool
}

func (f *fakeSampler) Sample(ctx context.Context) *consistency.Result {
	f.calls.Add(1)
	if end, ok := ctx.Deadline(); ok {
		f.deadline.Store(time.Until(end).Milliseconds())
	}
	if f.panics {
		panic("broken")
	}
	if f.gate != nil {
		select {
		case <-f.gate:
		case <-ctx.Done():
		}
	}
	return &consistency.Result{Nodes: []consistency.NodeResult{
		{Identity: identityOf("l2", "redis-1", "redis"), Up: true},
	}}
}

type funcCollector struct {
	name   string
	update func(context.Context, chan<- prometheus.Metric) error
}

func (f funcCollector) Update(ctx context.Context, _ *Sampling, ch chan<- prometheus.Metric) error {
	return f.update(ctx, ch)
}

// named gives a runner's collectors.
func named(all ...funcCollector) (out []*signalCollector) {
	for _, f := range all {
		out = append(out, &signalCollector{name: f.name, Collector: f})
	}
	return out
}

var oneLayer = &config.Config{Layers: []config.Layer{{Name: "l2", TTL: time.Hour}, {Name: "l4", NoExpiry: true}}}

func testExporter(t *testing.T, minInterval time.Duration, s sampler, others ...funcCollector) *Exporter {
	t.Helper()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	e := New(Options{TimeoutOffset: 250 * time.Millisecond, MinInterval: minInterval, Env: &probes.Env{Log: log}})
	collectors := append([]*signalCollector{
		{name: "node", Collector: nodeCollector{}}, {name: "replication", Collector: &replicationCollector{known: newReplicas()}},
	}, named(others...)...)
	e.use(&Setup{Config: oneLayer, runner: newRunner(s, collectors, log)})
	t.Cleanup(e.Close)
	return e
}

// scrape with a timeout in seconds as Prometheus announces it; empty: none.
func scrape(t *testing.T, e http.Handler, timeout string) string {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil)
	if timeout != "" {
		r.Header.Set("X-Prometheus-Scrape-Timeout-Seconds", timeout)
	}
	w := httptest.NewRecorder()
	e.ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		t.Errorf("status %d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

func wantLines(t *testing.T, body string, lines ...string) {
	t.Helper()
	for _, l := range lines {
		if !strings.Contains("\n"+body, "\n"+l) {
			t.Errorf("%s is missing in\n%s", l, ours(body))
		}
	}
}

func ours(body string) string {
	var b strings.Builder
	for l := range strings.Lines(body) {
		if strings.HasPrefix(l, "cacheinv_") {
			b.WriteString(l)
		}
	}
	return b.String()
}

func TestRequestsShareASampling(t *testing.T) {
	s := &fakeSampler{gate: make(chan struct{})}
	e := testExporter(t, 0, s)
	var wait sync.WaitGroup
	for range 10 {
		wait.Go(func() {
			body := scrape(t, e, "")
			wantLines(t, body, `cacheinv_node_up{kind="redis",layer="l2",node="redis-1"} 1`, `cacheinv_collector_success{collector="node"} 1`)
		})
	}
	poll(t, func() bool { return s.calls.Load() == 1 })
	close(s.gate)
	wait.Wait()
	// Requests that arrived after the first sampling's end began another one; never one each.
	if n := s.calls.Load(); n > 3 {
		t.Errorf("10 requests took %d samplings", n)
	}
	if d := s.deadline.Load(); d > 9750 || d < 9000 {
		t.Errorf("a request without a timeout gave its sampling %d ms, not the 10 s less 250 ms", d)
	}
}

func TestMinInterval(t *testing.T) {
	s := &fakeSampler{}
	e := testExporter(t, time.Hour, s)
	scrape(t, e, "")
	scrape(t, e, "")
	if n := s.calls.Load(); n != 1 {
		t.Errorf("2 requests within the interval took %d samplings", n)
	}
	e.use(&Setup{Config: oneLayer, runner: e.setup.runner})
	scrape(t, e, "")
	if n := s.calls.Load(); n != 2 {
		t.Errorf("a new configuration was answered from before: %d samplings", n)
	}
}

func TestLateRequest(t *testing.T) {
	s := &fakeSampler{gate: make(chan struct{})}
	e := testExporter(t, 0, s)
	var first sync.WaitGroup
	first.Go(func() { scrape(t, e, "30") })
	poll(t, func() bool { return s.calls.Load() == 1 })

	began := time.Now()
	body := scrape(t, e, "0.4")
	if took := time.Since(began); took > 400*time.Millisecond {
		t.Errorf("a request with 0.4 s took %v", took)
	}
	wantLines(t, body, `cacheinv_collector_success{collector="node"} 0`, `cacheinv_layer_ttl_seconds{layer="l2"} 3600`,
		`cacheinv_layer_ttl_seconds{layer="l4"} +Inf`, `cacheinv_config_last_reload_successful 1`, `cacheinv_build_info{`)
	if strings.Contains(body, "cacheinv_node_up") {
		t.Error("a sampling that has not ended was told")
	}
	s.gate <- struct{}{}
	first.Wait()

	var second sync.WaitGroup
	second.Go(func() { scrape(t, e, "30") })
	poll(t, func() bool { return s.calls.Load() == 2 })
	wantLines(t, scrape(t, e, "0.4"), `cacheinv_node_up{kind="redis",layer="l2",node="redis-1"} 1`) // the last one's
	close(s.gate)
	second.Wait()
}

func TestPanicAndHangCostOnlyThemselves(t *testing.T) {
	release := make(chan struct{})
	var hung atomic.Int64
	e := testExporter(t, 0, &fakeSampler{},
		funcCollector{"queue", func(context.Context, chan<- prometheus.Metric) error { panic("oops") }},
		funcCollector{"app_version", func(_ context.Context, ch chan<- prometheus.Metric) error {
			hung.Add(1)
			appUp.send(ch, 1, "shop", "app-1")
			<-release // whatever its context says
			return nil
		}})
	began := time.Now()
	body := scrape(t, e, "0.6")
	if took := time.Since(began); took > 600*time.Millisecond {
		t.Errorf("took %v of 0.6 s", took)
	}
	want := []string{
		`cacheinv_node_up{kind="redis",layer="l2",node="redis-1"} 1`,
		`cacheinv_collector_success{collector="node"} 1`,
		`cacheinv_collector_success{collector="queue"} 0`,
		`cacheinv_collector_success{collector="app_version"} 0`,
		`cacheinv_collector_duration_seconds{collector="app_version"} 0.`,
	}
	wantLines(t, body, append(want, `cacheinv_app_up{app="shop",node="app-1"} 1`)...)
	wantLines(t, scrape(t, e, "0.6"), want[:4]...)
	if n := hung.Load(); n != 1 {
		t.Errorf("a collector that hangs was begun %d times", n)
	}
	close(release)
	poll(t, func() bool {
		return strings.Contains(scrape(t, e, "5"), `cacheinv_collector_success{collector="app_version"} 1`)
	})
}

func TestSamplerPanics(t *testing.T) {
	e := testExporter(t, 0, &fakeSampler{panics: true},
		funcCollector{"queue", func(context.Context, chan<- prometheus.Metric) error { return nil }})
	wantLines(t, scrape(t, e, ""), `cacheinv_collector_success{collector="node"} 0`, `cacheinv_collector_success{collector="queue"} 1`)
}

func TestWithoutConfiguration(t *testing.T) {
	e := New(Options{Env: &probes.Env{Log: slog.New(slog.DiscardHandler)}})
	defer e.Close()
	e.LoadFailed()
	wantLines(t, scrape(t, e, ""), "cacheinv_config_last_reload_successful 0")
}

func TestFailuresAreLoggedOnce(t *testing.T) {
	var b bytes.Buffer
	fail := errors.New("no")
	c := newRunner(&fakeSampler{}, named(
		funcCollector{"queue", func(context.Context, chan<- prometheus.Metric) error { return fail }},
	), slog.New(slog.NewTextHandler(&b, nil)))
	for range 3 {
		c.sample(t.Context(), 0)
	}
	fail = nil
	c.sample(t.Context(), 0)
	if n := strings.Count(b.String(), "collector failed"); n != 1 || strings.Count(b.String(), "recovered") != 1 {
		t.Errorf("log:\n%s", b.String())
	}
}

func TestTimeout(t *testing.T) {
	for header, want := range map[string]time.Duration{
		"": 10 * time.Second, "5": 5 * time.Second, "0.5": 500 * time.Millisecond, "-1": 10 * time.Second, "NaN": 10 * time.Second,
		"x": 10 * time.Second, "1e300": 2 * time.Minute, "+Inf": 2 * time.Minute,
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		r.Header.Set("X-Prometheus-Scrape-Timeout-Seconds", header)
		if got := timeoutOf(r); got != want {
			t.Errorf("timeout %q is %v, want %v", header, got, want)
		}
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

// OpenMetrics is given where it is asked for, and says the same.
func TestOpenMetrics(t *testing.T) {
	e := testExporter(t, time.Hour, &fakeSampler{}, funcCollector{"queue", func(_ context.Context, ch chan<- prometheus.Metric) error {
		queueEnqueued.send(ch, 7, "q", "kafka")
		return nil
	}})
	plain := scrape(t, e, "")
	for _, c := range []struct {
		accept string
		open   bool
	}{
		{"application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1", true},
		{"application/openmetrics-text; version=0.0.1", true},
		{"text/plain;version=0.0.4", false},
		{"", false},
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil)
		r.Header.Set("Accept", c.accept)
		w := httptest.NewRecorder()
		e.ServeHTTP(w, r)
		body := w.Body.String()
		if got := strings.HasPrefix(w.Header().Get("Content-Type"), "application/openmetrics-text"); got != c.open || strings.HasSuffix(body, "\n# EOF\n") != c.open {
			t.Errorf("%q: %s, which ends in %q", c.accept, w.Header().Get("Content-Type"), body[max(0, len(body)-20):])
		}
		if !c.open {
			continue
		}
		wantLines(t, body, "# TYPE cacheinv_queue_enqueued counter", `cacheinv_queue_enqueued_total{kind="kafka",queue="q"} 7.0`,
			`cacheinv_node_up{kind="redis",layer="l2",node="redis-1"} 1.0`)
		names := func(body string) (out []string) {
			for l := range strings.Lines(ours(body)) {
				out = append(out, l[:strings.LastIndexByte(l, ' ')])
			}
			return out
		}
		if d := cmp.Diff(names(plain), names(body)); d != "" {
			t.Errorf("in plain text (-), in OpenMetrics (+):\n%s", d)
		}
	}
}

// deaf is a client that hangs up after a while.
type deaf struct {
	httptest.ResponseRecorder
	left int
}

var errDeaf = errors.New("write: broken pipe")

func (d *deaf) Write(b []byte) (int, error) {
	if d.left--; d.left < 0 {
		return 0, errDeaf
	}
	return len(b), nil
}

// A client that hangs up is told once, and at debug, whenever it does.
func TestClientThatHangsUp(t *testing.T) {
	for _, accept := range []string{"", "application/openmetrics-text"} {
		for _, gzip := range []string{"", "gzip"} {
			for left := range 3 {
				var logged bytes.Buffer
				e := testExporter(t, time.Hour, &fakeSampler{})
				e.log = slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
				r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil)
				r.Header.Set("Accept", accept)
				r.Header.Set("Accept-Encoding", gzip)
				e.ServeHTTP(&deaf{ResponseRecorder: *httptest.NewRecorder(), left: left}, r)
				if gzip != "" && left > 0 {
					continue // what is compressed is written in fewer parts
				}
				if lines := strings.Split(strings.TrimSpace(logged.String()), "\n"); len(lines) != 1 || !strings.Contains(lines[0], "level=DEBUG") ||
					!strings.Contains(lines[0], "broken pipe") {
					t.Errorf("%q, %q, after %d parts: %q", accept, gzip, left, lines)
				}
				wantLines(t, scrape(t, e, ""), `cacheinv_node_up{kind="redis",layer="l2",node="redis-1"} 1`) // the next one is served
			}
		}
	}
}

// One that hangs up while it waits is told once too; others that wait for the same sampling get it.
func TestClientThatHangsUpWhileItWaits(t *testing.T) {
	s := &fakeSampler{gate: make(chan struct{})}
	e := testExporter(t, 0, s)
	var logged bytes.Buffer
	e.log = slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var other sync.WaitGroup
	other.Go(func() {
		wantLines(t, scrape(t, e, ""), `cacheinv_node_up{kind="redis",layer="l2",node="redis-1"} 1`)
	})
	poll(t, func() bool { return s.calls.Load() == 1 })
	ctx, hangUp := context.WithCancel(t.Context())
	hangUp()
	e.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodGet, "/metrics", nil))
	close(s.gate)
	other.Wait()
	if got := logged.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "level=DEBUG") {
		t.Errorf("the log says %q", got)
	}
}
