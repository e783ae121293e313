package memcached

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

// sharedKept are those of the whole process, as in the exporter.
var sharedKept = probes.NewKept()

func openNode(t testing.TB, c nodeConfig, env *probes.Env) *node {
	t.Helper()
	env.Kept = sharedKept
	n, err := newNode(probes.Identity{Layer: "l3", Name: "mc-1", Kind: "memcached"}, c, env)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return n
}

func set(t testing.TB, c *memcache.Client, key, value string, seconds int32) {
	t.Helper()
	if err := c.Set(&memcache.Item{Key: key, Value: []byte(value), Expiration: seconds}); err != nil {
		t.Fatal(err)
	}
}

// say sends lines to a memcached and gives each one's answer; that of stats and get ends in END.
func say(t testing.TB, addr string, lines ...string) []string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	r := bufio.NewReader(c)
	var out []string
	for _, l := range lines {
		if _, err := io.WriteString(c, l+"\r\n"); err != nil {
			t.Fatal(err)
		}
		a, err := answer(r, l)
		if err != nil {
			t.Fatalf("%.60s: %v", l, err)
		}
		out = append(out, strings.TrimRight(a, "\r\n"))
	}
	return out
}

// answer reads what a server says to a line.
func answer(r *bufio.Reader, line string) (string, error) {
	long := line == "stats" || line == "stats settings" || strings.HasPrefix(line, "get ")
	var text strings.Builder
	for {
		l, err := r.ReadString('\n')
		text.WriteString(l)
		if f := strings.Fields(l); err == nil && len(f) == 4 && f[0] == "VALUE" {
			size, _ := strconv.Atoi(f[3])
			value := make([]byte, size+2)
			_, err = io.ReadFull(r, value)
			text.Write(value)
		}
		if err != nil || !long || l == "END\r\n" || strings.Contains(l, "ERROR") {
			return text.String(), err
		}
	}
}

// An idle connection that the server closed costs nothing.
func TestIdleConnection(t *testing.T) {
	servers.NoLeaks(t)
	p := servers.Memcached(t, "-o", "idle_timeout=1")
	n := openNode(t, nodeConfig{Address: p.Addr}, probetest.Env())
	probetest.Survey(t, n)
	servers.Eventually(t, "the server closes the connection", func() bool { return statsOf(t, p.Addr)["idle_kicks"] != "0" })
	probetest.Survey(t, n)
	if raw := probetest.Read(t, n, probes.Key{Name: "no"})[0]; raw.Err != nil {
		t.Error(raw.Err)
	}
}

// Closing does not wait for a frozen server, and leaves nothing behind.
func TestCloseWhileFrozen(t *testing.T) {
	servers.NoLeaks(t)
	p := servers.Memcached(t)
	n := openNode(t, nodeConfig{Address: p.Addr}, probetest.Env())
	probetest.Survey(t, n)
	p.Freeze(t)
	defer p.Thaw(t)
	if err := n.Read(probetest.Within(t, 20*time.Millisecond), []probes.Key{{Name: "a"}}, func(int, probes.Raw) {}); err == nil {
		t.Fatal("a frozen server answered")
	}
	start := time.Now()
	n.Close()
	if d := time.Since(start); d > time.Second {
		t.Errorf("closing took %v", d)
	}
	if _, err := n.Survey(probetest.Within(t, time.Second), nil); !errors.Is(err, probes.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestFrozenBeforeTheFirstConnection(t *testing.T) {
	servers.NoLeaks(t)
	p := servers.Memcached(t)
	n := openNode(t, nodeConfig{Address: p.Addr}, probetest.Env())
	p.Freeze(t)
	for range 3 {
		start := time.Now()
		_, err := n.Survey(probetest.Within(t, 50*time.Millisecond), &probes.Scan{})
		if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || took > time.Second {
			t.Errorf("%v after %v", err, took)
		}
	}
	p.Thaw(t)
	probetest.Survey(t, n)
}

func TestDeadServer(t *testing.T) {
	servers.NoLeaks(t)
	n := openNode(t, nodeConfig{Address: servers.FreeAddr(t)}, probetest.Env())
	start := time.Now()
	if _, err := n.Survey(probetest.Within(t, 5*time.Second), &probes.Scan{}); err == nil {
		t.Error("a dead server answered")
	}
	if err := n.Read(probetest.Within(t, 5*time.Second), []probes.Key{{Name: "a"}}, func(int, probes.Raw) {}); err == nil {
		t.Error("a dead server answered")
	}
	if n.closes.meta || n.closes.stats || time.Since(start) > 2*time.Second {
		t.Errorf("%+v after %v", n.closes, time.Since(start))
	}
	if _, err := newNode(probes.Identity{}, nodeConfig{Address: "no-port"}, probetest.Env()); err == nil {
		t.Error("an address without a port")
	}
}

// A connection whose bytes were lost never answers; the server does, over a new one.
func TestComesBackAfterACutNetwork(t *testing.T) {
	servers.NoLeaks(t)
	p := servers.Memcached(t)
	m := servers.NewProxy(t, p.Addr)
	n := openNode(t, nodeConfig{Address: m.Addr}, probetest.Env())
	probetest.Survey(t, n)
	m.Mute(true)
	for range 2 {
		if _, err := n.Survey(probetest.Within(t, 50*time.Millisecond), nil); err == nil {
			t.Fatal("an answer over a cut network")
		}
	}
	m.Mute(false)
	probetest.Survey(t, n)
}
