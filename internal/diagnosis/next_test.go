package diagnosis

import (
	"maps"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/consistency"
	"github.com/cacheinv/cacheinv_exporter/internal/verdict"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/backends"
)

// commanded configures the servers of estate, and some groups.
const commanded = `
layers:
  - name: l1
    ttl: 1m
    nodes:
      - {name: app-1, http: {url: "https://app-1:8443/{key}"}}
      - {name: pool, http: {dns: "apps:8080", url: "https://{host}:{port}/{key}"}}
  - name: l2
    ttl: 1h
    nodes:
      - {name: redis-2, redis: {address: "10.0.0.2:6379"}}
      - {name: redis-3, redis: {address: "rediss://10.0.0.3:6380"}}
      - {name: pair, redis: {replication: ["seed:6379"]}}
      - {name: main, redis: {sentinel: {master: m, addresses: ["s:26379"]}}}
      - {name: shards, redis: {cluster: ["c1:7000"]}}
  - name: l3
    ttl: 24h
    nodes:
      - {name: memcached-2, memcached: {address: "[fd00::5]:11211"}}
queues:
  - {name: list, redis: {node: pair, list: "inv; rm -rf"}}
  - {name: sentinels, redis: {node: main, list: inv}}
  - {name: stream, redis: {node: redis-2, stream: inv}}
  - {name: topic, kafka: {brokers: ["k1:9092", "k2:9092"], topics: [inv], groups: [inv]}}
  - {name: web, http: {url: "http://web/queue", depth: "$.depth"}}
versions:
  - {app: web, nodes: {app-1: "http://app-1/version", app-2: "http://app-2/version-$(id)"}}
`

// places is where the servers of commanded are.
func places(t *testing.T) Configured {
	t.Helper()
	cfg, err := config.Parse("commanded.yml", []byte(commanded), backends.All)
	if err != nil {
		t.Fatal(err)
	}
	c := Configured{Nodes: map[string]NodeCommander{}, Queues: map[string]QueueCommander{}, Versions: map[string]VersionsCommander{}}
	for _, l := range cfg.Layers {
		for _, n := range l.Nodes {
			c.Nodes[n.Name] = n.Source
		}
	}
	for _, q := range cfg.Queues {
		c.Queues[q.Name] = q.Source
	}
	for _, a := range cfg.Versions {
		c.Versions[a.Name] = a.Source
	}
	return c
}

func (e *Evidence) join(node string, up bool) {
	group, _, _ := strings.Cut(node, "/")
	n := consistency.NodeResult{Identity: probes.Identity{Layer: "l2", Name: node, Kind: "redis", Group: group}, Up: up}
	n.Survey.Role = "primary"
	e.Result.Nodes = append(e.Result.Nodes, n)
}

// spread overdue copies over all nodes, so that nothing but logic explains them.
func (e *Evidence) spread() {
	for _, node := range []string{"redis-1", "redis-2", "redis-3", "memcached-1", "memcached-2"} {
		n := e.on(1, node)
		n.Copies[verdict.Stale], n.Overdue, n.OldestStale = 8, 8, time.Minute
	}
}

// TestTimeToDrain: by the rates, else by how the depth changes; unknown where nothing is known of either.
func TestTimeToDrain(t *testing.T) {
	never := math.Inf(1)
	for name, tt := range map[string]struct {
		queue  Queue
		growth map[string]float64
		want   float64
		known  bool
	}{
		"no depth":         {Queue{EnqueuedRate: num(1), ProcessedRate: num(2)}, nil, 0, false},
		"no rate":          {Queue{Depth: num(10)}, nil, 0, false},
		"empty":            {Queue{Depth: num(0)}, nil, 0, true},
		"by rates":         {Queue{Depth: num(10), EnqueuedRate: num(1), ProcessedRate: num(3)}, map[string]float64{"q": 9}, 5, true},
		"more comes in":    {Queue{Depth: num(10), EnqueuedRate: num(3), ProcessedRate: num(3)}, nil, never, true},
		"it shrinks":       {Queue{Depth: num(10), EnqueuedRate: num(3)}, map[string]float64{"q": -2}, 5, true},
		"it stands still":  {Queue{Depth: num(10)}, map[string]float64{"q": 0}, never, true},
		"another's growth": {Queue{Depth: num(10)}, map[string]float64{"p": 1}, 0, false},
	} {
		tt.queue.Name = "q"
		e := Evidence{Past: Past{Growth: tt.growth}}
		if left, known := e.TimeToDrain(&tt.queue); left != tt.want || known != tt.known {
			t.Errorf("%s: %v, %t", name, left, known)
		}
	}
}

// TestNext: the command fits what weighs most, and a shell takes names for what they are.
func TestNext(t *testing.T) {
	where := places(t)
	for name, tt := range map[string]struct {
		change func(e *Evidence)
		want   string
	}{
		"well":           {func(*Evidence) {}, "cacheinv_exporter check"},
		"redis down":     {func(e *Evidence) { e.down("redis-3") }, "timeout 5 redis-cli -h 10.0.0.3 -p 6380 --tls INFO replication"},
		"memcached down": {func(e *Evidence) { e.down("memcached-2") }, `timeout 5 bash -c 'exec 3<>"/dev/tcp/$0/$1"; printf "version\r\n" >&3; head -1 <&3' fd00::5 11211`},
		"http down":      {func(e *Evidence) { e.down("app-1") }, `curl -sS -m 5 -o /dev/null -w '%{http_code} %{time_total}s\n' https://app-1:8443`},
		"group's redis":  {func(e *Evidence) { e.join("pair/10.0.0.9:6399", false) }, "timeout 5 redis-cli -h 10.0.0.9 -p 6399 INFO replication"},
		"pool's http":    {func(e *Evidence) { e.join("pool/[fd00::1]:8080", false) }, `curl -sS -m 5 -o /dev/null -w '%{http_code} %{time_total}s\n' 'https://[fd00::1]:8080/'`},
		"nobody knows":   {func(e *Evidence) { e.down("redis-1") }, "cacheinv_exporter check"},
		"split brain": {func(e *Evidence) {
			e.join("pair/10.0.0.8:6379", true)
			e.Primaries = []Primaries{{"l2", "pair", 2}}
		}, "timeout 5 redis-cli -h 10.0.0.8 -p 6379 INFO replication"},
		"cluster down": {func(e *Evidence) {
			e.join("shards/10.0.0.7:7000", true)
			e.Result.Groups = append(e.Result.Groups, probes.NodeGroup{Layer: "l2", Name: "shards", Cluster: &probes.Cluster{Answered: 6, Views: 1, Primaries: 1}})
		}, "timeout 5 redis-cli -h 10.0.0.7 -p 7000 CLUSTER INFO"},
		"pool lacks a server": {func(e *Evidence) {
			e.join("pool/[fd00::1]:8080", true)
			e.Result.Groups = append(e.Result.Groups, probes.NodeGroup{Layer: "l1", Name: "pool", Nodes: []string{"pool/[fd00::1]:8080"}, Expected: 3})
		}, "cacheinv_exporter check"},
		"backlog of a group's list": {func(e *Evidence) {
			e.join("pair/10.0.0.8:6379", true)
			e.Queues[0].Depth, e.Queues[0].Sample = num(19000), nil // whose messages name no keys
		}, "timeout 5 redis-cli -h 10.0.0.8 -p 6379 LLEN 'inv; rm -rf'"},
		"backlog of a list whose primary nobody knows": {func(e *Evidence) {
			e.Configured.Queues["list"] = e.Configured.Queues["sentinels"]
			e.Queues[0].Depth, e.Queues[0].Sample = num(19000), nil
		}, "cacheinv_exporter check"},
		"backlog of a stream": {func(e *Evidence) {
			e.Queues = append(e.Queues, Queue{Name: "stream", Up: true, Depth: num(9000)})
		}, "timeout 5 redis-cli -h 10.0.0.2 -p 6379 XINFO GROUPS inv"},
		"backlog over http": {func(e *Evidence) {
			e.Queues = append(e.Queues, Queue{Name: "web", Up: true, Depth: num(9000)})
		}, "curl -sS -m 5 http://web/queue"},
		"backlog that recover applies": {func(e *Evidence) {
			e.Queues[0].Depth, e.Queues[0].Sample = num(19000), &probes.MessageSample{Messages: 1000, HasKeys: true, DistinctKeys: 900}
		}, "cacheinv_exporter recover"},
		"backlog that drains soon": {func(e *Evidence) {
			e.Queues[0].Depth, e.Queues[0].Sample = num(19000), &probes.MessageSample{Messages: 1000, HasKeys: true, DistinctKeys: 900}
			e.Queues[0].EnqueuedRate, e.Queues[0].ProcessedRate = num(10), num(500)
		}, "timeout 5 redis-cli -h seed -p 6379 LLEN 'inv; rm -rf'"},
		"backlog that drains soon, but not in the time that is its limit": {func(e *Evidence) {
			e.Queues[0].Depth, e.Queues[0].Sample = num(19000), &probes.MessageSample{Messages: 1000, HasKeys: true, DistinctKeys: 900}
			e.Queues[0].EnqueuedRate, e.Queues[0].ProcessedRate = num(10), num(500)
			e.Queues[0].Limits.DrainSeconds = 30
		}, "cacheinv_exporter recover"},
		"stalled, and recover applies what waits": {func(e *Evidence) {
			e.Queues[1].Groups = append(e.Queues[1].Groups, Group{Name: "inv", Stalled: num(1)})
			e.Queues[1].Depth, e.Queues[1].Sample = num(90), &probes.MessageSample{Messages: 90, HasKeys: true, DistinctKeys: 90}
		}, "cacheinv_exporter recover"},
		"lost messages": {func(e *Evidence) {
			e.Queues[1].Groups = append(e.Queues[1].Groups, Group{Name: "inv", Lost: 500})
			e.on(1, "redis-2").Copies[verdict.Stale] = 4
		}, "cacheinv_exporter repair --strategy=majority --class=product"},
		"unexplained, with an origin": {func(e *Evidence) {
			e.Result.Classes[1].HasOrigin, e.Result.Classes[1].HasVersion = true, true
			e.spread()
		}, "cacheinv_exporter repair --strategy=origin --class=product"},
		"unexplained, with versions": {func(e *Evidence) {
			e.Result.Classes[1].HasVersion = true
			e.spread()
		}, "cacheinv_exporter repair --strategy=newest --class=product"},
		"unexplained, too old": {func(e *Evidence) {
			e.Result.Classes[1].HasVersion = true
			e.spread()
			e.on(1, "redis-2").Convicted[verdict.ByAge] = 3
		}, "cacheinv_exporter repair --strategy=delete --class=product"},
		"stalled": {func(e *Evidence) {
			e.Queues[1].Groups, e.Queues[1].Sample = append(e.Queues[1].Groups, Group{Name: "it's", Stalled: num(1)}), nil
		}, `kafka-consumer-groups --bootstrap-server k1:9092,k2:9092 --describe --group 'it'\''s'`},
		"versions": {
			func(e *Evidence) { e.Apps[0].Versions["app-3"] = "2" },
			`for url in http://app-1/version 'http://app-2/version-$(id)'; do echo "$url: $(curl -sS -m 5 "$url")"; done`,
		},
		"settings": {func(e *Evidence) {
			e.Settings[0].Nodes = map[string][]string{"allkeys-lru": {"redis-1", "redis-2"}, "noeviction": {"redis-3"}}
		}, "timeout 5 redis-cli -h 10.0.0.3 -p 6380 --tls INFO memory"},
		"server versions": {func(e *Evidence) {
			e.Settings[0] = Setting{Layer: "l2", Name: "server_version", Nodes: map[string][]string{"7.0": {"redis-1", "redis-2"}, "7.2": {"redis-3"}}}
		}, "timeout 5 redis-cli -h 10.0.0.3 -p 6380 --tls INFO server"},
		"survivors": {func(e *Evidence) { e.on(1, "redis-2").Survivors, e.on(1, "redis-2").StillSurvivors = 9, 9 }, "cacheinv_exporter check --class=product"},
		"failed":    {func(e *Evidence) { e.Histories[0].Failures = 3000 }, "cacheinv_exporter check"},
	} {
		t.Run(name, func(t *testing.T) {
			d := watch(2, func(_ int, e *Evidence) {
				e.Configured.Nodes, e.Configured.Queues, e.Configured.Versions = where.Nodes, maps.Clone(where.Queues), where.Versions
				tt.change(e)
			})[1]
			if d.Next != tt.want {
				t.Errorf("next is\n%s\nwant\n%s\n(%s)", d.Next, tt.want, d.Verdict)
			}
		})
	}
	if d := Diagnose(Evidence{}); d.Next != "cacheinv_exporter check-config" {
		t.Errorf("where nothing is known, next is %s", d.Next)
	}
}
