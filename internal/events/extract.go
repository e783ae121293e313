package events

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/content"
	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/internal/glob"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

const (
	// mostKeys of one event, and longestKey in bytes; what is more is left out.
	mostKeys   = 64
	longestKey = 1 << 10
	// mostTried values of a template's names: the lists of a message multiply.
	mostTried = 1000
	// longestVersion in bytes; what is longer is none.
	longestVersion = 100
)

// keyName is the name of the message's key in templates.
const keyName = "key"

// extractor reads a class's events from messages.
type extractor struct {
	spec      *Spec
	templates []form.Template
	vars      map[string][]content.Path
	// key of the message; recordKey: a record's own goes before it. word: a message that is a plain word is itself the key.
	key             content.Path
	recordKey, word bool
	// ownKey: the message's key is the key in the caches.
	ownKey      bool
	version, at *content.Path
	patterns    []content.Path
}

// found is what a message says to a class.
type found struct {
	keys    []string
	version content.Version
	at      time.Time
	// readable: it says which keys it is about.
	readable bool
}

func newExtractor(s *Spec) (*extractor, error) {
	m := probes.Message{}
	if s.Message != nil {
		m = *s.Message
	}
	x := &extractor{spec: s, templates: s.Keys, vars: map[string][]content.Path{}, recordKey: m.Key == "", word: m.Key == "$"}
	x.ownKey = len(s.Keys) == 0 && len(s.Patterns) == 0
	var faults []error
	path := func(what, text string) content.Path {
		p, err := content.ParsePath(text, false)
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", what, err))
		}
		return p
	}
	optional := func(what, text string) *content.Path {
		if text == "" {
			return nil
		}
		p := path(what, text)
		return &p
	}
	x.key = path("message.key", orElse(m.Key, "$.key"))
	x.version, x.at = optional("version", orElse(s.Version, m.Version)), optional("message.timestamp_ms", m.TimestampMS)
	for _, p := range s.Patterns {
		x.patterns = append(x.patterns, path("patterns", p))
	}
	for name, texts := range s.Vars {
		for _, text := range texts {
			x.vars[name] = append(x.vars[name], path("vars."+name, text))
		}
	}
	for _, t := range x.templates {
		for _, name := range t.Names() {
			if _, ok := x.vars[name]; !ok && name != keyName {
				faults = append(faults, fmt.Errorf("keys: %q names {%s}, which is not in vars", t, name))
			}
		}
	}
	return x, errors.Join(faults...)
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// read a message that is seen now.
func (x *extractor) read(e probes.Event, now time.Time) found {
	f := found{at: e.Written}
	add := func(k string) (more bool) {
		if k == "" || len(k) > longestKey {
			return true
		}
		f.readable = true
		if len(f.keys) < mostKeys && (x.spec.Takes == nil || x.spec.Takes(k)) && !slices.Contains(f.keys, k) {
			f.keys = append(f.keys, k)
		}
		return len(f.keys) < mostKeys
	}
	if x.ownKey {
		keys := x.messageKeys(e)
		for _, k := range keys[:min(len(keys), mostTried)] {
			if !add(k) {
				break
			}
		}
	}
	if len(x.templates) > 0 {
		values := map[string][]string{keyName: x.messageKeys(e)}
		for name, paths := range x.vars {
			values[name] = firstOf(e.Value, paths)
		}
		for _, t := range x.templates {
			fill(t, values, add)
		}
	}
	for i := range x.patterns {
		globs, _, _ := content.LookupList(e.Value, x.patterns[i])
		f.readable = f.readable || len(globs) > 0
		for _, k := range x.matching(globs) {
			add(k)
		}
	}
	slices.Sort(f.keys)
	if x.version != nil {
		if s, ok := content.Lookup(e.Value, *x.version); ok {
			f.version = x.readVersion(s, now)
		}
	}
	if x.at != nil {
		if s, ok := content.Lookup(e.Value, *x.at); ok {
			if at := content.ParseTime(s); !at.IsZero() {
				f.at = at
			}
		}
	}
	if f.at.IsZero() || f.at.After(now) {
		f.at = now
	}
	return f
}

// messageKeys are the message's own: one, or a list.
func (x *extractor) messageKeys(e probes.Event) []string {
	if x.recordKey && len(e.Key) > 0 {
		return []string{string(e.Key)}
	}
	keys, _, json := content.LookupList(e.Value, x.key)
	if !json && x.word && content.IsWord(e.Value) {
		return []string{string(e.Value)}
	}
	return keys
}

// firstOf gives what stands at the first path at which there is something.
func firstOf(doc []byte, paths []content.Path) []string {
	for _, p := range paths {
		if values, ok, _ := content.LookupList(doc, p); ok && len(values) > 0 {
			return values
		}
	}
	return nil
}

// fill a template with each value of its names, until add wants no more or it was tried mostTried times. Without a value for each name
// there is no key.
func fill(t form.Template, values map[string][]string, add func(key string) (more bool)) {
	var names []string
	for _, n := range t.Names() {
		if len(values[n]) == 0 {
			return
		}
		if !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	vars, tried := map[string]string{}, 0
	var next func(names []string) (more bool)
	next = func(names []string) bool {
		if len(names) == 0 {
			return add(t.Expand(vars, nil))
		}
		for _, v := range values[names[0]] {
			if tried++; tried > mostTried {
				return false
			}
			vars[names[0]] = v
			if v != "" && !next(names[1:]) {
				return false
			}
		}
		return true
	}
	next(names)
}

// matching gives the class's known keys that fit one of the globs.
func (x *extractor) matching(globs []string) []string {
	globs = globs[:min(len(globs), mostKeys)]
	globs = slices.DeleteFunc(globs, func(g string) bool { return len(g) > longestKey })
	if len(globs) == 0 || x.spec.Known == nil {
		return nil
	}
	var keys []string
	for _, k := range x.spec.Known() {
		if len(k) <= longestKey && slices.ContainsFunc(globs, func(g string) bool { return glob.Match(g, k) }) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys) // so that of many the same are chosen
	return keys
}

// readVersion as the class's copies have it; zero where it is none, or too far in the future to be true.
func (x *extractor) readVersion(s string, now time.Time) content.Version {
	if len(s) > longestVersion {
		return content.Version{}
	}
	s = strings.TrimSpace(s)
	v := content.ReadVersion(s)
	if x.spec.VersionKind != "" {
		v = content.ReadVersionOf(x.spec.VersionKind, s)
	}
	if at, ok := v.Time(); ok && at.After(now.Add(x.spec.MaxClockSkew)) {
		return content.Version{}
	}
	return v
}
