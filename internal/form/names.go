package form

import (
	"regexp"
	"slices"
	"strings"
)

// MaxGroups of consumers that a queue follows; more would make more series than anybody reads.
const MaxGroups = 100

// NameMatch is an exact name, or, written /so/, an anchored-by-the-user regular expression.
type NameMatch struct {
	Exact  string
	Regexp *regexp.Regexp
}

// Matches reports whether name is meant.
func (m NameMatch) Matches(name string) bool {
	if m.Regexp != nil {
		return m.Regexp.MatchString(name)
	}
	return m.Exact == name
}

// Selected reports whether any of the matches means name.
func Selected(matches []NameMatch, name string) bool {
	return slices.ContainsFunc(matches, func(m NameMatch) bool { return m.Matches(name) })
}

// ExactNames are those of the matches that are no regular expressions.
func ExactNames(matches []NameMatch) []string {
	var out []string
	for _, m := range matches {
		if m.Regexp == nil {
			out = append(out, m.Exact)
		}
	}
	return out
}

// NameMatches reads a list of exact names and /regexps/; what names them for a fault. allowed (nil: any) reports whether a
// name is one, and else adds a fault to the item. What had a fault is left out.
func (v Value) NameMatches(what string, allowed func(item Value, name string) bool) []NameMatch {
	words, items := v.Words(what, "a name or /regexp/")
	var out []NameMatch
	for i, s := range words {
		item := items[i]
		begins, ends := strings.HasPrefix(s, "/"), strings.HasSuffix(s, "/")
		switch {
		case s == "":
		case s == "//":
			item.Fault("is an empty regular expression; write /.*/ for all of them")
		case begins && ends && len(s) > 1:
			if re := item.compile(s[1 : len(s)-1]); re != nil {
				out = append(out, NameMatch{Regexp: re})
			}
		case begins:
			item.Fault("%s begins with a / and does not end with one; write a name or /regexp/", item.Quoted())
		case allowed == nil || allowed(item, s):
			out = append(out, NameMatch{Exact: s})
		}
	}
	return out
}

// Groups reads a list of consumer groups, as NameMatches; more than MaxGroups are a fault.
func (v Value) Groups() []NameMatch {
	out := v.NameMatches("consumer groups", nil)
	if len(out) > MaxGroups {
		v.Fault("has %d groups, and a queue follows at most %d; write fewer", len(out), MaxGroups)
	}
	return out
}

// Taken are names that must differ, with the lines where they stand.
type Taken map[string]int

// Add takes a name, unless it is empty; one that is taken already is a fault at v. what is that which the name is of, such
// as layer.
func (t Taken) Add(v Value, name, what string) {
	if name == "" {
		return
	}
	if line, twice := t[name]; twice {
		v.Fault("%s is the name of the %s on line %d too; write another", v.Quoted(), what, line)
		return
	}
	t[name] = v.line
}
