package bundle

import (
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// heading of Markdown, and its fragment as GitHub makes it.
var (
	heading   = regexp.MustCompile(`(?m)^#+ (.+)$`)
	noHeading = regexp.MustCompile("[^a-z0-9 _-]")
)

func hasFragment(text, fragment string) bool {
	for _, m := range heading.FindAllStringSubmatch(text, -1) {
		if strings.ReplaceAll(noHeading.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-") == fragment {
			return true
		}
	}
	return false
}

// Every link of the written pages leads into the bundle, or to a file of the repository by its full address.
func TestLinks(t *testing.T) {
	dir, files := written(t)
	inside, outside := 0, 0
	for name, text := range files {
		if filepath.Ext(name) != ".md" {
			continue
		}
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			target, fragment, _ := strings.Cut(m[2], "#")
			path := filepath.Join(dir, name)
			switch parsed, err := url.Parse(m[2]); {
			case err != nil:
				t.Errorf("%s: %v", name, err)
				continue
			case strings.HasPrefix(target, repository):
				path = filepath.Join("../..", strings.TrimPrefix(target, repository))
				outside++
			case parsed.Host != "":
				continue
			case target != "":
				path = filepath.Join(filepath.Dir(path), target)
				if below, err := filepath.Rel(dir, path); err != nil || !filepath.IsLocal(below) {
					t.Errorf("%s: %s leads out of the bundle", name, m[2])
				}
				inside++
			}
			there, err := os.ReadFile(path)
			if info, isDir := os.Stat(path); isDir == nil && info.IsDir() {
				continue
			}
			if err != nil {
				t.Errorf("%s: %s leads nowhere: %v", name, m[2], err)
			} else if fragment != "" && filepath.Ext(path) == ".md" && !hasFragment(string(there), fragment) {
				t.Errorf("%s: %s: the page has no such heading", name, m[2])
			}
		}
	}
	if inside < 50 || outside < 20 {
		t.Errorf("%d links into the bundle, %d to the repository", inside, outside)
	}
}

func TestRelink(t *testing.T) {
	known := map[string]string{"docs/runbooks/A.md": "runbooks/A.md", "alerts/queue.yml": "alerts/queue.yml"}
	for text, want := range map[string]string{
		"[a](A.md#b), [b](#b)":                     "[a](A.md#b), [b](#b)",
		"[a](../../alerts/queue.yml)":              "[a](../alerts/queue.yml)",
		"[a](../diagnosis.md#x) (../x)":            "[a](" + repository + "docs/diagnosis.md#x) (../x)",
		"[a](B.md)":                                "[a](" + repository + "docs/runbooks/B.md)",
		"[a](https://x.example/a) [b](mailto:a@b)": "[a](https://x.example/a) [b](mailto:a@b)",
	} {
		if got := relink(text, "docs/runbooks/X.md", "runbooks/X.md", known); got != want {
			t.Errorf("%s: %s", text, got)
		}
	}
}
