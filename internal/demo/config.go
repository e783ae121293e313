package demo

import (
	"fmt"
	"strings"
	"time"
)

// Config is the exporter's configuration over this estate, as YAML.
func (d *Demo) Config() []byte {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p("# The demo's caches, queues and application instances; all of them live inside the demo's process.")
	p("layers:")
	p("  - name: l1\n    ttl: %s\n    max_staleness: 5s\n    nodes:", yamlDuration(l1TTL))
	for _, a := range d.apps {
		p("      - name: %s\n        http:", a.name)
		p("          url: \"http://%s/cache/entries/{key}\"\n          ttl_from_headers: true", a.addr())
		p("          stats: {url: \"http://%s/cache/stats\", hits: \"$.hits\", misses: \"$.misses\", evicted: \"$.evicted\","+
			" items: \"$.size\", uptime_seconds: \"$.uptime\"}", a.addr())
	}
	p("  - name: l2\n    ttl: %s\n    max_staleness: 5s\n    nodes:", yamlDuration(l2TTL))
	for _, s := range d.redis {
		p("      - {name: %s, redis: {address: \"redis://%s/0\"}}", s.name, s.addr())
	}
	p("  - name: l3\n    ttl: %s\n    max_staleness: 5s\n    nodes:", yamlDuration(l3TTL))
	for _, s := range d.memcached {
		p("      - {name: %s, memcached: {address: \"%s\"}}", s.name, s.addr())
	}
	d.extraLayers(p)
	p("queues:")
	messageBlock := "message: {key: \"$.key\", version: \"$.version\", timestamp_ms: \"$.ts\"}, target_rate: 1000/m"
	p("  - {name: %s, redis: {node: %s, list: %s}, capacity: %d, %s}", listQueue, d.redis[0].name, listQueue, listCapacity, messageBlock)
	p("  - {name: %s, kafka: {brokers: [\"%s\"], topics: [%s], groups: [%s]}, %s}",
		topic, strings.Join(d.queues.brokers, `", "`), topic, group, messageBlock)
	p("  - {name: %s, redis: {node: %s, stream: %s, groups: [%s]}, capacity: %d}",
		sessionStream, d.redis[0].name, sessionStream, sessionGroup, listCapacity)
	p("  - {name: %s, redis: {node: %s, channel: %s}, app: web, message: {key: \"$.key\", version: \"$.version\", timestamp_ms: \"$.ts\"}}",
		channel, d.redis[0].name, channel)
	p("history:\n  - {name: processor, http: {url: \"http://%s/stats\", succeeded: \"$.succeeded\", failed: \"$.failed\"}}", d.processor.addr())
	p("canaries:")
	p("  - class: user_profile\n    keys:")
	for i := range 20 {
		p("      - \"%s\"", userKey(i+1))
	}
	p("    pattern: \"user:*:profile\"\n    sample: 50\n    match: \"^user:(?P<id>[^:]+):profile$\"\n    layers: [l1, l2, l3]")
	p("    version: {json: \"$.version\"}")
	p("    origin: {http: {url: \"http://%s/api/users/{id}\"}, max_per_scrape: 50}", d.db.addr())
	p("    events: {queue: %s, within: 10s, windows: [10s, 45s]}", channel)
	p("  - class: product_price\n    keys:")
	for i := range 10 {
		p("      - \"%s\"", productKey(i+1))
	}
	p("    pattern: \"product:*:price\"\n    sample: 50\n    layers: [l1, l2, l3]")
	p("  - class: session\n    keys: [\"%s\", \"%s\"]\n    pattern: \"session:*\"\n    sample: 20\n    layers: [sessions]", sessionKey(1), sessionKey(2))
	p("    version: {json: \"$.at\", kind: timestamp_ms}")
	p("    match: \"^session:(?P<id>.+)$\"\n    origin: {http: {url: \"http://%s/api/sessions/{id}\"}, max_per_scrape: 50}", d.db.addr())
	p("  - class: page\n    keys:")
	for i := range pages {
		p("      - \"%s\"", pageKey(i+1))
	}
	p("    match: \"^page:\"\n    layers: [edge, fragments]\n    version: {json: \"$.version\"}")
	p("    events: {queue: %s, within: 10s}", topic)
	p("versions:\n  - app: web\n    nodes:")
	for _, a := range d.apps {
		p("      %s: \"http://%s/cache/version\"", a.name, a.addr())
	}
	p("invalidation_probes:\n  - name: end_to_end\n    interval: 5s\n    timeout: 5s\n    layers: [sessions]\n    key: \"%s{id}\"", probeKeys)
	p("    publish: {redis: {node: %s, stream: %s}, message: '{\"key\":\"{key}\",\"version\":{version},\"ts\":{timestamp_ms}}'}",
		d.redis[0].name, sessionStream)
	return []byte(b.String())
}

// yamlDuration writes whole hours, minutes or seconds.
func yamlDuration(d time.Duration) string {
	if d%time.Hour == 0 {
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%ds", d/time.Second)
}

// extraLayers are those beside the three of users and products.
func (d *Demo) extraLayers(p func(format string, args ...any)) {
	p("  - name: sessions\n    ttl: %s\n    max_staleness: 5s\n    nodes:", yamlDuration(sessionTTL))
	// Both, so that both are nodes from the first scrape on; one would do.
	p("      - {name: pair, redis: {replication: [\"%s\", \"%s\"]}, min_nodes: 2}", d.pair.addr(), d.pair.link.replica.addr())
	p("  - name: edge\n    ttl: %s\n    max_staleness: 5s\n    nodes:", yamlDuration(edgeTTL))
	for _, e := range d.edges {
		p("      - {name: %s, http: {url: \"http://%s/{key}\", ttl_from_headers: true}}", e.name, e.addr())
	}
	p("  - name: fragments\n    ttl: %s\n    max_staleness: 5s\n    nodes:", yamlDuration(pageTTL))
	var servers []string
	for _, s := range d.pool {
		servers = append(servers, `"`+s.addr()+`"`)
	}
	p("      - {name: pool, memcached: {servers: [%s], hashing: gomemcache}}", strings.Join(servers, ", "))
}
