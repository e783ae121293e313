package group

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/pause"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// Once tells whether a group was surveyed to the end: before that it may have no members yet, which is no fault.
type Once struct{ surveyed atomic.Bool }

func (o *Once) End() { o.surveyed.Store(true) }

// foundEvery is the wait before a group that is being surveyed is looked at again.
const foundEvery = 5 * time.Millisecond

// Wait waits until there holds, under mu, or a survey has ended.
func (o *Once) Wait(ctx context.Context, mu *sync.Mutex, there func() bool) error {
	for {
		surveyed := o.surveyed.Load()
		mu.Lock()
		ok := there()
		mu.Unlock()
		if ok || surveyed {
			return nil
		}
		if !pause.For(ctx, foundEvery) {
			return probes.NoAnswer(ctx)
		}
	}
}

// Grace is how long new members wait for the others to say who they are.
const Grace = time.Second

// Holder of a run_id among members in their order: one whose own it is already, else one before m that told it in this
// survey; nil: m itself.
func Holder[M any](members []*M, m *M, knows func(*M) (own, told bool)) *M {
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

func Await(all <-chan struct{}, longest time.Duration) {
	t := time.NewTimer(longest)
	defer t.Stop()
	select {
	case <-all:
	case <-t.C:
	}
}

// MemberIdentity names the member GROUP/HOST:PORT.
func MemberIdentity(group probes.Identity, address string) probes.Identity {
	id := group
	id.Name, id.Group = group.Name+"/"+address, group.Name
	return id
}

func Describe(id probes.Identity, expected int, members []probes.Node) probes.Group {
	out := probes.Group{Layer: id.Layer, Name: id.Name, Expected: expected}
	for _, n := range members {
		out.Nodes = append(out.Nodes, n.Identity().Name)
	}
	return out
}

func SortNodes(nodes []probes.Node) {
	slices.SortFunc(nodes, func(a, b probes.Node) int { return cmp.Compare(a.Identity().Name, b.Identity().Name) })
}
