package form

import (
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

// Value is one YAML value with its place in the file, or the place where none stands. The zero Value is not given.
type Value struct {
	doc  *Document
	node *yaml.Node
	// line is where its field's name stands: a mapping's own begins below that.
	line int
	path string
}

// Given reports whether the value stands in the file. One that does not has no faults, whatever it is read as.
func (v Value) Given() bool { return v.node != nil }

// Line is where the value's name stands.
func (v Value) Line() int { return v.line }

// IsMapping reports whether the value is a mapping, where something else may stand too.
func (v Value) IsMapping() bool { return v.Given() && v.node.Kind == yaml.MappingNode }

// IsList reports whether the value is a list, where a single value may stand too.
func (v Value) IsList() bool { return v.Given() && v.node.Kind == yaml.SequenceNode }

// Fault adds a fault at the value's line. It says what is wrong and, after a semicolon, what to write instead; the
// value's own text is shown as Quoted gives it, or not at all.
func (v Value) Fault(format string, args ...any) { v.doc.faultAt(v.line, v.path, format, args...) }

// is the kind of YAML value that is needed; else there is a fault.
func (v Value) is(kind yaml.Kind, write string) bool {
	n := v.node
	switch tag := n.ShortTag(); {
	case n.Kind == 0: // had its fault
		return false
	case n.Tag == "!" || n.Style&yaml.TaggedStyle != 0 && tag != "!!str" && tag != "!!map" && tag != "!!seq":
		// Not repeated: it may be a password that begins with !.
		v.Fault("has a tag, and none means anything here; leave it out, or write text that begins with ! in quotes")
		return false
	case n.Kind != kind || isNull(n):
		v.Fault("is %s; write %s", kindName(n), write)
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

// Text reads a scalar with ${NAME} filled in; what says what to write instead of a list or a mapping. It gives false
// where there is none, or a fault.
func (v Value) Text(what string) (string, bool) {
	if !v.Given() || !v.is(yaml.ScalarNode, what) {
		return "", false
	}
	return v.fillIn(v.node.Value)
}

var variable = regexp.MustCompile(`\$\$\{|\$\{([^}]*\}?)`)

// fillIn fills in ${NAME} from the environment; $${ is a literal ${.
func (v Value) fillIn(s string) (string, bool) {
	ok := true
	out := variable.ReplaceAllStringFunc(s, func(m string) string {
		if m == "$${" {
			return "${"
		}
		name, closed := strings.CutSuffix(m[2:], "}")
		if !closed || !environmentName.MatchString(name) {
			v.Fault("has a ${ that no name and } follow; write ${NAME}, or $${ for a literal ${")
			ok = false
			return ""
		}
		filled, set := os.LookupEnv(name)
		if !set {
			v.Fault("names the environment's %s, which is not set; set it, or write $${ for a literal ${", name)
			ok = false
		}
		return filled
	})
	return out, ok
}

var environmentName = regexp.MustCompile(`^[A-Za-z_]\w*$`)

// Written is a single value's text as the file has it, before ${NAME} is filled in: what may be shown.
func (v Value) Written() string { return v.node.Value }

var loginInAddress = regexp.MustCompile(`(?s)^(\w[\w+.-]*://)?[^:]*:.*@`)

// Quoted is a given value for a fault: as written, since what the environment filled in may be a secret, and without a
// login.
func (v Value) Quoted() string {
	s := v.node.Value
	if scheme := loginInAddress.FindStringSubmatch(s); scheme != nil {
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

// Word reads text that is not empty. "" is not given, or has had its fault.
func (v Value) Word(what string) string {
	s, ok := v.Text(what)
	if ok && s == "" {
		v.Fault("is empty; write %s", what)
	}
	if !ok {
		return ""
	}
	return s
}

// Name reads a word that serves as a label: white space at an end and control characters are faults. It gives the word
// all the same.
func (v Value) Name(what string) string {
	s := v.Word(what)
	if !IsName(s) {
		v.Fault("%s has white space at an end, or what is no text; write a plain name", v.Quoted())
	}
	return s
}

// IsName reports whether a text can serve as a label.
func IsName(s string) bool {
	return utf8.ValidString(s) && strings.TrimSpace(s) == s && !strings.ContainsFunc(s, unicode.IsControl)
}

// Bool reads true or false; otherwise is given where neither stands.
func (v Value) Bool(otherwise bool) bool {
	s, ok := v.Text("true or false")
	switch {
	case !ok:
	case s == "true":
		return true
	case s == "false":
		return false
	default:
		v.Fault("is %s; write true or false", v.Quoted())
	}
	return otherwise
}

// Whole reads a number from 1 to most; digits alone, since readers of YAML disagree on all else (010, 1_000, 1e3). It
// gives otherwise where none stands, or a fault.
func (v Value) Whole(otherwise, most int64) int64 {
	s, ok := v.Text("a whole number above 0")
	if !ok {
		return otherwise
	}
	n, err := strconv.ParseInt(s, 10, 64)
	switch {
	case errors.Is(err, strconv.ErrRange) && s[0] != '-' || n > most:
		v.Fault("is %s; write at most %d", v.Quoted(), most)
		return otherwise
	case err != nil || n <= 0 || strconv.FormatInt(n, 10) != s:
		v.Fault("is %s; write a whole number above 0, in digits alone", v.Quoted())
		return otherwise
	}
	return n
}

// longest duration that is taken for one that was meant.
const longest = 10 * 365 * 24 * time.Hour

// Duration reads one as Prometheus or Go write it, 0s or more; otherwise is given where none stands, or a fault.
func (v Value) Duration(otherwise time.Duration) time.Duration {
	if s, ok := v.Text("a duration such as 30s"); ok {
		if d, ok := v.parseDuration(s); ok {
			return d
		}
	}
	return otherwise
}

func (v Value) parseDuration(s string) (time.Duration, bool) {
	unsigned, negative := strings.CutPrefix(s, "-")
	byPrometheus, err := model.ParseDuration(unsigned)
	d := time.Duration(byPrometheus)
	tooLong := err != nil && strings.Contains(err.Error(), "out of range")
	if err != nil && !tooLong {
		d, err = time.ParseDuration(unsigned)
	}
	switch {
	case err != nil && !tooLong:
		v.Fault("%s is no duration; write numbers with units, such as 30s, 5m, 1h30m or 1d", v.Quoted())
	case d < 0 || negative && (d > 0 || tooLong):
		v.Fault("%s is negative; write 0s or more", v.Quoted())
	case tooLong || d > longest:
		v.Fault("%s is longer than 10 years; write what is meant", v.Quoted())
	default:
		return d, true
	}
	return 0, false
}

// PositiveDuration reads a duration above 0; what says what to write for 0. It gives otherwise where none stands, or a
// fault.
func (v Value) PositiveDuration(otherwise time.Duration, what string) time.Duration {
	text, ok := v.Text(what)
	if !ok {
		return otherwise
	}
	d, ok := v.parseDuration(text)
	switch {
	case !ok:
		return otherwise
	case d == 0:
		v.Fault("is 0; write %s", what)
		return otherwise
	}
	return d
}

// Regexp reads a regular expression in RE2 syntax; nil where none stands, or a fault.
func (v Value) Regexp() *regexp.Regexp {
	s := v.Word("a regular expression")
	if s == "" {
		return nil
	}
	return v.compile(s)
}

func (v Value) compile(s string) *regexp.Regexp {
	re, err := regexp.Compile(s)
	if err != nil {
		why := "damaged"
		var said *syntax.Error
		if errors.As(err, &said) {
			why = said.Code.String()
		}
		v.Fault("%s is no regular expression (%s); write RE2 syntax", v.Quoted(), why)
		return nil
	}
	return re
}

// JSONPath reads a path to one value, such as $.version. "" is not given, or has had its fault.
func (v Value) JSONPath() string { return v.jsonPath(false) }

// JSONPathPattern reads a path that may lead to several values, such as $.tags[*].id. "" is not given, or has had its
// fault.
func (v Value) JSONPathPattern() string { return v.jsonPath(true) }

func (v Value) jsonPath(wildcards bool) string {
	s := v.Word("a path such as $.version")
	if s == "" {
		return ""
	}
	if _, err := content.ParsePath(s, wildcards); err != nil {
		what, write, _ := strings.Cut(strings.TrimPrefix(err.Error(), strconv.Quote(s)+" "), "; ")
		v.Fault("%s %s; %s", v.Quoted(), what, write)
		return ""
	}
	return s
}

// OneOf reads one of the allowed words; otherwise is given where none stands, and "" after a fault.
func (v Value) OneOf(otherwise string, allowed ...string) string {
	if !v.Given() {
		return otherwise
	}
	last := len(allowed) - 1
	what := strings.Join(allowed[:last], ", ") + " or " + allowed[last]
	s, ok := v.Text(what)
	if ok && !slices.Contains(allowed, s) {
		v.Fault("is %s; write %s", v.Quoted(), what)
		return ""
	}
	return s
}

// List gives the items; what names them for a fault. A list that stands and is empty is a fault.
func (v Value) List(what string) []Value {
	if !v.Given() || !v.is(yaml.SequenceNode, "a list of "+what) {
		return nil
	}
	if len(v.node.Content) == 0 {
		v.Fault("is empty; write a list of %s (what is optional may be left out)", what)
	}
	out := make([]Value, len(v.node.Content))
	for i, c := range v.node.Content {
		out[i] = Value{doc: v.doc, node: c, line: c.Line, path: indexed(v.path, i)}
	}
	return out
}

// Words reads a list of words, each once, and gives the items too, by the same index. what names the words for a fault,
// one names a single one. A word that had a fault is "".
func (v Value) Words(what, one string) (words []string, items []Value) {
	seen := map[string]bool{}
	for _, item := range v.List(what) {
		s := item.Word(one)
		if s != "" && seen[s] {
			item.Fault("%s stands twice; keep one", item.Quoted())
		}
		seen[s] = true
		words, items = append(words, s), append(items, item)
	}
	return words, items
}

// Template reads text with {name} places, of the names alone; nil allows any, for where what names them has had a fault.
// A text whose braces are in disorder gives the zero Template.
func (v Value) Template(names []string) Template {
	s := v.Word("text with {key}")
	t, err := ParseTemplate(s)
	if err != nil {
		what, write, _ := strings.Cut(err.Error(), "; ")
		v.Fault("%s; %s", what, write)
		return Template{}
	}
	for _, n := range t.Names() {
		if names != nil && !slices.Contains(names, n) {
			if strings.Contains(s, "@") {
				n = "…" // it may be of a password
			}
			v.Fault("names {%s}, which is unknown here; known are {%s}", n, strings.Join(names, "}, {"))
		}
	}
	return t
}
