package consistency

import (
	"slices"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/verdict"
)

// The rules of an episode: the time for which a copy has lacked what convicted it when the episode began.
func TestEpisodes(t *testing.T) {
	for _, c := range []struct {
		name, nodes, class string
		steps              []string
	}{
		// It ends when the copy goes missing,
		{"ends when the copy goes missing", "l2: a b c", "", []string{
			"a=x b=x c=y -> c=stale ended=0",
			"c=- wait=9s -> c=missing ended=1 lasted=10s age:c=0s",
			"-> ended=0",
		}},
		{"another one begins when it is there again", "l2: a b c", "", []string{
			"a=x b=x c=y -> c=stale",
			"c=- wait=1m -> c=missing ended=1",
			"c=y -> c=stale age:c=0s ended=0",
		}},
		// or is confirmed by a reference at least as strong as the one that convicted it.
		{"ends when confirmed by what convicted it: majority", "l2: a b c", "", []string{
			"a=x b=x c=y -> c=stale convicted:c=majority",
			"a=y wait=9s -> c=fresh b=stale ended=1 lasted=10s",
			"-> c=fresh ended=0",
		}},
		{"ends when confirmed by what convicted it: origin", "l2: a b", asking, []string{
			"a=x b=y origin=x -> b=stale convicted:b=origin",
			"origin=y wait=9s -> b=fresh a=stale ended=1 lasted=10s",
		}},
		{"ends when confirmed by what convicted it: primary", "l2: p r<p", "", []string{
			"p=x -> r=fresh",
			"cut=r p=y -> r=stale convicted:r=primary",
			"p=x wait=9s -> r=fresh ended=1 lasted=10s",
		}},
		{"ends when confirmed by what convicted it: primary, which the majority confirms", "l2: p r<p b", "", []string{
			"p=x b=x -> r=fresh",
			"cut=r p=y b=y -> p=fresh b=fresh r=stale convicted:r=primary",
			"p=x b=x wait=9s -> p=fresh b=fresh r=fresh ended=1 lasted=10s",
		}},
		{"ends when confirmed by something stronger: origin", "l2: a b c", asking, []string{
			"a=x b=x c=y -> c=stale convicted:c=majority",
			"origin=y -> c=fresh a=stale b=stale ended=1",
		}},
		{"ends when confirmed by something stronger: the origin, of one convicted by version", "l2: a b", versioned + ", " + asking, []string{
			"a=x@2 b=y@1 -> b=stale convicted:b=version",
			"a=- origin=y@1 -> b=fresh origin ended=1",
		}},
		{"ends when confirmed by the origin, which is not behind any more", "l2: a b", versioned + ", " + asking, []string{
			"a=x@9 b=y@5 -> b=stale convicted:b=version",
			"origin=y@5 -> a=fresh b=stale version behind=1 ended=0",
			"wait=1m -> a=stale b=fresh origin behind=0 ended=1",
		}},
		{"ends when confirmed by version, at the version that convicted it", "l2: a b", versioned, []string{
			"a=x@2 b=y@1 -> b=stale convicted:b=version",
			"b=x@2 wait=9s -> b=fresh ended=1 lasted=10s",
		}},
		{"ends when confirmed by version: equal content is never behind", "l2: a b", versioned, []string{
			"a=x@2 b=y@1 -> b=stale convicted:b=version",
			"a=y@3 -> a=fresh b=fresh version ended=1",
		}},
		{"does not end when confirmed at a lower version", "l2 ttl=10m: a b c", versioned, []string{
			"a=x@5 b=y@3 -> b=stale convicted:b=version",
			"a=- c=y@3 wait=11m -> b=stale c=fresh version ended=0",
		}},
		{"ends when confirmed at a lower version, a regression intervened", "l2: a b", versioned, []string{
			"a=x@5 b=y@3 -> b=stale convicted:b=version",
			"a=z@4 -> a=undecided b=stale none regressions=1 ended=0",
			"a=y@3 -> a=fresh b=stale majority ended=0",
			"-> a=fresh b=fresh version ended=1",
		}},
		// or, convicted by primary, its node has become its group's primary;
		{"ends when its node has become its group's primary", "l2: p r<p", "", []string{
			"p=x -> r=fresh",
			"cut=r p=y -> r=stale convicted:r=primary",
			"freeze=p wait=5s -> p=error r=stale ended=0",
			"promote=r wait=3s -> p=error r=unverified ended=1 lasted=20s",
		}},
		{"ends when its node has become its group's primary, and another begins", "l2: p r<p b c d", "", []string{
			"p=x -> r=fresh",
			"cut=r p=y -> r=stale convicted:r=primary",
			"freeze=p wait=50s -> p=error r=stale ended=0",
			"promote=r b=z c=z d=z -> p=error b=fresh r=stale convicted:r=majority age:r=5s ended=1", // a sampling with a frozen node
		}},
		{"does not end because its node became a primary: convicted by version", "l2: p r<p", versioned, []string{
			"p=x@1 -> r=fresh",
			"cut=r p=y@2 -> r=stale convicted:r=version",
			"freeze=p -> p=error r=stale ended=0",
			"promote=r -> r=stale ended=0",
		}},

		// The copy changes to content that is not wrong;
		{"ends with the right content", "l2: a b c", "", []string{
			"a=x b=x c=y -> c=stale",
			"c=x wait=59s -> c=fresh ended=1 lasted=1m0s",
		}},
		{"ends with content that nothing says is wrong", "l2: a b c", "", []string{
			"a=x b=x c=y -> c=stale",
			"b=- c=z -> a=undecided c=undecided ended=1",
		}},
		{"ends with content that there is nothing to compare to", "l2: a b c", "", []string{
			"a=x b=x c=y -> c=stale",
			"a=- b=- c=z -> c=unverified ended=1",
		}},
		// or to content that is wrong again, but has reached what convicted it: then another episode begins.
		{"wrong again, convicted by majority: any other content", "l2: a b c", "", []string{
			"a=x b=x c=y -> c=stale",
			"c=z wait=1m -> a=undecided b=undecided c=undecided ended=1 lasted=1m1s", // newer than x
			"a=w b=w -> c=stale age:c=0s",
			"c=y wait=1m -> c=stale age:c=0s ended=1 lasted=1m1s",
			"wait=1m -> c=stale age:c=1m1s ended=0",
		}},
		{"wrong again, convicted by origin: any other content", "l2: a b", asking, []string{
			"a=x b=y origin=x -> b=stale",
			"b=z wait=1m -> b=stale age:b=0s ended=1 lasted=1m1s",
		}},
		{"wrong again, convicted by version: not below it", "l2: a b", versioned, []string{
			"a=x@2 b=y@1 -> b=stale",
			"a=w@9 b=z@2 wait=1m -> b=stale age:b=0s ended=1 lasted=1m1s",
		}},
		{"wrong again, convicted by version: still below it", "l2: a b", versioned, []string{
			"a=x@9 b=y@1 -> b=stale",
			"b=z@8 wait=1m -> b=stale age:b=1m1s ended=0",
			"a=w@20 b=x@9 wait=1m -> b=stale age:b=0s ended=1 lasted=2m2s",
		}},
		{"wrong again, convicted by version: nor is a copy without a version there", "l2: a b c", versioned, []string{
			"a=z@1 -> a=unverified",
			"a=x@9 c=x@9 b=y@1 -> b=stale convicted:b=version",
			"b=z wait=1m -> b=stale age:b=1m1s ended=0",
		}},
		{"wrong again, convicted by primary: its offset of then", "l2: p r<p", "", []string{
			"p=x offset:p=100 offset:r=100 -> r=fresh",
			"cut=r p=y offset:p=200 -> r=stale convicted:r=primary",
			"r=z offset:p=300 offset:r=200 wait=1m -> r=stale age:r=0s ended=1 lasted=1m1s",
		}},
		{"wrong again, convicted by primary: below its offset of then", "l2: p r<p", "", []string{
			"p=x offset:p=100 offset:r=100 -> r=fresh",
			"cut=r p=y offset:p=200 -> r=stale convicted:r=primary",
			"r=z offset:p=300 offset:r=199 wait=1m -> r=stale age:r=1m1s ended=0",
		}},

		// It does not end because the copies that proved it wrong went away, nor because the reference at hand is weaker.
		{"does not end when the witnesses go: nothing left to compare to", "l2: a b c", "", []string{
			"a=x b=x c=y -> c=stale",
			"a=- b=- wait=1m -> c=stale convicted:c=majority age:c=1m1s none ended=0",
		}},
		{"does not end when the witnesses go: its replica shares its state", "l2: p r<p b c", "", []string{
			"p=y b=x c=x -> p=stale r=stale convicted:r=majority",
			"b=- c=- -> p=stale r=stale ended=0",
		}},
		{"its replica shares its state, and its end", "l2: p r<p b c", "", []string{
			"p=y b=x c=x -> p=stale r=stale",
			"b=- c=- wait=1m -> p=stale r=stale age:r=1m1s",
			"p=z -> p=unverified r=fresh ended=2",
		}},
		{"its replica shares its state when it is confirmed", "l2: p r<p b c", "", []string{
			"p=y b=x c=x -> p=stale r=stale",
			"b=y c=y -> p=fresh r=fresh ended=2",
		}},
		{"its replica shares nothing where it holds another", "l2: p r<p b c", "", []string{
			"p=y -> p=unverified",
			"p=x b=x c=x -> p=fresh r=fresh",
			"cut=r p=y -> p=stale r=fresh",
			"b=- -> p=stale c=undecided r=stale convicted:r=primary",
		}},
		{"a replica that has what its primary has not", "l2: p r<p", "", []string{
			"p=x -> r=fresh",
			"cut=r p=- wait=1m -> p=missing r=stale convicted:r=primary primary",
			"r=- wait=1m -> r=missing ended=1 lasted=1m1s",
		}},
		{"its replica shares its state as soon as it holds the same", "l2: p r<p b c", "", []string{
			"cut=r p=y b=x c=x -> p=stale r=missing",
			"b=- c=- -> p=stale r=missing",
			"r=y -> p=stale r=stale age:r=0s",
		}},
		{"does not end when the witnesses can't be read", "l2: a b c", "", []string{
			"a=x b=x c=y -> c=stale",
			"freeze=a freeze=b -> a=error b=error c=stale ended=0",
		}},
		{"does not end when the witnesses differ now", "l2: a b c", "", []string{
			"a=x b=x c=y -> c=stale",
			"a=z -> a=undecided b=undecided c=stale ended=0",
		}},
		{"does not end when two more hold what a lost majority did not", "l2: a b", asking, []string{
			"a=x b=y origin=x -> b=stale convicted:b=origin",
			"a=y origin=? -> a=fresh b=stale majority ended=0",
		}},
		{"does not end by a weaker reference: version after origin", "l2: a b", versioned + ", " + asking, []string{
			"a=x@1 b=y@1 origin=x@1 -> b=stale convicted:b=origin",
			"a=y@1 origin=? -> a=fresh b=stale version ended=0",
		}},
		{"does not end by a weaker reference: majority after version", "l2: a b c", versioned, []string{
			"a=x@5 b=y@3 -> b=stale convicted:b=version",
			"a=y c=y b=y -> b=stale a=fresh c=fresh ended=0",
		}},
		{"does not end by a weaker reference: majority after primary", "l2: p r<p b c", "", []string{
			"p=x -> r=fresh",
			"cut=r p=y -> r=stale convicted:r=primary",
			"freeze=p b=x c=x -> b=fresh c=fresh r=stale ended=0",
		}},
		{"does not end because the origin lags behind", "l2: a b", `origin: {http: {url: "http://o/{key}"}, max_lag: 30s}`, []string{
			"a=x b=y wait=1m -> b=undecided",
			"origin=x wait=1m -> b=stale convicted:b=origin",
			"origin=z wait=1s -> b=stale ended=0",
		}},
		// Until then the copy is reported stale, or error in a scrape that could not read it.
		{"error in between", "l2: a b c", "", []string{
			"a=x b=x c=y -> c=stale",
			"freeze=c wait=1m -> c=error overdue= ended=0",
			"thaw=c a=- wait=1m -> c=stale age:c=2m7s ended=0",
		}},
		{"error in between, and right after it", "l2: a b c", "", []string{
			"a=x b=x c=y -> c=stale",
			"c=? -> c=error ended=0",
			"c=x wait=8s -> c=fresh ended=1 lasted=10s",
		}},

		// The origin behind, of a copy and its replica; deleted there, within max_lag and after; newcomers; votes that can't be read.
		{"a write that is rolled back, of a primary with a replica that is cut off", "l2: p r<p", versioned + ", " + asking, []string{
			"p=y@2 origin=y@2 -> p=fresh r=fresh origin",
			"cut=r p=x@3 -> p=fresh r=undecided version behind=1",
			"wait=57s -> p=fresh r=undecided version behind=1",
			"wait=2s -> p=stale r=fresh convicted:p=origin origin behind=0",
		}},
		{"deleted at the origin, which lags", "l2: a b c", `origin: {http: {url: "http://o/{key}"}, max_lag: 30s}`, []string{
			"a=x b=x c=y origin=404 -> a=fresh b=fresh c=undecided origin",
			"wait=28s -> a=fresh b=fresh c=undecided origin",
			"wait=1s -> a=stale b=stale c=stale convicted:c=origin",
			"origin=? -> a=stale b=stale c=stale majority ended=0",
			"a=- b=- c=- -> ended=3 uncounted",
		}},
		{"a newcomer that becomes the majority, and another that is left alone", "l2: a b c", "", []string{
			"a=x b=x c=x -> majority",
			"a=y -> a=undecided b=undecided c=undecided majority",
			"b=y -> a=fresh b=fresh c=stale majority",
			"c=y -> c=fresh ended=1",
			"a=z b=- c=- -> a=unverified none",
			"b=y c=y -> a=undecided b=undecided c=undecided majority",
		}},
		{"a newcomer that the origin knows", "l2: a b c", asking, []string{
			"a=x b=x c=x -> a=fresh",
			"c=y -> a=undecided c=undecided",
			"origin=y -> a=stale b=stale c=fresh origin",
			"origin=? -> a=stale b=stale c=undecided majority",
			"a=y -> a=fresh b=stale c=fresh majority ended=1",
		}},
		{"what can't be read denies a majority, until it has left", "l2: a b c d e", "", []string{
			"a=x b=x c=x d=x e=x ->",
			"freeze=d freeze=e a=y b=y -> a=undecided b=undecided c=undecided none",
			"left:d=true left:e=true -> a=fresh b=fresh c=stale d=error e=error majority",
		}},

		// So a copy always a little behind is stale but never long, and one hours behind is, though it moves.
		{"always a little behind, by version", "l2 max_staleness=3s: a b", versioned, []string{
			"a=x@2 b=w@1 wait=1s -> b=stale overdue= age:b=0s",
			"a=y@3 b=x@2 wait=1s -> b=stale overdue= age:b=0s",
			"a=z@4 b=y@3 wait=1s -> b=stale overdue= age:b=0s",
			"a=x@5 b=z@4 wait=1s -> b=stale overdue= age:b=0s",
		}},
		{"hours behind, though it moves, by version", "l2 max_staleness=3s: a b", versioned, []string{
			"a=x@1000 b=w@1 -> b=stale overdue=",
			"a=y@1100 b=x@101 wait=1s -> b=stale overdue= ended=0",
			"a=z@1200 b=y@201 wait=1s -> b=stale overdue=b ended=0",
		}},
		{"always a little behind, by the replication offset", "l2 max_staleness=3s: p r<p", "", []string{
			"p=x cut=r -> r=fresh",
			"p=y offset:p=20 offset:r=10 wait=1s -> r=stale overdue= age:r=0s",
			"p=z r=y offset:p=30 offset:r=20 wait=1s -> r=stale overdue= age:r=0s",
			"p=x r=z offset:p=40 offset:r=30 wait=1s -> r=stale overdue= age:r=0s",
		}},
		{"hours behind, though it moves, by the replication offset", "l2 max_staleness=3s: p r<p", "", []string{
			"p=x cut=r -> r=fresh",
			"p=y offset:p=2000 offset:r=10 wait=1s -> r=stale overdue= age:r=0s",
			"p=z r=w offset:p=3000 offset:r=20 wait=1s -> r=stale overdue= age:r=2s",
			"p=x r=v offset:p=4000 offset:r=30 wait=1s -> r=stale overdue=r age:r=4s",
		}},

		// Windows and overdue.
		{"windows count the episodes that have lasted at least so long", "l2: a b c", "", []string{
			"a=x b=x c=y -> windows:c=1,0,0,0 windows:a=0,0,0,0",
			"wait=58s -> windows:c=1,0,0,0",
			"-> windows:c=1,1,0,0",
			"wait=4m -> windows:c=1,1,1,0",
			"wait=5m -> windows:c=1,1,1,1",
			"c=x -> windows:c=0,0,0,0",
		}},
		{"overdue when an episode has outlasted max_staleness", "l2 max_staleness=10s: a b c", "", []string{
			"a=x b=x c=y -> c=stale overdue=",
			"wait=8s -> c=stale overdue=",
			"wait=1s -> c=stale overdue=c",
			"c=x -> c=fresh overdue=",
		}},
		{"overdue at once where nothing is allowed", "l2: a b c", "", []string{
			"a=x b=x c=y -> c=stale overdue=c",
		}},
		{"not overdue at just max_staleness", "l2 max_staleness=1040ms: a b c", "", []string{
			"a=x b=x c=y -> overdue=",
			"-> c=stale overdue=", // 20 ms of the first sampling, 1 s, 20 ms of this one
			"-> c=stale overdue=c",
		}},
		{"a window counts what has lasted just so long", "l2: a b c", "", []string{
			"a=x b=x c=y -> windows:c=1,0,0,0 divergent=1,0,0,0",
			"wait=58960ms -> windows:c=1,1,0,0 divergent=1,1,0,0",
		}},
		{"each layer by its own max_staleness", "l1 max_staleness=1m: a; l2: b c d; l3 max_staleness=1h: e", versioned, []string{
			"a=x@1 b=x@1 c=y@2 d=y@2 e=x@1 -> a=stale b=stale e=stale overdue=b",
			"wait=1m -> overdue=a,b",
			"wait=1h -> overdue=a,b,e",
		}},
		{"each class by its own max_staleness", "l2 max_staleness=1m: a b c", "layers: [{name: l2, max_staleness: 1h}]", []string{
			"a=x b=x c=y wait=2m -> c=stale",
			"wait=2m -> c=stale overdue=",
		}},

		// Divergent keys: the present copies differ, for at least the window.
		{"divergent keys", "l2: a b", "", []string{
			"a=x b=x -> divergent=0,0,0,0",
			"b=y -> divergent=1,0,0,0",
			"wait=1m -> divergent=1,1,0,0",
			"b=- -> divergent=0,0,0,0",
			"b=y -> divergent=1,0,0,0",
		}},

		{"divergent while one of two can't be read", "l2: a b", "", []string{
			"a=x b=y -> divergent=1,0,0,0",
			"freeze=b wait=1m -> divergent=1,1,0,0",
			"thaw=b -> divergent=1,1,0,0",
			"b=x -> divergent=0,0,0,0",
		}},
		{"divergent until one is left", "l2: a b c", "", []string{
			"a=x b=x c=y -> divergent=1,0,0,0",
			"a=- -> divergent=1,0,0,0",
			"b=- -> divergent=0,0,0,0 c=stale",
		}},

		// Counted by what convicted it, as long as the episode lasts.
		{"convicted by what it was when the episode began", "l2: a b", versioned, []string{
			"a=x@2 b=y@1 -> convicted:b=version convicted:a=nobody",
			"a=- -> b=stale convicted:b=version",
		}},
		{"convicted by age, until refilled", "l2: a b c", ageing, []string{
			"a=x!1h b=x!1m c=x!1m -> a=stale convicted:a=age",
			"a=x!1s wait=59s -> a=fresh ended=1 lasted=1m0s",
		}},
		{"convicted by age, until refilled with another", "l2: a", ageing, []string{
			"a=x!1h -> a=stale convicted:a=age",
			"a=y!1s -> a=unverified ended=1",
		}},

		// A key's consistency: 0 any present copy stale or undecided, else 1 if any is fresh, else absent.
		{"a key's consistency", "l2: a b c", "", []string{
			"-> consistent=absent",
			"a=x -> consistent=absent",
			"b=x -> consistent=true",
			"c=y -> consistent=false",
			"b=- -> consistent=false",
			"freeze=c -> c=error consistent=absent",
		}},
		// Furthest behind the reference.
		{"version lag", "l2: a b c", versioned, []string{
			"a=x@9 b=y@7 c=z@4 -> lag:a=0 lag:b=2 lag:c=5",
		}},
		{"version lag in seconds", "l2: a b", `version: {json: "$.v", kind: timestamp_ms}, ignore: ["$.v"]`, []string{
			"a=x@-1s b=y@-91s -> lag:a=0 lag:b=90",
		}},
		{"version lag behind what is remembered", "l2: a b c", versioned, []string{
			"a=x@9 b=x@9 -> lag:a=0",
			"a=- b=- c=y@4 -> c=stale lag:c=5",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			inFakeTime(t, func(t *testing.T) { newWorld(t, c.nodes, c.class).play(c.steps...) })
		})
	}
}

// Of literal keys at most so many are told one by one.
func TestConsistencyIsToldOfSoManyKeys(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "l2: a b", "keys: [k, other]")
		w.opt.MaxKeySeries = 1
		w.reload()
		w.set("a", "other", "x")
		w.set("b", "other", "x")
		w.play("a=x b=x -> consistent=true")
		if got := len(w.last.Classes[0].KeyConsistent); got != 1 {
			t.Errorf("%d keys are told", got)
		}
	})
}

func TestAnEpisodeBeginsAtTheFirstOfTheTwoReads(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "l2: a b c")
		w.opt.RereadDelay = 3 * time.Second
		w.reload()
		w.play("a=x b=x c=y -> c=stale age:c=3s")
	})
}

func TestAnEpisodeIsObservedOnce(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "l1: d; l2: a b c")
		w.play("a=x b=x d=x c=y -> c=stale ended=0", "c=x wait=9s -> c=fresh ended=1")
		for _, l := range w.last.Classes[0].Layers {
			if got := len(l.EndedEpisodes); got != map[string]int{"l1": 0, "l2": 1}[l.Layer] {
				t.Errorf("layer %s has %d ended episodes", l.Layer, got)
			}
		}
		w.play("-> c=fresh ended=0", "-> ended=0")
	})
}

// An episode that ends because the key is no longer sampled or its node was forgotten is not observed.
func TestAnEpisodeOfAKeyThatIsNoLongerSampledIsNotObserved(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "l2: a b c", "keys: [k, other]")
		w.play("a=x b=x c=y -> ended=0", "wait=1m -> age:c=1m1s")
		w.configure("l2: a b c", "keys: [other]")
		w.play("-> ended=0 age:c=0s uncounted")
		w.configure("l2: a b c", "keys: [k, other]")
		w.play("-> c=stale age:c=0s ended=0")
	})
}

func TestAnEpisodeOfAForgottenNodeIsNotObserved(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		newWorld(t, "l2: a b c").play(
			"a=x b=x c=y -> c=stale",
			"leave=c -> ended=0",
			"wait=11m -> ended=0",
			"enter=c -> c=stale age:c=0s ended=0",
		)
	})
}

func TestAnEpisodeOfANodeThatIsBackBeforeItIsForgottenGoesOn(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		newWorld(t, "l2: a b c").play(
			"a=x b=x c=y -> c=stale",
			"leave=c -> ended=0",
			"wait=5m -> ended=0",
			"enter=c -> c=stale age:c=5m3s ended=0",
			"c=x -> c=fresh ended=1 lasted=5m4s",
		)
	})
}

// Two new nodes that agree end what is remembered, and with it the episode of the one that was alone with less first.
func TestNewNodesThatAgreeEndAnEpisode(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		newWorld(t, "l2: a b c d e", versioned).play(
			"a=x@9 b=x@9 -> a=fresh b=fresh",
			"a=- b=- c=y@1 -> c=stale ended=0",
			"-> c=stale ended=0",
			"d=y@1 e=y@1 -> c=fresh d=fresh e=fresh ended=1",
		)
	})
}

// Another node in a forgotten one's place inherits nothing.
func TestAnotherNodeInAForgottenNodesPlace(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "l2: a b c")
		w.play("a=x b=x c=y evicted:c=1 -> c=stale", "leave=c ->", "wait=11m ->", "->")
		w.configure("l2: a b d")
		w.play("evicted:d=5 -> d=missing suppressed:d= ended=0", "d=y -> d=stale age:d=0s ended=0")
	})
}

func TestEpisodesAreKeptOverAReload(t *testing.T) {
	for _, c := range []struct{ name, nodes, class string }{
		{"of the same configuration", "l2: a b c", ""},
		{"with a node more", "l2: 0 a b c", ""},
		{"with a layer more before it", "l1: 0; l2: a b c", ""},
		{"with a layer more, of which the class knows nothing", "l1: 0; l2: a b c", "layers: [l2]"},
		{"with another max_staleness", "l2 max_staleness=1h: a b c", ""},
		{"with a key more", "l2: a b c", "keys: [k, more]"},
		{"with an origin", "l2: a b c", asking},
	} {
		t.Run(c.name, func(t *testing.T) {
			inFakeTime(t, func(t *testing.T) {
				w := newWorld(t, "l2: a b c")
				w.play("a=x b=x c=y -> c=stale", "wait=1m -> age:c=1m1s")
				w.configure(c.nodes, c.class)
				w.play("-> c=stale age:c=1m2s ended=0", "c=x -> c=fresh ended=1 lasted=1m3s")
			})
		})
	}
}

func TestCountersAreKeptOverAReload(t *testing.T) {
	for _, c := range []struct{ name, class string }{
		{"of the same configuration", versioned + ", " + asking},
		{"that compares otherwise", `version: {json: "$.v"}, ignore: ["$.v", "$.w"], ` + asking},
	} {
		t.Run(c.name, func(t *testing.T) {
			inFakeTime(t, func(t *testing.T) {
				w := newWorld(t, "l2: a b", versioned+", "+asking)
				w.play("a=x@9 b=x@9 origin=x@9 -> requests=ok:1,not_found:0,error:0", "a=y@1 b=y@1 -> regressions=1")
				before := w.last.Classes[0]
				w.configure("l2: a b", c.class)
				w.play("origin=404 ->")
				after := w.last.Classes[0]
				if after.VersionRegressions < 1 || after.OriginRequests["ok"] != before.OriginRequests["ok"] || after.OriginRequests["not_found"] == 0 {
					t.Errorf("regressions %d, origin %v", after.VersionRegressions, after.OriginRequests)
				}
				for i := range after.Nodes {
					for s := range verdict.NumStates {
						if after.Nodes[i].Reads[s] < before.Nodes[i].Reads[s] {
							t.Errorf("%s on %s went from %d to %d", s, after.Nodes[i].Node, before.Nodes[i].Reads[s], after.Nodes[i].Reads[s])
						}
					}
				}
			})
		})
	}
}

// What was remembered of contents means nothing once they are read otherwise.
func TestContentsReadOtherwiseBeginAnew(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "l2: a b c", versioned)
		w.play("a=x@2 b=x@2 c=y@1 -> c=stale", "wait=1m -> age:c=1m1s")
		w.configure("l2: a b c", `version: {json: "$.v"}, ignore: ["$.v", "$.w"]`)
		w.play("-> c=stale age:c=0s ended=0")
	})
}

// What an origin held that is asked otherwise now vouches for nothing.
func TestAnOriginReadOtherwiseHasNotVouched(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "l2: a", ageing+", "+asking)
		w.play("a=x!1h origin=x -> a=fresh origin", "origin=? -> a=unverified")
		w.configure("l2: a", ageing+`, origin: {http: {url: "http://another.example/{key}"}}`)
		w.play("-> a=stale convicted:a=age")
	})
}

// Missing copies with a known cause, for at most the layer's TTL: the first of loading, restart, eviction that holds.
func TestSuppressedCopies(t *testing.T) {
	for _, c := range []struct {
		name, nodes string
		steps       []string
	}{
		{"no cause", "l2: a b", []string{"a=x b=x ->", "b=- -> b=missing suppressed:b="}},
		{"loading", "l2: a b", []string{"a=x b=x ->", "b=- loading:b=true -> b=missing suppressed:b=loading", "loading:b=false -> suppressed:b="}},
		{"restart", "l2: a b", []string{"a=x b=x uptime:b=100 ->", "b=- uptime:b=1 -> b=missing suppressed:b=restart", "uptime:b=2 -> suppressed:b=restart"}},
		{"restart before it was there", "l2: a b", []string{"uptime:b=100 ->", "a=x b=x uptime:b=1 ->", "b=- uptime:b=2 -> suppressed:b="}},
		{"restart while the node could not be asked", "l2: a b", []string{
			"a=x b=x uptime:b=100 ->", "freeze=b ->", "thaw=b b=- uptime:b=1 -> b=missing suppressed:b=restart",
		}},
		{"eviction", "l2: a b", []string{"a=x b=x evicted:b=5 ->", "b=- evicted:b=6 -> b=missing suppressed:b=eviction", "-> suppressed:b=eviction"}},
		{"evictions before it was there", "l2: a b", []string{"evicted:b=5 ->", "a=x b=x evicted:b=6 ->", "b=- -> suppressed:b="}},
		{"loading before restart before eviction", "l2: a b", []string{
			"a=x b=x uptime:b=100 evicted:b=0 ->", "b=- uptime:b=1 evicted:b=5 loading:b=true -> suppressed:b=loading",
			"loading:b=false -> suppressed:b=restart",
		}},
		{"a key never seen there", "l2: a b", []string{"a=x uptime:b=100 evicted:b=1 ->", "uptime:b=1 evicted:b=2 loading:b=true -> b=missing suppressed:b="}},
		{"another node's cause", "l2: a b", []string{"a=x b=x evicted:a=1 ->", "b=- evicted:a=2 -> b=missing suppressed:b="}},
		{"for at most the TTL", "l2 ttl=10m: a b", []string{
			"a=x b=x evicted:b=5 ->", "b=- evicted:b=6 wait=9m -> suppressed:b=eviction", "wait=2m -> b=missing suppressed:b=",
		}},
		{"for ever without a TTL", "l2 ttl=none: a b", []string{"a=x b=x evicted:b=5 ->", "b=- evicted:b=6 wait=100h -> suppressed:b=eviction"}},
		{"since it was there last", "l2: a b", []string{
			"a=x b=x evicted:b=5 ->", "b=- evicted:b=6 -> suppressed:b=eviction", "b=x -> b=fresh suppressed:b=", "b=- -> b=missing suppressed:b=",
		}},
		{"a copy that is there", "l2: a b", []string{"a=x b=x evicted:b=5 ->", "evicted:b=6 loading:b=true -> b=fresh suppressed:b="}},
		{"a copy that can't be read", "l2: a b", []string{"a=x b=x evicted:b=5 ->", "freeze=b -> b=error suppressed:b="}},
	} {
		t.Run(c.name, func(t *testing.T) {
			inFakeTime(t, func(t *testing.T) { newWorld(t, c.nodes).play(c.steps...) })
		})
	}
}

// Absent, zero, unknown.
func TestWhereNothingWasReadNothingIsKnown(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "l2: a b c")
		w.play(
			"-> a=missing read:a=true read:b=true", // a missing copy was read
			"a=x b=x c=y -> c=stale read:c=true",
			"freeze=c wait=1m -> c=error read:c=false windows:c=0,0,0,0 overdue= convicted:c=nobody",
			"thaw=c c=? -> c=error read:c=false",
			"c=x -> c=fresh read:c=true",
		)
	})
}

func TestWhereOneCopyWasReadTheNodeWas(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "l2: a b", "keys: [k, other]")
		w.set("a", "other", "?")
		w.play("a=x b=x -> read:a=true")
		a := w.last.Classes[0].Nodes[0]
		if a.Copies[verdict.Error] != 1 || a.Copies[verdict.Fresh] != 1 {
			t.Errorf("copies %v", a.Copies)
		}
	})
}

// Counters are created at 0 as soon as their labels are known, and count every copy of every sampling.
func TestReadsAreCounted(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "l2 max_staleness=1m: a b c", asking)
		w.play("-> requests=ok:0,not_found:0,error:0", "a=x b=x c=y -> c=stale", "wait=2m -> c=stale overdue=c", "freeze=c -> c=error", "thaw=c c=x -> c=fresh")
		i := slices.IndexFunc(w.last.Classes[0].Nodes, func(n ClassNode) bool { return n.Node == "c" })
		c := w.last.Classes[0].Nodes[i]
		want := [verdict.NumStates]uint64{}
		want[verdict.Missing], want[verdict.Stale], want[verdict.Error], want[verdict.Fresh] = 1, 2, 1, 1
		if c.Reads != want || c.OverdueReads != 1 {
			t.Errorf("reads %v, not %v; overdue %d", c.Reads, want, c.OverdueReads)
		}
	})
}
