package http

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

// Any 2xx is well; all else says why not, without the body.
func TestHealth(t *testing.T) {
	status := http.StatusNoContent
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte("a secret"))
	}))
	t.Cleanup(server.Close)
	h, err := healthConfig{server.URL}.Open(probetest.Env())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	for code, want := range map[int]string{200: "", 201: "", 302: "status 302", 404: "status 404", 500: "status 500", 503: "status 503"} {
		status = code
		err := h.Ask(t.Context())
		if (err == nil) != (want == "") || err != nil && (!strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "secret")) {
			t.Errorf("%d: %v", code, err)
		}
	}
	hung, err := healthConfig{"http://" + servers.Hung(t)}.Open(probetest.Env())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(hung.Close)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := hung.Ask(ctx); err == nil {
		t.Error("one that hangs is well")
	}
}
