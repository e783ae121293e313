package redis

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

// openChannel on the configured node c.
func openChannel(t *testing.T, f *probes.Fleet, node, channel string, sharded bool, env *probes.Env) *channelQueue {
	t.Helper()
	c := queueConfig{Node: node, Channel: channel, Sharded: sharded}
	q, err := c.Open("bus", &probes.Message{Key: "$"}, f, env)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(q.Close)
	return q.(*channelQueue)
}

// subscriber of a channel, whose subscription the server has accepted.
func subscriber(t *testing.T, address, channel string, sharded bool) *redis.PubSub {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: address, MaxRetries: -1})
	t.Cleanup(func() { _ = c.Close() })
	p := c.Subscribe(t.Context(), channel)
	if sharded {
		_ = p.Unsubscribe(t.Context(), channel)
		_ = p.Close()
		p = c.SSubscribe(t.Context(), channel)
	}
	t.Cleanup(func() { _ = p.Close() })
	if _, err := p.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	return p
}

func wantSubscribers(t *testing.T, q probes.Queue, want float64) {
	t.Helper()
	b, err := probetest.SampleIn(t, q, 10*time.Second)
	if err != nil || !b.Complete || b.Subscribers != (probes.Count{Value: want, Known: true}) {
		t.Errorf("%+v, want %v subscribers; %v", b, want, err)
	}
	if b.Depth.Known || b.OldestAge.Known || b.Groups != nil || b.Next != nil {
		t.Errorf("nothing waits in a channel: %+v", b)
	}
}

// left waits until the server has noticed that subscribers went.
func left(t *testing.T, r *servers.RedisServer, channel string, sharded bool, want int64) {
	t.Helper()
	servers.Eventually(t, "the server notices", func() bool {
		if sharded {
			return r.PubSubShardNumSub(t.Context(), channel).Val()[channel] == want
		}
		return r.PubSubNumSub(t.Context(), channel).Val()[channel] == want
	})
}

func TestChannelSubscribers(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.Redis(t)
	for _, c := range []struct {
		channel string
		sharded bool
		own     int64 // of our subscriptions in the server's count
	}{{"l1", false, 0}, {"l[1]*\\?", false, 0}, {"l1", true, 1}} {
		f := queueFleet(t, r.Addr, nodeConfig{})
		q := openChannel(t, f, "redis-1", c.channel, c.sharded, probetest.Env())
		wantSubscribers(t, q, 0)
		var all []*redis.PubSub
		for range 3 {
			all = append(all, subscriber(t, r.Addr, c.channel, c.sharded))
		}
		pattern := r.PSubscribe(t.Context(), "l*")
		if _, err := pattern.Receive(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantSubscribers(t, q, 3)
		_ = all[2].Close()
		left(t, r, c.channel, c.sharded, 2+c.own)
		wantSubscribers(t, q, 2)
		_, _ = all[0].Close(), all[1].Close()
		left(t, r, c.channel, c.sharded, c.own)
		wantSubscribers(t, q, 0)
		_ = pattern.Close()
		q.Close()
		left(t, r, c.channel, c.sharded, 0)
	}
}

// sampled messages of one sampling.
func sampled(t *testing.T, q *channelQueue, got *[]string) probes.Backlog {
	t.Helper()
	*got = nil
	b, err := probetest.SampleIn(t, q, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestChannelMessages(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.Redis(t)
	for _, sharded := range []bool{false, true} {
		f := queueFleet(t, r.Addr, nodeConfig{})
		env := probetest.Env()
		env.SampleMessages = 1000
		q := openChannel(t, f, "redis-1", "bus", sharded, env)
		at := probes.Partition{Topic: "bus"}
		var got []string
		q.Follow(map[probes.Partition]probes.Position{at: {Major: 40}}, func(e probes.Event) {
			if e.Partition != at || e.Key != nil || time.Since(e.Written) > time.Minute {
				t.Errorf("%+v", e)
			}
			got = append(got, fmt.Sprintf("%d %s", e.At.Major, e.Value))
		})
		if b := sampled(t, q, &got); b.Ends[at] != 40 || b.Followed == nil || b.Followed.Seen != 0 || b.Sample.Messages != 0 {
			t.Errorf("%+v", b)
		}
		publish := "publish"
		if sharded {
			publish = "spublish"
		}
		for _, text := range []string{"user:1", "user:2", "user:1"} {
			r.Must(t, publish, "bus", text)
		}
		r.Must(t, publish, "another", "user:9")
		b := sampled(t, q, &got)
		if !slices.Equal(got, []string{"41 user:1", "42 user:2", "43 user:1"}) {
			t.Errorf("%q", got)
		}
		if b.Ends[at] != 43 || b.Followed.Seen != 3 || b.Followed.LeftOut != 0 || b.Followed.After[at] != (probes.Position{Major: 43}) {
			t.Errorf("%+v %+v", b, b.Followed)
		}
		if s := b.Sample; s.Messages != 3 || s.DistinctKeys != 2 || s.TopKey != "user:1" || s.TopKeyMessages != 2 {
			t.Errorf("%+v", s)
		}
		if b := sampled(t, q, &got); len(got) != 0 || b.Ends[at] != 43 || b.Followed.Seen != 0 {
			t.Errorf("%q %+v", got, b)
		}
		q.Close()
	}
}

// What does not fit is left out, and counted; the newest is there.
func TestChannelOverflows(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.Redis(t)
	env := probetest.Env()
	env.MaxValueBytes = 300 << 10
	f := queueFleet(t, r.Addr, nodeConfig{})
	q := openChannel(t, f, "redis-1", "bus", false, env)
	var got []string
	q.Follow(nil, func(e probes.Event) { got = append(got, string(e.Value[:min(len(e.Value), 10)])) })
	sampled(t, q, &got)
	p := r.Pipeline()
	for i := range keptMessages + 5 {
		p.Publish(t.Context(), "bus", "message "+strconv.Itoa(i))
	}
	if _, err := p.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	b := sampled(t, q, &got)
	if b.Followed.Seen != keptMessages+5 || b.Followed.LeftOut != 5 || len(got) != keptMessages || got[0] != "message 5" {
		t.Errorf("%+v, %d visited", b.Followed, len(got))
	}
	large := strings.Repeat("x", 290<<10)
	for range 5 {
		r.Must(t, "publish", "bus", large)
	}
	r.Must(t, "publish", "bus", large+large) // larger than any that is kept
	b = sampled(t, q, &got)
	if f := b.Followed; f.Seen != 6 || f.LeftOut < 3 || f.Seen-f.LeftOut != len(got) || len(got) < 2 {
		t.Errorf("%+v, %d visited", f, len(got))
	}
	q.sub.mu.Lock()
	defer q.sub.mu.Unlock()
	if held := q.sub.got.bytes; held != 0 {
		t.Errorf("%d bytes are still held", held)
	}
}

// A subscription that broke is made anew. What was sent meanwhile is not known, which the next sampling says.
func TestChannelBreaks(t *testing.T) {
	servers.NoLeaks(t)
	for _, sharded := range []bool{false, true} {
		r := servers.Redis(t)
		f := queueFleet(t, r.Addr, nodeConfig{})
		q := openChannel(t, f, "redis-1", "bus", sharded, probetest.Env())
		wantSubscribers(t, q, 0)
		r.Must(t, "client", "kill", "type", "pubsub")
		servers.Eventually(t, "the subscription stands again", func() bool {
			q.sub.mu.Lock()
			defer q.sub.mu.Unlock()
			return q.sub.line != nil && q.sub.got.broken
		})
		b, err := probetest.SampleIn(t, q, 10*time.Second)
		probetest.WantFault(t, b, err, "our subscription was broken for a while")
		if b.Ends != nil || b.Sample != nil || b.Subscribers.Known == sharded {
			t.Errorf("%+v", b)
		}
		wantSubscribers(t, q, 0)

		r.Stop()
		b, err = probetest.SampleIn(t, q, 10*time.Second)
		probetest.WantFault(t, b, err, "our subscription to \"bus\" does not stand")
		if b.Subscribers.Known || b.Ends != nil {
			t.Errorf("%+v", b)
		}
		q.Close()
	}
}

// A user of the ACL may have the right to some channels by a pattern, which is not one to subscribe to a narrower pattern.
func TestChannelRights(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.Redis(t)
	r.Must(t, "acl", "setuser", "some", "on", ">secret", "+@all", "~*", "resetchannels", "&l1*")
	r.Must(t, "acl", "setuser", "none", "on", ">secret", "+@all", "~*", "resetchannels")
	f := queueFleet(t, "redis://some:secret@"+r.Addr, nodeConfig{})
	q := openChannel(t, f, "redis-1", "l1-bus", false, probetest.Env())
	wantSubscribers(t, q, 0)
	subscriber(t, r.Addr, "l1-bus", false)
	wantSubscribers(t, q, 1)

	f = queueFleet(t, "redis://none:secret@"+r.Addr, nodeConfig{})
	q = openChannel(t, f, "redis-1", "l1-bus", false, probetest.Env())
	b, err := probetest.SampleIn(t, q, 10*time.Second)
	probetest.WantFault(t, b, err, "SUBSCRIBE was refused (NOPERM); grant the node's user +subscribe and &l1-bus")
}

// A replica hands on what its primary was sent, so that its subscribers count, too.
func TestChannelOfAReplicationGroup(t *testing.T) {
	servers.NoLeaks(t)
	primary, replica := servers.Redis(t), servers.Redis(t)
	replica.Follow(t, primary)
	f := openFleet(t, time.Minute, probetest.Node("pair", 0, &nodeConfig{Replication: []string{primary.Addr}}))
	q := openChannel(t, f, "pair", "bus", false, probetest.Env())
	probetest.SurveyFleet(t, f, 10*time.Second)
	subscriber(t, primary.Addr, "bus", false)
	on := subscriber(t, replica.Addr, "bus", false)
	wantSubscribers(t, q, 2)
	_ = on.Close()
	left(t, replica, "bus", false, 0)
	wantSubscribers(t, q, 1)
	replica.Stop()
	servers.Eventually(t, "the primary has lost its replica", func() bool {
		probetest.SurveyFleet(t, f, 10*time.Second)
		b, err := probetest.SampleIn(t, q, 10*time.Second)
		return err == nil && b.Subscribers == probes.Count{Value: 1, Known: true}
	})
}

func TestChannelOfACluster(t *testing.T) {
	servers.NoLeaks(t)
	c := servers.RedisCluster(t, 3, 1)
	for _, sharded := range []bool{false, true} {
		f := openFleet(t, time.Minute, clusterOf(c.Addrs()[0]))
		q := openChannel(t, f, "c", "bus", sharded, probetest.Env())
		probetest.SurveyFleet(t, f, 10*time.Second)
		shard := c.Shards[c.Owner(t, "bus")]
		on := []*servers.ClusterNode{shard[0], shard[0], shard[1]} // a replica of the shard, too
		own := int64(1)
		if !sharded {
			on, own = c.Nodes()[:3], 0
		}
		var all []*redis.PubSub
		for _, n := range on {
			all = append(all, subscriber(t, n.Addr, "bus", sharded))
		}
		wantSubscribers(t, q, 3)
		_ = all[0].Close()
		if sharded {
			left(t, on[0].RedisServer, "bus", true, 1+own)
		} else {
			left(t, on[0].RedisServer, "bus", false, 0)
		}
		wantSubscribers(t, q, 2)

		var got []string
		q.visit = func(e probes.Event) { got = append(got, string(e.Value)) }
		publish, from := "publish", c.Nodes()[5]
		if sharded {
			publish, from = "spublish", shard[0]
		}
		from.Must(t, publish, "bus", "user:1")
		servers.Eventually(t, "the message crosses the Cluster", func() bool {
			if b, err := probetest.SampleIn(t, q, 10*time.Second); err != nil {
				t.Fatal(b, err)
			}
			return slices.Equal(got, []string{"user:1"})
		})
		q.Close()
	}
}

// A node that its Cluster calls down passes nothing on; the subscription moves to the heir.
func TestChannelThroughAFailover(t *testing.T) {
	servers.NoLeaks(t)
	c := servers.RedisCluster(t, 3, 1)
	f := openFleet(t, time.Minute, clusterOf(c.Addrs()...))
	q := openChannel(t, f, "c", "bus", true, probetest.Env())
	probetest.SurveyFleet(t, f, 10*time.Second)
	wantSubscribers(t, q, 0)
	shard := c.Shards[c.Owner(t, "bus")]
	subscriber(t, shard[1].Addr, "bus", true)
	wantSubscribers(t, q, 1)
	shard[0].Stop()
	told := 0
	servers.Eventually(t, "the failover", func() bool {
		probetest.SurveyFleet(t, f, 10*time.Second)
		b, err := probetest.SampleIn(t, q, 10*time.Second)
		if err != nil && !b.Complete {
			told++
		}
		return err == nil && b.Subscribers == probes.Count{Value: 1, Known: true} && q.sub.server().id.Address == shard[1].Addr
	})
	q.Close()
	if told == 0 {
		t.Error("that the subscription broke was never told")
	}
}

// A server may send anything over a subscription. It costs itself alone, and ends nothing but the connection.
func TestChannelHostile(t *testing.T) {
	servers.NoLeaks(t)
	var say atomic.Pointer[string]
	say.Store(new(string))
	numsub := "*2\r\n$3\r\nbus\r\n:7\r\n"
	var count atomic.Pointer[string]
	count.Store(&numsub)
	address := servers.RedisWriting(t, func(command []string, to io.Writer) error {
		said := "+OK\r\n"
		switch strings.ToUpper(command[0]) {
		case "PSUBSCRIBE":
			said = "*3\r\n$10\r\npsubscribe\r\n$3\r\nbus\r\n:1\r\n" + *say.Load()
		case "PING":
			said = servers.BulkTexts("pong", strings.ToLower(command[len(command)-1]))
		case "HELLO":
			said = "-ERR unknown command\r\n"
		case "PUBSUB":
			said = *count.Load()
		}
		_, err := io.WriteString(to, said)
		return err
	})
	message := servers.BulkTexts("pmessage", "bus", "bus", "user:1")
	for name, c := range map[string]struct {
		say           string
		seen, visited int
	}{
		"an error":              {"-ERR odd\r\n" + message, 1, 1},
		"other types":           {":5\r\n$-1\r\n*0\r\n*-1\r\n*1\r\n$1\r\nx\r\n" + message, 1, 1},
		"a deep list":           {strings.Repeat("*1\r\n", 1000) + ":1\r\n" + message, 1, 1},
		"no text for a message": {"*4\r\n$8\r\npmessage\r\n:1\r\n*2\r\n:1\r\n:2\r\n*2\r\n:1\r\n:2\r\n" + message, 2, 1},
		"a nil":                 {"*3\r\n$7\r\nmessage\r\n$-1\r\n$-1\r\n" + message, 2, 1},
		"a huge message":        {"*3\r\n$7\r\nmessage\r\n$3\r\nbus\r\n$5000000\r\n" + strings.Repeat("x", 5_000_000) + "\r\n" + message, 2, 1},
		"pongs":                 {strings.Repeat(servers.BulkTexts("pong", ""), 100) + message, 1, 1},
	} {
		say.Store(&c.say)
		f := queueFleet(t, address, nodeConfig{})
		q := openChannel(t, f, "redis-1", "bus", false, probetest.Env())
		visited := 0
		q.Follow(nil, func(probes.Event) { visited++ })
		b, err := probetest.SampleIn(t, q, 10*time.Second)
		if err != nil || b.Followed == nil || b.Followed.Seen != c.seen || visited != c.visited || b.Subscribers.Value != 7 {
			t.Errorf("%s: %+v %+v, %d visited, %v", name, b, b.Followed, visited, err)
		}
		q.Close()
	}
	say.Store(new(string))
	for _, odd := range []string{"*0\r\n", "*2\r\n$3\r\nbus\r\n:-1\r\n", "*2\r\n$5\r\nother\r\n:1\r\n", "*2\r\n$3\r\nbus\r\n$1\r\n1\r\n", ":1\r\n", "$1000000\r\n" + strings.Repeat("x", 1_000_000) + "\r\n"} {
		count.Store(&odd)
		f := queueFleet(t, address, nodeConfig{})
		q := openChannel(t, f, "redis-1", "bus", false, probetest.Env())
		b, err := probetest.SampleIn(t, q, 10*time.Second)
		probetest.WantFault(t, b, err, "PUBSUB NUMSUB")
		if b.Subscribers.Known {
			t.Errorf("%.40q: %+v", odd, b)
		}
		q.Close()
	}
}
