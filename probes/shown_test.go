package probes

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestShown(t *testing.T) {
	long := strings.Repeat("ключ", 200)
	names := []string{
		"", "plain", `a\xff`, "a\xff", "a\xfe", "a\uFFFD", "a\xff\xff", long, long + "1", long + "2", long[1:], strings.Repeat("a", LongestShown),
		strings.Repeat("a", LongestShown+1), strings.Repeat("\xff", 900<<10), strings.Repeat("\xff", 900<<10) + "\xfe", "tab\tand\nline",
	}
	for _, name := range names { // what a server could have read here
		names = append(names, Shown(name))
	}
	seen := map[string]string{}
	for _, name := range names {
		got := Shown(name)
		if before, ok := seen[got]; ok && before != name {
			t.Errorf("%.50q and %.50q are both shown as %.80q", before, name, got)
		}
		seen[got] = name
		if len(got) > LongestShown || !utf8.ValidString(got) || got == "" && name != "" {
			t.Errorf("%.50q is shown as %.80q of %d bytes", name, got, len(got))
		}
	}
	if got := Shown("a\xff"); !strings.HasPrefix(got, `a\xff…`) {
		t.Errorf("it does not show the byte: %q", got)
	}
	if got := Shown("ключ"); got != "ключ" {
		t.Errorf("a name without a fault is shown as %q", got)
	}
}

func FuzzShown(f *testing.F) {
	f.Add("a\xff", `a\xff`)
	f.Add(strings.Repeat("x", 600), strings.Repeat("x", 601))
	f.Fuzz(func(t *testing.T, a, b string) {
		x, y := Shown(a), Shown(b)
		if a != b && x == y {
			t.Errorf("%q and %q are shown as %q", a, b, x)
		}
		if !utf8.ValidString(x) || len(x) > LongestShown {
			t.Errorf("%q is shown as %q", a, x)
		}
	})
}
