package bundle

import (
	"bytes"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func options(dir string) Options {
	return Options{Dir: dir}
}

// contents of all files below a folder, by path.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		below, _ := filepath.Rel(dir, path)
		all[below] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// glob gives files of a folder, and fails where there are none.
func glob(t *testing.T, parts ...string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(parts...))
	if err != nil || len(names) == 0 {
		t.Fatalf("%v: %v", parts, err)
	}
	return names
}

// The folders of the repository, as they are, are what is written; runbooks but for their links.
func TestWrite(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "bundle")
	var said bytes.Buffer
	if err := Write(options(dir), &said); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(said.String(), "already") || strings.Contains(said.String(), "left out") {
		t.Errorf("nothing was there before, and all is written: %s", &said)
	}
	got := contents(t, dir)
	delete(got, memoryFile)
	for folder, patterns := range map[string][]string{
		"alerts": {"*.yml", "*.tmpl", "*.libsonnet", "*.json", "tests/*.yml", "kubernetes/*.yaml"}, "dashboards": {"*.json"}, "docs/runbooks": {"*.md"},
	} {
		for _, pattern := range patterns {
			for _, source := range glob(t, "../..", folder, pattern) {
				want, err := os.ReadFile(source)
				if err != nil {
					t.Fatal(err)
				}
				name, _ := filepath.Rel("../..", source)
				name = strings.TrimPrefix(name, "docs/")
				if _, ok := got[name]; !ok {
					t.Errorf("%s is not written", name)
				}
				if folder != "docs/runbooks" {
					if diff := cmp.Diff(string(want), got[name]); diff != "" {
						t.Errorf("%s: %s", name, diff)
					}
				}
				if !strings.Contains(said.String(), filepath.Join(dir, name)+"\n") {
					t.Errorf("that %s was written is not said", name)
				}
				delete(got, name)
			}
		}
	}
	for name := range got {
		t.Errorf("%s is no file of the repository", name)
	}
}

func promtool(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.Command("promtool", args...)
	cmd.Env = append(os.Environ(), "GOGC=1000") // tests of rules are garbage for the most part
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestWriteFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Write(options(path), io.Discard); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a file is taken for a folder: %v", err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "alerts", "queue.yml"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Write(options(dir), io.Discard); err == nil || !strings.Contains(err.Error(), "queue.yml") {
		t.Errorf("a folder is taken for a file: %v", err)
	}
	if left := slices.DeleteFunc(glob(t, dir, "alerts", "*"), func(name string) bool { return strings.HasSuffix(name, "queue.yml") }); len(left) > 0 {
		t.Errorf("%v were left behind", left)
	}
}
