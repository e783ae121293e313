package demo

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	users    = 40
	products = 30
	// hotUsers and hotProducts are written all the time; the rest is mostly quiet.
	hotUsers    = 4
	hotProducts = 4
)

// loopKey is the key that an invalidation loop turns around.
const loopKey = "user:7:profile"

func userKey(id int) string    { return fmt.Sprintf("user:%d:profile", id) }
func productKey(id int) string { return fmt.Sprintf("product:%d:price", id) }

// cache is a node as the application sees it.
type cache interface {
	node() string
	// put stores a copy at once, with its TTL.
	put(key string, body []byte, ttl time.Duration)
	// lookup is the application's read: it counts as a hit or a miss.
	lookup(key string) bool
	// peek reads a copy without counting.
	peek(key string) ([]byte, bool)
}

// layer of caches; every cache of a layer holds every key.
type layer struct {
	ttl    time.Duration
	caches []cache
}

// site is the database's records and the caches over them. One lock covers a record and all of its copies: a write
// has reached the last cache some microseconds after the first, and no read of the database falls in between.
type site struct {
	layers []layer

	mu        sync.Mutex
	revisions map[string]int64
	cut       map[string]bool
}

func newSite() *site {
	s := &site{revisions: map[string]int64{}, cut: map[string]bool{}}
	for i := range users {
		s.revisions[userKey(i+1)] = 100
	}
	for i := range products {
		s.revisions[productKey(i+1)] = 100
	}
	return s
}

// recordBody is a record as its caches hold it at a revision. Users tell it as their version, products don't tell it.
func recordBody(key string, revision int64) []byte {
	parts := strings.Split(key, ":")
	var v any
	if parts[0] == "user" {
		v = struct {
			ID      string `json:"id"`
			Name    string `json:"name"`
			Points  int64  `json:"points"`
			Version int64  `json:"version"`
		}{parts[1], "User " + parts[1], revision * 10, revision}
	} else {
		v = struct {
			SKU      string `json:"sku"`
			Cents    int64  `json:"cents"`
			Currency string `json:"currency"`
		}{parts[1], 1000 + revision, "EUR"}
	}
	out, err := json.Marshal(v)
	if err != nil {
		panic(err) // of strings and integers: impossible
	}
	return out
}

// jitter spreads the expiry of keys that are written together; the layer's TTL stays the longest.
func jitter(ttl time.Duration) time.Duration {
	return ttl - time.Duration(rand.Int64N(int64(ttl)/10))
}

// record is what the database holds now.
func (s *site) record(key string) ([]byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	revision, ok := s.revisions[key]
	if !ok {
		return nil, false
	}
	return recordBody(key, revision), true
}

// fillAll puts every record into every cache.
func (s *site) fillAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, revision := range s.revisions {
		s.spread(key, recordBody(key, revision))
	}
}

// update writes a record and its copies, and gives the invalidation message.
func (s *site) update(key string) message {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revisions[key]++
	s.spread(key, recordBody(key, s.revisions[key]))
	return message{Key: key, Version: s.revisions[key]}
}

// spread writes a copy to all caches that are not cut off. The lock is held.
func (s *site) spread(key string, body []byte) {
	for _, l := range s.layers {
		ttl := jitter(l.ttl)
		for _, c := range l.caches {
			if !s.cut[c.node()] {
				c.put(key, body, ttl)
			}
		}
	}
}

// fill stores the database's record in a cache that missed it. Reads reach nodes that writes don't, and a fill takes
// the record itself, so what a cut-off node holds never spreads.
func (s *site) fill(key string, l layer, c cache) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if revision, ok := s.revisions[key]; ok {
		if _, held := c.peek(key); !held {
			c.put(key, recordBody(key, revision), jitter(l.ttl))
		}
	}
}

// message of a key at its present version.
func (s *site) message(key string) message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return message{Key: key, Version: s.revisions[key]}
}

// cutOff keeps later writes from these nodes. restarted: they begin with a cache that was filled just now.
func (s *site) cutOff(nodes []string, restarted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range nodes {
		s.cut[n] = true
	}
	if !restarted {
		return
	}
	for _, l := range s.layers {
		for _, c := range l.caches {
			for key, revision := range s.revisions {
				if slices.Contains(nodes, c.node()) {
					c.put(key, recordBody(key, revision), l.ttl)
				}
			}
		}
	}
}

// overwritten reports whether each of the nodes holds an older copy of both classes.
func (s *site) overwritten(nodes []string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.layers {
		for _, c := range l.caches {
			if !slices.Contains(nodes, c.node()) {
				continue
			}
			behind := map[string]bool{}
			for key, revision := range s.revisions {
				if held, ok := c.peek(key); ok && !bytes.Equal(held, recordBody(key, revision)) {
					class, _, _ := strings.Cut(key, ":")
					behind[class] = true
				}
			}
			if len(behind) < 2 {
				return false
			}
		}
	}
	return true
}
