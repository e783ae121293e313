// Package message reads what a queue's messages say of an invalidation: its key, version and time. Reader reads one Message
// as the queue's configuration describes it, and SampleOf sums several up.
package message

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"time"

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
	// unreadable parts: at their configured paths there is nothing that can be used.
	unreadable [numParts]bool
}

// part of a message.
type part int

// The parts, as they are named in probes.MessageSample.Unreadable.
const (
	keyPart part = iota
	versionPart
	timestampPart
	numParts
)

func (p part) String() string { return [numParts]string{"key", "version", "timestamp"}[p] }

// Reader reads messages as their queue's configuration describes them. It is safe for concurrent use.
type Reader struct {
	paths []content.Path
	put   []func(*Message, string) // by path
	// configured parts: those that have a path of their own.
	configured [numParts]bool
	// word: a message that is a plain word is itself the key, which the path $ says.
	word bool
}

// NewReader gives a reader for messages as configured. Where m is nil nothing of a message's text is read: what it is is not
// known. Without a path of its own the key is looked for at $.key. The error says which path is wrong.
func NewReader(m *probes.Message) (*Reader, error) {
	r := &Reader{}
	if m == nil {
		return r, nil
	}
	r.configured = [numParts]bool{keyPart: m.Key != "", versionPart: m.Version != "", timestampPart: m.TimestampMS != ""}
	r.word = m.Key == "$"
	for _, f := range []struct {
		name, path string
		put        func(*Message, string)
	}{
		{"key", cmp.Or(m.Key, "$.key"), func(m *Message, s string) { m.Key, m.HasKey = s, s != "" }},
		{"version", m.Version, func(m *Message, s string) { m.Version = content.ReadVersion(s) }},
		{"timestamp_ms", m.TimestampMS, func(m *Message, s string) { m.At = content.ParseTime(s) }},
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

// AgeAt gives the age in seconds of what was written at a time; a clock a little ahead of ours makes it 0, one far ahead
// unknown.
func AgeAt(at, now time.Time) probes.Count {
	if at.IsZero() || at.After(now.Add(content.AheadAtMost)) {
		return probes.Count{}
	}
	return probes.Count{Value: max(now.Sub(at), 0).Seconds(), Known: true}
}

// Read a message.
func (r *Reader) Read(value []byte) Message {
	m := r.read(value)
	r.note(&m)
	return m
}

func (r *Reader) read(value []byte) (m Message) {
	r.find(value, &m)
	if r.word && !m.HasKey && content.IsWord(value) {
		m.Key, m.HasKey = string(value), true
	}
	return m
}

// note the configured parts that were not found.
func (r *Reader) note(m *Message) {
	m.unreadable = [numParts]bool{
		keyPart:       r.configured[keyPart] && !m.HasKey,
		versionPart:   r.configured[versionPart] && m.Version.IsZero(),
		timestampPart: r.configured[timestampPart] && m.At.IsZero(),
	}
}

// ReadRecord reads a Kafka record. Its own key (nil: none) is the message's where the configuration does not say where in
// the value the key is.
func (r *Reader) ReadRecord(key, value []byte) Message {
	m := r.Read(value)
	if !r.configured[keyPart] && len(key) > 0 {
		m.Key, m.HasKey = string(key), true
	}
	return m
}

// ReadEntry reads a stream's entry, names and values in turn, as one object of strings. A path may also lead on into a
// value that is itself JSON.
func (r *Reader) ReadEntry(fields []string) Message {
	var m Message
	if len(r.paths) == 0 {
		return m
	}
	deep := false
	for i := 1; i < len(fields); i += 2 {
		deep = deep || opens([]byte(fields[i]))
	}
	if deep {
		r.find(entryObject(fields, true), &m)
	}
	r.find(entryObject(fields, false), &m) // what is found at the first step counts
	r.note(&m)
	return m
}

// EntryObject writes a stream's entry, names and values in turn, as one object: values that are JSON objects and arrays as such, and others
// as strings.
func EntryObject(fields []string) []byte { return entryObject(fields, true) }

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
	if len(r.paths) == 0 {
		return
	}
	content.LookupEach(doc, r.paths, func(i int, value string) { r.put[i](m, value) })
}

// Sample sums up messages as SampleOf does, and counts those that could not be read as configured.
func (r *Reader) Sample(partitions ...[]Message) *probes.MessageSample {
	s := SampleOf(partitions...)
	s.Rate = rateOf(time.Now(), partitions)
	s.Unreadable = map[string]int{}
	for p := range numParts {
		if !r.configured[p] {
			continue
		}
		s.Unreadable[p.String()] = 0
		for _, messages := range partitions {
			for i := range messages {
				if messages[i].unreadable[p] {
					s.Unreadable[p.String()]++
				}
			}
		}
	}
	return s
}

// oddTimes is the part of the messages whose times may be of long ago among new ones: one that is retried may keep its time.
const oddTimes = 20

// rateOf messages a second, by their own times from the oldest of them until now, but for one in oddTimes that are older. Over less than a
// second it is that of one second.
func rateOf(now time.Time, partitions [][]Message) probes.Count {
	var times []time.Time
	for _, messages := range partitions {
		for i := range messages {
			if at := messages[i].At; !at.IsZero() {
				times = append(times, at)
			}
		}
	}
	if len(times) < 2 {
		return probes.Count{}
	}
	slices.SortFunc(times, time.Time.Compare)
	times = times[len(times)/oddTimes:]
	return probes.Count{Value: float64(len(times)) / max(now.Sub(times[0]).Seconds(), 1), Known: true}
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
	if s.TopKeyMessages == 1 { // each key occurs once, and none is more frequent than another
		s.TopKey = ""
	}
	if len(s.TopKey) > longestTopKey {
		s.TopKey = s.TopKey[:longestTopKey] + "…"
	}
	return s
}

// merged puts the messages of all partitions into the order of their times, without changing the order within one.
func merged(partitions [][]Message) []*Message {
	type timed struct {
		*Message
		notBefore time.Time
	}
	n := 0
	for _, p := range partitions {
		n += len(p)
	}
	all := make([]timed, 0, n)
	for _, p := range partitions {
		var notBefore time.Time
		for i := range p {
			if m := &p[i]; m.At.After(notBefore) {
				notBefore = m.At
			}
			all = append(all, timed{&p[i], notBefore})
		}
	}
	if len(partitions) > 1 {
		slices.SortStableFunc(all, func(a, b timed) int { return a.notBefore.Compare(b.notBefore) })
	}
	out := make([]*Message, len(all))
	for i, t := range all {
		out[i] = t.Message
	}
	return out
}
