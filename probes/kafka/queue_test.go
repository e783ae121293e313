package kafka

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

func configOf(brokers, topics, groups []string) queueConfig {
	return queueConfig{Brokers: brokers, Topics: probetest.Matches(topics...), Groups: probetest.Matches(groups...)}
}

func openQueue(t *testing.T, c queueConfig, options ...kgo.Opt) *queue {
	t.Helper()
	q, err := newQueue(c, nil, probetest.Env(), probetest.Quiet())
	if err != nil {
		t.Fatal(err)
	}
	q.peers.dialer.options = append(q.peers.dialer.options, options...)
	q.peers.keep(nil) // those opened without the options
	t.Cleanup(q.Close)
	return q
}

// sampleWell fails where anything was not learned.
func sampleWell(t *testing.T, q probes.Queue) probes.Backlog {
	t.Helper()
	b, err := probetest.SampleIn(t, q, 10*time.Second)
	if err != nil || !b.Complete {
		t.Errorf("complete %v, error %v", b.Complete, err)
	}
	return b
}

// user writes and reads as the applications do.
type user struct {
	*kgo.Client
	admin *kadm.Client
}

func newUser(t *testing.T, brokers []string, options ...kgo.Opt) *user {
	t.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0),
	}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return &user{client, kadm.NewClient(client)}
}

func (u *user) create(t *testing.T, topic string, partitions int32) {
	t.Helper()
	r, err := u.admin.CreateTopic(t.Context(), partitions, 1, nil, topic)
	if err != nil || r.Err != nil {
		t.Fatal(err, r.Err)
	}
	servers.Eventually(t, "the topic has leaders", func() bool {
		got, err := u.admin.ListEndOffsets(t.Context(), topic)
		return err == nil && got.Error() == nil && len(got[topic]) == int(partitions)
	})
}

// produce n records to a partition.
func (u *user) produce(t *testing.T, topic string, partition int32, n int) {
	t.Helper()
	var records []*kgo.Record
	for range n {
		records = append(records, &kgo.Record{Topic: topic, Partition: partition, Value: []byte("x")})
	}
	if err := u.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

func (u *user) commit(t *testing.T, group, topic string, offsets map[int32]int64) {
	t.Helper()
	all := kadm.Offsets{}
	for p, at := range offsets {
		all.AddOffset(topic, p, at, -1)
	}
	if err := u.admin.CommitAllOffsets(t.Context(), group, all); err != nil {
		t.Fatal(err)
	}
}

// joinGroup joins a group and reads until the test's end; it commits nothing by itself.
func joinGroup(t *testing.T, brokers []string, group, topic string, options ...kgo.Opt) *kgo.Client {
	t.Helper()
	assigned := make(chan struct{}, 100)
	client, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(brokers...), kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(),
		kgo.OnPartitionsAssigned(func(context.Context, *kgo.Client, map[string][]int32) { assigned <- struct{}{} }),
	}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var reading sync.WaitGroup
	reading.Go(func() {
		for ctx.Err() == nil {
			client.PollFetches(ctx)
		}
	})
	t.Cleanup(func() {
		cancel()
		reading.Wait()
		client.Close()
	})
	select {
	case <-assigned:
	case <-time.After(30 * time.Second):
		t.Fatal("the member has no partitions")
	}
	return client
}

func inv(id int32) probes.Partition { return probes.Partition{Topic: "inv", ID: id} }

func wantLag(t *testing.T, g probes.GroupBacklog, want map[probes.Partition]int64) {
	t.Helper()
	if !maps.Equal(g.Lag, want) {
		t.Errorf("group %s: lag %v, want %v", g.Group, g.Lag, want)
	}
}

// toolRow is a line of kafka-consumer-groups; a number that it does not know is -.
type toolRow struct{ commit, end, lag string }

// toolRows are what kafka-consumer-groups --describe prints.
func toolRows(t *testing.T, k *servers.KafkaServer, group string) map[probes.Partition]toolRow {
	t.Helper()
	out := map[probes.Partition]toolRow{}
	for line := range strings.Lines(k.Tool(t, servers.KafkaGroups, "--describe", "--group", group)) {
		f := strings.Fields(line)
		if len(f) < 6 || f[0] != group {
			continue
		}
		id, err := strconv.ParseInt(f[2], 10, 32)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		out[probes.Partition{Topic: f[1], ID: int32(id)}] = toolRow{f[3], f[4], f[5]}
	}
	return out
}

// toolState is what kafka-consumer-groups --describe --state prints: state and members.
func toolState(t *testing.T, k *servers.KafkaServer, group string) string {
	t.Helper()
	for line := range strings.Lines(k.Tool(t, servers.KafkaGroups, "--describe", "--state", "--group", group)) {
		if f := strings.Fields(line); len(f) > 3 && f[0] == group {
			return f[len(f)-2] + " " + f[len(f)-1]
		}
	}
	t.Fatalf("kafka-consumer-groups tells no state of %s", group)
	return ""
}

// likeTool compares with all that kafka-consumer-groups prints of a group.
func likeTool(t *testing.T, k *servers.KafkaServer, b probes.Backlog, group string) {
	t.Helper()
	g := probetest.GroupOf(t, b, group)
	rows := toolRows(t, k, group)
	for p, end := range b.Ends {
		ours := toolRow{"-", strconv.FormatInt(int64(end), 10), "-"}
		if at, ok := g.Positions[p]; ok {
			ours.commit = strconv.FormatInt(int64(at), 10)
		}
		if lag, ok := g.Lag[p]; ok {
			ours.lag = strconv.FormatInt(lag, 10)
		}
		theirs, told := rows[p]
		if !told { // it leaves out partitions that are neither committed nor assigned
			theirs = toolRow{"-", ours.end, "-"}
		}
		if ours != theirs {
			t.Errorf("group %s, %v: %+v, kafka-consumer-groups prints %+v", group, p, ours, theirs)
		}
	}
	if ours, theirs := fmt.Sprintf("%s %d", g.State, g.Members), toolState(t, k, group); ours != theirs || !g.HasMembers {
		t.Errorf("group %s is %s, kafka-consumer-groups prints %s", group, ours, theirs)
	}
}

// requestCount counts requests by broker and kind.
type requestCount struct {
	mu sync.Mutex
	by map[string]int
}

func (c *requestCount) OnBrokerWrite(meta kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, _ error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.by == nil {
		c.by = map[string]int{}
	}
	c.by[fmt.Sprintf("%s:%d %s", meta.Host, meta.Port, kmsg.NameForKey(key))]++
}

// take gives the counts and begins anew.
func (c *requestCount) take() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.by
	c.by = nil
	return out
}

func total(counts map[string]int) int {
	n := 0
	for _, c := range counts {
		n += c
	}
	return n
}

// TestKafka runs against one Apache Kafka.
func TestKafka(t *testing.T) {
	k := servers.Kafka(t)
	brokers := []string{k.Addr}
	u := newUser(t, brokers)
	u.create(t, "inv", 3)
	for p, n := range []int{100, 50, 7} {
		u.produce(t, "inv", int32(p), n)
	}
	t.Run("as kafka-consumer-groups prints", func(t *testing.T) {
		servers.NoLeaks(t)
		classic := joinGroup(t, brokers, "classic", "inv")
		joinGroup(t, brokers, "classic", "inv")
		joinGroup(t, brokers, "modern", "inv", kgo.ServerSideBalancer())
		commitAll(t, classic, "classic", map[int32]int64{0: 60, 1: 50})
		u.commit(t, "empty", "inv", map[int32]int64{0: 1, 1: 2, 2: 3})
		q := openQueue(t, configOf(brokers, []string{"inv"}, []string{"classic", "modern", "empty", "never"}))
		var b probes.Backlog
		servers.Eventually(t, "the groups are stable", func() bool {
			b = sampleWell(t, q)
			return probetest.GroupOf(t, b, "classic").State == "Stable" && probetest.GroupOf(t, b, "classic").Members == 2 && probetest.GroupOf(t, b, "modern").State == "Stable"
		})
		for _, g := range []string{"classic", "modern", "empty"} {
			likeTool(t, k, b, g)
		}
		wantLag(t, probetest.GroupOf(t, b, "classic"), map[probes.Partition]int64{inv(0): 40, inv(1): 0})
		probetest.WantDepth(t, b, 99+48+4) // the largest of the groups', never their sum
		never := probetest.GroupOf(t, b, "never")
		if never.State != "Dead" || never.Members != 0 || !never.HasMembers || never.Uncommitted != 3 || !never.HasOffsets ||
			len(never.Lag) != 0 {
			t.Errorf("a group that does not exist is %+v", never)
		}
		for name, uncommitted := range map[string]int{"classic": 1, "modern": 3, "empty": 0} {
			if g := probetest.GroupOf(t, b, name); g.Uncommitted != uncommitted {
				t.Errorf("group %s: %d partitions uncommitted, want %d", name, g.Uncommitted, uncommitted)
			}
		}
		if b.BrokersUp != 1 || b.BrokersDown != 0 {
			t.Errorf("brokers %d up, %d down", b.BrokersUp, b.BrokersDown)
		}
		if want := map[probes.Partition]float64{inv(0): 100, inv(1): 50, inv(2): 7}; !maps.Equal(b.Ends, want) {
			t.Errorf("ends %v, want %v", b.Ends, want)
		}
	})
	t.Run("nothing committed", func(t *testing.T) {
		b := sampleWell(t, openQueue(t, configOf(brokers, []string{"inv"}, []string{"nobody"})))
		if b.Depth.Known {
			t.Errorf("depth %v of a queue where nothing is committed", b.Depth.Value)
		}
	})
	t.Run("no groups", func(t *testing.T) {
		b := sampleWell(t, openQueue(t, configOf(brokers, []string{"inv"}, nil)))
		if b.Depth.Known || b.Groups != nil || len(b.Ends) != 3 {
			t.Errorf("a queue without groups: %+v", b)
		}
	})
	t.Run("log truncated past the commit", func(t *testing.T) { testKafkaTruncated(t, k, u) })
	t.Run("regular expressions", func(t *testing.T) { testKafkaRegexps(t, k, u) })
	t.Run("a topic deleted meanwhile", func(t *testing.T) { testKafkaTopicDeleted(t, brokers, u) })
	t.Run("a group that changes its protocol", func(t *testing.T) { testKafkaProtocolChange(t, brokers, u) })
	t.Run("1000 partitions", func(t *testing.T) { testKafkaRequests(t, k, u) })
	t.Run("more groups than are watched", func(t *testing.T) { testKafkaManyGroups(t, brokers, u) })
}

// commitAll commits as a member does.
func commitAll(t *testing.T, c *kgo.Client, group string, offsets map[int32]int64) {
	t.Helper()
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group = group
	topic := kmsg.NewOffsetCommitRequestTopic()
	topic.Topic = "inv"
	for p, at := range offsets {
		one := kmsg.NewOffsetCommitRequestTopicPartition()
		one.Partition, one.Offset = p, at
		topic.Partitions = append(topic.Partitions, one)
	}
	req.Topics = append(req.Topics, topic)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	servers.Eventually(t, "the member commits", func() bool {
		id, generation := c.GroupMetadata()
		req.MemberID, req.Generation = id, generation
		got, err := req.RequestWith(ctx, c)
		return err == nil && got.Topics[0].Partitions[0].ErrorCode == 0
	})
}

func testKafkaTruncated(t *testing.T, k *servers.KafkaServer, u *user) {
	u.create(t, "short", 2)
	u.produce(t, "short", 0, 100)
	u.produce(t, "short", 1, 100)
	u.commit(t, "late", "short", map[int32]int64{0: 10, 1: 100})
	q := openQueue(t, configOf([]string{k.Addr}, []string{"short"}, []string{"late"}))
	probetest.WantDepth(t, sampleWell(t, q), 90)
	truncate := kadm.Offsets{}
	truncate.AddOffset("short", 0, 70, -1)
	truncate.AddOffset("short", 1, 100, -1)
	if _, err := u.admin.DeleteRecords(t.Context(), truncate); err != nil {
		t.Fatal(err)
	}
	b := sampleWell(t, q)
	wantLag(t, probetest.GroupOf(t, b, "late"), map[probes.Partition]int64{{Topic: "short", ID: 0}: 30, {Topic: "short", ID: 1}: 0})
	if at := probetest.GroupOf(t, b, "late").Positions[probes.Partition{Topic: "short", ID: 0}]; at != 10 {
		t.Errorf("the commit moved to %v by itself", at)
	}
	// A commit ahead of the end, as after data was lost.
	u.commit(t, "late", "short", map[int32]int64{1: 250})
	wantLag(t, probetest.GroupOf(t, sampleWell(t, q), "late"), map[probes.Partition]int64{{Topic: "short", ID: 0}: 30, {Topic: "short", ID: 1}: 0})
}

func testKafkaRegexps(t *testing.T, k *servers.KafkaServer, u *user) {
	u.create(t, "re-a", 1)
	u.create(t, "re-b", 1)
	u.produce(t, "re-a", 0, 5)
	u.produce(t, "re-b", 0, 6)
	u.commit(t, "re-1", "re-a", map[int32]int64{0: 0})
	u.commit(t, "re-2", "re-b", map[int32]int64{0: 0})
	u.commit(t, "other", "re-b", map[int32]int64{0: 0})
	q := openQueue(t, configOf([]string{k.Addr}, []string{"/^re-/", "/^__/"}, []string{"/^re-/", "re-named"}))
	b := sampleWell(t, q)
	probetest.WantDepth(t, b, 6)
	if len(b.Ends) != 2 {
		t.Errorf("topics %v", b.Ends)
	}
	var names []string
	for _, g := range b.Groups {
		names = append(names, g.Group)
	}
	if want := []string{"re-1", "re-2", "re-named"}; !slices.Equal(names, want) {
		t.Errorf("groups %v, want %v", names, want)
	}
	if g := probetest.GroupOf(t, b, "re-named"); g.State != "Dead" || g.Uncommitted != 2 {
		t.Errorf("a named group that does not exist is %+v", g)
	}
	likeTool(t, k, b, "re-2")
	// Groups and topics that come and go.
	u.commit(t, "re-3", "re-b", map[int32]int64{0: 6})
	u.create(t, "re-c", 1)
	if b = sampleWell(t, q); len(b.Groups) != 4 || len(b.Ends) != 3 || b.Depth.Value != 6 {
		t.Errorf("a new group and a new topic: %+v", b)
	}
	if _, err := u.admin.DeleteGroups(t.Context(), "re-2", "re-3"); err != nil {
		t.Fatal(err)
	}
	if b = sampleWell(t, q); len(b.Groups) != 2 {
		t.Errorf("deleted groups are still there: %+v", b.Groups)
	}
	// Internal topics are meant where they are named.
	b = sampleWell(t, openQueue(t, configOf([]string{k.Addr}, []string{"__consumer_offsets"}, nil)))
	if len(b.Ends) != 1 {
		t.Errorf("__consumer_offsets: %+v", b.Ends)
	}
}

func testKafkaTopicDeleted(t *testing.T, brokers []string, u *user) {
	u.create(t, "gone", 2)
	u.produce(t, "gone", 0, 5)
	u.commit(t, "reader", "gone", map[int32]int64{0: 1})
	u.commit(t, "reader", "inv", map[int32]int64{0: 90})
	q := openQueue(t, configOf(brokers, []string{"gone", "inv"}, []string{"reader"}))
	probetest.WantDepth(t, sampleWell(t, q), 14)
	if _, err := u.admin.DeleteTopic(t.Context(), "gone"); err != nil {
		t.Fatal(err)
	}
	var b probes.Backlog
	var err error
	servers.Eventually(t, "the topic's end is told", func() bool {
		b, err = probetest.SampleIn(t, q, 10*time.Second)
		return err != nil && strings.Contains(err.Error(), "topic gone: does not exist") && len(b.Ends) == 3 // its partitions go one by one
	})
	if b.Complete {
		t.Errorf("complete %v, ends %v", b.Complete, b.Ends)
	}
	wantLag(t, probetest.GroupOf(t, b, "reader"), map[probes.Partition]int64{inv(0): 10})
	probetest.WantDepth(t, b, 10)
	// By a client of its own: the other answers from what it remembers of the topics for 5 s.
	if topics, err := newUser(t, brokers).admin.ListTopics(t.Context()); err != nil || topics.Has("gone") {
		t.Errorf("asking made the topic anew (%v)", err)
	}
}

// A group's name may be used again with the other protocol.
func testKafkaProtocolChange(t *testing.T, brokers []string, u *user) {
	q := openQueue(t, configOf(brokers, []string{"inv"}, []string{"changes"}))
	u.commit(t, "changes", "inv", map[int32]int64{0: 1})
	if g := probetest.GroupOf(t, sampleWell(t, q), "changes"); g.State != "Empty" {
		t.Errorf("state %s", g.State)
	}
	if _, err := u.admin.DeleteGroups(t.Context(), "changes"); err != nil {
		t.Fatal(err)
	}
	joinGroup(t, brokers, "changes", "inv", kgo.ServerSideBalancer())
	servers.Eventually(t, "the group is stable", func() bool {
		g := probetest.GroupOf(t, sampleWell(t, q), "changes")
		return g.State == "Stable" && g.Members == 1
	})
}

func testKafkaRequests(t *testing.T, k *servers.KafkaServer, u *user) {
	brokers := []string{k.Addr}
	u.create(t, "wide", 1000)
	groups := []string{"/^wide-/"}
	for i := range 5 {
		at := map[int32]int64{}
		for p := range int32(1000) {
			at[p] = 0
		}
		u.commit(t, fmt.Sprintf("wide-%d", i), "wide", at)
		groups = append(groups, fmt.Sprintf("wide-%d", i))
	}
	u.produce(t, "wide", 999, 3)
	for name, groups := range map[string][]string{
		"exact": groups[1:], "regexp": groups[:1], "exact and regexp": append(groups, "absent"), "none": nil, "absent": {"absent"},
	} {
		t.Run(name, func(t *testing.T) {
			count := &requestCount{}
			q := openQueue(t, configOf(brokers, []string{"wide"}, groups), kgo.WithHooks(count))
			sampleWell(t, q)
			first := count.take()
			b := sampleWell(t, q)
			if steady := count.take(); total(steady) > 6 {
				t.Errorf("%d requests in a sampling: %v (the first: %v)", total(steady), steady, first)
			}
			if len(b.Ends) != 1000 || len(groups) > 1 && (b.Depth.Value != 3 || len(b.Groups[len(b.Groups)-1].Lag) != 1000) {
				t.Errorf("%d ends, depth %v", len(b.Ends), b.Depth)
			}
		})
	}
	joinGroup(t, brokers, "wide-modern", "inv", kgo.ServerSideBalancer())
	count := &requestCount{}
	q := openQueue(t, configOf(brokers, []string{"wide"}, groups[:1]), kgo.WithHooks(count))
	sampleWell(t, q)
	count.take()
	for range 4 {
		b := sampleWell(t, q)
		if got := count.take(); total(got) > 6 {
			t.Errorf("both protocols: %d requests in a sampling: %v", total(got), got)
		}
		if len(b.Groups) != 6 || probetest.GroupOf(t, b, "wide-modern").Members != 1 || probetest.GroupOf(t, b, "wide-0").State != "Empty" {
			t.Errorf("both protocols: %d groups, %+v", len(b.Groups), probetest.GroupOf(t, b, "wide-modern").State)
		}
	}
}

func testKafkaManyGroups(t *testing.T, brokers []string, u *user) {
	for i := range 103 {
		u.commit(t, fmt.Sprintf("many-%03d", i), "inv", map[int32]int64{0: 100})
	}
	q := openQueue(t, configOf(brokers, []string{"inv"}, []string{"/^many-/"}))
	b, err := probetest.SampleIn(t, q, 10*time.Second)
	if err == nil || !strings.Contains(err.Error(), "103 consumer groups match, and only the first 100 by name are watched") || b.Complete {
		t.Errorf("complete %v, error %v", b.Complete, err)
	}
	if len(b.Groups) != 100 || b.Groups[0].Group != "many-000" || b.Groups[99].Group != "many-099" || len(b.Groups[99].Lag) != 1 {
		t.Errorf("%d groups", len(b.Groups))
	}
}

// TestKafkaFrozen stops a broker's process, lets it go on, and restarts it.
func TestKafkaFrozen(t *testing.T) {
	servers.NoLeaks(t)
	k := servers.Kafka(t)
	brokers := []string{k.Addr}
	func() { // without idle connections of its own
		u := newUser(t, brokers)
		defer u.Close()
		u.create(t, "inv", 2)
		u.produce(t, "inv", 0, 10)
		u.commit(t, "g", "inv", map[int32]int64{0: 4})
	}()
	open := &openConns{}
	q := openQueue(t, configOf(brokers, []string{"inv"}, []string{"g"}), open.dialer())
	probetest.WantDepth(t, sampleWell(t, q), 6)
	k.Freeze(t)
	for range 3 {
		b, err := probetest.SampleIn(t, q, 300*time.Millisecond)
		if err == nil || !strings.Contains(err.Error(), "no answer in time") || b.Complete || b.Depth.Known {
			t.Errorf("a frozen broker: complete %v, depth %+v, error %v", b.Complete, b.Depth, err)
		}
		if b.BrokersUp != 0 || b.BrokersDown != 1 {
			t.Errorf("brokers %d up, %d down", b.BrokersUp, b.BrokersDown)
		}
	}
	servers.Eventually(t, "no connection is left to a broker that does not answer", func() bool { return open.count() == 0 })
	k.Thaw(t)
	servers.Eventually(t, "the broker answers", func() bool { b, _ := probetest.SampleIn(t, q, 2*time.Second); return b.BrokersUp == 1 })
	probetest.WantDepth(t, sampleWell(t, q), 6)

	k.Stop()
	b, err := probetest.SampleIn(t, q, 2*time.Second)
	if err == nil || b.BrokersUp != 0 || b.BrokersDown != 1 {
		t.Errorf("a stopped broker: %d up, %d down, error %v", b.BrokersUp, b.BrokersDown, err)
	}
	k.Restart(t)
	servers.Eventually(t, "all is learned after the restart", func() bool { _, err := probetest.SampleIn(t, q, 5*time.Second); return err == nil })
	b = sampleWell(t, q)
	probetest.WantDepth(t, b, 6)
	if b.BrokersUp != 1 || b.BrokersDown != 0 {
		t.Errorf("after the restart: %d up, %d down", b.BrokersUp, b.BrokersDown)
	}
	k.Freeze(t)
	began := time.Now()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = q.Sample(context.Background())
	}()
	servers.Eventually(t, "a sampling is under way", func() bool {
		idle := q.mu.TryLock()
		if idle {
			q.mu.Unlock()
		}
		return !idle
	})
	q.Close()
	<-ended
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("Close with a frozen broker took %v", took)
	}
	servers.Eventually(t, "no connection is left after Close", func() bool { return open.count() == 0 })
}

// openConns counts connections that are open.
type openConns struct {
	mu   sync.Mutex
	open map[net.Conn]bool
}

type countedConn struct {
	net.Conn
	of *openConns
}

func (c *countedConn) Close() error {
	c.of.mu.Lock()
	delete(c.of.open, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

func (o *openConns) dialer() kgo.Opt {
	return kgo.Dialer(func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, nil, network, address)
		if err != nil {
			return nil, err
		}
		counted := &countedConn{c, o}
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.open == nil {
			o.open = map[net.Conn]bool{}
		}
		o.open[counted] = true
		return counted, nil
	})
}

func (o *openConns) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.open)
}
