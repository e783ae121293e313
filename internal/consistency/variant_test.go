package consistency

import (
	"testing"

	"github.com/cacheinv/cacheinv_exporter/internal/verdict"
)

// A variant that differs is its copy's staleness, whatever the others hold; they are not blamed for it.
func TestVariants(t *testing.T) {
	for _, c := range []struct {
		name, nodes, class string
		steps              []string
	}{
		{"alike", "edge: a b", "", []string{
			"a=x b=x variant:a=x variant:b=x -> a=fresh b=fresh asked:a=1 asked:b=1 majority divergent=0,0,0,0",
		}},
		{"a purge missed one", "edge: a b", "", []string{
			"a=x b=x variant:a=y variant:b=x -> a=stale b=fresh convicted:a=primary majority asked:a=2 divergent=1,0,0,0 consistent=false",
			"wait=5m -> a=stale windows:a=1,1,1,0 b=fresh",
			"variant:a=x -> a=fresh b=fresh ended=1 divergent=0,0,0,0",
		}},
		{"a purge missed the plain one", "edge: a b c", "", []string{
			"a=x b=y c=y variant:a=y variant:b=y -> a=stale b=fresh c=fresh convicted:a=majority",
			"a=y -> a=fresh b=fresh ended=1",
		}},
		{"an edge alone", "edge: a", "", []string{
			"a=x variant:a=x -> a=unverified",
			"variant:a=y -> a=stale convicted:a=primary primary",
			"wait=1m -> a=stale windows:a=1,1,0,0",
			"a=y -> a=unverified ended=1",
		}},
		{"longer than the layer allows", "edge max_staleness=30s: a b", "", []string{
			"a=x b=x variant:a=y -> a=stale overdue=", "wait=1m -> a=stale overdue=a", "variant:a=- -> a=fresh ended=1 overdue=",
		}},
		{"by version", "edge: a; l2: b c", versioned, []string{
			"a=x@2 b=x@2 c=x@2 variant:a=w@1 -> a=stale b=fresh c=fresh convicted:a=version lag:a=1",
			"a=z@3 b=z@3 c=z@3 variant:a=z@3 -> a=fresh b=fresh ended=1",
		}},
		{"by the origin", "edge: a b", asking, []string{
			"origin=x a=x b=x variant:a=y -> a=stale b=fresh convicted:a=origin", "origin=x variant:a=x -> a=fresh ended=1",
		}},
		{"too old", "edge: a b", ageing, []string{
			"a=x!1m b=x!1m variant:a=x!1m -> a=fresh", "variant:a=x!1h -> a=stale convicted:a=age b=unverified",
		}},
		{"one that is not there says nothing", "edge: a b", "", []string{
			"a=x b=x variant:a=- -> a=fresh b=fresh asked:a=1", "a=- variant:a=x -> a=fresh b=fresh", "a=- variant:a=- -> a=missing b=unverified",
		}},
		{"one that can't be read", "edge: a b", "", []string{
			"a=x b=x variant:a=? -> a=error b=fresh read:a=false", "a=x variant:a=x -> a=fresh b=fresh",
			"a=? -> a=error",
		}},
		{"it has no vote of its own", "edge: a b c", "", []string{
			"a=x b=y c=y variant:a=x -> a=stale b=fresh c=fresh convicted:a=majority",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			inFakeTime(t, func(t *testing.T) { newWorld(t, c.nodes, c.class).play(c.steps...) })
		})
	}
}

// A write that reaches a variant between the two reads convicts nobody.
func TestVariantsOnTheirWay(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "edge: a b", "")
		for _, token := range []string{"a=x", "b=x", "variant:a=w", "variant:b=x"} {
			w.do(token)
		}
		w.node("a").before = func() {
			if len(w.node("a").asked) == 2 { // the second read
				w.do("variant:a=x")
			}
		}
		w.sample()
		if w.states("a")[verdict.Stale] != 0 || w.states("b")[verdict.Fresh] != 1 {
			t.Errorf("a %v, b %v", w.states("a"), w.states("b"))
		}
	})
}

// A report says which variant is wrong, and what it holds.
func TestVariantIsReported(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "edge: a b", "")
		w.opt.Details, w.opt.ShowValues = true, true
		w.reload()
		w.play("a=x b=x variant:a=y variant:b=x -> a=stale b=fresh")
		copies := w.last.Classes[0].Reports[0].Copies
		if got := copies[0]; got.Variant != "gzip" || string(got.Value) != w.body("y") || got.Digest == copies[1].Digest {
			t.Errorf("the wrong copy: %+v", got)
		}
		if got := copies[1]; got.Variant != "identity" || string(got.Value) != w.body("x") {
			t.Errorf("the other: %+v", got)
		}
	})
}
