package redis

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

func pair(seeds ...string) probes.LayerNode {
	return probetest.Node("pair", 0, &nodeConfig{Replication: seeds})
}

func TestGroupFindsItsMembers(t *testing.T) {
	servers.NoLeaks(t)
	p, a, b := servers.Redis(t), servers.Redis(t), servers.Redis(t)
	a.Follow(t, p)
	b.Follow(t, a) // a replica of a replica
	for _, seed := range []*servers.RedisServer{p, a, b} {
		f := openFleet(t, time.Minute, pair(seed.Addr))
		got := probetest.SurveyFleet(t, f, 5*time.Second)
		probetest.WantNames(t, got, "pair/"+p.Addr, "pair/"+a.Addr, "pair/"+b.Addr)
		if got["pair/"+p.Addr].Role != "primary" || got["pair/"+b.Addr].Role != "replica" || !got["pair/"+a.Addr].Replication.LinkUp ||
			got["pair/"+b.Addr].Replication.Primary != a.Addr || len(got["pair/"+p.Addr].Replication.Replicas) != 1 {
			t.Errorf("%+v", got)
		}
		if g := f.Groups(); len(g) != 1 || g[0].Name != "pair" || g[0].Layer != "l2" || len(g[0].Nodes) != 3 {
			t.Errorf("groups %+v", g)
		}
		if n := f.Nodes(); len(n) != 3 || n[0].Identity().Group != "pair" || n[0].Identity().Kind != "redis" {
			t.Errorf("nodes %+v", n)
		}
		server, err := serverOf(f, "pair", "any")
		if err != nil {
			t.Fatal(err)
		}
		err = server.Do(probetest.Within(t, time.Second), func(ctx context.Context, c redis.Cmdable) (uint64, uint64, error) {
			return 0, 0, c.Set(ctx, "written", "on the primary alone", 0).Err()
		})
		if err != nil {
			t.Error(err)
		}
	}
}

func TestGroupKeepsOneNameForOneServer(t *testing.T) {
	servers.NoLeaks(t)
	p, a := servers.Redis(t), servers.Redis(t)
	a.Follow(t, p)
	_, port, _ := net.SplitHostPort(p.Addr)
	local := "localhost:" + port
	f := openFleet(t, time.Minute, pair(local, p.Addr))
	for range 3 {
		probetest.WantNames(t, probetest.SurveyFleet(t, f, 5*time.Second), "pair/"+local, "pair/"+a.Addr)
	}
	f = openFleet(t, time.Minute, pair(local))
	probetest.WantNames(t, probetest.SurveyFleet(t, f, 5*time.Second), "pair/"+local, "pair/"+a.Addr)
	p.Freeze(t)
	got := probetest.SurveyFleet(t, f, 500*time.Millisecond)
	p.Thaw(t)
	probetest.WantNames(t, got, "pair/"+local, "pair/"+a.Addr)
	if got["pair/"+local].Err == nil || got["pair/"+a.Addr].Err != nil {
		t.Errorf("one is frozen: %+v", got)
	}
}

func TestGroupThroughAFailover(t *testing.T) {
	servers.NoLeaks(t)
	p, a, b := servers.Redis(t), servers.Redis(t), servers.Redis(t)
	a.Follow(t, p)
	b.Follow(t, p)
	f := openFleet(t, time.Minute, pair(p.Addr))
	all := []string{"pair/" + p.Addr, "pair/" + a.Addr, "pair/" + b.Addr}
	probetest.WantNames(t, probetest.SurveyFleet(t, f, 5*time.Second), all...)
	p.Stop()
	got := probetest.SurveyFleet(t, f, 5*time.Second)
	probetest.WantNames(t, got, all...)
	if got[all[0]].Err == nil || got[all[1]].Err != nil {
		t.Errorf("the primary is dead: %+v", got)
	}
	a.Must(t, "replicaof", "no", "one")
	b.Follow(t, a)
	got = probetest.SurveyFleet(t, f, 5*time.Second)
	probetest.WantNames(t, got, all...)
	if got[all[1]].Role != "primary" || got[all[2]].Replication.Primary != a.Addr {
		t.Errorf("after the failover: %+v", got)
	}
	c := servers.Redis(t)
	c.Follow(t, a)
	probetest.WantNames(t, probetest.SurveyFleet(t, f, 5*time.Second), append(all, "pair/"+c.Addr)...)
}

func TestGroupMembersThatLeave(t *testing.T) {
	servers.NoLeaks(t)
	p, a, b, other := servers.Redis(t), servers.Redis(t), servers.Redis(t), servers.Redis(t)
	a.Follow(t, p)
	b.Follow(t, p)
	f := openFleet(t, 300*time.Millisecond, pair(p.Addr))
	all := []string{"pair/" + p.Addr, "pair/" + a.Addr, "pair/" + b.Addr}
	probetest.WantNames(t, probetest.SurveyFleet(t, f, 5*time.Second), all...)

	// A replica whose link is lost is not in the primary's list, and stays, however long.
	host, port, _ := net.SplitHostPort(servers.FreeAddr(t))
	a.Must(t, "replicaof", host, port)
	servers.Eventually(t, "the primary drops the replica", func() bool {
		return strings.Contains(p.Info(t.Context(), "replication").Val(), "connected_slaves:1")
	})
	got := probetest.SurveyFleet(t, f, 5*time.Second)
	probetest.WantNames(t, got, all...)
	if got[all[1]].Replication.LinkUp {
		t.Error("the link is lost")
	}

	// One that follows another primary's data goes at once, and does not draw that one in.
	a.Follow(t, other)
	probetest.WantNames(t, probetest.SurveyFleet(t, f, 5*time.Second), all[0], all[2])
	probetest.WantNames(t, probetest.SurveyFleet(t, f, 5*time.Second), all[0], all[2])

	// One that answers as a primary stays.
	b.Must(t, "replicaof", "no", "one")
	servers.Eventually(t, "the primary drops the replica", func() bool {
		return strings.Contains(p.Info(t.Context(), "replication").Val(), "connected_slaves:0")
	})
	probetest.WantNames(t, probetest.SurveyFleet(t, f, 5*time.Second), all[0], all[2])

	// One that does not answer is still asked for a while; the seed always.
	b.Stop()
	p.Stop()
	got = probetest.SurveyFleet(t, f, 5*time.Second)
	probetest.WantNames(t, got, all[0], all[2])
	if got[all[2]].Err == nil {
		t.Error("a stopped server answered")
	}
	servers.Eventually(t, "the member is forgotten", func() bool { return len(probetest.SurveyFleet(t, f, 5*time.Second)) == 1 })
	probetest.WantNames(t, probetest.SurveyFleet(t, f, 5*time.Second), all[0])
}

func TestNodesAtOneServerShareItsCounts(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.Redis(t)
	f := openFleet(t, time.Minute,
		probetest.Node("db0", 0, &nodeConfig{Address: "redis://" + r.Addr + "/0"}),
		probetest.Node("db1", 0, &nodeConfig{Address: "redis://" + r.Addr + "/1"}))
	for range 20 {
		ctx := probetest.Within(t, 5*time.Second)
		f.Survey(ctx, func(probes.Identity) *probes.Scan { return nil }, func(n probes.Node, s probes.Survey, err error) {
			if got := probetest.Others(s); err != nil || got != [2]float64{} {
				t.Errorf("%s: others' hits and misses %v, %v", n.Identity().Name, got, err)
			}
			if err := n.Read(ctx, []probes.Key{{Name: "no"}}, func(int, probes.Raw) {}); err != nil {
				t.Error(err)
			}
		})
	}
}
