package main

import "github.com/grafana/grafana-foundation-sdk/go/cog"

// resultColours of event checks: what is bad, as the states of copies are.
var resultColours = map[string]string{
	"gone": "green", "current": "semi-dark-green", "rewritten": "light-green", "waiting": "orange", "survived": "red", "restored": "dark-red",
	"superseded": faint, "unknown": "blue", "error": "purple",
}

// events are the panels of what was invalidated just now: whether it took effect within the promise.
func events(b *board) {
	b.row("Event checks: what was invalidated just now")
	b.stat(panel{
		title: "Nines of invalidations", unit: "none", w: 6, h: 8, decimals: cog.ToPtr(2.0),
		shows:     "How many nines of a day's invalidations were effective everywhere within the promise: 3 is one bad one of a thousand, ∞ none at all. What waits for the processor is bad, too; what says nothing counts as neither.",
		healthy:   "as many as are promised, or more.",
		otherwise: "See beside what came of them: waiting is the queue's, survived a node's or the code's, restored a fill's.",
		alerts:    []string{"CacheInvalNotEffective"},
		queries:   []query{{expr: `class:cacheinv_events_effective:nines1d{<class>}`, legend: "{{class}}"}},
	})
	b.series(panel{
		title: "Error budget: invalidations without effect", unit: "percentunit", w: 9, h: 8,
		shows:     "Share of a class's invalidations that were bad at the promise, over five minutes, an hour and a day. The lines are those of the alert's page for an hour and of its ticket for a day.",
		healthy:   "0.",
		otherwise: "The hour says whether it matters, five minutes whether it still goes on.",
		limits: []limit{
			b.tickets("CacheInvalNotEffective", "class:cacheinv_event_ineffective:ratio_increase1d"),
			b.pages("CacheInvalNotEffective", "class:cacheinv_event_missed:ratio_increase1h"),
		},
		queries: []query{
			{expr: `class:cacheinv_event_ineffective:ratio_increase5m{<class>}`, legend: "{{class}} 5m", dashed: true},
			{expr: `class:cacheinv_event_ineffective:ratio_increase1h{<class>}`, legend: "{{class}} 1h"},
			{expr: `class:cacheinv_event_ineffective:ratio_increase1d{<class>}`, legend: "{{class}} 1d", dashed: true},
		},
	})
	b.series(panel{
		title: "Invalidations by result", unit: "short", w: 9, h: 8, stacked: true, decimals: cog.ToPtr(0.0),
		shows:     "Invalidations of the last five minutes that reached the age of the promise, by what had come of their worst copy.",
		healthy:   "green: gone, current and rewritten.",
		otherwise: "waiting: the consumers. survived: see on which node. restored: an old value was stored after the delete. Much unknown: give the class a version.",
		alerts:    []string{"CacheInvalNotEffective", "CacheInvalStaleSets"},
		colours:   resultColours,
		queries:   []query{{expr: `sum by (cluster, result) (class_result:cacheinv_event_checks:increase5m{<class>})`, legend: "{{result}}"}},
	})
	b.series(panel{
		title: "Invalidations that nodes missed", unit: "percentunit", w: 8, h: 8,
		shows:     "Share of the copies of just invalidated keys that were still old on each node, though the processor had passed; of the last minute.",
		healthy:   "0 on every node.",
		otherwise: "One node: it is not told, or is cut off; take it out of use. All of a layer: nobody tells that layer.",
		limits:    []limit{b.tickets("CacheInvalNodeMissesInvalidations", "class_layer_node:cacheinv_event_missed_copies:ratio_increase1m")},
		queries:   []query{{expr: `class_layer_node:cacheinv_event_missed_copies:ratio_increase1m{<class,layer,node>}`, legend: "{{class}} {{layer}} {{node}}"}},
	})
	b.series(panel{
		title: "Time until invalidations take effect", unit: "s", w: 8, h: 8,
		shows:     "From an invalidation's own time to the first look that saw all its copies in a layer good: half of them, and 99 of 100, no longer than this. Looks come with the scrapes, so that it is no finer than these. Dashed: the promise.",
		healthy:   "below the dashed line.",
		otherwise: "One layer alone: its path. All: the queue.",
		alerts:    []string{"CacheInvalNotEffective"},
		queries: []query{
			{expr: `class_layer:cacheinv_event_effect_seconds:p50_rate10m{<class,layer>}`, legend: "{{class}} {{layer}} 50%"},
			{expr: `class_layer:cacheinv_event_effect_seconds:p99_rate10m{<class,layer>}`, legend: "{{class}} {{layer}} 99%"},
			{expr: newest("class", `cacheinv_event_within_seconds{<class>}`), legend: "{{class}} promised", dashed: true},
		},
	})
	b.series(panel{
		title: "Bad invalidations by age", unit: "percentunit", w: 8, h: 8,
		shows:     "Share of the invalidations that were bad at each age at which is looked, over five minutes.",
		healthy:   "0, and lower the older they are.",
		otherwise: "As high at the longer ages: they were lost, and only the TTL ends it. Higher: old values come back.",
		alerts:    []string{"CacheInvalNotEffective", "CacheInvalStaleSets"},
		queries:   []query{{expr: `class_window:cacheinv_event_ineffective:ratio_increase5m{<class>}`, legend: "{{class}} {{window}}"}},
	})
	b.series(panel{
		title: "Oldest invalidation without effect", unit: "s", w: 12, h: 7,
		shows:     "Age of the oldest invalidation whose last look was bad, for an hour at most; 0 without one.",
		healthy:   "0.",
		otherwise: "A line that rises all the time: nothing corrects it. /status has its key.",
		alerts:    []string{"CacheInvalNotEffective"},
		queries:   []query{{expr: newest("class", `cacheinv_event_oldest_ineffective_seconds{<class>}`), legend: "{{class}}"}},
	})
	b.series(panel{
		title: "Invalidations with looks to come", unit: "short", w: 12, h: 7, decimals: cog.ToPtr(0.0),
		shows:     "Invalidations that are not yet as old as the last age at which is looked. At most 20,000 in all.",
		healthy:   "as many as arrive within the longest age.",
		otherwise: "0 while messages arrive: none fits the class. At the most: fewer are taken; lower `sample`, or have fewer ages.",
		alerts:    []string{"CacheInvalEventsUnchecked"},
		queries:   []query{{expr: newest("class", `cacheinv_event_pending{<class>}`), legend: "{{class}}"}},
	})
}

// eventQueues are the panels of what event checks take from queues, and of who listens.
func eventQueues(b *board) {
	b.row("Event checks")
	b.series(panel{
		title: "Messages seen for event checks", unit: "short", w: 8, h: 7,
		shows:     "Messages a second that were read for event checks, of the exporter that reads most.",
		healthy:   "as many as arrive.",
		otherwise: "Fewer: what did not fit one reading is left out (budget). None: the exporter cannot read them.",
		alerts:    []string{"CacheInvalEventsUnchecked"},
		queries:   []query{{expr: `max by (cluster, queue) (rate(cacheinv_events_seen_total{<queue>}[5m]))`, legend: "{{queue}}"}},
	})
	b.series(panel{
		title: "Messages left out of event checks", unit: "short", w: 8, h: 7, stacked: true,
		shows:     "Messages a second that were read and are no class's events, by reason: more than are taken at once (budget), no class's key (no_class), older than ten minutes when they were seen (too_old), not understood (unreadable).",
		healthy:   "budget where much is invalidated; no_class where others share the queue.",
		otherwise: "All of them no_class or unreadable: correct match, keys or vars.",
		alerts:    []string{"CacheInvalEventsUnchecked"},
		queries:   []query{{expr: `max by (cluster, queue, reason) (rate(cacheinv_events_skipped_total{<queue>}[5m]))`, legend: "{{queue}} {{reason}}"}},
	})
	b.series(panel{
		title: "Subscribers of channels", unit: "short", w: 8, h: 7, decimals: cog.ToPtr(0.0),
		shows:     "Clients that are subscribed to a channel, without the exporter's own and those by pattern. Dashed: how many there should be; unknown where there is no channel.",
		healthy:   "on the dashed line.",
		otherwise: "Fewer: an instance is deaf, and keeps old values in its local cache.",
		alerts:    []string{"CacheInvalNodeMissesInvalidations"},
		queries: []query{
			{expr: newest("queue", `cacheinv_queue_subscribers{<queue>}`), legend: "{{queue}}"},
			{expr: newest("queue", `cacheinv_queue_expected_subscribers{<queue>}`), legend: "{{queue}} expected", dashed: true},
		},
	})
}
