package probes

import (
	"context"
	"errors"
	"log/slog"

	"github.com/redis/go-redis/v9"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
)

// redisDNSGroup is a group of which queues may ask the primary, where there is one alone.
type redisDNSGroup struct{ *dnsGroup }

func newRedisDNSGroup(id Identity, c config.Redis, expected int, opt Options, log *slog.Logger) redisDNSGroup {
	name := *c.DNS
	c.TLS = certified(c.TLS, name)
	return redisDNSGroup{newDNSGroup(id, name, expected, opt, log, func(id Identity, at place) (Node, error) {
		c := c
		c.Address = at.address()
		id.Kind = "redis"
		return newRedisNode(id, c, opt)
	})}
}

var (
	errNoPrimary = errors.New("none of the servers behind the DNS name answers as a primary")
	errPrimaries = errors.New("several primaries stand behind the DNS name, and nothing says which is meant; name a node that is one server")
)

// Do implements RedisServer on the only primary.
func (g redisDNSGroup) Do(ctx context.Context, use func(ctx context.Context, c redis.Cmdable) (hits, misses uint64, err error)) error {
	primaries, err := g.pick(ctx, func(s Survey) bool { return s.Role == "primary" })
	if err != nil {
		return err
	}
	switch len(primaries) {
	case 0:
		return errNoPrimary
	case 1:
		return primaries[0].(*redisNode).Do(ctx, use)
	}
	return errPrimaries
}
