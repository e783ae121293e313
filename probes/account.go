package probes

import (
	"context"
	"sync"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/pause"
)

// aliveGrace is how long a server that answers others may say nothing on a connection where it owes answers.
const aliveGrace = time.Second

// server counts what this process's reads add to one server's hits and misses. Nodes at one address (two databases)
// share it, for the server has but one count.
type server struct {
	// lane is held by whoever has commands under way that move the count, until each has been answered and counted, so
	// that INFO or stats and the count taken beside it tell of the same moment.
	lane chan struct{}

	// These belong to who holds the lane.
	hits, misses         uint64 // ours, since the server's own counts began
	run                  string // names the process that counts; empty where the server doesn't tell
	seenHits, seenMisses float64

	mu     sync.Mutex
	holder *turn
}

// accountOf the server of a kind at an address.
func accountOf(k *Kept, kind, address string) *server {
	return KeptOf(k, kind, address, func() *server { return &server{lane: make(chan struct{}, 1)} })
}

// turn is one holding of the lane. kill and moved (what was received) are set when its caller has gone and only
// counting goes on.
type turn struct {
	kill  func()
	moved func() int64
}

// enter waits for the lane. A holder whose caller has gone is ended when the server answers others but says nothing to
// it: its connection is dead, which a frozen server's is not.
func (s *server) enter(ctx context.Context, answers func(context.Context) bool) (*turn, error) {
	if ctx.Err() != nil {
		return nil, noAnswer(ctx)
	}
	select {
	case s.lane <- struct{}{}:
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
				if !pause.For(ctx, aliveGrace) {
					return
				}
			}
			s.end(orphan)
		})
		defer asking.Wait()
		defer cancel()
	}
	select {
	case s.lane <- struct{}{}:
		return s.take(), nil
	case <-ctx.Done():
		return nil, noAnswer(ctx)
	}
}

func (s *server) take() *turn {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holder = &turn{}
	return s.holder
}

func (s *server) leave(t *turn) {
	s.mu.Lock()
	if s.holder == t {
		s.holder = nil
	}
	s.mu.Unlock()
	<-s.lane
}

// abandon says that t's caller has gone; kill ends what goes on without it, and moved tells how far that is.
func (s *server) abandon(t *turn, kill func(), moved func() int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.holder == t {
		t.kill, t.moved = kill, moved
	}
}

func (s *server) orphan() *turn {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.holder != nil && s.holder.kill != nil {
		return s.holder
	}
	return nil
}

func (s *server) end(t *turn) {
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

// own gives our part of the hits and misses that run just told. A server that began anew, or whose counts were reset,
// holds nothing of ours.
func (s *server) own(run string, told *Survey) (hits, misses uint64) {
	if s.run != "" && run != s.run || told.Hits.Value < s.seenHits || told.Misses.Value < s.seenMisses {
		s.hits, s.misses = 0, 0
	}
	s.run, s.seenHits, s.seenMisses = run, told.Hits.Value, told.Misses.Value
	return s.hits, s.misses
}
