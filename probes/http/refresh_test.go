package http

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

func TestRefreshers(t *testing.T) {
	servers.NoLeaks(t)
	var mu sync.Mutex
	var got []string
	status := http.StatusAccepted
	s := startServer(t, func(w http.ResponseWriter, r *http.Request) {
		user, _, _ := r.BasicAuth()
		mu.Lock()
		defer mu.Unlock()
		got = append(got, strings.Join([]string{r.Method, r.RequestURI, r.Header.Get("X-Tenant"), user}, " "))
		w.WriteHeader(status)
	})
	c := &refresherConfig{
		URL: urlTemplate(t, s.URL+"/refresh/{id}"), Method: "PURGE", Headers: map[string]string{"X-Tenant": "a"},
		Client: form.HTTPClient{Credentials: form.Credentials{Username: "u", Password: "p"}},
	}
	vars := map[string]string{"key": "user:1/2", "id": "1/2"}
	if said := c.Request(vars); said != "PURGE "+s.URL+"/refresh/1%2F2" {
		t.Errorf("the request is %q", said)
	}
	r, err := c.Open(probetest.Env())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := r.Refresh(probetest.Within(t, 5*time.Second), vars); err != nil {
		t.Error(err)
	}
	mu.Lock()
	status = http.StatusBadGateway
	mu.Unlock()
	if err := r.Refresh(probetest.Within(t, 5*time.Second), vars); err == nil || !strings.Contains(err.Error(), "status 502") {
		t.Errorf("502 gave %v", err)
	}
	if err := r.Refresh(probetest.Within(t, 5*time.Second), map[string]string{"id": ".."}); err == nil {
		t.Error("a key that leads elsewhere was sent")
	}
	mu.Lock()
	defer mu.Unlock()
	if want := "PURGE /refresh/1%2F2 a u"; len(got) != 2 || got[0] != want {
		t.Errorf("sent %q, want %q", got, want)
	}
}
