package message

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cacheinv/cacheinv_exporter/internal/content"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// earliest time that a message can have been written.
var earliest = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func reader(t testing.TB, m *probes.Message) *Reader {
	t.Helper()
	r, err := NewReader(m)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

var everyPart = &probes.Message{Key: "$.k", Version: "$.v", TimestampMS: "$.ts"}

// theMessage is itself the key.
var theMessage = &probes.Message{Key: "$"}

// told is a message as text: key, version, milliseconds.
func told(m Message) [3]string {
	var out [3]string
	if m.HasKey {
		out[0] = m.Key
	}
	out[1] = m.Version.String()
	if !m.At.IsZero() {
		out[2] = strconv.FormatInt(m.At.UnixMilli(), 10)
	}
	return out
}

func TestMessage(t *testing.T) {
	for _, c := range []struct {
		name  string
		spec  *probes.Message
		value string
		want  [3]string
	}{
		{"all parts", everyPart, `{"k":"user:1","v":7,"ts":1700000000123}`, [3]string{"user:1", "7", "1700000000123"}},
		{"numbers in quotes", everyPart, `{"k":5,"v":"7","ts":"1700000000123"}`, [3]string{"5", "7", "1700000000123"}},
		{"a version by time", everyPart, `{"k":"a","v":"2026-01-02T03:04:05Z"}`, [3]string{"a", "2026-01-02T03:04:05Z", ""}},
		{"a dotted version", everyPart, `{"k":"a","v":"v1.10.0"}`, [3]string{"a", "1.10.0", ""}},
		{"parts that are none", everyPart, `{"k":["a"],"v":"new","ts":"yesterday"}`, [3]string{}},
		{"an empty key is none", everyPart, `{"k":""}`, [3]string{}},
		{"seconds", everyPart, `{"k":"a","ts":1700000000}`, [3]string{"a", "", "1700000000000"}},
		{"seconds with a fraction", everyPart, `{"k":"a","ts":1700000000.123}`, [3]string{"a", "", "1700000000123"}},
		{"microseconds", everyPart, `{"k":"a","ts":1700000000123456}`, [3]string{"a", "", "1700000000123"}},
		{"nanoseconds in quotes", everyPart, `{"k":"a","ts":"1700000000123456789"}`, [3]string{"a", "", "1700000000123"}},
		{"RFC 3339", everyPart, `{"k":"a","ts":"2023-11-14T22:13:20.123Z"}`, [3]string{"a", "", "1700000000123"}},
		{"more than a day ahead", everyPart, `{"k":"a","ts":95617584000000}`, [3]string{"a", "", ""}},
		{"no time at all", everyPart, `{"k":"a","ts":-5}`, [3]string{"a", "", ""}},
		{"not JSON", everyPart, `user:1`, [3]string{}},
		{"no path to the key", &probes.Message{Version: "$.v"}, `{"key":"user:1","v":7}`, [3]string{"user:1", "7", ""}},
		{"nothing configured", nil, `{"key":"user:1","v":7}`, [3]string{}},
		{"nothing configured, not JSON", nil, `user:1:profile`, [3]string{}},
		{"a word", theMessage, `user:1:profile`, [3]string{"user:1:profile", "", ""}},
		{"a number", theMessage, `12345`, [3]string{"12345", "", ""}},
		{"a text of JSON where the path says so", theMessage, `"user:1"`, [3]string{"user:1", "", ""}},
		{"a text is no word", theMessage, `please drop user:1`, [3]string{}},
		{"damaged JSON is no word", theMessage, `{"key":"user:1"`, [3]string{}},
		{"bytes are no word", theMessage, "\xff\xfe", [3]string{}},
		{"control characters are no word", theMessage, "a\x00b", [3]string{}},
		{"the longest word", theMessage, strings.Repeat("k", 250), [3]string{strings.Repeat("k", 250), "", ""}},
		{"too long a word", theMessage, strings.Repeat("k", 251), [3]string{}},
		{"nothing", theMessage, "", [3]string{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := told(reader(t, c.spec).Read([]byte(c.value))); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestMessageOfARecord(t *testing.T) {
	value := []byte(`{"k":"in the value","v":3}`)
	if got := reader(t, everyPart).ReadRecord([]byte("record"), value); got.Key != "in the value" {
		t.Errorf("with a path the key is %q", got.Key)
	}
	bare := reader(t, &probes.Message{Version: "$.v"})
	if got := bare.ReadRecord([]byte("record"), value); got.Key != "record" || got.Version.String() != "3" {
		t.Errorf("without a path the message is %+v", got)
	}
	if got := bare.ReadRecord(nil, value); got.HasKey {
		t.Errorf("a record without a key has the key %q", got.Key)
	}
	if got := bare.ReadRecord(nil, []byte(`{"key":"x"}`)); got.Key != "x" {
		t.Errorf("a record without a key whose value has one has %q", got.Key)
	}
	if got := bare.ReadRecord([]byte("\x00\x01"), nil); got.Key != "\x00\x01" {
		t.Errorf("a tombstone's key is %q", got.Key)
	}
}

func TestMessageOfAnEntry(t *testing.T) {
	for _, c := range []struct {
		name   string
		spec   *probes.Message
		fields []string
		want   [3]string
	}{
		{"fields", everyPart, []string{"k", "user:1", "v", "7", "ts", "1700000000123"}, [3]string{"user:1", "7", "1700000000123"}},
		{"JSON in a field", &probes.Message{Key: "$.message.key", Version: "$.message.v"}, []string{"message", `{"key":"user:1","v":2}`}, [3]string{"user:1", "2", ""}},
		{"the text of a field that is JSON", &probes.Message{Key: "$.payload"}, []string{"payload", `{"a":1}`}, [3]string{`{"a":1}`, "", ""}},
		{"damaged JSON in a field", &probes.Message{Key: "$.payload"}, []string{"payload", `{"a":`}, [3]string{`{"a":`, "", ""}},
		{"any bytes", &probes.Message{Key: "$.k"}, []string{"k", "\xff\"\n"}, [3]string{"\xff\"\n", "", ""}},
		{"no path to the key", &probes.Message{}, []string{"key", "user:1"}, [3]string{"user:1", "", ""}},
		{"nothing configured", nil, []string{"key", "user:1"}, [3]string{}},
		{"no fields", nil, nil, [3]string{}},
		{"an odd number", nil, []string{"key"}, [3]string{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := told(reader(t, c.spec).ReadEntry(c.fields)); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestMessagePathsAreChecked(t *testing.T) {
	for want, m := range map[string]probes.Message{
		"message.key:":          {Key: "key"},
		"message.version:":      {Version: "$..v"},
		"message.timestamp_ms:": {TimestampMS: "$.a[*]"},
	} {
		if _, err := NewReader(&m); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error is %v, want one of %s", err, want)
		}
	}
}

func TestAge(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	for at, want := range map[time.Time]probes.Count{
		{}:                        {},
		now.Add(-time.Minute):     {Value: 60, Known: true},
		now.Add(time.Second):      {Known: true},
		now.Add(30 * time.Hour):   {},
		time.Unix(1<<40, 0).UTC(): {},
	} {
		if got := AgeAt(at, now); got != want {
			t.Errorf("of %v it is %+v, want %+v", at, got, want)
		}
	}
}

// messages in short: "key", "key@version" or "key@version+seconds".
func messages(t testing.TB, texts ...string) []Message {
	t.Helper()
	r := reader(t, everyPart)
	var out []Message
	for _, text := range texts {
		key, rest, _ := strings.Cut(text, "@")
		version, seconds, _ := strings.Cut(rest, "+")
		at := ""
		if seconds != "" {
			n, err := strconv.Atoi(seconds)
			if err != nil {
				t.Fatal(err)
			}
			at = strconv.Itoa(1_700_000_000_000 + n*1000)
		}
		out = append(out, r.ReadEntry([]string{"k", key, "v", version, "ts", at}))
	}
	return out
}

func TestSampleOf(t *testing.T) {
	repeats := func(n float64) probes.Count { return probes.Count{Value: n, Known: true} }
	for _, c := range []struct {
		name       string
		partitions [][]Message
		want       probes.MessageSample
	}{
		{"nothing", nil, probes.MessageSample{}},
		{"an empty partition", [][]Message{nil, {}}, probes.MessageSample{}},
		{"no keys", [][]Message{messages(t, "", "")}, probes.MessageSample{Messages: 2}},
		{
			"keys without versions",
			[][]Message{messages(t, "a", "b", "a")},
			probes.MessageSample{Messages: 3, HasKeys: true, DistinctKeys: 2, TopKey: "a", TopKeyMessages: 2},
		},
		{
			"versions that advance",
			[][]Message{messages(t, "a@1", "b@1", "a@2", "a@3")},
			probes.MessageSample{Messages: 4, HasKeys: true, DistinctKeys: 2, TopKey: "a", TopKeyMessages: 3, Repeats: repeats(0)},
		},
		{
			"the same and a lower version",
			[][]Message{messages(t, "a@2", "a@2", "a@1", "a@3", "a@3")},
			probes.MessageSample{Messages: 5, HasKeys: true, DistinctKeys: 1, TopKey: "a", TopKeyMessages: 5, Repeats: repeats(3)},
		},
		{
			"some without a version",
			[][]Message{messages(t, "a@1", "a", "a@2", "a")},
			probes.MessageSample{Messages: 4, HasKeys: true, DistinctKeys: 1, TopKey: "a", TopKeyMessages: 4, Repeats: repeats(0)},
		},
		{
			"a key in two partitions, in the order of time",
			[][]Message{messages(t, "a@1+1", "a@3+3"), messages(t, "a@2+2", "a@4+4")},
			probes.MessageSample{Messages: 4, HasKeys: true, DistinctKeys: 1, TopKey: "a", TopKeyMessages: 4, Repeats: repeats(0)},
		},
		{
			"the order within a partition is its own, whatever the times say",
			[][]Message{messages(t, "a@1+9", "a@2+3", "a@3+4"), messages(t, "b@1+5")},
			probes.MessageSample{Messages: 4, HasKeys: true, DistinctKeys: 2, TopKey: "a", TopKeyMessages: 3, Repeats: repeats(0)},
		},
		{
			"of equals the first by name",
			[][]Message{messages(t, "b", "a", "a", "b")},
			probes.MessageSample{Messages: 4, HasKeys: true, DistinctKeys: 2, TopKey: "a", TopKeyMessages: 2},
		},
		{
			"what occurs once is nobody's top key",
			[][]Message{messages(t, "b", "a")},
			probes.MessageSample{Messages: 2, HasKeys: true, DistinctKeys: 2, TopKeyMessages: 1},
		},
		{
			"a long key is cut",
			[][]Message{messages(t, strings.Repeat("k", 1000), strings.Repeat("k", 1000))},
			probes.MessageSample{Messages: 2, HasKeys: true, DistinctKeys: 1, TopKey: strings.Repeat("k", 256) + "…", TopKeyMessages: 2},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, *SampleOf(c.partitions...)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestUnreadable(t *testing.T) {
	whole, twice := `{"k":"a","v":1,"ts":1700000000123}`, `{"k":{},"v":"new","ts":12}`
	for _, c := range []struct {
		name  string
		spec  *probes.Message
		texts []string
		want  map[string]int
	}{
		{"all parts", everyPart, []string{whole, twice, `{"k":"b"}`, "word", whole}, map[string]int{"key": 2, "version": 3, "timestamp": 3}},
		{"one part is configured", &probes.Message{Version: "$.version"}, []string{whole, whole}, map[string]int{"version": 2}},
		{"no message", everyPart, nil, map[string]int{"key": 0, "version": 0, "timestamp": 0}},
		{"nothing configured", nil, []string{"word"}, map[string]int{}},
	} {
		r := reader(t, c.spec)
		var all []Message
		for _, text := range c.texts {
			all = append(all, r.ReadRecord([]byte("record"), []byte(text)))
		}
		if diff := cmp.Diff(c.want, r.Sample(all).Unreadable); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
		// What else can be read of a message does not suffer, nor do its neighbours.
		if n := r.Sample(all, all).Messages; n != 2*len(c.texts) {
			t.Errorf("%s: %d messages", c.name, n)
		}
	}
}

// TestTimeOf goes through the units at the bounds of what is a time.
func TestTimeOf(t *testing.T) {
	now := time.Now()
	for _, at := range []time.Time{earliest, now.Add(-time.Hour), now, now.Add(23 * time.Hour)} {
		for unit, n := range map[string]int64{"s": at.Unix(), "ms": at.UnixMilli(), "us": at.UnixMicro(), "ns": at.UnixNano()} {
			if got := content.TimeOf(n); at.Sub(got).Abs() > time.Second {
				t.Errorf("%d %s are %v, want %v", n, unit, got, at)
			}
		}
	}
	for _, at := range []time.Time{earliest.Add(-time.Second), now.Add(25 * time.Hour)} {
		for unit, n := range map[string]int64{"s": at.Unix(), "ms": at.UnixMilli(), "us": at.UnixMicro(), "ns": at.UnixNano()} {
			if got := content.TimeOf(n); !got.IsZero() {
				t.Errorf("%d %s are %v, want no time", n, unit, got)
			}
		}
	}
	for _, n := range []int64{0, -1, math.MinInt64, math.MaxInt64} {
		if got := content.TimeOf(n); !got.IsZero() {
			t.Errorf("%d is %v", n, got)
		}
	}
}

// FuzzMessage reads anything, as a message, a record and an entry, and counts it.
func FuzzMessage(f *testing.F) {
	f.Add(`{"k":"a","v":1,"ts":1700000000123}`, "key")
	f.Add(`user:1`, "")
	f.Add(`[[[[{"k":`, "\xff")
	f.Add(`{"k":"\ud800","v":"1.2.3","ts":1e400}`, "k")
	f.Add(`{"k":"a","v":1e999999999,"ts":-1e999999999}`, `{"k":"b"}`)
	full, bare := reader(f, everyPart), reader(f, nil)
	f.Fuzz(func(t *testing.T, a, b string) {
		all := []Message{
			full.Read([]byte(a)), bare.Read([]byte(b)), full.ReadRecord([]byte(b), []byte(a)), bare.ReadRecord([]byte(a), []byte(b)),
			full.ReadEntry([]string{"k", a, "v", b, "ts", a}), bare.ReadEntry([]string{b, a, a, b}),
		}
		for _, m := range all {
			if m.HasKey != (m.Key != "") {
				t.Errorf("%+v has and has not a key", m)
			}
			if !m.At.IsZero() && m.At.Before(earliest) {
				t.Errorf("%v is no time", m.At)
			}
		}
		well := full.Read([]byte(`{"k":"\u0001 no other key","v":1,"ts":1700000000123}`))
		if s := full.Sample(append(all, well)); s.Messages != len(all)+1 || s.Unreadable["key"] > len(all) || s.Unreadable["timestamp"] > len(all) || s.DistinctKeys == 0 {
			t.Errorf("beside them a message that is well is lost: %+v", s)
		}
		s := SampleOf(all, all)
		if s.Messages != 2*len(all) || s.DistinctKeys > s.Messages || s.TopKeyMessages > s.Messages ||
			s.HasKeys != (s.DistinctKeys > 0) || s.HasKeys != (s.TopKeyMessages > 0) ||
			int(s.Repeats.Value) > s.Messages-s.DistinctKeys {
			t.Errorf("%+v", s)
		}
	})
}

// A message that is retried may keep its time. It does not make the others' pace slow.
func TestRate(t *testing.T) {
	now := time.Now()
	fast := make([]Message, 500)
	for i := range fast {
		fast[i].At = now.Add(-time.Duration(len(fast)-i) * 10 * time.Millisecond)
	}
	for name, c := range map[string]struct {
		old           int
		least, atMost float64 // per second
	}{"none": {0, 95, 105}, "one": {1, 95, 105}, "one in twenty": {25, 95, 105}, "half": {250, 0, 0.01}} {
		messages := slices.Clone(fast)
		for i := range c.old {
			messages[i*2].At = now.Add(-400 * 24 * time.Hour)
		}
		if got := rateOf(now, [][]Message{messages[:100], messages[100:]}); !got.Known || got.Value < c.least || got.Value > c.atMost {
			t.Errorf("%s of long ago: %v a second", name, got.Value)
		}
	}
	if got := rateOf(now, [][]Message{fast[:1]}); got.Known {
		t.Errorf("a rate of one message: %v", got.Value)
	}
}
