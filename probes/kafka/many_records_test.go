package kafka

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"runtime"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/cacheinv/cacheinv_exporter/probes"
)

// emptyBatch is a batch of records without key and value, of 7 bytes each, as gzip.
func emptyBatch(t testing.TB, first int64, records int) []byte {
	t.Helper()
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := w.Write(bytes.Repeat([]byte{12, 0, 0, 0, 1, 1, 0}, records)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	b := kmsg.RecordBatch{
		FirstOffset: first, Magic: 2, Attributes: 1, LastOffsetDelta: int32(records - 1), NumRecords: int32(records), Records: packed.Bytes(),
		ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1, FirstTimestamp: 1_700_000_000_000, MaxTimestamp: 1_700_000_000_000,
	}
	raw := b.AppendTo(nil)
	binary.BigEndian.PutUint32(raw[8:], uint32(len(raw)-12))
	const crc, summed = 17, 21 // where the sum stands, and from where on it is
	binary.BigEndian.PutUint32(raw[crc:], crc32.Checksum(raw[summed:], crc32.MakeTable(crc32.Castagnoli)))
	return raw
}

func TestFewRecords(t *testing.T) {
	three := append(append(emptyBatch(t, 0, 40), emptyBatch(t, 40, 40)...), emptyBatch(t, 80, 40)...)
	one := len(three) / 3
	for most, want := range map[int64]int{0: 0, 39: 0, 40: one, 79: one, 80: 2 * one, 119: 2 * one, 120: 3 * one, 1000: 3 * one} {
		if got := fewRecords(three, most); len(got) != want {
			t.Errorf("of batches of 40 records %d bytes hold no more than %d, want %d", len(got), most, want)
		}
	}
	part := three[:len(three)-5]
	if got := fewRecords(part, 100); len(got) != 2*one {
		// what was cut off is the library's to judge
		if len(got) != len(part) {
			t.Errorf("%d bytes of what was cut off", len(got))
		}
	}
	negative := emptyBatch(t, 0, 4)
	binary.BigEndian.PutUint32(negative[batchCount:], 1<<31)
	if got := fewRecords(negative, 100); len(got) != 0 {
		t.Errorf("%d bytes of a batch with a negative number of records", len(got))
	}
	for size := 12; size < batchHeader; size++ {
		short := make([]byte, size) // of an old format, or of none
		binary.BigEndian.PutUint32(short[8:], uint32(size-12))
		if got := fewRecords(short, 100); len(got) != size {
			t.Errorf("%d bytes of what has %d, and is shorter than a batch", len(got), size)
		}
		if got := fewRecords(append(short, three...), 40); len(got) != size+one {
			t.Errorf("behind %d bytes that are no batch, %d hold no more than 40 records, want %d", size, len(got)-size, one)
		}
	}
}

// A batch of a few kilobytes that holds as many records as can be unpacked: none of them is made.
func TestManyRecordsTakeLittleMemory(t *testing.T) {
	f := partitionFetch{p: &partition{Partition: probes.Partition{Topic: "t"}}, log: &partitionLog{}}
	unpack := &boundedDecompressor{inner: kgo.DefaultDecompressor(), left: maxUnpackedBytes}
	answer := &kmsg.FetchResponseTopicPartition{RecordBatches: emptyBatch(t, 0, maxUnpackedBytes/7)}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	got, next := f.records(answer, unpack)
	runtime.ReadMemStats(&after)
	if !errors.Is(got.Err, errManyRecords) || len(got.Records) > 0 || next != 0 {
		t.Errorf("%d records, %v, next %d", len(got.Records), got.Err, next)
	}
	if took := after.TotalAlloc - before.TotalAlloc; took > 40<<20 {
		t.Errorf("it took %d bytes", took)
	}
	answer.RecordBatches = append(emptyBatch(t, 0, 50_000), emptyBatch(t, 50_000, 90_000)...)
	if got, next := f.records(answer, unpack); got.Err != nil || next != 50_000 {
		t.Errorf("%d records, %v, next %d", len(got.Records), got.Err, next)
	}
}
