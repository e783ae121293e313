package redis

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// The message that is taken next is known at the older end, in both directions, and stays while nothing is taken.
func TestListNext(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.Redis(t)
	f := queueFleet(t, r.Addr, nodeConfig{})
	at := time.Now().Add(-time.Minute)
	for _, c := range []struct{ push, pop, end string }{{"rpush", "lpop", "head"}, {"lpush", "rpop", "tail"}} {
		r.Must(t, "del", "inv")
		q := messageQueue(t, f, 100, queueConfig{List: "inv"})
		next := func() map[string]uint64 {
			t.Helper()
			b, err := ownReadsExact(t, f, q)
			if err != nil {
				t.Fatal(err)
			}
			return b.Next
		}
		if got := next(); got == nil || len(got) != 0 {
			t.Errorf("an empty list: %v", got)
		}
		for i := range 5 {
			r.Must(t, c.push, "inv", invalidation(fmt.Sprint("user:", i), 1, at.Add(time.Duration(i)*time.Second)))
		}
		first := next()
		if _, ok := first[c.end]; len(first) != 1 || !ok {
			t.Errorf("%s: %v, want the %s", c.push, first, c.end)
		}
		r.Must(t, c.push, "inv", invalidation("user:9", 1, at.Add(10*time.Second)))
		if got := next(); !maps.Equal(got, first) {
			t.Errorf("%s: nothing was taken: %v, then %v", c.push, first, got)
		}
		r.Must(t, c.pop, "inv")
		if got := next(); len(got) != 1 || maps.Equal(got, first) {
			t.Errorf("%s: one was taken: %v, then %v", c.push, first, got)
		}
	}
	// Without times both ends may be the older one.
	r.Must(t, "del", "inv")
	r.Must(t, "rpush", "inv", "a", "b")
	if b, err := ownReadsExact(t, f, openQueue(t, f, queueConfig{List: "inv"})); err != nil || len(b.Next) != 2 {
		t.Errorf("%v, %v", b.Next, err)
	}
}

// A list that is trimmed does not grow, and the times of its newest messages say how many come in.
func TestListThatIsTrimmed(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.Redis(t)
	f := queueFleet(t, r.Addr, nodeConfig{})
	q := messageQueue(t, f, 100, queueConfig{List: "inv"})
	write := func(list string, version int, each time.Duration) {
		for i := range 200 {
			r.Must(t, "lpush", list, invalidation("user:1", version, time.Now().Add(-time.Duration(199-i)*each)))
		}
		r.Must(t, "ltrim", list, 0, 99)
	}
	for range 2 {
		write("inv", 1, 20*time.Millisecond)
		b, err := ownReadsExact(t, f, q)
		if err != nil || b.Depth.Value != 100 || !b.Sample.Rate.Known || b.Sample.Rate.Value < 10 || b.Sample.Rate.Value > 60 || b.Sample.Repeats.Value != 99 {
			t.Errorf("depth %+v, sample %+v, %v", b.Depth, b.Sample, err)
		}
	}
	r.Must(t, "del", "inv")
	write("inv", 1, time.Minute) // the same, long ago
	if b, err := ownReadsExact(t, f, q); err != nil || b.Sample.Rate.Value > 0.1 {
		t.Errorf("sample %+v, %v", b.Sample, err)
	}
}

// What messages say without a configuration is nobody's key, and a path that finds nothing is counted; the list beside it is unharmed.
func TestListMessagesThatCanNotBeRead(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.Redis(t)
	f := queueFleet(t, r.Addr, nodeConfig{})
	for range 3 {
		r.Must(t, "rpush", "odd", `secret-token`, `{"key":"secret-token","id":"user:1","time":1}`)
	}
	r.Must(t, "rpush", "well", invalidation("user:1", 1, time.Now()), invalidation("user:1", 2, time.Now()))
	b, err := ownReadsExact(t, f, messageQueueWith(t, f, 100, nil, queueConfig{List: "odd"}))
	if s := b.Sample; err != nil || s.Messages != 6 || s.HasKeys || s.TopKey != "" || len(s.Unreadable) != 0 {
		t.Errorf("without a configuration: %+v, %v", s, err)
	}
	b, err = ownReadsExact(t, f, messageQueue(t, f, 100, queueConfig{List: "odd"}))
	if s := b.Sample; err != nil || !maps.Equal(s.Unreadable, map[string]int{"key": 3, "version": 6, "timestamp": 6}) {
		t.Errorf("paths that find nothing: %+v, %v", s, err)
	}
	b, err = ownReadsExact(t, f, messageQueue(t, f, 100, queueConfig{List: "well"}))
	if s := b.Sample; err != nil || s.TopKey != "user:1" || !maps.Equal(s.Unreadable, map[string]int{"key": 0, "version": 0, "timestamp": 0}) {
		t.Errorf("the other list: %+v, %v", s, err)
	}
	// Times in any unit give the age.
	for name, n := range map[string]int64{"s": time.Now().Unix() - 60, "us": time.Now().UnixMicro() - 60e6, "ns": time.Now().UnixNano() - 60e9} {
		r.Must(t, "rpush", "times-"+name, fmt.Sprintf(`{"key":"a","ts":%d}`, n))
		b, err := ownReadsExact(t, f, messageQueue(t, f, 100, queueConfig{List: "times-" + name}))
		if err != nil || !b.OldestAge.Known || b.OldestAge.Value < 59 || b.OldestAge.Value > 90 {
			t.Errorf("%s: %+v, %v", name, b.OldestAge, err)
		}
	}
}
