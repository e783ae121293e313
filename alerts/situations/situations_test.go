package situations_test

import (
	"bytes"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/cacheinv/cacheinv_exporter/alerts/situations"
)

var update = flag.Bool("update", false, "write alerts/tests/situations_*.yml")

// tests is the folder of the rules' tests.
const tests = "../tests"

// What is committed is what the table gives under the usual settings; check-rules plays it.
func TestCommitted(t *testing.T) {
	want, err := situations.Files(situations.Default())
	if err != nil {
		t.Fatal(err)
	}
	committed, err := filepath.Glob(filepath.Join(tests, "situations_*.yml"))
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		for _, path := range committed {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
		for name, text := range want {
			if err := os.WriteFile(filepath.Join(tests, name), text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return
	}
	for _, path := range committed {
		if want[filepath.Base(path)] == nil {
			t.Errorf("%s is of no situation; remove it with go test ./alerts/situations -update", path)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		have, err := os.ReadFile(filepath.Join(tests, name))
		if err != nil || !bytes.Equal(have, want[name]) {
			t.Errorf("%s is not what the table gives: go test ./alerts/situations -update", name)
		}
	}
}
