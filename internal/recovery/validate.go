package recovery

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/pause"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

const (
	// validateLongest is how long a key of our own may take to arrive at a replica, and then to go again.
	validateLongest = 10 * time.Second
	// validateLook is the wait between two looks at it.
	validateLook = 20 * time.Millisecond
	// validateTTL ends keys that could not be deleted.
	validateTTL = time.Minute
	// keysFor is how many keys are tried for each node of a group that shares keys out, until each holds one.
	keysFor = 64
)

// holder is a node that is to hold a key of our own.
type holder struct {
	probes.Writable
	seen *nodeSeen
	// written: the key was put here.
	written bool
	err     error
}

// ownKey is a key of our own, and the nodes of its layer that hold it.
type ownKey struct {
	name, layer string
	value       []byte
	nodes       []*holder
	// longest that each part of its way may take.
	longest time.Duration
}

// validate that deletes arrive: keys of our own are written on the primaries, seen on every node, deleted, and seen to be gone
// everywhere.
func (r *run) validate(ctx context.Context, s *Step) error {
	if !r.opt.Apply {
		s.plan("write keys of its own (cacheinv:recover:…), delete them, and see that they are gone on every node")
		return nil
	}
	r.tell(Progress{Step: s.Step, Text: "keys of its own"})
	r.nodes = r.survey(ctx)
	keys, faults := r.ownKeys()
	var all sync.WaitGroup
	for _, k := range keys {
		all.Go(func() { k.roundTrip(ctx) })
	}
	all.Wait()
	if interrupted(ctx) {
		s.fail(Incomplete, "interrupted")
		return nil
	}
	good := map[string]int{}
	for _, k := range keys {
		for _, h := range k.nodes {
			if h.err != nil {
				faults = append(faults, fmt.Sprintf("%s: %s: %v", k.layer, h.Identity().Name, h.err))
				continue
			}
			good[k.layer]++
		}
	}
	for _, l := range r.config.Layers {
		if good[l.Name] > 0 {
			s.note(fmt.Sprintf("%s: a delete arrives on %s", l.Name, plural(int64(good[l.Name]), "node", "nodes")))
		}
	}
	for _, f := range faults {
		s.fail(Failed, f)
	}
	return nil
}

// ownKeys are keys such that each node which can be written, or is a replica of one, holds one. faults name the others.
func (r *run) ownKeys() (keys []*ownKey, faults []string) {
	for _, l := range r.config.Layers {
		var left []*holder
		for i := range r.nodes {
			n := &r.nodes[i]
			if n.id().Layer != l.Name || !n.id().Traits.Writable {
				continue
			}
			w, ok := n.Node.(probes.Writable)
			if n.err != nil || !ok {
				faults = append(faults, fmt.Sprintf("%s: %s does not answer: %v", l.Name, n.id().Name, n.err))
				continue
			}
			left = append(left, &holder{Writable: w, seen: n})
		}
		for tried := keysFor * (len(left) + 1); tried > 0 && len(left) > 0; tried-- {
			id := rand.Text()
			k := &ownKey{name: "cacheinv:recover:" + id, layer: l.Name, value: []byte(id), longest: validateLongest}
			var rest []*holder
			for _, h := range left {
				if h.takes(k.name) {
					k.nodes = append(k.nodes, h)
				} else {
					rest = append(rest, h)
				}
			}
			if left = rest; len(k.nodes) > 0 {
				keys = append(keys, k)
			}
		}
		for _, h := range left {
			faults = append(faults, fmt.Sprintf("%s: no key was found that %s holds; see whether it owns slots", l.Name, h.Identity().Name))
		}
	}
	return keys, faults
}

// takes reports whether the node holds a key. Of a pool that may hold keys anywhere, each server is written by itself.
func (h *holder) takes(key string) bool {
	placer, ok := h.Writable.(probes.Placer)
	if !ok {
		return true
	}
	at := placer.Place(key).Holding
	return at == probes.Holds || at == probes.Anywhere
}

// roundTrip writes the key, deletes it, and notes of each node what went wrong.
func (k *ownKey) roundTrip(ctx context.Context) {
	defer k.sweep(ctx)
	k.each(ctx, func(ctx context.Context, h *holder) error {
		if h.seen.replica() {
			return nil
		}
		err := h.Put(ctx, k.name, k.value, validateTTL)
		if errors.Is(err, probes.ErrReplica) {
			return nil
		}
		h.written = true // also where the answer got lost
		return err
	})
	k.each(ctx, func(ctx context.Context, h *holder) error {
		return k.await(ctx, h, func(s probes.Seen) bool { return s == probes.Served },
			"a key that was written did not arrive; see its replication link, and whether its primary is among the nodes")
	})
	k.each(ctx, func(ctx context.Context, h *holder) error {
		if !h.written {
			return nil
		}
		return h.Remove(ctx, []string{k.name})
	})
	k.each(ctx, func(ctx context.Context, h *holder) error {
		return k.await(ctx, h, func(s probes.Seen) bool { return s == probes.Gone }, "a key that was deleted is still there; see its replication link")
	})
}

// each node that has had no error gets its turn, all at once.
func (k *ownKey) each(ctx context.Context, do func(ctx context.Context, h *holder) error) {
	limited, cancel := context.WithTimeout(ctx, k.longest)
	defer cancel()
	var all sync.WaitGroup
	for _, h := range k.nodes {
		if h.err == nil {
			all.Go(func() { h.err = do(limited, h) })
		}
	}
	all.Wait()
}

// await what is wanted of the key on a node.
func (k *ownKey) await(ctx context.Context, h *holder, wanted func(probes.Seen) bool, late string) error {
	for {
		seen, err := h.Watch(ctx, []string{k.name}, [][]byte{k.value})
		switch {
		case err != nil && ctx.Err() == nil:
			return err
		case err == nil && wanted(seen[0]):
			return nil
		}
		if !pause.For(ctx, validateLook) {
			return errors.New(late)
		}
	}
}

// sweep deletes the key where it may be left. Else its TTL ends it.
func (k *ownKey) sweep(ctx context.Context) {
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), validateLongest)
	defer cancel()
	var all sync.WaitGroup
	for _, h := range k.nodes {
		if h.written && (h.err != nil || ctx.Err() != nil) {
			all.Go(func() { _ = h.Remove(limited, []string{k.name}) }) // it expires
		}
	}
	all.Wait()
}
