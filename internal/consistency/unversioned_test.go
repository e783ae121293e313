package consistency

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/cacheinv/cacheinv_exporter/internal/test/cases"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

func withText(w *world, name, text string) {
	w.node(name).values["k"] = cases.Value{Bytes: []byte(text)}
}

// unversionedByNode gives a result, as "a=1 b=0".
func unversionedByNode(r *Result) string {
	var out []string
	for _, n := range r.Classes[0].Nodes {
		out = append(out, fmt.Sprintf("%s=%d", n.Node, n.Unversioned))
	}
	return strings.Join(out, " ")
}

// TestUnversionedCopies: a copy counts where the version is not there or can't be read, not where it is merely not trusted.
func TestUnversionedCopies(t *testing.T) {
	for kind, c := range map[string]struct{ a, b, c, want string }{
		"integer":      {`{"v":1}`, `{"n":1}`, `{"v":"x"}`, "a=0 b=1 c=1"},
		"timestamp_ms": {`{"v":99999999999999}`, `text`, `{"v":null}`, "a=0 b=1 c=1"},
		"dotted":       {`{"v":"1.2"}`, ``, `[]`, "a=0 b=1 c=1"},
	} {
		inFakeTime(t, func(t *testing.T) {
			w := newWorld(t, "l2: a b c d", `version: {json: "$.v", kind: `+kind+`}`)
			withText(w, "a", c.a)
			withText(w, "b", c.b)
			withText(w, "c", c.c)
			if got := unversionedByNode(w.sample()); got != c.want+" d=0" {
				t.Errorf("%s: %s", kind, got)
			}
		})
	}
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "l2: a b")
		w.play("a=x b=x -> a=fresh b=fresh")
		if got := unversionedByNode(w.last); got != "a=0 b=0" {
			t.Errorf("without versions: %s", got)
		}
	})
}

// TestOneWarningOfVersions: that no copy gives one is said once, and again only after a copy gave one.
func TestOneWarningOfVersions(t *testing.T) {
	var log bytes.Buffer
	env := *testEnv
	env.Log = slog.New(slog.NewTextHandler(&log, nil))
	withLog(t, &env)
	warnings := func() int { return strings.Count(log.String(), "no copy gives a version") }
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "l2: a b", versioned)
		for i, c := range []struct {
			do   string
			want int
		}{
			{"", 0}, // nothing is there
			{"a=x@1 b=x", 0},
			{"a=x", 1},
			{"", 1},
			{"a=- b=-", 1}, // nothing was learned
			{"a=x b=x", 1},
			{"a=x@1", 1},
			{"a=x", 2},
			{"a=x@1 b=x@1", 2},
		} {
			for _, token := range strings.Fields(c.do) {
				w.do(token)
			}
			w.sample()
			if i%2 == 1 {
				w.reload()
			}
			if got := warnings(); got != c.want {
				t.Errorf("step %d, %s: %d warnings, not %d", i+1, c.do, got, c.want)
			}
		}
	})
	if !strings.Contains(log.String(), "class=c copies=2") {
		t.Error(log.String())
	}
}

// withLog has worlds use another environment for the rest of the test.
func withLog(t *testing.T, env *probes.Env) {
	t.Helper()
	before := testEnv
	testEnv = env
	t.Cleanup(func() { testEnv = before })
}
