// Package bundle writes the rules, dashboards and runbooks that the binary carries.
//
// [Options] name a folder and the user's own settings; [Write] fills the folder, which remembers both the settings and what was written.
package bundle

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/cacheinv/cacheinv_exporter/internal/bundle/settings"
)

// Options of Write.
type Options struct {
	// Dir gets the folders alerts, dashboards and runbooks. It is made if it is not there.
	Dir string
	// Set are settings as NAME=VALUE; those that the folder remembers and the defaults are taken for the others.
	Set []string
	// GrafanaURL and RunbooksURL are the settings of these names, each at most once.
	GrafanaURL, RunbooksURL []string
	// Force overwrites files that were changed by hand.
	Force bool
	// List prints the settings instead of writing anything; Dir may then be empty.
	List bool
}

// Valid says which flag's value makes no sense, also together with what the folder remembers.
func (o Options) Valid() error {
	if o.Dir == "" && !o.List { // also an unset variable of a shell, which would strew the files over this folder
		return errors.New("--out is missing or empty; write a folder, or . for this one")
	}
	_, err := o.remembered()
	if path := (*fs.PathError)(nil); errors.As(err, &path) {
		return nil // no fault of a flag's; Write tells it
	}
	return err
}

// remembered is what the folder remembers, with the settings of the command line.
func (o Options) remembered() (memory, error) {
	m, err := remember(o.Dir)
	if err != nil {
		return m, err
	}
	chosen := map[string]bool{}
	choose := func(flag, name, value string) error {
		s, err := settings.Named(name)
		if err != nil {
			return fmt.Errorf("%s: %w", flag, err)
		}
		if chosen[name] {
			return fmt.Errorf("%s: %s is given twice; keep one of them", flag, name)
		}
		chosen[name] = true
		if m.values, err = m.values.With(s, value); err != nil {
			return fmt.Errorf("%s %w", flag, err)
		}
		return nil
	}
	for _, set := range o.Set {
		name, value, found := strings.Cut(set, "=")
		if !found {
			return m, fmt.Errorf("--set=%s: write --set=NAME=VALUE, such as --set=stale_share=2%%; --list-settings has the names", set)
		}
		if err := choose("--set="+name, name, value); err != nil {
			return m, err
		}
	}
	for _, url := range []struct {
		flag, name string
		values     []string
	}{
		{"--grafana.url", settings.GrafanaURL.Name, o.GrafanaURL}, {"--runbooks.url", settings.RunbooksURL.Name, o.RunbooksURL},
	} {
		for _, value := range url.values {
			if value == "" { // an unset variable of a shell
				return m, fmt.Errorf("%s is empty; write a URL, or leave the flag out", url.flag)
			}
			if err := choose(url.flag, url.name, value); err != nil {
				return m, err
			}
		}
	}
	return m, m.values.Valid()
}

// Write the bundle, and tell on stdout what was written. Files that were written before are replaced. Where one was changed since, the
// difference is shown and nothing is written, unless Force. Files that are no part of the bundle stay as they are.
func Write(o Options, stdout io.Writer) error {
	m, err := o.remembered()
	if err != nil {
		return err
	}
	if o.List {
		return m.list(stdout)
	}
	files, left, err := render(m.values)
	if err != nil {
		return err
	}
	p, err := m.compare(o.Dir, files)
	if err != nil {
		return fmt.Errorf("reading what is in --out: %w", err)
	}
	if len(p.edited) > 0 && !o.Force {
		return p.refuse(o.Dir, stdout)
	}
	if err := p.do(o.Dir, m.values, stdout); err != nil {
		return fmt.Errorf("writing the bundle: %w", err)
	}
	fmt.Fprintf(stdout, "%d of %d files written to %s", len(p.changed), len(files), o.Dir)
	if len(p.changed) < len(files) {
		fmt.Fprint(stdout, "; the others were there already")
	}
	fmt.Fprintln(stdout, ".")
	if left > 0 {
		var numbers []string
		for _, s := range m.values.Chosen() {
			if s.Numeric() {
				numbers = append(numbers, s.Name)
			}
		}
		fmt.Fprintf(stdout, "%d tests of single alerts are left out: their numbers go by the default of %s.\n", left, strings.Join(numbers, ", "))
	}
	return nil
}

// list writes all settings with their values: the defaults, or what --out and --set say.
func (m memory) list(stdout io.Writer) error {
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tVALUE\tWHAT IT DOES")
	for _, s := range settings.All {
		value := m.values.Text(s)
		if value != s.Default {
			value += " (default " + s.Default + ")"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", s.Name, value, s.About)
	}
	return w.Flush()
}

// replaceFile writes the whole file or nothing. All may read it: it holds no secret, and Prometheus and Grafana run as other users.
func replaceFile(path string, data []byte) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // see above
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".cacheinv-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(data)
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
