package bundle

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
)

func replace(t *testing.T, path, old, text string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(data), old) {
		t.Fatalf("%s has no %q: %v", path, old, err)
	}
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(string(data), old, text)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// The folder keeps its settings; one is changed and one is taken back without the others.
func TestSettingsAreKept(t *testing.T) {
	o := options(t.TempDir())
	text := func(set ...string) string {
		t.Helper()
		o.Set = set
		if err := Write(o, io.Discard); err != nil {
			t.Fatal(err)
		}
		return contents(t, o.Dir)["alerts/alertmanager.yml"]
	}
	if rules := text("severity_page=critical", "cluster_label=env"); !strings.Contains(rules, `severity="critical"`) || !strings.Contains(rules, "[env, ") {
		t.Error(rules)
	}
	if rules := text(); !strings.Contains(rules, `severity="critical"`) || !strings.Contains(rules, "[env, ") {
		t.Errorf("the next run forgot: %s", rules)
	}
	if rules := text("severity_page=high"); !strings.Contains(rules, `severity="high"`) || !strings.Contains(rules, "[env, ") {
		t.Error(rules)
	}
	if rules := text("severity_page="); !strings.Contains(rules, `severity="page"`) || !strings.Contains(rules, "[env, ") {
		t.Error(rules)
	}
	var said bytes.Buffer
	o.Set, o.List = []string{"stale_share=4%"}, true
	if err := Write(o, &said); err != nil || !strings.Contains(said.String(), "env (default cluster)") || !strings.Contains(said.String(), "0.04 (default 0.01)") {
		t.Errorf("%v: %s", err, &said)
	}
	o.Set, o.List = nil, false
	replace(t, filepath.Join(o.Dir, memoryFile), `cluster_label: "env"`, `cluster_label: site`)
	if rules := text(); !strings.Contains(rules, "[site, ") {
		t.Errorf("what was written into the file by hand is not taken: %s", rules)
	}
}

// What someone changed is shown and theirs until they say otherwise; what is there already is not written again.
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
	replace(t, changed, "cacheinv-queue", "mine")
	if err := os.WriteFile(own, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(removed); err != nil {
		t.Fatal(err)
	}
	said.Reset()
	o := options(dir)
	o.Set = []string{"severity_page=critical"} // would change that file, too
	err := Write(o, &said)
	if err == nil || !strings.Contains(err.Error(), "alerts/queue.yml") || strings.Contains(err.Error(), "node.yml") || !strings.Contains(err.Error(), "--force") {
		t.Errorf("%v", err)
	}
	if out := said.String(); !strings.Contains(out, "\n-  - name: mine\n") || !strings.Contains(out, "+++ alerts/queue.yml of this build") || strings.Count(out, "\n") > mostDiffLines+1 {
		t.Errorf("the difference is not shown: %s", out)
	}
	after := contents(t, dir)
	if _, err := os.Stat(removed); err == nil || after[memoryFile] != before[memoryFile] {
		t.Error("something was written")
	}

	o = options(dir)
	o.Force = true
	said.Reset()
	if err := Write(o, &said); err != nil {
		t.Fatal(err)
	}
	if want := changed + "\n"; !strings.Contains(said.String(), want) || !strings.Contains(said.String(), "\n2 of ") {
		t.Errorf("%s", &said)
	}
	after = contents(t, dir)
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

// A folder of a build that remembered nothing: what differs may have been changed by hand.
func TestWriteOverAFolderWithoutMemory(t *testing.T) {
	dir := t.TempDir()
	if err := Write(options(dir), io.Discard); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, memoryFile)); err != nil {
		t.Fatal(err)
	}
	if err := Write(options(dir), io.Discard); err != nil {
		t.Errorf("nothing differs: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, memoryFile)); err != nil {
		t.Fatal(err)
	}
	o := options(dir)
	o.Set = []string{"severity_page=critical"}
	err := Write(o, io.Discard)
	if err == nil {
		t.Fatal("what differs was overwritten")
	}
	for _, want := range []string{"has no settings.yml", "remembers the settings", "give each --set again", "such as alerts/"} {
		if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "changed since") {
			t.Errorf("%q is not said: %v", want, err)
		}
	}
}

// Files of alerts that there are no more go, those with changes stay.
func TestWriteRemovesWhatIsNoMore(t *testing.T) {
	dir := t.TempDir()
	if err := Write(options(dir), io.Discard); err != nil {
		t.Fatal(err)
	}
	old, edited, outside := filepath.Join(dir, "alerts", "old.yml"), filepath.Join(dir, "alerts", "edited.yml"), filepath.Join(filepath.Dir(dir), "outside.yml")
	for _, path := range []string{old, edited, outside} {
		if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	replace(t, filepath.Join(dir, memoryFile), "written:\n",
		"written:\n  alerts/old.yml: "+hash("old")+"\n  alerts/edited.yml: "+hash("as it was")+"\n  ../outside.yml: "+hash("old")+"\n  alerts/never.yml: "+hash("x")+"\n")
	var said bytes.Buffer
	if err := Write(options(dir), &said); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{old: false, edited: true, outside: true} {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) == want {
			t.Errorf("%s: %v", path, err)
		}
	}
	if !strings.Contains(said.String(), old+" removed") || !strings.Contains(said.String(), "it stays") {
		t.Errorf("%s", &said)
	}
}

// Each fault of the folder's file has its line, and says what to write.
func TestMemoryFaults(t *testing.T) {
	for text, want := range map[string]string{
		"settings:\n  stale_share: 2\n":                     `settings.yml:2: settings.stale_share: is "2"; write a share`,
		"settings:\n  severity_page: x\n  stale_shar: 2%\n": "settings.yml:3: settings.stale_shar: there is no setting",
		"settings: [\n": "fix it, or delete it",
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, memoryFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		err := options(dir).Valid()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
		var faults form.Faults
		if strings.Contains(want, ":") && !errors.As(err, &faults) {
			t.Errorf("%q: the fault is a %T", text, err)
		}
	}
}

func TestValid(t *testing.T) {
	for _, tt := range []struct {
		o    Options
		want string
	}{
		{Options{}, "--out"},
		{Options{Dir: ".", Set: []string{"stale_share"}}, "--set=NAME=VALUE"},
		{Options{Dir: ".", Set: []string{"stale_shar=2%"}}, "did you mean stale_share?"},
		{Options{Dir: ".", Set: []string{"stale_share=2%", "stale_share=3%"}}, "given twice"},
		{Options{Dir: ".", Set: []string{"stale_share=200%"}}, `--set=stale_share is "200%"; write a share between 0 and 1`},
		{Options{Dir: ".", Set: []string{"event_budget=20%"}}, `--set=event_budget is "20%"; write a share of at most 6.9%, such as 0.1%: 14.4 times`},
		{Options{Dir: ".", Set: []string{"latency=2m"}}, `--set=latency is "2m"; write a duration such as 500ms, of less than 1m, the top bucket`},
		{Options{Dir: ".", Set: []string{"severity_page=ticket"}}, "write two names"},
		{Options{Dir: ".", Set: []string{"grafana_url=https://a.example"}, GrafanaURL: []string{"https://b.example"}}, "given twice"},
		{Options{Dir: ".", GrafanaURL: []string{""}}, "--grafana.url is empty"},
		{Options{Dir: ".", RunbooksURL: []string{"wiki"}}, `--runbooks.url is "wiki"; write a URL`},
		{Options{List: true}, ""},
		{Options{Dir: ".", GrafanaURL: []string{"https://b.example"}, Set: []string{"job="}}, ""},
	} {
		err := tt.o.Valid()
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v", tt.o, err)
		}
	}
}
