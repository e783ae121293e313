package content

import (
	"bytes"
	"context"
	"slices"
	"sync"

	"golang.org/x/sync/semaphore"
)

// maxDepth of nested arrays and objects; deeper text does not parse, and is compared byte for byte.
const maxDepth = 1000

// maxDocument in bytes, so that 32 bits hold each position.
const maxDocument = 1 << 30

const (
	// manyBytes of a text, or of what decoding may give, are read only while no more than readAtOnce are. What a text needs beside itself
	// is some times its size, and with hundreds of nodes that would be a multiple of the values that are held at once.
	manyBytes  = 64 << 10
	readAtOnce = 16 << 20
)

var reading = semaphore.NewWeighted(readAtOnce)

// TakeTurn waits until what needs so many bytes may be read, which is a matter of the time that others need to be parsed; done ends the
// turn. Few bytes need no turn. Who has one takes no other.
func TakeTurn(bytes int64) (done func()) {
	if bytes <= manyBytes {
		return func() {}
	}
	n := min(bytes, readAtOnce)
	if reading.Acquire(context.Background(), n) != nil {
		panic("it fails only where its context ends")
	}
	return func() { reading.Release(n) }
}

// document reads one JSON text from its beginning to its end. It builds no tree: a few bytes of text would cost a multiple of that, and
// the text is a stranger's. Objects alone are remembered, by where their members lie, until they are closed.
type document struct {
	source []byte
	at     int
	depth  int
	// made is the canonical form of the last scalar or name that was not written so.
	made []byte
	// quiet: nothing is written to out.
	quiet bool
	// known is where a value was read before; empty: nowhere.
	known span
	// holes: where an element of an array was left out stands a hole, so that the others keep their indices.
	holes bool
	out   []byte // canonical form of what was read
	// members of objects that are still open, in out.
	members []member
	// leaving are what the paths of ignore still have before them, of the containers that are open.
	leaving [][]pathStep
	moved   []byte // scratch
}

// hole stands for an element that was left out. No canonical text holds such a byte.
const hole = 0

// member of an object: its name begins at from, and its value ends at to.
type member struct{ from, nameEnd, to uint32 }

// span of a value in a text.
type span struct{ from, to int }

var documents = sync.Pool{New: func() any { return new(document) }}

func newDocument() *document {
	d, _ := documents.Get().(*document)
	return d
}

// release gives the memory to the next document, unless this one was so large that keeping it would be a leak.
func (d *document) release() {
	d.source = nil
	if cap(d.made) <= 1<<16 && cap(d.out) <= 1<<16 && cap(d.moved) <= 1<<16 && cap(d.members) <= 1<<12 {
		documents.Put(d)
	}
}

// parse reads text by RFC 8259's grammar, tolerant of nothing, and gives where its value is: false where it is not JSON, or is nested
// too deeply.
func (d *document) parse(data []byte) (root span, ok bool) { return d.parseAround(data, span{}) }

// parseAround is parse where the value at a span was read before, so that it need not be read again.
func (d *document) parseAround(data []byte, known span) (root span, ok bool) {
	d.quiet, d.holes, d.known, d.depth = true, false, known, 0
	return d.read(data, nil)
}

// canonical is parse, and writes the one canonical form to out, without what ignore names. Where holes are wanted, elements of arrays
// that are left out leave one.
func (d *document) canonical(data []byte, ignore []Path, holes bool) (root span, ok bool) {
	return d.canonicalIn(0, data, ignore, holes)
}

// canonicalIn is canonical of what stands at a depth of a larger text.
func (d *document) canonicalIn(depth int, data []byte, ignore []Path, holes bool) (root span, ok bool) {
	d.quiet, d.holes, d.known, d.depth, d.out = false, holes, span{}, depth, d.out[:0]
	if cap(d.out) < len(data) && len(data) > 1<<12 {
		d.out = make([]byte, 0, len(data)+len(data)/8)
	}
	return d.read(data, ignore)
}

func (d *document) read(data []byte, ignore []Path) (root span, ok bool) {
	d.source, d.at, d.members, d.leaving = data, 0, d.members[:0], d.leaving[:0]
	if len(data) > maxDocument {
		return span{}, false
	}
	for i := range ignore {
		d.leaving = append(d.leaving, ignore[i].steps)
	}
	d.space()
	root.from = d.at
	ok = d.value(d.leaving)
	root.to = d.at
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

// value reads a value, without what the paths name that lead on from it.
func (d *document) value(leaving [][]pathStep) bool {
	switch c := d.peek(); {
	case d.at == d.known.from && d.known.to > 0:
		d.at = d.known.to
		return true
	case c == '{':
		return d.nested(leaving, (*document).object)
	case c == '[':
		return d.nested(leaving, (*document).array)
	case c == '"':
		return d.write(d.text())
	case c == '-' || '0' <= c && c <= '9':
		return d.write(d.number())
	case c == 't':
		return d.literal("true")
	case c == 'f':
		return d.literal("false")
	case c == 'n':
		return d.literal("null")
	}
	return false
}

func (d *document) write(canonical []byte, ok bool) bool {
	if !d.quiet {
		d.out = append(d.out, canonical...)
	}
	return ok
}

func (d *document) writeByte(c byte) {
	if !d.quiet {
		d.out = append(d.out, c)
	}
}

func (d *document) literal(word string) bool {
	if !bytes.HasPrefix(d.source[d.at:], []byte(word)) {
		return false
	}
	d.at += len(word)
	return d.write([]byte(word), true)
}

// nested reads an object or array.
func (d *document) nested(leaving [][]pathStep, inside func(*document, [][]pathStep) bool) bool {
	if d.depth++; d.depth > maxDepth {
		return false
	}
	mark := len(d.leaving)
	ok := inside(d, leaving)
	d.leaving = d.leaving[:mark]
	d.depth--
	return ok
}

// more reports whether another element follows, and reads the comma before it. first: none was read yet. ok is false where the
// grammar is broken.
func (d *document) more(closing byte, first bool) (more, ok bool) {
	d.space()
	switch c := d.peek(); {
	case c == closing:
		d.at++
		return false, true
	case first:
		return true, true
	case c == ',':
		d.at++
		d.space()
		return true, true
	}
	return false, false
}

// array reads an array, from its opening bracket.
func (d *document) array(leaving [][]pathStep) bool {
	length := 0
	if fromTheEnd(leaving) {
		length = d.length()
	}
	d.at++
	d.writeByte('[')
	empty := len(d.out)
	for i := 0; ; i++ {
		more, ok := d.more(']', i == 0)
		if !more {
			d.writeByte(']')
			return ok
		}
		mark := len(d.out)
		if mark > empty {
			d.writeByte(',')
		}
		inner, gone := d.lead(leaving, func(s *pathStep) bool { return s.kind == 'i' && (s.index == i || s.index+length == i && s.index < 0) })
		if !d.value(inner) {
			return false
		}
		d.leaving = d.leaving[:len(d.leaving)-len(inner)]
		switch {
		case !gone || d.quiet:
		case d.holes:
			if d.out = d.out[:mark]; mark > empty {
				d.writeByte(',')
			}
			d.writeByte(hole)
		default:
			d.out = d.out[:mark]
		}
	}
}

// lead gives what the paths that the next element or member is named by have behind it, at the end of d.leaving; gone: one of them
// ends there.
func (d *document) lead(leaving [][]pathStep, names func(*pathStep) bool) (inner [][]pathStep, gone bool) {
	if len(leaving) == 0 {
		return nil, false
	}
	mark := len(d.leaving)
	for _, steps := range leaving {
		switch {
		case len(steps) == 0 || steps[0].kind != '*' && !names(&steps[0]):
		case len(steps) == 1:
			gone = true
		default:
			d.leaving = append(d.leaving, steps[1:])
		}
	}
	return d.leaving[mark:], gone
}

// fromTheEnd: a path counts from the end of an array.
func fromTheEnd(leaving [][]pathStep) bool {
	return slices.ContainsFunc(leaving, func(steps []pathStep) bool { return len(steps) > 0 && steps[0].kind == 'i' && steps[0].index < 0 })
}

// length of the array that begins here. What is no JSON has any.
func (d *document) length() int {
	from, n := d.at, 0
	d.kids(func([]byte, span) bool { n++; return true })
	d.at = from
	return n
}

// object reads an object, from its opening bracket.
func (d *document) object(leaving [][]pathStep) bool {
	d.at++
	d.writeByte('{')
	mark, start, sorted := len(d.members), len(d.out), true
	for first := true; ; first = false {
		more, ok := d.more('}', first)
		if !more {
			if !sorted {
				d.settle(mark, start)
			}
			d.members = d.members[:mark]
			d.writeByte('}')
			return ok
		}
		before := len(d.out)
		if before > start {
			d.writeByte(',')
		}
		m := member{from: uint32(len(d.out))}
		if d.peek() != '"' {
			return false
		}
		name, ok := d.text()
		d.write(name, ok)
		m.nameEnd = uint32(len(d.out))
		inner, gone := d.lead(leaving, func(s *pathStep) bool { return s.kind == 'n' && bytes.Equal(s.name, name) })
		if d.space(); !ok || d.peek() != ':' {
			return false
		}
		d.at++
		d.writeByte(':')
		d.space()
		if !d.value(inner) {
			return false
		}
		d.leaving = d.leaving[:len(d.leaving)-len(inner)]
		switch {
		case d.quiet:
		case gone:
			d.out = d.out[:before]
		default:
			m.to = uint32(len(d.out))
			if n := len(d.members); n > mark && sorted {
				sorted = compareNames(d.name(d.members[n-1]), d.name(m)) < 0
			}
			d.members = append(d.members, m)
		}
	}
}

// name of a member in canonical form, with its quotes.
func (d *document) name(m member) []byte { return d.out[m.from:m.nameEnd] }

// settle brings the members of an object, from mark on, whose text begins at start of out, into RFC 8785's order; of duplicates the
// last counts.
func (d *document) settle(mark, start int) {
	own := d.members[mark:]
	slices.SortStableFunc(own, func(a, b member) int { return compareNames(d.name(a), d.name(b)) })
	moved := d.moved[:0]
	for i, m := range own {
		if i+1 < len(own) && bytes.Equal(d.name(m), d.name(own[i+1])) {
			continue
		}
		if len(moved) > 0 {
			moved = append(moved, ',')
		}
		moved = append(moved, d.out[m.from:m.to]...)
	}
	d.out, d.moved = append(d.out[:start], moved...), moved
}

// characters of the string at a span.
func (d *document) characters(v span) []byte {
	raw := d.source[v.from+1 : v.to-1]
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw
	}
	d.at = v.from
	canonical, _ := d.text()
	return bytes.Clone(unescape(canonical[1 : len(canonical)-1]))
}

// plain is a scalar as text: a string's own, a number as it was written, true, false. null and containers have none.
func (d *document) plain(v span) (string, bool) {
	raw := d.source[v.from:v.to]
	switch raw[0] {
	case '"':
		return string(d.characters(v)), true
	case '{', '[':
		return "", false
	}
	return string(raw), string(raw) != "null"
}
