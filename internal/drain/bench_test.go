package drain_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/audit"
	"github.com/cacheinv/cacheinv_exporter/internal/drain"
	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// sixNodes: three Redis servers and three memcached, each of which holds every key.
func sixNodes(t testing.TB) (queueOn *servers.RedisServer, redis []*servers.RedisServer, yaml string) {
	t.Helper()
	var l2, l3 []string
	for _, name := range []string{"a", "b", "c"} {
		r := servers.Redis(t)
		redis = append(redis, r)
		l2 = append(l2, `{name: r`+name+`, redis: {address: "`+r.Addr+`"}}`)
		l3 = append(l3, `{name: m`+name+`, memcached: {address: "`+servers.Memcached(t).Addr+`"}}`)
	}
	return redis[0], redis, `
layers:
  - {name: l2, ttl: 1h, nodes: [` + strings.Join(l2, ", ") + `]}
  - {name: l3, ttl: 1h, nodes: [` + strings.Join(l3, ", ") + `]}
queues: [{name: inv, redis: {node: ra, list: inv}, message: {key: "$.key"}}]`
}

// BenchmarkDrain applies 15,000 messages with as many keys on six nodes, with an audit log.
func BenchmarkDrain(b *testing.B) {
	queueOn, redis, yaml := sixNodes(b)
	all := keys(0, 15_000)
	d, done, err := open(yaml)
	if err != nil {
		b.Fatal(err)
	}
	defer done()
	log, err := audit.Open(b.TempDir(), "audit", time.Now())
	if err != nil {
		b.Fatal(err)
	}
	defer log.Close()
	for b.Loop() {
		b.StopTimer()
		for _, r := range redis {
			set(b, r, all)
		}
		push(b, queueOn, "inv", messagesOf(all)...)
		b.StartTimer()
		r, err := d.Apply(context.Background(), drain.Options{Audit: log})
		if err != nil || r.Incomplete || r.Queues[0].Applied != 15_000 {
			b.Fatalf("%+v, %v", r, err)
		}
	}
}

// However many messages a batch has, it costs Redis servers the same few requests. The library of memcached has one for each key.
func TestRoundTrips(t *testing.T) {
	queueOn, redis, yaml := sixNodes(t)
	var proxies []*servers.Proxy
	for _, r := range redis {
		proxies = append(proxies, servers.NewProxy(t, r.Addr))
		yaml = strings.ReplaceAll(yaml, r.Addr, proxies[len(proxies)-1].Addr)
	}
	push(t, queueOn, "inv", messagesOf(keys(0, 3000))...)
	if r := apply(t, yaml, drain.Options{Batch: 300}); r.Queues[0].Applied != 3000 {
		t.Fatalf("%+v", r)
	}
	// Beside the batches there are connections to greet, the survey, the queue's length, and scripts that are not known yet.
	const batches, besides = 10, 25
	for i, p := range proxies {
		each := 1
		if i == 0 { // the queue's: messages are moved, and removed
			each = 3
		}
		if n := p.Counts().RoundTrips; n > each*batches+besides {
			t.Errorf("redis %d: %d round trips for %d batches", i, n, batches)
		}
	}
}
