package servers

import (
	"strings"
	"testing"
)

func TestRedisClusterCanBeCut(t *testing.T) {
	NoLeaks(t)
	c := ProxiedRedisCluster(t, 3, 1)
	if err := c.Client.Set(t.Context(), "a", "1", 0).Err(); err != nil {
		t.Fatal(err)
	}
	said := func(n *ClusterNode, what string) bool {
		return strings.Contains(n.Do(t.Context(), "cluster", "info").String(), what)
	}
	lone := c.Shards[0][0]
	c.Cut(t, lone)
	Eventually(t, "the lone primary stops", func() bool { return said(lone, "cluster_state:fail") })
	Eventually(t, "its replica takes over", func() bool {
		return strings.Contains(c.Shards[0][1].Info(t.Context(), "replication").Val(), "role:master") && said(c.Shards[0][1], "cluster_state:ok")
	})
	c.Heal(t, lone)
	Eventually(t, "the lone primary follows its replica", func() bool {
		return strings.Contains(lone.Info(t.Context(), "replication").Val(), "role:slave")
	})
	c.Settled(t)
}

func TestSentinelsFailOver(t *testing.T) {
	NoLeaks(t)
	p, r := Redis(t), Redis(t)
	r.Follow(t, p)
	s := Sentinels(t, 3, "mymaster", p)
	p.Stop()
	Eventually(t, "the replica is promoted", func() bool {
		return strings.Contains(r.Info(t.Context(), "replication").Val(), "role:master")
	})
	for _, one := range s {
		Eventually(t, "each Sentinel tells the new primary", func() bool {
			at, err := one.Do(t.Context(), "sentinel", "get-master-addr-by-name", "mymaster").StringSlice()
			return err == nil && at[1] == Port(t, r.Addr)
		})
	}
}
