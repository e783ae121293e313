package http

import (
	"math"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/content"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

// Whatever an application answers where its numbers are asked: what is known of it is a number of 0 or more, and no count goes back.
func FuzzNumbers(f *testing.F) {
	for _, s := range []string{
		`{"depth":1,"age":2.5,"in":1e3,"out":"7","hits":1,"ok":1,"failed":0}`, `{"depth":-1,"age":1e999,"in":NaN,"out":null}`, `{"depth":0,"age":9}`,
		`{"ok":9007199254740993,"failed":1e-300}`, `{"ok":1e308,"failed":1.7e308}`, `[]`, ``, `{"depth":{"depth":1}}`, `{"depth":1,"depth":2}`, "{\"depth\":\"\xff\"}", `{"depth":01}`, `"`,
	} {
		f.Add([]byte(s))
	}
	var body atomic.Pointer[[]byte]
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(*body.Load()) }))
	env := probetest.Env()
	q, err := newQueue(queueConfig{URL: server.URL, Depth: "$.depth", OldestAge: "$.age", Enqueued: "$.in", Processed: "$.out"}, "q", env)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		q.Close()
		server.Close()
	})
	hits, err := content.ParsePath("$.hits", false)
	if err != nil {
		f.Fatal(err)
	}
	n := &node{counts: []statsCount{{"hits", hits, func(s *probes.Survey) *probes.Count { return &s.Hits }}}}
	f.Fuzz(func(t *testing.T, said []byte) {
		isCount := func(what string, v float64) {
			if v < 0 || math.IsNaN(v) || math.IsInf(v, 0) {
				t.Errorf("%s is %v", what, v)
			}
		}
		var s probes.Survey
		if err := n.readStats(said, &s); (err == nil) != s.Hits.Known {
			t.Errorf("%+v, %v", s.Hits, err)
		}
		isCount("hits", s.Hits.Value)

		body.Store(&said)
		b, err := q.Sample(probetest.Within(t, 10*time.Second))
		if b.Complete != (err == nil) || b.Complete && (!b.Depth.Known || !b.OldestAge.Known || len(b.Ends) != 1 || len(b.Groups) != 1) {
			t.Errorf("%+v, %v", b, err)
		}
		isCount("depth", b.Depth.Value)
		isCount("age", b.OldestAge.Value)
		isCount("enqueued", b.Ends[probes.Partition{}])

		counts := probes.NewHistories()
		h, err := newHistory(historyConfig{URL: server.URL, Succeeded: "$.ok", Failed: "$.failed"}, counts.Of("h"), env)
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		for _, answer := range []string{`{"ok":5,"failed":1}`, string(said), `{"ok":7,"failed":2}`, string(said)} {
			before, _ := h.Attempts()
			if end, err := h.Begin(h.source); err != nil {
				t.Fatal(err)
			} else {
				_ = h.read([]byte(answer))
				end()
			}
			after, _ := h.Attempts()
			if math.IsNaN(after.Total) || math.IsInf(after.Total, 0) || after.Total < before.Total || after.Failed < before.Failed || after.Failed > after.Total {
				t.Errorf("%q: %+v became %+v", answer, before, after)
			}
		}
	})
}
