package redis

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

// invalidation as processors of these tests read it.
func invalidation(key string, version int, at time.Time) string {
	return fmt.Sprintf(`{"key":%q,"version":%d,"ts":%d}`, key, version, at.UnixMilli())
}

// messageQueue is a queue whose messages tell everything.
func messageQueue(t *testing.T, f *probes.Fleet, sample int, c queueConfig) probes.Queue {
	t.Helper()
	return messageQueueWith(t, f, sample, &probes.Message{Key: "$.key", Version: "$.version", TimestampMS: "$.ts"}, c)
}

func messageQueueWith(t *testing.T, f *probes.Fleet, sample int, m *probes.Message, c queueConfig) probes.Queue {
	t.Helper()
	c.Node = "redis-1"
	env := probetest.Env()
	env.SampleMessages = sample
	q, err := c.Open("q", m, f, env)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(q.Close)
	return q
}

// wantAge in seconds, within what the test itself takes.
func wantAge(t *testing.T, what string, got probes.Count, since time.Time) {
	t.Helper()
	least, most := time.Since(since)-30*time.Second, time.Since(since)+time.Second
	if !got.Known || got.Value < least.Seconds() || got.Value > most.Seconds() {
		t.Errorf("%s is %+v, want about %v", what, got, time.Since(since).Seconds())
	}
}

func TestQueueListMessages(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.Redis(t)
	f := queueFleet(t, r.Addr, nodeConfig{})
	hourAgo, now := time.Now().Add(-time.Hour), time.Now()
	for _, push := range []string{"rpush", "lpush"} { // both directions are in use
		r.Must(t, "del", "inv")
		r.Must(t, push, "inv", invalidation("user:old", 1, hourAgo))
		for i := range 200 {
			r.Must(t, push, "inv", invalidation("product:"+strconv.Itoa(i), 1, now.Add(-time.Minute)))
		}
		for i := range 100 {
			r.Must(t, push, "inv", invalidation("user:"+strconv.Itoa(i%50), 7, now))
		}
		b, err := ownReadsExact(t, f, messageQueue(t, f, 100, queueConfig{List: "inv"}))
		if err != nil || !b.Complete {
			t.Fatalf("%s: %+v, %v", push, b, err)
		}
		probetest.WantDepth(t, b, 301)
		wantAge(t, "the oldest message", b.OldestAge, hourAgo)
		if s := b.Sample; s.Messages != 100 || s.DistinctKeys != 50 || s.TopKeyMessages != 2 || s.Repeats != (probes.Count{Value: 50, Known: true}) {
			t.Errorf("%s: the sample is %+v", push, s)
		}
	}
	// All of a short list, in its order: a version that rises is no repeat.
	for _, push := range []string{"rpush", "lpush"} {
		r.Must(t, "del", "inv")
		for i := range 20 {
			r.Must(t, push, "inv", invalidation("user:1", i, now.Add(time.Duration(i)*time.Second-time.Minute)))
		}
		b, err := ownReadsExact(t, f, messageQueue(t, f, 100, queueConfig{List: "inv"}))
		if s := b.Sample; err != nil || s.Messages != 20 || s.Repeats != (probes.Count{Value: 0, Known: true}) || s.TopKey != "user:1" {
			t.Errorf("%s: %+v, %v", push, s, err)
		}
	}
	r.Must(t, "del", "inv")
	b, err := ownReadsExact(t, f, messageQueue(t, f, 100, queueConfig{List: "inv"}))
	if err != nil || b.OldestAge != (probes.Count{Value: 0, Known: true}) || b.Sample == nil || b.Sample.Messages != 0 {
		t.Errorf("an empty list: %+v, %v", b, err)
	}
	r.Must(t, "rpush", "inv", "no message of ours", invalidation("user:1", 1, now))
	if b, err = ownReadsExact(t, f, messageQueue(t, f, 100, queueConfig{List: "inv"})); err != nil || b.OldestAge.Known {
		t.Errorf("an end without a time: %+v, %v", b, err)
	}
}

// Large messages are not read by the thousand.
func TestQueueMessagesAreBounded(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.Redis(t)
	proxy := servers.NewProxy(t, r.Addr)
	f := queueFleet(t, proxy.Addr, nodeConfig{})
	big := `{"key":"user:1","pad":"` + strings.Repeat("x", 100_000) + `"}`
	for range 100 {
		r.Must(t, "rpush", "list", big)
		r.Must(t, "xadd", "stream", "*", "message", big)
	}
	for _, c := range []queueConfig{{List: "list"}, {Stream: "stream"}} {
		proxy.Reset()
		b, err := probetest.SampleIn(t, messageQueue(t, f, 1000, c), 5*time.Second)
		if err != nil || b.Sample == nil || b.Sample.Messages < 5 || b.Sample.Messages > 20 {
			t.Errorf("%+v: %+v, %v", c, b.Sample, err)
		}
		if got := proxy.Counts().Received; got > 2<<20 {
			t.Errorf("%+v: %d bytes were read", c, got)
		}
	}
}

func TestQueueStreamMessages(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.Redis(t)
	f := queueFleet(t, r.Addr, nodeConfig{})
	q := messageQueue(t, f, 100, queueConfig{Stream: "inv"})
	at := probes.Partition{Topic: "inv"}
	hourAgo, minutesAgo := time.Now().Add(-time.Hour), time.Now().Add(-10*time.Minute)
	add := func(when time.Time, n int) {
		t.Helper()
		for i := range n {
			r.Must(t, "xadd", "inv", fmt.Sprintf("%d-%d", when.UnixMilli(), i+1), "key", "user:1", "version", "3")
		}
	}
	sample := func() probes.Backlog {
		t.Helper()
		b, err := ownReadsExact(t, f, q)
		if err != nil {
			t.Errorf("%+v, %v", b, err)
		}
		return b
	}
	if b := sample(); b.OldestAge != (probes.Count{Value: 0, Known: true}) {
		t.Errorf("no stream: %+v", b)
	}
	add(hourAgo, 10)
	add(minutesAgo, 5)
	b := sample()
	wantAge(t, "the oldest entry", b.OldestAge, hourAgo) // nobody reads it: all of it waits
	if s := b.Sample; s.Messages != 15 || s.TopKey != "user:1" || s.Repeats != (probes.Count{Value: 14, Known: true}) {
		t.Errorf("the sample is %+v", s)
	}
	r.Must(t, "xgroup", "create", "inv", "g", "0")
	read := func(n int) []string {
		t.Helper()
		got, err := r.XReadGroup(t.Context(), &redis.XReadGroupArgs{Group: "g", Consumer: "c", Streams: []string{"inv", ">"}, Count: int64(n)}).Result()
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, m := range got[0].Messages {
			ids = append(ids, m.ID)
		}
		return ids
	}
	ids := read(10)
	b = sample()
	g := b.Groups[0]
	wantAge(t, "the group's lag", probes.Count{Value: g.LagSeconds[at], Known: true}, minutesAgo)
	wantAge(t, "the oldest pending entry", g.OldestPending, hourAgo)
	wantAge(t, "the oldest message", b.OldestAge, hourAgo)
	if pending := r.XPending(t.Context(), "inv", "g").Val(); g.Pending != (probes.Count{Value: float64(pending.Count), Known: true}) || pending.Lower != ids[0] {
		t.Errorf("pending %+v, XPENDING says %+v", g.Pending, pending)
	}
	for _, id := range ids {
		r.Must(t, "xack", "inv", "g", id)
	}
	b = sample()
	wantAge(t, "the oldest message", b.OldestAge, minutesAgo)
	if b.Groups[0].OldestPending != (probes.Count{Value: 0, Known: true}) {
		t.Errorf("nothing is pending: %+v", b.Groups[0])
	}
	for _, id := range read(5) {
		r.Must(t, "xack", "inv", "g", id)
	}
	if b = sample(); b.OldestAge != (probes.Count{Value: 0, Known: true}) || b.Groups[0].LagSeconds[at] != 0 {
		t.Errorf("all is done: %+v", b)
	}
	// After XDEL the server does not know the lag; it is counted, and how old it is can be seen all the same.
	add(time.Now().Add(-time.Minute), 3)
	entries := r.XRange(t.Context(), "inv", "-", "+").Val()
	r.Must(t, "xdel", "inv", entries[len(entries)-2].ID)
	b, err := ownReadsExact(t, f, q)
	if b.Depth.Value != 2 || err != nil || b.Groups[0].Lag[at] != 2 || b.Groups[0].LagSeconds[at] < 50 || !b.OldestAge.Known {
		t.Errorf("after XDEL: %+v, %v", b, err)
	}
}

// Without times it is not known at which end a list grows; versions that rise towards one of them are no repeats.
func TestQueueListOfUnknownDirection(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.Redis(t)
	f := queueFleet(t, r.Addr, nodeConfig{})
	for _, push := range []string{"lpush", "rpush"} {
		for _, n := range []int{50, 300} {
			for _, loop := range []bool{false, true} {
				r.Must(t, "del", "inv")
				for i := range n {
					version := i
					if loop {
						version = 1
					}
					r.Must(t, push, "inv", fmt.Sprintf(`{"key":"user:%d","version":%d}`, i%10, version))
				}
				b, err := ownReadsExact(t, f, messageQueue(t, f, 100, queueConfig{List: "inv"}))
				want := probes.Count{Value: 0, Known: true}
				if loop {
					want.Value = float64(min(n, 100) - 10)
				}
				if err != nil || b.Sample.Repeats != want || b.OldestAge.Known {
					t.Errorf("%s of %d, loop %t: %+v, %v", push, n, loop, b.Sample, err)
				}
			}
		}
	}
}

// New messages that are much larger than the old ones.
func TestQueueMessagesThatGrow(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.Redis(t)
	proxy := servers.NewProxy(t, r.Addr)
	f := queueFleet(t, proxy.Addr, nodeConfig{})
	big := `{"key":"user:1","pad":"` + strings.Repeat("x", 1<<19) + `"}`
	for i := range 3000 {
		r.Must(t, "rpush", "list", "key:"+strconv.Itoa(i))
		r.Must(t, "xadd", "stream", "*", "key", "key:"+strconv.Itoa(i))
	}
	for range 50 {
		r.Must(t, "rpush", "list", big)
		r.Must(t, "xadd", "stream", "*", "message", big)
	}
	for _, c := range []queueConfig{{List: "list"}, {Stream: "stream"}} {
		proxy.Reset()
		b, err := probetest.SampleIn(t, messageQueue(t, f, 1000, c), 5*time.Second)
		if err != nil || b.Depth.Value != 3050 {
			t.Errorf("%+v: %+v, %v", c, b, err)
		}
		if got := proxy.Counts().Received; got > 3<<20 {
			t.Errorf("%+v: %d bytes were read", c, got)
		}
	}
}

// interrupted does something before a round trip of a sampling.
type interrupted struct {
	commander
	trip int
	do   func()
}

func (s interrupted) Do(ctx context.Context, use func(context.Context, redis.Cmdable) (uint64, uint64, error)) error {
	return s.commander.Do(ctx, func(ctx context.Context, c redis.Cmdable) (uint64, uint64, error) {
		client := redis.NewClient(c.(*redis.Client).Options())
		defer func() { _ = client.Close() }()
		client.AddHook(&countedTrip{at: s.trip, do: s.do})
		return use(ctx, client)
	})
}

type countedTrip struct {
	trips, at int
	do        func()
}

func (*countedTrip) DialHook(next redis.DialHook) redis.DialHook { return next }

func (*countedTrip) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (h *countedTrip) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, commands []redis.Cmder) error {
		if h.trips++; h.trips == h.at {
			h.do()
		}
		return next(ctx, commands)
	}
}

// Own reads are exact, too, where a queue goes away while it is looked at.
func TestQueueThatGoesAway(t *testing.T) {
	servers.NoLeaks(t)
	for name, args := range map[string][]any{
		"a group": {"xgroup", "destroy", "stream", "g"}, "a stream": {"del", "stream"}, "a list": {"del", "list"},
	} {
		for _, trip := range []int{2, 3} {
			t.Run(fmt.Sprint(name, " before trip ", trip), func(t *testing.T) {
				r := servers.Redis(t)
				f := queueFleet(t, r.Addr, nodeConfig{})
				r.Must(t, "rpush", "list", "a", "b")
				for range 3 {
					r.Must(t, "xadd", "stream", "*", "key", "user:1")
				}
				r.Must(t, "xgroup", "create", "stream", "g", "0")
				r.Must(t, "xreadgroup", "group", "g", "c", "count", 1, "streams", "stream", ">")
				if name == "a list" {
					q := messageQueue(t, f, 100, queueConfig{List: "list"}).(*listQueue)
					q.server = interrupted{q.server, trip, func() { r.Must(t, args...) }}
					_, _ = ownReadsExact(t, f, q) // that the numbers agree is what counts
					return
				}
				q := messageQueue(t, f, 100, queueConfig{Stream: "stream"}).(*streamQueue)
				q.server = interrupted{q.server, trip, func() { r.Must(t, args...) }}
				_, _ = ownReadsExact(t, f, q) // that the numbers agree is what counts
			})
		}
	}
}
