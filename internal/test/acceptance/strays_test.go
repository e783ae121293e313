package acceptance

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/consistency"
	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/internal/verdict"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/backends"
)

// sharing makes nodes of a fleet share their keys out.
type sharing struct {
	*probes.Fleet
	place func(node, key string) probes.Placement
}

// sharer is a node of it.
type sharer struct {
	probes.Node
	place func(node, key string) probes.Placement
}

func (s sharer) Place(key string) probes.Placement { return s.place(s.Identity().Name, key) }

func (s sharing) Survey(
	ctx context.Context, scanFor func(probes.Identity) *probes.Scan, visit func(probes.Node, probes.Survey, error),
) {
	s.Fleet.Survey(ctx, scanFor, func(n probes.Node, survey probes.Survey, err error) {
		visit(sharer{Node: n, place: s.place}, survey, err)
	})
}

// TestKeysSharedOutOverServers: of servers that share keys out, each is asked for its own alone, and for those whose copies
// there are strays; in one round trip.
func TestKeysSharedOutOverServers(t *testing.T) {
	const keys = 100
	var started []*servers.RedisServer
	var proxies []*servers.Proxy
	var addresses []string
	for range 3 {
		r := servers.Redis(t)
		p := servers.NewProxy(t, r.Addr)
		started, proxies, addresses = append(started, r), append(proxies, p), append(addresses, p.Addr)
	}
	var names []string
	number := map[string]int{}
	for i := range keys {
		name := fmt.Sprintf("user:%d", i)
		number[name], names = i, append(names, name)
		started[i%2].Must(t, "set", name, "x", "ex", 3600) // each on the first or the second
	}
	for i := range 7 { // strays: 7 of the first's on the third, which holds nothing of its own
		started[2].Must(t, "set", names[2*i], "y", "ex", 3600)
	}
	cfg, err := config.Parse("test.yml", []byte("layers:\n  - name: l2\n    ttl: 1h\n    nodes:\n"+redisNodes(addresses...)+
		"canaries:\n  - {class: user, keys: [\""+strings.Join(names, "\", \"")+"\"], layers: [l2]}\n"), backends.All)
	if err != nil {
		t.Fatal(err)
	}
	opt := options()
	fleet, err := cfg.OpenFleet(opt.Env)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fleet.Close)
	shared := sharing{Fleet: fleet, place: func(node, key string) probes.Placement {
		switch {
		case node == "redis-3":
			return probes.Placement{Holding: probes.Foreign}
		case node == fmt.Sprintf("redis-%d", number[key]%2+1):
			return probes.Placement{}
		}
		return probes.Placement{Holding: probes.Elsewhere}
	}}
	s, err := consistency.NewSampler(cfg, shared, opt.Sampler, opt.Env, consistency.NewMemory())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	sample := func() []consistency.ClassNode {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		r := s.Sample(ctx)
		if err := r.Classes[0].Err; err != nil {
			t.Fatal(err)
		}
		return r.Classes[0].Nodes
	}
	sample() // opens the connections
	for i := range started {
		started[i].Must(t, "config", "resetstat")
		proxies[i].Reset()
	}
	nodes := sample()
	for i, want := range []struct{ hits, misses, copies, strays int }{{50, 0, 50, 0}, {50, 0, 50, 0}, {7, 93, 0, 7}} {
		info := started[i].Info(t.Context(), "stats").Val()
		// Each key is asked for by MGET and PTTL.
		for _, line := range []string{fmt.Sprintf("keyspace_hits:%d\r\n", 2*want.hits), fmt.Sprintf("keyspace_misses:%d\r\n", 2*want.misses)} {
			if !strings.Contains(info, line) {
				t.Errorf("redis-%d does not tell %q:\n%s", i+1, line, info)
			}
		}
		if got := proxies[i].Counts().RoundTrips; got > 2 {
			t.Errorf("redis-%d: %d round trips, want INFO and one", i+1, got)
		}
		n := nodes[i]
		if n.Copies != [verdict.NumStates]int{verdict.Unverified: want.copies} || n.Strays != want.strays || n.StraysRead != (i == 2) {
			t.Errorf("redis-%d: copies %v, strays %d, asked for them: %t", i+1, n.Copies, n.Strays, n.StraysRead)
		}
	}
	started[2].Must(t, "flushall")
	if n := sample()[2]; n.Strays != 0 || !n.StraysRead {
		t.Errorf("%d strays", n.Strays)
	}
	started[2].Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if n := s.Sample(ctx).Classes[0].Nodes[2]; n.StraysRead || n.Copies != [verdict.NumStates]int{} {
		t.Errorf("of a server that is gone: strays known: %t, copies %v", n.StraysRead, n.Copies)
	}
}
