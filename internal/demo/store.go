package demo

import (
	"sync"
	"sync/atomic"
	"time"
)

// store is a cache in memory, as an application's instance or an edge has one.
type store struct {
	hits, misses atomic.Int64

	mu      sync.Mutex
	entries map[string]entry
}

type entry struct {
	body    []byte
	expires time.Time
}

func (s *store) put(key string, body []byte, ttl time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.entries == nil {
		s.entries = map[string]entry{}
	}
	s.entries[key] = entry{body: body, expires: time.Now().Add(ttl)}
}

func (s *store) entry(key string) (entry, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.entries[key]
	if ok && !time.Now().Before(e.expires) {
		delete(s.entries, key)
		return entry{}, false
	}
	return e, ok
}

func (s *store) peek(key string) ([]byte, bool) {
	e, ok := s.entry(key)
	return e.body, ok
}

func (s *store) lookup(key string) bool {
	_, ok := s.entry(key)
	s.count(ok)
	return ok
}

func (s *store) count(hit bool) {
	if hit {
		s.hits.Add(1)
	} else {
		s.misses.Add(1)
	}
}

func (s *store) size() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, n := time.Now(), 0
	for _, e := range s.entries {
		if now.Before(e.expires) {
			n++
		}
	}
	return n
}
