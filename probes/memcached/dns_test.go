package memcached

import (
	"strings"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/group"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

func TestByDNS(t *testing.T) {
	servers.NoLeaks(t)
	d, port := servers.StartDNS(t), probetest.FreePort(t)
	first := servers.MemcachedAt(t, "127.0.0.1:"+port)
	servers.MemcachedAt(t, "127.0.0.2:"+port)
	d.Set("mc.test", "127.0.0.2", "127.0.0.1")
	configured := probetest.Node("mc", 3, &nodeConfig{DNS: &form.DNSName{Host: "mc.test", Port: port}, Hashing: hashingAny})
	configured.Kind = backendName
	f, env := probetest.OpenByDNS(t, d, configured)
	g := f.Named(configured.Name).(*group.DNS)
	if got := f.Groups()[0]; got.Err == nil || len(got.Nodes) > 0 || got.Expected != 3 {
		t.Errorf("before any answer the group is %+v", got)
	}
	for range 3 {
		for name, a := range probetest.SurveyFleet(t, f, 5*time.Second) {
			if a.Err != nil || a.Version == "" {
				t.Errorf("%s: %+v", name, a)
			}
		}
	}
	probetest.WantNodes(t, g, "mc/127.0.0.1:"+port, "mc/127.0.0.2:"+port)
	if n := d.Asked("mc.test"); n != 1 {
		t.Errorf("the name was asked for %d times", n)
	}
	if got := f.Groups()[0]; got.Err != nil {
		t.Error(got.Err)
	}
	for _, n := range f.Nodes() {
		if p := n.(probes.Placer).Place("k"); p.Holding != probes.Anywhere || n.Identity().Kind != "memcached" || n.Identity().Group != "mc" {
			t.Errorf("%+v: %v", n.Identity(), p)
		}
	}

	// A server that leaves the name and answers no more is still asked.
	d.Set("mc.test", "127.0.0.2")
	first.Stop()
	g.Resolver.Again()
	got := probetest.SurveyFleet(t, f, 5*time.Second)
	if a, asked := got["mc/127.0.0.1:"+port]; !asked || a.Err == nil {
		t.Errorf("the one that left: asked %t, %v", asked, a.Err)
	}
	probetest.WantNodes(t, g, "mc/127.0.0.1:"+port, "mc/127.0.0.2:"+port)

	// After its time it is forgotten.
	env.ForgetAfter = 0
	probetest.SurveyFleet(t, f, 5*time.Second)
	probetest.WantNodes(t, g, "mc/127.0.0.2:"+port)

	// Whatever goes wrong with a lookup, the last answer stays, and nobody waits.
	for name, change := range map[string]func(){
		"failed": func() { d.Fail(true) },
		"gone":   func() { d.Fail(false); d.Remove("mc.test") },
		"empty":  func() { d.Set("mc.test") },
		"mute":   func() { d.Mute(true) },
	} {
		env.ForgetAfter = time.Hour
		change()
		servers.Eventually(t, "no lookup goes on", g.Resolver.Idle)
		asked := d.Asked("mc.test")
		g.Resolver.Again()
		if a, ok := probetest.SurveyFleet(t, f, 5*time.Second)["mc/127.0.0.2:"+port]; !ok || a.Err != nil {
			t.Errorf("%s: surveyed %t, %v", name, ok, a.Err)
		}
		servers.Eventually(t, "the name is asked for", func() bool { return d.Asked("mc.test") > asked })
		if err := f.Groups()[0].Err; err != nil {
			t.Errorf("%s: %v", name, err)
		}
		d.Mute(false) // the resolver asks again before long
		servers.Eventually(t, "the lookup ended", g.Resolver.Idle)
	}
	probetest.WantNodes(t, g, "mc/127.0.0.2:"+port)
}

// A name that was never answered is an error, whatever the reason; one that hangs keeps nobody past the deadline.
func TestDNSWithoutAnswer(t *testing.T) {
	servers.NoLeaks(t)
	for name, c := range map[string]struct {
		set  func(*servers.DNS)
		want string
	}{
		"unknown": {func(*servers.DNS) {}, "the DNS name mc.test: no such host"},
		"failed":  {func(d *servers.DNS) { d.Fail(true) }, "the DNS name mc.test: the resolver"},
		"empty":   {func(d *servers.DNS) { d.Set("mc.test") }, "the DNS name mc.test: "},
		"hanging": {func(d *servers.DNS) { d.Mute(true) }, "the DNS name mc.test: it has not been answered yet"},
	} {
		t.Run(name, func(t *testing.T) {
			d := servers.StartDNS(t)
			c.set(d)
			f, _ := probetest.OpenByDNS(t, d, probetest.Node("mc", 0, &nodeConfig{DNS: &form.DNSName{Host: "mc.test", Port: "1"}, Hashing: hashingAny}))
			g := f.Named("mc").(*group.DNS)
			if got := probetest.SurveyFleet(t, f, 500*time.Millisecond); len(got) > 0 {
				t.Errorf("surveyed %v", got.Names())
			}
			if name != "hanging" {
				servers.Eventually(t, "the lookup ended", g.Resolver.Idle)
				probetest.SurveyFleet(t, f, 500*time.Millisecond)
			}
			if got := f.Groups()[0]; got.Err == nil || !strings.HasPrefix(got.Err.Error(), c.want) || len(got.Nodes) > 0 {
				t.Errorf("the group is %+v", got)
			}
		})
	}
}
