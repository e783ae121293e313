package wire

import (
	"context"
	"sync"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/pause"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// AliveGrace is how long a server that answers others may say nothing on a connection where it owes answers.
const AliveGrace = time.Second

// Account counts what this process's reads add to one server's hits and misses. Nodes at one address (two databases)
// share it, for the server has but one count.
type Account struct {
	// lock is held by whoever has commands under way that move the count, until each has been answered and counted, so
	// that INFO or stats and the count taken beside it tell of the same moment.
	lock chan struct{}

	// These belong to who holds the lock.
	Hits, Misses         uint64 // ours, since the server's own counts began
	run                  string // names the process that counts; empty where the server doesn't tell
	seenHits, seenMisses float64

	mu     sync.Mutex
	holder *Turn
}

// AccountOf the server of a kind at an address.
func AccountOf(k *probes.Kept, kind, address string) *Account {
	return probes.KeptOf(k, kind, address, func() *Account { return &Account{lock: make(chan struct{}, 1)} })
}

// Turn is one holding of the lock. kill and moved (what was received) are set when its caller has gone and only
// counting goes on.
type Turn struct {
	kill  func()
	moved func() int64
}

// Lock waits for the lock. A holder whose caller has gone is ended when the server answers others but says nothing to
// it: its connection is dead, which a frozen server's is not.
func (s *Account) Lock(ctx context.Context, answers func(context.Context) bool) (*Turn, error) {
	if ctx.Err() != nil {
		return nil, probes.NoAnswer(ctx)
	}
	select {
	case s.lock <- struct{}{}:
		return s.take(), nil
	default:
	}
	if orphan := s.orphan(); orphan != nil {
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
			s.end(orphan)
		})
		defer asking.Wait()
		defer cancel()
	}
	select {
	case s.lock <- struct{}{}:
		return s.take(), nil
	case <-ctx.Done():
		return nil, probes.NoAnswer(ctx)
	}
}

func (s *Account) take() *Turn {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holder = &Turn{}
	return s.holder
}

// Unlock ends a turn.
func (s *Account) Unlock(t *Turn) {
	s.mu.Lock()
	if s.holder == t {
		s.holder = nil
	}
	s.mu.Unlock()
	<-s.lock
}

// Abandon says that t's caller has gone; kill ends what goes on without it, and moved tells how far that is.
func (s *Account) Abandon(t *Turn, kill func(), moved func() int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.holder == t {
		t.kill, t.moved = kill, moved
	}
}

func (s *Account) orphan() *Turn {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.holder != nil && s.holder.kill != nil {
		return s.holder
	}
	return nil
}

func (s *Account) end(t *Turn) {
	s.mu.Lock()
	kill := t.kill
	if s.holder != t {
		kill = nil
	}
	s.mu.Unlock()
	if kill != nil {
		kill()
	}
}

// Own gives our part of the hits and misses that run just told. A server that began anew, or whose counts were reset,
// holds nothing of ours.
func (s *Account) Own(run string, told *probes.Survey) (hits, misses uint64) {
	if s.run != "" && run != s.run || told.Hits.Value < s.seenHits || told.Misses.Value < s.seenMisses {
		s.Hits, s.Misses = 0, 0
	}
	s.run, s.seenHits, s.seenMisses = run, told.Hits.Value, told.Misses.Value
	return s.Hits, s.Misses
}
