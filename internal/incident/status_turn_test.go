package incident

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/cacheinv/cacheinv_exporter/internal/diagnosis"
)

// One status is made at a time; a request whose client does not wait for its turn makes none.
func TestOneStatusAtATime(t *testing.T) {
	from := &reports{all: []*diagnosis.Report{estateReport(3, 1)}}
	for name, h := range map[string]http.Handler{"page": StatusPage(from), "JSON": StatusJSON(from)} {
		ask := func(ctx context.Context) int {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil))
			return w.Code
		}
		writing <- struct{}{}
		impatient, cancel := context.WithCancel(t.Context())
		cancel()
		if code := ask(impatient); code != http.StatusServiceUnavailable {
			t.Errorf("%s: not its turn: %d", name, code)
		}
		turnOver()
		if code := ask(t.Context()); code != http.StatusOK {
			t.Errorf("%s: in its turn: %d", name, code)
		}
	}
}
