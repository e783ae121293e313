package redis

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

// largeCluster is a Cluster of so many scripted nodes, one in two a replica, that agree. It gives the address of the first.
func largeCluster(t testing.TB, size int) string {
	type answers struct{ info, nodes string }
	said := make([]answers, size)
	addr := make([]string, size)
	shards := ""
	for i := range size {
		addr[i] = servers.RedisSaying(t, func(command []string) string {
			switch strings.Join(command[:min(2, len(command))], " ") {
			case "INFO":
				return said[i].info
			case "CLUSTER INFO":
				return servers.BulkText("cluster_state:ok\r\ncluster_current_epoch:3\r\n")
			case "CLUSTER NODES":
				return said[i].nodes
			case "CLUSTER SHARDS":
				return shards
			}
			return ""
		})
	}
	id := func(i int) string { return fmt.Sprintf("%040x", i) }
	lines, rest := make([]string, size), make([]string, size)
	var inShards strings.Builder
	for i, at := range addr {
		host, port, _ := strings.Cut(at, ":")
		lines[i] = fmt.Sprintf("%s %s@17000 ", id(i), at)
		if i%2 == 0 {
			from, to := i*clusterSlots/size, min((i+2)*clusterSlots/size, clusterSlots)-1
			rest[i] = fmt.Sprintf("master - 0 1426238317239 %d connected %d-%d\n", i+1, from, to)
		} else {
			rest[i] = fmt.Sprintf("slave %s 0 1426238317239 %d connected\n", id(i-1), i)
		}
		fmt.Fprintf(&inShards, "*4\r\n%s*0\r\n%s*1\r\n*14\r\n%s%s%s:%s\r\n%s%s%s:5\r\n%s", servers.BulkText("slots"), servers.BulkText("nodes"),
			servers.BulkText("id")+servers.BulkText(id(i)), servers.BulkText("endpoint")+servers.BulkText(host), servers.BulkText("port"), port,
			servers.BulkText("ip")+servers.BulkText(host), servers.BulkText("role")+servers.BulkText("master"), servers.BulkText("replication-offset"),
			servers.BulkText("health")+servers.BulkText("online"))
	}
	shards = fmt.Sprintf("*%d\r\n%s", size, inShards.String())
	for i := range size {
		var b strings.Builder
		for k := range size {
			b.WriteString(lines[k])
			if k == i {
				b.WriteString("myself,")
			}
			b.WriteString(rest[k])
		}
		role := "role:master\r\nmaster_replid:" + id(i) + "\r\nmaster_repl_offset:5\r\n"
		if i%2 == 1 {
			role = "role:slave\r\nmaster_replid:" + id(i-1) + "\r\nslave_repl_offset:5\r\nmaster_link_status:up\r\n"
		}
		said[i] = answers{servers.BulkText(fmt.Sprintf("redis_version:7.0.15\r\nrun_id:%s\r\n%s", id(i), role)), servers.BulkText(b.String())}
	}
	return addr[0]
}

// A survey of a Cluster and its views, by how many nodes it has: the time for each node must not grow with their number.
func BenchmarkClusterSurvey(b *testing.B) {
	for _, size := range []int{10, 100, 1000} {
		b.Run(fmt.Sprint("nodes=", size), func(b *testing.B) {
			f := probetest.OpenFleet(b, probetest.Env(), clusterOf(largeCluster(b, size)))
			survey := func() {
				ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
				defer cancel()
				f.Survey(ctx, func(probes.Identity) *probes.Scan { return nil }, func(probes.Node, probes.Survey, error) {})
			}
			survey()
			if g := f.Groups()[0]; len(g.Nodes) != size || g.Cluster.Answered != size || g.Cluster.Views != 1 {
				b.Fatalf("%d nodes, %+v, %v", len(g.Nodes), *g.Cluster, g.Err)
			}
			for b.Loop() {
				survey()
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*size), "us/node")
		})
	}
}
