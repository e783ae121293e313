package kafka

import (
	"encoding/binary"
	"math"
)

// badBatch is a batch that can't be read, by its header: the offset behind it, and how many records it says to have.
type badBatch struct{ next, records int64 }

// Where in a batch of version 2 the offset of its last record stands, relative to the first, and what kind of batch it is.
const (
	batchAttributes, batchLastDelta = 21, 23
	// controlBatch holds a transaction's marker, in the attributes.
	controlBatch = 1 << 5
)

// firstBatch of an answer; false: it is not whole, or not of version 2.
func firstBatch(b []byte) (badBatch, bool) {
	size := int(firstBatchBytes(b))
	if size < batchHeader || size > len(b) || b[batchMagic] != 2 {
		return badBatch{}, false
	}
	first, delta := int64(binary.BigEndian.Uint64(b)), int64(int32(binary.BigEndian.Uint32(b[batchLastDelta:])))
	if first < 0 || delta < 0 || first > math.MaxInt64-delta-1 {
		return badBatch{}, false
	}
	out := badBatch{next: first + delta + 1, records: delta + 1}
	if n := int64(binary.BigEndian.Uint32(b[batchCount:])); n < out.records { // compaction removes some
		out.records = n
	}
	if binary.BigEndian.Uint16(b[batchAttributes:])&controlBatch != 0 {
		out.records = 0
	}
	return out, true
}

// sizeOf the whole batches of an answer: their bytes, how many offsets they are for, and the offset behind them.
func sizeOf(batches []byte) (bytes, offsets, next int64) {
	from := int64(-1)
	for {
		head, ok := firstBatch(batches)
		if !ok || head.next <= next {
			return bytes, max(next-from, 0), next
		}
		if from < 0 {
			from = int64(binary.BigEndian.Uint64(batches))
		}
		next = head.next
		size := int64(firstBatchBytes(batches))
		bytes += size
		batches = batches[size:]
	}
}
