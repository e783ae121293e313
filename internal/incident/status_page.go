package incident

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/diagnosis"
	"github.com/cacheinv/cacheinv_exporter/internal/turn"
)

// RequestReporter gives the report that a scrape like this request would be answered from; *collector.Exporter is one.
type RequestReporter interface {
	ReportFor(r *http.Request) *diagnosis.Report
}

// patience is how long a browser is left without anything to show while a sampling is under way.
const patience = 30 * time.Millisecond

// StatusJSON is /api/v1/status. Its parameters class, state, key and sort choose among the keys of the canaries. A status of many keys
// takes several times the length of the answer: each is made in its turn.
func StatusJSON(from RequestReporter, turns turn.Line) http.Handler {
	digests := NewDigests(nil)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v, err := viewOf(r.URL.Query())
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		report := from.ReportFor(r)
		if !turns.Wait(w, r) {
			return
		}
		defer turns.Leave()
		s := NewStatus(report, digests)
		v.narrow(s)
		answer(w, "application/json")
		if err := WriteJSON(w, s); err != nil { // nothing was written, or the client is gone
			http.Error(w, "writing the status: "+err.Error(), http.StatusInternalServerError)
		}
	})
}

var (
	//go:embed status.html
	statusHTML string
	//go:embed status.css
	statusCSS string
	//go:embed status.js
	statusJS string
)

var statusTemplate = template.Must(template.New("status").Funcs(template.FuncMap{
	"headline": func(verdict string) string { return headlines[verdict] },
	"percent":  func(share float64) string { return strconv.Itoa(int(math.Round(share * 100))) },
	"stands":   stands,
	"count":    pageCount,
	"number":   func(v int) string { return pageCount(new(float64(v))) },
	"age":      pageAge,
	"bytes":    pageBytes,
	"whole":    func(v *int) string { return orUnknown(v, strconv.Itoa) },
	"state":    nodeState,
	"ms":       func(seconds float64) float64 { return seconds * 1000 },
	"yes":      yes,
	"wrong":    wrongClass,
	"above":    func(least int, v *int) bool { return v != nil && *v > least },
	"drains":   drains,
	"never":    neverDrains,
	"sorted":   func(v view, by string) string { return ariaSort(v.Sort, by) },
	"rows":     matrixRows,
}).Parse(statusHTML))

// policy of the page: nothing but its own style and script, and itself again.
var policy = fmt.Sprintf("default-src 'none'; style-src '%s'; script-src '%s'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
	sourceHash(statusCSS), sourceHash(statusJS))

// sourceHash is how a Content-Security-Policy names an inline script or style.
func sourceHash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

// page is what /status is made of.
type page struct {
	*Status
	View view
	// Title of the window.
	Title string
	// Classes that there are, by name; the status may have fewer of them.
	Classes []string
	// LeftOut keys by class of the status.
	LeftOut []int
	States  []string
	// Embedded in the page.
	Style  template.CSS
	Script template.JS
}

func newPage(v view) *page {
	return &page{
		View: v, Title: "sampling · cacheinv status", States: append([]string{differs}, stateOrder...),
		Style: template.CSS(statusCSS), Script: template.JS(statusJS), //nolint:gosec // files of our own
	}
}

// fill the page with a status.
func (p *page) fill(s *Status) {
	for i := range s.Canaries {
		p.Classes = append(p.Classes, s.Canaries[i].Class)
	}
	p.View.narrow(s)
	p.LeftOut = firstKeys(s.Canaries, pageKeys)
	p.Status, p.Title = s, s.Diagnosis.Verdict+" · cacheinv status"
}

// StatusPage is /status. Its parameters are those of StatusJSON, and reload=off. It is made in its turn, as StatusJSON is. Where the
// sampling takes longer, the page begins before it ends.
func StatusPage(from RequestReporter, turns turn.Line) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v, err := viewOf(r.URL.Query())
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		sampled := make(chan *diagnosis.Report, 1)
		go func() { sampled <- from.ReportFor(r) }()
		var report *diagnosis.Report
		p, began := newPage(v), false
		begin := time.NewTimer(patience)
		defer begin.Stop()
		select {
		case report = <-sampled:
		case <-begin.C:
			began = p.write(w, "head", "wait")
			_ = http.NewResponseController(w).Flush() // else it comes with the rest
			report = <-sampled
		}
		if !turns.Wait(w, r) {
			return
		}
		defer turns.Leave()
		p.fill(NewStatus(report, Digests{}))
		if !began {
			p.write(w, "head")
		}
		p.write(w, "now")
		_ = http.NewResponseController(w).Flush()
		p.write(w, "rest")
	})
}

// write parts of the page, as one piece, and report that something was written.
func (p *page) write(w http.ResponseWriter, parts ...string) bool {
	var b bytes.Buffer
	for _, part := range parts {
		if err := statusTemplate.ExecuteTemplate(&b, part, p); err != nil {
			b.Reset()
			b.WriteString(template.HTMLEscapeString("writing the page: " + err.Error()))
		}
	}
	w.Header().Set("Content-Security-Policy", policy)
	answer(w, "text/html; charset=utf-8")
	_, _ = w.Write(b.Bytes()) // the client is gone
	return true
}

// answer with this kind of content, which nobody keeps.
func answer(w http.ResponseWriter, kind string) {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
}

// ariaSort of a column by which keys may be sorted.
func ariaSort(sort, by string) string {
	switch {
	case sort != by:
		return "none"
	case sort == "stale" || sort == "age":
		return "descending"
	}
	return "ascending"
}

func stands(d diagnosis.Diagnosis, c diagnosis.Cause) bool {
	return slices.ContainsFunc(d.Causes, func(s diagnosis.Score) bool { return s.Cause == c })
}

// wrongClass is how a number is shown that should be 0.
func wrongClass(n int) string {
	if n > 0 {
		return "bad"
	}
	return "dim"
}

// comesAndGoes is a depth below which a queue that does not shrink is nothing to look at.
const comesAndGoes = 100

func neverDrains(q QueueStatus) bool { return yes(q.NeverDrains) && *q.Depth >= comesAndGoes }

// drains says when a queue is empty at its present pace, or why that is not known.
func drains(q QueueStatus) string {
	switch {
	case q.DrainSeconds != nil && *q.DrainSeconds == 0:
		return "empty"
	case q.DrainSeconds != nil:
		return diagnosis.Duration(*q.DrainSeconds)
	case neverDrains(q):
		return "never"
	case yes(q.NeverDrains):
		return "comes and goes"
	case q.Depth == nil:
		return unknownText + ", no depth"
	}
	return unknownText + ", no rate yet"
}

// unknownText stands where a number would be.
const unknownText = "?"

func orUnknown[T any](v *T, write func(T) string) string {
	if v == nil {
		return unknownText
	}
	return write(*v)
}

func pageCount(v *float64) string { return orUnknown(v, diagnosis.Count) }

func pageAge(v *float64) string { return orUnknown(v, diagnosis.Duration) }

func pageBytes(v *float64) string {
	return orUnknown(v, func(v float64) string {
		units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
		i := 0
		for v >= 1024 && i < len(units)-1 {
			v, i = v/1024, i+1
		}
		return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0") + " " + units[i]
	})
}

func yes(v *bool) bool { return v != nil && *v }

func nodeState(n NodeStatus) string {
	switch {
	case !n.Up:
		return "down"
	case n.Loading != nil && *n.Loading:
		return "loading"
	}
	return "up"
}
