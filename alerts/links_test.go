package alerts_test

import (
	"encoding/json"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cacheinv/cacheinv_exporter/internal/tools/rules"
)

// dashboard is what links and rules have to do with.
type dashboard struct {
	UID        string `json:"uid"`
	Title      string `json:"title"`
	Templating struct {
		List []struct {
			Name string `json:"name"`
		} `json:"list"`
	} `json:"templating"`
	text string
}

func boards(t *testing.T) []dashboard {
	t.Helper()
	names, err := filepath.Glob("../dashboards/*.json")
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	var all []dashboard
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		b := dashboard{text: string(data)}
		if err := json.Unmarshal(data, &b); err != nil || b.UID == "" {
			t.Fatalf("%s: uid %q, %v", name, b.UID, err)
		}
		all = append(all, b)
	}
	return all
}

// Each alert has a runbook, and each runbook an alert.
func TestRunbooksExist(t *testing.T) {
	files := ruleFiles(t)
	for _, r := range files.Rules() {
		if r.Alert == "" {
			continue
		}
		if text, err := os.ReadFile("../docs/runbooks/" + r.Alert + ".md"); err != nil || !strings.HasPrefix(string(text), "# "+r.Alert+"\n") {
			t.Errorf("%s has no runbook with its name for a title: %v", r.Alert, err)
		}
	}
	books, err := fs.Glob(os.DirFS("../docs/runbooks"), "*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range books {
		if name == "README.md" {
			continue
		}
		if _, err := files.Alerts(strings.TrimSuffix(name, ".md")); err != nil {
			t.Errorf("docs/runbooks/%s: %v", name, err)
		}
	}
}

// Each alert leads to a dashboard that is there, and sets variables that it has.
func TestDashboardsExist(t *testing.T) {
	known := boards(t)
	template := regexp.MustCompile(`{{[^}]*}}`)
	eachAlert(t, func(t *testing.T, _ rules.Files, r rules.Rule) {
		link, err := url.Parse(template.ReplaceAllString(r.Annotations["dashboard_url"], "x"))
		if err != nil {
			t.Fatal(err)
		}
		path := strings.Split(link.Path, "/") // "", d, UID, slug
		i := slices.IndexFunc(known, func(b dashboard) bool { return len(path) == 4 && path[1] == "d" && b.UID == path[2] })
		if i < 0 {
			t.Fatalf("no dashboard is at %s", link.Path)
		}
		for name := range link.Query() {
			has := slices.ContainsFunc(known[i].Templating.List, func(v struct {
				Name string `json:"name"`
			},
			) bool {
				return "var-"+v.Name == name
			})
			if !has {
				t.Errorf("%s has no variable for %s", known[i].Title, name)
			}
		}
	})
}

// What nobody reads is not recorded.
func TestRecordingsAreRead(t *testing.T) {
	files := ruleFiles(t)
	readers := readersOf(files)
	inBoard := map[string]bool{}
	for _, b := range boards(t) {
		for word := range strings.FieldsFuncSeq(b.text, outsideName) {
			inBoard[word] = true
		}
	}
	var roots []string
	for _, r := range files.Rules() {
		if r.Alert != "" || inBoard[r.Name()] {
			roots = append(roots, r.Name())
		}
	}
	read := readers.below(roots...)
	for _, r := range files.Rules() {
		if !read[r.Name()] {
			t.Errorf("no alert and no dashboard reads %s", r.Name())
		}
	}
}

// outsideName says whether a recording's name has no such letter.
func outsideName(r rune) bool {
	return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_' && r != ':'
}
