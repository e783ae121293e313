package kafka

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/cacheinv/cacheinv_exporter/internal/content"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// lagFetches are where to read the oldest messages that groups have not committed, by leader: those that were not read
// before. A request holds one offset of a partition, so where groups wait at several, one is chosen.
func (s *sampling) lagFetches() map[int32][]partitionFetch {
	now := time.Now().UnixMilli()
	best := map[probes.Partition]partitionFetch{}
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
			log := s.q.logs[id]
			oldest := log.oldestAt(max(commit, p.start.offset), p.end.offset, now, s.q.samplings)
			if oldest.sure {
				continue
			}
			_, known := log.recordAt(oldest.from)
			f := partitionFetch{p: p, log: log, offset: oldest.from, estimated: oldest.at != 0, readUncommitted: log.undecidedAt == oldest.from && !known}
			if before, ok := best[id]; !ok || compareFetches(f, before) < 0 {
				best[id] = f
			}
		}
	}
	out := map[int32][]partitionFetch{}
	for _, f := range best {
		out[f.p.leader] = append(out[f.p.leader], f)
	}
	for leader, fetches := range out {
		slices.SortFunc(fetches, func(a, b partitionFetch) int {
			return cmp.Or(cmp.Compare(a.log.tried, b.log.tried), compareFetches(a, b), comparePartitions(a.p.Partition, b.p.Partition))
		})
		slices.SortStableFunc(fetches, func(a, b partitionFetch) int { return compareBools(a.estimated, b.estimated) })
		// A request has one isolation, so those that want the other one wait for a later sampling.
		fetches = slices.DeleteFunc(fetches, func(f partitionFetch) bool { return f.readUncommitted != fetches[0].readUncommitted })
		fetches = fitBytes(fetches)
		for _, f := range fetches {
			f.log.tried = s.q.samplings
		}
		out[leader] = fetches
	}
	return out
}

// compareFetches puts first what is wholly unknown, then the oldest.
func compareFetches(a, b partitionFetch) int {
	return cmp.Or(compareBools(a.estimated, b.estimated), cmp.Compare(a.offset, b.offset))
}

// takeNext learns when the oldest message at or after a commit was written.
func (s *sampling) takeNext(f partitionFetch, answer *kmsg.FetchResponseTopicPartition, d kgo.Decompressor) {
	end := f.p.end.offset
	record := nextRecord{from: f.offset, end: end, used: s.q.samplings}
	if len(answer.RecordBatches) == 0 {
		undecided := !f.readUncommitted && answer.LastStableOffset >= 0 && answer.LastStableOffset <= f.offset && answer.HighWatermark > f.offset
		switch known, ok := f.log.recordAt(f.offset); {
		case undecided && ok && known.undecided: // it still is
			known.end = end
			f.log.keep(known)
		case undecided:
			f.log.undecidedAt = f.offset
		}
		return
	}
	got, next := f.records(answer, d)
	switch {
	case len(got.Records) > 0:
		first := got.Records[0]
		record.found, record.to, record.at = true, first.Offset, unixMilli(writtenAt(first, batchTimes(answer.RecordBatches)))
		record.undecided = f.readUncommitted
		if f.readUncommitted && answer.LastStableOffset > record.to { // decided meanwhile: read it as what it became
			f.log.undecidedAt = -1
			return
		}
	case errors.As(got.Err, new(*kgo.ErrDecompressTooLarge)), errors.Is(got.Err, kgo.ErrMaxDecompress), errors.Is(got.Err, errManyRecords):
		// The header of the batch says when its first record was written.
		var b kmsg.RecordBatch
		if err := b.ReadFrom(answer.RecordBatches); err != nil || b.Magic != 2 {
			return
		}
		record.found, record.to, record.at = true, max(f.offset, b.FirstOffset), unixMilli(content.TimeOf(b.FirstTimestamp))
		if b.Attributes&8 != 0 { // the broker's time, one for all
			record.at = unixMilli(content.TimeOf(b.MaxTimestamp))
		}
	case next > f.offset: // nothing but markers, aborted messages, or what compaction left
		record.to = next
	default:
		return
	}
	if !f.readUncommitted {
		f.log.undecidedAt = -1
	}
	f.log.keep(record)
}

// unixMilli is a time in milliseconds since 1970; 0 where it is none.
func unixMilli(at time.Time) int64 {
	if at.IsZero() {
		return 0
	}
	return at.UnixMilli()
}

// lagSeconds of a group whose commit is before the log's end: how long ago the oldest message after it was written; false
// where that is unknown.
func (s *sampling) lagSeconds(p *partition, commit, now int64) (float64, bool) {
	log := s.q.logs[p.Partition]
	oldest := log.oldestAt(max(commit, p.start.offset), p.end.offset, now, s.q.samplings)
	switch {
	case oldest.none:
		return 0, true
	case oldest.at == 0:
		return 0, false
	}
	return (time.Duration(max(0, now-oldest.at)) * time.Millisecond).Seconds(), true
}
