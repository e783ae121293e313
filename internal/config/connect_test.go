package config

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

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
	dir := surroundings(t)
	in := func(name string) string { return filepath.Join(dir, name) }
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

func TestNameMatch(t *testing.T) {
	exact, begins := NameMatch{Exact: "inv"}, NameMatch{Regexp: regexp.MustCompile("^inv-")}
	for name, want := range map[string][2]bool{"inv": {true, false}, "inv-1": {false, true}, "x-inv-1": {false, false}, "": {false, false}} {
		if got := [2]bool{exact.Matches(name), begins.Matches(name)}; got != want {
			t.Errorf("%q: %v, want %v", name, got, want)
		}
	}
}
