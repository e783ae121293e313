package kafka

import (
	"cmp"
	"slices"
)

const (
	// maxEnds of a log are remembered: with a sampling each 15 s, a quarter of an hour.
	maxEnds = 64
	// leastBytes of a partition are asked for at first: a few small messages.
	leastBytes = 1 << 10
	// keptSamplings is for how many samplings a record that no commit points to is remembered.
	keptSamplings = 3
)

// partitionLog is what samplings saw of one partition, from which the age of messages is known or estimated. Times are
// milliseconds since 1970.
type partitionLog struct {
	topicID [16]byte
	// ends of the log that were seen, the oldest first.
	ends []observedEnd
	// records that were read for the lag, by the offsets from which they were.
	records []nextRecord
	// undecidedAt is an offset from which on it is not decided yet what is committed, since a transaction is open; -1: none is
	// known.
	undecidedAt int64
	// batchBytes are to be asked for so that a batch fits, as far as known.
	batchBytes int32
	// tried and newestTried are the numbers of the last samplings that read its records, for the lag and the newest messages.
	tried, newestTried uint64
	// offsetsPerMessage is how many offsets hold one of the newest messages: more than one where some hold markers or aborted
	// messages, or were compacted.
	offsetsPerMessage int64
	// bytesPerOffset of the newest records; 0: unknown.
	bytesPerOffset int64
	// newest are those that were read last; seen is what was read with them.
	newest newestRead
	seen   seenPart
}

// maxSeenGaps bounds the offsets that are remembered of a partition: a cluster may have thousands of those.
const maxSeenGaps = 4096

// maxSeenOn bounds the messages that are remembered of what was read bit by bit.
const maxSeenOn = 256

// seenPart is a part of the log of which all was read: from and to are its ends, and messages the offsets of all messages in it.
type seenPart struct {
	from, to int64
	messages []int64
}

// observedEnd is an end of the log, and when it was seen first and last.
type observedEnd struct{ end, first, last int64 }

// nextRecord says that the first record at or after the offset from is at the offset to or, where it is not found, that there
// is none before to.
type nextRecord struct {
	from, to int64
	found    bool
	// at is when it was written; 0: the record does not tell.
	at int64
	// undecided: it was part of an open transaction when the log ended at end, and may yet be aborted.
	undecided bool
	end       int64
	// used is the number of the last sampling that needed it.
	used uint64
}

// newPartitionLog knows nothing yet of a partition of that topic.
func newPartitionLog(topic [16]byte) *partitionLog {
	return &partitionLog{topicID: topic, undecidedAt: -1, batchBytes: leastBytes, offsetsPerMessage: 1}
}

// addEnd remembers the log's end. If that went back, it is another log, or has lost records: nothing that was known holds.
func (l *partitionLog) addEnd(end, now int64) {
	n := len(l.ends)
	if n > 0 && end < l.ends[n-1].end {
		*l = *newPartitionLog(l.topicID)
		n = 0
	}
	if n > 0 && end == l.ends[n-1].end {
		l.ends[n-1].last = now
		return
	}
	if n == maxEnds {
		l.ends = slices.Delete(l.ends, 0, 1)
	}
	l.ends = append(l.ends, observedEnd{end, now, now})
}

// keep a record in place of an older one from the same offset.
func (l *partitionLog) keep(record nextRecord) {
	i, known := l.lastAtOrBefore(record.from)
	if known && l.records[i].from == record.from {
		l.records[i] = record
		return
	}
	if known {
		i++
	}
	l.records = slices.Insert(l.records, i, record)
}

// lastAtOrBefore finds the last of the records that is from an offset or from one before it.
func (l *partitionLog) lastAtOrBefore(offset int64) (i int, ok bool) {
	i, found := slices.BinarySearchFunc(l.records, offset, func(record nextRecord, at int64) int { return cmp.Compare(record.from, at) })
	if found {
		return i, true
	}
	return max(i-1, 0), i > 0
}

// forget the records that no sampling has needed for a while; current is the number of the one under way.
func (l *partitionLog) forget(current uint64) {
	l.records = slices.DeleteFunc(l.records, func(record nextRecord) bool { return record.used+keptSamplings < current })
}

// oldestMessage is what is known of the oldest message at or after an offset.
type oldestMessage struct {
	// none: from there on the log holds no message.
	none bool
	// at is when it was written; 0: unknown.
	at int64
	// sure: a record was read for it, and there is no need to do so again.
	sure bool
	// from is the offset to read from.
	from int64
}

// oldestAt says what is known of the oldest message at or after an offset, in a log that ends at end; current is the number of
// the sampling.
func (l *partitionLog) oldestAt(offset, end, now int64, current uint64) oldestMessage {
	for offset < end {
		i, ok := l.lastAtOrBefore(offset)
		if !ok {
			break
		}
		record := &l.records[i]
		record.used = current // also as what the next estimate begins with
		if record.found && offset <= record.to {
			oldest := oldestMessage{at: record.at, sure: !record.undecided || record.end == end, from: offset}
			if oldest.at == 0 {
				oldest.at = l.estimate(offset, now)
			}
			return oldest
		}
		if record.found || record.to <= offset {
			break
		}
		offset = record.to
	}
	if offset >= end {
		return oldestMessage{none: true, sure: true, from: offset}
	}
	return oldestMessage{at: l.estimate(offset, now), from: offset}
}

// waiting is how many offsets of a log that ends at end, from one on, are not known to hold no message, such as the marker of
// a transaction; current is the number of the sampling.
func (l *partitionLog) waiting(offset, end, now int64, current uint64) int64 {
	oldest := l.oldestAt(offset, end, now, current)
	if oldest.none {
		return 0
	}
	first := oldest.from
	if record, ok := l.recordAt(first); ok {
		first = max(first, record.to)
	}
	seen := l.seen
	if seen.from >= seen.to || first >= seen.to {
		return max(0, end-first)
	}
	i, _ := slices.BinarySearch(seen.messages, first)
	return max(0, seen.from-first) + int64(len(seen.messages)-i) + max(0, end-seen.to)
}

// estimate when the record at an offset was written: between the last sampling in which the log ended before it and the
// first in which it did not. Of what is older, between the records that were read, if those leave no more doubt than a
// tenth of its age. 0: unknown.
func (l *partitionLog) estimate(offset, now int64) int64 {
	i := slices.IndexFunc(l.ends, func(e observedEnd) bool { return e.end > offset })
	switch {
	case i < 0:
		return 0
	case i > 0:
		return between(l.ends[i-1].last, l.ends[i].first, 2*(offset-l.ends[i-1].end)+1, 2*(l.ends[i].end-l.ends[i-1].end))
	}
	j, ok := l.lastAtOrBefore(offset)
	if !ok {
		return 0
	}
	before, until := l.records[j], l.ends[0]
	if !before.found || before.at == 0 || before.to > offset || until.first < before.at {
		return 0
	}
	to, end := until.first, until.end
	if j+1 < len(l.records) {
		if next := l.records[j+1]; next.found && next.at >= before.at && next.at <= to && next.to < end {
			to, end = next.at, next.to
		}
	}
	at := between(before.at, to, offset-before.to, end-before.to)
	if to-before.at > (now-at)/10 {
		return 0
	}
	return at
}

// between gives the time at a part of the whole way from one time to another.
func between(from, to, part, whole int64) int64 {
	return from + int64(float64(to-from)*float64(part)/float64(max(whole, 1)))
}

// recordAt is the record that was read and is the first at or after an offset.
func (l *partitionLog) recordAt(offset int64) (nextRecord, bool) {
	i, ok := l.lastAtOrBefore(offset)
	if !ok || !l.records[i].found || l.records[i].to < offset {
		return nextRecord{}, false
	}
	return l.records[i], true
}

// grew reports whether messages came since the last sampling.
func (l *partitionLog) grew() bool {
	n := len(l.ends)
	return n > 1 && l.ends[n-1].first == l.ends[n-1].last
}
