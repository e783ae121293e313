package collector

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// blockedWriter tells of its first write, and goes on when it may.
type blockedWriter struct {
	*httptest.ResponseRecorder
	began chan<- struct{}
	goOn  <-chan struct{}
}

func (w blockedWriter) Write(b []byte) (int, error) {
	select {
	case w.began <- struct{}{}:
	case <-w.goOn:
	}
	<-w.goOn
	return w.ResponseRecorder.Write(b)
}

// Few answers are written at once. The others wait for their turn, as long as their clients do.
func TestFewAnswersAreWrittenAtOnce(t *testing.T) {
	e := testExporter(t, time.Hour, &fakeSampler{})
	began, goOn := make(chan struct{}), make(chan struct{})
	ask := func(ctx context.Context) int {
		w := blockedWriter{httptest.NewRecorder(), began, goOn}
		e.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/metrics", nil))
		return w.Code
	}
	codes := make(chan int, mostWriting+1)
	for range mostWriting {
		go func() { codes <- ask(t.Context()) }()
		<-began
	}
	impatient, cancel := context.WithCancel(t.Context())
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		w := httptest.NewRecorder()
		e.ServeHTTP(w, httptest.NewRequestWithContext(impatient, http.MethodGet, "/metrics", nil))
		if w.Code != http.StatusServiceUnavailable {
			t.Errorf("whose client goes away: %d", w.Code)
		}
	}()
	go func() { codes <- ask(t.Context()) }()
	select {
	case <-began:
		t.Error("one too many is written")
	case <-time.After(100 * time.Millisecond):
	}
	cancel()
	<-gone
	close(goOn)
	for range mostWriting + 1 {
		if code := <-codes; code != http.StatusOK {
			t.Errorf("status %d", code)
		}
	}
}
