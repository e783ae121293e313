// Package configfiles gives tests what the configurations of tests name, and reads single blocks of a configuration.
package configfiles

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/internal/test/certificate"
)

// Secret is a value that no fault may show, in the environment and in the test files.
const Secret = "hunter2"

// Fixtures sets the environment that the test files name, and gives the folder that has the other files they name.
func Fixtures(t testing.TB) (dir string) {
	t.Helper()
	for name, v := range map[string]string{
		"APP_PASSWORD": "of app", "REDIS_PASSWORD": "of redis",
		"CACHEINV_TEST_SECRET": Secret, "CACHEINV_TEST_EMPTY": "", "CACHEINV_TEST_TTL": "1h", "CACHEINV_TEST_NONE": "none",
		"CACHEINV_TEST_HOST": "cache-1", "CACHEINV_TEST_PASSWORD": "s3cret",
	} {
		t.Setenv(name, v)
	}
	dir = t.TempDir()
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

// Blocks reads a YAML list of blocks of one kind, whose relative paths begin in dir. A fault fails the test, as does a field
// that read asks for and no block has, so that each is seen to work. Those of tls blocks are excepted: one piece of code
// reads them all.
func Blocks[T any](t testing.TB, dir, list string, read func(block form.Value) T) []T {
	t.Helper()
	d := form.Read(filepath.Join(dir, "cacheinv.yml"), []byte(list))
	var out []T
	for _, block := range d.Root().List("blocks") {
		out = append(out, read(block))
	}
	if faults := d.Faults(); len(faults) > 0 {
		t.Fatal(faults)
	}
	for field, given := range d.Asked() {
		if !given && !strings.Contains(field, ".tls.") {
			t.Errorf("no block has %s", field)
		}
	}
	return out
}
