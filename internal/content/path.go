package content

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Path is a path of RFC 9535 without filters: $, .name, ['name'], [n], and [*] where it is allowed. The zero Path is $.
type Path struct{ steps []pathStep }

type pathStep struct {
	kind  byte   // 'n'ame, 'i'ndex, '*'
	name  []byte // canonical, with its quotes
	index int    // below 0: from the end
}

func fieldPath(name string) Path { return Path{steps: []pathStep{{kind: 'n', name: quote(name)}}} }

// ParsePath reads a path; wildcards allows [*]. The error says what is wrong, and what to write.
func ParsePath(s string, wildcards bool) (Path, error) {
	fail := func(what string) (Path, error) {
		allowed := "write $ followed by .name, ['name'] or [n]"
		if wildcards {
			allowed = "write $ followed by .name, ['name'], [n] or [*]"
		}
		return Path{}, fmt.Errorf("%q %s; %s", s, what, allowed)
	}
	if !strings.HasPrefix(s, "$") {
		return fail("does not begin with $")
	}
	var p Path
	for rest := s[1:]; rest != ""; {
		var st pathStep
		var n int
		switch trimmed := strings.TrimLeft(rest, blanks); {
		case strings.HasPrefix(trimmed, ".."):
			return fail("searches at every depth, which no path here can")
		case strings.HasPrefix(trimmed, ".*"):
			return fail("holds .*, which no path here can")
		case strings.HasPrefix(trimmed, "."):
			rest = trimmed
			if n = shorthand(rest[1:]) + 1; n == 1 {
				return fail("holds a . without a name of letters, digits and _ after it (others stand in ['…'])")
			}
			st = pathStep{kind: 'n', name: quote(rest[1:n])}
		case strings.HasPrefix(trimmed, "["):
			rest = trimmed
			st, n = bracket(rest)
			if n == 0 {
				return fail("holds brackets without a 'name' or number")
			}
			if st.kind == '*' && !wildcards {
				return fail("holds [*], where one value is meant")
			}
		default:
			return fail(fmt.Sprintf("holds %q, which is no step", rest))
		}
		p.steps = append(p.steps, st)
		rest = rest[n:]
	}
	return p, nil
}

const blanks = " \t\r\n"

// shorthand gives the length of the name at the beginning, as it may stand after a dot; 0: there is none.
func shorthand(s string) int {
	for i, r := range s {
		letter := r == '_' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || r >= utf8.RuneSelf && r != utf8.RuneError
		if !letter && (i == 0 || r < '0' || r > '9') {
			return i
		}
	}
	return len(s)
}

// bracket reads one [...] and gives its length; 0: it is none.
func bracket(s string) (pathStep, int) {
	inner := strings.TrimLeft(s[1:], blanks)
	at := len(s) - len(inner)
	var st pathStep
	var n int
	switch {
	case inner == "":
		return st, 0
	case inner[0] == '*':
		st, n = pathStep{kind: '*'}, 1
	case inner[0] == '\'' || inner[0] == '"':
		name, size := quoted(inner)
		st, n = pathStep{kind: 'n', name: name}, size
	default:
		for n < len(inner) && (inner[n] == '-' || '0' <= inner[n] && inner[n] <= '9') {
			n++
		}
		i, err := strconv.Atoi(inner[:n])
		if err != nil || strconv.Itoa(i) != inner[:n] || i > 1<<53-1 || i < -1<<53+1 {
			return st, 0
		}
		st = pathStep{kind: 'i', index: i}
	}
	tail := strings.TrimLeft(inner[n:], blanks)
	if n == 0 || !strings.HasPrefix(tail, "]") {
		return st, 0
	}
	return st, at + len(inner) - len(tail) + 1
}

// quoted reads a name in quotes, which has JSON's escapes and \', and gives it in canonical form, and its length; 0: it is none.
func quoted(s string) ([]byte, int) {
	// The same name as a JSON string, so that one place knows the escapes.
	b := []byte{'"'}
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == s[0]:
			d := newDocument()
			defer d.release()
			v, ok := d.parse(append(b, '"'))
			if !ok {
				return nil, 0
			}
			return bytes.Clone(d.scalar(v)), i + 1
		case c == '"':
			b = append(b, '\\', '"')
		case c == '\\' && i+1 < len(s) && s[i+1] == '\'' && s[0] == '\'':
			b = append(b, '\'')
			i++
		case c == '\\' && i+1 < len(s):
			b = append(b, c, s[i+1])
			i++
		default:
			b = append(b, c)
		}
	}
	return nil, 0
}

// one gives the child that a step without wildcard names.
func (d *document) one(v uint32, s *pathStep) (uint32, bool) {
	kids := d.kids(v)
	switch {
	case s.kind == 'n' && d.nodes[v].kind == object:
		for _, c := range kids {
			if bytes.Equal(d.name(c), s.name) {
				return c, !d.nodes[c].gone
			}
		}
	case s.kind == 'i' && d.nodes[v].kind == array:
		i := s.index
		if i < 0 {
			i += len(kids)
		}
		if i >= 0 && i < len(kids) {
			return kids[i], !d.nodes[kids[i]].gone
		}
	}
	return 0, false
}

// find gives what a path without wildcards names.
func (d *document) find(v uint32, p Path) (uint32, bool) {
	for i := range p.steps {
		var ok bool
		if v, ok = d.one(v, &p.steps[i]); !ok {
			return 0, false
		}
	}
	return v, true
}

// remove takes what the steps name out of the value. What is gone still counts as an index, so that paths name the same
// in any order.
func (d *document) remove(v uint32, steps []pathStep) {
	if len(steps) == 0 {
		d.nodes[v].gone = true
		return
	}
	if steps[0].kind == '*' {
		for _, c := range d.kids(v) {
			d.remove(c, steps[1:])
		}
	} else if c, ok := d.one(v, &steps[0]); ok {
		d.remove(c, steps[1:])
	}
}

// appendAll writes what the steps name: each value behind prefix, the names and indices that the wildcards stood for.
func (d *document) appendAll(b []byte, v uint32, steps []pathStep, prefix []byte) []byte {
	if len(steps) == 0 {
		return append(d.append(append(append(b, prefix...), '='), v), ',')
	}
	if steps[0].kind != '*' {
		if c, ok := d.one(v, &steps[0]); ok {
			return d.appendAll(b, c, steps[1:], prefix)
		}
		return b
	}
	for i, c := range d.kids(v) {
		if d.nodes[c].gone {
			continue
		}
		at := prefix[:len(prefix):len(prefix)]
		if d.nodes[v].kind == object {
			at = append(at, d.name(c)...)
		} else {
			at = strconv.AppendInt(at, int64(i), 10)
		}
		b = d.appendAll(b, c, steps[1:], append(at, '/'))
	}
	return b
}

// Lookup gives the scalar at a path of a JSON document as text: a string's own, a number exactly as written, true or
// false. ok is false where the document is not JSON, or has no such thing there.
func Lookup(doc []byte, p Path) (value string, ok bool) {
	d := newDocument()
	defer d.release()
	v, ok := d.parse(doc)
	if !ok {
		return "", false
	}
	if v, ok = d.find(v, p); !ok {
		return "", false
	}
	return d.plain(v)
}

// names: a path of one step names a hash's field.
func (p Path) names(quotedField []byte) bool {
	return len(p.steps) == 1 && (p.steps[0].kind == '*' || p.steps[0].kind == 'n' && bytes.Equal(p.steps[0].name, quotedField))
}

func anyNames(paths []Path, quotedField []byte) bool {
	return slices.ContainsFunc(paths, func(p Path) bool { return p.names(quotedField) })
}
