package detection

import (
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/redis/go-redis/v9"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/internal/test/shop"
	"github.com/cacheinv/cacheinv_exporter/internal/tools/grafana"
	"github.com/cacheinv/cacheinv_exporter/internal/tools/rules"
)

var dashboardsDir = flag.String("dashboards", "../../../dashboards", "folder of Grafana's dashboards")

// neverHere are parts of queries that have no data here, and why.
var neverHere = map[string]string{
	"ratio_rate30m_offset1d":                       "the same time yesterday: an hour and a half ago at this speed",
	" > queue:cacheinv_queue_limit_drain:max":      "only of a queue that does not drain in time; the same panel shows the others",
	" * queue:cacheinv_queue_limit_oldest:max <= ": "only of a message that is nearly too old; the same panel shows the others",
	" > queue:cacheinv_queue_limit_oldest:max":     "only of a message that is too old; the same panel shows the others",
}

// dashboards asks Prometheus all that Grafana asks it: panels, variables and annotations. Each query has to have had data at some time,
// with every label that its legend names.
func (s *station) dashboards(t *testing.T, since time.Time) {
	t.Helper()
	asked := 0
	for name, d := range loadDashboards(t) {
		for _, q := range d.Queries(map[string]string{"__rate_interval": "1m"}) {
			asked++
			if err := s.answers(t, q, since); err != nil {
				t.Errorf("%s: %s: %v\n%s", name, q.Where, err, q.Expr)
			}
		}
	}
	t.Logf("%d queries", asked)
}

// loadDashboards by the names of their files.
func loadDashboards(t *testing.T) map[string]*grafana.Dashboard {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(*dashboardsDir, "*.json"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no dashboards in %s: %v", *dashboardsDir, err)
	}
	all := map[string]*grafana.Dashboard{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if all[filepath.Base(path)], err = grafana.Parse(text); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
	}
	return all
}

// fast is a query of Grafana's with all times as much shorter as they are here.
func fast(q grafana.Query) (string, error) {
	expr, err := rules.PromQL.ParseExpr(q.Expr)
	if err != nil {
		return "", err
	}
	shorter, err := rules.Durations(expr, func(d time.Duration) time.Duration { return (d / factor).Round(time.Millisecond) })
	if err != nil {
		return "", err
	}
	return shorter.String(), nil
}

func (s *station) answers(t *testing.T, q grafana.Query, since time.Time) error {
	t.Helper()
	for part := range neverHere {
		if strings.Contains(q.Expr, part) {
			return nil
		}
	}
	expr, err := fast(q)
	if err != nil {
		return err
	}
	step := max(time.Since(since)/5000, interval).Round(time.Second) // Prometheus gives 11,000 points at most
	result := s.prom.Range(t, expr, since, time.Now(), step)
	if len(result) == 0 {
		return fmt.Errorf("no data in any scenario")
	}
	for _, label := range q.Labels {
		found := false
		for _, series := range result {
			_, has := series.Metric[model.LabelName(label)]
			found = found || has
		}
		if !found {
			return fmt.Errorf("no series has the label %s, which it names", label)
		}
	}
	return nil
}

// processStream adds an entry to the shop's stream again and again, and processes one: some always wait, and none for long.
func processStream(t *testing.T, sh *shop.Shop) {
	over := make(chan struct{})
	var processing sync.WaitGroup
	processing.Go(func() {
		pending := ""
		for {
			select {
			case <-over:
				return
			case <-time.After(100 * time.Millisecond):
			}
			sh.Queue.XAdd(t.Context(), streamed("session:0"))
			read, err := sh.Queue.XReadGroup(t.Context(), &redis.XReadGroupArgs{
				Group: "processors", Consumer: "one", Streams: []string{"inv:stream", ">"}, Count: 1, Block: -1,
			}).Result()
			if err != nil || len(read) == 0 || len(read[0].Messages) == 0 {
				continue // there is one next time
			}
			if pending != "" {
				sh.Queue.XAck(t.Context(), "inv:stream", "processors", pending)
			}
			pending = read[0].Messages[0].ID
		}
	})
	t.Cleanup(func() {
		close(over)
		processing.Wait()
	})
}

// everything is a healthy estate with all kinds of backends and signals that dashboards show, beside those of the scenarios.
func everything(t *testing.T, s *station) estate {
	sh := trading(t, shop.Options{Kafka: true, Broker: s.broker, Topic: "everything", Local: true, Origin: true})
	primary, replica := servers.Redis(t), servers.Redis(t)
	replica.Follow(t, primary)
	sh.Queue.Must(t, "xgroup", "create", "inv:stream", "processors", "0", "mkstream")
	for i := range 20 {
		key, value := fmt.Sprintf("session:%d", i), fmt.Sprintf(`{"at":%d}`, time.Now().UnixMilli())
		primary.Set(t.Context(), key, value, time.Hour)
		sh.Queue.XAdd(t.Context(), streamed(key))
	}
	processStream(t, sh)
	instance := sh.Queue.Subscribe(t.Context(), "bus")
	if _, err := instance.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = instance.Close() }) // the server may be gone
	edge := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Cache", "HIT")
		w.Header().Set("Cache-Control", "max-age=60")
		_, _ = w.Write([]byte(`{"page":1}`)) // who asked may be gone
	}))
	t.Cleanup(edge.Close)
	config := sh.Config(`  - class: session
    layers: [pairs]
    keys: ["session:0", "session:1"]
    pattern: "session:*"
    version: {json: $.at, kind: timestamp_ms}
  - class: page
    layers: [edge]
    keys: ["start"]
  - class: changed_profile
    layers: [l2, l3]
    match: "^user:"
    version: {json: $.version}
    events: {queue: topic, within: 10s}
invalidation_probes:
  - {name: end_to_end, interval: 1s, timeout: 3s, layers: [l2, l3], key: "cacheinv:probe:{id}", publish: {redis: {node: queue, list: invalidation_queue}, message: '{"key":"{key}","version":{version},"ts":{timestamp_ms}}'}}`)
	config = strings.Replace(config, "layers:\n", fmt.Sprintf(`layers:
  - name: pairs
    ttl: 1h
    nodes:
      - {name: pair, redis: {replication: [%q]}, min_nodes: 2}
  - name: edge
    ttl: 300s
    nodes:
      - {name: pop-1, http: {url: "%[2]s/1/{key}", ttl_from_headers: true}}
      - {name: pop-2, http: {url: "%[2]s/2/{key}", ttl_from_headers: true}}
`, primary.Addr, edge.URL), 1)
	config = strings.Replace(config, "queues:\n  - name: list", `queues:
  - {name: stream, redis: {node: queue, stream: "inv:stream", groups: [processors]}, capacity: 20000}
  - {name: bus, redis: {node: queue, channel: bus}, subscribers: 1}
  - name: list`, 1)
	return estate{config: config, fault: func(*servers.Process) {}}
}
