package redis

import (
	"testing"

	"github.com/cacheinv/cacheinv_exporter/probes"
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
