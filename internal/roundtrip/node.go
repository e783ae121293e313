package roundtrip

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/pause"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

const (
	// lookFirst is the wait between two looks at a key, and lookLast that of one that has been there for long.
	lookFirst, lookLast = 4 * time.Millisecond, 16 * time.Millisecond
	// lookAgain is the wait after a look that the node did not answer.
	lookAgain = 50 * time.Millisecond
	// lookLongest is how long a look may take, and how long after the timeout a node may stay silent.
	lookLongest = time.Second
)

var (
	errSilent     = errors.New("the node has not answered yet")
	errNotArrived = errors.New("the replica did not get the key in time; see its replication link")
)

// watchedNode is one that round trips watch. Its keys are watched by one goroutine, as long as there are any.
type watchedNode struct {
	probes.Writable
	r       *Runner
	replica atomic.Bool
	// silent: the last key that was to be set up was not answered.
	silent atomic.Bool
	trying sync.Mutex

	mu       sync.Mutex
	watches  []*watch
	watching bool
	wake     chan struct{}
}

func newNode(r *Runner, d probes.Writable) *watchedNode {
	return &watchedNode{Writable: d, r: r, wake: make(chan struct{}, 1)}
}

func compareNames(a, b *watchedNode) int {
	return strings.Compare(a.Identity().Name, b.Identity().Name)
}

// put the old version of a key.
func (n *watchedNode) put(ctx context.Context, k *probeKey, ttl time.Duration) error {
	return n.try(ctx, func() error { return n.Put(ctx, k.key, k.value, ttl) })
}

// try to set up a key. While the node is silent, one at a time does, and the others need not wait.
func (n *watchedNode) try(ctx context.Context, do func() error) error {
	if n.silent.Load() {
		if !n.trying.TryLock() {
			return errSilent
		}
		defer n.trying.Unlock()
	}
	err := do()
	n.silent.Store(err != nil && ctx.Err() != nil && !errors.Is(err, errNotArrived))
	return err
}

// arrived waits until a replica serves what its primary was given.
func (n *watchedNode) arrived(ctx context.Context, k *probeKey) error {
	return n.try(ctx, func() error {
		for {
			seen, err := n.Watch(ctx, []string{k.key}, [][]byte{k.value})
			switch {
			case err != nil:
				return err
			case seen[0] == probes.Served:
				return nil
			}
			if !pause.For(ctx, lookFirst) {
				return errNotArrived
			}
		}
	})
}

// outcome of a watch.
type outcome struct {
	after        time.Duration
	lost, unsure bool
}

// watch is a key on a node, from the publishing on.
type watch struct {
	*probeKey
	began, end time.Time
	// served is when the old version was last seen, and due when the next look is.
	served, due time.Time
	outcome     chan outcome
}

func (n *watchedNode) watch(k *probeKey, began time.Time, timeout time.Duration) *watch {
	w := &watch{probeKey: k, began: began, end: began.Add(timeout), served: began, outcome: make(chan outcome, 1)}
	w.due = w.next(began)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.watches = append(n.watches, w)
	if !n.watching {
		n.watching = true
		n.r.running.Go(n.look)
	}
	select {
	case n.wake <- struct{}{}:
	default:
	}
	return w
}

// next look after one at a time. The wait grows with the time since the publishing, and stays short enough for half of
// it to be a small error.
func (w *watch) next(at time.Time) time.Time {
	due := at.Add(min(max(at.Sub(w.began)/250, lookFirst), lookLast))
	if due.After(w.end) && at.Before(w.end) {
		return w.end
	}
	return due
}

func (n *watchedNode) forget(w *watch) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i, k := range n.watches {
		if k == w {
			n.watches = append(n.watches[:i:i], n.watches[i+1:]...)
			return
		}
	}
}

// take the watches that are due, or how long to wait for one; false: there are none at all.
func (n *watchedNode) take() (due []*watch, wait time.Duration, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.watches) == 0 || n.r.life.Err() != nil {
		n.watching = false
		return nil, 0, false
	}
	now := time.Now()
	wait = time.Hour
	for _, w := range n.watches {
		left := w.due.Sub(now)
		if left <= time.Millisecond { // those that are nearly due go along
			due = append(due, w)
		}
		wait = min(wait, left)
	}
	return due, wait, true
}

// look at the keys that are watched until none is.
func (n *watchedNode) look() {
	for {
		due, wait, ok := n.take()
		if !ok {
			return
		}
		if wait > 0 {
			t := time.NewTimer(wait)
			select {
			case <-t.C:
			case <-n.wake:
			case <-n.r.life.Done():
			}
			t.Stop()
			continue
		}
		keys, values := make([]string, len(due)), make([][]byte, len(due))
		for i, w := range due {
			keys[i], values[i] = w.key, w.value
		}
		ctx, cancel := context.WithTimeout(n.r.life, lookLongest)
		asked := time.Now()
		seen, _ := n.Watch(ctx, keys, values) // what it failed to see is Unseen
		cancel()
		answered := time.Now()
		for i, w := range due {
			if o, ended := w.judge(seen[i], asked, answered); ended {
				n.forget(w)
				w.outcome <- o
			}
		}
	}
}

// judge one look.
func (w *watch) judge(s probes.Seen, asked, answered time.Time) (o outcome, ended bool) {
	at := asked.Add(answered.Sub(asked) / 2)
	switch s {
	case probes.NotTold:
		if answered.After(w.end.Add(lookLongest)) {
			return outcome{unsure: true}, true
		}
		w.due = answered.Add(lookAgain)
		return outcome{}, false
	case probes.Served:
		if !asked.Before(w.end) {
			return outcome{lost: true}, true
		}
		w.served, w.due = at, w.next(answered)
		return outcome{}, false
	}
	// It went between the last look that saw it and this one.
	return outcome{after: w.served.Add(at.Sub(w.served) / 2).Sub(w.began)}, true
}
