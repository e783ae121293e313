package redis

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

func sentinelOf(addresses ...string) probes.LayerNode {
	return probetest.Node("main", 0, &nodeConfig{
		Sentinel:    &sentinelConfig{Master: "mymaster", Addresses: addresses, Credentials: form.Credentials{Password: "watch"}},
		Credentials: form.Credentials{Password: "node"},
	})
}

func TestSentinelGroupThroughAFailover(t *testing.T) {
	servers.NoLeaks(t)
	secret := []string{"--requirepass", "node", "--masterauth", "node"}
	var started []*servers.RedisServer
	for range 3 {
		r := servers.Redis(t)
		started = append(started, r)
	}
	p, a, b := started[0], started[1], started[2]
	a.Follow(t, p)
	b.Follow(t, p)
	for _, r := range started { // the tests' own clients are in already
		for i := 0; i < len(secret); i += 2 {
			r.Must(t, "config", "set", secret[i][2:], secret[i+1])
		}
	}
	s := servers.Sentinels(t, 3, "mymaster", p, "requirepass watch", "sentinel auth-pass {master} node")
	f := openFleet(t, time.Minute, sentinelOf(s[0].Addr, s[1].Addr, s[2].Addr, servers.Hung(t), servers.FreeAddr(t)))
	all := []string{"main/" + p.Addr, "main/" + a.Addr, "main/" + b.Addr}
	began := time.Now()
	got := probetest.SurveyFleet(t, f, 20*time.Second)
	probetest.WantNames(t, got, all...)
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("a hung Sentinel cost %v", took)
	}
	if got[all[0]].Role != "primary" || got[all[1]].Role != "replica" {
		t.Errorf("%+v", got)
	}
	s[0].Freeze(t)
	p.Stop()
	var primary string
	servers.Eventually(t, "the failover is followed", func() bool {
		got = probetest.SurveyFleet(t, f, 20*time.Second)
		primary = ""
		for name, a := range got {
			if a.Err == nil && a.Role == "primary" {
				primary = name
			}
		}
		return primary != ""
	})
	probetest.WantNames(t, got, all...)
	if !slices.Contains(all[1:], primary) || got[all[0]].Err == nil {
		t.Errorf("%s is primary: %+v", primary, got)
	}
	server, err := serverOf(f, "main", "any")
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Do(probetest.Within(t, 5*time.Second), func(ctx context.Context, c redis.Cmdable) (uint64, uint64, error) {
		return 0, 0, c.Set(ctx, "written", "on the primary alone", 0).Err()
	}); err != nil {
		t.Error(err)
	}
	s[0].Thaw(t)
}

// The group lives on what its members say while no Sentinel answers, and says why it knows none at first.
func TestSentinelGroupWithoutSentinels(t *testing.T) {
	servers.NoLeaks(t)
	p, a := servers.Redis(t), servers.Redis(t)
	a.Follow(t, p)
	s := servers.Sentinels(t, 1, "mymaster", p)
	node := sentinelOf(s[0].Addr)
	c := node.Source.(*nodeConfig)
	c.Credentials, c.Sentinel.Credentials = form.Credentials{}, form.Credentials{}
	f := openFleet(t, time.Minute, node)
	all := []string{"main/" + p.Addr, "main/" + a.Addr}
	probetest.WantNames(t, probetest.SurveyFleet(t, f, 5*time.Second), all...)
	s[0].Freeze(t)
	for range 2 {
		got := probetest.SurveyFleet(t, f, 2*time.Second)
		probetest.WantNames(t, got, all...)
		for name, a := range got {
			if a.Err != nil {
				t.Errorf("%s: %v", name, a.Err)
			}
		}
	}
	unknown := openFleet(t, time.Minute, node)
	probetest.WantNames(t, probetest.SurveyFleet(t, unknown, 300*time.Millisecond))
	s[0].Thaw(t)
	servers.Eventually(t, "the Sentinel tells again", func() bool { return len(probetest.SurveyFleet(t, unknown, 5*time.Second)) == 2 })

	// The old primary still answers as one beside another that Sentinel chose.
	a.Must(t, "replicaof", "no", "one")
	got := probetest.SurveyFleet(t, f, 5*time.Second)
	probetest.WantNames(t, got, all...)
	if got[all[0]].Role != "primary" || got[all[1]].Role != "primary" {
		t.Errorf("%+v", got)
	}

	node.Source.(*nodeConfig).Sentinel.Master = "nobody"
	other := openFleet(t, time.Minute, node)
	probetest.WantNames(t, probetest.SurveyFleet(t, other, 5*time.Second))
	if g := other.Named("main").(*sentinelGroup); g.sentinels.failing == "" {
		t.Error("nothing says that the master is unknown")
	}
}
