package drain_test

import (
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/cacheinv/cacheinv_exporter/internal/drain"
	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// Each group has read another part of the stream; some of what a consumer has read and not acknowledged was trimmed.
func TestStream(t *testing.T) {
	servers.NoLeaks(t)
	s := newSite(t)
	all := keys(0, 10)
	s.fill(t, all)
	var ids []string
	for _, k := range all {
		ids = append(ids, s.queueOn.XAdd(t.Context(), &redis.XAddArgs{Stream: "inv", Values: []any{"key", k}}).Val())
	}
	for group, read := range map[string]int64{"a": 4, "b": 0, "not-ours": 0} {
		s.queueOn.Must(t, "xgroup", "create", "inv", group, "0")
		if read > 0 {
			if err := s.queueOn.XReadGroup(t.Context(), &redis.XReadGroupArgs{Group: group, Consumer: "gone", Streams: []string{"inv", ">"}, Count: read}).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.queueOn.Must(t, "xdel", "inv", ids[1]) // pending in a
	s.queueOn.Must(t, "xdel", "inv", ids[7]) // read by nobody: it is no message any more, and the server does not know the lag
	yaml := s.yaml(`{name: inv, redis: {node: redis-1, stream: inv, groups: [a, b]}, message: {key: "$.key"}}`)
	p := plan(t, yaml)
	if q := p.Queues[0]; *q.Waiting != 5+8 || *q.Processing != 4 || q.DistinctKeys != 8 || p.Incomplete {
		t.Errorf("%+v", q)
	}
	if n := s.queueOn.XPending(t.Context(), "inv", "a").Val().Count; n != 4 {
		t.Fatalf("a plan left %d entries pending", n)
	}
	r := apply(t, yaml, drain.Options{Batch: 3})
	q := r.Queues[0]
	if r.Incomplete || q.Applied != 3+5+8 || q.Dead != 1 || *q.Left != 0 || q.DeadIDs[0].ID != ids[1] || !strings.Contains(q.DeadIDs[0].Reason, "trimmed") {
		t.Errorf("%+v", r)
	}
	if dead := s.queueOn.LRange(t.Context(), "inv:dead-letter", 0, -1).Val(); len(dead) != 1 || !strings.Contains(dead[0], ids[1]) {
		t.Errorf("dead letters %q", dead)
	}
	if n := s.queueOn.XLen(t.Context(), "inv").Val(); n != 8 {
		t.Errorf("the stream has %d entries of 8", n)
	}
	s.wantGone(t, []string{all[0], all[2], all[3], all[4], all[5], all[6], all[8], all[9]})
}
