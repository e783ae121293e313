package redis

import (
	"log/slog"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

func OpenMembers(id probes.Identity, c config.Redis, expected int, opt probes.Options, log *slog.Logger) (probes.Members, error) {
	switch {
	case len(c.Replication) > 0:
		return newReplicationGroup(id, c, expected, opt, log)
	case len(c.Cluster) > 0:
		return newClusterGroup(id, c, expected, opt, log)
	case c.Sentinel != nil:
		return newSentinelGroup(id, c, expected, opt, log)
	case c.DNS != nil:
		return newDNSGroup(id, c, expected, opt, log), nil
	}
	id.Kind = "redis"
	n, err := newNode(id, c, opt)
	if err != nil {
		return nil, err
	}
	return probes.Single(n), nil
}
