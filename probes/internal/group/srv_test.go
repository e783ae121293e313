package group

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

// dnsServer is a connection over TCP to a name server that says the same records to every question.
type dnsServer struct {
	probetest.Replayed
	count   uint16
	records []byte
}

// Write takes a question, and has its answer read.
func (s *dnsServer) Write(query []byte) (int, error) {
	if len(query) < 14 {
		return len(query), nil
	}
	head, question := query[2:14], query[14:]
	if end := bytes.IndexByte(question, 0) + 5; end <= len(question) {
		question = question[:end] // without what stands behind it
	}
	answer := append([]byte{head[0], head[1], 0x84, 0, 0, 1}, binary.BigEndian.AppendUint16(nil, s.count)...)
	answer = append(append(append(answer, 0, 0, 0, 0), question...), s.records...)
	s.Reset(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...))
	return len(query), nil
}

// srvRecord for the name that was asked.
func srvRecord(target string, port uint16) []byte {
	data := binary.BigEndian.AppendUint16([]byte{0, 1, 0, 1}, port)
	for _, label := range bytes.Split([]byte(target), []byte(".")) {
		data = append(append(data, byte(len(label))), label...)
	}
	data = append(data, 0)
	out := []byte{0xC0, 12, 0, 33, 0, 1, 0, 0, 0, 0}
	return append(binary.BigEndian.AppendUint16(out, uint16(len(data))), data...)
}

// What is in order of an answer is learned, and the rest is left out.
func TestSRVRecords(t *testing.T) {
	got, err := lookupSRV(t, 3, slices.Concat(srvRecord("B.test", 1), srvRecord("a/b", 2), srvRecord("a.test", 6379)))
	if want := []Address{{"a.test", "6379"}, {"b.test", "1"}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
}

// lookupSRV looks a name up at a server that says these records.
func lookupSRV(t *testing.T, count uint16, records []byte) ([]Address, error) {
	t.Helper()
	env := probetest.Env()
	env.Resolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return &dnsServer{count: count, records: records[:min(len(records), 60_000)]}, nil
	}}
	r := NewResolver(form.DNSName{Host: "_redis._tcp.test.", SRV: true}, env, probetest.Quiet())
	defer r.Close()
	return r.lookup(probetest.Within(t, 10*time.Second))
}

// Whatever a name server answers, an address has a host that can stand in a URL, and a port; and each is there once.
func FuzzSRV(f *testing.F) {
	f.Add(uint16(1), srvRecord("a.test", 6379))
	f.Add(uint16(2), slices.Concat(srvRecord("a.test", 0), srvRecord("B.test", 1)))
	f.Add(uint16(3), slices.Concat(srvRecord("a/b", 1), srvRecord("", 1), srvRecord("a:1@b", 65535)))
	f.Add(uint16(1), []byte{0xC0, 12, 0, 33, 0, 1, 0, 0, 0, 0, 0, 8, 0, 1, 0, 1, 0, 80, 0xC0, 12})
	f.Add(uint16(9), []byte{})
	f.Fuzz(func(t *testing.T, count uint16, records []byte) {
		found, err := lookupSRV(t, count, records)
		if err != nil && len(found) > 0 {
			t.Errorf("%v beside %v", found, err)
		}
		for i, a := range found {
			if !PlainHost(a.Host) || a.Port == "0" || slices.Contains(found[:i], a) {
				t.Errorf("%q of %q", a, found)
			}
		}
	})
}
