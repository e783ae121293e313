package redis

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

// A dead replica that some nodes know otherwise than others, or no longer, is no second view.
func TestClusterWithADeadReplica(t *testing.T) {
	servers.NoLeaks(t)
	c := servers.RedisCluster(t, 3, 1)
	f := openFleet(t, time.Minute, clusterOf(c.Addrs()[0]))
	keys := testKeys(t, c, 60)
	sampleCluster(t, f, 10*time.Second, keys...)
	dead := c.Shards[1][1]
	line := func(n *servers.ClusterNode) string {
		return lineOf(n.Do(t.Context(), "cluster", "nodes").Val(), dead.ID)
	}
	// One that had not heard of it yet never would.
	servers.Eventually(t, "all know it", func() bool {
		return !slices.ContainsFunc(c.Nodes(), func(n *servers.ClusterNode) bool { return line(n) == "" })
	})
	dead.Stop()
	alive := slices.DeleteFunc(c.Nodes(), func(n *servers.ClusterNode) bool { return n == dead })
	servers.Eventually(t, "all know that it failed", func() bool {
		return !slices.ContainsFunc(alive, func(n *servers.ClusterNode) bool { return !strings.Contains(line(n), "slave,fail ") })
	})
	want := probes.Cluster{Answered: 5, OK: true, Views: 1, Primaries: 1}
	check := func(what string) {
		t.Helper()
		answers, got := sampleCluster(t, f, 10*time.Second, keys...)
		if state := *f.Groups()[0].Cluster; state != want {
			t.Errorf("%s: %+v, want %+v", what, state, want)
		}
		for _, n := range alive {
			if a := answers["c/"+n.Announced]; a.Err != nil || a.Left {
				t.Errorf("%s: %s: %+v", what, n.Announced, a)
			}
		}
		for _, k := range keys {
			for name, r := range got[k] {
				if name != "c/"+dead.Announced && (r.Err != nil || !r.Present) {
					t.Errorf("%s: %s on %s: %+v", what, k, name, r)
				}
			}
		}
	}
	check("it failed")
	c.Shards[0][0].Must(t, "cluster", "forget", dead.ID)
	c.Shards[2][1].Must(t, "cluster", "forget", dead.ID)
	check("two nodes forgot it")
	// A live one that a primary does not know is another view.
	lost := c.Shards[0][1]
	c.Shards[2][0].Must(t, "cluster", "forget", lost.ID)
	sampleCluster(t, f, 10*time.Second)
	if state := *f.Groups()[0].Cluster; state.Views < 2 {
		t.Errorf("a primary has lost a live replica: %+v", state)
	}
}

// lineOf a node in CLUSTER NODES; empty: it is not there.
func lineOf(nodes any, id string) string {
	for line := range strings.Lines(fmt.Sprint(nodes)) {
		if strings.HasPrefix(line, id+" ") {
			return line
		}
	}
	return ""
}

// A Cluster that prefers endpoints which it doesn't have is found all the same, each node at its own address.
func TestClusterWithoutEndpoints(t *testing.T) {
	servers.NoLeaks(t)
	c := servers.RedisCluster(t, 3, 0)
	keys := testKeys(t, c, 30)
	owners := map[string]string{}
	for _, k := range keys {
		owners[k] = "c/" + c.Addrs()[c.Owner(t, k)]
	}
	for _, preferred := range []string{"hostname", "unknown-endpoint"} {
		for _, n := range c.Nodes() {
			n.Must(t, "config", "set", "cluster-preferred-endpoint-type", preferred)
		}
		if said := fmt.Sprint(c.Nodes()[0].Do(t.Context(), "cluster", "shards").Val()); strings.Contains(said, "endpoint 127.0.0.1") {
			t.Fatalf("it has endpoints: %s", said)
		}
		f := openFleet(t, time.Minute, clusterOf(c.Addrs()[0]))
		answers, got := sampleCluster(t, f, 10*time.Second, keys...)
		probetest.WantNames(t, answers, "c/"+c.Addrs()[0], "c/"+c.Addrs()[1], "c/"+c.Addrs()[2])
		for _, k := range keys {
			if len(got[k]) != 1 || !got[k][owners[k]].Present {
				t.Errorf("%s: %s: %v", preferred, k, got[k])
			}
		}
		if state := *f.Groups()[0].Cluster; state != (probes.Cluster{Answered: 3, OK: true, Views: 1, Primaries: 1}) {
			t.Errorf("%s: %+v", preferred, state)
		}
	}
}

// scriptedCluster is three primaries that answer as written.
type scriptedCluster struct {
	mu sync.Mutex
	// nodes is what each answers to CLUSTER NODES, in which {0}, {1}, {2} are the addresses; shards to CLUSTER SHARDS.
	nodes  [3]string
	shards string
	addr   [3]string
}

const (
	lineA = "aaa {0}@17000 %smaster - 0 1426238317239 1 connected 0-5460\n"
	lineB = "bbb {1}@17000 %smaster - 0 1426238317239 2 connected 5461-10922\n"
	lineC = "ccc {2}@17000 %smaster - 0 1426238317239 3 connected 10923-16383\n"
)

func newScriptedCluster(t *testing.T) *scriptedCluster {
	c := &scriptedCluster{}
	for i := range 3 {
		c.nodes[i] = c.view(i)
		c.addr[i] = servers.RedisSaying(t, func(command []string) string {
			c.mu.Lock()
			defer c.mu.Unlock()
			switch strings.Join(command[:min(2, len(command))], " ") {
			case "INFO":
				return servers.BulkText(fmt.Sprintf("redis_version:7.0.15\r\nrun_id:run%d\r\nrole:master\r\nmaster_replid:id%d\r\nmaster_repl_offset:5\r\n", i, i))
			case "CLUSTER INFO":
				return servers.BulkText("cluster_state:ok\r\ncluster_current_epoch:3\r\n")
			case "CLUSTER NODES":
				text := c.nodes[i]
				for k, at := range c.addr {
					text = strings.ReplaceAll(text, fmt.Sprintf("{%d}", k), at)
				}
				return servers.BulkText(text)
			case "CLUSTER SHARDS":
				if c.shards != "" {
					return c.shards
				}
				return "-ERR Unknown subcommand\r\n"
			}
			switch command[0] {
			case "MGET":
				return fmt.Sprintf("*%d\r\n", len(command)-1) + strings.Repeat("$-1\r\n", len(command)-1)
			case "PTTL":
				return ":-2\r\n"
			}
			return ""
		})
	}
	return c
}

// view is what a node says where all is in order.
func (c *scriptedCluster) view(i int) string {
	self := [3]string{}
	self[i] = "myself,"
	return fmt.Sprintf(lineA, self[0]) + fmt.Sprintf(lineB, self[1]) + fmt.Sprintf(lineC, self[2])
}

func (c *scriptedCluster) say(nodes ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	copy(c.nodes[:], nodes)
}

// Of nodes whose address nobody tells a few are named.
func TestClusterOfNodesWithoutAddresses(t *testing.T) {
	servers.NoLeaks(t)
	c := newScriptedCluster(t)
	told := fmt.Sprintf(lineA, "myself,")
	for i := range mostNamed + 2 {
		told += fmt.Sprintf("lost%d :0@0 master - 0 1426238317239 2 connected %d\n", i, 6000+i)
	}
	c.say(told)
	f := openFleet(t, time.Minute, clusterOf(c.addr[0]))
	sampleCluster(t, f, 10*time.Second)
	err := f.Groups()[0].Err
	if err == nil || !strings.Contains(err.Error(), "no node tells the address of lost0, lost1, lost2, lost3, lost4 and 2 more, which owns slots") {
		t.Error(err)
	}
}

func TestClusterWhoseNodesSayOddThings(t *testing.T) {
	servers.NoLeaks(t)
	c := newScriptedCluster(t)
	f := openFleet(t, time.Minute, clusterOf(c.addr[0]))
	all := []string{"c/" + c.addr[0], "c/" + c.addr[1], "c/" + c.addr[2]}
	a, b, d := c.view(0), c.view(1), c.view(2)
	whole := probes.Cluster{Answered: 3, OK: true, Views: 1, Primaries: 1}
	unreached := servers.FreeAddr(t)
	for _, step := range []struct {
		what    string
		views   [3]string
		cluster probes.Cluster
	}{
		{"all in order", [3]string{a, b, d}, whole},
		{"a line that says nothing", [3]string{a + "what is this?\n", b, d}, whole},
		{"a line without fields in the middle", [3]string{a, strings.Replace(b, "ccc ", "ccc\nccc ", 1), d}, whole},
		{"another's line is cut short", [3]string{a, strings.Replace(b, " 3 connected 10923-16383", "", 1), d}, whole},
		{"slots that are none", [3]string{strings.Replace(a, "5461-10922", "5461-109222", 1), b, d}, whole},
		{"no host of another", [3]string{strings.Replace(a, "{1}", ":7001", 1), strings.Replace(b, "{2}", "?:7001", 1), d}, whole},
		{"a dead replica, known by gossip alone", [3]string{
			a + "eee " + unreached + "@1 slave,fail - 1 1 1 disconnected\n", b + "eee " + unreached + "@1 slave,fail aaa 1 1 1 disconnected\n", d,
		}, whole},
		{"a dying replica, of which not all know it", [3]string{
			a + "eee " + unreached + "@1 slave,fail? bbb 1 1 1 connected\n", b + "eee " + unreached + "@1 slave aaa 1 1 1 connected\n",
			d + "eee " + unreached + "@1 slave,noaddr - 1 1 1 disconnected\n",
		}, whole},
		{"two owners", [3]string{a, b, strings.Replace(d, "0-5460", "0-5459", 1)}, probes.Cluster{Answered: 3, OK: true, Views: 2, Primaries: 1}},
		{"two owners, and a line that says nothing", [3]string{
			a, b, strings.Replace(strings.Replace(d, "0-5460", "0-5459", 1), "5461-", "5460-", 1) + "what is this?\n",
		}, probes.Cluster{Answered: 3, OK: true, Views: 2, Primaries: 1}},
	} {
		c.say(step.views[:]...)
		for range 2 {
			answers, got := sampleCluster(t, f, 5*time.Second, "in a", "in b", "foo", "bar", "12345")
			for _, name := range all {
				if answer, there := answers[name]; !there || answer.Err != nil || answer.Left {
					t.Errorf("%s: %s: there: %v, %v", step.what, name, there, answer.Err)
				}
			}
			if step.cluster.Views == 1 && (len(answers) != 3 || len(got) != 5) {
				t.Errorf("%s: %v, keys on %v", step.what, answers.Names(), slices.Collect(maps.Keys(got)))
			}
			if state := *f.Groups()[0].Cluster; state != step.cluster {
				t.Errorf("%s: %+v, want %+v", step.what, state, step.cluster)
			}
		}
	}
}
