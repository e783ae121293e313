package servers

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
)

// DNS is a small name server. It knows the names that were Set; all others do not exist.
type DNS struct {
	conn    *net.UDPConn
	serving sync.WaitGroup

	mu     sync.Mutex
	names  map[string][]netip.Addr
	srv    map[string][]netip.AddrPort
	mute   bool
	failed bool
	asked  map[string]int
}

// StartDNS starts a name server that knows no name.
func StartDNS(t testing.TB) *DNS {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	d := &DNS{conn: conn, names: map[string][]netip.Addr{}, srv: map[string][]netip.AddrPort{}, asked: map[string]int{}}
	d.serving.Go(d.serve)
	t.Cleanup(func() {
		_ = conn.Close()
		d.serving.Wait()
	})
	return d
}

// Resolver that asks this server alone.
func (d *DNS) Resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var dialer net.Dialer
		return dialer.DialContext(ctx, "udp", d.conn.LocalAddr().String())
	}}
}

// Set the addresses of a name; none: it exists and has no address.
func (d *DNS) Set(name string, addresses ...string) {
	parsed := make([]netip.Addr, len(addresses))
	for i, a := range addresses {
		parsed[i] = netip.MustParseAddr(a)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.names[name] = parsed
}

// SetSRV has a name's SRV records lead to HOST:PORT, of which each host is an IPv4 address; the records' targets are names
// that have it, as target gives them.
func (d *DNS) SetSRV(name string, servers ...string) (targets []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.srv[name] = nil
	for _, s := range servers {
		at := netip.MustParseAddrPort(s)
		d.srv[name] = append(d.srv[name], at)
		d.names[target(at)] = []netip.Addr{at.Addr()}
		targets = append(targets, target(at))
	}
	return targets
}

func target(at netip.AddrPort) string {
	return "h" + strings.ReplaceAll(at.Addr().String(), ".", "-") + ".srv.test"
}

// Remove a name: it does not exist any more.
func (d *DNS) Remove(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.names, name)
}

// Mute has the server answer nothing.
func (d *DNS) Mute(mute bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mute = mute
}

// Fail has the server answer that it failed.
func (d *DNS) Fail(failed bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failed = failed
}

// Asked is how often a name's addresses were asked for, by the record that is asked most.
func (d *DNS) Asked(name string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.asked[name]
}

func (d *DNS) serve() {
	b := make([]byte, 1500)
	for {
		n, from, err := d.conn.ReadFromUDP(b)
		if err != nil {
			return
		}
		if out := d.answer(b[:n]); out != nil {
			_, _ = d.conn.WriteToUDP(out, from) // who asked may be gone
		}
	}
}

// The types of records that there are, as questions have them.
const (
	TypeA    = 1
	TypeAAAA = 28
	TypeSRV  = 33
)

const noError, serverFailure, noSuchName = 0, 2, 3

// answer a query of one question; nil where there is nothing to say.
func (d *DNS) answer(query []byte) []byte {
	q, ok := ReadQuestion(query)
	if !ok {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if q.Kind != TypeAAAA {
		d.asked[q.Name]++
	}
	if d.mute {
		return nil
	}
	_, known := d.names[q.Name]
	_, service := d.srv[q.Name]
	switch {
	case d.failed:
		return q.head(serverFailure)
	case !known && !service:
		return q.head(noSuchName)
	}
	return q.Answer(d.records(q.Name, q.Kind), 1<<16-1)
}

// Question of a query.
type Question struct {
	// ID of the query.
	ID uint16
	// Name in small letters and without the last dot.
	Name string
	// Kind of records that are asked for.
	Kind uint16
	// text is the question as it was asked.
	text []byte
}

// ReadQuestion of a query, which has one.
func ReadQuestion(query []byte) (q Question, ok bool) {
	end := 12
	for end < len(query) && query[end] != 0 {
		n := int(query[end])
		if end+1+n >= len(query) {
			return q, false
		}
		q.Name += string(query[end+1:end+1+n]) + "."
		end += 1 + n
	}
	if end += 5; end > len(query) {
		return q, false
	}
	q.ID, q.Name = binary.BigEndian.Uint16(query), strings.ToLower(strings.TrimSuffix(q.Name, "."))
	q.Kind, q.text = binary.BigEndian.Uint16(query[end-4:]), query[12:end]
	return q, true
}

// head of an answer, and the question.
func (q Question) head(code byte) []byte {
	return append(append(binary.BigEndian.AppendUint16(nil, q.ID), 0x84, code, 0, 1, 0, 0, 0, 0, 0, 0), q.text...)
}

// Answer with records of the asked kind, the data of each. Of more than fit into longest bytes the rest is left out, and the answer
// says that it was cut.
func (q Question) Answer(records [][]byte, longest int) []byte {
	const cut = 2
	out := q.head(noError)
	n := 0
	for _, data := range records {
		if len(out)+12+len(data) > longest {
			out[2] |= cut
			break
		}
		out = append(out, 0xC0, 12) // the question's name
		out = binary.BigEndian.AppendUint16(out, q.Kind)
		out = append(out, 0, 1, 0, 0, 0, 0) // IN, for no time
		out = append(binary.BigEndian.AppendUint16(out, uint16(len(data))), data...)
		n++
	}
	binary.BigEndian.PutUint16(out[6:], uint16(n))
	return out
}

// SRVRecord is the data of a record that leads to a host's port.
func SRVRecord(host string, port uint16) []byte {
	data := binary.BigEndian.AppendUint16([]byte{0, 1, 0, 1}, port)
	for label := range strings.SplitSeq(host, ".") {
		data = append(append(data, byte(len(label))), label...)
	}
	return append(data, 0)
}

// records of a name and a type: the data of each. The lock is held.
func (d *DNS) records(name string, kind uint16) [][]byte {
	var all [][]byte
	for _, a := range d.names[name] {
		if kind == TypeA && a.Is4() || kind == TypeAAAA && a.Is6() {
			all = append(all, a.AsSlice())
		}
	}
	if kind == TypeSRV {
		for _, s := range d.srv[name] {
			all = append(all, SRVRecord(target(s), s.Port()))
		}
	}
	return all
}
