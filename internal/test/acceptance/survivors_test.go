package acceptance

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
	"github.com/redis/go-redis/v9"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// cache is what the tests of survivors need of a server; without a ttl it keeps a value for ever.
type cache struct {
	address string
	set     func(key, value string, ttl time.Duration)
	del     func(key string)
	stop    func()
}

func redisCache(t testing.TB) cache {
	r := servers.Redis(t)
	return cache{
		address: r.Addr,
		set: func(key, value string, ttl time.Duration) {
			if err := r.Set(t.Context(), key, value, ttl).Err(); err != nil {
				t.Fatal(err)
			}
		},
		del:  func(key string) { r.Must(t, "del", key) },
		stop: r.Stop,
	}
}

func memcachedCache(t testing.TB) cache {
	addr := servers.FreeAddr(t)
	server := servers.MemcachedAt(t, addr)
	client := servers.MemcachedClient(t, addr)
	return cache{
		address: addr,
		stop:    server.Stop,
		set: func(key, value string, ttl time.Duration) {
			if err := client.Set(&memcache.Item{Key: key, Value: []byte(value), Expiration: int32(ttl / time.Second)}); err != nil {
				t.Fatal(err)
			}
		},
		del: func(key string) {
			if err := client.Delete(key); err != nil {
				t.Fatal(err)
			}
		},
	}
}

// TestDeletesThatMissANode: of many deletes five miss one node each: exactly those are told, in the first scrape that sees
// them and before anything is filled again; once it is, they are told no more.
func TestDeletesThatMissANode(t *testing.T) {
	for name, server := range map[string]func(testing.TB) cache{"redis": redisCache, "memcached": memcachedCache} {
		t.Run(name, func(t *testing.T) {
			deletes := counts(1000)
			const missed = 5
			var caches []cache
			var nodes strings.Builder
			for i := range 3 {
				c := server(t)
				caches = append(caches, c)
				fmt.Fprintf(&nodes, "      - {name: n%d, %s: {address: %q}}\n", i+1, name, c.address)
			}
			var keys []string
			for i := range 2 * deletes { // half of them stay
				keys = append(keys, fmt.Sprintf("user:%d:profile", i))
				for _, c := range caches {
					c.set(keys[i], fmt.Sprintf(`{"user":%d}`, i), time.Hour)
				}
			}
			e := start(t, "layers:\n  - name: l2\n    ttl: 1h\n    nodes:\n"+nodes.String()+
				"canaries:\n  - {class: user, keys: [\""+strings.Join(keys, "\", \"")+"\"], layers: [l2]}\n")
			for range 2 {
				p := e.scrape(10 * time.Second)
				if n := p.number("canary_survivor_copies"); n != 3 || p.sum("canary_survivor_copies") != 0 {
					t.Fatalf("before any delete:\n%s", p.ours())
				}
			}
			for i, key := range keys[:deletes] {
				for n, c := range caches {
					if i%(deletes/missed) == 0 && n == i/(deletes/missed)%3 {
						continue // the node that this delete misses
					}
					c.del(key)
				}
			}
			for range 3 {
				p := e.scrape(10 * time.Second)
				p.want(2, "canary_survivor_copies", "node", "n1")
				p.want(2, "canary_survivor_copies", "node", "n2")
				p.want(1, "canary_survivor_copies", "node", "n3")
				if wrong := p.sum("canary_copies", "state", "stale") + p.sum("canary_copies", "state", "undecided"); wrong > 0 {
					t.Errorf("%v copies are wrong before anything was filled again", wrong)
				}
			}
			for i, key := range keys[:deletes] {
				for _, c := range caches {
					c.set(key, fmt.Sprintf(`{"user":%d,"new":true}`, i), time.Hour)
				}
			}
			for node := range 3 {
				e.scrape(10*time.Second).want(0, "canary_survivor_copies", "node", fmt.Sprintf("n%d", node+1))
			}
		})
	}
}

// hour is an hour in a soak, and 15 s elsewhere; the times of the test are parts of it.
func hour() time.Duration {
	if os.Getenv("CACHEINV_SOAK") != "" {
		return time.Hour
	}
	return 15 * time.Second
}

// TestNothingSurvivesOrdinaryLife: keys expire on each node in their own time and are filled again, one node evicts,
// another is restarted: no survivor is ever told.
func TestNothingSurvivesOrdinaryLife(t *testing.T) {
	t.Parallel()
	const keys = 200
	ttl, interval := hour()/30, hour()/720 // 2 min and 5 s, or 500 ms and 20 ms
	addr := servers.FreeAddr(t)
	started := []*servers.RedisServer{
		servers.Redis(t), servers.RedisAt(t, addr),
		servers.Redis(t, "--maxmemory", "3mb", "--maxmemory-policy", "allkeys-random"),
	}
	var names []string
	for i := range keys {
		names = append(names, fmt.Sprintf("user:%d:profile", i))
	}
	e := start(t, fmt.Sprintf("layers:\n  - name: l2\n    ttl: %s\n    nodes:\n", ttl)+redisNodes(started[0].Addr, addr, started[2].Addr)+
		"canaries:\n  - {class: user, keys: [\""+strings.Join(names, "\", \"")+"\"], layers: [l2]}\n")

	// Readers of each node fill what they miss; another application's keys fill the one that evicts.
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	for n, address := range []string{started[0].Addr, addr, started[2].Addr} {
		running.Go(func() {
			client := redis.NewClient(&redis.Options{Addr: address, Protocol: 2, DisableIdentity: true})
			defer func() { _ = client.Close() }()
			random := rand.New(rand.NewPCG(uint64(n), 7))
			next := time.NewTicker(ttl / (2 * keys))
			defer next.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-next.C:
				}
				key := names[random.IntN(keys)]
				if err := client.Get(ctx, key).Err(); errors.Is(err, redis.Nil) {
					client.Set(ctx, key, "content of "+key, ttl*time.Duration(80+random.IntN(20))/100)
				}
				if n == 2 {
					client.Set(ctx, fmt.Sprintf("other:%d", random.IntN(1_000_000)), strings.Repeat("x", 10_000), 0)
				}
			}
		})
	}
	missing, scrapes := 0.0, 0
	restarted := false
	for end := time.Now().Add(hour()); time.Now().Before(end); scrapes++ {
		if !restarted && time.Until(end) < hour()/2 {
			started[1].Stop()
			started[1] = servers.RedisAt(t, addr)
			restarted = true
		}
		p := e.scrape(10 * time.Second)
		if n := p.sum("canary_survivor_copies"); n > 0 {
			t.Fatalf("scrape %d: %v survivors:\n%s", scrapes, n, p.ours())
		}
		missing += p.sum("canary_copies", "state", "missing")
		time.Sleep(interval)
	}
	stop()
	running.Wait()
	p := e.scrape(10 * time.Second)
	if missing == 0 || p.one("node_evicted_total", "node", "redis-3") == 0 || p.one("node_expired_total", "node", "redis-1") == 0 {
		t.Errorf("in %d scrapes nothing was lost: %v missing\n%s", scrapes, missing, p.ours())
	}

	// And it is not blind, once nothing expires any more beside what is deleted.
	servers.Eventually(t, "all copies are gone", func() bool {
		p := e.scrape(10 * time.Second)
		return p.sum("canary_copies") == p.sum("canary_copies", "state", "missing")
	})
	for _, r := range started { // to live for longer than a slow machine needs for two scrapes
		r.Must(t, "set", names[0], "another content", "px", (20 * ttl).Milliseconds())
		r.Must(t, "set", "not-a-canary", "so that the server is not emptied")
	}
	e.scrape(10 * time.Second)
	started[0].Must(t, "del", names[0])
	e.scrape(10*time.Second).want(1, "canary_survivor_copies", "node", "redis-2")
}

// TestLivesThatAreTooLong: copies without expiry, and with more than their layer's TTL, of which a server that counts whole
// seconds may tell one too many.
func TestLivesThatAreTooLong(t *testing.T) {
	for name, server := range map[string]func(testing.TB) cache{"redis": redisCache, "memcached": memcachedCache} {
		t.Run(name, func(t *testing.T) {
			short, endless := server(t), server(t)
			e := start(t, fmt.Sprintf("layers:\n  - {name: l2, ttl: 60s, nodes: [{name: a, %[1]s: {address: %[2]q}}]}\n"+
				"  - {name: l3, ttl: none, nodes: [{name: b, %[1]s: {address: %[3]q}}]}\n", name, short.address, endless.address)+
				"canaries:\n  - {class: c, keys: [\"1\", \"2\", \"3\", \"4\", \"5\"], layers: [l2, l3]}\n")
			p := e.scrape(10 * time.Second)
			for _, node := range []string{"a", "b"} {
				p.want(0, "canary_immortal_copies", "node", node)
				p.want(0, "canary_ttl_over_limit_copies", "node", node)
			}
			for _, c := range []cache{short, endless} {
				c.set("1", "x", time.Minute)
				c.set("2", "x", time.Hour)
				c.set("3", "x", 0)
				c.set("4", "x", 0)
			}
			p = e.scrape(10 * time.Second)
			p.want(2, "canary_immortal_copies", "node", "a")
			p.want(1, "canary_ttl_over_limit_copies", "node", "a")
			p.want(0, "canary_immortal_copies", "node", "b")
			p.want(0, "canary_ttl_over_limit_copies", "node", "b")
			endless.stop()
			p = e.scrape(10 * time.Second)
			for _, family := range []string{"canary_immortal_copies", "canary_ttl_over_limit_copies", "canary_survivor_copies", "canary_stray_copies"} {
				if n := p.number(family, "node", "b"); n != 0 || p.number(family, "node", "a") != 1 {
					t.Errorf("%d series of %s of a server that is gone", n, family)
				}
			}
		})
	}
}
