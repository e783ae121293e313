package repair

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/cacheinv/cacheinv_exporter/internal/consistency"
	"github.com/cacheinv/cacheinv_exporter/internal/incident"
	"github.com/cacheinv/cacheinv_exporter/internal/shell"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// The actions of a plan.
const (
	actionReplace = "replace"
	actionDelete  = "delete"
	actionRefresh = "refresh"
	actionRestore = "restore"
)

// Report is a plan, and what came of it. What is unknown is nil, never 0.
type Report struct {
	Strategy string `json:"strategy"`
	// Applied: the plan was carried out, as far as the outcomes say.
	Applied bool `json:"applied"`
	// Interrupted: it was ended before all was done.
	Interrupted bool `json:"interrupted"`
	// Compared copies, of which Stale were stale; nil for what an undo file says.
	Compared *int     `json:"compared"`
	Stale    *int     `json:"stale"`
	Writes   []*Write `json:"writes"`
	// NotRepaired are stale copies with which this strategy can do nothing.
	NotRepaired []Left `json:"not_repaired"`
	// Following are stale copies on replicas, which get what their primaries get.
	Following []Left `json:"following"`
	// Unreadable says why copies are not known to be right or wrong.
	Unreadable []Unreadable `json:"unreadable"`
	// Outcomes counts the writes by what came of them; nil where nothing was applied.
	Outcomes  map[string]int `json:"outcomes"`
	AuditFile string         `json:"audit_file,omitempty"`
	UndoFile  string         `json:"undo_file,omitempty"`
	// configFile of the command line, as the line that undoes the repair names it.
	configFile string
}

// Place of a copy.
type Place struct {
	Class string `json:"class"`
	Layer string `json:"layer"`
	Node  string `json:"node"`
	// Key as the class names it, with escapes where it is no UTF-8, and KeyBase64 its bytes then. StoredKey is what it is called on the
	// node, where that is something else.
	Key             string `json:"key"`
	KeyBase64       []byte `json:"key_base64,omitempty"`
	StoredKey       string `json:"stored_key,omitempty"`
	StoredKeyBase64 []byte `json:"stored_key_base64,omitempty"`
}

// placeOf a key on a node: name as the class names it, and stored as it is called there.
func placeOf(class, layer, node, name, stored string) Place {
	out := Place{Class: class, Layer: layer, Node: node}
	out.Key, out.KeyBase64 = probes.KeyText(name)
	if stored != name {
		out.StoredKey, out.StoredKeyBase64 = probes.KeyText(stored)
	}
	return out
}

// Write is what is to be done with one stale copy.
type Write struct {
	Place
	// Action: replace, delete, refresh or restore.
	Action string `json:"action"`
	// From is LAYER/NODE, origin, the request of a refresh or the undo file; nil where a copy is just deleted.
	From *string `json:"from"`
	// Digest and Version of what is there, NewDigest and NewVersion of what is put there. Digests are keyed.
	Digest     *string `json:"digest"`
	Version    *string `json:"version"`
	NewDigest  *string `json:"new_digest"`
	NewVersion *string `json:"new_version"`
	// TTLSeconds that are left and kept; NoExpiry: the copy never expires, and goes on so.
	TTLSeconds *float64 `json:"ttl_seconds"`
	NoExpiry   *bool    `json:"no_expiry"`
	// Outcome is nil before the plan is applied, and where that was interrupted before. Error says why it is not repaired.
	Outcome *string `json:"outcome"`
	Error   *string `json:"error"`

	key  probes.Key
	vars map[string]string
	// name of the key as the class names it.
	name string
	// seen is what the plan saw, want what is to be put in its place.
	seen, want consistency.Seen
	// sources hold want, the best first.
	sources []source
	// entry of the undo file that is put back.
	entry *undoEntry
}

// source is a copy that holds what another should.
type source struct {
	place Place
	key   probes.Key
	seen  consistency.Seen
}

// Left is a copy with which nothing is done, and why.
type Left struct {
	Place
	Reason string `json:"reason"`
}

// Unreadable is copies on one node that could not be read for the same reason.
type Unreadable struct {
	Class  string `json:"class"`
	Layer  string `json:"layer"`
	Node   string `json:"node"`
	Copies int    `json:"copies"`
	Error  string `json:"error"`
}

// finish notes what came of a write.
func (w *Write) finish(outcome string, why error) {
	w.Outcome = &outcome
	if why != nil {
		w.Error = new(why.Error())
	}
}

// count the outcomes.
func (r *Report) count() {
	r.Outcomes = map[string]int{}
	if n := len(r.NotRepaired); n > 0 {
		r.Outcomes[NotRepaired] = n
	}
	for _, w := range r.Writes {
		if w.Outcome != nil {
			r.Outcomes[*w.Outcome]++
		}
	}
}

// ExitCode of the command: 3 if something could not be done or read (of a plan: can't be done), or nothing was compared; else 0. Copies that changed meanwhile are left alone, which is as it should be; an undo has then not been
// done.
func (r *Report) ExitCode() int {
	blind := r.Compared != nil && *r.Compared == 0
	undone := r.Outcomes[Failed] + r.Outcomes[NotRepaired]
	if r.Strategy == undoing {
		undone += r.Outcomes[Changed]
	}
	if undone > 0 || r.Interrupted || blind || len(r.NotRepaired) > 0 || len(r.Unreadable) > 0 {
		return 3
	}
	return 0
}

// JSON writes the report for machines.
func (r *Report) JSON(w io.Writer) error {
	if err := incident.WriteJSON(w, r); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return nil
}

// Text writes the report for people.
func (r *Report) Text(w io.Writer) error {
	var b strings.Builder
	b.WriteString(r.headline() + "\n")
	if len(r.Writes) > 0 {
		b.WriteString("\n" + r.table() + "\n")
	}
	for _, part := range []struct {
		title string
		left  []Left
	}{{"Not repaired", r.NotRepaired}, {"Follows its primary", r.Following}} {
		if len(part.left) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n%s (%d):\n", part.title, len(part.left))
		for _, l := range part.left {
			fmt.Fprintf(&b, "  %s/%s  %s: %s\n", l.Layer, l.Node, incident.Printable(l.Key), incident.Printable(l.Reason))
		}
	}
	if len(r.Unreadable) > 0 {
		b.WriteString("\nNot read, so that nobody knows whether they are stale:\n")
	}
	for _, u := range r.Unreadable {
		fmt.Fprintf(&b, "  %s/%s  %d copies of %s: %s\n", u.Layer, u.Node, u.Copies, incident.Printable(u.Class), incident.Printable(u.Error))
	}
	b.WriteString(r.epilogue())
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return nil
}

// headline is what there is to do, or was done.
func (r *Report) headline() string {
	read := ""
	if r.Compared != nil {
		read = fmt.Sprintf("%d copies compared, %d stale; ", *r.Compared, *r.Stale)
	}
	if !r.Applied {
		if len(r.Writes) == 0 {
			return read + "nothing to write"
		}
		return fmt.Sprintf("%s%d to write (strategy %s); nothing was written: this is a plan", read, len(r.Writes), r.Strategy)
	}
	var parts []string
	for _, o := range Outcomes() {
		if n := r.Outcomes[o]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, strings.ReplaceAll(o, "_", " ")))
		}
	}
	if r.Interrupted {
		open := 0
		for _, w := range r.Writes {
			if w.Outcome == nil {
				open++
			}
		}
		parts = append(parts, fmt.Sprintf("interrupted with %d not begun", open))
	}
	if len(parts) == 0 {
		parts = []string{"nothing to do"}
	}
	return fmt.Sprintf("%sstrategy %s: %s", read, r.Strategy, strings.Join(parts, ", "))
}

func (r *Report) table() string {
	t := table.NewWriter()
	header := table.Row{"action", "layer", "node", "key", "from", "content", "version", "ttl kept"}
	if r.Applied {
		header = append(header, "outcome")
	}
	t.AppendHeader(header)
	for _, w := range r.Writes {
		row := table.Row{
			w.Action, w.Layer, w.Node, incident.Printable(w.Key), text(w.From), becomes(short(w.Digest), short(w.NewDigest)),
			becomes(text(w.Version), text(w.NewVersion)), w.ttl(),
		}
		if r.Applied {
			row = append(row, w.outcome())
		}
		t.AppendRow(row)
	}
	return t.Render()
}

func (r *Report) epilogue() string {
	var b strings.Builder
	if r.AuditFile != "" {
		fmt.Fprintf(&b, "\nAudit log: %s\nTo put back what was overwritten: cacheinv_exporter repair --config.file=%s --undo=%s --apply\n",
			r.AuditFile, shell.Quote(r.configFile), shell.Quote(r.UndoFile))
	}
	if r.Outcomes[Changed] > 0 {
		b.WriteString("\nCopies that changed after they were read were left alone; run check again to see whether they are right now.\n")
	}
	if r.Outcomes[Requested] > 0 {
		b.WriteString("\nThe application was asked to make its copies anew; run check again to see whether it has.\n")
	}
	if !r.Applied && len(r.Writes) > 0 {
		b.WriteString("\nTo carry it out, add --apply --audit.dir=DIR.\n")
	}
	return b.String()
}

func (w *Write) ttl() string {
	switch {
	case w.Action == actionDelete || w.Action == actionRefresh:
		return ""
	case w.NoExpiry != nil && *w.NoExpiry:
		return "none"
	case w.TTLSeconds != nil:
		return (time.Duration(*w.TTLSeconds) * time.Second).String()
	}
	return "unknown"
}

func (w *Write) outcome() string {
	if w.Outcome == nil {
		return "not begun"
	}
	out := strings.ReplaceAll(*w.Outcome, "_", " ")
	if w.Error != nil {
		out += ": " + incident.Printable(*w.Error)
	}
	return out
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return incident.Printable(*s)
}

func short(digest *string) string {
	if digest == nil {
		return ""
	}
	return (*digest)[:8]
}

func becomes(before, after string) string {
	if before == "" || after == "" {
		return before + after
	}
	return before + " -> " + after
}

// ttlOf a report's copy.
func ttlOf(c *consistency.CopyReport) (seconds *float64, noExpiry *bool) {
	switch {
	case c.NoExpiry:
		return nil, new(true)
	case c.HasTTL:
		return new(c.TTL.Seconds()), new(false)
	}
	return nil, nil
}
