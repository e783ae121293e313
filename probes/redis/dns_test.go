package redis

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

func TestByDNS(t *testing.T) {
	servers.NoLeaks(t)
	d, port := servers.StartDNS(t), probetest.FreePort(t)
	// One server has two addresses.
	twin := servers.RedisAt(t, "127.0.0.2:"+port, "--bind", "127.0.0.1 127.0.0.2")
	servers.RedisAt(t, "127.0.0.3:"+port)
	d.Set("redis.test", "127.0.0.2", "127.0.0.3", "127.0.0.1")
	f, _ := probetest.OpenByDNS(t, d, probetest.Node("headless", 0, &nodeConfig{DNS: &form.DNSName{Host: "redis.test", Port: port}}))
	g := f.Named("headless").(dnsGroup).DNS
	server, err := serverOf(f, "headless", "inv")
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Do(probetest.Within(t, time.Second), nil); err == nil {
		t.Error("nobody answered yet, and a primary was asked")
	}
	for range 3 {
		got := probetest.SurveyFleet(t, f, 5*time.Second)
		if !slices.Equal(got.Names(), []string{"headless/127.0.0.1:" + port, "headless/127.0.0.3:" + port}) {
			t.Errorf("surveyed %v", got.Names())
		}
	}
	if err := server.Do(probetest.Within(t, time.Second), nil); err == nil || !strings.Contains(err.Error(), "several primaries") {
		t.Errorf("of several primaries one was asked: %v", err)
	}
	_ = twin

	// The name loses the address under which it was found: it is asked at the other, and keeps its name.
	d.Set("redis.test", "127.0.0.2", "127.0.0.3")
	g.Resolver.Again()
	probetest.SurveyFleet(t, f, 5*time.Second)
	if n := g.Nodes()[0].(*node); n.url.Addr != "127.0.0.2:"+port || n.id.Name != "headless/127.0.0.1:"+port {
		t.Errorf("%s is asked at %s", n.id.Name, n.url.Addr)
	}
	// And when that comes back, nobody is there twice.
	d.Set("redis.test", "127.0.0.1", "127.0.0.2", "127.0.0.3")
	for range 2 {
		g.Resolver.Again()
		probetest.SurveyFleet(t, f, 5*time.Second)
	}
	probetest.WantNodes(t, g, "headless/127.0.0.1:"+port, "headless/127.0.0.3:"+port)
}

func TestBySRV(t *testing.T) {
	servers.NoLeaks(t)
	d := servers.StartDNS(t)
	one, two := servers.Redis(t), servers.RedisAt(t, "127.0.0.2:"+probetest.FreePort(t))
	d.SetSRV("_redis._tcp.test", one.Addr, two.Addr)
	f, _ := probetest.OpenByDNS(t, d, probetest.Node("srv", 0, &nodeConfig{DNS: &form.DNSName{Host: "_redis._tcp.test", SRV: true}}))
	g := f.Named("srv").(dnsGroup).DNS
	probetest.SurveyFleet(t, f, 5*time.Second) // no resolver knows the hosts, but the nodes are known
	probetest.WantNodes(t, g, "srv/h127-0-0-1.srv.test:"+servers.Port(t, one.Addr), "srv/h127-0-0-2.srv.test:"+servers.Port(t, two.Addr))
}
