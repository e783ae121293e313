// Package message reads what a queue's messages say of an invalidation: its key, version and time. Reader reads one Message
// as the queue's configuration describes it, and SampleOf sums several up.
package message

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/cacheinv/cacheinv_exporter/internal/content"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// Message is what an invalidation says.
type Message struct {
	Key    string
	HasKey bool
	// Version is zero where there is none or it can't be read.
	Version content.Version
	// At is when it was written, by its own account; zero where it has no time, or none that can be true.
	At time.Time
}

// longestWord that is taken for a key where a message is no JSON, in bytes: memcached's longest key.
const longestWord = 250

// Earliest time that a message can have been written. What is before is no time in milliseconds, but one in seconds.
var Earliest = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// aheadAtMost is how far a message's clock may be ahead of ours; what is later is no time in milliseconds.
const aheadAtMost = 24 * time.Hour

// Reader reads messages as their queue's configuration describes them. It is safe for concurrent use.
type Reader struct {
	paths []content.Path
	put   []func(*Message, string) // by path
	// keyed: the configuration says where the key is.
	keyed bool
}

// NewReader gives a reader for messages as configured; m may be nil. Without a path of its own the key is looked for at $.key. The
// error says which path is wrong.
func NewReader(m *probes.Message) (*Reader, error) {
	r := &Reader{}
	var c probes.Message
	if m != nil {
		c = *m
	}
	r.keyed = c.Key != ""
	for _, f := range []struct {
		name, path string
		put        func(*Message, string)
	}{
		{"key", cmp.Or(c.Key, "$.key"), func(m *Message, s string) { m.Key, m.HasKey = s, s != "" }},
		{"version", c.Version, func(m *Message, s string) { m.Version = content.ReadVersion(s) }},
		{"timestamp_ms", c.TimestampMS, func(m *Message, s string) { m.At = ParseTime(s) }},
	} {
		if f.path == "" {
			continue
		}
		p, err := content.ParsePath(f.path, false)
		if err != nil {
			return nil, fmt.Errorf("message.%s: %w", f.name, err)
		}
		r.paths, r.put = append(r.paths, p), append(r.put, f.put)
	}
	return r, nil
}

// ParseTime reads milliseconds since 1970.
func ParseTime(s string) time.Time {
	at, _ := content.ReadVersionOf("timestamp_ms", s).Time()
	if at.Before(Earliest) {
		return time.Time{}
	}
	return at
}

// AgeAt gives the age in seconds of what was written at a time; a clock a little ahead of ours makes it 0, one far ahead
// unknown.
func AgeAt(at, now time.Time) probes.Count {
	if at.IsZero() || at.After(now.Add(aheadAtMost)) {
		return probes.Count{}
	}
	return probes.Count{Value: max(now.Sub(at), 0).Seconds(), Known: true}
}

// Read a message. A word, which is no JSON or a number, is itself the key.
func (r *Reader) Read(value []byte) Message {
	var m Message
	r.find(value, &m)
	if !m.HasKey && isWord(value) {
		m.Key, m.HasKey = string(value), true
	}
	return m
}

// ReadRecord reads a Kafka record. Its own key (nil: none) is the message's where the configuration does not say where in
// the value the key is.
func (r *Reader) ReadRecord(key, value []byte) Message {
	m := r.Read(value)
	if !r.keyed && len(key) > 0 {
		m.Key, m.HasKey = string(key), true
	}
	return m
}

// ReadEntry reads a stream's entry, names and values in turn, as one object of strings. A path may also lead on into a
// value that is itself JSON.
func (r *Reader) ReadEntry(fields []string) Message {
	var m Message
	deep := false
	for i := 1; i < len(fields); i += 2 {
		deep = deep || opens([]byte(fields[i]))
	}
	if deep {
		r.find(entryObject(fields, true), &m)
	}
	r.find(entryObject(fields, false), &m) // what is found at the first step counts
	return m
}

// entryObject writes an entry as JSON; deep: values that are JSON objects and arrays as such.
func entryObject(fields []string, deep bool) []byte {
	b := []byte{'{'}
	for i := 0; i+1 < len(fields); i += 2 {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(content.AppendString(b, []byte(fields[i])), ':')
		value := []byte(fields[i+1])
		if deep && opens(value) && content.LookupEach(value, nil, nil) {
			b = append(b, value...)
		} else {
			b = content.AppendString(b, value)
		}
	}
	return append(b, '}')
}

// opens: a JSON object or array may begin here.
func opens(b []byte) bool {
	b = bytes.TrimLeft(b, " \t\r\n")
	return len(b) > 0 && (b[0] == '{' || b[0] == '[')
}

// find the parts in a JSON document; nothing where it is none.
func (r *Reader) find(doc []byte, m *Message) {
	content.LookupEach(doc, r.paths, func(i int, value string) { r.put[i](m, value) })
}

// isWord: the message can be a key as it is. Text that only looks like JSON is none.
func isWord(b []byte) bool {
	if len(b) == 0 || len(b) > longestWord || opens(b) || b[0] == '"' || !utf8.Valid(b) {
		return false
	}
	return !bytes.ContainsFunc(b, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsGraphic(r) })
}

// longestTopKey that a sample names, in bytes.
const longestTopKey = 256

// SampleOf the newest messages of a queue: of each partition the oldest first. The same key in two partitions is one key,
// and its versions are then put in the order of the messages' times. It is never nil.
func SampleOf(partitions ...[]Message) *probes.MessageSample {
	all := merged(partitions)
	s := &probes.MessageSample{Messages: len(all)}
	count := map[string]int{}
	highest := map[string]content.Version{}
	for _, m := range all {
		if !m.HasKey {
			continue
		}
		s.HasKeys = true
		count[m.Key]++
		if n := count[m.Key]; n > s.TopKeyMessages || n == s.TopKeyMessages && m.Key < s.TopKey {
			s.TopKey, s.TopKeyMessages = m.Key, n
		}
		if m.Version.IsZero() {
			continue
		}
		s.Repeats.Known = true
		before, seen := highest[m.Key]
		if seen && m.Version.Compare(before) <= 0 {
			s.Repeats.Value++
			continue
		}
		highest[m.Key] = m.Version
	}
	s.DistinctKeys = len(count)
	if len(s.TopKey) > longestTopKey {
		s.TopKey = s.TopKey[:longestTopKey] + "…"
	}
	return s
}

// merged puts the messages of all partitions into the order of their times, without changing the order within one.
func merged(partitions [][]Message) []Message {
	if len(partitions) == 1 {
		return partitions[0]
	}
	type timed struct {
		Message
		notBefore time.Time
	}
	var all []timed
	for _, p := range partitions {
		var notBefore time.Time
		for _, m := range p {
			if m.At.After(notBefore) {
				notBefore = m.At
			}
			all = append(all, timed{m, notBefore})
		}
	}
	slices.SortStableFunc(all, func(a, b timed) int { return a.notBefore.Compare(b.notBefore) })
	out := make([]Message, len(all))
	for i, t := range all {
		out[i] = t.Message
	}
	return out
}
