package acceptance

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"

	"github.com/cacheinv/cacheinv_exporter/internal/test/cases"
	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// TestCasesOnRealServers plays every case of the verdict on real servers, and looks at /metrics.
func TestCasesOnRealServers(t *testing.T) {
	for _, c := range cases.All(t) {
		t.Run(strings.ReplaceAll(c.Name, "/", "-"), func(t *testing.T) {
			t.Parallel()
			c.Play(t, newRealWorld(t, &c))
		})
	}
}

const caseKey = "case:1"

// realWorld is servers of a case's own, and an exporter over them.
type realWorld struct {
	t         *testing.T
	c         *cases.Case
	e         *exporter
	redis     map[string]*servers.RedisServer
	memcached map[string]*servers.Process
	web       map[string]*webNode
	origin    *webNode
	cut       map[string]bool
	frozen    bool
}

// webNode is an HTTP node, or the origin: it answers every path alike.
type webNode struct {
	*httptest.Server
	mu sync.Mutex
	v  cases.Value
	n  int
}

func startWeb(t *testing.T, status int) *webNode {
	t.Helper()
	w := &webNode{v: cases.Value{Status: status}}
	w.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		w.mu.Lock()
		v := w.v
		w.n++
		n := w.n
		w.mu.Unlock()
		if v.Status != 0 {
			rw.WriteHeader(v.Status)
		}
		if v.Nonce || v.Serial {
			_, _ = fmt.Fprintf(rw, "%d", n)
		}
		_, _ = rw.Write(v.Bytes)
	}))
	t.Cleanup(w.Close)
	return w
}

func (w *webNode) set(v cases.Value) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.v = v
	if v.Serial { // all that are set so begin alike
		w.n = 0
	}
}

func newRealWorld(t *testing.T, c *cases.Case) *realWorld {
	t.Helper()
	w := &realWorld{
		t: t, c: c, redis: map[string]*servers.RedisServer{}, memcached: map[string]*servers.Process{},
		web: map[string]*webNode{}, origin: startWeb(t, http.StatusInternalServerError), cut: map[string]bool{},
	}
	addresses := map[string]string{}
	for _, l := range c.Layers {
		for _, n := range l.Nodes {
			switch n.Kind {
			case "redis":
				w.redis[n.Name] = servers.Redis(t)
				addresses[n.Name] = w.redis[n.Name].Addr
			case "memcached":
				w.memcached[n.Name] = servers.Memcached(t)
				addresses[n.Name] = w.memcached[n.Name].Addr
			default:
				w.web[n.Name] = startWeb(t, http.StatusNotFound)
				addresses[n.Name] = strings.TrimPrefix(w.web[n.Name].URL, "http://")
			}
		}
		for _, n := range l.Nodes {
			if n.ReplicaOf != "" {
				w.redis[n.Name].Follow(t, w.redis[n.ReplicaOf])
			}
		}
	}
	cfg := c.Config("case", caseKey, func(n cases.Node) string { return addresses[n.Name] }, w.origin.URL+"/{key}")
	w.e = start(t, string(cfg))
	return w
}

func (w *realWorld) Set(node cases.Node, v cases.Value, ttl time.Duration) {
	w.t.Helper()
	if r := w.redis[node.Name]; r != nil {
		w.setRedis(r, v, ttl)
		return
	}
	if m := w.memcached[node.Name]; m != nil {
		client := servers.MemcachedClient(w.t, m.Addr)
		if err := client.Set(&memcache.Item{Key: caseKey, Value: v.Bytes, Expiration: int32(ttl.Seconds())}); err != nil {
			w.t.Fatal(err)
		}
		return
	}
	w.web[node.Name].set(v)
}

func (w *realWorld) setRedis(r *servers.RedisServer, v cases.Value, ttl time.Duration) {
	w.t.Helper()
	p := r.TxPipeline()
	p.Del(w.t.Context(), caseKey)
	switch {
	case v.Hash != nil:
		p.HSet(w.t.Context(), caseKey, v.Hash)
	case v.List != nil:
		for _, item := range v.List {
			p.RPush(w.t.Context(), caseKey, item)
		}
	default:
		p.Set(w.t.Context(), caseKey, v.Bytes, 0)
	}
	if ttl > 0 {
		p.Expire(w.t.Context(), caseKey, ttl)
	}
	if _, err := p.Exec(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

func (w *realWorld) Delete(node cases.Node) {
	w.t.Helper()
	if r := w.redis[node.Name]; r != nil {
		r.Must(w.t, "del", caseKey)
		return
	}
	if m := w.memcached[node.Name]; m != nil {
		client := servers.MemcachedClient(w.t, m.Addr)
		if err := client.Delete(caseKey); err != nil {
			w.t.Fatal(err)
		}
		return
	}
	w.web[node.Name].set(cases.Value{Status: http.StatusNotFound})
}

// Cut keeps a replica a replica, of a primary that it can't reach.
func (w *realWorld) Cut(node cases.Node) {
	w.t.Helper()
	r := w.redis[node.Name]
	r.Must(w.t, "config", "set", "masterauth", "no-such-password", "masteruser", "nobody")
	r.Must(w.t, "client", "kill", "type", "master")
	w.cut[node.Name] = true
	servers.Eventually(w.t, "the replica's link is down", func() bool {
		return strings.Contains(r.Info(w.t.Context(), "replication").Val(), "master_link_status:down")
	})
}

func (w *realWorld) Freeze(node cases.Node) {
	w.redis[node.Name].Freeze(w.t)
	w.frozen = true
}

func (w *realWorld) Thaw(node cases.Node) {
	w.redis[node.Name].Thaw(w.t)
	w.frozen = false
}

func (w *realWorld) Others(node cases.Node, count int) {
	w.t.Helper()
	for i := range count {
		w.redis[node.Name].Must(w.t, "set", fmt.Sprintf("another:%d", i), "x")
	}
}

func (w *realWorld) Origin(body string, status int) {
	v := cases.Value{Bytes: []byte(body)}
	if status != http.StatusOK {
		v.Status = status
	}
	w.origin.set(v)
}

func (w *realWorld) Wait(d time.Duration) { time.Sleep(d) } // the case's own time

// Settle waits until each replica that is not cut has what its primary has.
func (w *realWorld) Settle() {
	w.t.Helper()
	if w.frozen {
		return
	}
	for _, l := range w.c.Layers {
		for _, n := range l.Nodes {
			if n.ReplicaOf == "" || w.cut[n.Name] {
				continue
			}
			p, r := w.redis[n.ReplicaOf], w.redis[n.Name]
			servers.Eventually(w.t, "the replica has what its primary has", func() bool {
				return offset(p.Info(w.t.Context(), "replication").Val(), "master_repl_offset:") ==
					offset(r.Info(w.t.Context(), "replication").Val(), "slave_repl_offset:")
			})
		}
	}
}

func offset(info, name string) string {
	_, rest, _ := strings.Cut(info, name)
	value, _, _ := strings.Cut(rest, "\r\n")
	return value
}

func (w *realWorld) Scrape() cases.Expected {
	w.t.Helper()
	timeout := 10 * time.Second
	if w.frozen {
		timeout = 2 * time.Second
	}
	p := w.e.scrape(timeout)
	got := cases.Expected{States: map[string]string{}, Reference: map[string]int{}}
	p.each("canary_copies", func(labels map[string]string, v float64) {
		if v > 0 {
			got.States[w.name(labels["node"])] += labels["state"]
		}
	}, "class", "case")
	p.each("canary_keys", func(labels map[string]string, v float64) {
		got.Reference[labels["reference"]] = int(v)
	}, "class", "case")
	p.each("canary_overdue_copies", func(labels map[string]string, v float64) {
		if v > 0 {
			got.Overdue = append(got.Overdue, w.name(labels["node"]))
		}
	}, "class", "case")
	got.Survivors = []string{}
	p.each("canary_survivor_copies", func(labels map[string]string, v float64) {
		if v > 0 {
			got.Survivors = append(got.Survivors, w.name(labels["node"]))
		}
	}, "class", "case")
	p.each("canary_divergent_keys", func(_ map[string]string, v float64) {
		n := int(v)
		got.DivergentKeys = &n
	}, "class", "case", "window", "0s")
	counter := func(family string) *int {
		if p.number(family, "class", "case") == 0 {
			return nil
		}
		n := int(p.one(family, "class", "case"))
		return &n
	}
	got.VersionConflicts = counter("canary_version_conflict_keys")
	got.VersionRegressions = counter("canary_version_regressions_total")
	got.OriginBehind = counter("canary_origin_behind_keys")
	return got
}

// name of a node in the case: members of a group are named by their address.
func (w *realWorld) name(label string) string {
	_, address, member := strings.Cut(label, "/")
	if !member {
		return label
	}
	for name, r := range w.redis {
		if r.Addr == address {
			return name
		}
	}
	return label
}
