package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/message"
)

// sampling is one sampling under way. Its steps, in the order of run, fill in the fields; the requests of one step run side
// by side, and each fills in fields of its own.
type sampling struct {
	q *queue
	// faults are what could not be learned.
	faults *faults
	// brokers that the metadata lists, by id.
	brokers map[int32]broker
	// partitions of the topics, those without a leader too.
	partitions map[probes.Partition]*partition
	// reused: the metadata is that of the sampling before.
	reused bool
	// partsUnknown: there may be partitions that are not among partitions.
	partsUnknown bool
	// groups that are watched.
	groups []*group
	// leftover groups, also such as are not watched.
	leftover map[string]bool

	// newestByPartition are the newest messages that were read, at most newestEach of a partition. newestKnown: they are a
	// sample, and not empty because none could be read.
	newestByPartition map[probes.Partition][]message.Message
	newestEach        int64
	newestKnown       bool
	// sampled are the partitions whose newest messages are wanted; nil: nobody follows the queue.
	sampled map[probes.Partition]bool
}

// run asks for everything, and gives what was learned.
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
	waitForStarts := s.queryStarts(ctx)
	s.queryGroups(ctx)
	s.queryOffsets(ctx, waitForStarts)
	now := time.Now()
	s.remember(now.UnixMilli())
	s.placeCursors(now)
	s.readRecords(ctx)
	return s.backlog()
}

// beside runs a request beside others. A panic over what a broker answered is a fault of the sampling.
func (s *sampling) beside(requests *sync.WaitGroup, request func()) {
	requests.Go(func() {
		err := probes.Guarded(func() error {
			request()
			return nil
		})
		if err != nil {
			s.faults.other(err)
		}
	})
}

// conn gives the connection to a broker. One that has let a request's time pass is not asked again in this sampling.
func (s *sampling) conn(b broker) (*brokerConn, error) {
	conn, err := s.q.conns.at(b.address)
	if err == nil && conn.hung.Load() {
		err = errHung
	}
	return conn, err
}

// withPart gives the n-th part of the time that is left, so that a broker that hangs leaves time for what comes after.
func withPart(ctx context.Context, n int) (context.Context, context.CancelFunc) {
	end, _ := ctx.Deadline() // Sample sets one
	return context.WithTimeout(ctx, time.Until(end)/time.Duration(n))
}

// backlog gives what was learned. Depth and age are those of the group that is furthest behind, and known only where each
// group's are, leftover ones left out.
func (s *sampling) backlog() probes.Backlog {
	b := probes.Backlog{Ends: make(map[probes.Partition]float64, len(s.partitions)), Sample: s.newestSample(), Followed: s.q.followed()}
	now := time.Now().UnixMilli()
	for id, p := range s.partitions {
		if p.end.err == nil {
			b.Ends[id] = float64(p.end.offset)
		}
	}
	if len(s.q.config.Groups) > 0 {
		b.Groups = make([]probes.GroupBacklog, 0, len(s.groups))
		b.LeftoverGroups = probes.Count{Value: float64(len(s.leftover)), Known: true}
	}
	sure, committed, timed := !s.partsUnknown, false, true
	read, learned := s.topicsRead()
	unread := func(topic string) bool { return learned && !read[topic] }
	for _, g := range s.groups {
		one, waiting, known := s.groupBacklog(g, now)
		reads, has := s.readTopics(g, unread)
		one.UncommittedMessages, one.Passed = s.uncommittedMessages(g, reads, has, now), s.passed(g, reads)
		if one.Leftover {
			b.Groups = append(b.Groups, one)
			continue
		}
		for p := range one.Lag {
			seconds, ok := one.LagSeconds[p]
			timed = timed && ok
			b.OldestAge.Value = max(b.OldestAge.Value, seconds)
		}
		b.Groups = append(b.Groups, one)
		b.Depth.Value = max(b.Depth.Value, float64(waiting))
		sure = sure && known
		committed = committed || len(one.Lag) > 0
	}
	if b.Depth.Known = sure && committed; !b.Depth.Known {
		b.Depth.Value = 0
	}
	if b.OldestAge.Known = b.Depth.Known && timed; !b.OldestAge.Known {
		b.OldestAge.Value = 0
	}
	return b
}

// groupBacklog gives one group's part, and what waits for it in all committed partitions where that is known.
func (s *sampling) groupBacklog(g *group, now int64) (out probes.GroupBacklog, waiting int64, known bool) {
	out = probes.GroupBacklog{Group: g.name}
	if g.description.err == nil {
		out.State, out.Members, out.HasMembers = g.state, g.members, true
	}
	out.Leftover = s.leftover[g.name] && g.members == 0
	if g.offsets.err != nil {
		return out, 0, false
	}
	n := min(len(g.commits), len(s.partitions))
	out.HasOffsets, out.Lag, out.Waiting = true, make(map[probes.Partition]int64, n), make(map[probes.Partition]int64, n)
	out.Positions, out.Starts = make(map[probes.Partition]float64, n), make(map[probes.Partition]float64, n)
	out.LagSeconds = make(map[probes.Partition]float64, n)
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
		// The ends were asked for after the commits: one behind its end is of another log, and processed messages are not counted by it.
		if p.end.err != nil || commit <= p.end.offset {
			out.Positions[id] = float64(commit)
		}
		if p.start.err == nil {
			out.Starts[id] = float64(p.start.offset)
		}
		left, ok := p.lag(commit)
		if !ok {
			known = false
			continue
		}
		out.Lag[id] = left
		if left > 0 {
			out.Waiting[id] = s.q.logs[id].waiting(max(commit, p.start.offset), p.end.offset, now, s.q.samplings)
			waiting = sum(waiting, out.Waiting[id])
		}
		if left == 0 {
			out.LagSeconds[id] = 0
		} else if seconds, ok := s.lagSeconds(p, commit, now); ok {
			out.LagSeconds[id] = seconds
		}
	}
	return out, waiting, known
}

// errLeftOut is the outcome of a request until its answer says otherwise.
var errLeftOut = errors.New("the broker left it out of its answer")

// outcome of asking for one thing.
type outcome struct {
	err error
	// retriable: what was asked for may have moved to another broker, and can be asked for once more.
	retriable bool
}

// remember the ends of this sampling, and forget partitions and topics that exist no longer.
func (s *sampling) remember(now int64) {
	s.q.samplings++
	for id, p := range s.partitions {
		log := s.q.logs[id]
		if log == nil || log.topicID != p.topicID {
			log = newPartitionLog(p.topicID)
			s.q.logs[id] = log
		}
		if p.end.err == nil {
			log.addEnd(p.end.offset, now)
		}
		log.forget(s.q.samplings)
	}
	if s.partsUnknown {
		return
	}
	maps.DeleteFunc(s.q.logs, func(id probes.Partition, _ *partitionLog) bool { return s.partitions[id] == nil })
	topics := map[string]bool{}
	for id := range s.partitions {
		topics[id.Topic] = true
	}
	maps.DeleteFunc(s.q.refused, func(topic string, _ bool) bool { return !topics[topic] })
	maps.DeleteFunc(s.q.batchSizes.by, func(topic string, _ int32) bool { return !topics[topic] })
}
