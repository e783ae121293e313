package collector

import (
	"log/slog"
	"maps"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cacheinv/cacheinv_exporter/probes"
)

var (
	queueSampled = gauge("queue_sampled_messages",
		"Newest messages of the queue that were looked at in this sampling, at most --queue.sample.", "queue", "kind")
	queueDistinct = gauge("queue_sampled_distinct_keys",
		"Distinct keys among the sampled messages.", "queue", "kind")
	queueTopKey = gauge("queue_sampled_top_key_messages",
		"Sampled messages of the key that most of them have; /api/v1/status names it.", "queue", "kind")
	queueRepeats = gauge("queue_sampled_repeats",
		"Sampled messages that repeat a key without a version higher than any before of that key.", "queue", "kind")
	queueSampledRate = gauge("queue_sampled_messages_per_second",
		"Rate at which the sampled messages were written, by their own times from the oldest of them until now; absent where they have none.", "queue", "kind")
	queueUnreadable = gauge("queue_unreadable_messages",
		"Sampled messages in which there is nothing that can be used at the configured path of the part (key, version or timestamp).", "queue", "part")
)

const (
	// frequent is the part of the sampled messages, 1 of so many, from which their top key is named on the log.
	frequent = 3
	// frequentMessages that there must be of it.
	frequentMessages = 100
)

// sendSample gives what the newest messages show. Keys are no labels: there are too many of them.
func sendSample(id queueID, s *probes.MessageSample, ch chan<- prometheus.Metric) {
	if s == nil {
		return
	}
	queueSampled.send(ch, float64(s.Messages), id.name, id.kind)
	if s.HasKeys || s.Messages == 0 {
		queueDistinct.send(ch, float64(s.DistinctKeys), id.name, id.kind)
		queueTopKey.send(ch, float64(s.TopKeyMessages), id.name, id.kind)
	}
	if s.Repeats.Known {
		queueRepeats.send(ch, s.Repeats.Value, id.name, id.kind)
	}
	if s.Rate.Known {
		queueSampledRate.send(ch, s.Rate.Value, id.name, id.kind)
	}
	for part, n := range s.Unreadable {
		queueUnreadable.send(ch, float64(n), id.name, part)
	}
}

// nameTopKey on the log, once when a key begins to fill the queue.
func (t *watchedQueue) nameTopKey(s *probes.MessageSample, log *slog.Logger) {
	if s == nil {
		return
	}
	crowded := s.TopKeyMessages >= frequentMessages && s.TopKeyMessages*frequent >= s.Messages
	if crowded && t.topKey != s.TopKey {
		log.Warn("one key fills the queue", "queue", t.name, "key", probes.Shown(s.TopKey), "messages", s.TopKeyMessages, "of", s.Messages)
	}
	t.topKey = ""
	if crowded {
		t.topKey = s.TopKey
	}
}

// nameUnreadable says on the log, once a part, that nothing was found in any of the sampled messages where the configuration
// says that it is.
func (t *watchedQueue) nameUnreadable(s *probes.MessageSample, log *slog.Logger) {
	if s == nil || s.Messages == 0 {
		return
	}
	for _, part := range slices.Sorted(maps.Keys(s.Unreadable)) {
		if s.Unreadable[part] == s.Messages && !t.unreadable[part] {
			t.unreadable[part] = true
			log.Warn("no sampled message can be read as configured: there is nothing that can be used at the path; look at a message, "+
				"and correct the path in the queue's message", "queue", t.name, "part", part, "messages", s.Messages)
		}
	}
}
