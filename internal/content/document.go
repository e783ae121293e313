package content

import (
	"bytes"
	"slices"
	"sync"
)

// maxDepth of nested arrays and objects; deeper text does not parse, and is compared byte for byte.
const maxDepth = 1000

// maxDocument in bytes, so that 32 bits hold each position.
const maxDocument = 1 << 30

type nodeKind uint8

const (
	object nodeKind = iota
	array
	text
	number
	literal // true, false, null
)

// A value of a document is the number of its node. Nodes are small and lie side by side, since tens of thousands of
// values are read in each sampling and most are gone right after.
type node struct {
	start, end uint32 // of the value in source
	from, to   uint32 // canonical bytes of a scalar in source or made; children of others in children
	name       uint32 // of a member: canonical with its quotes, in source or made
	nameEnd    uint32
	kind       nodeKind
	made       bool // canonical bytes are in made: they differ from the source's
	nameMade   bool
	gone       bool // left out by ignore
}

// document is one parsed JSON text.
type document struct {
	source   []byte
	made     []byte
	nodes    []node
	children []uint32
	pending  []uint32 // children of containers that are still open
	at       int
	depth    int
	out      []byte // scratch for canonical forms
}

var documents = sync.Pool{New: func() any { return new(document) }}

func newDocument() *document {
	d, _ := documents.Get().(*document)
	return d
}

// release gives the memory to the next document, unless this one was so large that keeping it would be a leak.
func (d *document) release() {
	d.source = nil
	if cap(d.nodes) <= 1<<12 && cap(d.made) <= 1<<16 && cap(d.out) <= 1<<16 {
		documents.Put(d)
	}
}

// parse reads text by RFC 8259's grammar, tolerant of nothing: false where it is not JSON, or is nested too deeply.
// The nodes of what was parsed before are gone.
func (d *document) parse(data []byte) (root uint32, ok bool) {
	d.source, d.made, d.nodes, d.children, d.pending = data, d.made[:0], d.nodes[:0], d.children[:0], d.pending[:0]
	d.at, d.depth = 0, 0
	if len(data) > maxDocument {
		return 0, false
	}
	d.space()
	root, ok = d.value()
	d.space()
	return root, ok && d.at == len(d.source)
}

func (d *document) space() {
	for d.at < len(d.source) {
		switch d.source[d.at] {
		case ' ', '\t', '\n', '\r':
			d.at++
		default:
			return
		}
	}
}

// peek gives the next byte; 0, which no grammar rule takes, at the end.
func (d *document) peek() byte {
	if d.at < len(d.source) {
		return d.source[d.at]
	}
	return 0
}

func (d *document) value() (uint32, bool) {
	start := d.at
	n := node{}
	ok := false
	switch c := d.peek(); {
	case c == '{' || c == '[':
		n, ok = d.container(c)
	case c == '"':
		n.kind = text
		n.from, n.to, n.made, ok = d.text()
	case c == '-' || '0' <= c && c <= '9':
		n.kind = number
		n.from, n.to, n.made, ok = d.number()
	case c == 't':
		n, ok = d.literal("true")
	case c == 'f':
		n, ok = d.literal("false")
	case c == 'n':
		n, ok = d.literal("null")
	}
	if !ok {
		return 0, false
	}
	n.start, n.end = uint32(start), uint32(d.at)
	d.nodes = append(d.nodes, n)
	return uint32(len(d.nodes) - 1), true
}

func (d *document) literal(word string) (node, bool) {
	if !bytes.HasPrefix(d.source[d.at:], []byte(word)) {
		return node{}, false
	}
	n := node{kind: literal, from: uint32(d.at), to: uint32(d.at + len(word))}
	d.at += len(word)
	return n, true
}

// container reads an object or array, from its opening bracket.
func (d *document) container(open byte) (node, bool) {
	if d.depth++; d.depth > maxDepth {
		return node{}, false
	}
	n := node{kind: array}
	closing := byte(']')
	if open == '{' {
		n.kind, closing = object, '}'
	}
	mark := len(d.pending)
	d.at++
	d.space()
	for d.peek() != closing || len(d.pending) > mark {
		child, ok := d.child(n.kind)
		if !ok {
			return node{}, false
		}
		d.pending = append(d.pending, child)
		d.space()
		if d.peek() == closing {
			break
		}
		if d.peek() != ',' {
			return node{}, false
		}
		d.at++
		d.space()
	}
	d.at++
	d.depth--
	own := d.pending[mark:]
	if n.kind == object {
		own = d.settle(own)
	}
	n.from = uint32(len(d.children))
	d.children = append(d.children, own...)
	n.to = uint32(len(d.children))
	d.pending = d.pending[:mark]
	return n, true
}

// child reads an array's item, or an object's member.
func (d *document) child(of nodeKind) (uint32, bool) {
	if of == array {
		return d.value()
	}
	if d.peek() != '"' {
		return 0, false
	}
	from, to, made, ok := d.text()
	if !ok {
		return 0, false
	}
	d.space()
	if d.peek() != ':' {
		return 0, false
	}
	d.at++
	d.space()
	v, ok := d.value()
	if ok {
		n := &d.nodes[v]
		n.name, n.nameEnd, n.nameMade = from, to, made
	}
	return v, ok
}

// settle sorts members by name in RFC 8785's order; of duplicates the last counts.
func (d *document) settle(members []uint32) []uint32 {
	order := func(a, b uint32) int { return compareNames(d.name(a), d.name(b)) }
	sorted := true
	for i := 1; i < len(members) && sorted; i++ {
		sorted = order(members[i-1], members[i]) < 0
	}
	if sorted {
		return members
	}
	slices.SortStableFunc(members, order)
	out := members[:0]
	for i, m := range members {
		if i+1 < len(members) && bytes.Equal(d.name(m), d.name(members[i+1])) {
			continue
		}
		out = append(out, m)
	}
	return out
}

// name of a member in canonical form, with its quotes.
func (d *document) name(v uint32) []byte {
	n := &d.nodes[v]
	if n.nameMade {
		return d.made[n.name:n.nameEnd]
	}
	return d.source[n.name:n.nameEnd]
}

// scalar is a scalar's canonical form.
func (d *document) scalar(v uint32) []byte {
	n := &d.nodes[v]
	if n.made {
		return d.made[n.from:n.to]
	}
	return d.source[n.from:n.to]
}

// raw is a value as it was written.
func (d *document) raw(v uint32) []byte {
	n := &d.nodes[v]
	return d.source[n.start:n.end]
}

func (d *document) kids(v uint32) []uint32 {
	n := &d.nodes[v]
	if n.kind > array {
		return nil
	}
	return d.children[n.from:n.to]
}

// characters of a string, valid while the document is.
func (d *document) characters(v uint32) []byte {
	s := d.scalar(v)
	return unescape(s[1 : len(s)-1])
}

// plain is a scalar as text: a string's own, a number as it was written, true, false. null and containers have none.
func (d *document) plain(v uint32) (string, bool) {
	switch d.nodes[v].kind {
	case text:
		return string(d.characters(v)), true
	case number:
		return string(d.raw(v)), true
	case literal:
		s := string(d.raw(v))
		return s, s != "null"
	}
	return "", false
}

// append writes a value in its one canonical form, without what is gone.
func (d *document) append(b []byte, v uint32) []byte {
	n := &d.nodes[v]
	if n.kind > array {
		return append(b, d.scalar(v)...)
	}
	open, closing := byte('['), byte(']')
	if n.kind == object {
		open, closing = '{', '}'
	}
	b = append(b, open)
	first := true
	for _, c := range d.children[n.from:n.to] {
		if d.nodes[c].gone {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		if n.kind == object {
			b = append(append(b, d.name(c)...), ':')
		}
		b = d.append(b, c)
	}
	return append(b, closing)
}
