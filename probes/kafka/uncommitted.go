package kafka

import (
	"slices"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
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

// uncommittedMessages are in the logs of topics in which a group has committed nothing, by topic, as far as the logs are known. A group
// that has committed elsewhere need not read every topic: it does where it was seen to, and where nobody does (unread) and the topic is
// configured by name.
func (s *sampling) uncommittedMessages(g *group, unread func(topic string) bool, now int64) map[string]int64 {
	if g.offsets.err != nil || g.share {
		return nil
	}
	has := map[string]bool{} // topics in which it has committed, or perhaps has
	for id := range g.commits {
		if s.partitions[id] != nil {
			has[id.Topic] = true
		}
	}
	for id := range g.unread {
		if s.partitions[id] != nil {
			has[id.Topic] = true
		}
	}
	out := map[string]int64{}
	for id, p := range s.partitions {
		reads := len(has) == 0 || g.reads[id.Topic] || unread(id.Topic) && s.q.names(id.Topic)
		if has[id.Topic] || !reads || p.start.err != nil || p.end.err != nil || p.end.offset <= p.start.offset {
			continue
		}
		if n := s.q.logs[id].waiting(p.start.offset, p.end.offset, now, s.q.samplings); n > 0 {
			out[id.Topic] = sum(out[id.Topic], n)
		}
	}
	return out
}

// names reports whether a topic is configured by its name, not by a regexp alone.
func (q *queue) names(topic string) bool {
	return slices.ContainsFunc(q.config.Topics, func(m form.NameMatch) bool { return m.Regexp == nil && m.Matches(topic) })
}
