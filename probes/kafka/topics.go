package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/internal/pause"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// What ListOffsets is asked for.
const (
	logEnd   = -1
	logStart = -2
)

// errUnasked stands until an answer came.
var errUnasked = errors.New("the broker left it out of its answer")

// outcome of asking for one thing. again: it may have moved, and can be asked for once more.
type outcome struct {
	err   error
	again bool
}

// partition is a partition as the metadata lists it, with what its leader told.
type partition struct {
	probes.Partition
	// topicID is another one where the topic was deleted and made anew.
	topicID    [16]byte
	leader     int32
	end, start logOffset
}

type logOffset struct {
	outcome
	offset int64
}

// lag of a group with this commit: what is left in the log. Messages that were deleted before they were read count no more.
func (p *partition) lag(commit int64) (int64, bool) {
	if p.end.err != nil || p.start.err != nil {
		return 0, false
	}
	return max(0, p.end.offset-max(commit, p.start.offset)), true
}

// metadata asks one broker, and another beside it if that one fails or takes long.
func (s *sampling) metadata(ctx context.Context) (*kmsg.MetadataResponse, error) {
	ctx, done := partOf(ctx, 2)
	defer done()
	ctx, cancel := context.WithCancel(ctx)
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()

	type answer struct {
		from string
		meta *kmsg.MetadataResponse
		err  error
	}
	sources := s.q.sources()
	answers := make(chan answer, len(sources))
	next := 0
	ask := func() {
		from := sources[next]
		next++
		asking.Go(func() {
			meta, err := s.metadataFrom(ctx, from)
			answers <- answer{from, meta, err}
		})
	}
	ask()
	hedge := time.NewTicker(hedgeOf(ctx))
	defer hedge.Stop()
	var errs []error
	for len(errs) < len(sources) {
		select {
		case a := <-answers:
			if a.err == nil {
				s.q.source = a.from
				s.q.learnBrokers(a.meta.Brokers)
				return a.meta, nil
			}
			errs = append(errs, fmt.Errorf("%s: %w", a.from, a.err))
			if next < len(sources) {
				ask()
			}
		case <-hedge.C:
			if next < len(sources) {
				ask()
			}
		}
	}
	return nil, errors.Join(errs...)
}

func hedgeOf(ctx context.Context) time.Duration {
	end, _ := ctx.Deadline()
	return max(min(kafkaHedge, time.Until(end)/4), time.Millisecond)
}

// sources of metadata: the one that told it last, then the other brokers, then the seeds.
func (q *queue) sources() []string {
	var out []string
	if q.source != "" {
		out = append(out, q.source)
	}
	for _, id := range slices.Sorted(maps.Keys(q.known)) {
		if b := q.known[id]; b.gone.IsZero() {
			out = append(out, b.address)
		}
	}
	out = append(out, q.config.Brokers...)
	seen := map[string]bool{}
	return slices.DeleteFunc(out, func(address string) bool {
		twice := seen[address]
		seen[address] = true
		return twice
	})
}

func (s *sampling) metadataFrom(ctx context.Context, address string) (*kmsg.MetadataResponse, error) {
	p, err := s.peer(broker{address: address})
	if err != nil {
		return nil, err
	}
	req := kmsg.NewPtrMetadataRequest()
	req.AllowAutoTopicCreation = false
	if names := form.ExactNames(s.q.config.Topics); len(names) == len(s.q.config.Topics) { // else all topics: nil
		slices.Sort(names)
		for _, name := range slices.Compact(names) {
			t := kmsg.NewMetadataRequestTopic()
			t.Topic = &name
			req.Topics = append(req.Topics, t)
		}
	}
	meta, err := req.RequestWith(ctx, p)
	if err == nil {
		err = codeFault(meta.ErrorCode)
	}
	if err == nil && len(meta.Brokers) == 0 {
		err = errors.New("it knows of no broker yet")
	}
	return meta, err
}

// learnTopics takes the brokers, and the partitions of the topics that are meant.
func (s *sampling) learnTopics(meta *kmsg.MetadataResponse) {
	for id, b := range s.q.known {
		if b.gone.IsZero() {
			s.brokers[id] = *b
		}
	}
	seen := map[string]bool{}
	for _, t := range meta.Topics {
		if t.Topic == nil || !meant(s.q.config.Topics, *t.Topic, t.IsInternal) {
			continue
		}
		seen[*t.Topic] = true
		if err := codeFault(t.ErrorCode); err != nil {
			s.faults.topic(*t.Topic, err)
			s.hidden = s.hidden || !errors.Is(err, errGone)
			continue
		}
		for _, p := range t.Partitions {
			s.learnPartition(probes.Partition{Topic: *t.Topic, ID: p.Partition}, t.TopicID, p)
		}
	}
	for _, name := range form.ExactNames(s.q.config.Topics) {
		if !seen[name] {
			s.faults.topic(name, errGone)
		}
	}
}

// meant reports whether a topic is one of the queue's. Internal ones must be named.
func meant(matches []form.NameMatch, name string, internal bool) bool {
	return slices.ContainsFunc(matches, func(m form.NameMatch) bool {
		return (m.Regexp == nil || !internal) && m.Matches(name)
	})
}

func (s *sampling) learnPartition(id probes.Partition, topic [16]byte, told kmsg.MetadataResponseTopicPartition) {
	p := &partition{Partition: id, topicID: topic, leader: told.Leader}
	s.partitions[id] = p
	unknown := func(err error) {
		p.end.err, p.start.err = err, err
	}
	_, listed := s.brokers[told.Leader]
	switch {
	case told.Leader < 0, told.ErrorCode != 0 && told.ErrorCode != kerr.ReplicaNotAvailable.Code:
		unknown(cmp.Or(codeFault(told.ErrorCode), errNoLeader))
	case !listed:
		unknown(fmt.Errorf("its leader, broker %d, is not among the brokers", told.Leader))
	default:
		unknown(errUnasked)
	}
}

// askOffsets asks all leaders for the ends and, where they are needed, the starts of their partitions; once more
// where a leader has moved. Brokers that had nothing else to answer are asked whether they are there.
func (s *sampling) askOffsets(ctx context.Context) {
	first, done := partOf(ctx, 2)
	defer done()
	var led []*partition
	for _, p := range s.partitions {
		if errors.Is(p.end.err, errUnasked) {
			led = append(led, p)
		}
	}
	s.listOffsets(first, led, true)
	if moved := s.movedPartitions(); len(moved) > 0 && pause.For(ctx, settleTime) {
		s.follow(ctx, moved)
	}
	for id, p := range s.partitions {
		if err := p.end.err; err != nil {
			s.faults.partition(id, err)
		} else if err := p.start.err; err != nil && s.startsNeeded() {
			s.faults.partition(id, err)
		}
	}
}

func (s *sampling) movedPartitions() []*partition {
	var out []*partition
	for _, p := range s.partitions {
		if p.end.again || p.start.again {
			out = append(out, p)
		}
	}
	return out
}

// startsNeeded: a group has committed something, or the newest messages are looked at.
func (s *sampling) startsNeeded() bool {
	return s.q.newest > 0 || slices.ContainsFunc(s.groups, func(g *group) bool { return len(g.commits) > 0 })
}

// follow partitions to their present leaders. Those that no longer exist are dropped.
func (s *sampling) follow(ctx context.Context, moved []*partition) {
	meta, err := s.metadata(ctx)
	if err != nil {
		return // their first faults stand
	}
	now := &sampling{q: s.q, brokers: s.brokers, partitions: map[probes.Partition]*partition{}, faults: newFaults()}
	now.learnTopics(meta)
	var led []*partition
	for _, p := range moved {
		n := now.partitions[p.Partition]
		if n == nil {
			delete(s.partitions, p.Partition)
			if slices.Contains(form.ExactNames(s.q.config.Topics), p.Topic) {
				s.faults.topic(p.Topic, errGone)
			}
			continue
		}
		*p = *n
		if errors.Is(p.end.err, errUnasked) {
			led = append(led, p)
		}
	}
	s.listOffsets(ctx, led, false)
}

// listOffsets asks the leaders of partitions, and with others the remaining brokers for a sign of life.
func (s *sampling) listOffsets(ctx context.Context, partitions []*partition, others bool) {
	by := map[int32][]*partition{}
	for _, p := range partitions {
		by[p.leader] = append(by[p.leader], p)
	}
	var asking sync.WaitGroup
	for id, led := range by {
		asking.Go(func() { s.listFrom(ctx, s.brokers[id], led, logEnd) })
		if s.startsNeeded() {
			asking.Go(func() { s.listFrom(ctx, s.brokers[id], led, logStart) })
		}
	}
	for id, b := range s.brokers {
		if others && by[id] == nil && !s.q.peers.answered(b.address) {
			asking.Go(func() {
				if p, err := s.peer(b); err == nil {
					_, _ = p.ping(ctx) // whether it answered is all there is to learn
				}
			})
		}
	}
	asking.Wait()
}

func (s *sampling) listFrom(ctx context.Context, b broker, led []*partition, at int64) {
	field := func(p *partition) *logOffset {
		if at == logEnd {
			return &p.end
		}
		return &p.start
	}
	answer, err := s.offsetsFrom(ctx, b, led, at)
	if err != nil {
		err = fmt.Errorf("its leader, broker %d (%s): %w", b.id, b.address, err)
		for _, p := range led {
			field(p).outcome = outcome{err, true}
		}
		return
	}
	for _, t := range answer.Topics {
		for _, told := range t.Partitions {
			p := s.partitions[probes.Partition{Topic: t.Topic, ID: told.Partition}]
			if p == nil || p.leader != b.id {
				continue
			}
			err := kerr.ErrorForCode(told.ErrorCode)
			*field(p) = logOffset{outcome{codeFault(told.ErrorCode), kerr.IsRetriable(err)}, told.Offset}
		}
	}
}

func (s *sampling) offsetsFrom(
	ctx context.Context, b broker, led []*partition, at int64,
) (*kmsg.ListOffsetsResponse, error) {
	peer, err := s.peer(b)
	if err != nil {
		return nil, err
	}
	by := map[string][]kmsg.ListOffsetsRequestTopicPartition{}
	for _, p := range led {
		one := kmsg.NewListOffsetsRequestTopicPartition()
		one.Partition, one.Timestamp = p.ID, at
		by[p.Topic] = append(by[p.Topic], one)
	}
	req := kmsg.NewPtrListOffsetsRequest()
	for topic, partitions := range by {
		t := kmsg.NewListOffsetsRequestTopic()
		t.Topic, t.Partitions = topic, partitions
		req.Topics = append(req.Topics, t)
	}
	return req.RequestWith(ctx, peer)
}
