package http

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/httpclient"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

func urlTemplate(t testing.TB, text string) form.Template {
	t.Helper()
	out, err := form.ParseTemplate(text)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func startServer(t testing.TB, handler http.HandlerFunc) *httptest.Server {
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

// nodeAt is a node whose keys stand below /k/ of a server.
func nodeAt(t testing.TB, s *httptest.Server) nodeConfig {
	t.Helper()
	return nodeConfig{URL: urlTemplate(t, s.URL+"/k/{key}")}
}

// urlOfNobody is a URL at which nothing listens.
func urlOfNobody(t testing.TB) string {
	t.Helper()
	return "http://" + servers.FreeAddr(t)
}

func TestNodeTellsEachKindOfCopy(t *testing.T) {
	servers.NoLeaks(t)
	s := startServer(t, func(w http.ResponseWriter, r *http.Request) {
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
		{407, false, false, "status 407 Proxy Authentication Required; a proxy before the server asks for a login of its own, let the exporter pass", true},
		{429, false, false, "status 429 Too Many Requests; it limits requests, let the exporter have more or scrape less often", true},
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
			node := nodeAt(t, s)
			node.Edge, node.OnlyIfCached = c.edge, c.onlyIfCached
			n := openNode(t, node, probetest.Env())
			if s := probetest.Survey(t, n); !s.Unasked || s.Took != 0 {
				t.Errorf("survey without anything to ask: %+v", s)
			}
			if n.Answered() {
				t.Error("answered before it was asked")
			}
			got := probetest.Read(t, n, probes.Key{Name: strconv.Itoa(c.status)})[0]
			if state := stateOf(got); state != c.want {
				t.Errorf("%q, want %q", state, c.want)
			}
			if refused := errors.Is(got.Err, probes.ErrRefused); refused != (got.Err != nil && c.status < 500) {
				t.Errorf("a refusal: %t", refused)
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

func stateOf(r probes.Raw) string {
	switch {
	case r.Err != nil:
		return r.Err.Error()
	case r.Present:
		return "present"
	}
	return "missing"
}

func TestOnlyIfCachedIsAsked(t *testing.T) {
	servers.NoLeaks(t)
	var asked sync.Map
	s := startServer(t, func(_ http.ResponseWriter, r *http.Request) {
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
		node := nodeAt(t, s)
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

// A key asks for itself, whatever it is called; what no escape can express is not asked at all.
func TestKeysStayInTheirPlace(t *testing.T) {
	servers.NoLeaks(t)
	var asked atomic.Pointer[string]
	s := startServer(t, func(_ http.ResponseWriter, r *http.Request) { asked.Store(&r.RequestURI) })
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
		n := openNode(t, nodeConfig{URL: urlTemplate(t, s.URL+c.template)}, probetest.Env())
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

func TestNodeRefusesWhatCannotBeAsked(t *testing.T) {
	for _, c := range []struct {
		node nodeConfig
		want string
	}{
		{nodeConfig{URL: urlTemplate(t, "http://h:po%rt/secret/{key}")}, "the URL is none"},
		{nodeConfig{URL: urlTemplate(t, "http://h/{key}"), HealthURL: "ftp://u:secret@h"}, "health_url: the URL is none"},
		{nodeConfig{URL: urlTemplate(t, "http://h/{key}"), Stats: &statsConfig{URL: "://secret"}}, "stats: the URL is none"},
		{nodeConfig{URL: urlTemplate(t, "http://h/{key}"), Stats: &statsConfig{URL: "http://h", Hits: "hits"}}, `stats: "hits"`},
	} {
		_, err := newNode(probes.Identity{}, c.node, probetest.Env())
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want %q", c.node.URL, err, c.want)
		}
	}
}

// FuzzHTTPKeys: no key leaves its place in the URL.
func FuzzKeys(f *testing.F) {
	for _, s := range []string{"a", "..", "../x", "%2e%2e/x", "a?b#c", "//x", "\x00", `..\x`, "@h:1/"} {
		f.Add(s)
	}
	tmpl, err := httpclient.NewTemplate(urlTemplate(f, "http://h:1/k/{key}/v?q={key}&z=1"))
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
