package verdict

import "testing"

// Each rule can be left out, and then another verdict is given.
func TestWithoutARule(t *testing.T) {
	seen := Rule(0)
	for _, c := range []struct {
		name, key     string
		rule          Rule
		with, without string
	}{
		{
			"spread", "a=x@5^y@6 b=y@6^y@6 c=x@5^x@5 d=x@5^y@6 known=x,y", Spread,
			"stale fresh stale stale / version fell", "undecided undecided undecided undecided / majority fell regressed",
		},
		{
			"late writes", "a=x@5^y@6 b=y@6^y@6 c=y@6^y@6 known=x,y", LateWrites,
			"stale fresh fresh / version fell", "stale fresh fresh / majority fell regressed",
		},
		{
			"regression", "a=x@5^y@6 b=x@5^y@6 c=y@6^y@6 known=y", Regression,
			"fresh fresh stale / majority fell regressed", "stale stale fresh / version fell",
		},
		{
			"an origin behind", "a=x@3 b=y@2 origin=y@2", OriginBehindEnds,
			"stale fresh / origin", "fresh undecided / version behind",
		},
		{"404 within max_lag", "a=x@9~1s origin=404 lag=30s", RecentlyDeleted, "undecided / origin", "fresh / origin"},
		{"stillness", "a=x b=y>z c=y>z", Still, "undecided fresh fresh / majority", "stale fresh fresh / majority"},
		{"newcomer", "a=x b=x c=y known=x", Newcomer, "undecided undecided undecided / majority", "fresh fresh stale / majority"},
		{"unread votes", "a=x b=x c=? d=? e=y", UnreadVotes, "undecided undecided error error undecided / none", "fresh fresh error error stale / majority"},
		{
			"lax majority", "edge/300s: a=x l1/60s: b=x l2: c=y", LaxMajority,
			"undecided undecided undecided / majority", "fresh fresh undecided / majority",
		},
		{"remembered", "a=x@3 remembered=y@5", Remembered, "stale / version", "unverified / version"},
		{
			"new nodes", "a=x@1^new b=x@1^new remembered=y@6", NewNodes,
			"fresh fresh / version forget", "stale stale / version",
		},
		{"future versions", "a=x@5 b=y@+", FutureVersion, "undecided undecided / version", "fresh undecided / version"},
	} {
		t.Run(c.name, func(t *testing.T) {
			seen |= c.rule
			s := parseSituation(t, c.key)
			for without, want := range map[Rule]string{0: c.with, c.rule: c.without} {
				j := Judge{Without: without}
				if got := s.describe(j.Decide(&s.Case), want); got != want {
					t.Errorf("%s, without %b\n  gives %s\n  not   %s", c.key, without, got, want)
				}
			}
		})
	}
	if all := FutureVersion<<1 - 1; seen != all {
		t.Errorf("rules %b are never left out", all&^seen)
	}
}
