package detection

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// detection is the page with what was seen; each part of it is between two comments.
const detection = "../../../docs/detection.md"

func marks(part string) (from, to string) {
	return "<!-- " + part + ": CACHEINV_SOAK=1 go test ./internal/test/detection -update -->\n", "<!-- end of " + part + " -->\n"
}

// writeDetection puts a part of the page in its place, if that is asked for.
func writeDetection(t *testing.T, part, text string) {
	t.Helper()
	if !*update {
		return
	}
	page, err := os.ReadFile(detection)
	if err != nil {
		t.Fatal(err)
	}
	from, to := marks(part)
	before, rest, begins := strings.Cut(string(page), from)
	_, after, ends := strings.Cut(rest, to)
	if !begins || !ends {
		t.Fatalf("%s has no part %s", detection, part)
	}
	if err := os.WriteFile(detection, []byte(before+from+text+to+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

// table of what was played, in the order of the list; what was not played has the row that it had.
func table(played []*outcome, before map[string]string) string {
	var b strings.Builder
	b.WriteString("| scenario | what happens | page: first, *then* | cause | pages | scrapes until seen | `for` | until it fires | to the page | tickets |\n" +
		"|---|---|---|---|---|---|---|---|---|---|\n")
	for _, sc := range scenarios {
		i := slices.IndexFunc(played, func(o *outcome) bool { return o.name == sc.name })
		if i < 0 {
			b.WriteString(before[sc.name])
			continue
		}
		o := played[i]
		told, cause, seen := "none", "none", "none"
		var joined []string
		if len(o.pages) > 0 {
			told = names(o.pages[0].first)
			for _, a := range o.pages[0].alerts {
				if !slices.Contains(o.pages[0].first, a) {
					joined = append(joined, a)
				}
			}
			if len(joined) > 0 {
				told += ", *then* " + names(joined)
			}
			if c := o.pages[0].cause(); c != "" {
				cause = c
			}
		}
		hold, fires, page := "none", "none", "none"
		if !sc.nothing {
			seen = fmt.Sprintf("%d, at most %d", o.seen, o.within)
			if sc.why != "" {
				seen += ": " + sc.why
			}
			hold = (o.hold * factor).String()
			fires = fmt.Sprintf("%d scrapes: %s", o.fired, time.Duration(o.fired)*interval*factor)
			page = fmt.Sprintf("%.0f s", o.toPage.Seconds())
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %d | %s | %s | %s | %s | %s |\n", sc.name, sc.what, told, cause, len(o.pages), seen, hold, fires, page, names(o.tickets))
	}
	return b.String()
}

// names of alerts, without what all have in common.
func names(alerts []string) string {
	if len(alerts) == 0 {
		return "none"
	}
	var out []string
	for _, a := range alerts {
		out = append(out, strings.TrimPrefix(a, "CacheInval"))
	}
	return strings.Join(out, ", ")
}

const columns = 10

// rows of the page's table, by scenario.
func rows(t *testing.T) map[string]string {
	t.Helper()
	page, err := os.ReadFile(detection)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for line := range strings.Lines(string(page)) {
		if cells := strings.Split(strings.TrimSpace(line), " | "); len(cells) == columns {
			out[strings.TrimPrefix(cells[0], "| ")] = line
		}
	}
	return out
}

// TestDetectionPage: the page has a row for each scenario, which paged as it should when the page was written.
func TestDetectionPage(t *testing.T) {
	rows := rows(t)
	for _, sc := range scenarios {
		cells := strings.Split(strings.TrimSpace(rows[sc.name]), " | ")
		switch {
		case len(cells) != columns:
			t.Errorf("%s is not on the page", sc.name)
			continue
		case cells[1] != sc.what:
			t.Errorf("%s: the page says that %q happens", sc.name, cells[1])
		}
		cause, pages := sc.cause, "1"
		if sc.ticket || sc.nothing {
			pages = "0"
		}
		if cause == "" {
			cause = "none"
		}
		if cells[3] != cause || cells[4] != pages {
			t.Errorf("%s: the page tells %s pages with cause %s, want %s with %s", sc.name, cells[4], cells[3], pages, cause)
		}
		delete(rows, sc.name)
	}
	delete(rows, "scenario")
	for name := range rows {
		t.Errorf("%s is on the page, and is no scenario", name)
	}
}
