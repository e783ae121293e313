package redis

import (
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

func openNode(t testing.TB, c nodeConfig, env *probes.Env) *node {
	t.Helper()
	n, err := newNode(probes.Identity{Layer: "l2", Name: "redis-1", Kind: "redis"}, c, env)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return n
}

func openFleet(t *testing.T, forget time.Duration, nodes ...probes.LayerNode) *probes.Fleet {
	t.Helper()
	env := probetest.Env()
	env.ForgetAfter = forget
	for i := range nodes {
		nodes[i].Kind = backendName
	}
	return probetest.OpenFleet(t, env, nodes...)
}
