package detection

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// longAgo is when messages were written that wait for nobody: their age would page.
func longAgo() time.Time { return time.Now().Add(-time.Hour) }

// messages says where key, version and time stand.
const messages = ", message: {key: $.key, version: $.version, timestamp_ms: $.ts}"

// oddTopic is a topic with a client that writes to it.
type oddTopic struct {
	*kgo.Client
	admin *kadm.Client
	name  string
}

func openTopic(t *testing.T, k *servers.KafkaServer, name string, partitions int32, options ...kgo.Opt) *oddTopic {
	t.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(k.Addr), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0),
	}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	topic := &oddTopic{client, kadm.NewClient(client), name}
	far, forever := "9223372036854775807", "-1"
	r, err := topic.admin.CreateTopic(t.Context(), partitions, 1, map[string]*string{"message.timestamp.after.max.ms": &far, "retention.ms": &forever}, name)
	if err != nil || r.Err != nil {
		t.Fatal(err, r.Err)
	}
	servers.Eventually(t, "the topic has leaders", func() bool {
		got, err := topic.admin.ListEndOffsets(t.Context(), name)
		return err == nil && got.Error() == nil && len(got[name]) == int(partitions)
	})
	return topic
}

// record of a partition, as old as it should be.
func (o *oddTopic) record(partition int32, at time.Time) *kgo.Record {
	return &kgo.Record{Topic: o.name, Partition: partition, Timestamp: at, Value: []byte("x")}
}

// write n records to partition 0.
func (o *oddTopic) write(ctx context.Context, n int, at time.Time) error {
	var records []*kgo.Record
	for range n {
		records = append(records, o.record(0, at))
	}
	return o.ProduceSync(ctx, records...).FirstErr()
}

func (o *oddTopic) commit(ctx context.Context, group string, offsets map[int32]int64) error {
	all := kadm.Offsets{}
	for p, at := range offsets {
		all.AddOffset(o.name, p, at, -1)
	}
	return o.admin.CommitAllOffsets(ctx, group, all)
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// topicQueue of the configuration; the newest messages are not JSON, and no message says where anything stands.
func (e *oddEstate) topicQueue(k *servers.KafkaServer, name string, groups ...string) {
	e.queue(name, fmt.Sprintf("kafka: {brokers: [%q], topics: [%s], groups: [%s]}", k.Addr, name, listOf(groups)))
}

// nothingWaits: a transaction's marker at the end of a log, a stream that was trimmed past what was read, and pending entries that are deleted.
func nothingWaits(t *testing.T, e *oddEstate, k *servers.KafkaServer, r *servers.RedisServer) {
	topic := openTopic(t, k, "marker", 1, kgo.TransactionalID("marker"))
	for range 5 {
		must(t, topic.BeginTransaction(), topic.write(t.Context(), 1, longAgo()), topic.EndTransaction(t.Context(), kgo.TryCommit))
	}
	must(t, topic.commit(t.Context(), "done", map[int32]int64{0: 9})) // behind it is the last marker alone
	e.topicQueue(k, "marker", "done")

	for stream, entries := range map[string]int64{"trimmed": 10_001, "deleted": 20} {
		r.Must(t, "xgroup", "create", stream, "g", "0", "mkstream")
		first := longAgo().UnixMilli()
		pipe := r.Pipeline()
		for i := range entries {
			pipe.Do(t.Context(), "xadd", stream, fmt.Sprintf("%d-%d", first, i+1), "key", fmt.Sprint("user:", i))
		}
		_, err := pipe.Exec(t.Context())
		must(t, err)
		if stream == "trimmed" {
			got := take(t, r, stream, "g", 1)
			must(t, r.XAck(t.Context(), stream, "g", got...).Err(), r.XTrimMaxLen(t.Context(), stream, 0).Err())
		} else {
			got := take(t, r, stream, "g", entries)
			must(t, r.XAck(t.Context(), stream, "g", got[10:]...).Err(), r.XDel(t.Context(), stream, got...).Err())
		}
		e.queue(stream, "redis: {node: queue, stream: "+stream+", groups: [g]}")
	}
}

// take entries as a member of a group does; it gives their ids.
func take(t *testing.T, r *servers.RedisServer, stream, group string, n int64) (ids []string) {
	t.Helper()
	got, err := r.XReadGroup(t.Context(), &redis.XReadGroupArgs{Group: group, Consumer: "c", Streams: []string{stream, ">"}, Count: n, Block: -1}).Result()
	must(t, err)
	for _, m := range got[0].Messages {
		ids = append(ids, m.ID)
	}
	return ids
}

// groupSays of XINFO GROUPS, by the name of the field.
func groupSays(t *testing.T, r *servers.RedisServer, stream, group string) map[string]any {
	t.Helper()
	all, err := r.Do(t.Context(), "xinfo", "groups", stream).Slice()
	must(t, err)
	for _, g := range all {
		fields, says := g.([]any), map[string]any{}
		for i := 0; i+1 < len(fields); i += 2 {
			says[fmt.Sprint(fields[i])] = fields[i+1]
		}
		if says["name"] == group {
			return says
		}
	}
	t.Fatalf("%s has no group %s", stream, group)
	return nil
}

// groupsOfFewWords: one that never read, of which the server does not know what it has read, and one whose entries are deleted once they
// are acknowledged, of which it does not know how many are left.
func groupsOfFewWords(t *testing.T, e *oddEstate, r *servers.RedisServer) {
	first := longAgo().UnixMilli()
	for i := range 5 {
		r.Must(t, "xadd", "never-read", fmt.Sprintf("%d-%d", first, i+1), "key", "user:1")
	}
	r.Must(t, "xgroup", "create", "never-read", "g", fmt.Sprintf("%d-5", first))
	if says := groupSays(t, r, "never-read", "g"); says["entries-read"] != nil {
		t.Fatalf("the server knows what it has read: %v", says)
	}
	r.Must(t, "xgroup", "create", "acknowledged", "g", "0", "mkstream")
	each(t, "the reader of acknowledged", func(ctx context.Context, n int) error {
		var ids [3]string
		for i := range ids {
			id, err := r.XAdd(ctx, &redis.XAddArgs{Stream: "acknowledged", Values: []any{"key", fmt.Sprint("user:", n)}}).Result()
			if err != nil {
				return err
			}
			ids[i] = id
		}
		// While an entry that was not read yet is deleted, the server can't count what is left. So a few always wait.
		if err := r.XDel(ctx, "acknowledged", ids[1]).Err(); err != nil || n < 5 {
			return err
		}
		return process(ctx, r, "acknowledged", "g", 2, true)
	})
	lag := func() any { return groupSays(t, r, "acknowledged", "g")["lag"] }
	servers.Eventually(t, "the server does not know the lag", func() bool { return lag() == nil })
	e.last = append(e.last, func(t *testing.T) {
		if n := lag(); n != nil {
			t.Errorf("the server knows the lag of acknowledged: %v", n)
		}
	})
	for _, stream := range []string{"never-read", "acknowledged"} {
		e.queue(stream, "redis: {node: queue, stream: "+stream+", groups: [g]}")
	}
}

// process up to so many entries that a group has not read, and acknowledge them; deleting: they are deleted then.
func process(ctx context.Context, r *servers.RedisServer, stream, group string, most int64, deleting bool) error {
	got, err := r.XReadGroup(ctx, &redis.XReadGroupArgs{Group: group, Consumer: "c", Streams: []string{stream, ">"}, Count: most, Block: -1}).Result()
	if errors.Is(err, redis.Nil) {
		return nil
	}
	if err != nil {
		return err
	}
	var ids []string
	for _, m := range got[0].Messages {
		ids = append(ids, m.ID)
	}
	err = r.XAck(ctx, stream, group, ids...).Err()
	if deleting && err == nil {
		err = r.XDel(ctx, stream, ids...).Err()
	}
	return err
}

// withoutCommits: groups that have committed nothing, of a topic with messages and of one without.
func withoutCommits(t *testing.T, e *oddEstate, k *servers.KafkaServer) {
	must(t, openTopic(t, k, "uncommitted", 2).write(t.Context(), 50, longAgo()))
	openTopic(t, k, "empty", 2)
	e.topicQueue(k, "uncommitted", "tpyo")
	e.topicQueue(k, "empty", "reader")
}

// onePerInstance: each instance has a group of its own, and those of instances that are gone are left.
func onePerInstance(t *testing.T, e *oddEstate, k *servers.KafkaServer, r *servers.RedisServer) {
	topic := openTopic(t, k, "per-instance", 1)
	must(t, topic.write(t.Context(), 500, longAgo()))
	for i := range 20 {
		must(t, topic.commit(t.Context(), fmt.Sprintf("pod-%03d", i), map[int32]int64{0: 1}))
	}
	member, err := kgo.NewClient(kgo.SeedBrokers(k.Addr), kgo.ConsumerGroup("pod-live"), kgo.ConsumeTopics("per-instance"),
		kgo.AutoCommitInterval(200*time.Millisecond), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	must(t, err)
	t.Cleanup(member.Close)
	each(t, "the member", func(ctx context.Context, _ int) error {
		member.PollFetches(ctx)
		return nil
	})
	each(t, "the writer", func(ctx context.Context, _ int) error { return topic.write(ctx, 1, time.Now()) })
	e.topicQueue(k, "per-instance", "/^pod-/")

	for i := range 105 {
		r.Must(t, "xgroup", "create", "per-pod", fmt.Sprintf("pod-%03d", i), "0", "mkstream")
	}
	r.Must(t, "xgroup", "create", "per-pod", "pod-live", "0")
	for i := range 5 {
		r.Must(t, "xadd", "per-pod", fmt.Sprintf("%d-%d", longAgo().UnixMilli(), i+1), "key", "user:1")
	}
	each(t, "the reader of per-pod", func(ctx context.Context, n int) error {
		err := r.XAdd(ctx, &redis.XAddArgs{Stream: "per-pod", MaxLen: 1000, Values: []any{"key", fmt.Sprint("user:", n)}}).Err()
		return errors.Join(err, process(ctx, r, "per-pod", "pod-live", 1000, false))
	})
	e.queue("per-pod", `redis: {node: queue, stream: per-pod, groups: ["/^pod-/"]}`)
}

// units that times of messages have, each as its number.
var units = []struct {
	name string
	of   func(time.Time) any
}{
	{"seconds", func(at time.Time) any { return at.Unix() }},
	{"milliseconds", func(at time.Time) any { return at.UnixMilli() }},
	{"microseconds", func(at time.Time) any { return at.UnixMicro() }},
	{"nanoseconds", func(at time.Time) any { return at.UnixNano() }},
	{"text", func(at time.Time) any { return `"` + at.UTC().Format(time.RFC3339Nano) + `"` }},
}

// oddTimes: lists and a topic whose times are in each unit, and a list in which the configured paths find nothing.
func oddTimes(t *testing.T, e *oddEstate, k *servers.KafkaServer, r *servers.RedisServer) {
	topic := openTopic(t, k, "units", 4)
	every(t, 250*time.Millisecond, "the reader of units", func(ctx context.Context, n int) error {
		for p := range int32(4) {
			if err := servers.ProduceAt(ctx, topic.Client, "units", p, units[p].of(time.Now()).(int64)); err != nil {
				return err
			}
		}
		at := max(0, int64(n)-3) // some wait
		return topic.commit(ctx, "g", map[int32]int64{0: at, 1: at, 2: at, 3: at})
	})
	e.topicQueue(k, "units", "g")
	for _, u := range units {
		keepsUp(t, e, r, u.name, messages, u.of)
	}
	keepsUp(t, e, r, "elsewhere", ", message: {key: $.data.key, version: $.data.version, timestamp_ms: $.data.at}", units[1].of)
}

// keepsUp is a list that has as many messages all the time: as many come as are taken.
func keepsUp(t *testing.T, e *oddEstate, r *servers.RedisServer, list, message string, timeOf func(time.Time) any) {
	each(t, "the list "+list, func(ctx context.Context, n int) error {
		for i := range 2 {
			text := fmt.Sprintf(`{"key":"user:%d:profile","version":%d,"ts":%v}`, (2*n+i)%500, n, timeOf(time.Now()))
			length, err := r.RPush(ctx, list, text).Result()
			if err == nil && length > 40 {
				err = r.LPop(ctx, list).Err()
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	e.queue(list, "redis: {node: queue, list: "+list+"}"+message)
}

// queuesNode is where lists and streams are, beside others.
func queuesNode(t *testing.T, e *oddEstate) *servers.RedisServer {
	t.Helper()
	r := servers.Redis(t)
	e.layers = append(e.layers, "  - {name: queues, ttl: none, nodes: ["+node("queue", r.Addr)+"]}\n")
	return r
}
