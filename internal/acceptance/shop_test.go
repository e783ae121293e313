package acceptance

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cacheinv/cacheinv_exporter/internal/servertest"
)

const (
	shopKeys  = 40
	shopList  = "invalidation_queue"
	shopTopic = "cache-invalidation"
	shopGroup = "inv-processors"
	// shopTTL is long enough that nothing expires while a test runs.
	shopTTL = time.Hour
)

// shop is an application with its caches, its database and its queue of invalidations, all of it under load. Writers
// change the database and publish an invalidation; the processor deletes the key on every node; readers fill it again.
type shop struct {
	t testing.TB
	// l2 and l3 are where the exporter looks; the application reaches the same servers through doors.
	l2    []*servertest.RedisServer
	l3    []*servertest.Process
	doors map[string]*servertest.Proxy
	// cut nodes are given up by the application.
	cut map[string]*atomic.Bool
	caches
	queue *servertest.RedisServer
	// broker, if there is one, carries each invalidation a second time.
	broker   *servertest.KafkaServer
	producer *kgo.Client

	db [shopKeys]struct {
		// mu keeps a reader from filling in what a writer has just made old.
		mu      sync.Mutex
		version int64
	}
	apps    []*httptest.Server
	release []atomic.Value // of each app
	history struct{ succeeded, failed atomic.Int64 }
	// failing is of each hundred invalidations; slow is the time for each; looping: they are published again.
	failing atomic.Int64
	slow    atomic.Int64
	looping atomic.Bool
	written atomic.Int64
}

// caches by the name of their node, as the application reaches them.
type caches map[string]shopCache

// shopCache is what the application needs of a cache.
type shopCache interface {
	get(key string) bool
	set(key, value string)
	remove(key string) error
}

type shopRedis struct {
	t testing.TB
	c *redis.Client
}

func (r shopRedis) get(key string) bool { return r.c.Exists(r.t.Context(), key).Val() == 1 }

func (r shopRedis) set(key, value string) { r.c.Set(r.t.Context(), key, value, shopTTL) }

func (r shopRedis) remove(key string) error { return r.c.Del(r.t.Context(), key).Err() }

type shopMemcached struct{ c *memcache.Client }

func (m shopMemcached) get(key string) bool {
	_, err := m.c.Get(key)
	return err == nil
}

func (m shopMemcached) set(key, value string) {
	_ = m.c.Set(&memcache.Item{Key: key, Value: []byte(value), Expiration: int32(shopTTL.Seconds())}) // the next reader does
}

func (m shopMemcached) remove(key string) error {
	if err := m.c.Delete(key); err != nil && !errors.Is(err, memcache.ErrCacheMiss) {
		return err
	}
	return nil
}

// openShop with three Redis and two memcached, filled; withKafka has each invalidation published to a topic as well.
func openShop(t testing.TB, withKafka bool) *shop {
	s := &shop{t: t, doors: map[string]*servertest.Proxy{}, cut: map[string]*atomic.Bool{}, caches: caches{}, queue: servertest.Redis(t), release: make([]atomic.Value, 3)}
	for i := range 3 {
		r := servertest.Redis(t)
		name := fmt.Sprintf("redis-%d", i+1)
		s.l2, s.doors[name] = append(s.l2, r), servertest.NewProxy(t, r.Addr)
		client := redis.NewClient(&redis.Options{
			Addr: s.doors[name].Addr, Protocol: 2, DisableIdentity: true, ReadTimeout: 250 * time.Millisecond, MaxRetries: -1,
		})
		t.Cleanup(func() { _ = client.Close() })
		s.caches[name] = shopRedis{t, client}
	}
	for i := range 2 {
		m := servertest.Memcached(t)
		name := fmt.Sprintf("memcached-%d", i+1)
		s.l3, s.doors[name] = append(s.l3, m), servertest.NewProxy(t, m.Addr)
		client := memcache.New(s.doors[name].Addr)
		client.Timeout, client.MaxIdleConns = 250*time.Millisecond, 16
		t.Cleanup(func() { _ = client.Close() })
		s.caches[name] = shopMemcached{client}
	}
	for name := range s.caches {
		s.cut[name] = new(atomic.Bool)
	}
	for i := range s.release {
		s.release[i].Store("2.3.1")
		app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"version":%q}`, s.release[i].Load())
		}))
		t.Cleanup(app.Close)
		s.apps = append(s.apps, app)
	}
	for k := range s.db {
		s.db[k].version = 1
		for _, name := range slices.Sorted(maps.Keys(s.caches)) {
			s.caches[name].set(shopKey(k), s.value(k))
		}
	}
	if withKafka {
		s.connectKafka()
	}
	return s
}

func shopKey(k int) string { return fmt.Sprintf("user:%d:profile", k) }

// value of a key; who calls holds its lock, or nobody writes yet.
func (s *shop) value(k int) string {
	return fmt.Sprintf(`{"name":"user %d","version":%d}`, k, s.db[k].version)
}

func (s *shop) connectKafka() {
	s.broker = servertest.Kafka(s.t)
	s.broker.Tool(s.t, servertest.KafkaTopics, "--create", "--topic", shopTopic, "--partitions", "3")
	commit(s.t, s.broker.Addr, shopGroup, shopTopic, map[int32]int64{0: 0, 1: 0, 2: 0})
	var err error
	if s.producer, err = kgo.NewClient(kgo.SeedBrokers(s.broker.Addr), kgo.DefaultProduceTopic(shopTopic)); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(s.producer.Close)
}

// trade until the test ends: rate changes of the database a second, and three times as many reads.
func (s *shop) trade(rate int) {
	var wait sync.WaitGroup
	stop := make(chan struct{})
	s.t.Cleanup(func() {
		close(stop)
		wait.Wait()
	})
	every := func(pause time.Duration, do func()) {
		wait.Go(func() {
			tick := time.NewTicker(pause)
			defer tick.Stop()
			for {
				select {
				case <-stop:
					return
				case <-tick.C:
					do()
				}
			}
		})
	}
	every(time.Second/time.Duration(rate), s.write)
	names := slices.Sorted(maps.Keys(s.caches))
	for range 3 {
		every(time.Second/time.Duration(rate), func() { s.read(names[rand.IntN(len(names))]) })
	}
	wait.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				s.process()
			}
		}
	})
	if s.producer != nil {
		s.consume(&wait, stop)
	}
}

// write changes a key in the database and publishes its invalidation.
func (s *shop) write() {
	k := rand.IntN(shopKeys)
	s.db[k].mu.Lock()
	s.db[k].version++
	version := s.db[k].version
	s.db[k].mu.Unlock()
	s.written.Add(1)
	s.publish(shopKey(k), version)
}

func (s *shop) publish(key string, version int64) {
	message := fmt.Sprintf(`{"key":%q,"version":%d,"ts":%d}`, key, version, time.Now().UnixMilli())
	s.queue.RPush(s.t.Context(), shopList, message)
	if s.producer != nil {
		s.producer.TryProduce(s.t.Context(), &kgo.Record{Key: []byte(key), Value: []byte(message)}, nil)
	}
}

// read a key on a node, and fill it in where it is missing.
func (s *shop) read(name string) {
	if s.cut[name].Load() {
		return
	}
	k := rand.IntN(shopKeys)
	s.db[k].mu.Lock()
	defer s.db[k].mu.Unlock()
	if c := s.caches[name]; !c.get(shopKey(k)) {
		c.set(shopKey(k), s.value(k))
	}
}

// process the next invalidation of the list: delete its key on every node.
func (s *shop) process() {
	got, err := s.queue.BLPop(s.t.Context(), 100*time.Millisecond, shopList).Result()
	if err != nil {
		return // nothing waits
	}
	if slow := time.Duration(s.slow.Load()); slow > 0 {
		time.Sleep(slow) // what a slow processor does
	}
	var m struct {
		Key     string `json:"key"`
		Version int64  `json:"version"`
	}
	if err := json.Unmarshal([]byte(got[1]), &m); err != nil {
		s.t.Errorf("%v in %s", err, got[1])
		return
	}
	if rand.Int64N(100) < s.failing.Load() {
		s.history.failed.Add(1)
		return
	}
	var removing sync.WaitGroup
	for name, c := range s.caches {
		if !s.cut[name].Load() {
			removing.Go(func() { _ = c.remove(m.Key) }) // a node that can't be reached keeps what it has
		}
	}
	removing.Wait()
	s.history.succeeded.Add(1)
	if s.looping.Load() {
		s.publish(m.Key, m.Version)
	}
}

// consume the topic as a group that commits at once.
func (s *shop) consume(wait *sync.WaitGroup, stop <-chan struct{}) {
	client, err := kgo.NewClient(kgo.SeedBrokers(s.broker.Addr), kgo.ConsumeTopics(shopTopic), kgo.ConsumerGroup(shopGroup),
		kgo.DisableAutoCommit(), kgo.FetchMaxWait(100*time.Millisecond))
	if err != nil {
		s.t.Fatal(err)
	}
	ctx := s.t.Context()
	wait.Go(func() {
		defer client.Close()
		for {
			select {
			case <-stop:
				return
			default:
			}
			fetches := client.PollRecords(ctx, 500)
			if slow := time.Duration(s.slow.Load()); slow > 0 {
				time.Sleep(slow) // what a slow processor does
				continue
			}
			_ = client.CommitRecords(ctx, fetches.Records()...) // the next commit says the same, and more
		}
	})
}

// statistics of the processor.
func (s *shop) statistics() string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"succeeded":%d,"failed":%d}`, s.history.succeeded.Load(), s.history.failed.Load())
	}))
	s.t.Cleanup(server.Close)
	return server.URL
}

// config of the exporter over the shop; more goes below it.
func (s *shop) config(more ...string) string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p("layers:\n  - name: l2\n    ttl: 1h\n    max_staleness: 5s\n    nodes:")
	for i, r := range s.l2 {
		p("      - {name: redis-%d, redis: {address: %q}}", i+1, r.Addr)
	}
	p("  - name: l3\n    ttl: 24h\n    max_staleness: 5s\n    nodes:")
	for i, m := range s.l3 {
		p("      - {name: memcached-%d, memcached: {address: %q}}", i+1, m.Addr)
	}
	p("  - name: queues\n    ttl: none\n    nodes:\n      - {name: queue, redis: {address: %q}}", s.queue.Addr)
	p("queues:\n  - name: list\n    redis: {node: queue, list: %s}\n    message: {key: $.key, version: $.version, timestamp_ms: $.ts}", shopList)
	p("    target_rate: 100/s")
	if s.broker != nil {
		p("  - name: topic\n    kafka: {brokers: [%q], topics: [%s], groups: [%s]}", s.broker.Addr, shopTopic, shopGroup)
		p("    message: {key: $.key, version: $.version, timestamp_ms: $.ts}")
	}
	p("history:\n  - name: processor\n    http: {url: %q, succeeded: $.succeeded, failed: $.failed}", s.statistics())
	p("versions:\n  - app: web\n    json: $.version\n    nodes:")
	for i, a := range s.apps {
		p("      app-%d: %q", i+1, a.URL)
	}
	p("canaries:\n  - class: user_profile\n    layers: [l2, l3]\n    version: {json: $.version}\n    keys:")
	for k := range s.db {
		p("      - %q", shopKey(k))
	}
	for _, m := range more {
		p("%s", m)
	}
	return b.String()
}
