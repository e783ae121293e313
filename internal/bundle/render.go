package bundle

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/cacheinv/cacheinv_exporter/alerts"
	"github.com/cacheinv/cacheinv_exporter/alerts/situations"
	"github.com/cacheinv/cacheinv_exporter/dashboards"
	"github.com/cacheinv/cacheinv_exporter/docs"
	"github.com/cacheinv/cacheinv_exporter/internal/bundle/settings"
)

// file of the bundle, by its path in the folder, with slashes.
type file struct{ path, text string }

// sources, and what they are called in the folder and in the repository.
var sources = []struct {
	files                fs.FS
	from, to, repository string
	pattern              string
}{
	{alerts.Files, ".", "alerts", "alerts", "*"},
	{dashboards.Files, ".", "dashboards", "dashboards", "*.json"},
	{docs.Files, "runbooks", "runbooks", "docs/runbooks", "*"},
}

// situationSettings are the settings as the table of situations wants them.
func situationSettings(v settings.Values) situations.Settings {
	seconds := func(s *settings.Setting) time.Duration {
		return time.Duration(v.Number(s) * float64(time.Second))
	}
	return situations.Settings{
		StaleShare: v.Number(settings.StaleShare), Budget: v.Number(settings.Budget), EventBudget: v.Number(settings.EventBudget),
		FailureShare: v.Number(settings.FailureShare), FailureShareTicket: v.Number(settings.FailureShareTicket),
		Latency: seconds(settings.Latency), ScrapeInterval: seconds(settings.ScrapeInterval),
		Page: v.Text(settings.SeverityPage), Ticket: v.Text(settings.SeverityTicket),
		Job: v.Text(settings.Job), ClusterLabel: v.Text(settings.ClusterLabel),
	}
}

// render gives the files with the settings, in order of their paths, and how many tests are left out, which cannot follow them.
func render(v settings.Values) (files []file, left int, err error) {
	read, err := carried()
	if err != nil {
		return nil, 0, err
	}
	marks, err := fs.ReadFile(dashboards.Files, "marks.txt")
	if err != nil {
		return nil, 0, err
	}
	lines, err := settings.ParseLines(string(marks))
	if err != nil {
		return nil, 0, err
	}
	known := map[string]string{}
	for _, f := range read {
		known[f.repository] = f.path
	}
	stuck, err := fixedTests(read, v)
	if err != nil {
		return nil, 0, err
	}
	for _, f := range read {
		if stuck[f.path] {
			left++
			continue
		}
		text := f.text
		if path.Ext(f.path) == ".md" {
			text = relink(text, f.repository, f.path, known)
		}
		if text, err = v.Render(text, lines[path.Base(f.path)]); err != nil {
			return nil, 0, fmt.Errorf("%s: %w", f.repository, err)
		}
		files = append(files, file{f.path, text})
	}
	rendered, err := situations.Files(situationSettings(v))
	if err != nil {
		return nil, 0, err
	}
	for name, text := range rendered {
		files = append(files, file{"alerts/tests/" + name, string(text)})
	}
	if files, err = kubernetes(files, v); err != nil {
		return nil, 0, err
	}
	slices.SortFunc(files, func(a, b file) int { return strings.Compare(a.path, b.path) })
	return files, left, nil
}

// source of a file: as it is carried, with its path in the repository.
type source struct {
	file
	repository string
}

func carried() ([]source, error) {
	var all []source
	for _, s := range sources {
		err := fs.WalkDir(s.files, s.from, func(name string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			if fits, err := path.Match(s.pattern, entry.Name()); err != nil || !fits {
				return err
			}
			data, err := fs.ReadFile(s.files, name)
			below := strings.TrimPrefix(name, s.from+"/")
			all = append(all, source{file{path.Join(s.to, below), string(data)}, path.Join(s.repository, below)})
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// fixedTests are the paths of tests whose numbers go by the default of a setting that has another value: those of rule files that hold
// the setting, and of all where the scrape interval moves the windows.
func fixedTests(read []source, v settings.Values) (map[string]bool, error) {
	moved := map[string]bool{}
	for _, f := range read {
		for line := range strings.Lines(f.text) {
			marks, err := settings.Marks(line)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", f.repository, err)
			}
			for _, m := range marks {
				if v.Text(m.Setting) != m.Setting.Default && m.Setting.Numeric() {
					moved[f.path] = true
				}
			}
		}
	}
	stuck := map[string]bool{}
	for _, f := range read {
		if path.Dir(f.path) != "alerts/tests" {
			continue
		}
		var test struct {
			RuleFiles []string `yaml:"rule_files"`
		}
		if err := yaml.Unmarshal([]byte(f.text), &test); err != nil {
			return nil, fmt.Errorf("%s: %w", f.repository, err)
		}
		for _, name := range test.RuleFiles {
			if moved[path.Join("alerts/tests", name)] {
				stuck[f.path] = true
			}
		}
	}
	return stuck, nil
}
