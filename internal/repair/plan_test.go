package repair

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/consistency"
	"github.com/cacheinv/cacheinv_exporter/internal/content"
	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/internal/verdict"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// editable is a node that is not written to: plans write nothing.
type editable struct{ probes.Editable }

type hook struct{ probes.RefresherSource }

func (hook) Request(vars map[string]string) string { return "POST http://app/" + vars["key"] }

// copyAt is a copy on l2/NAME, or on LAYER/NAME, that holds text at a version; 0: none.
func copyAt(place string, state verdict.State, text string, version int) consistency.CopyReport {
	layer, node, ok := strings.Cut(place, "/")
	if !ok {
		layer, node = "l2", place
	}
	c := consistency.CopyReport{Layer: layer, Node: node, Name: "k", State: state, Present: true, HasTTL: true, TTL: time.Minute}
	copy(c.Digest[:], text)
	if version > 0 {
		c.Version = content.ReadVersionOf("integer", fmt.Sprint(version))
	}
	return c
}

const (
	fresh, stale = verdict.Fresh, verdict.Stale
)

// planOf a key's copies. Nodes named r… are replicas of the node without the r; nodes of l1 take no writes.
func planOf(t *testing.T, strategy string, class config.Class, truth func() (consistency.Truth, error), copies ...consistency.CopyReport) *Report {
	t.Helper()
	plain, err := form.ParseTemplate("{key}")
	if err != nil {
		t.Fatal(err)
	}
	class.Name = "c"
	if class.Layers == nil {
		class.Layers = []config.ClassLayer{
			{Name: "l2", Key: plain}, {Name: "l3", Key: plain}, {Name: "l1", Key: plain}, {Name: "zipped", Key: plain, Decode: []string{"gzip"}},
		}
	}
	p := &planner{
		strategy: strategy, classes: map[string]*config.Class{"c": &class}, nodes: map[string]*node{},
		inspect: func(_, layer string, raw probes.Raw) (consistency.Seen, error) {
			if layer == "zipped" {
				return consistency.Seen{}, errors.New("is not gzip")
			}
			return copyAt("any", fresh, string(raw.Value), 0).Seen(), nil
		},
		askOrigin: func(context.Context, string, string) (consistency.Truth, error) { return truth() },
	}
	for _, c := range copies {
		n := &node{Identity: probes.Identity{Layer: c.Layer, Name: c.Node}, edit: editable{}, run: strings.TrimPrefix(c.Node, "r")}
		n.replica = strings.HasPrefix(c.Node, "r")
		if c.Layer == "l1" {
			n.edit = nil
		}
		p.nodes[c.Node] = n
	}
	return p.plan(t.Context(), &consistency.Result{Classes: []consistency.ClassResult{{
		Class: "c", Reports: []consistency.KeyReport{{Key: "k", Copies: copies, Vars: map[string]string{"key": "k"}}},
	}}})
}

// lines of a report: what is written, and why what is not is not.
func lines(r *Report) []string {
	var out []string
	for _, w := range r.Writes {
		line := w.Action + " " + w.Node
		if w.From != nil {
			line += " from " + *w.From
		}
		out = append(out, line)
	}
	for _, l := range r.NotRepaired {
		out = append(out, "left "+l.Node+": "+l.Reason)
	}
	for _, l := range r.Following {
		out = append(out, "follows "+l.Node)
	}
	for _, u := range r.Unreadable {
		out = append(out, fmt.Sprintf("unread %s: %s (%d)", u.Node, u.Error, u.Copies))
	}
	return out
}

func TestPlans(t *testing.T) {
	versioned := config.Class{Version: &config.Version{JSON: "$.v"}}
	asked := config.Class{Origin: &config.Origin{}}
	says := func(text string, version int) func() (consistency.Truth, error) {
		return func() (consistency.Truth, error) {
			return consistency.Truth{Seen: copyAt("x", fresh, text, version).Seen(), Body: []byte(text)}, nil
		}
	}
	deleted := func() (consistency.Truth, error) { return consistency.Truth{Deleted: true}, nil }
	failing := func() (consistency.Truth, error) { return consistency.Truth{}, errors.New("status 500") }
	part := asked
	part.Compare = []string{"$.price"}
	refreshed := config.Class{Refresh: hook{}}
	for name, c := range map[string]struct {
		strategy string
		class    config.Class
		truth    func() (consistency.Truth, error)
		copies   []consistency.CopyReport
		want     []string
	}{
		"most": {Majority, config.Class{}, nil, []consistency.CopyReport{
			copyAt("a", stale, "old", 0), copyAt("b", fresh, "new", 0), copyAt("d", fresh, "new", 0), copyAt("e", fresh, "newer", 0),
		}, []string{"replace a from l2/b"}},
		"most: missing, undecided and unverified copies stay": {Majority, config.Class{}, nil, []consistency.CopyReport{
			{Layer: "l2", Node: "m", State: verdict.Missing},
			copyAt("u", verdict.Undecided, "x", 0), copyAt("v", verdict.Unverified, "x", 0),
			copyAt("a", stale, "old", 0), copyAt("b", fresh, "new", 0),
		}, []string{"replace a from l2/b"}},
		"most: a tie": {Majority, config.Class{}, nil, []consistency.CopyReport{
			copyAt("a", stale, "old", 0), copyAt("b", fresh, "new", 0), copyAt("d", fresh, "newer", 0),
		}, []string{"left a: the fresh copies differ, as the key was just being written; run it again"}},
		"most: nothing fresh": {Majority, config.Class{}, nil, []consistency.CopyReport{
			copyAt("a", stale, "old", 0), copyAt("b", verdict.Undecided, "new", 0),
		}, []string{"left a: no fresh copy is left to take it from; use --strategy=origin or delete"}},
		"most: replicas have no word": {Majority, config.Class{}, nil, []consistency.CopyReport{
			copyAt("a", stale, "old", 0), copyAt("b", fresh, "new", 0), copyAt("rb", fresh, "newer", 0), copyAt("rrb", fresh, "newer", 0),
		}, []string{"replace a from l2/b"}},
		"a replica alone is fresh": {Majority, config.Class{}, nil, []consistency.CopyReport{
			copyAt("a", stale, "old", 0), copyAt("rb", fresh, "new", 0),
		}, []string{"replace a from l2/rb"}},
		"own layer first": {Majority, config.Class{}, nil, []consistency.CopyReport{
			copyAt("l3/b", fresh, "new", 0), copyAt("rd", fresh, "new", 0), copyAt("d", fresh, "new", 0), copyAt("a", stale, "old", 0),
		}, []string{"replace a from l2/d"}},
		"another form": {Majority, config.Class{}, nil, []consistency.CopyReport{
			copyAt("a", stale, "old", 0), copyAt("zipped/z", fresh, "new", 0), copyAt("l1/app", fresh, "new", 0),
		}, []string{"left a: no fresh copy is stored in the form of this layer (key, decode, select); use --strategy=delete or refresh"}},
		"newest": {Newest, versioned, nil, []consistency.CopyReport{
			copyAt("a", stale, "v1", 1), copyAt("b", fresh, "v2", 2), copyAt("d", fresh, "v2", 2), copyAt("e", fresh, "v3", 3),
		}, []string{"replace a from l2/e"}},
		"newest: conflict": {Newest, versioned, nil, []consistency.CopyReport{
			copyAt("a", stale, "v2", 2), copyAt("b", fresh, "v2'", 2), copyAt("d", fresh, "v2'", 2),
		}, []string{"replace a from l2/b"}},
		"newest: never a lower one": {Newest, versioned, nil, []consistency.CopyReport{
			copyAt("a", stale, "v9", 9), copyAt("b", fresh, "v2", 2),
		}, []string{"left a: what the other copies hold has a lower version; see which is right, and use --strategy=origin or delete"}},
		"newest: no version": {Newest, versioned, nil, []consistency.CopyReport{
			copyAt("a", stale, "v1", 1), copyAt("b", fresh, "none", 0),
		}, []string{"left a: no fresh copy has a version; use --strategy=origin or delete"}},
		"origin: from a copy": {Origin, asked, says("new", 0), []consistency.CopyReport{
			copyAt("a", stale, "old", 0), copyAt("zipped/y", stale, "old", 0), copyAt("zipped/z", fresh, "new", 0),
		}, []string{"replace a from origin", "replace y from zipped/z"}},
		"origin: of another form": {Origin, asked, says("new", 0), []consistency.CopyReport{copyAt("zipped/z", stale, "old", 0)}, []string{
			"left z: what this layer stores (decode, select) can't be made of the origin's answer; use --strategy=delete or refresh",
		}},
		"origin: a part": {Origin, part, says("new", 0), []consistency.CopyReport{copyAt("a", stale, "old", 0)}, []string{
			"left a: only a part of the content is compared (compare, ignore, cached_at), so that the origin's answer may lack the rest of it; use --strategy=delete or refresh",
		}},
		"origin: deleted":     {Origin, asked, deleted, []consistency.CopyReport{copyAt("a", stale, "old", 0)}, []string{"delete a from origin"}},
		"origin: silent":      {Origin, asked, failing, []consistency.CopyReport{copyAt("a", stale, "old", 0)}, []string{"left a: the origin did not answer: status 500"}},
		"origin: agrees now":  {Origin, asked, says("old", 0), []consistency.CopyReport{copyAt("a", stale, "old", 0)}, nil},
		"origin: is behind":   {Origin, asked, says("v1", 1), []consistency.CopyReport{copyAt("a", stale, "v2", 2)}, []string{"left a: the origin's answer has a lower version than the copy; see whether the origin is behind"}},
		"origin: none":        {Origin, config.Class{}, nil, []consistency.CopyReport{copyAt("a", stale, "old", 0)}, []string{"left a: its class has no origin; write one in the configuration, or take another strategy"}},
		"delete":              {Delete, config.Class{}, nil, []consistency.CopyReport{copyAt("a", stale, "old", 0), copyAt("b", fresh, "new", 0)}, []string{"delete a"}},
		"refresh, each layer": {Refresh, refreshed, nil, []consistency.CopyReport{copyAt("l1/app", stale, "old", 0), copyAt("a", stale, "old", 0)}, []string{"refresh app from POST http://app/k", "refresh a from POST http://app/k"}},
		"refresh: none":       {Refresh, config.Class{}, nil, []consistency.CopyReport{copyAt("a", stale, "old", 0)}, []string{"left a: its class has no refresh; write one in the configuration, or take another strategy"}},
		"http": {Delete, config.Class{}, nil, []consistency.CopyReport{copyAt("l1/app", stale, "old", 0)}, []string{
			"left app: this kind of node takes no writes; give the class a refresh in the configuration, and use --strategy=refresh",
		}},
		"http with refresh": {Delete, refreshed, nil, []consistency.CopyReport{copyAt("l1/app", stale, "old", 0)}, []string{
			"left app: this kind of node takes no writes; use --strategy=refresh",
		}},
		"replicas": {Delete, config.Class{}, nil, []consistency.CopyReport{
			copyAt("a", stale, "old", 0), copyAt("ra", stale, "old", 0), copyAt("b", fresh, "new", 0), copyAt("rb", stale, "old", 0), copyAt("rx", stale, "old", 0),
		}, []string{
			"delete a",
			"left rb: it is a replica that is behind its primary b, and takes no writes; see why replication does not reach it",
			"left rx: it is a replica of a primary that was not read, and takes no writes; repair the primary",
			"follows ra",
		}},
		"unread": {Delete, config.Class{}, nil, []consistency.CopyReport{
			{Layer: "l2", Node: "down", State: verdict.Error, Err: errors.New("refused")}, copyAt("b", fresh, "new", 0),
		}, []string{"unread down: refused (1)"}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := lines(planOf(t, c.strategy, c.class, c.truth, c.copies...)); !slices.Equal(got, c.want) {
				t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(c.want, "\n  "))
			}
		})
	}
}

func TestFits(t *testing.T) {
	cfg := &config.Config{Canaries: []config.Class{
		{Name: "plain"}, {Name: "versioned", Version: &config.Version{}}, {Name: "asked", Origin: &config.Origin{}}, {Name: "hooked", Refresh: hook{}},
	}}
	for _, c := range []struct {
		strategy, class string
		force, fits     bool
	}{
		{Majority, "", false, false},
		{Majority, "plain", false, true},
		{Majority, "versioned", false, false},
		{Majority, "asked", false, false},
		{Majority, "", true, true},
		{Newest, "", false, true},
		{Newest, "versioned", false, true},
		{Newest, "plain", false, false},
		{Origin, "", false, true},
		{Origin, "asked", false, true},
		{Origin, "plain", false, false},
		{Refresh, "hooked", false, true},
		{Refresh, "plain", false, false},
		{Delete, "", false, true},
	} {
		opt := Options{Strategy: c.strategy, Force: c.force}
		opt.Check.Class = c.class
		if err := fits(cfg, opt); (err == nil) != c.fits || err != nil && !errors.Is(err, ErrUsage) {
			t.Errorf("%s of %q: %v", c.strategy, c.class, err)
		}
	}
}

func TestExitCodes(t *testing.T) {
	one, left := []*Write{{}}, []Left{{}}
	for i, c := range []struct {
		report Report
		want   int
	}{
		{Report{Compared: new(4)}, 0},
		{Report{Compared: new(0)}, 3},
		{Report{Compared: new(4), Writes: one}, 0},
		{Report{Compared: new(4), Writes: one, NotRepaired: left}, 3},
		{Report{Compared: new(4), NotRepaired: left}, 3},
		{Report{Compared: new(4), Unreadable: []Unreadable{{}}}, 3},
		{Report{Compared: new(4), Applied: true, Writes: one, Outcomes: map[string]int{Repaired: 1}}, 0},
		{Report{Compared: new(4), Applied: true, Writes: one, Outcomes: map[string]int{Changed: 1}}, 0},
		{Report{Compared: new(4), Applied: true, Writes: one, Outcomes: map[string]int{Failed: 1, Repaired: 3}}, 3},
		{Report{Compared: new(4), Applied: true, Writes: one, Interrupted: true}, 3},
		{Report{Strategy: undoing, Applied: true, Writes: one, Outcomes: map[string]int{Changed: 1}}, 3},
		{Report{Strategy: undoing, Applied: true, Writes: one, Outcomes: map[string]int{Unchanged: 1, Repaired: 1}}, 0},
	} {
		if got := c.report.ExitCode(); got != c.want {
			t.Errorf("%d: %d, want %d", i, got, c.want)
		}
	}
}
