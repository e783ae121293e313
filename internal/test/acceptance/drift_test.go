package acceptance

import (
	"fmt"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// TestConfigDrift: three real Redis servers and two memcached; what differs shows in the next scrape.
func TestConfigDrift(t *testing.T) {
	var started []*servers.RedisServer
	var addresses []string
	for range 3 {
		r := servers.Redis(t, "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
		started, addresses = append(started, r), append(addresses, r.Addr)
	}
	m1, m2 := servers.Memcached(t), servers.Memcached(t, "-m", "128")
	e := start(t, "layers:\n  - name: l2\n    ttl: 1h\n    nodes:\n"+redisNodes(addresses...)+
		fmt.Sprintf("  - name: l3\n    ttl: 1h\n    nodes:\n      - {name: mc-1, memcached: {address: %q}}\n      - {name: mc-2, memcached: {address: %q}}\n", m1.Addr, m2.Addr))
	differ := func(p page, layer string, policies, limits, versions float64) {
		t.Helper()
		p.want(policies, "layer_distinct_configs", "layer", layer, "setting", "eviction_policy")
		p.want(limits, "layer_distinct_configs", "layer", layer, "setting", "memory_limit")
		p.want(versions, "layer_distinct_configs", "layer", layer, "setting", "server_version")
	}
	p := e.scrape(5 * time.Second)
	differ(p, "l2", 1, 1, 1)
	p.want(2, "layer_distinct_configs", "layer", "l3", "setting", "memory_limit")
	p.want(1, "layer_distinct_configs", "layer", "l3", "setting", "server_version")
	p.want(1, "collector_success", "collector", "config_drift")

	started[1].Must(t, "config", "set", "maxmemory-policy", "noeviction")
	differ(e.scrape(5*time.Second), "l2", 2, 1, 1)
	started[2].Must(t, "config", "set", "maxmemory-policy", "volatile-ttl")
	started[2].Must(t, "config", "set", "maxmemory", "0")
	differ(e.scrape(5*time.Second), "l2", 3, 2, 1)

	// Of a node that hangs nothing is known; the others are still compared.
	started[2].Freeze(t)
	p = e.inTime()
	differ(p, "l2", 2, 1, 1)
	p.want(0, "collector_success", "collector", "config_drift")
	started[2].Thaw(t)
	started[1].Must(t, "config", "set", "maxmemory-policy", "allkeys-lru")
	started[2].Must(t, "config", "set", "maxmemory-policy", "allkeys-lru")
	started[2].Must(t, "config", "set", "maxmemory", "100mb")
	servers.Eventually(t, "all are alike again", func() bool {
		p := e.scrape(5 * time.Second)
		return p.sum("layer_distinct_configs", "layer", "l2") == 3 && p.sum("collector_success", "collector", "config_drift") == 1
	})
}
