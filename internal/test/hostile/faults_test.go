package hostile

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/bradfitz/gomemcache/memcache"
	"github.com/rs/zerolog"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// estate is a layer of servers with equal copies, each behind a proxy that fails as networks do, and each to be killed at any time.
type estate struct {
	t       testing.TB
	proxies *toxiproxy.ApiServer
	nodes   []*frail
	// stalled is the node that scrapes have to wait for; nil: none.
	stalled *frail
}

// frail is one of its servers.
type frail struct {
	name, kind string
	// server is nil for one that is not killed.
	server *servers.Process
	proxy  *toxiproxy.Proxy
	// listen is where the proxy is, and to where the server is.
	listen, to string
}

const frailKeys = 4

// frailValue is longer than what stands around it on the wire, so that most of what is cut is cut within it.
var frailValue = `{"version":1,"text":"` + strings.Repeat("x", 2000) + `"}`

// weathers are what a network does to a connection, as toxiproxy has it; the empty one lets everything through.
var weathers = []string{
	"",
	`{"type": "latency", "attributes": {"latency": 40, "jitter": 30}}`,
	`{"type": "latency", "stream": "upstream", "attributes": {"latency": 100}}`,
	`{"type": "reset_peer", "attributes": {"timeout": 0}}`,
	`{"type": "reset_peer", "attributes": {"timeout": 30}, "toxicity": 0.5}`,
	`{"type": "slow_close", "attributes": {"delay": 200}}`,
	`{"type": "bandwidth", "attributes": {"rate": 50}}`,
	`{"type": "limit_data", "attributes": {"bytes": %d}}`,
	`{"type": "slicer", "attributes": {"average_size": 300, "size_variation": 100, "delay": 100}}`,
}

// stalls are those after which a scrape has to wait to its end.
var stalls = []string{
	`{"type": "bandwidth", "attributes": {"rate": 1}}`,
	`{"type": "slicer", "attributes": {"average_size": 7, "size_variation": 5, "delay": 10000}}`,
	`{"type": "timeout", "attributes": {"timeout": 0}}`,
	`{"type": "timeout", "attributes": {"timeout": 500}, "toxicity": 0.5}`,
	`{"type": "latency", "attributes": {"latency": 5000}}`,
}

// newEstate starts its servers, and gives what the configuration says of them.
func newEstate(t testing.TB) (*estate, Config) {
	t.Helper()
	e := &estate{t: t, proxies: toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())}
	var nodes []string
	for i, kind := range []string{"redis", "memcached", "redis", "memcached", "http"} {
		n := &frail{name: fmt.Sprintf("frail-%d", i+1), kind: kind, listen: servers.FreeAddr(t)}
		e.nodes = append(e.nodes, n)
		block := fmt.Sprintf("%s: {address: %q}", kind, n.listen)
		if kind == "http" {
			web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(frailValue)) }))
			t.Cleanup(web.Close)
			n.to = strings.TrimPrefix(web.URL, "http://")
			block = fmt.Sprintf("http: {url: \"http://%s/{key}\"}", n.listen)
		} else {
			n.to = servers.FreeAddr(t)
			e.restart(n)
		}
		t.Cleanup(func() {
			if n.proxy != nil {
				n.proxy.Stop()
			}
		})
		e.weather(n, "")
		nodes = append(nodes, fmt.Sprintf("      - {name: %s, %s}\n", n.name, block))
	}
	keys := make([]string, frailKeys)
	for i := range keys {
		keys[i] = fmt.Sprintf("%q", fmt.Sprintf("frail:%d", i))
	}
	return e, Config{
		Layers: []string{"  - name: frail\n    ttl: 24h\n    max_staleness: 5s\n    nodes:\n" + strings.Join(nodes, "")},
		Classes: []string{
			fmt.Sprintf("  - {class: frail, layers: [frail], version: {json: $.version}, keys: [%s]}\n", strings.Join(keys, ", ")),
			"  - {class: frail_pattern, layers: [frail], pattern: \"frail:*\", sample: 3}\n",
		},
		Queues: []string{"  - {name: frail, redis: {node: frail-1, list: \"frail:list\"}}\n", "  - {name: frail_http, http: {url: \"http://" + e.nodes[4].listen + "/queue\", depth: \"$.version\"}}\n"},
	}
}

// restart a server, killed if it runs, with the copies that it had.
func (e *estate) restart(n *frail) {
	e.t.Helper()
	if n.server != nil {
		n.server.Stop()
	}
	if n.kind == "memcached" {
		n.server = servers.MemcachedAt(e.t, n.to)
		client := memcache.New(n.to)
		defer func() { _ = client.Close() }()
		for k := range frailKeys {
			if err := client.Set(&memcache.Item{Key: fmt.Sprintf("frail:%d", k), Value: []byte(frailValue), Expiration: 24 * 3600}); err != nil {
				e.t.Fatal(err)
			}
		}
		return
	}
	r := servers.RedisAt(e.t, n.to)
	defer func() { _ = r.Close() }() // the client
	n.server = r.Process
	r.Must(e.t, "rpush", "frail:list", "message")
	for k := range frailKeys {
		r.Must(e.t, "set", fmt.Sprintf("frail:%d", k), frailValue, "ex", 24*3600)
	}
}

// weather of a node from now on. Its connections end: a proxy whose toxics change under way may wait for its own.
func (e *estate) weather(n *frail, toxic string) {
	e.t.Helper()
	if n.proxy != nil {
		n.proxy.Stop()
	}
	n.proxy = toxiproxy.NewProxy(e.proxies, n.name, n.listen, n.to)
	if strings.Contains(toxic, "%d") {
		toxic = fmt.Sprintf(toxic, 1+rand.IntN(8000))
	}
	if toxic != "" {
		if _, err := n.proxy.Toxics.AddToxicJson(strings.NewReader(toxic)); err != nil {
			e.t.Fatal(err)
		}
	}
	servers.Eventually(e.t, "the proxy listens", func() bool { return n.proxy.Start() == nil })
}

// change what happens to one node: another weather, or its server is killed and begins anew. None stalls for longer than one scrape, or
// there would be few of them.
func (e *estate) change() {
	e.t.Helper()
	if e.stalled != nil {
		e.weather(e.stalled, "")
		e.stalled = nil
	}
	n := e.nodes[rand.IntN(len(e.nodes))]
	switch chance := rand.IntN(24); {
	case chance < 2:
		e.weather(n, stalls[rand.IntN(len(stalls))])
		e.stalled = n
	case chance < 6 && n.server != nil:
		e.restart(n)
	default:
		e.weather(n, weathers[rand.IntN(len(weathers))])
	}
}

// calm lets everything through.
func (e *estate) calm() {
	e.t.Helper()
	for _, n := range e.nodes {
		e.weather(n, "")
	}
}

// vitals are what shows a leak, in one scrape.
type vitals struct{ goroutines, files, heap, resident float64 }

func vitalsOf(t testing.TB, p page) vitals {
	t.Helper()
	return vitals{
		p.gauge(t, "go_goroutines"), p.gauge(t, "process_open_fds"), p.gauge(t, "go_memstats_alloc_bytes"), p.gauge(t, "process_resident_memory_bytes"),
	}
}

// rests waits until the victim holds no more goroutines and files than it did, with some room: what is owed by servers that hang is
// waited for (wire.OwedLongest), and connections that nobody uses are closed in time.
func (v *Victim) rests(t testing.TB, was vitals) {
	t.Helper()
	const room = 10
	var now vitals
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(500 * time.Millisecond) {
		now = vitalsOf(t, parsePage(t, v.Scrape(t)))
		if now.goroutines <= was.goroutines+room && now.files <= was.files+room {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%v goroutines and %v files are left of what was %v and %v", now.goroutines, now.files, was.goroutines, was.files)
		}
	}
}
