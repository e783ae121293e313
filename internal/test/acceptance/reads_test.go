package acceptance

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// TestRoundTrips: 1,000 keys that all differ cost a Redis node two round trips, and one for INFO and SCAN.
func TestRoundTrips(t *testing.T) {
	var proxies []*servers.Proxy
	var started []*servers.RedisServer
	var addresses []string
	for i := range 2 {
		r := servers.Redis(t)
		pipe := r.Pipeline()
		for k := range 1000 {
			pipe.Set(t.Context(), fmt.Sprintf("user:%d", k), fmt.Sprintf("%d of %d", k, i), time.Hour)
		}
		if _, err := pipe.Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
		p := servers.NewProxy(t, r.Addr)
		started, proxies, addresses = append(started, r), append(proxies, p), append(addresses, p.Addr)
	}
	var keys []string
	for k := range 1000 {
		keys = append(keys, fmt.Sprintf("\"user:%d\"", k))
	}
	e := start(t, "layers:\n  - name: l2\n    ttl: 1h\n    nodes:\n"+redisNodes(addresses...)+
		"canaries:\n  - {class: user, keys: ["+strings.Join(keys, ", ")+"], pattern: \"none:*\", layers: [l2]}\n")
	e.scrape(10 * time.Second) // opens the connections
	for i := range proxies {
		proxies[i].Reset()
		started[i].Must(t, "config", "resetstat")
	}
	p := e.scrape(10 * time.Second)
	if n := p.sum("canary_copies", "state", "undecided"); n != 2000 {
		t.Fatalf("%v undecided copies, want 2000", n)
	}
	for i, proxy := range proxies {
		if got := proxy.Counts(); got.RoundTrips > 3 || got.Connections != 0 {
			t.Errorf("%+v, want at most 3 round trips and no new connection", got)
		}
		stats := started[i].Info(t.Context(), "commandstats").Val()
		for command, most := range map[string]int{"mget": 2, "info": 1, "scan": 1, "pttl": 2000, "get": 0, "ttl": 0, "exists": 0} {
			if n := calls(t, stats, command); n > most {
				t.Errorf("%d calls of %s, want at most %d", n, command, most)
			}
		}
	}
}

// calls of a command by INFO commandstats.
func calls(t *testing.T, stats, command string) int {
	t.Helper()
	_, rest, ok := strings.Cut(stats, "cmdstat_"+command+":calls=")
	if !ok {
		return 0
	}
	number, _, _ := strings.Cut(rest, ",")
	n, err := strconv.Atoi(number)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestOwnReadsDoNotMoveTheHitRate: hits and misses less our own stay exactly flat while nobody else reads.
func TestOwnReadsDoNotMoveTheHitRate(t *testing.T) {
	var addresses []string
	for i := range 2 {
		r := servers.Redis(t)
		r.Must(t, "mset", "user:1", "same", "user:2", fmt.Sprintf("differs %d", i), "user:4", "same", "extra:1", "x")
		r.Must(t, "rpush", "user:3", "a list")
		r.Must(t, "hset", "cart:1", "a", strconv.Itoa(i))
		r.Must(t, "rpush", "queue", "a", "b")
		r.Must(t, "xadd", "stream", "*", "k", "v")
		r.Must(t, "xgroup", "create", "stream", "processors", "0")
		addresses = append(addresses, r.Addr)
	}
	m := servers.Memcached(t)
	setMemcached(t, m.Addr, map[string]string{"user:1": "same", "user:2": "differs 3"})
	e := start(t, "layers:\n  - name: l2\n    ttl: 1h\n    nodes:\n"+redisNodes(addresses...)+fmt.Sprintf(`
  - {name: l3, ttl: 1h, nodes: [{name: memcached-1, memcached: {address: "%s"}}]}
queues:
  - {name: list, redis: {node: redis-1, list: queue}}
  - {name: none, redis: {node: redis-1, list: nothing}}
  - {name: stream, redis: {node: redis-2, stream: stream}}
canaries:
  - {class: user, keys: ["user:1", "user:2", "user:3", "user:4", "user:5"], pattern: "extra:*", layers: [l2, l3]}
  - {class: cart, keys: ["cart:1", "cart:2"], type: hash, layers: [l2]}
`, m.Addr))
	flat := map[string]float64{}
	for i := range counts(2000) {
		p := e.scrape(10 * time.Second)
		for _, node := range []string{"redis-1", "redis-2", "memcached-1"} {
			for family, result := range map[string]string{"node_hits_total": "hit", "node_misses_total": "miss"} {
				others := p.one(family, "node", node) - p.one("node_own_reads_total", "node", node, "result", result)
				if before, seen := flat[node+result]; seen && before != others {
					t.Fatalf("scrape %d, %s: %ss of others went from %v to %v", i, node, result, before, others)
				}
				flat[node+result] = others
			}
		}
	}
	if p := e.scrape(10 * time.Second); p.one("node_own_reads_total", "node", "memcached-1", "result", "hit") == 0 ||
		p.one("canary_copies", "node", "redis-1", "class", "user", "state", "error") != 1 {
		t.Errorf("nothing was read:\n%s", p.ours())
	}
}

// TestNumbersAreTheServersOwn compares with what the servers' own tools print.
func TestNumbersAreTheServersOwn(t *testing.T) {
	k := servers.Kafka(t)
	k.Tool(t, servers.KafkaTopics, "--create", "--topic", "inv", "--partitions", "3")
	produce(t, k.Addr, "inv", 3, 100)
	commit(t, k.Addr, "processors", "inv", map[int32]int64{0: 10, 1: 40})
	r := servers.Redis(t)
	for i := range 17 {
		r.Must(t, "rpush", "queue", i)
		r.Must(t, "xadd", "stream", "*", "n", i)
	}
	r.Must(t, "xgroup", "create", "stream", "processors", "0")
	r.Must(t, "xreadgroup", "group", "processors", "me", "count", 5, "streams", "stream", ">")
	r.Must(t, "exists", "nothing")
	m := servers.Memcached(t)
	setMemcached(t, m.Addr, map[string]string{"a": "1", "b": "22"})
	e := start(t, fmt.Sprintf(`
layers:
  - {name: l2, ttl: 1h, nodes: [{name: redis-1, redis: {address: "%s"}}]}
  - {name: l3, ttl: 1h, nodes: [{name: memcached-1, memcached: {address: "%s"}}]}
queues:
  - {name: list, redis: {node: redis-1, list: queue}, capacity: 20}
  - {name: stream, redis: {node: redis-1, stream: stream, groups: [processors]}}
  - {name: kafka, kafka: {brokers: ["%s"], topics: [inv], groups: ["/^proc/"]}}
`, r.Addr, m.Addr, k.Addr))
	p := e.scrape(10 * time.Second)

	p.want(float64(r.LLen(t.Context(), "queue").Val()), "queue_depth", "queue", "list")
	p.want(20, "queue_capacity", "queue", "list")
	groups, err := r.XInfoGroups(t.Context(), "stream").Result()
	if err != nil {
		t.Fatal(err)
	}
	p.want(float64(groups[0].Lag), "consumer_group_lag", "queue", "stream", "group", "processors", "topic", "stream", "partition", "0")
	p.want(float64(groups[0].Lag+groups[0].Pending), "queue_depth", "queue", "stream")

	described := k.Tool(t, servers.KafkaGroups, "--describe", "--group", "processors")
	rows, total := 0, 0.0
	for line := range strings.Lines(described) {
		f := strings.Fields(line) // GROUP TOPIC PARTITION CURRENT-OFFSET LOG-END-OFFSET LAG …
		if len(f) < 6 || f[0] != "processors" || f[5] == "-" {
			continue
		}
		lag, err := strconv.ParseFloat(f[5], 64)
		if err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		rows, total = rows+1, total+lag
		p.want(lag, "consumer_group_lag", "queue", "kafka", "group", f[0], "topic", f[1], "partition", f[2])
	}
	if rows != 2 {
		t.Fatalf("%d rows of lag in\n%s", rows, described)
	}
	p.want(total, "queue_depth", "queue", "kafka")
	p.want(1, "consumer_group_uncommitted_partitions", "queue", "kafka", "group", "processors")
	p.want(0, "consumer_group_members", "queue", "kafka", "group", "processors")
	p.want(1, "consumer_group_state", "queue", "kafka", "group", "processors", "state", "Empty")
	p.want(1, "queue_brokers", "queue", "kafka", "state", "up")
	for _, q := range []string{"list", "stream", "kafka"} {
		p.want(1, "queue_up", "queue", q)
	}

	stats := memcachedStats(t, m.Addr)
	for family, name := range map[string]string{
		"node_hits_total": "get_hits", "node_misses_total": "get_misses", "node_evicted_total": "evictions",
		"node_items": "curr_items", "node_memory_limit_bytes": "limit_maxbytes", "node_memory_used_bytes": "bytes",
	} {
		p.want(stats[name], family, "node", "memcached-1")
	}
	info := r.Info(t.Context()).Val()
	for family, name := range map[string]string{
		"node_evicted_total": "evicted_keys:", "node_expired_total": "expired_keys:",
	} {
		want, err := strconv.ParseFloat(offset(info, name), 64)
		if err != nil {
			t.Fatal(err)
		}
		p.want(want, family, "node", "redis-1")
	}
	p.want(float64(r.DBSize(t.Context()).Val()), "node_items", "node", "redis-1")
	p.want(1, "node_info", "node", "redis-1", "version", offset(info, "redis_version:"), "role", "primary", "eviction_policy", "noeviction")
}
