package content

// LookupEach gives visit the scalar at each of the paths, as Lookup does, reading the document once. Paths where there
// is none are passed over; ok is false where the document is not JSON.
func LookupEach(doc []byte, paths []Path, visit func(i int, value string)) (ok bool) {
	if len(doc) > manyBytes {
		defer TakeTurn(int64(len(doc)))()
	}
	d := newDocument()
	defer d.release()
	root, ok := d.parse(doc)
	if !ok {
		return false
	}
	for i, p := range paths {
		if v, found := d.find(root, p); found {
			if value, plain := d.plain(v); plain {
				visit(i, value)
			}
		}
	}
	return true
}

// AppendString appends s to b as a string of JSON.
func AppendString(b, s []byte) []byte {
	return append(appendText(append(b, '"'), s...), '"')
}

// ReadVersion reads a version whose kind nobody told: an integer, a time by RFC 3339, or dotted, the first that fits;
// the zero Version where it is none of them.
func ReadVersion(s string) Version {
	for _, kind := range []string{"integer", "rfc3339", "dotted"} {
		if v := parseVersion(kind, s); !v.IsZero() {
			return v
		}
	}
	return Version{}
}

// ReadVersionOf reads a version of a kind, as in VersionSpec; the zero Version where it is none.
func ReadVersionOf(kind, s string) Version { return parseVersion(kind, s) }

// LookupList gives what Lookup does as a list of one, and an array of such values as all of them. json is false where the
// document is not JSON; ok is false where there is no such thing at the path, or an element of the array is none.
func LookupList(doc []byte, p Path) (values []string, ok, json bool) {
	if len(doc) > manyBytes {
		defer TakeTurn(int64(len(doc)))()
	}
	d := newDocument()
	defer d.release()
	v, json := d.parse(doc)
	if !json {
		return nil, false, false
	}
	if v, ok = d.find(v, p); !ok {
		return nil, false, true
	}
	add := func(_ []byte, v span) bool {
		value, plain := d.plain(v)
		values, ok = append(values, value), plain
		return ok
	}
	if d.source[v.from] != '[' {
		add(nil, v)
	} else {
		d.at = v.from
		d.kids(add)
	}
	if !ok {
		return nil, false, true
	}
	return values, true, true
}
