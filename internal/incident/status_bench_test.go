package incident

import (
	"net/http/httptest"
	"testing"

	"github.com/cacheinv/cacheinv_exporter/internal/diagnosis"
	"github.com/cacheinv/cacheinv_exporter/internal/turn"
)

// BenchmarkStatus is what the page, and the JSON, of 1,000 keys by 12 nodes cost beside their sampling.
func BenchmarkStatus(b *testing.B) {
	from := &reports{all: []*diagnosis.Report{addKeys(estateReport(12, 1), 1000)}}
	page, json := StatusPage(from, turn.NewLine(1)), StatusJSON(from, turn.NewLine(1))
	b.Run("page", func(b *testing.B) {
		for b.Loop() {
			w := httptest.NewRecorder()
			page.ServeHTTP(w, httptest.NewRequestWithContext(b.Context(), "GET", "/status", nil))
			b.ReportMetric(float64(w.Body.Len())/1e6, "MB")
		}
	})
	b.Run("json", func(b *testing.B) {
		for b.Loop() {
			w := httptest.NewRecorder()
			json.ServeHTTP(w, httptest.NewRequestWithContext(b.Context(), "GET", "/api/v1/status", nil))
			b.ReportMetric(float64(w.Body.Len())/1e6, "MB")
		}
	})
}
