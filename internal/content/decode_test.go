package content

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
)

// encoders by step, several where a format has variants.
var encoders = map[string][]func([]byte) []byte{
	"gzip": {
		through(func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }),
		func(b []byte) []byte { // two members
			half := through(func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) })
			return append(half(b[:len(b)/2]), half(b[len(b)/2:])...)
		},
	},
	"zlib": {through(func(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) })},
	"zstd": {
		func(b []byte) []byte {
			w, _ := zstd.NewWriter(nil)
			return w.EncodeAll(b, nil)
		},
		func(b []byte) []byte { // a stream: no size in its header, a large window
			var out bytes.Buffer
			w, _ := zstd.NewWriter(&out, zstd.WithWindowSize(8<<20), zstd.WithEncoderConcurrency(1))
			for _, part := range [][]byte{b[:len(b)/2], b[len(b)/2:]} {
				_, _ = w.Write(part)
				_ = w.Flush()
			}
			_ = w.Close()
			return out.Bytes()
		},
	},
	"snappy": {
		func(b []byte) []byte { return snappy.Encode(nil, b) },
		through(func(w io.Writer) io.WriteCloser { return snappy.NewBufferedWriter(w) }),
	},
	"base64": {
		func(b []byte) []byte { return []byte(base64.StdEncoding.EncodeToString(b)) },
		func(b []byte) []byte { return []byte(base64.RawStdEncoding.EncodeToString(b) + "\r\n") },
		func(b []byte) []byte { return []byte(base64.URLEncoding.EncodeToString(b)) },
		func(b []byte) []byte { return []byte(base64.RawURLEncoding.EncodeToString(b)) },
	},
}

func through(open func(io.Writer) io.WriteCloser) func([]byte) []byte {
	return func(b []byte) []byte {
		var out bytes.Buffer
		w := open(&out)
		_, _ = w.Write(b)
		_ = w.Close()
		return out.Bytes()
	}
}

func TestDecode(t *testing.T) {
	const limit = 1 << 20
	values := [][]byte{[]byte("a"), []byte(`{"a":1}`), []byte("\xff\xfe\xfb\x00>>>???"), bytes.Repeat([]byte("0123456789"),
		10_000), make([]byte, limit)}
	for step, variants := range encoders {
		r := compile(t, Spec{Decode: []string{step}, MaxBytes: limit})
		for i, encode := range variants {
			for _, value := range values {
				got, err := r.decode(encode(value))
				if err != nil || !bytes.Equal(got, value) {
					t.Errorf("%s %d: %d bytes give %d: %v", step, i, len(value), len(got), err)
				}
			}
			if _, err := r.decode(encode(make([]byte, limit+1))); err == nil || !strings.Contains(err.Error(),
				"more than 1048576 bytes") && !strings.Contains(err.Error(), "too large") {
				t.Errorf("%s %d: a bomb: %v", step, i, err)
			}
			if step == "base64" {
				continue
			}
			whole := encode(values[3])
			for _, damaged := range [][]byte{
				{},
				[]byte("secret plain text"), whole[:len(whole)-1], whole[:len(whole)/3],
				append(bytes.Clone(whole), "secret"...),
			} {
				if got, err := r.decode(damaged); err == nil || strings.Contains(err.Error(), "secret") {
					t.Errorf("%s %d: damaged gives %d bytes: %v", step, i, len(got), err)
				}
			}
		}
	}
	for _, bad := range []string{"secret!", "YQ=", "YQ===", "Y", "a-b/"} {
		if _, err := compile(t, Spec{Decode: []string{"base64"}}).decode([]byte(bad)); err == nil {
			t.Errorf("base64 %q is none", bad)
		}
	}
	// A block that announces much and holds little.
	if _, err := unsnappy([]byte("\x80\x80\x40\x00a"), limit); err == nil {
		t.Error("a lying block of snappy")
	}
	nested := compile(t, Spec{Decode: []string{"base64", "gzip", "zstd"}, Select: "$.d"})
	value := encoders["base64"][0](encoders["gzip"][0](encoders["zstd"][0]([]byte(`{"d":1.0}`))))
	if c, err := nested.Value(value); err != nil || c != read(t, compile(t, Spec{Select: "$"}), "1") {
		t.Errorf("steps in their order: %v %v", c, err)
	}
}

// TestDecodeOptional: a step with a ? is undone where a value is of its format, and leaves all else as it is.
func TestDecodeOptional(t *testing.T) {
	const limit = 1 << 20
	plain := []string{
		"", "a", `{"a":1}`, "x^2+1", "x ", "80.5", " | a text that a block of snappy might begin with", "P*M no frame",
		"\x1e\x8b", strings.Repeat("é", 20_000), "(brackets)", strings.Repeat("plain text! ", 10_000),
	}
	for step, variants := range encoders {
		r := compile(t, Spec{Decode: []string{step + "?"}, MaxBytes: limit})
		for _, value := range plain {
			if got, err := r.decode([]byte(value)); err != nil || string(got) != value {
				t.Errorf("%s?: %.20q gives %.20q: %v", step, value, got, err)
			}
			for i, encode := range variants {
				if got, err := r.decode(encode([]byte(value))); err != nil || string(got) != value {
					t.Errorf("%s? %d: an encoded %.20q gives %.20q: %v", step, i, value, got, err)
				}
			}
		}
		for i, encode := range variants {
			if _, err := r.decode(encode(bytes.Repeat([]byte{0xFF}, limit+1))); err == nil && step != "base64" {
				t.Errorf("%s? %d: a bomb passes", step, i)
			}
			whole := encode([]byte(plain[len(plain)-1]))
			marked := step == "gzip" || step == "zstd" || step == "snappy" && i == 1 // frames
			damaged := whole[:len(whole)-1]
			if got, err := r.decode(damaged); marked != (err != nil) || !marked && !bytes.Equal(got, damaged) && step != "base64" {
				t.Errorf("%s? %d: damaged gives %d bytes: %v", step, i, len(got), err)
			}
		}
	}
	both := compile(t, Spec{Decode: []string{"base64?", "gzip?"}})
	inner := []byte(`{"a":1}`)
	zipped := encoders["gzip"][0](inner)
	for _, value := range [][]byte{inner, zipped, encoders["base64"][0](zipped), encoders["base64"][0](inner)} {
		if got, err := both.decode(value); err != nil || !bytes.Equal(got, inner) {
			t.Errorf("%.20q gives %q: %v", value, got, err)
		}
	}
}

func TestDecodesConcurrently(t *testing.T) {
	var wg sync.WaitGroup
	for step, variants := range encoders {
		r := compile(t, Spec{Decode: []string{step}, Version: &VersionSpec{JSON: "$.v"}, Ignore: []string{"$.t"}})
		for worker := range 4 {
			wg.Go(func() {
				for i := range 50 {
					value := fmt.Sprintf(`{"v":%d,"t":"\u0041%s"}`, i, strings.Repeat("x", worker*100))
					c, err := r.Value(variants[i%len(variants)]([]byte(value)))
					if err != nil || c.Version.String() != fmt.Sprint(i) {
						t.Errorf("%s: %v, %v", step, c, err)
					}
				}
			})
		}
	}
	wg.Wait()
}

func FuzzDecode(f *testing.F) {
	names := []string{"gzip", "zlib", "zstd", "snappy", "base64"}
	for i, step := range names {
		for _, encode := range encoders[step] {
			f.Add(uint8(i), encode([]byte(`{"a":[1,2,3],"v":1}`)))
			f.Add(uint8(i), encode(make([]byte, 1<<17)))
		}
	}
	const limit = 1 << 16
	f.Fuzz(func(t *testing.T, i uint8, b []byte) {
		step := names[int(i)%len(names)]
		r := compile(t, Spec{Decode: []string{step}, MaxBytes: limit, Version: &VersionSpec{JSON: "$.v"}, Ignore: []string{"$.a[*]"}})
		optional := compile(t, Spec{Decode: []string{step + "?"}, MaxBytes: limit})
		out, err := r.decode(b)
		if len(out) > limit {
			t.Fatalf("%s gives %d bytes", step, len(out))
		}
		switch got, optionalErr := optional.decode(b); {
		case err == nil && (optionalErr != nil || !bytes.Equal(got, out)):
			t.Fatalf("%s? gives %q and %v, not %q", step, got, optionalErr, out)
		case err != nil && optionalErr == nil && !bytes.Equal(got, b):
			t.Fatalf("%s? gives %q, which was not there", step, got)
		case optionalErr != nil && utf8.Valid(b):
			t.Fatalf("%s? refuses text: %v", step, optionalErr)
		}
		if _, valueErr := r.Value(b); (valueErr == nil) != (err == nil) {
			t.Fatalf("%s: %v, then %v", step, err, valueErr)
		}
	})
}
