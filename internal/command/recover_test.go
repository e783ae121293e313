package command

import "testing"

func TestRates(t *testing.T) {
	for text, want := range map[string]float64{"0": 0, "5": 5, "500/s": 500, "120/m": 2, "7200/h": 2, "0/s": 0} {
		if got, err := parseRate(text); err != nil || got != want {
			t.Errorf("%q is %v in a second, want %v (%v)", text, got, want, err)
		}
	}
	for _, text := range []string{"", "/s", "5/", "5/d", "-1", "1.5/s", "5 /s", "1e3"} {
		if got, err := parseRate(text); err == nil {
			t.Errorf("%q is %v in a second", text, got)
		}
	}
}
