package http

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

func openApplications(t testing.TB, configured ...applicationConfig) []*application {
	t.Helper()
	var apps []*application
	for i, c := range configured {
		a, err := newApplication(fmt.Sprint("app-", i), c, probetest.Env())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(a.Close)
		apps = append(apps, a)
	}
	return apps
}

func TestAppVersions(t *testing.T) {
	servers.NoLeaks(t)
	bodies := map[string]string{
		"/plain": "2.3.1\n", "/json": `{"build": {"version": "v1.0-rc.1+git"}}`, "/number": `{"build": {"version": 17}}`,
		"/empty": "", "/html": "<html>marker</html>", "/words": "2.3.1 marker", "/lines": "2.3.1\nmarker",
		"/long": strings.Repeat("1", 65), "/longest": strings.Repeat("1", 64), "/null": `{"build": {"version": null}}`, "/object": `{"build": {"version": {}}}`,
		"/other": `{"version": "1"}`, "/unicode": "vers\u00efon",
	}
	s := startServer(t, func(w http.ResponseWriter, r *http.Request) {
		body, ok := bodies[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		_, _ = io.WriteString(w, body)
	})
	nowhere := urlOfNobody(t)
	const bad = "the answer is no version"
	for _, c := range []struct{ url, json, want, err string }{
		{s.URL + "/plain", "", "2.3.1", ""},
		{s.URL + "/longest", "", strings.Repeat("1", 64), ""},
		{s.URL + "/json", "$.build.version", "v1.0-rc.1+git", ""},
		{s.URL + "/number", "$['build'].version", "17", ""},
		{s.URL + "/json", "", "", bad},
		{s.URL + "/plain", "$.version", "", bad},
		{s.URL + "/empty", "", "", bad},
		{s.URL + "/html", "", "", bad},
		{s.URL + "/words", "", "", bad},
		{s.URL + "/lines", "", "", bad},
		{s.URL + "/long", "", "", bad},
		{s.URL + "/unicode", "", "", bad},
		{s.URL + "/null", "$.build.version", "", bad},
		{s.URL + "/object", "$.build.version", "", bad},
		{s.URL + "/other", "$.build.version", "", bad},
		{s.URL + "/gone", "", "", "status 404 Not Found"},
		{nowhere, "", "", "connection refused"},
	} {
		got, _ := openApplications(t, applicationConfig{Nodes: map[string]string{"n": c.url}, JSON: c.json})[0].Sample(probetest.Within(t, 5*time.Second))
		if len(got) != 1 || got[0].Node != "n" || got[0].Version != c.want {
			t.Errorf("%s: %+v", c.url, got)
			continue
		}
		if err := got[0].Err; (err != nil) != (c.err != "") || err != nil && (!strings.Contains(err.Error(), c.err) || strings.Contains(err.Error(), "marker")) {
			t.Errorf("%s: %v, want %q", c.url, err, c.err)
		}
		if refused := errors.Is(got[0].Err, probes.ErrRefused); refused != (c.err != "" && c.url != nowhere) {
			t.Errorf("%s: a refusal: %t", c.url, refused)
		}
	}
}

// Every instance is asked at once, and one that hangs costs no other its answer.
func TestAppInstances(t *testing.T) {
	servers.NoLeaks(t)
	s := startServer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hangs" {
			<-r.Context().Done()
			return
		}
		_, password, _ := r.BasicAuth()
		_, _ = io.WriteString(w, r.URL.Path[1:]+password)
	})
	apps := openApplications(t,
		applicationConfig{
			Nodes:  map[string]string{"c": s.URL + "/3", "a": s.URL + "/1", "b": s.URL + "/hangs"},
			Client: form.HTTPClient{Credentials: form.Credentials{Username: "u", PasswordFile: probetest.WriteFile(t, "p", ".pw\n")}},
		},
		applicationConfig{Nodes: map[string]string{"x": s.URL + "/9"}})
	start := time.Now()
	got, _ := apps[0].Sample(probetest.Within(t, 300*time.Millisecond))
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("took %v", took)
	}
	if len(got) != 3 || got[0].Node != "a" || got[0].Version != "1.pw" || got[2].Node != "c" || got[2].Version != "3.pw" {
		t.Errorf("%+v", got)
	}
	if got[1].Node != "b" || !errors.Is(got[1].Err, context.DeadlineExceeded) || got[1].Version != "" {
		t.Errorf("%+v", got[1])
	}
	if got, _ := apps[1].Sample(probetest.Within(t, 5*time.Second)); len(got) != 1 || got[0].Version != "9" {
		t.Errorf("%+v", got)
	}
}

// What an instance was asked with becomes no label, whatever it answers.
func TestAppThatRepeatsItsLogin(t *testing.T) {
	servers.NoLeaks(t)
	s := startServer(t, func(w http.ResponseWriter, r *http.Request) {
		_, said, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		if _, password, ok := r.BasicAuth(); ok && r.URL.Path == "/password" {
			said = password
		}
		if r.URL.Path == "/version" {
			said = "2.3.1"
		}
		_, _ = io.WriteString(w, "v."+strings.TrimRight(said, "="))
	})
	login := form.HTTPClient{Credentials: form.Credentials{Username: "u", Password: "marker-of-u"}}
	token := form.HTTPClient{BearerTokenFile: probetest.WriteFile(t, "token", "marker-of-a-token")}
	for path, c := range map[string]form.HTTPClient{"/password": login, "/header": login, "/token": token} {
		app := openApplications(t, applicationConfig{Nodes: map[string]string{"n": s.URL + path, "other": s.URL + "/version"}, Client: c})[0]
		got, _ := app.Sample(probetest.Within(t, 5*time.Second))
		if len(got) != 2 || got[0].Version != "" || !errors.Is(got[0].Err, errLoginRepeated) || got[1].Version != "v.2.3.1" {
			t.Errorf("%s: %+v", path, got)
		}
	}
}

func TestAppsThatCannotBeAsked(t *testing.T) {
	servers.NoLeaks(t)
	for _, c := range []applicationConfig{
		{Nodes: map[string]string{"n": "http://u:secret@"}},
		{Nodes: map[string]string{"n": "http://h"}, JSON: "version"},
	} {
		_, err := newApplication("bad", c, probetest.Env())
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
