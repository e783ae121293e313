package hostile

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// discoveryAttacks name servers without end, others each time that they are asked.
func discoveryAttacks() []Attack {
	return []Attack{
		{Name: "sentinel", Start: func(t testing.TB) Config { return groupOf("sentinel", manySentinel(t)) }},
		{Name: "replicas", Start: func(t testing.TB) Config { return groupOf("replicas", manyReplicas(t)) }},
		{Name: "cluster", Start: func(t testing.TB) Config { return groupOf("cluster", manyPrimaries(t)) }},
	}
}

// namedAtOnce is how many servers each answer names: more than a group may have.
const namedAtOnce = 1500

// groupOf is a layer with one group, and a class that is read there.
func groupOf(name, block string) Config {
	return Config{
		Layers:  []string{fmt.Sprintf("  - name: %s\n    ttl: 1h\n    nodes:\n      - {name: %s-1, %s}\n", name, name, block)},
		Classes: []string{fmt.Sprintf("  - {class: %s, layers: [%s], keys: [\"a\", \"b\"]}\n", name, name)},
	}
}

// address is another one for each number, where nobody listens.
func address(n int64) (host string) {
	return fmt.Sprintf("127.%d.%d.%d", 1+n>>16%250, n>>8%256, n%256)
}

func manySentinel(t testing.TB) string {
	var named atomic.Int64
	at := servers.RedisSaying(t, func(command []string) string {
		if command[0] != "SENTINEL" {
			return ""
		}
		if strings.HasPrefix(command[1], "GET-MASTER") {
			return servers.BulkTexts(address(named.Add(1)), "1")
		}
		var b strings.Builder
		fmt.Fprintf(&b, "*%d\r\n", namedAtOnce)
		for range namedAtOnce {
			b.WriteString(servers.BulkTexts("ip", address(named.Add(1)), "port", "1", "flags", "slave"))
		}
		return b.String()
	})
	return fmt.Sprintf("redis: {sentinel: {master: m, addresses: [%q]}}", at)
}

func manyReplicas(t testing.TB) string {
	var named atomic.Int64
	at := servers.RedisSaying(t, func(command []string) string {
		if command[0] != "INFO" {
			return ""
		}
		var b strings.Builder
		b.WriteString("redis_version:7.0.15\r\nrun_id:a\r\nrole:master\r\nmaster_replid:b\r\nmaster_repl_offset:1\r\n")
		for i := range 10 * namedAtOnce {
			fmt.Fprintf(&b, "slave%d:ip=%s,port=1,state=online,offset=1,lag=0\r\n", i, address(named.Add(1)))
		}
		return servers.BulkText(b.String())
	})
	return fmt.Sprintf("redis: {replication: [%q]}", at)
}

func manyPrimaries(t testing.TB) string {
	var named atomic.Int64
	at := servers.RedisSaying(t, func(command []string) string {
		switch strings.Join(command[:min(2, len(command))], " ") {
		case "INFO":
			return servers.BulkText("redis_version:7.0.15\r\nrun_id:c\r\nrole:master\r\nmaster_replid:d\r\nmaster_repl_offset:1\r\n")
		case "CLUSTER INFO":
			return servers.BulkText("cluster_state:ok\r\ncluster_current_epoch:3\r\n")
		case "CLUSTER NODES":
			var b strings.Builder
			b.WriteString("aaa 127.0.0.1:1@1 myself,master - 0 0 1 connected 0\n")
			for i := range namedAtOnce {
				n := named.Add(1)
				fmt.Fprintf(&b, "%040x %s:1@1 master - 0 0 %d connected %d-%d\n", n, address(n), n, 10*i+1, 10*i+10)
			}
			return servers.BulkText(b.String())
		case "CLUSTER SHARDS":
			return "-ERR Unknown subcommand\r\n"
		}
		return ""
	})
	return fmt.Sprintf("redis: {cluster: [%q]}", at)
}
