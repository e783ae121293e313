package redis

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/cacheinv/cacheinv_exporter/probes"
)

// listStep is the COUNT of each step of List: some milliseconds of the server's time.
const listStep = 1000

// List implements probes.Lister, by SCAN: what is there from the beginning to the end is found. Other commands of this process have
// their turn between two steps.
func (n *node) List(ctx context.Context, match string, found func(keys []string) error) error {
	type step struct {
		keys   []string
		cursor uint64
		err    error
	}
	for cursor := uint64(0); ; {
		got, err := askServer(ctx, n, func(ctx context.Context, c redis.Cmdable) (step, uint64, uint64) {
			keys, next, err := c.Scan(ctx, cursor, match, listStep).Result()
			return step{keys, next, err}, 0, 0
		})
		if err == nil && got.err != nil {
			err = listRefused(got.err)
		}
		if err != nil {
			return err
		}
		if len(got.keys) > 0 {
			if err := found(got.keys); err != nil {
				return err
			}
		}
		if cursor = got.cursor; cursor == 0 {
			return nil
		}
	}
}

func listRefused(err error) error {
	var said redis.Error
	if errors.As(err, &said) {
		return fmt.Errorf("%w: SCAN was refused (%s); let the user run it, such as by ACL SETUSER USER +scan", probes.ErrNoList, errReply(said.Error()).word())
	}
	return fmt.Errorf("SCAN: %w", libraryFault("SCAN", err))
}

// Keys implements probes.KeyedQueue: the queue's own key, and those beside it that a taking uses, alone and in a Cluster.
func (c *queueConfig) Keys() []string {
	name := c.List + c.Stream // exactly one of them is set
	if name == "" {
		return nil
	}
	out := []string{name}
	for _, base := range []string{name, "{" + name + "}"} {
		keys := keysNamed(base)
		out = append(out, keys.processing, keys.dead, keys.owner)
	}
	return out
}
