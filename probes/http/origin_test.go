package http

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/httpclient"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

func openOrigin(t testing.TB, c originConfig, env *probes.Env) *origin {
	t.Helper()
	o, err := newOrigin(c, env)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.Close)
	return o
}

func TestOriginAnswers(t *testing.T) {
	servers.NoLeaks(t)
	s := startServer(t, func(w http.ResponseWriter, r *http.Request) {
		status, _ := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/api/"))
		w.Header().Set("Location", "/api/200")
		w.WriteHeader(status)
		if status != http.StatusNoContent {
			_, _ = io.WriteString(w, "truth of "+r.Header.Get("X-Tenant"))
		}
	})
	env := probetest.Env()
	o := openOrigin(t, originConfig{URL: urlTemplate(t, s.URL+"/api/{id}"), Headers: map[string]string{"X-Tenant": "a"}}, env)
	for _, c := range []struct {
		id, body string
		deleted  bool
		err      string
	}{
		{"200", "truth of a", false, ""},
		{"404", "", true, ""},
		{"410", "", true, ""},
		{"204", "", false, "status 204 No Content"},
		{"302", "", false, "status 302 Found; redirects are not followed, write the URL that it leads to"},
		{"401", "", false, "status 401 Unauthorized; give it a username and password_file, or a bearer_token_file, that it accepts"},
		{"500", "", false, "status 500 Internal Server Error"},
		{"504", "", false, "status 504 Gateway Timeout"},
		{"..", "", false, "the key holds . or .. as a part of a path, which would ask for another URL"},
		{"", "", false, "{id} is empty for this key, which would ask for another URL"},
	} {
		var got []probes.OriginAnswer
		err := o.Ask(probetest.Within(t, 5*time.Second), map[string]string{"key": "user:1", "id": c.id}, func(a probes.OriginAnswer) {
			got = append(got, probes.OriginAnswer{Body: append([]byte(nil), a.Body...), Deleted: a.Deleted})
		})
		if c.err != "" {
			if err == nil || err.Error() != c.err || len(got) != 0 {
				t.Errorf("%s: %v, %v, want %q", c.id, got, err, c.err)
			}
			continue
		}
		if err != nil || len(got) != 1 || string(got[0].Body) != c.body || got[0].Deleted != c.deleted {
			t.Errorf("%s: %+v, %v", c.id, got, err)
		}
	}
	budgetIsFree(t, env.Budget)
}

func TestOriginBodyIsCountedWhileItIsHeld(t *testing.T) {
	servers.NoLeaks(t)
	s := startServer(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, strings.Repeat("x", 100_000)) })
	env := probetest.Env()
	env.MaxBody = 100_000
	o := openOrigin(t, originConfig{URL: urlTemplate(t, s.URL+"/{key}")}, env)
	vars := map[string]string{"key": "a"}
	err := o.Ask(probetest.Within(t, 5*time.Second), vars, func(probes.OriginAnswer) {
		if n := env.Budget.Held(); n < 100_000 {
			t.Errorf("%d bytes are counted", n)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	budgetIsFree(t, env.Budget)
	env.MaxBody = 99_999
	o = openOrigin(t, originConfig{URL: urlTemplate(t, s.URL+"/{key}")}, env)
	err = o.Ask(probetest.Within(t, 5*time.Second), vars, func(probes.OriginAnswer) { t.Error("an answer that is too large") })
	if err == nil || err.Error() != "the body is larger than --http.max-body (99999 bytes)" {
		t.Errorf("error %v", err)
	}
	budgetIsFree(t, env.Budget)
}

func TestOriginThatHangs(t *testing.T) {
	servers.NoLeaks(t)
	s := startServer(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	o := openOrigin(t, originConfig{URL: urlTemplate(t, s.URL+"/{key}")}, probetest.Env())
	start := time.Now()
	// More at once than there are connections.
	done := make(chan error, 3*httpclient.MaxConns)
	ctx := probetest.Within(t, 100*time.Millisecond)
	for range cap(done) {
		go func() {
			done <- o.Ask(ctx, map[string]string{"key": "a"}, func(probes.OriginAnswer) { t.Error("an answer") })
		}()
	}
	for range cap(done) {
		if err := <-done; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("took %v", took)
	}
	o.Close()
	if err := o.Ask(probetest.Within(t, time.Second), map[string]string{"key": "a"}, nil); !errors.Is(err, probes.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestOriginWithoutURL(t *testing.T) {
	for _, text := range []string{"http:///{key}", "http://user:secret@h:x/{key}"} {
		if _, err := newOrigin(originConfig{URL: urlTemplate(t, text)}, probetest.Env()); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", text, err)
		}
	}
}
