package probes

import (
	"math"
	"testing"
)

// A number is a count up to 2^53, so that no sum of counts is infinite, and none has a counter that fell below 0.
func TestParseCount(t *testing.T) {
	for text, want := range map[string]struct {
		count Count
		odd   bool
	}{
		"0": {Count{0, true}, false}, "-0": {Count{0, true}, false}, "7.5": {Count{7.5, true}, false}, "1e3": {Count{1000, true}, false},
		"9007199254740992": {Count{1 << 53, true}, false}, "9007199254740994": {Count{}, true}, "18446744073709551615": {Count{}, true}, "1e-300": {Count{1e-300, true}, false},
		"1e20": {Count{}, true}, "1e308": {Count{}, true}, "1.7976931348623157e308": {Count{}, true}, "1e999": {Count{}, true},
		"-1": {Count{}, true}, "NaN": {Count{}, true}, "Inf": {Count{}, true}, "-Inf": {Count{}, true},
		"": {Count{}, false}, "x": {Count{}, false}, "1 0": {Count{}, false},
	} {
		if got := ParseCount(text); got != want.count || OddCount(text) != want.odd {
			t.Errorf("%q is %+v, odd: %v", text, got, OddCount(text))
		}
	}
	var tally Tally
	for range 1000 {
		tally.Add(2*MostCount, MostCount)
	}
	if got, _ := tally.Attempts(); math.IsInf(got.Total, 0) {
		t.Error(got)
	}
}
