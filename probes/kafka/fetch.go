package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/message"
)

const (
	// kafkaFetchBytes of records are read from a broker for each purpose, lag and newest messages, in a sampling: one
	// request each. A batch that is larger by itself comes whole, where it is the first.
	kafkaFetchBytes = 1 << 20
	// kafkaUnpacked bounds what one partition's records take once they are decompressed.
	kafkaUnpacked = 4 << 20
)

// look is what to read of one partition.
type look struct {
	p      *partition
	log    *partitionLog
	offset int64
	// most bytes to get.
	most int32
	// estimated: something is known already. open: a transaction is open there.
	estimated, open bool
}

// remember the ends of this sampling, and forget partitions that are gone.
func (s *sampling) remember(now int64) {
	s.q.sampling++
	for id, p := range s.partitions {
		l := s.q.logs[id]
		if l == nil || l.topic != p.topicID {
			l = newPartitionLog(p.topicID)
			s.q.logs[id] = l
		}
		if p.end.err == nil {
			l.saw(p.end.offset, now)
		}
		l.forget(s.q.sampling)
	}
	if s.hidden {
		return
	}
	maps.DeleteFunc(s.q.logs, func(id probes.Partition, _ *partitionLog) bool { return s.partitions[id] == nil })
	topics := map[string]bool{}
	for id := range s.partitions {
		topics[id.Topic] = true
	}
	maps.DeleteFunc(s.q.refused, func(topic string, _ bool) bool { return !topics[topic] })
	maps.DeleteFunc(s.q.batches.by, func(topic string, _ int32) bool { return !topics[topic] })
}

// readRecords reads the records at the commits where that is not known yet, and the newest messages: one request each to
// a broker. What fails here costs the partitions of that broker their times, and is no fault of the sampling.
func (s *sampling) readRecords(ctx context.Context) {
	ctx, done := partOf(ctx, 2)
	defer done()
	lags, newest := s.lagLooks(), s.newestLooks()
	s.read = map[probes.Partition][]message.Message{}
	var mu sync.Mutex // guards s.read and the faults
	refused := map[string]error{}
	asked := map[string]bool{}
	var asking sync.WaitGroup
	for id, b := range s.brokers {
		if len(lags[id])+len(newest[id]) == 0 {
			continue
		}
		asking.Go(func() {
			for _, one := range []struct {
				looks []look
				open  bool
				take  func(look, *kmsg.FetchResponseTopicPartition, kgo.Decompressor)
			}{
				{lags[id], len(lags[id]) > 0 && lags[id][0].open, s.takeHead},
				{newest[id], false, func(l look, told *kmsg.FetchResponseTopicPartition, d kgo.Decompressor) {
					messages := s.takeNewest(l, told, d)
					mu.Lock()
					defer mu.Unlock()
					s.read[l.p.Partition] = messages
				}},
			} {
				err := s.fetch(ctx, b, one.looks, one.open, func(l look, told *kmsg.FetchResponseTopicPartition, d kgo.Decompressor) {
					err := codeFault(told.ErrorCode)
					mu.Lock()
					asked[l.p.Topic] = true
					if told.ErrorCode == kerr.TopicAuthorizationFailed.Code {
						refused[l.p.Topic] = err
					}
					mu.Unlock()
					if err == nil {
						one.take(l, told, d)
					}
				})
				if err != nil {
					s.q.log.Debug("records could not be read", "broker", b.id, "address", b.address, "error", err)
					return
				}
			}
		})
	}
	asking.Wait()
	s.sampleKnown = len(s.read) > 0 || s.allEmpty()
	s.tellRefused(asked, refused)
}

// tellRefused logs once that a topic's records may not be read.
func (s *sampling) tellRefused(asked map[string]bool, refused map[string]error) {
	for topic := range asked {
		if refused[topic] == nil {
			delete(s.q.refused, topic)
		} else if !s.q.refused[topic] {
			s.q.refused[topic] = true
			s.q.log.Warn("the topic's records may not be read, so that lag in seconds is an estimate and no newest messages are "+
				"looked at; grant the exporter's user READ on the topic", "topic", topic)
		}
	}
}

// lagLooks are the oldest messages that groups have not committed and of which no record was read, by leader. Of a
// partition one can be asked for at a time.
func (s *sampling) lagLooks() map[int32][]look {
	now := time.Now().UnixMilli()
	best := map[probes.Partition]look{}
	for _, g := range s.groups {
		if g.offsets.err != nil {
			continue
		}
		for id, commit := range g.commits {
			p := s.partitions[id]
			if p == nil {
				continue
			}
			if left, ok := p.lag(commit); !ok || left == 0 {
				continue
			}
			l := s.q.logs[id]
			w := l.waitingAt(max(commit, p.start.offset), p.end.offset, now, s.q.sampling)
			if w.sure {
				continue
			}
			_, known := l.headAt(w.from)
			one := look{p: p, log: l, offset: w.from, estimated: w.at != 0, open: l.openAt == w.from && !known}
			if before, ok := best[id]; !ok || compareLooks(one, before) < 0 {
				best[id] = one
			}
		}
	}
	out := map[int32][]look{}
	for _, one := range best {
		out[one.p.leader] = append(out[one.p.leader], one)
	}
	for leader, looks := range out {
		slices.SortFunc(looks, func(a, b look) int {
			return cmp.Or(cmp.Compare(a.log.tried, b.log.tried), compareLooks(a, b), comparePartitions(a.p.Partition, b.p.Partition))
		})
		slices.SortStableFunc(looks, func(a, b look) int { return compareBools(a.estimated, b.estimated) })
		// Transactions that are open are read in another way, by a request of their own.
		looks = slices.DeleteFunc(looks, func(l look) bool { return l.open != looks[0].open })
		looks = fitting(looks)
		for _, l := range looks {
			l.log.tried = s.q.sampling
		}
		out[leader] = looks
	}
	return out
}

// compareLooks puts first what is wholly unknown, then the oldest.
func compareLooks(a, b look) int {
	return cmp.Or(compareBools(a.estimated, b.estimated), cmp.Compare(a.offset, b.offset))
}

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

// fitting shares the bytes among the looks, and leaves out those for which none are left.
func fitting(looks []look) []look {
	share := int32(kafkaFetchBytes / max(len(looks), 1))
	left := int32(kafkaFetchBytes)
	for i := range looks {
		looks[i].most = min(max(looks[i].log.need, share), kafkaFetchBytes)
		if left -= looks[i].most; left < 0 && i > 0 {
			return looks[:i]
		}
	}
	return looks
}

// fetch asks one broker for records and gives take each partition's answer, in the order of the looks. open: records of
// open transactions too.
func (s *sampling) fetch(
	ctx context.Context, b broker, looks []look, open bool, take func(look, *kmsg.FetchResponseTopicPartition, kgo.Decompressor),
) error {
	if len(looks) == 0 {
		return nil
	}
	peer, err := s.peer(b)
	if err != nil {
		return err
	}
	if s.q.budget != nil {
		if err := s.q.budget.Acquire(ctx, kafkaFetchBytes); err != nil {
			return fmt.Errorf("too much is held in memory: %w", err)
		}
		defer s.q.budget.Release(kafkaFetchBytes)
	}
	answer, err := fetchRequest(looks, open).RequestWith(ctx, peer)
	if err == nil {
		err = codeFault(answer.ErrorCode)
	}
	if err != nil {
		return err
	}
	told := map[probes.Partition]*kmsg.FetchResponseTopicPartition{}
	for i := range answer.Topics {
		t := &answer.Topics[i]
		for j := range t.Partitions {
			told[probes.Partition{Topic: t.Topic, ID: t.Partitions[j].Partition}] = &t.Partitions[j]
		}
	}
	left := int32(kafkaFetchBytes)
	for _, l := range looks {
		p := told[l.p.Partition]
		if p == nil {
			continue
		}
		if p.ErrorCode == 0 {
			s.q.batches.fits(l, p, left)
		}
		left -= int32(min(len(p.RecordBatches), kafkaFetchBytes))
		take(l, p, peer.decompressor())
	}
	return nil
}

// fetchRequest keeps the order of the looks: brokers serve partitions in the order in which they are named, and give the
// first that has any record a whole batch of whatever size.
func fetchRequest(looks []look, open bool) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes = 0, 0, kafkaFetchBytes
	req.SessionEpoch = -1 // no session
	if !open {
		req.IsolationLevel = 1 // what is committed
	}
	for _, l := range looks {
		one := kmsg.NewFetchRequestTopicPartition()
		one.Partition, one.FetchOffset, one.PartitionMaxBytes = l.p.ID, l.offset, l.most
		if n := len(req.Topics); n == 0 || req.Topics[n-1].Topic != l.p.Topic {
			t := kmsg.NewFetchRequestTopic()
			t.Topic = l.p.Topic
			req.Topics = append(req.Topics, t)
		}
		t := &req.Topics[len(req.Topics)-1]
		t.Partitions = append(t.Partitions, one)
	}
	return req
}

// batches are the sizes of batches as last seen in each topic.
type batches struct {
	mu sync.Mutex
	by map[string]int32
}

// fits learns how large the partition's batches are. An empty answer, where bytes were left, means that the next batch
// is larger than what was asked for: as large as the topic's others, or larger than those too.
func (k *batches) fits(asked look, told *kmsg.FetchResponseTopicPartition, left int32) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(told.RecordBatches) > 0 {
		if first := firstBatch(told.RecordBatches); first > 0 {
			asked.log.need = max(kafkaLeast, min(first+first/4, kafkaFetchBytes))
			k.by[asked.p.Topic] = asked.log.need
		}
		return
	}
	stable := told.HighWatermark
	if !asked.open && told.LastStableOffset >= 0 {
		stable = told.LastStableOffset
	}
	if stable <= asked.offset || left < asked.most {
		return
	}
	larger := min(asked.most, kafkaFetchBytes/4) * 4
	if others := k.by[asked.p.Topic]; others > asked.most {
		larger = others
	}
	asked.log.need = max(asked.log.need, larger)
}

// firstBatch is the size of the first batch of an answer; 0: it is no batch.
func firstBatch(b []byte) int32 {
	if len(b) < 12 {
		return 0
	}
	size := int64(uint32(b[8])<<24|uint32(b[9])<<16|uint32(b[10])<<8|uint32(b[11])) + 12
	if size > 1<<30 {
		return 0
	}
	return int32(size)
}

// decompressor that gives up at kafkaUnpacked bytes in all.
func (p *peer) decompressor() kgo.Decompressor {
	d, _ := p.client.OptValue(kgo.WithDecompressor).(kgo.Decompressor)
	return &boundedDecompressor{inner: d, left: kafkaUnpacked}
}

// boundedDecompressor bounds what all batches of a partition take together; the inner one what each does.
type boundedDecompressor struct {
	inner kgo.Decompressor
	left  int
}

func (d *boundedDecompressor) Decompress(src []byte, codec kgo.CompressionCodecType) ([]byte, error) {
	if d.inner == nil || d.left <= 0 {
		return nil, kgo.ErrMaxDecompress
	}
	out, err := d.inner.Decompress(src, codec)
	d.left -= len(out)
	return out, err
}

// records of an answer from the look's offset on, and the offset that comes after them.
func (l look) records(told *kmsg.FetchResponseTopicPartition, d kgo.Decompressor) (kgo.FetchPartition, int64) {
	isolation := kgo.ReadCommitted()
	if l.open {
		isolation = kgo.ReadUncommitted()
	}
	return kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{
		Offset: l.offset, IsolationLevel: isolation, Topic: l.p.Topic, Partition: l.p.ID,
	}, told, d, nil)
}

// takeHead learns when the oldest message at or after a commit was written.
func (s *sampling) takeHead(l look, told *kmsg.FetchResponseTopicPartition, d kgo.Decompressor) {
	end := l.p.end.offset
	h := logHead{from: l.offset, end: end, used: s.q.sampling}
	if len(told.RecordBatches) == 0 {
		stuck := !l.open && told.LastStableOffset >= 0 && told.LastStableOffset <= l.offset && told.HighWatermark > l.offset
		switch known, ok := l.log.headAt(l.offset); {
		case stuck && ok && known.open: // it still is
			known.end = end
			l.log.keep(known)
		case stuck:
			l.log.openAt = l.offset
		}
		return
	}
	got, next := l.records(told, d)
	switch {
	case len(got.Records) > 0:
		first := got.Records[0]
		h.found, h.to, h.at = true, first.Offset, recordTime(first.Timestamp.UnixMilli())
		h.open = l.open
		if l.open && told.LastStableOffset > h.to { // decided meanwhile: read it as what it became
			l.log.openAt = -1
			return
		}
	case errors.As(got.Err, new(*kgo.ErrDecompressTooLarge)), errors.Is(got.Err, kgo.ErrMaxDecompress):
		// The batch itself tells when its first record was written.
		var b kmsg.RecordBatch
		if err := b.ReadFrom(told.RecordBatches); err != nil || b.Magic != 2 {
			return
		}
		h.found, h.to, h.at = true, max(l.offset, b.FirstOffset), recordTime(b.FirstTimestamp)
		if b.Attributes&8 != 0 { // the broker's time, one for all
			h.at = recordTime(b.MaxTimestamp)
		}
	case next > l.offset: // nothing but markers, aborted messages, or what compaction left
		h.to = next
	default:
		return
	}
	if !l.open {
		l.log.openAt = -1
	}
	l.log.keep(h)
}

// headAt is the head that holds for an offset.
func (l *partitionLog) headAt(offset int64) (logHead, bool) {
	i, ok := l.floor(offset)
	if !ok || !l.heads[i].found || l.heads[i].to < offset {
		return logHead{}, false
	}
	return l.heads[i], true
}

// recordTime is a record's time in milliseconds; 0 where it has none that can be true.
func recordTime(ms int64) int64 {
	if ms < message.Earliest.UnixMilli() {
		return 0
	}
	return ms
}

// lagSeconds of a group that committed up to an offset, which is behind the log's end.
func (s *sampling) lagSeconds(p *partition, commit, now int64) (float64, bool) {
	l := s.q.logs[p.Partition]
	w := l.waitingAt(max(commit, p.start.offset), p.end.offset, now, s.q.sampling)
	switch {
	case w.none:
		return 0, true
	case w.at == 0:
		return 0, false
	}
	return (time.Duration(max(0, now-w.at)) * time.Millisecond).Seconds(), true
}
