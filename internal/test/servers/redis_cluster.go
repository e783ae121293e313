package servers

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// ClusterSlots is how many slots a Redis Cluster has.
const ClusterSlots = 16384

// Cluster is a Redis Cluster whose shards share the slots equally, in order.
type Cluster struct {
	// Shards as they were made: the primary, then its replicas.
	Shards [][]*ClusterNode
	// Client follows the slots, and asks primaries alone.
	Client *redis.ClusterClient
}

// ClusterNode is one server of a Cluster.
type ClusterNode struct {
	// The RedisServer's own Addr and Client are never behind a proxy.
	*RedisServer
	// Announced is the host:port that the Cluster tells of this node.
	Announced string
	// ID within the Cluster.
	ID string
	// Front passes on what reaches the announced port, and Bus what other nodes send; nil without proxies.
	Front, Bus *Proxy

	bus    string // host:port that the others are told
	source string // host from which the node itself connects
}

// RedisCluster starts a Cluster of shards with one primary and some replicas each, and waits until every node says that it
// is in order. A node that is gone for a second has failed.
func RedisCluster(t testing.TB, shards, replicas int, args ...string) *Cluster {
	t.Helper()
	return newCluster(t, false, shards, replicas, args)
}

// ProxiedRedisCluster is a RedisCluster whose nodes reach each other, and are reached, through proxies alone, so that it
// can be cut in two.
func ProxiedRedisCluster(t testing.TB, shards, replicas int, args ...string) *Cluster {
	t.Helper()
	return newCluster(t, true, shards, replicas, args)
}

func newCluster(t testing.TB, proxied bool, shards, replicas int, args []string) *Cluster {
	t.Helper()
	c := &Cluster{}
	for s := range shards {
		var shard []*ClusterNode
		for range 1 + replicas {
			shard = append(shard, newClusterNode(t, proxied, fmt.Sprintf("127.0.0.%d", 11+s*(1+replicas)+len(shard)), args))
		}
		c.Shards = append(c.Shards, shard)
	}
	c.Client = redis.NewClusterClient(&redis.ClusterOptions{Addrs: c.Addrs(), Protocol: 2, DisableIdentity: true})
	t.Cleanup(func() { _ = c.Client.Close() })
	nodes := c.Nodes()
	for i, n := range nodes {
		n.Must(t, "cluster", "set-config-epoch", i+1)
		for _, other := range nodes[:i] {
			host, port, _ := net.SplitHostPort(other.Announced)
			n.Must(t, "cluster", "meet", host, port, Port(t, other.bus))
		}
	}
	for s, shard := range c.Shards {
		shard[0].Must(t, "cluster", "addslotsrange", s*ClusterSlots/shards, (s+1)*ClusterSlots/shards-1)
	}
	for _, shard := range c.Shards {
		for _, replica := range shard[1:] {
			Eventually(t, "the replica knows its primary", func() bool {
				return replica.Do(t.Context(), "cluster", "replicate", shard[0].ID).Err() == nil
			})
		}
	}
	c.Settled(t)
	return c
}

func newClusterNode(t testing.TB, proxied bool, source string, args []string) *ClusterNode {
	t.Helper()
	addr, bus := FreeAddr(t), FreeAddr(t)
	n := &ClusterNode{Announced: addr, bus: bus, source: "127.0.0.1"}
	if proxied {
		n.source = source
		n.Front, n.Bus = NewProxy(t, addr), NewProxy(t, bus)
		n.Announced, n.bus = n.Front.Addr, n.Bus.Addr
	}
	n.RedisServer = RedisAt(t, addr, append([]string{
		"--cluster-enabled", "yes", "--cluster-port", Port(t, bus), "--cluster-node-timeout", "1000",
		"--cluster-announce-ip", "127.0.0.1", "--cluster-announce-port", Port(t, n.Announced),
		"--cluster-announce-bus-port", Port(t, n.bus), "--bind-source-addr", n.source, "--repl-timeout", "5",
	}, args...)...)
	id, err := n.Do(t.Context(), "cluster", "myid").Text()
	if err != nil {
		t.Fatal(err)
	}
	n.ID = id
	return n
}

// Nodes of all shards.
func (c *Cluster) Nodes() []*ClusterNode { return slices.Concat(c.Shards...) }

// Addrs are what the nodes announce.
func (c *Cluster) Addrs() []string {
	var out []string
	for _, n := range c.Nodes() {
		out = append(out, n.Announced)
	}
	return out
}

// Settled waits until every node that runs says that all is in order, and knows all others and who replicates whom.
func (c *Cluster) Settled(t testing.TB) {
	t.Helper()
	for _, n := range c.Nodes() {
		if n.ended() {
			continue
		}
		Eventually(t, "the Cluster is in order for "+n.Announced, func() bool {
			info := n.Do(t.Context(), "cluster", "info").String()
			return strings.Contains(info, "cluster_state:ok") &&
				strings.Contains(info, "cluster_known_nodes:"+strconv.Itoa(len(c.Nodes()))) && c.linked(t, n)
		})
	}
}

// linked: a replica follows its primary, and who replicates whom is as it was made for each shard that did not fail over.
func (c *Cluster) linked(t testing.TB, n *ClusterNode) bool {
	info := n.Info(t.Context(), "replication").Val()
	if strings.Contains(info, "role:slave") && !strings.Contains(info, "master_link_status:up") {
		return false
	}
	view, err := n.Do(t.Context(), "cluster", "nodes").Text()
	if err != nil {
		return false
	}
	replicas := 0
	for line := range strings.Lines(view) {
		if f := strings.Fields(line); len(f) > 2 && strings.Contains(f[2], "slave") {
			replicas++
		}
	}
	return replicas == len(c.Nodes())-len(c.Shards)
}

// Slot of a key.
func (c *Cluster) Slot(t testing.TB, key string) int {
	t.Helper()
	running := slices.IndexFunc(c.Nodes(), func(n *ClusterNode) bool { return !n.ended() })
	if running < 0 {
		t.Fatal("no node of the Cluster runs")
	}
	slot, err := c.Nodes()[running].Do(t.Context(), "cluster", "keyslot", key).Int()
	if err != nil {
		t.Fatal(err)
	}
	return slot
}

// Owner is the shard that was given the key's slot at first.
func (c *Cluster) Owner(t testing.TB, key string) int {
	t.Helper()
	slot := c.Slot(t, key)
	for s := range c.Shards {
		if slot < (s+1)*ClusterSlots/len(c.Shards) {
			return s
		}
	}
	return len(c.Shards) - 1
}

// Cut the network between these nodes and the others, until Heal. Clients still reach both sides; Front.Mute cuts them off
// too. It needs proxies.
func (c *Cluster) Cut(t testing.TB, minority ...*ClusterNode) { c.cut(t, true, minority) }

// Heal what Cut cut.
func (c *Cluster) Heal(t testing.TB, minority ...*ClusterNode) { c.cut(t, false, minority) }

func (c *Cluster) cut(t testing.TB, on bool, minority []*ClusterNode) {
	t.Helper()
	for _, a := range c.Nodes() {
		if a.Bus == nil {
			t.Fatal("a Cluster without proxies can't be cut; begin with ProxiedRedisCluster")
		}
		for _, b := range c.Nodes() {
			if slices.Contains(minority, a) != slices.Contains(minority, b) {
				a.Bus.MuteFrom(b.source, on)
				a.Front.MuteFrom(b.source, on)
			}
		}
	}
}
