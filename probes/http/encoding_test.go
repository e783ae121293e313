package http

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/httpclient"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

// encoded gives a text in an encoding of HTTP.
func encoded(t testing.TB, name, text string) []byte {
	t.Helper()
	var out bytes.Buffer
	var w io.WriteCloser
	switch name {
	case "gzip":
		w = gzip.NewWriter(&out)
	case "deflate":
		w = zlib.NewWriter(&out)
	case "zstd":
		w, _ = zstd.NewWriter(&out)
	default:
		return []byte(text)
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// A server may encode what it sends without being asked to. What can't be undone costs its own key alone, and says why.
func TestContentEncoding(t *testing.T) {
	servers.NoLeaks(t)
	large := strings.Repeat("0123456789", 2*httpclient.UnheldBody)
	s := startServer(t, func(w http.ResponseWriter, r *http.Request) {
		parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/k/"), "-") // said, sent, how
		if got := r.Header.Get("Accept-Encoding"); got != "" {
			t.Errorf("an encoding was asked for: %q", got)
		}
		text := "body of " + r.URL.Path
		if parts[2] == "large" {
			text = large
		}
		body := encoded(t, parts[1], text)
		w.Header().Set("Content-Encoding", parts[0])
		if parts[2] == "chunked" {
			w.(http.Flusher).Flush()
		} else {
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		}
		if r.Method != http.MethodHead {
			_, _ = w.Write(body)
		}
	})
	env := probetest.Env()
	n := openNode(t, nodeAt(t, s), env)
	for _, c := range []struct{ key, want string }{
		{"gzip-gzip-whole", "present"},
		{"gzip-gzip-chunked", "present"},
		{"deflate-deflate-whole", "present"},
		{"zstd-zstd-chunked", "present"},
		{"identity-none-whole", "present"},
		{"zstd-zstd-large", "present"},
		{"identity-none-large", "present"},
		{"br-none-whole", `the body's Content-Encoding "br" can't be undone; gzip, deflate and zstd can, ask for one of them or for identity in headers.Accept-Encoding`},
		{"gzip-none-whole", "the body is no gzip, or damaged, though its Content-Encoding says so"},
		{"zstd-gzip-chunked", "the body is no zstd, or damaged, though its Content-Encoding says so"},
	} {
		got := probetest.Read(t, n, probes.Key{Name: "gzip-gzip-before"}, probes.Key{Name: c.key}, probes.Key{Name: "identity-none-after"})
		want := "body of /k/" + c.key
		if strings.HasSuffix(c.key, "large") {
			want = large
		}
		if state := stateOf(got[1]); state != c.want || got[1].Present && string(got[1].Value) != want {
			t.Errorf("%s: %q", c.key, state)
		}
		if string(got[0].Value) != "body of /k/gzip-gzip-before" || string(got[2].Value) != "body of /k/identity-none-after" {
			t.Errorf("%s: its neighbours: %q, %q", c.key, got[0].Value, got[2].Value)
		}
	}
	budgetIsFree(t, env.Budget)
	env.MaxBody = 1000
	got := probetest.Read(t, openNode(t, nodeAt(t, s), env), probes.Key{Name: "gzip-gzip-large"}, probes.Key{Name: "gzip-gzip-small"})
	if state := stateOf(got[0]); !strings.Contains(state, "larger than") || stateOf(got[1]) != "present" {
		t.Errorf("of 1000 bytes at most: %q, %q", state, stateOf(got[1]))
	}
	budgetIsFree(t, env.Budget)
}

// Whatever is asked over HTTP may be encoded: statistics, queues, origins and versions too.
func TestContentEncodingOfAll(t *testing.T) {
	servers.NoLeaks(t)
	s := startServer(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(encoded(t, "gzip", `{"depth": 7, "hits": 8}`))
	})
	node := nodeAt(t, s)
	node.Stats = &statsConfig{URL: s.URL, Hits: "$.hits"}
	if got := probetest.Survey(t, openNode(t, node, probetest.Env())).Hits; got.Value != 8 {
		t.Errorf("stats: %+v", got)
	}
	if got, err := openQueue(t, queueConfig{URL: s.URL, Depth: "$.depth"}).Sample(t.Context()); err != nil || got.Depth.Value != 7 {
		t.Errorf("queue: %+v, %v", got, err)
	}
	o := openOrigin(t, originConfig{URL: urlTemplate(t, s.URL+"/{key}")}, probetest.Env())
	err := o.Ask(t.Context(), map[string]string{"key": "a"}, func(a probes.OriginAnswer) {
		if string(a.Body) != `{"depth": 7, "hits": 8}` {
			t.Errorf("origin: %q", a.Body)
		}
	})
	if err != nil {
		t.Error(err)
	}
}

// visits of a Read: what each key's variants were, in their order.
func readEach(t testing.TB, n *node, keys ...string) map[string][]string {
	t.Helper()
	var asked []probes.Key
	for _, key := range keys {
		asked = append(asked, probes.Key{Name: key})
	}
	got := map[string][]string{}
	err := n.Read(probetest.Within(t, 10*time.Second), asked, func(i int, r probes.Raw) {
		text := r.Variant + " " + stateOf(r)
		if r.Present {
			text = r.Variant + " " + string(r.Value)
		}
		if r.Further != (len(got[keys[i]]) > 0) {
			t.Errorf("%s, %s: further %t", keys[i], text, r.Further)
		}
		got[keys[i]] = append(got[keys[i]], text)
	})
	if err != nil {
		t.Error(err)
	}
	return got
}

// Each variant is asked for by its name, and counts as one of our own reads; what is wrong with one is told of it alone.
func TestVariants(t *testing.T) {
	servers.NoLeaks(t)
	s := startServer(t, func(w http.ResponseWriter, r *http.Request) {
		variant := r.Header.Get("Accept-Encoding")
		key := strings.TrimPrefix(r.URL.Path, "/k/")
		switch {
		case key == "half" && variant == "identity":
			w.WriteHeader(http.StatusGatewayTimeout)
		case key == "cut" && variant == "gzip":
			conn, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				_ = conn.Close()
			}
		case key == "br" && variant == "gzip":
			w.Header().Set("Content-Encoding", "br")
			_, _ = io.WriteString(w, "body")
		case key == "none":
			w.WriteHeader(http.StatusNotFound)
		default:
			body := "body"
			if key == "missed" && variant == "gzip" {
				body = "old body"
			}
			w.Header().Set("Content-Encoding", variant)
			_, _ = w.Write(encoded(t, variant, body))
		}
	})
	node := nodeAt(t, s)
	node.Edge, node.OnlyIfCached, node.Variants = true, true, []string{"identity", "gzip"}
	env := probetest.Env()
	n := openNode(t, node, env)
	got := readEach(t, n, "alike", "missed", "half", "cut", "br", "none", "alike2")
	want := map[string][]string{
		"alike":  {"identity body", "gzip body"},
		"missed": {"identity body", "gzip old body"},
		"half":   {"identity missing", "gzip body"},
		"cut":    {"identity body", "gzip variant gzip: " + httpclient.ErrCutOff.Error()},
		"br":     {"identity body", `gzip variant gzip: the body's Content-Encoding "br" can't be undone; gzip, deflate and zstd can, ask for one of them or for identity in headers.Accept-Encoding`},
		"none":   {"identity missing", "gzip missing"},
		"alike2": {"identity body", "gzip body"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("want (-), got (+):\n%s", d)
	}
	if n.reads.hits != 10 || n.reads.misses != 3 {
		t.Errorf("%d hits and %d misses of our own", n.reads.hits, n.reads.misses)
	}
	budgetIsFree(t, env.Budget)
}

// A key whose variants were not all answered in time is not taken for one that was.
func TestSlowVariant(t *testing.T) {
	servers.NoLeaks(t)
	s := startServer(t, func(_ http.ResponseWriter, r *http.Request) {
		if slow := strings.HasSuffix(r.URL.Path, "slow"); slow && r.Header.Get("Accept-Encoding") == "gzip" {
			<-r.Context().Done()
		}
	})
	node := nodeAt(t, s)
	node.Variants = []string{"identity", "gzip"}
	got := map[int][]string{}
	_ = openNode(t, node, probetest.Env()).Read(probetest.Within(t, 500*time.Millisecond), []probes.Key{{Name: "slow"}, {Name: "a"}},
		func(i int, r probes.Raw) { got[i] = append(got[i], stateOf(r)) })
	if len(got[0]) != 2 || got[0][0] != "present" || !strings.Contains(got[0][1], "no answer in time") || len(got[1]) != 2 || got[1][1] != "present" {
		t.Errorf("%v", got)
	}
}
