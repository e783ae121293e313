package probes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// Put implements Dedicated.
func (n *redisNode) Put(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	return n.change(ctx, "SET", appendCommand(nil, "SET", key, string(value), "PX", strconv.FormatInt(ttl.Milliseconds(), 10)), 1)
}

// Remove implements Dedicated. Each key has a command of its own, since in a Cluster they are of several slots.
func (n *redisNode) Remove(ctx context.Context, keys []string) error {
	var commands []byte
	for _, k := range keys {
		commands = appendCommand(commands, "DEL", k)
	}
	return n.change(ctx, "DEL", commands, len(keys))
}

// change sends commands that move neither hits nor misses, and gives the first refusal.
func (n *redisNode) change(ctx context.Context, name string, commands []byte, replies int) error {
	if replies == 0 {
		return nil
	}
	var refused error
	err := n.link.exchange(ctx, func() []request {
		return []request{{commands, func(x *exchange) error {
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
			x.deliver(func() { refused = first })
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
		return ErrReplica
	case "OOM":
		return fmt.Errorf("%s was refused (OOM): the server has no memory left", command)
	case "MOVED", "ASK":
		return fmt.Errorf("%s was refused (%s): the key's slot is on another node", command, said.word())
	}
	return keyRefused(command, said)
}

// Look implements Dedicated.
func (n *redisNode) Look(ctx context.Context, keys []string, values [][]byte) ([]Sight, error) {
	out := make([]Sight, len(keys))
	if len(keys) == 0 {
		return out, nil
	}
	commands := make([]byte, 0, 64*len(keys))
	for _, k := range keys {
		commands = appendCommand(commands, "GET", k)
	}
	var refused error
	err := n.link.exchange(ctx, func() []request {
		return []request{{commands, func(x *exchange) error {
			for i := range keys {
				sight, said, err := n.readSight(x, values[i])
				if err != nil {
					return err
				}
				x.deliver(func() {
					if out[i] = sight; refused == nil {
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

func (n *redisNode) readSight(x *exchange, value []byte) (s Sight, refused, err error) {
	kind, size, said, err := readHeader(x)
	switch {
	case err != nil:
		return Unseen, nil, err
	case kind == '-' && errReply(said).word() == "WRONGTYPE":
		n.server.hits++
		return Changed, nil, nil
	case kind == '-':
		return Unseen, keyRefused("GET", errReply(said)), nil
	case kind != '$':
		return Unseen, nil, errProtocol
	case size < 0:
		n.server.misses++
		return Gone, nil, nil
	}
	n.server.hits++
	if size != int64(len(value)) {
		return Changed, nil, x.drop(size)
	}
	if x.buf, err = x.bulk(x.buf[:0], size); err != nil {
		return Unseen, nil, err
	}
	if bytes.Equal(x.buf, value) {
		return Served, nil, nil
	}
	return Changed, nil, nil
}
