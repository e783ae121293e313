package kafka

import (
	"encoding/binary"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// layouts of the answers to the requests that are sent: how many bytes stand where, in which versions. The library takes the room for
// as many elements as a list announces before it looks for them; with these an answer is walked through first.
//
// 1, 2, 4, 8 and 16 are fields of so many bytes, s is a string, y are bytes, [ ] is a list of what it holds, ( ) a structure, t is for
// how long the client is asked to wait (4 bytes); @N+ and @N-M are the versions that have it. flexible is the first version with compact lengths and tagged fields.
var layouts = map[int16]struct {
	flexible int16
	fields   []field
}{
	int16(kmsg.Produce):        {9, fieldsOf("[ s@0-12 16@13+ [ 4 2 8 8@2+ 8@5+ [ 4 s ]@8+ s@8+ ] ] t@1+")},
	int16(kmsg.Fetch):          {12, fieldsOf("t@1+ 2@7+ 4@7+ [ s@0-12 16@13+ [ 4 2 8 8@4+ 8@5+ [ 8 8 ]@4+ 4@11+ y ] ]")},
	int16(kmsg.ListOffsets):    {6, fieldsOf("t@2+ [ s [ 4 2 [ 8 ]@0-0 8@1+ 8@1+ 4@4+ ] ]")},
	int16(kmsg.Metadata):       {9, fieldsOf("t@3+ [ 4 s 4 s@1+ ] s@2+ 4@1+ [ 2 s 16@10+ 1@1+ [ 2 4 4 4@7+ [ 4 ] [ 4 ] [ 4 ]@5+ ] 4@8+ ] 4@8-10 2@13+")},
	int16(kmsg.OffsetCommit):   {8, fieldsOf("t@3+ [ s@0-9 16@10+ [ 4 2 ] ]")},
	int16(kmsg.OffsetFetch):    {6, fieldsOf("t@3+ [ s [ 4 8 4@5+ s 2 ] ]@0-7 2@2-7 [ s [ s@8-9 16@10+ [ 4 8 4 s 2 ] ] 2 ]@8+")},
	int16(kmsg.ListGroups):     {3, fieldsOf("t@1+ 2 [ s s s@4+ s@5+ ]")},
	int16(kmsg.ApiVersions):    {3, fieldsOf("2 [ 2 2 2 ] t@1+")},
	int16(kmsg.DescribeGroups): {5, fieldsOf("t@1+ [ 2 s@6+ s s s s [ s s@4+ s s y y ] 4@3+ ]")},
	int16(kmsg.FindCoordinator): {3, fieldsOf(
		"t@1+ 2@0-3 s@1-3 4@0-3 s@0-3 4@0-3 [ s 4 s 4 2 s ]@4+")},
	int16(kmsg.ConsumerGroupDescribe): {0, fieldsOf(
		"t [ 2 s s s 4 4 s [ s s s 4 s s [ s ] s ( [ 16 s [ 4 ] ] ) ( [ 16 s [ 4 ] ] ) 1@1+ ] 4 ]")},
}

// field of an answer.
type field struct {
	// kind: s, y, t, [ or (; else it has size bytes.
	kind     byte
	size     int
	from, to int16
	of       []field
}

// fieldsOf reads a layout, which is a constant.
func fieldsOf(layout string) []field {
	words := strings.Fields(layout)
	return readFields(&words)
}

func readFields(words *[]string) (out []field) {
	for len(*words) > 0 {
		word, versions, _ := strings.Cut((*words)[0], "@")
		if word == "]" || word == ")" {
			return out
		}
		*words = (*words)[1:]
		f := field{}
		switch word {
		case "[", "(":
			f.kind, f.of = word[0], readFields(words)
			_, versions, _ = strings.Cut((*words)[0], "@")
			*words = (*words)[1:]
		case "s", "y", "t":
			f.kind = word[0]
		default:
			f.size = number(word)
		}
		f.from, f.to = versionsOf(versions)
		out = append(out, f)
	}
	return out
}

// versionsOf what stands behind @; all of them where nothing does.
func versionsOf(s string) (from, to int16) {
	const last = 1<<15 - 1
	switch first, most, ranged := strings.Cut(s, "-"); {
	case s == "":
		return 0, last
	case ranged:
		return int16(number(first)), int16(number(most))
	default:
		return int16(number(strings.TrimSuffix(s, "+"))), last
	}
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(err) // the layouts are constants
	}
	return n
}

const (
	// mostElements that the lists of an answer have, all together; those of numbers do not count, which need no more room than they came in.
	mostElements = 1 << 17
	// mostTagged bytes of the tagged fields of one structure.
	mostTagged = 4 << 10
	// mostThrottle is for how long a broker may ask to wait. The library waits for as long as it is told, before each later request of the
	// connection, and a scrape has seconds for all of them. A broker that means it stops to read the connection itself (KIP-219).
	mostThrottle = 100 * time.Millisecond
)

// walker goes through an answer. What is not there is an answer that is not whole.
type walker struct {
	left     []byte
	version  int16
	flexible bool
	elements int
	failed   bool
}

// take n bytes.
func (w *walker) take(n int64) []byte {
	if n < 0 || n > int64(len(w.left)) {
		w.failed = true
		return nil
	}
	out := w.left[:n]
	w.left = w.left[n:]
	return out
}

func (w *walker) uvarint() int64 {
	n, size := binary.Uvarint(w.left)
	if size <= 0 || n > 1<<31 {
		w.failed = true
		return 0
	}
	w.left = w.left[size:]
	return int64(n)
}

// length of a string (in 2 bytes), or of bytes or a list (in 4), where it is not compact. Below 0: there is none.
func (w *walker) length(bytes int64) int64 {
	if w.flexible {
		return w.uvarint() - 1
	}
	b := w.take(bytes)
	switch len(b) {
	case 2:
		return int64(int16(binary.BigEndian.Uint16(b)))
	case 4:
		return int64(int32(binary.BigEndian.Uint32(b)))
	}
	return -1
}

// structure goes through fields, and the tagged ones behind.
func (w *walker) structure(fields []field) {
	for i := range fields {
		if f := &fields[i]; w.version >= f.from && w.version <= f.to && !w.failed {
			w.field(f)
		}
	}
	if w.flexible && !w.failed {
		w.tagged()
	}
}

func (w *walker) tagged() {
	before := len(w.left)
	for n := w.uvarint(); n > 0 && !w.failed; n-- {
		_ = w.uvarint()
		w.take(w.uvarint())
		w.failed = w.failed || before-len(w.left) > mostTagged
	}
}

func (w *walker) field(f *field) {
	switch f.kind {
	case 's':
		w.take(max(w.length(2), 0))
	case 'y':
		w.take(max(w.length(4), 0))
	case 't':
		w.throttle()
	case '(':
		w.structure(f.of)
	case '[':
		w.list(f.of)
	default:
		w.take(int64(f.size))
	}
}

// throttle that is too long becomes the longest, in the answer itself.
func (w *walker) throttle() {
	if b := w.take(4); b != nil && int32(binary.BigEndian.Uint32(b)) > int32(mostThrottle.Milliseconds()) {
		binary.BigEndian.PutUint32(b, uint32(mostThrottle.Milliseconds()))
	}
}

func (w *walker) list(of []field) {
	n := max(w.length(4), 0)
	if len(of) == 1 && of[0].kind == 0 {
		w.take(n * int64(of[0].size))
		return
	}
	for ; n > 0 && !w.failed; n-- {
		if w.elements++; w.elements > mostElements {
			w.failed = true
			return
		}
		if len(of) == 1 { // strings
			w.field(&of[0])
		} else {
			w.structure(of)
		}
	}
}
