package form

import "testing"

func TestRates(t *testing.T) {
	for text, want := range map[string]float64{"0": 0, "500/s": 500, "120/m": 2, "7200/h": 2, "0/s": 0} {
		if got, ok := ParseRate(text); !ok || got != want {
			t.Errorf("%q is %v in a second, want %v", text, got, want)
		}
		limit, rate := scalar(text), scalar(text)
		if got := limit.RateLimit(); got != want || len(limit.doc.faults) > 0 {
			t.Errorf("%q bounds at %v in a second, want %v; %v", text, got, want, limit.doc.faults)
		}
		if got := rate.Rate(); got != want || (len(rate.doc.faults) > 0) != (want == 0) {
			t.Errorf("%q is %v in a second, want %v; %v", text, got, want, rate.doc.faults)
		}
	}
	for _, text := range []string{"", "/s", "5", "5/", "0/", "00", "5/d", "-1", "-1/s", "1.5/s", "5 /s", "1e3/s", "99999999999999999999/s"} {
		if got, ok := ParseRate(text); ok {
			t.Errorf("%q is %v in a second", text, got)
		}
		limit, rate := scalar(text), scalar(text)
		if limit.RateLimit() != 0 || rate.Rate() != 0 || len(limit.doc.faults) != 1 || len(rate.doc.faults) != 1 {
			t.Errorf("%q: %v, %v", text, limit.doc.faults, rate.doc.faults)
		}
	}
}
