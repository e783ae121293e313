package situations

import (
	"testing"
	"time"
)

// What promtool reads is what the curve gives: xN are N more values than the first, of "_" as many, and the end of a series is told.
func TestSamples(t *testing.T) {
	const step = time.Minute
	for name, c := range map[string]struct {
		curve curve
		want  string
	}{
		"constant":                   {always(3), "3x6"},
		"rising":                     {ramp(2*time.Minute, 1, 0.5), "1x2 31+30x3"},
		"falling to the floor":       {ramp(0, 100, -0.5), "100-30x3 0x2"},
		"a gap":                      {always(1).between(2*step, 5*step, never), "1x1 stale _x2 1x1"},
		"not yet there":              {curve(never).from(3*step, always(2)), "_x3 2x3"},
		"gone":                       {always(2).from(6*step, never), "2x5 stale"},
		"by turns":                   {inTurn(2*step, 1, 0), "1x1 0x1 1x1 0"},
		"a counter":                  {counted(always(0.5)), "0+30x6"},
		"a counter that is reset":    {counted(always(1)).since([]time.Duration{150 * time.Second}), "0+60x2 30+60x3"},
		"one event in three minutes": {counted(single(3 * step)), "0 1x2 2x2"},
		"never":                      {never, "_x7"},
	} {
		if got := samples(c.curve, step, 6*step); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// Each chapter has situations that must be told and some in which nobody may be paged, and no name stands twice.
func TestBothSides(t *testing.T) {
	s := Default()
	names := map[string]bool{}
	for _, c := range chapters(s) {
		quiet, loud := 0, 0
		for _, x := range c.situations {
			if names[x.name] {
				t.Errorf("twice: %s", x.name)
			}
			names[x.name] = true
			if len(x.expect) == 0 {
				t.Errorf("nothing is expected: %s", x.name)
			}
			for _, e := range x.expect {
				switch {
				case e.ever:
					quiet++
				case len(e.want) > 0 || e.count > 0:
					loud++
				}
				if e.at > x.lasts {
					t.Errorf("%s: %v is after its end", x.name, e.at)
				}
			}
		}
		if quiet == 0 || loud == 0 {
			t.Errorf("%s: %d expect quiet, %d to be told", c.name, quiet, loud)
		}
	}
}

// Where scrapes are further apart, windows are longer, and so is the time in which what lasts is surely told.
func TestLate(t *testing.T) {
	s := Default()
	if got := s.late(20 * time.Minute); got != 20*time.Minute {
		t.Errorf("%v at the usual interval", got)
	}
	s.ScrapeInterval = 2 * time.Minute
	if got := s.late(20 * time.Minute); got != 80*time.Minute {
		t.Errorf("%v at two minutes", got)
	}
	for _, c := range chapters(s) {
		for _, x := range c.situations {
			for _, e := range x.expect {
				if x.lasts <= 0 || e.at > x.lasts {
					t.Errorf("%s: %v of %v", x.name, e.at, x.lasts)
				}
			}
		}
	}
}
