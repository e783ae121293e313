package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

// fakeBroker is a cluster that can be told how to fail; topic inv has 6 partitions with 10 messages each.
func fakeBroker(t *testing.T, options ...kfake.Opt) (*kfake.Cluster, *user) {
	t.Helper()
	servers.NoLeaks(t)
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(3), kfake.SeedTopics(6, "inv")}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	u := newUser(t, c.ListenAddrs())
	for p := range int32(6) {
		if c.TopicInfo("inv") != nil {
			u.produce(t, "inv", p, 10)
		}
	}
	return c, u
}

// allAt is the same offset for each partition.
func allAt(offset int64) map[int32]int64 {
	out := map[int32]int64{}
	for p := range int32(6) {
		out[p] = offset
	}
	return out
}

func TestUnauthorised(t *testing.T) {
	c, u := fakeBroker(t, kfake.SeedTopics(2, "secret"))
	u.commit(t, "yes", "inv", allAt(4))
	u.commit(t, "no", "inv", allAt(1))
	c.Fault(
		kfake.Fault{
			Group: "no", Keys: []kmsg.Key{kmsg.OffsetFetch, kmsg.DescribeGroups, kmsg.ConsumerGroupDescribe},
			Err: kerr.GroupAuthorizationFailed, Count: -1,
		},
		kfake.Fault{Topic: "secret", Keys: []kmsg.Key{kmsg.Metadata}, Err: kerr.TopicAuthorizationFailed, Count: -1})
	q := openQueue(t, configOf(c.ListenAddrs(), []string{"inv", "secret"}, []string{"yes", "no"}))
	for range 2 {
		b, err := probetest.SampleIn(t, q, 10*time.Second)
		probetest.WantFault(t, b, err, "group no: may not be described (GROUP_AUTHORIZATION_FAILED); grant",
			"topic secret: may not be described (TOPIC_AUTHORIZATION_FAILED)")
		yes, no := probetest.GroupOf(t, b, "yes"), probetest.GroupOf(t, b, "no")
		if len(yes.Lag) != 6 || yes.Lag[inv(0)] != 6 || yes.State != "Empty" || !yes.HasMembers {
			t.Errorf("the other group is %+v", yes)
		}
		if no.HasOffsets || no.HasMembers || no.State != "" || len(no.Lag) != 0 {
			t.Errorf("the group is %+v", no)
		}
		if b.Depth.Known || len(b.Ends) != 6 || b.BrokersUp != 3 {
			t.Errorf("depth %+v, %d ends, %d brokers up", b.Depth, len(b.Ends), b.BrokersUp)
		}
	}
}

func TestPartitionsFailAlone(t *testing.T) {
	for name, tt := range map[string]struct {
		fault kfake.Fault
		says  string
	}{
		"leaderless":   {kfake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Err: kerr.LeaderNotAvailable}, "has no leader"},
		"offsets":      {kfake.Fault{Keys: []kmsg.Key{kmsg.ListOffsets}, Err: kerr.UnknownServerError}, "UNKNOWN_SERVER_ERROR"},
		"unauthorised": {kfake.Fault{Keys: []kmsg.Key{kmsg.ListOffsets}, Err: kerr.TopicAuthorizationFailed}, "may not be described"},
		"always moved": {kfake.Fault{Keys: []kmsg.Key{kmsg.ListOffsets}, Err: kerr.NotLeaderForPartition}, "NOT_LEADER"},
	} {
		t.Run(name, func(t *testing.T) {
			c, u := fakeBroker(t)
			u.commit(t, "g", "inv", allAt(4))
			tt.fault.Topic, tt.fault.Partitions, tt.fault.Count = "inv", []int32{1, 2, 5}, -1
			h := c.Fault(tt.fault)
			q := openQueue(t, configOf(c.ListenAddrs(), []string{"inv"}, []string{"g"}))
			b, err := probetest.SampleIn(t, q, 10*time.Second)
			probetest.WantFault(t, b, err, "topic inv, partitions 1-2, 5: ", tt.says)
			g := probetest.GroupOf(t, b, "g")
			wantLag(t, g, map[probes.Partition]int64{inv(0): 6, inv(3): 6, inv(4): 6})
			if b.Depth.Known || g.Uncommitted != 0 || len(g.Positions) != 6 || len(b.Ends) != 3 {
				t.Errorf("depth %+v, group %+v, ends %v", b.Depth, g, b.Ends)
			}
			h.Remove()
			probetest.WantDepth(t, sampleWell(t, q), 36)
		})
	}
}

func TestCommitThatCanNotBeRead(t *testing.T) {
	c, u := fakeBroker(t)
	u.commit(t, "g", "inv", allAt(4))
	c.ControlKey(int16(kmsg.OffsetFetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		req := r.(*kmsg.OffsetFetchRequest)
		resp := req.ResponseKind().(*kmsg.OffsetFetchResponse)
		g := kmsg.NewOffsetFetchResponseGroup()
		g.Group = req.Groups[0].Group
		topic := kmsg.NewOffsetFetchResponseGroupTopic()
		topic.Topic = "inv"
		for p, code := range []int16{0, kerr.UnstableOffsetCommit.Code} {
			one := kmsg.NewOffsetFetchResponseGroupTopicPartition()
			one.Partition, one.Offset, one.ErrorCode = int32(p), 4, code
			topic.Partitions = append(topic.Partitions, one)
		}
		g.Topics = append(g.Topics, topic)
		resp.Groups = append(resp.Groups, g)
		return resp, nil, true
	})
	q := openQueue(t, configOf(c.ListenAddrs(), []string{"inv"}, []string{"g"}))
	b, err := probetest.SampleIn(t, q, 10*time.Second)
	probetest.WantFault(t, b, err, "topic inv, partition 1: the commit of group g can't be read: the broker answered UNSTABLE_OFFSET_COMMIT")
	g := probetest.GroupOf(t, b, "g")
	wantLag(t, g, map[probes.Partition]int64{inv(0): 6})
	if b.Depth.Known || g.Uncommitted != 4 {
		t.Errorf("depth %+v, %d uncommitted", b.Depth, g.Uncommitted)
	}
}

func TestWhatMoves(t *testing.T) {
	c, u := fakeBroker(t)
	for _, g := range []string{"a", "b", "c", "d"} {
		u.commit(t, g, "inv", allAt(4))
	}
	for name, groups := range map[string][]string{"exact": {"a", "b", "c", "d"}, "regexp": {"/^[a-d]$/"}} {
		t.Run(name, func(t *testing.T) {
			q := openQueue(t, configOf(c.ListenAddrs(), []string{"inv"}, groups))
			sampleWell(t, q)
			for range 5 {
				c.RehashCoordinators()
				c.ShufflePartitionLeaders()
				b := sampleWell(t, q)
				probetest.WantDepth(t, b, 36)
				if len(b.Groups) != 4 {
					t.Errorf("groups %+v", b.Groups)
				}
			}
			// A leader that moves between the metadata and the question.
			c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.ListOffsets}, Topic: "inv", Err: kerr.NotLeaderForPartition, Count: 2})
			probetest.WantDepth(t, sampleWell(t, q), 36)
			c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetFetch, kmsg.DescribeGroups}, Err: kerr.CoordinatorLoadInProgress, Count: 1})
			probetest.WantDepth(t, sampleWell(t, q), 36)
		})
	}
	h := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.FindCoordinator}, Group: "b", Err: kerr.CoordinatorNotAvailable, Count: -1})
	q := openQueue(t, configOf(c.ListenAddrs(), []string{"inv"}, []string{"a", "b"}))
	b, err := probetest.SampleIn(t, q, 10*time.Second)
	probetest.WantFault(t, b, err, "group b: its coordinator was not found: the broker answered COORDINATOR_NOT_AVAILABLE")
	if len(probetest.GroupOf(t, b, "a").Lag) != 6 || b.Depth.Known {
		t.Errorf("%+v", b)
	}
	h.Remove()
	sampleWell(t, q)
}

func TestOldBrokers(t *testing.T) {
	for _, v := range []string{"v1.0", "v2.8", "v3.4", "v3.8", "v4.0"} {
		t.Run(v, func(t *testing.T) {
			c, u := fakeBroker(t, kfake.MaxVersions(kversion.FromString(v)))
			u.commit(t, "a", "inv", allAt(4))
			u.commit(t, "b", "inv", map[int32]int64{0: 4})
			q := openQueue(t, configOf(c.ListenAddrs(), []string{"inv"}, []string{"a", "/b/", "never"}))
			for range 2 {
				b := sampleWell(t, q)
				probetest.WantDepth(t, b, 36)
				if g := probetest.GroupOf(t, b, "b"); g.Uncommitted != 5 || g.State != "Empty" {
					t.Errorf("%+v", g)
				}
				if g := probetest.GroupOf(t, b, "never"); g.Uncommitted != 6 || g.State != "Dead" {
					t.Errorf("%+v", g)
				}
			}
		})
	}
}

// Connect's workers and share groups commit no offsets.
func TestGroupsThatReadNothing(t *testing.T) {
	c, u := fakeBroker(t, kfake.NumBrokers(1))
	u.commit(t, "g", "inv", allAt(4))
	c.ControlKey(int16(kmsg.ListGroups), func(r kmsg.Request) (kmsg.Response, error, bool) {
		resp := r.ResponseKind().(*kmsg.ListGroupsResponse)
		for _, g := range [][3]string{
			{"g", "", "Classic"}, {"g-connect", "connect", "Classic"}, {"g-share", "", "Share"}, {"g-new", "consumer", "Consumer"},
		} {
			one := kmsg.NewListGroupsResponseGroup()
			one.Group, one.ProtocolType, one.GroupType = g[0], g[1], g[2]
			resp.Groups = append(resp.Groups, one)
		}
		return resp, nil, true
	})
	b := sampleWell(t, openQueue(t, configOf(c.ListenAddrs(), []string{"inv"}, []string{"/./"})))
	var names []string
	for _, g := range b.Groups {
		names = append(names, g.Group)
	}
	if want := []string{"g", "g-new"}; !slices.Equal(names, want) {
		t.Errorf("groups %v, want %v", names, want)
	}
}

// A share group that is named is told by its kind; the groups beside it are unharmed, and so is one that does not exist.
func TestShareGroupByName(t *testing.T) {
	c, u := fakeBroker(t, kfake.NumBrokers(1))
	u.commit(t, "g", "inv", allAt(4))
	c.ControlKey(int16(kmsg.ListGroups), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		resp := r.ResponseKind().(*kmsg.ListGroupsResponse)
		if slices.Contains(r.(*kmsg.ListGroupsRequest).TypesFilter, "share") {
			one := kmsg.NewListGroupsResponseGroup()
			one.Group, one.GroupType = "sharing", "Share"
			resp.Groups = append(resp.Groups, one)
		}
		return resp, nil, true
	})
	q := openQueue(t, configOf(c.ListenAddrs(), []string{"inv"}, []string{"g", "sharing", "absent"}))
	for range 2 {
		b, err := probetest.SampleIn(t, q, 5*time.Second)
		probetest.WantFault(t, b, err, "group sharing: is a share group, which commits no offsets")
		if strings.Contains(err.Error(), "absent") || probetest.GroupOf(t, b, "absent").State != "Dead" {
			t.Errorf("the group that does not exist: %v, %+v", err, probetest.GroupOf(t, b, "absent"))
		}
		if g := probetest.GroupOf(t, b, "g"); len(g.Lag) == 0 {
			t.Errorf("the group beside it is %+v", g)
		}
	}
}

// TestShareGroup: the same of a real one, of a Kafka that has them. It has committed nothing, which is as it should be.
func TestShareGroup(t *testing.T) {
	servers.NoLeaks(t)
	k := servers.Kafka(t, servers.KafkaShares()...)
	u := newUser(t, []string{k.Addr})
	u.create(t, "inv", 1)
	u.produce(t, "inv", 0, 5)
	u.commit(t, "g", "inv", map[int32]int64{0: 4})
	k.Share(t, "sharing", "inv")
	b, err := probetest.SampleIn(t, openQueue(t, configOf([]string{k.Addr}, []string{"inv"}, []string{"g", "sharing", "absent"})), 10*time.Second)
	probetest.WantFault(t, b, err, "group sharing: is a share group, which commits no offsets")
	if strings.Contains(err.Error(), "absent") || probetest.GroupOf(t, b, "absent").State != "Dead" || probetest.GroupOf(t, b, "absent").UncommittedMessages["inv"] != 5 {
		t.Errorf("the group that does not exist: %v, %+v", err, probetest.GroupOf(t, b, "absent"))
	}
	if g := probetest.GroupOf(t, b, "sharing"); g.UncommittedMessages != nil || g.State != "" {
		t.Errorf("the share group is %+v", g)
	}
	if g := probetest.GroupOf(t, b, "g"); g.Lag[inv(0)] != 1 {
		t.Errorf("the group beside it is %+v", g)
	}
	b = sampleWell(t, openQueue(t, configOf([]string{k.Addr}, []string{"inv"}, []string{"/./"})))
	if len(b.Groups) != 1 || b.Groups[0].Group != "g" {
		t.Errorf("a regexp selects %+v", b.Groups)
	}
}

// faultyNetwork is a network between the queue and the brokers.
type faultyNetwork struct {
	silent net.Listener // accepts, and never answers

	mu sync.Mutex
	to map[string]string // address -> silent, hole or refused
}

func newFaultyNetwork(t *testing.T) *faultyNetwork {
	t.Helper()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	return &faultyNetwork{silent: silent, to: map[string]string{}}
}

func (n *faultyNetwork) set(address, how string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.to[address] = how
}

func (n *faultyNetwork) dialer() kgo.Opt {
	return kgo.Dialer(func(ctx context.Context, network, address string) (net.Conn, error) {
		n.mu.Lock()
		how := n.to[address]
		n.mu.Unlock()
		switch how {
		case "silent":
			address = n.silent.Addr().String()
		case "hole":
			<-ctx.Done()
			return nil, ctx.Err()
		case "refused":
			return nil, &net.OpError{Op: "dial", Net: network, Err: fmt.Errorf("refused")}
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	})
}

func TestOneBrokerFails(t *testing.T) {
	for _, how := range []string{"silent", "hole", "refused"} {
		t.Run(how, func(t *testing.T) {
			c, u := fakeBroker(t)
			groups := []string{"a", "b", "c", "d", "e"}
			for _, g := range groups {
				u.commit(t, g, "inv", allAt(4))
			}
			faulty := newFaultyNetwork(t)
			for _, failing := range c.ListenAddrs() {
				for _, groups := range [][]string{groups, {"/./"}} {
					q := openQueue(t, configOf(c.ListenAddrs(), []string{"inv"}, groups), faulty.dialer())
					sampleWell(t, q)
					faulty.set(failing, how)
					q.conns.keep(nil) // connections would outlive the change
					b, err := probetest.SampleIn(t, q, 2*time.Second)
					lost := checkOneBroker(t, c, b, err, failing)
					if lost == 0 {
						t.Log("the broker had nothing that was watched")
					}
					faulty.set(failing, "")
					b = sampleWell(t, q)
					probetest.WantDepth(t, b, 36)
					if b.BrokersUp != 3 || b.BrokersDown != 0 {
						t.Errorf("brokers %d up, %d down once all is well", b.BrokersUp, b.BrokersDown)
					}
				}
			}
		})
	}
}

// checkOneBroker expects all but what the failing broker alone can tell, and gives how much that was.
func checkOneBroker(t *testing.T, c *kfake.Cluster, b probes.Backlog, err error, failing string) (lost int) {
	t.Helper()
	node := int32(slices.Index(c.ListenAddrs(), failing))
	if b.BrokersUp != 2 || b.BrokersDown != 1 {
		t.Errorf("brokers %d up, %d down", b.BrokersUp, b.BrokersDown)
	}
	if len(b.Groups) != 5 {
		t.Errorf("%d groups", len(b.Groups))
	}
	for p := range int32(6) {
		_, known := b.Ends[inv(p)]
		if led := c.LeaderFor("inv", p) == node; led == known {
			t.Errorf("partition %d: led by the failing broker: %v; known: %v", p, led, known)
		} else if led {
			lost++
		}
	}
	ends := len(b.Ends)
	for _, g := range b.Groups {
		there := c.CoordinatorFor(g.Group) == node
		if there == g.HasOffsets || there == g.HasMembers || !there && (len(g.Lag) != ends || len(g.LagSeconds) != ends || len(g.Starts) != ends) {
			t.Errorf("group %s: at the failing broker: %v; %+v", g.Group, there, g)
		}
		if there {
			lost++
		}
	}
	if lost > 0 {
		probetest.WantFault(t, b, err, fmt.Sprintf("broker %d (%s): ", node, failing))
	}
	return lost
}

func TestSeeds(t *testing.T) {
	c, u := fakeBroker(t)
	u.commit(t, "g", "inv", allAt(4))
	faulty := newFaultyNetwork(t)
	faulty.set("hole.example:9092", "hole")
	faulty.set("silent.example:9092", "silent")
	faulty.set("refused.example:9092", "refused")
	bad := []string{"hole.example:9092", "silent.example:9092", "refused.example:9092"}
	q := openQueue(t, configOf(append(slices.Clone(bad), c.ListenAddrs()[0]), []string{"inv"}, []string{"g"}), faulty.dialer())
	b, err := probetest.SampleIn(t, q, 10*time.Second)
	if err != nil || !b.Complete || b.BrokersUp != 3 || b.BrokersDown != 0 {
		t.Errorf("one of four seeds answers: %d up, %d down, error %v", b.BrokersUp, b.BrokersDown, err)
	}
	if len(q.conns.by) != 3 {
		t.Errorf("%d connections are kept for 3 brokers", len(q.conns.by))
	}
	q = openQueue(t, configOf(bad, []string{"inv"}, []string{"g"}), faulty.dialer())
	for range 2 {
		b, err = probetest.SampleIn(t, q, time.Second)
		probetest.WantFault(t, b, err, "no broker told of the topics", "hole.example:9092: no answer in time",
			"silent.example:9092: no answer in time", "refused.example:9092: ")
		if b.BrokersUp != 0 || b.BrokersDown != 3 || b.Groups != nil || b.Depth.Known {
			t.Errorf("no seed answers: %+v", b)
		}
	}
	if len(q.conns.by) > 1 {
		t.Errorf("%d connections are kept of which 2 hang", len(q.conns.by))
	}
}

func TestBrokersThatLeave(t *testing.T) {
	c, u := fakeBroker(t)
	u.commit(t, "g", "inv", allAt(4))
	q := openQueue(t, configOf(c.ListenAddrs(), []string{"inv"}, nil))
	q.forgetAfter = time.Hour
	sampleWell(t, q)
	if err := c.RemoveNode(2); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if b := sampleWell(t, q); b.BrokersUp != 2 || b.BrokersDown != 1 {
			t.Errorf("one of three left: %d up, %d down", b.BrokersUp, b.BrokersDown)
		}
	}
	if len(q.conns.by) != 2 {
		t.Errorf("%d connections are open", len(q.conns.by))
	}
	q.forgetAfter = 0
	servers.Eventually(t, "the broker is forgotten", func() bool { b := sampleWell(t, q); return b.BrokersDown == 0 })
	if _, _, err := c.AddNode(2, 0); err != nil {
		t.Fatal(err)
	}
	if b := sampleWell(t, q); b.BrokersUp != 3 || b.BrokersDown != 0 {
		t.Errorf("a broker came: %d up, %d down", b.BrokersUp, b.BrokersDown)
	}
	// Known brokers stay when none answers.
	addresses := q.addresses()
	faulty := newFaultyNetwork(t)
	q.conns.options = append(q.conns.options, faulty.dialer())
	q.conns.keep(nil)
	for a := range addresses {
		faulty.set(a, "refused")
	}
	for _, a := range c.ListenAddrs() {
		faulty.set(a, "refused")
	}
	for range 2 {
		if b, err := probetest.SampleIn(t, q, time.Second); err == nil || errors.Is(err, probes.ErrRefused) || b.BrokersUp != 0 || b.BrokersDown != 3 {
			t.Errorf("none answers: %d up, %d down, error %v", b.BrokersUp, b.BrokersDown, err)
		}
	}
}

// A broker that the metadata comes from and that freezes delays a sampling by the hedge alone.
func TestHedge(t *testing.T) {
	c, _ := fakeBroker(t)
	faulty := newFaultyNetwork(t)
	q := openQueue(t, configOf(c.ListenAddrs(), []string{"none"}, nil), faulty.dialer())
	_, _ = probetest.SampleIn(t, q, 5*time.Second)
	faulty.set(q.source, "silent")
	q.conns.keep(nil)
	was := q.source
	b, err := probetest.SampleIn(t, q, 4*time.Second)
	probetest.WantFault(t, b, err, "topic none: does not exist")
	if q.source == was || b.BrokersUp != 2 || b.BrokersDown != 1 {
		t.Errorf("metadata from %s (before: %s), %d up, %d down", q.source, was, b.BrokersUp, b.BrokersDown)
	}
}

func TestClosed(t *testing.T) {
	c, _ := fakeBroker(t)
	q := openQueue(t, configOf(c.ListenAddrs(), []string{"inv"}, nil))
	sampleWell(t, q)
	q.Close()
	q.Close()
	if b, err := probetest.SampleIn(t, q, time.Second); err == nil {
		t.Errorf("%+v, %v", b, err)
	}
}

func TestFaultsAreGrouped(t *testing.T) {
	f := newFaults()
	for i := range 1000 {
		f.partition(probes.Partition{Topic: "wide", ID: int32(i)}, errNoLeader)
		f.group(fmt.Sprintf("g%03d", i), errHung)
	}
	f.partition(probes.Partition{Topic: "wide", ID: 1}, errHung)
	f.partition(probes.Partition{Topic: "wide", ID: 3}, errHung)
	f.topic("t", errNoSuch)
	text := f.err().Error()
	for _, want := range []string{
		"topic wide, partitions 0-999: has no leader", "topic wide, partitions 1, 3: no answer in time", "topic t: does not exist",
		"groups g000, g001,", "g019 and 980 more: no answer in time",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
	if len(strings.Split(text, "\n")) != 4 {
		t.Errorf("%s", text)
	}
	if newFaults().err() != nil {
		t.Error("no faults are an error")
	}
}

func FuzzRanges(f *testing.F) {
	f.Add([]byte{0, 1, 2, 5, 9, 10})
	f.Fuzz(func(t *testing.T, b []byte) {
		set := map[int32]bool{}
		for _, c := range b {
			set[int32(c)] = true
		}
		back := map[int32]bool{}
		for _, one := range ranges(slices.Sorted(maps.Keys(set))) {
			var from, to int32
			if n, _ := fmt.Sscanf(one, "%d-%d", &from, &to); n == 1 {
				to = from
			}
			for ; from <= to; from++ {
				back[from] = true
			}
		}
		if !maps.Equal(set, back) {
			t.Errorf("%v became %v", set, back)
		}
	})
}
