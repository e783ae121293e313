package acceptance

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// kafkaAdmin of a broker, closed with the test.
func kafkaAdmin(t testing.TB, broker string) *kadm.Client {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(broker))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return kadm.NewClient(client)
}

// member of a group, which reads and commits by itself until it is stopped.
func member(t testing.TB, broker, group, topic string) (stop func()) {
	t.Helper()
	return memberThat(t, broker, group, topic, func(*kgo.Record) {})
}

// memberThat handles each record before it commits it.
func memberThat(t testing.TB, broker, group, topic string, handle func(*kgo.Record)) (stop func()) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic),
		kgo.AutoCommitInterval(100*time.Millisecond), kgo.HeartbeatInterval(200*time.Millisecond), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			client.PollFetches(ctx).EachRecord(handle)
		}
	}()
	stop = func() {
		cancel()
		<-ended
		client.Close()
	}
	t.Cleanup(stop)
	return stop
}

// likeKafkasTool compares the lag of a group with what kafka-consumer-groups prints, and allows nothing below 0.
func (p page) likeKafkasTool(k *servers.KafkaServer, queue, group string) {
	p.t.Helper()
	rows := 0
	for line := range strings.Lines(k.Tool(p.t, servers.KafkaGroups, "--describe", "--group", group)) {
		f := strings.Fields(line)
		if len(f) < 6 || f[0] != group || f[5] == "-" {
			continue
		}
		lag, err := strconv.ParseFloat(f[5], 64)
		if err != nil {
			p.t.Fatalf("%q: %v", line, err)
		}
		rows++
		p.want(lag, "consumer_group_lag", "queue", queue, "group", group, "topic", f[1], "partition", f[2])
	}
	if n := p.number("consumer_group_lag", "queue", queue, "group", group); n != rows || n == 0 {
		p.t.Errorf("%d partitions have a lag, kafka-consumer-groups prints %d", n, rows)
	}
}

func (p page) neverNegative() {
	p.t.Helper()
	for _, family := range []string{"consumer_group_lag", "consumer_group_lag_seconds", "queue_depth", "queue_oldest_message_age_seconds"} {
		p.each(family, func(labels map[string]string, v float64) {
			if v < 0 {
				p.t.Errorf("%s%v is %v", family, labels, v)
			}
		})
	}
}

// TestKafkaThroughItsLife scrapes while a real Kafka is stopped and started, its group rebalanced, its log truncated past
// the commit, offsets reset back, its topic deleted and made anew, and its process frozen.
func TestKafkaThroughItsLife(t *testing.T) {
	t.Parallel()
	k := servers.Kafka(t)
	admin := kafkaAdmin(t, k.Addr)
	create := func() {
		t.Helper()
		servers.Eventually(t, "the topic is made", func() bool {
			r, err := admin.CreateTopic(t.Context(), 4, 1, nil, "inv")
			return err == nil && r.Err == nil
		})
	}
	create()
	produce(t, k.Addr, "inv", 4, 20)
	commit(t, k.Addr, "g", "inv", map[int32]int64{0: 5, 1: 5, 2: 5, 3: 20})
	opt := options()
	opt.Env.SampleMessages = 1000
	e := startWith(t, opt, fmt.Sprintf("queues:\n  - {name: inv, kafka: {brokers: [\"%s\"], topics: [inv], groups: [g]}}\n", k.Addr))
	scrape := func() page {
		t.Helper()
		p := e.inTime()
		p.neverNegative()
		return p
	}
	up := func(what string) page {
		t.Helper()
		servers.Eventually(t, what, func() bool { return scrape().sum("queue_up") == 1 })
		return scrape()
	}
	up("the queue is up").likeKafkasTool(k, "inv", "g")

	// Frozen: absent, not healthy, and in time.
	k.Freeze(t)
	for range 2 {
		p := scrape()
		p.want(0, "queue_up", "queue", "inv")
		if n := p.number("consumer_group_lag") + p.number("consumer_group_lag_seconds") + p.number("queue_depth"); n != 0 {
			t.Errorf("%d series of a queue that does not answer", n)
		}
	}
	k.Thaw(t)
	up("the queue is up after it was frozen").want(45, "queue_depth", "queue", "inv")

	k.Stop()
	p := scrape()
	p.want(0, "queue_up", "queue", "inv")
	p.want(1, "queue_brokers", "queue", "inv", "state", "down")
	k.Restart(t)
	up("the queue is up after the restart").likeKafkasTool(k, "inv", "g")

	// A group that is rebalanced by its second member, then by its leaving.
	stop := member(t, k.Addr, "g", "inv")
	servers.Eventually(t, "all is read", func() bool { return scrape().sum("queue_depth") == 0 })
	stopSecond := member(t, k.Addr, "g", "inv")
	servers.Eventually(t, "two members share the partitions", func() bool {
		p := scrape()
		return p.sum("consumer_group_members") == 2 && p.number("consumer_group_state", "state", "Stable") == 1
	})
	produce(t, k.Addr, "inv", 4, 10)
	stopSecond()
	servers.Eventually(t, "the first reads on alone", func() bool {
		p := scrape()
		return p.sum("consumer_group_members") == 1 && p.sum("queue_up") == 1 && p.sum("queue_depth") == 0
	})
	stop()
	servers.Eventually(t, "the group is empty", func() bool { return scrape().number("consumer_group_state", "state", "Empty") == 1 })
	processed := scrape().sum("consumer_group_processed_total", "group", "g")

	// Offsets reset back: the backlog is there again, and nothing more was processed.
	k.Tool(t, servers.KafkaGroups, "--group", "g", "--topic", "inv", "--reset-offsets", "--to-earliest", "--execute")
	p = scrape()
	p.want(120, "queue_depth", "queue", "inv")
	p.want(processed, "consumer_group_processed_total", "group", "g")
	p.want(4, "consumer_group_rewinds_total", "group", "g") // one for each partition
	p.want(120, "consumer_group_rewound_messages_total", "group", "g")
	p.want(0, "queue_lost_messages_total", "group", "g")
	p.likeKafkasTool(k, "inv", "g")

	// Truncated past the commit: the lag is what is left.
	truncate := kadm.Offsets{}
	truncate.AddOffset("inv", 0, 25, -1)
	truncate.AddOffset("inv", 1, 30, -1)
	if _, err := admin.DeleteRecords(t.Context(), truncate); err != nil {
		t.Fatal(err)
	}
	p = scrape()
	p.want(5, "consumer_group_lag", "partition", "0")
	p.want(0, "consumer_group_lag", "partition", "1")
	p.want(65, "queue_depth", "queue", "inv") // the tool counts what was deleted too
	p.want(55, "queue_lost_messages_total", "group", "g")
	scrape().want(55, "queue_lost_messages_total", "group", "g") // each once

	// Deleted and made anew: what it held is no backlog of the new one.
	if r, err := admin.DeleteTopic(t.Context(), "inv"); err != nil || r.Err != nil {
		t.Fatal(err, r.Err)
	}
	servers.Eventually(t, "the topic is gone", func() bool { return scrape().sum("queue_up") == 0 })
	create()
	produce(t, k.Addr, "inv", 4, 3)
	commit(t, k.Addr, "g", "inv", map[int32]int64{0: 1, 1: 3, 2: 0, 3: 0})
	p = up("the new topic is up")
	p.want(8, "queue_depth", "queue", "inv")
	p.want(4, "consumer_group_rewinds_total", "group", "g") // another log is no rewind
	p.want(55, "queue_lost_messages_total", "group", "g")
	p.likeKafkasTool(k, "inv", "g")
}

// A group that has committed nothing is the cause, and nothing else is, once messages are in the log; an empty log is well.
func TestDiagnoseAGroupWithoutCommits(t *testing.T) {
	t.Parallel()
	k := servers.Kafka(t)
	admin := kafkaAdmin(t, k.Addr)
	if _, err := admin.CreateTopic(t.Context(), 1, 1, nil, "inv"); err != nil {
		t.Fatal(err)
	}
	stop := member(t, k.Addr, "processors", "inv")
	cfg := func(group string) string {
		return fmt.Sprintf("queues:\n  - {name: q, kafka: {brokers: [%q], topics: [inv], groups: [%s]}}\n", k.Addr, group)
	}
	if code, d := diagnose(t, cfg("porcessors")); code != 0 {
		t.Errorf("an empty log: code %d, %s", code, *d.Verdict)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(k.Addr))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: "inv", Value: []byte("x")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	servers.Eventually(t, "the group has committed", func() bool {
		got, err := admin.FetchOffsets(t.Context(), "processors")
		return err == nil && len(got) > 0
	})
	stop()
	if code, d := diagnose(t, cfg("porcessors")); code != 1 || *d.Verdict != "queue" || !strings.Contains(fmt.Sprint(d.Steps), "porcessors has committed nothing") {
		t.Errorf("a group that does not exist: code %d, %s, %v", code, *d.Verdict, d.Steps)
	}
	if code, d := diagnose(t, cfg("processors")); code != 0 {
		t.Errorf("the group that has committed: code %d, %s, %v", code, *d.Verdict, d.Steps)
	}
	// Of its two topics one is made anew.
	renew := func() {
		t.Helper()
		servers.Eventually(t, "the topic is made", func() bool {
			r, err := admin.CreateTopic(t.Context(), 1, 1, nil, "renewed")
			return err == nil && r.Err == nil
		})
		produce(t, k.Addr, "renewed", 1, 3)
	}
	renew()
	commit(t, k.Addr, "processors", "renewed", map[int32]int64{0: 3})
	two := fmt.Sprintf("queues:\n  - {name: q, kafka: {brokers: [%q], topics: [inv, renewed], groups: [processors]}}\n", k.Addr)
	if code, d := diagnose(t, two); code != 0 {
		t.Errorf("two topics that are processed: code %d, %s, %v", code, *d.Verdict, d.Steps)
	}
	if _, err := admin.DeleteTopic(t.Context(), "renewed"); err != nil {
		t.Fatal(err)
	}
	renew()
	servers.Eventually(t, "the commits went with the topic", func() bool {
		got, err := admin.FetchOffsets(t.Context(), "processors")
		_, there := got.Lookup("renewed", 0)
		return err == nil && !there
	})
	code, d := diagnose(t, two)
	if want := "group processors has committed nothing in topic renewed, and 3 messages are in its log"; code != 1 || *d.Verdict != "queue" || !strings.Contains(d.evidence(), want) {
		t.Errorf("a topic made anew: code %d, %s, %s", code, *d.Verdict, d.evidence())
	}
	if !strings.Contains(*d.Next, "--group processors") {
		t.Errorf("next is %s", *d.Next)
	}
}
