package http

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log" //nolint:depguard // net/http writes to it
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
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

func TestHeaders(t *testing.T) {
	servers.NoLeaks(t)
	echo := func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "%s|%s|%s|%s", r.Host, r.Header.Get("X-Team"), r.UserAgent(), r.Header.Get("Accept-Encoding"))
	}
	s, other := startServer(t, echo), startServer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Host == "www.example.com" {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	node := nodeAt(t, s)
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

func TestCredentials(t *testing.T) {
	servers.NoLeaks(t)
	var want atomic.Pointer[string]
	s := startServer(t, func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		if got := user + ":" + password; got != *want.Load() && r.Header.Get("Authorization") != *want.Load() {
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	expect := func(n *node, credentials, state string) {
		t.Helper()
		want.Store(&credentials)
		if got := stateOf(probetest.Read(t, n, probes.Key{Name: "a"})[0]); !strings.HasPrefix(got, state) {
			t.Errorf("%s: %s, want %s", credentials, got, state)
		}
	}
	open := func(c form.HTTPClient, userinfo string) *node {
		node := nodeConfig{URL: urlTemplate(t, strings.Replace(s.URL, "//", "//"+userinfo, 1)+"/{key}"), Client: c}
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

func startTLSServer(t testing.TB, a *probetest.Authority, name string, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	certPEM, keyPEM, _, _ := probetest.Certificate(t, a, name)
	pair, err := tls.X509KeyPair([]byte(certPEM), []byte(keyPEM))
	if err != nil {
		t.Fatal(err)
	}
	clients := x509.NewCertPool()
	clients.AppendCertsFromPEM([]byte(a.PEM))
	s := httptest.NewUnstartedServer(handler)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: clients, ClientAuth: tls.RequireAndVerifyClientCert}
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // refused handshakes are what is tested
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func TestOverTLS(t *testing.T) {
	servers.NoLeaks(t)
	a := probetest.NewAuthority(t)
	s := startTLSServer(t, a, "cache.example", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.TLS.PeerCertificates[0].Subject.CommonName)
	})
	ours, oursKey, _, _ := probetest.Certificate(t, a, "exporter-1")
	ca, cert, key := probetest.WriteFile(t, "ca", a.PEM), probetest.WriteFile(t, "cert", ours), probetest.WriteFile(t, "key", oursKey)
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
		node := nodeAt(t, s)
		node.Client.TLS, node.Headers = c.tls, c.headers
		n := openNode(t, node, probetest.Env())
		state := ""
		err := n.Read(probetest.Within(t, 5*time.Second), []probes.Key{{Name: "a"}}, func(_ int, r probes.Raw) { state = stateOf(r) })
		if err != nil {
			state = err.Error()
		}
		if !strings.Contains(state, c.want) {
			t.Errorf("%s: %s, want %s", c.name, state, c.want)
		}
	}

	// tls switches TLS on, also where the URL says http; and a certificate that was replaced serves the next connection.
	node := nodeConfig{URL: urlTemplate(t, strings.Replace(s.URL, "https://", "http://", 1)+"/{key}"), Client: form.HTTPClient{TLS: &good}}
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
func TestSchemesMixedUp(t *testing.T) {
	servers.NoLeaks(t)
	plain := startServer(t, func(http.ResponseWriter, *http.Request) {})
	crypt := httptest.NewUnstartedServer(http.NotFoundHandler())
	crypt.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	crypt.StartTLS()
	t.Cleanup(crypt.Close)
	for url, want := range map[string]string{
		strings.Replace(plain.URL, "http:", "https:", 1): "does not look like a TLS handshake",
		strings.Replace(crypt.URL, "https:", "http:", 1): "status 400 Bad Request",
	} {
		n := openNode(t, nodeConfig{URL: urlTemplate(t, url+"/{key}")}, probetest.Env())
		state := ""
		err := n.Read(probetest.Within(t, 5*time.Second), []probes.Key{{Name: "a"}}, func(_ int, r probes.Raw) { state = stateOf(r) })
		if err != nil {
			state = err.Error()
		}
		if !strings.Contains(state, want) {
			t.Errorf("%s: %s, want %s", url, state, want)
		}
	}
}

// Whatever a server sends or a configuration holds, an error repeats none of it.
func TestErrorsHoldNoSecrets(t *testing.T) {
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
			URL: urlTemplate(t, secret+"/{key}?"+marker+"={key}"), Client: c,
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
		origin, err := newOrigin(originConfig{URL: urlTemplate(t, secret+"/{key}"), Client: c}, probetest.Env())
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
func TestLogHoldsNoBodies(t *testing.T) {
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
	n := openNode(t, nodeConfig{URL: urlTemplate(t, "http://"+addr+"/{key}")}, probetest.Env())
	probetest.Read(t, n, probes.Key{Name: "a"})
	<-gone // net/http has dropped the connection, and said so before
	log.Print("other lines are written")
	if text := out.String(); strings.Contains(text, "m4rk3r") || !strings.Contains(text, "other lines") {
		t.Errorf("the log has %s", text)
	}
}

func TestUnresolvedName(t *testing.T) {
	servers.NoLeaks(t)
	n := openNode(t, nodeConfig{URL: urlTemplate(t, "http://user:secret@name.invalid/{key}")}, probetest.Env())
	err := n.Read(probetest.Within(t, 10*time.Second), profileKeys(t, 100), func(i int, r probes.Raw) { t.Errorf("visited %d: %+v", i, r) })
	if err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("error %v", err)
	}
}
