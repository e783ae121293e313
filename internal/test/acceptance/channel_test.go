package acceptance

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// instance of an application that hears a channel.
func instance(t *testing.T, address, channel string, sharded bool) *redis.PubSub {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: address, MaxRetries: -1})
	t.Cleanup(func() { _ = c.Close() })
	subscribe := c.Subscribe
	if sharded {
		subscribe = c.SSubscribe
	}
	p := subscribe(t.Context(), channel)
	t.Cleanup(func() { _ = p.Close() })
	if _, err := p.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	return p
}

// noBacklog: nothing waits in a channel, so that no series says how much does.
func (p page) noBacklog(queue string) {
	p.t.Helper()
	for _, family := range []string{"queue_depth", "queue_oldest_message_age_seconds", "queue_stalled", "consumer_group_lag", "consumer_group_stalled", "queue_limit"} {
		if n := p.number(family, "queue", queue); n != 0 {
			p.t.Errorf("%d series of %s", n, family)
		}
	}
}

// A channel whose third subscriber is gone is told at the next scrape.
func TestChannelLosesASubscriber(t *testing.T) {
	r := servers.Redis(t)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, `{"version":"1.0"}`) }))
	t.Cleanup(web.Close)
	e := start(t, fmt.Sprintf(`
layers: [{name: l2, ttl: 1h, nodes: [{name: redis-1, redis: {address: %q}}]}]
queues:
  - {name: bus, redis: {node: redis-1, channel: l1-invalidation}, subscribers: 3, message: {key: $.key}}
  - {name: of-web, redis: {node: redis-1, channel: l1-invalidation}, app: web}
  - {name: any, redis: {node: redis-1, channel: another}}
versions: [{app: web, nodes: {a: %q, b: %[2]q}, json: $.version}]
`, r.Addr, web.URL))
	var all []*redis.PubSub
	for range 3 {
		all = append(all, instance(t, r.Addr, "l1-invalidation", false))
	}
	p := e.scrape(10 * time.Second)
	p.want(3, "queue_subscribers", "queue", "bus")
	p.want(3, "queue_expected_subscribers", "queue", "bus")
	p.want(3, "queue_subscribers", "queue", "of-web")
	p.want(2, "queue_expected_subscribers", "queue", "of-web")
	p.want(0, "queue_subscribers", "queue", "any")
	if p.number("queue_expected_subscribers") != 2 {
		t.Errorf("nothing says how many subscribers of another there should be:\n%s", p.ours())
	}
	p.want(1, "queue_up", "queue", "bus", "kind", "redis_channel")
	p.want(0, "queue_enqueued_total", "queue", "bus", "kind", "redis_channel")
	for _, queue := range []string{"bus", "of-web", "any"} {
		p.noBacklog(queue)
	}
	if highest, score := p.cause(); score > 0.2 {
		t.Errorf("%s has %v", highest, score)
	}

	for range 5 {
		r.Must(t, "publish", "l1-invalidation", `{"key":"user:1"}`)
	}
	_ = all[2].Close()
	servers.Eventually(t, "the server notices", func() bool { return r.PubSubNumSub(t.Context(), "l1-invalidation").Val()["l1-invalidation"] == 2 })
	p = e.scrape(10 * time.Second)
	p.want(2, "queue_subscribers", "queue", "bus")
	p.want(3, "queue_expected_subscribers", "queue", "bus")
	p.want(5, "queue_enqueued_total", "queue", "bus")
	p.want(5, "queue_sampled_messages", "queue", "bus")
	p.want(5, "queue_sampled_top_key_messages", "queue", "bus")
	p.want(1, "collector_success", "collector", "queue")
	servers.Eventually(t, "the cause", func() bool {
		highest, score := e.scrape(10 * time.Second).cause()
		return highest == "queue" && score > 0.2
	})

	r.Must(t, "client", "kill", "type", "pubsub")
	servers.Eventually(t, "the subscription stands again", func() bool {
		p = e.scrape(10 * time.Second)
		return p.sum("queue_up") == 3
	})
	p.want(0, "queue_subscribers", "queue", "bus")
	if !strings.Contains(e.log.String(), "our subscription") {
		t.Error("nothing says that messages may have been missed")
	}
}

// On a Redis Cluster the subscribers of a sharded channel are on the shard that owns its slot, those of another anywhere.
func TestChannelOfAClusterLosesASubscriber(t *testing.T) {
	c := servers.RedisCluster(t, 3, 1)
	e := start(t, fmt.Sprintf(`
layers: [{name: l2, ttl: 1h, nodes: [{name: c, redis: {cluster: [%q]}}]}]
queues:
  - {name: sharded, redis: {node: c, channel: bus, sharded: true}, subscribers: 3}
  - {name: everywhere, redis: {node: c, channel: bus}, subscribers: 3}
`, c.Addrs()[0]))
	shard := c.Shards[c.Owner(t, "bus")]
	var sharded, everywhere []*redis.PubSub
	for i, n := range []*servers.ClusterNode{shard[0], shard[0], shard[1]} {
		sharded = append(sharded, instance(t, n.Addr, "bus", true))
		everywhere = append(everywhere, instance(t, c.Shards[i][i%2].Addr, "bus", false))
	}
	p := e.scrape(10 * time.Second)
	for _, queue := range []string{"sharded", "everywhere"} {
		p.want(3, "queue_subscribers", "queue", queue)
		p.want(1, "queue_up", "queue", queue)
		p.noBacklog(queue)
	}
	_, _ = sharded[2].Close(), everywhere[1].Close()
	servers.Eventually(t, "the servers notice", func() bool {
		return shard[1].PubSubShardNumSub(t.Context(), "bus").Val()["bus"] == 0 && c.Shards[1][1].PubSubNumSub(t.Context(), "bus").Val()["bus"] == 0
	})
	p = e.scrape(10 * time.Second)
	p.want(2, "queue_subscribers", "queue", "sharded")
	p.want(2, "queue_subscribers", "queue", "everywhere")
	shard[0].Must(t, "spublish", "bus", "x")
	servers.Eventually(t, "the message is counted", func() bool { return e.scrape(10*time.Second).sum("queue_enqueued_total", "queue", "sharded") == 1 })
}
