package probes

import (
	"testing"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
)

func openRedis(t testing.TB, c config.Redis, opt Options) *redisNode {
	t.Helper()
	n, err := newRedisNode(Identity{Layer: "l2", Name: "redis-1", Kind: "redis"}, c, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return n
}
