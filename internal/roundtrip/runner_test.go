package roundtrip

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/backends"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// notes is an Observer that counts.
type notes struct {
	mu    sync.Mutex
	nodes []string
	by    map[string]int
}

func (n *notes) add(what string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.by[what]++
}

func (n *notes) of(what string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.by[what]
}

func (n *notes) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return fmt.Sprint(n.by)
}

func (n *notes) Nodes(_ string, nodes []probes.Identity, _ bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.nodes = nil
	for _, k := range nodes {
		n.nodes = append(n.nodes, k.Name)
	}
}

func (n *notes) Sent(_ string, k probes.Identity) { n.add(k.Name + " sent") }

func (n *notes) Gone(_ string, k probes.Identity, _ time.Duration) { n.add(k.Name + " gone") }

func (n *notes) Failed(_ string, k probes.Identity, r Reason, _ time.Duration, err error) {
	n.add(k.Name + " " + string(r))
	if errors.Is(err, probes.ErrRefused) {
		n.add(k.Name + " refused")
	}
}

func begin(t *testing.T, text string) (*Runner, *notes) {
	t.Helper()
	cfg, err := config.Parse("test.yml", []byte(text), backends.All)
	if err != nil {
		t.Fatal(err)
	}
	n := &notes{by: map[string]int{}}
	env := &probes.Env{MaxValueBytes: 1 << 20, MaxBody: 1 << 20, ForgetAfter: time.Minute, Budget: probes.NewBudget(), Kept: probes.NewKept(), Log: slog.New(slog.DiscardHandler)}
	r, err := Start(cfg, env, n)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r, n
}

// A node that accepts and never answers is setup, and costs the others nothing.
func TestAHungNode(t *testing.T) {
	r := servers.Redis(t)
	_, n := begin(t, fmt.Sprintf(`
layers:
  - name: l2
    ttl: 1h
    nodes: [{name: good, redis: {address: "%s"}}, {name: hung, redis: {address: "%s"}}, {name: silent, memcached: {address: "%s"}}]
invalidation_probes:
  - {name: p, interval: 50ms, timeout: 300ms, layers: [l2], key: "probe:{id}", publish: {redis: {node: good, list: inv}, message: "{key}"}}
`, r.Addr, servers.Hung(t), servers.Hung(t)))
	servers.Eventually(t, "nobody deletes the keys of the good one", func() bool {
		return n.of("good lost") > 10 && n.of("hung setup") > 10 && n.of("silent setup") > 10
	})
	if n.of("hung sent")+n.of("silent sent")+n.of("good setup") > 0 {
		t.Errorf("%v", n.by)
	}
}

// What a node or a queue refuses is told as a refusal, and a node that is not there as none.
func TestARefusalIsTold(t *testing.T) {
	r := servers.Redis(t)
	r.Must(t, "acl", "setuser", "reader", "on", ">pw", "~*", "+@all", "-set", "-rpush")
	_, n := begin(t, fmt.Sprintf(`
layers:
  - name: l2
    ttl: 1h
    nodes: [{name: good, redis: {address: "%[1]s"}}, {name: reader, redis: {address: "%[1]s/1", username: reader, password: pw}}, {name: gone, redis: {address: "%[2]s"}}]
invalidation_probes:
  - {name: p, interval: 50ms, timeout: 300ms, layers: [l2], key: "probe:{id}", publish: {redis: {node: reader, list: inv}, message: "{key}"}}
`, r.Addr, servers.FreeAddr(t)))
	servers.Eventually(t, "neither is written, nor is a message", func() bool {
		return n.of("good publish") > 2 && n.of("reader setup") > 2 && n.of("gone setup") > 2
	})
	if n.of("good refused") == 0 || n.of("reader refused") == 0 || n.of("gone refused") > 0 {
		t.Errorf("%v", n)
	}
}

// A frozen memcached costs neither a primary nor its replica a round trip, however these are configured.
func TestAFrozenNodeCostsNoReplica(t *testing.T) {
	apart := `{name: primary, redis: {address: "%[1]s"}}, {name: replica, redis: {address: "%[2]s"}}`
	for name, nodes := range map[string]string{
		"a group":        `{name: pair, redis: {replication: ["%[1]s"]}}`,
		"each by itself": apart,
		"beside another": apart + `, {name: hung, redis: {address: "%[3]s"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, replica, queue, m := servers.Redis(t), servers.Redis(t), servers.Redis(t), servers.Memcached(t)
			replica.Follow(t, r)
			var running sync.WaitGroup
			ctx, end := context.WithCancel(t.Context())
			running.Go(func() {
				for ctx.Err() == nil {
					if got, err := queue.BLPop(ctx, time.Second, "inv").Result(); err == nil {
						r.Del(ctx, got[1])
					}
				}
			})
			t.Cleanup(func() {
				end()
				running.Wait()
			})
			_, n := begin(t, fmt.Sprintf(`
layers:
  - name: l2
    ttl: 1h
    nodes: [`+nodes+`, {name: memcached, memcached: {address: "%[4]s"}}]
  - {name: q, ttl: 1h, nodes: [{name: queue, redis: {address: "%[5]s"}}]}
invalidation_probes:
  - {name: p, interval: 50ms, timeout: 4s, layers: [l2], key: "probe:{id}", publish: {redis: {node: queue, list: inv}, message: "{key}"}}
`, r.Addr, replica.Addr, servers.Hung(t), m.Addr, queue.Addr))
			pair := []string{"primary", "replica"}
			if !strings.HasPrefix(nodes, apart) {
				pair = []string{"pair/" + r.Addr, "pair/" + replica.Addr}
			}
			gone := func() int { return min(n.of(pair[0]+" gone"), n.of(pair[1]+" gone")) }
			servers.Eventually(t, "both are probed", func() bool { return gone() > 10 })
			m.Freeze(t)
			before := gone()
			servers.Eventually(t, "memcached is setup, and the pair is probed on", func() bool {
				return n.of("memcached setup") > 60 && gone() > before+60
			})
			for _, node := range pair {
				if n.of(node+" setup")+n.of(node+" lost")+n.of(node+" publish") > 0 {
					t.Errorf("%s failed: %s", node, n)
				}
			}
		})
	}
}

// A round trip whose outcome the end of the runner cut off is counted as nothing.
func TestACutOffRoundTripIsNotSent(t *testing.T) {
	r := servers.Redis(t)
	runner, n := begin(t, fmt.Sprintf(`
layers:
  - {name: l2, ttl: 1h, nodes: [{name: a, redis: {address: "%s"}}]}
invalidation_probes:
  - {name: p, interval: 100ms, timeout: 1m, layers: [l2], key: "probe:{id}", publish: {redis: {node: a, list: inv}, message: "{key}"}}
`, r.Addr))
	got, err := r.BLPop(t.Context(), 10*time.Second, "inv").Result()
	if err != nil {
		t.Fatal(err)
	}
	r.Must(t, "del", got[1])
	servers.Eventually(t, "some are published", func() bool {
		return n.of("a gone") == 1 && r.LLen(t.Context(), "inv").Val() > 10
	})
	runner.Close()
	if want := map[string]int{"a sent": 1, "a gone": 1}; !maps.Equal(n.by, want) {
		t.Errorf("%v, want %v", n.by, want)
	}
}

// Lost and changed: another value under the key is the end of the old version, too.
func TestAChangedValueEndsARoundTrip(t *testing.T) {
	r := servers.Redis(t)
	runner, n := begin(t, fmt.Sprintf(`
layers:
  - {name: l2, ttl: 1h, nodes: [{name: a, redis: {address: "%s"}}]}
invalidation_probes:
  - {name: p, interval: 20ms, timeout: 10s, layers: [l2], key: "probe:{id}", publish: {redis: {node: a, list: inv}, message: "{key}"}}
`, r.Addr))
	for range 10 {
		got, err := r.BLPop(t.Context(), 10*time.Second, "inv").Result()
		if err != nil {
			t.Fatal(err)
		}
		r.Must(t, "set", got[1], "new")
	}
	servers.Eventually(t, "all are gone", func() bool { return n.of("a gone") == 10 })
	runner.Close()
	if keys := r.Keys(t.Context(), "probe:*").Val(); len(keys) > 0 {
		t.Errorf("%v are left behind", keys)
	}
}

// sharer holds the keys that end in its digit.
type sharer struct {
	probes.Writable
	name   string
	digits string
	not    probes.Holding
}

func (s sharer) Identity() probes.Identity { return probes.Identity{Layer: "l2", Name: s.name} }

func (s sharer) Place(key string) probes.Placement {
	if strings.ContainsAny(key[len(key)-1:], s.digits) {
		return probes.Placement{Holding: probes.Holds}
	}
	return probes.Placement{Holding: s.not}
}

type whole struct{ probes.Writable }

func (whole) Identity() probes.Identity { return probes.Identity{Layer: "l2", Name: "whole"} }

// Each node of a Cluster or a pool has a key that it holds, a shard's replica the same as its primary.
func TestKeysAreSharedOut(t *testing.T) {
	n := &notes{by: map[string]int{}}
	r := &Runner{observer: n, log: slog.New(slog.NewTextHandler(io.Discard, nil)), life: t.Context(), nodes: map[string]*watchedNode{}}
	for _, d := range []probes.Writable{
		whole{},
		sharer{name: "shard-1", digits: "369", not: probes.Elsewhere},
		sharer{name: "shard-1-replica", digits: "369", not: probes.Elsewhere},
		sharer{name: "shard-2", digits: "4", not: probes.Foreign},
		sharer{name: "none", not: probes.Elsewhere},
		sharer{name: "any", not: probes.Anywhere},
	} {
		r.nodes[d.Identity().Name] = newNode(r, d)
	}
	key, err := form.ParseTemplate("p:{id}")
	if err != nil {
		t.Fatal(err)
	}
	p := &roundTrip{RoundTrip: config.RoundTrip{Layers: []string{"l2"}, Key: key}, told: failures{by: map[string]Reason{}}}
	got := map[string][]string{}
	for _, k := range r.share(p, "id-1") {
		for _, n := range k.nodes {
			got[k.key] = append(got[k.key], n.Identity().Name)
		}
	}
	want := map[string][]string{"p:id-1": {"whole"}, "p:id-1-3": {"shard-1", "shard-1-replica"}, "p:id-1-4": {"shard-2"}}
	if !maps.EqualFunc(got, want, slices.Equal) {
		t.Errorf("%v, want %v", got, want)
	}
	if n.of("none setup") != 1 || n.of("any setup") != 1 {
		t.Errorf("%v", n.by)
	}
}

func TestJudge(t *testing.T) {
	began := time.Now()
	at := func(ms int) time.Time { return began.Add(time.Duration(ms) * time.Millisecond) }
	fresh := func() *watch { return &watch{began: began, end: at(1000), served: began} }
	w := fresh()
	if _, ended := w.judge(probes.Served, at(100), at(102)); ended || w.served != at(101) || w.due.Sub(at(102)) != lookFirst {
		t.Errorf("served %v, due %v", w.served.Sub(began), w.due.Sub(began))
	}
	if o, ended := w.judge(probes.Gone, at(110), at(112)); !ended || o != (outcome{after: 106 * time.Millisecond}) {
		t.Errorf("%+v %t", o, ended)
	}
	if w.judge(probes.Served, at(998), at(999)); w.due != at(1000) {
		t.Errorf("the last look is due at %v", w.due.Sub(began))
	}
	if o, ended := w.judge(probes.Served, at(1000), at(1001)); !ended || !o.lost {
		t.Errorf("%+v %t", o, ended)
	}
	w = fresh()
	if _, ended := w.judge(probes.NotTold, at(1500), at(1999)); ended {
		t.Error("not asked for long enough")
	}
	if o, ended := w.judge(probes.NotTold, at(2000), at(2002)); !ended || !o.unsure {
		t.Errorf("%+v %t", o, ended)
	}
	if o, ended := w.judge(probes.Changed, at(50), at(50)); !ended || o.lost || o.unsure {
		t.Errorf("%+v %t", o, ended)
	}
}

// Whatever the key, a message of JSON stays JSON and tells it as it is.
func FuzzMessage(f *testing.F) {
	f.Add("plain")
	f.Add("\"\\\n<&>\u2028{id}")
	f.Fuzz(func(t *testing.T, key string) {
		c, err := config.Parse("c.yml", []byte(`
layers: [{name: l2, ttl: 1h, nodes: [{name: a, redis: {address: "a:1"}}]}]
invalidation_probes: [{name: p, layers: [l2], key: "{id}", publish: {redis: {node: a, list: q}, message: '{"k":{"key":"{key}"},"v":{version}}'}}]`), backends.All)
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			K struct{ Key string }
			V int
		}
		text := message(c.RoundTrips[0], &probeKey{key: key}, time.Now())
		if err := json.Unmarshal(text, &got); err != nil || got.V != newVersion || got.K.Key != strings.ToValidUTF8(key, "\uFFFD") && got.K.Key != key {
			if strings.ToValidUTF8(key, "") == key {
				t.Errorf("%q became %q: %v", key, text, err)
			}
		}
	})
}
