package redis

import (
	"fmt"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/internal/test/configfiles"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// sameConfig compares expressions by their text.
var sameConfig = cmp.Comparer(func(a, b *regexp.Regexp) bool { return fmt.Sprint(a) == fmt.Sprint(b) })

func TestNodesAreRead(t *testing.T) {
	dir := configfiles.Fixtures(t)
	const list = `
- {address: "cache-1:6379"}
- {address: "redis://cache-1:6379/0", username: exporter, password_file: redis.password}
- {address: "rediss://cache-2:6379", password: "${REDIS_PASSWORD}", tls: {ca_file: ca.pem}}
- {replication: ["primary.example:6379", "replica.example:6379"], tls: {}}
- {cluster: ["c1:7000", "c2:7000"], password: secret, tls: {}}
- sentinel:
    master: mymaster
    addresses: ["s1:26379", "s2:26379", "s3:26379"]
    username: watcher
    password: secret
    tls: {server_name: sentinel.example}
  username: exporter
  password: of exporter
- {sentinel: {master: other, addresses: ["s1:26379"], password_file: redis.password}}
- {dns: "redis-headless:6379", tls: {}}
- {dns: "srv+_redis._tcp.example.org"}
# A user and password of an address end up where nothing prints them.
- {address: "redis://user:p%40ss@cache-1/3"}
- {address: "redis://user@cache-2", password: x}
- {address: "rediss://:only@[::1]:6379"}
- {address: "cache-4:6379/2", username: "", password: ""}
- {address: "redis://:${CACHEINV_TEST_PASSWORD}@${CACHEINV_TEST_HOST}:6379"}
# Aliases
- &redis {address: "cache-1:6379", username: exporter, password_file: redis.password, tls: &tls {ca_file: ca.pem}}
- <<: *redis
  address: cache-2:6379
- {<<: [{address: "cache-3:6379"}, *redis], tls: *tls}
`
	got := configfiles.Blocks(t, dir, list, func(v form.Value) *nodeConfig { return readNode(v, func(form.Value, string) {}) })
	user := form.Credentials{Username: "exporter", PasswordFile: filepath.Join(dir, "redis.password")}
	ca := &form.TLS{CAFile: filepath.Join(dir, "ca.pem")}
	want := []*nodeConfig{
		{Address: "cache-1:6379"},
		{Address: "redis://cache-1:6379/0", Credentials: user},
		{Address: "rediss://cache-2:6379", Credentials: form.Credentials{Password: "of redis"}, TLS: ca},
		{Replication: []string{"primary.example:6379", "replica.example:6379"}, TLS: &form.TLS{}},
		{Cluster: []string{"c1:7000", "c2:7000"}, Credentials: form.Credentials{Password: "secret"}, TLS: &form.TLS{}},
		{
			Sentinel: &sentinelConfig{
				Master: "mymaster", Addresses: []string{"s1:26379", "s2:26379", "s3:26379"},
				Credentials: form.Credentials{Username: "watcher", Password: "secret"}, TLS: &form.TLS{ServerName: "sentinel.example"},
			},
			Credentials: form.Credentials{Username: "exporter", Password: "of exporter"},
		},
		{Sentinel: &sentinelConfig{Master: "other", Addresses: []string{"s1:26379"}, Credentials: form.Credentials{PasswordFile: user.PasswordFile}}},
		{DNS: &form.DNSName{Host: "redis-headless", Port: "6379"}, TLS: &form.TLS{}},
		{DNS: &form.DNSName{Host: "_redis._tcp.example.org", SRV: true}},
		{Address: "redis://cache-1/3", Credentials: form.Credentials{Username: "user", Password: "p@ss"}},
		{Address: "redis://cache-2", Credentials: form.Credentials{Username: "user", Password: "x"}},
		{Address: "rediss://[::1]:6379", Credentials: form.Credentials{Password: "only"}, TLS: &form.TLS{}},
		{Address: "cache-4:6379/2"},
		{Address: "redis://cache-1:6379", Credentials: form.Credentials{Password: "s3cret"}},
		{Address: "cache-1:6379", Credentials: user, TLS: ca},
		{Address: "cache-2:6379", Credentials: user, TLS: ca},
		{Address: "cache-3:6379", Credentials: user, TLS: ca},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("want (-), got (+):\n%s", d)
	}
}

// knownNodes are those that a queue or publisher may name.
func knownNodes() (known probes.Known, nodes map[string]*nodeConfig) {
	nodes = map[string]*nodeConfig{"redis-1": {Address: "cache-1:6379"}, "pair": {Replication: []string{"primary.example:6379"}}}
	return func(name string) probes.NodeSource {
		if n, ok := nodes[name]; ok {
			return n
		}
		return nil
	}, nodes
}

func TestQueuesAreRead(t *testing.T) {
	known, nodes := knownNodes()
	const list = `
- {node: redis-1, list: invalidation_queue}
- {node: pair, stream: inv, groups: [processors, "/^audit-/"]}
- {node: pair, channel: bus, sharded: true}
`
	got := configfiles.Blocks(t, t.TempDir(), list, func(v form.Value) *queueConfig { return readQueue(v, known) })
	want := []*queueConfig{
		{Node: "redis-1", List: "invalidation_queue"},
		{Node: "pair", Stream: "inv", Groups: []form.NameMatch{{Exact: "processors"}, {Regexp: regexp.MustCompile("^audit-")}}},
		{Node: "pair", Channel: "bus", Sharded: true},
	}
	if d := cmp.Diff(want, got, sameConfig, cmpopts.IgnoreUnexported(queueConfig{})); d != "" {
		t.Errorf("want (-), got (+):\n%s", d)
	}
	if got[0].node != nodes["redis-1"] || got[1].node != nodes["pair"] {
		t.Error("a queue lies on another node than it names")
	}
}

func TestPublishersAreRead(t *testing.T) {
	known, _ := knownNodes()
	const list = `
- {node: redis-1, list: inv}
- {node: pair, stream: inv}
`
	got := configfiles.Blocks(t, t.TempDir(), list, func(v form.Value) *publishConfig { return readPublisher(v, known) })
	want := []*publishConfig{{Node: "redis-1", List: "inv"}, {Node: "pair", Stream: "inv"}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("want (-), got (+):\n%s", d)
	}
}
