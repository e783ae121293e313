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
	// Decode steps in their order: gzip, zlib, zstd, snappy (blocks and frames), base64. One with a ? behind it is undone
	// where a value is of that format; else the value stays as it is.
	Decode []string
	// Select is the path of the part that counts; empty: all of it. A string there is its text.
	Select string
	// Absent matches what stands for "not there" (negative caching) and gives ErrAbsent, in what Decode and Select leave, or in the whole where
	// Select finds nothing; nil: nothing does. It is not for hashes.
	Absent *regexp.Regexp
	// Compare: the only paths that count; where none of them is there, the value is refused. Ignore: paths that don't
	// count. A bare name is a hash's field, or a member.
	Compare, Ignore []string
	Version         *VersionSpec
	// CachedAt says when the copy was made. It does not count by itself.
	CachedAt *VersionSpec
	// MaxBytes that each step of decoding may give; 0: 1 MiB.
	MaxBytes int64
}

// Reader reads values by one Spec, and remembers what it found in the last ones. It is safe for concurrent use.
type Reader struct {
	steps             []decodeStep
	limit             int64
	selected          *Path
	absent            *regexp.Regexp
	compare, ignore   []Path
	version, cachedAt *versionPlace
	memo              *memo
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
	r := &Reader{limit: s.MaxBytes, absent: s.Absent, memo: newMemo()}
	if r.limit <= 0 {
		r.limit = 1 << 20
	}
	r.limit = min(r.limit, math.MaxInt64/16) // so that sums of it don't overflow
	var err error
	if r.steps, err = compileSteps(s.Decode); err != nil {
		return nil, err
	}
	if s.Select != "" {
		p, err := ParsePath(s.Select, false)
		if err != nil {
			return nil, fmt.Errorf("select: %w", err)
		}
		r.selected = &p
	}
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

func digestOf(b []byte) Digest {
	s := sha256.Sum256(b)
	return Digest(s[:16])
}

// Fields reads a hash: its set of fields and raw values. The order of fields is free; their slice is left as it is. The
// error says that it has none of the fields of compare.
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
	if r.compare != nil && len(b) == 1 {
		return Content{}, errNoField
	}
	c.Digest = digestOf(b)
	return c, nil
}
