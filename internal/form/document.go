// Package form reads blocks of the configuration, whoever's they are: it knows how a duration, a URL, a password or TLS
// settings are written, and no block's own fields.
//
// [Read] gives a [Document], which collects all faults of a file. A [Value] is one YAML value with its place: its methods
// read it as text, a number, a list and so on. A [Block] is a mapping, whose fields are asked for by name:
//
//	b := v.Block()
//	url, every := b.Get("url"), b.Get("every")
//	if b.Require(url, "the URL of the queue") {
//		q.URL = url.URL()
//	}
//	q.Every = every.PositiveDuration(time.Minute, "how often, such as 1m")
//	b.Done() // what was not asked for is unknown
//
// A method that finds a fault adds it to the document and gives what its comment says, mostly nothing; the reader goes on,
// so that all faults are told at once. A fault says what is wrong, and after a semicolon what to write instead.
package form

import (
	"fmt"
	"path/filepath"
	"slices"

	"go.yaml.in/yaml/v4"
)

// Document is one YAML file while it is read. It collects the faults.
type Document struct {
	file string
	// dir is where relative paths of files begin.
	dir    string
	root   *yaml.Node
	empty  bool
	faults Faults
	// asked are all fields that were asked for, as layers[].ttl, with whether they were given.
	asked map[string]bool
}

// Read parses a file. name stands for it in its faults, and relative paths begin in its folder.
func Read(name string, data []byte) *Document {
	d := &Document{file: name, dir: filepath.Dir(name), asked: map[string]bool{}}
	d.root = d.parse(data)
	return d
}

// Root is the file's one value. It is not given where the file is empty, or no YAML, which has had its fault.
func (d *Document) Root() Value {
	v := Value{doc: d, node: d.root, line: 1}
	if d.root != nil {
		v.line = d.root.Line
	}
	return v
}

// Empty reports whether the file holds nothing but comments, which has had no fault yet.
func (d *Document) Empty() bool { return d.empty }

// Faults are those so far, in the order of their lines.
func (d *Document) Faults() Faults {
	out := slices.Clone(d.faults)
	slices.SortStableFunc(out, func(a, b Fault) int { return a.Line - b.Line })
	return out
}

// Asked are all fields that any code asked for, with whether they stand in this file. Items of lists have no number:
// layers[].ttl. It is what tests compare with the reference.
func (d *Document) Asked() map[string]bool { return d.asked }

func (d *Document) faultAt(line int, path, format string, args ...any) {
	d.faults = append(d.faults, Fault{File: d.file, Line: line, Field: path, Message: fmt.Sprintf(format, args...)})
}
