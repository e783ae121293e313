package kafka

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

// visits are what following a queue came to.
type visits struct {
	t *testing.T
	q *queue
	// values in the order in which they came; last is the position of the last one, by partition.
	values []string
	last   map[probes.Partition]probes.Position
	events []probes.Event
	// seen, leftOut and after as they were told.
	seen, leftOut int
	after         map[probes.Partition]probes.Position
	anew          map[probes.Partition]bool
}

func follow(t *testing.T, q *queue, after map[probes.Partition]probes.Position) *visits {
	t.Helper()
	v := &visits{t: t, q: q, last: map[probes.Partition]probes.Position{}, anew: map[probes.Partition]bool{}}
	q.Follow(after, func(e probes.Event) {
		if last, ok := v.last[e.Partition]; ok && last.Compare(e.At) >= 0 {
			t.Errorf("%v: %v comes after %v", e.Partition, e.At, last)
		}
		v.last[e.Partition] = e.At
		v.values = append(v.values, string(e.Value))
		e.Key, e.Value = bytes.Clone(e.Key), bytes.Clone(e.Value)
		v.events = append(v.events, e)
	})
	return v
}

// take what one sampling told.
func (v *visits) take(b probes.Backlog) {
	v.t.Helper()
	if b.Followed == nil {
		return
	}
	v.seen, v.leftOut, v.after = v.seen+b.Followed.Seen, v.leftOut+b.Followed.LeftOut, b.Followed.After
	maps.Copy(v.anew, b.Followed.Anew)
	if len(v.values) != v.seen-v.leftOut {
		v.t.Errorf("%d messages came; seen %d, left out %d", len(v.values), v.seen, v.leftOut)
	}
	for p, last := range v.last {
		if at, ok := v.after[p]; ok && at.Compare(last) <= 0 {
			v.t.Errorf("%v: reading goes on behind %v, and %v was visited", p, at, last)
		}
	}
}

// sample well, and give what is followed.
func (v *visits) sample() probes.Backlog {
	v.t.Helper()
	b := sampleWell(v.t, v.q)
	if b.Followed == nil {
		v.t.Error("nothing is told of what was followed")
	}
	v.take(b)
	return b
}

// want exactly these values, in whatever order.
func (v *visits) want(what string, values []string) {
	v.t.Helper()
	if diff := cmp.Diff(values, v.values, cmpopts.SortSlices(strings.Compare), cmpopts.EquateEmpty()); diff != "" {
		v.t.Errorf("%s: %s", what, diff)
	}
}

// numbered are n records with values of their own.
func numbered(what, topic string, partition int32, n int) (records []*kgo.Record, values []string) {
	for i := range n {
		values = append(values, fmt.Sprintf("%s %s %d %d", what, topic, partition, i))
		records = append(records, &kgo.Record{Topic: topic, Partition: partition, Value: []byte(values[i])})
	}
	return records, values
}

// TestFollow runs against one Apache Kafka.
func TestFollow(t *testing.T) {
	k := servers.Kafka(t, "log.cleaner.backoff.ms=100", "log.cleaner.min.cleanable.ratio=0.01")
	u := newUser(t, []string{k.Addr})
	t.Run("what a message is", func(t *testing.T) { testFollowedRecord(t, k, u) })
	t.Run("transactions", func(t *testing.T) { testFollowedTransactions(t, k, u) })
	t.Run("compaction", func(t *testing.T) { testFollowedCompacted(t, k, u) })
	t.Run("a log that is cut off", func(t *testing.T) { testFollowedCutOff(t, k, u) })
	t.Run("new partitions and topics", func(t *testing.T) { testFollowedNew(t, k, u) })
	t.Run("many at once", func(t *testing.T) { testFollowedMany(t, k, u) })
	t.Run("no request more", func(t *testing.T) { testFollowedRequests(t, k, u) })
	t.Run("what a group has passed", func(t *testing.T) { testPassed(t, k, u) })
	t.Run("restarts and rebalances", func(t *testing.T) { testFollowedThroughRestarts(t, k, u) })
}

func testFollowedRecord(t *testing.T, k *servers.KafkaServer, u *user) {
	u.create(t, "records", 2)
	appended := "LogAppendTime"
	u.createWith(t, "appended", 1, map[string]*string{"message.timestamp.type": &appended})
	old, _ := numbered("old", "records", 0, 5)
	u.write(t, old...)
	q := openQueue(t, configOf([]string{k.Addr}, []string{"records", "appended"}, nil))
	v := follow(t, q, nil)
	v.sample()
	v.want("what was there before", nil)
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	full := ago("records", 0, 90*time.Second)
	full.Key, full.Value = []byte("k"), []byte(`{"a":1}`)
	full.Headers = []kgo.RecordHeader{{Key: "other", Value: []byte("x")}, {Key: "traceparent", Value: []byte(parent)}}
	tombstone := ago("records", 1, 80*time.Second)
	tombstone.Key, tombstone.Value = []byte("gone"), nil
	tombstone.Headers = []kgo.RecordHeader{{Key: "traceparent", Value: bytes.Repeat([]byte("x"), longestTraceParent+1)}}
	before := time.Now().Truncate(time.Millisecond)
	u.write(t, full, tombstone, ago("appended", 0, time.Hour))
	v.sample()
	if len(v.events) != 3 {
		t.Fatalf("%d events", len(v.events))
	}
	slices.SortFunc(v.events, func(a, b probes.Event) int { return comparePartitions(a.Partition, b.Partition) })
	if e := v.events[0]; e.Written.Before(before) || e.Key != nil || string(e.Value) != "x" {
		t.Errorf("a record with the broker's time: %+v", e)
	}
	millis := func(d time.Duration) time.Time { return began.Add(-d).Truncate(time.Millisecond).UTC() }
	for i, want := range []probes.Event{
		{
			Partition: probes.Partition{Topic: "records", ID: 0}, At: probes.Position{Major: 5, Minor: 1}, Key: []byte("k"), Value: []byte(`{"a":1}`),
			Written: millis(90 * time.Second), TraceParent: parent,
		},
		{Partition: probes.Partition{Topic: "records", ID: 1}, At: probes.Position{Minor: 1}, Key: []byte("gone"), Written: millis(80 * time.Second)},
	} {
		if diff := cmp.Diff(want, v.events[i+1]); diff != "" {
			t.Error(diff)
		}
	}
	// Reading goes on behind these positions, in a log that was empty too.
	u.create(t, "empty", 1)
	q = openQueue(t, configOf([]string{k.Addr}, []string{"records", "empty"}, nil))
	v = follow(t, q, nil)
	v.sample()
	more, values := numbered("meanwhile", "records", 1, 3)
	first, value := numbered("meanwhile", "empty", 0, 1)
	u.write(t, append(more, first...)...)
	again := follow(t, openQueue(t, configOf([]string{k.Addr}, []string{"records", "empty"}, nil)), v.after)
	again.sample()
	again.want("after a reload", append(values, value...))
	last := follow(t, openQueue(t, configOf([]string{k.Addr}, []string{"records"}, nil)), again.last) // the last events' own positions
	last.sample()
	last.want("behind the last event", nil)
}

func testFollowedTransactions(t *testing.T, k *servers.KafkaServer, u *user) {
	u.create(t, "ft", 2)
	count := &requestCount{}
	q := openQueue(t, configOf([]string{k.Addr}, []string{"ft"}, nil), kgo.WithHooks(count))
	v := follow(t, q, nil)
	v.sample()
	w := newUser(t, []string{k.Addr}, kgo.TransactionalID("ft"), kgo.ProducerLinger(0))
	var want []string
	for i := range 4 {
		aborted, _ := numbered(fmt.Sprint("aborted", i), "ft", 0, 3)
		w.transaction(t, kgo.TryAbort, aborted...)
		committed, values := numbered(fmt.Sprint("committed", i), "ft", 0, 3)
		w.transaction(t, kgo.TryCommit, committed...)
		want = append(want, values...)
		plain, values := numbered(fmt.Sprint("plain", i), "ft", 0, 1)
		u.write(t, plain...)
		want = append(want, values...)
	}
	servers.Eventually(t, "all that is decided came", func() bool { v.sample(); return len(v.values) >= len(want) })
	v.want("transactions", want)
	// One that is open is waited for, also by what comes behind it; nothing is asked for again until the log moves.
	if err := w.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	open, values := numbered("open", "ft", 1, 2)
	w.write(t, open...)
	behind, more := numbered("behind", "ft", 1, 2)
	u.write(t, behind...)
	v.sample()
	count.take()
	v.sample()
	if n := fetches(count); n != 0 {
		t.Errorf("%d fetches while a transaction is open", n)
	}
	v.want("an open transaction", want)
	if err := w.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	want = append(append(want, values...), more...)
	servers.Eventually(t, "all came once it ended", func() bool { v.sample(); return len(v.values) >= len(want) })
	v.sample()
	v.want("a transaction that ended", want)
	if v.leftOut != 0 {
		t.Errorf("%d left out", v.leftOut)
	}
}

func testFollowedCompacted(t *testing.T, k *servers.KafkaServer, u *user) {
	policy, small, lag := "compact", "100", "0"
	u.createWith(t, "fc", 1, map[string]*string{
		"cleanup.policy": &policy, "segment.ms": &small, "min.compaction.lag.ms": &lag, "max.compaction.lag.ms": &small,
	})
	for i := range 40 {
		u.write(t, &kgo.Record{Topic: "fc", Key: fmt.Appendf(nil, "%d", i%2), Value: fmt.Appendf(nil, "%d", i)})
	}
	from := map[probes.Partition]probes.Position{{Topic: "fc"}: {}}
	servers.Eventually(t, "only the last of each key and what closed a segment came", func() bool {
		u.write(t, &kgo.Record{Topic: "fc", Key: []byte("close"), Value: []byte("x")})
		v := follow(t, openQueue(t, configOf([]string{k.Addr}, []string{"fc"}, nil)), from)
		for range 5 { // a broker gives what is in one segment
			v.sample()
		}
		values := slices.DeleteFunc(slices.Clone(v.values), func(value string) bool { return value == "x" })
		if v.leftOut > 0 || v.seen != len(v.values) {
			t.Errorf("seen %d, left out %d", v.seen, v.leftOut)
		}
		return slices.Equal(values, []string{"38", "39"})
	})
}

func testFollowedCutOff(t *testing.T, k *servers.KafkaServer, u *user) {
	u.create(t, "cut", 2)
	q := openQueue(t, configOf([]string{k.Addr}, []string{"cut"}, nil))
	v := follow(t, q, nil)
	v.sample()
	records, values := numbered("cut", "cut", 0, 100)
	other, whole := numbered("whole", "cut", 1, 10)
	u.write(t, append(records, other...)...)
	deleted := kadm.Offsets{}
	deleted.AddOffset("cut", 0, 70, -1)
	if r, err := u.admin.DeleteRecords(t.Context(), deleted); err != nil || r.Error() != nil {
		t.Fatal(err, r.Error())
	}
	v.sample()
	v.want("what is left", append(slices.Clone(whole), values[70:]...))
	if v.seen != 110 || v.leftOut != 70 || len(v.anew) > 0 {
		t.Errorf("seen %d, left out %d, made anew %v", v.seen, v.leftOut, v.anew)
	}
}

func testFollowedNew(t *testing.T, k *servers.KafkaServer, u *user) {
	u.create(t, "fn-a", 1)
	q := openQueue(t, configOf([]string{k.Addr}, []string{"/^fn-/"}, nil))
	v := follow(t, q, nil)
	v.sample()
	if r, err := u.admin.CreatePartitions(t.Context(), 2, "fn-a"); err != nil || r.Error() != nil {
		t.Fatal(err, r.Error())
	}
	u.create(t, "fn-b", 2)
	var want []string
	w := newUser(t, []string{k.Addr})
	for _, id := range []probes.Partition{{Topic: "fn-a", ID: 0}, {Topic: "fn-a", ID: 2}, {Topic: "fn-b", ID: 1}} {
		records, values := numbered("new", id.Topic, id.ID, 20)
		servers.Eventually(t, "it takes records", func() bool { return w.ProduceSync(t.Context(), records[0]).FirstErr() == nil })
		w.write(t, records[1:]...)
		want = append(want, values...)
	}
	servers.Eventually(t, "all came", func() bool { v.sample(); return len(v.values) >= len(want) })
	v.want("what is new", want)
	// Deleted and made anew between two samplings: all of it is new.
	clear(v.anew)
	if _, err := u.admin.DeleteTopic(t.Context(), "fn-b"); err != nil {
		t.Fatal(err)
	}
	servers.Eventually(t, "the topic is made anew", func() bool {
		r, err := u.admin.CreateTopic(t.Context(), 2, 1, nil, "fn-b")
		return err == nil && r.Err == nil
	})
	w = newUser(t, []string{k.Addr}) // without what is remembered of the old topic
	records, values := numbered("anew", "fn-b", 1, 30)
	clear(v.last)
	servers.Eventually(t, "it takes records", func() bool { return w.ProduceSync(t.Context(), records[0]).FirstErr() == nil })
	w.write(t, records[1:]...)
	want = append(want, values...)
	servers.Eventually(t, "all came again", func() bool {
		b, _ := probetest.SampleIn(t, q, 10*time.Second)
		v.take(b)
		return len(v.values) >= len(want)
	})
	v.sample()
	v.want("made anew", want)
	if want := map[probes.Partition]bool{{Topic: "fn-b", ID: 0}: true, {Topic: "fn-b", ID: 1}: true}; !maps.Equal(v.anew, want) {
		t.Errorf("made anew are %v, want %v", v.anew, want)
	}
	if v.leftOut != 0 {
		t.Errorf("%d left out", v.leftOut)
	}
}

func testFollowedMany(t *testing.T, k *servers.KafkaServer, u *user) {
	u.create(t, "many", 4)
	q := openQueue(t, configOf([]string{k.Addr}, []string{"many"}, nil))
	q.newest = 100
	v := follow(t, q, nil)
	v.sample()
	// Batches are full, however slow the machine: they decide how much of a log one sampling reads.
	w := newUser(t, []string{k.Addr}, kgo.ManualFlushing(), kgo.MaxBufferedRecords(30_000), kgo.ProducerBatchCompression(kgo.NoCompression()))
	write := func(records ...*kgo.Record) {
		t.Helper()
		for _, r := range records {
			w.Produce(t.Context(), r, func(_ *kgo.Record, err error) {
				if err != nil {
					t.Error(err)
				}
			})
		}
		if err := w.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	produced := 0
	burst := func(partition int32, n, size int) {
		t.Helper()
		records, _ := numbered("many", "many", partition, n)
		for _, r := range records {
			r.Value = append(r.Value, bytes.Repeat([]byte("."), size)...)
		}
		write(records...)
		produced += n
	}
	settle := func() (samplings int) {
		t.Helper()
		for v.seen < produced && samplings < 10 {
			v.sample()
			samplings++
		}
		if v.seen != produced {
			t.Errorf("seen %d, produced %d", v.seen, produced)
		}
		return samplings
	}
	burst(0, 10_000, 0)
	if n := settle(); n > 2 || v.leftOut > 0 {
		t.Errorf("10,000 messages took %d samplings, and %d were left out", n, v.leftOut)
	}
	// More than is read at all: one sampling comes to the end, and the others' part is left for them.
	burst(1, 20_000, 200)
	burst(2, 100, 200)
	if n := settle(); n > 3 || v.leftOut < 5_000 || v.leftOut > 16_000 {
		t.Errorf("5 MB took %d samplings, and %d were left out", n, v.leftOut)
	}
	// Ever more: it is never more than one sampling behind.
	left := v.leftOut
	for range 5 {
		burst(3, 10_000, 200)
		v.sample()
	}
	if v.leftOut <= left || produced-v.seen > 10_000 {
		t.Errorf("seen %d of %d, left out %d", v.seen, produced, v.leftOut)
	}
	settle()
	few, values := numbered("few", "many", 3, 10)
	write(few...)
	b := v.sample()
	// Each partition gives as many: where the batches of one leave it no room, three times 33.
	if got := v.values[len(v.values)-10:]; !slices.Equal(got, values) || b.Sample.Messages < 99 || b.Sample.Messages > 100 {
		t.Errorf("%q, sample %+v", got, b.Sample)
	}
}

// The same requests are sent whether the queue is followed or not, and its sample is the same.
func testFollowedRequests(t *testing.T, k *servers.KafkaServer, u *user) {
	u.create(t, "same", 12)
	counts := [2]*requestCount{{}, {}}
	queues := [2]*queue{}
	for i := range queues {
		q := openQueueWith(t, configOf([]string{k.Addr}, []string{"same"}, []string{"same-g"}), &probes.Message{Key: "$.key"}, kgo.WithHooks(counts[i]))
		q.newest = 120
		queues[i] = q
	}
	v := follow(t, queues[1], nil)
	u.commit(t, "same-g", "same", map[int32]int64{0: 0}) // its coordinator is found, and knows it
	for _, q := range queues {
		v.take(sampleWell(t, q))
	}
	n := 0
	for round := range 20 {
		var records []*kgo.Record
		for p := range int32(12) {
			if round%3 != 0 && int(p)%(round+1) == 0 || round == 0 {
				for range round * 3 {
					n++
					records = append(records, &kgo.Record{Topic: "same", Partition: p, Value: fmt.Appendf(nil, `{"key":"k%d"}`, n%50)})
				}
			}
		}
		u.write(t, records...)
		if round%4 == 1 {
			u.commit(t, "same-g", "same", map[int32]int64{0: int64(round)})
		}
		var samples [2]*probes.MessageSample
		var requests [2]map[string]int
		for i, q := range queues {
			counts[i].take()
			b := sampleWell(t, q)
			samples[i], requests[i] = b.Sample, counts[i].take()
			if i == 1 {
				v.take(b)
			}
		}
		if diff := cmp.Diff(requests[0], requests[1]); diff != "" {
			t.Errorf("round %d: requests without and with following: %s", round, diff)
		}
		if diff := cmp.Diff(samples[0], samples[1], cmpopts.IgnoreFields(probes.MessageSample{}, "Rate")); diff != "" {
			t.Errorf("round %d: sample without and with following: %s", round, diff)
		}
	}
	if len(v.values) != n || v.leftOut != 0 {
		t.Errorf("%d of %d messages, %d left out", len(v.values), n, v.leftOut)
	}
}

func testPassed(t *testing.T, k *servers.KafkaServer, u *user) {
	u.create(t, "passed", 3)
	u.create(t, "elsewhere", 1)
	u.produce(t, "passed", 0, 10)
	u.commit(t, "passed-g", "passed", map[int32]int64{0: 4, 1: 0})
	u.commit(t, "passed-h", "elsewhere", map[int32]int64{0: 0})
	u.create(t, "passed-cut", 1)
	u.produce(t, "passed-cut", 0, 10)
	u.commit(t, "passed-g", "passed-cut", map[int32]int64{0: 8})
	u.commit(t, "passed-h", "passed-cut", map[int32]int64{0: 3})
	u.commit(t, "passed-ahead", "passed-cut", map[int32]int64{0: 11})
	cut := kadm.Offsets{}
	cut.AddOffset("passed-cut", 0, 6, -1)
	if r, err := u.admin.DeleteRecords(t.Context(), cut); err != nil || r.Error() != nil {
		t.Fatal(err, r.Error())
	}
	q := openQueue(t, configOf([]string{k.Addr}, []string{"passed", "/^elsewhere$/", "passed-cut"}, []string{"passed-g", "passed-h", "passed-none", "passed-ahead"}))
	b := sampleWell(t, q)
	for _, c := range []struct {
		group         string
		p             probes.Partition
		at            probes.Position
		passed, known bool
	}{
		{"passed-g", probes.Partition{Topic: "passed"}, probes.Position{Major: 3, Minor: 1}, true, true},
		{"passed-g", probes.Partition{Topic: "passed"}, probes.Position{Major: 4, Minor: 1}, false, true},
		{"passed-g", probes.Partition{Topic: "passed", ID: 1}, probes.Position{Minor: 1}, false, true},
		{"passed-g", probes.Partition{Topic: "passed", ID: 2}, probes.Position{Minor: 1}, false, true},
		{"passed-g", probes.Partition{Topic: "elsewhere"}, probes.Position{Minor: 1}, false, false}, // another group reads it
		{"passed-h", probes.Partition{Topic: "passed"}, probes.Position{Minor: 1}, false, false},
		{"passed-none", probes.Partition{Topic: "passed"}, probes.Position{Minor: 1}, false, true},
		{"passed-g", probes.Partition{Topic: "passed-cut"}, probes.Position{Major: 6, Minor: 1}, true, true},
		{"passed-g", probes.Partition{Topic: "passed-cut"}, probes.Position{Major: 5, Minor: 1}, false, false}, // it may never have seen it
		{"passed-h", probes.Partition{Topic: "passed-cut"}, probes.Position{Major: 5, Minor: 1}, false, true},
		{"passed-ahead", probes.Partition{Topic: "passed-cut"}, probes.Position{Major: 6, Minor: 1}, false, false},
		{"passed-g", probes.Partition{Topic: "gone"}, probes.Position{Minor: 1}, false, false},
	} {
		if passed, known := probetest.GroupOf(t, b, c.group).Passed(c.p, c.at); passed != c.passed || known != c.known {
			t.Errorf("%+v: passed %v, known %v", c, passed, known)
		}
	}
}

func testFollowedThroughRestarts(t *testing.T, k *servers.KafkaServer, u *user) {
	u.create(t, "life", 6)
	q := openQueue(t, configOf([]string{k.Addr}, []string{"life"}, []string{"life-g"}))
	q.newest = 100
	v := follow(t, q, nil)
	v.sample()
	var want []string
	write := func(what string) {
		t.Helper()
		for p := range int32(6) {
			records, values := numbered(what, "life", p, 7*int(p)+1)
			u.write(t, records...)
			want = append(want, values...)
		}
	}
	write("alone")
	v.sample()
	member := joinGroup(t, []string{k.Addr}, "life-g", "life")
	write("a member")
	v.sample()
	joinGroup(t, []string{k.Addr}, "life-g", "life", kgo.InstanceID("second"))
	write("two members")
	v.sample()
	member.LeaveGroup()
	write("one left")
	v.sample()
	write("before the stop")
	k.Stop()
	if b, err := probetest.SampleIn(t, q, 5*time.Second); err == nil || b.Followed != nil {
		t.Errorf("stopped: %v, %+v", err, b.Followed)
	}
	k.Restart(t)
	servers.Eventually(t, "it is up again", func() bool {
		b, err := probetest.SampleIn(t, q, 10*time.Second)
		v.take(b)
		return err == nil
	})
	write("restarted")
	again := follow(t, openQueue(t, configOf([]string{k.Addr}, []string{"life"}, nil)), v.after)
	v.sample()
	v.want("all", want)
	again.sample()
	v.values = v.values[:len(v.values)-len(again.values)]
	v.want("all before the reload", want[:len(want)-len(again.values)])
	if len(again.values) != 6+7*15 || v.leftOut+again.leftOut != 0 {
		t.Errorf("%d messages after the reload", len(again.values))
	}
}

// What can't be read now is read later, wherever its leader is.
func TestFollowedFailures(t *testing.T) {
	c, u := fakeBroker(t)
	q := openQueue(t, configOf(c.ListenAddrs(), []string{"inv"}, nil))
	v := follow(t, q, nil)
	v.sample()
	var want []string
	write := func(what string) {
		for p := range int32(6) {
			records, values := numbered(what, "inv", p, 5)
			u.write(t, records...)
			want = append(want, values...)
		}
	}
	c.Fault(kfake.Fault{Topic: "inv", Keys: []kmsg.Key{kmsg.Fetch}, Err: kerr.TopicAuthorizationFailed, Count: 6})
	write("refused")
	b := sampleWell(t, q)
	v.take(b)
	v.want("refused", nil)
	for p := range int32(6) {
		if err := c.MoveTopicPartition("inv", p, (c.LeaderFor("inv", p)+1)%3); err != nil {
			t.Fatal(err)
		}
	}
	write("moved")
	for range 6 { // what is refused is counted by the fake
		v.take(sampleWell(t, q))
	}
	v.want("moved", want)
	c.ControlKey(int16(kmsg.Fetch), func(kmsg.Request) (kmsg.Response, error, bool) { return nil, fmt.Errorf("gone"), true })
	write("a broker that goes away")
	for range 2 {
		v.take(sampleWell(t, q))
	}
	v.want("at last", want)
	if v.leftOut != 0 || len(v.after) != 6 {
		t.Errorf("%d left out, %v", v.leftOut, v.after)
	}
}

// followedAt is a sampling of one partition that is followed from an offset, and the fetch that reads it.
func followedAt(q *queue, next, end int64, visit func(probes.Event)) (*sampling, partitionFetch) {
	q.follower = &follower{visit: visit, cursors: map[probes.Partition]*cursor{inv(0): {next: next}}}
	p := &partition{Partition: inv(0)}
	p.end.offset = end
	q.logs[inv(0)] = newPartitionLog([16]byte{})
	f := partitionFetch{
		p: p, log: q.logs[inv(0)], offset: next, maxBytes: maxFetchBytes, cursor: q.follower.cursors[inv(0)], onward: true, first: true,
	}
	return &sampling{q: q, partitions: map[probes.Partition]*partition{inv(0): p}}, f
}

func decompressor() kgo.Decompressor {
	return &boundedDecompressor{inner: kgo.DefaultDecompressor(), left: maxUnpackedBytes}
}

// A batch that can't be read costs its own messages.
func TestFollowedBadBatches(t *testing.T) {
	q := openQueue(t, queueConfig{Brokers: []string{"127.0.0.1:1"}})
	good := emptyBatch(t, 0, 10) // all of its records have the offset 0
	broken := emptyBatch(t, 10, 20)
	broken[len(broken)-1] ^= 1
	for name, c := range map[string]struct {
		batches          []byte
		end              int64
		samplings        int
		visited, leftOut int
		next             int64
	}{
		"none":             {good, 10, 1, 1, 0, 10},
		"the first":        {broken[:len(broken):len(broken)], 30, 1, 0, 20, 30},
		"too many records": {emptyBatch(t, 0, maxRecords+1), maxRecords + 1, 1, 0, maxRecords + 1, maxRecords + 1},
		"more than it may unpack": {
			emptyBatch(t, 0, maxUnpackedBytes/7+1), maxUnpackedBytes/7 + 1, 1, 0, maxUnpackedBytes/7 + 1, maxUnpackedBytes/7 + 1,
		},
		"no batch":           {[]byte("this is no batch at all, and it is long enough to be one, one would think"), 40, mostStuck, 0, 40, 40},
		"nothing, for ever":  {nil, 40, mostStuck, 0, 40, 40},
		"nothing, at first":  {nil, 40, mostStuck - 1, 0, 0, 0},
		"of another log":     {emptyBatch(t, 1<<40, 10), 40, 1, 0, 0, 40},
		"beyond the log end": {emptyBatch(t, 0, 10), 5, 1, 1, 0, 5},
	} {
		visited := 0
		s, f := followedAt(q, 0, c.end, func(probes.Event) { visited++ })
		for range c.samplings {
			answer := &kmsg.FetchResponseTopicPartition{RecordBatches: c.batches, HighWatermark: c.end, LastStableOffset: c.end}
			s.takeNew(f, answer, decompressor(), nil)
		}
		fl := q.follower
		if visited != c.visited || fl.leftOut != c.leftOut || fl.seen != visited+c.leftOut || f.cursor.next != c.next {
			t.Errorf("%s: %d visited, %d left out of %d, the next one is %d; want %+v", name, visited, fl.leftOut, fl.seen, f.cursor.next, c)
		}
	}
}

func TestShareBytes(t *testing.T) {
	fetch := func(batch int32, perOffset float64, offsets int64) partitionFetch {
		p := &partition{}
		p.end.offset = offsets
		return partitionFetch{p: p, log: &partitionLog{batchBytes: batch}, cursor: &cursor{bytesPerOffset: perOffset}, onward: true}
	}
	many := func(n int, f partitionFetch) (out []partitionFetch) {
		for range n {
			out = append(out, f)
		}
		return out
	}
	for name, c := range map[string]struct {
		fetches []partitionFetch
		kept    int
		last    int32
	}{
		"one that is not known":          {many(1, fetch(leastBytes, 0, 10)), 1, maxFetchBytes},
		"two that are not known":         {many(2, fetch(leastBytes, 0, 10)), 2, maxFetchBytes / 2},
		"one needs more":                 {append(many(99, fetch(leastBytes, 10, 10)), fetch(leastBytes, 1000, 1000)), 100, maxFetchBytes - 99*1149},
		"a batch larger than all":        {many(3, fetch(2*maxFetchBytes, 1000, 10_000)), 1, maxFetchBytes},
		"more than have a batch's bytes": {many(5000, fetch(leastBytes, 1000, 10_000)), maxNewestPartitions, leastBytes},
	} {
		got := shareBytes(slices.Clone(c.fetches))
		sum := int64(0)
		for _, f := range got {
			sum += int64(f.maxBytes)
		}
		if len(got) != c.kept || got[len(got)-1].maxBytes != c.last || sum > maxFetchBytes {
			t.Errorf("%s: %d fetches, the last of %d bytes, %d in all", name, len(got), got[len(got)-1].maxBytes, sum)
		}
	}
}

// Metadata that lists other topics each time.
func TestCursorsHaveABound(t *testing.T) {
	q := openQueue(t, queueConfig{Brokers: []string{"127.0.0.1:1"}})
	follow(t, q, nil)
	now := time.Now()
	for round := range 10 {
		s := &sampling{q: q, partitions: map[probes.Partition]*partition{}}
		for i := range 1000 {
			id := probes.Partition{Topic: fmt.Sprint(round), ID: int32(i)}
			s.partitions[id] = &partition{Partition: id}
		}
		s.placeCursors(now.Add(time.Duration(round) * time.Second))
	}
	if n := len(q.follower.cursors); n > 1000+2*probes.MostLeft {
		t.Errorf("%d cursors", n)
	}
	now = now.Add(time.Minute)
	// One that is not listed for a moment goes on where it was.
	id := inv(0)
	listed := func(end int64) *sampling {
		p := &partition{Partition: id, topicID: [16]byte{1}}
		p.end.offset = end
		return &sampling{q: q, partitions: map[probes.Partition]*partition{id: p}}
	}
	listed(0).placeCursors(now)
	q.follower.cursors[id].next = 7
	(&sampling{q: q}).placeCursors(now)
	q.follower.read = true
	if _, told := q.followed().After[id]; told {
		t.Error("a partition that is gone has a position")
	}
	listed(10).placeCursors(now)
	if at := q.follower.cursors[id].next; at != 7 {
		t.Errorf("it goes on at %d", at)
	}
	if n := len(q.follower.cursors); n > 1000+2*probes.MostLeft {
		t.Errorf("%d cursors", n)
	}
}

// Whatever a broker answers: no message comes twice, what is told adds up, and reading goes on.
func FuzzFollowed(f *testing.F) {
	good := emptyBatch(f, 3, 10)
	f.Add(good, int64(3), int64(13), int64(13))
	f.Add(append(slices.Clone(good), emptyBatch(f, 13, 5)...), int64(5), int64(18), int64(15))
	f.Add(good[:len(good)-3], int64(0), int64(20), int64(20))
	f.Add([]byte{}, int64(0), int64(1<<62), int64(1))
	f.Add(make([]byte, 12), int64(0), int64(20), int64(20))
	q, err := newQueue(queueConfig{Brokers: []string{"127.0.0.1:1"}}, nil, probetest.Env(), probetest.Quiet())
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(q.Close)
	q.newest = 10
	f.Fuzz(func(t *testing.T, batches []byte, next, highWatermark, stable int64) {
		next = max(0, min(next, 1<<61))
		seen := map[uint64]bool{}
		s, fetch := followedAt(q, next, next+100, func(e probes.Event) {
			if seen[e.At.Major] || e.At.Major < uint64(next) {
				t.Errorf("%v comes twice, or before %d", e.At, next)
			}
			seen[e.At.Major] = true
		})
		s.sampled, s.newestByPartition, s.newestEach = map[probes.Partition]bool{}, nil, 10
		c := fetch.cursor
		for range mostStuck {
			before := c.next
			fetch.offset = before
			answer := &kmsg.FetchResponseTopicPartition{RecordBatches: slices.Clone(batches), HighWatermark: highWatermark, LastStableOffset: stable}
			s.takeNew(fetch, answer, decompressor(), new(sync.Mutex))
			if c.next < before {
				t.Fatalf("from %d back to %d", before, c.next)
			}
		}
		if end := max(highWatermark, 0); c.next == next && stable < 0 && end > next || c.next == next && stable > next {
			t.Errorf("it stays at %d", next)
		}
		if fl := q.follower; fl.seen != len(seen)+fl.leftOut || fl.leftOut < 0 {
			t.Errorf("%d came; seen %d, left out %d", len(seen), fl.seen, fl.leftOut)
		}
		if len(fetch.log.newest.messages) > 10 {
			t.Errorf("%d newest messages", len(fetch.log.newest.messages))
		}
	})
}
