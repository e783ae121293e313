package content

import (
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"strings"
)

// mostEncodings bounds how many encodings a body may be in, one in the other. Nobody uses more than one on purpose.
const mostEncodings = 4

// encodings of an HTTP body that can be undone, by their names in Content-Encoding.
var encodings = map[string]func(b []byte, limit int64) ([]byte, error){
	"gzip": gunzip, "x-gzip": gunzip, "deflate": undeflate, "zstd": unzstd,
}

// Encodings are the names of an HTTP body's encodings that Unencode undoes.
func Encodings() []string { return []string{"gzip", "deflate", "zstd"} }

// EncodingsOf a body, as its Content-Encoding lists them: the last one was applied last. identity is none.
func EncodingsOf(header []string) []string {
	var out []string
	for name := range strings.SplitSeq(strings.Join(header, ","), ",") {
		if name = strings.ToLower(strings.Trim(name, " \t")); name != "" && name != "identity" {
			out = append(out, name)
		}
	}
	return out
}

// Unencode undoes the encodings of a body, if that gives no more than limit bytes. Errors hold nothing of the body.
func Unencode(b []byte, names []string, limit int64) ([]byte, error) {
	if len(names) > mostEncodings {
		return nil, fmt.Errorf("the body's Content-Encoding names %d encodings; at most %d are undone", len(names), mostEncodings)
	}
	for i := len(names) - 1; i >= 0 && len(b) > 0; i-- { // servers also name an encoding for no body at all
		undo := encodings[names[i]]
		if undo == nil {
			return nil, fmt.Errorf("the body's Content-Encoding %s can't be undone; gzip, deflate and zstd can, ask for one of them or for identity in headers.Accept-Encoding",
				encodingName(names[i]))
		}
		out, err := undo(b, limit)
		switch {
		case errors.Is(err, errLarge):
			return nil, fmt.Errorf("the body is larger than %d bytes once its Content-Encoding is undone", limit)
		case err != nil:
			return nil, fmt.Errorf("the body is no %s, or damaged, though its Content-Encoding says so", names[i])
		}
		b = out
	}
	return b, nil
}

// encodingName is a name as an error may say it: what is no name could be anything.
func encodingName(name string) string {
	const longest = 20
	if len(name) > longest || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" {
		return "(an odd one)"
	}
	return fmt.Sprintf("%q", name)
}

// undeflate undoes what HTTP calls deflate: the format of zlib, though some servers send what is inside of that alone.
func undeflate(b []byte, limit int64) ([]byte, error) {
	out, err := inflate(b, limit)
	if err == nil || errors.Is(err, errLarge) {
		return out, err
	}
	in := bytes.NewReader(b)
	r := flate.NewReader(in)
	defer r.Close() //nolint:errcheck // it reads memory
	out, err = bounded(r, limit)
	if err == nil && in.Len() > 0 {
		return nil, errDamaged // something follows that is none
	}
	return out, err
}
