package kafka

import (
	"encoding/binary"
	"io"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

// Whatever reads from a broker holds a bounded part of what has no end, of each kind of answer.
func TestEndlessAnswers(t *testing.T) {
	frame := func(size uint32) string { return string(binary.BigEndian.AppendUint32(nil, size)) }
	empty := func(size uint32) string { return frame(size) + string(make([]byte, size)) }
	for name, c := range map[string]struct {
		first string
		again func(int) string
	}{
		"the longest frame":       {frame(1<<31 - 1), probetest.Again("x")},
		"a frame below 0":         {frame(1<<32 - 1), probetest.Again("x")},
		"the longest answer":      {frame(longestAnswer), probetest.Again("x")},
		"the longest listing":     {"", probetest.Again(empty(longestListing))},
		"a listing of many":       {frame(longestListing), probetest.Again("\x00\x00\x00\x01\x00")},
		"lists of the most":       {frame(longestListing), probetest.Again("\x7f\xff\xff\xff")},
		"compact lists":           {frame(longestListing), probetest.Again("\xff\xff\xff\xff\x07")},
		"a number without an end": {frame(longestListing), probetest.Again("\xff")},
		"a short answer":          {"", probetest.Again(empty(longestOther))},
		"empty answers":           {"", probetest.Again(frame(0))},
		"short answers":           {"", probetest.Again(frame(4) + "\x00\x00\x00\x01")},
		"what is no answer":       {"", probetest.Again("HTTP/1.1 400 Bad Request\r\n\r\n")},
	} {
		for key := range layouts {
			t.Run(kmsg.NameForKey(key)+": "+name, func(t *testing.T) {
				server := probetest.NewEndless(c.first, c.again)
				conn := bounded(server)
				request := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16([]byte{0, 0, 0, 8}, uint16(key)), uint16(kmsg.ResponseForKey(key).MaxVersion()))
				if _, err := conn.Write(append(request, 0, 0, 0, 1)); err != nil {
					t.Fatal(err)
				}
				if n, err := io.Copy(io.Discard, conn); err == nil {
					t.Errorf("%d bytes were handed on, and no error", n)
				}
				most := int64(longestListing) * 3 // as it grows, and once more before
				if key == int16(kmsg.Fetch) {
					most = longestAnswer * 3 / 2
				}
				server.HeldLittle(t, most)
			})
		}
	}
}
