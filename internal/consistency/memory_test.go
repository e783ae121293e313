package consistency

import "testing"

// What is remembered between samplings.
func TestMemories(t *testing.T) {
	for _, c := range []struct {
		name, nodes, class string
		steps              []string
	}{
		// Confirmed: held by two votes or the origin.
		{"confirmed by two votes", "l2: a b c", versioned, []string{
			"a=x@2 b=x@2 -> a=fresh b=fresh c=missing version",
			"a=- b=- c=y@1 -> c=stale convicted:c=version version",
		}},
		{"not confirmed by one", "l2: a b", versioned, []string{
			"a=x@2 -> a=unverified",
			"a=- b=y@1 -> b=unverified version",
		}},
		{"not confirmed by a replication group alone", "l2: p r<p b", versioned, []string{
			"p=x@2 -> p=unverified r=fresh",
			"p=- b=y@1 -> p=missing b=unverified version",
		}},
		{"not confirmed by two contents of one version", "l2: a b c", versioned, []string{
			"a=x@2 b=y@2 -> a=undecided b=undecided conflicts=1",
			"a=- b=- c=z@1 -> c=unverified version",
		}},
		{"not confirmed by a vote and one that is too old", "l2: a b c", versioned + ", " + ageing, []string{
			"a=x@2!1h b=x@2 -> a=stale b=unverified",
			"a=- b=- c=y@1 -> c=unverified version",
		}},
		{"not confirmed by two replicas of a primary that can't be read", "l2: p r<p s<p b", versioned, []string{
			"p=w@1 -> r=fresh",
			"freeze=p cut=r cut=s r=x@2 s=x@2 -> p=error r=unverified s=unverified",
			"r=- s=- b=y@1 -> b=unverified version",
		}},
		{"confirmed by the origin", "l2: a b", versioned + ", " + asking, []string{
			"a=x@2 origin=x@2 -> a=fresh origin",
			"a=- b=y@1 origin=? -> b=stale convicted:b=version version",
		}},
		{"confirmed by the origin, though it is behind", "l2: a b", versioned + ", " + asking, []string{
			"a=x@3 origin=w@2 -> a=fresh behind=1 version",
			"a=- b=y@1 origin=? -> b=stale convicted:b=version version",
		}},
		{"confirmed by two votes that end a regression", "l2: a b c", versioned, []string{
			"a=x@9 b=x@9 -> a=fresh",
			"a=y@3 b=y@3 -> a=fresh b=fresh majority regressions=1",
			"a=- b=- c=z@2 -> c=stale convicted:c=version version",
		}},
		{"confirmed by the origin, though no copy has it yet", "l2: a b", versioned + ", " + asking, []string{
			"a=w@1 origin=x@3 -> a=stale origin",
			"a=- b=y@2 origin=? -> b=stale convicted:b=version version",
		}},

		// Remembered for the layer's TTL since last seen.
		{"remembered for the TTL", "l2 ttl=10m: a b c", versioned, []string{
			"a=x@2 b=x@2 -> a=fresh",
			"a=- b=- c=y@1 wait=9m -> c=stale",
		}},
		{"remembered for no longer than the TTL", "l2 ttl=10m: a b c", versioned, []string{
			"a=x@2 b=x@2 -> a=fresh",
			"a=- b=- c=y@1 wait=10m -> c=unverified",
		}},
		{"remembered for the longest TTL of the layers", "l1 ttl=10m: a b; l2 ttl=1h: c", versioned, []string{
			"a=x@2 b=x@2 -> a=fresh",
			"a=- b=- c=y@1 wait=59m -> c=stale",
			"wait=2m -> c=stale",
			"c=z@1 -> c=unverified",
		}},
		{"remembered since last seen", "l2 ttl=10m: a b c", versioned, []string{
			"a=x@2 b=x@2 -> a=fresh",
			"a=- wait=9m -> b=unverified",
			"b=- c=y@1 wait=9m -> c=stale",
		}},
		{"another is remembered when the TTL is over", "l2 ttl=10m: a b c d e", versioned, []string{
			"a=x@5 b=x@5 -> a=fresh",
			"a=- b=- c=y@3 d=y@3 wait=11m -> c=fresh d=fresh",
			"c=- d=- e=z@1 -> e=stale convicted:e=version",
		}},
		{"remembered for ever where there is no TTL", "l2 ttl=none: a b c", versioned, []string{
			"a=x@2 b=x@2 -> a=fresh",
			"a=- b=- c=y@1 wait=1000h -> c=stale",
		}},
		{"remembered though the key is missing on all that can be read", "l2: a b c", versioned, []string{
			"a=x@2 b=x@2 -> a=fresh",
			"a=- b=- freeze=c -> a=missing b=missing c=error uncounted",
			"thaw=c c=y@1 -> c=stale convicted:c=version",
		}},
		{"remembered though one copy can't be read", "l2: a b c", versioned, []string{
			"a=x@2 b=x@2 c=? -> a=fresh c=error",
			"a=- b=- -> a=missing c=error",
			"c=y@1 -> c=stale",
		}},
		{"forgotten when every node was read and none holds the key", "l2: a b c", versioned, []string{
			"a=x@2 b=x@2 -> a=fresh c=missing",
			"a=- b=- -> a=missing b=missing c=missing uncounted",
			"c=y@1 -> c=unverified version regressions=0",
			"a=y@1 -> a=fresh c=fresh version regressions=0",
		}},
		{"forgotten in a regression", "l2: a b c", versioned, []string{
			"a=x@9 b=x@9 -> a=fresh b=fresh",
			"a=y@1 b=y@1 -> a=fresh b=fresh majority regressions=1",
			"a=- b=- c=z@5 -> c=unverified version regressions=1",
		}},

		// Two votes alike on nodes without a past end it. Nodes that left their source do not keep it alive.
		{"new nodes beside old ones that can't be read", "l2: a b c d", versioned, []string{
			"a=x@9 b=x@9 -> a=fresh",
			"freeze=a freeze=b c=y@1 d=y@1 -> c=stale d=stale version",
		}},
		{"new nodes beside old ones that can't be read and have left", "l2: a b c d", versioned, []string{
			"a=x@9 b=x@9 -> a=fresh",
			"freeze=a freeze=b left:a=true left:b=true c=y@1 d=y@1 -> c=fresh d=fresh version",
		}},
		{"new nodes beside one that lost it just now", "l2: a b c d", versioned, []string{
			"a=x@9 b=x@9 -> a=fresh",
			"a=- -> b=unverified",
			"b=- c=y@1 d=y@1 -> c=stale d=stale version",
		}},

		// Regression: a version went down on its own node and the highest did not rise. Counted once.
		{"regression, then all agree", "l2: a b", versioned, []string{
			"a=x@9 b=x@9 -> regressions=0",
			"a=y@1 -> a=undecided b=undecided none regressions=1",
			"-> a=undecided b=undecided none regressions=1",
			"b=y@1 -> a=fresh b=fresh regressions=1",
			"-> a=fresh b=fresh version regressions=1",
			"a=z@2 -> a=fresh b=stale version regressions=1",
		}},
		{"regression, then a version higher than any before", "l2: a b", versioned, []string{
			"a=x@9 b=x@9 -> regressions=0",
			"a=y@1 -> a=undecided b=undecided none regressions=1",
			"a=z@9 -> a=undecided b=undecided none",
			"a=z@10 -> a=fresh b=stale version regressions=1",
		}},
		{"regression, one against a majority", "l2: a b c", versioned, []string{
			"a=x@9 b=x@9 c=x@9 -> regressions=0",
			"a=y@1 b=y@1 -> a=fresh b=fresh c=stale convicted:c=majority majority regressions=1",
		}},
		{"regression: one copy alone does not agree with anyone", "l2: a b c", versioned, []string{
			"a=x@9 b=x@9 -> regressions=0",
			"a=y@1 -> none regressions=1",
			"b=- -> a=unverified none",
			"c=z@3 -> a=undecided c=undecided none regressions=1",
		}},
		{"regression: a replication group alone does not agree with anyone", "l2: p r<p b", versioned, []string{
			"p=x@9 b=x@9 -> regressions=0",
			"p=y@1 -> p=undecided r=undecided b=undecided regressions=1",
			"b=- -> p=unverified r=fresh primary",
			"b=z@3 -> p=undecided r=undecided b=undecided none regressions=1",
		}},
		{"regression: a version higher than any before, and the others are below it", "l2: a b c", versioned, []string{
			"a=x@9 b=x@9 c=x@9 ->",
			"a=y@1 b=y@1 -> a=fresh b=fresh c=stale convicted:c=majority majority regressions=1",
			"b=z@10 -> a=stale b=fresh c=stale convicted:a=version version",
		}},
		{"regression: counted once a key and sampling, and no more until it is over", "l2: a b c", versioned, []string{
			"a=x@9 b=x@9 c=x@9 ->",
			"a=y@2 b=z@2 -> a=undecided b=undecided c=undecided none regressions=1",
			"a=w@1 b=v@1 -> none regressions=1",
			"a=v@1 c=v@1 -> a=fresh b=fresh c=fresh majority regressions=1",
			"a=u@2 -> a=fresh b=stale c=stale version regressions=1",
		}},
		{"regression: a replica that differs does not agree", "l2: p r<p b", versioned, []string{
			"p=x@9 b=x@9 ->",
			"cut=r p=y@1 -> p=undecided b=undecided r=stale convicted:r=primary regressions=1",
			"b=y@1 -> p=fresh b=fresh r=stale majority",
			"r=y@1 -> p=fresh r=fresh majority",
			"-> version",
		}},
		{"back to the sixth content before: a late write", "l2: a b", versioned, []string{
			"a=s@1 b=s@1 ->", "a=t@2 b=t@2 ->", "a=u@3 b=u@3 ->", "a=v@4 b=v@4 ->", "a=w@5 b=w@5 ->", "a=x@6 b=x@6 ->",
			"a=s@1 -> a=stale b=fresh version regressions=1",
		}},
		{"back to the seventh content before: a regression", "l2: a b", versioned, []string{
			"a=s@1 b=s@1 ->", "a=t@2 b=t@2 ->", "a=u@3 b=u@3 ->", "a=v@4 b=v@4 ->", "a=w@5 b=w@5 ->", "a=x@6 b=x@6 ->", "a=y@7 b=y@7 ->",
			"a=s@1 -> a=undecided b=undecided none regressions=1",
		}},
		{"spread to all, and deleted everywhere then", "l1: a b; l2: c", versioned, []string{
			"a=x@5 b=x@5 c=x@5 ->",
			"a=y@6 b=y@6 -> c=stale",
			"a=x@5 -> a=stale b=fresh c=stale version regressions=1",
			"b=x@5 -> a=stale b=stale c=stale version regressions=2",
			"a=- b=- c=- -> ended=3",
			"a=w@1 -> a=unverified regressions=2",
		}},
		{"no regression where the highest rose", "l2: a b", versioned, []string{
			"a=x@5 b=x@5 -> regressions=0",
			"a=y@4 b=z@6 -> a=stale b=fresh version regressions=0",
		}},
		{"regression where the highest stayed as it was", "l2: a b", versioned, []string{
			"a=x@5 b=x@5 -> regressions=0",
			"a=y@4 -> a=undecided b=undecided none regressions=1",
		}},
		{"regression of a version last seen before the copy was missing", "l2: a b", versioned, []string{
			"a=x@9 b=x@9 -> regressions=0",
			"a=- -> b=unverified",
			"-> b=unverified",
			"a=y@1 -> a=undecided b=undecided none regressions=1",
		}},
		{"no regression where another node has a lower one", "l2: a b", versioned, []string{
			"a=x@9 -> a=unverified",
			"b=y@1 -> a=fresh b=stale version regressions=0",
		}},
		{"no regression where a version can't be read any more", "l2: a b", versioned, []string{
			"a=x@9 b=x@9 -> regressions=0",
			"a=y -> a=undecided b=fresh version regressions=0",
		}},
		{"a replica that is judged by its primary regresses with it, once", "l2: p r<p b", versioned, []string{
			"p=x@9 b=x@9 -> regressions=0",
			"p=y@1 b=y@1 -> p=fresh r=fresh b=fresh regressions=1",
		}},
		{"two regressions", "l2: a b", versioned, []string{
			"a=x@9 b=x@9 -> regressions=0",
			"a=y@5 b=y@5 -> a=fresh b=fresh regressions=1",
			"-> version regressions=1",
			"a=z@1 b=z@1 -> a=fresh b=fresh regressions=2",
		}},
		{"in a regression the origin is used as if there were no versions", "l2: a b", versioned + ", " + asking, []string{
			"a=x@9 b=x@9 origin=x@9 -> a=fresh b=fresh origin",
			"a=y@1 origin=y@1 -> a=fresh b=stale convicted:b=origin origin behind=0 regressions=1",
		}},
		{"in a regression the origin has its max_lag", "l2: a b", versioned + `, origin: {http: {url: "http://o/{key}"}, max_lag: 30s}`, []string{
			"a=x@9 b=x@9 origin=x@9 -> a=fresh b=fresh origin",
			"a=y@1 origin=y@1 -> a=fresh b=undecided origin regressions=1 behind=0",
			"wait=30s -> a=fresh b=stale convicted:b=origin origin",
			"b=y@1 -> a=fresh b=fresh origin ended=1",
			"origin=? -> a=fresh b=fresh version",
		}},
		{"a restore that the origin shows first, then one copy after the other", "l2: a b c", versioned + ", " + asking, []string{
			"a=x@9 b=x@9 c=x@9 origin=x@9 -> a=fresh origin",
			"origin=y@5 -> a=fresh b=fresh c=fresh version behind=1",
			"wait=1m -> a=stale b=stale c=stale origin behind=0",
			"a=y@5 -> a=fresh b=stale c=stale origin regressions=1 ended=1",
			"b=y@5 -> a=fresh b=fresh c=stale origin ended=1",
			"c=y@5 -> c=fresh origin",
		}},
		{"a class without versions has no regressions", "l2: a b", `ignore: ["$.v"]`, []string{
			"a=x@9 b=x@9 -> majority regressions=0",
			"a=x@1 b=x@1 -> a=fresh b=fresh majority regressions=0",
		}},

		// A timestamp more than max_clock_skew (5s) ahead of our clock is none.
		{"a timestamp within max_clock_skew", "l2: a b", `version: {json: "$.v", kind: timestamp_ms}, ignore: ["$.v"]`, []string{
			"a=x@-1m b=y@+5s -> a=stale b=fresh version",
		}},
		{"a timestamp too far in the future convicts nobody", "l2: a b c", `version: {json: "$.v", kind: timestamp_ms}, ignore: ["$.v"]`, []string{
			"a=x@-1m b=y@+1h -> a=undecided b=undecided version",
			"c=x@-1m -> a=fresh b=stale c=fresh version convicted:b=majority",
		}},
		{"a timestamp just too far in the future, until our clock comes near", "l2: a b", `version: {json: "$.v", kind: timestamp_ms}, ignore: ["$.v"]`, []string{
			"a=x@-1m b=y@+7s -> a=undecided b=undecided version",
			"wait=1s -> a=stale b=fresh version",
		}},
		{"a timestamp too far in the future is not remembered", "l2: a b c", `version: {json: "$.v", kind: timestamp_ms}, ignore: ["$.v"]`, []string{
			"a=y@+1h b=y@+1h -> a=fresh b=fresh majority",
			"a=- b=- c=x@-1m -> c=unverified version",
		}},
		{"max_clock_skew as configured", "l2: a b", `version: {json: "$.v", kind: timestamp_ms, max_clock_skew: 1m}, ignore: ["$.v"]`, []string{
			"a=x@-1m b=y@+63s -> a=undecided b=undecided version",
			"wait=1s -> a=stale b=fresh version",
		}},
		{"max_clock_skew holds for the origin too", "l2: a b", `version: {json: "$.v", kind: timestamp_ms}, ignore: ["$.v"], ` +
			`origin: {http: {url: "http://o/{key}"}, max_lag: 30s}`, []string{
			"a=x@-1m b=x@-1m origin=y@+1h -> a=fresh b=fresh origin",
		}},

		// The origin convicts only content that the copy has held for max_lag.
		{"max_lag", "l2: a b", `origin: {http: {url: "http://o/{key}"}, max_lag: 30s}`, []string{
			"a=x b=y origin=x -> a=fresh b=undecided origin",
			"wait=27s -> b=undecided origin",
			"wait=2s -> b=stale convicted:b=origin origin",
		}},
		{"max_lag begins anew with another content", "l2: a b", `origin: {http: {url: "http://o/{key}"}, max_lag: 30s}`, []string{
			"a=x b=y origin=x -> b=undecided",
			"b=z wait=20s -> b=undecided",
			"wait=20s -> b=undecided",
			"wait=10s -> b=stale",
		}},
		{"max_lag begins anew with a copy that was missing", "l2: a b", `origin: {http: {url: "http://o/{key}"}, max_lag: 30s}`, []string{
			"a=x b=y origin=x -> b=undecided",
			"b=- -> b=missing",
			"b=y wait=29s -> b=undecided",
			"wait=30s -> b=stale",
		}},
		{"max_lag runs from when the content was seen, not the origin's answer", "l2: a b", `origin: {http: {url: "http://o/{key}"}, max_lag: 30s}`, []string{
			"a=x b=x origin=x -> a=fresh b=fresh",
			"origin=y wait=1m -> a=stale b=stale origin",
		}},
		{"max_lag, 404", "l2: a b", `origin: {http: {url: "http://o/{key}"}, max_lag: 30s}`, []string{
			"a=x b=x origin=404 -> a=fresh b=fresh origin",
			"wait=30s -> a=stale b=stale origin",
		}},

		// verdict.Stale by max_age, unless the origin held the same content when last asked, at most max_age ago.
		{"vouched for by the origin", "l2: a", ageing + ", " + asking, []string{
			"a=x!1h origin=x -> a=fresh origin",
			"origin=? -> a=unverified none",
			"wait=9m -> a=unverified",
			"wait=2m -> a=stale convicted:a=age none",
		}},
		{"the origin held another when last asked", "l2: a b", ageing + ", " + asking, []string{
			"a=x!1h b=x origin=x -> a=fresh b=fresh origin",
			"origin=y -> a=stale b=stale origin",
			"origin=? a=- -> b=stale",
			"a=x!1h -> a=stale convicted:a=age",
		}},
		{"the origin had deleted it when last asked", "l2: a b", ageing + ", " + asking, []string{
			"a=x!1h b=- origin=x -> a=fresh",
			"origin=404 -> a=stale origin",
			"origin=? b=x!1h a=- -> b=stale convicted:b=age",
		}},
		{"a cached_at that can't be read convicts nothing", "l2: a b", ageing, []string{
			"a=x b=x -> a=fresh b=fresh majority",
		}},
		{"just max_age old, and older", "l2: a b", ageing, []string{
			"a=x!599s b=x!5m -> a=fresh b=fresh",
			"-> a=stale convicted:a=age b=unverified none",
		}},
		{"when a copy was made is no part of its content", "l2: a b", ageing, []string{
			"a=x!1m b=x!2m -> a=fresh b=fresh majority",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			inFakeTime(t, func(t *testing.T) { newWorld(t, c.nodes, c.class).play(c.steps...) })
		})
	}
}
