package probes

import (
	"math"
	"testing"
)

// A number is a count up to what 64 bits hold, so that no sum of counts is infinite.
func TestParseCount(t *testing.T) {
	for text, want := range map[string]struct {
		count Count
		odd   bool
	}{
		"0": {Count{0, true}, false}, "-0": {Count{0, true}, false}, "7.5": {Count{7.5, true}, false}, "1e3": {Count{1000, true}, false},
		"18446744073709551615": {Count{1 << 64, true}, false}, "1e-300": {Count{1e-300, true}, false},
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
		tally.Add(2*mostCount, mostCount)
	}
	if got, _ := tally.Attempts(); math.IsInf(got.Total, 0) {
		t.Error(got)
	}
}
