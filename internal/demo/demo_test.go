package demo

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"
	"go.yaml.in/yaml/v4"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/probes/backends"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// logged is a log that can be read while it is written.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// estate is what the demo's configuration says of where its servers are.
type estate struct {
	Layers []struct {
		Nodes []struct {
			Name             string
			HTTP             *struct{ URL string }
			Redis, Memcached *struct{ Address string }
		}
	}
	Queues []struct {
		Kafka *struct{ Brokers, Groups []string }
	}
	Canaries []struct {
		Origin *struct{ HTTP struct{ URL string } }
	}
	Versions []struct{ Nodes map[string]string }
}

func start(t *testing.T, scenario string) (*Demo, *estate, *logged) {
	t.Helper()
	log := &logged{}
	began := time.Now()
	d, err := Start(t.Context(), scenario, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("the start took %v", took)
	}
	if _, err := config.Parse("demo", d.Config(), backends.All); err != nil {
		t.Fatalf("%v\n%s", err, d.Config())
	}
	var c estate
	if err := yaml.Unmarshal(d.Config(), &c); err != nil {
		t.Fatal(err)
	}
	return d, &c, log
}

// await polls until done, or fails.
func await(t *testing.T, within time.Duration, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(within)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, within)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func awaitFault(t *testing.T, log *logged, scenario, nodes string) {
	t.Helper()
	await(t, 10*time.Second, "the fault's log line", func() bool { return strings.Contains(log.String(), "fault=begins") })
	if want := fmt.Sprintf("scenario=%s fault=begins nodes=%s\n", scenario, nodes); !strings.Contains(log.String(), want) {
		t.Errorf("log %q lacks %q", log.String(), want)
	}
}

// client asks the estate as the exporter does: over its configured addresses.
type client struct {
	t         *testing.T
	nodes     []string
	get       map[string]func(key string) (string, bool)
	redis     *redis.Client
	database  string
	memcached *memcache.Client
}

func newClient(t *testing.T, c *estate) *client {
	t.Helper()
	out := &client{t: t, get: map[string]func(string) (string, bool){}}
	transport := &http.Transport{}
	web := &http.Client{Transport: transport}
	t.Cleanup(transport.CloseIdleConnections)
	for _, l := range c.Layers {
		for _, n := range l.Nodes {
			if n.Redis != nil && n.Redis.Address == "" || n.Memcached != nil && n.Memcached.Address == "" {
				continue // a group
			}
			out.nodes = append(out.nodes, n.Name)
			switch {
			case n.HTTP != nil:
				out.get[n.Name] = func(key string) (string, bool) {
					return fetch(t, web, strings.ReplaceAll(n.HTTP.URL, "{key}", key))
				}
			case n.Redis != nil:
				o, err := redis.ParseURL(n.Redis.Address)
				if err != nil {
					t.Fatal(err)
				}
				r := redis.NewClient(o)
				t.Cleanup(func() { _ = r.Close() })
				if out.redis == nil {
					out.redis = r
				}
				out.get[n.Name] = func(key string) (string, bool) {
					v, err := r.Get(t.Context(), key).Result()
					if err != nil && !errors.Is(err, redis.Nil) {
						t.Error(err)
					}
					return v, err == nil
				}
			default:
				m := memcache.New(n.Memcached.Address)
				t.Cleanup(func() { _ = m.Close() })
				out.memcached = m
				out.get[n.Name] = func(key string) (string, bool) {
					i, err := m.Get(key)
					if errors.Is(err, memcache.ErrCacheMiss) {
						return "", false
					}
					if err != nil {
						t.Error(err)
						return "", false
					}
					return string(i.Value), true
				}
			}
		}
	}
	for _, k := range c.Canaries {
		if k.Origin != nil && out.database == "" {
			out.database = strings.ReplaceAll(k.Origin.HTTP.URL, "{id}", "1")
		}
	}
	out.get["database"] = func(string) (string, bool) { return fetch(t, web, out.database) }
	return out
}

func fetch(t *testing.T, web *http.Client, url string) (string, bool) {
	t.Helper()
	resp, err := web.Get(url) //nolint:noctx // a local server of this test
	if err != nil {
		t.Error(err)
		return "", false
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	return string(b), resp.StatusCode == http.StatusOK
}

// read gives what every node holds of a key.
func (c *client) read(key string) map[string]string {
	out := map[string]string{}
	for _, n := range c.nodes {
		if v, ok := c.get[n](key); ok {
			out[n] = v
		}
	}
	return out
}

// stale gives the nodes that hold, in two reads, the same content which the most nodes lack both times.
func (c *client) stale(key string) map[string]bool {
	most := func(copies map[string]string) string {
		counts, best := map[string]int{}, ""
		for _, v := range copies {
			if counts[v]++; counts[v] > counts[best] {
				best = v
			}
		}
		return best
	}
	first := c.read(key)
	time.Sleep(20 * time.Millisecond)
	second := c.read(key)
	out := map[string]bool{}
	for n, v := range first {
		if second[n] == v && v != most(first) && v != most(second) {
			out[n] = true
		}
	}
	return out
}

func (c *client) staleNodes() map[string]bool {
	out := map[string]bool{}
	for i := range 6 {
		for _, key := range []string{userKey(i + 1), productKey(i + 1)} {
			for n := range c.stale(key) {
				out[n] = true
			}
		}
	}
	return out
}

func TestHealthyAgrees(t *testing.T) {
	t.Parallel()
	d, c, log := start(t, Healthy)
	cl := newClient(t, c)
	if got := len(cl.nodes); got != 10 {
		t.Fatalf("%d nodes", got)
	}
	for range 3 {
		if stale := cl.staleNodes(); len(stale) > 0 {
			t.Errorf("stale on %v", stale)
		}
	}
	if v, ok := cl.get["database"](""); !ok || !strings.Contains(v, `"version":`) {
		t.Errorf("the database answers %q", v)
	}
	info, err := cl.redis.Info(t.Context()).Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"redis_version:", "run_id:", "role:master", "uptime_in_seconds:", "keyspace_hits:", "keyspace_misses:", "evicted_keys:0", "expired_keys:0",
		"used_memory:", "maxmemory:67108864", "maxmemory_policy:allkeys-lru", "db0:keys=7", "connected_slaves:0", "master_replid:", "loading:0", // 70 keys, the stream, and the list while a message waits
	} {
		if !strings.Contains(info, want) {
			t.Errorf("INFO lacks %s", want)
		}
	}
	if ttl := cl.redis.PTTL(t.Context(), userKey(30)).Val(); ttl >= time.Hour || ttl < 50*time.Minute {
		t.Errorf("a TTL of %v in l2", ttl)
	}
	await(t, 10*time.Second, "the topic's invalidations are processed", func() bool {
		lag, moved := kafkaLag(t, c)
		return moved > 5 && lag < 5
	})
	if strings.Contains(log.String(), "fault=") {
		t.Errorf("a fault in a healthy estate: %s", log)
	}
	if intro := d.Intro("http://127.0.0.1:10120/"); !strings.Contains(intro, "http://127.0.0.1:10120/metrics") {
		t.Errorf("the intro lacks the address: %s", intro)
	}
}

func TestRedisCountsLookups(t *testing.T) {
	t.Parallel()
	s, err := startRedis("redis")
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	r := redis.NewClient(&redis.Options{Addr: s.addr()})
	defer func() { _ = r.Close() }()
	ctx := t.Context()
	s.put("a", []byte("1"), time.Hour)
	s.put("brief", []byte("1"), time.Millisecond)
	r.RPush(ctx, "list", "x")
	await(t, time.Second, "expiry", func() bool { _, ok := s.peek("brief"); return !ok })
	for _, c := range []struct {
		do           func() error
		hits, misses int64
	}{
		{func() error { return r.MGet(ctx, "a", "none", "list").Err() }, 2, 1},
		{func() error { return r.PTTL(ctx, "a").Err() }, 1, 0},
		{func() error { return r.PTTL(ctx, "none").Err() }, 0, 1},
		{func() error { return r.Type(ctx, "none").Err() }, 0, 1},
		{func() error { return r.LLen(ctx, "list").Err() }, 1, 0},
		{func() error { return r.Scan(ctx, 0, "*", 1000).Err() }, 0, 0},
		{func() error { return r.Set(ctx, "b", "1", 0).Err() }, 0, 0},
		{func() error { return r.Eval(ctx, "return redis.call('get', KEYS[1])", []string{"a"}).Err() }, 0, 0},
	} {
		hits, misses := s.hits.Load(), s.misses.Load()
		if err := c.do(); err != nil {
			t.Error(err)
		}
		if h, m := s.hits.Load()-hits, s.misses.Load()-misses; h != c.hits || m != c.misses {
			t.Errorf("%d hits and %d misses, want %d and %d", h, m, c.hits, c.misses)
		}
	}
	if info := r.Info(ctx, "stats").Val(); !strings.Contains(info, "expired_keys:1\r\n") || strings.Contains(info, "role:") {
		t.Errorf("INFO stats: %s", info)
	}
}

// What is written to the primary of a pair is on its replica, which takes no writes of its own, and both tell how far they are.
func TestPairReplicates(t *testing.T) {
	t.Parallel()
	primary, replica, err := startPair("one", "two")
	if err != nil {
		t.Fatal(err)
	}
	defer replica.close()
	defer primary.close()
	to, from := redis.NewClient(&redis.Options{Addr: primary.addr()}), redis.NewClient(&redis.Options{Addr: replica.addr()})
	defer func() { _, _ = to.Close(), from.Close() }()
	ctx := t.Context()
	primary.put("own", []byte("1"), time.Hour)
	to.Set(ctx, "asked", "2", time.Hour)
	to.Eval(ctx, "return redis.call('set', KEYS[1], '3', 'px', 60000)", []string{"script"})
	to.Del(ctx, "own")
	await(t, 5*time.Second, "the replica has all", func() bool {
		return from.Get(ctx, "asked").Val() == "2" && from.Get(ctx, "script").Val() == "3" && from.Exists(ctx, "own").Val() == 0 &&
			strings.Contains(from.Info(ctx, "replication").Val(), "slave_repl_offset:600\r\n")
	})
	if ttl := from.PTTL(ctx, "asked").Val(); ttl <= 50*time.Minute || ttl > time.Hour {
		t.Errorf("a TTL of %v on the replica", ttl)
	}
	if err := from.Set(ctx, "x", "1", 0).Err(); err == nil || !strings.HasPrefix(err.Error(), "READONLY") {
		t.Errorf("a write to the replica: %v", err)
	}
	for r, lines := range map[*redis.Client][]string{
		to:   {"role:master\r\n", "connected_slaves:1\r\n", "slave0:ip=127.0.0.1,port=" + replica.mini.Port() + ",state=online,offset=600,", "master_repl_offset:600\r\n", "master_replid:" + primary.replID},
		from: {"role:slave\r\n", "master_port:" + primary.mini.Port() + "\r\n", "master_link_status:up\r\n", "master_replid:" + primary.replID},
	} {
		info := r.Info(ctx, "replication").Val()
		for _, want := range lines {
			if !strings.Contains(info, want) {
				t.Errorf("INFO lacks %q: %s", want, info)
			}
		}
	}
}

// The probe's key is deleted on the pair once its message went through the stream, whose group tells how far it is.
func TestSessionsAreProcessed(t *testing.T) {
	t.Parallel()
	d, c, _ := start(t, Healthy)
	cl := newClient(t, c)
	d.pair.put(probeKeys+"1", []byte("old"), time.Hour)
	cl.redis.XAdd(t.Context(), &redis.XAddArgs{Stream: sessionStream, Values: []any{"message", `{"key":"` + probeKeys + `1"}`}})
	await(t, 5*time.Second, "the probe's key is deleted on both", func() bool {
		_, one := d.pair.peek(probeKeys + "1")
		_, two := d.pair.link.replica.peek(probeKeys + "1")
		return !one && !two
	})
	await(t, 5*time.Second, "the group has read and acknowledged", func() bool {
		groups, err := cl.redis.XInfoGroups(t.Context(), sessionStream).Result()
		if err != nil || len(groups) != 1 {
			t.Fatalf("%v, %v", groups, err)
		}
		g := groups[0]
		return g.Name == sessionGroup && g.EntriesRead > 0 && g.Lag == 0 && g.Pending == 0 && g.LastDeliveredID > "1"
	})
	if info, err := cl.redis.XInfoStream(t.Context(), sessionStream).Result(); err != nil || info.EntriesAdded == 0 || info.LastEntry.ID == "" {
		t.Errorf("XINFO STREAM: %+v, %v", info, err)
	}
	if d.processor.succeeded.Load() == 0 {
		t.Error("the history tells of nothing")
	}
	for _, e := range d.edges {
		body, _ := fetch(t, &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, "http://"+e.addr()+"/"+pageKey(1))
		held, _ := d.pool.peek(pageKey(1))
		if !strings.Contains(body, `"page":"1"`) || len(held) == 0 {
			t.Errorf("%s serves %q, the pool holds %q", e.name, body, held)
		}
	}
}

func TestPartition(t *testing.T) {
	t.Parallel()
	_, c, log := start(t, Partition)
	cl := newClient(t, c)
	awaitFault(t, log, Partition, "redis-3,memcached-2")
	if diff := cmp.Diff(map[string]bool{"redis-3": true, "memcached-2": true}, cl.staleNodes()); diff != "" {
		t.Error(diff)
	}
}

func TestVersionDrift(t *testing.T) {
	t.Parallel()
	_, c, log := start(t, VersionDrift)
	cl := newClient(t, c)
	awaitFault(t, log, VersionDrift, "app-3")
	if diff := cmp.Diff(map[string]bool{"app-3": true}, cl.staleNodes()); diff != "" {
		t.Error(diff)
	}
	got := map[string]string{}
	web := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for name, url := range c.Versions[0].Nodes {
		v, _ := fetch(t, web, url)
		got[name] = strings.TrimSpace(v)
	}
	if diff := cmp.Diff(map[string]string{"app-1": "2.3.1", "app-2": "2.3.1", "app-3": "2.2.9"}, got); diff != "" {
		t.Error(diff)
	}
}

// What a slow reader stores is what a record was before it was changed, in the layers that the instances share.
func TestStaleSet(t *testing.T) {
	t.Parallel()
	d, c, _ := start(t, Healthy)
	cl := newClient(t, c)
	ctx, stop := context.WithCancel(t.Context())
	d.readSlowly(ctx, 10*time.Millisecond, 3, stop)
	key, stale := userKey(hotUsers+1), map[string]bool{}
	now, _ := d.site.record(key)
	for _, name := range cl.nodes {
		if held, ok := cl.get[name](key); ok && held != string(now) {
			stale[name] = true
		}
	}
	if diff := cmp.Diff(map[string]bool{"redis-1": true, "redis-2": true, "redis-3": true, "memcached-1": true, "memcached-2": true}, stale); diff != "" {
		t.Error(diff)
	}
}

func TestDeafInstance(t *testing.T) {
	t.Parallel()
	_, c, log := start(t, DeafInstance)
	cl := newClient(t, c)
	if n := cl.redis.PubSubNumSub(t.Context(), channel).Val()[channel]; n != 3 {
		t.Errorf("%d instances hear the channel", n)
	}
	awaitFault(t, log, DeafInstance, "app-3")
	if n := cl.redis.PubSubNumSub(t.Context(), channel).Val()[channel]; n != 2 {
		t.Errorf("%d instances hear the channel, of which one should not", n)
	}
	if diff := cmp.Diff(map[string]bool{"app-3": true}, cl.staleNodes()); diff != "" {
		t.Error(diff)
	}
}

// kafkaLag is the group's lag over all partitions, and how many messages it has processed.
func kafkaLag(t *testing.T, c *estate) (lag, processed int64) {
	t.Helper()
	for _, q := range c.Queues {
		if q.Kafka == nil {
			continue
		}
		k, err := kgo.NewClient(kgo.SeedBrokers(q.Kafka.Brokers...))
		if err != nil {
			t.Fatal(err)
		}
		defer k.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		lags, err := kadm.NewClient(k).Lag(ctx, q.Kafka.Groups[0])
		if err != nil {
			t.Fatal(err)
		}
		l := lags[q.Kafka.Groups[0]]
		if n := len(l.Lag[topic]); n != partitions {
			t.Fatalf("%d committed partitions", n)
		}
		for _, p := range l.Lag[topic] {
			processed += p.Commit.At
		}
		lag = l.Lag.Total()
	}
	return lag, processed
}

func TestQueueBacklog(t *testing.T) {
	t.Parallel()
	_, c, log := start(t, QueueBacklog)
	began := time.Now()
	cl := newClient(t, c)
	awaitFault(t, log, QueueBacklog, `""`)
	await(t, 30*time.Second-time.Since(began), "a backlog of 5,000 in the topic", func() bool {
		lag, _ := kafkaLag(t, c)
		return lag > 5000
	})
	if n := cl.redis.LLen(t.Context(), listQueue).Val(); n > 100 {
		t.Errorf("%d wait in the list, too", n)
	}
	if stale := cl.staleNodes(); len(stale) > 0 {
		t.Errorf("stale on %v", stale)
	}
}

func TestInvalidationLoop(t *testing.T) {
	t.Parallel()
	_, c, log := start(t, InvalidationLoop)
	awaitFault(t, log, InvalidationLoop, `""`)
	_, before := kafkaLag(t, c)
	began := time.Now()
	await(t, 10*time.Second, "a turning loop", func() bool {
		_, now := kafkaLag(t, c)
		return now-before > 1000
	})
	_, now := kafkaLag(t, c)
	if rate := float64(now-before) / time.Since(began).Seconds(); rate > 600 {
		t.Errorf("the loop turns %.0f messages a second", rate)
	}
}

func TestUnknownScenario(t *testing.T) {
	t.Parallel()
	if _, err := Start(t.Context(), "flood", slog.Default()); err == nil || !strings.Contains(err.Error(), QueueBacklog) {
		t.Errorf("got %v", err)
	}
}

func TestMemcachedWithAClient(t *testing.T) {
	t.Parallel()
	s, err := startMemcached("memcached")
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	m := memcache.New(s.addr())
	defer func() { _ = m.Close() }()
	if err := m.Set(&memcache.Item{Key: "a", Value: []byte("one"), Expiration: 3600}); err != nil {
		t.Fatal(err)
	}
	if err := m.Add(&memcache.Item{Key: "a", Value: []byte("two")}); !errors.Is(err, memcache.ErrNotStored) {
		t.Errorf("add of what is there: %v", err)
	}
	got, err := m.GetMulti([]string{"a", "none"})
	if err != nil || len(got) != 1 || string(got["a"].Value) != "one" {
		t.Errorf("got %v, %v", got, err)
	}
	i := got["a"]
	i.Value = []byte("three")
	if err := m.CompareAndSwap(i); err != nil {
		t.Error(err)
	}
	if err := m.CompareAndSwap(i); !errors.Is(err, memcache.ErrCASConflict) {
		t.Errorf("a second swap: %v", err)
	}
	if err := m.Touch("a", 1); err != nil {
		t.Error(err)
	}
	await(t, 3*time.Second, "expiry", func() bool { _, err := m.Get("a"); return errors.Is(err, memcache.ErrCacheMiss) })
	if err := m.Delete("a"); !errors.Is(err, memcache.ErrCacheMiss) {
		t.Errorf("delete of what expired: %v", err)
	}
	if err := m.Ping(); err != nil {
		t.Error(err)
	}
}

// The answers are those of memcached 1.6.18.
func TestMemcachedText(t *testing.T) {
	t.Parallel()
	s, err := startMemcached("memcached")
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	for _, c := range []struct{ say, want string }{
		{"set user:1:profile 5 3600 3\r\nabc\r\nset imm 0 0 2\r\nxy\r\n", "STORED\r\nSTORED\r\n"},
		{"get user:1:profile nx imm\r\n", "VALUE user:1:profile 5 3\r\nabc\r\nVALUE imm 0 2\r\nxy\r\nEND\r\n"},
		{"gets imm\r\n", "VALUE imm 0 2 2\r\nxy\r\nEND\r\n"},
		{
			"mg imm s f c h l O123 t u v\r\nmg imm\r\nmg nx v\r\nmg nx v q\r\nmg imm k v q\r\nmn\r\n",
			"VA 2 s2 f0 c2 h1 l0 O123 t-1\r\nxy\r\nHD\r\nEN\r\nVA 2 kimm\r\nxy\r\nMN\r\n",
		},
		{"mg dXNlcjoxOnByb2ZpbGU= b k v\r\nmg !!!! b\r\n", "VA 3 kuser:1:profile\r\nabc\r\nCLIENT_ERROR error decoding key\r\n"},
		{"ms foo 3 T60 F7 k Oaa\r\nbar\r\nms foo 3 q\r\nbaz\r\nmn\r\n", "HD kfoo Oaa\r\nMN\r\n"},
		{"ms foo 3 MA\r\nqux\r\nmg foo v t f\r\n", "HD\r\nVA 6 t-1 f0\r\nbazqux\r\n"},
		{"ms foo 3 C1\r\nqux\r\nms nope 3 MR\r\nqux\r\n", "EX\r\nNS\r\n"},
		{"md foo q\r\nmd foo k\r\nmd foo q\r\nmn\r\n", "NF kfoo\r\nMN\r\n"},
		{"touch nn 5\r\ndelete imm\r\nbogus\r\nmg\r\n", "NOT_FOUND\r\nDELETED\r\nERROR\r\nERROR\r\n"},
		{"mg " + strings.Repeat("k", 251) + " v\r\n", badLine},
		{"set neg 0 -1 1\r\na\r\nget neg\r\n", "STORED\r\nEND\r\n"},
		{"version\r\n", "VERSION 1.6.18\r\n"},
	} {
		if diff := cmp.Diff(c.want, talk(t, s.addr(), c.say)); diff != "" {
			t.Errorf("%q: %s", c.say, diff)
		}
	}
	dump := talk(t, s.addr(), "lru_crawler metadump hash\r\n")
	if !strings.HasPrefix(dump, "key=user%3A1%3Aprofile exp=") || !strings.HasSuffix(dump, " cls=1 size=73\nEND\r\n") {
		t.Errorf("metadump: %q", dump)
	}
	stats := talk(t, s.addr(), "stats\r\n")
	for _, want := range []string{"STAT cmd_get 12\r\n", "STAT get_hits 8\r\n", "STAT get_misses 4\r\n", "STAT curr_items 1\r\n", "STAT uptime "} {
		if !strings.Contains(stats, want) {
			t.Errorf("stats lack %q:\n%s", want, stats)
		}
	}
}

// talk says something on a new connection, and gives what was answered before it was closed.
func talk(t *testing.T, addr, say string) string {
	t.Helper()
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := io.WriteString(c, say+"quit\r\n"); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(bufio.NewReader(c))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
