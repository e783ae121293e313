package form

import (
	"regexp"
	"slices"
	"testing"
)

func TestNameMatch(t *testing.T) {
	exact, begins := NameMatch{Exact: "inv"}, NameMatch{Regexp: regexp.MustCompile("^inv-")}
	for name, want := range map[string][2]bool{"inv": {true, false}, "inv-1": {false, true}, "x-inv-1": {false, false}, "": {false, false}} {
		if got := [2]bool{exact.Matches(name), begins.Matches(name)}; got != want {
			t.Errorf("%q: %v, want %v", name, got, want)
		}
	}
}

func TestSelected(t *testing.T) {
	matches := []NameMatch{{Exact: "inv"}, {Regexp: regexp.MustCompile("^inv-")}, {Exact: "audit"}}
	for name, want := range map[string]bool{"inv": true, "inv-1": true, "audit": true, "audit-1": false, "": false} {
		if got := Selected(matches, name); got != want {
			t.Errorf("%q: %t, want %t", name, got, want)
		}
	}
	if got := ExactNames(matches); !slices.Equal(got, []string{"inv", "audit"}) {
		t.Errorf("the exact names are %q", got)
	}
}
