package content

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
)

var (
	errDamaged = errors.New("the value is none, or damaged")
	errLarge   = errors.New("it gives too much")
)

// format is one that a step of decoding undoes.
type format struct {
	// undo gives errLarge rather than more than limit bytes, and uses no memory to speak of beyond them. Its errors hold
	// nothing of the value.
	undo func(b []byte, limit int64) ([]byte, error)
	// mark that values of the format begin with, and no text does; empty: they have none, or text may begin so too.
	mark string
}

// formats by the name of their step.
var formats = map[string]format{
	"gzip":   {undo: gunzip, mark: "\x1f\x8b"},
	"zlib":   {undo: inflate},
	"zstd":   {undo: unzstd, mark: "\x28\xb5\x2f\xfd"},
	"snappy": {undo: unsnappy, mark: snappyFrames},
	"base64": {undo: unbase64},
}

// decodeStep is one step, as configured. An optional one leaves what is not of its format as it is.
type decodeStep struct {
	name string
	format
	optional bool
}

func compileSteps(names []string) ([]decodeStep, error) {
	var out []decodeStep
	for _, name := range names {
		step := decodeStep{}
		step.name, step.optional = strings.CutSuffix(name, "?")
		known := false
		if step.format, known = formats[step.name]; !known {
			return nil, fmt.Errorf("decode knows no %q; write gzip, zlib, zstd, snappy or base64", name)
		}
		out = append(out, step)
	}
	return out, nil
}

// decode undoes the steps in their order.
func (r *Reader) decode(b []byte) ([]byte, error) {
	for i := range r.steps {
		step := &r.steps[i]
		out, err := step.undo(b, r.limit)
		switch {
		case err == nil:
			b = out
		case step.optional && step.foreign(b, err):
		case errors.Is(err, errLarge):
			return nil, fmt.Errorf("decode %s: more than %d bytes", step.name, r.limit)
		default:
			return nil, fmt.Errorf("decode %s: %w", step.name, err)
		}
	}
	return b, nil
}

// foreign: what could not be undone was never of the format. What bears its mark is damaged; and a value is too large
// only if it is no text, as a few characters may be read as a large size.
func (f *format) foreign(b []byte, err error) bool {
	if f.mark != "" && bytes.HasPrefix(b, []byte(f.mark)) {
		return false
	}
	return !errors.Is(err, errLarge) || utf8.Valid(b)
}

// bounded reads everything, if it is no more than limit bytes.
func bounded(r io.Reader, limit int64) ([]byte, error) {
	var out bytes.Buffer
	if _, err := out.ReadFrom(io.LimitReader(r, limit+1)); err != nil {
		return nil, errDamaged
	}
	if int64(out.Len()) > limit {
		return nil, errLarge
	}
	return out.Bytes(), nil
}

var gzipReaders = sync.Pool{New: func() any { return new(gzip.Reader) }}

func gunzip(b []byte, limit int64) ([]byte, error) {
	r, _ := gzipReaders.Get().(*gzip.Reader)
	defer gzipReaders.Put(r)
	if r.Reset(bytes.NewReader(b)) != nil {
		return nil, errDamaged
	}
	return bounded(r, limit)
}

var zlibReaders sync.Pool

func inflate(b []byte, limit int64) ([]byte, error) {
	in := bytes.NewReader(b)
	r, ok := zlibReaders.Get().(io.ReadCloser)
	var err error
	if resetter, can := r.(zlib.Resetter); ok && can {
		err = resetter.Reset(in, nil)
	} else {
		r, err = zlib.NewReader(in)
	}
	if err != nil {
		return nil, errDamaged
	}
	out, err := bounded(r, limit)
	if err == nil && in.Len() > 0 {
		return nil, errDamaged // something follows that is none
	}
	zlibReaders.Put(r)
	return out, err
}

// zstdDecoder is made when first needed. What limits it is the room that it is given: a limit of its own would also refuse
// small values whose frames announce a large window, as streaming writers' do.
var zstdDecoder = sync.OnceValues(func() (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderLowmem(true), zstd.WithDecodeAllCapLimit(true))
})

// zstdRooms are used again, since each is as large as the largest value.
var zstdRooms = sync.Pool{New: func() any { return new([]byte) }}

func unzstd(b []byte, limit int64) ([]byte, error) {
	decoder, err := zstdDecoder()
	if err != nil {
		return nil, err
	}
	if len(b) == 0 {
		return nil, errDamaged
	}
	room, _ := zstdRooms.Get().(*[]byte)
	defer zstdRooms.Put(room)
	if int64(cap(*room)) < limit {
		*room = make([]byte, 0, limit)
	}
	out, err := decoder.DecodeAll(b, (*room)[0:0:limit])
	switch {
	case errors.Is(err, zstd.ErrDecoderSizeExceeded) || int64(len(out)) > limit:
		return nil, errLarge
	case err != nil:
		return nil, fmt.Errorf("%w, or too large", errDamaged) // a frame need not say how large it is
	}
	return bytes.Clone(out), nil
}

// snappyFrames is what the framed format begins with. As a block it would refer to what is before its beginning.
const snappyFrames = "\xff\x06\x00\x00sNaPpY"

func unsnappy(b []byte, limit int64) ([]byte, error) {
	if bytes.HasPrefix(b, []byte(snappyFrames)) {
		return bounded(snappy.NewReader(bytes.NewReader(b)), limit)
	}
	n, err := snappy.DecodedLen(b)
	if err != nil {
		return nil, errDamaged
	}
	// No element of a block of 3 bytes gives more than 64: what announces more is damaged, not worth its memory.
	if int64(n) > limit {
		return nil, errLarge
	}
	if n/64 > len(b) {
		return nil, errDamaged
	}
	out, err := snappy.Decode(nil, b)
	if err != nil {
		return nil, errDamaged
	}
	return out, nil
}

// unbase64 takes either alphabet, with or without padding, and line breaks.
func unbase64(b []byte, limit int64) ([]byte, error) {
	b = bytes.TrimSpace(b)
	encoding := base64.StdEncoding
	if bytes.ContainsAny(b, "-_") {
		encoding = base64.URLEncoding
	}
	if !bytes.HasSuffix(b, []byte("=")) {
		encoding = encoding.WithPadding(base64.NoPadding)
	}
	out := make([]byte, encoding.DecodedLen(len(b)))
	n, err := encoding.Decode(out, b)
	switch {
	case err != nil:
		return nil, errDamaged
	case int64(n) > limit:
		return nil, errLarge
	}
	return out[:n], nil
}
