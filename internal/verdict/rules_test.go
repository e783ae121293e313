package verdict

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/content"
)

// The sentences of verdict.md, each as situations of one key.
//
// A key is written as its copies and what else is known:
//
//	a=x b=x@3 c=- d=?     content x, content x of version 3, absent, unreadable
//	a=x>y                 x in the first read, y in the second
//	a=x! b=x~5s           too old; held for 5s (an hour where nothing is said)
//	a=x@+                 content x, of a version in the future
//	a=x^y@5               held y@5 at the last sampling; ^y@5* and has been missing since, ^y@5! and has fallen to it,
//	                      ^new: was never there, as nobody was where nothing is said and nothing is remembered
//	left:a=?              its node left its source
//	known=x,y,z           contents seen before, in this order
//	highest=9             the highest version seen before, in a regression
//	r<p=x                 a replica of p; p is not configured where it is no copy
//	l3/30s: e=x           a layer that may be stale for 30s (l2 comes first and may not)
//	origin=x@3>404        the origin's answers before the two reads; ? is none
//	lag=30s               the origin's max_lag
//	remembered=x@5        what was confirmed earlier
//	versions, regression  the class has versions though no copy has; versions do not decide
//
// It gives the states of the copies in their order, "/" and the reference that the key counts under. State:reference also
// says what convicted or confirmed.
type rule struct{ name, key, want string }

func (r rule) test(t *testing.T) {
	t.Helper()
	s := parseSituation(t, r.key)
	var j Judge
	got := s.describe(j.Decide(&s.Case), r.want)
	if got != r.want {
		t.Errorf("%s\n  %s\n  gives %s\n  not   %s", r.name, r.key, got, r.want)
	}
}

func testRules(t *testing.T, rules []rule) {
	for _, r := range rules {
		t.Run(r.name, r.test)
	}
}

type situation struct {
	Case
	names []string
}

// replicaOf a copy of the case.
func replicaOf(at CopyAt) Primary { return Primary{Group: int(at) + 1, InCase: true, At: at} }

// replicaOfUnknown primary n, which has no copy in the case.
func replicaOfUnknown(n int) Primary { return Primary{Group: 1000 + n} }

// letters makes a content of its name.
func letters(name string) (d content.Digest) {
	copy(d[:], name)
	return d
}

func parseSituation(t testing.TB, text string) *situation {
	t.Helper()
	s := &situation{Case: Case{Reread: true, Layers: []time.Duration{0}}}
	regression, began := false, false
	replicas := map[int]string{}
	for _, token := range strings.Fields(text) {
		name, value, _ := strings.Cut(token, "=")
		switch {
		case strings.HasSuffix(token, ":"):
			policy := time.Duration(0)
			if _, text, ok := strings.Cut(strings.TrimSuffix(token, ":"), "/"); ok {
				policy = parseDuration(t, text)
			}
			if began {
				s.Layers = append(s.Layers, policy)
			} else {
				s.Layers[0] = policy
			}
			began = true
		case token == "versions":
			s.Versions = true
		case token == "regression":
			regression = true
		case name == "origin":
			first, second, both := strings.Cut(value, ">")
			if !both {
				second = first
			}
			s.Origin = [2]Answer{parseAnswer(t, first), parseAnswer(t, second)}
		case name == "known":
			for i, text := range strings.Split(value, ",") {
				s.Known = append(s.Known, Known{letters(text), int64(i + 1)})
			}
		case name == "highest":
			s.Highest = parseObservation(t, "x@"+value).Version
		case name == "lag":
			s.MaxLag = parseDuration(t, value)
		case name == "remembered":
			o := parseObservation(t, value)
			s.Remembered, s.RememberedContent = o.Version, o.Content
		default:
			began = true
			k := Copy{Layer: len(s.Layers) - 1, Held: time.Hour, Past: Past{Seen: true}}
			name, k.Left = strings.CutPrefix(name, "left:")
			name, primary, replica := strings.Cut(name, "<")
			if replica {
				replicas[len(s.Copies)] = primary
			}
			if v, held, ok := strings.Cut(value, "~"); ok {
				value, k.Held = v, parseDuration(t, held)
			}
			if v, past, ok := strings.Cut(value, "^"); ok {
				value, k.Past = v, parsePast(t, past)
			}
			first, second, both := strings.Cut(value, ">")
			if !both {
				second = first
			}
			k.Reads = [2]Observation{parseObservation(t, first), parseObservation(t, second)}
			s.Copies = append(s.Copies, k)
			s.names = append(s.names, name)
		}
		s.Versions = s.Versions || strings.Contains(token, "@")
	}
	unknown := map[string]int{}
	for i, primary := range replicas {
		if at := slices.Index(s.names, primary); at >= 0 {
			s.Copies[i].Primary = replicaOf(CopyAt(at))
			continue
		}
		if unknown[primary] == 0 {
			unknown[primary] = len(unknown) + 1
		}
		s.Copies[i].Primary = replicaOfUnknown(unknown[primary])
	}
	s.Regressed = regression
	if regression && s.Highest.IsZero() {
		s.Highest = version(t, 100)
	}
	return s
}

func parsePast(t testing.TB, text string) Past {
	t.Helper()
	if text == "new" {
		return Past{}
	}
	p := Past{Seen: true, Present: true}
	if strings.HasSuffix(text, "*") {
		text, p.Present = strings.TrimSuffix(text, "*"), false
	}
	text, p.Fell = strings.CutSuffix(text, "!")
	o := parseObservation(t, text)
	p.Content, p.Version = o.Content, o.Version
	return p
}

func parseDuration(t testing.TB, text string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func parseObservation(t testing.TB, text string) Observation {
	t.Helper()
	switch text {
	case "?":
		return Observation{Presence: Unread}
	case "-":
		return Observation{Presence: Absent}
	}
	o := Observation{Presence: Present}
	text, o.TooOld = strings.CutSuffix(text, "!")
	name, number, versioned := strings.Cut(text, "@")
	o.Content = letters(name)
	if number == "+" {
		o.Future = true
		return o
	}
	if versioned {
		n, err := strconv.Atoi(number)
		if err != nil || name == "" {
			t.Fatalf("%q is no copy", text)
		}
		o.Version = version(t, n)
	}
	return o
}

func parseAnswer(t testing.TB, text string) Answer {
	t.Helper()
	switch text {
	case "?":
		return Answer{}
	case "404":
		return Answer{Asked: true, Deleted: true}
	}
	o := parseObservation(t, text)
	return Answer{Asked: true, Content: o.Content, Version: o.Version}
}

// describe a verdict as a rule wants it: references of copies only where wanted.
func (s *situation) describe(v Verdict, want string) string {
	wanted := strings.Fields(want)
	var out []string
	for i, o := range v.Copies {
		text := o.State.String()
		if i < len(wanted) && strings.Contains(wanted[i], ":") {
			text += ":" + o.By.String()
		}
		out = append(out, text)
	}
	out = append(out, "/")
	if v.Counted {
		out = append(out, v.Reference.String())
	}
	if v.Conflict {
		out = append(out, "conflict")
	}
	if v.OriginBehind {
		out = append(out, "behind")
	}
	if v.Fell {
		out = append(out, "fell")
	}
	if v.Regressed && !s.Regressed {
		out = append(out, "regressed")
	}
	if !v.Regressed && s.Regressed {
		out = append(out, "over")
	}
	if v.Forget {
		out = append(out, "forget")
	}
	return strings.Join(out, " ")
}

func TestStates(t *testing.T) {
	testRules(t, []rule{
		{"missing is not there", "a=- b=x c=x", "missing fresh fresh / majority"},
		{"error could not be read: neither stale nor missing", "a=? b=x c=x", "error fresh fresh / majority"},
		{"a missing copy has no vote", "a=- b=x c=y", "missing undecided undecided / none"},
		{"an unread copy has no vote", "a=? b=x c=y", "error undecided undecided / none"},
		{"copies that differ, and nothing says which is right", "a=x b=y", "undecided undecided / none"},
		{"nothing to compare to", "a=x", "unverified / none"},
		{"nothing to compare to: the others have not got it", "a=x b=- c=?", "unverified missing error / none"},
		{"nothing to compare to, whatever the version", "a=x@3", "unverified / version"},
		{"nothing to compare to, above what is remembered", "a=x@6 remembered=y@5", "unverified / version"},
		{"nothing to compare to, just what is remembered", "a=y@5 remembered=y@5", "unverified / version"},
		{"alone, but below what is remembered", "a=x@4 remembered=y@5", "stale:version / version"},
		{"alone, but the origin answered", "a=x origin=x", "fresh:origin / origin"},
		{"two votes that are alike are compared", "a=x b=x", "fresh fresh / majority"},
		{"a key without present copies is not counted", "a=- b=-", "missing missing /"},
		{"a key without present copies is not counted, unread ones or not", "a=? b=- origin=x", "error missing /"},
	})
}

func TestVotes(t *testing.T) {
	testRules(t, []rule{
		{"primary and replicas have one vote", "p=x r<p=x s<p=x b=y c=y", "stale:majority stale:majority stale:majority fresh fresh / majority"},
		{"primary and replicas have one vote: one against one", "p=x r<p=x s<p=x b=y", "undecided undecided undecided undecided / none"},
		{"it is the primary's", "p=x r<p=y b=y", "undecided stale:primary undecided / primary"},
		{"of a primary that has not got the key there is none", "p=- r<p=x^x b=x c=y", "missing stale undecided undecided / primary"},
		{"the primary can't be read: its replicas' vote", "p=? r<p=x b=x", "error fresh fresh / majority"},
		{"the primary can't be read: its replicas' vote is one", "p=? r<p=x s<p=x b=y", "error undecided undecided undecided / none"},
		{"the primary can't be read: its replicas' vote is one, alone", "p=? r<p=x s<p=x", "error unverified unverified / none"},
		{"its replicas disagree: none", "p=? r<p=x s<p=y b=x", "error undecided undecided undecided / none"},
		{"its replicas disagree: the others decide", "p=? r<p=x s<p=y b=x c=x", "error fresh stale:majority fresh fresh / majority"},
		{"its replicas disagree, and there is no one else", "p=? r<p=x s<p=y", "error undecided undecided / none"},
		{"one replica can't be read either", "p=? r<p=x s<p=? b=x", "error fresh error fresh / majority"},
		{"two replicas of a primary that is not configured have one vote", "r<q=x s<q=x b=y", "undecided undecided undecided / none"},
		{"two replicas of a primary that is not configured, alone", "r<q=x s<q=x", "unverified unverified / none"},
		{"two replicas of a primary that is not configured disagree", "r<q=x s<q=y b=x c=x", "fresh stale:majority fresh fresh / majority"},
		{"replicas of two primaries that are not configured have two votes", "r<q=x s<w=x b=y", "fresh fresh stale:majority / majority"},
	})
}

func TestOrigin(t *testing.T) {
	testRules(t, []rule{
		// 200 is content; 404 and 410 mean deleted, so every present copy is wrong; anything else means not asked.
		{"a copy equal to the answer is fresh at once", "a=x~0s b=y c=y origin=x lag=30s", "fresh:origin stale:origin stale:origin / origin"},
		{"all may agree and be wrong", "a=y b=y c=y origin=x", "stale:origin stale:origin stale:origin / origin"},
		{"404: every present copy is wrong", "a=x b=x c=- origin=404", "stale:origin stale:origin missing / origin"},
		{"404: every present copy is wrong, replicas too", "p=x r<p=x origin=404", "stale:origin stale:origin / origin"},
		{"404: within max_lag what stands alone is undecided", "a=x@9~1s b=- origin=404 lag=30s", "undecided missing / origin"},
		{"404: within max_lag a primary and its replicas stand alone", "p=x@9~1s r<p=x@9~1s origin=404 lag=30s", "undecided undecided / origin"},
		{"404: within max_lag the next reference judges what does not", "a=x~1s b=x~1s origin=404 lag=30s", "fresh:majority fresh:majority / origin"},
		{"404: each copy by its own time", "a=x~30s b=x~1s origin=404 lag=30s", "stale:origin fresh:majority / origin"},
		{"404: within max_lag no majority convicts in a conflict", "a=x@2~1s b=y@2~1s c=x@2~1s origin=404 lag=30s", "fresh undecided fresh / origin"},
		{"404: whatever the version", "a=x@9 b=x@9 origin=404", "stale:origin stale:origin / origin"},
		{"no answer: not asked", "a=x b=x c=y origin=?", "fresh fresh stale:majority / majority"},
		{"no answer before the first read: not asked", "a=x b=x c=y origin=?>y", "fresh fresh stale:majority / majority"},
		{"no answer before the second read: not asked", "a=x b=x c=y origin=y>?", "fresh fresh stale:majority / majority"},
		{"no answer before the second read: not asked, of a copy alone", "a=x origin=y>?", "unverified / none"},

		// Where versions compare, a copy that differs and is not above the origin's version is wrong.
		{"below the origin's version", "a=x@3 b=y@2 origin=x@3", "fresh stale:origin / origin"},
		{"at the origin's version", "a=y@3 b=y@3 origin=x@3", "stale:origin stale:origin / origin"},
		{"where versions compare, max_lag does not matter", "a=x@3 b=y@2~0s origin=x@3 lag=30s", "fresh stale:origin / origin"},

		// Where they don't, the origin convicts only content that the copy has held for max_lag (0 by default).
		{"max_lag is 0: at once", "a=y~0s b=y~0s origin=x", "stale:origin stale:origin / origin"},
		{"held for less than max_lag", "a=y~29s b=x origin=x lag=30s", "undecided fresh / origin"},
		{"held for max_lag", "a=y~30s b=x origin=x lag=30s", "stale:origin fresh / origin"},
		{"404, held for less than max_lag", "a=x~29s origin=404 lag=30s", "undecided / origin"},
		{"404, held for max_lag", "a=x~30s origin=404 lag=30s", "stale:origin / origin"},
		{"each copy by its own time", "a=y~31s b=y~29s origin=x lag=30s", "stale:origin fresh / origin"},
		// Until then the next reference judges it, but no majority convicts it.
		{"until then a majority confirms", "a=y~0s b=y~0s origin=x lag=30s", "fresh:majority fresh:majority / origin"},
		{"until then no majority convicts", "a=y~0s b=z c=z d=z origin=x lag=30s", "undecided stale:origin stale:origin stale:origin / origin"},
		{"until then no majority convicts, though it holds the answer", "a=y~0s b=x c=x origin=x lag=30s", "undecided fresh fresh / origin"},
		{"until then versions judge: 404", "a=x@3~0s b=y@2~0s origin=404 lag=30s", "fresh:version stale:version / origin"},
		{"until then the primary judges", "p=x r<p=y~0s origin=x lag=30s", "fresh stale:primary / origin"},
		{"a version that can't be read does not compare", "a=x@3 b=y~0s origin=x@3 lag=30s", "fresh undecided / origin"},
		{"a version that can't be read does not compare: held for max_lag", "a=x@3 b=y~30s origin=x@3 lag=30s", "fresh stale:origin / origin"},
		{"an origin without a version does not compare", "a=y@9~0s b=x@3 origin=x lag=30s", "fresh fresh / origin"},

		// Where a copy's version is above the origin's, the origin is behind.
		{"behind: it convicts nobody", "a=x@3~5s b=z@2 origin=y@1", "fresh:version stale:version / version behind"},
		{"behind: it convicts nobody, of a copy alone", "a=x@3~5s origin=y@1", "fresh / version behind"},
		{
			"behind: a copy equal to it is undecided where another reference would convict it", "a=x@3~5s b=y@2 c=z@1 origin=y@2",
			"fresh undecided stale:version / version behind",
		},
		{"behind: a copy equal to it is undecided where its primary would convict it", "p=x@3~5s r<p=y@2 origin=y@2", "fresh undecided / version behind"},
		{
			"behind: a copy equal to it is undecided where a majority would convict it", "a=x@3~5s b=x@3~5s c=y origin=y@2",
			"fresh fresh undecided / version behind",
		},
		{"behind: for a minute at least", "a=x@3~59s b=z@1~1h origin=y@2 lag=30s", "fresh stale:version / version behind"},
		{"behind: for no longer than a minute", "a=x@3~60s b=z@1 origin=y@2 lag=30s", "stale:origin stale:origin / origin"},
		{"behind: for max_lag", "a=x@3~119s b=z@1 origin=y@2 lag=2m", "fresh stale:version / version behind"},
		{"behind: for no longer than max_lag", "a=x@3~120s b=y@2 origin=y@2 lag=2m", "stale:origin fresh:origin / origin"},
		{"behind: while one of two that are alike came late", "a=x@3~1h b=x@3~5s origin=y@2", "fresh fresh / version behind"},
		{"behind: while a copy is above it that came late", "a=x@3~1h b=z@4~5s c=y@2 origin=y@2", "stale:version fresh undecided / version behind"},
		{"behind: a copy alone is compared all the same", "p=x r<p=y@9~5s origin=z@2", "undecided stale:primary / primary behind"},
		{"deleted is never behind", "a=x@3 b=x@3 origin=404", "stale stale / origin"},
		{"an origin without a version is never behind", "a=x@3 b=y@2 origin=y", "stale:origin fresh / origin"},

		// In a regression the origin is used as if there were no versions.
		{"in a regression it is not behind", "a=x@9 b=y@1 origin=y@1 regression", "stale:origin fresh / origin"},
		{"in a regression versions do not compare", "a=x@1~0s b=y@2 origin=y@2 lag=30s regression", "undecided fresh / origin"},
	})
}

func TestVersion(t *testing.T) {
	testRules(t, []rule{
		// The highest version among the present copies, without replicas whose primary was read.
		{"the highest", "a=x@9 b=y@10 c=z@2", "stale:version fresh:version stale:version / version"},
		{"the highest, one against many", "a=x@2 b=x@2 c=x@2 d=y@3", "stale stale stale fresh / version"},
		{"the highest, across layers and whatever max_staleness", "l1: a=x@2 edge/300s: b=y@3", "stale:version fresh / version"},
		{"not of a copy that is absent or unreadable", "a=x@2 b=x@2 c=- d=?", "fresh fresh missing error / version"},
		{"not of a replica: one above its primary is behind it", "p=x@1 r<p=y@9", "unverified stale:primary / version"},
		{"not of a replica, nor does it convict others", "p=x@1 r<p=y@9 b=x@1", "fresh stale:primary fresh / version"},
		{"not of a replica whose primary has not got the key", "p=- r<p=y@9^y@9 b=x@1 c=x@1", "missing stale:primary fresh fresh / version"},
		{"of a replica whose primary can't be read", "p=? r<p=y@9 b=x@1", "error fresh stale:version / version"},
		{"of a replica whose primary is not configured", "r<q=y@9 b=x@1", "fresh stale:version / version"},
		{"equal content is never behind", "a=x@9 b=x@8 c=y@7", "fresh fresh:version stale / version"},
		{"equal content is never behind what is remembered", "a=x@3 b=x@3 remembered=x@5", "fresh fresh / version"},

		// Equal highest versions with different content are a conflict: the next references decide among these alone.
		{"conflict, one against one", "a=x@2 b=y@2", "undecided undecided / none conflict"},
		{"conflict, a majority among the highest", "a=x@2 b=y@2 c=y@2", "stale:majority fresh:majority fresh / majority conflict"},
		{"conflict: lower versions are stale all the same", "a=x@2 b=y@2 c=z@1", "undecided undecided stale:version / none conflict"},
		{"conflict: equal content of a lower version is never behind", "l1: a=x@2 b=x@1 l2: c=y@2", "undecided undecided undecided / none conflict"},
		{
			"conflict: equal content is never behind, where the majority may not convict it", "a=x@2 b=x@2 c=x@2 d=y@2 e=y@1 known=x",
			"undecided undecided undecided undecided undecided / majority conflict",
		},
		{"conflict: equal content is never behind, though the majority convicts it", "a=x@2 b=x@2 c=x@2 d=y@2 e=z@1>y@1", "fresh fresh fresh stale:majority fresh / majority conflict"},
		{
			"conflict: lower versions have no vote in it", "a=x@2 b=y@2 c=z@1 d=z@1 e=z@1",
			"undecided undecided stale:version stale:version stale:version / none conflict",
		},
		{
			"conflict: two of three highest, though two of six of all", "a=x@2 b=y@2 c=y@2 d=z@1 e=z@1 f=z@1",
			"stale:majority fresh fresh stale:version stale:version stale:version / majority conflict",
		},
		{"conflict: a majority of votes, not of layers", "l1: a=x@2 l2: b=y@2 c=y@2", "undecided undecided undecided / none conflict"},
		{"conflict: a majority of votes and of layers", "l1: a=x@2 l2: b=y@2 c=y@2 l3: d=y@2", "stale:majority fresh fresh fresh / majority conflict"},
		{
			"conflict: layers that hold lower versions do not count", "l1: a=x@2 b=y@2 c=y@2 l2: d=z@1 l3: e=z@1",
			"stale:majority fresh fresh stale:version stale:version / majority conflict",
		},
		{"conflict: lax layers do not convict a strict one", "l1: a=x@2 l2/60s: b=y@2 l3/60s: c=y@2", "undecided undecided undecided / majority conflict"},
		{"conflict: a primary and its replicas have one vote", "p=x@2 r<p=x@2 b=y@2", "undecided undecided undecided / none conflict"},
		{"conflict: a replica is judged by its primary", "p=x@2 r<p=y@2 s<p=x@2 b=y@2", "undecided stale:primary undecided undecided / primary conflict"},
		{"conflict: a replica makes none", "p=x@2 r<p=y@2", "unverified stale:primary / version"},
		{"conflict: the origin decides, and it is none", "a=x@2 b=y@2 origin=y@2", "stale:origin fresh / origin"},

		// A version that can't be read is none: its copy is convicted only if the next reference convicts it for differing from
		// the versions' content; if it differs otherwise it is undecided, never confirmed.
		{"without a version, the majority holds the versions' content", "a=x@3 b=x@3 c=y", "fresh fresh stale:majority / version"},
		{"without a version, equal content", "a=x@3 b=x c=x", "fresh fresh fresh / version"},
		{"without a version, one against one", "a=x@3 b=y", "fresh undecided / version"},
		{"without a version, the majority holds what versions do not", "a=x@3 b=y c=y", "fresh undecided undecided / version"},
		{"without a version, no majority", "a=x@3 b=x@3 c=y d=y", "fresh fresh undecided undecided / version"},
		{"without a version, a lax majority", "l1/60s: a=x@3 b=x@3 l2: c=y d=z", "fresh fresh undecided undecided / version"},
		{"without a version, the primary holds the versions' content", "p=x@3 r<p=y", "unverified stale:primary / version"},
		{"without a version, nor does the primary hold the versions' content", "p=y@2 r<p=z b=x@3", "stale:version undecided fresh / version"},
		{"without a version, a majority never confirms it against versions", "p=x@3 r<p=y b=y c=y", "fresh stale undecided undecided / version"},
		{"no version anywhere: versions say nothing", "a=x b=x c=y versions", "fresh fresh stale:majority / majority"},

		// A version below the highest one confirmed earlier is stale even when alone.
		{"below what is remembered, all of them", "a=x@3 b=x@3 remembered=y@5", "stale:version stale:version / version"},
		{"below what is remembered, and a higher one", "a=x@3 b=x@6 c=z@5 remembered=y@5", "fresh fresh stale:version / version"},
		{"a replica is below what is remembered as its primary is", "p=x@3 r<p=x@3 remembered=y@5", "stale:version stale:version / version"},

		// In a regression neither versions nor what is remembered decide.
		{"in a regression the next reference decides", "a=x@9 b=y@1 c=y@1 regression remembered=x@9", "stale:majority fresh fresh / majority"},
		{"in a regression the next reference decides: none", "a=x@9 b=y@1 regression", "undecided undecided / none"},
		{"in a regression the next reference decides: primary", "p=y@1 r<p=x@9 regression", "unverified stale:primary / primary"},
		{"in a regression a copy alone is not below anything", "a=x@3 remembered=y@5 regression", "unverified / none"},
	})
}

func TestPrimary(t *testing.T) {
	testRules(t, []rule{
		{"equal to its primary, which is unverified", "p=x r<p=x", "unverified fresh:primary / primary"},
		{"equal to its primary, it shares fresh", "p=x r<p=x b=x", "fresh:majority fresh:primary fresh / majority"},
		{"equal to its primary, it shares stale", "p=y r<p=y b=x c=x", "stale:majority stale:majority fresh fresh / majority"},
		{"equal to its primary, it shares stale by version", "p=y@1 r<p=y@1 b=x@2", "stale:version stale:version fresh / version"},
		{"equal to its primary, it shares stale by origin", "p=y r<p=y origin=x", "stale:origin stale:origin / origin"},
		{"equal to its primary, it shares undecided", "p=x r<p=x b=y", "undecided undecided undecided / none"},
		{"other than its primary", "p=x r<p=y", "unverified stale:primary / primary"},
		{"other than its primary, which is undecided", "p=x r<p=y b=z", "undecided stale:primary undecided / primary"},
		{"it holds what its primary has not", "p=- r<p=y^y", "missing stale:primary / primary"},
		{"it holds what its primary has not, which may have had it between the reads", "p=- r<p=y", "missing undecided / primary"},
		{"it has not got what its primary has: the next read refills it", "p=x r<p=-", "unverified missing / none"},
		{"unless the origin confirms it", "p=x r<p=y origin=y", "stale:origin fresh:origin / origin"},
		{"unless versions confirm it", "p=x@1 r<p=y@2 b=y@2", "stale:version fresh:version fresh / version"},
		{"unless the majority confirms it", "p=x r<p=y b=y c=y", "stale:majority fresh:majority fresh fresh / majority"},
		{"unless the majority confirms it: its primary has not got the key", "p=- r<p=y b=y c=y", "missing fresh:majority fresh fresh / majority"},
		{"the majority confirms its primary", "p=x r<p=y b=x c=x", "fresh stale fresh fresh / majority"},
		{"each of two replicas by itself", "p=x r<p=x s<p=y", "unverified fresh stale:primary / primary"},
		{"a lax layer's replica is judged by its primary all the same", "edge/300s: p=x r<p=y", "unverified stale:primary / primary"},
	})
}

func TestMajority(t *testing.T) {
	testRules(t, []rule{
		// A strict majority of all present votes.
		{"two of three", "a=x b=x c=y", "fresh:majority fresh stale:majority / majority"},
		{"three of five", "a=x b=x c=x d=y e=z", "fresh fresh fresh stale stale / majority"},
		{"two of four", "a=x b=x c=y d=z", "undecided undecided undecided undecided / none"},
		{"two against two", "a=x b=x c=y d=y", "undecided undecided undecided undecided / none"},
		{"missing copies have no vote", "a=x b=x c=y d=- f=-", "fresh fresh stale missing missing / majority"},
		{"unread copies vote for nothing", "a=x b=x c=y d=?", "undecided undecided undecided error / none"},
		{"unread copies vote for nothing: three of five", "a=x b=x c=x d=y e=?", "fresh fresh fresh stale error / majority"},
		{"unread copies deny a majority to what is alike", "a=x b=x c=? d=?", "unverified unverified error error / none"},
		{"unread copies deny no version", "a=x@1 b=x@1 c=? d=?", "fresh:version fresh:version error error / version"},
		{"unread copies of nodes that left their source do not", "a=x b=x c=y left:d=?", "fresh fresh stale error / majority"},
		{"unread in the second read", "a=x b=x c=y d=x>?", "fresh fresh undecided error / none"},
		{"a group that can't be read is one vote", "p=? r<p=? s<p=? b=x c=x", "error error error fresh fresh / majority"},
		{"a group that can't be read is one vote: of two", "p=? r<p=? s<p=? b=x", "error error error unverified / none"},
		{"a group whose replicas lost the key has no vote", "p=? r<p=- b=x c=x d=y", "error missing fresh fresh stale / majority"},
		{"replicas of a primary that is not configured are one", "r<q=? s<q=? b=x c=x", "error error fresh fresh / majority"},
		{"replicas of a primary that is not configured are one: of three", "r<q=? s<q=? b=x c=x d=y", "error error undecided undecided undecided / none"},
		{"in a conflict too", "a=x@2 b=x@2 c=y@2 d=?", "undecided undecided undecided error / none conflict"},
		{"one vote alone is no majority", "a=x b=-", "unverified missing / none"},
		{"one vote alone is no majority: replicas that disagree", "p=? r<p=x s<p=y b=y", "error undecided undecided undecided / none"},

		// And a strict majority of its layers too.
		{"one node each in three layers", "l1: a=y l2: b=x l3: c=x", "stale fresh fresh / majority"},
		{"one node each in two layers", "l1: a=y l2: b=x", "undecided undecided / none"},
		{"many in one layer do not outvote another", "l1: a=x b=x c=x l2: d=y", "undecided undecided undecided undecided / none"},
		{"a majority of layers, not of votes", "l1: a=x l2: b=x l3: c=y d=y e=y", "undecided undecided undecided undecided undecided / none"},
		{
			"a layer holds what a strict majority of its own votes hold", "l1: a=x b=x c=y l2: d=x e=x f=z l3: g=y",
			"fresh fresh stale fresh fresh stale stale / majority",
		},
		{"a layer where none does is left out", "l1: a=x b=y l2: c=x d=x", "fresh stale fresh fresh / majority"},
		{"a layer where none does is left out, another is against", "l1: a=x b=x l2: c=y l3: d=x e=z", "undecided undecided undecided undecided undecided / none"},
		{"a layer without the key is left out", "l1: a=- b=- l2: c=x d=x e=y", "missing missing fresh fresh stale / majority"},
		{"a layer that can't be read is left out", "l1: a=? l2: c=x d=x e=x f=y", "error fresh fresh fresh stale / majority"},
		{"a layer's unread votes count in it", "l1: a=x b=y c=? l2: d=x e=x f=x", "fresh stale error fresh fresh fresh / majority"},
		{
			"a replication group is one vote of its layer", "l1: p=x r<p=x s<p=x b=y c=y l2: d=x e=y f=y",
			"stale stale stale fresh fresh stale fresh fresh / majority",
		},

		// A layer with a larger max_staleness never convicts one with a smaller.
		{"lax layers do not convict a strict one", "edge/300s: a=x l1/60s: b=x l2: c=y", "undecided undecided undecided / majority"},
		{"nor confirm themselves, though they convict a lax one", "edge/300s: a=x d=x z=w l1/60s: b=x e=x l2: c=y", "undecided undecided stale:majority undecided undecided undecided / majority"},
		{"a laxer layer that differs unsettles nobody", "edge/300s: a=y l1/60s: b=x l2: c=x", "stale fresh fresh / majority"},
		{"a stricter layer without the key unsettles nobody", "edge/300s: a=x l1/60s: b=x l2: c=-", "fresh fresh missing / majority"},
		{"a strict layer that holds it does", "edge/300s: a=x l1: b=x l2/60s: c=y", "fresh fresh stale:majority / majority"},
		{"one layer that is not laxer is enough", "edge/300s: a=x l1/60s: b=x l2/60s: c=y", "fresh fresh stale / majority"},
		{"equally lax", "l1/60s: a=x l2/60s: b=x l3/60s: c=y", "fresh fresh stale / majority"},
		{"within a lax layer", "l1/60s: a=x b=x c=y", "fresh fresh stale / majority"},
		{"a strict layer's own majority is not asked of a lax one", "l1/60s: a=x b=x c=x l2: d=x e=x f=y", "fresh fresh fresh fresh fresh stale / majority"},
		{
			"a copy in the strict layer that holds it does not speak for its layer", "l1/60s: a=x b=x c=x l2: d=x e=y",
			"undecided undecided undecided undecided undecided / majority",
		},
	})
}

func TestMaxAge(t *testing.T) {
	testRules(t, []rule{
		{"stale whatever the others hold", "a=x! b=x c=x", "stale:age fresh fresh / majority"},
		{"stale, all of them", "a=x! b=x!", "stale:age stale:age / none"},
		{"stale, alone", "a=x!", "stale:age / none"},
		{"stale at the highest version", "a=x@3! b=x@3 c=x@3", "stale:age fresh fresh / version"},
		{"it has no vote", "a=x! b=x! c=y", "stale:age stale:age unverified / none"},
		{"it has no vote: the others decide", "a=x! b=x! c=x d=y e=y", "stale stale stale:majority fresh fresh / majority"},
		{"copies that differ, too old ones aside", "a=x! b=y c=z", "stale:age undecided undecided / none"},
		{"the origin holds the same", "a=x! b=x origin=x", "fresh:origin fresh / origin"},
		{"the origin holds another", "a=x! b=x origin=y", "stale stale:origin / origin"},
		{"a primary that is too old has no vote, nor have its replicas", "p=x! r<p=x b=y c=y", "stale stale fresh fresh / majority"},
		{"refilled between the reads", "a=x!>x b=x c=x", "fresh fresh fresh / majority"},
		{"refilled with another between the reads", "a=y!>x b=x c=x", "fresh fresh fresh / majority"},
		{"gone between the reads", "a=x!>- b=x c=x", "missing fresh fresh / majority"},
	})
}

// Which reference a key counts under: the first that applied to it.
func TestReferenceOfAKey(t *testing.T) {
	testRules(t, []rule{
		{"origin if its answer was used", "p=x@3 r<p=y@2 b=x@3 origin=x@3", "fresh stale fresh / origin"},
		{"origin while max_lag runs", "a=y~0s b=z~0s origin=x lag=1m", "undecided undecided / origin"},
		{"not origin if it was not asked twice", "a=x@3 b=y@2 origin=x@3>?", "fresh stale / version"},
		{"not origin if it is behind", "a=x@3~5s b=x@3~5s origin=y@2", "fresh fresh / version behind"},
		{"version if a copy has one", "a=x b=y@1 c=x", "undecided fresh undecided / version"},
		{"version, also alone", "a=x@1", "unverified / version"},
		{"in a conflict, what decided among the highest", "a=x@1 b=x@1 c=y@1", "fresh fresh stale / majority conflict"},
		{"in a conflict that nothing decided, none", "a=x@1 b=y@1", "undecided undecided / none conflict"},
		{"primary where only replicas could be judged", "p=x r<p=x", "unverified fresh / primary"},
		{"primary where only replicas could be judged: the others differ", "p=x r<p=y b=z", "undecided stale undecided / primary"},
		{"majority where others could be judged too", "p=x r<p=y b=x c=x", "fresh stale fresh fresh / majority"},
		{"majority also where all are alike", "p=x r<p=x b=x", "fresh fresh fresh / majority"},
		{"majority also where it convicts nobody", "edge/300s: a=x l1/300s: b=x l2: c=y", "undecided undecided undecided / majority"},
		{"none", "a=x b=y", "undecided undecided / none"},
		{"none where age alone convicts", "a=x! b=x!", "stale:age stale:age / none"},
	})
}

// What became of one copy between the two reads, and how each was judged. The witnesses make it right or wrong, leave it
// undecided, or go away.
func TestTwoReads(t *testing.T) {
	// witnesses' two copies in a read.
	witnesses := func(judged, content string) (b, c string) {
		switch judged {
		case "right":
			return content, content
		case "wrong":
			return "w", "w"
		case "undecided":
			return "w", "-"
		}
		return "-", "-"
	}
	all := []string{"right", "wrong", "undecided", "alone"}
	for _, c := range []struct {
		copied, first, second, want string
	}{
		{"x", "wrong", "wrong", "stale"},
		{"x", "right", "right", "fresh"},
		{"x", "right", "wrong", "fresh"},
		{"x", "right", "undecided", "fresh"},
		{"x", "right", "alone", "fresh"},
		{"x", "wrong", "right", "fresh"},
		{"x", "undecided", "right", "fresh"},
		{"x", "alone", "right", "fresh"},
		{"x", "wrong", "undecided", "undecided"},
		{"x", "undecided", "wrong", "undecided"},
		{"x", "undecided", "undecided", "undecided"},
		{"x", "alone", "wrong", "undecided"},
		{"x", "alone", "undecided", "undecided"},
		{"x", "wrong", "alone", "unverified"},
		{"x", "undecided", "alone", "unverified"},
		{"x", "alone", "alone", "unverified"},
		{"x>y", "", "right", "fresh"},
		{"x>y", "", "wrong", "fresh"},
		{"x>y", "", "undecided", "fresh"},
		{"x>y", "", "alone", "unverified"},
		{"->x", "", "right", "fresh"},
		{"->x", "", "wrong", "fresh"},
		{"->x", "", "undecided", "fresh"},
		{"->x", "", "alone", "unverified"},
		{"x>-", "", "", "missing"},
		{"->-", "", "", "missing"},
		{"x>?", "", "", "error"},
		{"->?", "", "", "error"},
		{"?>x", "", "", "error"},
		{"?>?", "", "", "error"},
	} {
		firsts, seconds := []string{c.first}, []string{c.second}
		if c.first == "" {
			firsts = all
		}
		if c.second == "" {
			seconds = all
		}
		for _, first := range firsts {
			for _, second := range seconds {
				after := "x"
				if strings.HasSuffix(c.copied, ">y") {
					after = "y"
				}
				b1, c1 := witnesses(first, "x")
				b2, c2 := witnesses(second, after)
				key := fmt.Sprintf("a=%s b=%s>%s c=%s>%s", c.copied, b1, b2, c1, c2)
				t.Run(fmt.Sprintf("%s, %s then %s", c.copied, first, second), func(t *testing.T) {
					s := parseSituation(t, key)
					var j Judge
					if got := j.Decide(&s.Case).Copies[0].State.String(); got != c.want {
						t.Errorf("%s\n  gives %s\n  not   %s", key, got, c.want)
					}
				})
			}
		}
	}
}

// Versions decide, and a copy's version in the second read is below the reference's in the first.
func TestTwoReadsWithVersions(t *testing.T) {
	testRules(t, []rule{
		{"moved, and is still behind", "a=x@1>y@2 b=z@5 c=z@5", "stale:version fresh fresh / version"},
		{"moved, and has reached what existed before", "a=x@1>z@5 b=z@5>w@6 c=z@5>w@6", "fresh fresh fresh / version"},
		{"moved beyond what existed before, not to the newest", "a=x@1>y@6 b=z@5>w@7", "fresh fresh / version"},
		{"moved back below what existed before", "a=z@5>x@4 b=z@5", "stale:version fresh / version"},
		{"the others moved on, it did not", "a=x@3 b=y@5>z@6 c=y@5>z@6", "stale:version fresh fresh / version"},
		{"right in the first read, the others moved on", "a=x@5 b=x@5>y@6 c=x@5>y@6", "fresh fresh fresh / version"},
		{"the witness was deleted between the reads", "a=x@1 b=y@2>-", "stale:version missing / version"},
		{"the witness was deleted, the copy moved and is still behind", "a=x@1>z@2 b=y@3>-", "stale:version missing / version"},
		{"the witness was deleted, the copy moved and is not behind", "a=x@1>z@3 b=y@3>-", "unverified missing / version"},
		{"the witness can't be read any more", "a=x@1 b=y@2>?", "stale:version error / version"},
		{"the witness was set back between the reads", "a=x@1 b=y@2>x@1", "stale:version stale:version / version"},
		{"it came between the reads, and is behind", "a=->x@1 b=y@2", "stale:version fresh / version"},
		{"it came between the reads, and is not", "a=->y@2 b=y@2", "fresh fresh / version"},
		{"it went between the reads", "a=x@1>- b=y@2", "missing fresh / version"},
		{"it can't be read any more", "a=x@1>? b=y@2", "error fresh / version"},
		{"moved, and is below what is remembered", "a=x@1>y@2 remembered=z@5", "stale:version / version"},
		{"moved, and is below the origin's version", "a=x@1>y@2 b=z@5 origin=z@5", "stale fresh / origin"},
		{"moved to what the origin held before", "a=x@1>z@5 origin=z@5>w@6", "fresh / origin"},
		{"moved to the content of what existed before: equal content is never behind", "a=x@1>z@4 b=z@5", "fresh fresh / version"},
		{"moved to another that can't be ordered", "a=x@1>y b=z@5", "fresh fresh / version"},
		{"a replica that moved with its primary", "p=x@1>y@2 r<p=x@1>y@2 b=z@5", "stale:version stale:version fresh / version"},
		{"a replica that waits for its primary's write", "p=x@1>y@2 r<p=x@1 b=x@1>y@2", "fresh fresh fresh / version"},
		{"a replica that is above its primary is no witness", "p=x@1 r<p=y@9>x@1 b=x@1", "fresh fresh fresh / version"},
		{"in a regression versions are no proof", "a=x@1>y@2 b=z@5 c=z@5 regression", "fresh fresh fresh / majority"},
	})
}

// A version that goes down on its own node without a rise of the highest is a fall.
func TestFalls(t *testing.T) {
	testRules(t, []rule{
		{"none without a past", "a=x@5 b=y@6", "stale fresh / version"},
		{"none where the highest rises", "a=x@5^y@6 b=z@7^y@6 c=y@6^y@6", "stale fresh stale / version"},
		{"none where only a replica goes down", "p=y@6^y@6 r<p=x@5^y@6", "unverified stale / version"},
		{"none where it was missing before, and is no lower", "a=y@6^y@6* b=y@6^y@6", "fresh fresh / version"},

		// Spread: another copy held that content at the last sampling, and the key had it no later.
		{"spread", "a=x@5^y@6 b=y@6^y@6 c=x@5^x@5 known=x,y", "stale:version fresh stale:version / version fell"},
		{"spread to all but one", "a=x@5^y@6 b=x@5^y@6 c=x@5^x@5 d=y@6^y@6 known=x,y", "stale stale stale fresh / version fell"},
		{"spread to all: what is remembered stays", "a=x@5^y@6 b=x@5^x@5 remembered=y@6 known=x,y", "stale stale / version fell"},
		{"spread from a copy that has changed since", "a=x@5^y@6 b=y@6^x@5 known=x,y", "stale fresh / version fell"},
		{"spread to a copy that was missing", "a=x@5^y@6* b=y@6^y@6 c=x@5^x@5 known=x,y", "stale fresh stale / version fell"},
		{"spread from a replica that lags", "a=x@5^y@6 p=y@6^y@6 r<p=x@5^x@5 known=x,y", "stale fresh stale / version fell"},
		{"no spread from its own replica", "p=x@5^y@6 r<p=x@5^x@5 known=y", "unverified fresh:primary / primary fell regressed"},
		{"no spread from a copy that was missing", "a=x@5^y@6 b=x@5^x@5* known=x,y", "fresh fresh / majority fell regressed"},
		{"no spread of what is newer than the highest version: a thing made anew", "a=x@1^y@6 b=x@1^x@1 known=y,x", "fresh fresh / majority fell regressed"},
		{"no spread from a copy that fell itself", "a=x@1^y@6 b=x@1^x@1! c=y@6^y@6 known=x,y", "undecided undecided undecided / majority fell regressed"},
		{"spread has no end: from one that it reached before", "a=x@5^y@6 b=x@5^x@5 c=y@6^y@6 known=x,y", "stale stale fresh / version fell"},

		// Otherwise falls are weighed against the copies that still hold the highest version.
		{"spread of one, and another that fell by itself", "a=x@5^y@6 b=w@3^y@6 c=x@5^x@5 d=y@6^y@6 known=x,y", "undecided undecided undecided undecided / none fell regressed"},
		{"of the version alone, equal content is never behind", "a=y@5^y@6 b=y@6^y@6 known=y", "fresh fresh / version fell"},
		{"fewer falls: late writes", "a=x@5^y@6 b=y@6^y@6 c=y@6^y@6 known=y", "stale:version fresh fresh / version fell"},
		{"as many, to what was seen before: late writes", "a=x@5^y@6 b=y@6^y@6 known=x,y", "stale fresh / version fell"},
		{"as many, each seen before", "a=x@5^y@6 b=z@4^y@6 c=y@6^y@6 d=y@6^y@6 known=z,x,y", "stale stale fresh fresh / version fell"},
		{"as many, to what was never seen: a regression", "a=x@5^y@6 b=y@6^y@6 known=y", "undecided undecided / none fell regressed"},
		{"as many, one never seen: a regression", "a=x@5^y@6 b=z@4^y@6 c=y@6^y@6 d=y@6^y@6 known=z,y", "undecided undecided undecided undecided / none fell regressed"},
		{"more falls: a regression", "a=x@5^y@6 b=x@5^y@6 c=y@6^y@6 known=y", "fresh fresh stale:majority / majority fell regressed"},
		{"no holder: a regression", "a=x@5^y@6 known=x,y", "unverified / none fell regressed"},
		{"no holder is one that is missing", "a=x@5^y@6 b=-^y@6 known=x,y", "unverified missing / none fell regressed"},
		{"no holder is one that can't be read", "a=x@5^y@6 b=?^y@6 known=x,y", "unverified error / none fell regressed"},
		{"no holder is a replica", "p=x@5^y@6 r<p=y@6^y@6 known=x,y", "unverified stale:primary / primary fell regressed"},
		{"an older fall counts while it has not risen", "a=x@5^x@5! b=x@5^y@6 c=y@6^y@6 known=y,x", "fresh fresh stale / majority fell regressed"},
		{"an older fall that has risen does not", "a=w@6^x@5! b=x@5^y@6 c=y@6^y@6 d=y@6^y@6 e=y@6^y@6 known=x,y", "undecided stale undecided undecided undecided / majority conflict fell"},
		{"a fall is weighed once", "a=x@5^x@5! b=-^y@6 remembered=y@6 known=x,y", "stale missing / version"},
		{"in a regression what is remembered decides nothing", "a=x@5^y@6 b=x@5^y@6 remembered=y@6", "fresh fresh / majority fell regressed"},
		{"in a regression the origin is used as if there were no versions", "a=x@5^y@6 b=y@6^y@6 origin=x@5 known=y", "fresh stale:origin / origin fell regressed"},
		{"a regression lasts", "a=x@5^x@5 b=y@6^y@6 c=x@5 regression highest=6", "fresh stale fresh / majority"},
		{"falls of a regression are not counted", "a=w@4^x@5 b=w@4^x@5 regression highest=6", "fresh fresh / majority"},
		{"a regression is over where a version is higher than any before", "a=x@5 b=z@7 regression highest=6", "stale fresh / version over"},
	})
}

// A version below the highest one confirmed earlier is stale, unless new nodes know nothing of it.
func TestRemembered(t *testing.T) {
	testRules(t, []rule{
		{"two votes alike on nodes without a past end it", "a=x@1^new b=x@1^new remembered=y@6", "fresh fresh / version forget"},
		{"one vote does not", "a=x@1^new remembered=y@6", "stale / version"},
		{"two that differ do not", "a=x@1^new b=z@2^new remembered=y@6", "stale stale / version"},
		{"one with a past does not", "a=x@1^new b=x@1 remembered=y@6", "stale stale / version"},
		{"a group alone does not", "p=x@1^new r<p=x@1^new remembered=y@6", "stale stale / version"},
		{"not while one is at the remembered version", "a=x@1^new b=x@1^new c=y@6^new remembered=y@6", "stale stale fresh / version"},
		{"not where one held it at the last sampling", "a=x@1^new b=x@1^new c=-^y@6 remembered=y@6", "stale stale missing / version"},
		{"not where one that can't be read held it", "a=x@1^new b=x@1^new c=?^y@6 remembered=y@6", "stale stale error / version"},
		{"one that was missing already does not keep it", "a=x@1^new b=x@1^new c=-^y@6* remembered=y@6", "fresh fresh missing / version forget"},
		{"one that left its source does not keep it", "a=x@1^new b=x@1^new left:c=?^y@6 remembered=y@6", "fresh fresh error / version forget"},
	})
}

// Beside a version that lies in the future no version confirms anything.
func TestFutureVersions(t *testing.T) {
	testRules(t, []rule{
		{"the lower one is not confirmed", "a=x@5 b=y@+", "undecided undecided / version"},
		{"nor where it is remembered", "a=x@5 b=y@+ remembered=x@5", "undecided undecided / version"},
		{"a majority may confirm it, and convicts the other", "a=x@5 b=x@5 c=y@+", "fresh:majority fresh:majority stale:majority / version"},
		{"what is below is wrong all the same", "a=x@5 b=z@4 c=y@+", "undecided stale:version undecided / version"},
		{"while it lasts", "a=x@5 b=z@4 c=y@+>-", "fresh:version stale:version missing / version"},
		{"on a replica it says nothing", "p=x@5 r<p=y@+ b=x@5", "fresh:version stale:primary fresh / version"},
		{"alone it says nothing", "a=y@+ versions", "unverified / none"},
	})
}

// A majority never convicts content that was first seen on the key later than its own.
func TestNewcomers(t *testing.T) {
	testRules(t, []rule{
		{"a newcomer", "a=x b=x c=y known=x", "undecided undecided undecided / majority"},
		{"a newcomer that stays", "a=x b=x c=y known=x,y", "undecided undecided undecided / majority"},
		{"it is the majority", "a=x b=y c=y known=x", "stale fresh fresh / majority"},
		{"seen in the same sampling", "a=x b=x c=y known=z", "fresh fresh stale / majority"},
		{"an older one beside it", "a=x b=x c=x d=x e=y f=z known=z,x", "undecided undecided undecided undecided undecided stale:majority / majority"},
		{"in another layer", "l1: a=x b=x l2: c=x d=x e=y known=x", "undecided undecided undecided undecided undecided / majority"},
		{"in a laxer layer", "edge/60s: c=y l1: a=x l2: b=x known=x", "undecided undecided undecided / majority"},
		{"its replicas", "a=x b=x p=y r<p=y known=x", "undecided undecided undecided undecided / majority"},
		{"a replica that lags behind it", "a=x b=x p=y r<p=x known=x", "undecided undecided undecided undecided / majority"},
		{"a replica's own is none: its primary judges it", "a=x b=x p=x r<p=y known=x", "fresh fresh fresh stale:primary / majority"},
		{"one that is too old is none", "a=x b=x c=y! known=x", "fresh fresh stale:age / majority"},
		{"in a conflict", "a=x@2 b=x@2 c=y@2 known=x", "undecided undecided undecided / majority conflict"},
		{"lower versions beside a conflict are none", "a=x@2 b=x@2 c=y@2 d=z@1 known=y,x", "fresh fresh stale:majority stale:version / majority conflict"},
		{"without a version against the versions' content", "a=x@2 b=x@2 c=y known=x", "fresh:version fresh undecided / version"},
		{"the origin knows", "a=x b=x c=y origin=y known=x", "stale:origin stale fresh / origin"},
	})
}

// By primary and majority a copy is convicted only by what stood still, or if it did since an earlier sampling.
func TestStillness(t *testing.T) {
	testRules(t, []rule{
		{"the majority moved", "a=x b=y>z c=y>z", "undecided fresh fresh / majority"},
		{"the majority moved, the copy did not for long", "a=x^x b=y>z c=y>z", "stale fresh fresh / majority"},
		{"the majority moved, the copy was missing before", "a=x^x* b=y>z c=y>z", "undecided fresh fresh / majority"},
		{"the majority moved, the copy held another before", "a=x^w b=y>z c=y>z", "undecided fresh fresh / majority"},
		{"the primary moved", "p=y>z r<p=x", "unverified undecided / primary"},
		{"the primary moved, the copy did not for long", "p=y>z r<p=x^x", "unverified stale:primary / primary"},
		{"the primary lost it, too", "p=->y r<p=x", "unverified undecided / primary"},
		{"the primary has not got it", "p=- r<p=x^x", "missing stale / primary"},
		{"the primary has not got it, as far as the reads show", "p=- r<p=x", "missing undecided / primary"},
		{"versions may move", "a=x@1 b=y@2>z@3", "stale fresh / version"},
		{"the origin may move", "a=x b=y>z origin=y>z", "stale fresh / origin"},
	})
}
