package config

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/cacheinv/cacheinv_exporter/internal/test/configfiles"
)

// reference is the page about the configuration.
func reference(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "docs", "configuration.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

var quotedInMarkdown = regexp.MustCompile("`([^`]+)`")

// described are the fields in the page's tables. Before a table of fields stands where they are: "In: `layers[]`".
func described(t *testing.T, page string) map[string]bool {
	t.Helper()
	fields := map[string]bool{}
	var in []string
	for _, paragraph := range strings.Split(page, "\n\n") {
		where, begins := strings.CutPrefix(paragraph, "In: ")
		switch {
		case where == "the top level":
			in = []string{""}
		case begins:
			for _, path := range quotedInMarkdown.FindAllStringSubmatch(where, -1) {
				in = append(in, path[1]+".")
			}
		case !strings.HasPrefix(paragraph, "| field "):
			in = nil
		default:
			for _, row := range strings.Split(strings.TrimSpace(paragraph), "\n")[2:] {
				name := describe(t, row)
				for _, prefix := range in {
					if fields[prefix+name] {
						t.Errorf("%s%s is described twice", prefix, name)
					}
					fields[prefix+name] = true
				}
			}
			in = nil
		}
	}
	return fields
}

// describe checks a row, and gives the field that it is about.
func describe(t *testing.T, row string) string {
	t.Helper()
	cells := strings.Split(strings.Trim(row, "|"), "|")
	if len(cells) != 5 {
		t.Errorf("%q has %d cells, not field, type, default, meaning and example", row, len(cells))
		return ""
	}
	for i, cell := range cells {
		if cells[i] = strings.TrimSpace(cell); cells[i] == "" {
			t.Errorf("%q has an empty cell", row)
		}
	}
	name, example := strings.Trim(cells[0], "`"), strings.Trim(cells[4], "`")
	var parsed map[string]any
	if err := yaml.Unmarshal([]byte(example), &parsed); err != nil || len(parsed) != 1 || parsed[name] == nil {
		t.Errorf("%s: the example %q is not of this field (%v)", name, example, err)
	}
	return name
}

// The page has every field that the code knows, and none else.
func TestReferenceHasEveryField(t *testing.T) {
	known, told := askedFields(t), described(t, reference(t))
	for field := range known {
		if !told[field] {
			t.Errorf("docs/configuration.md has no row for %s", field)
		}
	}
	for field := range told {
		if _, ok := known[field]; !ok {
			t.Errorf("docs/configuration.md describes %s, which is unknown", field)
		}
	}
	if len(known) < 80 {
		t.Errorf("only %d fields are known; fix the search", len(known))
	}
}

// Each YAML of the page is a configuration that works; the examples of testdata are among them.
func TestReferenceExamples(t *testing.T) {
	page, dir := reference(t), configfiles.Fixtures(t)
	var blocks []string
	for _, block := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(page, -1) {
		blocks = append(blocks, block[1])
		if faults := faultsOf(t, dir, []byte(block[1])); len(faults) > 0 {
			t.Errorf("%v\nin\n%s", faults, block[1])
		}
	}
	for _, name := range []string{"minimal.yml", "full.yml"} {
		if !slices.Contains(blocks, string(examples(t, "valid")[filepath.Join("testdata", "valid", name)])) {
			t.Errorf("%s does not stand in docs/configuration.md as it is", name)
		}
	}
}

// TestEventCheckExamples: each YAML of the page about event checks is a configuration that works.
func TestEventCheckExamples(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "..", "docs", "event-checks.md"))
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(data), -1)
	if len(blocks) < 3 {
		t.Errorf("%d examples were found; fix the search", len(blocks))
	}
	for _, block := range blocks {
		c, faults := parsed(t, ".", []byte(block[1]))
		if len(faults) > 0 || len(c.Advice()) > 0 {
			t.Errorf("%v in\n%s", faults, block[1])
		}
	}
}

// Links within the page lead somewhere.
func TestReferenceLinks(t *testing.T) {
	page := reference(t)
	anchors := map[string]bool{}
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(page, -1) {
		anchor := regexp.MustCompile(`[^\w -]`).ReplaceAllString(strings.ToLower(heading[1]), "")
		anchor = strings.ReplaceAll(anchor, " ", "-")
		if anchors[anchor] {
			t.Errorf("two headings are #%s", anchor)
		}
		anchors[anchor] = true
	}
	for _, link := range regexp.MustCompile(`\]\(#([^)]+)\)`).FindAllStringSubmatch(page, -1) {
		if !anchors[link[1]] {
			t.Errorf("no heading is #%s", link[1])
		}
	}
}
