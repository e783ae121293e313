package events

import (
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/content"
)

var (
	eventAt = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	lookAt  = eventAt.Add(time.Minute)
)

// present is a copy of which nothing is told, read a minute after the event.
func present(change func(*Copy)) Copy {
	c := Copy{Present: true, Asked: lookAt, Read: lookAt.Add(10 * time.Millisecond), Digest: content.Digest{1}}
	if change != nil {
		change(&c)
	}
	return c
}

// passed is evidence of an event that the processor passed.
func passed(change func(*Evidence)) Evidence {
	e := Evidence{At: eventAt, Progress: Passed}
	if change != nil {
		change(&e)
	}
	return e
}

func version(s string) content.Version { return content.ReadVersionOf("integer", s) }

// heldBefore is the identity of what present gives.
func heldBefore(change func(*Identity)) Identity {
	i := Identity{Seen: true, Content: ContentOf(content.Digest{1})}
	if change != nil {
		change(&i)
	}
	return i
}

func TestJudge(t *testing.T) {
	v := func(s string) func(*Copy) { return func(c *Copy) { c.Version = version(s) } }
	cas := func(n uint64) func(*Copy) { return func(c *Copy) { c.CAS = n } }
	made := func(d time.Duration) func(*Copy) { return func(c *Copy) { c.CachedAt = eventAt.Add(d) } }
	age := func(d time.Duration) func(*Copy) { return func(c *Copy) { c.HasAge, c.Age = true, d } }
	expires := func(ms int64) func(*Copy) { return func(c *Copy) { c.ExpiresMS = ms } }
	ttl := func(d time.Duration) func(*Copy) { return func(c *Copy) { c.HasTTL, c.TTL = true, d } }
	wrote := func(s string) func(*Evidence) { return func(e *Evidence) { e.Version = version(s) } }
	both := func(fs ...func(*Evidence)) func(*Evidence) {
		return func(e *Evidence) {
			for _, f := range fs {
				f(e)
			}
		}
	}
	isBehind := func(e *Evidence) { e.Progress = Behind }
	unknown := func(e *Evidence) { e.Progress = ProgressUnknown }
	newer := func(e *Evidence) { e.Newer = true }
	missed := func(e *Evidence) { e.StoredAfter = eventAt.Add(time.Second) }
	effective := func(e *Evidence) { e.Effective = true }
	highest := func(before, after uint64) func(*Evidence) {
		return func(e *Evidence) { e.HighestBefore, e.HighestAfter = before, after }
	}
	before := func(change func(*Identity)) func(*Evidence) {
		return func(e *Evidence) { e.Before = heldBefore(change) }
	}
	ttlMin := func(d time.Duration) func(*Evidence) { return func(e *Evidence) { e.TTLMin = d } }
	const odd = 1_800_000_000_123
	for _, c := range []struct {
		name string
		copy Copy
		e    Evidence
		want Result
	}{
		{"error: not read", Copy{Failed: true}, passed(wrote("2")), Error},
		{"error: goes before all else", Copy{Failed: true, Present: true, Version: version("1")}, passed(wrote("2")), Error},
		{"gone: missing", Copy{}, passed(wrote("2")), Gone},
		{"gone: missing, and the processor has not passed", Copy{}, passed(both(wrote("2"), isBehind)), Gone},
		{"gone: missing, and a newer event came", Copy{}, passed(newer), Gone},

		{"current: the version is the event's", present(v("2")), passed(wrote("2")), Current},
		{"current: the version is higher", present(v("3")), passed(wrote("2")), Current},
		{"current: whatever its age says", present(func(c *Copy) { v("2")(c); age(time.Hour)(c) }), passed(wrote("2")), Current},
		{"current: whatever its content says", present(v("2")), passed(both(wrote("2"), before(nil))), Current},
		{"current: before the processor passed", present(v("2")), passed(both(wrote("2"), isBehind)), Current},

		{"waiting: a version below", present(v("1")), passed(both(wrote("2"), isBehind)), Waiting},
		{"waiting: by its age", present(age(2 * time.Minute)), passed(isBehind), Waiting},
		{"waiting: an old value came back before the processor passed", present(v("1")), passed(both(wrote("2"), isBehind, missed)), Waiting},
		{"waiting: a newer event came", present(v("1")), passed(both(wrote("2"), isBehind, newer)), Waiting},
		{"nothing is known of the processor: a version below", present(v("1")), passed(both(wrote("2"), unknown)), Unknown},
		{"nothing is known of the processor: its age", present(age(2 * time.Minute)), passed(unknown), Unknown},
		{"nothing is known of the processor, and a newer event came", present(v("1")), passed(both(wrote("2"), unknown, newer)), Superseded},
		{"not passed, and nothing known of its age", present(nil), passed(isBehind), Unknown},
		{"not passed, and stored after the event", present(made(time.Second)), passed(isBehind), Rewritten},

		{"restored: missing at an earlier look", present(v("1")), passed(both(wrote("2"), missed)), Restored},
		{"restored: missing at a look before the event", present(v("1")), passed(both(wrote("2"), func(e *Evidence) {
			e.StoredAfter = eventAt.Add(-time.Second)
		})), Survived},
		{"restored: good at an earlier look", present(v("1")), passed(both(wrote("2"), effective)), Restored},
		{"waiting: good at an earlier look, before the processor passed", present(v("1")), passed(both(wrote("2"), isBehind, effective)), Waiting},
		{"survived: good at an earlier look, and older by its age", present(age(61*time.Second + 20*time.Millisecond)), passed(effective), Survived},
		{"unknown: good at an earlier look", present(nil), passed(effective), Unknown},
		{"restored: by its age", present(func(c *Copy) { v("1")(c); age(30 * time.Second)(c) }), passed(wrote("2")), Restored},
		{"restored: by cached_at", present(func(c *Copy) { v("1")(c); made(time.Second)(c) }), passed(wrote("2")), Restored},
		{
			"survived: a CAS above all that looks saw, before the event and after it, is one that nobody looked at",
			present(func(c *Copy) { v("1")(c); cas(12)(c) }), passed(both(wrote("2"), highest(5, 10))), Survived,
		},
		{"survived: another content restores nothing", present(v("1")), passed(both(wrote("2"), before(func(i *Identity) { i.Content++ }))), Survived},
		{"restored: whatever a newer event", present(v("1")), passed(both(wrote("2"), missed, newer)), Restored},

		{"survived: a version below", present(v("1")), passed(wrote("2")), Survived},
		{"survived: though a newer event came", present(v("1")), passed(both(wrote("2"), newer)), Survived},
		{"survived: CAS not above the highest before", present(cas(10)), passed(highest(10, 0)), Survived},
		{"survived: the CAS of before", present(cas(10)), passed(before(func(i *Identity) { i.CAS = 10 })), Survived},
		{"CAS between the looks", present(cas(11)), passed(highest(10, 11)), Unknown},
		{"survived: same expiry and content", present(expires(odd)), passed(before(func(i *Identity) { i.ExpiresMS = odd })), Survived},
		{"survived: by its age", present(age(61*time.Second + 20*time.Millisecond)), passed(nil), Survived},
		{"its age within a second", present(age(60 * time.Second)), passed(nil), Unknown},
		{"survived: by cached_at", present(made(-1001 * time.Millisecond)), passed(nil), Survived},
		{"cached_at within a second", present(made(-time.Second)), passed(nil), Unknown},
		{"survived: more of its TTL gone than the event is old", present(ttl(48 * time.Minute)), passed(ttlMin(50 * time.Minute)), Survived},
		{"TTL that may have been stored since", present(ttl(49 * time.Minute)), passed(ttlMin(50 * time.Minute)), Unknown},
		{"TTL without ttl_min", present(ttl(time.Minute)), passed(nil), Unknown},
		{
			"TTL of content that was written in place", present(ttl(48 * time.Minute)),
			passed(both(ttlMin(50*time.Minute), func(e *Evidence) { e.Changed = true })), Rewritten,
		},

		{"rewritten: CAS above the highest after", present(cas(12)), passed(highest(10, 11)), Rewritten},
		{"rewritten: CAS above the highest after, before unknown", present(cas(12)), passed(highest(0, 11)), Rewritten},
		{"rewritten: by its age", present(age(58 * time.Second)), passed(nil), Rewritten},
		{"rewritten: by cached_at", present(made(time.Millisecond)), passed(nil), Rewritten},
		{"cached_at that is yet to come", present(made(time.Hour)), passed(nil), Unknown},
		{"rewritten: another content than before", present(nil), passed(before(func(i *Identity) { i.Content++ })), Rewritten},
		{"rewritten: another ETag than before", present(func(c *Copy) { c.ETag = 2 }), passed(before(func(i *Identity) { i.ETag = 1 })), Rewritten},
		{"rewritten: changed since", present(nil), passed(func(e *Evidence) { e.Changed = true }), Rewritten},
		{"rewritten: missing at an earlier look", present(nil), passed(missed), Rewritten},
		{"rewritten: though a newer event came", present(made(time.Second)), passed(newer), Rewritten},
		{"rewritten: the event has a version and the copy none", present(made(time.Second)), passed(wrote("2")), Rewritten},
		{
			"another content acquits nothing that is convicted", present(age(5 * time.Minute)),
			passed(before(func(i *Identity) { i.Content++ })), Survived,
		},

		{"superseded", present(nil), passed(newer), Superseded},
		{"unknown", present(nil), passed(nil), Unknown},
		{"unknown: the event has a version, and the copy none", present(nil), passed(wrote("2")), Unknown},

		{"rule 4: the same content alone convicts nothing", present(nil), passed(before(nil)), Unknown},
		{
			"rule 4: an expiry that changed while the content did not", present(expires(odd + 7)),
			passed(before(func(i *Identity) { i.ExpiresMS = odd })), Unknown,
		},
		{
			"rule 4: the same expiry, and another content", present(expires(odd)),
			passed(before(func(i *Identity) { i.ExpiresMS, i.Content = odd, 9 })), Rewritten,
		},
		{
			"an expiry that may be a date", present(expires(1_800_000_000_000)),
			passed(before(func(i *Identity) { i.ExpiresMS = 1_800_000_000_000 })), Unknown,
		},
		{"no expiry is not the same expiry", present(expires(0)), passed(before(nil)), Unknown},
		{"rule 5: no CAS", present(cas(0)), passed(highest(10, 11)), Unknown},
		{"rule 5: a CAS that fell", present(cas(3)), passed(both(highest(10, 0), before(func(i *Identity) { i.CAS = 7 }))), Unknown},
		{
			"rule 5: a CAS that stayed while the content changed", present(cas(7)),
			passed(both(highest(10, 0), before(func(i *Identity) { i.CAS, i.Content = 7, 9 }))), Rewritten,
		},
		{"rule 5: a CAS below the highest of before though it came after", present(cas(3)), passed(both(highest(10, 0), missed)), Rewritten},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := Judge(c.copy, c.e); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

func TestWorstOfAnEvent(t *testing.T) {
	order := []Result{Restored, Survived, Waiting, Error, Unknown, Superseded, Gone, Rewritten, Current}
	if len(order) != int(NumResults) {
		t.Fatal("not all results are in the order")
	}
	for i, a := range order {
		for j, b := range order {
			if got := worst(a, b); got != order[min(i, j)] {
				t.Errorf("worst of %s and %s is %s", a, b, got)
			}
		}
		if i < 3 != a.Bad() || i > 5 != a.Good() {
			t.Errorf("%s: bad %t, good %t", a, a.Bad(), a.Good())
		}
	}
}

// The design's tables a second time, in their own order: each row collects its evidence as a list of statements, and the first row with
// all that it needs is taken. It shares nothing with Judge.
func judgeSlowly(c Copy, e Evidence) Result {
	const s = int64(time.Second)
	t0, asked, read := e.At.UnixNano(), c.Asked.UnixNano(), c.Read.UnixNano()
	var content uint64
	for i := range 8 {
		content |= uint64(c.Digest[i]) << (8 * i)
	}
	after := !e.StoredAfter.IsZero() && e.StoredAfter.UnixNano() > t0
	versioned := e.Version.String() != "" && c.Version.String() != ""
	distance, _ := c.Version.Above(e.Version)

	other := e.Changed
	if e.Before.Seen {
		if e.Before.Content != content {
			other = true
		}
		if e.Before.ETag != 0 && c.ETag != 0 && e.Before.ETag != c.ETag {
			other = true
		}
	}
	cas := c.CAS != 0
	if e.Before.CAS != 0 && (c.CAS < e.Before.CAS || c.CAS == e.Before.CAS && e.Before.Content != content) {
		cas = false
	}
	if after && c.CAS <= e.HighestBefore {
		cas = false
	}

	older := []bool{
		versioned && distance < 0,
		cas && c.CAS <= e.HighestBefore,
		cas && c.CAS <= e.Before.CAS,
		e.Before.Seen && c.ExpiresMS%1000 != 0 && c.ExpiresMS == e.Before.ExpiresMS && e.Before.Content == content,
		c.HasAge && read-int64(c.Age) < t0-s,
		!c.CachedAt.IsZero() && c.CachedAt.UnixNano() < t0-s,
		e.TTLMin > 0 && c.HasTTL && int64(e.TTLMin)-int64(c.TTL) > read-t0+s && !other,
	}
	later := []bool{
		after,
		c.HasAge && asked-int64(c.Age)-s > t0,
		!c.CachedAt.IsZero() && c.CachedAt.UnixNano() > t0 && c.CachedAt.UnixNano() <= read+s,
	}
	back := append([]bool{e.Effective}, later...)
	acquits := append([]bool{cas && e.HighestAfter != 0 && c.CAS > e.HighestAfter, other}, later...)
	some := func(list []bool) bool {
		for _, b := range list {
			if b {
				return true
			}
		}
		return false
	}
	rows := []struct {
		result Result
		holds  bool
	}{
		{Error, c.Failed},
		{Gone, !c.Present},
		{Current, versioned && distance >= 0},
		{Waiting, e.Progress == Behind && some(older)},
		{Restored, e.Progress == Passed && versioned && distance < 0 && some(back)},
		{Survived, e.Progress == Passed && some(older)},
		{Rewritten, !some(older) && some(acquits)},
		{Superseded, e.Newer},
		{Unknown, true},
	}
	for _, r := range rows {
		if r.holds {
			return r.result
		}
	}
	return NumResults
}

// randomLook at a copy, of few and near values, so that they often are equal.
func randomLook(r *rand.Rand) (Copy, Evidence) {
	some := func() bool { return r.IntN(2) == 0 }
	few := func() uint64 { return uint64(r.IntN(5)) }
	near := func() time.Time { return eventAt.Add(time.Duration(r.IntN(17)-8) * 250 * time.Millisecond) }
	number := func() content.Version { return version([]string{"", "", "1", "2", "3"}[r.IntN(5)]) }
	c := Copy{
		Failed: r.IntN(20) == 0, Present: r.IntN(8) > 0, Digest: content.Digest{byte(r.IntN(3))}, Version: number(), CAS: few(),
		ExpiresMS: []int64{0, 1000, 1001, 1002}[r.IntN(4)], ETag: uint64(r.IntN(3)),
	}
	c.Asked = eventAt.Add(time.Duration(r.IntN(20)) * time.Second)
	c.Read = c.Asked.Add(time.Duration(r.IntN(3)) * 250 * time.Millisecond)
	if r.IntN(4) == 0 {
		c.HasAge, c.Age = true, time.Duration(r.IntN(20))*time.Second
	}
	if r.IntN(4) == 0 {
		if c.CachedAt = near(); r.IntN(8) == 0 {
			c.CachedAt = c.Read.Add(time.Duration(r.IntN(3)) * time.Second)
		}
	}
	if some() {
		c.HasTTL, c.TTL = true, time.Duration(r.IntN(60))*time.Second
	}
	e := Evidence{
		At: eventAt, Version: number(), Progress: Progress(r.IntN(3)), HighestBefore: few(), HighestAfter: few(), Changed: r.IntN(6) == 0, Newer: some(),
		Effective: r.IntN(6) == 0,
	}
	if some() {
		e.Before = Identity{Seen: true, Content: ContentOf(content.Digest{byte(r.IntN(3))}), ETag: uint64(r.IntN(3))}
		if some() {
			e.Before.CAS = few()
		}
		if some() {
			e.Before.ExpiresMS = []int64{1000, 1001, 1002}[r.IntN(3)]
		}
	}
	if r.IntN(4) == 0 {
		e.StoredAfter = near()
	}
	if r.IntN(3) == 0 {
		e.TTLMin = 50 * time.Second
	}
	return c, e
}

// looks is how many random ones the tests judge.
func looks() int {
	if os.Getenv("CACHEINV_SOAK") != "" {
		return 20_000_000
	}
	return 200_000
}

func TestJudgeIsTheTables(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	seen := [NumResults]int{}
	for range looks() {
		c, e := randomLook(r)
		got := Judge(c, e)
		if want := judgeSlowly(c, e); got != want {
			t.Fatalf("%s, want %s\n%+v\n%+v", got, want, c, e)
		}
		seen[got]++
	}
	for i, n := range seen {
		if n < 100 {
			t.Errorf("%s was the result of %d looks", Result(i), n)
		}
	}
}

func TestJudgeNeverConvictsWithoutEvidence(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range looks() / 4 {
		c, e := randomLook(r)
		got := Judge(c, e)
		fault := ""
		switch below := !c.Version.IsZero() && c.Version.Compare(e.Version) < 0 && !e.Version.IsZero(); {
		case !c.Present && got.Bad():
			fault = "what is missing is bad"
		case !e.Version.IsZero() && c.Version.Compare(e.Version) >= 0 && got.Bad():
			fault = "a version at or above the event's is bad"
		case e.Progress != Passed && (got == Survived || got == Restored):
			fault = "convicted though nobody knows that the processor passed"
		case e.Progress == ProgressUnknown && got.Bad():
			fault = "convicted though nothing is known of the processor"
		case got == Restored && !below:
			fault = "what has no lower version came back"
		case got.Bad() && !below && c.CAS == 0 && !c.HasAge && c.CachedAt.IsZero() && (e.Before.ExpiresMS == 0 || c.ExpiresMS == 0) && e.TTLMin == 0:
			fault = "the content alone convicts"
		}
		if fault != "" {
			t.Fatalf("%s: %s\n%+v\n%+v", fault, got, c, e)
		}
		without := c
		without.Version, without.CAS, without.ExpiresMS, without.HasAge, without.CachedAt, without.HasTTL = content.Version{}, 0, 0, false, time.Time{}, false
		if got := Judge(without, e); got.Bad() {
			t.Fatalf("%s without evidence\n%+v\n%+v", got, without, e)
		}
		later := e
		later.Progress = Passed
		if was := Judge(c, e); was.Good() && Judge(c, later).Bad() {
			t.Fatalf("%s until the processor passes, and then %s\n%+v\n%+v", was, Judge(c, later), c, e)
		}
	}
}
