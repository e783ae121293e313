package http

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/httpclient"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

//nolint:depguard // net/http writes to it

func httpTemplate(t testing.TB, text string) form.Template {
	t.Helper()
	out, err := form.ParseTemplate(text)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func startHTTP(t testing.TB, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return s
}

func openNode(t testing.TB, c nodeConfig, env *probes.Env) *node {
	t.Helper()
	n, err := newNode(probes.Identity{Layer: "l1", Name: "app-1", Kind: "http"}, c, env)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return n.(*node)
}

// httpAt is a node whose keys stand below /k/ of a server.
func httpAt(t testing.TB, s *httptest.Server) nodeConfig {
	t.Helper()
	return nodeConfig{URL: httpTemplate(t, s.URL+"/k/{key}")}
}

// urlOfNobody is a URL at which nothing listens.
func urlOfNobody(t testing.TB) string {
	t.Helper()
	return "http://" + servers.FreeAddr(t)
}

func TestHTTPNodeTellsEachKindOfCopy(t *testing.T) {
	servers.NoLeaks(t)
	s := startHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		status, _ := strconv.Atoi(r.PathValue("status"))
		if status == 0 {
			status, _ = strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/k/"))
		}
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
		if status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified {
			_, _ = io.WriteString(w, "body")
		}
	})
	for _, c := range []struct {
		status             int
		edge, onlyIfCached bool
		want               string // present, missing, or an error
		answered           bool
	}{
		{200, false, false, "present", true},
		{200, true, true, "present", true},
		{404, false, false, "missing", true},
		{404, true, true, "missing", true},
		{410, false, false, "missing", true},
		{204, false, false, "status 204 No Content", true},
		{206, false, false, "status 206 Partial Content", true},
		{301, false, false, "status 301 Moved Permanently; redirects are not followed, write the URL that it leads to", true},
		{302, true, true, "status 302 Found; redirects are not followed, write the URL that it leads to", true},
		{304, false, false, "status 304 Not Modified; redirects are not followed, write the URL that it leads to", true},
		{403, false, false, "status 403 Forbidden; give it a username and password_file, or a bearer_token_file, that it accepts", true},
		{418, false, false, "status 418 I'm a teapot", true},
		{500, false, false, "status 500 Internal Server Error", false},
		{503, true, true, "status 503 Service Unavailable", false},
		{504, true, true, "missing", true},
		{504, true, false, "status 504 Gateway Timeout", false},
		{504, false, true, "status 504 Gateway Timeout", true},
		{504, false, false, "status 504 Gateway Timeout", false},
		{599, false, false, "status 599", false},
	} {
		t.Run(fmt.Sprintf("%d_edge_%t_%t", c.status, c.edge, c.onlyIfCached), func(t *testing.T) {
			node := httpAt(t, s)
			node.Edge, node.OnlyIfCached = c.edge, c.onlyIfCached
			n := openNode(t, node, probetest.Env())
			if s := probetest.Survey(t, n); !s.Unasked || s.Took != 0 {
				t.Errorf("survey without anything to ask: %+v", s)
			}
			if n.Answered() {
				t.Error("answered before it was asked")
			}
			got := probetest.Read(t, n, probes.Key{Name: strconv.Itoa(c.status)})[0]
			if state := httpState(got); state != c.want {
				t.Errorf("%q, want %q", state, c.want)
			}
			if got.Present && string(got.Value) != "body" || got.HasTTL || got.NoExpiry || got.Suspect {
				t.Errorf("copy %+v", got)
			}
			if n.Answered() != c.answered {
				t.Errorf("answered %t", n.Answered())
			}
			if probetest.Survey(t, n); n.Answered() {
				t.Error("an earlier answer counts after the next survey")
			}
		})
	}
}

func httpState(r probes.Raw) string {
	switch {
	case r.Err != nil:
		return r.Err.Error()
	case r.Present:
		return "present"
	}
	return "missing"
}

func TestHTTPOnlyIfCachedIsAsked(t *testing.T) {
	servers.NoLeaks(t)
	var asked sync.Map
	s := startHTTP(t, func(_ http.ResponseWriter, r *http.Request) {
		asked.Store(r.URL.Path, strings.Join(r.Header.Values("Cache-Control"), ", "))
	})
	for _, c := range []struct {
		headers map[string]string
		only    bool
		want    string
	}{
		{nil, false, ""},
		{nil, true, "only-if-cached"},
		{map[string]string{"cache-control": "max-stale=60"}, true, "max-stale=60, only-if-cached"},
	} {
		node := httpAt(t, s)
		node.OnlyIfCached, node.Headers, node.HealthURL = c.only, c.headers, s.URL+"/health"
		n := openNode(t, node, probetest.Env())
		probetest.Survey(t, n)
		probetest.Read(t, n, probes.Key{Name: "a"})
		if got, _ := asked.Load("/k/a"); got != c.want {
			t.Errorf("%v: Cache-Control %q, want %q", c.headers, got, c.want)
		}
		if got, _ := asked.Load("/health"); strings.Contains(got.(string), "only-if-cached") {
			t.Error("the health URL was asked with only-if-cached")
		}
	}
}

// What an edge's 200 means, by its headers.
func TestHTTPEdgeCacheStatus(t *testing.T) {
	servers.NoLeaks(t)
	var headers atomic.Pointer[http.Header]
	s := startHTTP(t, func(w http.ResponseWriter, _ *http.Request) {
		for name, values := range *headers.Load() {
			w.Header()[name] = values
		}
		_, _ = io.WriteString(w, "body")
	})
	custom := &cacheStatusConfig{Header: "x-edge", Hit: regexp.MustCompile("(?i)hit")}
	for _, c := range []struct {
		name    string
		headers http.Header
		status  *cacheStatusConfig
		hit     bool
	}{
		{"none", nil, nil, true},
		{"empty", http.Header{"Cache-Status": {""}, "X-Cache": {" , "}}, nil, true},

		{"configured hit", http.Header{"X-Edge": {"Hit"}}, custom, true},
		{"configured miss", http.Header{"X-Edge": {"Miss"}}, custom, false},
		{"configured before all", http.Header{"X-Edge": {"hit"}, "Cache-Status": {"a;fwd=miss"}, "X-Cache": {"MISS"}}, custom, true},
		{"configured, the last member", http.Header{"X-Edge": {"HIT, MISS"}}, custom, false},
		{"configured, absent", http.Header{"X-Cache": {"MISS"}}, custom, false},
		{"configured, nothing at all", nil, custom, true},
		{"not configured", http.Header{"X-Edge": {"Miss"}}, nil, true},

		{"rfc hit", http.Header{"Cache-Status": {"ExampleCache; hit"}}, nil, true},
		{"rfc stale hit", http.Header{"Cache-Status": {"ExampleCache; hit; ttl=-412"}}, nil, true},
		{"rfc hit true", http.Header{"Cache-Status": {"ExampleCache;hit=?1;ttl=3"}}, nil, true},
		{"rfc hit false", http.Header{"Cache-Status": {"ExampleCache;hit=?0"}}, nil, false},
		{"rfc miss", http.Header{"Cache-Status": {"ExampleCache; fwd=uri-miss; stored"}}, nil, false},
		{"rfc revalidated", http.Header{"Cache-Status": {"ExampleCache; fwd=stale; fwd-status=304"}}, nil, false},
		{"rfc both", http.Header{"Cache-Status": {"ExampleCache; hit; fwd=stale"}}, nil, false},
		{"rfc says nothing", http.Header{"Cache-Status": {"ExampleCache; detail=hit"}}, nil, true},
		{"rfc says nothing, X-Cache does", http.Header{"Cache-Status": {"ExampleCache"}, "X-Cache": {"MISS"}}, nil, false},
		{"rfc the last is closest", http.Header{"Cache-Status": {"OriginCache; hit; ttl=1100, \"CDN\"; fwd=uri-miss"}}, nil, false},
		{"rfc the last is closest, hit", http.Header{"Cache-Status": {"OriginCache; fwd=miss, CDN; hit"}}, nil, true},
		{"rfc several lines", http.Header{"Cache-Status": {"OriginCache; hit", "CDN; fwd=miss"}}, nil, false},
		{"rfc strings", http.Header{"Cache-Status": {`"a, b; fwd=miss \", c"; hit; detail="x; fwd=miss, y"`}}, nil, true},
		{"rfc before the others", http.Header{"Cache-Status": {"a;hit"}, "Cf-Cache-Status": {"MISS"}, "X-Cache": {"MISS"}}, nil, true},

		{"cf hit", http.Header{"Cf-Cache-Status": {"HIT"}}, nil, true},
		{"cf miss", http.Header{"Cf-Cache-Status": {"MISS"}, "X-Cache": {"HIT"}}, nil, false},
		{"cf expired", http.Header{"Cf-Cache-Status": {"EXPIRED"}}, nil, false},
		{"cf bypass", http.Header{"Cf-Cache-Status": {"BYPASS"}}, nil, false},
		{"cf dynamic", http.Header{"Cf-Cache-Status": {"DYNAMIC"}}, nil, false},
		{"cf none", http.Header{"Cf-Cache-Status": {"NONE/UNKNOWN"}}, nil, false},
		{"cf stale", http.Header{"Cf-Cache-Status": {"STALE"}}, nil, true},
		{"cf updating", http.Header{"Cf-Cache-Status": {"UPDATING"}}, nil, true},
		{"cf revalidated", http.Header{"Cf-Cache-Status": {"REVALIDATED"}}, nil, true},

		{"hit", http.Header{"X-Cache": {"HIT"}}, nil, true},
		{"miss", http.Header{"X-Cache": {"MISS"}}, nil, false},
		{"cloudfront hit", http.Header{"X-Cache": {"Hit from cloudfront"}}, nil, true},
		{"cloudfront refresh hit", http.Header{"X-Cache": {"RefreshHit from cloudfront"}}, nil, true},
		{"cloudfront miss", http.Header{"X-Cache": {"Miss from cloudfront"}}, nil, false},
		{"akamai", http.Header{"X-Cache": {"TCP_MEM_HIT from a23-45 (AkamaiGHost/11)"}}, nil, true},
		{"akamai miss", http.Header{"X-Cache": {"TCP_MISS from a23-45"}}, nil, false},
		{"squid, a host with hit in its name", http.Header{"X-Cache": {"MISS from white-1"}}, nil, false},
		{"fastly shield hit", http.Header{"X-Cache": {"HIT, MISS"}}, nil, false},
		{"fastly edge hit", http.Header{"X-Cache": {"MISS, HIT"}}, nil, true},
		{"two lines", http.Header{"X-Cache": {"HIT", "MISS"}}, nil, false},
		{"varnish hit for pass", http.Header{"X-Cache": {"hit-for-pass"}}, nil, false},
		{"nginx stale", http.Header{"X-Cache": {"STALE"}}, nil, true},
		{"nginx bypass", http.Header{"X-Cache": {"BYPASS"}}, nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			headers.Store(&c.headers)
			node := httpAt(t, s)
			node.Edge, node.OnlyIfCached, node.CacheStatus = true, true, c.status
			n := openNode(t, node, probetest.Env())
			want, fills := "present", uint64(0)
			if !c.hit {
				want, fills = "missing", 1
			}
			if got := httpState(probetest.Read(t, n, probes.Key{Name: "a"})[0]); got != want {
				t.Errorf("%s, want %s", got, want)
			}
			if got := probetest.Survey(t, n).Fills; got != fills {
				t.Errorf("%d fills, want %d", got, fills)
			}
			node.Edge = false // an application's cache: whatever the headers say, what it holds is content
			if got := httpState(probetest.Read(t, openNode(t, node, probetest.Env()), probes.Key{Name: "a"})[0]); got != "present" {
				t.Errorf("no edge: %s", got)
			}
		})
	}
}

func TestHTTPRemainingTTL(t *testing.T) {
	now := time.Date(2024, 5, 1, 12, 0, 0, 0, time.UTC)
	date := func(d time.Duration) string { return now.Add(d).Format(http.TimeFormat) }
	for _, c := range []struct {
		name   string
		h      http.Header
		shared bool
		want   time.Duration
		has    bool
	}{
		{"none", http.Header{}, true, 0, false},
		{"no number", http.Header{"Cache-Control": {"max-age=soon, no-store"}}, true, 0, false},
		{"max-age", http.Header{"Cache-Control": {"public, max-age=60"}}, false, time.Minute, true},
		{"case and quotes", http.Header{"Cache-Control": {`Public,MAX-AGE="60"`}}, false, time.Minute, true},
		{"second line", http.Header{"Cache-Control": {"public", "max-age=60"}}, false, time.Minute, true},
		{"first of two", http.Header{"Cache-Control": {"max-age=60, max-age=90"}}, false, time.Minute, true},
		{"inside a string", http.Header{"Cache-Control": {`private="x, max-age=5", max-age=60`}}, false, time.Minute, true},
		{"age", http.Header{"Cache-Control": {"max-age=60"}, "Age": {"45"}}, true, 15 * time.Second, true},
		{"past", http.Header{"Cache-Control": {"max-age=60"}, "Age": {"100"}}, true, 0, true},
		{"age unreadable", http.Header{"Cache-Control": {"max-age=60"}, "Age": {"-5"}}, true, time.Minute, true},
		{"huge", http.Header{"Cache-Control": {"max-age=99999999999999999999"}}, true, (1<<31 - 1) * time.Second, true},
		{"huge age", http.Header{"Cache-Control": {"max-age=60"}, "Age": {"99999999999999999999"}}, true, 0, true},
		{"shared", http.Header{"Cache-Control": {"max-age=60, s-maxage=600"}}, true, 10 * time.Minute, true},
		{"private", http.Header{"Cache-Control": {"s-maxage=600, max-age=60"}}, false, time.Minute, true},
		{"private, s-maxage alone", http.Header{"Cache-Control": {"s-maxage=600"}}, false, 10 * time.Minute, true},
		{"expires", http.Header{"Expires": {date(time.Hour)}, "Date": {date(30 * time.Minute)}, "Age": {"60"}}, true, 29 * time.Minute, true},
		{"expires without date", http.Header{"Expires": {date(time.Hour)}}, true, time.Hour, true},
		{"expires passed", http.Header{"Expires": {date(-time.Hour)}}, true, 0, true},
		{"expires 0", http.Header{"Expires": {"0"}}, true, 0, true},
		{"max-age before expires", http.Header{"Expires": {date(time.Hour)}, "Cache-Control": {"max-age=60"}}, true, time.Minute, true},
	} {
		if got, has := remainingTTL(c.h, c.shared, now); got != c.want || has != c.has {
			t.Errorf("%s: %v, %t, want %v, %t", c.name, got, has, c.want, c.has)
		}
	}
}

func TestHTTPTTLFromHeaders(t *testing.T) {
	servers.NoLeaks(t)
	s := startHTTP(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60, s-maxage=100")
		w.Header().Set("Age", "40")
	})
	for _, c := range []struct {
		from, edge bool
		want       time.Duration
	}{{false, true, 0}, {true, true, time.Minute}, {true, false, 20 * time.Second}} {
		node := httpAt(t, s)
		node.TTLFromHeaders, node.Edge = c.from, c.edge
		got := probetest.Read(t, openNode(t, node, probetest.Env()), probes.Key{Name: "a"})[0]
		if got.TTL != c.want || got.HasTTL != c.from || got.NoExpiry {
			t.Errorf("%+v: %+v", c, got)
		}
	}
}

// A key asks for itself, whatever it is called; what no escape can express is not asked at all.
func TestHTTPKeysStayInTheirPlace(t *testing.T) {
	servers.NoLeaks(t)
	var asked atomic.Pointer[string]
	s := startHTTP(t, func(_ http.ResponseWriter, r *http.Request) { asked.Store(&r.RequestURI) })
	const none = "-"
	for _, c := range []struct{ template, key, want string }{
		{"/k/{key}", "user:1:profile", "/k/user:1:profile"},
		{"/k/{key}", "a b", "/k/a%20b"},
		{"/k/{key}", "a/b", "/k/a%2Fb"},
		{"/k/{key}", "/", "/k/%2F"},
		{"/k/{key}", "%2e%2e", "/k/%252e%252e"},
		{"/k/{key}", "100%", "/k/100%25"},
		{"/k/{key}", "a?b#c&d=e+f", "/k/a%3Fb%23c&d=e+f"},
		{"/k/{key}", "ключ", "/k/%D0%BA%D0%BB%D1%8E%D1%87"},
		{"/k/{key}", "\xff\x00\r\n", "/k/%FF%00%0D%0A"},
		{"/k/{key}", "...", "/k/..."},
		{"/k/{key}.json", "..", "/k/...json"},
		{"/k/{key}/v", "a", "/k/a/v"},
		{"/k?key={key}&x=1", "a&b=c d+%/..", "/k?key=a%26b%3Dc+d%2B%25%2F..&x=1"},
		{"/k?key={key}", "..", "/k?key=.."},
		{"/{key}/{key}?again={key}", "a/b", "/a%2Fb/a%2Fb?again=a%2Fb"},
		{"/k/{key}", ".", none},
		{"/k/{key}", "..", none},
		{"/k/{key}", "../admin", none},
		{"/k/{key}", "a/../../admin", none},
		{"/k/{key}", `..\admin`, none},
		{"/k/{key}", "", none},
		{"/k/.{key}", ".", none},
	} {
		n := openNode(t, nodeConfig{URL: httpTemplate(t, s.URL+c.template)}, probetest.Env())
		nothing := none
		asked.Store(&nothing)
		got := probetest.Read(t, n, probes.Key{Name: c.key})[0]
		if uri := *asked.Load(); uri != c.want {
			t.Errorf("%s, key %q: asked %s, want %s", c.template, c.key, uri, c.want)
		}
		if (got.Err != nil) != (c.want == none) {
			t.Errorf("%s, key %q: %v", c.template, c.key, got.Err)
		}
	}
}

func TestHTTPNodeRefusesWhatCannotBeAsked(t *testing.T) {
	for _, c := range []struct {
		node nodeConfig
		want string
	}{
		{nodeConfig{URL: httpTemplate(t, "http://{key}.example/")}, "before its path"},
		{nodeConfig{URL: httpTemplate(t, "http://u:{key}@h/{key}")}, "before its path"},
		{nodeConfig{URL: httpTemplate(t, "http://h:po%rt/secret/{key}")}, "the URL is none"},
		{nodeConfig{URL: httpTemplate(t, "http://h/{key}"), Headers: map[string]string{"X Y": "v"}}, `"X Y" is no header's name`},
		{nodeConfig{URL: httpTemplate(t, "http://h/{key}"), Headers: map[string]string{"X": "secret\r\nY: z"}}, `"X" is no header's name`},
		{nodeConfig{URL: httpTemplate(t, "http://h/{key}"), Headers: map[string]string{"host": "a b"}}, "Host is no host"},
		{nodeConfig{URL: httpTemplate(t, "http://h/{key}"), HealthURL: "ftp://u:secret@h"}, "health_url: the URL is none"},
		{nodeConfig{URL: httpTemplate(t, "http://h/{key}"), Stats: &statsConfig{URL: "://secret"}}, "stats: the URL is none"},
		{nodeConfig{URL: httpTemplate(t, "http://h/{key}"), Stats: &statsConfig{URL: "http://h", Hits: "hits"}}, `stats: "hits"`},
	} {
		_, err := newNode(probes.Identity{}, c.node, probetest.Env())
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want %q", c.node.URL, err, c.want)
		}
	}
}

// httpCache is an application's cache that counts its own hits and misses.
type httpCache struct {
	*httptest.Server
	hits, misses, uptime atomic.Int64
}

func startHTTPCache(t testing.TB) *httpCache {
	l := &httpCache{}
	l.uptime.Store(100)
	l.Server = startHTTP(t, func(w http.ResponseWriter, r *http.Request) {
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
func TestHTTPOwnReadsAreExact(t *testing.T) {
	servers.NoLeaks(t)
	l := startHTTPCache(t)
	node := httpAt(t, l.Server)
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

func TestHTTPSurvey(t *testing.T) {
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
	s := startHTTP(t, func(w http.ResponseWriter, r *http.Request) {
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
		{"/none", "", probes.Survey{}, "stats: the answer has a number at none of the configured paths; mend stats", true},
		{"/text", "", probes.Survey{}, "stats: the answer is not JSON; mend stats.url", true},
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
		node := httpAt(t, s)
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
func TestHTTPStatsWithoutPaths(t *testing.T) {
	servers.NoLeaks(t)
	s := startHTTP(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "fine") })
	node := httpAt(t, s)
	node.Stats = &statsConfig{URL: s.URL}
	if got := probetest.Survey(t, openNode(t, node, probetest.Env())); got.Hits.Known || got.Unasked {
		t.Errorf("%+v", got)
	}
}

func TestHTTPSurveyOfNoServer(t *testing.T) {
	servers.NoLeaks(t)
	node := nodeConfig{URL: httpTemplate(t, "http://h/{key}"), HealthURL: urlOfNobody(t)}
	n := openNode(t, node, probetest.Env())
	_, err := n.Survey(probetest.Within(t, 5*time.Second), nil)
	if err == nil || !strings.Contains(err.Error(), "connection refused") || n.Answered() {
		t.Errorf("%v, answered %t", err, n.Answered())
	}
}

func TestHTTPHeaders(t *testing.T) {
	servers.NoLeaks(t)
	echo := func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "%s|%s|%s|%s", r.Host, r.Header.Get("X-Team"), r.UserAgent(), r.Header.Get("Accept-Encoding"))
	}
	s, other := startHTTP(t, echo), startHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Host == "www.example.com" {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	node := httpAt(t, s)
	node.HealthURL = other.URL
	node.Headers = map[string]string{"host": "www.example.com", "x-team": "cache"}
	n := openNode(t, node, probetest.Env())
	if got := string(probetest.Read(t, n, probes.Key{Name: "a"})[0].Value); got != "www.example.com|cache|cacheinv_exporter|" {
		t.Errorf("the server saw %s", got)
	}
	if probetest.Survey(t, n); !n.Answered() {
		t.Error("the Host of one server was sent to another")
	}
	node.Headers = map[string]string{"User-Agent": "mine", "accept-encoding": "br"}
	if got := string(probetest.Read(t, openNode(t, node, probetest.Env()), probes.Key{Name: "a"})[0].Value); got != strings.TrimPrefix(s.URL, "http://")+"||mine|br" {
		t.Errorf("the server saw %s", got)
	}
}

func TestHTTPCredentials(t *testing.T) {
	servers.NoLeaks(t)
	var want atomic.Pointer[string]
	s := startHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		if got := user + ":" + password; got != *want.Load() && r.Header.Get("Authorization") != *want.Load() {
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	expect := func(n *node, credentials, state string) {
		t.Helper()
		want.Store(&credentials)
		if got := httpState(probetest.Read(t, n, probes.Key{Name: "a"})[0]); !strings.HasPrefix(got, state) {
			t.Errorf("%s: %s, want %s", credentials, got, state)
		}
	}
	open := func(c form.HTTPClient, userinfo string) *node {
		node := nodeConfig{URL: httpTemplate(t, strings.Replace(s.URL, "//", "//"+userinfo, 1)+"/{key}"), Client: c}
		return openNode(t, node, probetest.Env())
	}
	password := probetest.WriteFile(t, "password", "first\n")
	n := open(form.HTTPClient{Credentials: form.Credentials{Username: "u", PasswordFile: password}}, "")
	expect(n, "u:first", "present")
	expect(n, "u:second", "status 401")
	probetest.Rewrite(t, password, "second\r\n")
	expect(n, "u:second", "present")
	expect(open(form.HTTPClient{Credentials: form.Credentials{Username: "u", Password: "p"}}, "x:y@"), "u:p", "present")
	expect(open(form.HTTPClient{}, "x:y%40z@"), "x:y@z", "present")
	expect(open(form.HTTPClient{Credentials: form.Credentials{Password: "p"}}, "x@"), "x:p", "present")
	expect(open(form.HTTPClient{}, ""), ":", "present")

	token := probetest.WriteFile(t, "token", "t1\n")
	n = open(form.HTTPClient{BearerTokenFile: token}, "")
	expect(n, "Bearer t1", "present")
	probetest.Rewrite(t, token, "t2")
	expect(n, "Bearer t2", "present")
	for _, bad := range []string{"", "t1\nt2"} {
		probetest.Rewrite(t, token, bad)
		if err := n.Read(probetest.Within(t, 5*time.Second), []probes.Key{{Name: "a"}}, nil); err == nil || !strings.HasPrefix(err.Error(), "bearer_token_file is empty or") {
			t.Errorf("token %q: %v", bad, err)
		}
	}
	for _, c := range []form.HTTPClient{
		{BearerTokenFile: token + ".gone"}, {Credentials: form.Credentials{Username: "u", PasswordFile: password + ".gone"}},
	} {
		if err := open(c, "").Read(probetest.Within(t, 5*time.Second), []probes.Key{{Name: "a"}}, nil); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("without its file: %v", err)
		}
	}
}

func startHTTPS(t testing.TB, a *probetest.Authority, name string, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	certPEM, keyPEM, _, _ := probetest.Certificate(t, a, name)
	pair, err := tls.X509KeyPair([]byte(certPEM), []byte(keyPEM))
	if err != nil {
		t.Fatal(err)
	}
	clients := x509.NewCertPool()
	clients.AppendCertsFromPEM([]byte(a.Pem))
	s := httptest.NewUnstartedServer(handler)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: clients, ClientAuth: tls.RequireAndVerifyClientCert}
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // refused handshakes are what is tested
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func TestHTTPOverTLS(t *testing.T) {
	servers.NoLeaks(t)
	a := probetest.NewAuthority(t)
	s := startHTTPS(t, a, "cache.example", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.TLS.PeerCertificates[0].Subject.CommonName)
	})
	ours, oursKey, _, _ := probetest.Certificate(t, a, "exporter-1")
	ca, cert, key := probetest.WriteFile(t, "ca", a.Pem), probetest.WriteFile(t, "cert", ours), probetest.WriteFile(t, "key", oursKey)
	good := form.TLS{CAFile: ca, CertFile: cert, KeyFile: key, ServerName: "cache.example"}
	with := func(change func(*form.TLS)) *form.TLS {
		c := good
		change(&c)
		return &c
	}
	for _, c := range []struct {
		name    string
		tls     *form.TLS
		headers map[string]string
		want    string
	}{
		{"all", &good, nil, "present"},
		{"by the Host header", with(func(c *form.TLS) { c.ServerName = "" }), map[string]string{"Host": "cache.example:8443"}, "present"},
		{"any name", with(func(c *form.TLS) { c.ServerName, c.InsecureSkipVerify = "", true }), nil, "present"},
		{"address for a name", with(func(c *form.TLS) { c.ServerName = "" }), nil, "doesn't contain any IP SANs"},
		{"another name", with(func(c *form.TLS) { c.ServerName = "other.example" }), nil, "not other.example"},
		{"unknown authority", with(func(c *form.TLS) { c.CAFile = "" }), nil, "unknown authority"},
		{"no certificate of ours", with(func(c *form.TLS) { c.CertFile, c.KeyFile = "", "" }), nil, "certificate required"},
		{"no file", with(func(c *form.TLS) { c.CAFile = ca + ".gone" }), nil, "tls.ca_file"},
		{"none", nil, map[string]string{"Host": "cache.example"}, "unknown authority"},
	} {
		node := httpAt(t, s)
		node.Client.TLS, node.Headers = c.tls, c.headers
		n := openNode(t, node, probetest.Env())
		state := ""
		err := n.Read(probetest.Within(t, 5*time.Second), []probes.Key{{Name: "a"}}, func(_ int, r probes.Raw) { state = httpState(r) })
		if err != nil {
			state = err.Error()
		}
		if !strings.Contains(state, c.want) {
			t.Errorf("%s: %s, want %s", c.name, state, c.want)
		}
	}

	// tls switches TLS on, also where the URL says http; and a certificate that was replaced serves the next connection.
	node := nodeConfig{URL: httpTemplate(t, strings.Replace(s.URL, "https://", "http://", 1)+"/{key}"), Client: form.HTTPClient{TLS: &good}}
	n := openNode(t, node, probetest.Env())
	if got := string(probetest.Read(t, n, probes.Key{Name: "a"})[0].Value); got != "exporter-1" {
		t.Errorf("over http: the server saw %q", got)
	}
	ours, oursKey, _, _ = probetest.Certificate(t, a, "exporter-2")
	probetest.Rewrite(t, cert, ours)
	probetest.Rewrite(t, key, oursKey)
	s.CloseClientConnections()
	if got := string(probetest.Read(t, n, probes.Key{Name: "a"})[0].Value); got != "exporter-2" {
		t.Errorf("after the rotation: the server saw %q", got)
	}
}

// A URL that says http to a server that speaks TLS, and the other way round.
func TestHTTPSchemesMixedUp(t *testing.T) {
	servers.NoLeaks(t)
	plain := startHTTP(t, func(http.ResponseWriter, *http.Request) {})
	crypt := httptest.NewUnstartedServer(http.NotFoundHandler())
	crypt.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	crypt.StartTLS()
	t.Cleanup(crypt.Close)
	for url, want := range map[string]string{
		strings.Replace(plain.URL, "http:", "https:", 1): "does not look like a TLS handshake",
		strings.Replace(crypt.URL, "https:", "http:", 1): "status 400 Bad Request",
	} {
		n := openNode(t, nodeConfig{URL: httpTemplate(t, url+"/{key}")}, probetest.Env())
		state := ""
		err := n.Read(probetest.Within(t, 5*time.Second), []probes.Key{{Name: "a"}}, func(_ int, r probes.Raw) { state = httpState(r) })
		if err != nil {
			state = err.Error()
		}
		if !strings.Contains(state, want) {
			t.Errorf("%s: %s, want %s", url, state, want)
		}
	}
}

// answeringEach reads one request after the other and answers each with text.
func answeringEach(text string) func(net.Conn) {
	return func(conn net.Conn) {
		buf := make([]byte, 4096)
		for {
			if _, err := conn.Read(buf); err != nil {
				return
			}
			if _, err := io.WriteString(conn, text); err != nil {
				return
			}
		}
	}
}

// However a server hangs, Survey and Read return with their time, and leave nothing behind.
func TestHTTPHangingServer(t *testing.T) {
	silent := func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }
	for _, c := range []struct {
		name, scheme string
		talk         func(net.Conn)
	}{
		{"says nothing", "http", silent},
		{"no handshake", "https", silent},
		{"half a head", "http", answeringEach("HTTP/1.1 200 OK\r\nContent-")},
		{"half a body", "http", answeringEach("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")},
		{"half a chunk", "http", answeringEach("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe")},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) {
			servers.NoLeaks(t)
			url := c.scheme + "://" + servers.Listen(t, c.talk)
			node := nodeConfig{URL: httpTemplate(t, url+"/{key}"), Stats: &statsConfig{URL: url + "/stats", Hits: "$.hits"}}
			env := probetest.Env()
			n := openNode(t, node, env)
			check := func(what string, ask func(context.Context) error) {
				t.Helper()
				start := time.Now()
				err := ask(probetest.Within(t, 100*time.Millisecond))
				if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no answer in time") {
					t.Errorf("%s: %v", what, err)
				}
				if took := time.Since(start); took > 2*time.Second {
					t.Errorf("%s took %v", what, took)
				}
			}
			for range 2 {
				check("survey", func(ctx context.Context) error { _, err := n.Survey(ctx, nil); return err })
				check("read", func(ctx context.Context) error {
					return n.Read(ctx, profileKeys(t, 40), func(i int, r probes.Raw) { t.Errorf("visited %d: %+v", i, r) })
				})
			}
			budgetIsFree(t, env.Budget)
		})
	}
}

// profileKeys gives so many keys.
func profileKeys(t testing.TB, n int) []probes.Key {
	t.Helper()
	keys := make([]probes.Key, n)
	for i := range keys {
		keys[i].Name = fmt.Sprintf("user:%d:profile", i)
	}
	return keys
}

// allReturned: nothing of the budget is held.
func budgetIsFree(t testing.TB, b *probes.Budget) {
	t.Helper()
	if !b.TryAcquire(probes.HeldAtOnce) {
		t.Error("a part of the budget is still held")
		return
	}
	b.Release(probes.HeldAtOnce)
}

// Keys that hang cost the others nothing.
func TestHTTPSlowKeysAmongOthers(t *testing.T) {
	servers.NoLeaks(t)
	s := startHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/k/slow") {
			<-r.Context().Done()
			return
		}
		_, _ = io.WriteString(w, r.URL.Path)
	})
	n := openNode(t, httpAt(t, s), probetest.Env())
	keys := append([]probes.Key{{Name: "slow1"}, {Name: "slow2"}}, profileKeys(t, 200)...)
	visited := map[int]string{}
	err := n.Read(probetest.Within(t, time.Second), keys, func(i int, r probes.Raw) { visited[i] = string(r.Value) })
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	for i := 2; i < len(keys); i++ {
		if visited[i] != "/k/"+keys[i].Name {
			t.Errorf("key %d: %q", i, visited[i])
		}
	}
	if len(visited) != 200 || !n.Answered() {
		t.Errorf("%d visited, answered %t", len(visited), n.Answered())
	}
}

func TestHTTPSlowBodyInTimeIsRead(t *testing.T) {
	servers.NoLeaks(t)
	s := startHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		for _, part := range []string{"a", "b", "c"} {
			_, _ = io.WriteString(w, part)
			w.(http.Flusher).Flush()
			select {
			case <-time.After(20 * time.Millisecond):
			case <-r.Context().Done():
			}
		}
	})
	if got := string(probetest.Read(t, openNode(t, httpAt(t, s), probetest.Env()), probes.Key{Name: "a"})[0].Value); got != "abc" {
		t.Errorf("read %q", got)
	}
}

// Bodies up to the limit are read whole, however they come; larger ones are an error, and nothing stays held.
func TestHTTPBodySizes(t *testing.T) {
	servers.NoLeaks(t)
	s := startHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		how, size, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/k/"), "-")
		n, _ := strconv.Atoi(size)
		body := strings.Repeat("0123456789abcdef", n/16+1)[:n]
		if how == "chunked" {
			w.(http.Flusher).Flush()
		} else {
			w.Header().Set("Content-Length", size)
		}
		_, _ = io.WriteString(w, body)
	})
	for _, limit := range []int{1000, httpclient.UnheldBody, httpclient.UnheldBody + 1, 300_000} {
		env := probetest.Env()
		env.MaxBody = int64(limit)
		n := openNode(t, httpAt(t, s), env)
		for _, size := range []int{0, 1, limit - 1, limit, limit + 1, httpclient.UnheldBody - 1, httpclient.UnheldBody, httpclient.UnheldBody + 1, 3 * limit} {
			for _, how := range []string{"chunked", "whole"} {
				got := probetest.Read(t, n, probes.Key{Name: fmt.Sprintf("%s-%d", how, size)})[0]
				want := "present"
				if size > limit {
					want = fmt.Sprintf("the body is larger than --http.max-body (%d bytes)", limit)
				}
				if state := httpState(got); state != want || got.Present && len(got.Value) != size {
					t.Errorf("%s, %d bytes of %d: %s with %d bytes", how, size, limit, state, len(got.Value))
				}
			}
		}
		budgetIsFree(t, env.Budget)
	}
}

// While others hold the whole budget no body is read, and Read still returns with its time.
func TestHTTPBodiesCountAgainstTheBudget(t *testing.T) {
	servers.NoLeaks(t)
	s := startHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "chunked") {
			w.(http.Flusher).Flush()
		}
		_, _ = io.WriteString(w, strings.Repeat("x", 1000))
	})
	env := probetest.Env()
	n := openNode(t, httpAt(t, s), env)
	keys := []probes.Key{{Name: "chunked"}, {Name: "whole"}}
	if err := env.Budget.Acquire(t.Context(), probes.HeldAtOnce-1999); err != nil {
		t.Fatal(err)
	}
	held := 0
	err := n.Read(probetest.Within(t, 10*time.Second), keys, func(_ int, r probes.Raw) {
		held++
		if env.Budget.TryAcquire(1000) {
			t.Errorf("%d bytes are held and not counted", len(r.Value))
		}
	})
	if err != nil || held != 2 {
		t.Errorf("%d read one after the other, %v", held, err)
	}
	if err := env.Budget.Acquire(t.Context(), 1999); err != nil {
		t.Fatal(err)
	}
	err = n.Read(probetest.Within(t, 100*time.Millisecond), keys, func(i int, r probes.Raw) { t.Errorf("visited %d: %+v", i, r) })
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	env.Budget.Release(probes.HeldAtOnce)
	budgetIsFree(t, env.Budget)
}

// A node that gives no answer to any key failed as a whole; one key without an answer is that key's error.
func TestHTTPKeysWithoutAnswer(t *testing.T) {
	servers.NoLeaks(t)
	s := startHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "cut") {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				_ = conn.Close()
			}
		}
	})
	n := openNode(t, httpAt(t, s), probetest.Env())
	got := probetest.Read(t, n, probes.Key{Name: "cut"}, probes.Key{Name: "a"}, probes.Key{Name: "cut"}, probes.Key{Name: "b"})
	for i, want := range []string{httpclient.ErrCutOff.Error(), "present", httpclient.ErrCutOff.Error(), "present"} {
		if state := httpState(got[i]); state != want {
			t.Errorf("%d: %s, want %s", i, state, want)
		}
	}
	cut := make([]probes.Key, 1000)
	for i := range cut {
		cut[i].Name = "cut"
	}
	err := n.Read(probetest.Within(t, 10*time.Second), cut, func(i int, r probes.Raw) { t.Errorf("visited %d: %+v", i, r) })
	if !errors.Is(err, httpclient.ErrCutOff) {
		t.Errorf("all cut off: %v", err)
	}
	n = openNode(t, nodeConfig{URL: httpTemplate(t, urlOfNobody(t)+"/{key}")}, probetest.Env())
	for _, keys := range []int{1, 1000} {
		err = n.Read(probetest.Within(t, 10*time.Second), profileKeys(t, keys), func(i int, r probes.Raw) { t.Errorf("visited %d: %+v", i, r) })
		if err == nil || !strings.Contains(err.Error(), "connection refused") || n.Answered() {
			t.Errorf("%d keys, nothing listens: %v", keys, err)
		}
	}
	if err := n.Read(probetest.Within(t, time.Second), nil, nil); err != nil {
		t.Errorf("no keys: %v", err)
	}
}

// A thousand keys go over few connections, which the next scrape uses again, and are visited one at a time.
func TestHTTPThousandKeysOverFewConnections(t *testing.T) {
	servers.NoLeaks(t)
	var opened, atOnce, most atomic.Int64
	all := make(chan struct{}) // closed once all lanes have asked
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now := atOnce.Add(1)
		defer atOnce.Add(-1)
		for was := most.Load(); now > was; was = most.Load() {
			most.CompareAndSwap(was, now)
		}
		if now == httpclient.MaxConns {
			select {
			case <-all:
			default:
				close(all)
			}
		}
		<-all
		if strings.HasSuffix(r.URL.Path, "7:profile") {
			http.NotFound(w, r)
			return
		}
		_, _ = io.WriteString(w, strings.TrimPrefix(r.URL.Path, "/k/"))
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	n := openNode(t, httpAt(t, s), probetest.Env())
	keys := profileKeys(t, 1000)
	for range 3 {
		var visiting atomic.Int32
		seen := make([]int, len(keys))
		err := n.Read(probetest.Within(t, 20*time.Second), keys, func(i int, r probes.Raw) {
			if visiting.Add(1) != 1 {
				t.Error("two visits at once")
			}
			defer visiting.Add(-1)
			seen[i]++
			if missing := strings.HasSuffix(keys[i].Name, "7:profile"); r.Err != nil || r.Present == missing || r.Present && string(r.Value) != keys[i].Name {
				t.Errorf("key %d: %+v", i, r)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		for i, times := range seen {
			if times != 1 {
				t.Errorf("key %d was visited %d times", i, times)
			}
		}
	}
	if opened.Load() != httpclient.MaxConns || most.Load() != httpclient.MaxConns {
		t.Errorf("%d connections, %d requests at once, want %d", opened.Load(), most.Load(), httpclient.MaxConns)
	}
	n.Close()
	if err := n.Read(probetest.Within(t, time.Second), keys, nil); !errors.Is(err, probes.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// A server that closed its idle connections in between is asked over new ones.
func TestHTTPIdleConnectionsClosedByTheServer(t *testing.T) {
	servers.NoLeaks(t)
	s := startHTTP(t, func(http.ResponseWriter, *http.Request) {})
	n := openNode(t, httpAt(t, s), probetest.Env())
	for range 20 {
		for _, got := range probetest.Read(t, n, profileKeys(t, 40)...) {
			if !got.Present {
				t.Fatalf("%+v", got)
			}
		}
		s.CloseClientConnections()
	}
}

// Close ends what goes on, and waits for it.
func TestHTTPCloseEndsRequests(t *testing.T) {
	servers.NoLeaks(t)
	asked := make(chan struct{}, 100)
	s := startHTTP(t, func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-r.Context().Done()
	})
	n := openNode(t, httpAt(t, s), probetest.Env())
	done := make(chan error)
	go func() {
		done <- n.Read(probetest.Within(t, time.Minute), profileKeys(t, 40), func(i int, r probes.Raw) { t.Errorf("visited %d: %+v", i, r) })
	}()
	<-asked
	n.Close()
	if err := <-done; !errors.Is(err, probes.ErrClosed) {
		t.Errorf("error %v", err)
	}
}

// Whatever a server sends or a configuration holds, an error repeats none of it.
func TestHTTPErrorsHoldNoSecrets(t *testing.T) {
	servers.NoLeaks(t)
	const marker = "m4rk3r"
	long := strings.Repeat(marker, 100_000)
	for i, text := range []string{
		marker + "\r\n\r\n",
		"SSH-2.0-" + marker + "\r\n",
		"HTTP/1.1 " + marker + "\r\n\r\n",
		"HTTP/1.1 500 " + marker + "\r\nContent-Length: 6\r\n\r\n" + marker,
		"HTTP/1.1 302 " + marker + "\r\nLocation: http://" + marker + "/\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 200 OK\r\n" + marker + "\r\n\r\n",
		"HTTP/1.1 200 OK\r\nX-" + marker + "\x00: " + marker + "\r\n\r\n",
		"HTTP/1.1 200 OK\r\nX: " + long + "\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: " + marker + "\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n" + marker,
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: " + marker + "\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + marker + "\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n" + marker + "\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: " + strconv.Itoa(5<<20) + "\r\n\r\n" + marker,
		"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nConnection: close\r\n\r\n" + marker,
	} {
		addr := servers.Listen(t, func(conn net.Conn) {
			answerOnce(conn, text)
		})
		secret := "http://" + marker + ":" + marker + "@" + addr
		c := form.HTTPClient{Credentials: form.Credentials{Username: marker, Password: marker}}
		node := nodeConfig{
			URL: httpTemplate(t, secret+"/{key}?"+marker+"={key}"), Client: c,
			Headers: map[string]string{"X-Key": marker}, HealthURL: secret, Stats: &statsConfig{URL: secret, Hits: "$.hits"},
		}
		n := openNode(t, node, probetest.Env())
		var texts []string
		note := func(err error) { texts = append(texts, fmt.Sprint(err)) }
		err := n.Read(probetest.Within(t, 5*time.Second), []probes.Key{{Name: marker}}, func(_ int, r probes.Raw) {
			if r.Err == nil {
				t.Errorf("%d: no error", i)
			}
			note(r.Err)
		})
		note(err)
		_, err = n.Survey(probetest.Within(t, 5*time.Second), nil)
		note(err)
		origin, err := newOrigin(originConfig{URL: httpTemplate(t, secret+"/{key}"), Client: c}, probetest.Env())
		if err != nil {
			t.Fatal(err)
		}
		note(origin.Ask(probetest.Within(t, 5*time.Second), map[string]string{"key": marker}, func(probes.OriginAnswer) { t.Errorf("%d: an answer", i) }))
		origin.Close()
		q, err := newQueue(queueConfig{URL: secret, Depth: "$.depth", Client: c}, "q", probetest.Env())
		if err != nil {
			t.Fatal(err)
		}
		_, err = q.Sample(probetest.Within(t, 5*time.Second))
		note(err)
		q.Close()
		app, err := newApplication("app", applicationConfig{Nodes: map[string]string{"n": secret}, Client: c}, probetest.Env())
		if err != nil {
			t.Fatal(err)
		}
		told, _ := app.Sample(probetest.Within(t, 5*time.Second))
		note(told[0].Err)
		app.Close()
		for _, text := range texts {
			if strings.Contains(strings.ToLower(text), marker) || strings.Contains(text, "no answer in time") || len(text) > 200 {
				t.Errorf("%d: %.300s", i, text)
			}
		}
	}
}

// answerOnce reads a request, answers it, and closes the connection once the client has gone or read all.
func answerOnce(conn net.Conn, text string) {
	buf := make([]byte, 4096)
	if _, err := conn.Read(buf); err != nil {
		return
	}
	if _, err := io.WriteString(conn, text); err != nil {
		return
	}
	if c, ok := conn.(*net.TCPConn); ok {
		_ = c.CloseWrite()
	}
	_, _ = io.Copy(io.Discard, conn)
}

// logLines collects what is written to the log.
type logLines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logLines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// What a server sends beyond its answer does not get into the log either.
func TestHTTPLogHoldsNoBodies(t *testing.T) {
	servers.NoLeaks(t)
	if _, ok := log.Writer().(httpclient.WithoutBodies); !ok {
		t.Fatalf("the log is written by %T", log.Writer())
	}
	var out logLines
	was := log.Writer()
	log.SetOutput(httpclient.WithoutBodies{Writer: &out})
	t.Cleanup(func() { log.SetOutput(was) })
	gone := make(chan struct{})
	addr := servers.Listen(t, func(conn net.Conn) {
		answeringEach("HTTP/1.1 204 No Content\r\n\r\nm4rk3r")(conn)
		close(gone)
	})
	n := openNode(t, nodeConfig{URL: httpTemplate(t, "http://"+addr+"/{key}")}, probetest.Env())
	probetest.Read(t, n, probes.Key{Name: "a"})
	<-gone // net/http has dropped the connection, and said so before
	log.Print("other lines are written")
	if text := out.String(); strings.Contains(text, "m4rk3r") || !strings.Contains(text, "other lines") {
		t.Errorf("the log has %s", text)
	}
}

func TestHTTPUnresolvedName(t *testing.T) {
	servers.NoLeaks(t)
	n := openNode(t, nodeConfig{URL: httpTemplate(t, "http://user:secret@name.invalid/{key}")}, probetest.Env())
	err := n.Read(probetest.Within(t, 10*time.Second), profileKeys(t, 100), func(i int, r probes.Raw) { t.Errorf("visited %d: %+v", i, r) })
	if err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("error %v", err)
	}
}

// What stands behind a list's last comma decides alone, and no header makes a parser fail.
func FuzzCacheStatus(f *testing.F) {
	for _, s := range []string{"", "a; hit", `"a, \"b"; hit, c;fwd=miss`, "HIT, MISS", "max-age=60, s-maxage=\"5\"", "a;hit=?0;;,", "max-age=99999999999999999999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		h := http.Header{"Cache-Status": {s}, "X-Cache": {s}, "Cache-Control": {s}, "Age": {s}, "Expires": {s}}
		isFill(h, nil)
		isFill(h, &cacheStatusConfig{Header: "X-Cache", Hit: regexp.MustCompile("hit")})
		for _, shared := range []bool{true, false} {
			if ttl, has := remainingTTL(h, shared, time.Now()); ttl < 0 || !has {
				t.Errorf("TTL %v, %t", ttl, has) // Expires is there
			}
		}
		if strings.ContainsAny(s, `"\`) {
			return // what follows may be inside of a string
		}
		for _, last := range []string{"x;hit", "x;fwd=miss"} {
			h.Set("Cache-Status", s+", "+last)
			if isFill(h, nil) != (last != "x;hit") {
				t.Errorf("%q: the last member does not decide", h.Get("Cache-Status"))
			}
		}
		if !strings.ContainsAny(s, ",;=") {
			h = http.Header{"Cache-Control": {s + "x, max-age=7"}}
			if ttl, has := remainingTTL(h, true, time.Now()); ttl != 7*time.Second || !has {
				t.Errorf("%q: TTL %v, %t", h.Get("Cache-Control"), ttl, has)
			}
		}
	})
}

// FuzzHTTPKeys: no key leaves its place in the URL.
func FuzzHTTPKeys(f *testing.F) {
	for _, s := range []string{"a", "..", "../x", "%2e%2e/x", "a?b#c", "//x", "\x00", `..\x`, "@h:1/"} {
		f.Add(s)
	}
	tmpl, err := httpclient.NewTemplate(httpTemplate(f, "http://h:1/k/{key}/v?q={key}&z=1"))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, key string) {
		raw, err := tmpl.Expand(map[string]string{"key": key})
		if err != nil {
			return
		}
		u, err := url.Parse(raw)
		if err != nil {
			t.Fatalf("%q: %v", raw, err)
		}
		query, err := url.ParseQuery(u.RawQuery)
		if err != nil || len(query) != 2 || query.Get("q") != key || query.Get("z") != "1" {
			t.Errorf("key %q: query %q", key, u.RawQuery)
		}
		if u.Host != "h:1" || u.User != nil || u.Fragment != "" || u.Path != "/k/"+key+"/v" || strings.Count(u.EscapedPath(), "/") != 3 {
			t.Errorf("key %q: %q", key, raw)
		}
	})
}
