package main

import (
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/cacheinv/cacheinv_exporter/alerts"
	"github.com/cacheinv/cacheinv_exporter/internal/bundle/settings"
	"github.com/cacheinv/cacheinv_exporter/internal/tools/rules"
)

const marksFile = "marks.txt"

// otherwise are values that differ from the defaults, and from all other numbers of the dashboards.
var otherwise = map[*settings.Setting]string{
	settings.StaleShare: "0.0173", settings.Budget: "0.00271", settings.EventBudget: "0.00319", settings.FailureShare: "0.0619", settings.FailureShareTicket: "0.0137",
	settings.Latency: "731ms",
	// Shorter: a longer one has the bundle lengthen windows, too, which it does by itself.
	settings.ScrapeInterval: "23s",
}

// rulesWith gives the rules with the settings.
func rulesWith(v settings.Values) (rules.Files, error) {
	files, err := rules.Load(alerts.Files)
	if err != nil {
		return nil, err
	}
	for i, f := range files {
		data, err := fs.ReadFile(alerts.Files, f.Name)
		if err != nil {
			return nil, err
		}
		text, err := v.Render(string(data), nil)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name, err)
		}
		if files[i], err = rules.Parse(f.Name, []byte(text)); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// marks tells which lines of the dashboards hold a setting: those that are others once the dashboards are drawn with another value.
func marks(drawn map[string][]byte) ([]byte, error) {
	found := map[string]map[int][]string{}
	for _, s := range settings.All {
		if !s.Numeric() {
			continue
		}
		v, err := settings.Values{}.With(s, otherwise[s])
		if err != nil {
			return nil, err
		}
		again, err := draw(v)
		if err != nil {
			return nil, err
		}
		for name, text := range drawn {
			lines, others := strings.Split(string(text), "\n"), strings.Split(string(again[name]), "\n")
			if len(lines) != len(others) {
				return nil, fmt.Errorf("%s has other lines where %s is another: the bundle could not write it", name, s.Name)
			}
			for i, line := range lines {
				if line == others[i] {
					continue
				}
				m, err := settings.MarkOf(s, v, line, others[i])
				if err != nil {
					return nil, fmt.Errorf("%s:%d: %w", name, i+1, err)
				}
				if found[name] == nil {
					found[name] = map[int][]string{}
				}
				found[name][i+1] = append(found[name][i+1], m.String())
			}
		}
	}
	var b strings.Builder
	b.WriteString("# Made by dashboards/generate; do not edit. Lines of the dashboards that hold a setting of the bundle.\n")
	for _, name := range slices.Sorted(maps.Keys(found)) {
		for _, line := range slices.Sorted(maps.Keys(found[name])) {
			fmt.Fprintf(&b, "%s:%d: %s\n", name, line, strings.Join(found[name][line], ", "))
		}
	}
	return []byte(b.String()), nil
}
