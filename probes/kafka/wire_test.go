package kafka

import (
	"context"
	"encoding/binary"
	"io"
	"maps"
	"math"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

// scriptedBroker answers every request with the same body, but for the versions that it takes, which are in order. Its connections are
// pipes.
type scriptedBroker struct {
	// newest is the version of each request that it takes, where it knows one.
	newest map[int16]int16
	body   []byte
}

func newScriptedBroker() *scriptedBroker {
	b := &scriptedBroker{newest: map[int16]int16{}}
	for _, a := range asked {
		b.newest[a.newest.Key()] = a.newest.GetVersion()
	}
	return b
}

// dial a connection to it, which is read as those of a queue are.
func (b *scriptedBroker) dial(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	go b.serve(server)
	return bounded(client), nil
}

func (b *scriptedBroker) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	for {
		size := make([]byte, 4)
		if _, err := io.ReadFull(conn, size); err != nil {
			return
		}
		request := make([]byte, binary.BigEndian.Uint32(size))
		if _, err := io.ReadFull(conn, request); err != nil {
			return
		}
		key, version := int16(binary.BigEndian.Uint16(request)), int16(binary.BigEndian.Uint16(request[2:]))
		answer := slices.Clone(request[4:8]) // the correlation's id
		if key == int16(kmsg.ApiVersions) {
			answer = append(answer, b.versions(version)...)
		} else {
			if response := kmsg.ResponseForKey(key); response != nil {
				if response.SetVersion(version); response.IsFlexible() {
					answer = append(answer, 0) // no tags
				}
			}
			answer = append(answer, b.body...)
		}
		if _, err := conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(answer))), answer...)); err != nil {
			return
		}
	}
}

func (b *scriptedBroker) versions(version int16) []byte {
	response := kmsg.NewPtrApiVersionsResponse()
	response.SetVersion(version)
	for key, newest := range b.newest {
		one := kmsg.NewApiVersionsResponseApiKey()
		one.ApiKey, one.MaxVersion = key, newest
		response.ApiKeys = append(response.ApiKeys, one)
	}
	return response.AppendTo(nil)
}

// newQueue of it, which retries at once.
func (b *scriptedBroker) newQueue(t testing.TB) *queue {
	t.Helper()
	q, err := newQueue(configOf([]string{"broker:9092"}, []string{"inv"}, []string{"g", "/^h/"}), nil, probetest.Env(), probetest.Quiet())
	if err != nil {
		t.Fatal(err)
	}
	q.conns.keep(nil)
	q.conns.options = append(q.conns.options, kgo.Dialer(b.dial), kgo.RetryBackoffFn(func(int) time.Duration { return 0 }))
	return q
}

// asked are the requests whose answers the exporter reads, each with what is done with the answer.
var asked = []struct {
	newest kmsg.Response // an answer that is in order
	learn  func(ctx context.Context, s *sampling, one broker)
}{
	{inOrder(kmsg.NewPtrMetadataResponse(), 12, func(r *kmsg.MetadataResponse) {
		broker, topic, partition := kmsg.NewMetadataResponseBroker(), kmsg.NewMetadataResponseTopic(), kmsg.NewMetadataResponseTopicPartition()
		broker.NodeID, broker.Host, broker.Port = 1, "broker", 9092
		topic.Topic, topic.Partitions = kmsg.StringPtr("inv"), []kmsg.MetadataResponseTopicPartition{partition}
		r.Brokers, r.Topics = []kmsg.MetadataResponseBroker{broker}, []kmsg.MetadataResponseTopic{topic}
	}), func(ctx context.Context, s *sampling, one broker) {
		if meta, err := s.requestMetadata(ctx, one.address); err == nil {
			s.q.learnBrokers(meta.Brokers)
			s.learnTopics(meta)
		}
	}},
	{inOrder(kmsg.NewPtrListOffsetsResponse(), 6, func(r *kmsg.ListOffsetsResponse) {
		topic, partition := kmsg.NewListOffsetsResponseTopic(), kmsg.NewListOffsetsResponseTopicPartition()
		partition.Offset = 7
		topic.Topic, topic.Partitions = "inv", []kmsg.ListOffsetsResponseTopicPartition{partition}
		r.Topics = []kmsg.ListOffsetsResponseTopic{topic}
	}), func(ctx context.Context, s *sampling, one broker) {
		s.learnOffsets(ctx, one, s.ledPartitions(), latestOffset)
		s.learnOffsets(ctx, one, slices.Collect(maps.Values(s.partitions)), earliestOffset)
	}},
	{inOrder(kmsg.NewPtrOffsetFetchResponse(), 8, func(r *kmsg.OffsetFetchResponse) {
		group, topic, partition := kmsg.NewOffsetFetchResponseGroup(), kmsg.NewOffsetFetchResponseGroupTopic(), kmsg.NewOffsetFetchResponseGroupTopicPartition()
		partition.Offset = 5
		topic.Topic, topic.Partitions = "inv", []kmsg.OffsetFetchResponseGroupTopicPartition{partition}
		group.Group, group.Topics = "g", []kmsg.OffsetFetchResponseGroupTopic{topic}
		r.Groups = []kmsg.OffsetFetchResponseGroup{group}
	}), func(ctx context.Context, s *sampling, one broker) { s.learnCommits(ctx, one, s.groups) }},
	{inOrder(kmsg.NewPtrListGroupsResponse(), 4, func(r *kmsg.ListGroupsResponse) {
		group := kmsg.NewListGroupsResponseGroup()
		group.Group, group.ProtocolType, group.GroupState = "h1", "consumer", "Stable"
		r.Groups = []kmsg.ListGroupsResponseGroup{group}
	}), func(ctx context.Context, s *sampling, _ broker) { s.selectGroups(ctx) }},
	{inOrder(kmsg.NewPtrDescribeGroupsResponse(), 5, func(r *kmsg.DescribeGroupsResponse) {
		group := kmsg.NewDescribeGroupsResponseGroup()
		group.Group, group.State, group.Members = "g", "Stable", []kmsg.DescribeGroupsResponseGroupMember{kmsg.NewDescribeGroupsResponseGroupMember()}
		r.Groups = []kmsg.DescribeGroupsResponseGroup{group}
	}), func(ctx context.Context, s *sampling, one broker) { s.learnDescriptions(ctx, one, s.groups) }},
	{inOrder(kmsg.NewPtrFindCoordinatorResponse(), 4, func(r *kmsg.FindCoordinatorResponse) {
		coordinator := kmsg.NewFindCoordinatorResponseCoordinator()
		coordinator.Key, coordinator.NodeID = "g", 1
		r.Coordinators = []kmsg.FindCoordinatorResponseCoordinator{coordinator}
	}), func(ctx context.Context, s *sampling, _ broker) {
		s.q.source = "broker:9092"
		s.findCoordinators(ctx, s.groups)
	}},
}

// inOrder is an answer in a version.
func inOrder[R kmsg.Response](r R, version int16, fill func(R)) kmsg.Response {
	r.SetVersion(version)
	fill(r)
	return r
}

// scripted is a sampling of a queue at a scripted broker, which knows one partition and one group.
func scripted(q *queue) (s *sampling, p *partition, g *group) {
	q.brokers, q.groups = map[int32]*broker{1: {id: 1, address: "broker:9092"}}, map[string]*group{}
	q.logs[inv(0)] = newPartitionLog([16]byte{})
	g = &group{name: "g", coordinator: 1, reads: map[string]bool{}}
	p = &partition{Partition: inv(0), leader: 1}
	p.end.err, p.start.err = errLeftOut, errLeftOut
	s = &sampling{
		q: q, brokers: map[int32]broker{1: *q.brokers[1]}, partitions: map[probes.Partition]*partition{inv(0): p}, faults: newFaults(), groups: []*group{g},
	}
	return s, p, g
}

// Each answer that is in order comes to where the exporter keeps it: the target below is none that stops at the door.
func TestScriptedBroker(t *testing.T) {
	b := newScriptedBroker()
	q := b.newQueue(t)
	t.Cleanup(q.Close)
	s, p, g := scripted(q)
	for _, a := range asked {
		switch a.newest.(type) {
		case *kmsg.MetadataResponse:
			delete(s.partitions, inv(0))
		case *kmsg.ListOffsetsResponse:
			s.partitions[inv(0)] = p
		case *kmsg.FindCoordinatorResponse:
			g.coordinator = noCoordinator
		}
		b.body = a.newest.AppendTo(nil)
		watched := s.groups
		if a.learn(probetest.Within(t, 10*time.Second), s, s.brokers[1]); s.partitions[inv(0)] == nil {
			t.Error("the metadata's partition is not known")
		}
		if a.newest.Key() == int16(kmsg.ListGroups) && len(s.groups) != 3 { // g, again g, and h1
			t.Errorf("%d groups", len(s.groups))
		}
		s.groups = watched
	}
	if p.end.offset != 7 || p.start.offset != 7 || g.commits[inv(0)] != 5 || g.state != "Stable" || g.members != 1 || g.coordinator != 1 {
		t.Errorf("%+v, %+v", p, g)
	}
	if err := s.faults.err(); err != nil {
		t.Error(err)
	}
}

// A broker that asks for a wait of days with one answer is asked again within the same scrape.
func TestThrottle(t *testing.T) {
	b := newScriptedBroker()
	q := b.newQueue(t)
	t.Cleanup(q.Close)
	s, p, _ := scripted(q)
	for _, a := range asked {
		if r, ok := a.newest.(*kmsg.ListOffsetsResponse); ok {
			throttled := *r
			throttled.ThrottleMillis = math.MaxInt32
			b.body = throttled.AppendTo(nil)
			a.learn(probetest.Within(t, 10*time.Second), s, s.brokers[1])
		}
	}
	if p.end.offset != 7 || p.start.offset != 7 {
		t.Errorf("%+v", p)
	}
}

// What brokers say of the ends is added up without becoming another number, and what can be no offset is none.
func TestLargeOffsets(t *testing.T) {
	for name, c := range map[string]struct {
		start, end int64
		depth      probes.Count
	}{
		"the largest":       {0, math.MaxInt64, probes.Count{Value: math.MaxInt64, Known: true}},
		"an end below 0":    {0, -1, probes.Count{}},
		"a start below 0":   {math.MinInt64, math.MaxInt64, probes.Count{}},
		"a start too large": {9e18, 10, probes.Count{}},
		"an ordinary start": {3, 10, probes.Count{Value: 7 * 3, Known: true}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newScriptedBroker()
			q := b.newQueue(t)
			t.Cleanup(q.Close)
			s, _, g := scripted(q)
			r := kmsg.NewPtrListOffsetsResponse()
			topic := kmsg.NewListOffsetsResponseTopic()
			topic.Topic = "inv"
			for i := range int32(3) {
				p := &partition{Partition: inv(i), leader: 1}
				p.end.err, p.start.err = errLeftOut, errLeftOut
				s.partitions[inv(i)] = p
				q.logs[inv(i)] = newPartitionLog([16]byte{})
				one := kmsg.NewListOffsetsResponseTopicPartition()
				one.Partition = i
				topic.Partitions = append(topic.Partitions, one)
			}
			r.SetVersion(6)
			r.Topics = append(r.Topics, topic)
			say := func(offset int64) {
				for i := range topic.Partitions {
					topic.Partitions[i].Offset = offset
				}
				b.body = r.AppendTo(nil)
			}
			ctx := probetest.Within(t, 10*time.Second)
			say(c.start)
			s.learnOffsets(ctx, s.brokers[1], slices.Collect(maps.Values(s.partitions)), earliestOffset)
			say(c.end)
			s.queryOffsets(ctx, func() {})
			g.commits, g.unread = map[probes.Partition]int64{inv(0): 0, inv(1): 0, inv(2): 0}, map[probes.Partition]error{}
			backlog := s.backlog()
			if got := backlog.Depth; got != c.depth {
				t.Errorf("%+v, want %+v", got, c.depth)
			}
			if starts := backlog.Groups[0].Starts; c.start > c.end && c.end >= 0 && len(starts) > 0 {
				t.Errorf("the log starts at %v", starts)
			}
			g.commits = map[probes.Partition]int64{}
			g.reads["inv"] = true
			if got := s.uncommittedMessages(g, func(string) bool { return true }, func(string) bool { return false }, 0)["inv"]; float64(got) != c.depth.Value {
				t.Errorf("%d are not committed, want %v", got, c.depth)
			}
		})
	}
}

// Of a commit behind the end of its log nothing waits, and it is no position from which processed messages would be counted.
func TestCommitBehindTheEnd(t *testing.T) {
	b := newScriptedBroker()
	q := b.newQueue(t)
	t.Cleanup(q.Close)
	s, p, g := scripted(q)
	p.end, p.start = logOffset{offset: 7}, logOffset{}
	for commit, isPosition := range map[int64]bool{5: true, 7: true, 8: false, 9e18: false} {
		g.commits, g.unread = map[probes.Partition]int64{inv(0): commit}, map[probes.Partition]error{}
		got := s.backlog()
		if want := float64(max(0, 7-commit)); !got.Depth.Known || got.Depth.Value != want {
			t.Errorf("%d: a depth of %+v, want %v", commit, got.Depth, want)
		}
		if _, ok := got.Groups[0].Positions[inv(0)]; ok != isPosition {
			t.Errorf("%d is a position: %t", commit, ok)
		}
	}
}

// Whatever a broker answers to one request: what it said of others stays, no lag is negative, and only what was selected is watched.
func FuzzAnswers(f *testing.F) {
	b := newScriptedBroker()
	for i, a := range asked {
		f.Add(uint8(i), a.newest.AppendTo(nil))
		f.Add(uint8(i), []byte{})
	}
	f.Fuzz(func(t *testing.T, kind uint8, body []byte) {
		b.body = body
		q := b.newQueue(t) // a broker that asks to wait asks for its connection
		t.Cleanup(q.Close)
		s, _, _ := scripted(q)
		ctx := probetest.Within(t, 10*time.Second)
		asked[int(kind)%len(asked)].learn(ctx, s, s.brokers[1])
		if ctx.Err() != nil {
			t.Error("no end")
		}
		for _, g := range s.groups {
			if g.name != "g" && g.name[0] != 'h' {
				t.Errorf("group %q was not asked for", g.name)
			}
			for id := range g.commits {
				if p := s.partitions[id]; p != nil {
					if lag, ok := p.lag(g.commits[id]); ok && lag < 0 {
						t.Errorf("a lag of %d", lag)
					}
				}
			}
		}
		for id := range s.partitions {
			if id.Topic != "inv" {
				t.Errorf("topic %q was not asked for", id.Topic)
			}
		}
	})
}
