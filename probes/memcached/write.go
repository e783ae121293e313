package memcached

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/wire"
)

// Put implements probes.Writable.
func (n *node) Put(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if err := cannotHold(probes.Key{Name: key}); err != nil {
		return err
	}
	seconds := int64((ttl + time.Second - 1) / time.Second)
	command := fmt.Appendf(nil, "set %s 0 %d %d\r\n%s\r\n", key, seconds, len(value), value)
	return n.change(ctx, command, 1, "STORED")
}

// Remove implements probes.Writable.
func (n *node) Remove(ctx context.Context, keys []string) error {
	var commands []byte
	for _, k := range keys {
		commands = append(append(append(commands, "delete "...), k...), "\r\n"...)
	}
	return n.change(ctx, commands, len(keys), "DELETED", "NOT_FOUND")
}

// change sends commands, each of which is to be answered by the first or the last of words.
func (n *node) change(ctx context.Context, commands []byte, replies int, words ...string) error {
	if replies == 0 {
		return nil
	}
	n.asking.Lock()
	defer n.asking.Unlock()
	var refused error
	err := n.link.Do(ctx, func() []wire.Request {
		return []wire.Request{{Commands: commands, Read: func(x *wire.Exchange) error {
			var first error
			for range replies {
				line, err := x.ReadLine()
				if err != nil {
					return err
				}
				if word := verb(line); first == nil && word != words[0] && word != words[len(words)-1] {
					first = saidError(x, line)
				}
			}
			n.answered.Store(true)
			x.Deliver(func() { refused = first })
			return nil
		}}}
	})
	if err != nil {
		return err
	}
	return refused
}

// Watch implements probes.Writable.
func (n *node) Watch(ctx context.Context, keys []string, values [][]byte) ([]probes.Seen, error) {
	out, asked := make([]probes.Seen, len(keys)), make([]probes.Key, len(keys))
	for i, k := range keys {
		asked[i].Name = k
	}
	var refused error
	n.asking.Lock()
	defer n.asking.Unlock()
	err := n.Read(ctx, asked, func(i int, r probes.Raw) {
		switch {
		case r.Err != nil:
			refused = r.Err
		case !r.Present:
			out[i] = probes.Gone
		case bytes.Equal(r.Value, values[i]):
			out[i] = probes.Served
		default:
			out[i] = probes.Changed
		}
	})
	if err == nil {
		err = refused
	}
	return out, err // after Read nothing is handed on any more
}
