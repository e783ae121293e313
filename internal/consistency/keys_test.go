package consistency

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// someKeys makes n keys.
func someKeys(n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("user:%d", i)
	}
	return keys
}

func never(string) bool { return false }

func everything(string) bool { return true }

// list offers keys as nodes list them, then chooses.
func (s *sampledKeys) list(at time.Time, keys []string, inEpisode func(string) bool) []string {
	s.choose(at, inEpisode)
	for _, k := range keys {
		s.offer(k)
	}
	return s.choose(at, inEpisode)
}

// spanStart is when a choice is made anew.
var spanStart = time.Unix(1_800_000_000, 0).Truncate(stay)

func TestChoiceStaysWithinTheBudget(t *testing.T) {
	for _, n := range []int{0, 1, 9, 10, 11, 500} {
		s := newSampledKeys([]byte("key"), 10)
		for span := range 5 {
			got := s.list(spanStart.Add(time.Duration(span)*stay), someKeys(n), never)
			if len(got) != min(n, 10) {
				t.Errorf("of %d keys %d are chosen in span %d", n, len(got), span)
			}
		}
	}
}

// Sampled keys are those with the smallest keyed hash.
func TestChosenAreTheSmallestKeyedHashes(t *testing.T) {
	keys := someKeys(200)
	s := newSampledKeys([]byte("key"), 20)
	check := func(at time.Time, got []string) {
		t.Helper()
		byHash := slices.Clone(keys)
		slices.SortFunc(byHash, func(a, b string) int {
			return strings.Compare(fmt.Sprintf("%020d", s.hash(s.turn, a)), fmt.Sprintf("%020d", s.hash(s.turn, b)))
		})
		want := slices.Sorted(slices.Values(byHash[:20]))
		if !slices.Equal(got, want) {
			t.Errorf("at %s the choice is\n%v, not\n%v", at, got, want)
		}
	}
	check(spanStart, s.list(spanStart, keys, never))
	for span := 1; span < 3; span++ {
		at := spanStart.Add(time.Duration(span) * stay)
		check(at, s.list(at, keys, never))
	}
}

// Another key of the hash, another choice; another span, another choice too.
func TestTheHashIsKeyedAndRotates(t *testing.T) {
	a, b := newSampledKeys([]byte("a"), 10), newSampledKeys([]byte("b"), 10)
	first := a.list(spanStart, someKeys(1000), never)
	if slices.Equal(first, b.list(spanStart, someKeys(1000), never)) {
		t.Error("two hash keys choose the same")
	}
	if slices.Equal(first, a.list(spanStart.Add(stay), someKeys(1000), never)) {
		t.Error("the choice does not rotate")
	}
}

// Exporters with one hash key choose the same from the same found keys, whatever their order.
func TestTwoSamplersChooseTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		budget := rapid.IntRange(1, 20).Draw(t, "budget")
		keys := someKeys(rapid.IntRange(0, 100).Draw(t, "keys"))
		a, b := newSampledKeys([]byte("key"), budget), newSampledKeys([]byte("key"), budget)
		at := spanStart
		for range rapid.IntRange(1, 4).Draw(t, "spans") {
			shuffled := rapid.Permutation(keys).Draw(t, "order")
			twice := append(slices.Clone(shuffled), shuffled...) // a node lists a key twice, and so do several nodes
			if one, other := a.list(at, keys, never), b.list(at, twice, never); !slices.Equal(one, other) {
				t.Fatalf("%v, and %v", one, other)
			}
			at = at.Add(stay)
		}
	})
}

// An exporter that starts later chooses the same once the spans of both began anew.
func TestASamplerThatStartsLaterChoosesTheSame(t *testing.T) {
	keys := someKeys(200)
	early, late := newSampledKeys([]byte("key"), 20), newSampledKeys([]byte("key"), 20)
	var one, other []string
	for minute := range 60 {
		at := spanStart.Add(time.Duration(minute) * time.Minute)
		one = early.list(at, keys, never)
		if minute >= 7 {
			other = late.list(at, keys, never)
		}
	}
	if !slices.Equal(one, other) {
		t.Errorf("%v, and %v", one, other)
	}
}

// A key stays for at least 15 min and while in an episode.
func TestAKeyStays(t *testing.T) {
	keys := someKeys(400)
	s := newSampledKeys([]byte("key"), 20)
	since := map[string]time.Time{}
	held := ""
	inEpisode := func(key string) bool { return key == held }
	for minute := range 200 {
		at := spanStart.Add(time.Duration(minute)*time.Minute + 7*time.Second)
		chosen := s.list(at, keys[minute:], inEpisode)
		for key, began := range since {
			if slices.Contains(chosen, key) {
				continue
			}
			if stayed := at.Sub(began); stayed < 15*time.Minute {
				t.Errorf("%s left after %s", key, stayed)
			}
			if key == held {
				t.Errorf("%s left while in an episode", key)
			}
			delete(since, key)
		}
		for _, key := range chosen {
			if _, ok := since[key]; !ok {
				since[key] = at
			}
		}
		if minute == 3 {
			held = chosen[0]
		}
	}
	if held == "" || !slices.Contains(s.choose(spanStart.Add(200*time.Minute), inEpisode), held) {
		t.Errorf("%q, in an episode, is not there", held)
	}
	others := slices.DeleteFunc(slices.Clone(keys), func(k string) bool { return k == held })
	s.list(spanStart.Add(300*time.Minute), others, inEpisode)
	if !slices.Contains(s.list(spanStart.Add(315*time.Minute), others, inEpisode), held) {
		t.Errorf("%q left while in an episode", held)
	}
	if slices.Contains(s.list(spanStart.Add(330*time.Minute), others, never), held) {
		t.Errorf("%q stays after its episode", held)
	}
}

// A key that is no longer found leaves, with or without another to take its place.
func TestDeletedKeysLeave(t *testing.T) {
	keys := someKeys(100)
	s := newSampledKeys([]byte("key"), 10)
	gone := s.list(spanStart, keys, never)
	left := slices.DeleteFunc(slices.Clone(keys), func(k string) bool { return slices.Contains(gone, k) })
	for _, rest := range [][]string{left, left[:3]} {
		for span := 1; span < 4; span++ {
			spanStart := spanStart.Add(time.Duration(span) * stay)
			for minute := range 15 {
				s.list(spanStart.Add(time.Duration(minute)*time.Minute), rest, never)
			}
		}
		got := s.choose(spanStart.Add(4*stay), never)
		if len(got) != min(10, len(rest)) {
			t.Errorf("of %d keys %d are chosen", len(rest), len(got))
		}
		for _, key := range got {
			if !slices.Contains(rest, key) {
				t.Errorf("%s is read, though no longer found", key)
			}
		}
		spanStart = spanStart.Add(5 * stay)
	}
}

// Rotation comes to every key in the end.
func TestRotationComesToEveryKey(t *testing.T) {
	keys := someKeys(100)
	s := newSampledKeys([]byte("key"), 20)
	seen := map[string]bool{}
	for span := range 100 {
		for _, key := range s.list(spanStart.Add(time.Duration(span)*stay), keys, never) {
			seen[key] = true
		}
	}
	if len(seen) != len(keys) {
		t.Errorf("%d of %d keys were chosen", len(seen), len(keys))
	}
}

// A reload keeps the choice, within what is the budget then.
func TestAReloadKeepsTheChoice(t *testing.T) {
	s := newSampledKeys([]byte("key"), 10)
	before := s.list(spanStart, someKeys(100), never)
	for _, budget := range []int{5, 10, 20} {
		s := s.resized([]byte("another key"), budget, everything, never)
		got := s.choose(spanStart.Add(time.Minute), never)
		kept := 0
		for _, key := range before {
			if slices.Contains(got, key) {
				kept++
			}
		}
		if kept != min(budget, 10) || len(got) != kept {
			t.Errorf("of 10 keys %d are kept, with a budget of %d; %d are chosen", kept, budget, len(got))
		}
	}
}

// Whatever is found when, and whatever is in an episode: invariants of the choice.
func TestChoiceAtRandom(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		budget := rapid.IntRange(1, 8).Draw(t, "budget")
		keys := someKeys(20)
		s := newSampledKeys([]byte("key"), budget)
		at := spanStart
		since := map[string]time.Time{}
		for range rapid.IntRange(1, 40).Draw(t, "samplings") {
			at = at.Add(rapid.SampledFrom([]time.Duration{time.Second, time.Minute, 10 * time.Minute, time.Hour}).Draw(t, "later"))
			ill := rapid.SliceOfNDistinct(rapid.SampledFrom(keys), 0, 3, rapid.ID).Draw(t, "in an episode")
			for _, k := range rapid.SliceOfN(rapid.SampledFrom(keys), 0, 10).Draw(t, "found") {
				s.offer(k)
			}
			if rapid.IntRange(0, 9).Draw(t, "reload") == 0 {
				s = s.resized([]byte("key"), budget, everything, never)
			}
			chosen := s.choose(at, func(k string) bool { return slices.Contains(ill, k) })
			if len(chosen) > budget || !slices.IsSorted(chosen) || len(slices.Compact(slices.Clone(chosen))) != len(chosen) {
				t.Fatalf("chosen are %v, with a budget of %d", chosen, budget)
			}
			for _, key := range slices.Collect(maps.Keys(since)) {
				if slices.Contains(chosen, key) {
					continue
				}
				if slices.Contains(ill, key) || at.Sub(since[key]) < stay {
					t.Fatalf("%s left after %s, in an episode: %t", key, at.Sub(since[key]), slices.Contains(ill, key))
				}
				delete(since, key)
			}
			for _, key := range chosen {
				if _, ok := since[key]; !ok {
					since[key] = at
				}
			}
		}
	})
}
