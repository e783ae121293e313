package roundtrip

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

const (
	// oldVersion is in the values that are written, and newVersion in the invalidations.
	oldVersion, newVersion = 1, 2
	// keysFor is how many keys are tried for each node that shares keys out with others, until each holds one.
	keysFor = 64
)

var (
	errNoKey    = errors.New("no key was found that the node holds; see whether it owns slots")
	errAnywhere = errors.New("which server of the pool holds a key is unknown (hashing: any); write the pool's hashing")
	errUnsure   = errors.New("the node could not be asked whether it still serves the old version")
)

// probeKey is one key of a round, with the nodes on which it is watched.
type probeKey struct {
	id, key string
	value   []byte
	nodes   []*watchedNode
}

// play one round from its keys to their end.
func (r *Runner) play(p *roundTrip, id string) {
	keys := r.share(p, id)
	var all sync.WaitGroup
	for _, k := range keys {
		all.Go(func() { r.runKey(p, k) })
	}
	all.Wait()
}

// share finds keys so that each node holds one. Most nodes hold any; those of a Cluster or a pool, their part.
func (r *Runner) share(p *roundTrip, id string) []*probeKey {
	left := r.of(p)
	most := 1
	for _, n := range left {
		if _, ok := n.Writable.(probes.Placer); ok {
			most += keysFor
		}
	}
	var out []*probeKey
	for i := 0; i < most && len(left) > 0; i++ {
		k := &probeKey{id: id}
		if i > 0 {
			k.id += "-" + strconv.Itoa(i)
		}
		k.key = p.Key.Expand(map[string]string{"id": k.id}, nil)
		left = slices.DeleteFunc(left, func(n *watchedNode) bool {
			holding := probes.Holds
			if placer, ok := n.Writable.(probes.Placer); ok {
				holding = placer.Place(k.key).Holding
			}
			switch holding {
			case probes.Holds:
				k.nodes = append(k.nodes, n)
			case probes.Anywhere:
				r.fail(p, n, Setup, errAnywhere)
			default:
				return false
			}
			return true
		})
		if len(k.nodes) > 0 {
			k.value = fmt.Appendf(nil, `{"probe":%q,"id":%q,"version":%d}`, "cacheinv", k.id, oldVersion)
			out = append(out, k)
		}
	}
	for _, n := range left {
		r.fail(p, n, Setup, errNoKey)
	}
	return out
}

// runKey sets one key up, publishes its invalidation, and awaits what comes of it on its nodes.
func (r *Runner) runKey(p *roundTrip, k *probeKey) {
	written, ready := r.write(p, k)
	defer func() { r.sweep(k, written) }()
	if len(ready) == 0 || r.life.Err() != nil {
		return
	}
	// The processor may be faster than the broker's answer: the nodes are watched before it.
	began := time.Now()
	watches := make([]*watch, len(ready))
	for i, n := range ready {
		watches[i] = n.watch(k, began, p.Timeout)
	}
	ctx, cancel := context.WithTimeout(r.life, p.Timeout)
	err := p.publisher.Publish(ctx, k.key, message(p.RoundTrip, k, began))
	cancel()
	if r.life.Err() != nil {
		return
	}
	if err != nil {
		for i, n := range ready {
			n.forget(watches[i])
			r.fail(p, n, Publish, err)
		}
		return
	}
	var all sync.WaitGroup
	for i, n := range ready {
		all.Go(func() { r.await(p, n, watches[i]) })
	}
	all.Wait()
}

// await what comes of one node. A round trip counts as sent once that is known: one that the runner's end cuts off is none.
func (r *Runner) await(p *roundTrip, n *watchedNode, w *watch) {
	select {
	case o := <-w.outcome:
		if o.unsure && r.life.Err() != nil {
			return // the end may be why
		}
		r.observer.Sent(p.Name, n.Identity())
		switch {
		case o.unsure:
			r.failed(p, n, Setup, errUnsure)
		case o.lost:
			r.failed(p, n, Lost, nil)
		default:
			r.observer.Gone(p.Name, n.Identity(), o.after)
			if p.told.change(n.Identity().Name, "") {
				r.log.Info("invalidation probe succeeds", "probe", p.Name, "node", n.Identity().Name)
			}
		}
	case <-r.life.Done():
		n.forget(w)
	}
}

// fail where the runner's end is not why. What an ending runner could not do is no failure.
func (r *Runner) fail(p *roundTrip, n *watchedNode, reason Reason, err error) {
	if r.life.Err() == nil {
		r.failed(p, n, reason, err)
	}
}

// failed counts a failure, and tells it where it is another than the last.
func (r *Runner) failed(p *roundTrip, n *watchedNode, reason Reason, err error) {
	r.observer.Failed(p.Name, n.Identity(), reason, p.Timeout, err)
	if p.told.change(n.Identity().Name, reason) {
		r.log.Warn("invalidation probe fails", "probe", p.Name, "node", n.Identity().Name, "reason", string(reason), "err", err)
	}
}

// message is the invalidation of a key.
func message(p config.RoundTrip, k *probeKey, now time.Time) []byte {
	return []byte(p.Message.Expand(map[string]string{
		"key": k.key, "id": k.id, "version": strconv.Itoa(newVersion), "timestamp_ms": strconv.FormatInt(now.UnixMilli(), 10),
	}, escape))
}

// escape for the inside of a JSON string.
func escape(s string) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // text can be
	text := strings.TrimSuffix(b.String(), "\n")
	return text[1 : len(text)-1]
}

// keySetup of a key on its nodes.
type keySetup struct {
	*probeKey
	// longest that a node may take to be written, and then again a replica to follow. began is when the writing did.
	longest time.Duration
	began   time.Time

	mu sync.Mutex
	// moved: a node's writing ended.
	moved *sync.Cond
	nodes []*nodeSetup
}

// nodeSetup is one node of a setup. What a primary tells is guarded by the setup's mutex.
type nodeSetup struct {
	*watchedNode
	// follows: it is a replica. ended: nobody writes any more.
	follows, ended bool
	err            error
}

// write the old version on the primaries, and wait until the replicas serve it too. written may hold it, ready do.
// Each node has a time of its own, so that one that hangs costs no other its round trip.
func (r *Runner) write(p *roundTrip, k *probeKey) (written, ready []*watchedNode) {
	s := &keySetup{probeKey: k, longest: min(setupLongest, max(p.Timeout, time.Second)), began: time.Now()}
	s.moved = sync.NewCond(&s.mu)
	for _, n := range k.nodes {
		replica := n.replica.Load()
		s.nodes = append(s.nodes, &nodeSetup{watchedNode: n, follows: replica, ended: replica})
	}
	var all sync.WaitGroup
	for _, n := range s.nodes {
		follows := n.follows
		all.Go(func() {
			if !follows {
				follows = r.put(s, n, 2*p.Timeout+keptBeyond)
			}
			if follows {
				n.err = r.arrive(s, n)
			}
		})
	}
	all.Wait()
	for _, n := range s.nodes {
		if !n.follows {
			written = append(written, n.watchedNode)
		}
		if n.err == nil {
			ready = append(ready, n.watchedNode)
			continue
		}
		r.fail(p, n.watchedNode, Setup, n.err)
	}
	return written, ready
}

// put the old version on a node that is a primary as far as is known; true: it is a replica.
func (r *Runner) put(s *keySetup, n *nodeSetup, ttl time.Duration) bool {
	ctx, cancel := context.WithTimeout(r.life, s.longest)
	defer cancel()
	err := n.put(ctx, s.probeKey, ttl)
	replica := errors.Is(err, probes.ErrReplica) // since the last survey
	if replica {
		n.replica.Store(true)
		r.outdated()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n.ended, n.follows, n.err = true, replica, err
	s.moved.Broadcast()
	return replica
}

// arrive waits until a replica serves what its primary was given. Its time begins when that was written.
func (r *Runner) arrive(s *keySetup, n *nodeSetup) error {
	primaries, written := s.wait(n.sameGroup)
	if primaries == 0 { // they may be configured apart
		primaries, written = s.wait(func(o *nodeSetup) bool { return o.Identity().Kind == n.Identity().Kind && !n.sameGroup(o) })
	}
	if !written {
		return errNoPrimary
	}
	end := time.Now().Add(s.longest)
	if primaries > 1 { // which of them it follows is unknown, and that may be the one that is written last
		end = s.began.Add(2 * s.longest)
	}
	ctx, cancel := context.WithDeadline(r.life, end)
	defer cancel()
	return n.arrived(ctx, s.probeKey)
}

// sameGroup of which both are found.
func (n *nodeSetup) sameGroup(o *nodeSetup) bool {
	a, b := n.Identity(), o.Identity()
	return a.Group != "" && a.Group == b.Group && a.Layer == b.Layer
}

// wait until one of the primaries among some nodes was written, or none of them will be.
func (s *keySetup) wait(among func(*nodeSetup) bool) (primaries int, written bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		primaries, written = 0, false
		pending := false
		for _, n := range s.nodes {
			if !n.follows && among(n) {
				primaries++
				pending = pending || !n.ended
				written = written || n.ended && n.err == nil
			}
		}
		if written || !pending {
			return primaries, written
		}
		s.moved.Wait()
	}
}

var errNoPrimary = errors.New("none of its primaries could be written; see the setup failures of the other nodes, and whether one is a primary")

// sweep deletes what the processor did not.
func (r *Runner) sweep(k *probeKey, written []*watchedNode) {
	ctx, cancel := context.WithTimeout(context.Background(), sweepLongest) // also after the end of r.life
	defer cancel()
	var all sync.WaitGroup
	for _, n := range written {
		all.Go(func() {
			if err := n.Remove(ctx, []string{k.key}); err != nil {
				r.log.Debug("a probe's key was not deleted; it expires", "node", n.Identity().Name, "err", err)
			}
		})
	}
	all.Wait()
}
