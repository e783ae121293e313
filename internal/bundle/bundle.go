// Package bundle writes the rules, dashboards and runbooks that the binary carries.
//
// [Options] name a folder and the user's own addresses; [Write] fills the folder.
package bundle

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/cacheinv/cacheinv_exporter/alerts"
	"github.com/cacheinv/cacheinv_exporter/dashboards"
	"github.com/cacheinv/cacheinv_exporter/docs"
)

// Where the annotations of the rules and the links of the dashboards point as they are committed.
const (
	GrafanaURL  = "http://localhost:3000"
	RunbooksURL = "https://github.com/cacheinv/cacheinv_exporter/blob/main/docs/runbooks"
)

// Options of Write.
type Options struct {
	// Dir gets the folders alerts, dashboards and runbooks. It is made if it is not there.
	Dir string
	// GrafanaURL and RunbooksURL take the places of the constants in all files, with or without a slash at their end.
	GrafanaURL, RunbooksURL string
	// Force overwrites files that differ.
	Force bool
}

// plainURL has nothing that YAML, JSON, a template, or a regular expression in them would read otherwise.
var plainURL = regexp.MustCompile(`^https?://[A-Za-z0-9.\[\]:-]+(/[A-Za-z0-9._~+@=-]*)*$`)

// Valid says which flag's value makes no sense.
func (o Options) Valid() error {
	if o.Dir == "" { // an unset variable of a shell, which would strew the files over this folder
		return errors.New("--out is empty; write a folder, or . for this one")
	}
	for flag, url := range map[string]string{"grafana.url": o.GrafanaURL, "runbooks.url": o.RunbooksURL} {
		if !plainURL.MatchString(url) {
			return fmt.Errorf("--%s is %q; write a URL such as https://grafana.example/path, without user, query and fragment", flag, url)
		}
	}
	return nil
}

// file to be written, by its path below Dir.
type file struct {
	path string
	data []byte
}

// sources, and what they are called below Dir.
var sources = []struct {
	files    fs.FS
	from, to string
}{
	{alerts.Files, ".", "alerts"},
	{dashboards.Files, ".", "dashboards"},
	{docs.Files, "runbooks", "runbooks"},
}

// files of the bundle, in order of their paths.
func (o Options) files() ([]file, error) {
	replace := strings.NewReplacer(
		GrafanaURL+"/d/", strings.TrimSuffix(o.GrafanaURL, "/")+"/d/",
		RunbooksURL+"/", strings.TrimSuffix(o.RunbooksURL, "/")+"/",
	)
	var all []file
	for _, s := range sources {
		err := fs.WalkDir(s.files, s.from, func(name string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			data, err := fs.ReadFile(s.files, name)
			if err != nil {
				return err
			}
			below, err := filepath.Rel(s.from, name)
			all = append(all, file{filepath.Join(s.to, below), []byte(replace.Replace(string(data)))})
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	slices.SortFunc(all, func(a, b file) int { return strings.Compare(a.path, b.path) })
	return all, nil
}

// Write the bundle, and tell on stdout what was written. Where a file stands that differs, nothing is written, unless Force; files
// that are no part of the bundle stay as they are.
func Write(o Options, stdout io.Writer) error {
	files, err := o.files()
	if err != nil {
		return err
	}
	var changed []file
	var differ []string
	for _, f := range files {
		there, err := os.ReadFile(filepath.Join(o.Dir, f.path))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			changed = append(changed, f)
		case err != nil:
			return fmt.Errorf("reading what is in --out: %w", err)
		case !bytes.Equal(there, f.data):
			changed = append(changed, f)
			differ = append(differ, f.path)
		}
	}
	if len(differ) > 0 && !o.Force {
		return fmt.Errorf("%s has files that differ from those of this build: %s; nothing was written; give another --out, or --force to overwrite them", o.Dir, strings.Join(differ, ", "))
	}
	for _, f := range changed {
		path := filepath.Join(o.Dir, f.path)
		if err := replaceFile(path, f.data); err != nil {
			return fmt.Errorf("writing the bundle: %w", err)
		}
		fmt.Fprintln(stdout, path)
	}
	fmt.Fprintf(stdout, "%d of %d files written to %s", len(changed), len(files), o.Dir)
	if len(changed) < len(files) {
		fmt.Fprint(stdout, "; the others were there already")
	}
	fmt.Fprintln(stdout, ".")
	return nil
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
