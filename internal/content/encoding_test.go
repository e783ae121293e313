package content

import (
	"bytes"
	"compress/flate"
	"io"
	"strings"
	"testing"
)

func deflateRaw(b []byte) []byte {
	return through(func(w io.Writer) io.WriteCloser {
		out, _ := flate.NewWriter(w, flate.BestSpeed)
		return out
	})(b)
}

// What servers write into Content-Encoding, and what becomes of the body.
func TestUnencode(t *testing.T) {
	plain := []byte(strings.Repeat(`{"a":1} `, 100))
	gz, zl, zs := encoders["gzip"][0], encoders["zlib"][0], encoders["zstd"][0]
	raw := deflateRaw
	const asOf = "though its Content-Encoding says so"
	for _, c := range []struct {
		name   string
		header []string
		body   []byte
		err    string
	}{
		{"none", nil, plain, ""},
		{"empty", []string{" , "}, plain, ""},
		{"identity", []string{"identity"}, plain, ""},
		{"gzip", []string{"gzip"}, gz(plain), ""},
		{"gzip of two members", []string{"gzip"}, encoders["gzip"][1](plain), ""},
		{"its old name", []string{"X-GZip"}, gz(plain), ""},
		{"deflate is zlib's", []string{"deflate"}, zl(plain), ""},
		{"deflate without its frame", []string{"deflate"}, raw(plain), ""},
		{"zstd", []string{"zstd"}, zs(plain), ""},
		{"zstd, a stream", []string{"zstd"}, encoders["zstd"][1](plain), ""},
		{"identity among others", []string{"identity, gzip"}, gz(plain), ""},
		{"two, in their order", []string{"gzip, zstd"}, zs(gz(plain)), ""},
		{"two lines", []string{"deflate", "gzip"}, gz(zl(plain)), ""},
		{"nothing in it", []string{"gzip"}, nil, ""},
		{"br", []string{"br"}, plain, `Content-Encoding "br" can't be undone; gzip, deflate and zstd can`},
		{"br below gzip", []string{"br, gzip"}, gz(plain), `Content-Encoding "br" can't be undone`},
		{"a storage's own", []string{"aws-chunked"}, plain, `"aws-chunked" can't be undone`},
		{"no name", []string{`a secret="x"`}, plain, "(an odd one) can't be undone"},
		{"too many", []string{"gzip,gzip,gzip,gzip,gzip"}, plain, "names 5 encodings"},
		{"gzip said, plain sent", []string{"gzip"}, plain, "is no gzip, or damaged, " + asOf},
		{"twice said, once done", []string{"gzip, gzip"}, gz(plain), "is no gzip, or damaged, " + asOf},
		{"deflate said, plain sent", []string{"deflate"}, plain, "is no deflate, or damaged, " + asOf},
		{"cut off", []string{"gzip"}, gz(plain)[:30], "is no gzip, or damaged, " + asOf},
		{"rubbish after it", []string{"deflate"}, append(raw(plain), "more"...), "is no deflate, or damaged, " + asOf},
		{"too large", []string{"gzip"}, gz(bytes.Repeat(plain, 10)), "larger than 1000 bytes once its Content-Encoding is undone"},
		{"too large, without its frame", []string{"deflate"}, raw(bytes.Repeat(plain, 10)), "larger than 1000 bytes"},
	} {
		got, err := Unencode(c.body, EncodingsOf(c.header), 1000)
		switch {
		case c.err != "":
			if err == nil || !strings.Contains(err.Error(), c.err) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%s: %v, want %q", c.name, err, c.err)
			}
		case err != nil || c.body != nil && !bytes.Equal(got, plain):
			t.Errorf("%s: %d bytes, %v", c.name, len(got), err)
		}
	}
}

// No header and no body make more than the limit, and what is encoded comes back.
func FuzzUnencode(f *testing.F) {
	for _, s := range []string{"gzip", "gzip, zstd", "deflate", "br", ",", "identity"} {
		f.Add(s, []byte("body"))
		f.Add(s, encoders["gzip"][0]([]byte("body")))
	}
	f.Fuzz(func(t *testing.T, header string, body []byte) {
		const limit = 1 << 12
		if got, err := Unencode(body, EncodingsOf([]string{header}), limit); err == nil && len(got) > max(limit, len(body)) {
			t.Errorf("%q: %d bytes", header, len(got))
		}
		if len(body) > limit || len(body) == 0 {
			return
		}
		for name, encode := range map[string]func([]byte) []byte{"gzip": encoders["gzip"][0], "zstd": encoders["zstd"][0], "deflate": deflateRaw} {
			if got, err := Unencode(encode(body), []string{name}, limit); err != nil || !bytes.Equal(got, body) {
				t.Errorf("%s: %q, %v", name, got, err)
			}
		}
	})
}
