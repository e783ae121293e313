package memcached

import (
	"bufio"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/wire"
)

// scripted is a server that answers each line as it is told to, until that gives false.
func scripted(t testing.TB, serve func(line string, out *bufio.Writer) bool) string {
	t.Helper()
	return servers.Listen(t, func(c net.Conn) {
		defer c.Close()
		in, out := bufio.NewReader(c), bufio.NewWriter(c)
		for {
			line, err := in.ReadString('\n')
			if err != nil || !serve(strings.TrimRight(line, "\r\n"), out) {
				_ = out.Flush()
				return
			}
			if in.Buffered() == 0 && out.Flush() != nil {
				return
			}
		}
	})
}

// oldMemcached stands before a memcached and knows get, stats and version alone. To all else it says refusal; if that is
// empty, it closes the connection.
func oldMemcached(t testing.TB, addr, refusal string, without ...string) string {
	t.Helper()
	var mu sync.Mutex
	behind := map[*bufio.Writer]*bufio.ReadWriter{} // by the client's connection
	t.Cleanup(func() {
		mu.Lock()
		defer mu.Unlock()
		for _, b := range behind {
			_ = b.Flush()
		}
	})
	connection := func(out *bufio.Writer) (*bufio.ReadWriter, error) {
		mu.Lock()
		defer mu.Unlock()
		if behind[out] == nil {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				return nil, err
			}
			t.Cleanup(func() { _ = c.Close() })
			behind[out] = bufio.NewReadWriter(bufio.NewReader(c), bufio.NewWriter(c))
		}
		return behind[out], nil
	}
	return scripted(t, func(line string, out *bufio.Writer) bool {
		command, _, _ := strings.Cut(line, " ")
		if !slices.Contains([]string{"get", "stats", "version"}, command) || slices.Contains(without, command) {
			_, _ = out.WriteString(refusal)
			return refusal != ""
		}
		b, err := connection(out)
		if err != nil {
			return false
		}
		if _, err := b.WriteString(line + "\r\n"); err != nil || b.Flush() != nil {
			return false
		}
		text, err := answer(b.Reader, line)
		_, _ = out.WriteString(text)
		return err == nil
	})
}

// Servers and proxies without meta commands are read with get, and counted as exactly.
func TestFallsBackToGet(t *testing.T) {
	servers.NoLeaks(t)
	p := servers.Memcached(t)
	c := servers.MemcachedClient(t, p.Addr)
	set(t, c, "a", "1", 100)
	set(t, c, "large", strings.Repeat("x", 2000), 0)
	env := probetest.Env()
	env.MaxValueBytes = 1000
	for name, refusal := range map[string]string{
		"an old memcached": "ERROR\r\n", "another": "CLIENT_ERROR malformed request\r\n", "a proxy that closes": "",
	} {
		n := openNode(t, nodeConfig{Address: oldMemcached(t, p.Addr, refusal)}, env)
		s := probetest.Survey(t, n)
		want := probetest.Others(s)
		if s.Version == "" || s.Unasked {
			t.Errorf("%s: %+v", name, s)
		}
		for range 3 {
			got := probetest.Read(t, n, probes.Key{Name: "a"}, probes.Key{Name: "no"}, probes.Key{Name: "a"}, probes.Key{Name: "large"}, probes.Key{Name: "no"}, probes.Key{Name: "a b"})
			for _, i := range []int{0, 2} {
				if g := got[i]; string(g.Value) != "1" || !g.Present || g.HasTTL || g.NoExpiry {
					t.Errorf("%s: %+v", name, g)
				}
			}
			if got[1].Present || got[1].Err != nil || got[4].Present || got[4].Err != nil || got[3].Err == nil || got[5].Err == nil {
				t.Errorf("%s: %+v", name, got)
			}
			if got := probetest.Others(probetest.Survey(t, n)); got != want {
				t.Errorf("%s: others' hits and misses %v, want %v", name, got, want)
			}
		}
	}
}

// twemproxy knows neither stats nor version. Such a node can be read all the same, and is up when it answers that.
func TestProxyWithoutStats(t *testing.T) {
	servers.NoLeaks(t)
	p := servers.Memcached(t)
	set(t, servers.MemcachedClient(t, p.Addr), "a", "1", 100)
	addr := oldMemcached(t, p.Addr, "", "stats", "version")
	n := openNode(t, nodeConfig{Address: addr}, probetest.Env())
	for range 3 {
		if s := probetest.Survey(t, n); !s.Unasked || s.Hits.Known {
			t.Errorf("survey: %+v", s)
		}
		if n.Answered() {
			t.Error("nothing was read yet")
		}
		if got := probetest.Read(t, n, probes.Key{Name: "a"}, probes.Key{Name: "no"}); string(got[0].Value) != "1" || got[1].Present || got[1].Err != nil {
			t.Errorf("%+v", got)
		}
		if !n.Answered() {
			t.Error("the reads were answered")
		}
	}
	n.closes.since = time.Now().Add(-2 * closesKept) // it is asked again, with the same answer
	if s := probetest.Survey(t, n); !s.Unasked || time.Since(n.closes.since) > closesKept {
		t.Errorf("survey: %+v, %+v", s, n.closes)
	}
	if got := probetest.Read(t, n, probes.Key{Name: "a"}); string(got[0].Value) != "1" {
		t.Errorf("%+v", got)
	}
}

// A proxy that closes because the server behind it is dead is not taken for one without stats once the server is back.
func TestBehindAProxyComesBack(t *testing.T) {
	servers.NoLeaks(t)
	addr := servers.FreeAddr(t)
	proxy := servers.NewProxy(t, addr)
	n := openNode(t, nodeConfig{Address: proxy.Addr}, probetest.Env())
	for range 3 {
		s, err := n.Survey(probetest.Within(t, time.Second), nil)
		failed := n.Read(probetest.Within(t, time.Second), []probes.Key{{Name: "a"}}, func(int, probes.Raw) {})
		if err == nil && !s.Unasked || failed == nil || n.Answered() {
			t.Fatalf("dead: %+v, %v, %v", s, err, failed)
		}
	}
	p := servers.MemcachedAt(t, addr)
	set(t, servers.MemcachedClient(t, p.Addr), "a", "1", 100)
	if s := probetest.Survey(t, n); s.Unasked || s.Version == "" {
		t.Errorf("alive: %+v", s)
	}
	if raw := probetest.Read(t, n, probes.Key{Name: "a"})[0]; !raw.HasTTL {
		t.Errorf("alive: %+v", raw)
	}
	// Nor where nothing was read meanwhile.
	p.Stop()
	if s, err := n.Survey(probetest.Within(t, time.Second), nil); err == nil && !s.Unasked {
		t.Fatalf("dead: %+v", s)
	}
	p = servers.MemcachedAt(t, addr)
	set(t, servers.MemcachedClient(t, p.Addr), "a", "1", 100)
	if s := probetest.Survey(t, n); s.Unasked {
		t.Errorf("alive: %+v", s)
	}
	if raw := probetest.Read(t, n, probes.Key{Name: "a"})[0]; !raw.HasTTL {
		t.Errorf("alive: %+v", raw)
	}
}

// Servers may know mn without mg, and say so in one way or another.
func TestRefusesMetaGetAlone(t *testing.T) {
	servers.NoLeaks(t)
	for _, c := range []struct {
		refusal string
		closes  bool
	}{{"ERROR\r\n", false}, {"CLIENT_ERROR invalid flag\r\n", false}, {"ERROR\r\n", true}, {"", true}} {
		addr := scripted(t, func(line string, out *bufio.Writer) bool {
			switch command, keys, _ := strings.Cut(line, " "); command {
			case "stats":
				_, _ = out.WriteString("STAT version 1.6.0\r\nEND\r\n")
			case "mn":
				_, _ = out.WriteString("MN\r\n")
			case "get":
				_, _ = fmt.Fprintf(out, "VALUE %s 0 2\r\nhi\r\nEND\r\n", strings.Fields(keys)[0])
			default:
				_, _ = out.WriteString(c.refusal)
				return !c.closes
			}
			return true
		})
		n := openNode(t, nodeConfig{Address: addr}, probetest.Env())
		for range 3 {
			probetest.Survey(t, n)
			if got := probetest.Read(t, n, probes.Key{Name: "a"}, probes.Key{Name: "b"}); !got[0].Present || got[1].Present || got[1].Err != nil {
				t.Errorf("%+v: %+v", c, got)
			}
		}
	}
}

// What is no memcached, or has gone wrong, gives errors, not hangs or panics.
func TestRefusesOtherProtocols(t *testing.T) {
	servers.NoLeaks(t)
	for _, said := range []string{
		"HTTP/1.1 400 Bad Request\r\n\r\n", "-ERR unknown command\r\n", "\r\n", "STAT pid 1\r\nVA 3 O0\r\n", "END\r\n", "VA -1\r\n", "VA\r\n",
		"END\r\nMN\r\nVA 5 O0\r\nab", "END\r\nMN\r\nVA 2 O7\r\nab\r\n", "END\r\nMN\r\nVA 2 O0\r\nabcdef\r\n", "END\r\nMN\r\nEN O8\r\n",
		"END\r\nMN\r\nHD\r\n",
		"END\r\nMN\r\nVA 99999999999999 O0\r\nab",
		"END\r\nERROR\r\nVALUE other 0 2\r\nab\r\nEND\r\n", "END\r\nERROR\r\nVALUE a 0 x\r\nab\r\nEND\r\n", "END\r\nwhat\r\n",
		"ERROR Too many open connections\r\n", "SERVER_ERROR busy\r\n", "END\r\nSERVER_ERROR busy\r\n", "END\n", strings.Repeat("x", 1<<16),
	} {
		addr := scripted(t, func(_ string, out *bufio.Writer) bool {
			_, _ = out.WriteString(said)
			return false
		})
		n := openNode(t, nodeConfig{Address: addr}, probetest.Env())
		if s, err := n.Survey(probetest.Within(t, 5*time.Second), nil); err == nil && s.Version != "" {
			t.Errorf("%.30q gives %+v", said, s)
		}
		if err := n.Read(probetest.Within(t, 5*time.Second), []probes.Key{{Name: "a"}}, func(int, probes.Raw) {}); err == nil {
			t.Errorf("%.30q gives a read", said)
		}
	}
}

// One key that the server can't serve costs no other.
func TestErrorOfOneKey(t *testing.T) {
	servers.NoLeaks(t)
	addr := scripted(t, func(line string, out *bufio.Writer) bool {
		f := strings.Fields(line)
		switch {
		case f[0] == "stats":
			_, _ = out.WriteString("STAT get_hits 0\r\nSTAT get_misses 0\r\nEND\r\n")
		case f[0] == "mn":
			_, _ = out.WriteString("MN\r\n")
		case f[0] == "get":
			_, _ = out.WriteString("CLIENT_ERROR bad command line format\r\n")
		case f[1] == "oom":
			_, _ = out.WriteString("SERVER_ERROR out of memory writing get response\r\n")
		case f[1] == "odd":
			_, _ = out.WriteString("CLIENT_ERROR bad command line format\r\n")
		default:
			_, _ = fmt.Fprintf(out, "VA 1 t7 c9 Z X %s\r\nv\r\n", f[len(f)-1])
		}
		return true
	})
	n := openNode(t, nodeConfig{Address: addr}, probetest.Env())
	probetest.Survey(t, n)
	got := probetest.Read(t, n, probes.Key{Name: "a"}, probes.Key{Name: "oom"}, probes.Key{Name: "b"}, probes.Key{Name: "odd"}, probes.Key{Name: "c"})
	for _, i := range []int{0, 2, 4} {
		if g := got[i]; string(g.Value) != "v" || g.TTL != 7*time.Second {
			t.Errorf("%d: %+v", i, g)
		}
	}
	if got[1].Err == nil || !strings.Contains(got[1].Err.Error(), "out of memory") || got[3].Err == nil {
		t.Errorf("%+v", got)
	}
	if n.account.Hits != 3 || n.account.Misses != 0 || n.withGet {
		t.Errorf("own %d and %d", n.account.Hits, n.account.Misses)
	}
}

// What a server does not tell stays unknown (mcrouter's stats, for one).
func TestSparseStats(t *testing.T) {
	servers.NoLeaks(t)
	for stats, want := range map[string]probes.Survey{
		"STAT version mcrouter 40\r\nSTAT commandargs -p 11211 -f x\r\nSTAT uptime 5\r\nSTAT time 1000\r\nEND\r\n": {
			Version: "mcrouter 40", UptimeSeconds: probes.Count{Value: 5, Known: true},
		},
		"STAT get_hits many\r\nSTAT curr_items 4\r\nSTAT limit_maxbytes 0\r\nSTAT \r\nEND\r\n": {Items: probes.Count{Value: 4, Known: true}},
		"ERROR\r\n":                          {},
		"CLIENT_ERROR malformed request\r\n": {},
	} {
		addr := scripted(t, func(line string, out *bufio.Writer) bool {
			if line == "stats" {
				_, _ = out.WriteString(stats)
			} else {
				_, _ = out.WriteString("ERROR\r\n")
			}
			return true
		})
		got := probetest.Survey(t, openNode(t, nodeConfig{Address: addr}, probetest.Env()))
		got.Took = 0
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%q gives %+v", stats, got)
		}
	}
}

// Answers that trickle in after the caller has gone are waited for, also where the server answers others at once. Only
// silence ends a connection before its time.
func TestSlowAnswersAreCounted(t *testing.T) {
	servers.NoLeaks(t)
	addr := scripted(t, func(line string, out *bufio.Writer) bool {
		switch f := strings.Fields(line); f[0] {
		case "stats":
			_, _ = out.WriteString("STAT get_hits 0\r\nSTAT get_misses 0\r\nEND\r\n")
		case "mn":
			_, _ = out.WriteString("MN\r\n")
		case "mg":
			_, _ = fmt.Fprintf(out, "VA 7 t1 %s\r\n", f[len(f)-1])
			for range 7 {
				time.Sleep(wire.AliveGrace / 3) // the speed of this server
				_, _ = out.WriteString("x")
				_ = out.Flush()
			}
			_, _ = out.WriteString("\r\n")
		default:
			_, _ = out.WriteString("VERSION 1\r\n")
		}
		return true
	})
	n := openNode(t, nodeConfig{Address: addr}, probetest.Env())
	probetest.Survey(t, n)
	if err := n.Read(probetest.Within(t, 50*time.Millisecond), []probes.Key{{Name: "a"}, {Name: "b"}}, func(int, probes.Raw) {}); err == nil {
		t.Fatal("a slow server was quick")
	}
	if s, err := n.Survey(probetest.Within(t, 20*time.Second), nil); err != nil || s.OwnHits != 2 {
		t.Errorf("own hits %d, %v", s.OwnHits, err)
	}
}
