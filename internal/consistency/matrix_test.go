package consistency

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cacheinv/cacheinv_exporter/internal/verdict"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// matrixCounts: where a matrix has all keys, its copies are those that were counted. Each sampling of a world is held to it.
func matrixCounts(t testing.TB, r *Result) {
	t.Helper()
	for i := range r.Classes {
		c := &r.Classes[i]
		if len(c.Matrix.Rows) != c.Matrix.Keys {
			continue
		}
		states, overdue, survivors := make([][verdict.NumStates]int, len(c.Nodes)), make([]int, len(c.Nodes)), make([]int, len(c.Nodes))
		differing := 0
		for _, row := range c.Matrix.Rows {
			wrong := false
			for _, cell := range row.Copies {
				states[cell.Node][cell.State]++
				wrong = wrong || cell.State == verdict.Stale || cell.State == verdict.Undecided
				if cell.Overdue {
					overdue[cell.Node]++
				}
				if cell.Survivor {
					survivors[cell.Node]++
				}
			}
			if wrong != row.Differs {
				t.Errorf("key %s differs: %t, by its copies %t", row.Key, row.Differs, wrong)
			}
			if wrong {
				differing++
			}
		}
		if differing != c.Matrix.Differing {
			t.Errorf("%d keys differ, by the rows %d", c.Matrix.Differing, differing)
		}
		for n := range c.Nodes {
			if o := &c.Nodes[n]; states[n] != o.Copies || overdue[n] != o.Overdue || survivors[n] != o.Survivors {
				t.Errorf("%s on %s: the matrix has %v, %d overdue, %d survivors; counted are %v, %d, %d",
					c.Class, o.Node, states[n], overdue[n], survivors[n], o.Copies, o.Overdue, o.Survivors)
			}
		}
	}
}

// cells of a key, by node.
func (w *world) cells(key string) map[string]KeyCopy {
	w.t.Helper()
	c := &w.last.Classes[0]
	out := map[string]KeyCopy{}
	for _, row := range c.Matrix.Rows {
		if row.Key == key {
			for _, cell := range row.Copies {
				out[c.Nodes[cell.Node].Node] = cell
			}
		}
	}
	return out
}

// Each cell has what the copy's server told, and since when it is as it is.
func TestMatrixCells(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "l2 max_staleness=30s: a b c d", versioned+`, cached_at: {json: "$.at", kind: timestamp_ms}`)
		w.node("a").twist = func(_ int, _ string, r *probes.Raw) { r.NoExpiry, r.HasTTL, r.TTL = false, true, 50*time.Second }
		w.node("b").twist = func(_ int, _ string, r *probes.Raw) { r.NoExpiry = false }
		w.play("a=x@5!10m b=x@5 c=y@4 ->", "wait=1m ->")
		got := w.cells("k")
		for name, want := range map[string]KeyCopy{
			"a": {State: verdict.Fresh, Present: true, HasTTL: true, TTL: 50 * time.Second, HasAge: true},
			"b": {State: verdict.Fresh, Present: true},
			"c": {State: verdict.Stale, Present: true, Overdue: true, NoExpiry: true},
			"d": {State: verdict.Missing},
		} {
			c := got[name]
			if c.State != want.State || c.Present != want.Present || c.Overdue != want.Overdue || c.HasTTL != want.HasTTL || c.TTL != want.TTL ||
				c.NoExpiry != want.NoExpiry || c.HasAge != want.HasAge || c.Present == c.Version.IsZero() {
				t.Errorf("%s is %+v", name, c)
			}
		}
		if a := got["a"].Age; a < 11*time.Minute || a > 12*time.Minute {
			t.Errorf("a was made %s ago", a)
		}
		if c := got["c"]; c.StaleFor < time.Minute || c.SeenFor < time.Minute || c.StaleFor > 2*time.Minute || c.Version.String() != "4" || c.Content == got["a"].Content {
			t.Errorf("c is %+v", c)
		}
		w.play("a=? c=x@5!-5m ->")
		if got := w.cells("k"); got["a"] != (KeyCopy{Node: got["a"].Node, State: verdict.Error}) || got["c"].StaleFor != 0 || got["c"].HasAge {
			t.Errorf("unread: %+v; made in the future: %+v", got["a"], got["c"])
		}
	})
}

// A node has cells of the keys alone that it should hold.
func TestMatrixOfSharedKeys(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "l2: a b c")
		w.play("place:a=holds place:b=elsewhere place:c=anywhere a=x ->")
		if got := w.cells("k"); len(got) != 1 || got["a"].State != verdict.Unverified {
			t.Errorf("it has %+v", got)
		}
	})
}

// The matrix is bounded, and keys that differ come first, however many others there are.
func TestMatrixIsBounded(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		var keys []string
		for i := range 1500 {
			keys = append(keys, fmt.Sprintf("k%04d", i))
		}
		w := newWorld(t, "l2: a b c", "keys: ["+strings.Join(keys, ", ")+"]")
		w.opt.MaxKeySeries = 3
		w.reload()
		for i, key := range keys {
			for _, node := range []string{"a", "b", "c"} {
				w.set(node, key, "x")
			}
			if i >= 1400 {
				w.set("c", key, "y")
			}
		}
		m := w.sample().Classes[0].Matrix
		var got []string
		for _, row := range m.Rows {
			got = append(got, row.Key)
		}
		if want := slices.Concat(keys[1400:], keys[:3]); m.Keys != 1500 || m.Differing != 100 || !slices.Equal(got, want) {
			t.Errorf("%d keys, %d differ: %s", m.Keys, m.Differing, cmp.Diff(want, got))
		}
		for _, key := range keys[:1400] {
			w.set("c", key, "y")
		}
		if m := w.sample().Classes[0].Matrix; m.Differing != 1500 || len(m.Rows) != differingRows || m.Rows[999].Key != "k0999" || len(m.Rows[999].Copies) != 3 {
			t.Errorf("%d differ, %d rows", m.Differing, len(m.Rows))
		}
	})
}
