package acceptance

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// The keys of a real pool, written by the client that its hashing is of: each has one copy. What a client with another list
// of servers wrote are strays.
func TestPoolStrays(t *testing.T) {
	var started []string
	for range 3 {
		started = append(started, servers.Memcached(t).Addr)
	}
	client := servers.MemcachedClient(t, started...)
	var keys []string
	for i := range 60 {
		keys = append(keys, fmt.Sprintf("user:%d:profile", i))
		if err := client.Set(&memcache.Item{Key: keys[i], Value: []byte(`{"version":1}`), Expiration: 3600}); err != nil {
			t.Fatal(err)
		}
	}
	e := start(t, fmt.Sprintf(`
layers:
  - {name: l3, ttl: 24h, nodes: [{name: pool, memcached: {servers: [%s], hashing: gomemcache}}]}
canaries:
  - {class: user, layers: [l3], keys: [%s]}
`, strings.Join(quoted(started), ", "), strings.Join(keys, ", ")))
	p := e.scrape(5 * time.Second)
	if present, missing := p.sum("canary_copies", "state", "unverified"), p.sum("canary_copies", "state", "missing"); present != 60 || missing != 0 {
		t.Errorf("%v copies, %v missing in\n%s", present, missing, p.ours())
	}
	if n := p.sum("canary_stray_copies"); n != 0 || p.number("canary_stray_copies") != 3 {
		t.Errorf("%v strays in\n%s", n, p.ours())
	}
	// A client that knows the first two servers alone.
	wrong := servers.MemcachedClient(t, started[:2]...)
	strays := 0.0
	for _, k := range keys {
		if err := wrong.Set(&memcache.Item{Key: k, Value: []byte(`{"version":2}`), Expiration: 3600}); err != nil {
			t.Fatal(err)
		}
	}
	for _, k := range keys { // on servers that are not the key's own
		for _, s := range started {
			one := servers.MemcachedClient(t, s)
			if _, err := one.Get(k); err == nil {
				strays++
			}
			_ = one.Close()
		}
	}
	strays -= 60
	p = e.scrape(5 * time.Second)
	if got := p.sum("canary_stray_copies"); got != strays || strays < 10 {
		t.Errorf("%v strays, want %v", got, strays)
	}
	if stale := p.sum("canary_copies", "state", "stale") + p.sum("canary_copies", "state", "undecided"); stale != 0 {
		t.Errorf("strays are compared: %v", stale)
	}
}

func quoted(words []string) []string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = fmt.Sprintf("%q", w)
	}
	return out
}

// Canaries on a real Cluster: each key is read from its shard's primary and replica, none is an error,
// and the Cluster agrees with itself.
func TestClusterCanaries(t *testing.T) {
	c := servers.RedisCluster(t, 3, 1)
	keys := fillCluster(t, c)
	e := start(t, splitConfig(c, keys))
	for range 3 {
		p := e.scrape(5 * time.Second)
		if n := p.sum("canary_copies"); n != float64(2*len(keys)) {
			t.Errorf("%v copies of %d keys in\n%s", n, len(keys), p.ours())
		}
		for _, state := range []string{"error", "missing", "stale", "undecided"} {
			if n := p.sum("canary_copies", "state", state); n != 0 {
				t.Errorf("%v copies are %s in\n%s", n, state, p.ours())
			}
		}
		if p.number("node_up") != 6 || p.sum("node_up") != 6 || p.sum("group_nodes") != 6 {
			t.Errorf("nodes:\n%s", p.ours())
		}
		p.want(1, "cluster_ok")
		p.want(1, "cluster_views")
		p.want(0, "cluster_contested_slots")
		p.want(1, "layer_masters")
	}
}

// Invalidation probes reach every shard of a Cluster, primary and replica, and every server of a pool.
func TestProbesReachGroups(t *testing.T) {
	c := servers.RedisCluster(t, 3, 1)
	queue := servers.Redis(t)
	var started []string
	for range 2 {
		started = append(started, servers.Memcached(t).Addr)
	}
	pool := servers.MemcachedClient(t, started...)
	e := start(t, fmt.Sprintf(`
layers:
  - {name: l2, ttl: 1h, nodes: [{name: cluster, redis: {cluster: [%q]}}]}
  - {name: l3, ttl: 1h, nodes: [{name: pool, memcached: {servers: [%s], hashing: gomemcache}}]}
  - {name: queues, ttl: none, nodes: [{name: queue, redis: {address: %q}}]}
invalidation_probes:
  - name: end_to_end
    interval: 200ms
    timeout: 10s
    layers: [l2, l3]
    key: "cacheinv:probe:{id}"
    publish: {redis: {node: queue, list: inv}, message: '{"key":"{key}","version":{version},"ts":{timestamp_ms}}'}
`, c.Shards[0][0].Announced, strings.Join(quoted(started), ", "), queue.Addr))
	p := &processor{}
	p.run(t, func(ctx context.Context) string {
		message := fromList(queue.Client, "inv")(ctx)
		var m struct{ Key string }
		if json.Unmarshal([]byte(message), &m) == nil && m.Key != "" {
			c.Client.Del(ctx, m.Key)
			_ = pool.Delete(m.Key) // the key may be the Cluster's
		}
		return message
	})
	servers.Eventually(t, "every node was probed", func() bool {
		page := e.scrape(5 * time.Second)
		nodes := 0
		page.each("invalidation_probes_total", func(labels map[string]string, v float64) {
			if count, _ := page.duration(labels["node"]); v > 0 && count > 2 {
				nodes++
			}
		})
		return nodes == 8
	})
	page := e.scrape(5 * time.Second)
	if n := page.sum("invalidation_probe_failures_total"); n != 0 {
		t.Errorf("%v failures in\n%s", n, page.ours())
	}
	e.Close()
	for _, n := range c.Nodes() {
		if left := n.Keys(t.Context(), "*").Val(); len(left) > 0 {
			t.Errorf("%s holds %v", n.Addr, left)
		}
	}
}
