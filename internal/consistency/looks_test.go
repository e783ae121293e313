package consistency

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/events"
	"github.com/cacheinv/cacheinv_exporter/internal/verdict"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// listener is who remembers events: it has keys that are due, and notes what it is told.
type listener struct {
	mu  sync.Mutex
	due []string
	// bad says which copies would be bad, as node/key.
	bad       map[string]bool
	suspected []string
	looks     map[string]map[string]events.NodeCopy // by key and node
	order     []string
	notes     map[string]events.Identity // by node/key
	restarted []string
	at        time.Time
}

func (l *listener) Due(_ string, now time.Time) []string {
	l.looks, l.notes, l.order, l.suspected, l.restarted, l.at = map[string]map[string]events.NodeCopy{}, map[string]events.Identity{}, nil, nil, nil, now
	return l.due
}

// Asks but for layers that may be stale for a minute.
func (l *listener) Asks(_, _, layer string) bool { return layer != "l4" }

func (l *listener) Suspect(_, key, _, node string, c events.Copy) bool {
	l.suspected = append(l.suspected, node+"/"+key)
	return c.Present && l.bad[node+"/"+key]
}

func (l *listener) Look(_, key string, copies []events.NodeCopy, now time.Time) {
	l.looks[key] = map[string]events.NodeCopy{}
	l.order = append(l.order, key)
	for _, c := range copies {
		l.looks[key][c.Node] = c
	}
	if len(l.looks[key]) != len(copies) || !now.Equal(l.at) {
		panic("a copy twice, or another time than that of what is due")
	}
}

func (l *listener) Note(notes []events.NodeNotes) {
	for _, n := range notes {
		for _, c := range n.Copies {
			l.notes[n.Node+"/"+c.Key] = c.Identity
		}
	}
}

func (l *listener) Restarted(_, node string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.restarted = append(l.restarted, node)
}

// told of a key: "a=present b=gone c=failed", and ! behind what was read twice.
func (l *listener) told(key string) string {
	var out []string
	for _, node := range slices.Sorted(maps.Keys(l.looks[key])) {
		c := l.looks[key][node]
		state := "gone"
		switch {
		case c.Copy.Failed:
			state = "failed"
		case c.Copy.Present:
			state = "present"
		}
		if c.Twice {
			state += "!"
		}
		out = append(out, node+"="+state)
	}
	return strings.Join(out, " ")
}

// listening is a world whose classes have events.
func listening(t *testing.T, nodes, class string, due ...string) (*world, *listener) {
	t.Helper()
	l := &listener{due: due, bad: map[string]bool{}}
	w := newWorld(t, nodes, class)
	w.opt.Events = l
	w.events = &config.Events{}
	w.reload()
	return w, l
}

func (w *world) wantAsked(node string, reads ...string) {
	w.t.Helper()
	var got []string
	for _, keys := range w.node(node).asked {
		got = append(got, strings.Join(keys, " "))
	}
	if !slices.Equal(got, reads) {
		w.t.Errorf("%s was asked %q, want %q", node, got, reads)
	}
}

func wantTold(t *testing.T, l *listener, key, want string) {
	t.Helper()
	if got := l.told(key); got != want {
		t.Errorf("%s: %s, want %s", key, got, want)
	}
}

// What is looked at comes in the canaries' read, behind them, and counts as no canary.
func TestLooksRideWithCanaries(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w, l := listening(t, "l2: a b", versioned, "x", "y")
		w.play("a=v@1 b=v@1 -> a=fresh b=fresh version")
		w.set("a", "x", "old@1")
		w.set("a", "y", "?")
		w.sample()
		w.wantAsked("a", "k x y")
		w.wantAsked("b", "k x y")
		wantTold(t, l, "x", "a=present b=gone")
		wantTold(t, l, "y", "a=failed b=gone")
		c := l.looks["x"]["a"].Copy
		if c.Version.String() != "1" || c.Asked.IsZero() || c.Read.Before(c.Asked) || l.looks["x"]["a"].Layer != "l2" || c.Identity().Content == l.notes["a/k"].Content {
			t.Errorf("%+v", l.looks["x"]["a"])
		}
		if !slices.Equal(l.order, []string{"x", "y"}) || !slices.Equal(l.suspected, []string{"a/x", "b/x", "b/y"}) {
			t.Errorf("looked at %v, asked about %v", l.order, l.suspected)
		}
		if got := slices.Sorted(maps.Keys(l.notes)); !slices.Equal(got, []string{"a/k", "b/k"}) || !l.notes["a/k"].Seen {
			t.Errorf("the canaries that were noted: %v", got)
		}
		if w.states("a") != [verdict.NumStates]int{verdict.Fresh: 1} || len(w.last.Classes[0].KeyConsistent) != 1 {
			t.Errorf("looks were counted: %+v", w.last.Classes[0])
		}
		w.set("b", "k", "?")
		if w.sample(); len(l.notes) != 1 {
			t.Errorf("a copy that could not be read was noted: %v", l.notes)
		}
	})
}

// A key that is a canary is read once, for both.
func TestLookAtCanary(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w, l := listening(t, "l2: a b", versioned, "x", "k")
		w.play("a=v@1 b=v@1 -> a=fresh b=fresh")
		w.wantAsked("a", "k x")
		wantTold(t, l, "k", "a=present b=present")
		if len(l.notes) != 0 {
			t.Errorf("it was noted besides: %v", l.notes)
		}
		// Read again for the canary's sake, it is for the look's too, and the other way round.
		w.play("a=w@2 -> a=fresh b=stale")
		w.wantAsked("b", "k x", "k")
		wantTold(t, l, "k", "a=present! b=present!")
		w.do("b=w@2")
		l.bad["b/k"] = true
		w.play("-> a=fresh b=fresh")
		w.wantAsked("a", "k x", "k")
		wantTold(t, l, "k", "a=present! b=present!")
	})
}

// A copy that would be bad is read again, alone, and what the second read finds is told.
func TestLooksAreReadTwice(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w, l := listening(t, "l2: a b", versioned, "x", "y")
		for _, key := range []string{"x", "y"} {
			w.set("a", key, "v@1")
			w.set("b", key, "v@1")
		}
		l.bad["b/y"] = true
		w.node("b").twist = func(read int, name string, r *probes.Raw) {
			if name == "y" && read == 1 {
				*r = probes.Raw{}
			}
		}
		w.sample()
		w.wantAsked("a", "k x y")
		w.wantAsked("b", "k x y", "y")
		wantTold(t, l, "x", "a=present b=present")
		wantTold(t, l, "y", "a=present b=gone!")
		// What the second read does not tell stays what the first found, read once.
		w.node("b").twist = nil
		w.node("b").slow[1] = -1
		w.sample()
		wantTold(t, l, "y", "a=present b=present")
		w.node("b").slow[1] = 0
		// An answer that makes no sense is asked about.
		w.node("a").twist = func(read int, name string, r *probes.Raw) {
			if name == "x" && read == 0 {
				*r = probes.Raw{Suspect: true}
			}
		}
		w.sample()
		w.wantAsked("a", "k x y", "x")
		wantTold(t, l, "x", "a=present! b=present")
	})
}

// Who is asked for a look: the nodes that should hold the key, in the layers that are to be asked.
func TestWhereLooksAreAsked(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		class := `match: "^(?P<name>.+)$", layers: [l2, {name: l3, key: "v3:{name}"}, l4]`
		w, l := listening(t, "l2: a b c d; l3: e; l4: f", class, "x")
		w.node("d").place = func(key string) probes.Placement {
			if key == "x" {
				return probes.Placement{Holding: probes.Anywhere}
			}
			return probes.Placement{Holding: probes.Elsewhere}
		}
		w.node("b").place = func(string) probes.Placement { return probes.Placement{Holding: probes.Elsewhere} }
		w.node("c").place = func(string) probes.Placement { return probes.Placement{Holding: probes.Foreign} }
		w.sample()
		wantTold(t, l, "x", "a=gone d=gone e=gone")
		w.wantAsked("a", "k x")
		w.wantAsked("b")
		w.wantAsked("c", "k")
		w.wantAsked("d", "x")
		w.wantAsked("e", "v3:k v3:x")
		w.wantAsked("f", "k")
		// As a canary, it is read where canaries are, and looked at where looks are.
		l.due = []string{"k"}
		w.sample()
		wantTold(t, l, "k", "a=gone e=gone")
		w.wantAsked("c", "k")
		w.wantAsked("f", "k")
	})
}

// Nodes that do not answer have not been seen; those that left are not asked.
func TestLooksAtNodesThatFail(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w, l := listening(t, "l2: a b c d", "", "x", "k")
		for _, op := range []string{"freeze=b", "left:c=true", "down:d=true"} {
			w.do(op)
		}
		w.sample()
		for _, key := range l.due {
			wantTold(t, l, key, "a=gone b=failed")
		}
	})
}

// hesitant is a node that does not answer for what is looked at.
type hesitant struct{ *spy }

func (h hesitant) Read(ctx context.Context, keys []probes.Key, visit func(int, probes.Raw)) error {
	known := slices.IndexFunc(keys, func(k probes.Key) bool { return k.Name == "x" })
	if known < 0 {
		return h.spy.Read(ctx, keys, visit)
	}
	if err := h.spy.Read(ctx, keys[:known], visit); err != nil {
		return err
	}
	return rest(ctx, -1)
}

// A node that is too slow for the looks has its canaries read, and is no failure; without canaries it is one.
func TestLooksCostNoCanary(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w, l := listening(t, "l2: a b", versioned, "x", "y")
		w.node("b").wrap = func(s *spy) probes.Node { return hesitant{s} }
		w.play("a=v@1 b=v@1 -> a=fresh b=fresh", "a=w@2 -> a=fresh b=stale")
		wantTold(t, l, "x", "a=gone b=failed")
		if err := w.last.Classes[0].Err; err != nil {
			t.Error(err)
		}
		w.keyless = true
		w.reload()
		w.sample()
		wantTold(t, l, "x", "a=gone b=failed")
		if err := w.last.Nodes[1].Err; err == nil {
			t.Error("nothing was read, and no error")
		}
	})
}

// A class whose keys all come out of a queue has no canaries that could be counted.
func TestClassOfEventsAlone(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w, l := listening(t, "l2: a b", versioned, "x")
		w.keyless = true
		w.reload()
		for range 3 {
			w.set("a", "x", "v@1")
			l.bad["a/x"] = true
			w.sample()
			w.wantAsked("a", "x", "x")
			w.wantAsked("b", "x")
			wantTold(t, l, "x", "a=present! b=gone")
			if len(w.last.Classes) != 0 || len(w.last.Nodes) != 2 || !w.last.Nodes[0].Up {
				t.Errorf("%+v", w.last)
			}
		}
		l.due = nil
		w.sample()
		w.wantAsked("a")
	})
}

// What tells one storing from the next is passed on, and asked of nodes for classes with events alone.
func TestIdentityIsPassedOn(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w, l := listening(t, "l2: a", ageing, "x")
		w.set("a", "k", "v!5m")
		w.set("a", "x", "v!5m")
		w.do("ttl:a=40s")
		w.node("a").twist = func(_ int, _ string, r *probes.Raw) {
			r.CAS, r.ExpiresMS, r.Age, r.HasAge, r.ETag = 7, 8, 9*time.Second, true, 10
		}
		w.sample()
		c := l.looks["x"]["a"].Copy
		if c.CAS != 7 || c.ExpiresMS != 8 || c.Age != 9*time.Second || !c.HasAge || c.ETag != 10 || c.TTL != 40*time.Second || !c.HasTTL ||
			w.last.Began.Sub(c.CachedAt).Round(time.Second) != 5*time.Minute+time.Second {
			t.Errorf("%+v", c)
		}
		if noted := l.notes["a/k"]; noted != c.Identity() {
			t.Errorf("the canary: %+v, not %+v", noted, c.Identity())
		}
		if !w.node("a").identified["k"] || !w.node("a").identified["x"] {
			t.Errorf("asked for %v", w.node("a").identified)
		}
		w.events = nil
		w.reload()
		if w.sample(); w.node("a").identified["k"] {
			t.Error("a class without events")
		}
	})
}

// Of several variants the one that says most against the copy is told.
func TestLookAtVariants(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w, l := listening(t, "l2: a", versioned, "x")
		w.set("a", "x", "v@5")
		for _, c := range []struct{ variant, want string }{
			{"v@4", "present 4"}, {"v@6", "present 5"}, {"-", "present 5"}, {"?", "failed "}, {"none", "present 5"},
		} {
			w.do("variant:a=" + c.variant)
			w.sample()
			state, _ := strings.CutPrefix(l.told("x"), "a=")
			if got := fmt.Sprint(state, " ", l.looks["x"]["a"].Copy.Version); got != c.want {
				t.Errorf("beside v@5 %s: %s, want %s", c.variant, got, c.want)
			}
		}
		w.set("a", "x", "-")
		w.do("variant:a=v@4")
		w.sample()
		wantTold(t, l, "x", "a=present")
	})
	for i, c := range []struct {
		further, first events.Copy
		want           bool
	}{
		{events.Copy{Present: true, HasAge: true, Age: 5}, events.Copy{Present: true, HasAge: true, Age: 4}, true},
		{events.Copy{Present: true, HasAge: true, Age: 4}, events.Copy{Present: true, HasAge: true, Age: 5}, false},
		{events.Copy{Present: true, CachedAt: time.Unix(4, 0)}, events.Copy{Present: true, CachedAt: time.Unix(5, 0)}, true},
		{events.Copy{Present: true, CachedAt: time.Unix(5, 0)}, events.Copy{Present: true, CachedAt: time.Unix(4, 0)}, false},
		{events.Copy{Present: true, CachedAt: time.Unix(5, 0)}, events.Copy{Present: true}, true},
		{events.Copy{Present: true}, events.Copy{Present: true, CachedAt: time.Unix(5, 0)}, false},
		{events.Copy{Present: true}, events.Copy{Failed: true}, false},
	} {
		if older(&c.further, &c.first) != c.want {
			t.Errorf("%d: %t", i, !c.want)
		}
	}
}

// A node that began anew is told, however long it has run since.
func TestRestartIsTold(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w, l := listening(t, "l2: a b", "", "x")
		for i, c := range []struct{ do, want string }{
			{"counting=1", "[]"},
			{"wait=1s", "[]"},
			{"uptime:a=1000002", "[]"},
			{"uptime:a=5", "[a]"},
			{"uptime:a=6", "[]"},
			{"uptime:a=18446744073709551615", "[]"},
			{"uptime:a=18446744073709551615", "[]"},
			{"uptime:a=8", "[a]"},
			{"wait=1h uptime:a=3609 uptime:b=3500", "[b]"},
			{"wait=1h uptime:a=7210 uptime:b=7100", "[]"},
		} {
			for op := range strings.FieldsSeq(c.do) {
				w.do(op)
			}
			if i < 3 {
				w.do("uptime:b=1000010")
			}
			w.sample()
			if got := fmt.Sprint(l.restarted); got != c.want {
				t.Errorf("step %d, %s: %s restarted, want %s", i, c.do, got, c.want)
			}
		}
	})
}

// A replica that lacks what its primary sent is told as such.
func TestLaggingIsTold(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w, l := listening(t, "l2: p r<p", "", "x")
		lagging := func(what string, want bool) {
			t.Helper()
			w.sample()
			if p, r := l.looks["x"]["p"], l.looks["x"]["r"]; p.Lagging || r.Lagging != want {
				t.Errorf("%s: primary %t, replica %t", what, p.Lagging, r.Lagging)
			}
		}
		w.do("offset:p=100")
		w.do("offset:r=100")
		lagging("at one offset", false)
		w.do("offset:r=99")
		lagging("behind", true)
		w.node("r").offset = -1
		lagging("it tells no offset", false)
		w.do("offset:r=100")
		w.do("cut=r")
		lagging("without a link", true)
	})
}

// Of many canaries some are noted in each sampling, in turns, and of each node always the one with the highest CAS id.
func TestManyCanariesAreNotedInTurns(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		var names []string
		for i := range 2 * mostNoted {
			names = append(names, fmt.Sprintf("k%d", i))
		}
		names = append(names, "last")
		highest := names[mostNoted*3/2]
		w, l := listening(t, "l2: a b", "keys: ["+strings.Join(names, ", ")+"]", "k5")
		cas := map[string]uint64{"k0": 3, highest: 9, "k7": 8}
		w.node("a").twist = func(_ int, name string, r *probes.Raw) { r.CAS = cas[name] }
		w.set("a", "k0", "v")
		w.set("a", "k7", "v")
		w.set("a", highest, "v")
		for _, want := range []struct {
			first, behind int
			highest       string
		}{{0, mostNoted, highest}, {mostNoted, 2 * mostNoted, ""}, {2 * mostNoted, len(names), highest}, {0, mostNoted, highest}} {
			w.sample()
			wantTold(t, l, "k5", "a=gone b=gone")
			var noted []string
			for _, key := range names[want.first:want.behind] {
				for _, node := range []string{"a", "b"} {
					if key != "k5" {
						noted = append(noted, node+"/"+key)
					}
					if !w.node(node).identified[key] {
						t.Fatalf("%s is not asked for what tells one storing of %s from the next", node, key)
					}
				}
			}
			if want.highest != "" {
				noted = append(noted, "a/"+want.highest)
			}
			slices.Sort(noted)
			if got := slices.Sorted(maps.Keys(l.notes)); !slices.Equal(got, noted) {
				t.Errorf("%d to %d: %d notes, not %d", want.first, want.behind, len(got), len(noted))
			}
			if want.first > 5 && (!w.node("a").identified["k5"] || w.node("a").identified["k6"]) {
				t.Error("a canary out of turn is asked, or one that is looked at not")
			}
		}
	})
}

// The keys that a pattern in a message may stand for.
func TestKnownKeys(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		w, _ := listening(t, "l2: a", `keys: [k], pattern: "u:*"`)
		w.node("a").found = []string{"u:2", "u:1", "v:1"}
		w.sample()
		w.sample()
		if got := w.sampler.KnownKeys("c"); !slices.Equal(got, []string{"k", "u:1", "u:2"}) {
			t.Errorf("%q", got)
		}
		if got := w.sampler.KnownKeys("other"); got != nil {
			t.Errorf("%q", got)
		}
	})
}
