package consistency

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/events"
	"github.com/cacheinv/cacheinv_exporter/internal/test/cases"
	"github.com/cacheinv/cacheinv_exporter/internal/test/ratio"
	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/internal/verdict"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/backends"
)

// benchSampler over nodes in memory that all hold the same.
func benchSampler(b *testing.B, nodes, keys, series int) (*Sampler, []*memoryNode) {
	b.Helper()
	var names []string
	for i := range keys {
		names = append(names, fmt.Sprintf("user:%d:profile", i))
	}
	cfg, err := config.Parse("bench.yml", []byte(
		"layers: [{name: l2, ttl: 1h, nodes: [{name: unused, redis: {address: \"unused:1\"}}]}]\n"+
			"canaries: [{class: c, keys: [\""+strings.Join(names, "\", \"")+"\"], layers: [l2], version: {json: \"$.v\"}}]\n"), backends.All)
	if err != nil {
		b.Fatal(err)
	}
	var fleet memoryFleet
	for i := range nodes {
		m := &memoryNode{id: probes.Identity{Layer: "l2", Name: fmt.Sprintf("n%d", i), Kind: "redis", Traits: traitsOf("redis")}, values: map[string]cases.Value{}}
		for k, name := range names {
			m.values[name] = cases.Value{Bytes: fmt.Appendf(nil, `{"v":%d,"name":"somebody"}`, k)}
		}
		fleet = append(fleet, m)
	}
	s, err := NewSampler(cfg, fleet, Options{
		RereadDelay: time.Millisecond, ScanCount: 1000, MaxKeySeries: series, DigestKey: []byte("a key of a benchmark"),
	}, testEnv, NewMemory())
	if err != nil {
		b.Fatal(err)
	}
	return s, fleet
}

// BenchmarkSample is the largest estate without its network: reading from memory, digesting and judging, and what is
// remembered afterwards.
func BenchmarkSample(b *testing.B) {
	const nodes, keys = 12, 10_000
	s, _ := benchSampler(b, nodes, keys, 1000)
	before := heap()
	for b.Loop() {
		ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
		r := s.Sample(ctx)
		cancel()
		if n := r.Classes[0].Nodes[nodes-1].Copies[verdict.Fresh]; n != keys {
			b.Fatalf("%d fresh copies", n)
		}
	}
	b.ReportMetric((heap()-before)/1e6, "MB-remembered")
	runtime.KeepAlive(s)
}

func heap() float64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// looksBenched are the events of a scrape.
const looksBenched = 200

func eventKey(i int) string { return fmt.Sprintf("event:%d", i) }

// BenchmarkLooks is what event checks cost a sampling of 10,000 canaries: 200 events that are looked at on each node, and canaries that are
// noted, beside the canaries alone. The looks are copies, too: two for each hundred canaries.
func BenchmarkLooks(b *testing.B) {
	const keys = 10_000
	b.Run("largest estate in memory", func(b *testing.B) {
		alone, fleet := benchSampler(b, 12, keys, 1000)
		with, _ := benchSampler(b, 12, keys, 1000)
		with.fleet = memoryFleet(fleet)
		for _, m := range fleet {
			for i := range looksBenched {
				m.values[eventKey(i)] = cases.Value{Bytes: []byte(`{"v":1000000,"name":"somebody"}`)}
			}
		}
		benchLooks(b, alone, with, keys)
	})
	b.Run("Redis and memcached", func(b *testing.B) {
		r, mc := servers.Redis(b), servers.Memcached(b)
		client := servers.MemcachedClient(b, mc.Addr)
		pipe := r.Pipeline()
		var names []string
		set := func(name string, version int) {
			value := fmt.Sprintf(`{"v":%d,"name":"%s"}`, version, strings.Repeat("x", 70))
			pipe.Set(b.Context(), name, value, time.Hour)
			if err := client.Set(&memcache.Item{Key: name, Value: []byte(value), Expiration: 3600}); err != nil {
				b.Fatal(err)
			}
		}
		for i := range keys {
			names = append(names, fmt.Sprintf("user:%d:profile", i))
			set(names[i], i)
		}
		for i := range looksBenched {
			set(eventKey(i), 1_000_000)
		}
		if _, err := pipe.Exec(b.Context()); err != nil {
			b.Fatal(err)
		}
		cfg := "layers:\n" + layerOf("l2", "redis", r.Addr) + layerOf("l3", "memcached", mc.Addr) +
			"canaries: [{class: c, keys: [\"" + strings.Join(names, "\", \"") + "\"], layers: [l2, l3], version: {json: \"$.v\"}}]\n"
		benchLooks(b, onServers(b, nil, cfg), onServers(b, nil, cfg), keys)
	})
}

// benchLooks beside a sampler of canaries alone, with one that looks at events' keys, too.
func benchLooks(b *testing.B, alone, with *Sampler, keys int) {
	b.Helper()
	tracker := events.NewTracker(events.Options{HashKey: []byte("a key of a benchmark")})
	window := events.Window{Label: "1s", Age: time.Second}
	spec := events.Spec{
		Class: "c", Queue: "q", Message: &probes.Message{Key: "$.key", Version: "$.v"}, VersionKind: "integer", Sample: looksBenched, Within: window.Age,
		Windows: []events.Window{window}, Contents: "c",
	}
	for _, l := range with.classes[0].Layers {
		spec.Layers = append(spec.Layers, events.Layer{Name: l.Name})
	}
	if err := tracker.Configure([]events.Spec{spec}); err != nil {
		b.Fatal(err)
	}
	with.opt.Events, with.classes[0].Events = tracker, &config.Events{}
	sample := func(s *Sampler) error {
		ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
		defer cancel()
		for _, n := range s.Sample(ctx).Classes[0].Nodes {
			if got := n.Copies[verdict.Fresh]; got != keys {
				return fmt.Errorf("%d fresh copies", got)
			}
		}
		return nil
	}
	rounds := uint64(0)
	ratio.Run(b, 10, nil,
		ratio.Variant{Name: "canaries", Do: func() error { return sample(alone) }},
		ratio.Variant{Name: "with 200 looks", Do: func() error {
			rounds++
			for i := range looksBenched { // each is of a version of its own, and the copies' are above them
				value := fmt.Appendf(nil, `{"key":"%s","v":%d}`, eventKey(i), rounds)
				tracker.Visit("q", probes.Event{Value: value, Written: time.Now().Add(-2 * time.Second)})
			}
			tracker.Sampled("q", probes.QueueTraits{AtOnce: true}, nil, time.Now())
			err := sample(with)
			report, _ := tracker.Report("c")
			if seen := report.Windows[0].Events; err == nil && seen != [events.NumResults]uint64{events.Current: rounds * looksBenched} {
				err = fmt.Errorf("%v seen in %d rounds", seen, rounds)
			}
			return err
		}},
	)
}

// BenchmarkMatrix is what it costs to tell each key by itself: in the matrix of the incident page, and whether it is consistent.
func BenchmarkMatrix(b *testing.B) {
	for _, rows := range []int{0, 1000} {
		b.Run(fmt.Sprintf("rows=%d", rows), func(b *testing.B) {
			s, _ := benchSampler(b, 12, 1000, rows)
			for b.Loop() {
				if r := s.Sample(b.Context()); len(r.Classes[0].Matrix.Rows) != rows {
					b.Fatalf("%d rows", len(r.Classes[0].Matrix.Rows))
				}
			}
		})
	}
}
