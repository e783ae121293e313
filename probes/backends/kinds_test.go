package backends_test

import (
	"testing"

	"github.com/cacheinv/cacheinv_exporter/probes/backends"
)

// TestQueueKinds: each queue's kind is one that its backend names.
func TestQueueKinds(t *testing.T) {
	cfg, err := read([]string{node("redis-1", "redis", "redis:6379")}, `queues:
  - {name: a, redis: {node: redis-1, list: a}}
  - {name: b, redis: {node: redis-1, stream: b, groups: [g]}}
  - {name: c, kafka: {brokers: ["kafka:9092"], topics: [c], groups: [g]}}
  - {name: e, redis: {node: redis-1, channel: e}, subscribers: 1}
  - {name: d, http: {url: "http://d/", depth: "$.depth"}}
`)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{}
	for _, b := range backends.All {
		for _, kind := range b.QueueKinds {
			want[kind] = true
		}
		if b.Queue != nil && b.QueueKinds == nil {
			want[b.Name] = true
		}
	}
	for _, q := range cfg.Queues {
		if !want[q.Source.Kind()] {
			t.Errorf("queue %s: no backend names the kind %q", q.Name, q.Source.Kind())
		}
		delete(want, q.Source.Kind())
	}
	if len(want) > 0 {
		t.Errorf("no queue here is of a kind in %v", want)
	}
}
