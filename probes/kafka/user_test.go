package kafka

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

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
	u.createWith(t, topic, partitions, nil)
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

func (u *user) write(t *testing.T, records ...*kgo.Record) {
	t.Helper()
	if err := u.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

func (u *user) createWith(t *testing.T, topic string, partitions int32, configs map[string]*string) {
	t.Helper()
	tried := false
	servers.Eventually(t, "the topic is made", func() bool { // a broker that has just begun may hang up on who comes first
		r, err := u.admin.CreateTopic(t.Context(), partitions, 1, configs, topic)
		err = cmp.Or(err, r.Err)
		made := err == nil || tried && errors.Is(err, kerr.TopicAlreadyExists)
		tried = true
		return made
	})
	servers.Eventually(t, "the topic has leaders", func() bool {
		got, err := u.admin.ListEndOffsets(t.Context(), topic)
		return err == nil && got.Error() == nil && len(got[topic]) == int(partitions)
	})
}

// transaction writes to a partition, and ends as given.
func (u *user) transaction(t *testing.T, commit kgo.TransactionEndTry, records ...*kgo.Record) {
	t.Helper()
	if err := u.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	u.write(t, records...)
	if err := u.EndTransaction(t.Context(), commit); err != nil {
		t.Fatal(err)
	}
}
