package acceptance

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// A pool's servers are nodes of their own. All keys are asked on all of them, and each of these reads is known as ours.
func TestMemcachedPool(t *testing.T) {
	servers.NoLeaks(t)
	var started []string
	for range 3 {
		started = append(started, servers.Memcached(t).Addr)
	}
	client := servers.MemcachedClient(t, started...)
	var keys []string
	for i := range 20 {
		keys = append(keys, fmt.Sprintf("user:%d", i))
		if err := client.Set(&memcache.Item{Key: keys[i], Value: []byte("v"), Expiration: 3600}); err != nil {
			t.Fatal(err)
		}
	}
	for _, hashing := range []string{"gomemcache", "ketama", "any"} {
		t.Run(hashing, func(t *testing.T) {
			e := start(t, fmt.Sprintf(`
layers:
  - name: l3
    ttl: 24h
    nodes: [{name: pool, memcached: {servers: ["%s"], hashing: %s}, min_nodes: 4}]
canaries:
  - {class: user, keys: ["%s"], layers: [l3]}
`, strings.Join(started, `", "`), hashing, strings.Join(keys, `", "`)))
			before := map[string]map[string]float64{}
			for _, s := range started {
				before[s] = memcachedStats(t, s)
			}
			var p page
			for range 3 {
				p = e.scrape(10 * time.Second)
			}
			p.want(1, "collector_success", "collector", "node")
			p.want(3, "group_nodes", "layer", "l3", "group", "pool")
			for _, s := range started {
				node := "pool/" + s
				p.want(1, "node_up", "layer", "l3", "node", node, "kind", "memcached")
				p.want(1, "node_info", "node", node, "group", "pool")
				// Two scrapes' reads stand before the third.
				hits, misses := p.one("node_own_reads_total", "node", node, "result", "hit"), p.one("node_own_reads_total", "node", node, "result", "miss")
				if told := p.one("node_hits_total", "node", node) - before[s]["get_hits"]; hits != told {
					t.Errorf("%s: %v hits are ours, and there were %v", node, hits, told)
				}
				if told := p.one("node_misses_total", "node", node) - before[s]["get_misses"]; misses != told {
					t.Errorf("%s: %v misses are ours, and there were %v", node, misses, told)
				}
				if hits+misses < 2*float64(len(keys)) {
					t.Errorf("%s was asked for %v keys", node, hits+misses)
				}
			}
		})
	}
}

// One port on several addresses is one name in DNS.
func TestGroupsByDNS(t *testing.T) {
	servers.NoLeaks(t)
	d := servers.StartDNS(t)
	opt := options()
	opt.Env.Resolver = d.Resolver()
	redisPort, memcachedPort, appPort := freePort(t), freePort(t), freePort(t)
	for i, host := range []string{"127.0.0.1", "127.0.0.2"} {
		servers.RedisAt(t, host+":"+redisPort).Set(t.Context(), "k", "v", time.Hour)
		servers.MemcachedAt(t, host+":"+memcachedPort)
		setMemcached(t, host+":"+memcachedPort, map[string]string{"k": "v"})
		serveAt(t, host+":"+appPort, func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/k/k":
				_, _ = fmt.Fprint(w, "v")
			case "/version":
				_, _ = fmt.Fprintf(w, "1.%d", i)
			default:
				http.NotFound(w, r)
			}
		})
	}
	for _, name := range []string{"redis.test", "mc.test", "app.test"} {
		d.Set(name, "127.0.0.1", "127.0.0.2", "127.0.0.3") // where nobody is
	}
	e := startWith(t, opt, fmt.Sprintf(`
layers:
  - name: l1
    ttl: 60s
    nodes: [{name: app, http: {dns: "app.test:%[3]s", url: "http://{host}:{port}/k/{key}"}}]
  - name: l2
    ttl: 1h
    nodes: [{name: redis, redis: {dns: "redis.test:%[1]s"}, min_nodes: 3}]
  - name: l3
    ttl: 24h
    nodes: [{name: mc, memcached: {dns: "mc.test:%[2]s"}}, {name: nowhere, memcached: {dns: "nowhere.test:1"}}]
canaries:
  - {class: user, keys: [k], layers: [l1, l2, l3]}
versions:
  - {app: api, dns: "app.test:%[3]s", url: "http://{host}:{port}/version"}
  - {app: lost, dns: "nowhere.test:1", url: "http://{host}:{port}/version"}
`, redisPort, memcachedPort, appPort))
	p := e.scrape(5 * time.Second)
	for _, g := range []struct{ layer, group, kind, port string }{
		{"l1", "app", "http", appPort}, {"l2", "redis", "redis", redisPort}, {"l3", "mc", "memcached", memcachedPort},
	} {
		p.want(3, "group_nodes", "layer", g.layer, "group", g.group)
		for i, up := range []float64{1, 1, 0} {
			p.want(up, "node_up", "layer", g.layer, "node", fmt.Sprintf("%s/127.0.0.%d:%s", g.group, i+1, g.port), "kind", g.kind)
		}
	}
	if n := p.sum("canary_copies", "class", "user", "state", "error"); n != 3 {
		t.Errorf("%v copies are errors, not the three where nobody is", n)
	}

	// A group of which nothing is known must not look healthy.
	p.want(0, "group_nodes", "layer", "l3", "group", "nowhere")
	p.want(0, "collector_success", "collector", "node")
	p.want(0, "collector_success", "collector", "app_version")
	if !strings.Contains(e.log.String(), "nowhere.test") {
		t.Errorf("the log does not name the group's name:\n%s", e.log)
	}

	for i, up := range []float64{1, 1, 0} {
		p.want(up, "app_up", "app", "api", "node", fmt.Sprintf("127.0.0.%d:%s", i+1, appPort))
	}
	p.want(2, "app_distinct_versions", "app", "api")
	if n := p.number("app_up", "app", "lost"); n > 0 {
		t.Errorf("%d instances of a name that does not exist", n)
	}

	// What is known stays, and is asked for once.
	d.Mute(true)
	for range 3 {
		p = e.scrape(5 * time.Second)
	}
	p.want(3, "group_nodes", "layer", "l2", "group", "redis")
	p.want(2, "app_distinct_versions", "app", "api")
	if n := d.Asked("redis.test"); n != 1 {
		t.Errorf("the name was asked for %d times", n)
	}
}

// A name server that never answers costs no other node anything.
func TestNameServerHangs(t *testing.T) {
	servers.NoLeaks(t)
	d := servers.StartDNS(t)
	d.Mute(true)
	opt := options()
	opt.Env.Resolver = d.Resolver()
	well := servers.Memcached(t)
	setMemcached(t, well.Addr, map[string]string{"k": "v"})
	e := startWith(t, opt, fmt.Sprintf(`
layers:
  - name: l3
    ttl: 24h
    nodes: [{name: well, memcached: {address: "%s"}}, {name: mc, memcached: {dns: "mc.test:1"}}]
canaries:
  - {class: user, keys: [k], layers: [l3]}
versions:
  - {app: api, dns: "mc.test:1", url: "http://{host}:{port}/version"}
`, well.Addr))
	for range 2 {
		began := time.Now()
		p := e.scrape(2 * time.Second)
		if took := time.Since(began); took >= 2*time.Second {
			t.Errorf("the answer took %v", took)
		}
		p.want(1, "node_up", "node", "well")
		p.want(1, "canary_copies", "node", "well", "state", "unverified")
		p.want(0, "group_nodes", "group", "mc")
		p.want(0, "collector_success", "collector", "node")
		p.want(0, "collector_success", "collector", "app_version")
	}
}

func freePort(t testing.TB) string {
	t.Helper()
	return servers.Port(t, servers.FreeAddr(t))
}

// serveAt serves HTTP on addr until the test's end.
func serveAt(t testing.TB, addr string, handler http.HandlerFunc) {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(handler)
	_ = s.Listener.Close() // of its own
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
}
