package detection

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
	"github.com/redis/go-redis/v9"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// deadReplica: a Cluster whose dead replica some nodes have forgotten, and one in which some know it by gossip alone, without its primary.
func deadReplica(t *testing.T, e *oddEstate) {
	keys := keysOf("dead-replica")
	c := servers.RedisCluster(t, 3, 1)
	for _, k := range keys {
		if err := c.Client.Set(t.Context(), k, copyOf, time.Hour).Err(); err != nil {
			t.Fatal(err)
		}
	}
	dead := c.Shards[1][1]
	dead.Stop()
	alive := slices.DeleteFunc(c.Nodes(), func(n *servers.ClusterNode) bool { return n == dead })
	servers.Eventually(t, "all know that it failed", func() bool {
		return !slices.ContainsFunc(alive, func(n *servers.ClusterNode) bool {
			return !strings.Contains(lineOf(n.Do(t.Context(), "cluster", "nodes").Val(), dead.ID), "slave,fail ")
		})
	})
	c.Shards[0][0].Must(t, "cluster", "forget", dead.ID)
	c.Shards[2][1].Must(t, "cluster", "forget", dead.ID)

	gone := servers.FreeAddr(t)
	said := newScriptedCluster(t, func(i int, view string) string {
		of := [3]string{"-", "aaa", "-"}[i]
		return view + "eee " + gone + "@1 slave,fail " + of + " 1 1 1 disconnected\n"
	}, "")
	e.layer("dead-replica", keys, "",
		fmt.Sprintf("{name: forgotten, redis: {cluster: [%q]}}", c.Shards[0][0].Announced),
		fmt.Sprintf("{name: by-gossip, redis: {cluster: [%q]}}", said[0].addr))
}

// lineOf a node in CLUSTER NODES; empty: it is not there.
func lineOf(nodes any, id string) string {
	for line := range strings.Lines(fmt.Sprint(nodes)) {
		if strings.HasPrefix(line, id+" ") {
			return line
		}
	}
	return ""
}

// newScriptedCluster is three primaries that answer what say makes of a view that is in order, and shards to CLUSTER SHARDS.
func newScriptedCluster(t *testing.T, say func(i int, view string) string, shards string) []*scripted {
	t.Helper()
	c := make([]*scripted, 3)
	for i := range c {
		offset := rising()
		c[i] = (&scripted{
			info: func() string {
				return fmt.Sprintf("redis_version:7.0.15\nrun_id:%srun%d\nrole:master\nmaster_replid:%[1]sid%[2]d\nmaster_repl_offset:%[3]d\n", c[i].port(), i, offset())
			},
			says: func(command []string) string {
				if command[0] != "CLUSTER" {
					return ""
				}
				switch command[1] {
				case "INFO":
					return servers.BulkText("cluster_state:ok\r\ncluster_current_epoch:3\r\n")
				case "NODES":
					self := [3]string{}
					self[i] = "myself,"
					return servers.BulkText(say(i, fmt.Sprintf("aaa %s@17000 %smaster - 0 1426238317239 1 connected 0-5460\n"+
						"bbb %s@17000 %smaster - 0 1426238317239 2 connected 5461-10922\n"+
						"ccc %s@17000 %smaster - 0 1426238317239 3 connected 10923-16383\n", c[0].addr, self[0], c[1].addr, self[1], c[2].addr, self[2])))
				case "SHARDS":
					if shards != "" {
						return shards
					}
				}
				return "-ERR Unknown subcommand\r\n"
			},
		}).start(t)
	}
	return c
}

// endpoints: a Cluster that names its nodes ?, and one that names the others by a port alone.
func endpoints(t *testing.T, e *oddEstate) {
	keys := keysOf("endpoints")
	c := servers.RedisCluster(t, 3, 0, "--cluster-preferred-endpoint-type", "unknown-endpoint")
	for _, k := range keys {
		hold(t, c.Shards[c.Owner(t, k)][0].RedisServer, []string{k})
	}
	if said := fmt.Sprint(c.Nodes()[0].Do(t.Context(), "cluster", "shards").Val()); strings.Contains(said, "endpoint 127.0.0.1") {
		t.Fatalf("it has endpoints: %s", said)
	}
	var garbled []*scripted
	shard := func(id, endpoint string) string {
		return "*4\r\n" + servers.BulkText("slots") + "*2\r\n:0\r\n:5460\r\n" + servers.BulkText("nodes") + "*1\r\n" +
			servers.BulkTexts("id", id, "port", "7001", "ip", "", "endpoint", endpoint, "role", "master", "health", "online")
	}
	garbled = newScriptedCluster(t, func(i int, view string) string {
		// Each still knows itself, and the next one; the third it knows by a port.
		return strings.Replace(view, garbled[(i+2)%3].addr, [3]string{":7001", "?:7001", ":0"}[i], 1)
	}, "*3\r\n"+shard("aaa", "?")+shard("bbb", "")+shard("ccc", ":7001"))
	e.layer("endpoints", keys, "",
		fmt.Sprintf("{name: unknown, redis: {cluster: [%q]}}", c.Addrs()[0]),
		fmt.Sprintf("{name: garbled, redis: {cluster: [%q]}}", garbled[0].addr))
}

// withoutRunID: a Dragonfly, which is written to, under two addresses.
func withoutRunID(t *testing.T, e *oddEstate) {
	keys := keysOf("no-run-id")
	offset := rising()
	info := func() string {
		return fmt.Sprintf("dragonfly_version:df-v1.21.2\nrole:master\nmaster_replid:x\nmaster_repl_offset:%d\nuptime_in_seconds:100000\n", offset())
	}
	first, second := (&scripted{info: info}).start(t), (&scripted{info: info}).start(t)
	e.layer("no-run-id", keys, "", append(goods(t, "no-run-id", 2, keys),
		fmt.Sprintf("{name: dragonfly, redis: {replication: [%q, %q]}}", first.addr, second.addr))...)
}

// announced: addresses that Sentinels and primaries announce, and that nobody reaches from here.
func announced(t *testing.T, e *oddEstate) {
	keys := keysOf("announced")
	p, a, b := good(t, keys), servers.Redis(t), servers.Redis(t)
	a.Follow(t, p)
	b.Follow(t, p)
	sentinels := servers.Sentinels(t, 3, "mymaster", p)
	b.Stop()
	servers.Eventually(t, "the Sentinels call it down", func() bool {
		return !slices.ContainsFunc(sentinels, func(s *servers.RedisServer) bool {
			said := fmt.Sprint(s.Do(t.Context(), "sentinel", "replicas", "mymaster").Val())
			return !strings.Contains(said, "s_down") || !strings.Contains(said, "disconnected")
		})
	})
	// Two containers: what they announce is their own network's, where one address hangs and one refuses.
	host, hung, _ := strings.Cut(servers.Hung(t), ":")
	docker := good(t, keys)
	inner := servers.Redis(t, "--replica-announce-ip", host, "--replica-announce-port", hung)
	inner.Must(t, "replicaof", host, servers.Port(t, docker.Addr))
	servers.Eventually(t, "the replica is announced at its inner address", func() bool {
		return strings.Contains(docker.Info(t.Context(), "replication").Val(), "port="+hung+",state=online")
	})
	offset, channel := rising(), servers.FreeAddr(t)
	valkey := (&scripted{info: func() string {
		_, port, _ := strings.Cut(channel, ":")
		return fmt.Sprintf("redis_version:7.2.4\nserver_name:valkey\nvalkey_version:8.0.1\nrun_id:valkey\nrole:master\nmaster_replid:v\nmaster_repl_offset:%d\nconnected_slaves:2\n"+
			"slave0:ip=%s,port=%s,state=send_bulk,offset=0,lag=0,type=rdb-channel\nslave1:ip=,port=6379,state=online,offset=1,lag=0\n", offset(), host, port)
	}}).start(t)
	e.layer("announced", keys, "",
		fmt.Sprintf("{name: watched, redis: {sentinel: {master: mymaster, addresses: [%q, %q, %q]}}}", sentinels[0].Addr, sentinels[1].Addr, sentinels[2].Addr),
		fmt.Sprintf("{name: docker, redis: {replication: [%q, %q]}}", docker.Addr, inner.Addr),
		fmt.Sprintf("{name: valkey, redis: {replication: [%q]}}", valkey.addr))
}

// oddLine: one of a Cluster's nodes has a line in its view that nobody can read.
func oddLine(t *testing.T, e *oddEstate) {
	keys := keysOf("odd-line")
	c := newScriptedCluster(t, func(i int, view string) string {
		if i == 1 {
			return strings.Replace(view, "ccc ", "what is this?\nccc ", 1)
		}
		return view
	}, "")
	e.layer("odd-line", keys, "", append(goods(t, "odd-line", 2, keys),
		fmt.Sprintf("{name: scribbled, redis: {cluster: [%q, %q]}}", c[0].addr, c[1].addr))...)
}

// oddRoles: KeyDB's active replicas, which follow each other, and a replica that calls itself one.
func oddRoles(t *testing.T, e *oddEstate) {
	keys := keysOf("roles")
	offset := rising()
	active := make([]*scripted, 3)
	for i := range active {
		active[i] = (&scripted{info: func() string {
			first, second := active[(i+1)%3], active[(i+2)%3]
			return fmt.Sprintf("redis_version:6.3.4\nrun_id:keydb%d\nrole:active-replica\nmaster_global_link_status:up\nconnected_masters:2\n"+
				"master_host:%s\nmaster_port:%s\nmaster_link_status:up\nmaster_1_host:%s\nmaster_1_port:%s\nmaster_1_link_status:up\n"+
				"slave_repl_offset:%d\nslave_read_only:0\nconnected_slaves:0\nmaster_replid:keydb%[1]d\nmaster_repl_offset:%[7]d\nuptime_in_seconds:90000\n",
				i, first.host(), first.port(), second.host(), second.port(), offset()/2, offset()*int64(i+1))
		}}).start(t)
	}
	primary := &scripted{}
	replica := (&scripted{info: func() string {
		return fmt.Sprintf("redis_version:4.0.1\nrun_id:old-r\nrole:replica\nmaster_host:%s\nmaster_port:%s\nmaster_link_status:up\nslave_repl_offset:%d\nmaster_replid:old\n"+
			"uptime_in_seconds:90000\n", primary.host(), primary.port(), offset())
	}}).start(t)
	primary.info = func() string {
		now := offset()
		return fmt.Sprintf("redis_version:4.0.1\nrun_id:old-p\nrole:master\nmaster_replid:old\nmaster_repl_offset:%d\nuptime_in_seconds:90000\n"+
			"slave0:ip=%s,port=%s,state=online,offset=%[1]d,lag=0\n", now, replica.host(), replica.port())
	}
	primary.start(t)
	e.layer("roles", keys, "", fmt.Sprintf("{name: keydb, redis: {replication: [%q]}}", active[0].addr))
	e.layer("old-roles", keys, "",
		fmt.Sprintf("{name: old, redis: {replication: [%q, %q]}}", primary.addr, replica.addr))
}

// frozen: a replica whose process stands still, and one that answers and stands still. Their primaries call both online.
func frozen(t *testing.T, e *oddEstate) {
	keys := keysOf("frozen")
	primary, replica := good(t, keys, "--repl-timeout", "3600"), servers.Redis(t)
	replica.Follow(t, primary)
	e.later = append(e.later, func() {
		replica.Freeze(t)
		primary.Must(t, "set", "filler", strings.Repeat("x", 10_000))
	})
	offset, ahead := rising(), &scripted{}
	stands := (&scripted{info: func() string {
		return fmt.Sprintf("redis_version:7.0.15\nrun_id:stands-r\nrole:slave\nmaster_host:%s\nmaster_port:%s\nmaster_link_status:up\nslave_repl_offset:1000\n"+
			"master_replid:stands\nuptime_in_seconds:90000\n", ahead.host(), ahead.port())
	}}).start(t)
	ahead.info = func() string {
		return fmt.Sprintf("redis_version:7.0.15\nrun_id:stands-p\nrole:master\nmaster_replid:stands\nmaster_repl_offset:%d\nuptime_in_seconds:90000\n"+
			"slave0:ip=%s,port=%s,state=online,offset=1000,lag=1\n", offset(), stands.host(), stands.port())
	}
	ahead.start(t)
	e.layer("frozen", keys, "", append(goods(t, "frozen", 2, keys), node("frozen-primary", primary.Addr), node("frozen-replica", replica.Addr),
		node("ahead", ahead.addr), node("stands", stands.addr))...)
}

// longReplies: a TTL of 19 digits, INFO of more than 1 MiB, and a key's name of more than 1 MiB in SCAN.
func longReplies(t *testing.T, e *oddEstate) {
	keys := keysOf("long")
	eternal, other := good(t, slices.Concat(keys, []string{"long:listed"})), good(t, slices.Concat(keys, []string{"long:listed"}))
	eternal.Must(t, "pexpire", keys[0], "9223370000000000000")
	eternal.Must(t, "set", "long:"+strings.Repeat("k", 2<<20), copyOf, "ex", 3600)
	errors := strings.Repeat("errorstat_ERR x:count=1\n", 100_000)
	offset := rising()
	talkative := (&scripted{
		info: func() string {
			return fmt.Sprintf("redis_version:7.0.15\nrun_id:talks\nrole:master\nmaster_repl_offset:%d\n%skeyspace_hits:7\n", offset(), errors)
		},
		ttl: ":9223372036854775807\r\n",
	}).start(t)
	e.layer("long", keys, `, pattern: "long:*"`, node("long-1", other.Addr), node("eternal", eternal.Addr), node("talkative", talkative.addr))
}

// refusedQueues: the connections of queues, which are refused their login, their database, or everything.
func refusedQueues(t *testing.T, e *oddEstate) {
	keys := keysOf("refused")
	login, database := good(t, keys), good(t, keys)
	for _, r := range []*servers.RedisServer{login, database} {
		r.Must(t, "acl", "setuser", "worker", "on", ">first", "~*", "+@all")
		r.Must(t, "rpush", "inv", "x", "x", "x")
	}
	for _, k := range slices.Concat(keys, []string{"inv"}) {
		database.Must(t, "move", k, 1)
	}
	worked(t, login, 0)
	worked(t, database, 1)
	full := servers.Listen(t, func(c net.Conn) {
		defer c.Close()
		_, _ = io.WriteString(c, "-ERR max number of clients reached\r\n")
	})
	e.layer("refused", keys, "", append(goods(t, "refused", 3, keys),
		node("login", login.Addr, ", username: worker, password: first"),
		node("database", "redis://"+database.Addr+"/1", ", username: worker, password: first"),
		node("full", full))...)
	for _, name := range []string{"login", "database", "full"} {
		e.queue("refused-"+name, "redis: {node: "+name+", list: inv}")
	}
	e.later = append(e.later, func() {
		login.Must(t, "acl", "setuser", "worker", "resetpass", ">second")
		database.Must(t, "acl", "setuser", "worker", "-select")
		for _, r := range []*servers.RedisServer{login, database} {
			r.Must(t, "client", "kill", "user", "worker")
		}
	})
}

// worked has a message of the list inv taken, and another one put there, all the time: else it would stand still until it is refused.
func worked(t *testing.T, r *servers.RedisServer, db int) {
	t.Helper()
	beside(t, func(stop <-chan struct{}) {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			case <-time.After(100 * time.Millisecond):
				ctx := context.WithoutCancel(t.Context())
				_, _ = r.TxPipelined(ctx, func(p redis.Pipeliner) error { // the last of them may meet a server that ends
					p.Do(ctx, "select", db)
					p.RPush(ctx, "inv", n)
					p.LPop(ctx, "inv")
					p.Do(ctx, "select", 0)
					return nil
				})
			}
		}
	})
}

// restricted is a good Redis as a node on which we are a user with these rights.
func restricted(t *testing.T, name string, keys []string, rights ...any) string {
	t.Helper()
	r := good(t, keys)
	r.Must(t, append([]any{"acl", "setuser", "least", "on", ">pw"}, rights...)...)
	return node(name, r.Addr, ", username: least, password: pw")
}

// infoRefused: a user who may read keys, and not INFO.
func infoRefused(t *testing.T, e *oddEstate) {
	keys := keysOf("no-info")
	e.layer("no-info", keys, `, pattern: "no-info:*"`, append(goods(t, "no-info", 2, keys),
		restricted(t, "no-account", keys, "~*", "+mget", "+pttl", "+type", "+scan"))...)
}

// nothingLearned: what may not be listed, read or asked at all.
func nothingLearned(t *testing.T, e *oddEstate) {
	keys := keysOf("unlearned")
	one := servers.RedisCluster(t, 1, 0).Shards[0][0]
	hold(t, one.RedisServer, keys)
	one.Must(t, "acl", "setuser", "least", "on", ">pw", "~*", "+@all", "-cluster")
	locked := servers.Redis(t, "--cluster-enabled", "yes", "--requirepass", "another")
	healthy := servers.Memcached(t)
	client := servers.MemcachedClient(t, healthy.Addr)
	for _, k := range keys {
		if err := client.Set(&memcache.Item{Key: k, Value: []byte(copyOf), Expiration: 3600}); err != nil {
			t.Fatal(err)
		}
	}
	e.layer("unlearned", keys, `, pattern: "unlearned:*"`, append(goods(t, "unlearned", 2, keys),
		restricted(t, "no-listing", keys, "~*", "+@all", "-scan"),
		restricted(t, "no-copies", keys, "~*", "+@all", "-mget"),
		restricted(t, "no-rights", keys),
		fmt.Sprintf("{name: unlearned-3, memcached: {address: %q}}", healthy.Addr),
		fmt.Sprintf("{name: binary, memcached: {address: %q}}", servers.Memcached(t, "-B", "binary").Addr),
		fmt.Sprintf("{name: no-view, redis: {cluster: [%q], username: least, password: pw}}", one.Announced),
		fmt.Sprintf("{name: locked, redis: {cluster: [%q]}}", locked.Addr))...)
}
