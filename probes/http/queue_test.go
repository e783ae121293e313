package http

import (
	"context"
	"errors"
	"io"
	"net/http"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

func openQueue(t testing.TB, c queueConfig) *queue {
	t.Helper()
	q, err := newQueue(c, "app-1", probetest.Env())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(q.Close)
	return q
}

func TestQueue(t *testing.T) {
	servers.NoLeaks(t)
	var body atomic.Pointer[string]
	s := startServer(t, func(w http.ResponseWriter, _ *http.Request) {
		if *body.Load() == "" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = io.WriteString(w, *body.Load())
	})
	depth := func(n float64) probes.Backlog {
		return probes.Backlog{Complete: true, Depth: probes.Count{Value: n, Known: true}}
	}
	full := depth(7)
	full.Ends = map[probes.Partition]float64{{}: 100}
	full.Groups = []probes.GroupBacklog{{Group: "app-1", Positions: map[probes.Partition]float64{{}: 93}}}
	halfDepth, half := depth(7), full
	halfDepth.Complete = false
	half.Complete, half.Depth, half.Groups = false, probes.Count{}, nil
	for _, c := range []struct {
		name, body string
		counters   bool
		want       probes.Backlog
		err        string
	}{
		{"depth alone", `{"depth": 7}`, false, depth(7), ""},
		{"empty", `{"depth": 0}`, false, depth(0), ""},
		{"all", `{"depth": 7, "in": 100, "out": 93}`, true, full, ""},
		{"as text", `{"depth": "7", "in": "100", "out": "93"}`, true, full, ""},
		{"counters missing", `{"depth": 7}`, true, halfDepth, "enqueued should stand; fix that path\nthe answer has no number from 0 to 2^53 where processed"},
		{"depth missing", `{"in": 100}`, true, half, "depth should stand"},
		{"negative", `{"depth": -1}`, false, probes.Backlog{}, "depth should stand"},
		{"fell below 0", `{"depth": 7, "in": 18446744073709551615, "out": 18446744073709551615}`, true, halfDepth, "no number from 0 to 2^53 where enqueued"},
		{"endless", `{"depth": 1e999}`, false, probes.Backlog{}, "depth should stand"},
		{"no number", `{"depth": "marker"}`, false, probes.Backlog{}, "depth should stand"},
		{"NaN", `{"depth": "NaN"}`, false, probes.Backlog{}, "depth should stand"},
		{"infinity", `{"depth": "Inf"}`, false, probes.Backlog{}, "depth should stand"},
		{"no JSON", `marker`, false, probes.Backlog{}, "the answer is not JSON"},
		{"down", ``, false, probes.Backlog{}, "status 503 Service Unavailable"},
	} {
		body.Store(&c.body)
		q := queueConfig{URL: s.URL, Depth: "$.depth"}
		if c.counters {
			q.Enqueued, q.Processed = "$.in", "$.out"
		}
		got, err := openQueue(t, q).Sample(probetest.Within(t, 5*time.Second))
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
		if (err != nil) != (c.err != "") || err != nil && (!strings.Contains(err.Error(), c.err) || strings.Contains(err.Error(), "marker")) {
			t.Errorf("%s: %v, want %q", c.name, err, c.err)
		}
		if refused := errors.Is(err, probes.ErrRefused); refused != (err != nil && c.name != "down") {
			t.Errorf("%s: a refusal: %t", c.name, refused)
		}
	}
}

func TestQueueThatHangs(t *testing.T) {
	servers.NoLeaks(t)
	s := startServer(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	q := openQueue(t, queueConfig{URL: s.URL, Depth: "$.depth"})
	start := time.Now()
	got, err := q.Sample(probetest.Within(t, 100*time.Millisecond))
	if !errors.Is(err, context.DeadlineExceeded) || got.Complete || time.Since(start) > 2*time.Second {
		t.Errorf("%+v, %v after %v", got, err, time.Since(start))
	}
}

func TestQueueThatCannotBeAsked(t *testing.T) {
	for _, c := range []queueConfig{{URL: "h", Depth: "$"}, {URL: "http://h", Depth: "depth"}, {URL: "http://h", Depth: "$", Processed: "$.."}} {
		if _, err := newQueue(c, "q", probetest.Env()); err == nil {
			t.Errorf("%+v is no queue", c)
		}
	}
}
