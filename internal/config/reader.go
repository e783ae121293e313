package config

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v4"

	"github.com/cacheinv/cacheinv_exporter/internal/content"
)

// reader collects the faults of a file while it is read.
type reader struct {
	file string
	// dir is where relative paths of files begin.
	dir    string
	faults Faults
	// asked are all fields that were asked for, as layers[].ttl, with whether they were given: what the reference names.
	asked map[string]bool
}

// value is one YAML value with its place. line is where its field's name stands: a mapping's own begins below that.
type value struct {
	*reader
	node *yaml.Node
	line int
	path string
}

func (r *reader) fault(line int, path, format string, args ...any) {
	r.faults = append(r.faults, Fault{File: r.file, Line: line, Field: path, Message: fmt.Sprintf(format, args...)})
}

func (v value) fault(format string, args ...any) {
	v.reader.fault(v.line, v.path, format, args...)
}

// given: the field stands in the file.
func (v value) given() bool { return v.node != nil }

// is the kind of YAML value that is needed; else there is a fault.
func (v value) is(kind yaml.Kind, write string) bool {
	n := v.node
	switch tag := n.ShortTag(); {
	case n.Kind == 0: // had its fault
		return false
	case n.Tag == "!" || n.Style&yaml.TaggedStyle != 0 && tag != "!!str" && tag != "!!map" && tag != "!!seq":
		// Not repeated: it may be a password that begins with !.
		v.fault("has a tag, and none means anything here; leave it out, or write text that begins with ! in quotes")
		return false
	case n.Kind != kind || isNull(n):
		v.fault("is %s; write %s", kindName(n), write)
		return false
	}
	return true
}

func kindName(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case isNull(n):
		return "empty"
	}
	return "a single value"
}

// plainName needs no quotes in a path; << is the merge key.
var plainName = regexp.MustCompile(`^[A-Za-z0-9_<][\w.<-]*$`)

// joined is the path of a field. What looks like a value run into its name is left out: it may be a secret.
func joined(path, name string) string {
	if before, _, ok := strings.Cut(name, ":"); ok {
		name = before + ":…"
	}
	switch {
	case !plainName.MatchString(name):
		return fmt.Sprintf("%s[%q]", path, name)
	case path == "":
		return name
	}
	return path + "." + name
}

func indexed(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }

// section is a mapping whose fields are asked for by name; what was not asked for is unknown.
type section struct {
	value
	// ok: it is a mapping; else its fields are not missed.
	ok     bool
	fields map[string]value
	known  []string
	order  []string
}

// section reads a mapping.
func (v value) section() *section {
	s := &section{value: v, fields: map[string]value{}}
	if !v.given() || !v.is(yaml.MappingNode, "fields, one `name: value` a line") {
		return s
	}
	s.ok = true
	lines := map[string]int{}
	for i := 0; i+1 < len(v.node.Content); i += 2 {
		key, val := v.node.Content[i], v.node.Content[i+1]
		if key.Kind != yaml.ScalarNode || isNull(key) {
			v.reader.fault(key.Line, v.path, "has a name that is %s; write text", kindName(key))
			continue
		}
		path := joined(v.path, key.Value)
		if line, twice := lines[key.Value]; twice {
			v.reader.fault(key.Line, path, "stands on line %d too; keep one", line)
			continue
		}
		lines[key.Value] = key.Line
		s.fields[key.Value] = value{reader: v.reader, node: val, line: key.Line, path: path}
		s.order = append(s.order, key.Value)
	}
	return s
}

var index = regexp.MustCompile(`\[\d+\]`)

// get gives a field, given or not.
func (s *section) get(name string) value {
	if !slices.Contains(s.known, name) {
		s.known = append(s.known, name)
	}
	f, given := s.fields[name]
	if !given {
		f = value{reader: s.reader, path: joined(s.path, name)}
	}
	field := index.ReplaceAllString(f.path, "[]")
	s.asked[field] = s.asked[field] || given
	return f
}

// done reports the fields that nobody asked for.
func (s *section) done() {
	for _, name := range s.order {
		f := s.fields[name]
		before, _, colon := strings.Cut(name, ":")
		switch near := nearest(name, s.known); {
		case slices.Contains(s.known, name):
		case colon && slices.Contains(s.known, before):
			f.fault("lacks a space after its colon; write %s: and then the value", before)
		case near != "":
			f.fault("is unknown; did you mean %s?", near)
		default:
			f.fault("is unknown; known here are %s", strings.Join(s.known, ", "))
		}
	}
}

// require a field of a section.
func (s *section) require(v value, what string) bool {
	if !v.given() && s.ok {
		s.reader.fault(s.node.Line, v.path, "is missing; write %s", what)
	}
	return v.given()
}

// exactlyOne of the fields of a section is to be given. All that are should still be read, for their own faults.
func (s *section) exactlyOne(values ...value) {
	var names []string
	var given []value
	for _, v := range values {
		names = append(names, v.path[strings.LastIndexByte(v.path, '.')+1:])
		if v.given() {
			given = append(given, v)
		}
	}
	switch {
	case len(given) == 0 && s.ok:
		s.reader.fault(s.node.Line, s.path, "has none of %s; write one of them", strings.Join(names, ", "))
	case len(given) > 1:
		slices.SortFunc(given, func(a, b value) int {
			return cmp.Or(cmp.Compare(a.node.Line, b.node.Line), cmp.Compare(a.node.Column, b.node.Column))
		})
		given[1].fault("stands beside another of %s; keep one of them", strings.Join(names, ", "))
	}
}

// taken are names that must differ, with the lines where they stand.
type taken map[string]int

func (n taken) add(v value, name, what string) {
	if name == "" {
		return
	}
	if line, twice := n[name]; twice {
		v.fault("%s is the name of the %s on line %d too; write another", v.quoted(), what, line)
		return
	}
	n[name] = v.line
}

// text of a scalar with ${NAME} filled in; false where it is none, or not given.
func (v value) text(what string) (string, bool) {
	if !v.given() || !v.is(yaml.ScalarNode, what) {
		return "", false
	}
	return v.expand(v.node.Value)
}

var variable = regexp.MustCompile(`\$\$\{|\$\{([^}]*\}?)`)

// expand fills in ${NAME} from the environment; $${ is a literal ${.
func (v value) expand(s string) (string, bool) {
	ok := true
	out := variable.ReplaceAllStringFunc(s, func(m string) string {
		if m == "$${" {
			return "${"
		}
		name, closed := strings.CutSuffix(m[2:], "}")
		if !closed || !environmentName.MatchString(name) {
			v.fault("has a ${ that no name and } follow; write ${NAME}, or $${ for a literal ${")
			ok = false
			return ""
		}
		filled, set := os.LookupEnv(name)
		if !set {
			v.fault("names the environment's %s, which is not set; set it, or write $${ for a literal ${", name)
			ok = false
		}
		return filled
	})
	return out, ok
}

var environmentName = regexp.MustCompile(`^[A-Za-z_]\w*$`)

var login = regexp.MustCompile(`(?s)^(\w[\w+.-]*://)?[^:]*:.*@`)

// quoted is the value for a fault: as written, for what the environment filled in may be a secret, and without a login.
func (v value) quoted() string {
	s := v.node.Value
	if scheme := login.FindStringSubmatch(s); scheme != nil {
		s = scheme[1] + "<secret>" + s[strings.LastIndexByte(s, '@'):]
	}
	if cut := []rune(s); len(cut) > 80 {
		s = string(cut[:80]) + "…"
	}
	s = strconv.Quote(s)
	if variable.MatchString(v.node.Value) {
		s += " (with the environment's values)"
	}
	return s
}

// word is text that is not empty; "" has had its fault.
func (v value) word(what string) string {
	s, ok := v.text(what)
	if ok && s == "" {
		v.fault("is empty; write %s", what)
	}
	if !ok {
		return ""
	}
	return s
}

// name is a word that serves as a label.
func (v value) name(what string) string {
	s := v.word(what)
	if !isName(s) {
		v.fault("%s has white space at an end, or what is no text; write a plain name", v.quoted())
	}
	return s
}

func isName(s string) bool {
	return utf8.ValidString(s) && strings.TrimSpace(s) == s && !strings.ContainsFunc(s, unicode.IsControl)
}

func (v value) bool(otherwise bool) bool {
	s, ok := v.text("true or false")
	switch {
	case !ok:
	case s == "true":
		return true
	case s == "false":
		return false
	default:
		v.fault("is %s; write true or false", v.quoted())
	}
	return otherwise
}

// whole number from 1 to most; digits alone, since readers of YAML disagree on all else (010, 1_000, 1e3).
func (v value) whole(otherwise, most int64) int64 {
	s, ok := v.text("a whole number above 0")
	if !ok {
		return otherwise
	}
	n, err := strconv.ParseInt(s, 10, 64)
	switch {
	case errors.Is(err, strconv.ErrRange) && s[0] != '-' || n > most:
		v.fault("is %s; write at most %d", v.quoted(), most)
		return otherwise
	case err != nil || n <= 0 || strconv.FormatInt(n, 10) != s:
		v.fault("is %s; write a whole number above 0, in digits alone", v.quoted())
		return otherwise
	}
	return n
}

// longest duration that is taken for one that was meant.
const longest = 10 * 365 * 24 * time.Hour

// duration as Prometheus or Go write it.
func (v value) duration(otherwise time.Duration) time.Duration {
	if s, ok := v.text("a duration such as 30s"); ok {
		if d, ok := v.parseDuration(s); ok {
			return d
		}
	}
	return otherwise
}

func (v value) parseDuration(s string) (time.Duration, bool) {
	unsigned, negative := strings.CutPrefix(s, "-")
	byPrometheus, err := model.ParseDuration(unsigned)
	d := time.Duration(byPrometheus)
	tooLong := err != nil && strings.Contains(err.Error(), "out of range")
	if err != nil && !tooLong {
		d, err = time.ParseDuration(unsigned)
	}
	switch {
	case err != nil && !tooLong:
		v.fault("%s is no duration; write numbers with units, such as 30s, 5m, 1h30m or 1d", v.quoted())
	case d < 0 || negative && (d > 0 || tooLong):
		v.fault("%s is negative; write 0s or more", v.quoted())
	case tooLong || d > longest:
		v.fault("%s is longer than 10 years; write what is meant", v.quoted())
	default:
		return d, true
	}
	return 0, false
}

// parsePositive reads a duration above 0; 0 has had its fault.
func (v value) parsePositive(s, what string) time.Duration {
	d, ok := v.parseDuration(s)
	if ok && d == 0 {
		v.fault("is 0; write %s", what)
	}
	return d
}

func (v value) regexp() *regexp.Regexp {
	s := v.word("a regular expression")
	if s == "" {
		return nil
	}
	return v.compile(s)
}

func (v value) compile(s string) *regexp.Regexp {
	re, err := regexp.Compile(s)
	if err != nil {
		why := "damaged"
		var said *syntax.Error
		if errors.As(err, &said) {
			why = said.Code.String()
		}
		v.fault("%s is no regular expression (%s); write RE2 syntax", v.quoted(), why)
		return nil
	}
	return re
}

// jsonPath checks a path to one value.
func (v value) jsonPath() string { return v.checkPath(v.word("a path such as $.version"), false) }

func (v value) checkPath(s string, wildcards bool) string {
	if s == "" {
		return ""
	}
	if _, err := content.ParsePath(s, wildcards); err != nil {
		what, write, _ := strings.Cut(strings.TrimPrefix(err.Error(), strconv.Quote(s)+" "), "; ")
		v.fault("%s %s; %s", v.quoted(), what, write)
		return ""
	}
	return s
}

// oneOf the allowed words; "" where it is none of them.
func (v value) oneOf(otherwise string, allowed ...string) string {
	if !v.given() {
		return otherwise
	}
	last := len(allowed) - 1
	what := strings.Join(allowed[:last], ", ") + " or " + allowed[last]
	s, ok := v.text(what)
	if ok && !slices.Contains(allowed, s) {
		v.fault("is %s; write %s", v.quoted(), what)
		return ""
	}
	return s
}

// list gives the items; one that stands and is empty is a fault.
func (v value) list(what string) []value {
	if !v.given() || !v.is(yaml.SequenceNode, "a list of "+what) {
		return nil
	}
	if len(v.node.Content) == 0 {
		v.fault("is empty; write a list of %s (what is optional may be left out)", what)
	}
	out := make([]value, len(v.node.Content))
	for i, c := range v.node.Content {
		out[i] = value{reader: v.reader, node: c, line: c.Line, path: indexed(v.path, i)}
	}
	return out
}

// words of a list, each once, in their places; what is no word is "" there.
func (v value) words(what, one string) (words []string, items []value) {
	seen := map[string]bool{}
	for _, item := range v.list(what) {
		s := item.word(one)
		if s != "" && seen[s] {
			item.fault("%s stands twice; keep one", item.quoted())
		}
		seen[s] = true
		words, items = append(words, s), append(items, item)
	}
	return words, items
}

// template checks that only known names occur; nil knows all of them, since what names them has had a fault.
func (v value) template(names []string) Template {
	s := v.word("text with {key}")
	t, err := ParseTemplate(s)
	if err != nil {
		what, write, _ := strings.Cut(err.Error(), "; ")
		v.fault("%s; %s", what, write)
		return Template{}
	}
	for _, n := range t.Names() {
		if names != nil && !slices.Contains(names, n) {
			if strings.Contains(s, "@") {
				n = "…" // it may be of a password
			}
			v.fault("names {%s}, which is unknown here; known are {%s}", n, strings.Join(names, "}, {"))
		}
	}
	return t
}
