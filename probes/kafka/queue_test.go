package kafka

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

func configOf(brokers, topics, groups []string) queueConfig {
	return queueConfig{Brokers: brokers, Topics: probetest.Matches(topics...), Groups: probetest.Matches(groups...)}
}

func openQueue(t *testing.T, c queueConfig, options ...kgo.Opt) *queue {
	t.Helper()
	return openQueueWith(t, c, nil, options...)
}

// openQueueWith messages as configured.
func openQueueWith(t *testing.T, c queueConfig, m *probes.Message, options ...kgo.Opt) *queue {
	t.Helper()
	q, err := newQueue(c, m, probetest.Env(), probetest.Quiet())
	if err != nil {
		t.Fatal(err)
	}
	q.conns.options = append(q.conns.options, options...)
	q.conns.keep(nil) // those opened without the options
	t.Cleanup(q.Close)
	return q
}

// sampleWell fails where anything was not learned.
func sampleWell(t *testing.T, q probes.Queue) probes.Backlog {
	t.Helper()
	b, err := probetest.SampleIn(t, q, 10*time.Second)
	if err != nil || !b.Complete {
		t.Errorf("complete %v, error %v", b.Complete, err)
	}
	return b
}

func inv(id int32) probes.Partition { return probes.Partition{Topic: "inv", ID: id} }

func wantLag(t *testing.T, g probes.GroupBacklog, want map[probes.Partition]int64) {
	t.Helper()
	if !maps.Equal(g.Lag, want) {
		t.Errorf("group %s: lag %v, want %v", g.Group, g.Lag, want)
	}
}

// requestCount counts requests by broker and kind.
type requestCount struct {
	mu sync.Mutex
	by map[string]int
}

func (c *requestCount) OnBrokerWrite(meta kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, _ error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.by == nil {
		c.by = map[string]int{}
	}
	c.by[fmt.Sprintf("%s:%d %s", meta.Host, meta.Port, kmsg.NameForKey(key))]++
}

// take gives the counts and begins anew.
func (c *requestCount) take() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.by
	c.by = nil
	return out
}

func total(counts map[string]int) int {
	n := 0
	for _, c := range counts {
		n += c
	}
	return n
}

// TestQueue runs against one Apache Kafka.
func TestQueue(t *testing.T) {
	k := servers.Kafka(t)
	brokers := []string{k.Addr}
	u := newUser(t, brokers)
	u.create(t, "inv", 3)
	for p, n := range []int{100, 50, 7} {
		u.produce(t, "inv", int32(p), n)
	}
	t.Run("as kafka-consumer-groups prints", func(t *testing.T) {
		servers.NoLeaks(t)
		classic := joinGroup(t, brokers, "classic", "inv")
		joinGroup(t, brokers, "classic", "inv")
		joinGroup(t, brokers, "modern", "inv", kgo.ServerSideBalancer())
		commitAll(t, classic, "classic", map[int32]int64{0: 60, 1: 50})
		u.commit(t, "empty", "inv", map[int32]int64{0: 1, 1: 2, 2: 3})
		q := openQueue(t, configOf(brokers, []string{"inv"}, []string{"classic", "modern", "empty", "never"}))
		var b probes.Backlog
		servers.Eventually(t, "the groups are stable", func() bool {
			b = sampleWell(t, q)
			return probetest.GroupOf(t, b, "classic").State == "Stable" && probetest.GroupOf(t, b, "classic").Members == 2 && probetest.GroupOf(t, b, "modern").State == "Stable"
		})
		for _, g := range []string{"classic", "modern", "empty"} {
			likeTool(t, k, b, g)
		}
		wantLag(t, probetest.GroupOf(t, b, "classic"), map[probes.Partition]int64{inv(0): 40, inv(1): 0})
		probetest.WantDepth(t, b, 99+48+4) // the largest of the groups', never their sum
		never := probetest.GroupOf(t, b, "never")
		if never.State != "Dead" || never.Members != 0 || !never.HasMembers || never.Uncommitted != 3 || !never.HasOffsets ||
			len(never.Lag) != 0 {
			t.Errorf("a group that does not exist is %+v", never)
		}
		for name, uncommitted := range map[string]int{"classic": 1, "modern": 3, "empty": 0} {
			if g := probetest.GroupOf(t, b, name); g.Uncommitted != uncommitted {
				t.Errorf("group %s: %d partitions uncommitted, want %d", name, g.Uncommitted, uncommitted)
			}
		}
		if b.BrokersUp != 1 || b.BrokersDown != 0 {
			t.Errorf("brokers %d up, %d down", b.BrokersUp, b.BrokersDown)
		}
		if want := map[probes.Partition]float64{inv(0): 100, inv(1): 50, inv(2): 7}; !maps.Equal(b.Ends, want) {
			t.Errorf("ends %v, want %v", b.Ends, want)
		}
	})
	t.Run("nothing committed", func(t *testing.T) {
		b := sampleWell(t, openQueue(t, configOf(brokers, []string{"inv"}, []string{"nobody"})))
		if b.Depth.Known {
			t.Errorf("depth %v of a queue where nothing is committed", b.Depth.Value)
		}
	})
	t.Run("no groups", func(t *testing.T) {
		b := sampleWell(t, openQueue(t, configOf(brokers, []string{"inv"}, nil)))
		if b.Depth.Known || b.Groups != nil || len(b.Ends) != 3 {
			t.Errorf("a queue without groups: %+v", b)
		}
	})
	t.Run("log truncated past the commit", func(t *testing.T) { testTruncated(t, k, u) })
	t.Run("regular expressions", func(t *testing.T) { testRegexps(t, k, u) })
	t.Run("a topic deleted meanwhile", func(t *testing.T) { testTopicDeleted(t, brokers, u) })
	t.Run("a group that changes its protocol", func(t *testing.T) { testProtocolChange(t, brokers, u) })
	t.Run("1000 partitions", func(t *testing.T) { testRequests(t, k, u) })
	t.Run("more groups than are watched", func(t *testing.T) { testManyGroups(t, brokers, u) })
}

func testTruncated(t *testing.T, k *servers.KafkaServer, u *user) {
	u.create(t, "short", 2)
	u.produce(t, "short", 0, 100)
	u.produce(t, "short", 1, 100)
	u.commit(t, "late", "short", map[int32]int64{0: 10, 1: 100})
	q := openQueue(t, configOf([]string{k.Addr}, []string{"short"}, []string{"late"}))
	probetest.WantDepth(t, sampleWell(t, q), 90)
	truncate := kadm.Offsets{}
	truncate.AddOffset("short", 0, 70, -1)
	truncate.AddOffset("short", 1, 100, -1)
	if _, err := u.admin.DeleteRecords(t.Context(), truncate); err != nil {
		t.Fatal(err)
	}
	b := sampleWell(t, q)
	wantLag(t, probetest.GroupOf(t, b, "late"), map[probes.Partition]int64{{Topic: "short", ID: 0}: 30, {Topic: "short", ID: 1}: 0})
	if at := probetest.GroupOf(t, b, "late").Positions[probes.Partition{Topic: "short", ID: 0}]; at != 10 {
		t.Errorf("the commit moved to %v by itself", at)
	}
	// A commit ahead of the end, as after data was lost.
	u.commit(t, "late", "short", map[int32]int64{1: 250})
	wantLag(t, probetest.GroupOf(t, sampleWell(t, q), "late"), map[probes.Partition]int64{{Topic: "short", ID: 0}: 30, {Topic: "short", ID: 1}: 0})
}

func testRegexps(t *testing.T, k *servers.KafkaServer, u *user) {
	u.create(t, "re-a", 1)
	u.create(t, "re-b", 1)
	u.produce(t, "re-a", 0, 5)
	u.produce(t, "re-b", 0, 6)
	u.commit(t, "re-1", "re-a", map[int32]int64{0: 0})
	u.commit(t, "re-2", "re-b", map[int32]int64{0: 0})
	u.commit(t, "other", "re-b", map[int32]int64{0: 0})
	q := openQueue(t, configOf([]string{k.Addr}, []string{"/^re-/", "/^__/"}, []string{"/^re-/", "re-named"}))
	b := sampleWell(t, q)
	probetest.WantDepth(t, b, 6)
	if len(b.Ends) != 2 {
		t.Errorf("topics %v", b.Ends)
	}
	var names []string
	for _, g := range b.Groups {
		names = append(names, g.Group)
	}
	if want := []string{"re-1", "re-2", "re-named"}; !slices.Equal(names, want) {
		t.Errorf("groups %v, want %v", names, want)
	}
	if g := probetest.GroupOf(t, b, "re-named"); g.State != "Dead" || g.Uncommitted != 2 {
		t.Errorf("a named group that does not exist is %+v", g)
	}
	likeTool(t, k, b, "re-2")
	// Groups and topics that come and go.
	u.commit(t, "re-3", "re-b", map[int32]int64{0: 6})
	u.create(t, "re-c", 1)
	if b = sampleWell(t, q); len(b.Groups) != 4 || len(b.Ends) != 3 || b.Depth.Value != 6 {
		t.Errorf("a new group and a new topic: %+v", b)
	}
	if _, err := u.admin.DeleteGroups(t.Context(), "re-2", "re-3"); err != nil {
		t.Fatal(err)
	}
	if b = sampleWell(t, q); len(b.Groups) != 2 {
		t.Errorf("deleted groups are still there: %+v", b.Groups)
	}
	// Internal topics are meant where they are named.
	b = sampleWell(t, openQueue(t, configOf([]string{k.Addr}, []string{"__consumer_offsets"}, nil)))
	if len(b.Ends) != 1 {
		t.Errorf("__consumer_offsets: %+v", b.Ends)
	}
}

func testTopicDeleted(t *testing.T, brokers []string, u *user) {
	u.create(t, "gone", 2)
	u.produce(t, "gone", 0, 5)
	u.commit(t, "reader", "gone", map[int32]int64{0: 1})
	u.commit(t, "reader", "inv", map[int32]int64{0: 90})
	q := openQueue(t, configOf(brokers, []string{"gone", "inv"}, []string{"reader"}))
	probetest.WantDepth(t, sampleWell(t, q), 14)
	if _, err := u.admin.DeleteTopic(t.Context(), "gone"); err != nil {
		t.Fatal(err)
	}
	var b probes.Backlog
	var err error
	servers.Eventually(t, "the end of the topic is known", func() bool {
		b, err = probetest.SampleIn(t, q, 10*time.Second)
		return err != nil && strings.Contains(err.Error(), "topic gone: does not exist") && len(b.Ends) == 3 // its partitions go one by one
	})
	if b.Complete {
		t.Errorf("complete %v, ends %v", b.Complete, b.Ends)
	}
	wantLag(t, probetest.GroupOf(t, b, "reader"), map[probes.Partition]int64{inv(0): 10})
	probetest.WantDepth(t, b, 10)
	// By a client of its own: the other answers from what it remembers of the topics for 5 s.
	if topics, err := newUser(t, brokers).admin.ListTopics(t.Context()); err != nil || topics.Has("gone") {
		t.Errorf("asking made the topic anew (%v)", err)
	}
}

// A group's name may be used again with the other protocol.
func testProtocolChange(t *testing.T, brokers []string, u *user) {
	q := openQueue(t, configOf(brokers, []string{"inv"}, []string{"changes"}))
	u.commit(t, "changes", "inv", map[int32]int64{0: 1})
	if g := probetest.GroupOf(t, sampleWell(t, q), "changes"); g.State != "Empty" {
		t.Errorf("state %s", g.State)
	}
	if _, err := u.admin.DeleteGroups(t.Context(), "changes"); err != nil {
		t.Fatal(err)
	}
	joinGroup(t, brokers, "changes", "inv", kgo.ServerSideBalancer())
	servers.Eventually(t, "the group is stable", func() bool {
		g := probetest.GroupOf(t, sampleWell(t, q), "changes")
		return g.State == "Stable" && g.Members == 1
	})
}

func testRequests(t *testing.T, k *servers.KafkaServer, u *user) {
	brokers := []string{k.Addr}
	u.create(t, "wide", 1000)
	groups := []string{"/^wide-/"}
	for i := range 5 {
		at := map[int32]int64{}
		for p := range int32(1000) {
			at[p] = 0
		}
		u.commit(t, fmt.Sprintf("wide-%d", i), "wide", at)
		groups = append(groups, fmt.Sprintf("wide-%d", i))
	}
	u.produce(t, "wide", 999, 3)
	for name, groups := range map[string][]string{
		"exact": groups[1:], "regexp": groups[:1], "exact and regexp": append(groups, "absent"), "none": nil, "absent": {"absent"},
	} {
		t.Run(name, func(t *testing.T) {
			count := &requestCount{}
			q := openQueue(t, configOf(brokers, []string{"wide"}, groups), kgo.WithHooks(count))
			sampleWell(t, q)
			first := count.take()
			b := sampleWell(t, q)
			if steady := count.take(); total(steady) > 6 {
				t.Errorf("%d requests in a sampling: %v (the first: %v)", total(steady), steady, first)
			}
			if len(b.Ends) != 1000 || len(groups) > 1 && (b.Depth.Value != 3 || len(b.Groups[len(b.Groups)-1].Lag) != 1000) {
				t.Errorf("%d ends, depth %v", len(b.Ends), b.Depth)
			}
		})
	}
	joinGroup(t, brokers, "wide-modern", "inv", kgo.ServerSideBalancer())
	count := &requestCount{}
	q := openQueue(t, configOf(brokers, []string{"wide"}, groups[:1]), kgo.WithHooks(count))
	sampleWell(t, q)
	count.take()
	for range 4 {
		b := sampleWell(t, q)
		if got := count.take(); total(got) > 6 {
			t.Errorf("both protocols: %d requests in a sampling: %v", total(got), got)
		}
		if len(b.Groups) != 6 || probetest.GroupOf(t, b, "wide-modern").Members != 1 || probetest.GroupOf(t, b, "wide-0").State != "Empty" {
			t.Errorf("both protocols: %d groups, %+v", len(b.Groups), probetest.GroupOf(t, b, "wide-modern").State)
		}
	}
}

func testManyGroups(t *testing.T, brokers []string, u *user) {
	for i := range 103 {
		u.commit(t, fmt.Sprintf("many-%03d", i), "inv", map[int32]int64{0: 100})
	}
	q := openQueue(t, configOf(brokers, []string{"inv"}, []string{"/^many-/"}))
	b, err := probetest.SampleIn(t, q, 10*time.Second)
	if err == nil || !strings.Contains(err.Error(), "103 consumer groups match, and only the first 100 are watched") || b.Complete {
		t.Errorf("complete %v, error %v", b.Complete, err)
	}
	if len(b.Groups) != 100 || b.Groups[0].Group != "many-000" || b.Groups[99].Group != "many-099" || len(b.Groups[99].Lag) != 1 {
		t.Errorf("%d groups", len(b.Groups))
	}
}
