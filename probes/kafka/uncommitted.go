package kafka

import (
	"slices"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// topicsRead are the topics in which any watched group has committed, now or before, or perhaps has; false where commits of a group are
// not known. What each group has is noted: it reads these topics, also where its commits go, as they do with a topic that is deleted
// and made anew.
func (s *sampling) topicsRead() (read map[string]bool, known bool) {
	read, known = map[string]bool{}, true
	for _, g := range s.groups {
		for id := range g.commits {
			if s.partitions[id] != nil {
				g.reads[id.Topic] = true
			}
		}
		for topic := range g.reads {
			read[topic] = true
		}
		for id := range g.unread {
			read[id.Topic] = true
		}
		known = known && (g.offsets.err == nil || g.share)
	}
	return read, known
}

// readTopics reports, of a group, which topics it is held to read. One that has committed elsewhere need not read every topic: it does
// where it has committed, or was seen to, or perhaps has, and where nobody does (unread) and the topic is configured by name.
func (s *sampling) readTopics(g *group, unread func(topic string) bool) (reads, has func(topic string) bool) {
	topics := map[string]bool{} // in which it has committed, or perhaps has
	for id := range g.commits {
		if s.partitions[id] != nil {
			topics[id.Topic] = true
		}
	}
	for id := range g.unread {
		if s.partitions[id] != nil {
			topics[id.Topic] = true
		}
	}
	q := s.q
	return func(topic string) bool {
		return len(topics) == 0 || topics[topic] || g.reads[topic] || unread(topic) && q.names(topic)
	}, func(topic string) bool { return topics[topic] }
}

// uncommittedMessages are in the logs of topics in which a group has committed nothing, by topic, as far as the logs are known, of the
// topics that it is held to read.
func (s *sampling) uncommittedMessages(g *group, reads, has func(topic string) bool, now int64) map[string]int64 {
	if g.offsets.err != nil || g.share {
		return nil
	}
	out := map[string]int64{}
	for id, p := range s.partitions {
		if has(id.Topic) || !reads(id.Topic) || p.start.err != nil || p.end.err != nil || p.end.offset <= p.start.offset {
			continue
		}
		if n := s.q.logs[id].waiting(p.start.offset, p.end.offset, now, s.q.samplings); n > 0 {
			out[id.Topic] = sum(out[id.Topic], n)
		}
	}
	return out
}

// passed reports which messages a group has committed: nothing in partitions without a commit, of topics that it is held to read. Of a
// message that is cut off from the log a commit behind it tells nothing: the group may never have seen it. Nor does a commit behind the
// log's end, which is of another log. nil: its commits are not known, or it has none, as a share group.
func (s *sampling) passed(g *group, reads func(topic string) bool) func(probes.Partition, probes.Position) (passed, known bool) {
	if g.offsets.err != nil || g.share {
		return nil
	}
	partitions := s.partitions
	return func(id probes.Partition, at probes.Position) (passed, known bool) {
		p, commit := partitions[id], g.commits[id]
		switch {
		case p == nil || g.unread[id] != nil:
			return false, false
		case commit > 0 && uint64(commit) > at.Major:
			known = p.start.err == nil && p.start.offset <= int64(at.Major) && (p.end.err != nil || commit <= p.end.offset)
			return known, known
		}
		_, committed := g.commits[id]
		return false, committed || reads(id.Topic)
	}
}

// names reports whether a topic is configured by its name, not by a regexp alone.
func (q *queue) names(topic string) bool {
	return slices.ContainsFunc(q.config.Topics, func(m form.NameMatch) bool { return m.Regexp == nil && m.Matches(topic) })
}
