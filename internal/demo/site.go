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
	users        = 40
	products     = 30
	sessionsHeld = 20
	pages        = 12
	// hotUsers and hotProducts are written all the time; the rest is mostly quiet.
	hotUsers    = 4
	hotProducts = 4
)

// loopKey is the key that an invalidation loop turns around.
const loopKey = "user:7:profile"

func userKey(id int) string    { return fmt.Sprintf("user:%d:profile", id) }
func productKey(id int) string { return fmt.Sprintf("product:%d:price", id) }
func sessionKey(id int) string { return fmt.Sprintf("session:%d", id) }
func pageKey(id int) string    { return fmt.Sprintf("page:%d", id) }

func kindOf(key string) string {
	kind, _, _ := strings.Cut(key, ":")
	return kind
}

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

// layer of caches; every cache of a layer holds every key of the layer's kinds.
type layer struct {
	ttl    time.Duration
	caches []cache
	kinds  []string
}

func (l layer) holds(key string) bool { return slices.Contains(l.kinds, kindOf(key)) }

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
	for i := range pages {
		s.revisions[pageKey(i+1)] = 100
	}
	for i := range sessionsHeld {
		s.revisions[sessionKey(i+1)] = time.Now().UnixMilli()
	}
	return s
}

// recordBody is a record as its caches hold it at a revision. Users and pages tell it as their version, sessions as the time at which
// they were last used; products don't tell it.
func recordBody(key string, revision int64) []byte {
	parts := strings.Split(key, ":")
	var v any
	switch parts[0] {
	case "user":
		v = struct {
			ID      string `json:"id"`
			Name    string `json:"name"`
			Points  int64  `json:"points"`
			Version int64  `json:"version"`
		}{parts[1], "User " + parts[1], revision * 10, revision}
	case "session":
		v = struct {
			Session string `json:"session"`
			At      int64  `json:"at"`
		}{parts[1], revision}
	case "page":
		v = struct {
			Page    string `json:"page"`
			Text    string `json:"text"`
			Version int64  `json:"version"`
		}{parts[1], fmt.Sprintf("Page %s, edited %d times", parts[1], revision), revision}
	default:
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
	if kindOf(key) == "session" {
		s.revisions[key] = max(s.revisions[key], time.Now().UnixMilli())
	}
	s.spread(key, recordBody(key, s.revisions[key]))
	return message{Key: key, Version: s.revisions[key]}
}

// spread writes a copy to all caches that are not cut off. The lock is held.
func (s *site) spread(key string, body []byte) {
	for _, l := range s.layers {
		if !l.holds(key) {
			continue
		}
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

// putBack stores what a reader read of a record in the layers that the instances share, whatever is there by now.
func (s *site) putBack(key string, body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.layersOf(key)[1:] {
		ttl := jitter(l.ttl)
		for _, c := range l.caches {
			c.put(key, body, ttl)
		}
	}
}

// layersOf a key, the one that readers ask first first.
func (s *site) layersOf(key string) []layer {
	var out []layer
	for _, l := range s.layers {
		if l.holds(key) {
			out = append(out, l)
		}
	}
	return out
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
				if slices.Contains(nodes, c.node()) && l.holds(key) {
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
					behind[kindOf(key)] = true
				}
			}
			if len(behind) < 2 {
				return false
			}
		}
	}
	return true
}
