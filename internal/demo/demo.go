// Package demo is a small estate of caches with traffic, inside one process: three Redis, two memcached, three
// application instances with local caches, a database behind them and two queues of invalidations. Everything listens
// on free ports of 127.0.0.1 and nothing is installed. A scenario lets one fault begin a few seconds after the start.
//
// [Start] gives a [Demo], whose Config is the exporter's configuration over it.
package demo

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/pause"
)

// The scenarios that Start knows.
const (
	Healthy          = "healthy"
	QueueBacklog     = "queue-backlog"
	Partition        = "partition"
	InvalidationLoop = "invalidation-loop"
	VersionDrift     = "version-drift"
)

// Scenarios lists the names that Start accepts, the default first.
func Scenarios() []string {
	return []string{Healthy, QueueBacklog, Partition, InvalidationLoop, VersionDrift}
}

// What the application sets and its design allows; the configuration says the same to the exporter.
const (
	l1TTL = time.Minute
	l2TTL = time.Hour
	l3TTL = 24 * time.Hour

	faultAfter = 5 * time.Second
	// queueFaultShows so long after it begins: a backlog of some 2,000 messages, or a loop in most of the newest.
	queueFaultShows = 2 * time.Second
)

// Demo is a running estate.
type Demo struct {
	scenario string
	logger   *slog.Logger

	db        *database
	apps      []*app
	redis     []*redisServer
	memcached []*memcachedServer
	site      *site
	queues    *queues

	stop    context.CancelFunc
	running sync.WaitGroup
	closing sync.Once
	closers []func()
}

// Start runs the estate with its traffic until ctx ends; Close must be called either way. The scenario's fault begins
// about five seconds later and is logged once it shows, as fault=begins with the scenario and the affected nodes.
func Start(ctx context.Context, scenario string, logger *slog.Logger) (*Demo, error) {
	if !slices.Contains(Scenarios(), scenario) {
		return nil, fmt.Errorf("no scenario is called %q; the scenarios are %s", scenario, strings.Join(Scenarios(), ", "))
	}
	ctx, stop := context.WithCancel(ctx)
	d := &Demo{scenario: scenario, logger: logger, stop: stop}
	if err := d.open(ctx); err != nil {
		d.Close()
		return nil, fmt.Errorf("demo: %w", err)
	}
	d.site.fillAll()
	d.traffic(ctx)
	return d, nil
}

// open starts the servers; what was started is in closers, also where an error ends it.
func (d *Demo) open(ctx context.Context) error {
	d.site = newSite()
	var l1, l2, l3 []cache
	for i := range 3 {
		s, err := startRedis(fmt.Sprintf("redis-%d", i+1))
		if err != nil {
			return err
		}
		d.closers = append(d.closers, s.close)
		d.redis, l2 = append(d.redis, s), append(l2, s)
	}
	for i := range 2 {
		s, err := startMemcached(fmt.Sprintf("memcached-%d", i+1))
		if err != nil {
			return err
		}
		d.closers = append(d.closers, s.close)
		d.memcached, l3 = append(d.memcached, s), append(l3, s)
	}
	for i := range 3 {
		a, err := startApp(fmt.Sprintf("app-%d", i+1), d.logger)
		if err != nil {
			return err
		}
		d.closers = append(d.closers, a.close)
		d.apps, l1 = append(d.apps, a), append(l1, a)
	}
	d.site.layers = []layer{{ttl: l1TTL, caches: l1}, {ttl: l2TTL, caches: l2}, {ttl: l3TTL, caches: l3}}
	db, err := startDatabase(d.site, d.logger)
	if err != nil {
		return err
	}
	d.closers = append(d.closers, db.close)
	d.db = db
	q, err := startQueues(ctx, d.redis[0])
	if err != nil {
		return err
	}
	d.closers = append(d.closers, q.close)
	d.queues = q
	return nil
}

// traffic starts everything that moves.
func (d *Demo) traffic(ctx context.Context) {
	for _, run := range []func(context.Context){
		d.write, d.read, d.queues.consumeTopic, d.queues.consumeList, d.queues.trim, d.direct,
	} {
		d.running.Go(func() { run(ctx) })
	}
}

// Close ends the traffic and all servers, and waits for them. It may be called more than once.
func (d *Demo) Close() {
	d.closing.Do(func() {
		d.stop()
		d.running.Wait()
		for _, c := range slices.Backward(d.closers) {
			c()
		}
	})
}

// direct lets the scenario's fault begin.
func (d *Demo) direct(ctx context.Context) {
	if d.scenario == Healthy || !pause.For(ctx, faultAfter) {
		return
	}
	var nodes []string
	shows := time.Duration(0) // so long after it begins
	switch d.scenario {
	case QueueBacklog:
		shows = queueFaultShows
		d.queues.slow.Store(true)
		d.running.Go(func() { d.queues.flood(ctx) })
	case InvalidationLoop:
		shows = queueFaultShows
		d.queues.startLoop(ctx, d.site.message(loopKey))
	case Partition:
		nodes = []string{"redis-3", "memcached-2"}
		d.site.cutOff(nodes, false)
	case VersionDrift:
		nodes = []string{"app-3"}
		d.apps[2].version.Store(&olderVersion)
		d.site.cutOff(nodes, true)
	}
	if len(nodes) > 0 && !d.awaitOverwritten(ctx, nodes) || !pause.For(ctx, shows) {
		return
	}
	d.logger.Warn("fault", "scenario", d.scenario, "fault", "begins", "nodes", strings.Join(nodes, ","))
}

// awaitOverwritten waits until each node holds a copy that was overwritten elsewhere, and then a second more: a scrape
// just after the log line may still be given the answer of one just before it.
func (d *Demo) awaitOverwritten(ctx context.Context, nodes []string) bool {
	for !d.site.overwritten(nodes) {
		if !pause.For(ctx, 20*time.Millisecond) {
			return false
		}
	}
	return pause.For(ctx, time.Second)
}

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
	p("queues:")
	messageBlock := "message: {key: \"$.key\", version: \"$.version\", timestamp_ms: \"$.ts\"}, target_rate: 1000/m"
	p("  - {name: %s, redis: {node: %s, list: %s}, capacity: %d, %s}", listQueue, d.redis[0].name, listQueue, listCapacity, messageBlock)
	p("  - {name: %s, kafka: {brokers: [\"%s\"], topics: [%s], groups: [%s]}, %s}",
		topic, strings.Join(d.queues.brokers, `", "`), topic, group, messageBlock)
	p("canaries:")
	p("  - class: user_profile\n    keys:")
	for i := range 20 {
		p("      - \"%s\"", userKey(i+1))
	}
	p("    pattern: \"user:*:profile\"\n    sample: 50\n    match: \"^user:(?P<id>[^:]+):profile$\"\n    layers: [l1, l2, l3]")
	p("    version: {json: \"$.version\"}")
	p("    origin: {http: {url: \"http://%s/api/users/{id}\"}, max_per_scrape: 50}", d.db.addr())
	p("  - class: product_price\n    keys:")
	for i := range 10 {
		p("      - \"%s\"", productKey(i+1))
	}
	p("    pattern: \"product:*:price\"\n    sample: 50\n    layers: [l1, l2, l3]")
	p("versions:\n  - app: web\n    nodes:")
	for _, a := range d.apps {
		p("      %s: \"http://%s/cache/version\"", a.name, a.addr())
	}
	return []byte(b.String())
}

// yamlDuration writes whole hours, minutes or seconds.
func yamlDuration(d time.Duration) string {
	if d%time.Hour == 0 {
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%ds", d/time.Second)
}

var lookAt = map[string]string{
	Healthy: `Nothing is wrong here, and nothing should say so:
  cacheinv_canary_copies{state="stale"}     0 on every node
  cacheinv_canary_copies{state="fresh"}     the copies that agree
  cacheinv_node_hits_total                  with _misses_total: each node's hit rate
  cacheinv_queue_depth                      close to 0
  cacheinv_cause_score                      no cause above 0.2`,
	QueueBacklog: `Invalidations arrive at 1,000/s, and are processed at 234/min:
  cacheinv_queue_depth                      passes 5,000 within half a minute
  cacheinv_consumer_group_lag               by partition of ` + topic + `
  cacheinv_consumer_group_lag_seconds       how old the oldest message is that waits
  cacheinv_consumer_group_processed_total   its rate against that of cacheinv_queue_enqueued_total
  cacheinv_cause_score{cause="queue"}       above 0.2 from the second scrape on`,
	Partition: `Writes no longer reach redis-3 and memcached-2, which go on serving what they have:
  cacheinv_canary_copies{state="stale"}     above 0 on these two nodes alone
  cacheinv_canary_overdue_copies            the same, once 5 seconds have passed
  cacheinv_canary_oldest_stale_seconds      for how long
  cacheinv_canary_version_lag_versions      how far behind
  cacheinv_cause_score{cause="network"}     above 0.2 from the second scrape on`,
	InvalidationLoop: `A consumer publishes the invalidation of ` + loopKey + ` again and again:
  cacheinv_queue_enqueued_total             some hundred a second, while the depth stays low
  cacheinv_consumer_group_processed_total   moves as fast
  cacheinv_queue_sampled_repeats            messages that repeat a key without a higher version; the log names the key
  cacheinv_canary_copies{state="stale"}     0: no copy is wrong
  cacheinv_cause_score{cause="logic"}       above 0.2 from the second scrape on`,
	VersionDrift: `app-3 runs an older version, which ignores invalidations:
  cacheinv_app_version_info                 2.2.9 on app-3, 2.3.1 elsewhere
  cacheinv_app_distinct_versions            2
  cacheinv_canary_copies{state="stale"}     above 0 on app-3 alone
  cacheinv_cause_score{cause="version"}     above 0.2 from the second scrape on`,
}

// Intro tells what to open and what to look at; exporterURL is the exporter's root, such as http://127.0.0.1:10120.
func (d *Demo) Intro(exporterURL string) string {
	u := strings.TrimSuffix(exporterURL, "/")
	var b strings.Builder
	fmt.Fprintf(&b, "Scenario %s. Open %s/metrics, and %s/status for what it points to.\n", d.scenario, u, u)
	if d.scenario != Healthy {
		fmt.Fprintf(&b, "The fault begins in a few seconds; the log says so (fault=begins).\n")
	}
	fmt.Fprintf(&b, "%s\nPress Ctrl-C to end it.\n", lookAt[d.scenario])
	return b.String()
}
