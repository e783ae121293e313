package acceptance

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// processor takes invalidations, and deletes their keys on every node as an application's does. It measures by itself
// how long after its publishing a key was gone on each.
type processor struct {
	redis     []*redis.Client
	memcached []*memcache.Client
	// delay before a key is deleted; drop tells of the n-th message, from 0, whether it is dropped.
	delay time.Duration
	drop  func(n int) bool

	mu      sync.Mutex
	seen    map[string]int // messages by their key
	dropped int
	took    map[string][]deletion // by redis-N and memcached-N
}

// deletion of a key: how long after its publishing the processor asked for it, and was told that it is done.
type deletion struct{ asked, done time.Duration }

// run next until the test, or what stop ends, is over. next gives "" where nothing came.
func (p *processor) run(t *testing.T, next func(ctx context.Context) string) (stop func()) {
	t.Helper()
	p.seen, p.took = map[string]int{}, map[string][]deletion{}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		var handling sync.WaitGroup
		defer handling.Wait()
		for n := 0; ctx.Err() == nil; {
			if message := next(ctx); message != "" {
				drop := p.drop != nil && p.drop(n)
				handling.Go(func() { p.handle(t, message, drop) })
				n++
			}
		}
	})
	stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
	t.Cleanup(stop)
	return stop
}

func (p *processor) handle(t *testing.T, message string, drop bool) {
	var m struct {
		Key     string
		Version int
		TS      int64
	}
	if err := json.Unmarshal([]byte(message), &m); err != nil || m.Version != 2 {
		t.Errorf("%q is no invalidation: %v", message, err)
		return
	}
	p.mu.Lock()
	p.seen[m.Key]++
	if drop {
		p.dropped++
	}
	p.mu.Unlock()
	if drop {
		return
	}
	time.Sleep(p.delay)
	published := time.UnixMilli(m.TS)
	remove := func(name string, i int, del func() error) {
		asked := time.Since(published)
		if del() == nil {
			p.mu.Lock()
			defer p.mu.Unlock()
			node := fmt.Sprintf("%s-%d", name, i+1)
			p.took[node] = append(p.took[node], deletion{asked, time.Since(published)})
		}
	}
	for i, c := range p.redis {
		remove("redis", i, func() error { return c.Del(context.Background(), m.Key).Err() })
	}
	for i, c := range p.memcached {
		remove("memcached", i, func() error { return c.Delete(m.Key) })
	}
}

func (p *processor) counts() (keys, dropped, twice int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, n := range p.seen {
		if n > 1 {
			twice++
		}
	}
	return len(p.seen), p.dropped, twice
}

// agrees: an average in seconds is within 10 ms of what the processor measured on a node.
func (p *processor) agrees(t *testing.T, node string, got float64) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	var asked, done time.Duration
	for _, s := range p.took[node] {
		asked, done = asked+s.asked, done+s.done
	}
	n := float64(len(p.took[node]))
	from, to := asked.Seconds()/n, done.Seconds()/n
	t.Logf("%s: %.4f s by the exporter, %.4f to %.4f s by the processor, of %v probes", node, got, from, to, n)
	if !(got > from-0.010 && got < to+0.010) {
		t.Errorf("%s: %.4f s on average, and the processor measured %.4f to %.4f s", node, got, from, to)
	}
}

// fromList pops a list's left end.
func fromList(c *redis.Client, list string) func(context.Context) string {
	return func(ctx context.Context) string {
		got, err := c.BLPop(ctx, time.Second, list).Result()
		if err != nil {
			return ""
		}
		return got[1]
	}
}

// duration gives the histogram of a probe on a node.
func (p page) duration(node string) (count, sum float64) {
	p.t.Helper()
	f := p.families["cacheinv_invalidation_probe_duration_seconds"]
	for _, m := range f.GetMetric() {
		for _, l := range m.Label {
			if l.GetName() == "node" && l.GetValue() == node {
				return float64(m.Histogram.GetSampleCount()), m.Histogram.GetSampleSum()
			}
		}
	}
	p.t.Fatalf("no histogram of %s in\n%s", node, p.ours())
	return 0, 0
}

const probeMessage = `'{"key":"{key}","version":{version},"ts":{timestamp_ms}}'`

// TestProbe: latency as the processor measured it, and exactly what it dropped is lost.
func TestProbe(t *testing.T) {
	servers.NoLeaks(t)
	r, m := servers.Redis(t), servers.Memcached(t)
	mc := servers.MemcachedClient(t, m.Addr)
	all, drops := counts(1000), counts(220)
	p := &processor{redis: []*redis.Client{r.Client}, memcached: []*memcache.Client{mc}, delay: 30 * time.Millisecond}
	p.drop = func(n int) bool { return n < all && n*drops/all != (n+1)*drops/all }
	p.run(t, fromList(r.Client, "inv"))
	cfg := fmt.Sprintf(`
layers:
  - {name: l2, ttl: 1h, nodes: [{name: redis-1, redis: {address: "%s"}}]}
  - {name: l3, ttl: 1h, nodes: [{name: memcached-1, memcached: {address: "%s"}}]}
invalidation_probes:
  - {name: end_to_end, interval: 100ms, timeout: 3s, layers: [l2, l3], key: "probe:{id}", publish: {redis: {node: redis-1, list: inv}, message: %s}}
`, r.Addr, m.Addr, probeMessage)
	e := start(t, cfg)
	first := e.scrape(10 * time.Second)
	nodes := []string{"redis-1", "memcached-1"}
	for _, node := range nodes {
		first.one("invalidation_probes_total", "probe", "end_to_end", "node", node)
		first.want(0, "invalidation_probe_failures_total", "node", node, "reason", "setup")
		first.duration(node)
	}
	waitLong(t, "all were published", func() bool {
		keys, dropped, _ := p.counts()
		return keys >= all && dropped == drops
	})
	waitLong(t, "what was dropped is lost", func() bool {
		at := e.scrape(10 * time.Second)
		return at.sum("invalidation_probe_failures_total", "reason", "lost") >= float64(2*drops)
	})
	at := e.scrape(10 * time.Second)
	for _, node := range nodes {
		at.want(float64(drops), "invalidation_probe_failures_total", "node", node, "reason", "lost")
		at.want(0, "invalidation_probe_failures_total", "node", node, "reason", "publish")
		at.want(0, "invalidation_probe_failures_total", "node", node, "reason", "setup")
		count, sum := at.duration(node)
		if count < float64(all) {
			t.Errorf("%s: %v observed, want at least %d", node, count, all)
		}
		p.agrees(t, node, (sum-float64(drops)*120)/(count-float64(drops)))
	}
	if _, _, twice := p.counts(); twice > 0 {
		t.Errorf("%d keys were published twice", twice)
	}
	// A reload keeps the counts, and what was under way is not lost.
	sent := at.sum("invalidation_probes_total")
	e.load(cfg)
	servers.Eventually(t, "probes go on", func() bool {
		return e.scrape(10*time.Second).sum("invalidation_probes_total") > sent+10
	})
	e.scrape(10*time.Second).want(float64(drops), "invalidation_probe_failures_total", "node", "redis-1", "reason", "lost")
}

// waitLong is Eventually for what takes as long as a soak.
func waitLong(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Minute); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// TestProbeReadsAreOwn: the reads of probes on a primary and its replica move no hit rate.
func TestProbeReadsAreOwn(t *testing.T) {
	r, replica, queue, m := servers.Redis(t), servers.Redis(t), servers.Redis(t), servers.Memcached(t)
	replica.Follow(t, r)
	mc := servers.MemcachedClient(t, m.Addr)
	p := &processor{redis: []*redis.Client{r.Client}, memcached: []*memcache.Client{mc}, delay: 20 * time.Millisecond}
	p.run(t, fromList(queue.Client, "inv"))
	cfg := fmt.Sprintf(`
layers:
  - {name: l2, ttl: 1h, nodes: [{name: pair, redis: {replication: ["%s"]}}, {name: memcached-1, memcached: {address: "%s"}}]}
  - {name: q, ttl: 1h, nodes: [{name: queue, redis: {address: "%s"}}]}
invalidation_probes:
  - {name: p, interval: 20ms, timeout: 3s, layers: [l2], key: "probe:{id}", publish: {redis: {node: queue, list: inv}, message: %s}}
`, r.Addr, m.Addr, queue.Addr, probeMessage)
	e := start(t, cfg)
	nodes := []string{"pair/" + r.Addr, "pair/" + replica.Addr, "memcached-1"}
	servers.Eventually(t, "each node lost keys", func() bool {
		at := e.scrape(10 * time.Second)
		for _, node := range nodes {
			if at.number("invalidation_probes_total", "node", node) == 0 {
				return false
			}
			if count, _ := at.duration(node); count < 30 {
				return false
			}
		}
		return true
	})
	at := e.scrape(10 * time.Second)
	for _, node := range nodes {
		at.want(0, "invalidation_probe_failures_total", "node", node, "reason", "lost")
		for family, result := range map[string]string{"node_hits_total": "hit", "node_misses_total": "miss"} {
			own := at.one("node_own_reads_total", "node", node, "result", result)
			if others := at.one(family, "node", node) - own; others != 0 || own == 0 {
				t.Errorf("%s: %v of result %s are others', and %v our own", node, others, result, own)
			}
		}
	}
	// A reload forgets no replica, though that must be found anew.
	e.load(cfg)
	servers.Eventually(t, "the replica is found again", func() bool {
		return e.scrape(10*time.Second).number("invalidation_probes_total", "node", nodes[1]) == 1
	})
	before, _ := at.duration(nodes[1])
	if after, _ := e.scrape(10 * time.Second).duration(nodes[1]); after < before {
		t.Errorf("%v observed of the replica, and %v before the reload", after, before)
	}
}

// TestProbeFailuresAreToldApart: a broker that is down is publish, a node that is down is setup, and neither is lost.
func TestProbeFailuresAreToldApart(t *testing.T) {
	t.Parallel()
	k := servers.Kafka(t)
	k.Tool(t, servers.KafkaTopics, "--create", "--topic", "inv", "--partitions", "2")
	r, second := servers.Redis(t), servers.Redis(t)
	consumer, err := kgo.NewClient(kgo.SeedBrokers(k.Addr), kgo.ConsumeTopics("inv"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(consumer.Close)
	var waiting []string
	p := &processor{redis: []*redis.Client{r.Client, second.Client}}
	stop := p.run(t, func(ctx context.Context) string {
		if len(waiting) == 0 {
			consumer.PollFetches(ctx).EachRecord(func(r *kgo.Record) { waiting = append(waiting, string(r.Value)) })
		}
		if len(waiting) == 0 {
			return ""
		}
		next := waiting[0]
		waiting = waiting[1:]
		return next
	})
	defer stop()
	e := start(t, fmt.Sprintf("layers:\n  - name: l2\n    ttl: 1h\n    nodes:\n%sinvalidation_probes:\n"+
		"  - {name: p, interval: 100ms, timeout: 3s, layers: [l2], key: \"probe:{id}\", publish: {kafka: {brokers: [\"%s\"], topic: inv}, message: %s}}\n",
		redisNodes(r.Addr, second.Addr), k.Addr, probeMessage))
	gone := func() float64 {
		at := e.scrape(10 * time.Second)
		a, _ := at.duration("redis-1")
		b, _ := at.duration("redis-2")
		return min(a, b)
	}
	failed := func(node, reason string) float64 {
		return e.scrape(10*time.Second).one("invalidation_probe_failures_total", "node", node, "reason", reason)
	}
	servers.Eventually(t, "probes succeed", func() bool { return gone() > 10 })
	at := e.scrape(10 * time.Second)
	for _, node := range []string{"redis-1", "redis-2"} {
		for _, reason := range []string{"lost", "publish", "setup"} {
			at.want(0, "invalidation_probe_failures_total", "node", node, "reason", reason)
		}
		count, sum := at.duration(node)
		p.agrees(t, node, sum/count)
	}

	second.Stop()
	servers.Eventually(t, "the node that is down is setup", func() bool { return failed("redis-2", "setup") > 5 })
	if n := failed("redis-1", "setup") + failed("redis-1", "lost") + failed("redis-2", "lost") + failed("redis-2", "publish"); n != 0 {
		t.Errorf("%v failures of another kind", n)
	}

	k.Stop()
	servers.Eventually(t, "a broker that is down is publish", func() bool { return failed("redis-1", "publish") > 5 })
	if n := failed("redis-1", "setup") + failed("redis-2", "lost"); n != 0 {
		t.Errorf("%v failures of another kind", n)
	}
	e.scrape(10*time.Second).want(0, "collector_success", "collector", "invalidation_probe")
}

// TestProbesLeaveNothingBehind: two exporters side by side never touch each other's keys, and stop without a trace.
func TestProbesLeaveNothingBehind(t *testing.T) {
	servers.NoLeaks(t)
	r, queue, m := servers.Redis(t), servers.Redis(t), servers.Memcached(t)
	mc := servers.MemcachedClient(t, m.Addr)
	p := &processor{redis: []*redis.Client{r.Client}, memcached: []*memcache.Client{mc}}
	stop := p.run(t, fromList(queue.Client, "inv"))
	cfg := fmt.Sprintf(`
layers:
  - {name: l2, ttl: 1h, nodes: [{name: redis-1, redis: {address: "%s"}}, {name: memcached-1, memcached: {address: "%s"}}]}
  - {name: q, ttl: 1h, nodes: [{name: queue, redis: {address: "%s"}}]}
invalidation_probes:
  - {name: p, interval: 50ms, timeout: 20s, layers: [l2], key: "probe:{id}", publish: {redis: {node: queue, list: inv}, message: %s}}
`, r.Addr, m.Addr, queue.Addr, probeMessage)
	exporters := []*exporter{start(t, cfg), start(t, cfg)}
	for _, e := range exporters {
		servers.Eventually(t, "probes succeed", func() bool {
			count, _ := e.scrape(10 * time.Second).duration("memcached-1")
			return count > 20
		})
		e.scrape(10*time.Second).want(0, "invalidation_probe_failures_total", "node", "redis-1", "reason", "lost")
	}
	if _, _, twice := p.counts(); twice > 0 {
		t.Errorf("%d keys were published twice", twice)
	}
	stop()
	servers.Eventually(t, "keys are under way", func() bool {
		return r.DBSize(t.Context()).Val() > 10 && memcachedStats(t, m.Addr)["curr_items"] > 10
	})
	for _, key := range r.Keys(t.Context(), "*").Val() {
		if ttl := r.TTL(t.Context(), key).Val(); ttl <= 0 || !strings.HasPrefix(key, "probe:") {
			t.Errorf("%s has the TTL %v", key, ttl)
		}
	}
	exporters[0].load(strings.Split(cfg, "invalidation_probes:")[0])
	exporters[1].Close()
	if keys := r.Keys(t.Context(), "*").Val(); len(keys) > 0 {
		t.Errorf("%v are left behind", keys)
	}
	if n := memcachedStats(t, m.Addr)["curr_items"]; n != 0 {
		t.Errorf("%v items are left behind in memcached", n)
	}
	if n := exporters[0].scrape(10 * time.Second).number("invalidation_probes_total"); n != 0 {
		t.Errorf("%d series of a probe that is no longer configured", n)
	}
}
