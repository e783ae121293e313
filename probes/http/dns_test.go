package http

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/group"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

func TestByDNS(t *testing.T) {
	servers.NoLeaks(t)
	d, port := servers.StartDNS(t), probetest.FreePort(t)
	for _, host := range []string{"127.0.0.1", "127.0.0.2"} {
		l, err := net.Listen("tcp", host+":"+port)
		if err != nil {
			t.Fatal(err)
		}
		s := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/stats/" + host:
				_, _ = fmt.Fprint(w, `{"hits": 7}`)
			case "/k/a":
				_, _ = fmt.Fprint(w, host, " ", r.Host)
			default:
				http.NotFound(w, r)
			}
		})}
		served := make(chan struct{})
		go func() {
			defer close(served)
			_ = s.Serve(l) // until Close
		}()
		t.Cleanup(func() {
			_ = s.Close()
			<-served
		})
	}
	d.Set("app.test", "127.0.0.1", "127.0.0.2")
	template, err := form.ParseTemplate("http://{host}:{port}/k/{key}")
	if err != nil {
		t.Fatal(err)
	}
	f, _ := probetest.OpenByDNS(t, d, probetest.Node("app", 0, &nodeConfig{
		DNS: &form.DNSName{Host: "app.test", Port: port}, URL: template, Headers: map[string]string{"Host": "www.example.com"},
		Stats: &statsConfig{URL: "http://{host}:{port}/stats/{host}", Hits: "$.hits"},
	}))
	for name, a := range probetest.SurveyFleet(t, f, 5*time.Second) {
		if a.Err != nil || a.Hits.Value != 7 {
			t.Errorf("%s: %+v", name, a)
		}
	}
	nodes := f.Nodes()
	if len(nodes) != 2 {
		t.Fatalf("there are %d nodes", len(nodes))
	}
	for i, n := range nodes {
		want := fmt.Sprintf("127.0.0.%d www.example.com", i+1)
		err := n.Read(probetest.Within(t, 5*time.Second), []probes.Key{{Name: "a"}}, func(_ int, r probes.Raw) {
			if string(r.Value) != want {
				t.Errorf("%s gave %q (%v), not %q", n.Identity().Name, r.Value, r.Err, want)
			}
		})
		if err != nil {
			t.Error(err)
		}
	}
}

func TestFilledText(t *testing.T) {
	for _, c := range []struct {
		text string
		at   group.Address
		want string
	}{
		{"http://{host}:{port}/k/{key}", group.Address{Host: "10.0.0.1", Port: "80"}, "http://10.0.0.1:80/k/{key}"},
		{"http://{host}:9090/{host}?of={host}&p={port}", group.Address{Host: "::1", Port: "80"}, "http://[::1]:9090/::1?of=%3A%3A1&p=80"},
		{"https://{host}", group.Address{Host: "fe80::1%eth0", Port: "443"}, "https://[fe80::1%25eth0]"},
		{"http://{host}?a", group.Address{Host: "app-1.test", Port: "80"}, "http://app-1.test?a"},
		{"", group.Address{Host: "::1", Port: "80"}, ""},
	} {
		if got := filledText(c.text, c.at); got != c.want {
			t.Errorf("%q with %v is %q, not %q", c.text, c.at, got, c.want)
		}
	}
}

// Whatever the template behind its host, the server that is asked is the place.
func FuzzFilledText(f *testing.F) {
	f.Add(":{port}/k/{key}?a={host}", "10.0.0.1", "80")
	f.Add("/{host}/%", "fe80::1%eth0", "443")
	f.Add("?{host}{port}{", "app-1.test", "1")
	f.Fuzz(func(t *testing.T, rest, host, port string) {
		n, err := strconv.ParseUint(port, 10, 16)
		plain := err == nil && n > 0 && (group.PlainHost(host) || isAddress(host))
		if !plain || rest != "" && !strings.HasPrefix(rest, ":{port}/") && rest[0] != '/' && rest[0] != '?' {
			return
		}
		u, err := url.Parse(filledText("http://{host}"+rest, group.Address{Host: host, Port: port}))
		if err != nil {
			return // the template is none
		}
		if u.Hostname() != host || u.Scheme != "http" || u.Port() != "" && u.Port() != port || u.User != nil {
			t.Errorf("%q at %s:%s asks %s", rest, host, port, u.Host)
		}
	})
}

func isAddress(s string) bool {
	a, err := netip.ParseAddr(s)
	return err == nil && group.PlainAddress(a) == s && strings.Trim(a.Zone(), "abcdefghijklmnopqrstuvwxyz0123456789") == ""
}

// The servers behind a name have certificates of the name, or of the site that a Host header chooses.
func TestByDNSServerName(t *testing.T) {
	template, err := form.ParseTemplate("https://192.0.2.1:443/{key}")
	if err != nil {
		t.Fatal(err)
	}
	dns := &form.DNSName{Host: "app.test", Port: "443"}
	for _, c := range []struct {
		nodeConfig
		want string
	}{
		{nodeConfig{URL: template}, "192.0.2.1"},
		{nodeConfig{URL: template, DNS: dns}, "app.test"},
		{nodeConfig{URL: template, DNS: dns, Headers: map[string]string{"Host": "www.example.com"}}, "www.example.com"},
		{nodeConfig{URL: template, DNS: &form.DNSName{Host: "_a._tcp.test", SRV: true}}, "192.0.2.1"},
	} {
		if got := openNode(t, c.nodeConfig, probetest.Env()).client.ServerName("192.0.2.1:443"); got != c.want {
			t.Errorf("asked to prove %q, not %q", got, c.want)
		}
	}
}
