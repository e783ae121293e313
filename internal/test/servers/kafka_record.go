package servers

import (
	"context"
	"fmt"
	"hash/crc32"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ProduceAt writes a record whose CreateTime is any number, as producers do that take it for another unit. The client's own
// records hold times.
func ProduceAt(ctx context.Context, client *kgo.Client, topic string, partition int32, at int64) error {
	record := kmsg.Record{Value: []byte("x")}
	record.Length = int32(len(record.AppendTo(nil))) - 1 // itself takes a byte
	batch := kmsg.RecordBatch{
		PartitionLeaderEpoch: -1, Magic: 2, FirstTimestamp: at, MaxTimestamp: at, ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1,
		NumRecords: 1, Records: record.AppendTo(nil),
	}
	batch.Length = int32(len(batch.AppendTo(nil))) - 12
	batch.CRC = int32(crc32.Checksum(batch.AppendTo(nil)[21:], crc32.MakeTable(crc32.Castagnoli)))
	topics, err := kadm.NewClient(client).ListTopics(ctx, topic)
	if err != nil {
		return err
	}
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = -1, 5000
	one := kmsg.NewProduceRequestTopicPartition()
	one.Partition, one.Records = partition, batch.AppendTo(nil)
	of := kmsg.NewProduceRequestTopic()
	of.Topic, of.TopicID, of.Partitions = topic, topics[topic].ID, append(of.Partitions, one)
	req.Topics = append(req.Topics, of)
	got, err := req.RequestWith(ctx, client)
	if err != nil {
		return err
	}
	if err := kerr.ErrorForCode(got.Topics[0].Partitions[0].ErrorCode); err != nil {
		return fmt.Errorf("%s, partition %d: %w", topic, partition, err)
	}
	return nil
}
