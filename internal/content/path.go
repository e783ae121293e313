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
			if _, ok := d.canonical(append(b, '"'), nil, false); !ok {
				return nil, 0
			}
			return bytes.Clone(d.out), i + 1
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

// kids calls visit with each element of the array, or member of the object, that begins at d.at, until it says false: with a member's
// name in canonical form, valid during the call. The text was parsed before; in one that was not, what looks like them is visited.
func (d *document) kids(visit func(name []byte, v span) bool) {
	object := d.peek() == '{'
	for d.at++; ; {
		d.space()
		if c := d.peek(); c == ']' || c == '}' {
			return
		}
		var name []byte
		if object {
			name, _ = d.text()
			d.space()
			d.at++ // the colon
			d.space()
		}
		from := d.at
		if d.skip(); d.at == from {
			return
		}
		next := d.at
		if !visit(name, span{from, next}) {
			return
		}
		d.at = next
		if d.space(); d.peek() != ',' {
			return
		}
		d.at++
	}
}

// skip a value of a text that was parsed.
func (d *document) skip() {
	depth := 0
	for ; d.at < len(d.source); d.at++ {
		switch d.source[d.at] {
		case '"':
			if d.skipText(); depth == 0 {
				return
			}
			d.at--
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 { // a scalar ends before it
				return
			}
			if depth--; depth == 0 {
				d.at++
				return
			}
		case ',', ' ', '\t', '\n', '\r':
			if depth == 0 {
				return
			}
		}
	}
}

func (d *document) skipText() {
	for i := d.at + 1; i < len(d.source); i++ {
		switch d.source[i] {
		case '\\':
			i++
		case '"':
			d.at = i + 1
			return
		}
	}
	d.at = len(d.source)
}

// one gives the child of a value that a step without wildcard names, in a text that was parsed. Of duplicate names the last counts.
func (d *document) one(v span, s *pathStep) (found span, ok bool) {
	d.at = v.from
	switch c := d.source[v.from]; {
	case s.kind == 'n' && c == '{':
		d.kids(func(name []byte, child span) bool {
			if bytes.Equal(name, s.name) {
				found, ok = child, true
			}
			return true
		})
	case s.kind == 'i' && c == '[':
		left := s.index
		if left < 0 {
			left += d.length()
		}
		if left < 0 {
			return span{}, false
		}
		d.kids(func(_ []byte, child span) bool {
			found, ok = child, left == 0
			left--
			return !ok
		})
	}
	return found, ok
}

// find gives what a path without wildcards names in a value of a text that was parsed.
func (d *document) find(v span, p Path) (span, bool) {
	for i := range p.steps {
		var ok bool
		if v, ok = d.one(v, &p.steps[i]); !ok {
			return span{}, false
		}
	}
	return v, true
}

// appendAll writes what the steps name in a canonical text with holes: each value behind prefix, the names and indices that the
// wildcards stood for.
func (d *document) appendAll(b []byte, v span, steps []pathStep, prefix []byte) []byte {
	switch c := d.source[v.from]; {
	case c == hole:
		return b
	case len(steps) == 0:
		return append(appendWhole(append(append(b, prefix...), '='), d.source[v.from:v.to]), ',')
	case steps[0].kind != '*':
		if child, ok := d.one(v, &steps[0]); ok {
			return d.appendAll(b, child, steps[1:], prefix)
		}
	case c == '{' || c == '[':
		i := 0
		d.at = v.from
		d.kids(func(name []byte, child span) bool {
			at := prefix[:len(prefix):len(prefix)]
			if c == '{' {
				at = append(at, name...)
			} else {
				at = strconv.AppendInt(at, int64(i), 10)
			}
			i++
			b = d.appendAll(b, child, steps[1:], append(at, '/'))
			return true
		})
	}
	return b
}

// appendWhole writes a canonical value without its holes.
func appendWhole(b, value []byte) []byte {
	for {
		at := bytes.IndexByte(value, hole)
		if at < 0 {
			return append(b, value...)
		}
		b, value = append(b, value[:at]...), value[at+1:]
		switch {
		case b[len(b)-1] == ',': // with the comma before it, or, of the first, the one behind
			b = b[:len(b)-1]
		case value[0] == ',':
			value = value[1:]
		}
	}
}

// Lookup gives the scalar at a path of a JSON document as text: a string's own, a number exactly as written, true or
// false. ok is false where the document is not JSON, or has no such thing there.
func Lookup(doc []byte, p Path) (value string, ok bool) {
	LookupEach(doc, []Path{p}, func(_ int, found string) { value, ok = found, true })
	return value, ok
}

// names: a path of one step names a hash's field.
func (p Path) names(quotedField []byte) bool {
	return len(p.steps) == 1 && (p.steps[0].kind == '*' || p.steps[0].kind == 'n' && bytes.Equal(p.steps[0].name, quotedField))
}

func anyNames(paths []Path, quotedField []byte) bool {
	return slices.ContainsFunc(paths, func(p Path) bool { return p.names(quotedField) })
}
