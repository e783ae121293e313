package kafka

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

// TestWaiting runs against one Apache Kafka: what waits, and for whom.
func TestWaiting(t *testing.T) {
	servers.NoLeaks(t)
	k := servers.Kafka(t)
	u := newUser(t, []string{k.Addr})
	t.Run("transactions", func(t *testing.T) { testWaitingTransactions(t, k, u) })
	t.Run("times in other units", func(t *testing.T) { testWaitingTimes(t, k, u) })
	t.Run("groups without commits", func(t *testing.T) { testUncommitted(t, k, u) })
	t.Run("one of several topics is made anew", func(t *testing.T) { testMadeAnew(t, k, u) })
	t.Run("leftover groups", func(t *testing.T) { testLeftover(t, k, u) })
}

// Markers wait for nobody, though Kafka's own tools count them in the lag.
func testWaitingTransactions(t *testing.T, k *servers.KafkaServer, u *user) {
	u.create(t, "tx", 2)
	w := newUser(t, []string{k.Addr}, kgo.TransactionalID("tx"), kgo.ProducerLinger(0))
	for range 30 {
		w.transaction(t, kgo.TryCommit, ago("tx", 0, time.Minute))
	}
	w.transaction(t, kgo.TryAbort, ago("tx", 1, time.Minute))
	u.commit(t, "done", "tx", map[int32]int64{0: 59, 1: 0})
	u.commit(t, "last", "tx", map[int32]int64{0: 58, 1: 2})
	u.commit(t, "begin", "tx", map[int32]int64{0: 0, 1: 0})
	for _, newest := range []int{0, 1000} {
		for group, want := range map[string]struct{ lag, waits, waitsUnseen int64 }{"done": {1, 0, 0}, "last": {2, 1, 2}, "begin": {60, 30, 60}} {
			q := openQueue(t, configOf([]string{k.Addr}, []string{"tx"}, []string{group}))
			q.newest = newest
			if newest == 0 {
				want.waits = want.waitsUnseen
			}
			sampleWell(t, q)
			b := sampleWell(t, q)
			g := probetest.GroupOf(t, b, group)
			at := probes.Partition{Topic: "tx"}
			if g.Lag[at] != want.lag || g.Waiting[at] != want.waits {
				t.Errorf("%s, with a look at %d: lag %v, waiting %v, want %+v", group, newest, g.Lag, g.Waiting, want)
			}
			probetest.WantDepth(t, b, float64(want.waits))
			if waits, known := g.Waits(); !known || waits != (want.waits > 0) || (b.OldestAge.Value > 0) != waits {
				t.Errorf("%s: waits %v, oldest %+v", group, waits, b.OldestAge)
			}
			likeTool(t, k, b, group)
		}
	}
}

// A producer that writes CreateTime in micro- or nanoseconds, or in seconds.
func testWaitingTimes(t *testing.T, k *servers.KafkaServer, u *user) {
	far := "9223372036854775807"
	u.createWith(t, "times", 4, map[string]*string{"message.timestamp.after.max.ms": &far, "retention.ms": new("-1")})
	at := began.Add(-40 * time.Second)
	for p, n := range []int64{at.UnixMilli(), at.UnixMicro(), at.UnixNano(), at.Unix()} {
		if err := servers.ProduceAt(t.Context(), u.Client, "times", int32(p), n); err != nil {
			t.Fatal(err)
		}
	}
	u.commit(t, "g", "times", map[int32]int64{0: 0, 1: 0, 2: 0, 3: 0})
	q := openQueue(t, configOf([]string{k.Addr}, []string{"times"}, []string{"g"}))
	q.newest = 100
	var b probes.Backlog
	for range 4 {
		b = sampleWell(t, q)
	}
	for p := range int32(4) {
		wantSeconds(t, "times", b, "g", probes.Partition{Topic: "times", ID: p}, 40)
	}
	if !b.OldestAge.Known {
		t.Error("no age")
	}
	if s := b.Sample; s == nil || s.Messages != 4 || !s.Rate.Known || s.Rate.Value > 0.1 { // 4 in 40 s and longer
		t.Errorf("the newest messages: %+v", s)
	}
}

// A group that never committed anything: misspelled, or of a topic that was made anew.
func testUncommitted(t *testing.T, k *servers.KafkaServer, u *user) {
	u.create(t, "anew", 2)
	q := openQueue(t, configOf([]string{k.Addr}, []string{"anew"}, []string{"reader", "tpyo"}))
	q.newest = 0
	uncommitted := func(want map[string]int64) probes.Backlog {
		t.Helper()
		b := sampleWell(t, q)
		for group, n := range want {
			if got := probetest.GroupOf(t, b, group).UncommittedMessages["anew"]; got != n {
				t.Errorf("group %s: %d messages and no commit, want %d", group, got, n)
			}
		}
		return b
	}
	uncommitted(map[string]int64{"reader": 0, "tpyo": 0}) // nothing waits in an empty log
	u.produce(t, "anew", 1, 5)
	u.commit(t, "reader", "anew", map[int32]int64{1: 3})
	b := uncommitted(map[string]int64{"reader": 0, "tpyo": 5})
	probetest.WantDepth(t, b, 2)
	if _, err := u.admin.DeleteTopic(t.Context(), "anew"); err != nil {
		t.Fatal(err)
	}
	servers.Eventually(t, "the topic is gone", func() bool {
		got, err := u.admin.ListTopics(t.Context())
		return err == nil && !got.Has("anew")
	})
	u.create(t, "anew", 2)
	newUser(t, []string{k.Addr}).produce(t, "anew", 0, 7) // the other one knows the topic that was deleted
	servers.Eventually(t, "the commits went with the topic", func() bool {
		b, err := probetest.SampleIn(t, q, 10*time.Second)
		return err == nil && probetest.GroupOf(t, b, "reader").UncommittedMessages["anew"] == 7
	})
	if b := uncommitted(map[string]int64{"reader": 7, "tpyo": 7}); b.Depth.Known {
		t.Errorf("depth %+v", b.Depth)
	}
}

// Of several topics one is made anew, and its commits go with it, while nobody reads. Topics that another group reads, or that only a
// regexp names, need not be read by each.
func testMadeAnew(t *testing.T, k *servers.KafkaServer, u *user) {
	for _, topic := range []string{"kept", "renewed", "others", "any-other"} {
		u.create(t, topic, 2)
		u.produce(t, topic, 0, 3)
	}
	u.commit(t, "both", "kept", map[int32]int64{0: 3})
	u.commit(t, "both", "renewed", map[int32]int64{0: 3})
	u.commit(t, "second", "others", map[int32]int64{0: 3})
	named := []string{"kept", "renewed", "others"}
	watching := openQueue(t, configOf([]string{k.Addr}, []string{"/^(kept|renewed|others|any-other)$/"}, []string{"both", "/^second$/"}))
	want := func(q *queue, of map[string]map[string]int64) (wrong string) {
		b := sampleWell(t, q)
		for _, g := range b.Groups {
			if !maps.Equal(of[g.Group], g.UncommittedMessages) {
				wrong += fmt.Sprintf("%s: %v, want %v; ", g.Group, g.UncommittedMessages, of[g.Group])
			}
		}
		return wrong
	}
	for _, q := range []*queue{watching, openQueue(t, configOf([]string{k.Addr}, named, []string{"both", "second"}))} {
		if wrong := want(q, nil); wrong != "" {
			t.Error(wrong)
		}
	}
	if _, err := u.admin.DeleteTopic(t.Context(), "renewed"); err != nil {
		t.Fatal(err)
	}
	servers.Eventually(t, "the topic is gone", func() bool {
		got, err := u.admin.ListTopics(t.Context())
		return err == nil && !got.Has("renewed")
	})
	u.create(t, "renewed", 2)
	newUser(t, []string{k.Addr}).produce(t, "renewed", 1, 7)
	servers.Eventually(t, "the commits went with the topic", func() bool {
		got, err := u.admin.FetchOffsets(t.Context(), "both")
		_, there := got.Lookup("renewed", 0)
		return err == nil && !there
	})
	both := map[string]map[string]int64{"both": {"renewed": 7}, "second": {"renewed": 7}}
	if wrong := want(openQueue(t, configOf([]string{k.Addr}, named, []string{"both", "second"})), both); wrong != "" {
		t.Errorf("named, and new to it: %s", wrong)
	}
	delete(both, "second")
	if wrong := want(watching, both); wrong != "" {
		t.Errorf("by a regexp, and seen before: %s", wrong)
	}
	u.commit(t, "second", "renewed", map[int32]int64{1: 7})
	if wrong := want(watching, both); wrong != "" {
		t.Errorf("seen before, and another reads it: %s", wrong)
	}
	if wrong := want(openQueue(t, configOf([]string{k.Addr}, named, []string{"both", "second"})), nil); wrong != "" {
		t.Errorf("named, and another reads it: %s", wrong)
	}
}

// One group an instance: of 110 instances that were replaced, the groups are left.
func testLeftover(t *testing.T, k *servers.KafkaServer, u *user) {
	u.create(t, "inv", 1)
	u.produce(t, "inv", 0, 50)
	for i := range 110 {
		u.commit(t, fmt.Sprintf("pod-%03d", i), "inv", map[int32]int64{0: 1})
	}
	live := joinGroup(t, []string{k.Addr}, "pod-live", "inv")
	commitAll(t, live, "pod-live", map[int32]int64{0: 48})
	u.commit(t, "other", "inv", map[int32]int64{0: 45})
	q := openQueue(t, configOf([]string{k.Addr}, []string{"inv"}, []string{"/^pod-/", "other", "pod-007"}))
	var b probes.Backlog
	servers.Eventually(t, "the group is live", func() bool {
		var err error
		b, err = probetest.SampleIn(t, q, 10*time.Second)
		return err == nil && b.LeftoverGroups.Known && b.LeftoverGroups.Value > 0
	})
	if b.LeftoverGroups.Value != 109 || len(b.Groups) != 100 || !b.Complete {
		t.Errorf("leftover %+v, %d groups, complete %v", b.LeftoverGroups, len(b.Groups), b.Complete)
	}
	for name, leftover := range map[string]bool{"pod-live": false, "other": false, "pod-007": false, "pod-000": true} {
		if g := probetest.GroupOf(t, b, name); g.Leftover != leftover || len(g.Lag) != 1 {
			t.Errorf("%+v", g)
		}
	}
	probetest.WantDepth(t, b, 49) // of pod-007, which is named
	q = openQueue(t, configOf([]string{k.Addr}, []string{"inv"}, []string{"/^pod-/", "other"}))
	probetest.WantDepth(t, sampleWell(t, q), 5)
}
