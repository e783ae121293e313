package kafka

import (
	"encoding/binary"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"pgregory.net/rapid"
)

// log of a partition that ended at 10, 20 (twice) and 30, a second apart.
func testLog() *partitionLog {
	l := newPartitionLog([16]byte{})
	for i, end := range []int64{10, 20, 20, 30} {
		l.addEnd(end, testEpoch+int64(i)*1000)
	}
	return l
}

// testEpoch is a time at which records can have been written, in milliseconds.
const testEpoch = int64(1_700_000_000_000)

func TestLogEstimates(t *testing.T) {
	now := testEpoch + 4000
	for _, one := range []struct {
		offset, from, to int64
	}{
		{10, 0, 1000}, {15, 0, 1000}, {19, 0, 1000}, {20, 2000, 3000}, {29, 2000, 3000}, {5, -1, -1},
	} {
		oldest := testLog().oldestAt(one.offset, 30, now, 1)
		if oldest.sure || oldest.none || oldest.from != one.offset {
			t.Errorf("%d: %+v", one.offset, oldest)
		}
		if one.from < 0 && oldest.at != 0 || one.from >= 0 && (oldest.at < testEpoch+one.from || oldest.at > testEpoch+one.to) {
			t.Errorf("the record at %d was written at %d, want from %d to %d", one.offset, oldest.at-testEpoch, one.from, one.to)
		}
	}
	if oldest := testLog().oldestAt(30, 30, now, 1); !oldest.none || !oldest.sure {
		t.Errorf("at the end: %+v", oldest)
	}
}

func TestLogThatWentBack(t *testing.T) {
	l := testLog()
	l.keep(nextRecord{from: 5, to: 5, found: true, at: testEpoch, used: 1})
	l.addEnd(7, testEpoch+5000)
	if oldest := l.oldestAt(5, 7, testEpoch+6000, 1); oldest.at != 0 || oldest.sure {
		t.Errorf("what was known of the log before: %+v", oldest)
	}
}

func TestLogRecords(t *testing.T) {
	l := newPartitionLog([16]byte{})
	l.keep(nextRecord{from: 10, to: 12, found: true, at: testEpoch, used: 1})
	l.keep(nextRecord{from: 20, to: 30, used: 1}) // nothing in between
	l.keep(nextRecord{from: 30, to: 30, found: true, at: testEpoch + 1, used: 1})
	l.keep(nextRecord{from: 40, to: 44, found: true, at: testEpoch + 2, undecided: true, end: 50, used: 1})
	l.keep(nextRecord{from: 45, to: 60, used: 1})
	for _, one := range []struct {
		offset, end int64
		want        oldestMessage
	}{
		{10, 60, oldestMessage{at: testEpoch, sure: true, from: 10}},
		{12, 60, oldestMessage{at: testEpoch, sure: true, from: 12}},
		{13, 60, oldestMessage{from: 13}},
		{22, 60, oldestMessage{at: testEpoch + 1, sure: true, from: 30}},
		{41, 50, oldestMessage{at: testEpoch + 2, sure: true, from: 41}},
		{41, 51, oldestMessage{at: testEpoch + 2, from: 41}}, // it may have been decided since
		{47, 60, oldestMessage{none: true, sure: true, from: 60}},
		{47, 61, oldestMessage{from: 60}},
	} {
		if got := l.oldestAt(one.offset, one.end, testEpoch+10, 2); got != one.want {
			t.Errorf("at %d of %d: %+v, want %+v", one.offset, one.end, got, one.want)
		}
	}
	l.forget(4)
	if len(l.records) != 5 {
		t.Errorf("%d records of those used two samplings ago", len(l.records))
	}
	l.forget(6)
	if len(l.records) != 0 {
		t.Errorf("%d records that nobody asks for", len(l.records))
	}
}

// A group far behind moves on: where the records that were read leave little doubt, the time is estimated from them.
func TestLogFarBehind(t *testing.T) {
	l := newPartitionLog([16]byte{})
	now := testEpoch + 1_000_000
	l.addEnd(1000, now)
	l.keep(nextRecord{from: 0, to: 0, found: true, at: testEpoch, used: 1})
	if oldest := l.oldestAt(10, 1000, now, 1); oldest.at != 0 {
		t.Errorf("anything between now and long ago is given as %d", oldest.at)
	}
	l.keep(nextRecord{from: 100, to: 100, found: true, at: testEpoch + 50_000, used: 1})
	if oldest := l.oldestAt(50, 1000, now, 1); oldest.at != testEpoch+25_000 || oldest.sure {
		t.Errorf("half way between two records: %+v", oldest)
	}
}

// Whatever is produced, committed and looked at: an estimate is within the samplings around the truth, and never of the
// time to come.
func TestLogAnyHistory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := newPartitionLog([16]byte{})
		var written []int64
		now := testEpoch
		longest := int64(0)
		for range rapid.IntRange(1, 100).Draw(t, "samplings") {
			gap := rapid.Int64Range(1, 20_000).Draw(t, "gap")
			longest = max(longest, gap)
			for range rapid.IntRange(0, 5).Draw(t, "records") {
				at := now + rapid.Int64Range(0, gap).Draw(t, "at")
				if n := len(written); n > 0 {
					at = max(at, written[n-1])
				}
				written = append(written, at)
			}
			now += gap
			l.addEnd(int64(len(written)), now)
			if len(written) == 0 {
				continue
			}
			offset := rapid.Int64Range(0, int64(len(written)-1)).Draw(t, "commit")
			oldest := l.oldestAt(offset, int64(len(written)), now, 1)
			if oldest.none || oldest.sure || oldest.at > now {
				t.Fatalf("%+v at %d", oldest, now)
			}
			if oldest.at != 0 && math.Abs(float64(oldest.at-written[offset])) > float64(longest) {
				t.Fatalf("the record at %d was written at %d, not %d", offset, written[offset]-testEpoch, oldest.at-testEpoch)
			}
			if len(l.ends) > maxEnds {
				t.Fatalf("%d ends are remembered", len(l.ends))
			}
		}
	})
}

// What waits is what is not known to be none: record by record against a log that is read in parts.
func TestLogWaiting(t *testing.T) {
	for _, c := range []struct {
		name        string
		newest      seenPart
		records     []nextRecord
		commit, end int64
		want        int64
	}{
		{"nothing is known", seenPart{}, nil, 10, 30, 20},
		{"a marker alone", seenPart{}, []nextRecord{{from: 29, to: 30}}, 29, 30, 0},
		{"messages after the marker came meanwhile", seenPart{}, []nextRecord{{from: 29, to: 30}}, 29, 33, 3},
		{"markers before the first message", seenPart{}, []nextRecord{{from: 10, to: 14, found: true, at: 1}}, 10, 30, 16},
		{"the last part is known", seenPart{20, 30, []int64{21, 23, 25, 27, 29}}, nil, 10, 30, 15},
		{"all is known", seenPart{0, 30, []int64{21, 23}}, nil, 22, 30, 1},
		{"all is known, and there is none", seenPart{0, 30, []int64{5}}, nil, 22, 30, 0},
		{"more came behind what is known", seenPart{20, 30, []int64{21}}, nil, 25, 34, 4},
		{"committed behind what is known", seenPart{20, 30, []int64{21}}, nil, 31, 34, 3},
		{"committed all", seenPart{20, 30, []int64{21}}, nil, 34, 34, 0},
	} {
		l := newPartitionLog([16]byte{})
		l.seen = c.newest
		for _, r := range c.records {
			l.keep(r)
		}
		if got := l.waiting(c.commit, c.end, 1000, 1); got != c.want {
			t.Errorf("%s: %d wait, want %d", c.name, got, c.want)
		}
	}
}

// FuzzBatchTimes: whatever comes behind a batch, the batch keeps its times.
func FuzzBatchTimes(f *testing.F) {
	at := time.Now().Add(-time.Minute).Truncate(time.Microsecond)
	batch := (&kmsg.RecordBatch{
		FirstOffset: 7, PartitionLeaderEpoch: -1, Magic: 2, LastOffsetDelta: 2, FirstTimestamp: at.UnixMicro(), MaxTimestamp: at.UnixMicro(), Length: 49,
	}).AppendTo(nil)
	f.Add([]byte{})
	f.Add(batch)
	f.Add(batch[:30])
	f.Add(append(slices.Clone(batch[:batchLastDelta]), make([]byte, 40)...)) // of the same offset, and one record
	last := slices.Clone(batch)
	binary.BigEndian.PutUint64(last, 1<<63-2) // its offsets have no end
	f.Add(last)
	f.Fuzz(func(t *testing.T, behind []byte) {
		times := batchTimes(append(slices.Clone(batch), behind...))
		for i := range int64(3) {
			ms := at.UnixMicro() + i
			r := &kgo.Record{Offset: 7 + i, Timestamp: time.Unix(0, ms*1e6)} // as the library reads it
			if got := writtenAt(r, times); !got.Equal(at.Add(time.Duration(i) * time.Microsecond)) {
				t.Errorf("record %d was written at %v, want %v", i, got, at)
			}
		}
		batchTimes(behind)
	})
}
