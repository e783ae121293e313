package main

import "github.com/grafana/grafana-foundation-sdk/go/cog"

// exporter is for the question whether the exporter sees what it should.
func exporter(b *board) {
	b.uid, b.title = "cacheinv-exporter", "Cache invalidation: exporter health"
	b.about = "Whether the exporter runs, what it reaches, what it costs. A blind exporter is no healthy estate."
	b.variables = []string{"cluster", "instance", "class", "layer", "node"}

	b.row("Does it see")
	b.stat(panel{
		title: "Exporters", unit: "none", w: 6, h: 4,
		shows:     "Whether Prometheus reaches each exporter. A click leads to its page /status.",
		healthy:   "all up.",
		otherwise: "Its process and log; then the way from Prometheus to it.",
		colour:    faint, maps: upDown, alerts: []string{"CacheInvalExporterDown", "CacheInvalExporterAbsent", "CacheInvalExporterInstanceDown"},
		links:   map[string]string{"Status page of ${__field.labels.instance}": "http://${__field.labels.instance}/status"},
		queries: []query{{expr: `max by (cluster, instance) (up{job="cacheinv_exporter",<instance>})`, legend: "{{instance}}"}},
	})
	b.stat(panel{
		title: "Configuration", unit: "none", w: 6, h: 4,
		shows:     "Whether the last attempt to load the configuration succeeded.",
		healthy:   "loaded.",
		otherwise: "The one before is still in use. `cacheinv_exporter check-config` names the line.",
		colour:    faint, maps: []mapping{{"0", "refused", ticket}, {"1", "loaded", good}}, alerts: []string{"CacheInvalReloadFailed"},
		queries: []query{{expr: `min by (cluster, instance) (last_over_time(cacheinv_config_last_reload_successful{<instance>}[5m]))`, legend: "{{instance}}"}},
	})
	b.stat(panel{
		title: "Configuration in use for", unit: "s", w: 6, h: 4, decimals: cog.ToPtr(0.0),
		shows:     "Time since the configuration in use was loaded.",
		healthy:   "since the last change that you know of.",
		otherwise: "Longer than that: the reload did not reach the process.",
		alerts:    []string{"CacheInvalReloadFailed"},
		queries:   []query{{expr: `time() - max by (cluster, instance) (last_over_time(cacheinv_config_last_reload_success_timestamp_seconds{<instance>}[5m]))`, legend: "{{instance}}"}},
	})
	b.stat(panel{
		title: "Copies compared", unit: "short", w: 6, h: 4,
		shows:     "Copies that were compared with another, by class.",
		healthy:   "a number that hardly changes.",
		otherwise: "0 or unknown: the class is not checked. Keys are missing everywhere, cannot be read, or stand on one node alone.",
		colour:    neutral, maps: []mapping{{"0", "", page}}, alerts: []string{"CacheInvalNothingChecked", "CacheInvalClassNotChecked"},
		queries: []query{{expr: `sum by (cluster, class) (class_layer:cacheinv_canary_compared_copies:sum{<class,layer>})`, legend: "{{class}}"}},
	})
	b.stat(panel{
		title: "Labels hidden by targets", unit: "none", w: 4, h: 5, decimals: cog.ToPtr(0.0),
		shows:     "Series of nodes whose labels were renamed to exported_node, exported_layer or exported_kind, since the target has labels of these names.",
		healthy:   "0.",
		otherwise: "What differs in such a label looks like one, on these dashboards and to the alerts: set honor_labels: true (honorLabels of a ServiceMonitor), or drop the label of the target.",
		colour:    ticket, maps: zeroIsGood, alerts: []string{"CacheInvalLabelsRenamed"},
		queries: []query{{
			expr: `count(cacheinv_node_up{exported_node!="",<cluster>} or cacheinv_node_up{exported_layer!="",<cluster>} or cacheinv_node_up{exported_kind!="",<cluster>})
or 0 * count(cacheinv_node_up{<cluster>})`,
			legend: "series",
		}},
	})
	b.stat(panel{
		title: "Nodes that refuse", unit: "none", w: 6, h: 5, decimals: cog.ToPtr(0.0),
		shows:     "Cache nodes that answer, and refuse what the exporter asks (a wrong password, a missing right, too many clients), by layer.",
		healthy:   "0 in each layer.",
		otherwise: "Their copies are unknown, though nothing is wrong with the way there: the log of the exporter has the node's own words.",
		colour:    ticket, maps: zeroIsGood, alerts: []string{"CacheInvalNodeUnreachable"},
		queries: []query{{expr: `sum by (cluster, layer) (` + newest("layer, node", `cacheinv_node_refused{<layer,node>}`) + `)`, legend: "{{layer}}"}},
	})
	b.stat(panel{
		title: "Collectors", unit: "none", w: 14, h: 5,
		shows:     "Whether every target of each collector answered in the last sampling.",
		healthy:   "all ok.",
		otherwise: "The exporter's log names the target and why. What it could not ask is absent, not healthy.",
		colour:    faint, maps: yesNo, alerts: []string{"CacheInvalCollectorFailing"},
		queries: []query{{expr: newest("collector", `cacheinv_collector_success{<instance>}`), legend: "{{collector}}"}},
	})
	b.table(panel{
		title: "Builds", unit: "none", w: 24, h: 4,
		shows:     "Version and revision that each exporter runs.",
		healthy:   "one version.",
		otherwise: "Finish the upgrade: two exporters side by side should agree on what they count.",
		colour:    faint, alerts: []string{"CacheInvalExporterInstanceDown"},
		queries: []query{{expr: `max by (cluster, instance, version, revision, goversion) (cacheinv_build_info{<instance>})`, legend: "{{instance}}"}},
		hide:    []string{"Value"},
		order:   []string{"instance", "version", "revision", "goversion", "cluster"},
		rename:  map[string]string{"instance": "Exporter", "version": "Version", "revision": "Revision", "goversion": "Go", "cluster": "Cluster"},
		sort:    "Exporter",
	})

	b.row("How long it takes")
	b.series(panel{
		title: "Scrape duration", unit: "s", w: 8, h: 8,
		shows:     "Time that Prometheus waits for each exporter.",
		healthy:   "well below a second; up to the scrape timeout where a node hangs.",
		otherwise: "Beside it is which collector and which node take the time.",
		limits:    []limit{b.tickets("CacheInvalExporterSlow", "scrape_duration_seconds")},
		queries:   []query{{expr: `max by (cluster, instance) (scrape_duration_seconds{job="cacheinv_exporter",<instance>})`, legend: "{{instance}}"}},
	})
	b.series(panel{
		title: "Time by collector", unit: "s", w: 8, h: 8,
		shows:     "Time that each collector needed in the last sampling; they run side by side.",
		healthy:   "below a second.",
		otherwise: "At the scrape's timeout: one of its targets does not answer.",
		alerts:    []string{"CacheInvalExporterSlow", "CacheInvalCollectorFailing"},
		queries:   []query{{expr: newest("collector", `cacheinv_collector_duration_seconds{<instance>}`), legend: "{{collector}}"}},
	})
	b.series(panel{
		title: "Time by node", unit: "s", w: 8, h: 8,
		shows:     "Time that asking each node and reading its keys needed, of the 10 slowest.",
		healthy:   "milliseconds, and alike within a layer.",
		otherwise: "One that stands out is loaded, far away or hangs.",
		alerts:    []string{"CacheInvalExporterSlow", "CacheInvalNodeUnreachable"},
		queries:   []query{{expr: `topk(10, ` + newest("layer, node", `cacheinv_node_scrape_duration_seconds{<instance,layer,node>}`) + `)`, legend: "{{layer}} {{node}}"}},
	})

	b.row("What it asks")
	b.series(panel{
		title: "Copies read", unit: "cps", w: 8, h: 7, stacked: true,
		shows:     "Copies that an exporter reads a second, by the state that they were in; of several exporters the one that reads most.",
		healthy:   "steady, mostly fresh.",
		otherwise: "A drop to nothing: no samplings, or no keys.",
		alerts:    []string{"CacheInvalNothingChecked"},
		colours:   stateColours,
		queries:   []query{{expr: `sum by (cluster, state) (max by (cluster, class, layer, node, state, shard) (rate(cacheinv_canary_reads_total{<instance,class,layer,node>}[$__rate_interval])))`, legend: "{{state}}"}},
	})
	b.series(panel{
		title: "Own reads that nodes count", unit: "cps", w: 8, h: 7,
		shows:     "Reads of all exporters that nodes count as hits and misses; the hit rate leaves them out.",
		healthy:   "small beside the applications' reads.",
		otherwise: "Fewer canaries, or scrapes less often.",
		alerts:    []string{"CacheInvalHitRatioCollapse"},
		queries:   []query{{expr: `sum by (cluster, layer, result) (rate(cacheinv_node_own_reads_total{<instance,layer,node>}[5m]))`, legend: "{{layer}} {{result}}"}},
	})
	b.series(panel{
		title: "Reads that filled an edge", unit: "cps", w: 8, h: 7,
		shows:     "Reads of an exporter that an edge answered from its origin; unknown without edges.",
		healthy:   "0.",
		otherwise: "The edge ignores only-if-cached: such reads warm it, and hide that copies were missing.",
		alerts:    []string{"CacheInvalHitRatioCollapse"},
		queries:   []query{{expr: `max by (cluster, layer, node) (rate(cacheinv_node_fills_total{<instance,layer,node>}[5m]))`, legend: "{{layer}} {{node}}"}},
	})
	b.series(panel{
		title: "Keys from patterns", unit: "short", w: 8, h: 7, decimals: cog.ToPtr(0.0),
		shows:     "Keys that were read because they match the class's pattern.",
		healthy:   "the class's sample.",
		otherwise: "0 where a pattern is configured: nothing matches, or keys cannot be listed.",
		alerts:    []string{"CacheInvalClassNotChecked"},
		queries:   []query{{expr: `max by (cluster, instance, class) (last_over_time(cacheinv_canary_sampled_keys{<instance,class>}[5m]))`, legend: "{{instance}} {{class}}"}},
	})
	b.series(panel{
		title: "Nodes of groups", unit: "none", w: 8, h: 7, decimals: cog.ToPtr(0.0),
		shows:     "Nodes that are known of each group which finds its nodes by itself, how many are expected (min_nodes), how many left what names them and are asked for a while yet, and how many addresses are announced and never answered.",
		healthy:   "as many as run, none announced in vain.",
		otherwise: "Fewer than expected: they crashed, or left their DNS name or cluster. Announced in vain: gone and not forgotten, or out of the exporter's reach.",
		alerts:    []string{"CacheInvalGroupIncomplete"},
		queries: []query{
			{expr: newest("layer, group", `cacheinv_group_nodes{<layer>}`), legend: "{{layer}} {{group}}"},
			{expr: newest("layer, group", `cacheinv_group_expected_nodes{<layer>}`), legend: "{{layer}} {{group}} expected", dashed: true},
			{expr: `sum by (cluster, layer) (` + newest("layer, node", `cacheinv_node_left{<layer,node>}`) + `)`, legend: "{{layer}} left"},
			{expr: newest("layer, group", `cacheinv_group_unreached_addresses{<layer>}`), legend: "{{layer}} {{group}} never answered"},
		},
	})
	b.series(panel{
		title: "Series in a scrape", unit: "short", w: 8, h: 7, decimals: cog.ToPtr(0.0),
		shows:     "Samples that a scrape gave.",
		healthy:   "steady.",
		otherwise: "A drop: collectors fail. Growth without end: too many keys with a series of their own.",
		alerts:    []string{"CacheInvalCollectorFailing"},
		queries:   []query{{expr: `max by (cluster, instance) (scrape_samples_scraped{job="cacheinv_exporter",<instance>})`, legend: "{{instance}}"}},
	})

	b.row("What it costs")
	b.series(panel{
		title: "Memory", unit: "bytes", w: 8, h: 7,
		shows:     "Resident memory of each exporter.",
		healthy:   "steady.",
		otherwise: "Growth without end is a fault: keep a heap profile and report it.",
		alerts:    []string{"CacheInvalExporterDown"},
		queries:   []query{{expr: `max by (cluster, instance) (process_resident_memory_bytes{job="cacheinv_exporter",<instance>})`, legend: "{{instance}}"}},
	})
	b.series(panel{
		title: "CPU", unit: "percentunit", w: 8, h: 7,
		shows:     "Share of one core that each exporter uses.",
		healthy:   "a few percent.",
		otherwise: "Fewer keys, or scrapes less often.",
		alerts:    []string{"CacheInvalExporterSlow"},
		queries:   []query{{expr: `max by (cluster, instance) (rate(process_cpu_seconds_total{job="cacheinv_exporter",<instance>}[$__rate_interval]))`, legend: "{{instance}}"}},
	})
	b.series(panel{
		title: "Goroutines and open files", unit: "short", w: 8, h: 7, decimals: cog.ToPtr(0.0),
		shows:     "Goroutines and open files of each exporter.",
		healthy:   "steady.",
		otherwise: "Growth without end is a fault: report it.",
		alerts:    []string{"CacheInvalExporterDown"},
		queries: []query{
			{expr: `max by (cluster, instance) (go_goroutines{job="cacheinv_exporter",<instance>})`, legend: "{{instance}} goroutines"},
			{expr: `max by (cluster, instance) (process_open_fds{job="cacheinv_exporter",<instance>})`, legend: "{{instance}} files"},
		},
	})
}
