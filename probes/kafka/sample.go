package kafka

import (
	"cmp"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/message"
)

const (
	// kafkaSampled partitions of a broker give their newest messages in one sampling; the others follow in the next ones.
	kafkaSampled = kafkaFetchBytes / kafkaLeast
	// kafkaStretched bounds how far back a look goes for each message that is wanted.
	kafkaStretched = 64
)

// newestLooks are the partitions whose newest messages are read, by leader: all of them, each the same number. Where that
// is more than the messages or a broker's share, those that have new messages come before the rest, in rotation.
func (s *sampling) newestLooks() map[int32][]look {
	if s.q.newest <= 0 {
		return nil
	}
	var all []look
	for id, p := range s.partitions {
		if p.end.err == nil && p.start.err == nil && p.end.offset > p.start.offset {
			all = append(all, look{p: p, log: s.q.logs[id]})
		}
	}
	slices.SortFunc(all, func(a, b look) int {
		return cmp.Or(cmp.Compare(a.log.sampled, b.log.sampled), comparePartitions(a.p.Partition, b.p.Partition))
	})
	if len(all) > s.q.newest || len(all) > kafkaSampled {
		moved := map[probes.Partition]bool{}
		for _, l := range all {
			moved[l.p.Partition] = l.log.moved()
		}
		slices.SortStableFunc(all, func(a, b look) int { return compareBools(!moved[a.p.Partition], !moved[b.p.Partition]) })
	}
	all = all[:min(len(all), s.q.newest)]
	out := map[int32][]look{}
	for _, l := range all {
		if len(out[l.p.leader]) < kafkaSampled {
			out[l.p.leader] = append(out[l.p.leader], l)
		}
	}
	chosen := 0
	for leader, looks := range out {
		out[leader] = fitting(looks)
		chosen += len(out[leader])
	}
	s.newestEach = int64(max(1, s.q.newest/max(chosen, 1)))
	for _, looks := range out {
		for i := range looks {
			l := &looks[i]
			back := s.newestEach * l.log.stretch
			if l.log.weight > 0 { // else what comes is the older part
				back = min(back, max(1, int64(l.most)/l.log.weight))
			}
			l.offset = max(l.p.start.offset, l.p.end.offset-back)
		}
	}
	return out
}

// moved: messages came since the last sampling.
func (l *partitionLog) moved() bool {
	n := len(l.ends)
	return n > 1 && l.ends[n-1].first == l.ends[n-1].last
}

// takeNewest gives the newest messages of a partition, the oldest of them first.
func (s *sampling) takeNewest(l look, told *kmsg.FetchResponseTopicPartition, d kgo.Decompressor) []message.Message {
	got, next := l.records(told, d)
	records := got.Records
	if len(told.RecordBatches) > 0 {
		l.log.sampled = s.q.sampling
	}
	if read := next - l.offset; read > 0 {
		l.log.weight = max(1, int64(len(told.RecordBatches))/read)
	}
	switch n := int64(len(records)); {
	case n < s.newestEach && l.offset > l.p.start.offset && l.p.end.offset-l.offset >= s.newestEach*l.log.stretch:
		l.log.stretch = min(2*l.log.stretch, kafkaStretched)
	case n >= 2*s.newestEach && l.log.stretch > 1:
		l.log.stretch /= 2
	}
	records = records[max(0, len(records)-int(s.newestEach)):]
	out := make([]message.Message, 0, len(records))
	for _, r := range records {
		m := s.q.messages.ReadRecord(r.Key, r.Value)
		if m.At.IsZero() {
			m.At = r.Timestamp
		}
		out = append(out, m)
	}
	return out
}

// allEmpty: every partition is known, and none holds a message.
func (s *sampling) allEmpty() bool {
	for _, p := range s.partitions {
		if p.end.err != nil || p.start.err != nil || p.end.offset > p.start.offset {
			return false
		}
	}
	return len(s.partitions) > 0
}

// newestSample of what was read; nil: nothing could be.
func (s *sampling) newestSample() *probes.Sample {
	if s.q.newest <= 0 || !s.sampleKnown {
		return nil
	}
	var all [][]message.Message
	for _, messages := range s.read {
		all = append(all, messages)
	}
	return message.SampleOf(all...)
}
