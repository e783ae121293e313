package memcached

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

func openPool(t testing.TB, c nodeConfig) *pool {
	t.Helper()
	g, err := newPool(probes.Identity{Layer: "l3", Name: "pool"}, c, 2, probetest.Env())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, n := range g.members {
			n.Close()
		}
	})
	return g
}

// ownerOf asks all members of a pool for a key's placement, and gives the one that holds it.
func ownerOf(t testing.TB, g *pool, key string) string {
	t.Helper()
	owner := ""
	for _, n := range g.members {
		switch p := n.(probes.Placer).Place(key); {
		case p.Holding == probes.Holds && owner == "":
			owner = n.Identity().Name
		case p.Holding != probes.Foreign:
			t.Fatalf("%s: %s says %v, though %q holds it", key, n.Identity().Name, p.Holding, owner)
		}
	}
	return owner
}

func TestGomemcachePlaces(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, started := range [][]string{
		{"127.0.0.1:11211"},
		{"127.0.0.2:11211", "127.0.0.1:11211", "127.0.0.3:11300"},
		{"127.0.0.2:11211", "127.0.0.1:11211", "127.0.0.2:11211"}, // one of twice the weight
		{"127.0.0.9:1", "127.0.0.8:1", "127.0.0.7:1", "127.0.0.6:1", "[::1]:1"},
	} {
		list := &memcache.ServerList{}
		if err := list.SetServers(started...); err != nil {
			t.Fatal(err)
		}
		g := openPool(t, nodeConfig{Servers: poolServers(t, started...), Hashing: hashingGomemcache})
		for range 25_000 {
			b := make([]byte, 1+random.IntN(250))
			for i := range b {
				b[i] = byte('!' + random.IntN(94))
			}
			want, err := list.PickServer(string(b))
			if err != nil {
				t.Fatal(err)
			}
			if got := ownerOf(t, g, string(b)); got != "pool/"+want.String() {
				t.Fatalf("of %v %q holds %q, not %s", started, got, b, want)
			}
		}
	}
}

func TestPoolWithoutHashing(t *testing.T) {
	g := openPool(t, nodeConfig{Servers: poolServers(t, "b:11211", "a:11211"), Hashing: hashingAny})
	for _, n := range g.members {
		if p := n.(probes.Placer).Place("k"); p.Holding != probes.Anywhere {
			t.Errorf("%s says %v", n.Identity().Name, p.Holding)
		}
	}
	got, _ := g.Group()
	if !slices.Equal(got.Nodes, []string{"pool/a:11211", "pool/b:11211"}) || got.Expected != 2 || got.Err != nil {
		t.Errorf("the group is %+v", got)
	}
	if _, err := newPool(probes.Identity{}, nodeConfig{Servers: poolServers(t, "a:11211"), Hashing: "crc16"}, 0, probetest.Env()); err == nil {
		t.Error("an unknown hashing is taken")
	}
}

// What a real client writes is found on the server that Place names, and on no other.
func TestClientsKeysAreWhereTheyArePlaced(t *testing.T) {
	servers.NoLeaks(t)
	var started []string
	for range 3 {
		started = append(started, servers.Memcached(t).Addr)
	}
	client := servers.MemcachedClient(t, started...)
	var keys []probes.Key
	for i := range 1000 {
		k := fmt.Sprintf("user:%d:profile", i*i)
		if err := client.Set(&memcache.Item{Key: k, Value: []byte("v")}); err != nil {
			t.Fatal(err)
		}
		keys = append(keys, probes.Key{Name: k})
	}
	g := openPool(t, nodeConfig{Servers: poolServers(t, started...), Hashing: hashingGomemcache})
	var mu sync.Mutex
	held := map[string]int{}
	ctx := probetest.Within(t, 10*time.Second)
	g.Survey(ctx, func(probes.Identity) *probes.Scan { return nil }, func(n probes.Node, _ probes.Survey, err error) {
		if err != nil {
			t.Error(err)
		}
		err = n.Read(ctx, keys, func(i int, r probes.Raw) {
			mu.Lock()
			defer mu.Unlock()
			if holds := n.(probes.Placer).Place(keys[i].Name).Holding == probes.Holds; r.Err != nil || holds != r.Present {
				t.Errorf("%s on %s: present %t, placed there %t (%v)", keys[i].Name, n.Identity().Name, r.Present, holds, r.Err)
			}
			if r.Present {
				held[n.Identity().Name]++
			}
		})
		if err != nil {
			t.Error(err)
		}
	})
	total := 0
	for _, n := range held {
		total += n
	}
	if len(held) != 3 || total != len(keys) {
		t.Errorf("held are %v", held)
	}
}

// A server of the pool that hangs costs the others nothing.
func TestPoolWithAHungServer(t *testing.T) {
	servers.NoLeaks(t)
	well := servers.Memcached(t)
	g := openPool(t, nodeConfig{Servers: poolServers(t, well.Addr, servers.Hung(t)), Hashing: hashingKetama})
	answered := make(chan string, 2)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		g.Survey(ctx, func(probes.Identity) *probes.Scan { return nil }, func(n probes.Node, _ probes.Survey, err error) {
			if err == nil {
				answered <- n.Identity().Name
			}
		})
	}()
	if got := <-answered; got != "pool/"+well.Addr {
		t.Errorf("%s answered", got)
	}
	cancel()
	<-done
}

func BenchmarkPlace(b *testing.B) {
	var started []string
	for i := range 12 {
		started = append(started, fmt.Sprintf("10.0.0.%d:11211", i))
	}
	keys := make([]string, 10_000)
	for i := range keys {
		keys[i] = fmt.Sprintf("user:%d:profile", i)
	}
	for _, hashing := range []string{hashingGomemcache, hashingKetama, hashingAny} {
		b.Run(hashing, func(b *testing.B) {
			g := openPool(b, nodeConfig{Servers: poolServers(b, started...), Hashing: hashing})
			b.ReportAllocs()
			for b.Loop() { // all keys on all servers, as a scrape does
				for _, n := range g.members {
					p := n.(probes.Placer)
					for _, k := range keys {
						p.Place(k)
					}
				}
			}
		})
	}
}
