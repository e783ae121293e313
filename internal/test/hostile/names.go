package hostile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// nameServerVariable is the environment variable with the address of the name server that the exporter asks, see build.
const nameServerVariable = "CACHEINV_TEST_NAME_SERVER"

// build the exporter, and give its path. It is the real one, but asks the tests' name server instead of the system's.
func build(t testing.TB) string {
	t.Helper()
	source, err := filepath.Abs(filepath.Join("testdata", "resolve.go"))
	if err != nil {
		t.Fatal(err)
	}
	overlay := filepath.Join(t.TempDir(), "overlay.json")
	if err := os.WriteFile(overlay, fmt.Appendf(nil, `{"Replace": {"resolve.go": %q}}`, source), 0o600); err != nil {
		t.Fatal(err)
	}
	return servers.Build(t, "-overlay", overlay)
}

// nameAttacks are groups by DNS. The name that is asked for tells the tests' name server how to attack.
func nameAttacks() []Attack {
	return append(namesWithoutEnd(), together("names",
		dnsGroup("names-drip", `redis: {dns: "drips.test:1"}`),
		dnsGroup("names-drip-services", `memcached: {dns: "srv+_drips._tcp.test", hashing: any}`),
		dnsGroup("names-of-others", `memcached: {dns: "others.test:1", hashing: any}`),
		dnsGroup("names-cut-off", `redis: {dns: "cut.test:1"}`),
		dnsGroup("names-silent", `redis: {dns: "silent.test:1"}`),
		dnsGroup("names-of-silent", `redis: {dns: "srv+_silent._tcp.test"}`),
	))
}

// namesWithoutEnd stand for as many servers as there is room for in an answer, for others each time. Each is a group of a thousand servers
// that can't be reached, and all together still stay within MostMemory.
func namesWithoutEnd() []Attack {
	return []Attack{
		dnsGroup("names-many", `redis: {dns: "many.test:1"}`),
		dnsGroup("names-services", `redis: {dns: "srv+_many._tcp.test"}`),
		dnsGroup("names-services-http", `http: {url: "http://{host}:{port}/{key}", dns: "srv+_many._tcp.test"}`),
	}
}

// dnsGroup is a layer with one group, and a class that is read there.
func dnsGroup(name, block string) Attack {
	return Attack{Name: name, Start: func(testing.TB) Config { return groupOf(name, block) }}
}

// nameServer answers over UDP and TCP as the name says that is asked for.
type nameServer struct {
	udp *net.UDPConn
	tcp net.Listener
	// named is how many names and addresses it has told: each is another one.
	named atomic.Int64
}

// startNameServer gives its address. It lives as long as the process.
func startNameServer() (address string, err error) {
	for range 10 {
		s := &nameServer{}
		if s.tcp, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return "", err
		}
		at := netip.MustParseAddrPort(s.tcp.Addr().String())
		if s.udp, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(at)); errors.Is(err, syscall.EADDRINUSE) {
			_ = s.tcp.Close()
			continue
		}
		go s.serveUDP()
		go s.serveTCP()
		return at.String(), err
	}
	return "", err
}

// longestDatagram is a question's at most, and an answer's that does not say that it was cut.
const longestDatagram = 512

func (s *nameServer) serveUDP() {
	for {
		query := make([]byte, longestDatagram)
		n, from, err := s.udp.ReadFromUDPAddrPort(query)
		if err != nil {
			return
		}
		q, ok := servers.ReadQuestion(query[:n])
		switch first, _, _ := strings.Cut(q.Name, "."); {
		case !ok || first == "silent" || first == "drips" && q.Kind == servers.TypeAAAA:
		case first == "others":
			go s.sayOthers(q, from)
		default:
			answer := q.Answer(s.records(q), longestDatagram)
			_, _ = s.udp.WriteToUDPAddrPort(answer, from) // who asked may be gone
		}
	}
}

// sayOthers answers, for as long as any lookup may last, as to other questions.
func (s *nameServer) sayOthers(q servers.Question, to netip.AddrPort) {
	const as = 20 * time.Second
	for end := time.Now().Add(as); time.Now().Before(end); time.Sleep(time.Millisecond) {
		q.ID++
		if _, err := s.udp.WriteToUDPAddrPort(q.Answer([][]byte{{127, 0, 0, 1}}, longestDatagram), to); err != nil {
			return
		}
	}
}

func (s *nameServer) serveTCP() {
	for {
		conn, err := s.tcp.Accept()
		if err != nil {
			return
		}
		go s.talk(conn)
	}
}

// talk answers one question.
func (s *nameServer) talk(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return
	}
	query := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(conn, query); err != nil {
		return
	}
	q, ok := servers.ReadQuestion(query)
	if !ok {
		return
	}
	answer := q.Answer(s.records(q), 1<<16-1)
	said := append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)
	switch first, _, _ := strings.Cut(q.Name, "."); first {
	case "drips", "_drips":
		for i := range said {
			if _, err := conn.Write(said[i : i+1]); err != nil {
				return
			}
			time.Sleep(dripEvery)
		}
	case "cut":
		_, _ = conn.Write(said[:len(said)/2]) // who asked may be gone
	default:
		_, _ = conn.Write(said)
	}
}

// records in answer to a question: as many as fit, and more.
func (s *nameServer) records(q servers.Question) (all [][]byte) {
	const most = 5000
	first, rest, _ := strings.Cut(q.Name, ".")
	switch {
	case q.Kind == servers.TypeSRV && first == "_silent":
		return [][]byte{servers.SRVRecord("silent.test", 1), servers.SRVRecord("silent.again.test", 1)}
	case q.Kind == servers.TypeSRV:
		for range most {
			all = append(all, servers.SRVRecord(fmt.Sprintf("h%d.%s", s.named.Add(1), rest), 1))
		}
	case q.Kind == servers.TypeA && strings.HasPrefix(first, "h"):
		return [][]byte{netip.MustParseAddr(address(s.named.Add(1))).AsSlice()}
	case q.Kind == servers.TypeA:
		for range most {
			all = append(all, netip.MustParseAddr(address(s.named.Add(1))).AsSlice())
		}
	}
	return all
}
