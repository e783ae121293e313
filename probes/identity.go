package probes

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/pause"
)

// once tells whether a group was surveyed to the end: before that it may have no members yet, which is no fault.
type once struct{ surveyed atomic.Bool }

func (o *once) end() { o.surveyed.Store(true) }

// foundEvery is the wait before a group that is being surveyed is looked at again.
const foundEvery = 5 * time.Millisecond

// found waits until there holds, under mu, or a survey has ended.
func (o *once) found(ctx context.Context, mu *sync.Mutex, there func() bool) error {
	for {
		surveyed := o.surveyed.Load()
		mu.Lock()
		ok := there()
		mu.Unlock()
		if ok || surveyed {
			return nil
		}
		if !pause.For(ctx, foundEvery) {
			return noAnswer(ctx)
		}
	}
}

// memberGrace is how long new members wait for the others to say who they are.
const memberGrace = time.Second

// holder of a run_id among members in their order: one whose own it is already, else one before m that told it in this
// survey; nil: m itself.
func holder[M any](members []*M, m *M, knows func(*M) (own, told bool)) *M {
	var before *M
	past := false
	for _, k := range members {
		own, told := knows(k)
		switch {
		case k == m:
			past = true
		case own:
			return k
		case !past && before == nil && told:
			before = k
		}
	}
	return before
}

func await(all <-chan struct{}, longest time.Duration) {
	t := time.NewTimer(longest)
	defer t.Stop()
	select {
	case <-all:
	case <-t.C:
	}
}

// memberOf names the member GROUP/HOST:PORT.
func memberOf(group Identity, address string) Identity {
	return Identity{Layer: group.Layer, Name: group.Name + "/" + address, Group: group.Name}
}

func groupWith(id Identity, expected int, members []Node) Group {
	out := Group{Layer: id.Layer, Name: id.Name, Expected: expected}
	for _, n := range members {
		out.Nodes = append(out.Nodes, n.Identity().Name)
	}
	return out
}

func sortNodes(nodes []Node) {
	slices.SortFunc(nodes, func(a, b Node) int { return cmp.Compare(a.Identity().Name, b.Identity().Name) })
}
