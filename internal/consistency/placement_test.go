package consistency

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cacheinv/cacheinv_exporter/internal/verdict"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// Only nodes that should hold a key are asked for it, compared and counted.
func TestPlacements(t *testing.T) {
	for _, c := range []struct {
		name, nodes, class string
		steps              []string
	}{
		{"what is elsewhere has no state", "l2: a b c; l3: d", "", []string{
			"place:c=elsewhere a=x b=x c=y d=x -> a=fresh b=fresh c=nowhere d=fresh majority asked:a=1 asked:c=0 read:c=false",
			"b=y -> a=undecided b=undecided c=nowhere d=undecided asked:b=2 asked:c=0",
			"a=y d=y b=x -> a=fresh b=stale c=nowhere d=fresh asked:b=2 asked:c=0",
		}},
		{"what is elsewhere has no vote", "l2: a b c", "", []string{
			"place:b=elsewhere place:c=elsewhere a=x b=y c=y -> a=unverified b=nowhere c=nowhere none",
		}},
		{"a layer where nobody holds the key has no vote", "l1: a b; l2: c; l3: d e", "", []string{
			"place:a=elsewhere place:b=elsewhere a=y b=y c=x d=x e=y -> c=fresh d=fresh e=stale majority",
		}},
		{"a replica is judged by its primary", "l2: a p r<p q s<q", "", []string{
			"place:q=elsewhere place:s=elsewhere place:p=holds place:r=holds a=x p=x -> a=fresh p=fresh r=fresh s=nowhere",
			"cut=r p=z a=z -> a=fresh p=fresh r=stale convicted:r=primary",
		}},
		{"a replica speaks for a primary that is asked for other keys", "l2: a p r<p", "", []string{
			"-> uncounted", // roles are known
			"place:p=elsewhere place:r=holds p=y cut=r a=x r=x -> a=fresh p=nowhere r=fresh majority",
		}},
		{"anywhere: present is a copy, absent is none, unreadable is error", "l2: a b c d", "", []string{
			"place:a=anywhere place:b=anywhere place:c=anywhere place:d=anywhere a=x c=? -> a=unverified b=nowhere c=error d=nowhere",
			"a=y b=y d=x c=- -> a=fresh b=fresh c=nowhere d=stale majority",
			"a=- b=- d=- -> a=nowhere b=nowhere d=nowhere uncounted ended=1",
		}},
		{"foreign: present is a stray, and never compared", "l2: a b c", "", []string{
			"place:a=holds place:b=foreign place:c=foreign a=x b=y -> a=unverified b=nowhere c=nowhere none strays:a=0,false strays:b=1,true " +
				"strays:c=0,true read:b=false asked:b=1",
			"b=- c=? -> strays:b=0,true strays:c=0,false",
		}},
		{"a stray proves nothing, whatever its version", "l2: a b c", versioned, []string{
			"place:c=foreign a=x@1 b=x@1 c=y@9 -> a=fresh b=fresh strays:c=1,true conflicts=0",
			"a=- b=- -> a=missing b=missing strays:c=1,true uncounted",
		}},
		{"what is asked for where the survey failed", "l2: a b", "", []string{
			"place:a=holds place:b=holds a=x b=x -> a=fresh b=fresh",
			"place:b=elsewhere freeze=b -> a=unverified b=error", // it last held it
			"-> b=error",
			"thaw=b -> b=nowhere",
		}},
		{"nothing, of a node whose keys are unknown", "l2: a b", "", []string{
			"place:a=holds place:b=elsewhere freeze=b a=x -> a=unverified b=nowhere",
		}},
		{"a dead server whose keys are known", "l2: a b", "", []string{
			"place:b=holds freeze=b a=x -> a=unverified b=error",
		}},
		{"a dead server that may hold any key", "l2: a b", "", []string{
			"place:a=anywhere place:b=anywhere freeze=b a=x -> a=unverified b=error",
		}},
		{"a slot that two nodes claim, and that none does, for one sampling", "l2: a b c", "", []string{
			"place:b=elsewhere a=y c=x -> a=undecided b=nowhere c=undecided",
			"place:b=holds b=x -> a=stale b=fresh c=fresh",
			"place:b=elsewhere place:a=elsewhere wait=1m -> a=nowhere b=nowhere c=unverified ended=0",
			"place:a=holds place:b=holds -> a=stale age:a=1m2s ended=0",
			"place:a=elsewhere -> a=nowhere",
			"-> a=nowhere ended=0",
			"place:a=holds -> a=stale age:a=0s ended=0",
		}},
		{"what is nowhere for a sampling is not forgotten", "l2: a", versioned, []string{
			"place:a=anywhere a=x@5 -> a=unverified",
			"place:a=elsewhere -> uncounted",
			"place:a=holds a=x@4 -> regressions=1",
		}},
		{"what no server has is a new thing", "l2: a b", versioned, []string{
			"place:a=anywhere place:b=anywhere a=x@5 b=x@5 -> a=fresh",
			"a=- b=- -> uncounted",
			"a=x@1 -> a=unverified regressions=0",
		}},
		{"a copy that moves between the reads of a pool", "l2: a b c", "", []string{
			"place:c=anywhere a=x b=y -> a=undecided b=undecided c=nowhere",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			inFakeTime(t, func(t *testing.T) { newWorld(t, c.nodes, c.class).play(c.steps...) })
		})
	}
}

// Keys are shared out by the name that the node's layer gives them, and only their nodes are asked for them, in one
// round trip with those of other classes.
func TestKeysSharedOut(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "l2: a b c; l3: d", `keys: ["1", "2", "3", "4", "5"], layers: [{name: l2, key: "v:{key}"}, l3]`, `class: other, keys: ["6", "1"]`)
		for i, name := range []string{"a", "b"} {
			w.node(name).place = func(key string) probes.Placement {
				number := key[len(key)-1] - '0'
				switch {
				case strings.HasPrefix(key, "v:") && int(number)%2 == i, key == "6", key == "1":
					return probes.Placement{}
				case key == "v:5":
					return probes.Placement{Holding: probes.Foreign}
				}
				return probes.Placement{Holding: probes.Elsewhere}
			}
		}
		for _, name := range []string{"a", "b", "c", "d"} {
			for _, key := range []string{"1", "2", "3", "4", "5", "6"} {
				w.set(name, "v:"+key, "x")
				w.set(name, key, "x")
			}
		}
		w.sample()
		for name, want := range map[string]string{
			"a": "[[v:2 v:4 v:5 6 1]]", "b": "[[v:1 v:3 v:5 6 1]]", "c": "[[v:1 v:2 v:3 v:4 v:5 6 1]]", "d": "[[1 2 3 4 5 6 1]]",
		} {
			if got := fmt.Sprint(w.node(name).asked); got != want {
				t.Errorf("%s was asked for %s, not %s", name, got, want)
			}
		}
		for name, want := range map[string]int{"a": 2, "b": 3, "c": 5, "d": 5} {
			if got := w.states(name); got != [verdict.NumStates]int{verdict.Fresh: want} {
				t.Errorf("%s has %v", name, got)
			}
		}
		for _, name := range []string{"c", "d"} {
			w.set(name, "v:2", "y")
			w.set(name, "2", "y")
		} // and only its nodes are asked again
		w.sample()
		for name, want := range map[string]int{"a": 2, "b": 1, "c": 2, "d": 2} {
			if got := len(w.node(name).asked); got != want {
				t.Errorf("%s was asked %d times", name, got)
			}
		}
		if got := w.states("a"); got != [verdict.NumStates]int{verdict.Fresh: 1, verdict.Stale: 1} {
			t.Errorf("a has %v", got)
		}
		if n := w.last.Classes[0].Nodes[0]; n.Strays != 1 {
			t.Errorf("%d strays", n.Strays)
		}
	})
}

// Missing copies whose slot is, or was, handed over.
func TestResharding(t *testing.T) {
	for _, c := range []struct {
		name  string
		steps []string
	}{
		{"migrating", []string{
			"place:a=holds a=x b=x -> suppressed:a=",
			"place:a=holds,moving a=- -> a=missing suppressed:a=resharding",
			"place:a=holds -> suppressed:a=",
		}},
		{"another owner since", []string{
			"place:a=holds,3 a=x b=x -> suppressed:a=",
			"place:a=elsewhere,4 a=- -> a=nowhere suppressed:a=",
			"-> a=nowhere",
			"place:a=holds,5 -> a=missing suppressed:a=resharding",
			"a=x -> a=fresh",
			"a=- -> a=missing suppressed:a=",
		}},
		{"never seen there", []string{
			"place:a=elsewhere b=x -> a=nowhere",
			"place:a=holds,moving,1 -> a=missing suppressed:a=",
		}},
		{"for at most the layer's TTL", []string{
			"place:a=holds a=x -> a=unverified",
			"place:a=holds,1 a=- wait=50m -> suppressed:a=resharding",
			"wait=11m -> suppressed:a=",
		}},
		{"a restart and loading come first, evictions later", []string{
			"place:a=holds uptime:a=100 evicted:a=0 a=x -> a=unverified",
			"place:a=holds,1 evicted:a=5 a=- -> suppressed:a=resharding",
			"uptime:a=2 -> suppressed:a=restart",
			"loading:a=true -> suppressed:a=loading",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			inFakeTime(t, func(t *testing.T) { newWorld(t, "l2: a b").play(c.steps...) })
		})
	}
}

// Whatever a node that holds other keys has, it is as if it were not there.
func TestElsewhereIsAsIfItWereNotThere(t *testing.T) {
	nodes := []string{"a", "b", "p", "r", "s", "c", "d"}
	for seed := range uint64(150) {
		random := rand.New(rand.NewPCG(seed, 9))
		inFakeTime(t, func(t *testing.T) {
			all, few := newWorld(t, "l1: a b; l2: p r<p s<p c d", versioned), newWorld(t, "l1: a b; l2: p r<p s<p c d", versioned)
			both := func(token string) {
				all.do(token)
				few.do(token)
			}
			both("counting")
			all.sample() // roles are known
			few.sample()
			for _, name := range nodes {
				switch here := random.IntN(3) > 0; {
				case here && random.IntN(2) == 0:
					all.do("place:" + name + "=holds")
				case !here:
					all.do("place:" + name + "=" + []string{"elsewhere", "foreign"}[random.IntN(2)])
					few.do("leave=" + name)
				}
			}
			for step := range 12 {
				for range 1 + random.IntN(3) {
					name := nodes[random.IntN(len(nodes))]
					switch random.IntN(8) {
					case 0:
						both("cut=r")
					case 1:
						both("freeze=" + name)
					case 2:
						both("thaw=" + name)
					case 3, 4:
						both(name + "=-")
					default:
						both(fmt.Sprintf("%s=%c@%d", name, 'x'+rune(random.IntN(2)), random.IntN(4)))
					}
				}
				all.sample()
				few.sample()
				a, f := all.last.Classes[0], few.last.Classes[0]
				if a.Keys != f.Keys || a.Divergent[0] != f.Divergent[0] || a.VersionRegressions != f.VersionRegressions {
					t.Fatalf("seed %d, step %d: %v %v, not %v %v", seed, step, a.Keys, a.Divergent, f.Keys, f.Divergent)
				}
				for _, want := range f.Nodes {
					i := slices.IndexFunc(a.Nodes, func(n ClassNode) bool { return n.Node == want.Node })
					got := a.Nodes[i]
					if got.Copies != want.Copies || got.Convicted != want.Convicted || got.Survivors != want.Survivors || got.Overdue != want.Overdue || got.Reads != want.Reads {
						t.Fatalf("seed %d, step %d: %+v, not %+v", seed, step, got, want)
					}
				}
			}
		})
	}
}
