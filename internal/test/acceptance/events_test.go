package acceptance

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// TestEventChecks: of two invalidations one reaches both nodes, and the other one of them, by a channel and by a stream.
func TestEventChecks(t *testing.T) {
	for kind, tt := range map[string]struct {
		queue   string
		publish func(t *testing.T, r *servers.RedisServer, message string)
	}{
		"channel": {"redis: {node: redis-1, channel: inv}", func(t *testing.T, r *servers.RedisServer, message string) {
			t.Helper()
			r.Must(t, "publish", "inv", message)
		}},
		"stream": {"redis: {node: redis-1, stream: inv, groups: [workers]}", func(t *testing.T, r *servers.RedisServer, message string) {
			t.Helper()
			r.Must(t, "xadd", "inv", "*", "message", message)
			read := r.XReadGroup(t.Context(), &redis.XReadGroupArgs{Group: "workers", Consumer: "a", Streams: []string{"inv", ">"}})
			for _, m := range read.Val()[0].Messages {
				r.Must(t, "xack", "inv", "workers", m.ID)
			}
		}},
	} {
		t.Run(kind, func(t *testing.T) {
			one, two := servers.Redis(t), servers.Redis(t)
			one.Must(t, "xgroup", "create", "inv", "workers", "$", "mkstream")
			if kind == "channel" {
				one.Must(t, "del", "inv")
			}
			for _, key := range []string{"user:1", "user:2"} {
				for _, r := range []*servers.RedisServer{one, two} {
					r.Must(t, "set", key, `{"version":1}`, "ex", "3600")
				}
			}
			path := "$"
			if kind == "stream" {
				path = "$.message"
			}
			e := start(t, fmt.Sprintf(`
layers: [{name: l2, ttl: 1h, nodes: [{name: redis-1, redis: {address: %q}}, {name: redis-2, redis: {address: %q}}]}]
queues: [{name: inv, %s, message: {key: %q}}]
canaries: [{class: user, layers: [l2], match: "^user:", version: {json: $.version}, events: {queue: inv, within: 2s, windows: [2s]}}]
`, one.Addr, two.Addr, tt.queue, path))
			p := e.scrape(10 * time.Second)
			p.want(0, "event_checks_total", "class", "user", "window", "2s", "result", "survived")
			p.want(2, "event_within_seconds", "class", "user")
			for _, r := range []*servers.RedisServer{one, two} {
				r.Must(t, "del", "user:1")
			}
			one.Must(t, "del", "user:2")
			tt.publish(t, one, "user:1")
			tt.publish(t, one, "user:2")
			servers.Eventually(t, "both are looked at", func() bool {
				p = e.scrape(10 * time.Second)
				return p.sum("event_checks_total", "window", "2s") == 2
			})
			p.want(2, "events_seen_total", "queue", "inv")
			p.want(1, "event_checks_total", "class", "user", "window", "2s", "result", "gone")
			p.want(2, "event_copy_checks_total", "node", "redis-1", "result", "gone")
			p.want(1, "event_copy_checks_total", "node", "redis-2", "result", "gone")
			p.want(0, "event_copy_checks_total", "node", "redis-2", "result", "error")
			if line := `cacheinv_event_effect_seconds_count{class="user",layer="l2"} 1`; !strings.Contains(p.text, line+"\n") {
				t.Errorf("no %s in\n%s", line, p.ours())
			}
			p.want(1, "collector_success", "collector", "event")

			// Before a look nothing is known of the copy's age. One that was seen clearly before a message, and is the same after it, survived.
			servers.Eventually(t, "the copy on the second node survives", func() bool {
				tt.publish(t, one, "user:2")
				p = e.scrape(10 * time.Second)
				return p.sum("event_copy_checks_total", "node", "redis-2", "result", "survived") > 0
			})
			if p.sum("event_oldest_ineffective_seconds") == 0 {
				t.Errorf("nothing is without effect:\n%s", p.ours())
			}
		})
	}
}
