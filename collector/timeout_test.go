package collector

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// Whatever a client announces, its time has a beginning and an end.
func FuzzTimeout(f *testing.F) {
	for _, s := range []string{"", "10", "0.5", "-1", "NaN", "+Inf", "1e300", "0x1p-3", "1_0", " 5", "9223372036.9"} {
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
