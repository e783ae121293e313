package probes

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

func openDNSRedis(t *testing.T, d *servers.DNS, forget time.Duration, c config.Node) (*Fleet, *dnsGroup) {
	t.Helper()
	opt := testOptions()
	opt.ForgetAfter, opt.Resolver = forget, d.Resolver()
	m, err := openRedisMembers(Identity{Layer: "l2", Name: c.Name}, *c.Redis, c.MinNodes, opt, quiet())
	if err != nil {
		t.Fatal(err)
	}
	f := &Fleet{}
	f.Add(c.Name, m)
	t.Cleanup(f.Close)
	return f, m.(redisDNSGroup).dnsGroup
}

func TestRedisByDNS(t *testing.T) {
	servers.NoLeaks(t)
	d, port := servers.StartDNS(t), freePort(t)
	// One server has two addresses.
	twin := servers.RedisAt(t, "127.0.0.2:"+port, "--bind", "127.0.0.1 127.0.0.2")
	servers.RedisAt(t, "127.0.0.3:"+port)
	d.Set("redis.test", "127.0.0.2", "127.0.0.3", "127.0.0.1")
	f, g := openDNSRedis(t, d, time.Hour, config.Node{Name: "headless", Redis: &config.Redis{DNS: &config.DNSName{Host: "redis.test", Port: port}}})
	server, err := serverOf(f, "headless", "inv")
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Do(within(t, time.Second), nil); err == nil {
		t.Error("nobody answered yet, and a primary was asked")
	}
	for range 3 {
		got := surveyFleet(t, f, 5*time.Second)
		if !slices.Equal(got.names(), []string{"headless/127.0.0.1:" + port, "headless/127.0.0.3:" + port}) {
			t.Errorf("surveyed %v", got.names())
		}
	}
	if err := server.Do(within(t, time.Second), nil); err == nil || !strings.Contains(err.Error(), "several primaries") {
		t.Errorf("of several primaries one was asked: %v", err)
	}
	_ = twin

	// The name loses the address under which it was found: it is asked at the other, and keeps its name.
	d.Set("redis.test", "127.0.0.2", "127.0.0.3")
	g.names.again()
	surveyFleet(t, f, 5*time.Second)
	if n := g.Nodes()[0].(*redisNode); n.url.Addr != "127.0.0.2:"+port || n.id.Name != "headless/127.0.0.1:"+port {
		t.Errorf("%s is asked at %s", n.id.Name, n.url.Addr)
	}
	// And when that comes back, nobody is there twice.
	d.Set("redis.test", "127.0.0.1", "127.0.0.2", "127.0.0.3")
	for range 2 {
		g.names.again()
		surveyFleet(t, f, 5*time.Second)
	}
	wantNodes(t, g, "headless/127.0.0.1:"+port, "headless/127.0.0.3:"+port)
}

func TestRedisBySRV(t *testing.T) {
	servers.NoLeaks(t)
	d := servers.StartDNS(t)
	one, two := servers.Redis(t), servers.RedisAt(t, "127.0.0.2:"+freePort(t))
	d.SetSRV("_redis._tcp.test", one.Addr, two.Addr)
	f, g := openDNSRedis(t, d, time.Hour, config.Node{Name: "srv", Redis: &config.Redis{DNS: &config.DNSName{Host: "_redis._tcp.test", SRV: true}}})
	surveyFleet(t, f, 5*time.Second) // no resolver knows the hosts, but the nodes are known
	wantNodes(t, g, "srv/h127-0-0-1.srv.test:"+servers.Port(t, one.Addr), "srv/h127-0-0-2.srv.test:"+servers.Port(t, two.Addr))
}
