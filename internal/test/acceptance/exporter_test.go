package acceptance

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"go.uber.org/goleak"

	"github.com/cacheinv/cacheinv_exporter/collector"
	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/consistency"
	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/backends"
)

func TestMain(m *testing.M) {
	servers.TestsAtOnce(4)
	goleak.VerifyTestMain(m)
}

// counts is n in a soak, and a twentieth of it elsewhere.
func counts(n int) int {
	if os.Getenv("CACHEINV_SOAK") != "" {
		return n
	}
	return n / 20
}

// exporter in this process, so that the race detector and goleak see it.
type exporter struct {
	t testing.TB
	*collector.Exporter
	log *journal
}

// journal is a log that can be read while it is written.
type journal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.String()
}

// options are the command line's defaults, but for the interval: each scrape samples.
func options() collector.Options {
	return collector.Options{
		TimeoutOffset: 250 * time.Millisecond,
		StallWindow:   time.Minute,
		Sampler:       consistency.Options{RereadDelay: 20 * time.Millisecond, ScanCount: 1000, MaxKeySeries: 1000},
		Env: &probes.Env{
			MaxValueBytes: 1 << 20, MaxBody: 4 << 20, ForgetAfter: 10 * time.Minute, SampleMessages: 1000, Budget: probes.NewBudget(), Kept: probes.NewKept(), Log: slog.New(slog.DiscardHandler),
		},
	}
}

func start(t testing.TB, cfg string) *exporter {
	t.Helper()
	return startWith(t, options(), cfg)
}

func startWith(t testing.TB, opt collector.Options, cfg string) *exporter {
	t.Helper()
	e := &exporter{t: t, log: &journal{}}
	opt.Env.Log = slog.New(slog.NewTextHandler(e.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	e.Exporter = collector.New(opt)
	t.Cleanup(e.Close)
	e.load(cfg)
	return e
}

func (e *exporter) load(cfg string) {
	e.t.Helper()
	parsed, err := config.Parse("test.yml", []byte(cfg), backends.All)
	if err != nil {
		e.t.Fatalf("%v\nin\n%s", err, cfg)
	}
	if err := e.Load(parsed); err != nil {
		e.t.Fatal(err)
	}
}

// get answers one scrape that announces its timeout, as Prometheus does.
func (e *exporter) get(timeout time.Duration) string {
	r := httptest.NewRequest(http.MethodGet, "/metrics", nil) //nolint:noctx // the timeout is what is tested
	r.Header.Set("X-Prometheus-Scrape-Timeout-Seconds", strconv.FormatFloat(timeout.Seconds(), 'f', -1, 64))
	w := httptest.NewRecorder()
	e.ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		e.t.Errorf("status %d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

func (e *exporter) scrape(timeout time.Duration) page {
	e.t.Helper()
	return parse(e.t, e.get(timeout))
}

// page is one answer of /metrics.
type page struct {
	t        testing.TB
	text     string
	families map[string]*dto.MetricFamily
}

func parse(t testing.TB, text string) page {
	t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return page{t: t, text: text, families: families}
}

// each calls do for every series of a family that has these labels (name, value, …).
func (p page) each(family string, do func(labels map[string]string, value float64), labels ...string) {
	f := p.families["cacheinv_"+family]
	if f == nil {
		return
	}
	for _, m := range f.Metric {
		has := map[string]string{}
		for _, l := range m.Label {
			has[l.GetName()] = l.GetValue()
		}
		match := true
		for i := 0; i < len(labels); i += 2 {
			match = match && has[labels[i]] == labels[i+1]
		}
		if !match {
			continue
		}
		switch {
		case m.Gauge != nil:
			do(has, m.Gauge.GetValue())
		case m.Counter != nil:
			do(has, m.Counter.GetValue())
		}
	}
}

// sum of the series that have these labels; 0 where there are none.
func (p page) sum(family string, labels ...string) float64 {
	total := 0.0
	p.each(family, func(_ map[string]string, v float64) { total += v }, labels...)
	return total
}

// number of series that have these labels.
func (p page) number(family string, labels ...string) int {
	n := 0
	p.each(family, func(map[string]string, float64) { n++ }, labels...)
	return n
}

// one is the value of the only series that has these labels.
func (p page) one(family string, labels ...string) float64 {
	p.t.Helper()
	if n := p.number(family, labels...); n != 1 {
		p.t.Fatalf("%d series of %s%v, want one, in\n%s", n, family, labels, p.ours())
	}
	return p.sum(family, labels...)
}

func (p page) want(value float64, family string, labels ...string) {
	p.t.Helper()
	if got := p.one(family, labels...); got != value {
		p.t.Errorf("%s%v is %v, want %v", family, labels, got, value)
	}
}

// nodes that have copies in a state.
func (p page) nodes(state string) []string {
	var out []string
	p.each("canary_copies", func(labels map[string]string, v float64) {
		if v > 0 && !slices.Contains(out, labels["node"]) {
			out = append(out, labels["node"])
		}
	}, "state", state)
	slices.Sort(out)
	return out
}

func (p page) ours() string {
	var b strings.Builder
	for l := range strings.Lines(p.text) {
		if strings.HasPrefix(l, "cacheinv_") {
			b.WriteString(l)
		}
	}
	return b.String()
}

// redisNodes is configuration: a line for each address, redis-1 and on.
func redisNodes(addresses ...string) string {
	var b strings.Builder
	for i, a := range addresses {
		fmt.Fprintf(&b, "      - {name: redis-%d, redis: {address: \"redis://%s\"}}\n", i+1, a)
	}
	return b.String()
}
