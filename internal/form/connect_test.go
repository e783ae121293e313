package form

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cacheinv/cacheinv_exporter/internal/test/certificate"
)

// secret is a value that nothing may show.
const secret = "hunter2"

func TestCredentialsResolve(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	of := func(c Credentials, user, password, fault string) {
		t.Helper()
		u, p, err := c.Resolve()
		if u != user || p != password || (err == nil) != (fault == "") || err != nil && !strings.Contains(err.Error(), fault) {
			t.Errorf("%q, %q, %v; want %q, %q, %q", u, p, err, user, password, fault)
		}
	}
	of(Credentials{}, "", "", "")
	of(Credentials{Username: "u", Password: "p"}, "u", "p", "")
	fromFile := Credentials{Username: "u", PasswordFile: file}
	of(fromFile, "", "", file)
	write("first\n")
	of(fromFile, "u", "first", "")
	write(" second with spaces \r\n") // rotated: the file is read each time
	of(fromFile, "u", " second with spaces ", "")
	write("\n")
	of(fromFile, "", "", file+" is empty")
}

func TestTLSBuild(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	cert, key := certificate.SelfSigned(t, "cache-1")
	_, otherKey := certificate.SelfSigned(t, "cache-1")
	for name, data := range map[string][]byte{
		"ca.pem": cert, "client.pem": cert, "client-key.pem": key, "other-key.pem": otherKey, "password": []byte("from a file\n"),
	} {
		if err := os.WriteFile(in(name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := (*TLS)(nil).Build(); got != nil || err != nil {
		t.Errorf("a plain connection: %v, %v", got, err)
	}
	got, err := (&TLS{}).Build()
	if err != nil || got == nil || got.RootCAs != nil || got.Certificates != nil || got.InsecureSkipVerify {
		t.Errorf("tls: {} gives %+v, %v", got, err)
	}
	got, err = (&TLS{
		CAFile: in("ca.pem"), CertFile: in("client.pem"), KeyFile: in("client-key.pem"), ServerName: "cache-1", InsecureSkipVerify: true,
	}).Build()
	if err != nil || len(got.Certificates) != 1 || got.ServerName != "cache-1" || !got.InsecureSkipVerify {
		t.Fatalf("%+v, %v", got, err)
	}
	client, err := x509.ParseCertificate(got.Certificates[0].Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Verify(x509.VerifyOptions{Roots: got.RootCAs, DNSName: "cache-1"}); err != nil {
		t.Errorf("the CA is not the file's: %v", err)
	}
	for want, broken := range map[string]*TLS{
		"ca_file: open":               {CAFile: in("nowhere")},
		"holds no certificate in PEM": {CAFile: in("password")},
		"cert_file and key_file: tls": {CertFile: in("client.pem"), KeyFile: in("other-key.pem")},
	} {
		if got, err := broken.Build(); got != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, error %v, want %q", got, err, want)
		}
	}
}

// A server that greets whoever comes by plain TCP or by TLS, with a certificate for cache-1 alone.
func greeter(t *testing.T, settings *tls.Config) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if settings != nil {
		listener = tls.NewListener(listener, settings)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte("hello"))
			_ = conn.Close()
		}
	}()
	return listener.Addr().String()
}

func TestTLSDial(t *testing.T) {
	cert, key := certificate.SelfSigned(t, "cache-1")
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, cert, 0o600); err != nil {
		t.Fatal(err)
	}
	plain, secure := greeter(t, nil), greeter(t, &tls.Config{Certificates: []tls.Certificate{pair}})
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = nobody.Close()
	_, port, err := net.SplitHostPort(secure)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		tls           *TLS
		address, want string // want: of the fault; empty: greeted
	}{
		"plain":                   {nil, plain, ""},
		"by the server's name":    {&TLS{CAFile: ca, ServerName: "cache-1"}, secure, ""},
		"unverified":              {&TLS{InsecureSkipVerify: true}, secure, ""},
		"by the address's host":   {&TLS{CAFile: ca}, secure, "127.0.0.1"},
		"by the address's name":   {&TLS{CAFile: ca}, "localhost:" + port, "not localhost"},
		"of an unknown authority": {&TLS{ServerName: "cache-1"}, secure, "unknown authority"},
		"where nobody listens":    {nil, nobody.Addr().String(), "connection refused; nothing listens there: start the server, or fix the address"},
		"where it does not":       {&TLS{InsecureSkipVerify: true}, nobody.Addr().String(), "nothing listens there"},
		"without TLS":             {&TLS{InsecureSkipVerify: true}, plain, "speaks no TLS on this port: leave tls out, or fix the port"},
		"without its file":        {&TLS{CAFile: ca + ".gone"}, secure, "tls.ca_file: open"},
	} {
		conn, err := tt.tls.Dial(t.Context(), tt.address)
		if tt.want != "" {
			if conn != nil || err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: %v, error %v, want %q", name, conn, err, tt.want)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got, err := io.ReadAll(conn); string(got) != "hello" || err != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		_ = conn.Close()
	}
	unknown := &net.DNSError{Err: "no such host", Name: "cache-9", IsNotFound: true}
	if err := advised(unknown); !errors.Is(err, unknown) || !strings.Contains(err.Error(), "fix the address") {
		t.Error(err)
	}
	if err := advised(io.EOF); err != io.EOF { //nolint:errorlint // it is the same
		t.Error(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if conn, err := (*TLS)(nil).Dial(ended, plain); conn != nil || err == nil {
		t.Errorf("the context has ended, and there is %v, %v", conn, err)
	}
}

func TestSecretPrintsNowhere(t *testing.T) {
	c := Credentials{Username: "u", Password: secret}
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%10.3s", "%!"} {
		fmt.Fprintf(&out, verb+" "+verb+" "+verb+"\n", c, &c, c.Password)
	}
	fmt.Fprintln(&out, c, c.Password.String(), c.Password.GoString(), []Secret{c.Password}, map[string]any{"p": c.Password})
	marshalled, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	out.Write(marshalled)
	slog.New(slog.NewTextHandler(&out, nil)).Info("text", "credentials", c, "password", c.Password)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("json", "credentials", c, "password", c.Password)
	hexadecimal := fmt.Sprintf("%x", secret)
	if s := out.String(); strings.Contains(s, secret) || strings.Contains(strings.ToLower(s), hexadecimal) || !strings.Contains(s, "<secret>") {
		t.Errorf("a secret is printed:\n%s", s)
	}
	if string(c.Password) != secret {
		t.Error("the secret itself is changed")
	}
}
