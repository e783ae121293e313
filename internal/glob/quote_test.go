package glob

import "testing"

// What is quoted is matched by itself, and by nothing that it would match as a pattern.
func TestQuote(t *testing.T) {
	for s, other := range map[string]string{"a*": "ab", "a?": "ab", "[ab]": "a", `a\b`: "ab", `\*`: `*`, "": "x"} {
		if p := Quote(s); !Match(p, s) || Match(p, other) {
			t.Errorf("%q is quoted as %q", s, p)
		}
	}
}
