package events

import (
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cacheinv/cacheinv_exporter/internal/content"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// stand is a tracker in fake time, of one class with two windows on two nodes.
type stand struct {
	*testing.T
	*Tracker
	now     time.Time
	traits  probes.QueueTraits
	sent    int
	commits int // messages that the group passed; below 0: not known
}

func newStand(t *testing.T, change func(*Spec)) *stand {
	s := &stand{T: t, now: time.Date(2024, 3, 1, 12, 0, 0, 0, time.UTC)}
	s.Tracker = NewTracker(Options{HashKey: []byte("k"), Now: func() time.Time { return s.now }})
	s.configure(change)
	s.sampled()
	s.wait(10 * time.Second)
	return s
}

func spec(change func(*Spec)) Spec {
	sp := Spec{
		Class: "c", Queue: "q", Message: &probes.Message{Key: "$.key", Version: "$.version", TimestampMS: "$.ts"}, VersionKind: "integer", Sample: 100,
		Within: time.Minute, Windows: []Window{{"1m", time.Minute}, {"5m", 5 * time.Minute}}, Layers: []Layer{{Name: "l1"}, {Name: "l2"}},
	}
	if change != nil {
		change(&sp)
	}
	return sp
}

func (s *stand) configure(change func(*Spec)) {
	s.Helper()
	if err := s.Configure([]Spec{spec(change)}); err != nil {
		s.Fatal(err)
	}
}

func (s *stand) wait(d time.Duration) { s.now = s.now.Add(d) }

// send a message that is written now.
func (s *stand) send(value string) {
	s.sent++
	s.Visit("q", probes.Event{At: probes.Position{Major: uint64(s.sent)}, Value: []byte(value), Written: s.now})
}

// sampled ends a sampling of the queue, in which the group has passed commits messages.
func (s *stand) sampled() {
	commits := s.commits
	s.Sampled("q", s.traits, &probes.Backlog{
		Followed: &probes.Followed{Seen: 1},
		Groups: []probes.GroupBacklog{{Group: "g", Passed: func(_ probes.Partition, at probes.Position) (bool, bool) {
			return int(at.Major) <= commits, commits >= 0
		}}},
	}, s.now)
}

// event of a key, which the processor passes at once.
func (s *stand) event(value string) {
	s.send(value)
	s.commits = s.sent
	s.sampled()
}

// on is a copy on the node of a layer, read now and twice.
func (s *stand) on(layer string, c Copy) NodeCopy {
	c.Asked, c.Read = s.now, s.now
	return NodeCopy{Layer: layer, Node: layer + "-1", Copy: c, Twice: true}
}

// note a canary's copy on the node of the first layer.
func (s *stand) note(key string, c Copy) {
	s.Note([]NodeNotes{{"l1", "l1-1", c.Asked, c.Read, []Noted{{"c", key, c.Identity()}}}})
}

// look at all keys that are due: each has these copies.
func (s *stand) look(copies ...NodeCopy) []string {
	due := s.Due("c", s.now)
	for _, k := range due {
		s.Look("c", k, copies, s.now)
	}
	return due
}

func (s *stand) report() ClassReport {
	r, ok := s.Report("c")
	if !ok {
		s.Fatal("no report")
	}
	return r
}

// wantEvents compares the results of events at a window, such as "survived:1".
func (s *stand) wantEvents(window string, want string) {
	s.Helper()
	for _, w := range s.report().Windows {
		if w.Label != window {
			continue
		}
		var got []string
		for r, n := range w.Events {
			if n > 0 {
				got = append(got, fmt.Sprintf("%s:%d", Result(r), n))
			}
		}
		if strings.Join(got, " ") != want {
			s.Errorf("at %s %q, want %q", window, got, want)
		}
	}
}

var held = Copy{Present: true, Version: content.ReadVersion("1")}

func TestAnEventIsLookedAtAtEachWindow(t *testing.T) {
	s := newStand(t, nil)
	s.event(`{"key":"a","version":2}`)
	if due := s.look(); len(due) > 0 {
		t.Errorf("%q are due at once", due)
	}
	s.wait(59 * time.Second)
	if due := s.look(); len(due) > 0 {
		t.Errorf("%q are due before the window", due)
	}
	s.wait(20 * time.Second)
	current := held
	current.Version = content.ReadVersion("2")
	if due := s.look(s.on("l1", Copy{}), s.on("l2", current)); !slices.Equal(due, []string{"a"}) {
		t.Errorf("due %q", due)
	}
	s.wantEvents("1m", "gone:1")
	if due := s.look(); len(due) > 0 {
		t.Errorf("%q are due twice at a window", due)
	}
	if r := s.report(); r.Pending != 1 || r.OldestIneffective != 0 || r.Within != time.Minute {
		t.Errorf("%+v", r)
	}
	want := []Effect{{Layer: "l1", After: 79 * time.Second}, {Layer: "l2", After: 79 * time.Second}}
	if diff := cmp.Diff(want, s.Effects("c")); diff != "" {
		t.Error(diff)
	}
	s.wait(5 * time.Minute)
	s.look(s.on("l1", Copy{}), s.on("l2", current))
	s.wantEvents("5m", "gone:1")
	if r := s.report(); r.Pending != 0 || len(s.Effects("c")) > 0 {
		t.Errorf("%+v", r)
	}
	copies := s.report().Windows[0].Copies
	if len(copies) != 2 || copies[0].Results[Gone] != 1 || copies[1].Node != "l2-1" || copies[1].Results[Current] != 1 {
		t.Errorf("%+v", copies)
	}
}

func TestASamplingThatWasMissedLooksAtAllWindowsAtOnce(t *testing.T) {
	s := newStand(t, nil)
	s.event(`{"key":"a","version":2}`)
	s.wait(9 * time.Minute)
	s.look(s.on("l1", held))
	s.wantEvents("1m", "survived:1")
	s.wantEvents("5m", "survived:1")
}

func TestRule1BadOnlyPastTheProcessor(t *testing.T) {
	for _, c := range []struct {
		name string
		run  func(*stand)
		want string
	}{
		{"committed before", func(s *stand) { s.event(`{"key":"a","version":2}`); s.wait(time.Minute) }, "survived:1"},
		{"not committed", func(s *stand) { s.send(`{"key":"a","version":2}`); s.sampled(); s.wait(time.Minute) }, "waiting:1"},
		{"committed less than a second before", func(s *stand) {
			s.send(`{"key":"a","version":2}`)
			s.sampled()
			s.wait(time.Minute)
			s.commits = s.sent
			s.sampled()
			s.wait(800 * time.Millisecond)
		}, "waiting:1"},
		{"not known", func(s *stand) { s.commits = -1; s.send(`{"key":"a","version":2}`); s.sampled(); s.wait(time.Minute) }, "unknown:1"},
		{"no more known", func(s *stand) {
			s.send(`{"key":"a","version":2}`)
			s.sampled()
			s.Sampled("q", s.traits, nil, s.now)
			s.wait(time.Minute)
		}, "unknown:1"},
		{"a rewind", func(s *stand) { s.event(`{"key":"a","version":2}`); s.commits = 0; s.sampled(); s.wait(time.Minute) }, "survived:1"},
		{"a channel", func(s *stand) {
			s.traits.AtOnce, s.commits = true, -1
			s.send(`{"key":"a","version":2}`)
			s.sampled()
			s.wait(time.Minute)
		}, "survived:1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStand(t, nil)
			c.run(s)
			s.look(s.on("l1", held))
			s.wantEvents("1m", c.want)
		})
	}
}

// An event whose message is in a log that is gone was not processed because a position in the next one is passed.
func TestALogThatIsMadeAnew(t *testing.T) {
	partition := probes.Partition{}
	for _, c := range []struct {
		name   string
		passed bool
		anew   probes.Partition
		want   string
	}{
		{"passed before", true, partition, "survived:1"},
		{"not passed before", false, partition, "unknown:1"},
		{"of another partition", false, probes.Partition{ID: 1}, "survived:1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStand(t, nil)
			s.send(`{"key":"a","version":2}`)
			if c.passed {
				s.commits = s.sent
			}
			s.sampled()
			s.wait(10 * time.Second)
			s.Sampled("q", s.traits, &probes.Backlog{Followed: &probes.Followed{Anew: map[probes.Partition]bool{c.anew: true}}}, s.now)
			s.wait(10 * time.Second)
			s.commits = s.sent
			s.sampled()
			s.wait(40 * time.Second)
			s.look(s.on("l1", held))
			s.wantEvents("1m", c.want)
			s.event(`{"key":"b","version":2}`)
			s.wait(time.Minute)
			s.look(s.on("l1", Copy{}))
			s.wantEvents("1m", "gone:1 "+c.want)
		})
	}
}

func TestProgressOfGroups(t *testing.T) {
	group := func(name string, passed, known bool) probes.GroupBacklog {
		return probes.GroupBacklog{Group: name, Passed: func(probes.Partition, probes.Position) (bool, bool) { return passed, known }}
	}
	leftover := group("old", false, true)
	leftover.Leftover = true
	for _, c := range []struct {
		name, group   string
		groups        []probes.GroupBacklog
		passed, known bool
	}{
		{"no group", "", nil, false, false},
		{"the only one", "", []probes.GroupBacklog{group("a", true, true)}, true, true},
		{"all", "", []probes.GroupBacklog{group("a", true, true), group("b", false, true)}, false, true},
		{"one unknown", "", []probes.GroupBacklog{group("a", true, true), group("b", false, false)}, false, false},
		{"the one that counts", "a", []probes.GroupBacklog{group("a", true, true), group("b", false, true)}, true, true},
		{"another one", "c", []probes.GroupBacklog{group("a", true, true)}, false, false},
		{"leftovers", "", []probes.GroupBacklog{group("a", true, true), leftover}, true, true},
		{"nothing of that kind", "", []probes.GroupBacklog{{Group: "a"}}, false, false},
	} {
		k := class{spec: Spec{Group: c.group}}
		if passed, known := k.progress(&probes.Backlog{Groups: c.groups}, probes.Partition{}, probes.Position{}); passed != c.passed || known != c.known {
			t.Errorf("%s: passed %t, known %t", c.name, passed, known)
		}
	}
}

func TestRule6OnlyTheSecondReadIsBad(t *testing.T) {
	s := newStand(t, nil)
	s.event(`{"key":"a","version":2}`)
	s.wait(time.Minute)
	s.Due("c", s.now)
	once := s.on("l1", held)
	once.Twice = false
	if !s.Suspect("c", "a", "l1", "l1-1", once.Copy) || s.Suspect("c", "a", "l1", "l1-1", Copy{}) || s.Suspect("c", "b", "l1", "l1-1", once.Copy) {
		t.Error("what would be bad is not read twice, or what is not is")
	}
	s.Look("c", "a", []NodeCopy{once}, s.now)
	s.wantEvents("1m", "error:1")
}

func TestRule7WhatIsLeftOut(t *testing.T) {
	s := newStand(t, func(sp *Spec) {
		sp.Sample = 2
		sp.Takes = func(k string) bool { return k != "other" }
	})
	s.send(fmt.Sprintf(`{"key":"old","ts":%d}`, s.now.Add(-601*time.Second).UnixMilli()))
	s.send(fmt.Sprintf(`{"key":"a","ts":%d}`, s.now.Add(time.Hour).UnixMilli()))
	s.send(`{"key":"other"}`)
	s.send(`no JSON`)
	s.Visit("q", probes.Event{}) // a tombstone
	for i := range 9 {
		s.send(`{"key":"k` + strconv.Itoa(i) + `"}`)
	}
	s.Sampled("q", s.traits, &probes.Backlog{Followed: &probes.Followed{Seen: 20, LeftOut: 6}}, s.now)
	r, _ := s.QueueReport("q")
	if want := (QueueReport{Seen: 21, Skipped: [NumSkipReasons]uint64{Budget: 14, NoClass: 1, TooOld: 1, Unreadable: 1}}); r != want {
		t.Errorf("%+v, want %+v", r, want)
	}
	if n := s.report().Pending; n != 2 {
		t.Errorf("%d pending", n)
	}
}

func TestTheSameKeysComeAgain(t *testing.T) {
	s := newStand(t, func(sp *Spec) { sp.Sample = 5 })
	var before []string
	for round := range 3 {
		for i := range 200 {
			s.send(`{"key":"k` + strconv.Itoa((i*7+round)%200) + `"}`)
		}
		for range 100 { // a loop takes no more than its part
			s.send(`{"key":"k1"}`)
		}
		s.sampled()
		s.wait(time.Minute)
		due := s.look()
		slices.Sort(due)
		if round > 0 && !slices.Equal(due, before) {
			t.Errorf("%q, and then %q", before, due)
		}
		before = due
		s.wait(10 * time.Minute)
		s.look()
	}
	if len(before) < 4 {
		t.Errorf("%q", before)
	}
}

func TestRule8OneCheckAKeyAndVersion(t *testing.T) {
	s := newStand(t, nil)
	for range 3 {
		s.event(`{"key":"a","version":2}`)
		s.event(`{"key":["a","b"],"version":2}`)
	}
	if n := s.report().Pending; n != 2 {
		t.Errorf("%d pending, want one of a and one of b", n)
	}
	s.event(`{"key":"a","version":3}`)
	s.event(`{"key":"a"}`)
	s.event(`{"key":"a"}`)
	if n := s.report().Pending; n != 5 {
		t.Errorf("%d pending, want 5", n)
	}
	s.wait(5 * time.Minute)
	s.look(s.on("l1", Copy{}))
	s.wait(9 * time.Minute)
	s.event(`{"key":"a","version":2}`)
	if n := s.report().Pending; n != 0 {
		t.Errorf("%d pending, within ten minutes", n)
	}
	s.wait(2 * time.Minute)
	s.event(`{"key":"a","version":2}`)
	if n := s.report().Pending; n != 1 {
		t.Errorf("%d pending, after ten minutes", n)
	}
}

func TestRule9LayersThatMayBeStaleAreNotAsked(t *testing.T) {
	s := newStand(t, func(sp *Spec) { sp.Layers[1].MaxStaleness = time.Minute })
	s.event(`{"key":"a","version":2}`)
	s.wait(time.Minute)
	s.Due("c", s.now)
	if s.Asks("c", "a", "l2") || !s.Asks("c", "a", "l1") || s.Suspect("c", "a", "l2", "l2-1", s.on("l2", held).Copy) {
		t.Error("which layers are asked")
	}
	s.look(s.on("l1", Copy{}), s.on("l2", held))
	s.wantEvents("1m", "gone:1")
	s.wait(4 * time.Minute)
	s.look(s.on("l1", Copy{}), s.on("l2", held))
	s.wantEvents("5m", "survived:1")
}

func TestRule10AReplicaIsNamedForItself(t *testing.T) {
	s := newStand(t, nil)
	s.event(`{"key":"a","version":2}`)
	s.wait(time.Minute)
	replica := s.on("l1", held)
	replica.Node, replica.Lagging = "replica", true
	s.look(s.on("l1", Copy{}), replica)
	want := []BadLook{{
		Key: "a", Layer: "l1", Node: "replica", Window: "1m", Result: Survived, Event: s.now.Add(-time.Minute).Local(),
		VersionSeen: "1", VersionWanted: "2", Lagging: true,
	}}
	if diff := cmp.Diff(want, s.report().Bad); diff != "" {
		t.Error(diff)
	}
}

func TestRule11Patterns(t *testing.T) {
	s := newStand(t, func(sp *Spec) {
		sp.Patterns, sp.Known = []string{"$.pattern"}, func() []string { return []string{"user:1", "user:2", "item:1"} }
	})
	s.event(`{"pattern":"user:*","version":2}`)
	s.wait(time.Minute)
	due := s.Due("c", s.now)
	if !slices.Equal(due, []string{"user:1", "user:2"}) {
		t.Fatalf("due %q", due)
	}
	s.Look("c", "user:1", []NodeCopy{s.on("l1", Copy{})}, s.now)
	s.wantEvents("1m", "")
	s.Look("c", "user:2", []NodeCopy{s.on("l1", held)}, s.now)
	s.wantEvents("1m", "survived:1")
}

func TestAMessageOfSeveralKeysIsLookedAtAgainWhereOneWasNotRead(t *testing.T) {
	s := newStand(t, nil)
	s.event(`{"key":["a","b"],"version":2}`)
	s.wait(time.Minute)
	s.Due("c", s.now)
	s.Look("c", "a", []NodeCopy{s.on("l1", held)}, s.now)
	s.wait(time.Second)
	s.look(s.on("l1", Copy{}))
	s.wantEvents("1m", "gone:1")
}

func TestSuperseded(t *testing.T) {
	s := newStand(t, nil)
	s.event(`{"key":"a"}`)
	s.wait(30 * time.Second)
	s.event(`{"key":"a"}`)
	s.wait(30 * time.Second)
	s.look(s.on("l1", Copy{Present: true}))
	s.wantEvents("1m", "superseded:1")
	s.wait(30 * time.Second)
	s.look(s.on("l1", Copy{Present: true}))
	s.wantEvents("1m", "superseded:1 unknown:1")
}

func TestWithoutEffectIsLookedAtAgain(t *testing.T) {
	s := newStand(t, nil)
	s.event(`{"key":"a","version":2}`)
	s.wait(time.Minute)
	s.look(s.on("l1", held), s.on("l2", Copy{}))
	if age := s.report().OldestIneffective; age != time.Minute {
		t.Errorf("oldest without effect %s", age)
	}
	s.wait(10 * time.Second)
	if due := s.look(s.on("l1", Copy{Failed: true}), s.on("l2", Copy{})); len(due) != 1 {
		t.Errorf("due %q", due)
	}
	if age := s.report().OldestIneffective; age != 70*time.Second {
		t.Errorf("oldest without effect %s, after a node that did not answer", age)
	}
	s.wait(5 * time.Minute)
	s.look(s.on("l1", held), s.on("l2", Copy{}))
	s.wait(time.Minute)
	s.look(s.on("l1", Copy{}), s.on("l2", Copy{}))
	if r := s.report(); r.OldestIneffective != 0 || r.Pending != 0 {
		t.Errorf("%+v", r)
	}
	want := []Effect{{Layer: "l2", After: time.Minute}, {Layer: "l1", After: 430 * time.Second}}
	if diff := cmp.Diff(want, s.Effects("c")); diff != "" {
		t.Error(diff)
	}
	s.wantEvents("1m", "survived:1")
	s.wantEvents("5m", "survived:1")

	s.event(`{"key":"b","version":2}`)
	s.wait(5 * time.Minute)
	s.look(s.on("l1", held))
	s.wait(56 * time.Minute)
	if due := s.look(); len(due) > 0 || s.report().Pending > 0 {
		t.Errorf("%q are looked at after an hour", due)
	}
}

// What is without effect for long takes no room from what comes after it, nor from what looks saw: an incident that lasts is told for as long.
func TestWhatIsWithoutEffectLeavesRoom(t *testing.T) {
	const each, interval = 480, time.Minute
	s := newStand(t, func(sp *Spec) { sp.Sample = each })
	checked := func() uint64 { return s.report().Windows[0].Events[Survived] }
	n := 0
	round := func() {
		for range each {
			s.send(fmt.Sprintf(`{"key":"user:%d:profile","version":%d}`, n%5000, n))
			n++
		}
		s.commits = s.sent
		s.sampled()
		s.wait(interval)
		s.look(s.on("l1", held), s.on("l2", Copy{}))
	}
	for range 58 * time.Minute / interval {
		round()
	}
	before := checked()
	for range 10 * time.Minute / interval {
		round()
	}
	if got := checked() - before; got < each*10*9/10 {
		t.Errorf("%d events were looked at in ten minutes, and %d came", got, each*10)
	}
	if age := s.report().OldestIneffective; age < 59*time.Minute || age > 61*time.Minute {
		t.Errorf("the oldest without effect is %s old", age)
	}
	if size := s.Size(); size.Copies < 5000 {
		t.Errorf("%+v", size)
	}
	r, _ := s.QueueReport("q")
	if r.Skipped[Budget] > 0 {
		t.Errorf("%d of %d messages were left out", r.Skipped[Budget], n)
	}
}

func TestAnOldValueThatCameBack(t *testing.T) {
	current := held
	current.Version = content.ReadVersion("2")
	for name, first := range map[string]Copy{"missing": {}, "current": current} {
		t.Run("was "+name, func(t *testing.T) {
			s := newStand(t, nil)
			s.event(`{"key":"a","version":2}`)
			s.wait(time.Minute)
			s.look(s.on("l1", first), s.on("l2", held))
			s.wantEvents("1m", "survived:1")
			s.wait(4 * time.Minute)
			s.look(s.on("l1", held), s.on("l2", current))
			s.wantEvents("5m", "restored:1")
		})
	}
}

// What was old at each look is not said to have come back because copies of another layer, or an older event, took effect.
func TestAnOldValueThatStayed(t *testing.T) {
	s := newStand(t, nil)
	current := held
	current.Version = content.ReadVersion("2")
	s.event(`{"key":"a","version":2}`)
	s.wait(time.Minute)
	s.look(s.on("l1", current), s.on("l2", held))
	s.event(`{"key":"a","version":3}`)
	s.wait(4 * time.Minute)
	s.look(s.on("l1", current), s.on("l2", held))
	s.wantEvents("1m", "survived:2")
	s.wantEvents("5m", "survived:1")
}

func TestIdentityBeforeTheEvent(t *testing.T) {
	cas := func(n uint64) Copy { return Copy{Present: true, CAS: n} }
	expires := func(ms int64, d byte) Copy { return Copy{Present: true, ExpiresMS: ms, Digest: content.Digest{d}} }
	for _, c := range []struct {
		name          string
		before, after Copy
		run           func(*stand)
		want          string
	}{
		{"the same CAS", cas(7), cas(7), nil, "survived:1"},
		{"a higher CAS", cas(7), cas(9), nil, "unknown:1"},
		{"a higher CAS than a canary's after the event", cas(7), cas(9), func(s *stand) { s.note("canary", s.on("l1", cas(8)).Copy) }, "rewritten:1"},
		{"a CAS below a canary's before the event", cas(7), cas(7), nil, "survived:1"},
		{"the server began anew", cas(7), cas(7), func(s *stand) { s.Restarted("l1", "l1-1") }, "unknown:1"},
		{"the same expiry and content", expires(1001, 1), expires(1001, 1), nil, "survived:1"},
		{"another expiry", expires(1001, 1), expires(2001, 1), nil, "unknown:1"},
		{"another content", expires(1001, 1), expires(2001, 2), nil, "rewritten:1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStand(t, nil)
			s.note("a", s.on("l1", c.before).Copy)
			s.sampled()
			s.wait(20 * time.Second)
			s.event(`{"key":"a"}`)
			s.wait(30 * time.Second)
			if c.run != nil {
				c.run(s)
			}
			s.wait(30 * time.Second)
			s.look(s.on("l1", c.after))
			s.wantEvents("1m", c.want)
		})
	}
}

func TestALookThatEndsAfterTheEventIsNotBeforeIt(t *testing.T) {
	s := newStand(t, nil)
	began := s.on("l1", Copy{Present: true, CAS: 7}).Copy
	s.wait(500 * time.Millisecond)
	s.event(`{"key":"a"}`)
	s.wait(500 * time.Millisecond)
	began.Read = s.now
	s.note("a", began)
	s.wait(time.Minute)
	s.look(s.on("l1", Copy{Present: true, CAS: 7}))
	s.wantEvents("1m", "unknown:1")
}

func TestAClockAheadMakesNoLookOneBeforeTheEvent(t *testing.T) {
	s := newStand(t, nil)
	s.sampled()
	s.wait(10 * time.Second)
	s.note("a", s.on("l1", Copy{Present: true, CAS: 7}).Copy) // after the event, as nobody can see
	s.wait(10 * time.Second)
	s.send(fmt.Sprintf(`{"key":"a","ts":%d}`, s.now.Add(-time.Second).UnixMilli()))
	s.commits = s.sent
	s.sampled()
	s.wait(time.Minute)
	s.look(s.on("l1", Copy{Present: true, CAS: 7}))
	s.wantEvents("1m", "unknown:1")
}

func TestRule5ACASThatFallsIsDistrusted(t *testing.T) {
	s := newStand(t, nil)
	note := func(key string, cas uint64) {
		s.note(key, s.on("l1", Copy{Present: true, CAS: cas}).Copy)
	}
	note("a", 100)
	note("b", 50)
	s.sampled()
	s.wait(20 * time.Second)
	note("b", 60) // stored since, and yet not above 100: it is another server's
	s.sampled()
	s.wait(20 * time.Second)
	note("a", 100)
	s.sampled()
	s.wait(20 * time.Second)
	s.event(`{"key":"b"}`)
	s.wait(time.Minute)
	s.look(s.on("l1", Copy{Present: true, CAS: 70}))
	s.wantEvents("1m", "unknown:1")
}

func TestConfigure(t *testing.T) {
	s := newStand(t, nil)
	s.event(`{"key":"a","version":2}`)
	s.wait(time.Minute)
	s.look(s.on("l1", held), s.on("l2", held))
	s.configure(func(sp *Spec) {
		sp.Layers = sp.Layers[1:]
		sp.Windows = append(sp.Windows, Window{"2m", 2 * time.Minute})
	})
	r := s.report()
	if len(r.Windows) != 3 || len(r.Windows[0].Copies) != 1 || len(r.Bad) != 1 || r.Bad[0].Layer != "l2" || r.Pending != 1 {
		t.Errorf("%+v", r)
	}
	s.wait(time.Minute)
	s.look(s.on("l1", held), s.on("l2", Copy{}))
	s.wantEvents("1m", "survived:1")
	s.wantEvents("2m", "gone:1")
	s.configure(func(sp *Spec) { sp.Contents = "another" })
	s.wantEvents("1m", "survived:1")
	if r := s.report(); r.Pending != 0 || s.Size().Pending != 0 {
		t.Errorf("%+v", r)
	}
	if err := s.Configure([]Spec{spec(func(sp *Spec) { sp.Version = "x" })}); err == nil || !strings.Contains(err.Error(), "class c: events: version") {
		t.Error(err)
	}
	if _, ok := s.Report("c"); ok || s.Follows("q") {
		t.Error("a class that can't be followed is reported")
	}
}

// What was learned by another reading of messages, or of another queue, is over with it; what looks saw of copies is not.
func TestConfigureAnotherReading(t *testing.T) {
	for name, change := range map[string]func(*Spec){
		"another reading": func(sp *Spec) { sp.Reading = "another" },
		"another source":  func(sp *Spec) { sp.Source = "another" },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStand(t, nil)
			s.note("b", Copy{Present: true, CAS: 7})
			s.event(`{"key":"a","version":2}`)
			s.wait(time.Minute)
			s.look(s.on("l1", held))
			s.Sampled("q", s.traits, &probes.Backlog{Followed: &probes.Followed{After: map[probes.Partition]probes.Position{{}: {Major: 9}}}}, s.now)
			s.configure(change)
			if r := s.report(); r.Pending != 0 || r.OldestIneffective != 0 || s.Size().Pending != 0 {
				t.Errorf("%+v", r)
			}
			if after := s.After("q"); (len(after) > 0) != (name == "another reading") {
				t.Errorf("reading goes on after %v", after)
			}
			s.wait(time.Minute)
			s.event(`{"key":"b"}`)
			s.wait(time.Minute)
			s.look(s.on("l1", Copy{Present: true, CAS: 7}))
			s.wantEvents("1m", "survived:2")
		})
	}
}

func TestALayerThatIsNotAskedAnyMoreIsNotWithoutEffect(t *testing.T) {
	s := newStand(t, nil)
	s.event(`{"key":"a","version":2}`)
	s.wait(time.Minute)
	s.look(s.on("l1", held))
	s.configure(func(sp *Spec) { sp.Layers[0].MaxStaleness, sp.Layers[1].MaxStaleness = time.Minute, time.Minute })
	if r := s.report(); r.Pending != 1 || r.OldestIneffective != 0 {
		t.Errorf("%+v", r)
	}
	s.wait(4 * time.Minute)
	s.look(s.on("l1", Copy{}))
	s.wantEvents("5m", "gone:1")
}

func TestPositionsOutliveAConfiguration(t *testing.T) {
	s := newStand(t, nil)
	after := map[probes.Partition]probes.Position{{Topic: "t"}: {Major: 9}}
	s.Sampled("q", s.traits, &probes.Backlog{Followed: &probes.Followed{After: after}}, s.now)
	s.Sampled("q", s.traits, nil, s.now)
	s.configure(nil)
	if diff := cmp.Diff(after, s.After("q")); diff != "" {
		t.Error(diff)
	}
	s.configure(func(sp *Spec) { sp.Queue = "other" })
	s.configure(nil)
	if got := s.After("q"); len(got) > 0 {
		t.Errorf("%v", got)
	}
}

func TestNodesThatLeftAreForgotten(t *testing.T) {
	s := newStand(t, nil)
	s.event(`{"key":"a","version":2}`)
	s.wait(time.Minute)
	s.look(s.on("l1", held), s.on("l2", Copy{}))
	s.wait(4 * time.Minute)
	s.look(s.on("l2", Copy{}))
	s.wait(7 * time.Minute)
	s.sampled()
	r := s.report()
	if copies := r.Windows[0].Copies; len(copies) != 1 || copies[0].Node != "l2-1" || len(r.Bad) != 0 {
		t.Errorf("%+v", r)
	}
}

func TestTheTraceOfAnEvent(t *testing.T) {
	s := newStand(t, nil)
	const id = "4bf92f3577b34da6a3ce929d0e0e4736"
	s.Visit("q", probes.Event{Value: []byte(`{"key":"a","version":2}`), Written: s.now, TraceParent: "00-" + id + "-00f067aa0ba902b7-01"})
	s.sampled()
	s.wait(time.Minute)
	if due := s.look(s.on("l1", Copy{})); !slices.Equal(due, []string{"a"}) {
		t.Errorf("due %q", due)
	}
	if e := s.Effects("c"); len(e) != 1 || e[0].TraceID != id {
		t.Errorf("%+v", e)
	}
}

func heapInUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestSizeIsBounded measures what 20,000 pending events take with what is remembered of copies, which is to be 3 MB at most.
func TestSizeIsBounded(t *testing.T) {
	s := newStand(t, func(sp *Spec) { sp.Sample = 30_000 })
	before := heapInUse()
	for i := range 25_000 {
		s.note(fmt.Sprintf("user:%07d:profile", i), s.on("l1", Copy{Present: true, CAS: uint64(i + 1)}).Copy)
	}
	copies := s.Size()
	noted := heapInUse() - before
	for i := range 25_000 {
		s.send(fmt.Sprintf(`{"key":"user:%07d:profile","version":%d}`, i, i))
	}
	s.sampled()
	size, took := s.Size(), heapInUse()-before
	t.Logf("%+v in %d bytes; before the events %+v in %d", size, took, copies, noted)
	if size.Bytes > mostBytes || size.Pending != mostPending {
		t.Errorf("%+v", size)
	}
	if took > mostBytes || noted > mostBytes {
		t.Errorf("%d and %d bytes are in use, and %d and %d counted", noted, took, copies.Bytes, size.Bytes)
	}
	if copies.Copies < 20_000 || size.Evicted == 0 {
		t.Errorf("%+v, and then %+v", copies, size)
	}
	runtime.KeepAlive(s)
}

// TestSizeOfCopies measures what is remembered of copies of as many keys as there is room for, on few nodes and on many.
func TestSizeOfCopies(t *testing.T) {
	for _, nodes := range []int{1, 3, 12, 40} {
		s := newStand(t, nil)
		before := heapInUse()
		for key := 0; ; key++ {
			known := s.Size().Copies
			for n := range nodes {
				seen := []Noted{{"c", fmt.Sprintf("user:%07d:profile", key), Identity{Seen: true, CAS: uint64(key + 1)}}}
				s.Note([]NodeNotes{{Layer: "l1", Node: strconv.Itoa(n), Asked: s.now, Read: s.now, Copies: seen}})
			}
			if s.Size().Copies == known {
				break
			}
		}
		size, took := s.Size(), heapInUse()-before
		t.Logf("%d nodes: %+v in %d bytes", nodes, size, took)
		if size.Copies < 20_000 || size.Bytes > mostBytes || took > mostBytes*11/10 {
			t.Errorf("%d nodes: %+v, and %d bytes are in use", nodes, size, took)
		}
		runtime.KeepAlive(s)
	}
}

func TestManyGoroutines(t *testing.T) {
	tracker := NewTracker(Options{})
	configure := func() {
		if err := tracker.Configure([]Spec{spec(func(sp *Spec) { sp.Windows = []Window{{"1s", time.Nanosecond}} })}); err != nil {
			t.Error(err)
		}
	}
	configure()
	var wg sync.WaitGroup
	for _, do := range []func(i int){
		func(i int) {
			tracker.Visit("q", probes.Event{Value: []byte(`{"key":"` + strconv.Itoa(i) + `"}`)})
			tracker.Sampled("q", probes.QueueTraits{AtOnce: true}, nil, time.Now())
		},
		func(int) {
			now := time.Now()
			for _, k := range tracker.Due("c", now) {
				c := Copy{Present: true, Asked: now, Read: now}
				tracker.Look("c", k, []NodeCopy{{Layer: "l1", Node: "n", Copy: c, Twice: tracker.Suspect("c", k, "l1", "n", c)}}, now)
			}
		},
		func(int) {
			tracker.Report("c")
			tracker.Effects("c")
			tracker.QueueReport("q")
			tracker.Size()
			tracker.After("q")
		},
		func(int) { configure(); tracker.Restarted("l1", "n") },
	} {
		wg.Go(func() {
			for i := range 200 {
				do(i)
			}
		})
	}
	wg.Wait()
}
