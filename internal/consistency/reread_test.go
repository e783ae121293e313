package consistency

import (
	"fmt"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/verdict"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// What has no second read is error, but only where a second read was needed.
func TestWithoutASecondReadIsError(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "l2: a b c", "keys: [k, same]")
		for _, name := range []string{"a", "b", "c"} {
			w.set(name, "same", "x")
		}
		w.node("b").slow[1] = -1
		w.play("a=x b=x c=y ->")
		for name, want := range map[string][verdict.NumStates]int{"a": {verdict.Fresh: 2}, "b": {verdict.Fresh: 1, verdict.Error: 1}, "c": {verdict.Fresh: 1, verdict.Undecided: 1}} {
			if got := w.states(name); got != want {
				t.Errorf("node %s has %v, not %v", name, got, want)
			}
		}
	})
}

func TestWithoutTimeForASecondReadAllIsError(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "l2: a b c", "keys: [k, same]")
		w.opt.RereadDelay = time.Minute
		w.reload()
		for _, name := range []string{"a", "b", "c"} {
			w.set(name, "same", "x")
		}
		w.play("a=x b=x c=y ->")
		for _, name := range []string{"a", "b", "c"} {
			if got := w.states(name); got != [verdict.NumStates]int{verdict.Fresh: 1, verdict.Error: 1} {
				t.Errorf("node %s has %v", name, got)
			}
		}
		if w.took() > w.timeout {
			t.Errorf("it took %s", w.took())
		}
	})
}

// Only what differs is read again, on all nodes, and each node is asked once a round for all classes.
func TestOnlyDifferingKeysAreReadAgain(t *testing.T) {
	for _, c := range []struct {
		name, class, do string
		again           bool
	}{
		{"alike", "", "a=x b=x", false},
		{"alike, and missing somewhere", "", "a=x", false},
		{"missing everywhere", "", "", false},
		{"unreadable somewhere", "", "a=x b=?", false},
		{"alike, lower versions of equal content aside", versioned, "a=x@2 b=x@2", false},
		{"they differ", "", "a=x b=y", true},
		{"they differ from the origin", asking, "a=x b=x origin=y", true},
		{"they are as the origin has it", asking, "a=x b=x origin=x", false},
		{"the origin has deleted it", asking, "a=x origin=404", true},
		{"the origin has deleted it, and so have they", asking, "origin=404", false},
		{"too old", ageing, "a=x!1h b=x!1h", true},
		{"not too old", ageing, "a=x!1m b=x!2m", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			inFakeTime(t, func(t *testing.T) {
				class := c.class
				if class != "" {
					class += ", "
				}
				w := newWorld(t, "l2: a b c", class+"keys: [k, same]", "class: other, keys: [another]")
				for _, name := range []string{"a", "b", "c"} {
					w.set(name, "another", "x")
				}
				w.play(c.do + " ->")
				want := [][]string{{"k", "same", "another"}}
				if c.again {
					want = append(want, []string{"k"})
				}
				for _, n := range w.fleet {
					if fmt.Sprint(n.asked) != fmt.Sprint(want) {
						t.Errorf("%s was asked for %v, not %v", n.id.Name, n.asked, want)
					}
				}
			})
		})
	}
}

func TestWhatIsBelowTheRememberedIsReadAgain(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "l2: a b c", versioned)
		w.play("a=x@2 b=x@2 -> a=fresh", "a=- b=- c=y@1 -> c=stale")
		if n := w.node("c"); len(n.asked) != 2 {
			t.Errorf("c was asked for %v", n.asked)
		}
	})
}

// A server's riddle (nil with a TTL) is solved by a second read.
func TestASuspectIsReadAgain(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "l2: a b")
		w.node("b").twist = func(read int, _ string, r *probes.Raw) {
			if read == 0 {
				*r = probes.Raw{Suspect: true}
			} else {
				*r = probes.Raw{Err: errFrozen}
			}
		}
		w.play("a=x b=x -> a=unverified b=error")
	})
}

// A replica that is still behind its primary is read a third time, with all copies of the key: what the primary has just got
// may only be on its way.
func TestAReplicaBehindItsPrimaryIsReadAThirdTime(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "l2: p r<p a", "keys: [k, same]")
		w.set("p", "same", "x")
		w.set("a", "same", "x")
		w.play("p=x a=x ->")
		arrives := time.Now().Add(time.Second + 30*time.Millisecond) // the sampling begins in a second
		w.node("r").twist = func(_ int, key string, raw *probes.Raw) {
			if key == "k" && time.Now().Before(arrives) {
				raw.Value = []byte(w.body("x"))
			}
		}
		w.play("p=y a=y -> p=fresh r=fresh a=fresh")
		for _, n := range w.fleet {
			if got := fmt.Sprint(n.asked); got != "[[k same] [k] [k]]" {
				t.Errorf("%s was asked for %s", n.id.Name, got)
			}
		}
	})
}

// One that is behind in both reads is, too, where either moves: a primary that is written to again, a replica that comes nearer.
func TestAReplicaBehindAPrimaryThatMovesIsReadAThirdTime(t *testing.T) {
	for _, c := range []struct {
		name, class string
		// what each of the three reads finds.
		primary, replica [3]string
		want             string
	}{
		{"the primary moves", "", [3]string{"y", "z", "z"}, [3]string{"x", "x", "z"}, "r=fresh"},
		{"the primary moves, with versions", versioned, [3]string{"y@2", "z@3", "z@3"}, [3]string{"x@1", "x@1", "z@3"}, "r=fresh"},
		{"both move, with versions", versioned, [3]string{"y@5", "z@6", "z@6"}, [3]string{"x@1", "w@2", "z@6"}, "r=fresh"},
		{"it never comes near", versioned, [3]string{"y@5", "z@6", "z@6"}, [3]string{"x@1", "w@2", "v@3"}, "r=stale"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inFakeTime(t, func(t *testing.T) {
				w := newWorld(t, "l2: p r<p", c.class)
				w.play("p=" + c.replica[0] + " -> r=fresh")
				moves := func(name string, contents [3]string) {
					n := w.node(name)
					n.twist = func(_ int, _ string, raw *probes.Raw) { raw.Value = []byte(w.body(contents[min(len(n.asked), 3)-1])) }
				}
				moves("p", c.primary)
				moves("r", c.replica)
				w.play("-> " + c.want)
				if n := w.node("r"); len(n.asked) != 3 {
					t.Errorf("it was asked for %v", n.asked)
				}
			})
		})
	}
}

// One that is behind for longer is stale, and read twice from then on, as any copy that differs.
func TestAReplicaThatStaysBehindIsReadAThirdTimeOnce(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "l2: p r<p a")
		w.play("p=x a=x ->", "cut=r p=y a=y -> p=fresh r=stale a=fresh")
		if n := w.node("r"); len(n.asked) != 3 {
			t.Errorf("at first it was asked for %v", n.asked)
		}
		w.play("-> r=stale")
		if n := w.node("r"); len(n.asked) != 2 {
			t.Errorf("then it was asked for %v", n.asked)
		}
	})
}

// What differs between nodes that do not replicate each other is read twice.
func TestOthersAreReadTwice(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w := newWorld(t, "l2: p r<p a")
		w.play("p=x a=y -> p=undecided a=undecided")
		if n := w.node("a"); len(n.asked) != 2 {
			t.Errorf("it was asked for %v", n.asked)
		}
	})
}
