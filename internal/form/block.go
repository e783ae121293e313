package form

import (
	"cmp"
	"iter"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Block is a mapping whose fields are asked for by name; what was not asked for is unknown. One that is no mapping has
// had its fault: its fields are not given, and none of them is missed.
type Block struct {
	at Value
	// ok: it is a mapping.
	ok     bool
	fields map[string]Value
	known  []string
	order  []string
}

// Block reads a mapping. A value of another kind, a field that stands twice, and a name that is no text are faults.
func (v Value) Block() *Block {
	b := &Block{at: v, fields: map[string]Value{}}
	if !v.Given() || !v.is(yaml.MappingNode, "fields, one `name: value` a line") {
		return b
	}
	b.ok = true
	lines := map[string]int{}
	for i := 0; i+1 < len(v.node.Content); i += 2 {
		key, val := v.node.Content[i], v.node.Content[i+1]
		if key.Kind != yaml.ScalarNode || isNull(key) {
			v.doc.faultAt(key.Line, v.path, "has a name that is %s; write text", kindName(key))
			continue
		}
		path := joined(v.path, key.Value)
		if line, twice := lines[key.Value]; twice {
			v.doc.faultAt(key.Line, path, "stands on line %d too; keep one", line)
			continue
		}
		lines[key.Value] = key.Line
		b.fields[key.Value] = Value{doc: v.doc, node: val, line: key.Line, path: path}
		b.order = append(b.order, key.Value)
	}
	return b
}

var itemNumber = regexp.MustCompile(`\[\d+\]`)

// Get gives a field, given or not. The name is known from then on.
func (b *Block) Get(name string) Value {
	if !slices.Contains(b.known, name) {
		b.known = append(b.known, name)
	}
	f, given := b.fields[name]
	if !given {
		f = Value{doc: b.at.doc, path: joined(b.at.path, name)}
	}
	field := itemNumber.ReplaceAllString(f.path, "[]")
	b.at.doc.asked[field] = b.at.doc.asked[field] || given
	return f
}

// Entries gives the fields of a block whose names are the user's own, such as headers, in the order of the file. Such a
// block needs no Done.
func (b *Block) Entries() iter.Seq2[string, Value] {
	return func(yield func(string, Value) bool) {
		for _, name := range b.order {
			if !yield(name, b.fields[name]) {
				return
			}
		}
	}
}

// Empty reports whether the block is a mapping without fields.
func (b *Block) Empty() bool { return b.ok && len(b.order) == 0 }

// Fault adds a fault at the block's own line; see [Value.Fault].
func (b *Block) Fault(format string, args ...any) { b.at.Fault(format, args...) }

// Done reports the fields that nobody asked for, each with the name that was meant, or the names that are known.
func (b *Block) Done() {
	for _, name := range b.order {
		f := b.fields[name]
		before, _, colon := strings.Cut(name, ":")
		switch near := Nearest(name, b.known); {
		case slices.Contains(b.known, name):
		case colon && slices.Contains(b.known, before):
			f.Fault("lacks a space after its colon; write %s: and then the value", before)
		case near != "":
			f.Fault("is unknown; did you mean %s?", near)
		default:
			f.Fault("is unknown; known here are %s", strings.Join(b.known, ", "))
		}
	}
}

// Require reports whether one of the block's fields stands. One that does not is a fault: "is missing; write" what.
func (b *Block) Require(field Value, what string) bool {
	if !field.Given() && b.ok {
		b.at.doc.faultAt(b.at.node.Line, field.path, "is missing; write %s", what)
	}
	return field.Given()
}

// ExactlyOne of the block's fields is to be given; none, or more than one, is a fault. All that are given should still be
// read, for their own faults.
func (b *Block) ExactlyOne(fields ...Value) {
	var names []string
	var given []Value
	for _, f := range fields {
		names = append(names, f.path[strings.LastIndexByte(f.path, '.')+1:])
		if f.Given() {
			given = append(given, f)
		}
	}
	switch {
	case len(given) == 0 && b.ok:
		b.at.doc.faultAt(b.at.node.Line, b.at.path, "has none of %s; write one of them", strings.Join(names, ", "))
	case len(given) > 1:
		slices.SortFunc(given, func(a, b Value) int {
			return cmp.Or(cmp.Compare(a.node.Line, b.node.Line), cmp.Compare(a.node.Column, b.node.Column))
		})
		given[1].Fault("conflicts with another of %s; keep one of them", strings.Join(names, ", "))
	}
}

// NoneGiven reports whether the block is a mapping in which none of these fields stands, for a fault in its own words.
func (b *Block) NoneGiven(fields ...Value) bool {
	return b.ok && !slices.ContainsFunc(fields, Value.Given)
}
