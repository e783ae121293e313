package redis

import (
	"context"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

// queueFleet is one Redis with a node for it.
func queueFleet(t *testing.T, address string, c nodeConfig) *probes.Fleet {
	t.Helper()
	c.Address = address
	return openFleet(t, probetest.Env().ForgetAfter, probetest.Node("redis-1", 0, &c))
}

func openQueue(t *testing.T, f *probes.Fleet, c queueConfig) probes.Queue {
	t.Helper()
	c.Node = "redis-1"
	q, err := c.Open("q", nil, f, probetest.Env())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(q.Close)
	return q
}

// ownReadsExact samples the queue, and checks that the server's hits and misses moved by what was counted as ours alone.
func ownReadsExact(t *testing.T, f *probes.Fleet, q probes.Queue) (probes.Backlog, error) {
	t.Helper()
	own := func() (ours, all [2]float64) {
		s, err := f.Nodes()[0].Survey(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		return [2]float64{float64(s.OwnHits), float64(s.OwnMisses)}, [2]float64{s.Hits.Value, s.Misses.Value}
	}
	ours0, all0 := own()
	b, err := probetest.SampleIn(t, q, 5*time.Second)
	ours1, all1 := own()
	for i, what := range []string{"hits", "misses"} {
		if ours1[i]-ours0[i] != all1[i]-all0[i] {
			t.Errorf("%s: the server counted %v, we %v", what, all1[i]-all0[i], ours1[i]-ours0[i])
		}
	}
	if all0 == all1 {
		t.Error("nothing was read")
	}
	return b, err
}

func TestQueueList(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.Redis(t)
	f := queueFleet(t, r.Addr, nodeConfig{})
	q := openQueue(t, f, queueConfig{List: "inv"})
	for _, n := range []int{0, 3, 5, 1, 0} {
		r.Must(t, "del", "inv")
		for range n {
			r.Must(t, "rpush", "inv", "message")
		}
		b, err := ownReadsExact(t, f, q)
		if err != nil || !b.Complete || b.Groups != nil {
			t.Errorf("%+v, %v", b, err)
		}
		probetest.WantDepth(t, b, float64(n))
		if want := map[probes.Partition]float64{{}: float64(n)}; !maps.Equal(b.Ends, want) {
			t.Errorf("ends %v, want %v", b.Ends, want)
		}
	}
	r.Must(t, "set", "inv", "x")
	b, err := ownReadsExact(t, f, q)
	probetest.WantFault(t, b, err, `the key "inv" is of another type, not a list; write the key of a list`)
	if b.Depth.Known || b.Ends != nil {
		t.Errorf("%+v", b)
	}
}

// xinfo is what the server itself says of a group.
func xinfo(t *testing.T, r *servers.RedisServer, key, group string) redis.XInfoGroup {
	t.Helper()
	all, err := r.XInfoGroups(t.Context(), key).Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range all {
		if g.Name == group {
			return g
		}
	}
	t.Fatalf("no group %s", group)
	return redis.XInfoGroup{}
}

func TestQueueStream(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.Redis(t)
	f := queueFleet(t, r.Addr, nodeConfig{})
	q := openQueue(t, f, queueConfig{Stream: "inv"})
	at := probes.Partition{Topic: "inv"}
	sample := func() probes.Backlog {
		t.Helper()
		b, err := ownReadsExact(t, f, q)
		if err != nil || !b.Complete {
			t.Errorf("%+v, %v", b, err)
		}
		return b
	}
	b := sample()
	probetest.WantDepth(t, b, 0)
	if b.Ends[at] != 0 || len(b.Ends) != 1 || b.Groups == nil || len(b.Groups) != 0 {
		t.Errorf("a stream that does not exist: %+v", b)
	}
	add := func(n int) {
		for range n {
			r.Must(t, "xadd", "inv", "*", "key", "user:1")
		}
	}
	add(10)
	probetest.WantDepth(t, sample(), 10) // without groups: its length
	r.Must(t, "xgroup", "create", "inv", "slow", "0")
	r.Must(t, "xgroup", "create", "inv", "quick", "0")
	read := func(group string, n int) []string {
		t.Helper()
		got, err := r.XReadGroup(t.Context(), &redis.XReadGroupArgs{
			Group: group, Consumer: "c1", Streams: []string{"inv", ">"}, Count: int64(n),
		}).Result()
		if err != nil || len(got) != 1 || len(got[0].Messages) != n {
			t.Fatal(got, err)
		}
		var ids []string
		for _, m := range got[0].Messages {
			ids = append(ids, m.ID)
		}
		return ids
	}
	slow, quick := read("slow", 4), read("quick", 10)
	if err := r.XAck(t.Context(), "inv", "slow", slow[0]).Err(); err != nil {
		t.Fatal(err)
	}
	if err := r.XAck(t.Context(), "inv", "quick", quick...).Err(); err != nil {
		t.Fatal(err)
	}
	b = sample()
	probetest.WantDepth(t, b, 9) // slow: 6 that it has not read, 3 that it has not acknowledged
	for _, name := range []string{"slow", "quick"} {
		g, said := probetest.GroupOf(t, b, name), xinfo(t, r, "inv", name)
		if g.Lag[at] != said.Lag || len(g.Lag) != 1 || g.Members != int(said.Consumers) || !g.HasMembers || g.State != "" ||
			g.Positions[at] != float64(said.EntriesRead-said.Pending) || g.Uncommitted != 0 || !g.HasOffsets {
			t.Errorf("%+v, the server says %+v", g, said)
		}
	}
	if b.Ends[at] != 10 {
		t.Errorf("ends %v", b.Ends)
	}
	// What was processed and deleted still counts as enqueued.
	r.Must(t, "xtrim", "inv", "maxlen", 0)
	add(2)
	if b, err := ownReadsExact(t, f, q); err != nil || b.Ends[at] != 12 {
		t.Errorf("%+v, %v", b, err)
	}
}

func TestQueueStreamWhatIsUnknown(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.Redis(t)
	f := queueFleet(t, r.Addr, nodeConfig{})
	q := openQueue(t, f, queueConfig{Stream: "inv"})
	var ids []string
	for range 5 {
		id, err := r.XAdd(t.Context(), &redis.XAddArgs{Stream: "inv", Values: []string{"a", "b"}}).Result()
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	r.Must(t, "xgroup", "create", "inv", "set", ids[1]) // in the middle: the server does not know how many that is
	r.Must(t, "xgroup", "create", "inv", "well", "0")
	b, err := ownReadsExact(t, f, q)
	g, well := probetest.GroupOf(t, b, "set"), probetest.GroupOf(t, b, "well")
	if err != nil || !b.Complete || g.Lag[probes.Partition{Topic: "inv"}] != 3 || len(g.Positions) != 0 || !g.HasMembers {
		t.Errorf("%v, group %+v", err, g)
	}
	probetest.WantDepth(t, b, 5)
	if well.Lag[probes.Partition{Topic: "inv"}] != 5 || len(well.Positions) != 0 { // nothing was read yet, and the server says nil
		t.Errorf("the other group is %+v", well)
	}
	r.Must(t, "xgroup", "destroy", "inv", "set")
	r.Must(t, "xgroup", "create", "inv", "end", "$")
	b, err = ownReadsExact(t, f, q)
	if g = probetest.GroupOf(t, b, "end"); err != nil || g.Lag[probes.Partition{Topic: "inv"}] != 0 || len(g.Lag) != 1 || len(g.Positions) != 0 {
		t.Errorf("a group at the end has lag 0, and has read nobody knows how much: %+v, %v", g, err)
	}
	probetest.WantDepth(t, b, 5)

	r.Must(t, "del", "inv")
	r.Must(t, "rpush", "inv", "x")
	b, err = ownReadsExact(t, f, q)
	probetest.WantFault(t, b, err, `the key "inv" is of another type, not a stream`)
}

func TestQueueStreamGroups(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.Redis(t)
	f := queueFleet(t, r.Addr, nodeConfig{})
	open := func(groups ...string) probes.Queue {
		return openQueue(t, f, queueConfig{Stream: "inv", Groups: probetest.Matches(groups...)})
	}
	b, err := ownReadsExact(t, f, open("a", "/b/"))
	if err != nil || len(b.Groups) != 1 || b.Groups[0].Uncommitted != 0 {
		t.Errorf("a stream that does not exist: %+v, %v", b, err)
	}
	probetest.WantDepth(t, b, 0)
	for range 7 {
		r.Must(t, "xadd", "inv", "*", "key", "user:1")
	}
	r.Must(t, "xgroup", "create", "inv", "other", "0")
	b, err = ownReadsExact(t, f, open("a", "/b/"))
	probetest.WantFault(t, b, err, "group a: the stream has no such group; create it with XGROUP CREATE inv, or correct its name in groups")
	if g := probetest.GroupOf(t, b, "a"); b.Depth.Known || len(b.Groups) != 1 || g.Uncommitted != 1 || !g.HasMembers || g.Members != 0 ||
		len(g.Lag) != 0 {
		t.Errorf("a configured group that does not exist: %+v, %v", b, err)
	}
	b, err = ownReadsExact(t, f, open("/b/"))
	if err != nil || len(b.Groups) != 0 {
		t.Errorf("%+v, %v", b, err)
	}
	probetest.WantDepth(t, b, 7) // nobody who is meant has read anything
	r.Must(t, "xgroup", "create", "inv", "b1", "$")
	b, err = ownReadsExact(t, f, open("a", "/b/"))
	probetest.WantFault(t, b, err, "group a: ")
	if g := probetest.GroupOf(t, b, "b1"); len(b.Groups) != 2 || len(g.Lag) != 1 || len(g.LagSeconds) != 1 { // it is unharmed
		t.Errorf("%+v", b)
	}
	b, err = ownReadsExact(t, f, open("/b/"))
	if err != nil || !b.Complete {
		t.Errorf("%+v, %v", b, err)
	}
	probetest.WantDepth(t, b, 0)
	for i := range 101 {
		r.Must(t, "xgroup", "create", "inv", "many-"+strings.Repeat("x", i+1), "$")
	}
	b, err = ownReadsExact(t, f, open("/^many/"))
	probetest.WantFault(t, b, err, "101 consumer groups match, and only the first 100 are watched")
	if len(b.Groups) != 100 {
		t.Errorf("%d groups", len(b.Groups))
	}
}

func TestQueueRefuses(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.Redis(t)
	r.Must(t, "acl", "setuser", "exporter", "on", ">pw", "~*", "+info", "+client", "+ping")
	r.Must(t, "rpush", "l", "x")
	r.Must(t, "xadd", "s", "*", "a", "b")
	f := queueFleet(t, r.Addr, nodeConfig{Credentials: form.Credentials{Username: "exporter", Password: "pw"}})
	for command, c := range map[string]queueConfig{"llen": {List: "l"}, "xinfo": {Stream: "s"}} {
		b, err := probetest.SampleIn(t, openQueue(t, f, c), 5*time.Second)
		probetest.WantFault(t, b, err, strings.ToUpper(command)+" was refused (NOPERM); grant the node's user +"+command)
	}
	s, err := f.Nodes()[0].Survey(t.Context(), nil)
	if err != nil || s.OwnHits != 0 || s.Hits.Value != 0 {
		t.Errorf("refused commands were counted: %+v, %v", s, err)
	}
}

func TestQueueFrozen(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.Redis(t)
	r.Must(t, "rpush", "l", "x")
	f := queueFleet(t, r.Addr, nodeConfig{})
	q := openQueue(t, f, queueConfig{List: "l"})
	s := openQueue(t, f, queueConfig{Stream: "s"})
	r.Freeze(t)
	for range 3 {
		for _, q := range []probes.Queue{q, s} {
			b, err := probetest.SampleIn(t, q, 100*time.Millisecond)
			probetest.WantFault(t, b, err, "no answer in time")
		}
	}
	r.Thaw(t)
	servers.Eventually(t, "the queue answers", func() bool {
		_, err := probetest.SampleIn(t, q, time.Second)
		return err == nil
	})
	for range 3 {
		b, _ := ownReadsExact(t, f, q)
		probetest.WantDepth(t, b, 1)
	}
	got, err := f.Nodes()[0].Survey(t.Context(), nil)
	if err != nil || float64(got.OwnHits) != got.Hits.Value || float64(got.OwnMisses) != got.Misses.Value {
		t.Errorf("own %d and %d, the server counted %v and %v (%v)", got.OwnHits, got.OwnMisses, got.Hits, got.Misses, err)
	}
}

func TestQueueNode(t *testing.T) {
	servers.NoLeaks(t)
	f := queueFleet(t, "127.0.0.1:1", nodeConfig{})
	for _, fleet := range []*probes.Fleet{f, nil} {
		_, err := (&queueConfig{Node: "none", List: "l"}).Open("q", nil, fleet, probetest.Env())
		if err == nil || !strings.Contains(err.Error(), `"none" is no redis node of the layers`) {
			t.Errorf("error %v", err)
		}
	}
	b, err := probetest.SampleIn(t, openQueue(t, f, queueConfig{Stream: "s"}), time.Second)
	probetest.WantFault(t, b, err, "refused")
}

// scriptedStream gives XINFO's answers as another server might.
type scriptedStream struct{ reply streamReply }

func (s scriptedStream) sample(groups ...string) (probes.Backlog, error) {
	q := streamQueue{key: "inv", groups: probetest.Matches(groups...)}
	return q.backlog(s.reply)
}

func TestQueueStreamOlderServer(t *testing.T) {
	info := []any{"length", int64(4), "groups", int64(1)}
	group := []any{"name", "g", "consumers", int64(2), "pending", int64(1), "last-delivered-id", "0-1"}
	b, err := scriptedStream{streamReply{info: info, groups: []any{group}}}.sample()
	probetest.WantFault(t, b, err, "group g: the server does not tell its lag, as before Redis 7.0")
	if g := b.Groups[0]; b.Depth.Known || len(b.Ends) != 0 || g.Members != 2 || len(g.Positions) != 0 {
		t.Errorf("%+v", b)
	}
	b, err = scriptedStream{streamReply{info: info, groups: []any{}}}.sample()
	if err != nil || b.Depth != (probes.Count{Value: 4, Known: true}) || !b.Complete {
		t.Errorf("%+v, %v", b, err)
	}
	for _, broken := range []streamReply{
		{info: "x", groups: []any{}}, {info: []any{"length"}, groups: []any{}}, {info: info, groups: int64(1)}, {info: []any{}, groups: []any{}},
	} {
		b, err = scriptedStream{broken}.sample()
		probetest.WantFault(t, b, err, `XINFO's answer about "inv" can't be read`)
	}
}

// Whatever a server answers is read without a panic, a depth is told only where it is complete, and what can't be read of one
// group costs that group alone.
func FuzzQueueStreamReply(f *testing.F) {
	f.Add([]byte("length4 lag3 pending2 name-g"))
	words := []any{
		"length", "name", "lag", "pending", "consumers", "entries-read", "entries-added", "g", nil, int64(-1), int64(0), int64(7), []any{}, "LAG",
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var build func(depth int) any
		build = func(depth int) any {
			var out []any
			for len(data) > 0 {
				c := data[0]
				data = data[1:]
				switch {
				case c < 200 || depth == 3:
					out = append(out, words[int(c)%len(words)])
				case c < 225:
					out = append(out, build(depth+1))
				default:
					return out
				}
			}
			return out
		}
		odd := build(0)
		at, well := probes.Partition{Topic: "inv"}, []any{"name", "well", "consumers", int64(1), "pending", int64(1), "last-delivered-id", "7-0", "lag", int64(2)}
		info := []any{"length", int64(4), "first-entry", []any{"5-0", []any{"key", "a"}}}
		beside, _ := scriptedStream{streamReply{info: info, groups: []any{odd, well, odd}}}.sample()
		if g := probetest.GroupOf(t, beside, "well"); g.Lag[at] != 2 || g.Waiting[at] != 3 || g.Members != 1 {
			t.Errorf("beside %v the other group is %+v", odd, g)
		}
		b, err := scriptedStream{streamReply{info: odd, groups: build(0)}}.sample("g", "/./")
		if (err == nil) != b.Complete || !b.Depth.Known && b.Depth.Value != 0 || b.Complete && !b.Depth.Known {
			t.Errorf("%+v, %v", b, err)
		}
	})
}

// slowServer answers when it is let to.
type slowServer struct{ let chan struct{} }

func (s slowServer) Do(ctx context.Context, use func(context.Context, redis.Cmdable) (uint64, uint64, error)) error {
	go func() {
		<-s.let
		client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
		_ = client.Close()
		_, _, _ = use(context.Background(), client)
	}()
	<-ctx.Done()
	return ctx.Err()
}

// What comes after Do gave up is read by nobody, and races with nobody.
func TestQueueLateAnswer(t *testing.T) {
	servers.NoLeaks(t)
	s := slowServer{make(chan struct{})}
	b, err := probetest.SampleIn(t, &streamQueue{server: s, key: "inv"}, 20*time.Millisecond)
	close(s.let)
	probetest.WantFault(t, b, err, "deadline")
}
