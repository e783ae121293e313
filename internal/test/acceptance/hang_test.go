package acceptance

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// inTime scrapes with a timeout of 2 s, which the answer must keep.
func (e *exporter) inTime() page {
	e.t.Helper()
	began := time.Now()
	p := e.scrape(2 * time.Second)
	if took := time.Since(began); took >= 2*time.Second {
		e.t.Errorf("the answer took %v", took)
	}
	return p
}

// sixNodes is configuration: five nodes as given and a sixth, with one class over them.
func sixNodes(nodes []string) string {
	return "layers:\n  - name: l2\n    ttl: 1h\n    nodes:\n" + strings.Join(nodes, "") +
		"canaries:\n  - {class: user, keys: [\"user:1\", \"user:2\"], layers: [l2]}\n"
}

// TestAHungNodeCostsOnlyItself: one of six nodes hangs, another is stale at the same time.
func TestAHungNodeCostsOnlyItself(t *testing.T) {
	for _, kind := range []string{"redis", "memcached", "http", "frozen redis"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			var nodes []string
			for i := range 5 {
				value := "right"
				if i == 4 {
					value = "wrong"
				}
				nodes = append(nodes, startNode(t, fmt.Sprintf("node-%d", i+1), kind, value))
			}
			sixth := servers.Hung(t)
			switch kind {
			case "memcached":
				nodes = append(nodes, fmt.Sprintf("      - {name: node-6, memcached: {address: \"%s\"}}\n", sixth))
			case "http":
				nodes = append(nodes, fmt.Sprintf("      - {name: node-6, http: {url: \"http://%s/{key}\"}}\n", sixth))
			case "frozen redis":
				r := servers.Redis(t)
				r.Freeze(t)
				nodes = append(nodes, fmt.Sprintf("      - {name: node-6, redis: {address: \"%s\"}}\n", r.Addr))
			default:
				nodes = append(nodes, fmt.Sprintf("      - {name: node-6, redis: {address: \"%s\"}}\n", sixth))
			}
			e := start(t, sixNodes(nodes))
			for range 3 {
				p := e.inTime()
				p.want(0, "node_up", "node", "node-6")
				p.want(2, "canary_copies", "node", "node-6", "state", "error")
				p.want(0, "collector_success", "collector", "canary")
				for i := range 5 {
					name := fmt.Sprintf("node-%d", i+1)
					p.want(1, "node_up", "node", name)
					state := "fresh"
					if i == 4 {
						state = "stale"
					}
					p.want(2, "canary_copies", "node", name, "state", state)
				}
			}
		})
	}
}

// startNode of a kind, with both keys at value, and gives its line of configuration.
func startNode(t *testing.T, name, kind, value string) string {
	t.Helper()
	switch kind {
	case "memcached":
		m := servers.Memcached(t)
		setMemcached(t, m.Addr, map[string]string{"user:1": value, "user:2": value})
		return fmt.Sprintf("      - {name: %s, memcached: {address: \"%s\"}}\n", name, m.Addr)
	case "http":
		w := startWeb(t, 0)
		w.setBody(value)
		return fmt.Sprintf("      - {name: %s, http: {url: \"%s/{key}\"}}\n", name, w.URL)
	}
	r := servers.Redis(t)
	r.Must(t, "mset", "user:1", value, "user:2", value)
	return fmt.Sprintf("      - {name: %s, redis: {address: \"%s\"}}\n", name, r.Addr)
}

// TestAFrozenBrokerCostsOnlyItsQueue: Kafka hangs, and the cache nodes' data arrives.
func TestAFrozenBrokerCostsOnlyItsQueue(t *testing.T) {
	k := servers.Kafka(t)
	k.Tool(t, servers.KafkaTopics, "--create", "--topic", "inv", "--partitions", "2")
	r := servers.Redis(t)
	r.Must(t, "set", "user:1", "v")
	e := start(t, fmt.Sprintf(`
layers:
  - {name: l2, ttl: 1h, nodes: [{name: redis-1, redis: {address: "%s"}}]}
queues:
  - {name: inv, kafka: {brokers: ["%s"], topics: [inv], groups: [processors]}}
canaries:
  - {class: user, keys: ["user:1"], layers: [l2]}
`, r.Addr, k.Addr))
	servers.Eventually(t, "the queue is up", func() bool { return e.scrape(10*time.Second).sum("queue_up") == 1 })
	k.Freeze(t)
	for range 3 {
		p := e.inTime()
		p.want(0, "queue_up", "queue", "inv")
		p.want(1, "queue_brokers", "queue", "inv", "state", "down")
		p.want(1, "node_up", "node", "redis-1")
		p.want(1, "canary_copies", "state", "unverified")
	}
	k.Thaw(t)
	servers.Eventually(t, "the queue is up again", func() bool { return e.scrape(10*time.Second).sum("queue_up") == 1 })
}

// TestFailingBackendsLeakNothing: goleak looks at the end of the package, connections are counted here.
func TestFailingBackendsLeakNothing(t *testing.T) {
	servers.NoLeaks(t)
	silent, refused := servers.Hung(t), servers.FreeAddr(t)
	healthy := servers.Redis(t)
	var nodes, groups strings.Builder
	for i, address := range []string{silent, refused} {
		fmt.Fprintf(&nodes, "      - {name: redis-%d, redis: {address: \"%s\"}}\n", i, address)
		fmt.Fprintf(&nodes, "      - {name: memcached-%d, memcached: {address: \"%s\"}}\n", i, address)
		fmt.Fprintf(&nodes, "      - {name: http-%d, http: {url: \"http://%s/{key}\"}}\n", i, address)
		fmt.Fprintf(&groups, "      - {name: group-%d, redis: {replication: [\"%s\"]}}\n", i, address)
	}
	e := start(t, fmt.Sprintf(`
layers:
  - name: l2
    ttl: 1h
    nodes:
%s      - {name: good, redis: {address: "%s"}}
  - name: l3
    ttl: 1h
    nodes:
%squeues:
  - {name: list, redis: {node: redis-0, list: q}}
  - {name: kafka, kafka: {brokers: ["%s"], topics: [inv], groups: [processors]}}
  - {name: http, http: {url: "http://%s/queue", depth: "$.depth"}}
canaries:
  - {class: user, keys: ["user:1"], layers: [l2, l3], origin: {http: {url: "http://%s/{key}"}}}
versions:
  - {app: web, nodes: {app-1: "http://%s/version", app-2: "http://%s/version"}}
`, &nodes, healthy.Addr, &groups, silent, silent, silent, silent, refused))
	for range counts(1000) {
		e.scrape(400 * time.Millisecond)
	}
	e.inTime().want(1, "node_up", "node", "good")
	if n := established(t, silent); n > 40 {
		t.Errorf("%d connections to one server that never answers", n)
	}
}
