package detection

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
	"github.com/redis/go-redis/v9"

	"github.com/cacheinv/cacheinv_exporter/internal/demo"
	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/internal/test/shop"
)

// overdue is how many scrapes pass until a copy that was just made wrong is overdue in the shop: max_staleness of 5 s, and the
// reads that find it.
const overdue = 12

// demoScrapes are for the demo, whose caches live in the exporter's process: on a busy machine many of its scrapes find some of them slow.
const demoScrapes = 25

var scenarios = []scenario{
	{
		name: "queue-backlog", short: true, cause: "queue", alert: "CacheInvalQueueBacklog", within: 3,
		what: "A processor that needs 250 ms for each invalidation, and 6,000 of them at once; the list never drains.",
		open: func(t *testing.T, _ *station) estate {
			sh := trading(t, shop.Options{})
			return estate{config: sh.Config(), fault: func(*servers.Process) {
				sh.Slow.Store(int64(250 * time.Millisecond))
				sh.Publish(imported(6000)...)
			}}
		},
	},
	{
		name: "flapping-backlog", cause: "queue", alert: "CacheInvalQueueBacklog", within: 3,
		what: "A queue goes above its limit for three minutes and a half and is empty for two, again and again.",
		open: flappingBacklog,
	},
	{
		name: "stalled-consumer", cause: "queue", alert: "CacheInvalConsumerStalled", within: 10,
		what: "A consumer group of Kafka keeps its members and commits nothing, while messages arrive.",
		why:  "--queue.stall-window, and three samplings",
		open: func(t *testing.T, s *station) estate {
			sh := trading(t, shop.Options{Kafka: true, Broker: s.broker, Topic: "stalled"})
			return estate{config: sh.Config(), fault: func(*servers.Process) { sh.Stalled.Store(true) }}
		},
	},
	{
		name: "lost-messages", cause: "queue", alert: "CacheInvalMessagesLost", within: 3,
		what: "Kafka's log is cut off past what a group has committed that stands still.",
		open: func(t *testing.T, s *station) estate {
			sh := trading(t, shop.Options{Kafka: true, Broker: s.broker, Topic: "lost"})
			return estate{config: sh.Config(), fault: func(*servers.Process) {
				sh.Stalled.Store(true)
				for from := sh.Written.Load(); sh.Written.Load() < from+200; {
					time.Sleep(10 * time.Millisecond)
				}
				sh.LoseMessages()
			}}
		},
	},
	{
		name: "partition", short: true, cause: "network", alert: "CacheInvalPartitionSuspected", within: overdue,
		what: "A Redis and a memcached are cut off from the application, which goes on without them; the exporter reaches them.",
		why:  "copies are overdue after max_staleness",
		open: func(t *testing.T, _ *station) estate {
			sh := trading(t, shop.Options{})
			return estate{config: sh.Config(), fault: func(*servers.Process) { sh.CutOff("redis-3", "memcached-2") }}
		},
	},
	{
		name: "split-brain", short: true, cause: "network", alert: "CacheInvalSplitBrain", within: 10,
		what: "A Redis Cluster of three shards is cut in two; the larger side promotes a replica, and both sides say that the slots are theirs.",
		why:  "cluster-node-timeout, and the election",
		open: splitBrain(false),
	},
	{
		name: "frozen-replica", cause: "network", alert: "CacheInvalPartitionSuspected", within: overdue,
		what: "Nothing from its primary reaches a replica any more, though both say that the link is up; the replica answers.",
		why:  "copies are overdue after max_staleness; CacheInvalReplicationFrozen speaks of nodes that are up for 10 min, which are not scaled",
		open: frozenReplica,
	},
	{
		name: "node-down", cause: "network", alert: "CacheInvalLayerUnreachable", within: 3,
		what: "One of three Redis ends.",
		open: func(t *testing.T, _ *station) estate {
			sh := trading(t, shop.Options{})
			return estate{config: sh.Config(), fault: func(*servers.Process) { sh.L2[1].Stop() }}
		},
	},
	{
		name: "version-drift", short: true, cause: "version", alert: "CacheInvalVersionDrift", within: overdue,
		what: "One instance of three runs an older release, which ignores invalidations of its own cache.",
		why:  "copies are overdue after max_staleness",
		open: func(t *testing.T, _ *station) estate {
			sh := trading(t, shop.Options{Local: true})
			return estate{config: sh.Config(), fault: func(*servers.Process) {
				sh.Deploy(2, "2.2.9")
				sh.CutOff("app-3")
			}}
		},
	},
	{
		name: "failed-invalidations", cause: "logic", alert: "CacheInvalFailureRatio", within: 6,
		what: "22% of the invalidations fail, as the processor's own counters tell.",
		why:  "the share over 5m and 2m (20 s and 8 s) passes 5%",
		open: func(t *testing.T, _ *station) estate {
			sh := trading(t, shop.Options{})
			return estate{config: sh.Config(), fault: func(*servers.Process) { sh.Failing.Store(22) }}
		},
	},
	{
		name: "failed-invalidations-in-dynamodb", cause: "logic", alert: "CacheInvalFailureRatio", within: 10,
		what: "Half of the invalidations fail, as the history in DynamoDB tells.",
		why:  "the share over 5m and 2m (20 s and 8 s) passes 5%, and three failures have to be read",
		open: recorded,
	},
	{
		name: "silent-staleness", cause: "logic", alert: "CacheInvalSilentStaleness", within: overdue + 4,
		what: "A path of the application changes the database and sends no invalidation; all copies are alike, and wrong.",
		why:  "copies are overdue after max_staleness",
		open: func(t *testing.T, _ *station) estate {
			sh := trading(t, shop.Options{Origin: true})
			return estate{config: sh.Config(), fault: func(*servers.Process) { sh.Forgotten.Store(90) }}
		},
	},
	{
		name: "deletes-that-miss-a-node", cause: "logic", alert: "CacheInvalSilentStaleness", within: overdue + 20,
		what: "Most invalidations miss one of the nodes, now this, now that one.",
		why:  "each record is changed every 20 s, and copies are overdue, or count as survivors, after max_staleness",
		open: func(t *testing.T, _ *station) estate {
			sh := shop.Open(t, shop.Options{Batch: true, Reads: 150})
			sh.Trade(2)
			return estate{config: sh.Config(), fault: func(*servers.Process) { sh.Missing.Store(80) }}
		},
	},
	{
		name: "invalidation-loop", short: true, cause: "logic", alert: "CacheInvalLoop", within: 8,
		what: "Each processed invalidation is published again, at the same version.",
		why:  "the rate over 1m (4 s) and a fifth of the newest 1,000 messages",
		open: loop(100, false, nil),
	},
	{
		name: "strays", ticket: true, alert: "CacheInvalStrayCopies", within: 4,
		what: "A client with another list of memcached servers fills keys on servers that are not theirs: no copy is overdue, so it is a ticket.",
		open: strays,
	},
	{
		name: "config-drift", ticket: true, alert: "CacheInvalConfigDrift", within: 4,
		what: "eviction_policy is changed on one Redis of three: no copy is wrong, so it is a ticket.",
		open: func(t *testing.T, _ *station) estate {
			sh := trading(t, shop.Options{})
			return estate{config: sh.Config(), fault: func(*servers.Process) {
				sh.L2[1].Must(t, "config", "set", "maxmemory-policy", "allkeys-lru")
			}}
		},
	},
	{
		name: "exporter-down", alert: "CacheInvalExporterDown", within: 3,
		what: "The exporter ends. The page names no cause of stale data, for nobody looks.",
		open: func(t *testing.T, _ *station) estate {
			sh := trading(t, shop.Options{})
			return estate{config: sh.Config(), fault: func(exporter *servers.Process) { exporter.Stop() }}
		},
	},

	{
		name: "guide-storm-by-loop", cause: "logic", alert: "CacheInvalLoop", within: 8,
		what: "The guide's first incident: an invalidation storm of memcached, caused by a loop, at some hundred a second.",
		why:  "the rate over 1m (4 s) and a fifth of the newest 1,000 messages",
		open: loop(400, true, nil),
	},
	{
		name: "guide-split-brain", cause: "network", alert: "CacheInvalSplitBrain", within: 10,
		what: "The guide's second incident: a Redis Cluster is cut in two while invalidations go on, and the smaller side serves what it has.",
		why:  "cluster-node-timeout, and the election",
		open: splitBrain(true),
	},
	{
		name: "guide-circular-batch", cause: "logic", alert: "CacheInvalLoop", within: 12,
		what: "The guide's third incident: a batch job publishes invalidations of records that depend on each other in a circle.",
		why:  "the rate over 1m (4 s) and a fifth of the newest 1,000 messages",
		open: loop(50, false, []int{3, 7, 11, 15, 19}),
	},

	{
		name: "demo-queue-backlog", cause: "queue", alert: "CacheInvalQueueBacklog", within: demoScrapes,
		what: "demo --scenario=queue-backlog.", why: "the depth grows by 1,000 a second",
		open: demonstrated(demo.QueueBacklog),
	},
	{
		name: "demo-partition", cause: "network", alert: "CacheInvalPartitionSuspected", within: demoScrapes,
		what: "demo --scenario=partition.", why: "copies are overdue after max_staleness",
		open: demonstrated(demo.Partition),
	},
	{
		name: "demo-invalidation-loop", cause: "logic", alert: "CacheInvalLoop", within: demoScrapes,
		what: "demo --scenario=invalidation-loop.", why: "the rate over 1m (4 s)",
		open: demonstrated(demo.InvalidationLoop),
	},
	{
		name: "demo-version-drift", cause: "version", alert: "CacheInvalVersionDrift", within: demoScrapes,
		what: "demo --scenario=version-drift.", why: "copies are overdue after max_staleness",
		open: demonstrated(demo.VersionDrift),
	},
	{
		name: "demo-stale-set", cause: "logic", alert: "CacheInvalSilentStaleness", within: demoScrapes,
		what: "demo --scenario=stale-set.", why: "copies are overdue after max_staleness",
		open: demonstrated(demo.StaleSet),
	},
	{
		name: "demo-deaf-instance", cause: "network", alert: "CacheInvalNodeMissesInvalidations", within: demoScrapes,
		what: "demo --scenario=deaf-instance.", why: "what it missed is looked at when it is 10 s old",
		deaf: "app-3", open: demonstrated(demo.DeafInstance),
	},
	{
		name: "nothing-happens", nothing: true, short: true,
		what: "A shop with everything that the exporter watches: nothing pages, and there is no ticket.",
		open: everything,
	},
	{
		name: "demo-healthy", nothing: true,
		what: "demo: nothing pages, and there is no ticket.",
		open: demonstrated(demo.Healthy),
	},
}

// TestScenarios plays them all in a soak, and elsewhere some.
func TestScenarios(t *testing.T) {
	began := time.Now()
	s := openStation(t)
	s.broker = servers.Kafka(t)
	t.Run("played", func(t *testing.T) {
		for _, sc := range scenarios {
			if !soak && !sc.short {
				continue
			}
			t.Run(sc.name, func(t *testing.T) {
				t.Parallel()
				s.play(t, sc)
			})
		}
	})
	for _, p := range s.pages("") {
		if !slices.ContainsFunc(scenarios, func(sc scenario) bool { return sc.name == p.cluster }) {
			t.Errorf("a page of no scenario: %v", p)
		}
	}
	s.dashboards(t, began)
	writeDetection(t, "scenarios", table(s.played, rows(t)))
}

// trading is a shop with 100 changes a second.
func trading(t *testing.T, opt shop.Options) *shop.Shop {
	t.Helper()
	opt.Batch = true
	sh := shop.Open(t, opt)
	sh.Trade(100)
	return sh
}

// streamed is an entry of everything's stream.
func streamed(key string) *redis.XAddArgs {
	return &redis.XAddArgs{Stream: "inv:stream", Values: []string{"key", key, "version", "1"}}
}

// imported are invalidations of n keys of their own, as a bulk import sends them.
func imported(n int) []shop.Message {
	var out []shop.Message
	for i := range n {
		out = append(out, shop.Message{Key: fmt.Sprintf("product:%d:price", i), Version: 1})
	}
	return out
}

// flappingBacklog has a processor that is slow, and is not, in turn. The times are those of the usual speed.
func flappingBacklog(t *testing.T, _ *station) estate {
	sh := trading(t, shop.Options{})
	return estate{config: sh.Config(), fault: func(*servers.Process) {
		surge := func() {
			sh.Slow.Store(int64(250 * time.Millisecond))
			sh.Publish(imported(6000)...)
		}
		surge()
		beside(t, func(stop <-chan struct{}) {
			for above := true; ; above = !above {
				lasts := 210 * time.Second
				if !above {
					sh.Slow.Store(0)
					lasts = 120 * time.Second
				}
				select {
				case <-stop:
					return
				case <-time.After(lasts / factor):
				}
				if !above {
					surge()
				}
			}
		})
	}}
}

// loop of a number of messages in a list or a topic; with a circle, only among these records. One that goes through both pages for
// each: nobody can tell that it is one.
func loop(messages int, list bool, circle []int) func(*testing.T, *station) estate {
	return func(t *testing.T, s *station) estate {
		options := shop.Options{Kafka: true, Unlisted: true, Broker: s.broker, Topic: fmt.Sprintf("loop-%d", messages)}
		if list {
			options = shop.Options{}
		}
		sh := trading(t, options)
		return estate{config: sh.Config(), fault: func(*servers.Process) {
			if circle == nil {
				sh.Looping.Store(true)
			} else {
				sh.Circle(circle...)
			}
			for i := range messages {
				k := i % shop.Canaries
				if circle != nil {
					k = circle[i%len(circle)]
				}
				sh.Publish(shop.Message{Key: shop.Key(k), Version: 1})
			}
		}}
	}
}

// splitBrain of a Redis Cluster; with writes that go on.
func splitBrain(writing bool) func(*testing.T, *station) estate {
	return func(t *testing.T, _ *station) estate {
		var args []string
		if writing {
			args = []string{"--cluster-allow-reads-when-down", "yes"}
		}
		c := servers.ProxiedRedisCluster(t, 3, 1, args...)
		var keys []string
		for i := range 30 {
			keys = append(keys, shop.Key(i))
			if err := c.Client.Set(t.Context(), keys[i], fmt.Sprintf(`{"version":%d}`, i+1), time.Hour).Err(); err != nil {
				t.Fatal(err)
			}
		}
		if writing {
			beside(t, func(stop <-chan struct{}) {
				for n := 100; ; n++ {
					select {
					case <-stop:
						return
					case <-time.After(20 * time.Millisecond):
						_ = c.Client.Set(t.Context(), keys[n%len(keys)], fmt.Sprintf(`{"version":%d}`, n), time.Hour).Err() // some have no primary for a while
					}
				}
			})
		}
		config := fmt.Sprintf(`
layers:
  - name: l2
    ttl: 1h
    max_staleness: 5s
    nodes:
      - {name: cluster-1, redis: {cluster: [%q, %q]}}
canaries:
  - class: user_profile
    layers: [l2]
    version: {json: $.version}
    keys: [%s]
`, c.Shards[1][0].Announced, c.Shards[2][0].Announced, strings.Join(keys, ", "))
		return estate{config: config, fault: func(*servers.Process) { c.Cut(t, c.Shards[0][0]) }}
	}
}

// frozenReplica is cut off from its primary, which goes on.
func frozenReplica(t *testing.T, _ *station) estate {
	primary, replica := servers.Redis(t), servers.Redis(t)
	door := servers.NewProxy(t, primary.Addr)
	replica.Must(t, "replicaof", "127.0.0.1", servers.Port(t, door.Addr))
	var keys []string
	for i := range 20 {
		keys = append(keys, shop.Key(i))
		primary.Set(t.Context(), keys[i], `{"version":1}`, time.Hour)
	}
	servers.Eventually(t, "the replica has the keys", func() bool { return replica.DBSize(t.Context()).Val() == 20 })
	beside(t, func(stop <-chan struct{}) {
		for n := 2; ; n++ {
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Millisecond):
				primary.Set(t.Context(), keys[n%len(keys)], fmt.Sprintf(`{"version":%d}`, n), time.Hour)
			}
		}
	})
	config := fmt.Sprintf(`
layers:
  - name: l2
    ttl: 1h
    max_staleness: 5s
    nodes:
      - {name: redis-1, redis: {address: %q}}
      - {name: redis-2, redis: {address: %q}}
canaries:
  - class: user_profile
    layers: [l2]
    version: {json: $.version}
    keys: [%s]
`, primary.Addr, replica.Addr, strings.Join(keys, ", "))
	return estate{config: config, fault: func(*servers.Process) { door.Mute(true) }}
}

// strays on a memcached pool: a client that knows one server alone fills all keys there.
func strays(t *testing.T, _ *station) estate {
	var started []string
	for range 3 {
		started = append(started, servers.Memcached(t).Addr)
	}
	slices.Sort(started)
	fill := func(list ...string) {
		client := servers.MemcachedClient(t, list...)
		for i := range shop.Canaries {
			if err := client.Set(&memcache.Item{Key: shop.Key(i), Value: []byte(`{"version":1}`), Expiration: 3600}); err != nil {
				t.Error(err)
			}
		}
	}
	fill(started...)
	var keys []string
	for i := range shop.Canaries {
		keys = append(keys, shop.Key(i))
	}
	other := servers.Redis(t)
	for _, k := range keys {
		other.Set(t.Context(), k, `{"version":1}`, time.Hour)
	}
	config := fmt.Sprintf(`
layers:
  - name: l2
    ttl: 1h
    nodes:
      - {name: redis-1, redis: {address: %q}}
  - name: l3
    ttl: 24h
    nodes:
      - {name: pool, memcached: {servers: [%s], hashing: gomemcache}}
canaries:
  - class: user_profile
    layers: [l2, l3]
    version: {json: $.version}
    keys: [%s]
`, other.Addr, `"`+strings.Join(started, `", "`)+`"`, strings.Join(keys, ", "))
	return estate{config: config, fault: func(*servers.Process) { fill(started[0]) }}
}

// demonstrated is the binary's own demo.
func demonstrated(name string) func(*testing.T, *station) estate {
	return func(_ *testing.T, s *station) estate {
		return estate{
			start: func(t *testing.T) *servers.Process {
				return servers.Exporter(t, s.binary, servers.FreeAddr(t), "demo", "--scenario="+name,
					"--queue.stall-window="+scaled("60s"))
			},
			fault: func(exporter *servers.Process) {
				if name != demo.Healthy { // the demo's own words before that say what to look for in the log
					await(s.t, "the demo's fault begins", func() bool { return strings.Contains(exporter.Output(), "fault=begins nodes=") })
				}
			},
		}
	}
}
