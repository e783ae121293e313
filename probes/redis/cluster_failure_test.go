package redis

import (
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

func TestClusterThroughAFailover(t *testing.T) {
	servers.NoLeaks(t)
	c := servers.RedisCluster(t, 3, 1)
	keys := testKeys(t, c, 100)
	f := openFleet(t, time.Minute, clusterOf(c.Addrs()[1:]...))
	sampleCluster(t, f, 10*time.Second, keys...)
	dead, heir := "c/"+c.Shards[0][0].Announced, "c/"+c.Shards[0][1].Announced
	c.Shards[0][0].Stop()
	seen := false
	servers.Eventually(t, "the failover", func() bool {
		answers, _ := sampleCluster(t, f, 10*time.Second, keys...)
		if answers[dead].Err == nil {
			t.Error("a stopped server answered")
		}
		seen = seen || !f.Groups()[0].Cluster.OK
		return answers[heir].Role == "primary" && *f.Groups()[0].Cluster == probes.Cluster{Answered: 5, OK: true, Views: 1, Primaries: 1}
	})
	if !seen {
		t.Error("the failure was never told")
	}
	answers, got := sampleCluster(t, f, 10*time.Second, keys...)
	if a := answers[dead]; len(answers) != 6 || a.Err == nil || !a.CalledDown || a.Left {
		t.Errorf("the Cluster lists its dead node as failed: %v, %+v", answers.Names(), a)
	}
	for _, k := range keys {
		holders := 2
		if c.Owner(t, k) == 0 {
			holders = 1
		}
		if len(got[k]) != holders {
			t.Errorf("%s is held by %v", k, got[k])
		}
		for name, r := range got[k] {
			if r.Err != nil || string(r.Value) != "value of "+k {
				t.Errorf("%s on %s: %+v", k, name, r)
			}
		}
		if p := f.Nodes()[1].(probes.Placer).Place(k); p.Moves != 0 {
			t.Fatalf("%s: a failover is no move: %+v", k, p)
		}
	}
	// The topology drops the dead node.
	for _, n := range c.Nodes()[1:] {
		n.Must(t, "cluster", "forget", c.Shards[0][0].ID)
	}
	answers, _ = sampleCluster(t, f, 10*time.Second)
	if _, still := answers[dead]; still {
		answers, _ = sampleCluster(t, f, 10*time.Second)
	}
	if _, still := answers[dead]; still || len(answers) != 5 {
		t.Errorf("the node is still known: %v", answers.Names())
	}
}

func TestClusterCutInTwo(t *testing.T) {
	servers.NoLeaks(t)
	c := servers.ProxiedRedisCluster(t, 3, 1)
	f := openFleet(t, time.Minute, clusterOf(c.Addrs()[0]))
	keys := testKeys(t, c, 30)
	sampleCluster(t, f, 10*time.Second, keys...)
	probetest.WantNames(t, probetest.SurveyFleet(t, f, 10*time.Second), "c/"+c.Addrs()[0], "c/"+c.Addrs()[1], "c/"+c.Addrs()[2], "c/"+c.Addrs()[3],
		"c/"+c.Addrs()[4], "c/"+c.Addrs()[5])
	state := func() probes.Cluster {
		sampleCluster(t, f, 10*time.Second, keys...)
		return *f.Groups()[0].Cluster
	}
	lone := c.Shards[0][0]
	c.Cut(t, lone)
	servers.Eventually(t, "the lone primary says that it is cut off", func() bool { return !state().OK })
	servers.Eventually(t, "two views, two primaries", func() bool {
		now := state()
		return now.Views == 2 && now.Primaries == 2 && now.ContestedSlots == servers.ClusterSlots/3 && now.Answered == 6
	})
	c.Heal(t, lone)
	servers.Eventually(t, "one view again", func() bool { return state() == probes.Cluster{Answered: 6, OK: true, Views: 1, Primaries: 1} })

	// A replica that is told to take over while its primary can't be reached, and too few are there to vote.
	c.Settled(t)
	replica := c.Shards[1][1]
	c.Cut(t, replica)
	servers.Eventually(t, "the replica is alone", func() bool { return !state().OK })
	if err := replica.Do(t.Context(), "cluster", "failover", "takeover").Err(); err != nil {
		t.Fatal(err)
	}
	servers.Eventually(t, "two primaries claim the slots", func() bool {
		now := state()
		return now.Primaries == 2 && now.ContestedSlots >= servers.ClusterSlots/3 && now.Views >= 2
	})
}

// Frozen nodes cost nobody anything, and the Cluster is told as far as it answers.
func TestClusterWithFrozenNodes(t *testing.T) {
	servers.NoLeaks(t)
	c := servers.RedisCluster(t, 2, 1, "--cluster-node-timeout", "60000")
	keys := testKeys(t, c, 50)
	f := openFleet(t, time.Minute, clusterOf(c.Addrs()...))
	sampleCluster(t, f, 10*time.Second, keys...)
	c.Shards[0][0].Freeze(t)
	answers, got := sampleCluster(t, f, time.Second, keys...)
	for i, name := range c.Addrs() {
		if frozen := i == 0; frozen != (answers["c/"+name].Err != nil) {
			t.Errorf("%s: %v", name, answers["c/"+name].Err)
		}
	}
	for _, k := range keys {
		for name, r := range got[k] {
			if frozen := name == "c/"+c.Addrs()[0]; frozen != (r.Err != nil) {
				t.Errorf("%s on %s: %+v", k, name, r)
			}
		}
		if len(got[k]) != 2 {
			t.Errorf("%s is held by %v", k, got[k])
		}
	}
	c.Shards[0][0].Thaw(t)
	for _, n := range c.Nodes() {
		n.Freeze(t)
	}
	sampleCluster(t, f, 300*time.Millisecond)
	if got := *f.Groups()[0].Cluster; got != (probes.Cluster{}) {
		t.Errorf("nothing answers: %+v", got)
	}
	for _, n := range c.Nodes() {
		n.Thaw(t)
	}
}

// A server that is started anew under a seed's name keeps its name, and another one may have its old address.
func TestClusterSeedThatIsStartedAnew(t *testing.T) {
	servers.NoLeaks(t)
	a, b := servers.Redis(t), servers.Redis(t)
	g := newMembers(probes.Identity{Layer: "l2", Name: "g"}, nodeConfig{Cluster: []string{a.Addr}}, 6, probetest.Env())
	g.setSeeds([]string{a.Addr})
	for _, m := range g.Begin() {
		m.Survey, m.Answered = probetest.Survey(t, m.server), true
		g.Identify(m)
		g.Alias(b.Addr, m)
		m.Survey.RunID = "another"
		if !g.Identify(m) || g.Find(b.Addr) != nil || g.Find(a.Addr) != m {
			t.Error("the old process's address is still its own")
		}
		m.server.Close()
	}
}
