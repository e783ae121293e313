package bundle

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pmezard/go-difflib/difflib"
	"go.yaml.in/yaml/v4"

	"github.com/cacheinv/cacheinv_exporter/internal/bundle/settings"
	"github.com/cacheinv/cacheinv_exporter/internal/form"
)

// memoryFile is what the folder remembers.
const memoryFile = "settings.yml"

// memory of a folder: its settings, and the hash of each file as it was written, by path.
type memory struct {
	values  settings.Values
	written map[string]string
	text    string // as it was read; empty where the folder has none yet
}

// remember reads what the folder remembers; a folder that is not there, or was written by a build before this memory, remembers nothing.
func remember(dir string) (memory, error) {
	var m memory
	name := filepath.Join(dir, memoryFile)
	data, err := os.ReadFile(name)
	if dir == "" || errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return m, fmt.Errorf("reading what is in --out: %w", err)
	}
	m.text = string(data)
	var parsed struct {
		Settings yaml.Node
		Written  map[string]string
	}
	if err := yaml.Unmarshal(data, &parsed); err != nil {
		return m, fmt.Errorf("%s: %w; fix it, or delete it and give each --set again", name, err)
	}
	m.written = parsed.Written
	var faults form.Faults
	fields := parsed.Settings.Content
	for i := 0; i+1 < len(fields); i += 2 {
		s, err := settings.Named(fields[i].Value)
		if err == nil {
			m.values, err = m.values.With(s, fields[i+1].Value)
		}
		if err != nil {
			faults = append(faults, form.Fault{File: name, Line: fields[i].Line, Field: "settings." + fields[i].Value, Message: err.Error()})
		}
	}
	if len(faults) > 0 {
		return m, faults
	}
	return m, nil
}

// memoryText is what the folder is to remember.
func memoryText(v settings.Values, written map[string]string) string {
	var b strings.Builder
	b.WriteString("# Settings of this folder, which the next `cacheinv_exporter bundle --out` keeps; --set=NAME=VALUE changes one,\n" +
		"# --set=NAME= takes its default again, and --list-settings has all of them.\nsettings:")
	chosen := v.Chosen()
	if len(chosen) == 0 {
		b.WriteString(" {}")
	}
	b.WriteString("\n")
	for _, s := range chosen {
		fmt.Fprintf(&b, "  %s: %q\n", s.Name, v.Text(s))
	}
	b.WriteString("# SHA-256 of each file as it was written, so that the next `bundle` knows what was changed by hand.\nwritten:\n")
	for _, path := range slices.Sorted(maps.Keys(written)) {
		fmt.Fprintf(&b, "  %s: %s\n", path, written[path])
	}
	return b.String()
}

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// plan of what to do with a folder.
type plan struct {
	was                    string // the memory's text
	files, changed, edited []file
	theirs                 map[string]string // text of edited files
	gone, kept             []string          // files that the bundle no longer has: to be removed, and changed by hand
}

// compare the files with what is there.
func (m memory) compare(dir string, files []file) (plan, error) {
	p := plan{was: m.text, files: files, theirs: map[string]string{}}
	ours := map[string]bool{}
	for _, f := range files {
		ours[f.path] = true
		there, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(f.path)))
		text := string(there)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			p.changed = append(p.changed, f)
		case err != nil:
			return p, err
		case text == f.text:
		default:
			p.changed = append(p.changed, f)
			if hash(text) != m.written[f.path] {
				p.edited, p.theirs[f.path] = append(p.edited, f), text
			}
		}
	}
	for _, path := range slices.Sorted(maps.Keys(m.written)) {
		if ours[path] || !filepath.IsLocal(filepath.FromSlash(path)) {
			continue
		}
		there, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(path)))
		switch {
		case err != nil: // removed by hand
		case hash(string(there)) == m.written[path]:
			p.gone = append(p.gone, path)
		default:
			p.kept = append(p.kept, path)
		}
	}
	return p, nil
}

const (
	mostDiffLines = 40 // of one file
	mostDiffs     = 10
)

// refuse shows what was changed by hand, and says what can be done.
func (p plan) refuse(dir string, stdout io.Writer) error {
	var names []string
	for i, f := range p.edited {
		names = append(names, f.path)
		if i >= mostDiffs {
			continue
		}
		diff, err := difflib.GetUnifiedDiffString(difflib.UnifiedDiff{
			A: difflib.SplitLines(p.theirs[f.path]), B: difflib.SplitLines(f.text), Context: 1,
			FromFile: filepath.Join(dir, f.path), ToFile: f.path + " of this build",
		})
		if err != nil {
			return err
		}
		lines := strings.SplitAfter(diff, "\n")
		fmt.Fprint(stdout, strings.Join(lines[:min(len(lines), mostDiffLines)], ""))
		if more := len(lines) - mostDiffLines; more > 0 {
			fmt.Fprintf(stdout, "… %d lines more\n", more)
		}
	}
	if p.was == "" { // whether anybody changed them cannot be told
		return fmt.Errorf("%s has no %s, which remembers the settings and what was written, and files there differ, such as %s (%d in all); nothing was written; "+
			"give each --set again that they were written with, or another --out, or --force to overwrite them", dir, memoryFile, names[0], len(names))
	}
	return fmt.Errorf("%s has files that were changed since they were written: %s; nothing was written; give another --out, or --force to overwrite them",
		dir, strings.Join(names, ", "))
}

// do it: the memory comes last, so that it never tells of what is not there.
func (p plan) do(dir string, v settings.Values, stdout io.Writer) error {
	write := func(path, text string) error {
		name := filepath.Join(dir, filepath.FromSlash(path))
		if err := replaceFile(name, []byte(text)); err != nil {
			return err
		}
		fmt.Fprintln(stdout, name)
		return nil
	}
	for _, f := range p.changed {
		if err := write(f.path, f.text); err != nil {
			return err
		}
	}
	for _, path := range p.gone {
		name := filepath.Join(dir, filepath.FromSlash(path))
		if err := os.Remove(name); err != nil {
			return err
		}
		fmt.Fprintf(stdout, "%s removed: it is no part of the bundle any more\n", name)
	}
	for _, path := range p.kept {
		fmt.Fprintf(stdout, "%s is no part of the bundle any more, and holds changes of yours; it stays\n", filepath.Join(dir, filepath.FromSlash(path)))
	}
	written := map[string]string{}
	for _, f := range p.files {
		written[f.path] = hash(f.text)
	}
	if text := memoryText(v, written); text != p.was {
		return write(memoryFile, text)
	}
	return nil
}
