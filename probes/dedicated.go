package probes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// Dedicated is a node in which keys of our own can be written and watched. Keys and values are the caller's alone. All
// methods may be called by several goroutines at once, also beside Survey, and return soon after ctx ends; what they sent
// may still be carried out then.
type Dedicated interface {
	Node
	// Put stores value under key for ttl. ErrReplica: the node is a replica, and its primary is the one to write to.
	Put(ctx context.Context, key string, value []byte, ttl time.Duration) error
	// Look tells of each key whether the node serves the value that was put there, all in one round trip. Its reads are
	// counted as our own.
	Look(ctx context.Context, keys []string, values [][]byte) ([]Sight, error)
	// Remove deletes keys; those that are not there are no error.
	Remove(ctx context.Context, keys []string) error
}

// ErrReplica is what a replica answers that is asked to write.
var ErrReplica = errors.New("the node is a replica, which takes no writes")

// Sight is what Look saw of a key.
type Sight uint8

const (
	// Unseen is of a key of which the node did not say.
	Unseen Sight = iota
	// Served is the value that was put.
	Served
	// Changed is another value.
	Changed
	// Gone is none.
	Gone
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
				_, err := x.text()
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
	kind, size, said, err := x.header()
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
