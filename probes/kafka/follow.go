package kafka

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/cacheinv/cacheinv_exporter/probes"
)

const (
	// longestTraceParent that is taken from a record's header, in bytes; the format has 55.
	longestTraceParent = 128
	// mostStuck readings in a row of a log that is said to go on, and of which nothing comes.
	mostStuck = 3
	// mostDensity offsets are what a partition's density of messages is counted over, about.
	mostDensity = 1 << 16
)

// follower hands on the messages that arrive. Each partition has a cursor, from which the fetch of the newest messages reads on.
// What a cursor has to read goes into one sampling. Once more came than fits, and the rest did not fit into the next one either, the
// cursor jumps so far ahead that it comes to the log's end, and what it passed over is counted as left out.
type follower struct {
	visit func(probes.Event)
	// after are the positions that Follow was given, until all partitions were listed.
	after map[probes.Partition]probes.Position
	// listed: all partitions were, in a sampling before, so that one that is found now is new.
	listed  bool
	cursors map[probes.Partition]*cursor

	// mu is held while the records of a partition are handed on, and guards what follows.
	mu sync.Mutex
	// seen and leftOut messages since this was told last.
	seen, leftOut int
	// anew are the partitions whose log is another one since this was told last.
	anew map[probes.Partition]bool
	// read: what came was learned of some partition, in the sampling under way.
	read bool
}

// cursor is how far a partition was read.
type cursor struct {
	topicID [16]byte
	// next is the offset to read from; -1: it is not known yet. made: the partition is new, and is read from its start.
	next int64
	made bool
	// goneAt is since when the partition is not listed; zero while it is.
	goneAt time.Time
	// waitsAt is the log's end at which all that is decided was read.
	waitsAt int64
	// open: transactions were, when it was read last.
	open bool
	// behind: there was more than could be read at once, and there still is.
	behind bool
	// plain: what came of reading from before the cursor, for the newest messages, did not reach it.
	plain bool
	// stuck is how often in a row nothing came though the broker had room for it.
	stuck int
	// tried is the number of the last sampling in which anything came.
	tried uint64
	// bytesPerOffset of the batches that came last; 0: unknown.
	bytesPerOffset float64
	// mostOffsets that could be unpacked where that was less than what came; 0: all could.
	mostOffsets int64
	// messages that were in so many offsets.
	messages, offsets float64
}

// Follow implements probes.EventQueue. Events have positions of Minor 1, so that {N, 0} is behind all before the offset N.
func (q *queue) Follow(after map[probes.Partition]probes.Position, visit func(probes.Event)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.follower = &follower{visit: visit, after: maps.Clone(after), cursors: map[probes.Partition]*cursor{}, anew: map[probes.Partition]bool{}}
}

// offsetAfter is the first offset behind a position.
func offsetAfter(p probes.Position) int64 {
	n := min(p.Major, math.MaxInt64-1)
	if p.Minor > 0 {
		n++
	}
	return int64(n)
}

// placeCursors at all partitions whose log's ends are known.
func (s *sampling) placeCursors(now time.Time) {
	f := s.q.follower
	if f == nil {
		return
	}
	f.read = false
	for id, p := range s.partitions {
		c := f.cursors[id]
		if c == nil || !c.sameTopic(p.topicID) {
			made := c != nil || f.listed
			c = &cursor{next: -1, made: made}
			if after, ok := f.after[id]; ok && !made {
				c.next = offsetAfter(after)
			}
			f.cursors[id] = c
			if made {
				f.anew[id] = true
			}
		}
		c.goneAt, c.topicID = time.Time{}, p.topicID
		if p.end.err == nil && p.start.err == nil {
			if c.next > p.end.offset {
				f.anew[id] = true
			}
			f.leaveOut(c, c.place(p.start.offset, p.end.offset))
		}
	}
	if !s.partsUnknown {
		f.listed, f.after = true, nil
		f.forget(s.partitions, now, s.q.forgetAfter)
	}
}

// sameTopic reports whether a topic is the one that was read; brokers before Kafka 2.8 tell no ids.
func (c *cursor) sameTopic(id [16]byte) bool {
	none := [16]byte{}
	return c.topicID == id || c.topicID == none || id == none
}

// place the cursor within the log, and give how many offsets were cut off before they were read.
func (c *cursor) place(start, end int64) (lost int64) {
	switch {
	case c.next < 0 && c.made:
		c.next = 0
	case c.next < 0:
		c.next = end
	case c.next > end && c.topicID == [16]byte{}: // more likely another topic than one that lost its end
		*c = cursor{next: start}
	case c.next > end: // the log lost its end; what comes there now is new
		*c = cursor{topicID: c.topicID, next: end}
	}
	if lost = start - c.next; lost <= 0 {
		return 0
	}
	c.next = start
	return lost
}

// forget the cursors of partitions that have not been listed for a while: such as come back meanwhile go on.
func (f *follower) forget(listed map[probes.Partition]*partition, now time.Time, after time.Duration) {
	var gone []time.Time
	for id, c := range f.cursors {
		if listed[id] != nil {
			continue
		}
		if c.goneAt.IsZero() {
			c.goneAt = now
		}
		gone = append(gone, c.goneAt)
	}
	before := probes.ForgottenBefore(gone)
	maps.DeleteFunc(f.cursors, func(_ probes.Partition, c *cursor) bool {
		return !c.goneAt.IsZero() && (now.Sub(c.goneAt) > after || c.goneAt.Before(before))
	})
	maps.DeleteFunc(f.anew, func(id probes.Partition, _ bool) bool { return f.cursors[id] == nil })
}

// leaveOut what is at so many offsets: as many messages as were seen at others.
func (f *follower) leaveOut(c *cursor, offsets int64) {
	n := float64(offsets)
	if c.offsets > 0 {
		n *= c.messages / c.offsets
	}
	f.count(int(min(math.Round(n), math.MaxInt32)))
}

// count messages that are left out.
func (f *follower) count(leftOut int) {
	f.seen += leftOut
	f.leftOut += leftOut
}

// followFetches adds what is to be read from the cursors to the fetches of the newest messages, by leader, and takes the place of
// those where both would read.
func (s *sampling) followFetches(newest map[int32][]partitionFetch) map[int32][]partitionFetch {
	f := s.q.follower
	if f == nil {
		return newest
	}
	by := map[int32][]partitionFetch{}
	for id, p := range s.partitions {
		c := f.cursors[id]
		switch {
		case p.end.err != nil || p.start.err != nil:
		case c.next >= p.end.offset || c.waitsAt == p.end.offset:
			f.read = true
		default:
			by[p.leader] = append(by[p.leader], partitionFetch{p: p, log: s.q.logs[id], offset: c.next, cursor: c, onward: true})
		}
	}
	for leader, fetches := range by {
		slices.SortFunc(fetches, func(a, b partitionFetch) int {
			return cmp.Or(cmp.Compare(a.cursor.tried, b.cursor.tried), comparePartitions(a.p.Partition, b.p.Partition))
		})
		by[leader] = fetches[:min(len(fetches), maxNewestPartitions)]
	}
	for leader, fetches := range newest {
		all, mine := by[leader], map[probes.Partition]int{}
		for i := range all {
			mine[all[i].p.Partition] = i
		}
		for _, n := range fetches {
			i, moved := mine[n.p.Partition]
			switch {
			case !moved:
				n.cursor = f.cursors[n.p.Partition]
				all = append(all, n)
			case n.offset >= all[i].offset:
				all[i].covers = true
			case !all[i].cursor.plain && !n.log.newest.reaches(all[i], s.newestEach):
				all[i].offset, all[i].onward = n.offset, false
			}
		}
		if len(all) > 0 {
			by[leader] = all
		}
	}
	for leader, fetches := range by {
		by[leader] = shareBytes(fetches)
		by[leader][0].first = true
		for i := range by[leader] {
			by[leader][i].jump()
		}
	}
	return by
}

// need is how many bytes there are to read, about.
func (f *partitionFetch) need() int32 {
	bytes := f.bytes()
	switch {
	case !f.onward && f.maxBytes > 0: // the newest messages' share
		return f.maxBytes
	case bytes == 0:
		return maxFetchBytes
	}
	return int32(min(bytes*5/4+leastBytes, maxFetchBytes))
}

// bytes from the fetch's offset to the log's end, as far as known; 0: unknown.
func (f *partitionFetch) bytes() float64 {
	return f.cursor.bytesPerOffset * float64(f.p.end.offset-f.offset)
}

// shareBytes shares maxFetchBytes among the fetches of one broker: of each a batch, while there is room, and what is left evenly among
// those that need more.
func shareBytes(fetches []partitionFetch) []partitionFetch {
	need := make([]int32, len(fetches))
	left := int32(maxFetchBytes)
	for i := range fetches {
		f := &fetches[i]
		need[i] = f.need()
		least := min(f.log.batchBytes, maxFetchBytes)
		if left < least && i > 0 {
			fetches = fetches[:i]
			break
		}
		f.maxBytes = least
		left -= least
	}
	order := make([]int, len(fetches))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(need[a]-fetches[a].maxBytes, need[b]-fetches[b].maxBytes) })
	for n, i := range order {
		more := max(0, min(need[i]-fetches[i].maxBytes, left/int32(len(order)-n)))
		fetches[i].maxBytes += more
		left -= more
	}
	return fetches
}

// jump so far ahead that the log's end is reached, where there was too much already when it was read last.
func (f *partitionFetch) jump() {
	c := f.cursor
	if c.bytesPerOffset == 0 || !c.behind || c.open {
		return
	}
	room := max(1, int64(float64(f.maxBytes)/c.bytesPerOffset))
	if c.mostOffsets > 0 {
		room = min(room, c.mostOffsets)
	}
	if f.p.end.offset-c.next <= room {
		c.behind = false
	} else {
		f.offset, f.onward, f.covers = f.p.end.offset-room, true, false
	}
}

// takeFollowed hands on the records from the cursor on. batches are what came, also where it could not be read.
func (s *sampling) takeFollowed(f partitionFetch, answer *kmsg.FetchResponseTopicPartition, batches []byte, got []*kgo.Record, next int64) {
	fl, c, end := s.q.follower, f.cursor, f.stableEnd(answer)
	fl.mu.Lock()
	defer fl.mu.Unlock()
	fl.read = true
	c.open = end < answer.HighWatermark
	c.learn(batches, f.offset, next)
	if end <= f.offset {
		if c.next >= f.offset { // it was no jump
			c.waitsAt = f.p.end.offset
		}
		return
	}
	bad, isBad := badBatch{}, false
	if next <= f.offset {
		if bad, isBad = firstBatch(batches); !isBad || bad.next <= f.offset {
			c.nothingCame(fl, f.first, end)
			return
		}
	}
	c.stuck, c.tried = 0, s.q.samplings
	if f.offset > c.next {
		fl.leaveOut(c, f.offset-c.next)
		c.next = f.offset
	}
	from, messages, times, most := c.next, 0, batchTimes(answer.RecordBatches), max(answer.HighWatermark, end)
	defer func() { c.notePart(messages, c.next-from) }()
	for _, r := range got {
		if r.Offset < c.next || r.Offset >= most {
			continue
		}
		c.next = r.Offset + 1
		messages++
		fl.seen++
		fl.visit(eventOf(r, times))
	}
	switch next = min(next, most); {
	case isBad && bad.next > c.next:
		to := min(bad.next, end)
		fl.count(int(min(bad.records, to-c.next)))
		from, messages, c.next = to, 0, to
	case isBad || next < c.next: // reading from before the cursor came to a bad batch, or to the end of its bytes
		c.plain = true
	default:
		c.next = next
	}
	switch {
	case c.next >= end:
		c.waitsAt, c.plain = f.p.end.offset, false
	case f.onward:
		c.waitsAt, c.behind = -1, true
	default:
		c.waitsAt = -1
	}
}

// nothingCame though the log goes on to end. first: the broker had room for a batch of whatever size.
func (c *cursor) nothingCame(fl *follower, first bool, end int64) {
	if !first {
		return
	}
	if c.stuck++; c.stuck >= mostStuck && end > c.next {
		fl.leaveOut(c, end-c.next)
		c.next, c.stuck = end, 0
	}
}

// learn how large batches are, and how many offsets of them can be unpacked. They were read from an offset up to another.
func (c *cursor) learn(batches []byte, from, to int64) {
	bytes, offsets, came := sizeOf(batches)
	if offsets > 0 {
		c.bytesPerOffset = float64(bytes) / float64(offsets)
	}
	switch {
	case to < came && to > from:
		c.mostOffsets = to - from
	case !c.behind:
		c.mostOffsets = 0
	}
}

// notePart of the log, in which so many messages were.
func (c *cursor) notePart(messages int, offsets int64) {
	if offsets <= 0 {
		return
	}
	c.messages, c.offsets = c.messages+float64(messages), c.offsets+float64(offsets)
	if c.offsets > mostDensity {
		c.messages, c.offsets = c.messages/2, c.offsets/2
	}
}

// eventOf a record.
func eventOf(r *kgo.Record, times []batchTime) probes.Event {
	e := probes.Event{
		Partition: probes.Partition{Topic: r.Topic, ID: r.Partition}, At: probes.Position{Major: uint64(r.Offset), Minor: 1},
		Key: r.Key, Value: r.Value, Written: writtenAt(r, times),
	}
	if e.Written.IsZero() {
		e.Written = time.Now()
	}
	for _, h := range r.Headers {
		if h.Key == "traceparent" && len(h.Value) <= longestTraceParent {
			e.TraceParent = string(h.Value)
		}
	}
	return e
}

// followed is what following came to since it was told last; nil: nobody follows, or nothing could be learned.
func (q *queue) followed() *probes.Followed {
	f := q.follower
	if f == nil || !f.read {
		return nil
	}
	out := &probes.Followed{Seen: f.seen, LeftOut: f.leftOut, After: make(map[probes.Partition]probes.Position, len(f.cursors))}
	if len(f.anew) > 0 {
		out.Anew = f.anew
		f.anew = map[probes.Partition]bool{}
	}
	f.seen, f.leftOut = 0, 0
	for id, c := range f.cursors {
		if c.goneAt.IsZero() && c.next >= 0 {
			out.After[id] = probes.Position{Major: uint64(c.next)}
		}
	}
	return out
}
