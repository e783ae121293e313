package backends_test

import (
	"context"
	"fmt"
	"maps"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/backends"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

// node of a layer, as YAML.
func node(name, kind, address string) string {
	return fmt.Sprintf("{name: %s, %s: {address: %q}}", name, kind, address)
}

// read a configuration with a layer l2, and whatever stands behind it.
func read(nodes []string, rest string) (*config.Config, error) {
	return config.Parse("c.yml", fmt.Appendf(nil, "layers: [{name: l2, ttl: 1h, nodes: [%s]}]\n%s", strings.Join(nodes, ", "), rest), backends.All)
}

func openAll(t *testing.T, nodes ...string) *probes.Fleet {
	t.Helper()
	cfg, err := read(nodes, "")
	if err != nil {
		t.Fatal(err)
	}
	f, err := cfg.OpenFleet(probetest.Env())
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
	f := openAll(t,
		node("hung", "redis", hung.Addr().String()),
		node("dead", "redis", servers.FreeAddr(t)),
		node("well", "redis", r.Addr))
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
	var nodes []string
	for name, p := range started {
		kind, _, _ := strings.Cut(name, "-")
		nodes = append(nodes, node(name, kind, p.Addr))
	}
	f := openAll(t, nodes...)
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
