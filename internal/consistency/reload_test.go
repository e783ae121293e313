package consistency

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/verdict"
)

// sampledNow are the keys that node a was asked for in the last sampling.
func (w *world) sampledNow() string {
	asked := w.node("a").asked
	if len(asked) == 0 {
		return ""
	}
	return strings.Join(asked[0], " ")
}

// What a narrower pattern no longer takes is dropped at once, with its episodes.
func TestANarrowerPattern(t *testing.T) {
	for _, class := range []string{`pattern: "k1*", sample: 10`, `pattern: "k*", match: "^k1", sample: 10`} {
		inFakeTime(t, func(t *testing.T) {
			w := newWorld(t, "l2: a b c", `pattern: "k*", sample: 10`)
			w.node("a").found = []string{"k1", "k2", "k11"}
			for _, key := range []string{"k1", "k2", "k11"} {
				w.set("a", key, "x")
				w.set("b", key, "x")
				w.set("c", key, "y")
			}
			w.sample()
			w.sample()
			if got := w.sampledNow(); got != "k1 k11 k2" {
				t.Fatalf("%s are sampled", got)
			}
			w.configure("l2: a b c", class)
			w.sample()
			if got := w.sampledNow(); got != "k1 k11" {
				t.Errorf("%s: %s are sampled", class, got)
			}
			if got := w.states("c"); got != [verdict.NumStates]int{verdict.Stale: 2} {
				t.Errorf("%s: c has %v", class, got)
			}
			if got := len(w.sampler.classes[0].memory.keys); got != 2 {
				t.Errorf("%s: %d keys are remembered", class, got)
			}
		})
	}
}

// A smaller sample keeps the keys in an episode first, then those that any other exporter would choose.
func TestASmallerSample(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "l2: a b c", `pattern: "user:*", sample: 20`)
		w.node("a").found = someKeys(20)
		wrong := someKeys(20)[5:8]
		for _, key := range someKeys(20) {
			for _, name := range []string{"a", "b", "c"} {
				w.set(name, key, "x")
			}
		}
		for _, key := range wrong {
			w.set("c", key, "y")
		}
		w.sample()
		w.sample()
		var kept []string
		for range 20 { // whatever the order of a map
			w.configure("l2: a b c", `pattern: "user:*", sample: 20`)
			w.sample()
			w.configure("l2: a b c", `pattern: "user:*", sample: 4`)
			w.node("a").found = nil
			w.sample()
			kept = append(kept, w.sampledNow())
			w.node("a").found = someKeys(20)
		}
		for _, key := range wrong {
			if !slices.Contains(strings.Fields(kept[0]), key) {
				t.Errorf("%s is not kept, but %s", key, kept[0])
			}
		}
		if all := slices.Compact(kept); len(all) != 1 || len(strings.Fields(kept[0])) != 4 {
			t.Errorf("kept are %q", all)
		}
	})
}

// A class that was taken out begins anew after a while, and is not remembered.
func TestAClassThatIsPutBack(t *testing.T) {
	for out, want := range map[time.Duration]string{5 * time.Minute: "age:c=5m2s", 7 * 24 * time.Hour: "age:c=0s"} {
		inFakeTime(t, func(t *testing.T) {
			w := newWorld(t, "l2: a b c")
			w.play("a=x b=x c=y -> c=stale age:c=0s")
			w.configure("l2: a b c", "class: another")
			w.sample()
			time.Sleep(out)
			w.configure("l2: a b c")
			w.play("-> c=stale " + want)
		})
	}
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "l2: a b c")
		w.sample()
		w.configure("l2: a b c", "class: renamed")
		w.sample()
		if len(w.memory.classes) != 2 {
			t.Errorf("%d classes are remembered", len(w.memory.classes))
		}
		time.Sleep(11 * time.Minute)
		w.sample()
		if len(w.memory.classes) != 1 {
			t.Errorf("%d classes are remembered", len(w.memory.classes))
		}
	})
}

// Nodes that came and went leave nothing behind, and the others stay what they were.
func TestManyNodesThatCameAndWent(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "l2: a b c", "keys: [k, other]")
		w.play("a=x b=x c=y -> c=stale")
		for wave := range 20 {
			nodes := "l2: a b c"
			for i := range 1000 {
				nodes += fmt.Sprintf(" n%d-%d", wave, i)
			}
			w.configure(nodes, "keys: [k, other]")
			w.sample()
			w.configure("l2: a b c", "keys: [k, other]")
			time.Sleep(11 * time.Minute)
			w.sample()
		}
		class := w.sampler.classes[0].memory
		if len(class.indices) != 3 || len(class.free) > 3 || len(class.nodes) != 3 || len(w.memory.nodes) != 3 {
			t.Errorf("%d indices, %d of them free, %d totals and %d nodes are left", class.width(), len(class.free), len(class.nodes), len(w.memory.nodes))
		}
		for name, k := range class.keys {
			if cap(k.copies) > 6 {
				t.Errorf("%s has room for %d copies", name, cap(k.copies))
			}
		}
		w.play("-> a=fresh b=fresh c=stale age:c=3h40m42s", "c=x -> c=fresh ended=1")
	})
}

// A few nodes that went leave their places to others.
func TestAPlaceIsUsedAgain(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "l2: a b c d e")
		w.play("a=x b=x c=x d=y e=x -> d=stale", "leave=e ->", "wait=11m -> d=stale", "-> d=stale age:d=11m3s")
		w.configure("l2: a b c d f")
		w.play("f=x -> d=stale age:d=11m4s f=fresh")
		if got := w.sampler.classes[0].memory.width(); got != 5 {
			t.Errorf("there is room for %d nodes", got)
		}
	})
}
