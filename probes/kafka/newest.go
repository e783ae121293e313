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
	// maxNewestPartitions of a broker give their newest messages in one sampling; the others follow in the next ones.
	maxNewestPartitions = maxFetchBytes / leastBytes
	// maxMovedPartitions of a broker, of those whose newest messages are known from before, are read again in one sampling; the others
	// keep what was read last, and follow in the next ones. A broker reads and sends each by itself, so that all of a thousand would
	// cost more than the rest of a sampling.
	maxMovedPartitions = 128
	// maxOffsetsPerMessage bounds how far back a fetch goes for each message that is wanted.
	maxOffsetsPerMessage = 64
)

// newestFetches are where to read the newest messages, by leader: of all partitions, of each the same number. Where there are
// more partitions than messages are wanted, or than a broker gives at once, those that have new messages come before the
// rest, in rotation.
func (s *sampling) newestFetches() map[int32][]partitionFetch {
	if s.q.newest <= 0 {
		return nil
	}
	all := make([]partitionFetch, 0, len(s.partitions))
	for id, p := range s.partitions {
		if p.end.err == nil && p.start.err == nil && p.end.offset > p.start.offset {
			all = append(all, partitionFetch{p: p, log: s.q.logs[id]})
		}
	}
	slices.SortFunc(all, func(a, b partitionFetch) int {
		return cmp.Or(cmp.Compare(a.log.newestTried, b.log.newestTried), comparePartitions(a.p.Partition, b.p.Partition))
	})
	if len(all) > s.q.newest || len(all) > maxNewestPartitions {
		grew := map[probes.Partition]bool{}
		for _, f := range all {
			grew[f.p.Partition] = f.log.grew()
		}
		slices.SortStableFunc(all, func(a, b partitionFetch) int { return compareBools(!grew[a.p.Partition], !grew[b.p.Partition]) })
	}
	all = all[:min(len(all), s.q.newest)]
	out := map[int32][]partitionFetch{}
	for _, f := range all {
		if len(out[f.p.leader]) < maxNewestPartitions {
			out[f.p.leader] = append(out[f.p.leader], f)
		}
	}
	chosen := 0
	for leader, fetches := range out {
		out[leader] = fitBytes(fetches)
		chosen += len(out[leader])
	}
	s.newestEach = int64(max(1, s.q.newest/max(chosen, 1)))
	if s.q.follower != nil {
		s.sampled = make(map[probes.Partition]bool, chosen)
		for _, fetches := range out {
			for _, f := range fetches {
				s.sampled[f.p.Partition] = true
			}
		}
	}
	for leader, fetches := range out {
		fetches = s.withoutRead(fetches)
		out[leader] = fetches
		for i := range fetches {
			f := &fetches[i]
			back := s.newestEach * f.log.offsetsPerMessage
			if f.log.bytesPerOffset > 0 { // else what comes is the older part
				back = min(back, max(1, int64(f.maxBytes)/f.log.bytesPerOffset))
			}
			f.offset = max(f.p.start.offset, f.p.end.offset-back)
		}
	}
	return out
}

// withoutRead leaves out the partitions whose newest messages were read already, and gives those as they were. Of partitions that moved
// since, those that were read longest ago are not left out.
func (s *sampling) withoutRead(fetches []partitionFetch) []partitionFetch {
	again := 0
	return slices.DeleteFunc(fetches, func(f partitionFetch) bool {
		read := &f.log.newest
		if !read.known || read.each < s.newestEach || read.start != f.p.start.offset || read.end > f.p.end.offset {
			return false
		}
		if read.end == f.p.end.offset {
			f.log.newestTried = s.q.samplings
		} else if again++; again <= maxMovedPartitions {
			return false
		}
		s.newestByPartition[f.p.Partition] = read.messages[max(0, len(read.messages)-int(s.newestEach)):]
		return true
	})
}

// newestRead are the newest messages of a partition, at most each of them, as they were read when its log went from start to end.
type newestRead struct {
	known            bool
	start, end, each int64
	messages         []message.Message
	// next is the offset behind what was read.
	next int64
}

// reaches reports whether the messages, each of them, go up to where a fetch reads on.
func (r *newestRead) reaches(f partitionFetch, each int64) bool {
	return r.known && r.each >= each && r.start == f.p.start.offset && r.next >= f.offset
}

// takeNewest gives the newest messages of a partition, the oldest of them first. From how many came it learns how far back
// the next fetch must go.
func (s *sampling) takeNewest(f partitionFetch, answer *kmsg.FetchResponseTopicPartition, got kgo.FetchPartition, next int64) []message.Message {
	records, before := got.Records, f.log.newest
	if f.onward && next <= f.offset {
		return before.messages[max(0, len(before.messages)-int(s.newestEach)):]
	}
	if len(answer.RecordBatches) > 0 {
		f.log.newestTried = s.q.samplings
	}
	if read := next - f.offset; read > 0 {
		f.log.bytesPerOffset = max(1, int64(len(answer.RecordBatches))/read)
	}
	if got.Err == nil && next > f.offset {
		if f.onward {
			f.log.seen = f.log.seen.with(records, f.offset, next)
		} else {
			f.log.seen = seenIn(records, f.offset, next)
		}
	}
	whole := len(answer.RecordBatches) > 0 && got.Err == nil && next >= f.stableEnd(answer)
	now := newestRead{start: f.p.start.offset, end: f.p.end.offset, each: s.newestEach, next: next}
	joined := f.onward && before.next >= f.offset && before.start == now.start
	if joined {
		now.messages = before.messages
		records = records[firstAt(records, before.next):]
	}
	switch n := int64(len(now.messages) + len(records)); {
	case joined:
		whole = whole && (before.known && before.each >= s.newestEach || n >= s.newestEach || f.covers)
	case f.onward && !f.covers:
		whole = whole && n >= s.newestEach
	default:
		whole = s.learnBack(f, n) && whole
	}
	records = records[max(0, len(records)-int(s.newestEach)):]
	times := batchTimes(answer.RecordBatches)
	for _, r := range records {
		m := s.q.messages.ReadRecord(r.Key, r.Value)
		if m.At.IsZero() {
			m.At = writtenAt(r, times)
		}
		now.messages = append(now.messages, m)
	}
	now.messages = now.messages[max(0, len(now.messages)-int(s.newestEach)):]
	now.known = whole
	f.log.newest = now
	return now.messages
}

// firstAt gives where, among records in the order of their offsets, those at an offset or behind it begin.
func firstAt(records []*kgo.Record, offset int64) int {
	i, _ := slices.BinarySearchFunc(records, offset, func(r *kgo.Record, at int64) int { return cmp.Compare(r.Offset, at) })
	return i
}

// learnBack learns how far back the newest messages are to be looked for, of which n came. false: the next fetch goes further back.
func (s *sampling) learnBack(f partitionFetch, n int64) bool {
	switch {
	case n < s.newestEach && f.offset > f.p.start.offset && f.p.end.offset-f.offset >= s.newestEach*f.log.offsetsPerMessage:
		most := f.log.offsetsPerMessage == maxOffsetsPerMessage
		f.log.offsetsPerMessage = min(2*f.log.offsetsPerMessage, maxOffsetsPerMessage)
		return most
	case n >= 2*s.newestEach && f.log.offsetsPerMessage > 1:
		f.log.offsetsPerMessage /= 2
	}
	return true
}

// with what was read on from it, up to another offset; without the older part where there are too many messages.
func (p seenPart) with(records []*kgo.Record, from, to int64) seenPart {
	if p.from >= p.to || p.to != from || len(records) > maxSeenOn {
		return seenIn(records, from, to)
	}
	for _, r := range records {
		p.messages = append(p.messages, r.Offset)
	}
	p.to = to
	if cut := len(p.messages) - maxSeenOn; cut > 0 {
		p.from, p.messages = p.messages[cut], slices.Clone(p.messages[cut:])
	}
	return p
}

// seenIn a part of the log from which all messages are these.
func seenIn(records []*kgo.Record, from, to int64) seenPart {
	if int64(len(records)) == to-from || len(records) > maxSeenGaps { // each offset has one, as is taken where nothing is known
		return seenPart{}
	}
	seen := seenPart{from: from, to: to, messages: make([]int64, 0, len(records))}
	for _, r := range records {
		seen.messages = append(seen.messages, r.Offset)
	}
	return seen
}

// stableEnd is the offset up to which an answer's records are decided.
func (f partitionFetch) stableEnd(answer *kmsg.FetchResponseTopicPartition) int64 {
	if !f.readUncommitted && answer.LastStableOffset >= 0 {
		return answer.LastStableOffset
	}
	return answer.HighWatermark
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

// newestSample sums up the newest messages that were read; nil: none could be, or none are wanted.
func (s *sampling) newestSample() *probes.MessageSample {
	if s.q.newest <= 0 || !s.newestKnown {
		return nil
	}
	all := make([][]message.Message, 0, len(s.newestByPartition))
	for _, messages := range s.newestByPartition {
		all = append(all, messages)
	}
	return s.q.messages.Sample(all...)
}
