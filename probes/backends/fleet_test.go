package backends

import (
	"context"
	"maps"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

func openAll(t *testing.T, forget time.Duration, nodes ...config.Node) *probes.Fleet {
	t.Helper()
	opt := probetest.Options()
	opt.ForgetAfter = forget
	f, err := OpenFleet(&config.Config{Layers: []config.Layer{{Name: "l2", Nodes: nodes}}}, opt, probetest.Quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}
func TestFleetHungNodeCostsNobodyAnything(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.Redis(t)
	hung, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer hung.Close()
	f := openAll(t, time.Minute,
		config.Node{Name: "hung", Redis: &config.Redis{Address: hung.Addr().String()}},
		config.Node{Name: "dead", Redis: &config.Redis{Address: servers.FreeAddr(t)}},
		config.Node{Name: "well", Redis: &config.Redis{Address: r.Addr}})
	for range 3 {
		ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		start := time.Now()
		var mu sync.Mutex
		took := map[string]time.Duration{}
		f.Survey(ctx, func(probes.Identity) *probes.Scan { return nil }, func(n probes.Node, _ probes.Survey, err error) {
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
	servers.NoLeaks(t)
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
	f := openAll(t, time.Minute, nodes...)
	keys := make([]probes.Key, 2500)
	for i := range keys {
		keys[i].Name = strings.Repeat("k", 100)
	}
	sample := func(d time.Duration) (took map[string]time.Duration, foreign map[string][2]float64) {
		ctx, cancel := context.WithTimeout(context.Background(), d)
		defer cancel()
		var mu sync.Mutex
		took, foreign = map[string]time.Duration{}, map[string][2]float64{}
		start := time.Now()
		f.Survey(ctx, func(probes.Identity) *probes.Scan { return nil }, func(n probes.Node, s probes.Survey, err error) {
			if err == nil {
				err = n.Read(ctx, keys, func(int, probes.Raw) {})
			}
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				took[n.Identity().Name], foreign[n.Identity().Name] = time.Since(start), probetest.Others(s)
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
		if strings.HasSuffix(n.Identity().Name, "frozen") && n.Read(probetest.Within(t, 20*time.Millisecond), keys, func(int, probes.Raw) {}) == nil {
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
