package collector

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cacheinv/cacheinv_exporter/probes"
)

var (
	groupLag = gauge("consumer_group_lag",
		"Messages of the partition that the group has not committed (of a stream: not read), without those that are no longer in the log.",
		"queue", "group", "topic", "partition")
	groupLagSeconds = gauge("consumer_group_lag_seconds",
		"Age of the oldest message of the partition that the group has not committed (of a stream: not read), in seconds; 0 where it has committed all.",
		"queue", "group", "topic", "partition")
	groupMembers = gauge("consumer_group_members",
		"Members of the consumer group; 0 for a group that does not exist.", "queue", "group")
	queueLeftover = gauge("queue_leftover_groups",
		"Consumer groups that only a regexp names, without members beside live ones of the same regexp: they count in no depth, age or stall.", "queue")
	groupState = gauge("consumer_group_state",
		"State of the consumer group as a label, as Kafka writes it; always 1.", "queue", "group", "state")
	groupProcessed = counter("consumer_group_processed_total",
		"Messages processed since the exporter's start, by the forward movement of commits (of a stream: of entries read less pending), "+
			"without lost ones.", "queue", "group")
	groupRewinds = counter("consumer_group_rewinds_total",
		"Times that a commit of the group went back, since the exporter's start.", "queue", "group")
	groupRewound = counter("consumer_group_rewound_messages_total",
		"Messages by which commits of the group went back, since the exporter's start.", "queue", "group")
	groupUncommitted = gauge("consumer_group_uncommitted_partitions",
		"Partitions of the queue's topics on which the group has not committed; these have no lag.", "queue", "group")
	groupPending = gauge("consumer_group_pending_messages",
		"Entries of the stream that were delivered to the group and not acknowledged.", "queue", "group")
	groupOldestPending = gauge("consumer_group_oldest_pending_seconds",
		"Time since the oldest pending entry was added, by its id, in seconds; 0 where none is pending.", "queue", "group")
	groupLastCommit = gauge("consumer_group_last_commit_timestamp_seconds",
		"When the group's present commits were first seen, in seconds since the epoch; absent until a change was seen.", "queue", "group")
	groupStalled = gauge("consumer_group_stalled",
		"Whether messages wait and the group committed nothing over --queue.stall-window and 3 samplings (1) or not (0); "+
			"absent until it was watched for so long.", "queue", "group")
)

// sendConsumerGroup gives what a group is at now.
func sendConsumerGroup(queue string, g probes.GroupBacklog, ch chan<- prometheus.Metric) {
	if g.HasMembers {
		groupMembers.send(ch, float64(g.Members), queue, g.Group)
	}
	if g.State != "" {
		groupState.send(ch, 1, queue, g.Group, g.State)
	}
	if g.HasOffsets {
		groupUncommitted.send(ch, float64(g.Uncommitted), queue, g.Group)
	}
	for p, lag := range g.Lag {
		labels := groupLag.label(queue, g.Group, p.Topic, strconv.Itoa(int(p.ID)))
		groupLag.sendWith(ch, float64(lag), labels)
		// That of a leftover group grows for ever, and nobody waits for it.
		if seconds, ok := g.LagSeconds[p]; ok && !g.Leftover {
			groupLagSeconds.sendWith(ch, seconds, labels)
		}
	}
	if g.Pending.Known {
		groupPending.send(ch, g.Pending.Value, queue, g.Group)
	}
	if g.OldestPending.Known {
		groupOldestPending.send(ch, g.OldestPending.Value, queue, g.Group)
	}
}
