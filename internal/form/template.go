package form

import (
	"errors"
	"regexp"
	"slices"
	"strings"
)

// Template is text with {name} places.
type Template struct {
	text  string
	parts []part
}

type part struct {
	literal string
	name    string
}

// ParseTemplate splits text at its {name} places; a brace that is no place is an error. The error does not repeat the
// text, which may be a URL with a password.
func ParseTemplate(text string) (Template, error) {
	t := Template{text: text}
	rest := text
	for rest != "" {
		open := strings.IndexAny(rest, "{}")
		if open < 0 {
			t.parts = append(t.parts, part{literal: rest})
			break
		}
		if rest[open] == '}' {
			return Template{}, errors.New("has a } without a { before it; write {name}")
		}
		if open > 0 {
			t.parts = append(t.parts, part{literal: rest[:open]})
		}
		name, after, closed := strings.Cut(rest[open+1:], "}")
		if !closed || name == "" || strings.Contains(name, "{") {
			return Template{}, errors.New("has a { without a name and a } after it; write {name}")
		}
		t.parts = append(t.parts, part{name: name})
		rest = after
	}
	return t, nil
}

// String is the template as written.
func (t Template) String() string { return t.text }

// IsZero reports whether the template is empty.
func (t Template) IsZero() bool { return t.text == "" }

// Names are the {name} places, in order.
func (t Template) Names() []string {
	var names []string
	for _, p := range t.parts {
		if p.name != "" {
			names = append(names, p.name)
		}
	}
	return names
}

// Expand fills the places from vars, each through escape (nil: as it is). A name without a value stays empty.
func (t Template) Expand(vars map[string]string, escape func(string) string) string {
	if escape == nil {
		escape = func(s string) string { return s }
	}
	var b strings.Builder
	for _, p := range t.parts {
		if p.name == "" {
			b.WriteString(p.literal)
		} else {
			b.WriteString(escape(vars[p.name]))
		}
	}
	return b.String()
}

// Key is the inverse of Expand for a template whose only place is {key}, once: the key that gives expanded.
func (t Template) Key(expanded string) (string, bool) {
	names := t.Names()
	if len(names) != 1 || names[0] != "key" {
		return "", false
	}
	prefix, suffix, _ := strings.Cut(t.text, "{key}")
	rest, begins := strings.CutPrefix(expanded, prefix)
	key, ends := strings.CutSuffix(rest, suffix)
	if !begins || !ends {
		return "", false
	}
	return key, true
}

var placeName = regexp.MustCompile(`\{([a-z_]+)\}`)

// MessageTemplate reads a template of the names alone whose other braces are text, as JSON has them. A name that is none
// of them is a fault, and left out. The zero Template is not given, or has had its fault.
func (v Value) MessageTemplate(names []string) Template {
	s := v.Word(`text with {key}, such as {"key":"{key}"}`)
	t := Template{text: s}
	rest := 0
	for _, at := range placeName.FindAllStringSubmatchIndex(s, -1) {
		name := s[at[2]:at[3]]
		if !slices.Contains(names, name) {
			v.Fault("names {%s}, which is unknown in a message; known are {%s}", name, strings.Join(names, "}, {"))
			continue
		}
		t.parts = append(t.parts, part{literal: s[rest:at[0]]}, part{name: name})
		rest = at[1]
	}
	t.parts = append(t.parts, part{literal: s[rest:]})
	return t
}
