package redis

import (
	"context"
	"errors"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/cacheinv/cacheinv_exporter/probes"
)

// Delete implements probes.Deleter, by UNLINK, which does not hold the server up over a large value. Each key has a command of
// its own: in a Cluster they are of several slots, and one that the user may not delete refuses itself alone.
func (n *node) Delete(ctx context.Context, keys []string) []error {
	out := n.deleteBy(ctx, "UNLINK", keys, false)
	var older []int // servers before Redis 4, and proxies, know DEL alone
	for i, err := range out {
		if redis.HasErrorPrefix(err, "unknown command") {
			older = append(older, i)
		}
	}
	if len(older) > 0 {
		for i, err := range n.deleteBy(ctx, "DEL", pick(keys, older), false) {
			out[older[i]] = err
		}
	}
	for i, err := range out {
		out[i] = deleteRefused(err)
	}
	return out
}

// pick the elements at some indices.
func pick(keys []string, at []int) []string {
	out := make([]string, len(at))
	for i, k := range at {
		out[i] = keys[k]
	}
	return out
}

// deleteBy sends one pipeline. asking: the server is taking the keys' slots over.
func (n *node) deleteBy(ctx context.Context, command string, keys []string, asking bool) []error {
	if len(keys) == 0 {
		return nil
	}
	errs, err := askServer(ctx, n, func(ctx context.Context, c redis.Cmdable) ([]error, uint64, uint64) {
		p := c.Pipeline()
		commands := make([]*redis.Cmd, len(keys))
		for i, k := range keys {
			if asking {
				p.Do(ctx, "ASKING")
			}
			commands[i] = p.Do(ctx, command, k)
		}
		_, failed := p.Exec(ctx)
		out := make([]error, len(keys))
		for i, cmd := range commands {
			out[i] = cmd.Err()
			if out[i] == nil && cmd.Val() == nil { // the pipeline did not come to it
				out[i] = failed
			}
		}
		return out, 0, 0
	})
	if err != nil {
		return probes.SameError(len(keys), err)
	}
	return errs
}

// deleteRefused says what to do about a key that was not deleted.
func deleteRefused(err error) error {
	var said redis.Error
	if err == nil || !errors.As(err, &said) {
		return libraryFault("UNLINK", err)
	}
	return changeRefused("UNLINK", errReply(said.Error()))
}

// Delete implements probes.Deleter. Keys whose slots have gone to another node, or are on their way, are deleted there.
func (n *clusterNode) Delete(ctx context.Context, keys []string) []error {
	out := n.node.deleteBy(ctx, "UNLINK", keys, false)
	type elsewhere struct {
		address string
		asking  bool
	}
	moved := map[elsewhere][]int{}
	for i, err := range out {
		if to, asking, ok := redirected(err); ok {
			moved[elsewhere{to, asking}] = append(moved[elsewhere{to, asking}], i)
		}
	}
	for to, at := range moved {
		n.group.Mu.Lock()
		m := n.group.Find(to.address)
		n.group.Mu.Unlock()
		errs := probes.SameError(len(at), errSlotMoved)
		if m != nil {
			errs = m.server.deleteBy(ctx, "UNLINK", pick(keys, at), to.asking)
		}
		for i, k := range at {
			out[k] = errs[i]
		}
	}
	for i, err := range out {
		out[i] = deleteRefused(err)
	}
	return out
}

// redirected reads where a node of a Cluster sends who asks it for a key.
func redirected(err error) (address string, asking, ok bool) {
	if !redis.HasErrorPrefix(err, "MOVED") && !redis.HasErrorPrefix(err, "ASK") {
		return "", false, false
	}
	var said redis.Error
	errors.As(err, &said)
	words := strings.Fields(said.Error())
	if len(words) != 3 {
		return "", false, false
	}
	return words[2], words[0] == "ASK", true
}
