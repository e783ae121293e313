package http

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

// A changed source begins anew while what was counted stays; one that is gone is forgotten.
func TestHistoriesOutliveConfigurations(t *testing.T) {
	servers.NoLeaks(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.URL.Query().Get("told")) }))
	t.Cleanup(server.Close)
	counts := probes.NewHistories()
	ask := func(name, told string, total, failed float64) {
		t.Helper()
		c := historyConfig{URL: server.URL + "/", Succeeded: "$.ok", Failed: "$.bad"}
		h, err := newHistory(c, counts.Of(name), probetest.Env())
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		h.url.RawQuery = "told=" + told
		probetest.SampleHistory(t, h)
		probetest.WantAttempts(t, h, total, failed)
	}
	ask("a", `{"ok":10,"bad":1}`, 0, 0)
	ask("a", `{"ok":20,"bad":3}`, 12, 2)
	ask("b", `{"ok":30,"bad":3}`, 0, 0)
	counts.Keep(map[string]bool{"b": true})
	ask("a", `{"ok":40,"bad":3}`, 0, 0)
	another := counts.Of("a")
	end, err := another.Begin("another")
	if err != nil {
		t.Fatal(err)
	}
	another.Add(5, 1)
	end()
	ask("a", `{"ok":50,"bad":3}`, 5, 1)
}
