package consistency

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"maps"
	"slices"
	"sync"
	"time"
)

// stay is how long a sampled key is read at least, and how often the choice is made anew.
const stay = 15 * time.Minute

// sampledKeys chooses a limited number of keys of a pattern: those with the smallest keyed hash among all that
// were found, so that exporters with one hash key choose nearly the same. The hash changes with each span of
// stay, so that the choice rotates through the keyspace. Keys are offered while they are listed, also beside a sampling.
type sampledKeys struct {
	mu sync.Mutex
	// mac is reused, since a server may list hundreds of thousands of keys.
	mac  hash.Hash
	text []byte
	// most keys that are chosen.
	most int
	// chosen keys, and since when.
	chosen map[string]time.Time
	// room is filled from these candidates of the present span, the coming choice is made from those of the next.
	present, next smallest
	turn          int64
}

func newSampledKeys(hashKey []byte, most int) *sampledKeys {
	return &sampledKeys{mac: hmac.New(sha256.New, hashKey), most: most, chosen: map[string]time.Time{}, present: newSmallest(most), next: newSmallest(most)}
}

// resized keeps what was chosen and is still taken, up to another number of keys: first those in an episode, then those
// that a fresh choice would take first.
func (s *sampledKeys) resized(hashKey []byte, most int, takes, inEpisode func(string) bool) *sampledKeys {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := newSampledKeys(hashKey, most)
	out.turn = s.turn
	first, others := newSmallest(most), newSmallest(most)
	for key := range s.chosen {
		switch {
		case !takes(key):
		case inEpisode(key):
			first.offer(out.hash(s.turn, key), key)
		default:
			others.offer(out.hash(s.turn, key), key)
		}
	}
	for _, c := range append(first.candidates, others.candidates...) {
		if len(out.chosen) < most {
			out.chosen[c.key] = s.chosen[c.key]
		}
	}
	return out
}

// hash of a key in a span. The caller holds mu.
func (s *sampledKeys) hash(turn int64, key string) uint64 {
	s.mac.Reset()
	s.text = append(binary.BigEndian.AppendUint64(s.text[:0], uint64(turn)), key...)
	s.mac.Write(s.text)
	s.text = s.mac.Sum(s.text[:0])
	return binary.BigEndian.Uint64(s.text)
}

// begin sets the span that at lies in; true: it is another one than before.
func (s *sampledKeys) begin(at time.Time) bool {
	turn := at.Unix() / int64(stay/time.Second)
	if turn == s.turn {
		return false
	}
	first := s.turn == 0
	s.turn = turn
	return !first
}

// offer takes a key that a node listed as a candidate.
func (s *sampledKeys) offer(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next.offer(s.hash(s.turn+1, key), key)
	if len(s.chosen) < s.most {
		s.present.offer(s.hash(s.turn, key), key)
	}
}

// choose gives the keys to read now, sorted. Keys in an episode stay.
func (s *sampledKeys) choose(at time.Time, inEpisode func(string) bool) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.begin(at) && len(s.next.candidates) > 0 {
		wanted := s.next
		s.present, s.next = newSmallest(s.most), newSmallest(s.most)
		for key, since := range s.chosen {
			if !wanted.names[key] && at.Sub(since) >= stay && !inEpisode(key) {
				delete(s.chosen, key)
			}
		}
		s.fill(wanted, at)
	}
	s.fill(s.present, at)
	return slices.Sorted(maps.Keys(s.chosen))
}

// keys that are chosen now.
func (s *sampledKeys) keys() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.chosen))
}

// fill what room there is.
func (s *sampledKeys) fill(from smallest, at time.Time) {
	for _, c := range from.candidates {
		if len(s.chosen) >= s.most {
			return
		}
		if _, ok := s.chosen[c.key]; !ok {
			s.chosen[c.key] = at
		}
	}
}

// smallest holds the candidates with the smallest hashes, smallest first, at most limit of them.
type smallest struct {
	limit      int
	candidates []candidate
	names      map[string]bool
}

type candidate struct {
	hash uint64
	key  string
}

func newSmallest(limit int) smallest { return smallest{limit: limit, names: map[string]bool{}} }

func (s *smallest) offer(hash uint64, key string) {
	if s.names[key] {
		return
	}
	i, _ := slices.BinarySearchFunc(s.candidates, hash, func(c candidate, hash uint64) int { return cmp.Compare(c.hash, hash) })
	if i >= s.limit {
		return
	}
	s.candidates = slices.Insert(s.candidates, i, candidate{hash: hash, key: key})
	s.names[key] = true
	if len(s.candidates) > s.limit {
		delete(s.names, s.candidates[s.limit].key)
		s.candidates = s.candidates[:s.limit]
	}
}
