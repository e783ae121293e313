package incident

import (
	"html/template"
	"math"
	"slices"
	"strconv"
	"strings"
)

// The matrix has as many cells as keys and nodes, 12,000 and more, which a template would take a tenth of a second for. So
// it is written by hand, and every text that comes from outside goes through matrix.text.

// MatrixColumn is a node's in the matrix of a class.
type MatrixColumn struct{ Layer, Node string }

// Columns of the class's matrix: the nodes that have copies which are stale or undecided come first.
func (s CanaryStatus) Columns() []MatrixColumn {
	var wrong, right []MatrixColumn
	for _, l := range s.Layers {
		for _, n := range l.Nodes {
			if n.States["stale"]+n.States["undecided"] > 0 {
				wrong = append(wrong, MatrixColumn{l.Layer, n.Node})
			} else {
				right = append(right, MatrixColumn{l.Layer, n.Node})
			}
		}
	}
	return append(wrong, right...)
}

// matrix writes a class's keys by its nodes as rows of a table.
type matrix struct {
	strings.Builder
	// columns by node.
	columns map[string]int
	// cells of the row that is written now; nil: the node should not hold the key.
	cells []*KeyCopyStatus
	// contents of the row that is written now, in the order of their letters. lettered: versions do not tell them apart.
	contents []string
	lettered bool
}

// rowsTogether are laid out at once, when they come into view (content-visibility in status.css; status.js does the same).
const rowsTogether = 25

// matrixRows are the rows of c's keys, from within the first tbody on.
func matrixRows(c CanaryStatus) template.HTML {
	w := &matrix{columns: map[string]int{}}
	for i, column := range c.Columns() {
		w.columns[column.Node] = i
	}
	w.cells = make([]*KeyCopyStatus, len(w.columns))
	w.Grow(len(c.Keys) * (len(w.columns) + 2) * 80)
	for i := range c.Keys {
		if i > 0 && i%rowsTogether == 0 {
			w.put("<tbody role=rowgroup>\n")
		}
		w.row(&c.Keys[i])
	}
	return template.HTML(w.String()) //nolint:gosec // what came from outside was escaped by text
}

// put markup and words of our own.
func (w *matrix) put(parts ...string) {
	for _, p := range parts {
		_, _ = w.WriteString(p) // it never fails
	}
}

// text from outside.
func (w *matrix) text(s string) { template.HTMLEscape(w, []byte(Printable(s))) }

// key with places where its line may break.
func (w *matrix) key(key string) {
	for part := range strings.SplitAfterSeq(key, ":") {
		w.text(part)
		if strings.HasSuffix(part, ":") {
			w.put("<wbr>")
		}
	}
}

func (w *matrix) row(k *KeyStatus) {
	clear(w.cells)
	for i := range k.Copies {
		if at, ok := w.columns[k.Copies[i].Node]; ok {
			w.cells[at] = &k.Copies[i]
		}
	}
	w.letter(k)
	w.put("<tr role=row")
	for _, data := range []struct {
		name  string
		value float64
	}{
		{"s", k.most(func(c *KeyCopyStatus) *float64 { return c.StaleSeconds })},
		{"t", k.least(func(c *KeyCopyStatus) *float64 { return c.TTLSeconds })},
		{"a", k.most((*KeyCopyStatus).atLeastOld)},
	} {
		if data.value >= 0 && data.value < 1e12 {
			w.put(" data-" + data.name + "=" + strconv.FormatFloat(data.value, 'f', 0, 64))
		}
	}
	w.put("><th role=rowheader scope=row>")
	w.key(k.Key)
	w.put("<td role=cell class=w>")
	w.summary(k)
	for _, c := range w.cells {
		w.cell(c)
	}
	w.put("\n")
}

// letter the contents of a key: A is what the first fresh copy holds. Letters are written where versions do not tell the
// contents apart.
func (w *matrix) letter(k *KeyStatus) {
	w.contents, w.lettered = w.contents[:0], false
	versions := map[string]bool{}
	for _, fresh := range [...]bool{true, false} {
		for i := range k.Copies {
			c := &k.Copies[i]
			if c.Digest != nil && (c.State == "fresh") == fresh && !slices.Contains(w.contents, *c.Digest) {
				w.contents = append(w.contents, *c.Digest)
				w.lettered = w.lettered || c.Version == nil || versions[*c.Version]
				if c.Version != nil {
					versions[*c.Version] = true
				}
			}
		}
	}
}

// namedNodes is how many nodes the summary of a row names.
const namedNodes = 4

// summary of a row: which copies are not as they should be, and by what that was decided.
func (w *matrix) summary(k *KeyStatus) {
	parts := 0
	for _, state := range stateOrder[:4] {
		var on []string
		for i := range k.Copies {
			if k.Copies[i].State == state {
				on = append(on, k.Copies[i].Node)
			}
		}
		if len(on) == 0 {
			continue
		}
		if parts++; parts > 1 {
			w.put("; ")
		}
		if state == "missing" { // caches expire
			w.put("missing on ")
		} else {
			w.put("<b>" + state + "</b> on ")
		}
		if len(on) > namedNodes {
			w.put(strconv.Itoa(len(on)), " of ", strconv.Itoa(len(k.Copies)), " nodes")
			continue
		}
		w.text(strings.Join(on, ", "))
	}
	switch {
	case len(k.Copies) == 0:
		w.put("no node holds it")
	case parts == 0 && slices.ContainsFunc(k.Copies, func(c KeyCopyStatus) bool { return c.State == "fresh" }):
		w.put("copies agree")
	case parts == 0:
		w.put("nothing to compare")
	}
	if k.Differs && k.Reference != nil && *k.Reference != "none" {
		w.put(" (by " + *k.Reference + ")")
	}
}

// cell of one copy. Its class is the first letter of its state, but v of unverified.
func (w *matrix) cell(c *KeyCopyStatus) {
	if c == nil {
		w.put("<td role=cell class=x>–")
		return
	}
	class := c.State[:1]
	if c.State == "unverified" {
		class = "v"
	}
	w.put("<td role=cell class=" + class + ">")
	w.put(c.State)
	if c.Digest == nil {
		return
	}
	if c.Version != nil {
		w.put(" v")
		w.text(*c.Version)
	}
	if w.lettered && len(w.contents) > 1 {
		if at := slices.Index(w.contents, *c.Digest); at < 26 {
			w.put(", content " + string(rune('A'+at)))
		}
	}
	if c.StaleSeconds != nil {
		w.put("<i>for " + brief(*c.StaleSeconds))
		if yes(c.Overdue) {
			w.put(", overdue")
		}
		w.put("</i>")
	}
	if yes(c.Survivor) {
		w.put("<i>survived a delete</i>")
	}
	w.put("<i>" + c.ttl())
	switch {
	case c.AgeSeconds != nil:
		w.put(", age " + brief(*c.AgeSeconds))
	case c.SeenSeconds != nil && *c.SeenSeconds > 0:
		w.put(", age ≥" + brief(*c.SeenSeconds))
	default:
		w.put(", age " + unknownText)
	}
	w.put("</i>")
}

// ttl that a copy has left, for people.
func (c *KeyCopyStatus) ttl() string {
	switch {
	case c.TTLSeconds != nil:
		return "TTL " + brief(*c.TTLSeconds)
	case yes(c.NoExpiry):
		return "no expiry"
	}
	return "TTL " + unknownText
}

// brief is a number of seconds in one unit, as a cell has room for: 7s, 59m, 22h, 3d; rounded down.
func brief(seconds float64) string {
	switch {
	case seconds < 120:
		return strconv.FormatFloat(math.Floor(seconds), 'f', 0, 64) + "s"
	case seconds < 2*3600:
		return strconv.FormatFloat(math.Floor(seconds/60), 'f', 0, 64) + "m"
	case seconds < 48*3600:
		return strconv.FormatFloat(math.Floor(seconds/3600), 'f', 0, 64) + "h"
	}
	return strconv.FormatFloat(math.Floor(seconds/(24*3600)), 'f', 0, 64) + "d"
}
