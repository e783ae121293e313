package form

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// maxValues that a file may hold with its aliases written out: a few lines of aliases of aliases can stand for billions.
const maxValues = 1_000_000

// parse gives the file's one document, with aliases and merge keys replaced; nil where the faults say why not.
func (d *Document) parse(data []byte) *yaml.Node {
	if line, c, bad := badCharacter(data); bad {
		if c == utf8.RuneError {
			d.faultAt(line, "", "is not UTF-8; save the file as UTF-8")
		} else {
			d.faultAt(line, "", "holds the character %U, which YAML does not allow; leave it out, or write it as an escape in double quotes", c)
		}
		return nil
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var doc, second yaml.Node
	if err := decoder.Decode(&doc); err != nil && !errors.Is(err, io.EOF) {
		d.syntaxFault(err, data)
		return nil
	}
	if err := decoder.Decode(&second); err == nil {
		d.faultAt(second.Line, "", "holds a second document; write one document a file")
	} else if !errors.Is(err, io.EOF) {
		d.syntaxFault(err, data)
	}
	if len(doc.Content) == 0 || isNull(doc.Content[0]) {
		d.empty = true
		return nil
	}
	e := expander{Document: d, sizes: map[*yaml.Node]int{}, open: map[*yaml.Node]bool{}}
	root, size := e.expand(doc.Content[0], "")
	if size > maxValues {
		d.faultAt(1, "", "stands for more than %d values; repeat less by aliases", maxValues)
		return nil
	}
	return root
}

// badCharacter finds what no YAML may hold. The library's own complaint has no line.
func badCharacter(data []byte) (line int, c rune, bad bool) {
	line = 1
	for rest := data; len(rest) > 0; {
		c, size := utf8.DecodeRune(rest)
		switch {
		case c == '\n':
			line++
		case c == utf8.RuneError && size == 1:
			return line, c, true
		case c < ' ' && c != '\t' && c != '\r', c == 0x7F, 0x80 <= c && c < 0xA0 && c != 0x85, c == 0xFFFE, c == 0xFFFF:
			return line, c, true
		}
		rest = rest[size:]
	}
	return 0, 0, false
}

// syntaxFault says what is no YAML. It repeats nothing of the file, of which any part may be a secret.
func (d *Document) syntaxFault(err error, data []byte) {
	line, what := 1, "damaged"
	var said *yaml.LoadError
	if errors.As(err, &said) {
		line, what = max(1, said.Mark.Line), said.Message
	}
	indent := lineOf(data, line)
	indent = indent[:len(indent)-len(bytes.TrimLeft(indent, " \t"))]
	switch {
	case bareVariable.Match(lineOf(data, line)):
		d.faultAt(line, "", `is no YAML (%s); write "${NAME}" with quotes around it, since braces mean something in YAML`, what)
	case strings.HasPrefix(what, "unknown anchor"):
		d.faultAt(line, "", "is no YAML (an alias of an anchor that does not stand before it); write text that begins with * in quotes")
	case strings.Contains(what, "tab character"), bytes.ContainsRune(indent, '\t'):
		d.faultAt(line, "", "is no YAML (a tab, where only spaces indent); indent with spaces")
	case strings.Contains(what, "cannot start any token"):
		d.faultAt(line, "", "is no YAML (%s); write text that begins with @, %% or a backquote in quotes", what)
	case strings.Contains(what, "expected ':'"):
		d.faultAt(line, "", "is no YAML (%s); write name: value, with a space after the colon", what)
	default:
		d.faultAt(line, "", "is no YAML (%s); fix the syntax here or on the lines before", what)
	}
}

// bareVariable finds a value of the environment without quotes.
var bareVariable = regexp.MustCompile(`[:,\[]\s*\$\{`)

func lineOf(data []byte, line int) []byte {
	lines := bytes.SplitN(data, []byte("\n"), line+1)
	if line > len(lines) {
		return nil
	}
	return lines[line-1]
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// expander replaces aliases and merge keys, so that what reads the tree need not know them.
type expander struct {
	*Document
	// sizes of the collections done, in values; open are those being expanded.
	sizes map[*yaml.Node]int
	open  map[*yaml.Node]bool
}

// expand a node in place, and give what stands for it, and its size. A node of kind 0 has had its fault.
func (e *expander) expand(n *yaml.Node, path string) (*yaml.Node, int) {
	switch n.Kind {
	case yaml.AliasNode:
		if e.open[n.Alias] {
			e.faultAt(n.Line, path, "is an alias of what it stands in; write the values out")
			return &yaml.Node{Line: n.Line}, 1
		}
		same := *n.Alias
		same.Line = n.Line
		return &same, max(1, e.sizes[n.Alias])
	case yaml.MappingNode, yaml.SequenceNode:
	default:
		return n, 1
	}
	e.open[n] = true
	size := 1
	if n.Kind == yaml.MappingNode {
		size += e.mapping(n, path)
	} else {
		for i, c := range n.Content {
			var s int
			n.Content[i], s = e.expand(c, indexed(path, i))
			size = min(size+s, maxValues+1)
		}
	}
	delete(e.open, n)
	e.sizes[n] = size
	return n, size
}

// mapping merges what << names behind the mapping's own fields, which come first.
func (e *expander) mapping(n *yaml.Node, path string) int {
	size := 0
	var own, merges []*yaml.Node
	names := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, s := e.expand(n.Content[i], path)
		place := joined(path, key.Value)
		val, t := e.expand(n.Content[i+1], place)
		size = min(size+s+t, maxValues+1)
		switch {
		case key.Tag != "!!merge":
			own = append(own, key, val)
			names[key.Value] = true
		case merges != nil:
			e.faultAt(key.Line, place, "stands twice; write one list, such as <<: [*a, *b]")
		default:
			merges = e.merged(val, place)
		}
	}
	for _, m := range merges {
		for i := 0; i+1 < len(m.Content); i += 2 {
			if key := m.Content[i]; !names[key.Value] {
				own = append(own, key, m.Content[i+1])
				names[key.Value] = true
			}
		}
	}
	n.Content = own
	return size
}

// merged gives the mappings that the value of << names.
func (e *expander) merged(val *yaml.Node, path string) []*yaml.Node {
	list := []*yaml.Node{val}
	if val.Kind == yaml.SequenceNode {
		list = val.Content
	}
	out := []*yaml.Node{}
	for _, m := range list {
		switch m.Kind {
		case yaml.MappingNode:
			out = append(out, m)
		case 0:
		default:
			e.faultAt(m.Line, path, "is %s; write a mapping, an alias of one, or a list of these", kindName(m))
		}
	}
	return out
}
