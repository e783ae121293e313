package drain_test

import (
	"fmt"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/cacheinv/cacheinv_exporter/internal/drain"
	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

func clusterYAML(c *servers.Cluster, queue string) string {
	return fmt.Sprintf(`
layers:
  - name: l2
    ttl: 1h
    nodes: [{name: cluster, redis: {cluster: [%q]}}]
queues: [%s]`, c.Shards[0][0].Addr, queue)
}

// In a Cluster each key is deleted by the primary that owns its slot, also while the slot moves, and the processing list is in
// the queue's own slot.
func TestCluster(t *testing.T) {
	servers.NoLeaks(t)
	c := servers.RedisCluster(t, 2, 1)
	all := keys(0, 500)
	for _, k := range all {
		if err := c.Client.Set(t.Context(), k, "old", 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range messagesOf(all) {
		if err := c.Client.RPush(t.Context(), "inv", m).Err(); err != nil {
			t.Fatal(err)
		}
	}
	c.Client.RPush(t.Context(), "inv", "no JSON")
	// A slot on its way: some of its keys have gone ahead.
	moving := all[7]
	slot, from := c.Slot(t, moving), c.Owner(t, moving)
	source, target := c.Shards[from][0], c.Shards[1-from][0]
	target.Must(t, "cluster", "setslot", slot, "importing", source.ID)
	source.Must(t, "cluster", "setslot", slot, "migrating", target.ID)
	source.Must(t, "migrate", "127.0.0.1", servers.Port(t, target.Addr), moving, 0, 5000)

	yaml := clusterYAML(c, `{name: inv, redis: {node: cluster, list: inv}, message: {key: "$.key"}}`)
	r := apply(t, yaml, drain.Options{})
	if q := r.Queues[0]; r.Incomplete || q.Applied != 500 || q.Dead != 1 || *q.Left != 0 || *q.DeadLettersIn != "{inv}:dead-letter" {
		t.Errorf("%+v", r)
	}
	for _, n := range c.Nodes() {
		servers.Eventually(t, n.Announced+" has no key left but the dead letters", func() bool {
			left := n.DBSize(t.Context()).Val()
			return left == 0 || left == 1 && c.Owner(t, "inv") == shardOf(c, n)
		})
	}
}

func shardOf(c *servers.Cluster, n *servers.ClusterNode) int {
	for i, shard := range c.Shards {
		for _, member := range shard {
			if member == n {
				return i
			}
		}
	}
	return -1
}

// With the owner of some slots gone, and no replica to take over, messages of its keys stay.
func TestClusterShardDown(t *testing.T) {
	c := servers.RedisCluster(t, 2, 0, "--cluster-require-full-coverage", "no")
	queueShard := c.Owner(t, "inv")
	all := keys(0, 200)
	for _, k := range all {
		c.Client.Set(t.Context(), k, "old", 0)
		c.Client.XAdd(t.Context(), &redis.XAddArgs{Stream: "inv", Values: []any{"key", k}})
	}
	if err := c.Client.XGroupCreate(t.Context(), "inv", "g", "0").Err(); err != nil {
		t.Fatal(err)
	}
	mine := int64(0) // keys of the shard that goes
	for _, k := range all {
		if c.Owner(t, k) != queueShard {
			mine++
		}
	}
	c.Shards[1-queueShard][0].Stop()
	yaml := clusterYAML(c, `{name: inv, redis: {node: cluster, stream: inv, groups: [g]}, message: {key: "$.key"}}`)
	if queueShard == 1 {
		yaml = clusterYAML(&servers.Cluster{Shards: [][]*servers.ClusterNode{c.Shards[1]}}, `{name: inv, redis: {node: cluster, stream: inv, groups: [g]}, message: {key: "$.key"}}`)
	}
	r := apply(t, yaml, drain.Options{})
	if q := r.Queues[0]; !r.Incomplete || q.Kept != mine || q.Applied != 200-mine || *q.Left != mine {
		t.Errorf("%d keys are of the shard that is down: %+v", mine, r)
	}
}
