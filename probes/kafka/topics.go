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
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// partition is one as the metadata lists it, with what its leader answered.
type partition struct {
	probes.Partition
	// topicID is another one where the topic was deleted and made anew.
	topicID [16]byte
	// leader is a broker's id; negative: there is none.
	leader int32
	// end and start of the log, as offsets: of the next message, and of the oldest that is kept.
	end, start logOffset
}

// unasked: it has a leader, which has not answered yet.
func (p *partition) unasked() bool { return errors.Is(p.end.err, errLeftOut) }

// lag of a group with this commit: what is left in the log; false where that is unknown. Messages that were deleted before
// they were read count no more.
func (p *partition) lag(commit int64) (int64, bool) {
	if p.end.err != nil || p.start.err != nil {
		return 0, false
	}
	return max(0, p.end.offset-max(commit, p.start.offset)), true
}

// metadata asks one broker, and the next one as well where that one fails or takes long: the first answer counts.
func (s *sampling) metadata(ctx context.Context) (*kmsg.MetadataResponse, error) {
	ctx, done := withPart(ctx, 2)
	defer done()
	ctx, cancel := context.WithCancel(ctx)
	var requests sync.WaitGroup
	defer requests.Wait()
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
		s.beside(&requests, func() {
			meta, err := s.requestMetadata(ctx, from)
			answers <- answer{from, meta, err}
		})
	}
	ask()
	hedge := time.NewTicker(hedgeDelay(ctx))
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

// hedgeDelay is how long a broker may take before another one is asked too: less where little time is left.
func hedgeDelay(ctx context.Context) time.Duration {
	end, _ := ctx.Deadline()
	return max(min(longestHedge, time.Until(end)/4), time.Millisecond)
}

// sources are the addresses to ask for metadata: the one that gave it last, then the other brokers, then the configured ones.
func (q *queue) sources() []string {
	var out []string
	if q.source != "" {
		out = append(out, q.source)
	}
	for _, id := range slices.Sorted(maps.Keys(q.brokers)) {
		if b := q.brokers[id]; b.leftAt.IsZero() {
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

// requestMetadata asks an address for the brokers and the topics; for all topics where one is selected by a regexp.
func (s *sampling) requestMetadata(ctx context.Context, address string) (*kmsg.MetadataResponse, error) {
	conn, err := s.conn(broker{address: address})
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
	meta, err := req.RequestWith(ctx, conn)
	if err == nil {
		err = codeFault(meta.ErrorCode)
	}
	if err == nil && len(meta.Brokers) == 0 {
		err = errors.New("it knows of no broker yet")
	}
	return meta, err
}

// learnTopics takes the brokers, and the partitions of the selected topics.
func (s *sampling) learnTopics(meta *kmsg.MetadataResponse) {
	for id, b := range s.q.brokers {
		if b.leftAt.IsZero() {
			s.brokers[id] = *b
		}
	}
	if len(meta.Brokers) > mostBrokers {
		s.faults.other(errManyBrokers)
	}
	seen := map[string]bool{}
	for _, t := range meta.Topics {
		if t.Topic == nil || !topicSelected(s.q.config.Topics, *t.Topic, t.IsInternal) {
			continue
		}
		seen[*t.Topic] = true
		if err := codeFault(t.ErrorCode); err != nil {
			s.faults.topic(*t.Topic, err)
			s.partsUnknown = s.partsUnknown || !errors.Is(err, errNoSuch)
			continue
		}
		for _, p := range t.Partitions {
			s.learnPartition(probes.Partition{Topic: *t.Topic, ID: p.Partition}, t.TopicID, p)
		}
	}
	for _, name := range form.ExactNames(s.q.config.Topics) {
		if !seen[name] {
			s.faults.topic(name, errNoSuch)
		}
	}
}

// topicSelected reports whether a topic is one of the queue's. Internal ones must be named.
func topicSelected(matches []form.NameMatch, name string, internal bool) bool {
	return slices.ContainsFunc(matches, func(m form.NameMatch) bool {
		return (m.Regexp == nil || !internal) && m.Matches(name)
	})
}

// learnPartition takes a partition. Its offsets have an error until its leader has answered.
func (s *sampling) learnPartition(id probes.Partition, topic [16]byte, metadata kmsg.MetadataResponseTopicPartition) {
	p := &partition{Partition: id, topicID: topic, leader: metadata.Leader}
	s.partitions[id] = p
	unknown := func(err error) {
		p.end.err, p.start.err = err, err
	}
	_, listed := s.brokers[metadata.Leader]
	switch {
	case metadata.Leader < 0, metadata.ErrorCode != 0 && metadata.ErrorCode != kerr.ReplicaNotAvailable.Code:
		unknown(cmp.Or(codeFault(metadata.ErrorCode), errNoLeader))
	case !listed:
		unknown(fmt.Errorf("its leader, broker %d, is not among the brokers", metadata.Leader))
	default:
		unknown(errLeftOut)
	}
}
