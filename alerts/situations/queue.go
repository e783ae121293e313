package situations

import (
	"maps"
	"slices"
	"time"
)

// A queue as the exporter sees it.
type queue struct {
	name, kind, group   string // group "": a list
	depth               curve
	enqueued, processed curve // messages a second
	oldest              curve // seconds
	stalled             curve
	lost                curve // messages a second
	up                  curve
	capacity            float64
	uncommitted         curve
	limits              map[string]float64
}

// topic is a Kafka topic with one consumer group that keeps up with so many messages a second.
func topic(name string, rate float64) queue {
	return queue{
		name: name, kind: "kafka", group: "processors", depth: always(rate), enqueued: always(rate), processed: always(rate), oldest: always(1), stalled: always(0),
	}
}

// list is a Redis list that is kept empty, so that nobody sees what comes.
func list(name string) queue {
	return queue{name: name, kind: "redis_list", depth: always(0), enqueued: always(0), oldest: always(0), stalled: always(0)}
}

func (q queue) series() []series {
	up := orOne(q.up)
	who := []string{"queue", q.name, "kind", q.kind}
	all := []series{
		gauge("queue_up", up, who...),
		gauge("queue_depth", only(up, q.depth), who...),
		counter("queue_enqueued_total", q.enqueued, who...),
		gauge("queue_oldest_message_age_seconds", only(up, q.oldest), who...),
	}
	if q.capacity > 0 {
		all = append(all, gauge("queue_capacity", always(q.capacity), who...))
	}
	for _, limit := range slices.Sorted(maps.Keys(q.limits)) {
		all = append(all, gauge("queue_limit", always(q.limits[limit]), "queue", q.name, "limit", limit))
	}
	if q.group == "" {
		return append(all, gauge("queue_stalled", q.stalled, "queue", q.name))
	}
	of := []string{"queue", q.name, "group", q.group}
	at := append(of[:4:4], "topic", q.name, "partition", "0")
	return append(all,
		counter("consumer_group_processed_total", q.processed, of...),
		counter("queue_lost_messages_total", orNone(q.lost), of...),
		gauge("consumer_group_stalled", q.stalled, of...),
		gauge("consumer_group_members", always(3), of...),
		gauge("consumer_group_uncommitted_partitions", orNone(q.uncommitted), of...),
		gauge("consumer_group_lag", only(up, q.depth), at...),
		gauge("consumer_group_lag_seconds", only(up, q.oldest), at...))
}

// stopped is the queue whose consumers take nothing more of so many messages a second.
func stopped(q queue, from time.Duration) queue {
	const rate = 20
	q.depth = q.depth.from(from, ramp(from, rate, rate))
	q.enqueued = q.enqueued.from(from, always(rate))
	q.processed = always(rate).from(from, always(0))
	q.oldest = q.oldest.from(from, ramp(from, 1, 1))
	q.stalled = q.stalled.from(from+90*time.Second, always(1))
	return q
}
