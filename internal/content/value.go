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
	if n := r.mayNeed(value); n > manyBytes {
		defer TakeTurn(n)()
	}
	whole, err := r.decode(value)
	if err != nil {
		return Content{}, err
	}
	s := sight{r: r, whole: whole, text: whole, doc: newDocument()}
	defer s.doc.release()
	switch {
	case r.selected != nil:
		err = s.choose()
	case bracketed(whole):
		s.outer, s.parsed = s.canonical()
		s.json, s.left = s.parsed, s.outer
	case r.version.inJSON() || r.cachedAt.inJSON():
		s.outer, s.parsed = s.doc.parse(whole)
		s.left = s.outer
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

// mayNeed is how many bytes reading a value may take: as many as it has, or as its decoding may give.
func (r *Reader) mayNeed(value []byte) int64 {
	if len(r.steps) > 0 {
		return max(int64(len(value)), r.limit)
	}
	return int64(len(value))
}

// Left gives what decoding and selection leave of a value, as it stands there: what Value compares, with all that it leaves
// out. ErrAbsent: it stands for "not there".
func (r *Reader) Left(value []byte) ([]byte, error) {
	if n := r.mayNeed(value); n > manyBytes {
		defer TakeTurn(n)()
	}
	whole, err := r.decode(value)
	if err != nil {
		return nil, err
	}
	s := sight{r: r, whole: whole, text: whole, doc: newDocument()}
	defer s.doc.release()
	if r.selected != nil {
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
	r   *Reader
	doc *document
	// whole is what decode leaves; if it was parsed, its value is at outer.
	whole  []byte
	outer  span
	parsed bool
	// text is what select leaves, of a string its own text. own: left is in text; else it is in whole.
	text []byte
	left span
	own  bool
	// json: what is left is compared as JSON, and its canonical form is in doc.
	json bool
}

// choose leaves what select names. Nearly all of a value is often in there, so that it is read first, and what is around it after that:
// in a text that is no JSON anything may be found, which is then refused.
func (s *sight) choose() error {
	d, path := s.doc, *s.r.selected
	d.source, d.at = s.whole, 0
	if d.space(); d.at == len(s.whole) {
		return errSelectNoJSON
	}
	left, found := d.find(span{d.at, len(s.whole)}, path)
	known := span{}
	if found && len(path.steps) > 0 && s.whole[left.from] != '"' {
		if _, ok := d.canonicalIn(len(path.steps), s.whole[left.from:left.to], s.r.ignore, s.r.compare != nil); !ok {
			return errSelectNoJSON
		}
		known = left
	}
	s.outer, s.parsed = d.parseAround(s.whole, known)
	switch {
	case !s.parsed:
		return errSelectNoJSON
	case !found:
		return errSelectNothing
	case len(path.steps) == 0:
		left = s.outer
	}
	s.left, s.text = left, s.whole[left.from:left.to]
	s.chosen(known == left)
	return nil
}

// chosen reads the text that is left; canonical: it was read already. A string is read like the whole value of a layer that holds the text
// alone.
func (s *sight) chosen(canonical bool) {
	if s.text[0] != '"' {
		if s.json = true; !canonical {
			s.canonical()
		}
		return
	}
	s.text = s.doc.characters(s.left)
	if bracketed(s.text) {
		s.parseText()
	}
}

// canonical has the canonical form of the text written to doc.
func (s *sight) canonical() (root span, ok bool) {
	return s.doc.canonical(s.text, s.r.ignore, s.r.compare != nil)
}

// parseText compares the text that is left as JSON, if it is that; false: it is none.
func (s *sight) parseText() bool {
	root, ok := s.canonical()
	if ok {
		s.left, s.own, s.json = root, true, true
	}
	return ok
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
		s.doc.source = s.whole
		if s.own {
			s.doc.source = s.text
		}
		v, ok := s.doc.find(s.left, *p.path)
		if !ok && s.r.selected != nil {
			s.doc.source = s.whole
			v, ok = s.doc.find(s.outer, *p.path)
		}
		if ok {
			found, _ = s.doc.plain(v)
		}
	}
	return found, nil
}

// cut takes a part of the text out of what is left. It leaves a 0, so that JSON stays JSON.
func (s *sight) cut(from, to int) {
	whole := s.text
	s.text = slices.Concat(s.text[:from], []byte("0"), s.text[to:])
	if s.json && !s.parseText() { // as where the part was a name's: it counts like all else
		s.text = whole
		s.canonical()
	}
}

// digest of the JSON that is left after compare and ignore. The error says that nothing is compared.
func (s *sight) digest() (Digest, error) {
	canonical := s.doc.out
	if slices.ContainsFunc(s.r.ignore, func(p Path) bool { return len(p.steps) == 0 }) {
		canonical = nil
	}
	if s.r.compare == nil {
		return digestOf(canonical), nil
	}
	if canonical == nil {
		return Digest{}, errNoPath
	}
	d := s.doc
	d.source = canonical
	b := append(s.doc.moved[:0], 1) // a first byte that no text of JSON has
	compared := false
	for i := range s.r.compare {
		b = append(b, '[')
		empty := len(b)
		b = d.appendAll(b, span{0, len(canonical)}, s.r.compare[i].steps, nil)
		compared = compared || len(b) > empty
		b = append(b, ']')
	}
	d.moved = b
	if !compared {
		return Digest{}, errNoPath
	}
	return digestOf(b), nil
}
