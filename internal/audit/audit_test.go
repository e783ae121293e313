package audit

import (
	"os"
	"testing"
	"time"
)

func TestLog(t *testing.T) {
	dir := t.TempDir() + "/new"
	at := time.Date(2026, 11, 30, 9, 0, 0, 0, time.UTC)
	first, err := Open(dir, "audit", at)
	if err != nil {
		t.Fatal(err)
	}
	second, err := Open(dir, "audit", at)
	if err != nil {
		t.Fatal(err)
	}
	if first.Path() == second.Path() {
		t.Errorf("two logs in one file %s", first.Path())
	}
	if err := first.Write(map[string]int{"n": 1}, map[string]int{"n": 2}); err != nil {
		t.Fatal(err)
	}
	if err := first.Write(func() {}); err == nil {
		t.Error("what is no JSON was written")
	}
	for _, l := range []*Log{first, second} {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	got, err := os.ReadFile(first.Path())
	if err != nil || string(got) != "{\"n\":1}\n{\"n\":2}\n" {
		t.Errorf("%q, %v", got, err)
	}
	if info, err := os.Stat(first.Path()); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if _, err := Open(first.Path(), "audit", at); err == nil {
		t.Error("a file was taken for a folder")
	}
}
