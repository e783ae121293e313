package main

import "github.com/grafana/grafana-foundation-sdk/go/cog"

// copies on each node, over all classes.
func copies(selector string) string {
	return sharded("layer, node", "layer, node", selector)
}

// consistency is for the question which copies are wrong: by class, layer and node.
func consistency(b *board) {
	b.uid, b.title = "cacheinv-consistency", "Cache invalidation: consistency explorer"
	b.about = "Which copies are wrong, since when and by what measure: by class, layer and node."
	b.variables = []string{"cluster", "class", "layer", "node"}

	b.row("Which copies are wrong")
	b.series(panel{
		title: "Copies by state", unit: "short", w: 12, h: 8, stacked: true, decimals: cog.ToPtr(0.0),
		shows:     "Copies of the selected classes in each state. Missing copies are no fault of their own; undecided ones differ and nothing says which is right; error: the node could not be read; unverified: nothing to compare with.",
		healthy:   "green, with grey where copies expire.",
		otherwise: "Red: see on which node. Orange: give the class a version or an origin. Purple: the node, or a permission that the exporter lacks.",
		alerts:    []string{"CacheInvalHighStaleDataRate", "CacheInvalDivergentKeys", "CacheInvalNothingChecked"},
		colours:   stateColours,
		queries: []query{{
			expr:   sharded("state", "layer, node, state", `cacheinv_canary_copies{<class,layer,node>}`),
			legend: "{{state}}",
		}},
	})
	b.series(panel{
		title: "Wrong copies by node", unit: "short", w: 12, h: 8, decimals: cog.ToPtr(0.0),
		shows:     "Copies that are stale for longer than their layer's design allows (overdue), or outlived a delete.",
		healthy:   "0 on every node.",
		otherwise: "On one node: it misses invalidations. On all nodes of a layer: nobody tells that layer. On all: the queue.",
		alerts:    []string{"CacheInvalHighStaleDataRate", "CacheInvalStaleCopies", "CacheInvalSilentStaleness"},
		queries:   []query{{expr: `sum by (cluster, layer, node) (class_layer_node:cacheinv_canary_wrong_copies:sum{<class,layer,node>})`, legend: "{{layer}} {{node}}"}},
	})
	b.series(panel{
		title: "Stale copies by node", unit: "short", w: 8, h: 8, decimals: cog.ToPtr(0.0),
		shows:     "Copies that are behind their reference, overdue or not.",
		healthy:   "0, or as few as max_staleness explains.",
		otherwise: "A node that stands out from its layer is cut off, or served by another version of the application.",
		alerts:    []string{"CacheInvalHighStaleDataRate"},
		queries:   []query{{expr: copies(`cacheinv_canary_copies{state="stale",<class,layer,node>}`), legend: "{{layer}} {{node}}"}},
	})
	b.series(panel{
		title: "Oldest stale copy", unit: "s", w: 8, h: 8,
		shows:     "For how long the copy that has been stale longest has been so, and how long the design allows it in each layer (max_staleness).",
		healthy:   "below the dashed line of its layer.",
		otherwise: "A line that rises all the time is a copy that nothing corrects before its TTL ends.",
		alerts:    []string{"CacheInvalHighStaleDataRate"},
		queries: []query{
			{expr: newest("layer, node", `cacheinv_canary_oldest_stale_seconds{<class,layer,node>}`), legend: "{{layer}} {{node}}"},
			{expr: newest("layer", `cacheinv_layer_max_staleness_seconds{<layer>}`), legend: "{{layer}} allowed", dashed: true},
		},
	})
	b.series(panel{
		title: "Keys that differ, by how long", unit: "short", w: 8, h: 8, decimals: cog.ToPtr(0.0),
		shows:     "Keys whose present copies differ, for at least the window. Windows include the longer ones.",
		healthy:   "some in 0s, none in the longer windows.",
		otherwise: "10m with undecided copies: nobody knows which copy is right. Compare them with `cacheinv_exporter check`.",
		alerts:    []string{"CacheInvalDivergentKeys"},
		queries:   []query{{expr: sharded("class, window", "window", `cacheinv_canary_divergent_keys{<class>}`), legend: "{{class}} {{window}}"}},
	})
	b.series(panel{
		title: "Error budget: reads of overdue copies", unit: "percentunit", w: 8, h: 8,
		shows:     "Share of a class's reads that met an overdue copy over five minutes, an hour and a day. The alert needs a long and a short window at once; the lines are those of its page for an hour and of its ticket for a day.",
		healthy:   "0.",
		otherwise: "The hour says whether it matters, five minutes whether it still goes on.",
		limits: []limit{
			b.tickets("CacheInvalHighStaleDataRate", "class:cacheinv_canary_overdue_reads:ratio_increase1d"),
			b.pages("CacheInvalHighStaleDataRate", "class:cacheinv_canary_overdue_reads:ratio_increase1h"),
		},
		queries: []query{
			{expr: `class:cacheinv_canary_overdue_reads:ratio_increase5m{<class>}`, legend: "{{class}} 5m", dashed: true},
			{expr: `class:cacheinv_canary_overdue_reads:ratio_increase1h{<class>}`, legend: "{{class}} 1h"},
			{expr: `class:cacheinv_canary_overdue_reads:ratio_increase1d{<class>}`, legend: "{{class}} 1d", dashed: true},
		},
	})
	b.series(panel{
		title: "Stale share by layer", unit: "percentunit", w: 8, h: 8,
		shows:     "Share of the compared copies that are stale, overdue or not, by layer.",
		healthy:   "0, or as low as the layer's max_staleness explains.",
		otherwise: "What stands highest is the layer to begin with; one that rises with the layer below it is filled from there.",
		alerts:    []string{"CacheInvalHighStaleDataRate"},
		queries:   []query{{expr: `layer:cacheinv_canary_stale_copies:ratio{<layer>}`, legend: "{{layer}}"}},
	})
	b.table(panel{
		title: "Keys that are inconsistent", unit: "none", w: 8, h: 8,
		shows:     "Keys that the configuration names: those with a stale or undecided copy stand first. At most 50.",
		healthy:   "all consistent.",
		otherwise: "`cacheinv_exporter check --class` shows each copy of the key, and the exporter's /status since when.",
		colour:    faint, maps: []mapping{{"0", "differs", page}, {"1", "consistent", good}},
		alerts: []string{"CacheInvalDivergentKeys"},
		queries: []query{{
			expr:   `bottomk(50, min by (cluster, class, key) (last_over_time(cacheinv_canary_key_consistent{<class>}[5m])))`,
			legend: "{{class}} {{key}}",
		}},
		order:  []string{"Value", "class", "key", "cluster"},
		rename: map[string]string{"Value": "State", "class": "Class", "key": "Key", "cluster": "Cluster"},
		sort:   "State",
	})

	events(b)

	b.row("By what they are judged")
	b.series(panel{
		title: "Keys by what decided", unit: "short", w: 8, h: 7, stacked: true, decimals: cog.ToPtr(0.0),
		shows:     "Keys by what said which copy is right: the origin, a version, the primary, the majority, or nothing.",
		healthy:   "few in none.",
		otherwise: "Many in none: the class needs a version, an origin or more copies. Origin gone over to another: the origin does not answer.",
		alerts:    []string{"CacheInvalSourceDown", "CacheInvalClassNotChecked"},
		queries:   []query{{expr: sharded("reference", "reference", `cacheinv_canary_keys{<class>}`), legend: "{{reference}}"}},
	})
	b.series(panel{
		title: "Stale copies by what convicted them", unit: "short", w: 8, h: 7, stacked: true, decimals: cog.ToPtr(0.0),
		shows:     "Stale copies by the reference that they differ from; age: older than max_age.",
		healthy:   "none.",
		otherwise: "origin or version are sharp; majority may be wrong where most copies are old alike.",
		alerts:    []string{"CacheInvalHighStaleDataRate"},
		queries: []query{{
			expr:   sharded("reference", "layer, node, reference", `cacheinv_canary_convicted_copies{<class,layer,node>}`),
			legend: "{{reference}}",
		}},
	})
	b.series(panel{
		title: "Requests to the origin", unit: "cps", w: 8, h: 7,
		shows:     "Requests a second to the origin of each class, by result, of the exporter that asks most.",
		healthy:   "ok, and not_found where records are deleted.",
		otherwise: "error: without the origin copies that are all alike and wrong are not found.",
		alerts:    []string{"CacheInvalSourceDown"},
		queries:   []query{{expr: `max by (cluster, class, result) (rate(cacheinv_origin_requests_total{<class>}[5m]))`, legend: "{{class}} {{result}}"}},
	})
	b.series(panel{
		title: "Versions behind", unit: "short", w: 8, h: 7,
		shows:     "How many versions the furthest copy on each node is behind its reference.",
		healthy:   "0.",
		otherwise: "One that grows: the node misses every write. One that stays: a single lost invalidation.",
		alerts:    []string{"CacheInvalPartitionSuspected"},
		queries:   []query{{expr: newest("class, layer, node", `cacheinv_canary_version_lag_versions{<class,layer,node>}`), legend: "{{class}} {{layer}} {{node}}"}},
	})
	b.series(panel{
		title: "Seconds behind, by version", unit: "s", w: 8, h: 7,
		shows:     "How far the furthest copy is behind where versions are times; unknown where they are numbers.",
		healthy:   "0.",
		otherwise: "As for versions behind.",
		alerts:    []string{"CacheInvalPartitionSuspected"},
		queries:   []query{{expr: newest("class, layer, node", `cacheinv_canary_version_lag_seconds{<class,layer,node>}`), legend: "{{class}} {{layer}} {{node}}"}},
	})
	b.series(panel{
		title: "Versions that contradict", unit: "none", w: 8, h: 7, decimals: cog.ToPtr(0.0),
		shows:     "Keys with different content under one version, keys of which a copy is newer than the origin's answer, and versions that went down within ten minutes.",
		healthy:   "0.",
		otherwise: "Conflicts: two writers give versions. Origin behind: it answers from a cache or a replica of its own. Regressions: an old write won.",
		alerts:    []string{"CacheInvalVersionConflicts"},
		queries: []query{
			{expr: newest("class", `cacheinv_canary_version_conflict_keys{<class>}`), legend: "{{class}} conflicts"},
			{expr: newest("class", `cacheinv_canary_origin_behind_keys{<class>}`), legend: "{{class}} origin behind"},
			{expr: `max by (cluster, class) (increase(cacheinv_canary_version_regressions_total{<class>}[10m]))`, legend: "{{class}} regressions"},
		},
	})

	b.row("Deletes, expiry and placement")
	b.series(panel{
		title: "Survivors of a delete", unit: "short", w: 6, h: 7, decimals: cog.ToPtr(0.0),
		shows:     "Copies that another node of the layer has lost without a known cause.",
		healthy:   "0, or single ones for a moment.",
		otherwise: "A delete that did not reach everyone: users still get what was removed.",
		alerts:    []string{"CacheInvalStaleCopies", "CacheInvalSilentStaleness"},
		queries:   []query{{expr: copies(`cacheinv_canary_survivor_copies{<class,layer,node>}`), legend: "{{layer}} {{node}}"}},
	})
	b.series(panel{
		title: "Strays", unit: "short", w: 6, h: 7, decimals: cog.ToPtr(0.0),
		shows:     "Copies on a server of a pool that is not the key's own.",
		healthy:   "0.",
		otherwise: "Clients with another server list or hashing: their invalidations go astray, too.",
		alerts:    []string{"CacheInvalStrayCopies"},
		queries:   []query{{expr: copies(`cacheinv_canary_stray_copies{<class,layer,node>}`), legend: "{{layer}} {{node}}"}},
	})
	b.series(panel{
		title: "Copies that live too long", unit: "short", w: 6, h: 7, decimals: cog.ToPtr(0.0),
		shows:     "Copies without expiry, and copies with more left to live than the layer's TTL.",
		healthy:   "0.",
		otherwise: "Nothing corrects a lost invalidation there. Find who writes without a TTL.",
		alerts:    []string{"CacheInvalImmortalCopies"},
		queries: []query{
			{expr: copies(`cacheinv_canary_immortal_copies{<class,layer,node>}`), legend: "{{layer}} {{node}} immortal"},
			{expr: copies(`cacheinv_canary_ttl_over_limit_copies{<class,layer,node>}`), legend: "{{layer}} {{node}} over limit", dashed: true},
		},
	})
	b.series(panel{
		title: "TTL skew", unit: "s", w: 6, h: 7,
		shows:     "Largest spread of remaining TTL between the copies of one key in a layer.",
		healthy:   "small where writes reach all nodes at once; up to the TTL where each node is filled by itself.",
		otherwise: "One that grows where it was small: a node keeps what others were given anew.",
		alerts:    []string{"CacheInvalImmortalCopies"},
		queries:   []query{{expr: newest("class, layer", `cacheinv_canary_ttl_skew_seconds{<class,layer>}`), legend: "{{class}} {{layer}}"}},
	})
	b.series(panel{
		title: "Missing copies with a known cause", unit: "short", w: 12, h: 7, stacked: true, decimals: cog.ToPtr(0.0),
		shows:     "Missing copies that are no surprise, by reason: the node is loading, was restarted, hands slots over, or evicts.",
		healthy:   "0, or as much as a restart explains for one TTL.",
		otherwise: "eviction all the time: the layer is too small.",
		alerts:    []string{"CacheInvalStaleCopies", "CacheInvalSilentStaleness"},
		queries: []query{{
			expr:   sharded("reason", "layer, node, reason", `cacheinv_canary_suppressed_copies{<class,layer,node>}`),
			legend: "{{reason}}",
		}},
	})
	b.series(panel{
		title: "Time to consistency", unit: "s", w: 12, h: 7,
		shows:     "How long copies were stale that became right again within the hour: 99 of 100 no longer than this.",
		healthy:   "below the layer's max_staleness.",
		otherwise: "Near the layer's TTL: invalidations do nothing, copies only expire.",
		alerts:    []string{"CacheInvalHighStaleDataRate"},
		queries: []query{
			{expr: `class_layer:cacheinv_canary_time_to_consistency_seconds:p99_rate1h{<class,layer>}`, legend: "{{class}} {{layer}}"},
			{expr: newest("layer", `cacheinv_layer_max_staleness_seconds{<layer>}`), legend: "{{layer}} allowed", dashed: true},
		},
	})
}
