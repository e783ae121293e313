package content

import (
	"bytes"
	"errors"
	"slices"
)

// ErrAbsent is what Value says of content that stands for "not there".
var ErrAbsent = errors.New("the content stands for a copy that is not there")

// What Value and Fields refuse; none of it holds anything of the value.
var (
	errSelectNoJSON  = errors.New("select: the content is not JSON")
	errSelectNothing = errors.New("select: the content has nothing there")
	errCompareNoJSON = errors.New("compare: the content is not JSON")
	errNoPath        = errors.New("compare: the content has none of the paths")
	errNoField       = errors.New("compare: the hash has none of the fields")
)

// Value reads a string's bytes. The error is ErrAbsent, or says what decode or select refused, or that nothing of it is
// compared; it holds nothing of the value.
func (r *Reader) Value(value []byte) (Content, error) {
	k := r.memo.key(value)
	if c, ok := r.memo.get(k); ok {
		return c, nil
	}
	c, err := r.read(value)
	if err == nil {
		r.memo.put(k, c)
	}
	return c, err
}

// read a value that is not remembered.
func (r *Reader) read(value []byte) (Content, error) {
	whole, err := r.decode(value)
	if err != nil {
		return Content{}, err
	}
	s := sight{r: r, whole: whole, text: whole, json: bracketed(whole)}
	if s.json || r.selected != nil || r.version.inJSON() || r.cachedAt.inJSON() {
		s.outer = newDocument()
		defer s.release()
		s.root, s.parsed = s.outer.parse(whole)
		s.json = s.json && s.parsed
	}
	s.doc, s.left = s.outer, s.root
	if r.selected != nil {
		err = s.choose()
	}
	if r.absent != nil && r.absent.Match(s.text) {
		return Content{}, ErrAbsent
	}
	if err != nil {
		return Content{}, err
	}

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
	switch {
	case s.json:
		c.Digest, err = s.digest()
	case r.compare != nil:
		err = errCompareNoJSON
	default:
		c.Digest = digestOf(s.text)
	}
	if err != nil {
		return Content{}, err
	}
	return c, nil
}

// Left gives what decoding and selection leave of a value, as it stands there: what Value compares, with all that it leaves
// out. ErrAbsent: it stands for "not there".
func (r *Reader) Left(value []byte) ([]byte, error) {
	whole, err := r.decode(value)
	if err != nil {
		return nil, err
	}
	s := sight{r: r, whole: whole, text: whole}
	if r.selected != nil {
		s.outer = newDocument()
		defer s.release()
		s.root, s.parsed = s.outer.parse(whole)
		s.doc, s.left = s.outer, s.root
		err = s.choose()
	}
	if r.absent != nil && r.absent.Match(s.text) {
		return nil, ErrAbsent
	}
	if err != nil {
		return nil, err
	}
	return bytes.Clone(s.text), nil
}

// bracketed: the first byte after white space is one that content compared as JSON begins with.
func bracketed(b []byte) bool {
	b = bytes.TrimLeft(b, " \t\r\n")
	return len(b) > 0 && (b[0] == '{' || b[0] == '[')
}

func (p *versionPlace) inJSON() bool { return p != nil && p.path != nil }

// sight of one value while it is read.
type sight struct {
	r *Reader
	// whole is what decode leaves, and outer its document, from root on, if it was parsed.
	whole  []byte
	outer  *document
	root   uint32
	parsed bool
	// text is what select leaves, of a string its own text; in a document it stands at left of doc.
	text []byte
	doc  *document
	left uint32
	// json: what is left is compared as JSON.
	json bool
}

// release gives the documents back. Text has none.
func (s *sight) release() {
	if s.doc != s.outer {
		s.doc.release()
	}
	s.outer.release()
}

// choose leaves what select names.
func (s *sight) choose() error {
	if !s.parsed {
		return errSelectNoJSON
	}
	left, ok := s.outer.find(s.root, *s.r.selected)
	if !ok {
		return errSelectNothing
	}
	s.left = left
	if s.outer.nodes[left].kind != text {
		s.text, s.json = s.outer.raw(left), true
		return nil
	}
	// A string is read like the whole value of a layer that holds the text alone.
	s.text, s.json = s.outer.characters(left), false
	if bracketed(s.text) {
		s.parseText()
	}
	return nil
}

// parseText compares the text that is left as JSON, if it is that, from a document of its own.
func (s *sight) parseText() {
	own := newDocument()
	root, ok := own.parse(s.text)
	if !ok {
		own.release()
		return
	}
	if s.doc != s.outer {
		s.doc.release()
	}
	s.doc, s.left, s.json = own, root, true
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
		doc := s.doc
		v, ok := doc.find(s.left, *p.path)
		if !ok && s.r.selected != nil {
			doc = s.outer
			v, ok = doc.find(s.root, *p.path)
		}
		if ok {
			found, _ = doc.plain(v)
		}
	}
	return found, nil
}

// cut takes a part of the text out of what is left. It leaves a 0, so that JSON stays JSON.
func (s *sight) cut(from, to int) {
	s.text = slices.Concat(s.text[:from], []byte("0"), s.text[to:])
	if s.json {
		s.parseText()
	}
}

// digest of the JSON that is left after compare and ignore. The error says that nothing is compared.
func (s *sight) digest() (Digest, error) {
	d := s.doc
	for i := range s.r.ignore {
		d.remove(s.left, s.r.ignore[i].steps)
	}
	b := d.out[:0]
	compared := s.r.compare == nil
	switch {
	case d.nodes[s.left].gone:
	case compared:
		b = d.append(b, s.left)
	default:
		b = append(b, 1) // a first byte that no text of JSON has
		for i := range s.r.compare {
			b = append(b, '[')
			empty := len(b)
			b = d.appendAll(b, s.left, s.r.compare[i].steps, nil)
			compared = compared || len(b) > empty
			b = append(b, ']')
		}
	}
	d.out = b
	if !compared {
		return Digest{}, errNoPath
	}
	return digestOf(b), nil
}
