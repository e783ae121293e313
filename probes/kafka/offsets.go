package kafka

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/internal/pause"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// What ListOffsets takes for a time, and means the end or the start of the log.
const (
	latestOffset   = -1
	earliestOffset = -2
)

var (
	errNoOffset = errors.New("its leader names an offset below 0, which none is; look who answers at its address")
	errNoLog    = errors.New("its leader names a start of the log that is behind its end; look who answers at its address")
)

// sum of two numbers of messages, neither below 0, of which brokers may say what no int64 holds the sum of: then it is the largest.
func sum(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

// logOffset is an offset, valid where the outcome has no error.
type logOffset struct {
	outcome
	offset int64
}

// queryStarts begins to ask all leaders for the starts of their partitions, where they are needed, while the groups are asked for
// what they committed: a start that was read before a commit makes no message lost that was processed meanwhile.
func (s *sampling) queryStarts(ctx context.Context) (wait func()) {
	if !s.startsNeeded() {
		return func() {}
	}
	ctx, done := withPart(ctx, 2)
	var requests sync.WaitGroup
	for id, led := range byLeader(s.ledPartitions()) {
		s.beside(&requests, func() { s.learnOffsets(ctx, s.brokers[id], led, earliestOffset) })
	}
	return func() {
		requests.Wait()
		done()
	}
}

// queryOffsets asks all leaders for the ends of their partitions; once more, and for the starts as well, where a leader has moved.
// Brokers that had nothing else to answer are asked whether they are there.
func (s *sampling) queryOffsets(ctx context.Context, waitForStarts func()) {
	first, done := withPart(ctx, 2)
	defer done()
	s.listEnds(first, s.ledPartitions())
	waitForStarts()
	if moved := s.movedPartitions(); len(moved) > 0 && pause.For(ctx, settleDelay) {
		s.retryMoved(ctx, moved)
	}
	for id, p := range s.partitions {
		if p.end.err == nil && p.start.err == nil && p.start.offset > p.end.offset {
			// One of them is wrong, and which is not known.
			p.end.err, p.start.err = errNoLog, errNoLog
		}
		if err := p.end.err; err != nil {
			s.faults.partition(id, err)
		} else if err := p.start.err; err != nil && s.startsNeeded() {
			s.faults.partition(id, err)
		}
	}
}

// movedPartitions are those that may have another leader by now.
func (s *sampling) movedPartitions() []*partition {
	var out []*partition
	for _, p := range s.partitions {
		if p.end.retriable || p.start.retriable {
			out = append(out, p)
		}
	}
	return out
}

// startsNeeded: groups are watched, the newest messages are looked at, or all are followed.
func (s *sampling) startsNeeded() bool {
	return s.q.newest > 0 || len(s.groups) > 0 || s.q.follower != nil
}

// retryMoved asks the present leaders of partitions that moved. Partitions that no longer exist are dropped.
func (s *sampling) retryMoved(ctx context.Context, moved []*partition) {
	meta, err := s.metadata(ctx)
	if err != nil {
		return // they keep their first faults
	}
	now := &sampling{q: s.q, brokers: s.brokers, partitions: map[probes.Partition]*partition{}, faults: newFaults()}
	now.learnTopics(meta)
	var led []*partition
	for _, p := range moved {
		n := now.partitions[p.Partition]
		if n == nil {
			delete(s.partitions, p.Partition)
			if slices.Contains(form.ExactNames(s.q.config.Topics), p.Topic) {
				s.faults.topic(p.Topic, errNoSuch)
			}
			continue
		}
		*p = *n
		if p.unasked() {
			led = append(led, p)
		}
	}
	var requests sync.WaitGroup
	for id, led := range byLeader(led) {
		s.beside(&requests, func() { s.learnOffsets(ctx, s.brokers[id], led, latestOffset) })
		if s.startsNeeded() {
			s.beside(&requests, func() { s.learnOffsets(ctx, s.brokers[id], led, earliestOffset) })
		}
	}
	requests.Wait()
}

// ledPartitions are those whose leader is to be asked.
func (s *sampling) ledPartitions() []*partition {
	led := make([]*partition, 0, len(s.partitions))
	for _, p := range s.partitions {
		if p.unasked() {
			led = append(led, p)
		}
	}
	return led
}

func byLeader(partitions []*partition) map[int32][]*partition {
	by := map[int32][]*partition{}
	for _, p := range partitions {
		by[p.leader] = append(by[p.leader], p)
	}
	return by
}

// listEnds asks the leaders of partitions, and the remaining brokers whether they answer.
func (s *sampling) listEnds(ctx context.Context, partitions []*partition) {
	by := byLeader(partitions)
	var requests sync.WaitGroup
	for id, led := range by {
		s.beside(&requests, func() { s.learnOffsets(ctx, s.brokers[id], led, latestOffset) })
	}
	for id, b := range s.brokers {
		if by[id] == nil && !s.q.conns.answered(b.address) {
			s.beside(&requests, func() {
				if conn, err := s.conn(b); err == nil {
					_, _ = conn.ping(ctx) // whether it answered is all there is to learn
				}
			})
		}
	}
	requests.Wait()
}

// learnOffsets takes the ends or the starts of partitions from their leader.
func (s *sampling) learnOffsets(ctx context.Context, b broker, led []*partition, at int64) {
	field := func(p *partition) *logOffset {
		if at == latestOffset {
			return &p.end
		}
		return &p.start
	}
	answer, err := s.requestOffsets(ctx, b, led, at)
	if err != nil {
		err = fmt.Errorf("its leader, broker %d (%s): %w", b.id, b.address, err)
		for _, p := range led {
			field(p).outcome = outcome{err, true}
		}
		return
	}
	for _, t := range answer.Topics {
		for _, got := range t.Partitions {
			p := s.partitions[probes.Partition{Topic: t.Topic, ID: got.Partition}]
			if p == nil || p.leader != b.id {
				continue
			}
			if got.ErrorCode == 0 && got.Offset < 0 {
				*field(p) = logOffset{outcome: outcome{err: errNoOffset}}
				continue
			}
			err := kerr.ErrorForCode(got.ErrorCode)
			*field(p) = logOffset{outcome{codeFault(got.ErrorCode), kerr.IsRetriable(err)}, got.Offset}
		}
	}
}

func (s *sampling) requestOffsets(ctx context.Context, b broker, led []*partition, at int64) (*kmsg.ListOffsetsResponse, error) {
	conn, err := s.conn(b)
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
	return req.RequestWith(ctx, conn)
}
