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

const (
	typeA, typeAAAA, typeSRV = 1, 28, 33

	noError, serverFailure, noSuchName = 0, 2, 3
)

// answer a query of one question; nil where there is nothing to say.
func (d *DNS) answer(query []byte) []byte {
	name, end, ok := question(query)
	if !ok {
		return nil
	}
	kind := binary.BigEndian.Uint16(query[end-4:])

	d.mu.Lock()
	defer d.mu.Unlock()
	if kind != typeAAAA {
		d.asked[name]++
	}
	if d.mute {
		return nil
	}
	_, known := d.names[name]
	_, service := d.srv[name]
	code := byte(noError)
	switch {
	case d.failed:
		code = serverFailure
	case !known && !service:
		code = noSuchName
	}
	out := append([]byte{query[0], query[1], 0x84, code, 0, 1, 0, 0, 0, 0, 0, 0}, query[12:end]...)
	if code != noError {
		return out
	}
	records := d.records(name, kind)
	for _, data := range records {
		out = append(out, 0xC0, 12) // the question's name
		out = binary.BigEndian.AppendUint16(out, kind)
		out = append(out, 0, 1, 0, 0, 0, 0) // IN, for no time
		out = append(binary.BigEndian.AppendUint16(out, uint16(len(data))), data...)
	}
	binary.BigEndian.PutUint16(out[6:], uint16(len(records)))
	return out
}

// question of a query: its name, in small letters and without the last dot, and where it ends with its type and class.
func question(query []byte) (name string, end int, ok bool) {
	end = 12
	for end < len(query) && query[end] != 0 {
		n := int(query[end])
		if end+1+n >= len(query) {
			return "", 0, false
		}
		name += string(query[end+1:end+1+n]) + "."
		end += 1 + n
	}
	if end+5 > len(query) {
		return "", 0, false
	}
	return strings.ToLower(strings.TrimSuffix(name, ".")), end + 5, true
}

// records of a name and a type: the data of each. The lock is held.
func (d *DNS) records(name string, kind uint16) [][]byte {
	var all [][]byte
	for _, a := range d.names[name] {
		if kind == typeA && a.Is4() || kind == typeAAAA && a.Is6() {
			all = append(all, a.AsSlice())
		}
	}
	if kind != typeSRV {
		return all
	}
	for _, s := range d.srv[name] {
		data := binary.BigEndian.AppendUint16([]byte{0, 1, 0, 1}, s.Port())
		for label := range strings.SplitSeq(target(s), ".") {
			data = append(append(data, byte(len(label))), label...)
		}
		all = append(all, append(data, 0))
	}
	return all
}
