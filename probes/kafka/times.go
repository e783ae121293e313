package kafka

import (
	"cmp"
	"encoding/binary"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cacheinv/cacheinv_exporter/internal/content"
)

// batchTime is when the first record of a batch was written, in whatever unit its producer took for that, and the offsets that the batch has.
type batchTime struct{ from, to, first int64 }

// batchTimes of the batches in an answer in which the producer gave the times, by ascending offsets. The library counts in nanoseconds, which
// overflow where a producer wrote other units than milliseconds.
func batchTimes(batches []byte) (out []batchTime) {
	const (
		first, end  = 27, 35
		brokersTime = 1 << 3 // in batchAttributes
	)
	for len(batches) >= end {
		at := int64(binary.BigEndian.Uint64(batches))
		size := int(firstBatchBytes(batches))
		if batches[batchMagic] == 2 && binary.BigEndian.Uint16(batches[batchAttributes:])&brokersTime == 0 {
			to := at + int64(binary.BigEndian.Uint32(batches[batchLastDelta:]))
			if to >= at && (len(out) == 0 || at > out[len(out)-1].to) { // what comes behind must not hide those before
				out = append(out, batchTime{at, to, int64(binary.BigEndian.Uint64(batches[first:]))})
			}
		}
		if size < end || size > len(batches) {
			break
		}
		batches = batches[size:]
	}
	return out
}

// writtenAt is when a record was written; zero where it has no time that can be true.
func writtenAt(r *kgo.Record, batches []batchTime) time.Time {
	i, _ := slices.BinarySearchFunc(batches, r.Offset, func(b batchTime, offset int64) int { return cmp.Compare(b.to, offset) })
	if i < len(batches) {
		if b := batches[i]; b.from <= r.Offset {
			delta := (r.Timestamp.UnixNano() - b.first*1e6) / 1e6 // right also where both overflowed
			return content.TimeOf(b.first + delta)
		}
	}
	return content.TimeOf(r.Timestamp.UnixMilli())
}
