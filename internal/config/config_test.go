package config

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/cacheinv/cacheinv_exporter/internal/test/certificate"
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
	cert, key := certificate.SelfSigned(t, "cache-1")
	_, otherKey := certificate.SelfSigned(t, "cache-1")
	write("ca.pem", cert)
	write("client.pem", cert)
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
