package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cacheinv/cacheinv_exporter/internal/pause"
)

const (
	topic      = "cache-invalidation"
	group      = "inv-processors"
	listQueue  = "invalidation_queue"
	partitions = 3

	listCapacity = 20_000
	// topicLimit ends a backlog, so that a demo that is left running stays small.
	topicLimit = 60_000

	floodEvery = 100 * time.Millisecond
	floodBatch = 100 // 1,000/s
	// slowStep between two messages of a consumer that fell behind: 234/min.
	slowStep = time.Minute / 234

	// loopCopies go around, once in loopEvery: at most 500/s.
	loopCopies = 20
	loopEvery  = 40 * time.Millisecond

	// keepProcessed is how many processed messages a partition keeps.
	keepProcessed = 2000
	trimEvery     = 10 * time.Second
)

// message is an invalidation.
type message struct {
	Key     string `json:"key"`
	Version int64  `json:"version"`
	// TS is when it was published, in milliseconds since 1970.
	TS int64 `json:"ts"`
}

func (m message) encode() []byte {
	m.TS = time.Now().UnixMilli()
	b, err := json.Marshal(m)
	if err != nil {
		panic(err) // of strings and integers: impossible
	}
	return b
}

// queues carries each invalidation twice: in a Kafka topic and in a Redis list.
type queues struct {
	brokers  []string
	cluster  *kfake.Cluster
	producer *kgo.Client
	consumer *kgo.Client
	admin    *kadm.Client
	list     *redisServer
	// processor counts what was processed.
	processor *processor

	// slow: the topic's consumer processes 234 messages a minute.
	slow atomic.Bool
	// looping: the consumer publishes loopKey again.
	looping atomic.Bool
	backlog atomic.Int64 // of the topic
}

func startQueues(ctx context.Context, list *redisServer, p *processor) (*queues, error) {
	// Small segments let go of the memory of what was processed.
	cluster, err := kfake.NewCluster(kfake.NumBrokers(3), kfake.SeedTopics(partitions, topic),
		kfake.BrokerConfigs(map[string]string{"log.segment.bytes": "65536"}))
	if err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	q := &queues{cluster: cluster, brokers: cluster.ListenAddrs(), list: list, processor: p}
	if err := q.connect(ctx); err != nil {
		q.close()
		return nil, fmt.Errorf("kafka: %w", err)
	}
	return q, nil
}

func (q *queues) connect(ctx context.Context) (err error) {
	q.producer, err = kgo.NewClient(kgo.SeedBrokers(q.brokers...), kgo.DefaultProduceTopic(topic), kgo.ClientID("demo-writer"),
		kgo.ProducerLinger(time.Millisecond), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		return err
	}
	q.admin = kadm.NewClient(q.producer)
	// The group has committed everywhere from the first moment on, so that its lag is known.
	start := kadm.Offsets{}
	for p := range int32(partitions) {
		start.AddOffset(topic, p, 0, -1)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := q.admin.CommitAllOffsets(ctx, group, start); err != nil {
		return err
	}
	q.consumer, err = kgo.NewClient(kgo.SeedBrokers(q.brokers...), kgo.ConsumeTopics(topic), kgo.ConsumerGroup(group),
		kgo.ClientID("demo-processor"), kgo.DisableAutoCommit(), kgo.FetchMaxWait(500*time.Millisecond),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	return err
}

func (q *queues) close() {
	if q.consumer != nil {
		q.consumer.Close()
	}
	if q.producer != nil {
		q.producer.Close()
	}
	q.cluster.Close()
}

// publish puts a message into both queues, and tells the instances.
func (q *queues) publish(ctx context.Context, m message) {
	q.produce(ctx, m)
	q.list.push(string(m.encode()))
	q.list.mini.Publish(channel, string(m.encode()))
}

func (q *queues) produce(ctx context.Context, m message) {
	q.backlog.Add(1)
	q.producer.TryProduce(ctx, &kgo.Record{Key: []byte(m.Key), Value: m.encode()}, func(_ *kgo.Record, err error) {
		if err != nil {
			q.backlog.Add(-1)
		}
	})
}

// flood publishes 1,000 invalidations a second to the topic, as a bulk import does, up to a limit. The list is left alone: two queues
// that back up are two pages.
func (q *queues) flood(ctx context.Context) {
	n := 0
	for range turns(ctx, floodEvery) {
		for range floodBatch {
			if q.backlog.Load() >= topicLimit {
				break
			}
			n++
			q.produce(ctx, message{Key: productKey(100_000 + n%50_000), Version: int64(1 + n/50_000)})
		}
	}
}

// startLoop lets the consumer publish the message again each time that it sees it.
func (q *queues) startLoop(ctx context.Context, m message) {
	q.looping.Store(true)
	for range loopCopies {
		q.produce(ctx, m)
	}
}

// consumeTopic processes the topic. The caches were written at once with the database, so there is nothing to delete.
func (q *queues) consumeTopic(ctx context.Context) {
	for ctx.Err() == nil {
		limit := 500
		if q.slow.Load() {
			limit = 1
		}
		fetches := q.consumer.PollRecords(ctx, limit)
		records := fetches.Records()
		if len(records) == 0 {
			pause.For(ctx, 20*time.Millisecond) // an error that the client mends by itself
			continue
		}
		q.backlog.Add(-int64(len(records)))
		q.processor.succeeded.Add(int64(len(records)))
		looped := q.again(ctx, records)
		if err := q.consumer.CommitRecords(ctx, records...); err != nil {
			continue // the next commit says the same, and more
		}
		switch {
		case limit == 1:
			pause.For(ctx, slowStep)
		case looped:
			pause.For(ctx, loopEvery)
		}
	}
}

// again is the loop's fault: what was processed is published once more, at no higher version.
func (q *queues) again(ctx context.Context, records []*kgo.Record) (looped bool) {
	if !q.looping.Load() {
		return false
	}
	for _, r := range records {
		var m message
		if string(r.Key) == loopKey && json.Unmarshal(r.Value, &m) == nil {
			q.produce(ctx, m)
			looped = true
		}
	}
	return looped
}

// consumeList processes the list.
func (q *queues) consumeList(ctx context.Context) {
	for pause.For(ctx, 50*time.Millisecond) {
		for q.list.pop() {
			continue
		}
	}
}

// trim deletes what has long been processed, never what has not.
func (q *queues) trim(ctx context.Context) {
	for pause.For(ctx, trimEvery) {
		committed, err := q.admin.FetchOffsets(ctx, group)
		if err != nil {
			continue // next time
		}
		starts, err := q.admin.ListStartOffsets(ctx, topic)
		if err != nil {
			continue
		}
		old := kadm.Offsets{}
		committed.Each(func(o kadm.OffsetResponse) {
			start, ok := starts.Lookup(o.Topic, o.Partition)
			if to := o.At - keepProcessed; ok && o.Err == nil && start.Err == nil && to > start.Offset {
				old.AddOffset(o.Topic, o.Partition, to, -1)
			}
		})
		if len(old) > 0 {
			_, _ = q.admin.DeleteRecords(ctx, old) // next time, if it fails
		}
	}
}
