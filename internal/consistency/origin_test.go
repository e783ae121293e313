package consistency

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/verdict"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// The origin gets at most an eighth in each of its rounds, after the first reads and before the second.
func TestTheOriginGetsAnEighthInEachRound(t *testing.T) {
	for _, c := range []struct {
		name   string
		origin func(ctx context.Context, asked int) (string, int)
		nodes  func(w *world)
		want   string
		most   time.Duration
	}{
		{
			"it hangs", func(ctx context.Context, _ int) (string, int) { <-ctx.Done(); return "", 500 }, func(*world) {},
			"a=fresh b=fresh c=stale majority", 1300 * time.Millisecond,
		},
		{"it hangs the second time", func(ctx context.Context, asked int) (string, int) {
			if asked > 1 {
				<-ctx.Done()
				return "", 500
			}
			return `{"n":"y"}`, 200
		}, func(*world) {}, "a=fresh b=fresh c=stale majority", 1300 * time.Millisecond},
		{
			"it hangs, and so does a node", func(ctx context.Context, _ int) (string, int) { <-ctx.Done(); return "", 500 },
			func(w *world) { w.node("d").slow[0] = -1 }, "a=fresh b=fresh c=stale d=error majority", 6300 * time.Millisecond,
		},
		{
			"it is slow both times, and so are the nodes", func(ctx context.Context, _ int) (string, int) {
				_ = rest(ctx, 1200*time.Millisecond)
				return `{"n":"y"}`, 200
			}, func(w *world) { w.node("a").slow = [2]time.Duration{4 * time.Second, 2 * time.Second} },
			"a=stale b=stale c=fresh origin", 9 * time.Second,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			inFakeTime(t, func(t *testing.T) {
				w := newWorld(t, "l2: a b e c d", asking)
				c.nodes(w)
				asked := 0
				w.origin("c").reply = func(ctx context.Context, _ string) (string, int) {
					asked++
					if end, ok := ctx.Deadline(); !ok || time.Until(end) > w.timeout/8 {
						t.Errorf("it may take %s", time.Until(end))
					}
					return c.origin(ctx, asked)
				}
				w.play("a=x b=x e=x c=y -> " + c.want)
				if w.took() > c.most {
					t.Errorf("it took %s", w.took())
				}
			})
		})
	}
}

// The origin is asked before the second read of the nodes and after the first.
func TestTheOriginIsAskedBetweenTheReads(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "l2: a b", asking)
		var order []string
		note := func(what string) func(int, string, *probes.Raw) {
			return func(int, string, *probes.Raw) { order = append(order, what) }
		}
		w.node("a").twist = note("read")
		w.origin("c").reply = func(context.Context, string) (string, int) {
			order = append(order, "origin")
			return `{"n":"x"}`, 200
		}
		w.play("a=x b=y -> a=fresh b=stale")
		if got := strings.Join(order, " "); got != "read origin origin read" {
			t.Errorf("the order is %s", got)
		}
	})
}

// An origin that hangs does not keep another class's from being asked.
func TestAHungOriginCostsNoOtherClassAnything(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		var keys []string
		for i := range 100 {
			keys = append(keys, fmt.Sprintf("k%d", i))
		}
		all := "keys: [" + strings.Join(keys, ", ") + "]"
		w := newWorld(t, "l2: a b", "class: hung, "+all+`, origin: {http: {url: "http://hung/{key}"}, max_per_scrape: 100}`, "class: c, "+asking)
		w.origin("hung").reply = func(ctx context.Context, _ string) (string, int) { <-ctx.Done(); return "", 500 }
		for _, k := range append(keys, "k") {
			w.set("a", k, "x")
			w.set("b", k, "x")
		}
		w.do("origin=y")
		w.sample()
		if c := w.last.Classes[1]; c.Keys[verdict.ByOrigin] != 1 || c.Nodes[0].Copies[verdict.Stale] != 1 {
			t.Errorf("keys by reference %v, copies on a %v; the origin's requests %v", c.Keys, c.Nodes[0].Copies, c.OriginRequests)
		}
	})
}

// askedKeys makes the origin hold x for every key, and gives the keys that it was asked for since the last call, sorted.
func (w *world) askedKeys() (asked func() []string) {
	var mu sync.Mutex
	var keys []string
	w.origin("c").reply = func(_ context.Context, key string) (string, int) {
		mu.Lock()
		defer mu.Unlock()
		keys = append(keys, key)
		return `{"n":"x"}`, 200
	}
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		out := slices.Compact(slices.Sorted(slices.Values(keys)))
		keys = nil
		return out
	}
}

// max_per_scrape counts keys, of which at least a fifth is kept for keys that do not differ.
func TestMaxPerScrape(t *testing.T) {
	for _, c := range []struct {
		name            string
		budget, differ  int
		asked, differed int
	}{
		{"none differ", 10, 0, 10, 0},
		{"a few differ", 10, 3, 10, 3},
		{"just as many as there is room for", 10, 8, 10, 8},
		{"more than there is room for", 10, 20, 10, 8},
		{"all but one differ", 10, 39, 10, 9},
		{"all differ", 10, 40, 10, 10},
		{"room for all", 50, 20, 40, 20},
		{"at least a fifth: of three, one", 3, 20, 3, 2},
		{"at least a fifth: of six, two", 6, 20, 6, 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			inFakeTime(t, func(t *testing.T) {
				var keys []string
				for i := range 40 {
					keys = append(keys, fmt.Sprintf("k%02d", i))
				}
				w := newWorld(t, "l2: a b", fmt.Sprintf(`keys: [%s], origin: {http: {url: "http://o/{key}"}, max_per_scrape: %d}`, strings.Join(keys, ", "), c.budget))
				asked := w.askedKeys()
				for i, k := range keys {
					w.set("a", k, "x")
					w.set("b", k, "x")
					if i >= len(keys)-c.differ {
						w.set("b", k, "y")
					}
				}
				for range 3 {
					w.sample()
					got := asked()
					differed := 0
					for _, k := range got {
						if k >= keys[min(len(keys)-1, len(keys)-c.differ)] && c.differ > 0 {
							differed++
						}
					}
					if len(got) != c.asked || differed != c.differed {
						t.Errorf("asked for %d, of which %d differ, not %d and %d: %v", len(got), differed, c.asked, c.differed, got)
					}
				}
			})
		})
	}
}

// Where all keys differ, and more than can be asked about, they take turns.
func TestDifferingKeysTakeTurnsAtTheOrigin(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		var keys []string
		for i := range 20 {
			keys = append(keys, fmt.Sprintf("k%02d", i))
		}
		w := newWorld(t, "l2: a b", "keys: ["+strings.Join(keys, ", ")+`], origin: {http: {url: "http://o/{key}"}, max_per_scrape: 5}`)
		asked := w.askedKeys()
		for _, k := range keys {
			w.set("a", k, "x")
			w.set("b", k, "y")
		}
		seen := map[string]bool{}
		for range 4 {
			w.sample()
			for _, k := range asked() {
				seen[k] = true
			}
		}
		if len(seen) != len(keys) {
			t.Errorf("%d of %d keys were asked about", len(seen), len(keys))
		}
	})
}

// The others are asked in rotation, which comes to all of them.
func TestTheOriginIsAskedInRotation(t *testing.T) {
	for _, differ := range []int{0, 3, 9} {
		inFakeTime(t, func(t *testing.T) {
			var keys []string
			for i := range 20 {
				keys = append(keys, fmt.Sprintf("k%02d", i))
			}
			w := newWorld(t, "l2: a b", "keys: ["+strings.Join(keys, ", ")+`], origin: {http: {url: "http://o/{key}"}, max_per_scrape: 5}`)
			asked := w.askedKeys()
			for i, k := range keys {
				w.set("a", k, "x")
				w.set("b", k, "x")
				if i%2 == 1 && i/2 < differ {
					w.set("b", k, "y")
				}
			}
			count := map[string]int{}
			rounds := 20
			for range rounds {
				w.sample()
				for _, k := range asked() {
					count[k]++
				}
			}
			for i, k := range keys {
				if count[k] == 0 && (i%2 == 0 || i/2 >= differ) {
					t.Errorf("%d differ: %s was never asked for", differ, k)
				}
				// Nobody is asked twice before all were.
				if differ == 0 && count[k] != rounds*5/20 {
					t.Errorf("%s was asked for %d times", k, count[k])
				}
			}
		})
	}
}

// A key in an episode is asked for first, though its copies do not differ any more.
func TestKeysInAnEpisodeAreAskedFirst(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		var keys []string
		for i := range 20 {
			keys = append(keys, fmt.Sprintf("k%02d", i))
		}
		w := newWorld(t, "l2: a b", "keys: ["+strings.Join(keys, ", ")+`], origin: {http: {url: "http://o/{key}"}, max_per_scrape: 2}`)
		asked := w.askedKeys()
		for _, k := range keys {
			w.set("a", k, "x")
		}
		w.set("b", keys[13], "y")
		w.sample()
		w.set("a", keys[13], "-")
		for range 5 {
			asked()
			w.sample()
			if got := asked(); !slices.Contains(got, keys[13]) || len(got) != 2 {
				t.Errorf("asked for %v", got)
			}
		}
	})
}

// A key without present copies is nothing to ask for.
func TestTheOriginIsNotAskedForMissingKeys(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		newWorld(t, "l2: a b", asking).play("origin=x -> uncounted requests=ok:0,not_found:0,error:0")
	})
}

// The origin's answers are counted, each of them.
func TestOriginRequestsAreCounted(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		newWorld(t, "l2: a b", `origin: {http: {url: "http://o/{key}"}, select: "$.n"}, select: "$.n"`).play(
			"a=x b=x origin=x -> a=fresh origin requests=ok:1,not_found:0,error:0",
			"origin=404 -> a=stale requests=ok:1,not_found:2,error:0", // and once more before the second read
			"origin=? -> a=stale requests=ok:1,not_found:2,error:1",
		)
	})
}

// Before the second read only what is read again is asked for again.
func TestTheOriginIsAskedAgainForWhatIsReadAgain(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "l2: a b", "keys: [k, same], "+asking)
		w.set("a", "same", "x")
		w.set("b", "same", "x")
		w.play("a=x b=y origin=x -> convicted:b=origin requests=ok:3,not_found:0,error:0")
	})
}

func TestAnAnswerThatCannotBeReadIsAnError(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "l2: a b", `origin: {http: {url: "http://o/{key}"}, select: "$.data"}`)
		w.play("a=x b=x origin=x -> a=fresh majority requests=ok:0,not_found:0,error:1")
		if w.last.Classes[0].Err == nil {
			t.Error("the class says nothing of its origin's failure")
		}
		w.origin("c").body = `{"data":{"n":"x"}}`
		w.play("-> a=fresh origin requests=ok:1,not_found:0,error:1")
		if err := w.last.Classes[0].Err; err != nil {
			t.Error(err)
		}
	})
}

func TestALateAnswerIsAnError(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "l2: a b", asking)
		w.origin("c").reply = func(ctx context.Context, _ string) (string, int) { <-ctx.Done(); return "", 500 }
		w.play("a=x b=x -> a=fresh majority requests=ok:0,not_found:0,error:1")
	})
}
