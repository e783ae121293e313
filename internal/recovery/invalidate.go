package recovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/cacheinv/cacheinv_exporter/internal/drain"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

const (
	// deleteLongest is how long a batch of deletes may take, and silentLongest how long a server that lists its keys may say nothing.
	deleteLongest, silentLongest = 30 * time.Second, 30 * time.Second
	// heldKeys bounds the keys that are held of a server whose listing can't wait for deletes.
	heldKeys = 50_000
)

// Invalidation is what came of the patterns.
type Invalidation struct {
	Patterns []string           `json:"patterns"`
	Nodes    []*NodeInvalidated `json:"nodes"`
	// NotInvalidated are layers in which nothing can be deleted. That is no failure.
	NotInvalidated []drain.LayerLeft `json:"not_invalidated"`
}

// NodeInvalidated is one node whose keys were gone through.
type NodeInvalidated struct {
	Layer string `json:"layer"`
	Node  string `json:"node"`
	// Matched keys that match a pattern; of a plan these alone. Deleted and Failed ones of them.
	Matched int64 `json:"matched"`
	Deleted int64 `json:"deleted"`
	Failed  int64 `json:"failed"`
	// Flushed: every key of the server was deleted, since it does not list them.
	Flushed bool    `json:"flushed"`
	Seconds float64 `json:"seconds"`
	// Error says what ended it early, or why the last key failed.
	Error string `json:"error,omitempty"`
}

// deletable is a node whose keys can be listed and deleted.
type deletable interface {
	probes.Lister
	probes.Deleter
}

// invalidate deletes the keys of the patterns on every node that can hold them.
func (r *run) invalidate(ctx context.Context, s *Step) error {
	switch {
	case len(r.recovery.Patterns) == 0:
		s.skip("recovery.patterns is not configured")
		return nil
	case !r.wants(Aggressive):
		s.skip("only in an aggressive recovery")
		return nil
	}
	r.nodes = r.survey(ctx) // programs may have run for minutes since
	out := &Invalidation{Patterns: r.recovery.Patterns, Nodes: []*NodeInvalidated{}, NotInvalidated: r.layersLeft()}
	r.report.Invalidation = out
	work, cancel := inHand(ctx)
	defer cancel()
	i := &invalidating{run: r, signal: ctx, limit: newLimiter(r.recovery.Rate), reserved: r.queueKeys()}
	var all sync.WaitGroup
	for k := range r.nodes {
		n := &r.nodes[k]
		if !n.id().Traits.ListsKeys || n.replica() && r.primaryOf(n) != nil {
			continue
		}
		result := &NodeInvalidated{Layer: n.id().Layer, Node: n.id().Name}
		out.Nodes = append(out.Nodes, result)
		all.Go(func() {
			began := time.Now()
			err := i.node(work, n, result)
			if result.Seconds = time.Since(began).Seconds(); err != nil {
				result.Error = err.Error()
			}
		})
	}
	all.Wait()
	r.tellInvalidation(s, out, i.stopped)
	return i.recordErr
}

// layersLeft are those in which nothing can be deleted.
func (r *run) layersLeft() []drain.LayerLeft {
	out := []drain.LayerLeft{}
	for _, l := range r.config.Layers {
		left := drain.LayerLeft{Layer: l.Name}
		for _, n := range l.Nodes {
			if !n.Traits.ListsKeys {
				left.Nodes = append(left.Nodes, n.Name)
			}
		}
		if !l.NoExpiry {
			seconds := l.TTL.Seconds()
			left.TTLSeconds = &seconds
		}
		if len(left.Nodes) > 0 {
			out = append(out, left)
		}
	}
	return out
}

// queueKeys are the keys that queues have on nodes of the layers. They are never deleted.
func (r *run) queueKeys() map[string]bool {
	out := map[string]bool{}
	for _, q := range r.queues {
		if own, ok := q.(probes.Backlogged); ok {
			for _, k := range own.OwnKeys() {
				out[k] = true
			}
		}
	}
	return out
}

// primaryOf gives the node that a replica's keys are deleted on; nil: none of those that answer.
func (r *run) primaryOf(replica *nodeSeen) *nodeSeen {
	own := replica.survey.Replication
	if own == nil {
		return nil
	}
	pairs := map[string]bool{} // groups of one primary and its replicas
	for _, g := range r.fleet.Groups() {
		pairs[g.Name] = g.Replication
	}
	for i := range r.nodes {
		n := &r.nodes[i]
		other := n.survey.Replication
		if n.err != nil || n.survey.Role != "primary" || n.id().Layer != replica.id().Layer || other == nil {
			continue
		}
		group := n.id().Group
		switch {
		case own.ReplID != "" && (other.ReplID == own.ReplID || other.ReplID2 == own.ReplID):
			return n
		case group != "" && group == replica.id().Group && (pairs[group] || strings.HasSuffix(n.id().Name, "/"+own.Primary)): // it does not follow yet
			return n
		}
	}
	return nil
}

// invalidating is one going through of all nodes.
type invalidating struct {
	*run
	// signal ends when the run is interrupted; what is in hand goes on.
	signal context.Context
	limit  *rate.Limiter
	// reserved are keys that are never deleted.
	reserved map[string]bool

	mu sync.Mutex
	// stopped is why the batches that were left were not begun; recordErr is of an audit log that can't be written.
	stopped, recordErr error
	// deleted and all count keys of all nodes, for who watches.
	deleted, all int64
}

// newLimiter of keys in a second; nil: no limit.
func newLimiter(perSecond float64) *rate.Limiter {
	if perSecond <= 0 {
		return nil
	}
	// A batch is a tenth of a second's keys, so that what is asked for is what is seen on the servers.
	return rate.NewLimiter(rate.Limit(perSecond), min(max(int(perSecond/10), 1), probes.BatchKeys))
}

// node deletes the keys of one node, and counts them.
func (i *invalidating) node(ctx context.Context, n *nodeSeen, out *NodeInvalidated) error {
	d, ok := n.Node.(deletable)
	switch {
	case n.err != nil:
		return fmt.Errorf("it does not answer: %w", n.err)
	case n.replica():
		return errors.New("it is a replica, and its primary is not among the nodes that answer")
	case !ok:
		return errors.New("its keys can't be listed and deleted")
	}
	if n.survey.Items.Known {
		i.mu.Lock()
		i.all += int64(n.survey.Items.Value)
		i.mu.Unlock()
	}
	wanted := i.wantedIn(n.id().Layer)
	err := i.pass(ctx, d, wanted, out)
	if errors.Is(err, probes.ErrNoList) {
		return i.flush(ctx, n, out, err)
	}
	if err == nil && out.Failed > 0 && i.opt.Apply { // a slot that moves, most often
		out.Matched, out.Failed, out.Error = out.Matched-out.Failed, 0, ""
		err = i.pass(ctx, d, wanted, out)
	}
	return err
}

// errHeld ends a listing that found as many keys as may be held.
var errHeld = errors.New("as many keys as may be held were found")

// pass goes through all keys of a node once. A server whose listing waits for nobody is asked again for those that it had not
// listed yet: what was deleted is no longer among them.
func (i *invalidating) pass(ctx context.Context, d deletable, wanted keyFilter, out *NodeInvalidated) error {
	var held []string
	hold := !d.Identity().Traits.StepsThroughKeys && i.opt.Apply
	for {
		err := i.list(ctx, d, wanted.hint, func(ctx context.Context, keys []string) error {
			keys = i.matching(keys, wanted)
			if !hold {
				return i.delete(ctx, d, keys, out)
			}
			if held = append(held, keys...); len(held) >= heldKeys {
				return errHeld
			}
			return nil
		})
		more := errors.Is(err, errHeld)
		if err != nil && !more {
			return err
		}
		failed := out.Failed
		if err := i.delete(ctx, d, held, out); err != nil {
			return err
		}
		if !more || out.Failed > failed { // those that failed would be listed again
			return nil
		}
		held = held[:0]
	}
}

// list the keys of a node. A server that says nothing for too long is given up; while found runs, no time passes.
func (i *invalidating) list(ctx context.Context, d deletable, hint string, found func(ctx context.Context, keys []string) error) error {
	listing, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silent := time.AfterFunc(silentLongest, func() { cancel(errSilent) })
	defer silent.Stop()
	err := d.List(listing, hint, func(keys []string) error {
		silent.Stop()
		defer silent.Reset(silentLongest)
		if err := i.passGate(); err != nil {
			return err
		}
		return found(ctx, keys)
	})
	if err != nil && errors.Is(context.Cause(listing), errSilent) {
		return errSilent
	}
	return err
}

var errSilent = fmt.Errorf("it listed no keys for %s", silentLongest)

// passGate is passed before each batch.
func (i *invalidating) passGate() error {
	err := i.gate(i.signal)
	if err != nil {
		i.mu.Lock()
		i.stopped = err
		i.mu.Unlock()
	}
	return err
}

// matching keys of those that were listed, without those of queues.
func (i *invalidating) matching(keys []string, wanted keyFilter) []string {
	out := keys[:0:0]
	for _, k := range keys {
		if wanted.wanted(k) && !i.reserved[k] {
			out = append(out, k)
		}
	}
	return out
}

// delete keys in batches, at the rate. A plan counts them alone.
func (i *invalidating) delete(ctx context.Context, d deletable, keys []string, out *NodeInvalidated) error {
	if !i.opt.Apply {
		out.Matched += int64(len(keys))
		return nil
	}
	size := probes.BatchKeys
	if i.limit != nil {
		size = i.limit.Burst()
	}
	for first := 0; first < len(keys); first += size {
		batch := keys[first:min(first+size, len(keys))]
		if i.limit != nil {
			if i.limit.WaitN(i.signal, len(batch)) != nil {
				return cmp.Or(i.passGate(), errInterrupted)
			}
		}
		if err := i.passGate(); err != nil {
			return err
		}
		if err := i.deleteBatch(ctx, d, batch, out); err != nil {
			return err
		}
	}
	return nil
}

func (i *invalidating) deleteBatch(ctx context.Context, d deletable, batch []string, out *NodeInvalidated) error {
	id := d.Identity()
	if err := i.recordOf(id, "delete", batch); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, deleteLongest)
	defer cancel()
	out.Matched += int64(len(batch))
	var failed []string
	for k, err := range d.Delete(limited, batch) {
		if err == nil {
			out.Deleted++
			continue
		}
		failed = append(failed, batch[k])
		out.Error = err.Error()
	}
	if out.Failed += int64(len(failed)); len(failed) > 0 {
		if err := i.recordOf(id, "delete_failed", failed); err != nil {
			return err
		}
	}
	i.mu.Lock()
	i.deleted += int64(len(batch))
	done, all := i.deleted, i.all
	i.mu.Unlock()
	i.tell(Progress{Step: stepInvalidate, Text: id.Name, Done: done, Total: max(all, done)})
	return nil
}

// recordOf what is done on a node; nil keys: all of them.
func (i *invalidating) recordOf(id probes.Identity, event string, keys []string) error {
	texts, raw := probes.KeyTexts(keys)
	fields := map[string]any{"layer": id.Layer, "node": id.Name, "keys": texts}
	if raw != nil {
		fields["keys_base64"] = raw
	}
	err := i.record(event, fields)
	if err != nil {
		i.mu.Lock()
		i.recordErr = err
		i.mu.Unlock()
	}
	return err
}

// flush a server that does not list its keys, where that is allowed.
func (i *invalidating) flush(ctx context.Context, n *nodeSeen, out *NodeInvalidated, refused error) error {
	f, ok := n.Node.(probes.Flusher)
	switch {
	case !ok:
		return refused
	case !i.opt.AllowFlushAll:
		return fmt.Errorf("%w; --allow-flush-all deletes every key of this server instead", refused)
	case !i.opt.Apply:
		out.Flushed = true
		return nil
	}
	if err := i.passGate(); err != nil {
		return err
	}
	if err := i.recordOf(n.id(), "flush_all", nil); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, deleteLongest)
	defer cancel()
	if err := f.Flush(limited); err != nil {
		return err
	}
	out.Flushed = true
	return nil
}

// tellInvalidation in the report.
func (r *run) tellInvalidation(s *Step, out *Invalidation, stopped error) {
	if !r.opt.Apply {
		s.Status = Planned
	}
	matched, deleted := int64(0), int64(0)
	for _, n := range out.Nodes {
		matched, deleted = matched+n.Matched, deleted+n.Deleted
		line := fmt.Sprintf("%s %s: %s", n.Layer, n.Node, plural(n.Matched, "key matches", "keys match"))
		switch {
		case n.Flushed && !r.opt.Apply:
			line = fmt.Sprintf("%s %s: flush_all, since it does not list its keys", n.Layer, n.Node)
		case n.Flushed:
			line = fmt.Sprintf("%s %s: flush_all deleted all of its keys, since it does not list them", n.Layer, n.Node)
		case r.opt.Apply:
			line = fmt.Sprintf("%s %s: %s deleted", n.Layer, n.Node, plural(n.Deleted, "key", "keys"))
		}
		if n.Error == "" || stopped != nil && n.Error == stopped.Error() {
			s.note(line)
			continue
		}
		if r.opt.Apply {
			s.Status = Incomplete
		}
		if n.Failed > 0 {
			line += fmt.Sprintf("; %d failed: %s", n.Failed, n.Error)
		} else {
			line += "; it ended early: " + n.Error
		}
		s.note(line)
		r.report.notDone(fmt.Sprintf("keys of the patterns on %s (%s)", n.Node, n.Layer), n.Error, "mend that and run "+r.goOn())
	}
	if r.opt.Apply {
		s.note(fmt.Sprintf("%s deleted in all, by the patterns %s", plural(deleted, "key", "keys"), strings.Join(out.Patterns, " ")))
	} else {
		s.note(fmt.Sprintf("%s to be deleted in all, by the patterns %s", plural(matched, "key", "keys"), strings.Join(out.Patterns, " ")))
	}
	r.noteLeft(s, out.NotInvalidated)
	r.noteBlind(s)
	switch {
	case errors.Is(stopped, errInterrupted):
		s.fail(Incomplete, "interrupted")
		r.report.notDone("the rest of the keys of the patterns, and the backlog", "the command was interrupted", "run "+r.goOn())
	case stopped != nil:
		r.heed(s, stopped)
	}
}
