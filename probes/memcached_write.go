package probes

import (
	"bytes"
	"context"
	"fmt"
	"time"
)

// Put implements Dedicated.
func (n *memcachedNode) Put(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if err := cannotHold(Key{Name: key}); err != nil {
		return err
	}
	seconds := int64((ttl + time.Second - 1) / time.Second)
	command := fmt.Appendf(nil, "set %s 0 %d %d\r\n%s\r\n", key, seconds, len(value), value)
	return n.change(ctx, command, 1, "STORED")
}

// Remove implements Dedicated.
func (n *memcachedNode) Remove(ctx context.Context, keys []string) error {
	var commands []byte
	for _, k := range keys {
		commands = append(append(append(commands, "delete "...), k...), "\r\n"...)
	}
	return n.change(ctx, commands, len(keys), "DELETED", "NOT_FOUND")
}

// change sends commands, each of which is to be answered by one of the words.
func (n *memcachedNode) change(ctx context.Context, commands []byte, replies int, words ...string) error {
	if replies == 0 {
		return nil
	}
	n.one.Lock()
	defer n.one.Unlock()
	var refused error
	err := n.link.exchange(ctx, func() []request {
		return []request{{commands, func(x *exchange) error {
			var first error
			for range replies {
				line, err := x.line()
				if err != nil {
					return err
				}
				if word := verb(line); first == nil && word != words[0] && word != words[len(words)-1] {
					first = saidError(line)
				}
			}
			n.answered.Store(true)
			x.deliver(func() { refused = first })
			return nil
		}}}
	})
	if err != nil {
		return err
	}
	return refused
}

// Look implements Dedicated.
func (n *memcachedNode) Look(ctx context.Context, keys []string, values [][]byte) ([]Sight, error) {
	out, asked := make([]Sight, len(keys)), make([]Key, len(keys))
	for i, k := range keys {
		asked[i].Name = k
	}
	var refused error
	n.one.Lock()
	defer n.one.Unlock()
	err := n.Read(ctx, asked, func(i int, r Raw) {
		switch {
		case r.Err != nil:
			refused = r.Err
		case !r.Present:
			out[i] = Gone
		case bytes.Equal(r.Value, values[i]):
			out[i] = Served
		default:
			out[i] = Changed
		}
	})
	if err == nil {
		err = refused
	}
	return out, err // after Read nothing is handed on any more
}
