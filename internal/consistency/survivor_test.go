package consistency

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/probes"
)

// The same content was on two nodes of a layer at the last sampling, and now one has lost it.
func TestSurvivors(t *testing.T) {
	for _, c := range []struct {
		name, nodes, class string
		steps              []string
	}{
		{"a delete that misses one node, until it is filled again", "l2: a b c", "", []string{
			"counting a=x b=x c=x -> survivors:a=0",
			"a=- b=- -> a=missing b=missing survivors:a=0 survivors:b=0 survivors:c=1 still:c=0 asked:a=2",
			"wait=10m uptime:a=2000000 -> survivors:c=1 still:c=1 asked:a=1", // and nothing is read again any more
			"a=x -> survivors:c=1 still:c=1",                                 // b is still without it
			"b=z -> survivors:c=0 still:c=0",
			"b=- -> survivors:c=0",
		}},
		{"until the survivor goes", "l2: a b", "", []string{
			"counting a=x b=x ->", "a=- -> survivors:b=1", "b=- -> survivors:b=0", "b=x -> survivors:b=0",
		}},
		{"until the survivor changes", "l2: a b", "", []string{
			"counting a=x b=x ->", "a=- -> survivors:b=1", "b=y -> survivors:b=0", "b=x -> survivors:b=0",
		}},
		{"it stands while either does not answer", "l2: a b", "", []string{
			"counting a=x b=x ->", "a=- -> survivors:b=1", "freeze=a -> survivors:b=1", "thaw=a freeze=b -> survivors:b=0", "thaw=b -> survivors:b=1",
		}},
		{"two survivors", "l2: a b c", "", []string{"counting a=x b=x c=x ->", "a=- -> survivors:a=0 survivors:b=1 survivors:c=1"}},
		{"losses one after another, each for so long", "l2 max_staleness=10s: a b c", "", []string{
			"counting a=x b=x c=x ->",
			"a=- -> survivors:b=0 survivors:c=0",
			"b=- wait=5s -> survivors:c=0",
			"a=x wait=5s -> survivors:c=0", // what b lost is not so long ago
			"wait=3s -> survivors:c=1 survivors:a=0",
			"b=y -> survivors:c=0",
		}},
		{"two losers, one of which holds another content now", "l2: a b c", "", []string{
			"counting a=x b=x c=x ->", "a=- b=- -> survivors:c=1", "a=y -> survivors:c=1", "b=y -> survivors:c=0",
		}},
		{"a delete that comes late to one of two survivors", "l2: a b c", "", []string{
			"counting a=x b=x c=x ->", "a=- -> survivors:b=1 survivors:c=1", "b=- -> survivors:b=0 survivors:c=1", "c=- -> survivors:c=0",
		}},
		{"other content is none", "l2: a b c", "", []string{"counting a=x b=y c=x ->", "a=- -> survivors:b=0 survivors:c=1"}},
		{"content that changed meanwhile is none", "l2: a b", "", []string{"counting a=x b=x ->", "a=- b=y -> survivors:b=0", "-> survivors:b=0"}},
		{"content that came meanwhile is none", "l2: a b", "", []string{"counting a=x ->", "a=- b=x -> survivors:b=0"}},
		{"another layer is none", "l2: a; l3: b", "", []string{"counting a=x b=x ->", "a=- -> survivors:b=0"}},
		{"unreadable is not lost", "l2: a b", "", []string{"counting a=x b=x ->", "a=? -> survivors:b=0"}},
		{"unreachable at the last sampling", "l2: a b", "", []string{
			"counting a=x b=x ->", "freeze=a -> a=error", "thaw=a a=- -> a=missing survivors:b=0",
		}},
		{"the survivor was unreachable at the last sampling", "l2: a b", "", []string{
			"counting a=x b=x ->", "freeze=b -> b=error", "thaw=b a=- -> a=missing survivors:b=0",
		}},
		{"lost at once after a scrape gap", "l2: a b", "", []string{
			"counting a=x b=x ->", "uptime:a=2000000 wait=10h a=- -> survivors:b=1",
		}},

		// The TTL of then.
		{"with enough of a TTL", "l2 ttl=100s: a b", "", []string{"counting ttl:a=11s ttl:b=11s a=x b=x ->", "a=- -> survivors:b=1"}},
		{"at most 10% of the layer's", "l2 ttl=100s: a b", "", []string{"counting ttl:a=10s ttl:b=80s a=x b=x ->", "a=- -> survivors:b=0"}},
		{"at most twice the sampling interval", "l2 ttl=100s: a b", "", []string{"counting ttl:a=22s a=x b=x ->", "a=- wait=10s -> survivors:b=0"}},
		{"above twice the sampling interval", "l2 ttl=100s: a b", "", []string{"counting ttl:a=23s a=x b=x ->", "a=- wait=10s -> survivors:b=1"}},
		{"a TTL in a layer without one", "l2 ttl=none: a b", "", []string{"counting ttl:a=5s a=x b=x ->", "a=- -> survivors:b=1"}},
		{"after a scrape gap the TTL is what it may have outlived", "l2 ttl=1h: a b", "", []string{"counting ttl:a=30m a=x b=x ->", "a=- wait=16m -> survivors:b=0"}},

		// What the loser tells of itself.
		{"evictions rose", "l2: a b", "", []string{"counting a=x b=x ->", "evicted:a=1 a=- -> survivors:b=0", "-> survivors:b=0"}},
		{"evictions rose elsewhere", "l2: a b", "", []string{"counting a=x b=x ->", "evicted:b=1 a=- -> survivors:b=1"}},
		{"an odd uptime", "l2: a b", "", []string{"counting uptime:a=18446744073709551615 a=x b=x ->", "a=- -> survivors:b=1"}},
		{"uptime fell", "l2: a b", "", []string{"counting a=x b=x ->", "uptime:a=5 a=- -> survivors:b=0"}},
		{"it began since, though its uptime rose", "l2: a b", "", []string{"counting uptime:a=3 a=x b=x ->", "uptime:a=10 wait=1m a=- -> survivors:b=0"}},
		{"items fell by half", "l2: a b", "", []string{"counting a=x b=x ->", "items:a=499 a=- -> survivors:b=0"}},
		{"items fell by less", "l2: a b", "", []string{"counting a=x b=x ->", "items:a=600 a=- -> survivors:b=1"}},
		{"it loads", "l2: a b", "", []string{"counting a=x b=x ->", "loading:a=true a=- -> survivors:b=0"}},
		{"its slot is being handed over", "l2: a b", "", []string{"counting place:a=holds a=x b=x ->", "place:a=holds,moving a=- -> survivors:b=0"}},
		{"its slot changed its owner", "l2: a b", "", []string{"counting place:a=holds a=x b=x ->", "place:a=holds,2 a=- -> survivors:b=0"}},
		{"its slot stayed", "l2: a b", "", []string{"counting place:a=holds,2 a=x b=x ->", "place:a=holds,2 a=- -> survivors:b=1"}},
		{"it holds other keys now", "l2: a b", "", []string{"counting place:a=holds a=x b=x ->", "place:a=elsewhere a=- -> survivors:b=0"}},
		{"it holds other keys later", "l2: a b", "", []string{
			"counting place:a=holds a=x b=x ->", "a=- -> survivors:b=1", "place:a=elsewhere -> survivors:b=0", "place:a=holds -> survivors:b=0",
		}},
		{"it may hold any key", "l2: a b", "", []string{"counting place:a=anywhere a=x b=x ->", "a=- -> a=nowhere survivors:b=0"}},
		{"a stray does not survive", "l2: a b", "", []string{"counting place:b=foreign a=x b=x ->", "a=- -> survivors:b=0 strays:b=1,true"}},
		{"it does not tell", "l2: a b", "", []string{"a=x b=x ->", "a=- -> a=missing survivors:b=0"}},
		{"it tells only now", "l2: a b", "", []string{"a=x b=x ->", "counting a=- -> a=missing survivors:b=0"}},
		{"the survivor does not tell", "l2: a b", "", []string{"items:a=100 evicted:a=0 uptime:a=50000 a=x b=x ->", "a=- -> survivors:b=1"}},

		// Neither replicates the other.
		{"a replica behind its primary", "l2: p r<p", "", []string{"counting p=x ->", "cut=r p=- -> survivors:r=0"}},
		{"replicas of one primary", "l2: p r<p s<p", "", []string{"counting p=x ->", "cut=s p=- -> survivors:s=0"}},
		{"a replica, of what another node lost", "l2: a p r<p", "", []string{"counting a=x p=x ->", "a=- -> survivors:p=1 survivors:r=1"}},
		{"a replica loses what its primary does", "l2: a p r<p", "", []string{"counting a=x p=x ->", "evicted:p=1 p=- -> survivors:a=0"}},
		{"two pairs", "l2: p r<p q s<q", "", []string{"counting p=x q=x ->", "p=- -> survivors:p=0 survivors:r=0 survivors:q=1 survivors:s=1"}},
		{"a replica that was promoted since", "l2: a p r<p", "", []string{"counting a=x p=x ->", "cut=r promote=r r=- -> survivors:a=0"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			inFakeTime(t, func(t *testing.T) { newWorld(t, c.nodes, c.class).play(c.steps...) })
		})
	}
}

// A loss counts only if both reads show it, and a survivor if it survives both.
func TestSurvivorsInBothReads(t *testing.T) {
	for _, c := range []struct {
		name  string
		twist func(w *world)
	}{
		{"the loser is there in the second", func(w *world) {
			w.node("a").twist = func(read int, _ string, r *probes.Raw) {
				if read == 0 {
					*r = probes.Raw{}
				}
			}
			w.set("a", "k", "x")
		}},
		{"the loser can't be read in the second", func(w *world) { w.node("a").slow[1] = -1 }},
		{"the survivor is gone in the second", func(w *world) {
			w.node("b").twist = func(read int, _ string, r *probes.Raw) {
				if read == 1 {
					*r = probes.Raw{}
				}
			}
		}},
		{"the survivor can't be read in the second", func(w *world) { w.node("b").slow[1] = -1 }},
		{"the survivor changes", func(w *world) {
			w.node("b").twist = func(read int, _ string, r *probes.Raw) {
				if read == 1 {
					r.Value = []byte("another")
				}
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			inFakeTime(t, func(t *testing.T) {
				w := newWorld(t, "l2: a b")
				w.play("counting a=x b=x ->")
				w.do("a=-")
				c.twist(w)
				w.play("-> survivors:a=0 survivors:b=0")
				if n := len(w.node("b").asked); n != 2 {
					t.Errorf("b was asked %d times", n)
				}
			})
		})
	}
}

// A sampling that takes longer than the interval before it gives copies time to expire.
func TestNoSurvivorsOfASlowSampling(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "l2 ttl=20s: a b")
		w.play("counting ttl:a=4s a=x b=x ->")
		w.node("a").slow[0] = 4 * time.Second
		w.play("a=- -> a=missing survivors:b=0")
	})
}

// What happens to the loser after it gave its account, and before it is read, explains the loss as well.
func TestWhatExplainsALossDuringTheSampling(t *testing.T) {
	for _, c := range []struct {
		name   string
		happen func(a *spy)
		want   string
	}{
		{"nothing", func(*spy) {}, "survivors:b=1"},
		{"an eviction", func(a *spy) { a.survey.Evicted.Value++ }, "survivors:b=0"},
		{"a restart", func(a *spy) { a.survey.UptimeSeconds.Value = 0 }, "survivors:b=0"},
		{"a flush", func(a *spy) { a.survey.Items.Value = 0 }, "survivors:b=0"},
		{"it loads", func(a *spy) { a.survey.Loading = true }, "survivors:b=0"},
		{"it stops answering", func(a *spy) { a.surveySlow = -1 }, "survivors:b=0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inFakeTime(t, func(t *testing.T) {
				w := newWorld(t, "l2: a b", "", "class: other, keys: [another]")
				w.play("counting a=x b=x ->")
				done := false
				w.node("a").before = func() { // the first read, after the survey
					if !done {
						w.do("a=-")
						c.happen(w.node("a"))
					}
					done = true
				}
				w.play("-> a=missing "+c.want, "-> "+c.want)
			})
		})
	}
}

// Each of several nodes that lost a copy is asked to explain it, in whatever order they come.
func TestEveryLoserIsAsked(t *testing.T) {
	for _, nodes := range []string{"l2: a b c", "l2: c a b", "l2: b c a"} {
		inFakeTime(t, func(t *testing.T) {
			w := newWorld(t, nodes)
			w.play("counting a=x b=x c=x ->")
			for _, name := range []string{"a", "c"} {
				done := false
				w.node(name).before = func() {
					if !done {
						w.do(name + "=-")
						w.node(name).survey.Evicted.Value++
					}
					done = true
				}
			}
			w.play("-> a=missing b=unverified c=missing survivors:b=0", "-> survivors:b=0")
		})
	}
}

// Within max_staleness a survivor does not count, and then it is no delete that is on its way.
func TestSurvivorsWithinMaxStaleness(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		newWorld(t, "l1 max_staleness=5s: a b c").play(
			"counting a=x b=x c=x ->",
			"a=- -> survivors:b=0 survivors:c=0",
			"wait=3s -> survivors:b=0",
			"wait=1s -> survivors:b=1 survivors:c=1 still:b=1",
			"a=x -> survivors:b=0",
			"b=- -> survivors:a=0",
		)
	})
}

// Survivors are remembered over a reload, and forgotten with their keys.
func TestSurvivorsOverAReload(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		newWorld(t, "l2: a b").play("counting a=x b=x ->", "reload= a=- -> survivors:b=1", "reload= -> survivors:b=1")
		w := newWorld(t, "l2: a b", "keys: [other, k]")
		w.play("counting a=x b=x ->")
		w.configure("l2: a b", "keys: [other]")
		w.sample()
		w.configure("l2: a b", "keys: [other, k]")
		w.play("a=- -> survivors:b=0")
	})
}

// Many keys with jittered TTLs that expire and are filled again on each node by itself, with restarts and evictions: no
// survivor. Then deletes of which some miss a node: exactly those.
func TestSurvivorsAmongExpiry(t *testing.T) {
	for _, interval := range []time.Duration{time.Second, 5 * time.Second, 15 * time.Second} {
		inFakeTime(t, func(t *testing.T) {
			const keys, ttl = 60, 2 * time.Minute
			var names []string
			for i := range keys {
				names = append(names, fmt.Sprintf("k%d", i))
			}
			w := newWorld(t, "l2 ttl=2m: a b c", "keys: ["+strings.Join(names, ", ")+"]")
			w.do("counting")
			random := rand.New(rand.NewPCG(3, 4))
			expires := map[string]time.Time{}
			refill := func(name, key string) {
				w.set(name, key, "x")
				expires[name+key] = time.Now().Add(ttl * time.Duration(80+random.IntN(20)) / 100)
			}
			for _, n := range w.fleet {
				n.twist = func(_ int, key string, r *probes.Raw) {
					left := time.Until(expires[n.id.Name+key])
					if r.Present = r.Present && left > 0; !r.Present {
						*r = probes.Raw{}
						return
					}
					r.NoExpiry, r.HasTTL, r.TTL = false, true, left
				}
			}
			survivors := func() (total int) {
				for _, n := range w.last.Classes[0].Nodes {
					total += n.Survivors
				}
				return total
			}
			started := map[string]time.Time{}
			for _, n := range w.fleet {
				started[n.id.Name] = time.Now().Add(-time.Hour)
			}
			for step := range int(time.Hour / interval) {
				for _, n := range w.fleet {
					for _, key := range names {
						if _, ok := n.values[key]; (!ok || time.Now().After(expires[n.id.Name+key])) && random.IntN(3) == 0 {
							refill(n.id.Name, key)
						}
					}
				}
				if random.IntN(5) == 0 {
					n := w.fleet[random.IntN(3)]
					delete(n.values, names[random.IntN(keys)])
					n.survey.Evicted.Value++
				}
				if step == 20 { // a restart
					clear(w.fleet[0].values)
					started["a"] = time.Now()
				}
				time.Sleep(interval - time.Second)
				for _, n := range w.fleet {
					n.survey.UptimeSeconds.Value = time.Since(started[n.id.Name]).Seconds()
				}
				w.sample()
				if n := survivors(); n > 0 {
					t.Fatalf("every %s, at %d: %d survivors", interval, step, n)
				}
			}
			for _, key := range names {
				for _, n := range w.fleet {
					refill(n.id.Name, key)
				}
			}
			w.sample()
			for i, key := range names {
				delete(w.fleet[0].values, key)
				delete(w.fleet[1].values, key)
				if i%12 > 0 {
					delete(w.fleet[2].values, key)
				}
			}
			w.sample()
			if n := survivors(); n != 5 {
				t.Errorf("every %s: %d survivors", interval, n)
			}
		})
	}
}
