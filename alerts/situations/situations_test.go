package situations_test

import (
	"bytes"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

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

// A file of rules, or a group, that is not played would prove nothing.
func TestAllRulesArePlayed(t *testing.T) {
	paths, err := filepath.Glob("../*.yml")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var rules struct {
			Groups []struct {
				Name string `yaml:"name"`
			} `yaml:"groups"`
		}
		if err := yaml.Unmarshal(text, &rules); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if len(rules.Groups) == 0 { // alertmanager.yml
			continue
		}
		found++
		if !slices.Contains(situations.RuleFiles, filepath.Base(path)) {
			t.Errorf("%s is not in RuleFiles", path)
		}
		for _, g := range rules.Groups {
			if !slices.Contains(situations.GroupOrder, g.Name) {
				t.Errorf("%s: the group %s is not in GroupOrder", path, g.Name)
			}
		}
	}
	if found != len(situations.RuleFiles) {
		t.Errorf("there are %d files of rules, and %d in RuleFiles", found, len(situations.RuleFiles))
	}
}

// Severities, the job and the label of the estate are the user's.
func TestSettings(t *testing.T) {
	s := situations.Default()
	s.Page, s.Ticket, s.Job, s.ClusterLabel = "critical", "warning", "caches", "env"
	files, err := situations.Files(s)
	if err != nil {
		t.Fatal(err)
	}
	usual := regexp.MustCompile(`severity="(page|ticket)|cacheinv_exporter"|[ ,{]cluster="|by \(cluster`)
	for name, text := range files {
		if found := usual.Find(text); found != nil {
			t.Errorf("%s still has %s", name, found)
		}
	}
	for want, name := range map[string]string{
		`severity="critical"`: "situations_copies.yml", `severity="warning"`: "situations_copies.yml", `job="caches"`: "situations_nodes.yml",
		`env="eu"`: "situations_nodes.yml", `group by (env, queue)`: "situations_queues.yml",
	} {
		if !bytes.Contains(files[name], []byte(want)) {
			t.Errorf("%s has no %s", name, want)
		}
	}
}

// A share that is the user's is played from both sides.
func TestNumbers(t *testing.T) {
	s := situations.Default()
	usual, err := situations.Files(s)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*situations.Settings){
		"situations_copies.yml":        func(s *situations.Settings) { s.StaleShare = 0.03 },
		"situations_hours.yml":         func(s *situations.Settings) { s.Budget = 0.002 },
		"situations_invalidations.yml": func(s *situations.Settings) { s.FailureShare = 0.1 },
		"situations_exporters.yml":     func(s *situations.Settings) { s.ScrapeInterval = time.Minute },
	} {
		other := s
		change(&other)
		files, err := situations.Files(other)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(files[name], usual[name]) {
			t.Errorf("%s is the same under another setting", name)
		}
	}
}
