package content

// LookupEach gives visit the scalar at each of the paths, as Lookup does, reading the document once. Paths where there
// is none are passed over; ok is false where the document is not JSON.
func LookupEach(doc []byte, paths []Path, visit func(i int, value string)) (ok bool) {
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
