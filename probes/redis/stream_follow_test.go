package redis

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

// followedStream is a stream whose entries are noted as they are visited.
type followedStream struct {
	t *testing.T
	f *probes.Fleet
	q *streamQueue
	// got in the last sampling.
	got []string
	at  []probes.Position
}

func followStream(t *testing.T, r *servers.RedisServer, after map[probes.Partition]probes.Position) *followedStream {
	t.Helper()
	f := queueFleet(t, r.Addr, nodeConfig{})
	s := &followedStream{t: t, f: f, q: openQueue(t, f, queueConfig{Stream: "inv"}).(*streamQueue)}
	s.q.Follow(after, func(e probes.Event) {
		if e.Partition != s.q.partition() || e.Key != nil || e.Written.IsZero() {
			t.Errorf("%+v", e)
		}
		s.got, s.at = append(s.got, string(e.Value)), append(s.at, e.At)
	})
	return s
}

// sample, in which the server counts no hit or miss of ours that we don't.
func (s *followedStream) sample() probes.Backlog {
	s.t.Helper()
	s.got, s.at = nil, nil
	b, err := ownReadsExact(s.t, s.f, s.q)
	if err != nil || b.Followed == nil {
		s.t.Fatalf("%+v, %v", b, err)
	}
	return b
}

func (s *followedStream) want(seen, leftOut int, got ...string) {
	s.t.Helper()
	b := s.sample()
	if b.Followed.Seen != seen || b.Followed.LeftOut != leftOut || !slices.Equal(s.got, got) {
		s.t.Errorf("%+v, visited %q, want %d seen, %d left out, %q", b.Followed, s.got, seen, leftOut, got)
	}
}

func TestFollowStream(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.Redis(t)
	add := func(id, key string) { r.Must(t, "xadd", "inv", id, "key", key) }
	object := func(key string) string { return fmt.Sprintf(`{"key":%q}`, key) }

	s := followStream(t, r, nil)
	s.want(0, 0) // there is no stream
	add("5-1", "a")
	add("5-2", "b")
	s.want(2, 0, object("a"), object("b"))
	s.want(0, 0)

	s = followStream(t, r, nil)
	s.want(0, 0) // it begins at the end
	add("6-1", "c")
	s.want(1, 0, object("c"))
	s = followStream(t, r, map[probes.Partition]probes.Position{s.q.partition(): {Major: 5, Minor: 1}})
	s.want(2, 0, object("b"), object("c")) // it goes on where another was
	if want := []probes.Position{{Major: 5, Minor: 2}, {Major: 6, Minor: 1}}; !slices.Equal(s.at, want) {
		t.Errorf("%v", s.at)
	}

	// What was deleted before it was read is counted.
	add("7-1", "d")
	add("7-2", "e")
	add("7-3", "f")
	r.Must(t, "xdel", "inv", "7-2")
	s.want(3, 1, object("d"), object("f"))
	add("8-1", "g")
	add("8-2", "h")
	r.Must(t, "xtrim", "inv", "maxlen", 1)
	s.want(2, 1, object("h"))
	add("9-1", "i")
	r.Must(t, "xtrim", "inv", "maxlen", 0)
	s.want(1, 1)

	// Another stream of the name, whose entries are all new.
	r.Must(t, "del", "inv")
	add("1-1", "j")
	s.want(1, 0, object("j"))
	r.Must(t, "del", "inv")
	s.want(0, 0)
	add("1-1", "k")
	s.want(1, 0, object("k"))

	// Of any entry: an object of its fields, its time by its id, and its trace.
	before := time.Now().Truncate(time.Millisecond)
	r.Must(t, "xadd", "inv", "*", "payload", `{"id":[1,"x"]}`, "n", "007", "traceparent", "00-ab-cd-01")
	var e probes.Event
	s.q.visit = func(got probes.Event) {
		got.Value = slices.Clone(got.Value)
		e = got
	}
	s.sample()
	if string(e.Value) != `{"payload":{"id":[1,"x"]},"n":"007","traceparent":"00-ab-cd-01"}` || e.TraceParent != "00-ab-cd-01" ||
		e.Written.Before(before) || time.Since(e.Written) > time.Minute || e.At.Major != uint64(e.Written.UnixMilli()) {
		t.Errorf("%s %+v", e.Value, e)
	}
}

// What a server says once of a stream's end, and that can't be, moves nothing: neither then nor when it says what is.
func TestFollowOddEnds(t *testing.T) {
	servers.NoLeaks(t)
	now := time.Now().UnixMilli()
	id := func(n int) string { return fmt.Sprintf("%d-0", now+int64(n)) }
	entry := func(n int) []any { return []any{id(n), []any{"key", fmt.Sprint(n)}} }
	for name, odd := range map[string]struct {
		fields []any
		seen   int // in the sampling that has them; -1: it reads nothing
	}{
		"more added than can be":         {[]any{"entries-added", int64(math.MaxInt64)}, 1},
		"fewer added than there are":     {[]any{"entries-added", int64(0)}, 1},
		"no number added":                {[]any{"entries-added", "x"}, 1},
		"an id far ahead":                {[]any{"last-generated-id", "18446744073709551615-0"}, -1},
		"an id before the last entry's":  {[]any{"last-generated-id", "0-0"}, -1},
		"no id":                          {[]any{"last-generated-id", "x"}, -1},
		"an id far ahead, as first word": {[]any{"last-generated-id", "18446744073709551615-0"}, -1},
	} {
		n, first := 0, strings.HasSuffix(name, "as first word")
		isOdd := false
		f := queueFleet(t, servers.RedisSaying(t, func(command []string) string {
			switch strings.Join(command[:min(2, len(command))], " ") {
			case "XLEN inv":
				return inRESP(int64(n))
			case "TYPE inv":
				return "+stream\r\n"
			case "XINFO GROUPS":
				return inRESP([]any{})
			case "XINFO STREAM":
				info := []any{"length", int64(n), "entries-added", int64(n), "last-generated-id", id(n), "first-entry", entry(1), "last-entry", entry(n)}
				if isOdd {
					info = append(info, odd.fields...)
				}
				return inRESP(info)
			case "XRANGE inv":
				return inRESP([]any{entry(n)})
			}
			return "-ERR unknown command\r\n"
		}), nodeConfig{})
		q := openQueue(t, f, queueConfig{Stream: "inv"}).(*streamQueue)
		q.Follow(nil, func(probes.Event) {})
		for n = 1; n < 6; n++ {
			isOdd = n == 3 || first && n == 1
			b, err := probetest.SampleIn(t, q, 5*time.Second)
			want := 1
			switch {
			case isOdd:
				want = odd.seen
			case n == 1 || first && n == 2:
				want = 0 // where it begins
			case n == 4 && odd.seen < 0:
				want = 2 // with the one that was not read then
			}
			if err != nil || (b.Followed == nil) != (want < 0) || want >= 0 && b.Followed.Seen != want {
				t.Errorf("%s, sampling %d: %+v, %v, want %d", name, n, b.Followed, err, want)
			}
		}
	}
}

// Of more entries than a sampling has room for those at evenly spread times are visited, and the next goes on at the end.
func TestFollowDeepStream(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.Redis(t)
	s := followStream(t, r, nil)
	s.want(0, 0)
	const n = 3 * followedEntries
	p := r.Pipeline()
	for i := range n {
		p.XAdd(t.Context(), &redis.XAddArgs{Stream: "inv", ID: strconv.Itoa(10*i+1) + "-1", Values: []any{"key", "user:1"}})
	}
	if _, err := p.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	b := s.sample()
	if b.Followed.Seen != n || b.Followed.LeftOut != n-len(s.got) || len(s.got) < followedEntries/2 || len(s.got) > followedEntries {
		t.Errorf("%+v, %d visited", b.Followed, len(s.got))
	}
	quarters := map[uint64]int{}
	for i, at := range s.at {
		quarters[at.Major*4/(10*n)]++
		if i > 0 && at.Compare(s.at[i-1]) <= 0 {
			t.Fatalf("%v comes after %v", at, s.at[i-1])
		}
	}
	for q := range uint64(4) {
		if d := quarters[q] - len(s.got)/4; d < -followedPlaces || d > followedPlaces {
			t.Errorf("%v of %d", quarters, len(s.got))
		}
	}
	r.Must(t, "xadd", "inv", strconv.Itoa(10*n)+"-1", "key", "last")
	s.want(1, 0, `{"key":"last"}`)
}

// A group has processed what it was given and has acknowledged; what is not known is not called so.
func TestStreamGroupPassed(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.Redis(t)
	s := followStream(t, r, nil)
	for i := 1; i <= 4; i++ {
		r.Must(t, "xadd", "inv", fmt.Sprintf("%d-0", i), "key", "user:1")
	}
	r.Must(t, "xgroup", "create", "inv", "workers", "0")
	r.Must(t, "xgroup", "create", "inv", "idle", "0")
	read := func(n int64) {
		t.Helper()
		err := r.XReadGroup(t.Context(), &redis.XReadGroupArgs{Group: "workers", Consumer: "c", Streams: []string{"inv", ">"}, Count: n}).Err()
		if err != nil {
			t.Fatal(err)
		}
	}
	read(3)
	r.Must(t, "xack", "inv", "workers", "1-0", "3-0")
	type answer struct{ passed, known bool }
	passed := func(b probes.Backlog, group string, at uint64) answer {
		t.Helper()
		for i := range b.Groups {
			if g := &b.Groups[i]; g.Group == group {
				passed, known := g.Passed(s.q.partition(), probes.Position{Major: at})
				return answer{passed, known}
			}
		}
		t.Fatalf("no group %s", group)
		return answer{}
	}
	b := s.sample()
	for at, want := range map[uint64]answer{1: {true, true}, 2: {false, true}, 3: {true, true}, 4: {false, true}, 5: {false, true}} {
		if got := passed(b, "workers", at); got != want {
			t.Errorf("entry %d: %+v, want %+v", at, got, want)
		}
		if got := passed(b, "idle", at); got != (answer{false, true}) {
			t.Errorf("entry %d, idle: %+v", at, got)
		}
	}
	if got, known := b.Groups[0].Passed(probes.Partition{Topic: "another"}, probes.Position{Major: 1}); got || known {
		t.Error("an entry of another stream")
	}
	r.Must(t, "xack", "inv", "workers", "2-0")
	if got := passed(s.sample(), "workers", 2); got != (answer{true, true}) {
		t.Errorf("once it is acknowledged: %+v", got)
	}

	// More are pending than are looked at.
	r.Must(t, "xgroup", "destroy", "inv", "idle")
	p := r.Pipeline()
	const last = 10 + listedPending
	for i := 5; i <= last; i++ {
		p.XAdd(t.Context(), &redis.XAddArgs{Stream: "inv", ID: fmt.Sprintf("%d-0", i), Values: []any{"key", "user:1"}})
	}
	if _, err := p.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	read(last)
	r.Must(t, "xack", "inv", "workers", "7-0", fmt.Sprintf("%d-0", last))
	b = s.sample()
	for at, want := range map[uint64]answer{6: {false, true}, 7: {true, true}, last - 20: {false, true}, last: {false, false}, last + 1: {false, true}} {
		if got := passed(b, "workers", at); got != want {
			t.Errorf("entry %d: %+v, want %+v", at, got, want)
		}
	}
}
