package diagnosis

import (
	"strings"
	"testing"

	"github.com/cacheinv/cacheinv_exporter/internal/consistency"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// places is where the servers of estate, and of some groups, are.
func places() Configured {
	return Configured{
		Servers: map[string]Server{
			"redis-2": {Kind: "redis", Host: "10.0.0.2", Port: "6379"}, "redis-3": {Kind: "redis", Host: "10.0.0.3", Port: "6380", TLS: true},
			"memcached-2": {Kind: "memcached", Host: "fd00::5", Port: "11211"}, "app-1": {Kind: "http", URL: "https://app-1:8443"},
			"pool": {Kind: "http", URL: "https://"}, "pair": {Kind: "redis", Host: "seed", Port: "6379"},
			"main": {Kind: "redis", Port: "6379"}, // by Sentinels
		},
		Queues: map[string]QueuePlace{
			"list": {Node: "pair", Key: "inv; rm -rf"}, "topic": {Brokers: []string{"k1:9092", "k2:9092"}},
			"stream": {Node: "redis-2", Key: "inv", Stream: true}, "web": {URL: "http://web/queue"},
		},
		Versions: map[string][]string{"web": {"http://app-1/version", "http://app-2/version?x=$(id)"}},
	}
}

func (e *Evidence) join(node string, up bool) {
	group, _, _ := strings.Cut(node, "/")
	n := consistency.NodeResult{Identity: probes.Identity{Layer: "l2", Name: node, Kind: "redis", Group: group}, Up: up}
	n.Survey.Role = "primary"
	e.Result.Nodes = append(e.Result.Nodes, n)
}

// TestNext: the command fits what weighs most, and a shell takes names for what they are.
func TestNext(t *testing.T) {
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
			e.Masters = []Masters{{"l2", "pair", 2}}
		}, "timeout 5 redis-cli -h 10.0.0.8 -p 6379 INFO replication"},
		"backlog of a group's list": {func(e *Evidence) {
			e.join("pair/10.0.0.8:6379", true)
			e.Queues[0].Depth = num(19000)
		}, "timeout 5 redis-cli -h 10.0.0.8 -p 6379 LLEN 'inv; rm -rf'"},
		"backlog of a list whose primary nobody knows": {func(e *Evidence) {
			e.Configured.Queues["list"] = QueuePlace{Node: "main", Key: "inv"}
			e.Queues[0].Depth = num(19000)
		}, "cacheinv_exporter check"},
		"backlog of a stream": {func(e *Evidence) {
			e.Queues = append(e.Queues, Queue{Name: "stream", Up: true, Depth: num(9000)})
		}, "timeout 5 redis-cli -h 10.0.0.2 -p 6379 XINFO GROUPS inv"},
		"backlog over http": {func(e *Evidence) {
			e.Queues = append(e.Queues, Queue{Name: "web", Up: true, Depth: num(9000)})
		}, "curl -sS -m 5 http://web/queue"},
		"stalled": {func(e *Evidence) {
			e.Queues[1].Groups = append(e.Queues[1].Groups, Group{Name: "it's", Stalled: num(1)})
		}, `kafka-consumer-groups --bootstrap-server k1:9092,k2:9092 --describe --group 'it'\''s'`},
		"versions": {
			func(e *Evidence) { e.Apps[0].Versions["app-3"] = "2" },
			`for url in http://app-1/version 'http://app-2/version?x=$(id)'; do echo "$url: $(curl -sS -m 5 "$url")"; done`,
		},
		"settings": {func(e *Evidence) {
			e.Settings[0].Nodes = map[string][]string{"allkeys-lru": {"redis-1", "redis-2"}, "noeviction": {"redis-3"}}
		}, "timeout 5 redis-cli -h 10.0.0.3 -p 6380 --tls INFO memory"},
		"survivors": {func(e *Evidence) { e.on(1, "redis-2").Survivors, e.on(1, "redis-2").StillSurvivors = 9, 9 }, "cacheinv_exporter check --class=product"},
		"failed":    {func(e *Evidence) { e.Histories[0].Failures = 3000 }, "cacheinv_exporter check"},
	} {
		t.Run(name, func(t *testing.T) {
			d := watch(2, func(_ int, e *Evidence) {
				e.Configured.Servers, e.Configured.Queues, e.Configured.Versions = places().Servers, places().Queues, places().Versions
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
