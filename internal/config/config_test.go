package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// secret is a value that no fault may show, in the environment and in the test files.
const secret = "hunter2"

// surroundings sets the environment that the test files name, and gives the folder that has the other files they name.
func surroundings(t testing.TB) string {
	t.Helper()
	for name, v := range map[string]string{
		"APP_PASSWORD": "of app", "REDIS_PASSWORD": "of redis",
		"CACHEINV_TEST_SECRET": secret, "CACHEINV_TEST_EMPTY": "", "CACHEINV_TEST_TTL": "1h", "CACHEINV_TEST_NONE": "none",
		"CACHEINV_TEST_HOST": "cache-1", "CACHEINV_TEST_PASSWORD": "s3cret",
	} {
		t.Setenv(name, v)
	}
	dir := t.TempDir()
	write := func(name string, data []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	certificate, key := selfSigned(t)
	_, otherKey := selfSigned(t)
	write("ca.pem", certificate)
	write("client.pem", certificate)
	write("client-key.pem", key)
	write("other-key.pem", otherKey)
	write("password", []byte("from a file\n"))
	write("token", []byte("token\n"))
	for _, name := range []string{"edge.token", "redis.password", "kafka.password", "kafka.token"} {
		write(name, []byte("of "+name+"\n"))
	}
	write("empty", nil)
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

// selfSigned gives a certificate and its key in PEM form.
func selfSigned(t testing.TB) (certificate, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "cache-1"}, DNSNames: []string{"cache-1"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
}
