package probes

import (
	"context"
	"maps"
	"net"
	"slices"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// answers are what one Fleet.Survey told, by node.
type answers map[string]struct {
	Survey
	err error
}

func (a answers) names() []string {
	var out []string
	for n := range a {
		out = append(out, n)
	}
	sort.Strings(out)
	return out
}

func surveyFleet(t *testing.T, f *Fleet, d time.Duration) answers {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	out := answers{}
	var mu sync.Mutex
	f.Survey(ctx, func(Identity) *Scan { return nil }, func(n Node, s Survey, err error) {
		mu.Lock()
		defer mu.Unlock()
		if _, twice := out[n.Identity().Name]; twice {
			t.Errorf("%s was visited twice", n.Identity().Name)
		}
		a := out[n.Identity().Name]
		a.Survey, a.err = s, err
		out[n.Identity().Name] = a
	})
	return out
}

func openFleet(t *testing.T, forget time.Duration, nodes ...config.Node) *Fleet {
	t.Helper()
	opt := testOptions()
	opt.ForgetAfter = forget
	f, err := OpenFleet(&config.Config{Layers: []config.Layer{{Name: "l2", Nodes: nodes}}}, opt, quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

func pair(seeds ...string) config.Node {
	return config.Node{Name: "pair", Redis: &config.Redis{Replication: seeds}}
}

func want(t *testing.T, a answers, names ...string) {
	t.Helper()
	names = slices.Sorted(slices.Values(names))
	if !slices.Equal(a.names(), names) {
		t.Fatalf("nodes %v, want %v", a.names(), names)
	}
}

func TestFleetHungNodeCostsNobodyAnything(t *testing.T) {
	noLeaks(t)
	r := servers.Redis(t)
	hung, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer hung.Close()
	f := openFleet(t, time.Minute,
		config.Node{Name: "hung", Redis: &config.Redis{Address: hung.Addr().String()}},
		config.Node{Name: "dead", Redis: &config.Redis{Address: servers.FreeAddr(t)}},
		config.Node{Name: "well", Redis: &config.Redis{Address: r.Addr}})
	for range 3 {
		ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		start := time.Now()
		var mu sync.Mutex
		took := map[string]time.Duration{}
		f.Survey(ctx, func(Identity) *Scan { return nil }, func(n Node, _ Survey, err error) {
			mu.Lock()
			defer mu.Unlock()
			took[n.Identity().Name] = time.Since(start)
			if well := n.Identity().Name == "well"; well != (err == nil) {
				t.Errorf("%s: %v", n.Identity().Name, err)
			}
		})
		cancel()
		if len(took) != 3 || took["well"] > 200*time.Millisecond || time.Since(start) > time.Second {
			t.Errorf("took %v, in all %v", took, time.Since(start))
		}
	}
}

// A frozen server holds its own node up in each sampling until it is thawed, and nobody else, however much it owes.
func TestFleetFrozenServersCostNobodyAnything(t *testing.T) {
	noLeaks(t)
	started := map[string]*servers.Process{
		"redis-frozen": servers.Redis(t).Process, "redis-well": servers.Redis(t).Process,
		"memcached-frozen": servers.Memcached(t), "memcached-well": servers.Memcached(t),
	}
	var nodes []config.Node
	for name, p := range started {
		node := config.Node{Name: name, Redis: &config.Redis{Address: p.Addr}}
		if strings.HasPrefix(name, "memcached") {
			node = config.Node{Name: name, Memcached: &config.Memcached{Address: p.Addr}}
		}
		nodes = append(nodes, node)
	}
	f := openFleet(t, time.Minute, nodes...)
	keys := make([]Key, 2500)
	for i := range keys {
		keys[i].Name = strings.Repeat("k", 100)
	}
	sample := func(d time.Duration) (took map[string]time.Duration, foreign map[string][2]float64) {
		ctx, cancel := context.WithTimeout(context.Background(), d)
		defer cancel()
		var mu sync.Mutex
		took, foreign = map[string]time.Duration{}, map[string][2]float64{}
		start := time.Now()
		f.Survey(ctx, func(Identity) *Scan { return nil }, func(n Node, s Survey, err error) {
			if err == nil {
				err = n.Read(ctx, keys, func(int, Raw) {})
			}
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				took[n.Identity().Name], foreign[n.Identity().Name] = time.Since(start), others(s)
			}
		})
		if over := time.Since(start) - d; over > time.Second {
			t.Errorf("a sampling took %v longer than it may", over)
		}
		return took, foreign
	}
	_, before := sample(20 * time.Second)
	for name, p := range started {
		if strings.HasSuffix(name, "frozen") {
			p.Freeze(t)
		}
	}
	for _, n := range f.Nodes() {
		if strings.HasSuffix(n.Identity().Name, "frozen") && n.Read(within(t, 20*time.Millisecond), keys, func(int, Raw) {}) == nil {
			t.Error("a frozen server answered")
		}
	}
	for round := range 3 {
		took, _ := sample(time.Second)
		if len(took) != 2 || took["redis-well"] == 0 || took["memcached-well"] == 0 {
			t.Errorf("round %d: answered: %v", round, took)
		}
	}
	for name, p := range started {
		if strings.HasSuffix(name, "frozen") {
			p.Thaw(t)
		}
	}
	if _, after := sample(20 * time.Second); len(before) != 4 || !maps.Equal(before, after) {
		t.Errorf("others' hits and misses %v, want %v", after, before)
	}
}

func TestGroupFindsItsMembers(t *testing.T) {
	noLeaks(t)
	p, a, b := servers.Redis(t), servers.Redis(t), servers.Redis(t)
	a.Follow(t, p)
	b.Follow(t, a) // a replica of a replica
	for _, seed := range []*servers.RedisServer{p, a, b} {
		f := openFleet(t, time.Minute, pair(seed.Addr))
		got := surveyFleet(t, f, 5*time.Second)
		want(t, got, "pair/"+p.Addr, "pair/"+a.Addr, "pair/"+b.Addr)
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
		server, ok := f.Redis("pair", "any")
		if !ok {
			t.Fatal("the group has no server for queues")
		}
		err := server.Do(within(t, time.Second), func(ctx context.Context, c redis.Cmdable) (uint64, uint64, error) {
			return 0, 0, c.Set(ctx, "written", "on the primary alone", 0).Err()
		})
		if err != nil {
			t.Error(err)
		}
	}
}

func TestGroupKeepsOneNameForOneServer(t *testing.T) {
	noLeaks(t)
	p, a := servers.Redis(t), servers.Redis(t)
	a.Follow(t, p)
	_, port, _ := net.SplitHostPort(p.Addr)
	local := "localhost:" + port
	f := openFleet(t, time.Minute, pair(local, p.Addr))
	for range 3 {
		want(t, surveyFleet(t, f, 5*time.Second), "pair/"+local, "pair/"+a.Addr)
	}
	f = openFleet(t, time.Minute, pair(local))
	want(t, surveyFleet(t, f, 5*time.Second), "pair/"+local, "pair/"+a.Addr)
	p.Freeze(t)
	got := surveyFleet(t, f, 500*time.Millisecond)
	p.Thaw(t)
	want(t, got, "pair/"+local, "pair/"+a.Addr)
	if got["pair/"+local].err == nil || got["pair/"+a.Addr].err != nil {
		t.Errorf("one is frozen: %+v", got)
	}
}

func TestGroupThroughAFailover(t *testing.T) {
	noLeaks(t)
	p, a, b := servers.Redis(t), servers.Redis(t), servers.Redis(t)
	a.Follow(t, p)
	b.Follow(t, p)
	f := openFleet(t, time.Minute, pair(p.Addr))
	all := []string{"pair/" + p.Addr, "pair/" + a.Addr, "pair/" + b.Addr}
	want(t, surveyFleet(t, f, 5*time.Second), all...)
	p.Stop()
	got := surveyFleet(t, f, 5*time.Second)
	want(t, got, all...)
	if got[all[0]].err == nil || got[all[1]].err != nil {
		t.Errorf("the primary is dead: %+v", got)
	}
	a.Must(t, "replicaof", "no", "one")
	b.Follow(t, a)
	got = surveyFleet(t, f, 5*time.Second)
	want(t, got, all...)
	if got[all[1]].Role != "primary" || got[all[2]].Replication.Primary != a.Addr {
		t.Errorf("after the failover: %+v", got)
	}
	c := servers.Redis(t)
	c.Follow(t, a)
	want(t, surveyFleet(t, f, 5*time.Second), append(all, "pair/"+c.Addr)...)
}

func TestGroupMembersThatLeave(t *testing.T) {
	noLeaks(t)
	p, a, b, other := servers.Redis(t), servers.Redis(t), servers.Redis(t), servers.Redis(t)
	a.Follow(t, p)
	b.Follow(t, p)
	f := openFleet(t, 300*time.Millisecond, pair(p.Addr))
	all := []string{"pair/" + p.Addr, "pair/" + a.Addr, "pair/" + b.Addr}
	want(t, surveyFleet(t, f, 5*time.Second), all...)

	// A replica whose link is lost is not in the primary's list, and stays, however long.
	host, port, _ := net.SplitHostPort(servers.FreeAddr(t))
	a.Must(t, "replicaof", host, port)
	eventually(t, "the primary drops the replica", func() bool {
		return strings.Contains(p.Info(t.Context(), "replication").Val(), "connected_slaves:1")
	})
	got := surveyFleet(t, f, 5*time.Second)
	want(t, got, all...)
	if got[all[1]].Replication.LinkUp {
		t.Error("the link is lost")
	}

	// One that follows another primary's data goes at once, and does not draw that one in.
	a.Follow(t, other)
	want(t, surveyFleet(t, f, 5*time.Second), all[0], all[2])
	want(t, surveyFleet(t, f, 5*time.Second), all[0], all[2])

	// One that answers as a primary stays.
	b.Must(t, "replicaof", "no", "one")
	eventually(t, "the primary drops the replica", func() bool {
		return strings.Contains(p.Info(t.Context(), "replication").Val(), "connected_slaves:0")
	})
	want(t, surveyFleet(t, f, 5*time.Second), all[0], all[2])

	// One that does not answer is still asked for a while; the seed always.
	b.Stop()
	p.Stop()
	got = surveyFleet(t, f, 5*time.Second)
	want(t, got, all[0], all[2])
	if got[all[2]].err == nil {
		t.Error("a stopped server answered")
	}
	eventually(t, "the member is forgotten", func() bool { return len(surveyFleet(t, f, 5*time.Second)) == 1 })
	want(t, surveyFleet(t, f, 5*time.Second), all[0])
}

func TestNodesAtOneServerShareItsCounts(t *testing.T) {
	noLeaks(t)
	r := servers.Redis(t)
	f := openFleet(t, time.Minute,
		config.Node{Name: "db0", Redis: &config.Redis{Address: "redis://" + r.Addr + "/0"}},
		config.Node{Name: "db1", Redis: &config.Redis{Address: "redis://" + r.Addr + "/1"}})
	for range 20 {
		ctx := within(t, 5*time.Second)
		f.Survey(ctx, func(Identity) *Scan { return nil }, func(n Node, s Survey, err error) {
			if got := others(s); err != nil || got != [2]float64{} {
				t.Errorf("%s: others' hits and misses %v, %v", n.Identity().Name, got, err)
			}
			if err := n.Read(ctx, []Key{{Name: "no"}}, func(int, Raw) {}); err != nil {
				t.Error(err)
			}
		})
	}
}
