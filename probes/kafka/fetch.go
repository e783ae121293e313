package kafka

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/message"
)

const (
	// maxFetchBytes of records are read from a broker in a sampling for each of two ends, lag and newest messages: one
	// request each. A batch that is larger by itself comes whole, where it is the first.
	maxFetchBytes = 1 << 20
	// maxUnpackedBytes bounds what one partition's records take once they are decompressed.
	maxUnpackedBytes = 4 << 20
	// maxRecords bounds how many records one partition gives: of each the library makes some hundred bytes, however small it is.
	maxRecords = 100_000
)

// partitionFetch is what to read of one partition.
type partitionFetch struct {
	p   *partition
	log *partitionLog
	// offset to read from.
	offset   int64
	maxBytes int32
	// estimated: there is an estimate already of when the record was written.
	estimated bool
	// readUncommitted: records of transactions that are still open are read too.
	readUncommitted bool
	// cursor of the partition, where the queue is followed, and the fetch is of what is new; nil: it is not.
	cursor *cursor
	// onward: it reads on from the cursor, and not from as far back as the newest messages are wanted.
	onward bool
	// covers all the same what the newest messages are wanted from.
	covers bool
	// first of a request: brokers give of it a batch of whatever size.
	first bool
}

// takeAnswer takes the records that one partition's fetch brought.
type takeAnswer func(f partitionFetch, answer *kmsg.FetchResponseTopicPartition, d kgo.Decompressor)

// readRecords reads the records at the commits where that is not known yet, and the newest messages, or all that came where the queue
// is followed: one request each to a broker. What fails here costs the partitions of that broker their times, and is no fault of the sampling.
func (s *sampling) readRecords(ctx context.Context) {
	ctx, done := withPart(ctx, 2)
	defer done()
	s.newestByPartition = make(map[probes.Partition][]message.Message, len(s.partitions))
	lags, newest := s.lagFetches(), s.followFetches(s.newestFetches())
	var mu sync.Mutex // guards s.newestByPartition, refused and tried
	refused := map[string]error{}
	tried := map[string]bool{}
	var requests sync.WaitGroup
	for id, b := range s.brokers {
		if len(lags[id])+len(newest[id]) == 0 {
			continue
		}
		s.beside(&requests, func() {
			for _, one := range []struct {
				fetches []partitionFetch
				take    takeAnswer
			}{
				{lags[id], s.takeNext},
				{newest[id], func(f partitionFetch, answer *kmsg.FetchResponseTopicPartition, d kgo.Decompressor) {
					s.takeNew(f, answer, d, &mu)
				}},
			} {
				err := s.fetch(ctx, b, one.fetches, func(f partitionFetch, answer *kmsg.FetchResponseTopicPartition, d kgo.Decompressor) {
					err := codeFault(answer.ErrorCode)
					mu.Lock()
					tried[f.p.Topic] = true
					if answer.ErrorCode == kerr.TopicAuthorizationFailed.Code {
						refused[f.p.Topic] = err
					}
					mu.Unlock()
					if err == nil {
						one.take(f, answer, d)
					}
				})
				if err != nil {
					s.q.log.Debug("records could not be read", "broker", b.id, "address", b.address, "error", err)
					return
				}
			}
		})
	}
	requests.Wait()
	s.newestKnown = len(s.newestByPartition) > 0 || s.allEmpty()
	s.logRefused(tried, refused)
}

// takeNew takes the newest messages, and hands on those that came where the queue is followed. mu guards s.newestByPartition.
func (s *sampling) takeNew(f partitionFetch, answer *kmsg.FetchResponseTopicPartition, d kgo.Decompressor, mu *sync.Mutex) {
	batches := answer.RecordBatches
	got, next := f.records(answer, d)
	if s.q.newest > 0 {
		messages := s.takeNewest(f, answer, got, next)
		mu.Lock()
		if f.cursor == nil || s.sampled[f.p.Partition] {
			s.newestByPartition[f.p.Partition] = messages
		}
		mu.Unlock()
	}
	if f.cursor != nil {
		s.takeFollowed(f, answer, batches, got.Records, next)
	}
}

// logRefused logs once that a topic's records may not be read, of the topics that were tried.
func (s *sampling) logRefused(tried map[string]bool, refused map[string]error) {
	for topic := range tried {
		if refused[topic] == nil {
			delete(s.q.refused, topic)
		} else if !s.q.refused[topic] {
			s.q.refused[topic] = true
			s.q.log.Warn("the topic's records may not be read, so that lag in seconds is an estimate, no newest messages are "+
				"looked at and no events checked; grant the exporter's user READ on the topic", "topic", topic)
		}
	}
}

// compareBools puts false before true.
func compareBools(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

func comparePartitions(a, b probes.Partition) int {
	return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.ID, b.ID))
}

// fitBytes shares maxFetchBytes among the fetches of one broker, and leaves out those for which no bytes are left.
func fitBytes(fetches []partitionFetch) []partitionFetch {
	share := int32(maxFetchBytes / max(len(fetches), 1))
	left := int32(maxFetchBytes)
	for i := range fetches {
		fetches[i].maxBytes = min(max(fetches[i].log.batchBytes, share), maxFetchBytes)
		if left -= fetches[i].maxBytes; left < 0 && i > 0 {
			return fetches[:i]
		}
	}
	return fetches
}

// fetch asks one broker for records, and gives take each partition's answer, in the order of the fetches.
func (s *sampling) fetch(ctx context.Context, b broker, fetches []partitionFetch, take takeAnswer) error {
	if len(fetches) == 0 {
		return nil
	}
	conn, err := s.conn(b)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	hold, err := s.q.budget.Hold(ctx, &s.q.holder, maxFetchBytes, func() { cancel(probes.ErrTooSlow) })
	if err != nil {
		return fmt.Errorf("too much is held in memory: %w", err)
	}
	defer hold.Release()
	response, err := newFetchRequest(fetches).RequestWith(ctx, conn)
	hold.Arrived()
	if err == nil {
		err = codeFault(response.ErrorCode)
	}
	if err != nil {
		return cmp.Or(tooSlow(ctx), err)
	}
	answers := map[probes.Partition]*kmsg.FetchResponseTopicPartition{}
	for i := range response.Topics {
		t := &response.Topics[i]
		for j := range t.Partitions {
			answers[probes.Partition{Topic: t.Topic, ID: t.Partitions[j].Partition}] = &t.Partitions[j]
		}
	}
	left := int32(maxFetchBytes)
	for _, f := range fetches {
		answer := answers[f.p.Partition]
		if answer == nil {
			continue
		}
		if answer.ErrorCode == 0 {
			s.q.batchSizes.learn(f, answer, left)
		}
		left -= int32(min(len(answer.RecordBatches), maxFetchBytes))
		take(f, answer, conn.decompressor())
	}
	return nil
}

// tooSlow is the error of a request that was given up because others needed its room; nil: it was not.
func tooSlow(ctx context.Context) error {
	if cause := context.Cause(ctx); errors.Is(cause, probes.ErrTooSlow) {
		return cause
	}
	return nil
}

// newFetchRequest keeps the order of the fetches: brokers serve partitions in the order in which they are named, and give the
// first that has any record a whole batch of whatever size. The isolation is the request's, so all fetches want the same one.
func newFetchRequest(fetches []partitionFetch) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes = 0, 0, maxFetchBytes
	req.SessionEpoch = -1 // no session
	if !fetches[0].readUncommitted {
		req.IsolationLevel = 1 // read committed
	}
	for _, f := range fetches {
		one := kmsg.NewFetchRequestTopicPartition()
		one.Partition, one.FetchOffset, one.PartitionMaxBytes = f.p.ID, f.offset, f.maxBytes
		if n := len(req.Topics); n == 0 || req.Topics[n-1].Topic != f.p.Topic {
			t := kmsg.NewFetchRequestTopic()
			t.Topic = f.p.Topic
			req.Topics = append(req.Topics, t)
		}
		t := &req.Topics[len(req.Topics)-1]
		t.Partitions = append(t.Partitions, one)
	}
	return req
}

// batchSizes are the bytes to ask for so that a batch fits, as last seen, by topic.
type batchSizes struct {
	mu sync.Mutex
	by map[string]int32
}

// learn how large the partition's batches are. left are the bytes that the broker could still give when it came to it. An
// empty answer, where bytes were left, means that the next batch is larger than what was asked for: as large as the topic's
// others, or larger than those too.
func (s *batchSizes) learn(f partitionFetch, answer *kmsg.FetchResponseTopicPartition, left int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(answer.RecordBatches) > 0 {
		if first := firstBatchBytes(answer.RecordBatches); first > 0 {
			f.log.batchBytes = max(leastBytes, min(first+first/4, maxFetchBytes))
			s.by[f.p.Topic] = f.log.batchBytes
		}
		return
	}
	if f.stableEnd(answer) <= f.offset || left < f.maxBytes {
		return
	}
	larger := min(f.maxBytes, maxFetchBytes/4) * 4
	if others := s.by[f.p.Topic]; others > f.maxBytes {
		larger = others
	}
	f.log.batchBytes = max(f.log.batchBytes, larger)
}

// firstBatchBytes is the size of the first batch of an answer, from its header; 0: it is no batch.
func firstBatchBytes(b []byte) int32 {
	if len(b) < 12 {
		return 0
	}
	size := int64(uint32(b[8])<<24|uint32(b[9])<<16|uint32(b[10])<<8|uint32(b[11])) + 12
	if size > 1<<30 {
		return 0
	}
	return int32(size)
}

// decompressor gives up at maxUnpackedBytes in all.
func (c *brokerConn) decompressor() kgo.Decompressor {
	return &boundedDecompressor{inner: c.unpack, left: maxUnpackedBytes}
}

// boundedDecompressor bounds what all batches of a partition take together; the inner one bounds each batch.
type boundedDecompressor struct {
	inner kgo.Decompressor
	// left bytes may still come.
	left int
}

// Decompress implements kgo.Decompressor.
func (d *boundedDecompressor) Decompress(src []byte, codec kgo.CompressionCodecType) ([]byte, error) {
	if d.inner == nil || d.left <= 0 {
		return nil, kgo.ErrMaxDecompress
	}
	out, err := d.inner.Decompress(src, codec)
	d.left -= len(out)
	return out, err
}

// errManyRecords is the error of a partition whose next batch has more than maxRecords.
var errManyRecords = fmt.Errorf("a batch has more than %d records", maxRecords)

const (
	// batchHeader is how long a batch is at least, where its format is version 2.
	batchHeader = 61
	// batchCount is where in it the number of its records stands, and batchMagic its format.
	batchCount, batchMagic = 57, 16
)

// fewRecords gives the first batches of an answer, which have no more than most records together.
func fewRecords(batches []byte, most int64) []byte {
	for at := 0; ; {
		rest := batches[at:]
		size := int(firstBatchBytes(rest))
		if size == 0 || size > len(rest) { // the end, or a part
			return batches
		}
		if size >= batchHeader && rest[batchMagic] == 2 { // another costs no more than it has bytes
			if most -= int64(binary.BigEndian.Uint32(rest[batchCount:])); most < 0 {
				return batches[:at]
			}
		}
		at += size
	}
}

// records of an answer from the fetch's offset on, and the offset that comes after them.
func (f partitionFetch) records(answer *kmsg.FetchResponseTopicPartition, d kgo.Decompressor) (kgo.FetchPartition, int64) {
	if answer.RecordBatches = fewRecords(answer.RecordBatches, maxRecords); len(answer.RecordBatches) == 0 {
		return kgo.FetchPartition{Err: errManyRecords}, f.offset
	}
	isolation := kgo.ReadCommitted()
	if f.readUncommitted {
		isolation = kgo.ReadUncommitted()
	}
	return kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{
		Offset: f.offset, IsolationLevel: isolation, Topic: f.p.Topic, Partition: f.p.ID,
	}, answer, d, nil)
}
