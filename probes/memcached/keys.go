package memcached

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cacheinv/cacheinv_exporter/probes"
)

// List implements probes.Lister, by lru_crawler metadump. Unlike the listings of surveys it is neither bounded nor shared: it goes
// through all of the server's keys, however many there are. Found must not take long, since the server's crawler waits for it.
func (n *node) List(ctx context.Context, match string, found func(keys []string) error) error {
	prefix, suffix := literalEnds(match)
	keys := make([]string, 0, probes.BatchKeys)
	hand := func() error {
		if len(keys) == 0 {
			return nil
		}
		err := found(keys)
		keys = make([]string, 0, probes.BatchKeys) // the caller may keep what it was given
		return err
	}
	err := n.listKeys(ctx, func(key string) error {
		if !strings.HasPrefix(key, prefix) || !strings.HasSuffix(key, suffix) {
			return nil
		}
		if keys = append(keys, key); len(keys) < probes.BatchKeys {
			return nil
		}
		return hand()
	})
	var refused refusedDump
	switch {
	case errors.As(err, &refused):
		return fmt.Errorf("%w: lru_crawler metadump was refused (%.100s); run memcached 1.5.6 or newer with lru_crawler and without -X",
			probes.ErrNoList, refused.said)
	case err != nil:
		return err
	}
	return hand()
}

// Flush implements probes.Flusher.
func (n *node) Flush(ctx context.Context) error {
	return n.change(ctx, []byte("flush_all\r\n"), 1, "OK")
}
