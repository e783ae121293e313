package hostile

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// silent is a server that accepts connections and says nothing: how many there were, and how many there are.
type silent struct{ came, open atomic.Int64 }

// silents has a server for each kind that can be asked, in a configuration.
func silents(t testing.TB) (Config, []*silent) {
	t.Helper()
	var all []*silent
	hung := func() string {
		s := &silent{}
		all = append(all, s)
		return servers.Listen(t, func(conn net.Conn) {
			s.came.Add(1)
			s.open.Add(1)
			defer s.open.Add(-1)
			_, _ = io.Copy(io.Discard, conn)
			_ = conn.Close()
		})
	}
	redis := hung()
	return Config{
		Layers: []string{
			fmt.Sprintf("  - name: hung\n    ttl: 1h\n    nodes:\n      - {name: hung-redis, redis: {address: %q}}\n", redis) +
				fmt.Sprintf("      - {name: hung-memcached, memcached: {address: %q}}\n      - {name: hung-http, http: {url: \"http://%s/{key}\"}}\n", hung(), hung()) +
				"      - {name: hung-name, redis: {dns: \"silent.test:1\"}}\n",
			fmt.Sprintf("  - {name: hung-sentinel, ttl: 1h, nodes: [{name: hung-sentinel, redis: {sentinel: {master: m, addresses: [%q]}}}]}\n", hung()) +
				fmt.Sprintf("  - {name: hung-replicas, ttl: 1h, nodes: [{name: hung-replicas, redis: {replication: [%q]}}]}\n", hung()) +
				fmt.Sprintf("  - {name: hung-cluster, ttl: 1h, nodes: [{name: hung-cluster, redis: {cluster: [%q]}}]}\n", hung()),
		},
		Queues: []string{
			"  - {name: hung-list, redis: {node: hung-redis, list: q}}\n", kafkaQueue("hung-kafka", hung()).Queues[0],
			fmt.Sprintf("  - {name: hung-http, http: {url: \"http://%s/\", depth: $.depth}}\n", hung()),
		},
		Classes: []string{
			"  - {class: hung, layers: [hung, hung-sentinel, hung-replicas, hung-cluster], keys: [a, b]}\n",
			fmt.Sprintf("  - {class: hung-origin, layers: [honest], keys: [\"honest:0\"], origin: {http: {url: \"http://%s/{key}\"}}}\n", hung()),
		},
		More: fmt.Sprintf("history:\n  - {name: hung-history, http: {url: \"http://%s/\", succeeded: $.s, failed: $.f}}\n", hung()) +
			fmt.Sprintf("  - {name: hung-table, dynamodb: {table: t, region: us-east-1, endpoint: \"http://%s\", partition_key: {name: p, value: x}, "+
				"time_attribute: t, time_format: epoch_ms, status_attribute: s, failed_values: [F]}}\n", hung()) +
			fmt.Sprintf("versions:\n  - {app: hung, nodes: {hung: \"http://%s/\"}}\n", hung()),
	}, all
}

// A configuration that comes while a scrape hangs waits for it, and neither keeps the other; another scrape beside them gets its answer.
// In the end nothing is left of what hung.
func TestReloadWhileAScrapeHangs(t *testing.T) {
	w := watch(Start(t, build(t), 2, nil, "--web.enable-lifecycle"))
	w.timeout = pick(10*time.Second, 4*time.Second)
	for range 20 {
		w.look(t)
	}
	calm := vitalsOf(t, w.last)
	hung, all := silents(t)
	// What answers keeps its connection until somebody ends that.
	answers := servers.Redis(t)
	hung.Layers = append(hung.Layers, fmt.Sprintf("  - {name: answers, ttl: 1h, nodes: [{name: answers, redis: {address: %q}}]}\n", answers.Addr))
	hung.Classes = append(hung.Classes, "  - {class: answers, layers: [answers], keys: [a]}\n")
	connections := func() int {
		list, err := answers.ClientList(t.Context()).Result()
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(list, "\n")
	}
	ours := connections()
	each := func(is func(s *silent) bool) func() bool {
		return func() bool { return !slices.ContainsFunc(all, func(s *silent) bool { return !is(s) }) }
	}
	for how, reload := range map[string]func(){
		"SIGHUP": func() { w.reload(t) },
		"POST": func() {
			w.configure(t)
			w.post(t)
		},
	} {
		for range pick(20, 2) {
			w.configure(t, hung)
			w.post(t)
			for _, s := range all {
				s.came.Store(0)
			}
			var scrapes sync.WaitGroup
			scrape := func() {
				if status, body := w.ask(t); status != http.StatusOK {
					t.Errorf("status %d: %s", status, body)
				}
			}
			scrapes.Go(scrape)
			servers.Eventually(t, how+": each is asked", func() bool {
				return each(func(s *silent) bool { return s.came.Load() > 0 })() && connections() > ours
			})
			scrapes.Go(scrape)
			reload()
			scrapes.Wait()
			w.look(t)
			servers.Eventually(t, how+": no connection is left to those that hung", each(func(s *silent) bool { return s.open.Load() == 0 }))
			servers.Eventually(t, how+": nor to one that answered", func() bool { return connections() == ours })
		}
		w.rests(t, calm)
	}
}

// post has the victim take the configuration that is in its file.
func (v *Victim) post(t testing.TB) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+v.Addr+"/-/reload", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := v.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	said, err := io.ReadAll(answer.Body)
	_ = answer.Body.Close()
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("status %d: %s, %v", answer.StatusCode, said, err)
	}
}
