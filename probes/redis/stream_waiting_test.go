package redis

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

// streamUser adds to a stream and reads it as groups do.
type streamUser struct {
	*servers.RedisServer
	stream string
}

// add n entries with times that are past, and give their ids.
func (u streamUser) add(t *testing.T, n int, from time.Time) (ids []string) {
	t.Helper()
	for i := range n {
		id := fmt.Sprintf("%d-%d", from.UnixMilli(), i+1)
		u.Must(t, "xadd", u.stream, id, "key", fmt.Sprint("user:", i))
		ids = append(ids, id)
	}
	return ids
}

func (u streamUser) read(t *testing.T, group string, n int) (ids []string) {
	t.Helper()
	got, err := u.XReadGroup(t.Context(), &redis.XReadGroupArgs{
		Group: group, Consumer: "c", Streams: []string{u.stream, ">"}, Count: int64(n),
	}).Result()
	if err != nil || len(got) != 1 || len(got[0].Messages) != n {
		t.Fatal(got, err)
	}
	for _, m := range got[0].Messages {
		ids = append(ids, m.ID)
	}
	return ids
}

// TestStreamWaits goes through what the server's own numbers count though nobody can process it. In each situation there is a
// second group, which has processed all but the last entry, and whose part does not change.
func TestStreamWaits(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.Redis(t)
	f := queueFleet(t, r.Addr, nodeConfig{})
	past := time.Now().Add(-time.Minute)
	for i, c := range []struct {
		name string
		do   func(t *testing.T, u streamUser)
		// waits for the group odd; lag as the server says it, -1: it says none, and the wanted one is waits.
		waits, lag float64
		pending    float64
		age        bool
	}{
		{"nothing is wrong", func(t *testing.T, u streamUser) {
			u.add(t, 10, past)
			u.read(t, "odd", 4)
		}, 10, 6, 4, true},
		{"trimmed past what was read", func(t *testing.T, u streamUser) {
			u.add(t, 10, past)
			u.XAck(t.Context(), u.stream, "odd", u.read(t, "odd", 1)...)
			u.Must(t, "xtrim", u.stream, "maxlen", 0)
		}, 0, 9, 0, false},
		{"trimmed to a few", func(t *testing.T, u streamUser) {
			u.add(t, 10, past)
			u.XAck(t.Context(), u.stream, "odd", u.read(t, "odd", 1)...)
			u.Must(t, "xtrim", u.stream, "maxlen", 2)
		}, 2, 9, 0, true},
		{"pending entries that were trimmed", func(t *testing.T, u streamUser) {
			u.add(t, 10, past)
			u.read(t, "odd", 10)
			u.Must(t, "xtrim", u.stream, "maxlen", 3)
		}, 3, 0, 10, true},
		{"pending entries that were all trimmed", func(t *testing.T, u streamUser) {
			u.add(t, 10, past)
			u.read(t, "odd", 10)
			u.Must(t, "xtrim", u.stream, "maxlen", 0)
		}, 0, 0, 10, false},
		{"pending entries that were deleted", func(t *testing.T, u streamUser) {
			u.add(t, 10, past)
			ids := u.read(t, "odd", 10)
			u.XDel(t.Context(), u.stream, ids[2], ids[5], ids[9])
		}, 7, 0, 10, true},
		{"each deleted once it was acknowledged", func(t *testing.T, u streamUser) {
			u.add(t, 10, past)
			ids := u.read(t, "odd", 6)
			u.XAck(t.Context(), u.stream, "odd", ids[:5]...)
			u.XDel(t.Context(), u.stream, ids[:5]...)
		}, 5, -1, 1, true},
		{"deleted before it was delivered", func(t *testing.T, u streamUser) {
			ids := u.add(t, 10, past)
			u.read(t, "odd", 2)
			u.XDel(t.Context(), u.stream, ids[4], ids[5])
		}, 8, -1, 2, true},
		{"set back", func(t *testing.T, u streamUser) {
			ids := u.add(t, 10, past)
			u.XAck(t.Context(), u.stream, "odd", u.read(t, "odd", 10)...)
			u.Must(t, "xgroup", "setid", u.stream, "odd", ids[3])
		}, 6, -1, 0, true},
		{"read by nobody", func(t *testing.T, u streamUser) { u.add(t, 10, past) }, 10, 10, 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			u := streamUser{r, fmt.Sprint("inv", i)}
			at := probes.Partition{Topic: u.stream}
			u.Must(t, "xgroup", "create", u.stream, "odd", "0", "mkstream")
			c.do(t, u)
			u.Must(t, "xgroup", "create", u.stream, "well", "$")
			b, err := ownReadsExact(t, f, openQueue(t, f, queueConfig{Stream: u.stream}))
			if err != nil || !b.Complete {
				t.Errorf("%+v, %v", b, err)
			}
			probetest.WantDepth(t, b, c.waits)
			g := probetest.GroupOf(t, b, "odd")
			if want := max(c.lag, 0); c.lag >= 0 && g.Lag[at] != int64(want) || len(g.Lag) != 1 || g.Pending.Value != c.pending {
				t.Errorf("lag %v, pending %v; the server says %+v", g.Lag, g.Pending, xinfo(t, r, u.stream, "odd"))
			}
			if c.lag < 0 && g.Lag[at] != int64(c.waits-c.pending) {
				t.Errorf("where the server tells no lag it is %v", g.Lag)
			}
			if waits, known := g.Waits(); !known || waits != (c.waits > 0) {
				t.Errorf("it waits: %v, %v", waits, known)
			}
			if b.OldestAge.Known != true || (b.OldestAge.Value > 50) != c.age {
				t.Errorf("oldest age %+v", b.OldestAge)
			}
			well := probetest.GroupOf(t, b, "well")
			if waits, known := well.Waits(); waits || !known || well.Lag[at] != 0 {
				t.Errorf("the other group is %+v", well)
			}
		})
	}
}

// A group that never read has a place where it stands, and that changes once it gets on.
func TestStreamStanding(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.Redis(t)
	u := streamUser{r, "inv"}
	f := queueFleet(t, r.Addr, nodeConfig{})
	q := openQueue(t, f, queueConfig{Stream: "inv"})
	ids := u.add(t, 5, time.Now())
	u.Must(t, "xgroup", "create", "inv", "never", "0")
	u.Must(t, "xgroup", "create", "inv", "other", "0")
	standing := func(group string) string {
		t.Helper()
		b, err := probetest.SampleIn(t, q, 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		return probetest.GroupOf(t, b, group).Standing
	}
	first, other := standing("never"), standing("other")
	u.Must(t, "xadd", "inv", "*", "key", "a")
	if again := standing("never"); first == "" || again != first {
		t.Errorf("%q, then %q, though nothing was read", first, again)
	}
	u.Must(t, "xgroup", "setid", "inv", "never", ids[2])
	second := standing("never")
	if second == first {
		t.Errorf("%q after XGROUP SETID", second)
	}
	u.read(t, "never", 1)
	if third := standing("never"); third == second {
		t.Errorf("%q after a read", third)
	}
	if now := standing("other"); now != other {
		t.Errorf("the other group: %q, then %q", other, now)
	}
}

// Entries are counted from both ends of a stream, in which nobody tells the lag.
func TestStreamCountsWithinTheSample(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.Redis(t)
	u := streamUser{r, "inv"}
	f := queueFleet(t, r.Addr, nodeConfig{})
	ids := u.add(t, 300, time.Now().Add(-time.Minute))
	for group, id := range map[string]string{"early": ids[9], "late": ids[289], "middle": ids[149]} {
		u.Must(t, "xgroup", "create", "inv", group, id)
	}
	q := openQueue(t, f, queueConfig{Stream: "inv"}).(*streamQueue)
	q.sample = 100
	b, err := ownReadsExact(t, f, q)
	if err != nil {
		t.Error(err)
	}
	for group, want := range map[string]int64{"early": 290, "late": 10, "middle": 100} { // of the last one at least so many
		if got := probetest.GroupOf(t, b, group).Lag[probes.Partition{Topic: "inv"}]; got != want {
			t.Errorf("group %s: lag %d, want %d", group, got, want)
		}
	}
}

// The groups of instances that are gone, beside live ones.
func TestStreamLeftoverGroups(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.Redis(t)
	u := streamUser{r, "inv"}
	f := queueFleet(t, r.Addr, nodeConfig{})
	u.Must(t, "xgroup", "create", "inv", "pod-zz", "0", "mkstream")
	for i := range 105 {
		u.Must(t, "xgroup", "create", "inv", fmt.Sprintf("pod-%03d", i), "0")
	}
	u.add(t, 5, time.Now().Add(-time.Minute))
	u.read(t, "pod-zz", 3)
	q := openQueue(t, f, queueConfig{Stream: "inv", Groups: probetest.Matches("/^pod-/")})
	b, err := ownReadsExact(t, f, q)
	if err != nil || !b.Complete || b.LeftoverGroups.Value != 105 || len(b.Groups) != 100 {
		t.Errorf("%v, %d groups, leftover %+v", err, len(b.Groups), b.LeftoverGroups)
	}
	if g := probetest.GroupOf(t, b, "pod-zz"); g.Leftover || g.Members != 1 {
		t.Errorf("%+v", g)
	}
	u.XAck(t.Context(), "inv", "pod-zz", append(u.read(t, "pod-zz", 2), idsOf(t, u, "pod-zz")...)...)
	b, err = ownReadsExact(t, f, q)
	if err != nil || b.Depth.Value != 0 || !b.Depth.Known || b.OldestAge.Value != 0 {
		t.Errorf("depth %+v, age %+v, %v", b.Depth, b.OldestAge, err)
	}
	// Named, it is no leftover.
	b, err = ownReadsExact(t, f, openQueue(t, f, queueConfig{Stream: "inv", Groups: probetest.Matches("/^pod-/", "pod-000")}))
	if g := probetest.GroupOf(t, b, "pod-000"); err != nil || g.Leftover || b.Depth.Value != 5 || b.LeftoverGroups.Value != 104 {
		t.Errorf("%+v, depth %+v, %v", g, b.Depth, err)
	}
}

func idsOf(t *testing.T, u streamUser, group string) (ids []string) {
	t.Helper()
	all, err := u.XPendingExt(t.Context(), &redis.XPendingExtArgs{Stream: u.stream, Group: group, Start: "-", End: "+", Count: 100}).Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		ids = append(ids, p.ID)
	}
	return ids
}

// What is odd in XINFO's answer costs its group alone.
func TestStreamOddReplies(t *testing.T) {
	first := []any{"5-0", []any{"key", "a"}}
	group := func(name string, fields ...any) []any {
		return append([]any{"name", name, "consumers", int64(1), "last-delivered-id", "7-0"}, fields...)
	}
	well := group("well", "pending", int64(1), "lag", int64(2), "entries-read", int64(3))
	for _, c := range []struct {
		name  string
		group any
		fault string
	}{
		{"no lag at all", group("odd", "pending", int64(1)), "group odd: the server does not tell its lag"},
		{"lag is nil", group("odd", "pending", int64(1), "lag", nil), "group odd: the server does not tell its lag"},
		{"lag is a text", group("odd", "pending", int64(1), "lag", "2"), "group odd: the server does not tell its lag"},
		{"no pending", group("odd", "lag", int64(2)), "group odd: the server does not tell what is pending"},
		{"pending that overflows", group("odd", "lag", int64(2), "pending", int64(math.MaxInt64)), "group odd: the server does not tell what is pending"},
		{"pending below 0", group("odd", "lag", int64(2), "pending", int64(-1)), "group odd: the server does not tell what is pending"},
		{"a lag that overflows", group("odd", "lag", int64(math.MaxInt64), "pending", int64(1)), "group odd: the server does not tell its lag"},
		{"what was read overflows", group("odd", "lag", int64(1), "pending", int64(1), "entries-read", int64(math.MaxInt64)), ""},
		{"a negative lag", group("odd", "lag", int64(-2), "pending", int64(0)), ""},
		{"more lag than the stream holds", group("odd", "lag", int64(1<<40), "pending", int64(1)), ""},
		{"an id that is none", []any{"name", "odd", "consumers", int64(0), "last-delivered-id", "x", "lag", int64(1), "pending", int64(0)}, ""},
		{"an odd name of a field", append(group("odd", "lag", int64(1), "pending", int64(1)), int64(7), "x", nil, int64(1)), ""},
		{"no name", []any{"consumers", int64(1), "pending", int64(1), "lag", int64(9)}, "lists a group whose name can't be read"},
		{"a name that is none", []any{"name", int64(7), "pending", int64(1), "lag", int64(9)}, "lists a group whose name can't be read"},
		{"a value too many", group("odd", "lag"), "lists a group whose name can't be read"},
		{"no fields", "text", "lists a group whose name can't be read"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := scriptedStream{streamReply{
				info: []any{int64(7), "x", "length", int64(4), "entries-added", int64(9), "first-entry", first}, groups: []any{c.group, well},
			}}.sample()
			if c.fault != "" {
				probetest.WantFault(t, b, err, c.fault)
			} else if err != nil || !b.Depth.Known || b.Depth.Value > 4 {
				t.Errorf("%+v, %v", b, err)
			}
			if c.fault != "" && (b.Depth.Known || b.OldestAge.Known || b.Complete) {
				t.Errorf("%+v", b)
			}
			at := probes.Partition{Topic: "inv"}
			for _, g := range b.Groups {
				if g.Lag[at] > probes.MostCount || g.Positions[at] > probes.MostCount || g.Pending.Value > probes.MostCount || g.Pending.Value < 0 {
					t.Errorf("%+v", g)
				}
			}
			if g := probetest.GroupOf(t, b, "well"); g.Lag[at] != 2 || g.Waiting[at] != 3 || g.Positions[at] != 2 {
				t.Errorf("the other group is %+v", g)
			}
			if err != nil && strings.Contains(err.Error(), "well") {
				t.Error(err)
			}
		})
	}
}

// A group whose name can't be read is not one that is configured and there.
func TestStreamNamelessGroup(t *testing.T) {
	s := scriptedStream{streamReply{info: []any{"length", int64(4)}, groups: []any{
		[]any{"name", nil, "pending", int64(0), "lag", int64(4)},
		[]any{"name", "g", "consumers", int64(1), "last-delivered-id", "7-0", "pending", int64(0), "lag", int64(2)},
	}}}
	for groups, fails := range map[string]bool{"g": false, "/g/": true, "": true} {
		b, err := s.sample(strings.Fields(groups)...)
		if (err != nil) != fails || b.Depth.Known == fails || len(b.Groups) != 1 {
			t.Errorf("%q: %+v, %v", groups, b, err)
		}
	}
	if b, err := s.sample("g", "h"); !errors.Is(err, errNamelessGroup) || b.Complete || len(b.Groups) != 2 {
		t.Errorf("%+v, %v", b, err)
	}
}

// What a run would take of a stream that was trimmed past what was read: nothing, whatever lag the server reports.
func TestStreamTakenAfterTrim(t *testing.T) {
	r := servers.Redis(t)
	u := streamUser{r, "inv"}
	f := queueFleet(t, r.Addr, nodeConfig{})
	u.Must(t, "xgroup", "create", "inv", "g", "0", "mkstream")
	u.add(t, 10, time.Now().Add(-time.Minute))
	u.XAck(t.Context(), "inv", "g", u.read(t, "g", 1)...)
	q := messageQueue(t, f, 100, queueConfig{Stream: "inv"}).(probes.Backlogged)
	for _, c := range []struct{ maxlen, waits int64 }{{10, 9}, {0, 0}} {
		u.Must(t, "xtrim", "inv", "maxlen", c.maxlen)
		if got, err := q.Waiting(t.Context(), 0); err != nil || got.Messages != c.waits {
			t.Errorf("trimmed to %d: %+v, %v", c.maxlen, got, err)
		}
	}
}
