package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

func clusterOf(seeds ...string) probes.LayerNode {
	return probetest.Node("c", 6, &nodeConfig{Cluster: seeds})
}

// copies are what one sampling of a Cluster read: by key, the nodes that should hold it and what they gave.
type copies map[string]map[string]probes.Raw

// sampleCluster surveys all nodes, and reads from each the keys that it should hold.
func sampleCluster(t *testing.T, f *probes.Fleet, d time.Duration, keys ...string) (probetest.Answers, copies) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	var mu sync.Mutex
	answers, out := probetest.Answers{}, copies{}
	f.Survey(ctx, func(probes.Identity) *probes.Scan { return nil }, func(n probes.Node, s probes.Survey, err error) {
		var own []probes.Key
		for _, k := range keys {
			if n.(probes.Placer).Place(k).Holding == probes.Holds {
				own = append(own, probes.Key{Name: k, Identity: true})
			}
		}
		got := make([]probes.Raw, len(own))
		visits := make([]int, len(own))
		var failed error
		if err == nil {
			failed = n.Read(ctx, own, func(i int, r probes.Raw) {
				r.Value = append([]byte(nil), r.Value...)
				got[i] = r
				visits[i]++
			})
		}
		mu.Lock()
		defer mu.Unlock()
		a := answers[n.Identity().Name]
		a.Survey, a.Err = s, errors.Join(err, failed)
		answers[n.Identity().Name] = a
		for i, k := range own {
			if err == nil && failed == nil && visits[i] != 1 {
				t.Errorf("%s: %s was visited %d times", n.Identity().Name, k.Name, visits[i])
			}
			if visits[i] == 0 {
				got[i].Err = cmpError(a.Err)
			}
			if out[k.Name] == nil {
				out[k.Name] = map[string]probes.Raw{}
			}
			out[k.Name][n.Identity().Name] = got[i]
		}
	})
	return answers, out
}

func cmpError(err error) error {
	if err == nil {
		return errors.New("not visited")
	}
	return err
}

// testKeys for all shards, some of them in one slot.
func testKeys(t *testing.T, c *servers.Cluster, n int) []string {
	t.Helper()
	var keys []string
	p := c.Client.Pipeline()
	for i := range n {
		k := fmt.Sprintf("key:%d", i)
		if i%3 == 0 {
			k = fmt.Sprintf("{tag:%d}:%d", i%2, i)
		}
		keys = append(keys, k)
		p.Set(t.Context(), k, "value of "+k, time.Hour)
	}
	if _, err := p.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, n := range c.Nodes() {
		n.Do(t.Context(), "wait", "1", "1000")
	}
	servers.Eventually(t, "the replicas have every key", func() bool {
		for _, shard := range c.Shards {
			for _, r := range shard[1:] {
				if r.DBSize(t.Context()).Val() != shard[0].DBSize(t.Context()).Val() {
					return false
				}
			}
		}
		return true
	})
	return keys
}

func cli(t *testing.T, c *servers.Cluster, key string) string {
	t.Helper()
	v, err := c.Client.Get(t.Context(), key).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		t.Fatal(err)
	}
	return v
}

func TestClusterKeysAreReadWhereTheyBelong(t *testing.T) {
	servers.NoLeaks(t)
	c := servers.RedisCluster(t, 3, 1)
	keys := testKeys(t, c, 300)
	_, port, _ := net.SplitHostPort(c.Shards[1][1].Announced)
	f := openFleet(t, time.Minute, clusterOf("localhost:"+port, servers.FreeAddr(t)))
	var names []string
	for _, n := range c.Nodes() {
		name := "c/" + n.Announced
		if n == c.Shards[1][1] {
			name = "c/localhost:" + port // the name by which it was known first
		}
		names = append(names, name)
	}
	for range 3 {
		answers, got := sampleCluster(t, f, 10*time.Second, keys...)
		probetest.WantNames(t, answers, append(names, f.Named("c").(*clusterGroup).seedName(1))...)
		for _, k := range keys {
			shard := c.Owner(t, k)
			if len(got[k]) != 2 {
				t.Fatalf("%s is held by %v", k, got[k])
			}
			for i := range 2 {
				if r := got[k][names[2*shard+i]]; !r.Present || string(r.Value) != cli(t, c, k) || !r.HasTTL || r.TTL < time.Minute {
					t.Errorf("%s on %s: %+v", k, names[2*shard+i], r)
				}
			}
		}
		for i, name := range names {
			a := answers[name]
			if role := []string{"primary", "replica"}[i%2]; a.Err != nil || a.Role != role || a.Replication == nil {
				t.Errorf("%s: %+v", name, a)
			}
		}
		g := f.Groups()[0]
		if *g.Cluster != (probes.Cluster{Answered: 6, OK: true, Views: 1, Primaries: 1}) || len(g.Nodes) != 7 || g.Expected != 6 {
			t.Errorf("%+v %+v", g, g.Cluster)
		}
	}
	answers, _ := sampleCluster(t, f, 10*time.Second)
	for i, name := range names {
		if i%2 == 1 && probetest.Others(answers[name].Survey) != [2]float64{} {
			t.Errorf("%s: others' hits and misses %v", name, probetest.Others(answers[name].Survey))
		}
	}
	for i := range 20 {
		key := fmt.Sprintf("queue:%d", i)
		server, err := serverOf(f, "c", key)
		if err != nil {
			t.Fatal(err)
		}
		if err := server.Do(probetest.Within(t, 5*time.Second), func(ctx context.Context, c redis.Cmdable) (uint64, uint64, error) {
			return 0, 0, c.Set(ctx, key, "on its owner", 0).Err()
		}); err != nil {
			t.Error(err)
		}
	}
}

func (g *members) seedName(i int) string { return g.ID.Name + "/" + g.seeds[i] }

// Slots go from one shard to another, key by key, while they are read all the time.
func TestClusterThroughAResharding(t *testing.T) {
	servers.NoLeaks(t)
	c := servers.RedisCluster(t, 2, 1)
	keys := testKeys(t, c, 60)
	f := openFleet(t, time.Minute, clusterOf(c.Addrs()[0]))
	key := "{tag:0}:0"
	slot := c.Slot(t, key)
	from, to := c.Shards[c.Owner(t, key)][0], c.Shards[1-c.Owner(t, key)][0]
	sampleCluster(t, f, 10*time.Second, keys...)
	place := func(n *servers.ClusterNode) probes.Placement {
		for _, k := range f.Nodes() {
			if k.Identity().Name == "c/"+n.Announced {
				return k.(probes.Placer).Place(key)
			}
		}
		t.Fatal("no such node")
		return probes.Placement{}
	}
	check := func(what string, moving bool) {
		t.Helper()
		answers, got := sampleCluster(t, f, 10*time.Second, keys...)
		for name, a := range answers {
			if a.Err != nil {
				t.Errorf("%s: %s: %v", what, name, a.Err)
			}
		}
		for _, k := range keys {
			present := 0
			for name, r := range got[k] {
				if r.Err != nil {
					t.Errorf("%s: %s on %s: %v", what, k, name, r.Err)
				}
				if r.Present {
					present++
					if string(r.Value) != "value of "+k || !r.HasTTL || r.ExpiresMS == 0 {
						t.Errorf("%s: %s on %s is %q", what, k, name, r.Value)
					}
				}
			}
			if present == 0 {
				t.Errorf("%s: %s is nowhere: %v", what, k, got[k])
			}
		}
		for _, n := range []*servers.ClusterNode{from, to} {
			if p := place(n); p.Moving != moving {
				t.Errorf("%s: %s is moving %v", what, n.Announced, p.Moving)
			}
		}
	}
	check("before", false)
	to.Must(t, "cluster", "setslot", slot, "importing", from.ID)
	from.Must(t, "cluster", "setslot", slot, "migrating", to.ID)
	check("nothing has moved", true)
	inSlot, err := from.Do(t.Context(), "cluster", "getkeysinslot", slot, 1000).StringSlice()
	if err != nil || len(inSlot) < 5 {
		t.Fatalf("%d keys in the slot, %v", len(inSlot), err)
	}
	for i, k := range inSlot {
		from.Must(t, "migrate", "127.0.0.1", servers.Port(t, to.Addr), k, 0, 5000)
		check(fmt.Sprintf("%d keys have moved", i+1), true)
	}
	to.Must(t, "cluster", "setslot", slot, "node", to.ID)
	from.Must(t, "cluster", "setslot", slot, "node", to.ID)
	servers.Eventually(t, "all agree", func() bool {
		sampleCluster(t, f, 10*time.Second, keys...)
		return f.Groups()[0].Cluster.Views == 1
	})
	check("after", false)
	if p := place(to); p != (probes.Placement{Moves: 1}) {
		t.Errorf("the new owner: %+v", p)
	}
	if p := place(from); p.Holding != probes.Elsewhere || p.Moves != 1 {
		t.Errorf("the old owner: %+v", p)
	}
	answers, _ := sampleCluster(t, f, 10*time.Second)
	for name, a := range answers {
		expected := [2]float64{}
		if name == "c/"+from.Announced { // MIGRATE looks each key up
			expected[0] = float64(len(inSlot))
		}
		if probetest.Others(a.Survey) != expected {
			t.Errorf("%s: others' hits and misses %v, want %v", name, probetest.Others(a.Survey), expected)
		}
	}
	for _, k := range keys {
		if v := cli(t, c, k); v != "value of "+k {
			t.Errorf("%s is %q", k, v)
		}
	}
}

// A slot that moved since the survey costs its keys this scrape, and nothing else.
func TestClusterKeysThatMovedSinceTheSurvey(t *testing.T) {
	servers.NoLeaks(t)
	c := servers.RedisCluster(t, 2, 0)
	f := openFleet(t, time.Minute, clusterOf(c.Addrs()...))
	c.Client.Set(t.Context(), "a", "1", 0)
	c.Client.Set(t.Context(), "b", "1", 0)
	sampleCluster(t, f, 10*time.Second)
	wrong := f.Nodes()[1-c.Owner(t, "a")]
	own := "a"
	for i := 0; c.Owner(t, own) == c.Owner(t, "a"); i++ {
		own = fmt.Sprint("own", i)
	}
	got := probetest.Read(t, wrong, probes.Key{Name: "a"}, probes.Key{Name: own}, probes.Key{Name: "a", Hash: true}, probes.Key{Name: "a", Check: true})
	for _, i := range []int{0, 2, 3} {
		if !errors.Is(got[i].Err, errSlotMoved) {
			t.Errorf("%d: %+v", i, got[i])
		}
	}
	if got[1].Err != nil || got[1].Present {
		t.Errorf("its own: %+v", got[1])
	}
	s := probetest.Survey(t, wrong)
	if probetest.Others(s) != [2]float64{} {
		t.Errorf("others' hits and misses %v", probetest.Others(s))
	}
}

// A batch costs as many round trips as on a plain node.
func TestClusterRoundTrips(t *testing.T) {
	servers.NoLeaks(t)
	c := servers.ProxiedRedisCluster(t, 1, 1)
	keys := testKeys(t, c, 1000)
	f := openFleet(t, time.Minute, clusterOf(c.Addrs()...))
	sampleCluster(t, f, 10*time.Second, keys...)
	var nodes []probes.Key
	for _, k := range keys {
		nodes = append(nodes, probes.Key{Name: k})
	}
	for i, n := range f.Nodes() {
		front := c.Nodes()[i].Front
		mine := func() int {
			if err := n.Read(probetest.Within(t, 5*time.Second), nodes, func(_ int, r probes.Raw) {
				if !r.Present {
					t.Errorf("%+v", r)
				}
			}); err != nil {
				t.Error(err)
			}
			return front.Counts().RoundTrips
		}
		mine()
		front.Reset()
		if trips := mine(); trips > 10 { // replication speaks through the primary's too
			t.Errorf("%d round trips", trips)
		}
	}
}
