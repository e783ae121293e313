package kafka

import (
	"bytes"
	"encoding/binary"
	"io"
	"math"
	"net"
	"reflect"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// fill what v points to: two elements in each list, and something in each field.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Field(i); v.Type().Field(i).Name != "UnknownTags" && v.Type().Field(i).Name != "Version" && f.CanSet() {
				fill(f)
			}
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			fill(v.Index(i))
		}
	case reflect.String:
		v.SetString("text")
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(7)
	case reflect.Uint8:
		v.SetUint(7)
	}
}

// answerOf a kind and version as brokers write it, behind its length. Without an error code, which has a form of its own.
func answerOf(t testing.TB, key, version int16, full bool) []byte {
	t.Helper()
	resp := kmsg.ResponseForKey(key)
	if full {
		fill(reflect.ValueOf(resp).Elem())
	}
	return answerTo(resp, version)
}

// answerTo the first request of a connection, in a version.
func answerTo(resp kmsg.Response, version int16) []byte {
	resp.SetVersion(version)
	body := []byte{0, 0, 0, 1}
	if resp.IsFlexible() && resp.Key() != int16(kmsg.ApiVersions) {
		body = append(body, 0)
	}
	return resp.AppendTo(body)
}

// Each version of each answer that has a layout is taken as the library writes it, and not when a part of it is missing.
func TestLayouts(t *testing.T) {
	for key := range layouts {
		resp := kmsg.ResponseForKey(key)
		for version := int16(0); version <= resp.MaxVersion(); version++ {
			for _, full := range []bool{false, true} {
				answer, asked := answerOf(t, key, version, full), sentRequest{key, version}
				if !asked.plausible(answer) {
					t.Errorf("%s version %d (full: %v) is refused", kmsg.NameForKey(key), version, full)
				}
				if asked.plausible(answer[:len(answer)-1]) {
					t.Errorf("%s version %d (full: %v) is taken without its last byte", kmsg.NameForKey(key), version, full)
				}
				w := walker{left: answer[4:], version: version, flexible: version >= layouts[key].flexible}
				if w.flexible && key != int16(kmsg.ApiVersions) {
					w.tagged()
				}
				if w.structure(layouts[key].fields); len(w.left) > 0 {
					t.Errorf("%s version %d (full: %v): %d bytes are left", kmsg.NameForKey(key), version, full, len(w.left))
				}
			}
		}
	}
}

// A wait of days that a broker asks for is handed on as the longest that is kept, in each version of each answer; a shorter one as it is.
func TestLayoutsThrottle(t *testing.T) {
	for key := range layouts {
		for version := int16(0); version <= kmsg.ResponseForKey(key).MaxVersion(); version++ {
			for said, want := range map[int32]int32{math.MaxInt32: 100, 101: 100, 99: 99, -1: -1} {
				resp := kmsg.ResponseForKey(key)
				reflect.ValueOf(resp).Elem().FieldByName("ThrottleMillis").SetInt(int64(said))
				answer := answerTo(resp, version)
				if !(sentRequest{key, version}).plausible(answer) {
					t.Fatalf("%s version %d is refused", kmsg.NameForKey(key), version)
				}
				read := kmsg.ResponseForKey(key)
				read.SetVersion(version)
				body := answer[4:]
				if resp.IsFlexible() && key != int16(kmsg.ApiVersions) {
					body = body[1:]
				}
				if err := read.ReadFrom(body); err != nil {
					t.Fatal(err)
				}
				// A version without the field gives 0.
				if got, _ := read.(kmsg.ThrottleResponse).Throttle(); got != want && got != 0 {
					t.Errorf("%s version %d: %d ms of %d, want %d", kmsg.NameForKey(key), version, got, said, want)
				} else if got == 0 && version == read.MaxVersion() {
					t.Errorf("%s version %d has none", kmsg.NameForKey(key), version)
				}
			}
		}
	}
}

// talk gives what is read through a boundedConn after a request was written, in pieces, and said came.
func talk(t testing.TB, key, version int16, said []byte) ([]byte, error) {
	t.Helper()
	client, server := net.Pipe()
	defer func() { _ = client.Close() }()
	request := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16([]byte{0, 0, 0, 20}, uint16(key)), uint16(version))
	request = append(request, make([]byte, 16)...)
	go func() {
		defer func() { _ = server.Close() }()
		_, _ = io.CopyN(io.Discard, server, int64(len(request)))
		_, _ = server.Write(said)
	}()
	c := bounded(client)
	for _, part := range [][]byte{request[:3], request[3:7], request[7:]} {
		if _, err := c.Write(part); err != nil {
			t.Fatal(err)
		}
	}
	return io.ReadAll(c)
}

func framed(body []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

func TestBoundedConn(t *testing.T) {
	whole := framed(answerOf(t, int16(kmsg.Metadata), 9, true))
	if got, err := talk(t, int16(kmsg.Metadata), 9, whole); err != nil || !bytes.Equal(got, whole) {
		t.Errorf("%d bytes of %d, %v", len(got), len(whole), err)
	}
	zeros := make([]byte, 1<<20)
	for name, said := range map[string][]byte{
		"brokers that are not there": framed(append([]byte{0, 0, 0, 1, 0, 0, 0, 0, 0, 0xff, 0xff, 0x7f}, zeros...)),
		"more than is allowed":       framed(append([]byte{0, 0, 0, 1, 0, 0, 0, 0, 0, 0xff, 0xff, 0x3f}, make([]byte, 7<<20)...)),
		"an answer without end":      {0x7f, 0xff, 0xff, 0xff},
		"a length below 0":           {0xff, 0xff, 0xff, 0xff},
		"a listing of 16 MiB":        framed(make([]byte, 16<<20)),
		"a part":                     whole[:len(whole)-1],
	} {
		if got, err := talk(t, int16(kmsg.Metadata), 9, said); err == nil || len(got) > 4 {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
}

func FuzzPlausibleAnswers(f *testing.F) {
	for key := range layouts {
		f.Add(key, kmsg.ResponseForKey(key).MaxVersion(), answerOf(f, key, kmsg.ResponseForKey(key).MaxVersion(), true))
	}
	f.Fuzz(func(_ *testing.T, key, version int16, answer []byte) {
		resp := kmsg.ResponseForKey(key)
		asked := sentRequest{key, version}
		if resp == nil || version < 0 || version > resp.MaxVersion() || int64(len(answer)) > asked.longest() || !asked.plausible(answer) {
			return
		}
		if _, known := layouts[key]; !known || len(answer) < 4 {
			return
		}
		resp.SetVersion(version)
		_ = resp.ReadFrom(answer[4:]) // it does not panic, and has the room that it takes
	})
}
