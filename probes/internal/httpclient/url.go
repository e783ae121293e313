package httpclient

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
)

// Template is a URL with {name} places in its path and query.
type Template struct {
	path, query form.Template
	names       []string
	// Host as the URL has it, with its port.
	Host string
}

// NewTemplate gives a template as form.Value.URLTemplate reads it: no name stands before its path.
func NewTemplate(t form.Template) (*Template, error) {
	text, query, asks := strings.Cut(t.String(), "?")
	if asks {
		query = "?" + query
	}
	out := &Template{names: t.Names()}
	var err error
	if out.path, err = form.ParseTemplate(text); err != nil {
		return nil, err
	}
	if out.query, err = form.ParseTemplate(query); err != nil {
		return nil, err
	}
	// With every place filled by a letter, the URL must be one.
	sample := func(string) string { return "x" }
	u, err := url.Parse(out.path.Expand(nil, sample) + out.query.Expand(nil, sample))
	if err != nil || u.Host == "" {
		return nil, ErrNoURL
	}
	out.Host = u.Host
	return out, nil
}

// Expand gives the URL for vars, each escaped so that it stays within its place. What no escape can keep there is an
// error: many servers resolve . and .. after they have undone the escapes.
func (t *Template) Expand(vars map[string]string) (string, error) {
	for _, name := range t.names {
		if vars[name] == "" {
			return "", fmt.Errorf("{%s} is empty for this key, which would ask for another URL", name)
		}
	}
	path := t.path.Expand(vars, url.PathEscape)
	if decoded, err := url.PathUnescape(path); err != nil || hasDotSegment(decoded) {
		return "", errors.New("the key holds . or .. as a part of a path, which would ask for another URL")
	}
	return path + t.query.Expand(vars, url.QueryEscape), nil
}

func hasDotSegment(path string) bool {
	parts := strings.FieldsFunc(path, func(r rune) bool { return r == '/' || r == '\\' })
	return slices.ContainsFunc(parts, func(p string) bool { return p == "." || p == ".." })
}
