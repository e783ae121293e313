package memcached

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/bradfitz/gomemcache/memcache"

	"github.com/cacheinv/cacheinv_exporter/probes"
)

// Delete implements probes.Deleter. The library sends one command at a time, so that there is a round trip for each key, over a
// few connections at once.
func (n *node) Delete(ctx context.Context, keys []string) []error {
	out := make([]error, len(keys))
	var at []int
	for i, k := range keys {
		if err := cannotHold(probes.Key{Name: k}); err != nil {
			out[i] = fmt.Errorf("%w: %w", probes.ErrCannotHold, err)
		} else {
			at = append(at, i)
		}
	}
	// Connections that were open already may have been closed by the server since: what they cost is tried once more.
	for range 2 {
		var again []int
		for i, err := range n.deleteWith(ctx, keys, at) {
			if out[at[i]] = err; lost(err) {
				again = append(again, at[i])
			}
		}
		if at = again; len(at) == 0 || ctx.Err() != nil {
			break
		}
	}
	return out
}

// deleteWith deletes the keys at some indices, and gives an error for each of these. It gives up once a connection is lost.
func (n *node) deleteWith(ctx context.Context, keys []string, at []int) []error {
	client, done, err := n.library.open(n)
	if err != nil {
		return probes.SameError(len(at), err)
	}
	d := &deletion{client: client, keys: pickKeys(keys, at), errs: make([]error, len(at)), reached: make([]bool, len(at))}
	var workers sync.WaitGroup
	for range min(clientConnections, len(at)) {
		workers.Go(d.work)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer done()
		workers.Wait()
		if d.lost.Load() != nil {
			n.library.drop(client)
		}
	}()
	select {
	case <-ended:
	case <-ctx.Done():
		d.stopped.Store(true)
		return probes.SameError(len(at), probes.NoAnswer(ctx))
	}
	if err := d.lost.Load(); err != nil {
		for i, reached := range d.reached {
			if !reached {
				d.errs[i] = *err
			}
		}
	}
	return d.errs
}

func pickKeys(keys []string, at []int) []string {
	out := make([]string, len(at))
	for i, k := range at {
		out[i] = keys[k]
	}
	return out
}

// deletion is some keys that several goroutines delete.
type deletion struct {
	client *memcache.Client
	keys   []string
	// errs and reached (the key was asked for) belong to whom next gave the index, and to the caller once all have ended.
	errs    []error
	reached []bool
	next    atomic.Int64
	stopped atomic.Bool
	lost    atomic.Pointer[error]
}

func (d *deletion) work() {
	for !d.stopped.Load() && d.lost.Load() == nil {
		i := int(d.next.Add(1)) - 1
		if i >= len(d.keys) {
			return
		}
		err := probes.Guarded(func() error { return libraryFault(d.client.Delete(d.keys[i])) })
		if errors.Is(err, memcache.ErrCacheMiss) {
			err = nil
		}
		d.errs[i], d.reached[i] = err, true
		if lost(err) {
			d.lost.CompareAndSwap(nil, &err)
		}
	}
}
