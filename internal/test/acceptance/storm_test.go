package acceptance

import (
	"fmt"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// stormConfig watches a list and a stream of one Redis.
func stormConfig(address string) string {
	return fmt.Sprintf(`
layers:
  - {name: queues, ttl: none, nodes: [{name: queue, redis: {address: %q}}]}
queues:
  - name: list
    redis: {node: queue, list: inv}
    message: {key: $.key, version: $.version, timestamp_ms: $.ts}
  - name: stream
    redis: {node: queue, stream: inv:stream, groups: [processors]}
    message: {key: $.key, version: $.version, timestamp_ms: $.ts}
`, address)
}

// 60,000 messages a minute, of which 1 key in 3 is repeated at the version that it has: told within two scrapes. As many
// messages with keys of their own, as an import sends them, show nothing of the kind.
func TestStorm(t *testing.T) {
	for _, storm := range []bool{true, false} {
		r := servers.Redis(t)
		r.Must(t, "xgroup", "create", "inv:stream", "processors", "0", "mkstream")
		e := start(t, stormConfig(r.Addr))
		e.scrape(5 * time.Second)
		n := counts(60_000)
		pipe := r.Pipeline()
		for i := range n {
			key := fmt.Sprintf("product:%d:price", i)
			if storm && i%3 == 0 {
				key = "user:7:profile"
			}
			now := time.Now().UnixMilli()
			pipe.RPush(t.Context(), "inv", fmt.Sprintf(`{"key":%q,"version":4,"ts":%d}`, key, now))
			pipe.Do(t.Context(), "xadd", "inv:stream", "*", "key", key, "version", 4, "ts", now)
			if pipe.Len() >= 1000 || i == n-1 {
				if _, err := pipe.Exec(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		}
		e.scrape(5 * time.Second)
		p := e.scrape(5 * time.Second)
		for _, q := range []string{"list", "stream"} {
			p.want(float64(n), "queue_depth", "queue", q)
			p.want(float64(n), "queue_enqueued_total", "queue", q)
			p.want(1000, "queue_sampled_messages", "queue", q)
			top, repeats := p.one("queue_sampled_top_key_messages", "queue", q), p.one("queue_sampled_repeats", "queue", q)
			distinct := p.one("queue_sampled_distinct_keys", "queue", q)
			if storm && (top < 330 || repeats < 330 || distinct > 670) || !storm && (top != 1 || repeats != 0 || distinct != 1000) {
				t.Errorf("storm %t, %s: the top key has %v messages, %v repeats, %v keys", storm, q, top, repeats, distinct)
			}
		}
		if own, all := p.one("node_own_reads_total", "result", "hit"), p.one("node_hits_total"); own != all {
			t.Errorf("the node counted %v hits, and %v are told as ours", all, own)
		}
	}
}
