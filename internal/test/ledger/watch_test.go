package ledger

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// windows at which the exporter looks, and pace of the scrapes.
var windows = []time.Duration{4 * time.Second, 8 * time.Second}

const pace = time.Second

// look at a copy for an event, as /api/v1/status names it.
type look struct {
	class, key, node, window string
	at                       int64 // in Unix milliseconds
}

// told is what a look was told to have found, and in which scrape.
type told struct {
	result string
	scrape int
}

// scrape of the exporter.
type scrape struct {
	start, end time.Time
	// learned: it read the queue, and how far its group is.
	learned bool
	// waiting looks that it counted.
	waiting float64
}

// watch scrapes the exporter's binary at its pace, and keeps what it tells.
type watch struct {
	t       *testing.T
	process *servers.Process
	client  http.Client
	stop    chan struct{}
	running sync.WaitGroup

	mu      sync.Mutex
	scrapes []scrape
	told    map[look]told
	last    page
}

// newWatch starts the exporter, and scrapes it until the test ends.
func newWatch(t *testing.T, binary, config string) *watch {
	t.Helper()
	file := filepath.Join(t.TempDir(), "cacheinv.yml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	w := &watch{
		t: t, client: http.Client{Timeout: time.Minute, Transport: &http.Transport{}}, stop: make(chan struct{}), told: map[look]told{},
		process: servers.Exporter(t, binary, servers.FreeAddr(t), "--config.file", file, "--scrape.min-interval=200ms"),
	}
	w.running.Go(func() {
		for {
			select {
			case <-w.stop:
				return
			case <-time.After(pace):
				w.scrape()
			}
		}
	})
	t.Cleanup(func() {
		close(w.stop)
		w.running.Wait()
		w.client.CloseIdleConnections()
	})
	servers.Eventually(t, "the exporter has read the topic", func() bool { return w.count() > 0 && w.page().sum("queue_up") == 1 })
	return w
}

// get a page of the exporter.
func (w *watch) get(path string) (string, error) {
	answer, err := w.client.Get("http://" + w.process.Addr + path) //nolint:noctx // the client has a timeout
	if err != nil {
		return "", err
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", answer.Status, text)
	}
	return string(text), err
}

func (w *watch) scrape() {
	s := scrape{start: time.Now()}
	metrics, err := w.get("/metrics")
	if err != nil {
		w.t.Errorf("%v; it says:\n%s", err, w.process.Output())
		return
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	p, err := parser.TextToMetricFamilies(strings.NewReader(metrics))
	if err != nil {
		w.t.Errorf("%v in\n%s", err, metrics)
		return
	}
	status, err := w.get("/api/v1/status")
	if err != nil {
		w.t.Error(err)
		return
	}
	var got struct {
		Events []struct {
			Class, Key, Node, Window, Result string
			EventTime                        time.Time `json:"event_time"`
		}
	}
	if err := json.Unmarshal([]byte(status), &got); err != nil {
		w.t.Errorf("%v in\n%s", err, status)
		return
	}
	s.end, s.learned = time.Now(), page(p).sum("queue_up") == 1
	s.waiting = page(p).sum("event_copy_checks_total", "result", "waiting")
	w.mu.Lock()
	defer w.mu.Unlock()
	w.scrapes, w.last = append(w.scrapes, s), p
	for _, e := range got.Events {
		l := look{e.Class, e.Key, e.Node, e.Window, e.EventTime.UnixMilli()}
		if _, ok := w.told[l]; !ok {
			w.told[l] = told{e.Result, len(w.scrapes) - 1}
		}
	}
}

// reload the configuration.
func (w *watch) reload() {
	w.t.Helper()
	if err := syscall.Kill(w.process.PID(), syscall.SIGHUP); err != nil {
		w.t.Fatal(err)
	}
	servers.Eventually(w.t, "the configuration is loaded again", func() bool { return strings.Contains(w.process.Output(), "configuration reloaded") })
}

// count of the scrapes so far.
func (w *watch) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.scrapes)
}

// page that was scraped last.
func (w *watch) page() page {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last
}

// account of all scrapes, and of what they told.
func (w *watch) account() ([]scrape, map[look]told) {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := make(map[look]told, len(w.told))
	for l, r := range w.told {
		all[l] = r
	}
	return append([]scrape(nil), w.scrapes...), all
}

// over: what is to be looked at from a time on was looked at, and a scrape has been since then.
func (w *watch) over(due time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return firstFrom(w.scrapes, due)+1 < len(w.scrapes)
}

// firstFrom is the index of the first scrape that began at a time or after. By its end all is looked at that is due by then.
func firstFrom(all []scrape, t time.Time) int {
	return sort.Search(len(all), func(i int) bool { return !all[i].start.Before(t) })
}

// page is one answer of /metrics.
type page map[string]*dto.MetricFamily

// sum of the series of a family that have these labels (name, value, …).
func (p page) sum(family string, labels ...string) float64 {
	total := 0.0
	for _, m := range p["cacheinv_"+family].GetMetric() {
		has := map[string]string{}
		for _, l := range m.Label {
			has[l.GetName()] = l.GetValue()
		}
		match := true
		for i := 0; i < len(labels); i += 2 {
			match = match && has[labels[i]] == labels[i+1]
		}
		if match {
			total += m.Counter.GetValue() + m.Gauge.GetValue()
		}
	}
	return total
}
