package memcached

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/wire"
)

func TestLogin(t *testing.T) {
	servers.NoLeaks(t)
	users := probetest.WriteFile(t, "users", "exporter:first-secret\n")
	p := servers.Memcached(t, "-u", "root", "-Y", users)
	file := probetest.WriteFile(t, "password", "wrong-secret\n")
	c := nodeConfig{Address: p.Addr, Credentials: form.Credentials{Username: "exporter", PasswordFile: file}}
	n := openNode(t, c, probetest.Env())
	_, err := n.Survey(probetest.Within(t, time.Second), nil)
	if err == nil || !strings.HasPrefix(err.Error(), "username and password were refused (CLIENT_ERROR)") || strings.Contains(err.Error(), "secret") {
		t.Errorf("wrong password: %v", err)
	}
	probetest.Rewrite(t, file, "first-secret\n")
	s := probetest.Survey(t, n) // the file is read again at the new connection
	if raw := probetest.Read(t, n, probes.Key{Name: "no"})[0]; raw.Present || raw.Err != nil {
		t.Errorf("%+v", raw)
	}
	if again := probetest.Survey(t, n); s.Version == "" || probetest.Others(again) != probetest.Others(s) || again.OwnMisses != 1 {
		t.Errorf("%+v", again)
	}
	bare := openNode(t, nodeConfig{Address: p.Addr}, probetest.Env())
	if _, err := bare.Survey(probetest.Within(t, time.Second), nil); !errors.Is(err, errLogin) {
		t.Errorf("without a password: %v", err)
	}
	// Keys are listed over a connection that logs in as well.
	if _, err := n.Survey(probetest.Within(t, time.Second), &probes.Scan{}); err != nil {
		t.Fatal(err)
	}
	servers.Eventually(t, "a listing ends", func() bool {
		n.keys.listing.mu.Lock()
		defer n.keys.listing.mu.Unlock()
		return n.keys.listing.underWay == nil
	})
	if s, err := n.Survey(probetest.Within(t, time.Second), &probes.Scan{}); err != nil || s.ScanErr != nil {
		t.Errorf("%v, %v", err, s.ScanErr)
	}
	for _, bad := range []form.Credentials{
		{Username: "exporter"}, {Password: "p"}, {Username: "a b", Password: "p"}, {Username: "a", Password: "p\r\nflush_all"},
	} {
		n := openNode(t, nodeConfig{Address: p.Addr, Credentials: bad}, probetest.Env())
		if _, err := n.Survey(probetest.Within(t, time.Second), nil); err == nil || !strings.Contains(err.Error(), "memcached needs both") {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

// To a server that asks for no password, the login would be a value to store.
func TestLoginIsNotForcedOnAServer(t *testing.T) {
	servers.NoLeaks(t)
	p := servers.Memcached(t)
	c := nodeConfig{Address: p.Addr, Credentials: form.Credentials{Username: "exporter", Password: "secret"}}
	n := openNode(t, c, probetest.Env())
	probetest.Survey(t, n)
	probetest.Read(t, n, probes.Key{Name: "login"})
	if told := statsOf(t, p.Addr); told["cmd_set"] != "0" || told["total_items"] != "0" {
		t.Errorf("the server stored what it was given: %v", told)
	}
}

// A server that repeats what it was told does not get the secret into an error.
func TestLoginKeepsTheSecret(t *testing.T) {
	servers.NoLeaks(t)
	var heard []string
	addr := scripted(t, func(line string, out *bufio.Writer) bool {
		if heard = append(heard, line); line == "version" {
			line = "unauthenticated"
		}
		_, _ = out.WriteString("CLIENT_ERROR " + line + "\r\n")
		return true
	})
	c := nodeConfig{Address: addr, Credentials: form.Credentials{Username: "exporter", Password: "top-secret"}}
	_, err := openNode(t, c, probetest.Env()).Survey(probetest.Within(t, time.Second), nil)
	if err == nil || strings.Contains(err.Error(), "secret") || !slices.Equal(heard[:2], []string{"version", "set login 0 0 19"}) {
		t.Errorf("%v; heard %q", err, heard)
	}
}

func TestTLS(t *testing.T) {
	servers.NoLeaks(t)
	a := probetest.NewAuthority(t)
	server, serverKey, _, _ := probetest.Certificate(t, a, "cache.example")
	ours, oursKey, _, _ := probetest.Certificate(t, a, "exporter-1")
	ca, cert, key := probetest.WriteFile(t, "ca", a.PEM), probetest.WriteFile(t, "cert", ours), probetest.WriteFile(t, "key", oursKey)
	users := probetest.WriteFile(t, "users", "exporter:secret\n")
	p := servers.Memcached(t, "-u", "root", "-Z", "-Y", users, "-o", "ssl_chain_cert="+probetest.WriteFile(t, "server", server)+
		",ssl_key="+probetest.WriteFile(t, "server-key", serverKey)+",ssl_verify_mode=2,ssl_ca_cert="+ca)
	c := nodeConfig{
		Address: p.Addr, Credentials: form.Credentials{Username: "exporter", Password: "secret"},
		TLS: &form.TLS{CAFile: ca, CertFile: cert, KeyFile: key, ServerName: "cache.example"},
	}
	n := openNode(t, c, probetest.Env())
	keys := make([]probes.Key, 2500)
	for i := range keys {
		keys[i].Name = strings.Repeat("k", i%200+1)
	}
	for range 3 {
		probetest.Survey(t, n)
		for _, raw := range probetest.Read(t, n, keys...) {
			if raw.Err != nil || raw.Present {
				t.Fatalf("%+v", raw)
			}
		}
	}
	s, err := n.Survey(probetest.Within(t, 5*time.Second), &probes.Scan{Wait: true})
	if err != nil || s.ScanErr != nil || probetest.Others(s) != [2]float64{} || s.OwnMisses != 7500 {
		t.Errorf("%v, %v, own misses %d", err, s.ScanErr, s.OwnMisses)
	}
	with := func(change func(*form.TLS)) *form.TLS {
		settings := *c.TLS
		change(&settings)
		return &settings
	}
	for _, bad := range []struct {
		name string
		tls  *form.TLS
		want string
	}{
		{"no TLS", nil, "write tls: {}"},
		{"an unknown authority", with(func(c *form.TLS) { c.CAFile = "" }), "unknown authority"},
		{"no certificate", with(func(c *form.TLS) { c.CertFile, c.KeyFile = "", "" }), "certificate required"},
		{"another name", with(func(c *form.TLS) { c.ServerName = "other.example" }), "not other.example"},
		{"no such file", with(func(c *form.TLS) { c.CAFile += ".gone" }), "tls.ca_file"},
	} {
		n := openNode(t, nodeConfig{Address: p.Addr, TLS: bad.tls}, probetest.Env())
		s, err := n.Survey(probetest.Within(t, 5*time.Second), nil)
		if err == nil && s.Unasked {
			err = n.Read(probetest.Within(t, 5*time.Second), []probes.Key{{Name: "a"}}, func(int, probes.Raw) {})
		}
		if err == nil || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("%s: %v, want %s", bad.name, err, bad.want)
		}
	}
}

// A server that repeats the arguments of what it was sent tells no password to whoever reads the error, nor values.
func TestErrorsRepeatNoSecret(t *testing.T) {
	const password, value = "a-password-that-nobody-may-see", "a-value-that-nobody-may-see"
	for _, said := range []string{"SERVER_ERROR exporter " + password, "CLIENT_ERROR unknown: " + password[:9], "ERROR " + password, value} {
		addr := servers.Listen(t, func(conn net.Conn) {
			in := bufio.NewReader(conn)
			for login := 2; ; login-- {
				line, err := in.ReadString('\n')
				if err != nil {
					return
				}
				switch {
				case line == "version\r\n" && login > 0:
					line = "CLIENT_ERROR unauthenticated"
				case strings.HasPrefix(line, "set login "):
					_, _ = in.ReadString('\n')
					line = "STORED"
				default:
					line = said
				}
				if _, err := conn.Write([]byte(line + "\r\n")); err != nil {
					return
				}
			}
		})
		c := nodeConfig{Address: addr, Credentials: form.Credentials{Username: "exporter", Password: password}}
		n := openNode(t, c, probetest.Env())
		ctx := probetest.Within(t, 5*time.Second)
		s, err := n.Survey(ctx, nil)
		told := fmt.Sprintln(s.Refused, err, n.Delete(ctx, []string{"k"}), n.Put(ctx, "k", []byte("v"), time.Second))
		_, err = n.Load(ctx, probes.Key{Name: "k"})
		told += fmt.Sprintln(err, n.Exchange(ctx, probes.Key{Name: "k"}, probes.Stored{}, probes.Stored{Present: true, NoExpiry: true}))
		if strings.Contains(told, "nobody") || strings.Contains(told, password[:9]) {
			t.Errorf("%q: %s", said, told)
		}
	}
}

// A value of any size that a server announces, where it knows no meta commands, is not taken.
func TestLoadOfAnySize(t *testing.T) {
	for said, want := range map[string]string{
		"VALUE k 5 9223372036854775806 7\r\n": "larger than --canary.max-value-bytes",
		"VALUE k 5 2 7\r\nhi\r\nEND\r\n":      "",
		"END\r\n":                             "",
		"VALUE other 5 2 7\r\nhi\r\nEND\r\n":  errNotMemcached.Error(),
		"VALUE k 5 2\r\nhi\r\nEND\r\n":        errNotMemcached.Error(),
		"VALUE k 5 2 7\r\nhi\r\nVALUE k\r\n":  errNotMemcached.Error(),
		"SERVER_ERROR out of memory\r\n":      "the server said: SERVER_ERROR out of memory",
	} {
		n := &node{env: probetest.Env(), account: &wire.Account{}, kept: &keptServer{}}
		var got probes.Stored
		var refused error
		err := wire.NewConn(probetest.NewReplay([]byte(said)), errNotMemcached).Converse(t.Context(), wire.Request{Read: func(x *wire.Exchange) error {
			return n.readPlain(x, probes.Key{Name: "k"}, func(s probes.Stored, err error) { got, refused = s, err })
		}})
		told := fmt.Sprintln(refused, err)
		if want == "" && told != "<nil> <nil>\n" || !strings.Contains(told, want) {
			t.Errorf("%q: %s", said, told)
		}
		if got.Present && (string(got.Value) != "hi" || got.Flags != 5 || got.Token != 7) {
			t.Errorf("%q: %+v", said, got)
		}
	}
}
