package acceptance

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/test/hostile"
	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// TestNobodyStarves: nodes, an origin and queues begin large values and never end them, more at once than all values may hold.
// Whoever gives its values whole is read at each scrape, small values and large ones.
func TestNobodyStarves(t *testing.T) {
	t.Parallel()
	values := map[string]string{
		"small": `{"version":1}`, "medium": `{"version":1,"pad":"` + strings.Repeat("m", 100_000) + `"}`,
		"large": `{"version":1,"pad":"` + strings.Repeat("l", 900_000) + `"}`,
	}
	r, other, m := servers.Redis(t), servers.Redis(t), servers.Memcached(t)
	setMemcached(t, m.Addr, values)
	for key, value := range values {
		r.Must(t, "set", key, value, "ex", 3600)
		other.Must(t, "set", key, value, "ex", 3600)
	}
	r.Must(t, "hset", "hash", "version", 1, "pad", strings.Repeat("h", 200_000))
	other.Must(t, "hset", "hash", "version", 1, "pad", strings.Repeat("h", 200_000))
	now := time.Now().UnixMilli()
	for range 3 {
		r.Must(t, "rpush", "q", fmt.Sprintf(`{"key":"a","ts":%d,"pad":"%s"}`, now, strings.Repeat("q", 50_000)))
	}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, values[strings.TrimPrefix(r.URL.Path, "/")])
	}))
	t.Cleanup(web.Close)
	honest := fmt.Sprintf(`      - {name: redis-1, redis: {address: "%s"}}
      - {name: redis-2, redis: {address: "%s"}}
      - {name: mc-1, memcached: {address: "%s"}}
      - {name: web-1, http: {url: "%s/{key}"}}
`, r.Addr, other.Addr, m.Addr, web.URL)
	var hostileNodes strings.Builder
	for i := range 8 {
		head := hostile.KnownLength
		if i%2 == 1 {
			head = hostile.UnknownLength
		}
		fmt.Fprintf(&hostileNodes, "      - {name: http-%d, http: {url: \"%s/{key}\"}}\n", i, hostile.StallingHTTP(t, head, i%4 > 1))
	}
	for i := range 4 {
		fmt.Fprintf(&hostileNodes, "      - {name: redis-stalls-%d, redis: {address: \"%s\"}}\n", i, hostile.StallingRedis(t))
		fmt.Fprintf(&hostileNodes, "      - {name: mc-stalls-%d, memcached: {address: \"%s\"}}\n", i, hostile.StallingMemcached(t))
	}
	var more []string
	for i := range 16 {
		more = append(more, fmt.Sprintf(`"other:%d"`, i))
	}
	opt := options()
	e := startWith(t, opt, fmt.Sprintf(`
layers:
  - name: l2
    ttl: 1h
    nodes:
%s%s  - name: hashes
    ttl: none
    nodes: [{name: hash-1, redis: {address: "%s"}}, {name: hash-2, redis: {address: "%s"}}, {name: hash-stalls, redis: {address: "%s"}}]
queues:
  - {name: good, redis: {node: redis-1, list: q}, message: {key: $.key, timestamp_ms: $.ts}}
  - {name: bad, redis: {node: redis-stalls-1, list: q}}
canaries:
  - {class: user, layers: [l2], version: {json: $.version}, keys: [small, medium, large, %s], origin: {http: {url: "%s/{key}"}}}
  - {class: hash, layers: [hashes], type: hash, version: {field: version}, keys: [hash]}
`, honest, &hostileNodes, r.Addr, other.Addr, hostile.StallingRedis(t), strings.Join(more, ", "), hostile.StallingHTTP(t, hostile.UnknownLength, false)))
	for range 3 {
		p := e.scrape(6 * time.Second)
		for _, node := range []string{"redis-1", "redis-2", "mc-1", "web-1"} {
			p.want(1, "node_up", "node", node)
			p.want(3, "canary_copies", "class", "user", "node", node, "state", "fresh")
			p.want(0, "canary_copies", "class", "user", "node", node, "state", "error")
		}
		for _, node := range []string{"hash-1", "hash-2"} {
			p.want(1, "canary_copies", "class", "hash", "node", node, "state", "fresh")
		}
		p.want(1, "queue_up", "queue", "good")
		p.want(3, "queue_sampled_messages", "queue", "good")
		p.want(19, "canary_copies", "class", "user", "node", "http-0", "state", "error")
	}
	if got := opt.Env.Budget.Held(); got > 0 { // of what hung in the scrape before
		t.Errorf("%d bytes are still held", got)
	}
}

// announcing is the answer to a scrape that announces its timeout in these words.
func (e *exporter) announcing(ctx context.Context, timeout string) page {
	e.t.Helper()
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/metrics", nil)
	r.Header.Set("X-Prometheus-Scrape-Timeout-Seconds", timeout)
	w := httptest.NewRecorder()
	e.ServeHTTP(w, r)
	return parse(e.t, w.Body.String())
}

// TestOneCallersTimeoutIsNobodyElses: a node needs two seconds, another one hangs. Whatever timeouts others announce, a scrape with
// 10 s has all that answers.
func TestOneCallersTimeoutIsNobodyElses(t *testing.T) {
	for name, timeouts := range map[string][]string{
		"short":   {"0.001", "1e-300", "0.5"},
		"odd":     {"NaN", "-1", "-Inf", "x", ""},
		"long":    {"120", "+Inf", "1e999"},
		"by turn": {"0.001", "3", "0.001"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, m := servers.Redis(t), servers.Memcached(t)
			r.Must(t, "set", "a", `{"version":1}`, "ex", 3600)
			setMemcached(t, m.Addr, map[string]string{"a": `{"version":1}`})
			slow := servers.NewProxy(t, r.Addr)
			slow.Delay(500 * time.Millisecond)
			opt := options()
			opt.MinInterval, opt.MinDeadline = time.Minute, 2*time.Second
			e := startWith(t, opt, fmt.Sprintf(`
layers:
  - name: l2
    ttl: 1h
    nodes:
      - {name: redis-1, redis: {address: "%s"}}
      - {name: mc-1, memcached: {address: "%s"}}
      - {name: slow, redis: {address: "redis://%s/0"}}
      - {name: hung, http: {url: "http://%s/{key}"}}
canaries:
  - {class: user, layers: [l2], version: {json: $.version}, keys: [a]}
`, r.Addr, m.Addr, slow.Addr, servers.Hung(t)))
			whole := func(p page) {
				t.Helper()
				for _, node := range []string{"redis-1", "mc-1", "slow"} {
					p.want(1, "node_up", "node", node)
					p.want(1, "canary_copies", "node", node, "state", "fresh")
				}
				p.want(0, "node_up", "node", "hung")
			}
			if name == "long" {
				whole(e.announcing(t.Context(), "10"))
				opt.MinInterval = 0
			}
			for _, timeout := range timeouts {
				ctx, hangUp := context.WithTimeout(t.Context(), 100*time.Millisecond)
				e.announcing(ctx, timeout)
				hangUp()
			}
			whole(e.announcing(t.Context(), "10"))
			for _, timeout := range timeouts { // the answer is kept
				whole(e.announcing(t.Context(), timeout))
			}
			report := e.Report(t.Context(), 10*time.Second)
			if report == nil {
				t.Fatal("no report")
			}
			for _, n := range report.Evidence.Result.Nodes {
				if up := n.Name != "hung"; n.Up != up {
					t.Errorf("%s is reported up: %t", n.Name, n.Up)
				}
			}
		})
	}
}
