package drain_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/audit"
	"github.com/cacheinv/cacheinv_exporter/internal/drain"
	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// nodeOf a report.
func nodeOf(t testing.TB, r *drain.Report, name string) drain.NodeReport {
	t.Helper()
	i := slices.IndexFunc(r.Nodes, func(n drain.NodeReport) bool { return n.Node == name })
	if i < 0 {
		t.Fatalf("%s is not in %+v", name, r.Nodes)
	}
	return r.Nodes[i]
}

// With one of a pool's servers down, messages of its keys stay; when it is back, they are finished.
func TestNodeDown(t *testing.T) {
	servers.NoLeaks(t)
	s := newSite(t)
	all := keys(0, 900)
	s.fill(t, all)
	push(t, s.queueOn, "inv", messagesOf(all)...)
	push(t, s.queueOn, "inv", "no JSON")
	down := s.pool[0].Addr
	s.pool[0].Stop()

	r := apply(t, s.yaml(listQueue), drain.Options{})
	q, n := r.Queues[0], nodeOf(t, r, "pool/"+down)
	if !r.Incomplete || q.Kept == 0 || q.Applied == 0 || q.Kept+q.Applied != 900 || q.Dead != 1 || *q.Left != q.Kept || n.Waiting != q.Kept || n.Error == "" || n.Layer != "l3" {
		t.Errorf("%+v", r)
	}
	left := s.queueOn.LRange(t.Context(), "inv:processing", 0, -1).Val()
	if int64(len(left)) != q.Kept || s.queueOn.LLen(t.Context(), "inv").Val() != 0 {
		t.Errorf("%d messages are in processing, and %d were kept", len(left), q.Kept)
	}
	// What is left are the messages of that server's keys alone, and all others are deleted on every node.
	var gone []string
	for _, k := range all {
		if !slices.Contains(left, message(k)) {
			gone = append(gone, k)
		}
	}
	if n := exists(t, s.queueOn, all); n != 0 {
		t.Errorf("on a node that runs %d keys are left", n)
	}

	servers.MemcachedAt(t, down)
	s.wantGone(t, gone)
	r = apply(t, s.yaml(listQueue), drain.Options{})
	if q := r.Queues[0]; r.Incomplete || *q.Processing != int64(len(left)) || q.Applied != int64(len(left)) || *q.Left != 0 {
		t.Errorf("%+v", r)
	}
	s.wantGone(t, all)
}

// A primary that can't be reached keeps everything, of a topic, a stream and a list; its replica doesn't stand for it.
func TestPrimaryDown(t *testing.T) {
	s := newSite(t)
	all := keys(0, 100)
	s.fill(t, all)
	push(t, s.queueOn, "inv", messagesOf(all)...)
	yaml := strings.Replace(s.yaml(listQueue), `{replication: ["`, `{replication: ["`+s.replica.Addr+`", "`, 1)
	s.primary.Freeze(t)
	r := apply(t, yaml, drain.Options{})
	if q := r.Queues[0]; !r.Incomplete || q.Kept != 100 || q.Removed != 0 || *q.Left != 100 {
		t.Errorf("%+v", r)
	}
	p := plan(t, yaml)
	if i := slices.IndexFunc(p.Nodes, func(n drain.NodePlan) bool { return n.Error != "" }); !p.Incomplete || i < 0 {
		t.Errorf("%+v", p)
	}
	s.primary.Thaw(t)
	servers.Eventually(t, "the primary answers", func() bool { return s.primary.Ping(t.Context()).Err() == nil })
	if r := apply(t, yaml, drain.Options{}); r.Incomplete || r.Queues[0].Applied != 100 {
		t.Errorf("%+v", r)
	}
	s.wantGone(t, all)
}

// A replica that is configured by itself is deleted from through its primary, if that is a node too.
func TestReplicaByItself(t *testing.T) {
	primary, replica := servers.Redis(t), servers.Redis(t)
	replica.Follow(t, primary)
	queueOn := servers.Redis(t)
	yaml := func(nodes string) string {
		return "layers:\n  - name: queues\n    ttl: none\n    nodes: [{name: q, redis: {address: " + `"` + queueOn.Addr + `"` + "}}]\n" +
			"  - name: l2\n    ttl: 1h\n    nodes: [" + nodes + "]\n" +
			`queues: [{name: inv, redis: {node: q, list: inv}, message: {key: "$.key"}}]`
	}
	set(t, primary, []string{"a"})
	push(t, queueOn, "inv", message("a"))
	one, other := `{name: a, redis: {address: "`+primary.Addr+`"}}`, `{name: b, redis: {address: "`+replica.Addr+`"}}`
	r := apply(t, yaml(other), drain.Options{})
	if n := nodeOf(t, r, "b"); !r.Incomplete || r.Queues[0].Kept != 1 || !strings.Contains(n.Error, "replica") {
		t.Errorf("%+v", r)
	}
	r = apply(t, yaml(one+", "+other), drain.Options{})
	if r.Incomplete || r.Queues[0].Applied != 1 || exists(t, primary, []string{"a"}) != 0 {
		t.Errorf("%+v", r)
	}
}

// Two runs at once: the first can no longer take or remove anything, and nothing is lost.
func TestTwoRuns(t *testing.T) {
	s := newSite(t)
	all := keys(0, 600)
	s.fill(t, all)
	push(t, s.queueOn, "inv", messagesOf(all)...)
	yaml := s.yaml(listQueue)
	d, done, err := open(yaml)
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	batches := 0
	first, err := d.Apply(within(t, time.Minute), drain.Options{Batch: 100, Before: func(context.Context) error {
		if batches++; batches == 3 {
			if r := apply(t, yaml, drain.Options{}); r.Incomplete || r.Queues[0].Applied != 400 {
				t.Errorf("the second run: %+v", r)
			}
		}
		return nil
	}})
	if err != nil || !first.Incomplete || !strings.Contains(first.Queues[0].Error, "another run") || first.Queues[0].Applied != 200 {
		t.Errorf("the first run: %+v, %v", first, err)
	}
	s.wantGone(t, all)
}

// Whoever stops a run by Before leaves the rest in the queue.
func TestStopped(t *testing.T) {
	s := newSite(t)
	all := keys(0, 300)
	push(t, s.queueOn, "inv", messagesOf(all)...)
	d, done, err := open(s.yaml(listQueue))
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	batches := 0
	r, err := d.Apply(within(t, time.Minute), drain.Options{Batch: 100, Before: func(context.Context) error {
		if batches++; batches > 1 {
			return errors.New("the origin is not healthy")
		}
		return nil
	}})
	if err != nil || !r.Incomplete || r.Stopped != "the origin is not healthy" || *r.Queues[0].Left != 200 {
		t.Errorf("%+v, %v", r, err)
	}
}

// At a rate, messages are applied at that rate.
func TestRate(t *testing.T) {
	s := newSite(t)
	push(t, s.queueOn, "inv", messagesOf(keys(0, 500))...)
	r := apply(t, s.yaml(listQueue), drain.Options{Rate: 250})
	// The first fifth of a second's messages go at once.
	if r.Queues[0].Applied != 500 || r.Seconds < 1.75 || r.Seconds > 5 {
		t.Errorf("500 messages at 250/s took %.2f s: %+v", r.Seconds, r)
	}
}

// What can't be drained says what to configure.
func TestRefused(t *testing.T) {
	s := newSite(t)
	push(t, s.queueOn, "inv", message("a"))
	s.queueOn.Must(t, "xadd", "stream", "*", "key", "a")
	for _, c := range []struct{ queue, want string }{
		{`{name: inv, redis: {node: redis-1, list: inv}}`, "message: {key: $.key}"},
		{`{name: inv, redis: {node: redis-1, list: inv}, message: {version: $.v}}`, "message: {key: $.key}"},
		{`{name: inv, redis: {node: redis-1, list: stream}, message: {key: $.key}}`, "not a list"},
		{`{name: inv, redis: {node: redis-1, stream: stream}, message: {key: $.key}}`, "XGROUP CREATE"},
		{`{name: inv, redis: {node: redis-1, stream: stream, groups: [g]}, message: {key: $.key}}`, "XGROUP CREATE"},
		{`{name: inv, kafka: {brokers: ["127.0.0.1:1"], topics: [a]}, message: {key: $.key}}`, "in groups"},
	} {
		r, p := apply(t, s.yaml(c.queue), drain.Options{}), plan(t, s.yaml(c.queue))
		if !r.Incomplete || !strings.Contains(r.Queues[0].Error, c.want) || !p.Incomplete || !strings.Contains(p.Queues[0].Error, c.want) {
			t.Errorf("%s: %+v, %+v", c.queue, r, p)
		}
	}
	if n := s.queueOn.LLen(t.Context(), "inv").Val(); n != 1 {
		t.Errorf("%d messages are left of 1", n)
	}
}

// HTTP layers are named, with how long a copy may stay stale.
func TestNotInvalidated(t *testing.T) {
	s := newSite(t)
	push(t, s.queueOn, "inv", message("user:1"))
	yaml := strings.Replace(s.yaml(listQueue), "layers:\n", `layers:
  - name: edge
    ttl: 5m
    nodes: [{name: pop, http: {url: "http://127.0.0.1:1/{key}"}}]
`, 1)
	r := apply(t, yaml, drain.Options{})
	if len(r.NotInvalidated) != 1 || r.NotInvalidated[0].Layer != "edge" || *r.NotInvalidated[0].TTLSeconds != 300 ||
		!slices.Equal(r.NotInvalidated[0].Nodes, []string{"pop"}) || r.Incomplete {
		t.Errorf("%+v", r)
	}
}

// A key that some nodes can't hold is deleted on the others.
func TestKeysThatSomeNodesCannotHold(t *testing.T) {
	only, queueOn := servers.Memcached(t), servers.Redis(t)
	yaml := `
layers:
  - {name: l3, ttl: 1h, nodes: [{name: mc, memcached: {address: "` + only.Addr + `"}}]}
  - {name: l2, ttl: 1h, nodes: [{name: redis, redis: {address: "` + queueOn.Addr + `"}}]}
queues: [{name: inv, redis: {node: redis, list: inv}, message: {key: "$.key"}}]`
	set(t, queueOn, []string{"with space"})
	push(t, queueOn, "inv", message("with space"))
	r := apply(t, yaml, drain.Options{})
	if r.Incomplete || r.Queues[0].Applied != 1 || exists(t, queueOn, []string{"with space"}) != 0 {
		t.Errorf("%+v", r)
	}
}

// Of a group whose nodes are not known it can't be said that a key is gone.
func TestGroupThatIsNotKnown(t *testing.T) {
	s := newSite(t)
	push(t, s.queueOn, "inv", message("user:1"))
	yaml := strings.Replace(s.yaml(listQueue), "nodes:\n", "nodes:\n      - {name: main, redis: {sentinel: {master: m, addresses: [\""+servers.FreeAddr(t)+"\"]}}}\n", 1)
	r := apply(t, yaml, drain.Options{})
	if n := nodeOf(t, r, "main"); !r.Incomplete || r.Queues[0].Kept != 1 || n.Waiting != 1 || !strings.Contains(n.Error, "no Sentinel tells its nodes") {
		t.Errorf("%+v", r)
	}
}

// What can't be put on record is not done.
func TestAuditThatCannotBeWritten(t *testing.T) {
	s := newSite(t)
	all := keys(0, 10)
	s.fill(t, all)
	push(t, s.queueOn, "inv", messagesOf(all)...)
	log, err := audit.Open(t.TempDir(), "audit", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	log.Close()
	d, done, err := open(s.yaml(listQueue))
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	r, err := d.Apply(within(t, time.Minute), drain.Options{Audit: log})
	if err == nil || !strings.Contains(err.Error(), "--audit.dir") || !r.Incomplete || *r.Queues[0].Left != 10 || exists(t, s.other, all) != 10 {
		t.Errorf("%+v, %v", r, err)
	}
}

// Keys that are no UTF-8 stay distinct in the audit log, those that are deleted and those that can't be.
func TestAuditOfOddKeys(t *testing.T) {
	queueOn, down := servers.Redis(t), servers.Redis(t)
	yaml := fmt.Sprintf(`
layers: [{name: l2, ttl: 1h, nodes: [{name: redis-1, redis: {address: %q}}, {name: redis-2, redis: {address: %q}}]}]
queues: [{name: inv, redis: {node: redis-1, list: inv}, message: {key: "$.key"}}]`, queueOn.Addr, down.Addr)
	down.Stop()
	push(t, queueOn, "inv", "{\"key\":\"user:\xff\"}", message("user:1"), "{\"key\":\"user:\xfe\"}")
	folder := t.TempDir()
	log, err := audit.Open(folder, "audit", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if r := apply(t, yaml, drain.Options{Audit: log}); r.Queues[0].Kept != 3 {
		t.Errorf("%+v", r)
	}
	raw := `"dXNlcjr+","dXNlcjr/"`
	for _, want := range []string{
		`"keys":["user:1","user:\\xfe","user:\\xff"]`, `"keys_base64":[` + raw + `]`,
		`"kept_keys":["user:1","user:\\xfe","user:\\xff"]`, `"kept_keys_base64":[` + raw + `]`,
	} {
		if text := auditText(t, folder); !strings.Contains(text, want) {
			t.Errorf("%s is not in\n%s", want, text)
		}
	}
}

// Queues whose messages can't be taken are named, but for channels, in which none wait.
func TestNotTaken(t *testing.T) {
	s := newSite(t)
	yaml := s.yaml(listQueue) + `  - {name: app, http: {url: "http://127.0.0.1:1/", depth: "$.depth"}}
  - {name: bus, redis: {node: redis-1, channel: l1}}`
	if r, p := apply(t, yaml, drain.Options{}), plan(t, yaml); r.Incomplete || !slices.Equal(r.NotTaken, []string{"app"}) || !slices.Equal(p.NotTaken, r.NotTaken) {
		t.Errorf("%+v, %+v", r, p)
	}
	d, done, err := open(yaml)
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	for name, want := range map[string]string{"app": "can't be taken", "bus": "it is redis_channel", "none": "is no queue"} {
		if _, err := d.Apply(within(t, time.Minute), drain.Options{Queues: []string{name}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A message must not delete the queue.
func TestKeyOfTheQueue(t *testing.T) {
	s := newSite(t)
	s.queueOn.Must(t, "xadd", "stream", "*", "key", "a")
	push(t, s.queueOn, "inv", message("inv"), message("inv:processing"), message("inv:dead-letter", "user:1"), message("stream"), message("user:2"))
	s.fill(t, keys(1, 3))
	r := apply(t, s.yaml(listQueue)+"  - {name: other, redis: {node: redis-1, stream: stream}}", drain.Options{Queues: []string{"inv"}, Batch: 2})
	if q := r.Queues[0]; r.Incomplete || q.Applied != 1 || q.Dead != 4 || s.queueOn.LLen(t.Context(), "inv:dead-letter").Val() != 4 ||
		s.queueOn.XLen(t.Context(), "stream").Val() != 1 {
		t.Errorf("%+v", r)
	}
	s.wantGone(t, keys(1, 3))
}
