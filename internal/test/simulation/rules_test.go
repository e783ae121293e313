package simulation

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/cacheinv/cacheinv_exporter/internal/verdict"
)

// rule of the verdict that can be switched off.
type rule struct {
	name string
	off  verdict.Rule
	// plan in which its absence is felt, in an ordinary run too.
	plan string
}

var rules = []rule{
	{"spread", verdict.Spread, "l2-missed-pushed"},
	{"late writes", verdict.LateWrites, "late-writes-pair"},
	{"regression", verdict.Regression, "missed-delete"},
	{"origin behind ends", verdict.OriginBehindEnds, "restore"},
	{"recently deleted", verdict.RecentlyDeleted, "missed-delete-origin"},
	{"what convicts stood still", verdict.Still, "bursts"},
	{"newcomer", verdict.Newcomer, "missed-everywhere"},
	{"unread votes", verdict.UnreadVotes, "partition"},
	{"lax majority", verdict.LaxMajority, "lax-missed"},
	{"remembered", verdict.Remembered, "l2-missed-pushed"},
	{"new nodes", verdict.NewNodes, "restore-anew"},
	{"future version", verdict.FutureVersion, "clocks-missed"},
}

// cost of a rule's absence: what came of the plans with and without it, and where it was felt most.
type cost struct {
	rule          rule
	with, without outcome
	worst         string
	felt          int
}

// add what came of a plan with the rule and without it.
func (c *cost) add(with, without *outcome) {
	c.with.add(with)
	c.without.add(without)
	if worse := without.worseThan(with); worse > c.felt {
		c.felt, c.worst = worse, with.plan.name
	}
}

func (o *outcome) add(p *outcome) {
	o.compared += p.compared
	o.convicted += p.convicted
	o.early += p.early
	o.disputed += p.disputed
	o.missed += p.missed
	o.incidents += p.incidents
	o.told += p.told
	o.named += p.named
	o.silent += p.silent
}

// worseThan says by how much: only what got worse counts.
func (o *outcome) worseThan(p *outcome) int {
	worse := max(0, o.convicted-p.convicted) + max(0, o.missed-p.missed) + max(0, p.told-o.told) + max(0, p.named-o.named) + max(0, o.silent-p.silent)
	if p.plan.wanted.calm() {
		worse += max(0, o.early-p.early) + max(0, o.disputed-p.disputed)
	}
	return worse
}

// ruleTable of what each rule's absence costs.
func ruleTable(costs []cost) string {
	var b strings.Builder
	b.WriteString("| without | right, but stale | wrong, but fresh | told | named | silent | most felt in |\n|---|---|---|---|---|---|---|\n")
	for i := range costs {
		c := &costs[i]
		change := func(with, without int) string {
			if with == without {
				return fmt.Sprint(with)
			}
			return fmt.Sprintf("%d → %d", with, without)
		}
		worst := c.worst
		if worst == "" {
			worst = "none"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s |\n", c.rule.name, change(c.with.convicted, c.without.convicted), change(c.with.missed, c.without.missed),
			change(c.with.told, c.without.told), change(c.with.named, c.without.named), change(c.with.silent, c.without.silent), worst)
	}
	return b.String()
}

// TestRules plays plans without each of the rules: in an ordinary run the one in which its absence is felt, in a soak all.
func TestRules(t *testing.T) {
	var mu sync.Mutex
	costs := make([]cost, len(rules))
	t.Run("plays", func(t *testing.T) {
		for _, p := range plans {
			var off []int // indices of the rules that the plan is played without
			for i, r := range rules {
				costs[i].rule = r
				if soak || r.plan == p.name {
					off = append(off, i)
				}
			}
			if len(off) == 0 {
				continue
			}
			t.Run(p.name, func(t *testing.T) {
				t.Parallel()
				with := play(t, p, 0, ruleSize())
				for _, i := range off {
					without := play(t, p, rules[i].off, ruleSize())
					mu.Lock()
					costs[i].add(with, without)
					mu.Unlock()
				}
			})
		}
	})
	for i := range costs {
		if costs[i].felt == 0 {
			t.Errorf("without the rule %s nothing is worse", costs[i].rule.name)
		}
	}
	t.Log("\n" + ruleTable(costs))
	if *update && soak {
		writePage(t, "rules", ruleTable(costs))
	}
}
