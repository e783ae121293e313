package kafka

import (
	"cmp"
	"slices"
)

const (
	// kafkaEnds are the ends of a log that are remembered: with a sampling each 15 s, a quarter of an hour.
	kafkaEnds = 64
	// kafkaLeast bytes of a partition are asked for at first: a few small messages.
	kafkaLeast = 1 << 10
	// kafkaHeadsKept is for how many samplings a record that no commit points to is remembered.
	kafkaHeadsKept = 3
)

// partitionLog is what earlier samplings saw of one partition. Times are milliseconds since 1970.
type partitionLog struct {
	topic [16]byte
	ends  []seenEnd
	// heads by their first offset.
	heads []logHead
	// openAt is an offset from which on nothing is decided yet, since a transaction is open; -1: none is known.
	openAt int64
	// need is the size of its batches in bytes, as far as known.
	need int32
	// tried and sampled are the last samplings in which its records were asked for, for the lag and for the newest ones.
	tried, sampled uint64
	// stretch is how many offsets hold one message, so that enough of them are asked for.
	stretch int64
	// weight is the bytes of an offset, as far as known.
	weight int64
}

// seenEnd is an end of the log, and when it was seen first and last.
type seenEnd struct{ end, first, last int64 }

// logHead is the first record at or after an offset: found at another one, or not found before that one.
type logHead struct {
	from, to int64
	found    bool
	// at is when it was written; 0: the record does not tell.
	at int64
	// open: it was part of an open transaction when the log ended at end, and may yet be aborted.
	open bool
	end  int64
	used uint64
}

func newPartitionLog(topic [16]byte) *partitionLog {
	return &partitionLog{topic: topic, openAt: -1, need: kafkaLeast, stretch: 1}
}

// saw the log's end. One that went back is another log, or lost what was known of it.
func (l *partitionLog) saw(end, now int64) {
	n := len(l.ends)
	if n > 0 && end < l.ends[n-1].end {
		*l = *newPartitionLog(l.topic)
		n = 0
	}
	if n > 0 && end == l.ends[n-1].end {
		l.ends[n-1].last = now
		return
	}
	if n == kafkaEnds {
		l.ends = slices.Delete(l.ends, 0, 1)
	}
	l.ends = append(l.ends, seenEnd{end, now, now})
}

// keep what is known of the first record at or after an offset.
func (l *partitionLog) keep(h logHead) {
	i, known := l.floor(h.from)
	if known && l.heads[i].from == h.from {
		l.heads[i] = h
		return
	}
	if known {
		i++
	}
	l.heads = slices.Insert(l.heads, i, h)
}

// floor is the last head from at or before an offset.
func (l *partitionLog) floor(offset int64) (i int, ok bool) {
	i, found := slices.BinarySearchFunc(l.heads, offset, func(h logHead, at int64) int { return cmp.Compare(h.from, at) })
	if found {
		return i, true
	}
	return max(i-1, 0), i > 0
}

// forget what no commit has pointed to for a while.
func (l *partitionLog) forget(sampling uint64) {
	l.heads = slices.DeleteFunc(l.heads, func(h logHead) bool { return h.used+kafkaHeadsKept < sampling })
}

// waiting is what is known of the oldest message at or after an offset.
type waiting struct {
	// none: from there on the log holds no message.
	none bool
	// at is when it was written; 0: unknown.
	at int64
	// sure: a record was read for it, and there is no need to do so again.
	sure bool
	// from is the offset to read from.
	from int64
}

// waitingAt tells of the oldest message at or after an offset, in a log that ends at end.
func (l *partitionLog) waitingAt(offset, end, now int64, sampling uint64) waiting {
	for offset < end {
		i, ok := l.floor(offset)
		if !ok {
			break
		}
		h := &l.heads[i]
		h.used = sampling // also as what the next estimate begins with
		if h.found && offset <= h.to {
			w := waiting{at: h.at, sure: !h.open || h.end == end, from: offset}
			if w.at == 0 {
				w.at = l.estimate(offset, now)
			}
			return w
		}
		if h.found || h.to <= offset {
			break
		}
		offset = h.to
	}
	if offset >= end {
		return waiting{none: true, sure: true, from: offset}
	}
	return waiting{at: l.estimate(offset, now), from: offset}
}

// estimate when the record at an offset was written: between the last sampling in which the log ended before it and the
// first in which it did not. Of what is older, between the records that were read, if those leave no more doubt than a
// tenth of its age. 0: unknown.
func (l *partitionLog) estimate(offset, now int64) int64 {
	i := slices.IndexFunc(l.ends, func(e seenEnd) bool { return e.end > offset })
	switch {
	case i < 0:
		return 0
	case i > 0:
		return between(l.ends[i-1].last, l.ends[i].first, 2*(offset-l.ends[i-1].end)+1, 2*(l.ends[i].end-l.ends[i-1].end))
	}
	j, ok := l.floor(offset)
	if !ok {
		return 0
	}
	before, until := l.heads[j], l.ends[0]
	if !before.found || before.at == 0 || before.to > offset || until.first < before.at {
		return 0
	}
	to, end := until.first, until.end
	if j+1 < len(l.heads) {
		if next := l.heads[j+1]; next.found && next.at >= before.at && next.at <= to && next.to < end {
			to, end = next.at, next.to
		}
	}
	at := between(before.at, to, offset-before.to, end-before.to)
	if to-before.at > (now-at)/10 {
		return 0
	}
	return at
}

// between gives the time at a part of the way.
func between(from, to, part, whole int64) int64 {
	return from + int64(float64(to-from)*float64(part)/float64(max(whole, 1)))
}
