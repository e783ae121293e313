package consistency

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/events"
	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/backends"
)

// onServers opens a sampler of a configuration whose layers are servers, with who remembers its events.
func onServers(t testing.TB, tracker EventTracker, yaml string) *Sampler {
	t.Helper()
	cfg, err := config.Parse("servers.yml", []byte(yaml), backends.All)
	if err != nil {
		t.Fatal(err)
	}
	env := *testEnv
	env.Budget, env.Kept = probes.NewBudget(), probes.NewKept()
	fleet, err := cfg.OpenFleet(&env)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fleet.Close)
	s, err := NewSampler(cfg, fleet, Options{RereadDelay: 20 * time.Millisecond, DigestKey: []byte("a key of a test"), Events: tracker}, &env, NewMemory())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func sampleNow(t *testing.T, s *Sampler) *Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	return s.Sample(ctx)
}

// layerOf servers as YAML.
func layerOf(name, kind string, addrs ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "  - {name: %s, ttl: 2h, nodes: [", name)
	for i, a := range addrs {
		fmt.Fprintf(&b, "{name: %s-%d, %s: {address: \"%s\"}}, ", name, i, kind, a)
	}
	return strings.TrimSuffix(b.String(), ", ") + "]}\n"
}

// A delete that reaches two of three nodes: the copy on the third has survived, whatever tells its age.
func TestCopiesThatSurviveADelete(t *testing.T) {
	servers.NoLeaks(t)
	var redis [3]*servers.RedisServer
	var clients [3]*memcache.Client
	var redisAddrs, memcachedAddrs []string
	for i := range 3 {
		redis[i] = servers.Redis(t)
		p := servers.Memcached(t)
		clients[i] = servers.MemcachedClient(t, p.Addr)
		redisAddrs, memcachedAddrs = append(redisAddrs, redis[i].Addr), append(memcachedAddrs, p.Addr)
	}
	tracker := events.NewTracker(events.Options{HashKey: []byte("a key of a test")})
	const follow = "events: {queue: q, within: 3s, windows: [3s]}"
	s := onServers(t, tracker, "layers:\n"+layerOf("l2", "redis", redisAddrs...)+layerOf("l3", "memcached", memcachedAddrs...)+
		"queues: [{name: q, redis: {node: l2-0, stream: q, groups: [g]}, message: {key: \"$.key\", version: \"$.v\"}}]\n"+
		"canaries:\n"+
		"  - {class: versioned, layers: [l2], match: \"^v:\", version: {json: \"$.v\"}, "+follow+"}\n"+
		"  - {class: expiring, keys: [\"e:1\"], layers: [l2], "+follow+"}\n"+
		"  - {class: counted, keys: [\"m:1\"], layers: [l3], "+follow+"}\n")
	window := events.Window{Label: "3s", Age: 3 * time.Second}
	spec := func(class, prefix, layer, kind string) events.Spec {
		return events.Spec{
			Class: class, Queue: "q", Message: &probes.Message{Key: "$.key", Version: "$.v"}, VersionKind: kind, Sample: 200, Within: window.Age,
			Takes:   func(key string) bool { return strings.HasPrefix(key, prefix) },
			Windows: []events.Window{window}, Layers: []events.Layer{{Name: layer}}, Contents: class,
		}
	}
	if err := tracker.Configure([]events.Spec{
		spec("versioned", "v:", "l2", "integer"), spec("expiring", "e:", "l2", ""), spec("counted", "m:", "l3", ""),
	}); err != nil {
		t.Fatal(err)
	}
	expiry := time.Now().Add(time.Hour).Truncate(time.Second).UnixMilli() + 123 // no whole second
	for i := range 3 {
		redis[i].Must(t, "set", "v:1", `{"v":1}`, "ex", 3600)
		redis[i].Must(t, "set", "e:1", `{"n":"a"}`, "pxat", expiry)
		if err := clients[i].Set(&memcache.Item{Key: "m:1", Value: []byte(`{"n":"a"}`), Expiration: 3600}); err != nil {
			t.Fatal(err)
		}
	}
	sampleNow(t, s) // the canaries are seen as they are before
	servers.Eventually(t, "a tenth of a second passes", after(200*time.Millisecond))
	for i := range 2 {
		redis[i].Must(t, "del", "v:1", "e:1")
		if err := clients[i].Delete("m:1"); err != nil {
			t.Fatal(err)
		}
	}
	for _, message := range []string{`{"key":"v:1","v":2}`, `{"key":"e:1"}`, `{"key":"m:1"}`} {
		tracker.Visit("q", probes.Event{Value: []byte(message), Written: time.Now()})
	}
	tracker.Sampled("q", probes.QueueTraits{AtOnce: true}, nil, time.Now())
	for _, class := range []string{"versioned", "expiring", "counted"} {
		var w events.WindowReport
		servers.Eventually(t, class+" is looked at", func() bool {
			sampleNow(t, s)
			report, ok := tracker.Report(class)
			if !ok {
				t.Fatal("no report")
			}
			w = report.Windows[0]
			return w.Events != [events.NumResults]uint64{}
		})
		if w.Events[events.Survived] != 1 || len(w.Copies) != 3 {
			t.Errorf("%s: %+v", class, w)
		}
		for _, n := range w.Copies {
			want := events.Gone
			if strings.HasSuffix(n.Node, "-2") {
				want = events.Survived
			}
			if n.Results[want] != 1 {
				t.Errorf("%s on %s: %v", class, n.Node, n.Results)
			}
		}
	}
}

// after gives what is true from then on.
func after(d time.Duration) func() bool {
	end := time.Now().Add(d)
	return func() bool { return time.Now().After(end) }
}

// Looks cost no round trip, but for the second read.
func TestLooksCostNoRoundTrip(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.Redis(t)
	mc := servers.Memcached(t)
	var keys, due []string
	for i := range 200 {
		keys, due = append(keys, fmt.Sprintf("\"k:%d\"", i)), append(due, fmt.Sprintf("x:%d", i))
		r.Must(t, "set", fmt.Sprintf("x:%d", i), "v")
	}
	// A delay sees to it that answers to what was sent first come after all that is sent without a wait.
	proxies := []*servers.Proxy{servers.NewProxy(t, r.Addr), servers.NewProxy(t, mc.Addr)}
	l := &listener{bad: map[string]bool{}}
	s := onServers(t, l, "layers:\n"+layerOf("l2", "redis", proxies[0].Addr)+layerOf("l3", "memcached", proxies[1].Addr)+
		"queues: [{name: q, redis: {node: l2-0, stream: q, groups: [g]}, message: {key: \"$.key\"}}]\n"+
		"canaries:\n  - {class: c, keys: ["+strings.Join(keys, ", ")+"], layers: [l2, l3], events: {queue: q}}\n")
	sampleNow(t, s) // connects
	trips := func() (out [2]int) {
		t.Helper()
		for i, p := range proxies {
			p.Delay(30 * time.Millisecond)
			p.Reset()
			defer func() { out[i] = p.Counts().RoundTrips }()
		}
		if got := sampleNow(t, s); got.Nodes[0].Err != nil || got.Nodes[1].Err != nil {
			t.Fatalf("%+v", got.Nodes)
		}
		return out
	}
	alone := trips()
	l.due = due
	if with := trips(); with != alone {
		t.Errorf("%v round trips with looks, %v without", with, alone)
	}
	if len(l.looks) != 200 || !l.looks["x:7"]["l2-0"].Copy.Present || l.looks["x:7"]["l3-0"].Copy.Present || l.looks["x:7"]["l3-0"].Copy.Failed {
		t.Errorf("%d looks, %+v", len(l.looks), l.looks["x:7"])
	}
	for _, key := range due[:50] {
		l.bad["l2-0/"+key] = true
	}
	if with := trips(); with != [2]int{alone[0] + 1, alone[1]} || !l.looks["x:7"]["l2-0"].Twice || l.looks["x:77"]["l2-0"].Twice {
		t.Errorf("%v round trips with a second read, %v without looks", with, alone)
	}
}
