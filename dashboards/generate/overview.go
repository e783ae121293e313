package main

import (
	"strconv"

	"github.com/grafana/grafana-foundation-sdk/go/cog"

	"github.com/cacheinv/cacheinv_exporter/internal/bundle/settings"
)

// overview is what one looks at first when paged: what fires, why, what is down, and whether anything is looked at; below it how
// invalidations fare and what copies users are given.
func overview(b *board) {
	b.uid, b.title = "cacheinv-overview", "Cache invalidation: incident overview"
	b.about = "What fires and why, how invalidations are processed, and what that does to the copies that users are given."
	b.variables = []string{"cluster", "class", "layer", "node", "queue"}

	b.row("Now")
	b.stat(panel{
		title: "Pages firing", unit: "none", w: 3, h: 4, decimals: cog.ToPtr(0.0),
		shows:     "Alerts of this exporter's rules that fire with severity page. It is unknown, not 0, where Prometheus does not evaluate the rules.",
		healthy:   "0.",
		otherwise: "The table below names them; each name leads to its runbook.",
		colour:    page, maps: zeroIsGood, alerts: []string{"CacheInvalWatchdog"},
		queries: []query{{expr: firing("page"), legend: "pages"}},
	})
	b.stat(panel{
		title: "Tickets firing", unit: "none", w: 3, h: 4, decimals: cog.ToPtr(0.0),
		shows:     "Alerts of this exporter's rules that fire with severity ticket.",
		healthy:   "0.",
		otherwise: "They explain a page, or can wait for the day.",
		colour:    ticket, maps: zeroIsGood, alerts: []string{"CacheInvalWatchdog"},
		queries: []query{{expr: firing("ticket"), legend: "tickets"}},
	})
	b.stat(panel{
		title: "Exporters", unit: "none", w: 4, h: 4,
		shows:     "Whether Prometheus reaches each exporter. A click leads to its page /status, which names nodes, keys and evidence.",
		healthy:   "all up.",
		otherwise: "With none up, everything below is unknown or old: go to the exporter's health first.",
		colour:    faint, maps: upDown, alerts: []string{"CacheInvalExporterDown", "CacheInvalExporterAbsent", "CacheInvalExporterInstanceDown"},
		links:   map[string]string{"Status page of ${__field.labels.instance}": "http://${__field.labels.instance}/status"},
		queries: []query{{expr: `max by (cluster, instance) (up{job="cacheinv_exporter",<cluster>})`, legend: "{{instance}}"}},
	})
	b.stat(panel{
		title: "Copies compared", unit: "short", w: 4, h: 4,
		shows:     "Copies that were compared with another in the last two minutes; of several clusters, where they are fewest. Rates of stale copies are shares of these.",
		healthy:   "a number that hardly changes.",
		otherwise: "0 or unknown: nothing is checked, so nothing below can tell that copies are right.",
		colour:    neutral, maps: []mapping{{"0", "", page}}, alerts: []string{"CacheInvalNothingChecked", "CacheInvalClassNotChecked"},
		queries: []query{{expr: `min(sum by (cluster) (class_layer:cacheinv_canary_compared_copies:sum{<class,layer>}))`, legend: "compared"}},
	})
	b.stat(panel{
		title: "Nodes down", unit: "none", w: 5, h: 4, decimals: cog.ToPtr(0.0),
		shows:     "Cache nodes that do not answer, or refuse, by layer; without those that left what names them (DNS, a topology).",
		healthy:   "0 in each layer.",
		otherwise: "The table beside the alerts names them. Copies there are unknown, not right.",
		colour:    page, maps: zeroIsGood, alerts: []string{"CacheInvalNodeUnreachable", "CacheInvalLayerUnreachable"},
		queries: []query{{expr: `sum by (cluster, layer) (1 - ` + newest("layer, node", `cacheinv_node_up{<layer,node>}`) + `
unless ` + newest("layer, node", `cacheinv_node_left{<layer,node>}`) + ` == 1)`, legend: "{{layer}}"}},
	})
	b.stat(panel{
		title: "Wrong copies", unit: "none", w: 5, h: 4, decimals: cog.ToPtr(0.0),
		shows:     "Copies that are stale for longer than the layer's design allows (overdue), or outlived a delete, by layer: what users should not be given any more.",
		healthy:   "0 in each layer.",
		otherwise: "The table below the alerts shows on which nodes they are; the causes say where to look first.",
		colour:    page, maps: zeroIsGood, alerts: []string{"CacheInvalHighStaleDataRate", "CacheInvalStaleCopies"},
		queries: []query{{expr: `sum by (cluster, layer) (class_layer:cacheinv_canary_wrong_copies:sum{<class,layer>})`, legend: "{{layer}}"}},
	})
	b.table(panel{
		title: "Firing alerts", unit: "none", w: 10, h: 8,
		shows:     "Every alert of these rules that fires now, pages first. CacheInvalWatchdog is always among them: without it Prometheus does not evaluate the rules.",
		healthy:   "CacheInvalWatchdog alone.",
		otherwise: "Follow the name to its runbook. What has a cause says why, the others say what users notice.",
		colour:    faint, maps: []mapping{{"3", "page", page}, {"2", "ticket", ticket}, {"1", "none", faint}},
		alerts:  []string{"CacheInvalWatchdog"},
		noValue: "no alert fires, not even the watchdog: rules are not evaluated",
		queries: []query{{
			expr:   "3 * " + distinct("page") + "\nor 2 * " + distinct("ticket") + "\nor " + distinct("info|none"),
			legend: "{{alertname}}",
		}},
		order:  []string{"Value", "alertname", "cause", "cluster", "class", "layer", "node", "queue", "group", "app"},
		rename: map[string]string{"Value": "Severity", "alertname": "Alert", "cause": "Cause", "class": "Class", "layer": "Layer", "node": "Node", "queue": "Queue", "group": "Group", "app": "Application", "cluster": "Cluster"},
		sort:   "Severity", down: true,
	})
	b.bars(panel{
		title: "Causes", unit: "none", w: 6, h: 8, decimals: cog.ToPtr(2.0), min: cog.ToPtr(0.0), max: cog.ToPtr(1.0),
		shows:     "How strongly the evidence points to each cause, from 0 to 1. Above 0.2 a cause stands. Where several stand, the first in the order network, queue, config, version, logic is looked at first: it may have brought about the others.",
		healthy:   "all at 0.",
		otherwise: "`cacheinv_exporter diagnose` and the exporter's /status list the evidence.",
		colour:    good, alerts: []string{"CacheInvalPartitionSuspected", "CacheInvalVersionDrift", "CacheInvalSilentStaleness"},
		limits:  []limit{{value: b.standing(), colour: ticket}},
		queries: []query{{expr: newest("cause", `cacheinv_cause_score{<cluster>}`), legend: "{{cause}}"}},
	})
	b.table(panel{
		title: "What answers", unit: "none", w: 8, h: 8,
		shows:     "Each cache node, queue, application instance and history that is configured, and each replica's link; those that are down stand first. refuses: it answers, and says no (a wrong password, a missing right). left: it does not answer, and what names it (DNS, a topology) no longer does.",
		healthy:   "all up.",
		otherwise: "Look from where the application runs whether it is down there, too.",
		colour:    faint, maps: []mapping{{"0", "down", page}, {"0.25", "refuses", ticket}, {"0.5", "left", faint}, {"1", "up", good}},
		alerts: []string{"CacheInvalNodeUnreachable", "CacheInvalLayerUnreachable", "CacheInvalQueueDown", "CacheInvalSourceDown", "CacheInvalReplicationFrozen"},
		queries: []query{{
			expr: `label_replace(` + newest("layer, node", `cacheinv_node_up{<layer,node>}`) + ` == 1
  or 0.25 * (` + newest("layer, node", `cacheinv_node_refused{<layer,node>}`) + ` == 1)
  or 0.5 * (` + newest("layer, node", `cacheinv_node_left{<layer,node>}`) + ` == 1)
  or ` + newest("layer, node", `cacheinv_node_up{<layer,node>}`) + `, "what", "cache node", "", "")
or label_replace(` + newest("layer, node", `cacheinv_replication_link_up{<layer,node>}`) + `, "what", "replication", "", "")
or label_replace(label_replace(` + newest("queue", `cacheinv_queue_up{<queue>}`) + `, "node", "$1", "queue", "(.*)"), "what", "queue", "", "")
or label_replace(` + newest("app, node", `cacheinv_app_up{<cluster>}`) + `, "what", "application", "", "")
or label_replace(label_replace(` + newest("history", `cacheinv_history_up{<cluster>}`) + `, "node", "$1", "history", "(.*)"), "what", "history", "", "")`,
			legend: "{{what}} {{node}}",
		}},
		hide:   []string{"queue", "history", "app"},
		order:  []string{"Value", "what", "layer", "node", "cluster"},
		rename: map[string]string{"Value": "State", "what": "What", "layer": "Layer", "node": "Name", "cluster": "Cluster"},
		sort:   "State",
	})
	b.table(panel{
		title: "Where copies are wrong", unit: "none", w: 10, h: 7, decimals: cog.ToPtr(0.0),
		shows:     "Class, layer and node of copies that are stale for longer than the layer's design allows (overdue), or outlived a delete, where there are most of them first.",
		healthy:   "0 everywhere.",
		otherwise: "One node of a layer: it is cut off, or another version serves it. All nodes of a layer: nobody tells that layer. All: the queue. `cacheinv_exporter check --class` names the keys.",
		colour:    page, maps: zeroIsGood,
		alerts:  []string{"CacheInvalHighStaleDataRate", "CacheInvalStaleCopies", "CacheInvalPartitionSuspected", "CacheInvalVersionDrift", "CacheInvalSilentStaleness"},
		queries: []query{{expr: `topk(20, sum by (cluster, class, layer, node) (class_layer_node:cacheinv_canary_wrong_copies:sum{<class,layer,node>}))`, legend: "{{class}} {{layer}} {{node}}"}},
		order:   []string{"Value", "class", "layer", "node", "cluster"},
		rename:  map[string]string{"Value": "Wrong", "class": "Class", "layer": "Layer", "node": "Node", "cluster": "Cluster"},
		sort:    "Wrong", down: true,
	})
	b.series(panel{
		title: "Stale data rate by class", unit: "percentunit", w: 7, h: 7,
		shows:     "Share of the copies that are stale, and of those that are wrong: stale for longer than the design allows (overdue), or outlived a delete.",
		healthy:   "wrong at 0; stale no more than the design allows.",
		otherwise: "The class says which data users see old, the table beside it where. Wrong above the line for two minutes is a page.",
		limits:    []limit{b.pages("CacheInvalHighStaleDataRate", "class:cacheinv_canary_wrong_copies:ratio")},
		queries: []query{
			{expr: `class:cacheinv_canary_wrong_copies:ratio{<class>}`, legend: "{{class}} wrong"},
			{expr: `class:cacheinv_canary_stale_copies:ratio{<class>}`, legend: "{{class}} stale", dashed: true},
		},
	})
	b.series(panel{
		title: "Reads of overdue copies", unit: "percentunit", w: 7, h: 7,
		shows:     "Share of the reads in an hour that met an overdue copy: what the alert on the error budget looks at, together with five minutes.",
		healthy:   "0.",
		otherwise: "As for the stale data rate. Below the line slower tiers of the alert may still fire.",
		limits:    []limit{b.pages("CacheInvalHighStaleDataRate", "class:cacheinv_canary_overdue_reads:ratio_increase1h")},
		queries:   []query{{expr: `class:cacheinv_canary_overdue_reads:ratio_increase1h{<class>}`, legend: "{{class}}"}},
	})

	b.row("Invalidations: do they wait, are they processed, do they fail, how long do they take")
	b.series(panel{
		title: "Queue depth", unit: "short", w: 6, h: 7,
		shows:     depthShows,
		healthy:   "0 to 50.",
		otherwise: "Copies stay stale for as long as their invalidation waits. See on the queues dashboard whether more arrive or fewer are processed.",
		alerts:    []string{"CacheInvalQueueBacklog"},
		queries:   depths(),
	})
	b.series(panel{
		title: "Processing rate against target", unit: "cps", w: 6, h: 7,
		shows:     "Invalidations processed a second, those that arrive, and the rate that is configured as target (target_rate).",
		healthy:   "processed follows what arrives.",
		otherwise: "Arriving above processed: the queue grows. Processed far below its target with a deep queue: processors are slow or stand still.",
		alerts:    []string{"CacheInvalQueueBacklog", "CacheInvalStorm"},
		queries: []query{
			{expr: `queue:cacheinv_queue_processed:rate2m{<queue>}`, legend: "processed {{queue}}"},
			{expr: `queue:cacheinv_queue_enqueued:rate2m{<queue>}`, legend: "arriving {{queue}}"},
			{expr: `queue:cacheinv_queue_target:max{<queue>}`, legend: "target {{queue}}", dashed: true},
		},
	})
	b.series(panel{
		title: "Failure rate", unit: "percentunit", w: 6, h: 7,
		shows:     "Share of the invalidations that failed, by history, over five minutes.",
		healthy:   "below " + b.settings.Prose(settings.FailureShareTicket) + ".",
		otherwise: "What they should have removed is served until its TTL ends. The history names the keys that failed.",
		limits: []limit{
			b.tickets("CacheInvalFailureRatio", "history:cacheinv_invalidation_failures:ratio_rate5m"),
			b.pages("CacheInvalFailureRatio", "history:cacheinv_invalidation_failures:ratio_rate5m"),
		},
		queries: []query{{expr: `history:cacheinv_invalidation_failures:ratio_rate5m{<cluster>}`, legend: "{{history}}"}},
	})
	b.series(panel{
		title: "Response time", unit: "s", w: 6, h: 7,
		shows:     "From publishing an invalidation until nodes no longer serve the old version, as the invalidation probes measure it: the middle one and the slowest of a hundred. A lost one counts as slower than all others.",
		healthy:   "99% within " + b.settings.Prose(settings.Latency) + ".",
		otherwise: "Slow with a deep queue: the queue. Slow on one layer alone: its nodes or the way there.",
		limits:    []limit{b.tickets("CacheInvalLatencyHigh", "probe_layer:cacheinv_invalidation_probe_duration_seconds:p99_rate10m")},
		alerts:    []string{"CacheInvalProbeLost"},
		queries: []query{
			{expr: `probe_layer:cacheinv_invalidation_probe_duration_seconds:p50_rate10m{<layer>}`, legend: "p50 {{probe}} {{layer}}", dashed: true},
			{expr: `probe_layer:cacheinv_invalidation_probe_duration_seconds:p99_rate10m{<layer>}`, legend: "p99 {{probe}} {{layer}}"},
		},
	})
	b.stat(panel{
		title: "Oldest message", unit: "s", w: 6, h: 4, decimals: cog.ToPtr(0.0),
		shows:     "Age of the oldest invalidation that still waits. Red: older than the queue's own limit (queues[].limits.oldest, or five minutes).",
		healthy:   "below a minute.",
		otherwise: "So long are copies stale at least.",
		alerts:    []string{"CacheInvalQueueBacklog"},
		queries:   b.age(),
	})
	b.stat(panel{
		title: "Efficiency", unit: "percentunit", w: 6, h: 4, decimals: cog.ToPtr(0.0),
		shows:     "Processing rate as a share of the target. It says something only while messages wait: with an empty queue nothing more can be processed than arrives.",
		healthy:   "near or above 100% while a queue is deep.",
		otherwise: "Processors are slow, few or stuck.",
		alerts:    []string{"CacheInvalQueueBacklog"},
		queries:   []query{{expr: `queue:cacheinv_queue_efficiency:ratio_rate2m{<queue>}`, legend: "{{queue}}"}},
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
		title: "Same keys over and over", unit: "percentunit", w: 6, h: 4, decimals: cog.ToPtr(0.0),
		shows:     "Share of the newest messages that repeat a key without a newer version.",
		healthy:   "a few percent.",
		otherwise: "An invalidation that brings about itself. The exporter's /status names the key.",
		limits:    []limit{b.pages("CacheInvalLoop", "queue:cacheinv_queue_sampled_repeats:ratio")},
		queries:   []query{{expr: `queue:cacheinv_queue_sampled_repeats:ratio{<queue>}`, legend: "{{queue}}"}},
	})

	b.row("Copies: are they right, and does the cache still help")
	b.series(panel{
		title: "Consistency by layer", unit: "percentunit", w: 8, h: 7, max: cog.ToPtr(1.0),
		shows:     "Share of the compared copies that are fresh. No alert looks at this share, since some staleness is meant: alerts count what is stale for longer than the design allows.",
		healthy:   "close to 100%, and in layers with a max_staleness as low as that brings with it.",
		otherwise: "A drop in one layer: its nodes. In all layers at once: the queue, or what feeds it.",
		alerts:    []string{"CacheInvalHighStaleDataRate", "CacheInvalDivergentKeys"},
		queries:   []query{{expr: `layer:cacheinv_canary_consistent_copies:ratio{<layer>}`, legend: "{{layer}}"}},
	})
	b.series(panel{
		title: "Version drift", unit: "short", w: 8, h: 7, decimals: cog.ToPtr(0.0),
		shows:     "Instances of each application by the version that they run, keys with different content under one version, and how many versions the furthest copy is behind.",
		healthy:   "one version for each application, no conflicts, no lag.",
		otherwise: "Two versions outside of a deployment: finish it or go back. A lag that grows: invalidations do not arrive.",
		alerts:    []string{"CacheInvalVersionDrift", "CacheInvalVersionConflicts"},
		queries: []query{
			{expr: `count by (cluster, app, version) (max by (cluster, app, node, version) (last_over_time(cacheinv_app_version_info{<cluster>}[5m])))`, legend: "{{app}} {{version}} instances"},
			{expr: newest("class", `cacheinv_canary_version_conflict_keys{<class>}`), legend: "{{class}} conflicts", dashed: true},
			{expr: newest("class", `cacheinv_canary_version_lag_versions{<class,layer>}`), legend: "{{class}} versions behind", dashed: true},
		},
	})
	collapse := b.factor("CacheInvalHitRatioCollapse", "layer:cacheinv_node_hits:ratio_rate30m_offset1d")
	b.series(panel{
		title: "Hit rate by layer, against yesterday", unit: "percentunit", w: 8, h: 7, max: cog.ToPtr(1.0),
		shows:     "Share of the applications' reads that hit, without the exporter's own; dashed: the same time yesterday, and the share of that at which the alert fires.",
		healthy:   "close to yesterday's.",
		otherwise: "The database takes what misses: look at its load, and at what empties the layer (restarts, evictions, mass invalidation).",
		alerts:    []string{"CacheInvalHitRatioCollapse"},
		queries: []query{
			{expr: `layer:cacheinv_node_hits:ratio_rate5m{<layer>}`, legend: "{{layer}}"},
			{expr: `layer:cacheinv_node_hits:ratio_rate30m_offset1d{<layer>}`, legend: "{{layer}} yesterday", dashed: true},
			{expr: number(collapse) + ` * layer:cacheinv_node_hits:ratio_rate30m_offset1d{<layer>}`, legend: "{{layer}} alert below", dashed: true},
		},
	})
	b.series(panel{
		title: "Replication lag", unit: "s", w: 12, h: 7,
		shows:     "For how long each replica has not reached where its primary was; unknown where there are no replicas.",
		healthy:   "below a second.",
		otherwise: "It is frozen, or its link too slow. Whoever reads from it is given old data.",
		limits:    []limit{b.tickets("CacheInvalReplicationFrozen", "cacheinv_replication_lag_seconds")},
		alerts:    []string{"CacheInvalSplitBrain"},
		queries:   []query{{expr: newest("layer, node", `cacheinv_replication_lag_seconds{<layer,node>}`), legend: "{{layer}} {{node}}"}},
	})
	b.series(panel{
		title: "Settings and views that differ", unit: "none", w: 12, h: 7, decimals: cog.ToPtr(0.0),
		shows:     "Distinct values of each setting within a layer, primaries in one replication group, and distinct answers of a Redis Cluster's nodes to who owns what.",
		healthy:   "1 everywhere.",
		otherwise: "2 views or primaries: split brain. 2 values of a setting: who changed it last?",
		alerts:    []string{"CacheInvalConfigDrift", "CacheInvalSplitBrain"},
		queries: []query{
			{expr: newest("layer, setting", `cacheinv_layer_distinct_configs{<layer>}`), legend: "{{layer}} {{setting}}"},
			{expr: newest("layer, group", `cacheinv_layer_masters{<layer>}`), legend: "{{layer}} {{group}} primaries"},
			{expr: newest("layer, group", `cacheinv_cluster_views{<layer>}`), legend: "{{layer}} {{group}} views"},
		},
	})
}

// firing counts alerts; 0 only where the rules are evaluated, which the watchdog shows.
func firing(severity string) string {
	return "count(" + distinct(severity) + ")\nor 0 * count(ALERTS{alertname=\"CacheInvalWatchdog\",alertstate=\"firing\"})"
}

// distinct alerts that fire, with value 1. Tiers of one alert count once. The watchdog has no cluster, and is of each.
func distinct(severity string) string {
	return `group by (cluster, alertname, cause, class, layer, node, queue, group, app) (ALERTS{alertname=~"CacheInval.*",alertstate="firing",severity=~"` +
		severity + `",cluster=~"$cluster|"})`
}

func number(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }
