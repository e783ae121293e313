package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/cacheinv/cacheinv_exporter/internal/shell"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/message"
)

const (
	// kafkaLongest bounds a sampling whose context has no end.
	kafkaLongest = 10 * time.Second
	// kafkaHedge is how long a broker may keep the metadata waiting before another is asked beside it.
	kafkaHedge = 500 * time.Millisecond
	// settleTime is the wait before what has moved is looked for once more.
	settleTime = 100 * time.Millisecond
)

// queue is topics of a Kafka cluster, and the groups that read them. It joins no group and commits nothing.
//
// A sampling asks one broker for the metadata, each for the groups where their names must be found, coordinators for
// descriptions and commits, and then leaders for the ends and starts of their partitions: commits come before ends, so
// that no lag is too small. All that goes to one broker goes in one request of each kind: six at most, once it is known.
// At most two more read records: those at the commits that were not read before, and the newest ones.
type queue struct {
	config  queueConfig
	forget  time.Duration
	log     *slog.Logger
	peers   *peers
	closing context.Context
	cancel  context.CancelFunc

	// mu is held by a sampling and guards the rest.
	mu sync.Mutex
	// known are the brokers of all metadata so far, also those that left it not long ago.
	known map[int32]*broker
	// source is the address that told the metadata last.
	source string
	// groups are those watched in the last sampling.
	groups map[string]*group
	// last is the metadata of the last sampling, where that asked for it.
	last *kmsg.MetadataResponse
	// logs are what was seen of the partitions; sampling counts up.
	logs     map[probes.Partition]*partitionLog
	sampling uint64
	batches  batches
	// refused are topics whose records may not be read.
	refused map[string]bool

	budget   *probes.Budget
	messages *message.Reader
	// newest is how many of the newest messages are looked at.
	newest int
}

type broker struct {
	id      int32
	address string
	// gone is since when the metadata does not list it; zero while it does.
	gone time.Time
}

// Kind implements probes.QueueSource.
func (*queueConfig) Kind() string { return backendName }

// Traits implements probes.QueueSource.
func (*queueConfig) Traits() probes.QueueTraits {
	return probes.QueueTraits{Brokers: true, Positions: true, Messages: true}
}

// On implements probes.QueueSource.
func (*queueConfig) On() string { return "" }

// Advice implements probes.QueueSource.
func (c *queueConfig) Advice() string {
	if len(c.Groups) == 0 {
		return "without groups its lag and depth stay unknown; name the groups that process it"
	}
	return ""
}

// Command implements probes.QueueSource.
func (c *queueConfig) Command(look probes.QueueLook) string {
	which := "--all-groups"
	if look.Group != "" {
		which = "--group " + shell.Quote(look.Group)
	}
	return fmt.Sprintf("kafka-consumer-groups --bootstrap-server %s --describe %s", shell.Quote(strings.Join(c.Brokers, ",")), which)
}

// Open implements probes.QueueSource.
func (c *queueConfig) Open(name string, m *probes.Message, _ *probes.Fleet, env *probes.Env) (probes.Queue, error) {
	return newQueue(*c, m, env, env.Log.With("queue", name))
}

func newQueue(c queueConfig, m *probes.Message, opt *probes.Env, log *slog.Logger) (*queue, error) {
	dialer, err := newDialer(c)
	if err != nil {
		return nil, err
	}
	messages, err := message.NewReader(m)
	if err != nil {
		return nil, err
	}
	q := &queue{
		config: c, forget: opt.ForgetAfter, log: log, peers: &peers{dialer: dialer, by: map[string]*peer{}},
		known: map[int32]*broker{}, groups: map[string]*group{}, logs: map[probes.Partition]*partitionLog{}, refused: map[string]bool{},
		batches: batches{by: map[string]int32{}},
		budget:  opt.Budget, messages: messages, newest: opt.SampleMessages,
	}
	q.closing, q.cancel = context.WithCancel(context.Background())
	for _, seed := range c.Brokers { // a bad address is a fault of the configuration, not of a sampling
		if _, err := q.peers.at(seed); err != nil {
			q.Close()
			return nil, fmt.Errorf("broker %s: %w", seed, err)
		}
	}
	return q, nil
}

// Close ends the sampling under way and all connections.
func (q *queue) Close() {
	q.cancel()
	q.mu.Lock()
	defer q.mu.Unlock()
	q.peers.keep(nil)
}

// Sample asks the cluster once.
func (q *queue) Sample(ctx context.Context) (probes.Backlog, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closing.Err() != nil {
		return probes.Backlog{}, errors.New("the queue is closed")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(q.closing, cancel)()
	// What was learned until then must not come too late because one broker took all the time.
	left := kafkaLongest
	if end, ok := ctx.Deadline(); ok {
		left = time.Until(end) * 19 / 20
	}
	ctx, done := context.WithTimeout(ctx, left)
	defer done()
	q.peers.begin()
	s := &sampling{
		q: q, brokers: map[int32]broker{}, partitions: map[probes.Partition]*partition{}, faults: newFaults(),
	}
	b := s.run(ctx)
	b.BrokersUp, b.BrokersDown = q.count()
	q.peers.keep(q.addresses())
	err := s.faults.err()
	b.Complete = err == nil
	return b, err
}

// count the brokers that answered and those that did not; the seeds as long as no metadata was learned.
func (q *queue) count() (up, down int) {
	tell := func(answered bool) {
		if answered {
			up++
		} else {
			down++
		}
	}
	for _, b := range q.known {
		tell(b.gone.IsZero() && q.peers.answered(b.address))
	}
	if len(q.known) == 0 {
		for _, seed := range q.config.Brokers {
			tell(q.peers.answered(seed))
		}
	}
	return up, down
}

// addresses to stay connected with.
func (q *queue) addresses() map[string]bool {
	out := map[string]bool{}
	for _, b := range q.known {
		if b.gone.IsZero() {
			out[b.address] = true
		}
	}
	if len(q.known) == 0 {
		for _, seed := range q.config.Brokers {
			out[seed] = true
		}
	}
	return out
}

// learnBrokers keeps the brokers of new metadata, and those that left it for a while.
func (q *queue) learnBrokers(told []kmsg.MetadataResponseBroker) {
	now := time.Now()
	listed := map[int32]bool{}
	for _, b := range told {
		listed[b.NodeID] = true
		q.known[b.NodeID] = &broker{id: b.NodeID, address: net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port)))}
	}
	for id, b := range q.known {
		switch {
		case listed[id]:
		case b.gone.IsZero():
			b.gone = now
			q.log.Info("a broker left the cluster's metadata", "broker", id, "address", b.address)
		case now.Sub(b.gone) > q.forget:
			delete(q.known, id)
		}
	}
}

// sampling is one sampling under way.
type sampling struct {
	q      *queue
	faults *faults
	// brokers of the metadata, by id.
	brokers map[int32]broker
	// partitions of the topics, those without a leader too.
	partitions map[probes.Partition]*partition
	// reused: the metadata is that of the sampling before.
	reused bool
	// hidden: there may be partitions that could not be learned.
	hidden bool
	groups []*group

	// read are the newest messages by partition, newestEach of each; sampleKnown: they are to be told.
	read        map[probes.Partition][]message.Message
	newestEach  int64
	sampleKnown bool
}

func (s *sampling) run(ctx context.Context) probes.Backlog {
	meta := s.q.last
	s.q.last = nil
	if s.reused = meta != nil && s.q.bothProtocols(); !s.reused {
		var err error
		if meta, err = s.metadata(ctx); err != nil {
			s.faults.other(fmt.Errorf("no broker told of the topics: %w", err))
			return probes.Backlog{}
		}
		s.q.last = meta
	}
	s.learnTopics(meta)
	s.selectGroups(ctx)
	s.askGroups(ctx)
	s.askOffsets(ctx)
	s.remember(time.Now().UnixMilli())
	s.readRecords(ctx)
	return s.backlog()
}

// peer of a broker. One that already let its time pass is not asked again in this sampling.
func (s *sampling) peer(b broker) (*peer, error) {
	p, err := s.q.peers.at(b.address)
	if err == nil && p.hung.Load() {
		err = errHung
	}
	return p, err
}

// partOf gives the n-th part of the time that is left, so that a broker that hangs leaves time for what comes after.
func partOf(ctx context.Context, n int) (context.Context, context.CancelFunc) {
	end, _ := ctx.Deadline() // a sampling has one
	return context.WithTimeout(ctx, time.Until(end)/time.Duration(n))
}

// backlog puts together what was learned.
func (s *sampling) backlog() probes.Backlog {
	b := probes.Backlog{Ends: map[probes.Partition]float64{}, Sample: s.newestSample()}
	now := time.Now().UnixMilli()
	for id, p := range s.partitions {
		if p.end.err == nil {
			b.Ends[id] = float64(p.end.offset)
		}
	}
	if len(s.q.config.Groups) > 0 {
		b.Groups = make([]probes.GroupBacklog, 0, len(s.groups))
	}
	sure, committed, timed := !s.hidden, false, true
	for _, g := range s.groups {
		one, lag, known := s.group(g, now)
		for p := range one.Lag {
			seconds, ok := one.LagSeconds[p]
			timed = timed && ok
			b.OldestAge.Value = max(b.OldestAge.Value, seconds)
		}
		b.Groups = append(b.Groups, one)
		b.Depth.Value = max(b.Depth.Value, float64(lag))
		sure = sure && known
		committed = committed || len(one.Positions) > 0
	}
	if b.Depth.Known = sure && committed; !b.Depth.Known {
		b.Depth.Value = 0
	}
	if b.OldestAge.Known = b.Depth.Known && timed; !b.OldestAge.Known {
		b.OldestAge.Value = 0
	}
	return b
}

// group gives one group's part, and its lag over all committed partitions where that is known.
func (s *sampling) group(g *group, now int64) (out probes.GroupBacklog, lag int64, known bool) {
	out = probes.GroupBacklog{Group: g.name}
	if g.description.err == nil {
		out.State, out.Members, out.HasMembers = g.state, g.members, true
	}
	if g.offsets.err != nil {
		return out, 0, false
	}
	out.HasOffsets, out.Lag, out.Positions = true, map[probes.Partition]int64{}, map[probes.Partition]float64{}
	out.LagSeconds, out.Starts = map[probes.Partition]float64{}, map[probes.Partition]float64{}
	known = true
	for id, p := range s.partitions {
		commit, ok := g.commits[id]
		switch {
		case g.unread[id] != nil:
			known = false
			continue
		case !ok:
			out.Uncommitted++
			continue
		}
		out.Positions[id] = float64(commit)
		if p.start.err == nil {
			out.Starts[id] = float64(p.start.offset)
		}
		left, ok := p.lag(commit)
		if !ok {
			known = false
			continue
		}
		out.Lag[id] = left
		lag += left
		if left == 0 {
			out.LagSeconds[id] = 0
		} else if seconds, ok := s.lagSeconds(p, commit, now); ok {
			out.LagSeconds[id] = seconds
		}
	}
	return out, lag, known
}
