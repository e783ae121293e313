package incident

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/consistency"
	"github.com/cacheinv/cacheinv_exporter/internal/content"
	"github.com/cacheinv/cacheinv_exporter/internal/diagnosis"
	"github.com/cacheinv/cacheinv_exporter/internal/test/browser"
	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/internal/turn"
	"github.com/cacheinv/cacheinv_exporter/internal/verdict"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// addKeys gives each class of an estate's report so many keys. Of every tenth the copy on the second node is stale, and
// the first node has none.
func addKeys(r *diagnosis.Report, keys int) *diagnosis.Report {
	for i := range r.Evidence.Result.Classes {
		c := &r.Evidence.Result.Classes[i]
		c.Matrix = consistency.Matrix{Keys: keys}
		var others []consistency.KeyRow
		for k := range keys {
			row := consistency.KeyRow{Key: fmt.Sprintf("user:%04d:profile", k), Reference: verdict.ByVersion, Counted: true, Differs: k%10 == 9}
			for n := range c.Nodes {
				cell := consistency.KeyCopy{
					Node: int32(n), Present: n > 0, HasTTL: true, TTL: time.Duration(k+n) * time.Second, SeenFor: time.Duration(k) * time.Second,
					Version: content.ReadVersionOf("integer", fmt.Sprint(100+k)),
				}
				switch {
				case n == 0:
					cell = consistency.KeyCopy{State: verdict.Missing}
				case n == 1 && row.Differs:
					cell.State, cell.StaleFor, cell.Overdue, cell.Content[0] = verdict.Stale, time.Duration(k)*time.Second, true, 1
					cell.Version = content.ReadVersionOf("integer", fmt.Sprint(99+k))
				}
				row.Copies = append(row.Copies, cell)
			}
			if row.Differs {
				c.Matrix.Rows = append(c.Matrix.Rows, row)
				continue
			}
			others = append(others, row)
		}
		c.Matrix.Differing = len(c.Matrix.Rows)
		c.Matrix.Rows = append(c.Matrix.Rows, others...)
	}
	return r
}

// servedStatus serves the page of a report, which a reader waits for as long as the sampling takes.
func servedStatus(t *testing.T, r *diagnosis.Report, took time.Duration) string {
	mux := http.NewServeMux()
	from := slow{&reports{all: []*diagnosis.Report{r}}, took}
	mux.Handle("/status", StatusPage(from, turn.NewLine(1)))
	mux.Handle("/api/v1/status", StatusJSON(from, turn.NewLine(1)))
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.URL + "/status"
}

// slow samples for a while.
type slow struct {
	*reports
	took time.Duration
}

func (s slow) ReportFor(*http.Request) *diagnosis.Report {
	time.Sleep(s.took)
	return s.all[0]
}

// quiet fails if a page said anything on the console.
func quiet(t *testing.T, p *browser.Page) {
	t.Helper()
	for _, c := range p.Complaints() {
		t.Errorf("on the console: %s", c)
	}
}

// eval of an expression as T.
func eval[T any](p *browser.Page, expression string) (v T) {
	p.Eval(expression, &v)
	return v
}

// firstKeysOf are the first keys that the page shows.
const firstKeysOf = `[...document.querySelectorAll("#classes tbody th")].slice(0, 3).map(e => e.textContent)`

// TestStatusInBrowser looks at 1,000 keys by 12 nodes in Chromium: nothing on the console, a filter and an order that work
// without another page, by mouse and by keyboard. The time to the first paint is told, not asserted: the machine is shared.
func TestStatusInBrowser(t *testing.T) {
	servers.NoLeaks(t)
	url := servedStatus(t, addKeys(estateReport(12, 1), 1000), 0)
	b := browser.Start(t)
	p := b.Open(url, browser.Look{Width: 1400, Height: 900})
	t.Logf("first paint after %s", p.FirstPaint())
	if n := eval[int](p, `document.querySelectorAll("#classes .matrix tbody td").length`); n != 1000*13 {
		t.Errorf("%d cells of 1,000 keys by 12 nodes and what differs", n)
	}
	if got := eval[[]string](p, firstKeysOf); !slices.Equal(got, []string{"user:0009:profile", "user:0019:profile", "user:0029:profile"}) {
		t.Errorf("first are %q, and those that differ should be", got)
	}
	choose := func(name, value string) {
		eval[bool](p, fmt.Sprintf(`(() => { const e = document.querySelector("#filter").elements[%q]; e.value = %q; e.dispatchEvent(new Event("input", {bubbles: true})); return true })()`, name, value))
	}
	choose("sort", "stale")
	if got := eval[[]string](p, firstKeysOf); got[0] != "user:0999:profile" {
		t.Errorf("stale for longest are %q", got)
	}
	choose("state", "differs")
	choose("key", "USER:01")
	if got := eval[[]string](p, firstKeysOf); !slices.Equal(got, []string{"user:0199:profile", "user:0189:profile", "user:0179:profile"}) {
		t.Errorf("filtered: %q", got)
	}
	if said := eval[string](p, `document.querySelector("#said").textContent`); said != "10 keys shown" {
		t.Errorf("a screen reader hears %q", said)
	}
	if at := eval[string](p, `location.search`); at != "?state=differs&key=USER%3A01&sort=stale" {
		t.Errorf("the address is %q", at)
	}
	// By keyboard: the link in the head of the first column.
	eval[bool](p, `(document.querySelector("a[data-sort=key]").focus(), true)`)
	p.Key("Enter", 13)
	if got := eval[[]string](p, firstKeysOf); got[0] != "user:0109:profile" {
		t.Errorf("by name: %q", got)
	}
	if sorted := eval[string](p, `document.querySelector("a[data-sort=key]").parentElement.ariaSort`); sorted != "ascending" {
		t.Errorf("the key column says that it is sorted %q", sorted)
	}
	quiet(t, p)

	// The address brings the same keys, also without a script.
	for _, noScript := range []bool{false, true} {
		p := b.Open(url+"?state=differs&key=USER%3A01&sort=stale", browser.Look{Width: 1400, Height: 900, NoScript: noScript})
		if noScript {
			p = b.Open(url+"?state=differs&key=USER%3A01&sort=stale&reload=off", browser.Look{Width: 1400, Height: 900, NoScript: true})
		}
		if got := eval[[]string](p, firstKeysOf); !slices.Equal(got, []string{"user:0199:profile", "user:0189:profile", "user:0179:profile"}) {
			t.Errorf("without a script: %t: %q", noScript, got)
		}
		quiet(t, p)
	}
}

// TestStatusReloads: the page takes in a newer sampling without losing what the reader did to it.
func TestStatusReloads(t *testing.T) {
	servers.NoLeaks(t)
	url := servedStatus(t, addKeys(estateReport(3, 2), 40), 0)
	p := browser.Start(t).Open(url+"?class=class_1", browser.Look{Width: 1000, Height: 800})
	sampled := func() string { return eval[string](p, `document.querySelector("#top time").dateTime`) }
	eval[bool](p, `(document.querySelector("#counts-class_1 summary").click(), document.querySelector("#matrix-class_1").scrollTop = 50, true)`)
	pause := func() string {
		return eval[string](p, `(document.querySelector("#pause").click(), document.querySelector("#pause").textContent)`)
	}
	eval[bool](p, `(window.old = document.querySelector("#classes"), true)`)
	if on, off := pause(), pause(); on != "Resume reloading" || off != "Pause reloading" { // the second loads at once
		t.Errorf("the button says %q, then %q", on, off)
	}
	servers.Eventually(t, "the page is another", func() bool { return eval[bool](p, `!window.old.isConnected`) })
	for what, expression := range map[string]string{
		"what was opened is open":   `document.querySelector("#counts-class_1").open`,
		"the place is the same":     `document.querySelector("#matrix-class_1").scrollTop === 50`,
		"the filter holds":          `document.querySelector("[data-class=class_0]").hidden && !document.querySelector("[data-class=class_1]").hidden`,
		"the list of classes is":    `document.querySelector("#filter").elements.class.value === "class_1"`,
		"nothing is said to be old": `document.querySelector("#late").hidden`,
	} {
		if !eval[bool](p, expression) {
			t.Errorf("after a reload: not so: %s", what)
		}
	}
	if sampled() == "" {
		t.Error("no time of the sampling")
	}
	quiet(t, p)
}

// TestStatusLooks: nothing is wider than a phone, in the light and in the dark, and text is told apart from its ground.
func TestStatusLooks(t *testing.T) {
	servers.NoLeaks(t)
	r := withEvents(addKeys(estateReport(12, 1), 30))
	r.Evidence.Apps = []diagnosis.App{{Name: "web", Versions: map[string]string{"app-1": "2.3.1", "app-2": "2.4.0"}, Down: []string{"app-3"}}}
	r.Evidence.Result.Groups = []probes.NodeGroup{{Layer: "l2", Name: "cluster", Nodes: []string{"redis-1"}, Cluster: &probes.Cluster{Answered: 2, Views: 2, Primaries: 1}}}
	url := servedStatus(t, r, 0)
	b := browser.Start(t)
	for _, dark := range []bool{false, true} {
		for _, width := range []int{375, 1400} {
			p := b.Open(url, browser.Look{Width: width, Height: 800, Dark: dark})
			if got := eval[int](p, `document.documentElement.scrollWidth`); got > width {
				t.Errorf("the page is %d pixels wide where there are %d", got, width)
			}
			for _, low := range eval[[]string](p, lowContrast) {
				t.Errorf("dark %t, width %d: hard to read: %s", dark, width, low)
			}
			for _, fault := range eval[[]string](p, faultsOfMarkup) {
				t.Errorf("dark %t, width %d: %s", dark, width, fault)
			}
			quiet(t, p)
		}
	}
}

// faultsOfMarkup are what a screen reader would stumble over.
const faultsOfMarkup = `(() => {
  const out = [], all = q => [...document.querySelectorAll(q)];
  const ids = all("[id]").map(e => e.id);
  ids.forEach((id, i) => ids.indexOf(id) < i && out.push("two elements are called " + id));
  for (const a of ["aria-labelledby", "aria-describedby"]) for (const e of all("[" + a + "]")) if (!document.getElementById(e.getAttribute(a))) out.push(a + " leads nowhere: " + e.getAttribute(a));
  for (const e of all("input:not([type=hidden]),select")) if (!e.labels.length) out.push("no label: " + e.name);
  for (const e of all("table")) {
    const heads = [...e.tHead.rows[0].cells];
    if (heads.some(h => h.scope !== "col")) out.push("a head without a scope");
    for (const r of [...e.tBodies].flatMap(b => [...b.rows])) {
      if (r.cells.length !== heads.length) out.push(r.cells.length + " cells under " + heads.length + " heads");
      if (![...r.cells].some(c => c.tagName === "TH" && c.scope === "row")) out.push("a row without a head: " + r.textContent);
      if (getComputedStyle(e.tBodies[0]).display === "block") for (const c of [r, ...r.cells]) if (!c.role) out.push("laid out otherwise, and no role: " + c.tagName + " " + c.textContent);
      if (e.closest(".cards")) for (const c of r.cells) if (c.tagName === "TD" && !c.dataset.l) out.push("a card's line without a label: " + c.textContent);
    }
  }
  for (const e of all(".wide,.matrix")) if (e.tabIndex !== 0 || e.role !== "region" || !(e.ariaLabel || e.getAttribute("aria-labelledby"))) out.push("a region that scrolls and can't be reached: " + e.id);
  for (const e of all("a,button,summary")) if (!e.textContent.trim()) out.push("nothing to read in " + e.outerHTML);
  const levels = all("h1,h2,h3").map(e => +e.tagName[1]);
  levels.forEach((l, i) => i && l > levels[i - 1] + 1 && out.push("a heading of level " + l + " after one of " + levels[i - 1]));
  return [...new Set(out)].slice(0, 20);
})()`

// lowContrast are texts whose contrast is below WCAG's 4.5 to 1.
const lowContrast = `(() => {
  const rgb = c => (c.match(/[\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const luminance = c => rgb(c).slice(0, 3).map(v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4).reduce((s, v, i) => s + v * [.2126, .7152, .0722][i], 0);
  const ground = e => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] > 0) return getComputedStyle(e).backgroundColor } return "rgb(255,255,255)" };
  const low = new Set();
  for (const e of document.querySelectorAll("body *")) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) || !e.checkVisibility() || e.closest("script,style,meter,option")) continue;
    const [a, b] = [luminance(getComputedStyle(e).color), luminance(ground(e))].sort((x, y) => y - x);
    if ((a + .05) / (b + .05) < 4.5) low.add(e.tagName + "." + e.className + " " + getComputedStyle(e).color + " on " + ground(e));
  }
  return [...low];
})()`

// TestStatusBegins: where a sampling takes long, there is something to see before it ends.
func TestStatusBegins(t *testing.T) {
	servers.NoLeaks(t)
	url := servedStatus(t, estateReport(3, 1), 2*time.Second)
	p := browser.Start(t).Open(url, browser.Look{Width: 1000, Height: 800})
	if at := p.FirstPaint(); at > 1900*time.Millisecond {
		t.Errorf("the first paint was after %s, at the end of the sampling", at)
	}
	if eval[bool](p, `document.querySelector("#wait").checkVisibility()`) {
		t.Error("it still says that it samples")
	}
	if text := eval[string](p, `document.querySelector("#top").textContent`); !strings.Contains(text, "Unknown") {
		t.Errorf("it says %q", text)
	}
	quiet(t, p)
}
