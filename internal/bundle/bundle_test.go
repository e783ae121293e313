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

	"github.com/cacheinv/cacheinv_exporter/internal/tools/rules"
)

func options(dir string) Options {
	return Options{Dir: dir, GrafanaURL: GrafanaURL, RunbooksURL: RunbooksURL}
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

// The folders of the repository, as they are, are what is written.
func TestWrite(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "bundle")
	var said bytes.Buffer
	if err := Write(options(dir), &said); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(said.String(), "already") {
		t.Errorf("nothing was there before: %s", &said)
	}
	got := contents(t, dir)
	for folder, patterns := range map[string][]string{
		"alerts": {"*.yml", "*.tmpl", "tests/*.yml", "kubernetes/*.yaml"}, "dashboards": {"*.json"}, "docs/runbooks": {"*.md"},
	} {
		for _, pattern := range patterns {
			sources, err := filepath.Glob(filepath.Join("../..", folder, pattern))
			if err != nil {
				t.Fatal(err)
			}
			for _, source := range sources {
				want, err := os.ReadFile(source)
				if err != nil {
					t.Fatal(err)
				}
				name, _ := filepath.Rel("../..", source)
				name = strings.TrimPrefix(name, "docs/")
				if diff := cmp.Diff(string(want), got[name]); diff != "" {
					t.Errorf("%s: %s", name, diff)
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

// What is written passes promtool where it was written, whatever the URLs.
func TestWrittenRulesAreTested(t *testing.T) {
	dir := t.TempDir()
	o := options(dir)
	o.GrafanaURL, o.RunbooksURL = "https://grafana.example:3000/a/", "https://wiki.example/runbooks"
	if err := Write(o, io.Discard); err != nil {
		t.Fatal(err)
	}
	for name, text := range contents(t, dir) {
		if strings.Contains(text, GrafanaURL+"/d/") || strings.Contains(text, RunbooksURL+"/") {
			t.Errorf("%s points to where the files came from", name)
		}
	}
	files, err := rules.Load(os.DirFS(filepath.Join(dir, "alerts")))
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"check", "rules"}
	for _, f := range files {
		args = append(args, filepath.Join(dir, "alerts", f.Name))
	}
	promtool(t, args...)
	// The tests' expectations follow the URLs, and find the rules. They all run in alerts; here one of each file of rules does.
	for _, alert := range []string{
		"CacheInvalVersionConflicts", "CacheInvalReloadFailed", "CacheInvalHistoryDown", "CacheInvalGroupIncomplete", "CacheInvalBrokerDown", "CacheInvalApplicationDown",
	} {
		promtool(t, "test", "rules", filepath.Join(dir, "alerts", "tests", alert+".yml"))
	}
	for _, r := range files.Rules() {
		if r.Alert == "" {
			continue
		}
		if url := r.Annotations["runbook_url"]; url != "https://wiki.example/runbooks/"+r.Alert+".md" {
			t.Errorf("%s: %s", r.Alert, url)
		}
		if url := r.Annotations["dashboard_url"]; !strings.HasPrefix(url, "https://grafana.example:3000/a/d/cacheinv-") {
			t.Errorf("%s: %s", r.Alert, url)
		}
	}
}

func promtool(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("promtool", args...).CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// What someone changed is theirs until they say otherwise; what is there already is not written again.
func TestWriteAgain(t *testing.T) {
	dir := t.TempDir()
	if err := Write(options(dir), io.Discard); err != nil {
		t.Fatal(err)
	}
	before := contents(t, dir)
	var said bytes.Buffer
	if err := Write(options(dir), &said); err != nil || !strings.HasPrefix(said.String(), "0 of ") {
		t.Errorf("%v: %s", err, &said)
	}

	changed, removed, own := filepath.Join(dir, "alerts", "queue.yml"), filepath.Join(dir, "alerts", "node.yml"), filepath.Join(dir, "alerts", "own.yml")
	for _, path := range []string{changed, own} {
		if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(removed); err != nil {
		t.Fatal(err)
	}
	said.Reset()
	err := Write(options(dir), &said)
	if err == nil || !strings.Contains(err.Error(), "alerts/queue.yml") || strings.Contains(err.Error(), "node.yml") || !strings.Contains(err.Error(), "--force") {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(removed); err == nil || said.Len() > 0 {
		t.Errorf("something was written: %s", &said)
	}

	o := options(dir)
	o.Force = true
	if err := Write(o, &said); err != nil {
		t.Fatal(err)
	}
	if want := changed + "\n"; !strings.Contains(said.String(), want) || !strings.Contains(said.String(), "\n2 of ") {
		t.Errorf("%s", &said)
	}
	after := contents(t, dir)
	if after["alerts/own.yml"] != "mine" {
		t.Error("a file that is no part of the bundle was changed")
	}
	delete(after, "alerts/own.yml")
	if diff := cmp.Diff(before, after); diff != "" {
		t.Error(diff)
	}
	if info, err := os.Stat(changed); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("%v, %v", info, err)
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

func TestValid(t *testing.T) {
	for url, want := range map[string]bool{
		"http://localhost:3000": true, "https://grafana.example/": true, "https://[::1]:3000/sub-path/": true,
		"": false, "grafana.example": false, "ftp://grafana.example": false, "https://": false, "https://user:pass@grafana.example": false,
		"https://grafana.example/?a=b": false, "https://grafana.example/#a": false, "https://grafana.example/a'b": false,
		`https://grafana.example/a"b`: false, "https://grafana.example/{{ $value }}": false, "https://grafana.example/a b": false, "https://a/\n": false,
	} {
		for _, o := range []Options{{Dir: ".", GrafanaURL: url, RunbooksURL: RunbooksURL}, {Dir: ".", GrafanaURL: GrafanaURL, RunbooksURL: url}} {
			if err := o.Valid(); (err == nil) != want {
				t.Errorf("%q: %v", url, err)
			}
		}
	}
	if err := options("").Valid(); err == nil || !strings.Contains(err.Error(), "--out") {
		t.Errorf("no folder: %v", err)
	}
}
