package turn

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
)

// A request waits until a place is left; one that ends before is told so; a free place is taken even by one whose time is up.
func TestLine(t *testing.T) {
	line := NewLine(1)
	ask := func(ctx context.Context) (bool, int) {
		w := httptest.NewRecorder()
		ok := line.Wait(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil))
		return ok, w.Code
	}
	late, cancel := context.WithCancel(t.Context())
	cancel()
	if ok, code := ask(late); !ok || code != http.StatusOK {
		t.Fatalf("a free place, time up: %t, %d", ok, code)
	}
	if ok, code := ask(late); ok || code != http.StatusServiceUnavailable {
		t.Errorf("no place, time up: %t, %d", ok, code)
	}
	answered := make(chan bool)
	go func() {
		ok, _ := ask(t.Context())
		answered <- ok
	}()
	line.Leave()
	if !<-answered {
		t.Error("a place was left, and not taken")
	}
	line.Leave()
}
