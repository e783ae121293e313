package incident

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/consistency"
	"github.com/cacheinv/cacheinv_exporter/internal/verdict"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// Report of check. What is unknown is nil, never 0.
type Report struct {
	Classes []ClassReport `json:"classes"`
	// Unlearned says which views and listings could not be read, and which nodes refuse all.
	Unlearned []string `json:"unlearned"`
}

// Share of stale among compared copies, with its Wilson interval of 95%.
type Share struct {
	Compared int      `json:"compared"`
	Stale    int      `json:"stale"`
	Share    *float64 `json:"share"`
	Low      *float64 `json:"low"`
	High     *float64 `json:"high"`
}

func newShare(stale, compared int) Share {
	s := Share{Compared: compared, Stale: stale}
	if share, low, high, ok := wilson(stale, compared); ok {
		s.Share, s.Low, s.High = &share, &low, &high
	}
	return s
}

// ClassReport is one canary class.
type ClassReport struct {
	Class string `json:"class"`
	// Keys that were read.
	Keys int `json:"keys"`
	Share
	Layers    []LayerReport `json:"layers"`
	Differing []Differing   `json:"differing"`
	// Unreadable says why copies are in state error.
	Unreadable []Unreadable `json:"unreadable"`
}

// Unreadable is copies on one node that could not be read for the same reason.
type Unreadable struct {
	Layer  string `json:"layer"`
	Node   string `json:"node"`
	Error  string `json:"error"`
	Copies int    `json:"copies"`
	// Key is one of theirs, KeyBase64 where it is no text.
	Key       string `json:"key"`
	KeyBase64 []byte `json:"key_base64,omitempty"`
}

// LayerReport is a class in one layer.
type LayerReport struct {
	Layer string       `json:"layer"`
	Nodes []NodeReport `json:"nodes"`
}

// NodeReport is a class on one node.
type NodeReport struct {
	Node   string         `json:"node"`
	States map[string]int `json:"states"`
	Share
}

// Differing is a key with a copy that is stale or undecided.
type Differing struct {
	Key       string `json:"key"`
	KeyBase64 []byte `json:"key_base64,omitempty"`
	Reference string `json:"reference"`
	Copies    []Copy `json:"copies"`
}

// Copy of a key on one node. Digest is keyed: equal within a report where contents are equal, and good for nothing else.
type Copy struct {
	Layer string `json:"layer"`
	Node  string `json:"node"`
	State string `json:"state"`
	// Variant that the rest is about, where a node is read in several.
	Variant    string   `json:"variant,omitempty"`
	Digest     *string  `json:"digest"`
	Version    *string  `json:"version"`
	TTLSeconds *float64 `json:"ttl_seconds"`
	// NoExpiry: the server says that the copy never expires; nil where that is unknown.
	NoExpiry *bool   `json:"no_expiry"`
	Error    *string `json:"error"`
	// Value only with --show-values; ValueBase64 where it is no text.
	Value       *string `json:"value,omitempty"`
	ValueBase64 []byte  `json:"value_base64,omitempty"`
	// ValueBytes is how long the value is where it is not shown whole.
	ValueBytes int `json:"value_bytes,omitempty"`
}

// newReport of a sampling. Digests are keyed by digestKey; empty: by a random one.
func newReport(cfg *config.Config, r *consistency.Result, digestKey []byte) *Report {
	digests := NewDigests(digestKey)
	literal := map[string]int{}
	for _, c := range cfg.Canaries {
		literal[c.Name] = len(c.Keys)
	}
	report := &Report{Classes: []ClassReport{}, Unlearned: append([]string{}, r.Unlearned()...)}
	for i := range r.Classes {
		c := &r.Classes[i]
		report.Classes = append(report.Classes, newClassReport(c, literal[c.Class]+c.SampledKeys, digests))
	}
	return report
}

func newClassReport(c *consistency.ClassResult, keys int, digests Digests) ClassReport {
	out := ClassReport{Class: c.Class, Keys: keys, Layers: []LayerReport{}, Differing: []Differing{}, Unreadable: unreadableOf(c.Reports)}
	stale, compared := 0, 0
	at := map[string]int{}
	for i := range c.Nodes {
		n := &c.Nodes[i]
		if _, ok := at[n.Layer]; !ok {
			at[n.Layer] = len(out.Layers)
			out.Layers = append(out.Layers, LayerReport{Layer: n.Layer})
		}
		node := NodeReport{Node: n.Node, States: map[string]int{}}
		for s := range verdict.NumStates {
			node.States[s.String()] = n.Copies[s]
		}
		node.Share = newShare(n.Copies[verdict.Stale], n.Compared())
		stale, compared = stale+n.Copies[verdict.Stale], compared+n.Compared()
		l := &out.Layers[at[n.Layer]]
		l.Nodes = append(l.Nodes, node)
	}
	out.Share = newShare(stale, compared)
	for i := range c.Reports {
		if d, ok := newDiffering(&c.Reports[i], digests); ok {
			out.Differing = append(out.Differing, d)
		}
	}
	return out
}

// unreadableOf gathers the reasons, in the order in which they came.
func unreadableOf(reports []consistency.KeyReport) []Unreadable {
	out := []Unreadable{}
	for _, k := range reports {
		for _, c := range k.Copies {
			if c.State != verdict.Error {
				continue
			}
			why := Unreadable{Layer: c.Layer, Node: c.Node, Error: "not read in time", Copies: 1}
			why.Key, why.KeyBase64 = probes.KeyText(k.Key)
			if c.Err != nil {
				why.Error = c.Err.Error()
			}
			i := slices.IndexFunc(out, func(u Unreadable) bool { return u.Node == why.Node && u.Error == why.Error })
			if i < 0 {
				out = append(out, why)
				continue
			}
			out[i].Copies++
		}
	}
	return out
}

func newDiffering(k *consistency.KeyReport, digests Digests) (Differing, bool) {
	d := Differing{Reference: k.Reference.String()}
	d.Key, d.KeyBase64 = probes.KeyText(k.Key)
	differs := false
	for i := range k.Copies {
		c := &k.Copies[i]
		differs = differs || c.State == verdict.Stale || c.State == verdict.Undecided
		d.Copies = append(d.Copies, newCopy(c, digests))
	}
	return d, differs
}

func newCopy(c *consistency.CopyReport, digests Digests) Copy {
	out := Copy{Layer: c.Layer, Node: c.Node, State: c.State.String(), Variant: c.Variant}
	if c.Err != nil {
		out.Error = new(c.Err.Error())
	}
	if !c.Present {
		return out
	}
	out.Digest = new(digests.Of(c.Digest))
	if !c.Version.IsZero() {
		out.Version = new(c.Version.String())
	}
	switch {
	case c.NoExpiry:
		out.NoExpiry = new(true)
	case c.HasTTL:
		out.NoExpiry, out.TTLSeconds = new(false), new(c.TTL.Seconds())
	}
	out.showValue(c.Value, c.ValueSize)
	return out
}

// showValue of so many bytes, or what it begins with.
func (c *Copy) showValue(value []byte, size int) {
	if len(value) < size {
		c.ValueBytes, value = size, wholeCharacters(value)
	}
	switch {
	case value == nil:
	case utf8.Valid(value):
		c.Value = new(string(value))
	default:
		c.ValueBase64 = value
	}
}

// ExitCode of check: 1 any copy is stale or undecided; else 2 any could not be read, or something else was not learned, or nothing was
// compared; else 0.
func (r *Report) ExitCode() int {
	wrong, failed, compared := 0, 0, 0
	for _, c := range r.Classes {
		compared += c.Compared
		for _, l := range c.Layers {
			for _, n := range l.Nodes {
				wrong += n.States["stale"] + n.States["undecided"]
				failed += n.States["error"]
			}
		}
	}
	switch {
	case wrong > 0:
		return 1
	case failed > 0 || compared == 0 || len(r.Unlearned) > 0:
		return 2
	}
	return 0
}

// JSON writes the report for machines.
func (r *Report) JSON(w io.Writer) error {
	if err := WriteJSON(w, r); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return nil
}

// Table writes the report for people.
func (r *Report) Table(w io.Writer) error {
	for i := range r.Classes {
		c := &r.Classes[i]
		if _, err := fmt.Fprintf(w, "%s: %d keys read, %d copies compared, %d undecided, %d stale%s\n",
			Printable(c.Class), c.Keys, c.Compared, c.undecided(), c.Stale, c.interval()); err != nil {
			return fmt.Errorf("writing the report: %w", err)
		}
		nodes := table.NewWriter()
		nodes.AppendHeader(table.Row{"layer", "node", "fresh", "stale", "missing", "error", "undecided", "unverified", "stale share (95%)"})
		for _, l := range c.Layers {
			for _, n := range l.Nodes {
				s := n.States
				nodes.AppendRow(table.Row{
					l.Layer, n.Node, s["fresh"], s["stale"], s["missing"], s["error"], s["undecided"], s["unverified"],
					strings.TrimPrefix(n.interval(), ", "),
				})
			}
		}
		out := nodes.Render() + "\n"
		if len(c.Differing) > 0 {
			out += "\n" + differingTable(c.Differing) + "\n"
		}
		for _, u := range c.Unreadable {
			out += fmt.Sprintf("\n%s: %d not read, such as %s: %s\n", u.Node, u.Copies, Printable(u.Key), Printable(u.Error))
		}
		switch {
		case c.Keys == 0:
			out += "\nNo key was found: no node lists any that matches the pattern.\n"
		case c.Compared == 0:
			out += "\nNothing was compared: of no key two copies could be read, or one and an origin's answer.\n"
		}
		if _, err := fmt.Fprintln(w, out); err != nil {
			return fmt.Errorf("writing the report: %w", err)
		}
	}
	for _, text := range r.Unlearned {
		if _, err := fmt.Fprintf(w, "Not learned: %s\n", Printable(text)); err != nil {
			return fmt.Errorf("writing the report: %w", err)
		}
	}
	return nil
}

func (c *ClassReport) undecided() int {
	n := 0
	for _, l := range c.Layers {
		for _, node := range l.Nodes {
			n += node.States["undecided"]
		}
	}
	return n
}

func differingTable(differing []Differing) string {
	t := table.NewWriter()
	header := table.Row{"key", "by", "layer", "node", "state", "content", "version", "ttl"}
	values := false
	for _, d := range differing {
		for _, c := range d.Copies {
			values = values || c.Value != nil || c.ValueBase64 != nil || c.ValueBytes > 0
		}
	}
	if values {
		header = append(header, "value")
	}
	t.AppendHeader(header)
	for _, d := range differing {
		key, by := Printable(d.Key), d.Reference
		for _, c := range d.Copies {
			row := table.Row{key, by, c.Layer, c.nodeText(), c.State, short(c.Digest), text(c.Version), c.ttl()}
			if values {
				row = append(row, c.value())
			}
			t.AppendRow(row)
			key, by = "", ""
		}
		t.AppendSeparator()
	}
	return t.Render()
}

func (s *Share) interval() string {
	if s.Share == nil {
		return ""
	}
	return fmt.Sprintf(", %.1f%% (%.1f%% to %.1f%%)", *s.Share*100, *s.Low*100, *s.High*100)
}

func (c *Copy) ttl() string {
	switch {
	case c.TTLSeconds != nil:
		return strconv.FormatFloat(*c.TTLSeconds, 'f', 0, 64) + "s"
	case c.NoExpiry != nil:
		return "none"
	}
	return ""
}

// wholeCharacters of a text that was cut within one; what is no text stays as it is.
func wholeCharacters(b []byte) []byte {
	for cut := range min(utf8.UTFMax, len(b)) {
		if whole := b[:len(b)-cut]; utf8.Valid(whole) {
			return whole
		}
	}
	return b
}

// widestValue in a table, whose rows all are as wide as the widest.
const widestValue = 256

func (c *Copy) value() string {
	shown := text(c.Value)
	switch {
	case c.ValueBase64 != nil:
		return fmt.Sprintf("%d bytes that are not text", max(len(c.ValueBase64), c.ValueBytes))
	case c.Value == nil && c.ValueBytes > 0:
		return fmt.Sprintf("%d bytes, not shown beside so many others; --class and --pattern name fewer keys", c.ValueBytes)
	case c.ValueBytes > 0 || len(shown) > widestValue:
		return fmt.Sprintf("%s… (%d bytes; -o json shows more)", strings.ToValidUTF8(shown[:min(len(shown), widestValue)], ""), max(c.ValueBytes, len(*c.Value)))
	}
	return shown
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return Printable(*s)
}

// nodeText names the node, and the variant that was wrong.
func (c *Copy) nodeText() string {
	if c.Variant == "" {
		return c.Node
	}
	return c.Node + " (" + c.Variant + ")"
}

func short(digest *string) string {
	if digest == nil {
		return ""
	}
	return (*digest)[:8]
}

// Printable quotes what would move a terminal's cursor.
func Printable(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return !strconv.IsPrint(r) }) || !utf8.ValidString(s) {
		return strconv.Quote(s)
	}
	return s
}
