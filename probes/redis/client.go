package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/wire"
)

// serverOf gives the server of a node by its configured name; of a group the present primary, in a Cluster the one that
// owns the key's slot.
func serverOf(fleet *probes.Fleet, name, key string) (commander, error) {
	m := fleet.Named(name)
	switch g := m.(type) {
	case nil:
	case *clusterGroup:
		return slotServer{g, slotOf(key)}, nil
	case commander:
		return g, nil
	default:
		if _, grouped := m.Group(); grouped {
			break
		}
		if n, ok := m.Nodes()[0].(*node); ok {
			return n, nil
		}
	}
	return nil, fmt.Errorf("%q is no redis node of the layers; write the name of one", name)
}

// commander runs the commands of queues and publishers on a server: a node of the fleet, or the one of a group that is meant.
type commander interface {
	// Do runs use with a client; the hits and misses that its commands moved on the server are counted as our own.
	// When ctx ends first, Do returns an error while use goes on, so that what the server owes is still counted: use
	// must not write what Do's caller reads after an error.
	Do(ctx context.Context, use func(ctx context.Context, c redis.Cmdable) (hits, misses uint64, err error)) error
}

// Do implements commander.
func (n *node) Do(ctx context.Context, use func(ctx context.Context, c redis.Cmdable) (hits, misses uint64, err error)) error {
	holding, err := n.account.Lock(ctx, n.link.Answers)
	if err != nil {
		return err
	}
	client, err := n.goRedis()
	if err != nil {
		n.account.Unlock(holding)
		return err
	}
	longest := wire.OwedLongest
	if d, ok := ctx.Deadline(); ok {
		longest += time.Until(d)
	}
	owed, cancel := context.WithTimeout(context.WithoutCancel(ctx), longest)
	n.replies.Store(allowed(ctx))
	done := make(chan error, 1)
	go func() {
		defer cancel()
		var hits, misses uint64
		err := probes.Guarded(func() (err error) {
			hits, misses, err = use(owed, client)
			return err
		})
		if errors.Is(err, probes.ErrPanic) {
			n.dropClient(client) // it may still wait for the rest of an answer
		}
		n.account.Hits += hits
		n.account.Misses += misses
		n.account.Unlock(holding)
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		n.account.Abandon(holding, func() { n.dropClient(client) }, func() int64 { return 0 })
		return probes.NoAnswer(ctx)
	}
}

// dialBounded opens a connection for the library.
func (n *node) dialBounded(ctx context.Context, _, _ string) (net.Conn, error) {
	conn, err := n.link.Dial(ctx)
	if err != nil {
		return nil, err
	}
	return bounded(conn, &n.secrets, n.replies.Load), nil
}

// dropClient closes a client that hangs; the next command gets a new one.
func (n *node) dropClient(c *redis.Client) {
	n.mu.Lock()
	if n.client == c {
		n.client = nil
	}
	n.mu.Unlock()
	_ = c.Close() // there is nobody left to tell
}

// goRedis gives the client, which is opened when it is first needed. It never tries again by itself: what a server did with a
// command that it did not answer is unknown.
func (n *node) goRedis() (*redis.Client, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil, probes.ErrClosed
	}
	if n.client == nil {
		n.client = redis.NewClient(&redis.Options{
			Addr: n.url.Addr, DB: n.url.DB, Protocol: 2, DisableIdentity: true,
			MaxRetries: -1, DialerRetries: 1, PoolSize: 2, ReadTimeout: -1, WriteTimeout: -1, ContextTimeoutEnabled: true,
			Dialer:                     n.dialBounded,
			CredentialsProviderContext: func(context.Context) (string, string, error) { return n.credentials() },
		})
		n.client.AddHook(answers{n})
	}
	return n.client, nil
}

// answers sees to it that a command without an error is one that was answered: the library leaves the commands of a batch without
// an error where the login or SELECT of the connection was refused.
type answers struct{ node *node }

var errUnanswered = errors.New("the command was not answered")

// DialHook implements redis.Hook.
func (answers) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessHook implements redis.Hook.
func (a answers) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { return a.opening(cmd, next(ctx, cmd)) }
}

// ProcessPipelineHook implements redis.Hook. Reading a command's answer sets its error, to none too.
func (a answers) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, commands []redis.Cmder) error {
		for _, c := range commands {
			c.SetErr(errUnanswered)
		}
		err := next(ctx, commands)
		for _, c := range commands {
			if errors.Is(c.Err(), errUnanswered) && err != nil {
				c.SetErr(err)
			}
		}
		if len(commands) > 0 {
			err = a.opening(commands[0], err)
		}
		return err
	}
}

// opening explains why the server refused a command with which the library opens a connection; to its callers the refusal would
// be that of their own command.
func (a answers) opening(cmd redis.Cmder, err error) error {
	var said redis.Error
	if name := cmd.Name(); name != "auth" && name != "select" || !errors.As(err, &said) {
		return err
	}
	return a.node.openingRefused(strings.ToUpper(cmd.Name()), errReply(said.Error()))
}
