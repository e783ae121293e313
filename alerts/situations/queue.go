package situations

// A queue as the exporter sees it.
type queue struct {
	name, kind, group     string // group "": a list
	depth                 curve
	enqueued, processed   curve // messages a second
	oldest                curve // seconds
	stalled               curve
	lost                  curve // messages a second
	up                    curve
	capacity              float64
	uncommitted           curve
	limits                map[string]float64
	repeats, sampledCount float64
}

// topic is a Kafka topic with one consumer group that keeps up with so many messages a second.
func topic(name string, rate float64) queue {
	return queue{
		name: name, kind: "kafka", group: "processors", depth: always(rate), enqueued: always(rate), processed: always(rate), oldest: always(1), stalled: always(0),
	}
}

// list is a Redis list that is kept empty.
func list(name string, rate float64) queue {
	return queue{name: name, kind: "redis_list", depth: always(0), enqueued: always(rate), oldest: always(0), stalled: always(0)}
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
	for limit, value := range q.limits {
		all = append(all, gauge("queue_limit", always(value), "queue", q.name, "limit", limit))
	}
	if q.sampledCount > 0 {
		all = append(all,
			gauge("queue_sampled_messages", always(q.sampledCount), who...),
			gauge("queue_sampled_repeats", always(q.repeats), who...))
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
