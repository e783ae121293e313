package collector

import (
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// A long answer is compressed for those who ask for that, and holds the same; a short one is not.
func TestAnswersAreCompressed(t *testing.T) {
	for _, c := range []struct {
		accept     string
		series     int
		compressed bool
	}{
		{"gzip", 2000, true},
		{"deflate, gzip;q=0.5", 2000, true},
		{"gzip;q=0", 2000, false},
		{"", 2000, false},
		{"gzip", 1, false},
	} {
		e := testExporter(t, 0, &fakeSampler{}, funcCollector{"queue", func(_ context.Context, ch chan<- prometheus.Metric) error {
			for i := range c.series {
				groupUncommitted.send(ch, 1, "q", "group-"+strconv.Itoa(i))
			}
			return nil
		}})
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil)
		if c.accept != "" {
			r.Header.Set("Accept-Encoding", c.accept)
		}
		w := httptest.NewRecorder()
		e.ServeHTTP(w, r)
		encoding, body := w.Result().Header.Get("Content-Encoding"), io.Reader(w.Body)
		if (encoding == "gzip") != c.compressed {
			t.Errorf("%q, %d series: Content-Encoding %q", c.accept, c.series, encoding)
			continue
		}
		if c.compressed {
			var err error
			if body, err = gzip.NewReader(body); err != nil {
				t.Fatal(err)
			}
		}
		text, err := io.ReadAll(body)
		if n := strings.Count(string(text), "\ncacheinv_consumer_group_uncommitted_partitions{"); err != nil || n != c.series {
			t.Errorf("%q: %d series, want %d (%v)", c.accept, n, c.series, err)
		}
	}
}
