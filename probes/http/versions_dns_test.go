package http

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

func startServerAt(t testing.TB, addr string, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(handler)
	_ = s.Listener.Close() // of its own
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
	return s
}

func versionsOf(t *testing.T, a *application) (told []string, err error) {
	t.Helper()
	got, err := a.Sample(probetest.Within(t, 5*time.Second))
	for _, i := range got {
		told = append(told, fmt.Sprintf("%s %s %t", i.Node, i.Version, i.Err == nil))
	}
	return told, err
}

func TestAppByDNS(t *testing.T) {
	servers.NoLeaks(t)
	d, port := servers.StartDNS(t), probetest.FreePort(t)
	one := startServerAt(t, "127.0.0.1:"+port, func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, "1.0") })
	startServerAt(t, "127.0.0.2:"+port, func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, "1.1") })
	template, err := form.ParseTemplate("http://{host}:{port}/version")
	if err != nil {
		t.Fatal(err)
	}
	env := probetest.Env()
	env.Resolver = d.Resolver()
	a, err := newApplication("api", applicationConfig{DNS: &form.DNSName{Host: "api.test", Port: port}, URL: template}, env)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	if got, err := versionsOf(t, a); err == nil || len(got) > 0 {
		t.Errorf("of an unknown name: %v, %v", got, err)
	}
	d.Set("api.test", "127.0.0.2", "127.0.0.1")
	a.names.Again()
	both := []string{"127.0.0.1:" + port + " 1.0 true", "127.0.0.2:" + port + " 1.1 true"}
	for range 2 {
		if got, err := versionsOf(t, a); err != nil || !slices.Equal(got, both) {
			t.Errorf("%v, %v", got, err)
		}
	}
	// An instance that crashed and left does not just vanish.
	one.Close()
	d.Set("api.test", "127.0.0.2")
	a.names.Again()
	both[0] = "127.0.0.1:" + port + "  false"
	for range 2 {
		if got, err := versionsOf(t, a); err != nil || !slices.Equal(got, both) {
			t.Errorf("%v, %v", got, err)
		}
	}
	a.env.ForgetAfter = 0
	if got, err := versionsOf(t, a); err != nil || !slices.Equal(got, both[1:]) {
		t.Errorf("%v, %v", got, err)
	}
}
