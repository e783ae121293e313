package shell

import (
	"os/exec"
	"testing"
)

func TestQuote(t *testing.T) {
	for word, want := range map[string]string{
		"":                      "''",
		"plain":                 "plain",
		"a-b_c.d:6379,e/f@g%+=": "a-b_c.d:6379,e/f@g%+=",
		"two words":             "'two words'",
		"it's":                  `'it'\''s'`,
		"'":                     `''\'''`,
		"inv; rm -rf":           "'inv; rm -rf'",
		"$(id)":                 "'$(id)'",
		"`id`":                  "'`id`'",
		"${HOME}":               "'${HOME}'",
		`a\b"c`:                 `'a\b"c'`,
		"*?[x]~!#&|<>()":        "'*?[x]~!#&|<>()'",
		"[fd00::1]:8080":        "'[fd00::1]:8080'",
		"two\nlines":            "'two\nlines'",
		"ü":                     "'ü'",
	} {
		got := Quote(word)
		if got != want {
			t.Errorf("Quote(%q) is %s, want %s", word, got, want)
		}
		out, err := exec.CommandContext(t.Context(), "sh", "-c", "printf %s "+got).Output()
		if err != nil || string(out) != word {
			t.Errorf("a shell takes %s for %q (%v), want %q", got, out, err, word)
		}
	}
}
