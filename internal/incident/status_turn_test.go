package incident

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/cacheinv/cacheinv_exporter/internal/diagnosis"
	"github.com/cacheinv/cacheinv_exporter/internal/turn"
)

// One status is made at a time; a request whose client does not wait for its turn makes none.
func TestOneStatusAtATime(t *testing.T) {
	from := &reports{all: []*diagnosis.Report{estateReport(3, 1)}}
	line := turn.NewLine(1)
	for name, h := range map[string]http.Handler{"page": StatusPage(from, line), "JSON": StatusJSON(from, line)} {
		ask := func(ctx context.Context) int {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil))
			return w.Code
		}
		line <- struct{}{}
		impatient, cancel := context.WithCancel(t.Context())
		cancel()
		if code := ask(impatient); code != http.StatusServiceUnavailable {
			t.Errorf("%s: not its turn: %d", name, code)
		}
		line.Leave()
		if code := ask(t.Context()); code != http.StatusOK {
			t.Errorf("%s: in its turn: %d", name, code)
		}
	}
}
