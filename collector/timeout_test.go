package collector

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// A time above 0 is as long as was announced, and no less than a nanosecond; what is no time, or 0, counts for none.
func TestTimeoutOf(t *testing.T) {
	for announced, want := range map[string]time.Duration{
		"": defaultTimeout, "x": defaultTimeout, "NaN": defaultTimeout, "-1": defaultTimeout, "-Inf": defaultTimeout, "0": defaultTimeout, "-0": defaultTimeout,
		"1e-400": defaultTimeout, "0x1p-1080": defaultTimeout, // 0, as a number
		"1e-300": 1, "5e-324": 1, "0x1p-1074": 1, "1e-10": 1, "1e-9": 1, "0.5": time.Second / 2, "10": 10 * time.Second,
		"120": longestTimeout, "121": longestTimeout, "Inf": longestTimeout, "1e400": longestTimeout,
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		r.Header.Set("X-Prometheus-Scrape-Timeout-Seconds", announced)
		if got := timeoutOf(r); got != want {
			t.Errorf("%q is %v, want %v", announced, got, want)
		}
	}
}

// However little time a request announces, it is answered, and the sampling that it begins has the least time that any gets.
func TestTinyTimeouts(t *testing.T) {
	e := &Exporter{opt: Options{TimeoutOffset: 500 * time.Millisecond, MinDeadline: time.Second}}
	for _, timeout := range []time.Duration{1, time.Microsecond, time.Millisecond, 500 * time.Millisecond} {
		p := e.patienceFor(timeout)
		if p.full != time.Second || p.wanted() != time.Second || p.forAnswer(timeout) > timeout {
			t.Errorf("%v: a sampling of %v, then %v, and %v for the answer", timeout, p.full, p.wanted(), p.forAnswer(timeout))
		}
	}
}

// Whatever a client announces, its time has a beginning and an end.
func FuzzTimeout(f *testing.F) {
	for _, s := range []string{
		"", "10", "0.5", "-1", "NaN", "+Inf", "1e300", "0x1p-3", "1_0", " 5", "9223372036.9",
		"1e-300", "1e-400", "Inf", "-Inf", "1e400", "0x1p-1074", "5e-324", "0x1p-1080", "-0", "1e-9", "120", "120.0000001", "NaN(1)",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, announced string) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		r.Header.Set("X-Prometheus-Scrape-Timeout-Seconds", announced)
		if got := timeoutOf(r); got <= 0 || got > longestTimeout {
			t.Errorf("%q is %v", announced, got)
		}
	})
}
