// Package demo is a small estate of caches with traffic, inside one process: three Redis, two memcached, three
// application instances with local caches, a database behind them and two queues of invalidations. Beside them are a Redis with a
// replica that holds sessions, with a stream of invalidations and a probe of its own, and two edges and a memcached pool that hold
// pages. Everything listens on free ports of 127.0.0.1 and nothing is installed. A scenario lets one fault begin a few seconds after
// the start.
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
	StaleSet         = "stale-set"
	DeafInstance     = "deaf-instance"
)

// Scenarios lists the names that Start accepts, the default first.
func Scenarios() []string {
	return []string{Healthy, QueueBacklog, Partition, InvalidationLoop, VersionDrift, StaleSet, DeafInstance}
}

// What the application sets and its design allows; the configuration says the same to the exporter.
const (
	l1TTL = time.Minute
	l2TTL = time.Hour
	l3TTL = 24 * time.Hour

	sessionTTL = time.Hour
	pageTTL    = time.Hour
	edgeTTL    = 5 * time.Minute

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
	hearings  []*hearing // by instance
	redis     []*redisServer
	memcached []*memcachedServer
	site      *site
	queues    *queues

	pair      *redisServer // the primary
	edges     []*edge
	pool      pool
	processor *processor
	sessions  *sessions

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
	for range d.apps {
		h := hear(d.redis[0])
		d.closers = append(d.closers, h.close)
		d.hearings = append(d.hearings, h)
	}
	records := []string{"user", "product"}
	d.site.layers = []layer{
		{ttl: l1TTL, caches: l1, kinds: records}, {ttl: l2TTL, caches: l2, kinds: records}, {ttl: l3TTL, caches: l3, kinds: records},
	}
	if err := d.openPages(); err != nil {
		return err
	}
	db, err := startDatabase(d.site, d.logger)
	if err != nil {
		return err
	}
	d.closers = append(d.closers, db.close)
	d.db = db
	d.processor, err = startProcessor(d.logger)
	if err != nil {
		return err
	}
	d.closers = append(d.closers, d.processor.close)
	q, err := startQueues(ctx, d.redis[0], d.processor)
	if err != nil {
		return err
	}
	d.closers = append(d.closers, q.close)
	d.queues = q
	return d.openSessions(ctx)
}

// openPages starts what holds pages: edges, and a pool behind them.
func (d *Demo) openPages() error {
	var caches []cache
	for i := range 2 {
		e, err := startEdge(fmt.Sprintf("pop-%d", i+1), d.site, d.logger)
		if err != nil {
			return err
		}
		d.closers = append(d.closers, e.close)
		d.edges, caches = append(d.edges, e), append(caches, e)
		s, err := startMemcached(fmt.Sprintf("pool-%d", i+1))
		if err != nil {
			return err
		}
		d.closers = append(d.closers, s.close)
		d.pool = append(d.pool, s)
	}
	d.site.layers = append(d.site.layers,
		layer{ttl: edgeTTL, caches: caches, kinds: []string{"page"}}, layer{ttl: pageTTL, caches: []cache{d.pool}, kinds: []string{"page"}})
	return nil
}

// openSessions starts the pair that holds sessions; their invalidations are in a stream of the first Redis.
func (d *Demo) openSessions(ctx context.Context) error {
	primary, replica, err := startPair("session-1", "session-2")
	if err != nil {
		return err
	}
	d.closers = append(d.closers, replica.close, primary.close) // the primary first, which writes to the replica
	d.pair = primary
	d.site.layers = append(d.site.layers, layer{ttl: sessionTTL, caches: []cache{primary}, kinds: []string{"session"}})
	d.sessions, err = openSessions(ctx, d.redis[0], primary, d.processor)
	if err != nil {
		return err
	}
	d.closers = append(d.closers, d.sessions.close)
	return nil
}

// traffic starts everything that moves.
func (d *Demo) traffic(ctx context.Context) {
	for _, run := range []func(context.Context){
		d.write, d.read, d.queues.consumeTopic, d.queues.consumeList, d.queues.trim, d.sessions.consume, d.direct,
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
	case StaleSet:
		restored := make(chan struct{})
		d.running.Go(func() { d.readSlowly(ctx, slowEvery, slowReads, func() { close(restored) }) })
		select {
		case <-restored:
		case <-ctx.Done():
		}
	case DeafInstance:
		nodes = []string{"app-3"}
		d.hearings[2].close()
		d.site.cutOff(nodes, false)
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

var lookAt = map[string]string{
	Healthy: `Nothing is wrong here, and nothing should say so:
  cacheinv_canary_copies{state="stale"}     0 on every node
  cacheinv_canary_copies{state="fresh"}     the copies that agree
  cacheinv_node_hits_total                  with _misses_total: each node's hit rate
  cacheinv_queue_depth                      close to 0
  cacheinv_cause_score                      no cause above 0.2`,
	QueueBacklog: `Invalidations arrive in the topic at 1,000/s, and are processed at 234/min:
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
	StaleSet: `Half a minute after users were changed, a slow reader stores what it read of them before:
  cacheinv_event_checks_total               result="restored" grows at window="45s", not at the promise of 10s
  cacheinv_canary_copies{state="stale"}     above 0 on all Redis and memcached servers, and on no instance
  cacheinv_canary_overdue_copies            the same, once 5 seconds have passed
  cacheinv_cause_score{cause="logic"}       above 0.2 from a minute on; /status names the keys`,
	DeafInstance: `app-3 no longer listens to ` + channel + `, and goes on serving what it has:
  cacheinv_queue_subscribers                2, where cacheinv_queue_expected_subscribers is 3
  cacheinv_event_copy_checks_total          result="survived" grows on app-3 alone
  cacheinv_canary_copies{state="stale"}     above 0 on app-3 alone
  cacheinv_cause_score{cause="network"}     above 0.2 once what it missed is 10 seconds old; "queue" from the second scrape on`,
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
