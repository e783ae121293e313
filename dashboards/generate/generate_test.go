package main

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cacheinv/cacheinv_exporter/internal/bundle/settings"
)

var update = flag.Bool("update", false, "write the dashboards")

// What is committed is what the generator makes of the rules that are committed.
func TestInSync(t *testing.T) {
	if *update {
		if err := write(".."); err != nil {
			t.Fatal(err)
		}
	}
	files, err := generate()
	if err != nil {
		t.Fatal(err)
	}
	committed, err := filepath.Glob("../*.json")
	if err != nil {
		t.Fatal(err)
	}
	if len(committed)+1 != len(files) { // and the marks
		t.Errorf("%d dashboards are in dashboards/, %d are made", len(committed), len(files)-1)
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Error(err)
			continue
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s is not what is made now; go run ./dashboards/generate\n%s", name, diff)
		}
	}
}

// What the bundle writes with a setting is what would be drawn of the rules with it: thresholds and texts follow.
func TestSettings(t *testing.T) {
	files, err := generate()
	if err != nil {
		t.Fatal(err)
	}
	lines, err := settings.ParseLines(string(files[marksFile]))
	if err != nil {
		t.Fatal(err)
	}
	for s, value := range map[*settings.Setting]string{
		settings.StaleShare: "4%", settings.Budget: "0.0004", settings.EventBudget: "0.0003", settings.FailureShare: "25%", settings.FailureShareTicket: "0.3%", settings.Latency: "2s",
		settings.ScrapeInterval: "20s",
	} {
		v, err := settings.Values{}.With(s, value)
		if err != nil {
			t.Fatal(err)
		}
		drawn, err := draw(v)
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range drawn {
			got, err := v.Render(string(files[name]), lines[name])
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("%s=%s, %s: %s", s.Name, value, name, diff)
			}
		}
	}
}
