package drain_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/drain"
	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/backends"
)

// site is the caches of a test: in l2 two Redis servers and a pair of primary and replica; in l3, where keys have a prefix,
// a memcached and a pool of two. The queue's server is one of l2's.
type site struct {
	queueOn, other, primary, replica *servers.RedisServer
	single                           *servers.Process
	pool                             [2]*servers.Process
}

func newSite(t testing.TB) *site {
	t.Helper()
	s := &site{queueOn: servers.Redis(t), other: servers.Redis(t), primary: servers.Redis(t), replica: servers.Redis(t), single: servers.Memcached(t)}
	s.pool[0], s.pool[1] = servers.Memcached(t), servers.Memcached(t)
	s.replica.Follow(t, s.primary)
	return s
}

// yaml of the site with a queue's block.
func (s *site) yaml(queue string) string {
	return fmt.Sprintf(`
layers:
  - name: l2
    ttl: 1h
    nodes:
      - {name: redis-1, redis: {address: %q}}
      - {name: redis-2, redis: {address: %q}}
      - {name: pair, redis: {replication: [%q]}}
  - name: l3
    ttl: 24h
    nodes:
      - {name: mc-1, memcached: {address: %q}}
      - {name: pool, memcached: {servers: [%q, %q], hashing: gomemcache}}
canaries:
  - class: user
    pattern: "user:*"
    layers: [l2, {name: l3, key: "v3:{key}"}]
queues:
  - %s
`, s.queueOn.Addr, s.other.Addr, s.primary.Addr, s.single.Addr, s.pool[0].Addr, s.pool[1].Addr, queue)
}

// redisServers in which keys are written.
func (s *site) redisServers() []*servers.RedisServer {
	return []*servers.RedisServer{s.queueOn, s.other, s.primary}
}

// keys gives the names user:FROM to user:TO-1.
func keys(from, to int) []string {
	var out []string
	for i := from; i < to; i++ {
		out = append(out, fmt.Sprintf("user:%d", i))
	}
	return out
}

// fill every node with the keys.
func (s *site) fill(t testing.TB, keys []string) {
	t.Helper()
	for _, r := range s.redisServers() {
		set(t, r, keys)
	}
	single, pool := memcache.New(s.single.Addr), memcache.New(s.pool[0].Addr, s.pool[1].Addr)
	for _, c := range []*memcache.Client{single, pool} {
		for _, k := range keys {
			if err := c.Set(&memcache.Item{Key: "v3:" + k, Value: []byte("old")}); err != nil {
				t.Fatal(err)
			}
		}
		_ = c.Close()
	}
}

func set(t testing.TB, r *servers.RedisServer, keys []string) {
	t.Helper()
	p := r.Pipeline()
	for _, k := range keys {
		p.Set(t.Context(), k, "old", 0)
	}
	if _, err := p.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// present counts the keys that are still on a node, by its name.
func (s *site) present(t testing.TB, keys []string) map[string]int64 {
	t.Helper()
	out := map[string]int64{}
	for name, r := range map[string]*servers.RedisServer{"redis-1": s.queueOn, "redis-2": s.other, "primary": s.primary} {
		if n := exists(t, r, keys); n > 0 {
			out[name] = n
		}
	}
	servers.Eventually(t, "the replica follows", func() bool { return exists(t, s.replica, keys) == out["primary"] })
	for name, c := range map[string]*memcache.Client{"mc-1": memcache.New(s.single.Addr), "pool": memcache.New(s.pool[0].Addr, s.pool[1].Addr)} {
		for _, k := range keys {
			if _, err := c.Get("v3:" + k); err == nil {
				out[name]++
			}
		}
		_ = c.Close()
	}
	return out
}

func exists(t testing.TB, r *servers.RedisServer, keys []string) int64 {
	t.Helper()
	n, err := r.Exists(t.Context(), keys...).Result()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// wantGone checks that none of the keys is left anywhere.
func (s *site) wantGone(t testing.TB, keys []string) {
	t.Helper()
	if left := s.present(t, keys); len(left) > 0 {
		t.Errorf("keys are still there: %v", left)
	}
}

// open a Drainer of a configuration, until close is called.
func open(yaml string) (d *drain.Drainer, done func(), err error) {
	cfg, err := config.Parse("test", []byte(yaml), backends.All)
	if err != nil {
		return nil, nil, err
	}
	env := &probes.Env{
		MaxValueBytes: 1 << 20, MaxBody: 4 << 20, ForgetAfter: 10 * time.Minute, Budget: probes.NewBudget(), Kept: probes.NewKept(),
		Log: slog.New(slog.DiscardHandler),
	}
	fleet, err := cfg.OpenFleet(env)
	if err != nil {
		return nil, nil, err
	}
	queues, err := cfg.OpenQueues(fleet, env)
	if err != nil {
		fleet.Close()
		return nil, nil, err
	}
	return drain.New(cfg, fleet, queues), func() {
		for _, q := range queues {
			q.Close()
		}
		fleet.Close()
	}, nil
}

func apply(t testing.TB, yaml string, opt drain.Options) *drain.Report {
	t.Helper()
	d, done, err := open(yaml)
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	r, err := d.Apply(within(t, time.Minute), opt)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func plan(t testing.TB, yaml string) *drain.Plan {
	t.Helper()
	d, done, err := open(yaml)
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	p, err := d.Plan(within(t, time.Minute), drain.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// message about some keys.
func message(keys ...string) string {
	if len(keys) == 1 {
		return fmt.Sprintf(`{"key":%q,"ts":1}`, keys[0])
	}
	return `{"key":["` + strings.Join(keys, `","`) + `"],"ts":1}`
}

// push messages to a list.
func push(t testing.TB, r *servers.RedisServer, list string, messages ...string) {
	t.Helper()
	p := r.Pipeline()
	for _, m := range messages {
		p.RPush(t.Context(), list, m)
	}
	if _, err := p.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// messagesOf each of the keys, one.
func messagesOf(keys []string) []string {
	var out []string
	for _, k := range keys {
		out = append(out, message(k))
	}
	return out
}

// auditText is all that the audit logs of a folder say.
func auditText(t testing.TB, folder string) string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(folder, "audit-*.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, p := range paths {
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(b)
	}
	return all.String()
}

const listQueue = `{name: inv, redis: {node: redis-1, list: inv}, message: {key: "$.key"}}`
