package main

import (
	"github.com/grafana/grafana-foundation-sdk/go/cog"

	"github.com/cacheinv/cacheinv_exporter/internal/bundle/settings"
)

// What panels of two dashboards show.
const (
	drainShows = "Time until the queue is empty if its depth goes on as in the last minutes; ∞: never. 0 while so few wait that the alert leaves them alone. Orange: longer than the queue's own limit (queues[].limits.drain, or ten minutes); red: and it is deeper than its limit."
	depthShows = "Invalidations that wait, by queue; of several consumer groups the one furthest behind. Dashed: the queue's own limits (queues[].limits, or 1,000 and 5,000)."
)

// queues is for the question why invalidations wait, fail or go round.
func queues(b *board) {
	b.uid, b.title = "cacheinv-queues", "Cache invalidation: queues and consumers"
	b.about = "Why invalidations wait, are lost, fail or go round: queues, consumer groups, messages, histories and probes."
	b.variables = []string{"cluster", "queue", "group", "layer", "node"}

	b.row("Queues")
	b.stat(panel{
		title: "Queues", unit: "none", w: 6, h: 4,
		shows:     "Whether depth or lag was learned for all that is configured of the queue; of a channel its subscribers.",
		healthy:   "all up.",
		otherwise: "Down: its depth is unknown, and applications may be unable to send invalidations, too.",
		colour:    faint, maps: upDown, alerts: []string{"CacheInvalQueueDown"},
		queries: []query{{expr: newest("queue", `cacheinv_queue_up{<queue>}`), legend: "{{queue}}"}},
	})
	b.stat(panel{
		title: "Brokers down", unit: "none", w: 6, h: 4, decimals: cog.ToPtr(0.0),
		shows:     "Kafka brokers that are known and do not answer; unknown where there is no Kafka.",
		healthy:   "0.",
		otherwise: "Partitions that it leads cannot be written or read until another broker leads them.",
		colour:    ticket, maps: zeroIsGood, alerts: []string{"CacheInvalQueueDown"},
		queries: []query{{expr: newest("queue", `cacheinv_queue_brokers{state="down",<queue>}`), legend: "{{queue}}"}},
	})
	b.stat(panel{
		title: "Time to drain", unit: "s", w: 6, h: 4, decimals: cog.ToPtr(0.0),
		shows:     drainShows,
		healthy:   "0, or seconds.",
		otherwise: "More processors, or fewer messages: find who sends them.",
		alerts:    []string{"CacheInvalQueueBacklog"},
		queries:   b.drain(),
	})
	b.stat(panel{
		title: "Capacity used", unit: "percentunit", w: 6, h: 4, decimals: cog.ToPtr(0.0),
		shows:     "Depth as a share of the capacity that is configured; unknown without one.",
		healthy:   "a few percent.",
		otherwise: "Beyond its capacity invalidations are lost: more room first, then the reason.",
		limits:    []limit{b.pages("CacheInvalQueueBacklog", "queue:cacheinv_queue_fill:ratio")},
		queries:   []query{{expr: `queue:cacheinv_queue_fill:ratio{<queue>}`, legend: "{{queue}}"}},
	})
	b.series(panel{
		title: "Queue depth", unit: "short", w: 8, h: 8,
		shows:     depthShows,
		healthy:   "0 to 50.",
		otherwise: "See beside whether more arrive or fewer are processed.",
		alerts:    []string{"CacheInvalQueueBacklog"},
		queries:   depths(),
	})
	b.series(panel{
		title: "Arriving and processed", unit: "cps", w: 8, h: 8,
		shows:     "Messages that arrive a second, that are processed, and that processors are meant to process (target_rate); arriving over half an hour tells what is usual.",
		healthy:   "processed follows what arrives, below the target.",
		otherwise: "Arriving far above usual: a batch job or a loop. Processed far below arriving: slow or stopped processors.",
		alerts:    []string{"CacheInvalStorm", "CacheInvalQueueBacklog"},
		queries: []query{
			{expr: `queue:cacheinv_queue_enqueued:rate2m{<queue>}`, legend: "arriving {{queue}}"},
			{expr: `queue:cacheinv_queue_processed:rate2m{<queue>}`, legend: "processed {{queue}}"},
			{expr: `queue:cacheinv_queue_target:max{<queue>}`, legend: "target {{queue}}", dashed: true},
			{expr: `queue:cacheinv_queue_enqueued:rate30m{<queue>}`, legend: "usual {{queue}}", dashed: true},
		},
	})
	b.series(panel{
		title: "Age of the oldest message", unit: "s", w: 8, h: 8,
		shows:     "Age of the oldest invalidation that still waits. Dashed: the queue's own limit (queues[].limits.oldest, or five minutes).",
		healthy:   "below a minute.",
		otherwise: "One that grows by a second a second: nothing of that partition or list is processed.",
		alerts:    []string{"CacheInvalQueueBacklog"},
		queries: []query{
			{expr: oldest + "{<queue>}", legend: "{{queue}}"},
			{expr: `queue:cacheinv_queue_limit_oldest:max{<queue>}`, legend: "{{queue}} page above, if it does not drain", colour: page, dashed: true, unnamed: true},
		},
	})
	b.series(panel{
		title: "Efficiency", unit: "percentunit", w: 8, h: 7,
		shows:     "Processing rate as a share of the target. It says something only while messages wait.",
		healthy:   "near or above 100% while a queue is deep.",
		otherwise: "Processors are slow, few or stuck.",
		alerts:    []string{"CacheInvalQueueBacklog"},
		queries:   []query{{expr: `queue:cacheinv_queue_efficiency:ratio_rate2m{<queue>}`, legend: "{{queue}}"}},
	})
	b.series(panel{
		title: "Messages that repeat a key", unit: "percentunit", w: 8, h: 7, max: cog.ToPtr(1.0),
		shows:     "Share of the newest messages that repeat a key without a newer version; known only where messages have versions.",
		healthy:   "a few percent.",
		otherwise: "An invalidation that brings about itself: break it where it is sent. /status names the key.",
		limits:    []limit{b.pages("CacheInvalLoop", "queue:cacheinv_queue_sampled_repeats:ratio")},
		queries:   []query{{expr: `queue:cacheinv_queue_sampled_repeats:ratio{<queue>}`, legend: "{{queue}}"}},
	})
	b.series(panel{
		title: "Share of the commonest key", unit: "percentunit", w: 8, h: 7, max: cog.ToPtr(1.0),
		shows:     "Share of the key that most of the newest messages have. It tells of a loop where messages have no versions.",
		healthy:   "low, and high only while hardly anything arrives.",
		otherwise: "As for messages that repeat a key.",
		limits:    []limit{b.pages("CacheInvalLoop", "queue:cacheinv_queue_sampled_top_key:ratio")},
		queries:   []query{{expr: `queue:cacheinv_queue_sampled_top_key:ratio{<queue>}`, legend: "{{queue}}"}},
	})

	b.row("Channels")
	b.series(panel{
		title: "Subscribers", unit: "none", w: 24, h: 6, decimals: cog.ToPtr(0.0),
		shows:     "Clients that have subscribed to each Redis Pub/Sub channel. Dashed: as many as there should be (queues[].subscribers, or the instances of queues[].app).",
		healthy:   "as many as there should be.",
		otherwise: "An instance hears no invalidation, and serves what it holds until its TTL ends: restart it.",
		alerts:    []string{"CacheInvalSubscribersMissing"},
		queries: []query{
			{expr: newest("queue", `cacheinv_queue_subscribers{<queue>}`), legend: "{{queue}}"},
			{expr: newest("queue", `cacheinv_queue_expected_subscribers{<queue>}`), legend: "{{queue}} expected", dashed: true},
		},
	})

	b.row("Consumer groups")
	b.stat(panel{
		title: "Stalled", unit: "none", w: 6, h: 5,
		shows:     "Whether a group commits nothing, or nothing is taken from a list, though messages wait; unknown until it was watched for a minute.",
		healthy:   "no group.",
		otherwise: "It is stopped, stuck on a message, or hangs on a cache node. Its log first; then skip the message.",
		colour:    faint, maps: []mapping{{"0", "moves", good}, {"1", "stalled", page}}, alerts: []string{"CacheInvalConsumerStalled"},
		queries: []query{
			{expr: newest("queue, group", `cacheinv_consumer_group_stalled{<queue,group>}`), legend: "{{group}} of {{queue}}"},
			{expr: newest("queue", `cacheinv_queue_stalled{<queue>}`), legend: "{{queue}}"},
		},
	})
	b.stat(panel{
		title: "Lost within ten minutes", unit: "short", w: 6, h: 5, decimals: cog.ToPtr(0.0),
		shows:     "Messages that were deleted before the group had processed them.",
		healthy:   "0.",
		otherwise: "What they should have removed stays until its TTL ends: invalidate what changed since, by `cacheinv_exporter recover` or `repair`.",
		colour:    page, maps: zeroIsGood, alerts: []string{"CacheInvalMessagesLost"},
		queries: []query{{expr: `max by (cluster, queue, group) (increase(cacheinv_queue_lost_messages_total{<queue,group>}[10m]))`, legend: "{{group}} of {{queue}}"}},
	})
	b.table(panel{
		title: "State of the groups", unit: "none", w: 6, h: 5,
		shows:     "State of each group as Kafka writes it. Dead: it does not exist.",
		healthy:   "Stable.",
		otherwise: "PreparingRebalance for long: members come and go. Empty or Dead: no consumer runs.",
		colour:    faint, alerts: []string{"CacheInvalConsumerStalled"},
		queries: []query{{expr: newest("queue, group, state", `cacheinv_consumer_group_state{<queue,group>}`), legend: "{{group}} {{state}}"}},
		hide:    []string{"Value"},
		order:   []string{"state", "group", "queue", "cluster"},
		rename:  map[string]string{"state": "State", "group": "Group", "queue": "Queue", "cluster": "Cluster"},
		sort:    "State",
	})
	b.series(panel{
		title: "Members", unit: "none", w: 6, h: 5, decimals: cog.ToPtr(0.0),
		shows:     "Consumers in each group.",
		healthy:   "as many as run.",
		otherwise: "0: nobody processes. Up and down: consumers crash or are thrown out for being slow.",
		alerts:    []string{"CacheInvalConsumerStalled"},
		queries:   []query{{expr: newest("queue, group", `cacheinv_consumer_group_members{<queue,group>}`), legend: "{{group}} of {{queue}}"}},
	})
	b.series(panel{
		title: "Lag in seconds", unit: "s", w: 8, h: 8,
		shows:     "Age of the oldest message that the group has not processed, of the 10 partitions furthest behind.",
		healthy:   "below a second.",
		otherwise: "One partition alone: a message that its consumer cannot get past. All of them: the group is slow or stopped.",
		alerts:    []string{"CacheInvalQueueBacklog"},
		queries:   []query{{expr: `topk(10, ` + newest("queue, group, topic, partition", `cacheinv_consumer_group_lag_seconds{<queue,group>}`) + `)`, legend: "{{group}} {{topic}} {{partition}}"}},
	})
	b.series(panel{
		title: "Lag in messages", unit: "short", w: 8, h: 8,
		shows:     "Messages that the group has not processed, of the 10 partitions furthest behind.",
		healthy:   "near 0.",
		otherwise: "As for the lag in seconds.",
		alerts:    []string{"CacheInvalQueueBacklog"},
		queries:   []query{{expr: `topk(10, ` + newest("queue, group, topic, partition", `cacheinv_consumer_group_lag{<queue,group>}`) + `)`, legend: "{{group}} {{topic}} {{partition}}"}},
	})
	b.series(panel{
		title: "Processed by each group", unit: "cps", w: 8, h: 8,
		shows:     "Messages that each group processes a second.",
		healthy:   "as many as arrive.",
		otherwise: "The slowest group decides for how long copies are stale.",
		alerts:    []string{"CacheInvalConsumerStalled", "CacheInvalQueueBacklog"},
		queries:   []query{{expr: `queue_group:cacheinv_consumer_group_processed:rate2m{<queue,group>}`, legend: "{{group}} of {{queue}}"}},
	})
	b.series(panel{
		title: "Rewinds within ten minutes", unit: "none", w: 8, h: 6, decimals: cog.ToPtr(0.0),
		shows:     "Times that a commit of the group went back.",
		healthy:   "0.",
		otherwise: "Somebody reset offsets, or consumers commit in another order than they process: messages are processed twice.",
		alerts:    []string{"CacheInvalConsumerStalled"},
		queries:   []query{{expr: `max by (cluster, queue, group) (increase(cacheinv_consumer_group_rewinds_total{<queue,group>}[10m]))`, legend: "{{group}} of {{queue}}"}},
	})
	b.series(panel{
		title: "Delivered and not acknowledged", unit: "short", w: 8, h: 6, decimals: cog.ToPtr(0.0),
		shows:     "Entries of Redis streams that a consumer was given and has not acknowledged; unknown where there is no stream.",
		healthy:   "as many as are being processed.",
		otherwise: "Consumers that died hold them: claim them (XAUTOCLAIM).",
		alerts:    []string{"CacheInvalQueueBacklog"},
		queries:   []query{{expr: newest("queue, group", `cacheinv_consumer_group_pending_messages{<queue,group>}`), legend: "{{group}} of {{queue}}"}},
	})
	b.series(panel{
		title: "Partitions without a commit", unit: "none", w: 8, h: 6, decimals: cog.ToPtr(0.0),
		shows:     "Partitions on which the group has not committed: these have no lag, so what waits there is not seen.",
		healthy:   "0 once a group has run for a while.",
		otherwise: "Nobody consumes them, or nothing was ever sent to them.",
		alerts:    []string{"CacheInvalGroupWithoutCommits"},
		queries:   []query{{expr: newest("queue, group", `cacheinv_consumer_group_uncommitted_partitions{<queue,group>}`), legend: "{{group}} of {{queue}}"}},
	})

	eventQueues(b)

	b.row("What came of invalidations")
	b.series(panel{
		title: "Invalidations and failures", unit: "cps", w: 6, h: 7,
		shows:     "Attempts a second that each history tells of, and those that failed.",
		healthy:   "hardly any failures.",
		otherwise: "The history's own entries say which keys failed and why.",
		alerts:    []string{"CacheInvalFailureRatio", "CacheInvalSourceDown"},
		queries: []query{
			{expr: `history:cacheinv_invalidations:rate5m{<cluster>}`, legend: "attempts {{history}}"},
			{expr: `history:cacheinv_invalidation_failures:rate5m{<cluster>}`, legend: "failed {{history}}", colour: page},
		},
	})
	b.series(panel{
		title: "Failure rate", unit: "percentunit", w: 6, h: 7,
		shows:     "Share of the invalidations that failed over five minutes.",
		healthy:   "below " + b.settings.Prose(settings.FailureShareTicket) + ".",
		otherwise: "What they should have removed is served until its TTL ends.",
		limits: []limit{
			b.tickets("CacheInvalFailureRatio", "history:cacheinv_invalidation_failures:ratio_rate5m"),
			b.pages("CacheInvalFailureRatio", "history:cacheinv_invalidation_failures:ratio_rate5m"),
		},
		queries: []query{{expr: `history:cacheinv_invalidation_failures:ratio_rate5m{<cluster>}`, legend: "{{history}}"}},
	})
	b.series(panel{
		title: "Invalidation latency", unit: "s", w: 6, h: 7,
		shows:     "From publishing until nodes no longer serve the old version, as probes measure it: the middle one, and the slowest of a hundred.",
		healthy:   "99% within " + b.settings.Prose(settings.Latency) + ".",
		otherwise: "Slow on one layer alone: its nodes or the way there. On all: the queue.",
		limits:    []limit{b.tickets("CacheInvalLatencyHigh", "probe_layer:cacheinv_invalidation_probe_duration_seconds:p99_rate10m")},
		queries: []query{
			{expr: `probe_layer:cacheinv_invalidation_probe_duration_seconds:p50_rate10m{<layer>}`, legend: "p50 {{probe}} {{layer}}", dashed: true},
			{expr: `probe_layer:cacheinv_invalidation_probe_duration_seconds:p99_rate10m{<layer>}`, legend: "p99 {{probe}} {{layer}}"},
		},
	})
	b.series(panel{
		title: "Probes that failed within five minutes", unit: "short", w: 6, h: 7, decimals: cog.ToPtr(0.0),
		shows:     "Probes by how they failed: lost (still served after the timeout), publish, setup.",
		healthy:   "0.",
		otherwise: "lost on one node: it misses invalidations. lost everywhere: nobody processes. publish or setup: the probe itself cannot work.",
		alerts:    []string{"CacheInvalProbeLost"},
		queries: []query{{
			expr:   `max by (cluster, probe, layer, node, reason) (increase(cacheinv_invalidation_probe_failures_total{<layer,node>}[5m]))`,
			legend: "{{probe}} {{layer}} {{node}} {{reason}}",
		}},
	})
}
