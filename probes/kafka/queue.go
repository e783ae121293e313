package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/message"
)

const (
	// longestSampling bounds a sampling whose context has no end.
	longestSampling = 10 * time.Second
	// longestHedge is how long a broker may take for the metadata before another one is asked too.
	longestHedge = 500 * time.Millisecond
	// settleDelay is the wait before what has moved to another broker is looked for once more.
	settleDelay = 100 * time.Millisecond
)

// queue is a set of topics of a Kafka cluster, and the groups that read them. It joins no group and commits nothing.
//
// A sampling asks one broker for the metadata, each for the groups where their names must be found, coordinators for
// descriptions and commits, and then leaders for the ends and starts of their partitions: commits come before ends, so
// that no lag is too small. All that goes to one broker goes in one request of each kind: six at most, after the first
// sampling has learned versions and coordinators. At most two more read records: those at the commits that were not read
// before, and the newest ones, or all that came where the queue is followed.
type queue struct {
	config      queueConfig
	forgetAfter time.Duration
	log         *slog.Logger
	conns       *brokerConns
	// closing ends with Close, by cancel.
	closing  context.Context
	cancel   context.CancelFunc
	budget   *probes.Budget
	holder   probes.Holder
	messages *message.Reader
	// keys of records that are taken; nil where keysErr says why they can't be.
	keys    *message.KeyReader
	keysErr error
	// newest is how many of the newest messages are looked at; 0: none.
	newest int

	// mu is held by a sampling and guards what follows.
	mu sync.Mutex
	// brokers by id: those of the last metadata, and for forgetAfter those that left it.
	brokers map[int32]*broker
	// source is the address that gave the metadata last; empty: none did.
	source string
	// groups are those watched in the last sampling.
	groups map[string]*group
	// last is the metadata of the last sampling; nil where that one did not ask for it.
	last *kmsg.MetadataResponse
	// logs are what samplings saw of the partitions.
	logs map[probes.Partition]*partitionLog
	// samplings is how many there were, with the one under way: its number.
	samplings  uint64
	batchSizes batchSizes
	// follower of the messages that arrive; nil: nobody follows them.
	follower *follower
	// refused are topics whose records may not be read, as was logged.
	refused map[string]bool
}

// broker as the cluster's metadata lists it.
type broker struct {
	id      int32
	address string
	// leftAt is since when the metadata does not list it; zero while it does.
	leftAt time.Time
}

func newQueue(c queueConfig, m *probes.Message, env *probes.Env, log *slog.Logger) (*queue, error) {
	options, err := clientOptions(c.SASL, c.TLS)
	if err != nil {
		return nil, err
	}
	messages, err := message.NewReader(m)
	if err != nil {
		return nil, err
	}
	q := &queue{
		config: c, forgetAfter: env.ForgetAfter, log: log, conns: &brokerConns{options: options, by: map[string]*brokerConn{}},
		brokers: map[int32]*broker{}, groups: map[string]*group{}, logs: map[probes.Partition]*partitionLog{}, refused: map[string]bool{},
		batchSizes: batchSizes{by: map[string]int32{}},
		budget:     env.Budget, messages: messages, newest: env.SampleMessages,
	}
	q.keys, q.keysErr = message.NewKeyReader(m)
	q.closing, q.cancel = context.WithCancel(context.Background())
	for _, seed := range c.Brokers { // a bad address is a fault of the configuration, not of a sampling
		if _, err := q.conns.at(seed); err != nil {
			q.Close()
			return nil, fmt.Errorf("broker %s: %w", seed, err)
		}
	}
	return q, nil
}

// Close implements probes.Queue: it ends the sampling under way and all connections.
func (q *queue) Close() {
	q.cancel()
	q.mu.Lock()
	defer q.mu.Unlock()
	q.conns.keep(nil)
}

// Sample implements probes.Queue: it asks the cluster once.
func (q *queue) Sample(ctx context.Context) (probes.Backlog, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closing.Err() != nil {
		return probes.Backlog{}, errors.New("the queue is closed")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(q.closing, cancel)()
	// A broker that takes all the time must not make what the others answered come too late.
	left := longestSampling
	if end, ok := ctx.Deadline(); ok {
		left = time.Until(end) * 19 / 20
	}
	ctx, done := context.WithTimeout(ctx, left)
	defer done()
	q.conns.begin()
	s := &sampling{
		q: q, brokers: map[int32]broker{}, partitions: make(map[probes.Partition]*partition, len(q.logs)), faults: newFaults(),
	}
	b := s.run(ctx)
	b.BrokersUp, b.BrokersDown = q.countBrokers()
	q.conns.keep(q.addresses())
	err := s.faults.err()
	b.Complete = err == nil
	return b, err
}

// countBrokers that answered in this sampling, and those that did not; the configured ones until there was metadata.
func (q *queue) countBrokers() (up, down int) {
	add := func(answered bool) {
		if answered {
			up++
		} else {
			down++
		}
	}
	for _, b := range q.brokers {
		add(b.leftAt.IsZero() && q.conns.answered(b.address))
	}
	if len(q.brokers) == 0 {
		for _, seed := range q.config.Brokers {
			add(q.conns.answered(seed))
		}
	}
	return up, down
}

// addresses to stay connected to.
func (q *queue) addresses() map[string]bool {
	out := map[string]bool{}
	for _, b := range q.brokers {
		if b.leftAt.IsZero() {
			out[b.address] = true
		}
	}
	if len(q.brokers) == 0 {
		for _, seed := range q.config.Brokers {
			out[seed] = true
		}
	}
	return out
}

// mostBrokers of a cluster are asked: more than any has.
const mostBrokers = 1000

var errManyBrokers = fmt.Errorf("the metadata lists more than %d brokers, and only the first are asked; look who answers at the address", mostBrokers)

// learnBrokers takes the brokers of new metadata. One that left it is kept for forgetAfter, and counts as down.
func (q *queue) learnBrokers(listed []kmsg.MetadataResponseBroker) {
	now := time.Now()
	isListed := map[int32]bool{}
	for _, b := range listed[:min(len(listed), mostBrokers)] {
		isListed[b.NodeID] = true
		q.brokers[b.NodeID] = &broker{id: b.NodeID, address: net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port)))}
	}
	var left []time.Time
	for id, b := range q.brokers {
		if isListed[id] {
			continue
		}
		if b.leftAt.IsZero() {
			b.leftAt = now
			if len(q.brokers)-len(isListed) <= mostLeftLogged {
				q.log.Info("a broker left the cluster's metadata", "broker", id, "address", b.address)
			}
		}
		left = append(left, b.leftAt)
	}
	before := probes.ForgottenBefore(left)
	maps.DeleteFunc(q.brokers, func(id int32, b *broker) bool {
		return !isListed[id] && (now.Sub(b.leftAt) > q.forgetAfter || b.leftAt.Before(before))
	})
}

// mostLeftLogged: of more brokers that left lately nothing is logged.
const mostLeftLogged = 10
