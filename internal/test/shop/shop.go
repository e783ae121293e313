// Package shop is an application for tests, with real caches, its database and its queues of invalidations, all of it
// under load. Writers change the database and publish an invalidation; the processor deletes the key on every node;
// readers fill it again. What goes wrong in it is switched on while it runs.
//
// [Open] starts a [Shop]; its methods let faults begin.
package shop

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

const (
	// Canaries are the keys that the exporter's configuration names: Key(0) to Key(Canaries-1).
	Canaries = 40
	// Group processes the topic.
	Group = "inv-processors"

	listKey = "invalidation_queue"
	// ttl is long enough that nothing expires while a test runs.
	ttl = time.Hour
	// Release that all instances run at first.
	Release = "2.3.1"
)

// Options of a Shop. The zero value has three Redis, two memcached and a list of invalidations.
type Options struct {
	// Kafka has each invalidation published to a topic as well, of a broker of the shop's own where Broker is nil.
	Kafka  bool
	Broker *servers.KafkaServer
	// Topic at the broker; without it cache-invalidation.
	Topic string
	// Unlisted keeps the list from the exporter, so that the topic alone is watched.
	Unlisted bool
	// Keys in the database, of which the first are canaries; 0: the canaries alone.
	Keys int
	// Local gives each instance of the application a cache of its own, layer l1.
	Local bool
	// Origin lets the exporter ask the database.
	Origin bool
	// Reads a second; 0: three times as many as changes, if that is not too many.
	Reads int
	// Batch lets the processor take many invalidations at once, so that it keeps up on a busy machine. One that is Slow does not.
	Batch bool
	// Redis and Memcached are arguments of the caches' servers.
	Redis, Memcached []string
}

// Shop is the application with all that belongs to it.
type Shop struct {
	t   testing.TB
	opt Options
	// L2 and L3 are where the exporter looks; the application reaches the same servers through Doors, by the node's name.
	L2    []*servers.RedisServer
	L3    []*servers.Process
	Doors map[string]*servers.Proxy
	// Cut nodes are given up by the application.
	Cut map[string]*atomic.Bool
	// Queue holds the list.
	Queue *servers.RedisServer
	// Broker, if there is one, carries each invalidation a second time, in Topic.
	Broker *servers.KafkaServer
	Topic  string

	caches   caches
	producer *kgo.Client
	db       []record
	apps     []*appInstance
	origin   string
	batch    int64 // invalidations that the processor takes at once
	// trading ends with the shop.
	trading sync.WaitGroup
	stop    chan struct{}

	// Succeeded and Failed invalidations, and Written changes of the database.
	Succeeded, Failed, Written atomic.Int64
	// Failing invalidations of each hundred, and Missing ones that do not reach one of the nodes; Forgotten changes of
	// each hundred are not published at all.
	Failing, Missing, Forgotten atomic.Int64
	// Slow is the time that a processor needs for each invalidation, in nanoseconds.
	Slow atomic.Int64
	// Looping invalidations are published again.
	Looping atomic.Bool
	// Paused: nobody changes the database.
	Paused atomic.Bool
	// Stalled consumers of the topic stay in their group and commit nothing.
	Stalled atomic.Bool
}

// record of the database.
type record struct {
	// mu keeps a reader from filling in what a writer has just made old.
	mu      sync.Mutex
	version int64
	// next is the key whose invalidation follows from this one's; nil: none.
	next atomic.Pointer[string]
}

// Open a shop, with its caches filled.
func Open(t testing.TB, opt Options) *Shop {
	t.Helper()
	opt.Keys = max(opt.Keys, Canaries)
	s := &Shop{
		t: t, opt: opt, Doors: map[string]*servers.Proxy{}, Cut: map[string]*atomic.Bool{}, caches: caches{},
		Queue: servers.Redis(t), db: make([]record, opt.Keys), stop: make(chan struct{}),
	}
	for i := range 3 {
		r := servers.Redis(t, opt.Redis...)
		s.L2 = append(s.L2, r)
		client := redis.NewClient(&redis.Options{
			Addr: s.door(fmt.Sprintf("redis-%d", i+1), r.Addr), Protocol: 2, DisableIdentity: true,
			ReadTimeout: patience, MaxRetries: -1,
		})
		t.Cleanup(func() { _ = client.Close() })
		s.caches[fmt.Sprintf("redis-%d", i+1)] = redisCache{t, client}
	}
	for i := range 2 {
		m := servers.Memcached(t, opt.Memcached...)
		s.L3 = append(s.L3, m)
		c := &memcachedCache{address: s.door(fmt.Sprintf("memcached-%d", i+1), m.Addr)}
		c.c = memcache.New(c.address)
		c.c.Timeout, c.c.MaxIdleConns = patience, 16
		t.Cleanup(c.close)
		s.caches[fmt.Sprintf("memcached-%d", i+1)] = c
	}
	for i := range 3 {
		a := newInstance(t)
		s.apps = append(s.apps, a)
		if opt.Local {
			s.caches[fmt.Sprintf("app-%d", i+1)] = a
		}
	}
	for name := range s.caches {
		s.Cut[name] = new(atomic.Bool)
	}
	for k := range s.db {
		s.db[k].version = 1
		for _, name := range slices.Sorted(maps.Keys(s.caches)) {
			s.caches[name].set(Key(k), s.value(k))
		}
	}
	if opt.Origin {
		s.serveOrigin()
	}
	if opt.Kafka {
		s.connectKafka()
	}
	return s
}

// door of a node, through which the application reaches it.
func (s *Shop) door(name, address string) string {
	s.Doors[name] = servers.NewProxy(s.t, address)
	return s.Doors[name].Addr
}

// Key of a record.
func Key(k int) string { return fmt.Sprintf("user:%d:profile", k) }

// number of a key in the database; not found: it is another's.
func (s *Shop) number(key string) (int, bool) {
	k, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(key, "user:"), ":profile"))
	return k, err == nil && k >= 0 && k < len(s.db) && key == Key(k)
}

// value of a key; who calls holds its lock, or nobody writes yet.
func (s *Shop) value(k int) string {
	return fmt.Sprintf(`{"name":"user %d","version":%d}`, k, s.db[k].version)
}

// serveOrigin answers for the database.
func (s *Shop) serveOrigin() {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{key}", func(w http.ResponseWriter, r *http.Request) {
		k, found := s.number(r.PathValue("key"))
		if !found {
			http.NotFound(w, r)
			return
		}
		s.db[k].mu.Lock()
		defer s.db[k].mu.Unlock()
		_, _ = w.Write([]byte(s.value(k))) // who asked may be gone
	})
	server := httptest.NewServer(mux)
	s.t.Cleanup(server.Close)
	s.origin = server.URL
}

// Deploy a release on one instance, from 0.
func (s *Shop) Deploy(instance int, release string) { s.apps[instance].release.Store(release) }

// Circle has the invalidation of each of these records bring about that of the next, and the last that of the first.
func (s *Shop) Circle(records ...int) {
	for i, k := range records {
		next := Key(records[(i+1)%len(records)])
		s.db[k].next.Store(&next)
	}
}

// CutOff nodes from the application, until most of the canaries have been written since.
func (s *Shop) CutOff(nodes ...string) {
	s.t.Helper()
	for _, n := range nodes {
		s.Cut[n].Store(true) // a processor that waits for them would be another scenario
		if door := s.Doors[n]; door != nil {
			door.Mute(true)
		}
	}
	for from := s.Written.Load(); s.Written.Load() < from+2*Canaries; {
		time.Sleep(10 * time.Millisecond)
	}
}

// Join nodes to the application again, with the copies that they had when they were cut off.
func (s *Shop) Join(nodes ...string) {
	for _, n := range nodes {
		if door := s.Doors[n]; door != nil {
			door.Mute(false)
		}
		s.Cut[n].Store(false)
	}
}

// Restart a node of l2, from 0: it comes back empty.
func (s *Shop) Restart(node int) {
	s.t.Helper()
	addr := s.L2[node].Addr
	s.L2[node].Stop()
	s.L2[node] = servers.RedisAt(s.t, addr, s.opt.Redis...)
}

// statistics of the processor.
func (s *Shop) statistics() string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"succeeded":%d,"failed":%d}`, s.Succeeded.Load(), s.Failed.Load())
	}))
	s.t.Cleanup(server.Close)
	return server.URL
}

// Config of the exporter over the shop; more goes below it.
func (s *Shop) Config(more ...string) string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p("layers:\n  - name: l2\n    ttl: 1h\n    max_staleness: 5s\n    nodes:")
	for i, r := range s.L2 {
		p("      - {name: redis-%d, redis: {address: %q}}", i+1, r.Addr)
	}
	p("  - name: l3\n    ttl: 24h\n    max_staleness: 5s\n    nodes:")
	for i, m := range s.L3 {
		p("      - {name: memcached-%d, memcached: {address: %q}}", i+1, m.Addr)
	}
	canaryLayers := "l2, l3"
	if s.opt.Local {
		canaryLayers = "l1, l2, l3"
		p("  - name: l1\n    ttl: 1h\n    max_staleness: 5s\n    nodes:")
		for i, a := range s.apps {
			p("      - name: app-%d\n        http: {url: \"%[2]s/cache/entries/{key}\", stats: {url: \"%[2]s/cache/stats\", hits: $.hits, misses: $.misses,"+
				" evicted: $.evicted, items: $.size, uptime_seconds: $.uptime}}", i+1, a.server.URL)
		}
	}
	p("  - name: queues\n    ttl: none\n    nodes:\n      - {name: queue, redis: {address: %q}}", s.Queue.Addr)
	p("queues:")
	if !s.opt.Unlisted {
		p("  - name: list\n    redis: {node: queue, list: %s}\n    message: {key: $.key, version: $.version, timestamp_ms: $.ts}", listKey)
		p("    target_rate: 100/s")
	}
	if s.Broker != nil {
		p("  - name: topic\n    kafka: {brokers: [%q], topics: [%s], groups: [%s]}", s.Broker.Addr, s.Topic, s.group())
		p("    message: {key: $.key, version: $.version, timestamp_ms: $.ts}")
	}
	p("history:\n  - name: processor\n    http: {url: %q, succeeded: $.succeeded, failed: $.failed}", s.statistics())
	p("versions:\n  - app: web\n    json: $.version\n    nodes:")
	for i, a := range s.apps {
		p("      app-%d: %q", i+1, a.server.URL+"/cache/version")
	}
	p("canaries:\n  - class: user_profile\n    layers: [%s]\n    version: {json: $.version}", canaryLayers)
	if s.origin != "" {
		p("    origin: {http: {url: \"%s/{key}\"}}", s.origin)
	}
	p("    keys:")
	for k := range Canaries {
		p("      - %q", Key(k))
	}
	for _, m := range more {
		p("%s", m)
	}
	return b.String()
}
