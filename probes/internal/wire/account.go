package wire

import (
	"context"
	"sync"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/pause"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// AliveGrace is how long a server that answers others may send nothing over a connection on which it owes answers. It is
// exported for tests.
const AliveGrace = time.Second

// Account counts what this process's reads add to one server's hits and misses. Nodes at one address (two databases)
// share it, for the server has but one count.
type Account struct {
	// lock is held by whoever has commands under way that change the count, until each has been answered and counted, so
	// that what INFO or stats report and our own count are of the same moment.
	lock chan struct{}

	// The following belong to who holds the lock.

	// Hits and Misses are ours, since the server's own counts began.
	Hits, Misses uint64
	// run names the server's process; empty where the server does not report it.
	run string
	// seenHits and seenMisses are what the server reported last.
	seenHits, seenMisses float64

	mu    sync.Mutex
	lease *Lease // now; nil: none
}

// AccountOf the server of a kind at an address.
func AccountOf(k *probes.Kept, kind, address string) *Account {
	return probes.KeptOf(k, kind, address, func() *Account { return &Account{lock: make(chan struct{}, 1)} })
}

// Lease is the time from a Lock to its Unlock. Its fields are set when its caller has gone and only counting goes on.
type Lease struct {
	// kill ends what goes on.
	kill func()
	// moved gives how many bytes were received.
	moved func() int64
}

// Lock waits for the lock, until ctx ends. A lease whose caller has gone is ended when the server answers others (answers
// asks over a new connection) but sends nothing for it: its connection is dead, which a frozen server's is not.
func (a *Account) Lock(ctx context.Context, answers func(context.Context) bool) (*Lease, error) {
	if ctx.Err() != nil {
		return nil, probes.NoAnswer(ctx)
	}
	select {
	case a.lock <- struct{}{}:
		return a.take(), nil
	default:
	}
	if orphan := a.orphan(); orphan != nil {
		ctx, cancel := context.WithCancel(ctx)
		var asking sync.WaitGroup
		asking.Go(func() {
			if !answers(ctx) {
				return
			}
			for before := int64(-1); orphan.moved() != before; {
				before = orphan.moved()
				if !pause.For(ctx, AliveGrace) {
					return
				}
			}
			a.end(orphan)
		})
		defer asking.Wait()
		defer cancel()
	}
	select {
	case a.lock <- struct{}{}:
		return a.take(), nil
	case <-ctx.Done():
		return nil, probes.NoAnswer(ctx)
	}
}

func (a *Account) take() *Lease {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lease = &Lease{}
	return a.lease
}

// Unlock ends a lease.
func (a *Account) Unlock(l *Lease) {
	a.mu.Lock()
	if a.lease == l {
		a.lease = nil
	}
	a.mu.Unlock()
	<-a.lock
}

// Abandon says that l's caller has gone; kill ends what goes on without it, and moved gives the bytes received so far.
func (a *Account) Abandon(l *Lease, kill func(), moved func() int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.lease == l {
		l.kill, l.moved = kill, moved
	}
}

func (a *Account) orphan() *Lease {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.lease != nil && a.lease.kill != nil {
		return a.lease
	}
	return nil
}

func (a *Account) end(l *Lease) {
	a.mu.Lock()
	kill := l.kill
	if a.lease != l {
		kill = nil
	}
	a.mu.Unlock()
	if kill != nil {
		kill()
	}
}

// Own gives our part of the hits and misses that the server's process run just reported. Where it began anew, or its counts
// were reset, none of them is ours.
func (a *Account) Own(run string, survey *probes.Survey) (hits, misses uint64) {
	if a.run != "" && run != a.run || survey.Hits.Value < a.seenHits || survey.Misses.Value < a.seenMisses {
		a.Hits, a.Misses = 0, 0
	}
	a.run, a.seenHits, a.seenMisses = run, survey.Hits.Value, survey.Misses.Value
	return a.Hits, a.Misses
}
