package acceptance

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// clusterConfig is a layer with a Cluster, and a list on it.
func clusterConfig(seeds ...string) string {
	return fmt.Sprintf(`layers:
  - name: l2
    ttl: 1h
    nodes:
      - {name: c, redis: {cluster: ["%s"]}}
queues:
  - {name: inv, redis: {node: c, list: invalidation_queue}}
`, strings.Join(seeds, `", "`))
}

// A Cluster that is cut in two shows it, and so does one that is whole again.
func TestClusterSplit(t *testing.T) {
	t.Parallel()
	c := servers.ProxiedRedisCluster(t, 3, 1)
	if err := c.Client.RPush(t.Context(), "invalidation_queue", "a", "b").Err(); err != nil {
		t.Fatal(err)
	}
	e := start(t, clusterConfig(c.Addrs()[0]))
	p := e.scrape(10 * time.Second)
	group := []string{"layer", "l2", "group", "c"}
	well := func(p page) bool {
		return p.sum("cluster_ok", group...) == 1 && p.sum("cluster_views", group...) == 1 &&
			p.sum("layer_masters", group...) == 1 && p.sum("cluster_contested_slots", group...) == 0
	}
	p.want(6, "group_nodes", group...)
	if !well(p) || p.sum("node_up") != 6 || p.number("replication_link_up") != 3 || p.sum("replication_link_up") != 3 {
		t.Fatalf("a Cluster in order:\n%s", p.ours())
	}
	p.want(2, "queue_depth", "queue", "inv")
	p.want(1, "collector_success", "collector", "replication")
	c.Cut(t, c.Shards[0][0])
	servers.Eventually(t, "split brain shows", func() bool {
		p = e.scrape(10 * time.Second)
		return p.sum("cluster_ok", group...) == 0 && p.sum("cluster_views", group...) == 2 &&
			p.sum("layer_masters", group...) == 2 && p.sum("cluster_contested_slots", group...) == servers.ClusterSlots/3
	})
	c.Heal(t, c.Shards[0][0])
	servers.Eventually(t, "one Cluster again", func() bool { return well(e.scrape(10 * time.Second)) })
	for _, n := range c.Nodes() {
		n.Freeze(t)
	}
	p = e.scrape(time.Second)
	p.want(0, "cluster_ok", group...)
	p.want(6, "group_nodes", group...)
	if n := p.number("cluster_views"); n != 0 || p.number("node_up") != 6 || p.sum("node_up") != 0 {
		t.Errorf("nothing answers:\n%s", p.ours())
	}
	for _, n := range c.Nodes() {
		n.Thaw(t)
	}
}

// A frozen replica is online for its primary, and its lag tells.
func TestFrozenReplica(t *testing.T) {
	primary, replica := servers.Redis(t), servers.Redis(t)
	replica.Follow(t, primary)
	e := start(t, fmt.Sprintf("layers: [{name: l2, ttl: 1h, nodes: [{name: pair, redis: {replication: [\"%s\"]}}]}]", primary.Addr))
	node := []string{"node", "pair/" + replica.Addr}
	var p page
	servers.Eventually(t, "no lag", func() bool {
		p = e.scrape(10 * time.Second)
		return p.one("replication_lag_bytes", node...) == 0 && p.one("replication_lag_seconds", node...) == 0
	})
	p.want(1, "replication_link_up", node...)
	p.want(1, "layer_masters", "group", "pair")
	replica.Freeze(t)
	primary.Must(t, "set", "key", strings.Repeat("x", 10_000))
	p = e.scrape(time.Second)
	p.want(0, "node_up", node...)
	p.want(0, "replication_link_up", node...)
	if !strings.Contains(primary.Info(t.Context(), "replication").Val(), "state=online") {
		t.Error("the primary has noticed")
	}
	first, seconds := p.one("replication_lag_bytes", node...), p.one("replication_lag_seconds", node...)
	if first < 10_000 {
		t.Errorf("%v bytes behind", first)
	}
	primary.Must(t, "set", "key", strings.Repeat("x", 10_000))
	p = e.scrape(time.Second)
	if second, now := p.one("replication_lag_bytes", node...), p.one("replication_lag_seconds", node...); second < first+10_000 || now <= seconds {
		t.Errorf("%v bytes and %v s, then %v bytes and %v s", first, seconds, second, now)
	}
	replica.Thaw(t)
	servers.Eventually(t, "the replica has caught up", func() bool {
		p = e.scrape(10 * time.Second)
		return p.one("replication_lag_bytes", node...) == 0 && p.one("replication_lag_seconds", node...) == 0
	})
	replica.Must(t, "replicaof", "no", "one")
	e.scrape(10*time.Second).want(2, "layer_masters", "group", "pair")
}

func TestSentinelFailover(t *testing.T) {
	primary, replica := servers.Redis(t), servers.Redis(t)
	replica.Follow(t, primary)
	s := servers.Sentinels(t, 3, "mymaster", primary)
	e := start(t, fmt.Sprintf(`layers:
  - name: l2
    ttl: 1h
    nodes:
      - {name: main, redis: {sentinel: {master: mymaster, addresses: ["%s", "%s", "%s", "%s"]}}}
`, servers.Hung(t), s[0].Addr, s[1].Addr, s[2].Addr))
	p := e.scrape(10 * time.Second)
	p.want(2, "group_nodes", "group", "main")
	p.want(1, "node_info", "node", "main/"+primary.Addr, "role", "primary")
	p.want(1, "replication_link_up", "node", "main/"+replica.Addr)
	primary.Stop()
	servers.Eventually(t, "the failover shows", func() bool {
		p = e.scrape(10 * time.Second)
		return p.number("node_info", "node", "main/"+replica.Addr, "role", "primary") == 1
	})
	p.want(0, "node_up", "node", "main/"+primary.Addr)
	p.want(1, "layer_masters", "group", "main")
}
