package endtoend

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

// dedicated is one key of a round, with the nodes on which it is watched.
type dedicated struct {
	id, key string
	value   []byte
	nodes   []*node
}

// play one round from its keys to their end.
func (r *Runner) play(p *probe, id string) {
	keys := r.share(p, id)
	var all sync.WaitGroup
	for _, k := range keys {
		all.Go(func() { r.probe(p, k) })
	}
	all.Wait()
}

// share finds keys so that each node holds one. Most nodes hold any; those of a Cluster or a pool, their part.
func (r *Runner) share(p *probe, id string) []*dedicated {
	left := r.of(p)
	most := 1
	for _, n := range left {
		if _, ok := n.Dedicated.(probes.Placer); ok {
			most += keysFor
		}
	}
	var out []*dedicated
	for i := 0; i < most && len(left) > 0; i++ {
		k := &dedicated{id: id}
		if i > 0 {
			k.id += "-" + strconv.Itoa(i)
		}
		k.key = p.Key.Expand(map[string]string{"id": k.id}, nil)
		left = slices.DeleteFunc(left, func(n *node) bool {
			holding := probes.Holds
			if placer, ok := n.Dedicated.(probes.Placer); ok {
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

// probe one key.
func (r *Runner) probe(p *probe, k *dedicated) {
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
	err := p.publisher.Publish(ctx, k.key, message(p.InvalidationProbe, k, began))
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
	for _, n := range ready {
		r.observer.Sent(p.Name, n.Identity())
	}
	var all sync.WaitGroup
	for i, n := range ready {
		all.Go(func() { r.await(p, n, watches[i]) })
	}
	all.Wait()
}

// await what comes of one node.
func (r *Runner) await(p *probe, n *node, w *watch) {
	select {
	case o := <-w.outcome:
		switch {
		case o.unsure:
			r.fail(p, n, Setup, errUnsure)
		case o.lost:
			r.fail(p, n, Lost, nil)
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

// fail counts a failure, and tells it where it is another than the last. What an ending runner could not do is none.
func (r *Runner) fail(p *probe, n *node, reason Reason, err error) {
	if r.life.Err() != nil {
		return
	}
	r.observer.Failed(p.Name, n.Identity(), reason, p.Timeout)
	if p.told.change(n.Identity().Name, reason) {
		r.log.Warn("invalidation probe fails", "probe", p.Name, "node", n.Identity().Name, "reason", string(reason), "err", err)
	}
}

// message is the invalidation of a key.
func message(p config.InvalidationProbe, k *dedicated, now time.Time) []byte {
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

// write the old version on the primaries, and wait until the replicas serve it too. written may hold it, ready do.
func (r *Runner) write(p *probe, k *dedicated) (written, ready []*node) {
	ctx, cancel := context.WithTimeout(r.life, min(setupLongest, max(p.Timeout, time.Second)))
	defer cancel()
	errs := make([]error, len(k.nodes))
	var all sync.WaitGroup
	for i, n := range k.nodes {
		if n.replica.Load() {
			continue
		}
		all.Go(func() {
			errs[i] = n.put(ctx, k, 2*p.Timeout+keptBeyond)
			if errors.Is(errs[i], probes.ErrReplica) { // since the last survey
				n.replica.Store(true)
				r.outdated()
			}
		})
	}
	all.Wait()
	for i, n := range k.nodes {
		if !n.replica.Load() {
			written = append(written, n)
		} else if errors.Is(errs[i], probes.ErrReplica) {
			errs[i] = nil
		}
	}
	for i, n := range k.nodes {
		if n.replica.Load() && len(written) > 0 {
			all.Go(func() { errs[i] = n.arrived(ctx, k) })
		} else if n.replica.Load() {
			errs[i] = errNoPrimary
		}
	}
	all.Wait()
	for i, n := range k.nodes {
		if errs[i] == nil {
			ready = append(ready, n)
			continue
		}
		r.fail(p, n, Setup, errs[i])
	}
	return written, ready
}

var errNoPrimary = errors.New("none of the layers' nodes is a primary that can be written")

// sweep deletes what the processor did not.
func (r *Runner) sweep(k *dedicated, written []*node) {
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
