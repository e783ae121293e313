package http

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

// countingCache is an application's cache that counts its own hits and misses.
type countingCache struct {
	*httptest.Server
	hits, misses, uptime atomic.Int64
}

func startCountingCache(t testing.TB) *countingCache {
	l := &countingCache{}
	l.uptime.Store(100)
	l.Server = startServer(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/stats":
			_, _ = fmt.Fprintf(w, `{"hits": %d, "misses": %d, "up": %d}`, l.hits.Load(), l.misses.Load(), l.uptime.Load())
		case strings.HasPrefix(r.URL.Path, "/k/broken"):
			w.WriteHeader(http.StatusInternalServerError)
		case strings.HasPrefix(r.URL.Path, "/k/large"):
			l.hits.Add(1)
			_, _ = io.WriteString(w, strings.Repeat("x", 2000))
		case strings.HasPrefix(r.URL.Path, "/k/a"):
			l.hits.Add(1)
			_, _ = io.WriteString(w, "body")
		case strings.HasPrefix(r.URL.Path, "/k/fill"):
			l.misses.Add(1)
			w.Header().Set("X-Cache", "MISS")
			_, _ = io.WriteString(w, "body")
		default:
			l.misses.Add(1)
			http.NotFound(w, r)
		}
	})
	return l
}

// The node's counts less our own stay as they are, whatever is read, also over its restarts.
func TestOwnReadsAreExact(t *testing.T) {
	servers.NoLeaks(t)
	l := startCountingCache(t)
	node := nodeAt(t, l.Server)
	node.Edge = true
	node.Stats = &statsConfig{URL: l.URL + "/stats", Hits: "$.hits", Misses: "$.misses", UptimeSeconds: "$.up"}
	env := probetest.Env()
	env.MaxBody = 1000
	n := openNode(t, node, env)
	keys := []probes.Key{{Name: "a1"}, {Name: "a2"}, {Name: "no"}, {Name: "fill"}, {Name: "broken"}, {Name: ".."}, {Name: "large"}}
	l.hits.Store(1000)
	l.misses.Store(500)
	check := func(when string, hits, misses float64, ownHits, ownMisses uint64) {
		t.Helper()
		s := probetest.Survey(t, n)
		if probetest.Others(s) != [2]float64{hits, misses} || s.OwnHits != ownHits || s.OwnMisses != ownMisses {
			t.Fatalf("%s: others %v, own %d and %d, want %v and %v, %d and %d", when, probetest.Others(s), s.OwnHits, s.OwnMisses, hits, misses, ownHits, ownMisses)
		}
	}
	check("before any read", 1000, 500, 0, 0)
	probetest.Read(t, n, keys...)
	check("after one read", 1000, 500, 3, 2)
	probetest.Read(t, n, keys...)
	probetest.Read(t, n, keys[:2]...)
	l.hits.Add(7)
	l.misses.Add(1)
	check("after the second read, others read too", 1007, 501, 8, 4)

	l.hits.Store(2)
	l.misses.Store(501)
	check("hits fell", 2, 501, 0, 0)
	probetest.Read(t, n, keys...)
	check("hits fell, and another read", 2, 501, 3, 2)
	l.misses.Store(0)
	check("misses fell", 5, 0, 0, 0)
	probetest.Read(t, n, keys...)
	check("misses fell, and another read", 5, 0, 3, 2)
	l.hits.Store(9000)
	l.misses.Store(9000)
	l.uptime.Store(5)
	check("uptime fell", 9000, 9000, 0, 0)
	probetest.Read(t, n, keys...)
	check("uptime fell, and another read", 9000, 9000, 3, 2)
	if got := probetest.Survey(t, n).Fills; got != 5 {
		t.Errorf("%d fills, want 5: they are ours alone, and no restart takes them back", got)
	}
}

func TestSurvey(t *testing.T) {
	servers.NoLeaks(t)
	answers := map[string]struct {
		status int
		body   string
	}{
		"/full": {200, `{"hits": 10, "misses": "4", "cache": {"evicted": 0, "n": [7]}, "uptime": 1.5}`},
		"/part": {200, `{"hits": 10, "misses": null, "uptime": -1, "cache": {"n": [1e999]}}`},
		"/none": {200, `{"other": "marker"}`},
		"/text": {200, `marker`},
		"/ok":   {200, ``},
		"/gone": {404, `marker`},
		"/move": {302, ``},
		"/down": {503, `marker`},
	}
	s := startServer(t, func(w http.ResponseWriter, r *http.Request) {
		a := answers[r.URL.Path]
		w.WriteHeader(a.status)
		_, _ = io.WriteString(w, a.body)
	})
	full := probes.Survey{Hits: probes.Count{Value: 10, Known: true}, Misses: probes.Count{Value: 4, Known: true}, Evicted: probes.Count{Value: 0, Known: true}, Items: probes.Count{Value: 7, Known: true}, UptimeSeconds: probes.Count{Value: 1.5, Known: true}}
	for _, c := range []struct {
		stats, health string
		want          probes.Survey
		err           string
		up            bool
	}{
		{"/full", "", full, "", true},
		{"/full", "/ok", full, "", true},
		{"/full", "/gone", full, "", true},
		{"/part", "", probes.Survey{Hits: probes.Count{Value: 10, Known: true}}, "", true},
		{"/none", "", probes.Survey{}, "stats: the answer has a number at none of the configured paths; fix stats", true},
		{"/text", "", probes.Survey{}, "stats: the answer is not JSON; fix stats.url", true},
		{"/gone", "", probes.Survey{}, "stats: status 404 Not Found", true},
		{"/move", "", probes.Survey{}, "stats: status 302 Found; redirects are not followed, write the URL that it leads to", true},
		{"/down", "", probes.Survey{}, "stats: status 503 Service Unavailable", false},
		{"/down", "/ok", probes.Survey{}, "stats: status 503 Service Unavailable", false},
		{"/full", "/down", probes.Survey{}, "health_url: status 503 Service Unavailable", false},
		{"/down", "/down", probes.Survey{}, "stats: status 503 Service Unavailable\nhealth_url: status 503 Service Unavailable", false},
		{"", "/ok", probes.Survey{}, "", true},
		{"", "/move", probes.Survey{}, "", true},
		{"", "/gone", probes.Survey{}, "", true},
		{"", "/down", probes.Survey{}, "health_url: status 503 Service Unavailable", false},
	} {
		node := nodeAt(t, s)
		if c.stats != "" {
			node.Stats = &statsConfig{
				URL: s.URL + c.stats, Hits: "$.hits", Misses: "$.misses",
				Evicted: "$.cache['evicted']", Items: "$.cache.n[0]", UptimeSeconds: "$.uptime",
			}
		}
		if c.health != "" {
			node.HealthURL = s.URL + c.health
		}
		n := openNode(t, node, probetest.Env())
		got, err := n.Survey(probetest.Within(t, 5*time.Second), nil)
		// As the sampler has it.
		up := err == nil && !got.Unasked
		if got.Unasked {
			up = n.Answered()
		}
		if text := fmt.Sprint(err); err != nil && text != c.err || err == nil && c.err != "" || up != c.up || got.Took <= 0 {
			t.Errorf("stats %q, health %q: error %v, up %t, took %v, want %q, %t", c.stats, c.health, err, up, got.Took, c.err, c.up)
		}
		got.Took, got.Unasked = 0, false
		if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", c.want) {
			t.Errorf("stats %q, health %q: %+v, want %+v", c.stats, c.health, got, c.want)
		}
	}
}

// Statistics without paths only say that the node is up.
func TestStatsWithoutPaths(t *testing.T) {
	servers.NoLeaks(t)
	s := startServer(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "fine") })
	node := nodeAt(t, s)
	node.Stats = &statsConfig{URL: s.URL}
	if got := probetest.Survey(t, openNode(t, node, probetest.Env())); got.Hits.Known || got.Unasked {
		t.Errorf("%+v", got)
	}
}

func TestSurveyOfNoServer(t *testing.T) {
	servers.NoLeaks(t)
	node := nodeConfig{URL: urlTemplate(t, "http://h/{key}"), HealthURL: urlOfNobody(t)}
	n := openNode(t, node, probetest.Env())
	_, err := n.Survey(probetest.Within(t, 5*time.Second), nil)
	if err == nil || !strings.Contains(err.Error(), "connection refused") || n.Answered() {
		t.Errorf("%v, answered %t", err, n.Answered())
	}
}
