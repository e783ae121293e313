package kafka

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

// began is what the ages of records are counted from.
var began = time.Now()

// ago is a record of a partition that was written some time before the tests began.
func ago(topic string, partition int32, d time.Duration) *kgo.Record {
	return &kgo.Record{Topic: topic, Partition: partition, Value: []byte("x"), Timestamp: began.Add(-d)}
}

// wantSeconds of a group's lag, to a second: of a record of that age when the tests began, or 0.
func wantSeconds(t *testing.T, what string, b probes.Backlog, group string, p probes.Partition, age float64) {
	t.Helper()
	want := age
	if age > 0 {
		want += time.Since(began).Seconds()
	}
	if got, known := probetest.GroupOf(t, b, group).LagSeconds[p]; !known || math.Abs(got-want) > 1 {
		t.Errorf("%s: %v is behind by %v s (known: %v), want %v", what, p, got, known, want)
	}
}

// wantRecent: the group's lag is of a record that was written since the tests began.
func wantRecent(t *testing.T, what string, b probes.Backlog, group string, p probes.Partition) {
	t.Helper()
	if got, known := probetest.GroupOf(t, b, group).LagSeconds[p]; !known || got > time.Since(began).Seconds() {
		t.Errorf("%s: %v is behind by %v s (known: %v)", what, p, got, known)
	}
}

func fetches(c *requestCount) int {
	n := 0
	for what, count := range c.take() {
		if strings.HasSuffix(what, " Fetch") {
			n += count
		}
	}
	return n
}

// TestLag runs against one Apache Kafka.
func TestLag(t *testing.T) {
	k := servers.Kafka(t, "log.cleaner.backoff.ms=100", "log.cleaner.min.cleanable.ratio=0.01")
	u := newUser(t, []string{k.Addr})
	t.Run("the record at the commit", func(t *testing.T) { testLagRecord(t, k, u) })
	t.Run("batches", func(t *testing.T) { testLagBatches(t, k, u) })
	t.Run("transactions", func(t *testing.T) { testLagTransactions(t, k, u) })
	t.Run("compaction", func(t *testing.T) { testLagCompacted(t, k, u) })
	t.Run("deleted and made anew", func(t *testing.T) { testLagNewTopic(t, k, u) })
	t.Run("1000 partitions", func(t *testing.T) { testLagWide(t, k, u) })
	t.Run("bytes", func(t *testing.T) { testLagBytes(t, k, u) })
	t.Run("newest messages", func(t *testing.T) { testNewest(t, k, u) })
	t.Run("newest messages once", func(t *testing.T) { testNewestOnce(t, k, u) })
	t.Run("newest messages where all moves", func(t *testing.T) { testNewestMoved(t, k, u) })
}

func testLagRecord(t *testing.T, k *servers.KafkaServer, u *user) {
	u.create(t, "inv", 4)
	for _, age := range []time.Duration{90 * time.Second, 60 * time.Second, 30 * time.Second} {
		u.write(t, ago("inv", 0, age), ago("inv", 1, age), ago("inv", 2, age))
	}
	u.write(t, ago("inv", 1, -time.Hour)) // a clock that is ahead
	u.commit(t, "g", "inv", map[int32]int64{0: 1, 1: 3, 2: 3, 3: 0})
	count := &requestCount{}
	q := openQueue(t, configOf([]string{k.Addr}, []string{"inv"}, []string{"g"}), kgo.WithHooks(count))
	b := sampleWell(t, q)
	for p, want := range []float64{60, 0, 0, 0} {
		wantSeconds(t, "at first", b, "g", inv(int32(p)), want)
	}
	if b.OldestAge != (probes.Count{Value: probetest.GroupOf(t, b, "g").LagSeconds[inv(0)], Known: true}) || b.Sample != nil {
		t.Errorf("oldest %+v, sample %+v", b.OldestAge, b.Sample)
	}
	if n := fetches(count); n != 1 {
		t.Errorf("%d requests for records", n)
	}
	wantSeconds(t, "again", sampleWell(t, q), "g", inv(0), 60)
	if n := fetches(count); n != 0 {
		t.Errorf("%d requests for records that were read before", n)
	}
	u.commit(t, "g", "inv", map[int32]int64{0: 2, 1: 4})
	wantSeconds(t, "one further", sampleWell(t, q), "g", inv(0), 30)
	// Truncated past the commit: the oldest that is left.
	u.commit(t, "g", "inv", map[int32]int64{0: 0})
	truncate := kadm.Offsets{}
	truncate.AddOffset("inv", 0, 2, -1)
	if _, err := u.admin.DeleteRecords(t.Context(), truncate); err != nil {
		t.Fatal(err)
	}
	b = sampleWell(t, q)
	wantSeconds(t, "truncated", b, "g", inv(0), 30)
	if g := probetest.GroupOf(t, b, "g"); g.Starts[inv(0)] != 2 || g.Positions[inv(0)] != 0 || g.Lag[inv(0)] != 1 || len(g.Starts) != 4 {
		t.Errorf("truncated: %+v", g)
	}
	truncate.AddOffset("inv", 0, 3, -1)
	if _, err := u.admin.DeleteRecords(t.Context(), truncate); err != nil {
		t.Fatal(err)
	}
	b = sampleWell(t, q)
	wantSeconds(t, "all is gone", b, "g", inv(0), 0)
	if b.OldestAge != (probes.Count{Value: 0, Known: true}) {
		t.Errorf("oldest %+v", b.OldestAge)
	}
}

func testLagBatches(t *testing.T, k *servers.KafkaServer, u *user) {
	codecs := []kgo.CompressionCodec{
		kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression(),
	}
	u.create(t, "batches", int32(len(codecs)))
	at := map[int32]int64{}
	for p, codec := range codecs {
		w := newUser(t, []string{k.Addr}, kgo.ProducerBatchCompression(codec), kgo.ProducerLinger(50*time.Millisecond))
		var records []*kgo.Record
		for i := range 100 { // one batch
			r := ago("batches", int32(p), time.Duration(200-i)*time.Second)
			r.Value = fmt.Appendf(nil, "%01000d", i)
			records = append(records, r)
		}
		w.write(t, records...)
		at[int32(p)] = 50
	}
	own := "LogAppendTime"
	u.createWith(t, "brokers-time", 1, map[string]*string{"message.timestamp.type": &own})
	u.write(t, ago("brokers-time", 0, time.Hour))
	u.commit(t, "g", "brokers-time", map[int32]int64{0: 0})
	u.create(t, "large", 3)
	big := ago("large", 0, 100*time.Second)
	big.Value = bytes.Repeat([]byte("0123456789"), 90_000)
	bomb := ago("large", 1, 50*time.Second)
	bomb.Value = make([]byte, 6<<20)
	u.write(t, big, ago("large", 2, 20*time.Second))
	small := newUser(t, []string{k.Addr}, kgo.ProducerBatchCompression(kgo.ZstdCompression()), kgo.ProducerBatchMaxBytes(8<<20),
		kgo.MaxBufferedBytes(16<<20))
	small.write(t, bomb)
	u.commit(t, "g", "large", map[int32]int64{0: 0, 1: 0, 2: 0})
	u.commit(t, "g", "batches", at)

	q := openQueue(t, configOf([]string{k.Addr}, []string{"batches", "brokers-time", "large"}, []string{"g"}))
	var b probes.Backlog
	for range 8 { // larger batches are asked for bit by bit
		b = sampleWell(t, q)
	}
	for p := range codecs {
		wantSeconds(t, "in a batch", b, "g", probes.Partition{Topic: "batches", ID: int32(p)}, 150)
	}
	wantRecent(t, "the broker's time", b, "g", probes.Partition{Topic: "brokers-time", ID: 0})
	for p, want := range []float64{100, 50, 20} {
		wantSeconds(t, "large and small", b, "g", probes.Partition{Topic: "large", ID: int32(p)}, want)
	}
}

func testLagTransactions(t *testing.T, k *servers.KafkaServer, u *user) {
	u.create(t, "tx", 5)
	w := newUser(t, []string{k.Addr}, kgo.TransactionalID("tx"), kgo.ProducerLinger(0))
	// 0: committed, then its marker alone is left. 1: aborted alone. 2: aborted, then committed. 3: open. 4: markers first.
	w.transaction(t, kgo.TryCommit, ago("tx", 0, 80*time.Second), ago("tx", 2, 500*time.Second), ago("tx", 4, 70*time.Second))
	w.transaction(t, kgo.TryAbort, ago("tx", 1, 60*time.Second), ago("tx", 2, 50*time.Second))
	w.transaction(t, kgo.TryCommit, ago("tx", 2, 40*time.Second), ago("tx", 4, 35*time.Second))
	if err := w.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	w.write(t, ago("tx", 3, 30*time.Second))
	u.commit(t, "g", "tx", map[int32]int64{0: 1, 1: 0, 2: 1, 3: 0, 4: 1})
	u.commit(t, "start", "tx", map[int32]int64{0: 0, 2: 2})
	q := openQueue(t, configOf([]string{k.Addr}, []string{"tx"}, []string{"g", "start"}))
	var b probes.Backlog
	for range 4 {
		b = sampleWell(t, q)
	}
	for p, want := range []float64{0, 0, 40, 30, 35} {
		wantSeconds(t, "transactions", b, "g", probes.Partition{Topic: "tx", ID: int32(p)}, want)
	}
	wantSeconds(t, "transactions", b, "start", probes.Partition{Topic: "tx", ID: 0}, 80)
	wantSeconds(t, "transactions", b, "start", probes.Partition{Topic: "tx", ID: 2}, 40)
	if lag := probetest.GroupOf(t, b, "g").Lag[probes.Partition{Topic: "tx", ID: 0}]; lag != 1 {
		t.Errorf("lag %d where the marker is left, which counts for Kafka's own tools", lag)
	}
	likeTool(t, k, b, "g")
	if err := w.EndTransaction(t.Context(), kgo.TryAbort); err != nil {
		t.Fatal(err)
	}
	servers.Eventually(t, "the open transaction's end is noticed", func() bool {
		seconds, known := probetest.GroupOf(t, sampleWell(t, q), "g").LagSeconds[probes.Partition{Topic: "tx", ID: 3}]
		return known && seconds == 0
	})
	w.transaction(t, kgo.TryCommit, ago("tx", 0, 20*time.Second))
	servers.Eventually(t, "the record behind the marker is read", func() bool { // until then there is an estimate
		got, known := probetest.GroupOf(t, sampleWell(t, q), "g").LagSeconds[probes.Partition{Topic: "tx", ID: 0}]
		return known && math.Abs(got-20-time.Since(began).Seconds()) < 1
	})
}

func testLagCompacted(t *testing.T, k *servers.KafkaServer, u *user) {
	policy, small, lag := "compact", "100", "0"
	u.createWith(t, "compact", 1, map[string]*string{
		"cleanup.policy": &policy, "segment.ms": &small, "min.compaction.lag.ms": &lag, "max.compaction.lag.ms": &small,
	})
	for i := range 40 {
		r := ago("compact", 0, time.Duration(400-i)*time.Second)
		r.Key = []byte("same")
		u.write(t, r)
	}
	// The newest segment is never compacted; a record after the segment's time closes the one before.
	first := func() int64 {
		end := ago("compact", 0, 10*time.Second)
		end.Key = []byte("other")
		u.write(t, end)
		r, err := kgo.NewClient(kgo.SeedBrokers(k.Addr), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{
			"compact": {0: kgo.NewOffset().AtStart()},
		}))
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		got := r.PollFetches(t.Context())
		if err := got.Err0(); err != nil {
			t.Fatal(err)
		}
		return got.Records()[0].Offset
	}
	servers.Eventually(t, "the log is compacted", func() bool { return first() >= 39 })
	u.commit(t, "g", "compact", map[int32]int64{0: 5})
	b := sampleWell(t, openQueue(t, configOf([]string{k.Addr}, []string{"compact"}, []string{"g"})))
	want := 361.0
	if first() > 39 {
		t.Fatal("the last record of a key is gone")
	}
	wantSeconds(t, "compacted", b, "g", probes.Partition{Topic: "compact", ID: 0}, want)
}

func testLagNewTopic(t *testing.T, k *servers.KafkaServer, u *user) {
	u.create(t, "anew", 1)
	u.write(t, ago("anew", 0, 100*time.Second), ago("anew", 0, 90*time.Second))
	u.commit(t, "g", "anew", map[int32]int64{0: 1})
	q := openQueue(t, configOf([]string{k.Addr}, []string{"anew"}, []string{"g"}))
	wantSeconds(t, "before", sampleWell(t, q), "g", probes.Partition{Topic: "anew", ID: 0}, 90)
	if _, err := u.admin.DeleteTopic(t.Context(), "anew"); err != nil {
		t.Fatal(err)
	}
	servers.Eventually(t, "the topic is made anew", func() bool {
		r, err := u.admin.CreateTopic(t.Context(), 1, 1, nil, "anew")
		return err == nil && r.Err == nil
	})
	w := newUser(t, []string{k.Addr}) // without what is remembered of the old topic
	servers.Eventually(t, "it takes records", func() bool {
		return w.ProduceSync(t.Context(), ago("anew", 0, 50*time.Second)).FirstErr() == nil
	})
	w.write(t, ago("anew", 0, 40*time.Second), ago("anew", 0, 30*time.Second))
	w.commit(t, "g", "anew", map[int32]int64{0: 1})
	b := sampleWell(t, q)
	wantSeconds(t, "after", b, "g", probes.Partition{Topic: "anew", ID: 0}, 40)
}

// All partitions of a broker are read by one request each for the lag and the newest messages, within their bytes.
func testLagWide(t *testing.T, k *servers.KafkaServer, u *user) {
	u.create(t, "wide", 1000)
	var records []*kgo.Record
	at := map[int32]int64{}
	for p := range int32(1000) {
		records = append(records, ago("wide", p, time.Duration(100+p)*time.Second), ago("wide", p, time.Duration(50+p)*time.Second))
		at[p] = 1
	}
	u.write(t, records...)
	u.commit(t, "g", "wide", at)
	count := &requestCount{}
	q := openQueue(t, configOf([]string{k.Addr}, []string{"wide"}, []string{"g", "/^wide-/"}), kgo.WithHooks(count))
	q.newest = 1000
	sampleWell(t, q)
	count.take()
	for p := range at {
		at[p] = 0
	}
	u.commit(t, "g", "wide", at)
	b := sampleWell(t, q)
	if got := count.take(); total(got) > 8 {
		t.Errorf("%d requests in a sampling: %v", total(got), got)
	}
	for p := range int32(1000) {
		wantSeconds(t, "wide", b, "g", probes.Partition{Topic: "wide", ID: p}, float64(100+p))
	}
	if b.Sample == nil || b.Sample.Messages != 1000 {
		t.Errorf("sample %+v", b.Sample)
	}
	seen := map[probes.Partition]bool{}
	for range 4 {
		sampleWell(t, q)
		for id, l := range q.logs {
			seen[id] = seen[id] || l.newestTried > 0
		}
	}
	if len(seen) != 1000 {
		t.Errorf("%d partitions", len(seen))
	}
	for id, was := range seen {
		if !was {
			t.Errorf("%v was never looked at", id)
		}
	}
}

// fetchedBytes counts what requests for records brought.
type fetchedBytes struct{ n atomic.Int64 }

func (f *fetchedBytes) OnBrokerRead(_ kgo.BrokerMetadata, key int16, bytes int, _, _ time.Duration, _ error) {
	if key == int16(kmsg.Fetch) {
		f.n.Add(int64(bytes))
	}
}

// Eight times as much as a sampling may read: each has its part, and in the end all is known.
func testLagBytes(t *testing.T, k *servers.KafkaServer, u *user) {
	u.create(t, "heavy", 80)
	at := map[int32]int64{}
	w := newUser(t, []string{k.Addr}, kgo.ProducerBatchCompression(kgo.NoCompression()))
	for i := range 5 {
		var records []*kgo.Record
		for p := range int32(80) {
			at[p] = 1
			r := ago("heavy", p, time.Duration(300-10*i)*time.Second)
			r.Value = bytes.Repeat([]byte("x"), 20_000)
			records = append(records, r)
		}
		w.write(t, records...)
	}
	u.commit(t, "g", "heavy", at)
	fetched := &fetchedBytes{}
	q := openQueue(t, configOf([]string{k.Addr}, []string{"heavy"}, []string{"g"}), kgo.WithHooks(fetched))
	q.newest = 1000
	var b probes.Backlog
	for range 10 {
		b = sampleWell(t, q)
		if n := fetched.n.Swap(0); n > 2*(maxFetchBytes+32<<10) {
			t.Errorf("%d bytes in a sampling", n)
		}
	}
	for p := range at {
		wantSeconds(t, "heavy", b, "g", probes.Partition{Topic: "heavy", ID: p}, 290)
	}
	if b.Sample == nil || b.Sample.Messages == 0 {
		t.Errorf("sample %+v", b.Sample)
	}
	sampleWell(t, q)
	fetched.n.Store(0)
	q.newest = 0
	sampleWell(t, q)
	if n := fetched.n.Load(); n != 0 {
		t.Errorf("%d bytes for what is known", n)
	}
}

func testNewest(t *testing.T, k *servers.KafkaServer, u *user) {
	u.create(t, "newest", 4)
	for p := range int32(3) {
		for i := range 300 {
			r := &kgo.Record{Topic: "newest", Partition: p, Value: fmt.Appendf(nil, `{"key":"k%d"}`, i)}
			if i >= 250 && p == 1 {
				r.Value = []byte(`{"key":"hot"}`)
			}
			u.write(t, r)
		}
	}
	q := openQueueWith(t, configOf([]string{k.Addr}, []string{"newest"}, nil), &probes.Message{Key: "$.key"})
	q.newest = 150
	s := sampleWell(t, q).Sample
	if s == nil || s.Messages != 150 || s.DistinctKeys != 51 || s.TopKey != "hot" || s.TopKeyMessages != 50 {
		t.Errorf("%+v", s)
	}
	if groups, err := u.admin.ListGroups(t.Context()); err != nil || len(groups.Groups()) == 0 {
		t.Errorf("%v, %v", groups, err)
	} else {
		for _, g := range groups.Groups() {
			if g != "g" && g != "start" {
				t.Errorf("group %s appeared", g)
			}
		}
	}
	// Transactions of one message each, so that half of the log is markers.
	w := newUser(t, []string{k.Addr}, kgo.TransactionalID("newest"), kgo.ProducerLinger(0))
	for i := range 30 {
		w.transaction(t, kgo.TryCommit, &kgo.Record{Topic: "newest", Partition: 3, Key: fmt.Appendf(nil, "t%d", i), Value: []byte("{}")})
	}
	q = openQueueWith(t, configOf([]string{k.Addr}, []string{"newest"}, nil), &probes.Message{})
	q.newest = 4
	for range 3 {
		s = sampleWell(t, q).Sample
	}
	if s == nil || s.Messages != 4 || s.DistinctKeys != 3 {
		t.Errorf("%+v", s)
	}
	// Nothing there at all.
	u.create(t, "none-yet", 2)
	q = openQueue(t, configOf([]string{k.Addr}, []string{"none-yet"}, nil))
	q.newest = 10
	if s := sampleWell(t, q).Sample; s == nil || s.Messages != 0 {
		t.Errorf("%+v", s)
	}
}

// Without the right to read, lag in messages stays whole, and its seconds come from what was seen.
func TestMayNotRead(t *testing.T) {
	c, u := fakeBroker(t, kfake.SeedTopics(1, "other"))
	u.commit(t, "g", "inv", allAt(10))
	c.Fault(kfake.Fault{Topic: "inv", Keys: []kmsg.Key{kmsg.Fetch}, Err: kerr.TopicAuthorizationFailed, Count: -1})
	q := openQueue(t, configOf(c.ListenAddrs(), []string{"inv"}, []string{"g"}))
	q.newest = 10
	if b := sampleWell(t, q); b.Sample != nil || b.OldestAge != (probes.Count{Value: 0, Known: true}) {
		t.Errorf("%+v, %+v", b.Sample, b.OldestAge)
	}
	u.produce(t, "inv", 0, 2)
	b := sampleWell(t, q)
	wantRecent(t, "by the ends", b, "g", inv(0))
	if b.Sample != nil || probetest.GroupOf(t, b, "g").Lag[inv(0)] != 2 {
		t.Errorf("%+v, %+v", b.Sample, b.Groups)
	}
	u.commit(t, "g", "inv", allAt(3))
	if b = sampleWell(t, q); b.OldestAge.Known || len(probetest.GroupOf(t, b, "g").LagSeconds) != 0 {
		t.Errorf("older than anything seen: %+v, %v", b.OldestAge, probetest.GroupOf(t, b, "g").LagSeconds)
	}
	if !q.refused["inv"] || len(q.refused) != 1 {
		t.Errorf("refused: %v", q.refused)
	}
}

// Newest messages that were read are told again without another read, until the log of their partition moves; those of the
// others stay as they are.
func testNewestOnce(t *testing.T, k *servers.KafkaServer, u *user) {
	u.create(t, "still", 4)
	write := func(partition int32, key string) {
		u.write(t, &kgo.Record{Topic: "still", Partition: partition, Value: fmt.Appendf(nil, `{"key":%q}`, key)})
	}
	for p := range int32(4) {
		write(p, "a")
	}
	count := &requestCount{}
	q := openQueue(t, configOf([]string{k.Addr}, []string{"still"}, nil), kgo.WithHooks(count))
	q.newest = 4
	look := func(what string, reads int) {
		t.Helper()
		count.take()
		b := sampleWell(t, q)
		if n := fetches(count); n != reads || b.Sample == nil || b.Sample.Messages != 4 {
			t.Errorf("%s: %d reads, want %d; sample %+v", what, n, reads, b.Sample)
		}
	}
	look("at first", 1)
	look("nothing came", 0)
	look("nothing came again", 0)
	write(2, "b")
	look("one came", 1)
	look("nothing came after it", 0)
	deleted := kadm.Offsets{}
	deleted.AddOffset("still", 2, 1, -1)
	if r, err := u.admin.DeleteRecords(t.Context(), deleted); err != nil || r.Error() != nil {
		t.Fatal(err, r.Error())
	}
	look("older ones were deleted", 1)
	look("nothing came at last", 0)
	q.newest = 8 // more are wanted than were read
	count.take()
	if b := sampleWell(t, q); fetches(count) != 1 || b.Sample.Messages != 4 {
		t.Errorf("more are wanted: sample %+v", b.Sample)
	}
}

// Where messages come in more partitions than are read again at once, those that were read longest ago come first, and the
// others give what was read before.
func testNewestMoved(t *testing.T, k *servers.KafkaServer, u *user) {
	const partitions = maxMovedPartitions + 72
	u.create(t, "moving", partitions)
	q := openQueueWith(t, configOf([]string{k.Addr}, []string{"moving"}, nil), &probes.Message{Key: "$.key"})
	q.newest = 1000
	for round, want := range []map[string]int{{"a": partitions}, {"a": 72, "b": maxMovedPartitions}, {"b": partitions}} {
		if round < 2 {
			var records []*kgo.Record
			for p := range int32(partitions) {
				for range 5 { // as many as are wanted of each
					records = append(records, &kgo.Record{Topic: "moving", Partition: p, Value: fmt.Appendf(nil, `{"key":%q}`, string(rune('a'+round)))})
				}
			}
			u.write(t, records...)
		}
		b := sampleWell(t, q)
		got := map[string]int{}
		for _, l := range q.logs {
			if n := len(l.newest.messages); n > 0 {
				got[l.newest.messages[n-1].Key]++
			}
		}
		if !maps.Equal(got, want) || b.Sample == nil || b.Sample.Messages != 5*partitions {
			t.Errorf("sampling %d: %v, want %v; sample %+v", round, got, want, b.Sample)
		}
	}
}
