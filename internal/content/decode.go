package content

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
)

var (
	errDamaged = errors.New("the value is none, or damaged")
	errLarge   = errors.New("it gives too much")
)

// decoders by the name of their step. Each gives errLarge rather than more than limit bytes, and uses no memory to
// speak of beyond them. Their errors hold nothing of the value.
var decoders = map[string]func(b []byte, limit int64) ([]byte, error){
	"gzip":   gunzip,
	"zlib":   inflate,
	"zstd":   unzstd,
	"snappy": unsnappy,
	"base64": unbase64,
}

// decode undoes the steps in their order.
func (r *Reader) decode(b []byte) ([]byte, error) {
	for _, step := range r.steps {
		out, err := decoders[step](b, r.limit)
		if errors.Is(err, errLarge) {
			return nil, fmt.Errorf("decode %s: more than %d bytes", step, r.limit)
		}
		if err != nil {
			return nil, fmt.Errorf("decode %s: %w", step, err)
		}
		b = out
	}
	return b, nil
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

func unsnappy(b []byte, limit int64) ([]byte, error) {
	// The framed format begins so, which as a block would refer to what is before its beginning.
	if bytes.HasPrefix(b, []byte("\xff\x06\x00\x00sNaPpY")) {
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
