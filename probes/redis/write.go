package redis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/wire"
)

// Put implements probes.Writable.
func (n *node) Put(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	return n.change(ctx, "SET", appendCommand(nil, "SET", key, string(value), "PX", strconv.FormatInt(ttl.Milliseconds(), 10)), 1)
}

// Remove implements probes.Writable. Each key has a command of its own, since in a Cluster they are of several slots.
func (n *node) Remove(ctx context.Context, keys []string) error {
	var commands []byte
	for _, k := range keys {
		commands = appendCommand(commands, "DEL", k)
	}
	return n.change(ctx, "DEL", commands, len(keys))
}

// change sends commands that move neither hits nor misses, and gives the first refusal.
func (n *node) change(ctx context.Context, name string, commands []byte, replies int) error {
	if replies == 0 {
		return nil
	}
	var refused error
	err := n.link.Do(ctx, func() []wire.Request {
		return []wire.Request{{Commands: commands, Read: func(x *wire.Exchange) error {
			var first error
			for range replies {
				_, err := readText(x)
				var said errReply
				if errors.As(err, &said) {
					if first == nil {
						first = changeRefused(name, said)
					}
					continue
				}
				if err != nil {
					return err
				}
			}
			x.Deliver(func() { refused = first })
			return nil
		}}}
	})
	if err != nil {
		return err
	}
	return refused
}

func changeRefused(command string, said errReply) error {
	switch said.word() {
	case "READONLY":
		return probes.ErrReplica
	case "OOM":
		return probes.Refusal(fmt.Errorf("%s was refused (OOM): the server has no memory left", command))
	case "MOVED", "ASK":
		return fmt.Errorf("%s was refused (%s): the key's slot is on another node", command, said.word())
	}
	return keyRefused(command, said)
}

// Watch implements probes.Writable.
func (n *node) Watch(ctx context.Context, keys []string, values [][]byte) ([]probes.Seen, error) {
	out := make([]probes.Seen, len(keys))
	if len(keys) == 0 {
		return out, nil
	}
	commands := make([]byte, 0, 64*len(keys))
	for _, k := range keys {
		commands = appendCommand(commands, "GET", k)
	}
	var refused error
	err := n.link.Do(ctx, func() []wire.Request {
		return []wire.Request{{Commands: commands, Read: func(x *wire.Exchange) error {
			for i := range keys {
				seen, said, err := n.readSeen(x, values[i])
				if err != nil {
					return err
				}
				x.Deliver(func() {
					if out[i] = seen; refused == nil {
						refused = said
					}
				})
			}
			return nil
		}}}
	})
	if err == nil {
		err = refused
	}
	return out, err // when ctx has ended nothing is delivered any more
}

func (n *node) readSeen(x *wire.Exchange, value []byte) (s probes.Seen, refused, err error) {
	kind, size, said, err := readHeader(x)
	switch {
	case err != nil:
		return probes.NotTold, nil, err
	case kind == '-' && errReply(said).word() == "WRONGTYPE":
		n.account.Hits++
		return probes.Changed, nil, nil
	case kind == '-':
		return probes.NotTold, keyRefused("GET", errReply(said)), nil
	case kind != '$':
		return probes.NotTold, keyRefused("GET", errUnusable), skip(x, kind, size)
	case size < 0:
		n.account.Misses++
		return probes.Gone, nil, nil
	}
	n.account.Hits++
	if size != int64(len(value)) {
		return probes.Changed, nil, x.Discard(size)
	}
	if x.Buf, err = x.ReadBulk(x.Buf[:0], size); err != nil {
		return probes.NotTold, nil, err
	}
	if bytes.Equal(x.Buf, value) {
		return probes.Served, nil, nil
	}
	return probes.Changed, nil, nil
}
