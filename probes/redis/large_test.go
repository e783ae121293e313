package redis

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

// Messages that are too large are not read, and the depth is told all the same.
func TestQueueLargeMessages(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.Redis(t)
	proxy := servers.NewProxy(t, r.Addr)
	f := queueFleet(t, proxy.Addr, nodeConfig{})
	big := `{"key":"user:1","ts":1000,"pad":"` + strings.Repeat("x", 8<<20) + `"}`
	for range 2 {
		r.Must(t, "rpush", "list", big)
		for _, stream := range []string{"stream", "grouped"} {
			r.Must(t, "xadd", stream, "*", "message", big)
		}
	}
	r.Must(t, "xgroup", "create", "grouped", "behind", "0")
	r.Must(t, "xgroup", "create", "grouped", "done", "$")
	r.Must(t, "xreadgroup", "group", "behind", "c", "count", 1, "streams", "grouped", ">")
	at := probes.Partition{Topic: "grouped"}
	for _, c := range []queueConfig{{List: "list"}, {Stream: "stream"}, {Stream: "grouped"}} {
		key := c.List + c.Stream
		q := messageQueue(t, f, 100, c)
		for range 3 {
			proxy.Reset()
			b, err := ownReadsExact(t, f, q)
			probetest.WantFault(t, probes.Backlog{}, err, fmt.Sprintf("the messages of %q are too large to look at (above 1048576 bytes)", key))
			if strings.Count(err.Error(), "too large") != 1 || !b.Complete || b.OldestAge.Known || b.Sample != nil {
				t.Errorf("%s: %+v, %v", key, b, err)
			}
			probetest.WantDepth(t, b, 2)
			if got := proxy.Counts().Received; got > 64<<10 {
				t.Errorf("%s: %d bytes were read", key, got)
			}
			if key != "grouped" {
				continue
			}
			behind, done := probetest.GroupOf(t, b, "behind"), probetest.GroupOf(t, b, "done")
			if _, known := behind.LagSeconds[at]; known || behind.Lag[at] != 1 || !behind.OldestPending.Known {
				t.Errorf("behind: %+v", behind)
			}
			if lag, known := done.LagSeconds[at]; !known || lag != 0 || done.OldestPending != (probes.Count{Value: 0, Known: true}) {
				t.Errorf("done: %+v", done)
			}
		}
	}
	// What replaces them is looked at again at once.
	r.Must(t, "del", "list")
	r.Must(t, "rpush", "list", invalidation("user:1", 1, time.Now()))
	b, err := ownReadsExact(t, f, messageQueue(t, f, 100, queueConfig{List: "list"}))
	if err != nil || !b.OldestAge.Known || b.Sample == nil {
		t.Errorf("%+v, %v", b, err)
	}
}

// Those whose size the server does not tell are read once and then left alone.
func TestQueueLargeMessagesOfUnknownSize(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.Redis(t)
	proxy := servers.NewProxy(t, r.Addr)
	r.Must(t, "acl", "setuser", "exporter", "on", ">pw", "~*", "+@all", "-memory")
	f := queueFleet(t, proxy.Addr, nodeConfig{Credentials: form.Credentials{Username: "exporter", Password: "pw"}})
	big := strings.Repeat("x", 2<<20)
	fill := func() {
		for range 3 {
			r.Must(t, "rpush", "list", big)
			r.Must(t, "xadd", "stream", "*", "message", big)
		}
	}
	fill()
	for _, c := range []queueConfig{{List: "list"}, {Stream: "stream"}} {
		key := c.List + c.Stream
		q := messageQueue(t, f, 100, c)
		for i := range 3 {
			proxy.Reset()
			b, err := ownReadsExact(t, f, q)
			probetest.WantFault(t, probes.Backlog{}, err, "too large to look at")
			if !b.Complete || b.OldestAge.Known || b.Sample != nil || len(b.Ends) != map[string]int{"list": 1}[key] {
				t.Errorf("%s: %+v", key, b)
			}
			probetest.WantDepth(t, b, 3)
			most := int64(64 << 10)
			if i == 0 {
				most = 5 << 20
			}
			if got := proxy.Counts().Received; got > most {
				t.Errorf("%s: %d bytes were read by sampling %d", key, got, i)
			}
		}
		r.Must(t, "del", key)
		if b, err := ownReadsExact(t, f, q); err != nil || b.OldestAge != (probes.Count{Value: 0, Known: true}) {
			t.Errorf("%s that is empty: %+v, %v", key, b, err)
		}
		add := []any{"rpush", key, invalidation("user:1", 1, time.Now())}
		if c.Stream != "" {
			add = []any{"xadd", key, "*", "key", "user:1"}
		}
		r.Must(t, add...)
		if b, err := ownReadsExact(t, f, q); err != nil || !b.OldestAge.Known || b.Sample == nil {
			t.Errorf("%s with a small one: %+v, %v", key, b, err)
		}
	}
}

// One that only the newest messages hold, behind an end that is small.
func TestQueueLargeMessageAmongSmall(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.Redis(t)
	proxy := servers.NewProxy(t, r.Addr)
	f := queueFleet(t, proxy.Addr, nodeConfig{})
	fill := func(text string, n int) {
		for range n {
			r.Must(t, "rpush", "list", text)
			r.Must(t, "xadd", "stream", "*", "message", text)
		}
	}
	fill("user:1", 200)
	fill(strings.Repeat("x", 8<<20), 1)
	fill("user:1", 5)
	for _, c := range []queueConfig{{List: "list"}, {Stream: "stream"}} {
		q := messageQueue(t, f, 100, c)
		for i := range 3 {
			proxy.Reset()
			b, err := ownReadsExact(t, f, q)
			if !b.Complete || err == nil || !strings.Contains(err.Error(), "too large") || b.Sample != nil {
				t.Errorf("%+v: %+v, %v", c, b, err)
			}
			probetest.WantDepth(t, b, 206)
			if got := proxy.Counts().Received; i > 0 && got > 64<<10 {
				t.Errorf("%+v: %d bytes were read by sampling %d", c, got, i)
			}
		}
	}
}

// The budget waits for nobody who hangs, and is whole again after all samplings.
func TestQueueBudget(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.Redis(t)
	f := queueFleet(t, r.Addr, nodeConfig{})
	large := strings.Repeat("x", 2*probes.SmallValue)
	r.Must(t, "rpush", "list", large)
	r.Must(t, "xadd", "stream", "*", "a", large)
	env := probetest.Env()
	env.SampleMessages = 10
	for _, c := range []queueConfig{{Node: "redis-1", List: "list"}, {Node: "redis-1", Stream: "stream"}} {
		q, err := c.Open("q", nil, f, env)
		if err != nil {
			t.Fatal(err)
		}
		release := probetest.Fill(t, env.Budget, 0)
		if _, err := probetest.SampleIn(t, q, 50*time.Millisecond); err == nil {
			t.Errorf("%+v: read without a budget", c)
		}
		release()
		if b, err := ownReadsExact(t, f, q); err != nil || b.Sample == nil || b.Sample.Messages != 1 {
			t.Errorf("%+v: %+v, %v", c, b, err)
		}
		probetest.Whole(t, env.Budget)
		q.Close()
	}
}
