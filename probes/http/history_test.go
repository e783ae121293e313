package http

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
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

// A counter that fell below 0 says 2^64-1, which is no count: what it counts goes on from before.
func TestHistoryOfACounterBelow0(t *testing.T) {
	counts := &probes.Tally{}
	h, err := newHistory(historyConfig{URL: "http://h/", Succeeded: "$.ok", Failed: "$.bad"}, counts, probetest.Env())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	for _, said := range []string{`{"ok":10,"bad":1}`, `{"ok":20,"bad":18446744073709551615}`, `{"ok":18446744073709551615,"bad":2}`, `{"ok":30,"bad":3}`} {
		if err := h.read([]byte(said)); (err != nil) != strings.Contains(said, "18446744073709551615") {
			t.Errorf("%s: %v", said, err)
		}
	}
	probetest.WantAttempts(t, h, 22, 2)
}
