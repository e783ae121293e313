package acceptance

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/internal/test/shop"
)

// A real Cluster is cut in two: the smaller side says so itself.
func TestScenarioClusterSplit(t *testing.T) {
	t.Parallel()
	c := servers.ProxiedRedisCluster(t, 3, 1)
	keys := fillCluster(t, c)
	e := start(t, splitConfig(c, keys))
	e.quiet(3)
	c.Cut(t, c.Shards[0][0])
	servers.Eventually(t, "the smaller side knows", func() bool {
		return strings.Contains(c.Shards[0][0].Do(t.Context(), "cluster", "info").String(), "cluster_state:fail")
	})
	p := e.found("network")
	if p.one("cluster_ok") != 0 && p.one("cluster_views") < 2 {
		t.Errorf("no split is told in\n%s", p.ours())
	}
}

func fillCluster(t *testing.T, c *servers.Cluster) []string {
	t.Helper()
	var keys []string
	for i := range 30 {
		keys = append(keys, fmt.Sprintf("user:%d:profile", i))
		if err := c.Client.Set(t.Context(), keys[i], fmt.Sprintf(`{"version":%d}`, i+1), time.Hour).Err(); err != nil {
			t.Fatal(err)
		}
	}
	return keys
}

func splitConfig(c *servers.Cluster, keys []string) string {
	return fmt.Sprintf(`
layers:
  - name: l2
    ttl: 1h
    nodes:
      - {name: cluster-1, redis: {cluster: [%q, %q]}}
canaries:
  - class: user_profile
    layers: [l2]
    version: {json: $.version}
    keys: [%s]
`, c.Shards[1][0].Announced, c.Shards[2][0].Announced, strings.Join(keys, ", "))
}

// A replica's network to its primary is cut, while the exporter reaches both: nothing says so but the offsets.
func TestScenarioReplicaCutOff(t *testing.T) {
	primary, replica := servers.Redis(t), servers.Redis(t)
	door := servers.NewProxy(t, primary.Addr)
	replica.Must(t, "replicaof", "127.0.0.1", servers.Port(t, door.Addr))
	servers.Eventually(t, "the link is up", func() bool {
		return strings.Contains(replica.Info(t.Context(), "replication").Val(), "master_link_status:up")
	})
	var keys []string
	for i := range 20 {
		keys = append(keys, shop.Key(i))
		primary.Set(t.Context(), keys[i], "old", time.Hour)
	}
	servers.Eventually(t, "the replica has the keys", func() bool { return replica.DBSize(t.Context()).Val() == 20 })
	e := start(t, fmt.Sprintf(`
layers:
  - name: l2
    ttl: 1h
    nodes:
%scanaries:
  - class: user_profile
    layers: [l2]
    keys: [%s]
`, redisNodes(primary.Addr, replica.Addr), strings.Join(keys, ", ")))
	e.quiet(3)
	door.Mute(true)
	for _, k := range keys {
		primary.Set(t.Context(), k, "new", time.Hour)
	}
	p := e.found("network")
	if p.one("replication_lag_bytes", "node", "redis-2") == 0 || p.one("replication_lag_seconds", "node", "redis-2") == 0 {
		t.Errorf("no lag in\n%s", p.ours())
	}
	p.want(20, "canary_copies", "node", "redis-2", "state", "stale")
}
