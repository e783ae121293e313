package probes

import (
	"log/slog"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
)

func openRedisMembers(id Identity, c config.Redis, expected int, opt Options, log *slog.Logger) (Members, error) {
	switch {
	case len(c.Replication) > 0:
		return newReplicationGroup(id, c, expected, opt, log)
	case len(c.Cluster) > 0:
		return newClusterGroup(id, c, expected, opt, log)
	case c.Sentinel != nil:
		return newSentinelGroup(id, c, expected, opt, log)
	case c.DNS != nil:
		return newRedisDNSGroup(id, c, expected, opt, log), nil
	}
	id.Kind = "redis"
	n, err := newRedisNode(id, c, opt)
	if err != nil {
		return nil, err
	}
	return Single(n), nil
}
