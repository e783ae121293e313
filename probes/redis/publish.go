package redis

import (
	"cmp"
	"context"

	"github.com/redis/go-redis/v9"

	"github.com/cacheinv/cacheinv_exporter/probes"
)

// publisher pushes to a list's right end, or adds to a stream.
type publisher struct {
	server       commander
	list, stream string
}

// On implements probes.PublisherSource.
func (c *publishConfig) On() string { return c.Node }

// Open implements probes.PublisherSource.
func (c *publishConfig) Open(fleet *probes.Fleet, _ *probes.Env) (probes.Publisher, error) {
	server, err := serverOf(fleet, c.Node, cmp.Or(c.List, c.Stream))
	if err != nil {
		return nil, err
	}
	return publisher{server: server, list: c.List, stream: c.Stream}, nil
}

func (publisher) Close() {} // the connection is the fleet's

// Publish implements Publisher. Neither command moves the server's hits and misses.
func (p publisher) Publish(ctx context.Context, _ string, message []byte) error {
	type reply struct{ err error }
	got, err := askServer(ctx, p.server, func(ctx context.Context, c redis.Cmdable) (reply, uint64, uint64) {
		if p.list != "" {
			return reply{c.RPush(ctx, p.list, message).Err()}, 0, 0
		}
		return reply{c.XAdd(ctx, &redis.XAddArgs{Stream: p.stream, Values: []any{"message", message}}).Err()}, 0, 0
	})
	failed := got.err
	switch {
	case err != nil:
		return err
	case failed == nil:
		return nil
	case p.list != "":
		return queueRefused("RPUSH", p.list, "list", failed)
	}
	return queueRefused("XADD", p.stream, "stream", failed)
}
