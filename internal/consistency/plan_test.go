package consistency

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cacheinv/cacheinv_exporter/internal/verdict"
)

// One SCAN step a server and scrape, on a replica where there is one.
func TestScanIsAskedOnAReplica(t *testing.T) {
	scanned := func(w *world) string {
		var names []string
		for _, n := range w.fleet {
			if n.scanned {
				names = append(names, n.id.Name)
			}
		}
		return strings.Join(names, " ")
	}
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "l2: p r<p b; l3: c", `pattern: "user:*", layers: [l2]`)
		w.sample() // roles are not known before
		for _, step := range []struct{ do, want string }{
			{"", "r b"},
			{"", "r b"},
			{"freeze=r", "r b"},
			{"", "p r b"}, // it did not answer last time
			{"thaw=r", "p r b"},
			{"", "r b"},
			{"promote=r", "r b"},
			{"", "p b"}, // it is the replica now
		} {
			if step.do != "" {
				w.do(step.do)
			}
			w.sample()
			if got := scanned(w); got != step.want {
				t.Errorf("after %q, %s were asked for keys, not %s", step.do, got, step.want)
			}
		}
	})
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "l2: a b")
		w.sample()
		if got := scanned(w); got != "" {
			t.Errorf("%s were asked for keys, though there is no pattern", got)
		}
	})
}

// A key seen on any node is a candidate on all; what does not match is none.
func TestFoundKeysAreReadOnAllNodes(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "l2: a b; l3: c", `keys: ["user:1"], pattern: "user:*", sample: 3, match: "^user:(?P<id>[0-9]+)$", layers: [l2, {name: l3, key: "v3:{key}"}]`)
		w.node("a").found = []string{"user:1", "user:2", "user:x", "product:3", "v3:user:9"}
		w.node("c").found = []string{"v3:user:4", "user:5", "v3:v3:user:6"}
		w.sample()
		w.sample()
		for name, want := range map[string]string{"a": "[user:1 user:2 user:4]", "b": "[user:1 user:2 user:4]", "c": "[v3:user:1 v3:user:2 v3:user:4]"} {
			if got := fmt.Sprint(w.node(name).asked[0]); got != want {
				t.Errorf("%s was asked for %s, not %s", name, got, want)
			}
		}
		if c := w.last.Classes[0]; c.SampledKeys != 2 {
			t.Errorf("%d keys of the pattern", c.SampledKeys)
		}
	})
}

// A pattern alone says what is found, also in a layer that names keys otherwise.
func TestWhatDoesNotMatchThePatternIsNotFound(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "l2: a; l3: c", `pattern: "user:*", layers: [l2, {name: l3, key: "v3:{key}"}]`)
		w.node("a").found = []string{"user:2", "product:3", "v3:user:9", "xuser:1"}
		w.node("c").found = []string{"v3:user:4", "user:5", "v3:product:6"}
		w.sample()
		w.sample()
		if got := fmt.Sprint(w.node("a").asked[0]); got != "[user:2 user:4]" {
			t.Errorf("a was asked for %s", got)
		}
	})
}

// The choice of a sampler within its budget, from what nodes list bit by bit, also over a reload.
func TestSampledKeysOverAReload(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		class := `pattern: "user:*", sample: 10`
		w := newWorld(t, "l2: a b", class)
		keys := someKeys(100)
		for i := range 10 {
			w.node("a").found, w.node("b").found = keys[5*i:5*i+5], keys[99-5*i-4:99-5*i+1]
			w.sample()
		}
		before := fmt.Sprint(w.node("a").asked[0])
		w.opt.DigestKey = []byte("another key")
		w.configure("l2: a b c", class)
		w.sample()
		if got := fmt.Sprint(w.node("c").asked[0]); got != before || w.last.Classes[0].SampledKeys != 10 {
			t.Errorf("%s, then %s", before, got)
		}
	})
}

// A key that is told one by one from now on is read once.
func TestASampledKeyThatBecomesLiteral(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "l2: a b", `pattern: "user:*", sample: 10`)
		w.node("a").found = []string{"user:1", "user:2"}
		for _, name := range []string{"a", "b"} {
			w.set(name, "user:1", "x")
		}
		w.sample()
		w.sample()
		w.configure("l2: a b", `keys: ["user:1"], pattern: "user:*", sample: 10`)
		w.sample()
		if got := fmt.Sprint(w.node("a").asked[0]); got != "[user:1 user:2]" || w.states("a") != [verdict.NumStates]int{verdict.Fresh: 1, verdict.Missing: 1} {
			t.Errorf("a was asked for %s, and has %v", got, w.states("a"))
		}
	})
}
