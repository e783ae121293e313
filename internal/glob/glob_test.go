package glob

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{
		{"", "", true},
		{"", "a", false},
		{"a", "", false},
		{"a", "a", true},
		{"*", "", true},
		{"*", "anything", true},
		{"**", "", true},
		{"user:*:profile", "user:1:profile", true},
		{"user:*:profile", "user::profile", true},
		{"user:*:profile", "user:1:2:profile", true},
		{"user:*:profile", "user:1:profil", false},
		{"user:*:profile", "xuser:1:profile", false},
		{"user:*:profile", "user:1:profile:profile", true},
		{"*a*b", "xxaxxbxxb", true},
		{"*a*b", "xxbxxa", false},
		{"a?c", "abc", true},
		{"a?c", "ac", false},
		{"a?c", "abbc", false},
		{"?", "é", false}, // bytes, not characters
		{"??", "é", true},
		{"ключ:*", "ключ:1", true},
		{"ключ:*", "ключи:1", false},
		{"[к]люч", "ключ", false}, // one byte of two
		{"[к][к]люч", "ключ", true},
		{"[^a]*", "ключ", true},
		{"[abc]", "b", true},
		{"[abc]", "d", false},
		{"[a-c]", "b", true},
		{"[c-a]", "b", true}, // either way round
		{"[c-a]", "d", false},
		{"[a-c]", "d", false},
		{"[^a-c]", "d", true},
		{"[^a-c]", "b", false},
		{"[^]", "x", true},
		{"[]", "x", false},
		{"[]a]", "a]", false},
		{"[a-]", "-", false}, // Redis takes the ] for the end of a range
		{"[a-]", "]", true},
		{"[-a]", "-", true},
		{"[a^]", "^", true},
		{`[\]]`, "]", true},
		{`[\-]`, "-", true},
		{`[a\-c]`, "b", false},
		{"[abc", "c", true},
		{"[abc", "d", false},
		{"[^abc", "d", true},
		{"[", "x", false},
		{`a\*`, "a*", true},
		{`a\*`, "ab", false},
		{`\?`, "?", true},
		{`\[a]`, "[a]", true},
		{`\\`, `\`, true},
		{`\`, `\`, true},
		{`a\`, `a\`, true},
		{`\a`, "a", true},
		{"a", "A", false},
		{"]", "]", true},
		{strings.Repeat("a*", 20) + "b", strings.Repeat("a", 200), false}, // in no time
	} {
		if got := Match(c.pattern, c.s); got != c.want {
			t.Errorf("%q matches %q: %t", c.pattern, c.s, got)
		}
	}
}

// slowGlob is Redis's stringmatchlen, word by word.
func slowGlob(p, s string) bool { return (&slow{failed: map[[2]int]bool{}}).match(p, s) }

// slow is one match. Redis's own tries the same rests of pattern and text again and again, which takes longer than anybody waits for
// some twenty stars: what did not match once is remembered.
type slow struct{ failed map[[2]int]bool } // by how much is left of the pattern and of the text

func (m *slow) match(p, s string) bool {
	at := [2]int{len(p), len(s)}
	if m.failed[at] {
		return false
	}
	m.failed[at] = !m.walk(p, s)
	return !m.failed[at]
}

func (m *slow) walk(p, s string) bool {
	for p != "" {
		switch p[0] {
		case '*':
			for rest := s; ; rest = rest[1:] {
				if m.match(p[1:], rest) {
					return true
				}
				if rest == "" {
					return false
				}
			}
		case '?':
			if s == "" {
				return false
			}
			p, s = p[1:], s[1:]
			continue
		case '[':
			if s == "" {
				return false
			}
			p = p[1:]
			not := strings.HasPrefix(p, "^")
			if not {
				p = p[1:]
			}
			match := false
		set:
			for {
				switch {
				case len(p) >= 2 && p[0] == '\\':
					p = p[1:]
					match = match || p[0] == s[0]
				case p == "":
					break set
				case p[0] == ']':
					p = p[1:]
					break set
				case len(p) >= 3 && p[1] == '-':
					low, high := min(p[0], p[2]), max(p[0], p[2])
					match = match || low <= s[0] && s[0] <= high
					p = p[2:]
				default:
					match = match || p[0] == s[0]
				}
				p = p[1:]
			}
			if match == not {
				return false
			}
			s = s[1:]
			continue
		case '\\':
			if len(p) >= 2 {
				p = p[1:]
			}
		}
		if s == "" || p[0] != s[0] {
			return false
		}
		p, s = p[1:], s[1:]
	}
	return s == ""
}

func TestMatchAgainstASlowOne(t *testing.T) {
	text := func(of string) *rapid.Generator[string] {
		return rapid.StringOfN(rapid.SampledFrom([]rune(of)), 0, 8, -1)
	}
	rapid.Check(t, func(t *rapid.T) {
		pattern, s := text(`ab*?[]^-\`).Draw(t, "pattern"), text(`aabb]-^\`).Draw(t, "s")
		if got, want := Match(pattern, s), slowGlob(pattern, s); got != want {
			t.Fatalf("%q matches %q: %t", pattern, s, got)
		}
	})
}

func FuzzMatch(f *testing.F) {
	for _, seed := range [][2]string{
		{"user:*:profile", "user:1:profile"},
		{"[^a-c]?", "dx"},
		{`\*[\]]`, "*]"},
		{"[a-", "-"},
		{"*[", "a"},
		{"", ""},
		{"[\xff-a]", "\x80"},
		{strings.Repeat("*a", 30), strings.Repeat("a", 60) + "b"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if len(pattern) > 64 || len(s) > 64 {
			Match(pattern, s) // the slow one is too slow
			return
		}
		if got, want := Match(pattern, s), slowGlob(pattern, s); got != want {
			t.Errorf("%q matches %q: %t", pattern, s, got)
		}
	})
}
