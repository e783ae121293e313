package simulation

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/cacheinv/cacheinv_exporter/internal/consistency"
	"github.com/cacheinv/cacheinv_exporter/internal/verdict"
)

// check that the outcome is within what its plan wants.
func (o *outcome) check(t *testing.T) {
	t.Helper()
	want := o.plan.wanted
	share := func(n, of int) float64 { return float64(n) / float64(max(1, of)) }
	if got := share(o.convicted, o.compared); got > want.convicted {
		t.Errorf("%d of %d copies were right and called stale", o.convicted, o.compared)
	}
	if got := share(o.silent, o.incidents); got > want.silent {
		t.Errorf("%d of %d incidents were silent", o.silent, o.incidents)
	}
	if got := share(o.told, o.incidents); o.incidents > 0 && got < want.told {
		t.Errorf("%d of %d incidents were told", o.told, o.incidents)
	}
	if want.calm() && o.incidents > 0 {
		t.Errorf("%d incidents, where only what the design allows should happen", o.incidents)
	}
	if want.healthy && o.early+o.disputed > 0 {
		t.Errorf("of a healthy shop %d copies were stale, and %d keys divergent", o.early, o.disputed)
	}
}

// table of outcomes.
func table(outcomes []*outcome) string {
	var b strings.Builder
	b.WriteString("| plan | what happens | copies compared | right, but stale | wrong, but fresh | incidents | told | named | silent | survivors that are right | stale within what is allowed | keys divergent without an incident |\n" +
		"|---|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, o := range outcomes {
		fmt.Fprintf(&b, "| %s | %s | %d | %d | %d | %d | %d | %d | %d | %d | %d | %d |\n", o.plan.name, o.plan.what, o.compared, o.convicted,
			o.missed, o.incidents, o.told, o.named, o.silent, o.alarms, o.early, o.disputed)
	}
	return b.String()
}

// page with the tables; each part of it is between two comments.
const page = "../../../docs/verdict.md"

// writePage puts a table in its place.
func writePage(t *testing.T, part, text string) {
	t.Helper()
	from := "<!-- " + part + ": CACHEINV_SOAK=1 go test -timeout 60m ./internal/test/simulation -update -->\n"
	to := "<!-- end of " + part + " -->\n"
	old, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, begins := strings.Cut(string(old), from)
	_, after, ends := strings.Cut(rest, to)
	if !begins || !ends {
		t.Fatalf("%s has no part %s", page, part)
	}
	if err := os.WriteFile(page, []byte(before+from+text+to+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestPage: the page has a row for each plan, which says what happens in it, and one for each rule.
func TestPage(t *testing.T) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range plans {
		if !strings.Contains(string(text), fmt.Sprintf("\n| %s | %s |", p.name, p.what)) {
			t.Errorf("the page does not say what came of %s", p.name)
		}
	}
	for _, r := range rules {
		if !strings.Contains(string(text), fmt.Sprintf("\n| %s | ", r.name)) {
			t.Errorf("the page does not say what it costs to do without the rule %s", r.name)
		}
	}
}

// explain what was known of a key when a copy of it was called stale that was right.
func (o *observer) explain(c *consistency.ClassResult, convicted *node) {
	show := func(v *value) string {
		if v == nil {
			return "nothing"
		}
		return string(v.body)
	}
	fmt.Printf("%s at %s: %s on %s is right, and stale\n", o.plan.name, o.w.clock.Format("15:04:05.000"), c.Class, convicted.name)
	past := o.w.byKey[c.Class].past
	for _, p := range past[max(0, len(past)-4):] {
		fmt.Printf("  since %s the database has %s\n", p.since.Format("15:04:05.000"), show(p.value))
	}
	for _, n := range o.w.answering() {
		fmt.Printf("  %s: %s, then %s", n.name, show(n.seen[0][c.Class].value), show(n.lastSight(c.Class).value))
		for i := range c.Nodes {
			for state, copies := range c.Nodes[i].Copies {
				if c.Nodes[i].Node == n.name && copies > 0 {
					fmt.Printf(": %s for %s", verdict.State(state), c.Nodes[i].OldestStale)
				}
			}
		}
		fmt.Println()
	}
}
