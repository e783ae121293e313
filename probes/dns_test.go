package probes

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// freePort of all of 127.0.0.0/8, as far as one address tells.
func freePort(t testing.TB) string {
	t.Helper()
	return servers.Port(t, servers.FreeAddr(t))
}

func openGroupOf(t *testing.T, d *servers.DNS, forget time.Duration, c config.Node) (*Fleet, *dnsGroup) {
	t.Helper()
	opt := testOptions()
	opt.ForgetAfter, opt.Resolver = forget, d.Resolver()
	f, err := OpenFleet(&config.Config{Layers: []config.Layer{{Name: "l2", Nodes: []config.Node{c}}}}, opt, quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	g, ok := f.groups[0].(*dnsGroup)
	if !ok {
		g = f.groups[0].(redisDNSGroup).dnsGroup
	}
	return f, g
}

// again has the next survey look the name up, as if the time for it had come.
func (d *directory) again() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.next = time.Time{}
}

func (d *directory) idle() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.running
}

func wantNodes(t *testing.T, g *dnsGroup, want ...string) {
	t.Helper()
	if got := g.group().Nodes; !slices.Equal(got, want) {
		t.Errorf("the nodes are %q, not %q", got, want)
	}
}

func TestMemcachedByDNS(t *testing.T) {
	noLeaks(t)
	d, port := servers.StartDNS(t), freePort(t)
	first := servers.MemcachedAt(t, "127.0.0.1:"+port)
	servers.MemcachedAt(t, "127.0.0.2:"+port)
	d.Set("mc.test", "127.0.0.2", "127.0.0.1")
	f, g := openGroupOf(t, d, time.Hour, config.Node{
		Name: "mc", MinNodes: 3, Memcached: &config.Memcached{DNS: &config.DNSName{Host: "mc.test", Port: port}, Hashing: config.HashingAny},
	})
	if got := f.Groups()[0]; got.Err == nil || len(got.Nodes) > 0 || got.Expected != 3 {
		t.Errorf("before any answer the group is %+v", got)
	}
	for range 3 {
		for name, a := range surveyFleet(t, f, 5*time.Second) {
			if a.err != nil || a.Version == "" {
				t.Errorf("%s: %+v", name, a)
			}
		}
	}
	wantNodes(t, g, "mc/127.0.0.1:"+port, "mc/127.0.0.2:"+port)
	if n := d.Asked("mc.test"); n != 1 {
		t.Errorf("the name was asked for %d times", n)
	}
	if got := f.Groups()[0]; got.Err != nil {
		t.Error(got.Err)
	}
	for _, n := range f.Nodes() {
		if p := n.(Placer).Place("k"); p.Holding != Anywhere || n.Identity().Kind != "memcached" || n.Identity().Group != "mc" {
			t.Errorf("%+v: %v", n.Identity(), p)
		}
	}

	// A server that leaves the name and answers no more is still asked.
	d.Set("mc.test", "127.0.0.2")
	first.Stop()
	g.names.again()
	got := surveyFleet(t, f, 5*time.Second)
	if a, asked := got["mc/127.0.0.1:"+port]; !asked || a.err == nil {
		t.Errorf("the one that left: asked %t, %v", asked, a.err)
	}
	wantNodes(t, g, "mc/127.0.0.1:"+port, "mc/127.0.0.2:"+port)

	// After its time it is forgotten.
	g.opt.ForgetAfter = 0
	surveyFleet(t, f, 5*time.Second)
	wantNodes(t, g, "mc/127.0.0.2:"+port)

	// Whatever goes wrong with a lookup, the last answer stays, and nobody waits.
	for name, change := range map[string]func(){
		"failed": func() { d.Fail(true) },
		"gone":   func() { d.Fail(false); d.Remove("mc.test") },
		"empty":  func() { d.Set("mc.test") },
		"mute":   func() { d.Mute(true) },
	} {
		g.opt.ForgetAfter = time.Hour
		change()
		servers.Eventually(t, "no lookup goes on", g.names.idle)
		asked := d.Asked("mc.test")
		g.names.again()
		if a, ok := surveyFleet(t, f, 5*time.Second)["mc/127.0.0.2:"+port]; !ok || a.err != nil {
			t.Errorf("%s: surveyed %t, %v", name, ok, a.err)
		}
		servers.Eventually(t, "the name is asked for", func() bool { return d.Asked("mc.test") > asked })
		if err := g.group().Err; err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if name == "mute" {
			g.names.end() // it would go on for long
		}
		servers.Eventually(t, "the lookup ended", g.names.idle)
		if name == "mute" {
			g.names.life, g.names.end = context.WithCancel(context.Background())
			d.Mute(false)
		}
	}
	wantNodes(t, g, "mc/127.0.0.2:"+port)
}

// A name that was never answered is an error, whatever the reason; one that hangs keeps nobody past the deadline.
func TestDNSWithoutAnswer(t *testing.T) {
	noLeaks(t)
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
			f, _ := openGroupOf(t, d, time.Hour, config.Node{
				Name: "mc", Memcached: &config.Memcached{DNS: &config.DNSName{Host: "mc.test", Port: "1"}, Hashing: config.HashingAny},
			})
			if got := surveyFleet(t, f, 500*time.Millisecond); len(got) > 0 {
				t.Errorf("surveyed %v", got.names())
			}
			if name != "hanging" {
				servers.Eventually(t, "the lookup ended", f.groups[0].(*dnsGroup).names.idle)
				surveyFleet(t, f, 500*time.Millisecond)
			}
			if got := f.Groups()[0]; got.Err == nil || !strings.HasPrefix(got.Err.Error(), c.want) || len(got.Nodes) > 0 {
				t.Errorf("the group is %+v", got)
			}
		})
	}
}

func TestRedisByDNS(t *testing.T) {
	noLeaks(t)
	d, port := servers.StartDNS(t), freePort(t)
	// One server has two addresses.
	twin := servers.RedisAt(t, "127.0.0.2:"+port, "--bind", "127.0.0.1 127.0.0.2")
	servers.RedisAt(t, "127.0.0.3:"+port)
	d.Set("redis.test", "127.0.0.2", "127.0.0.3", "127.0.0.1")
	f, g := openGroupOf(t, d, time.Hour, config.Node{Name: "headless", Redis: &config.Redis{DNS: &config.DNSName{Host: "redis.test", Port: port}}})
	server, ok := f.Redis("headless", "inv")
	if !ok {
		t.Fatal("a queue finds no group")
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
	if n := g.nodes()[0].(*redisNode); n.url.Addr != "127.0.0.2:"+port || n.id.Name != "headless/127.0.0.1:"+port {
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
	noLeaks(t)
	d := servers.StartDNS(t)
	one, two := servers.Redis(t), servers.RedisAt(t, "127.0.0.2:"+freePort(t))
	d.SetSRV("_redis._tcp.test", one.Addr, two.Addr)
	_, g := openGroupOf(t, d, time.Hour, config.Node{Name: "srv", Redis: &config.Redis{DNS: &config.DNSName{Host: "_redis._tcp.test", SRV: true}}})
	places, err := g.names.places(within(t, 5*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	g.begin(places, nil)
	wantNodes(t, g, "srv/h127-0-0-1.srv.test:"+servers.Port(t, one.Addr), "srv/h127-0-0-2.srv.test:"+servers.Port(t, two.Addr))
}

func TestHTTPByDNS(t *testing.T) {
	noLeaks(t)
	d, port := servers.StartDNS(t), freePort(t)
	for _, host := range []string{"127.0.0.1", "127.0.0.2"} {
		l, err := net.Listen("tcp", host+":"+port)
		if err != nil {
			t.Fatal(err)
		}
		s := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/stats/" + host:
				_, _ = fmt.Fprint(w, `{"hits": 7}`)
			case "/k/a":
				_, _ = fmt.Fprint(w, host, " ", r.Host)
			default:
				http.NotFound(w, r)
			}
		})}
		served := make(chan struct{})
		go func() {
			defer close(served)
			_ = s.Serve(l) // until Close
		}()
		t.Cleanup(func() {
			_ = s.Close()
			<-served
		})
	}
	d.Set("app.test", "127.0.0.1", "127.0.0.2")
	template, err := config.ParseTemplate("http://{host}:{port}/k/{key}")
	if err != nil {
		t.Fatal(err)
	}
	f, _ := openGroupOf(t, d, time.Hour, config.Node{Name: "app", HTTP: &config.HTTPNode{
		DNS: &config.DNSName{Host: "app.test", Port: port}, URL: template, Headers: map[string]string{"Host": "www.example.com"},
		Stats: &config.HTTPStats{URL: "http://{host}:{port}/stats/{host}", Hits: "$.hits"},
	}})
	for name, a := range surveyFleet(t, f, 5*time.Second) {
		if a.err != nil || a.Hits.Value != 7 {
			t.Errorf("%s: %+v", name, a)
		}
	}
	nodes := f.Nodes()
	if len(nodes) != 2 {
		t.Fatalf("there are %d nodes", len(nodes))
	}
	for i, n := range nodes {
		want := fmt.Sprintf("127.0.0.%d www.example.com", i+1)
		err := n.Read(within(t, 5*time.Second), []Key{{Name: "a"}}, func(_ int, r Raw) {
			if string(r.Value) != want {
				t.Errorf("%s gave %q (%v), not %q", n.Identity().Name, r.Value, r.Err, want)
			}
		})
		if err != nil {
			t.Error(err)
		}
	}
}

func TestFilledText(t *testing.T) {
	for _, c := range []struct {
		text string
		at   place
		want string
	}{
		{"http://{host}:{port}/k/{key}", place{"10.0.0.1", "80"}, "http://10.0.0.1:80/k/{key}"},
		{"http://{host}:9090/{host}?of={host}&p={port}", place{"::1", "80"}, "http://[::1]:9090/::1?of=%3A%3A1&p=80"},
		{"https://{host}", place{"fe80::1%eth0", "443"}, "https://[fe80::1%25eth0]"},
		{"http://{host}?a", place{"app-1.test", "80"}, "http://app-1.test?a"},
		{"", place{"::1", "80"}, ""},
	} {
		if got := filledText(c.text, c.at); got != c.want {
			t.Errorf("%q with %v is %q, not %q", c.text, c.at, got, c.want)
		}
	}
}

func TestCertifiedBy(t *testing.T) {
	name := config.DNSName{Host: "app.test", Port: "443"}
	if got := certified(&config.TLS{}, name); got.ServerName != "app.test" {
		t.Errorf("asked to prove %q", got.ServerName)
	}
	if got := certified(&config.TLS{ServerName: "x"}, name); got.ServerName != "x" {
		t.Errorf("asked to prove %q", got.ServerName)
	}
	if got := certified(&config.TLS{}, config.DNSName{Host: "_a._tcp.test", SRV: true}); got.ServerName != "" {
		t.Errorf("asked to prove %q", got.ServerName)
	}
	if certified(nil, name) != nil {
		t.Error("TLS is on")
	}
}

// Whatever the template behind its host, the server that is asked is the place.
func FuzzFilledText(f *testing.F) {
	f.Add(":{port}/k/{key}?a={host}", "10.0.0.1", "80")
	f.Add("/{host}/%", "fe80::1%eth0", "443")
	f.Add("?{host}{port}{", "app-1.test", "1")
	f.Fuzz(func(t *testing.T, rest, host, port string) {
		n, err := strconv.ParseUint(port, 10, 16)
		plain := err == nil && n > 0 && (plainHost(host) || isAddress(host))
		if !plain || rest != "" && !strings.HasPrefix(rest, ":{port}/") && rest[0] != '/' && rest[0] != '?' {
			return
		}
		u, err := url.Parse(filledText("http://{host}"+rest, place{host, port}))
		if err != nil {
			return // the template is none
		}
		if u.Hostname() != host || u.Scheme != "http" || u.Port() != "" && u.Port() != port || u.User != nil {
			t.Errorf("%q at %s:%s asks %s", rest, host, port, u.Host)
		}
	})
}

func isAddress(s string) bool {
	a, err := netip.ParseAddr(s)
	return err == nil && plainAddress(a) == s && strings.Trim(a.Zone(), "abcdefghijklmnopqrstuvwxyz0123456789") == ""
}

// The servers behind a name have certificates of the name, or of the site that a Host header chooses.
func TestHTTPByDNSServerName(t *testing.T) {
	template, err := config.ParseTemplate("https://192.0.2.1:443/{key}")
	if err != nil {
		t.Fatal(err)
	}
	dns := &config.DNSName{Host: "app.test", Port: "443"}
	for _, c := range []struct {
		config.HTTPNode
		want string
	}{
		{config.HTTPNode{URL: template}, "192.0.2.1"},
		{config.HTTPNode{URL: template, DNS: dns}, "app.test"},
		{config.HTTPNode{URL: template, DNS: dns, Headers: map[string]string{"Host": "www.example.com"}}, "www.example.com"},
		{config.HTTPNode{URL: template, DNS: &config.DNSName{Host: "_a._tcp.test", SRV: true}}, "192.0.2.1"},
	} {
		if got := openHTTP(t, c.HTTPNode, testOptions()).client.serverName("192.0.2.1:443"); got != c.want {
			t.Errorf("asked to prove %q, not %q", got, c.want)
		}
	}
}
