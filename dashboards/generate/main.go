// Command generate writes the dashboards of this repository: dashboards/*.json. What it draws as thresholds it takes from the
// alerts themselves.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cacheinv/cacheinv_exporter/internal/bundle/settings"
)

func main() {
	out := flag.String("out", "dashboards", "folder to write to")
	flag.Parse()
	if err := write(*out); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func write(folder string) error {
	files, err := generate()
	if err != nil {
		return err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(folder, name), text, 0o644); err != nil { //nolint:gosec // to be read by all
			return err
		}
	}
	return nil
}

// generate gives the dashboards' JSON by file name, and marks.txt.
func generate() (map[string][]byte, error) {
	out, err := draw(settings.Values{})
	if err != nil {
		return nil, err
	}
	if out[marksFile], err = marks(out); err != nil {
		return nil, err
	}
	return out, nil
}

// draw the dashboards for rules with these settings.
func draw(v settings.Values) (map[string][]byte, error) {
	files, err := rulesWith(v)
	if err != nil {
		return nil, err
	}
	out := map[string][]byte{}
	for name, fill := range map[string]func(*board){
		"overview.json": overview, "consistency.json": consistency, "queues.json": queues, "exporter.json": exporter,
	} {
		b := &board{rules: files, settings: v}
		fill(b)
		if out[name], err = b.build(); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return out, nil
}
