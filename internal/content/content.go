// Package content says what of a value is compared: it decodes, selects, brings into one canonical form, and finds
// versions and times in it.
//
// [Compile] makes a [Reader] of a [Spec], once for each class and layer. Its methods Value and Fields give a [Content]: a [Digest], by which copies
// are compared, a [Version] and the time of caching. [Path] is a place in JSON.
package content

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Digest stands for a content: equal digests, equal contents (the first 128 bits of SHA-256 over the canonical form).
type Digest [16]byte

// String is the digest in hexadecimal.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// Content is what counts of one copy. Version and CachedAt are zero where there is none or it can't be read.
type Content struct {
	Digest   Digest
	Version  Version
	CachedAt time.Time
}

// Field of a hash.
type Field struct{ Name, Value []byte }

// VersionSpec says where a version or time stands: one of JSON, Regexp (its first group) and Field (of a hash) is set.
// Kind: integer (where empty), timestamp, timestamp_ms, rfc3339 or dotted.
type VersionSpec struct {
	JSON   string
	Regexp *regexp.Regexp
	Field  string
	Kind   string
}

// Spec says what of a value is compared.
type Spec struct {
	// Decode steps in their order: gzip, zlib, zstd, snappy (blocks and frames), base64.
	Decode []string
	// Select is the path of the part that counts; empty: all of it.
	Select string
	// Compare: the only paths that count; Ignore: paths that don't. A bare name is a hash's field, or a member.
	Compare, Ignore []string
	Version         *VersionSpec
	// CachedAt says when the copy was made. It does not count by itself.
	CachedAt *VersionSpec
	// MaxBytes that each step of decoding may give; 0: 1 MiB.
	MaxBytes int64
}

// Reader reads values by one Spec. It is safe for concurrent use.
type Reader struct {
	steps             []string
	limit             int64
	selected          *Path
	compare, ignore   []Path
	version, cachedAt *versionPlace
}

// versionPlace is where a version or a time stands.
type versionPlace struct {
	path   *Path
	regexp *regexp.Regexp
	// field of a hash: canonical, with quotes; nil: none.
	field []byte
	kind  string
}

// Compile checks a Spec. The error says what is wrong, and what to write.
func Compile(s Spec) (*Reader, error) {
	r := &Reader{steps: slices.Clone(s.Decode), limit: s.MaxBytes}
	if r.limit <= 0 {
		r.limit = 1 << 20
	}
	r.limit = min(r.limit, math.MaxInt64/16) // so that sums of it don't overflow
	for _, step := range s.Decode {
		if decoders[step] == nil {
			return nil, fmt.Errorf("decode knows no %q; write gzip, zlib, zstd, snappy or base64", step)
		}
	}
	if s.Select != "" {
		p, err := ParsePath(s.Select, false)
		if err != nil {
			return nil, fmt.Errorf("select: %w", err)
		}
		r.selected = &p
	}
	var err error
	if r.compare, err = parsePaths(s.Compare); err != nil {
		return nil, fmt.Errorf("compare: %w", err)
	}
	if r.ignore, err = parsePaths(s.Ignore); err != nil {
		return nil, fmt.Errorf("ignore: %w", err)
	}
	if r.version, err = compilePlace(s.Version); err != nil {
		return nil, fmt.Errorf("version: %w", err)
	}
	if r.cachedAt, err = compilePlace(s.CachedAt); err != nil {
		return nil, fmt.Errorf("cached_at: %w", err)
	}
	// When the copy was made is no part of what it says.
	if c := r.cachedAt; c != nil && c.path != nil {
		r.ignore = append(r.ignore, *c.path)
	} else if c != nil && c.field != nil {
		r.ignore = append(r.ignore, fieldPath(s.CachedAt.Field))
	}
	return r, nil
}

// parsePaths of compare and ignore.
func parsePaths(texts []string) ([]Path, error) {
	var out []Path
	for _, s := range texts {
		if s != "" && !strings.HasPrefix(s, "$") {
			out = append(out, fieldPath(s))
			continue
		}
		p, err := ParsePath(s, true)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

func compilePlace(s *VersionSpec) (*versionPlace, error) {
	if s == nil {
		return nil, nil
	}
	p := &versionPlace{kind: s.Kind, regexp: s.Regexp}
	if !slices.Contains([]string{"", "integer", "timestamp", "timestamp_ms", "rfc3339", "dotted"}, s.Kind) {
		return nil, fmt.Errorf("kind knows no %q; write integer, timestamp, timestamp_ms, rfc3339 or dotted", s.Kind)
	}
	switch {
	case s.JSON != "":
		path, err := ParsePath(s.JSON, false)
		if err != nil {
			return nil, err
		}
		p.path = &path
		if len(path.steps) == 1 && path.steps[0].kind == 'n' {
			p.field = path.steps[0].name
		}
	case s.Field != "":
		p.field = quote(s.Field)
	case s.Regexp == nil:
		return nil, errors.New("names no place; write json, regexp or field")
	case s.Regexp.NumSubexp() < 1:
		return nil, errors.New("regexp has no group; write parentheses around what it should find")
	}
	return p, nil
}

// Value reads a string's bytes. The error says what decode or select refused; it holds nothing of the value.
func (r *Reader) Value(value []byte) (Content, error) {
	whole, err := r.decode(value)
	if err != nil {
		return Content{}, err
	}
	s := sight{r: r, whole: whole}
	compared := bracketed(whole)
	if compared || r.selected != nil || r.version.inJSON() || r.cachedAt.inJSON() {
		s.doc = newDocument()
		defer func() { s.doc.release() }()
		s.root, s.parsed = s.doc.parse(whole)
	}
	s.left, s.text = s.root, whole
	if r.selected != nil {
		if !s.parsed {
			return Content{}, errors.New("select: the content is not JSON")
		}
		var ok bool
		if s.left, ok = s.doc.find(s.root, *r.selected); !ok {
			return Content{}, errors.New("select: the content has nothing there")
		}
		s.text = s.doc.raw(s.left)
		if s.doc.nodes[s.left].kind == text {
			plain, _ := s.doc.plain(s.left)
			s.text = []byte(plain)
		}
	}
	s.json = s.parsed && (compared || r.selected != nil)

	var c Content
	if r.version != nil {
		found, _ := s.find(r.version)
		c.Version = parseVersion(r.version.kind, found)
	}
	if r.cachedAt != nil {
		found, cut := s.find(r.cachedAt)
		c.CachedAt, _ = parseVersion(r.cachedAt.kind, found).Time()
		if cut != nil {
			s.cut(cut[0], cut[1])
		}
	}
	c.Digest = s.digest()
	return c, nil
}

// bracketed: the first byte after white space is one that content compared as JSON begins with.
func bracketed(b []byte) bool {
	b = bytes.TrimLeft(b, " \t\r\n")
	return len(b) > 0 && (b[0] == '{' || b[0] == '[')
}

func (p *versionPlace) inJSON() bool { return p != nil && p.path != nil }

// sight of one value while it is read.
type sight struct {
	r          *Reader
	whole      []byte // after decode
	doc        *document
	root, left uint32 // of doc, before and after select
	parsed     bool   // doc holds the whole
	text       []byte // what is left: of a string its own text
	json       bool   // what is left is compared as JSON
}

// find looks for a version or time in what is left, then in the whole. Where a regexp found it in what is left, cut says where in
// its text.
func (s *sight) find(p *versionPlace) (found string, cut []int) {
	switch {
	case p.regexp != nil:
		if m := p.regexp.FindSubmatchIndex(s.text); m != nil && m[2] >= 0 {
			return string(s.text[m[2]:m[3]]), m[2:4]
		}
		if s.r.selected != nil {
			if m := p.regexp.FindSubmatch(s.whole); m != nil {
				return string(m[1]), nil
			}
		}
	case p.path != nil && s.parsed:
		v, ok := s.doc.find(s.left, *p.path)
		if !ok && s.left != s.root {
			v, ok = s.doc.find(s.root, *p.path)
		}
		if ok {
			found, _ = s.doc.plain(v)
		}
	}
	return found, nil
}

// cut takes a part of the text out of what is left. It leaves a 0, so that JSON stays JSON.
func (s *sight) cut(from, to int) {
	s.text = slices.Concat(s.text[:from], []byte("0"), s.text[to:])
	if !s.json {
		return
	}
	if s.doc.nodes[s.left].kind == text {
		s.text = quote(string(s.text))
	}
	again := newDocument()
	if v, ok := again.parse(s.text); ok {
		s.doc.release()
		s.doc, s.left, s.root = again, v, v
		return
	}
	again.release()
}

// digest of what is left after compare and ignore.
func (s *sight) digest() Digest {
	if !s.json {
		return digestOf(s.text)
	}
	d := s.doc
	for i := range s.r.ignore {
		d.remove(s.left, s.r.ignore[i].steps)
	}
	b := d.out[:0]
	switch {
	case d.nodes[s.left].gone:
	case s.r.compare == nil:
		b = d.append(b, s.left)
	default:
		b = append(b, 1) // a first byte that no text of JSON has
		for i := range s.r.compare {
			b = append(d.appendAll(append(b, '['), s.left, s.r.compare[i].steps, nil), ']')
		}
	}
	d.out = b
	return digestOf(b)
}

func digestOf(b []byte) Digest {
	s := sha256.Sum256(b)
	return Digest(s[:16])
}

// Fields reads a hash: its set of fields and raw values. The order of fields is free; their slice is left as it is.
func (r *Reader) Fields(fields []Field) (Content, error) {
	var c Content
	byName := func(a, b Field) int { return bytes.Compare(a.Name, b.Name) }
	if !slices.IsSortedFunc(fields, byName) {
		fields = slices.Clone(fields)
		slices.SortFunc(fields, byName)
	}
	d := newDocument()
	defer d.release()
	b := append(d.out[:0], 0) // a first byte that no text of JSON has
	looks := r.version != nil || r.cachedAt != nil || r.ignore != nil || r.compare != nil
	for _, f := range fields {
		if looks {
			name := append(appendText(append(d.made[:0], '"'), f.Name...), '"')
			d.made = name
			if p := r.version; p != nil && bytes.Equal(p.field, name) {
				c.Version = parseVersion(p.kind, string(f.Value))
			}
			if p := r.cachedAt; p != nil && bytes.Equal(p.field, name) {
				c.CachedAt, _ = parseVersion(p.kind, string(f.Value)).Time()
			}
			if anyNames(r.ignore, name) || r.compare != nil && !anyNames(r.compare, name) {
				continue
			}
		}
		b = append(binary.AppendUvarint(b, uint64(len(f.Name))), f.Name...)
		b = append(binary.AppendUvarint(b, uint64(len(f.Value))), f.Value...)
	}
	d.out = b
	c.Digest = digestOf(b)
	return c, nil
}
