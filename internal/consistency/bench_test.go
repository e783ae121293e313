package consistency

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/events"
	"github.com/cacheinv/cacheinv_exporter/internal/test/cases"
	"github.com/cacheinv/cacheinv_exporter/internal/test/ratio"
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

// BenchmarkLooks is what event checks cost a sampling of the largest estate: 200 looks, and each canary noted, beside the canaries alone.
func BenchmarkLooks(b *testing.B) {
	const nodes, keys, looks = 12, 10_000, 200
	alone, _ := benchSampler(b, nodes, keys, 1000)
	with, fleet := benchSampler(b, nodes, keys, 1000)
	for _, m := range fleet {
		for i := range looks {
			m.values[fmt.Sprintf("event:%d", i)] = cases.Value{Bytes: []byte(`{"v":1,"name":"somebody"}`)}
		}
	}
	tracker := events.NewTracker(events.Options{HashKey: []byte("a key of a benchmark")})
	window := events.Window{Label: "1s", Age: time.Second}
	if err := tracker.Configure([]events.Spec{{
		Class: "c", Queue: "q", Message: &probes.Message{Key: "$.key"}, VersionKind: "integer", Sample: looks, Within: window.Age, Windows: []events.Window{window},
		Layers: []events.Layer{{Name: "l2"}}, Contents: "c",
	}}); err != nil {
		b.Fatal(err)
	}
	with.opt.Events, with.classes[0].Events = tracker, &config.Events{}
	sample := func(s *Sampler) error {
		ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
		defer cancel()
		if n := s.Sample(ctx).Classes[0].Nodes[nodes-1].Copies[verdict.Fresh]; n != keys {
			return fmt.Errorf("%d fresh copies", n)
		}
		return nil
	}
	seen := uint64(0)
	ratio.Run(b, 10, nil,
		ratio.Variant{Name: "canaries", Do: func() error { return sample(alone) }},
		ratio.Variant{Name: "with 200 looks", Do: func() error {
			for i := range looks {
				tracker.Visit("q", probes.Event{Value: fmt.Appendf(nil, `{"key":"event:%d"}`, i), Written: time.Now().Add(-2 * time.Second)})
			}
			tracker.Sampled("q", probes.QueueTraits{AtOnce: true}, nil, time.Now())
			err := sample(with)
			report, _ := tracker.Report("c")
			before := seen
			seen = 0
			for _, n := range report.Windows[0].Events {
				seen += n
			}
			if err == nil && seen != before+looks {
				err = fmt.Errorf("%d looks", seen-before)
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
