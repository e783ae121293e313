package main

import (
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/tools/grafana"
)

func overview(t *testing.T) *grafana.Dashboard {
	t.Helper()
	data, err := os.ReadFile("../overview.json")
	if err != nil {
		t.Fatal(err)
	}
	d, err := grafana.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// drawn is the overview as it is drawn where each query has this answer.
func drawn(t *testing.T, d *grafana.Dashboard, result string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, result) }))
	defer server.Close()
	now := time.Unix(1_700_000_000, 0)
	text, height, err := page(t.Context(), d, source{url: server.URL, from: now.Add(-time.Minute), to: now, step: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if height < 500 {
		t.Errorf("the page is %d pixels high", height)
	}
	return text
}

// Without data each panel says that nothing is known.
func TestNothingIsUnknown(t *testing.T) {
	d := overview(t)
	text := drawn(t, d, `{"status": "success", "data": {"result": []}}`)
	if got, want := strings.Count(text, `class="nothing"`), len(d.All()); got != want {
		t.Errorf("%d of %d panels say that nothing is known", got, want)
	}
	if !strings.Contains(text, "not even the watchdog") {
		t.Error("the alerts' own word is missing")
	}
}

func TestValuesAreDrawn(t *testing.T) {
	text := drawn(t, overview(t), `{"status": "success", "data": {"result": [
  {"metric": {"layer": "<l1>", "queue": "q", "instance": "i:1", "cause": "queue"}, "value": [1699999990, "0"], "values": [[1699999950, "0.25"], [1699999990, "0.75"], [1699999991, "NaN"]]}]}}`)
	for _, want := range []string{"&lt;l1&gt;", ">down</b>", "<path d=\"M", "75%", "background:#e02f44"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not drawn", want)
		}
	}
	if strings.Contains(text, "<l1>") || strings.Contains(text, "NaN") {
		t.Error("a label is not escaped, or NaN is drawn")
	}
}

func TestFaultOfAQuery(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"error": "no such function"}`) }))
	defer server.Close()
	_, err := source{url: server.URL}.ask(t.Context(), "f(x)", true)
	if err == nil || !strings.Contains(err.Error(), "f(x): no such function") {
		t.Error(err)
	}
}

func TestFormat(t *testing.T) {
	none := 0
	for _, tt := range []struct {
		value    float64
		unit     string
		decimals *int
		want     string
	}{
		{0.2346, "percentunit", nil, "23.46%"},
		{0.2346, "percentunit", &none, "23%"},
		{15000, "short", nil, "15 K"},
		{0.25, "s", nil, "250 ms"},
		{2700, "s", nil, "45 min"},
		{math.Inf(1), "s", nil, "∞"},
		{2.5e6, "bytes", nil, "2.5 MB"},
		{3, "none", nil, "3"},
	} {
		if got := format(tt.value, tt.unit, tt.decimals); got != tt.want {
			t.Errorf("%v in %s is %q, not %q", tt.value, tt.unit, got, tt.want)
		}
	}
}
