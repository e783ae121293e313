package memcached

import (
	"bufio"
	"strconv"
	"strings"
	"testing"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

// casOf a key as the server itself tells it.
func casOf(t *testing.T, addr, key string) uint64 {
	t.Helper()
	for _, f := range strings.Fields(say(t, addr, "mg "+key+" c")[0]) {
		if id, ok := strings.CutPrefix(f, "c"); ok {
			n, err := strconv.ParseUint(id, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("no CAS id")
	return 0
}

// The CAS id is told, and rises with each copy that is stored, whatever it holds.
func TestCASIsTold(t *testing.T) {
	servers.NoLeaks(t)
	p := servers.Memcached(t)
	c := servers.MemcachedClient(t, p.Addr)
	n := openNode(t, nodeConfig{Address: p.Addr}, probetest.Env())
	keys := []probes.Key{{Name: "a"}, {Name: "b"}, {Name: "no"}}
	set(t, c, "a", "v", 100)
	set(t, c, "b", "v", 0)
	if got := probetest.Read(t, n, keys...); got[0].CAS != 0 {
		t.Errorf("before it is known whether one server answers: %+v", got[0])
	}
	probetest.Survey(t, n)
	before := probetest.Read(t, n, keys...)
	if before[0].CAS == 0 || before[0].CAS != casOf(t, p.Addr, "a") || before[1].CAS <= before[0].CAS || before[2].CAS != 0 {
		t.Errorf("%+v", before)
	}
	if again := probetest.Read(t, n, keys...); again[0].CAS != before[0].CAS {
		t.Errorf("a read changed it: %+v, %+v", before[0], again[0])
	}
	if err := c.Touch("b", 1000); err != nil {
		t.Fatal(err)
	}
	set(t, c, "a", "v", 100)
	if after := probetest.Read(t, n, keys...); after[0].CAS <= before[1].CAS || after[1].CAS != before[1].CAS {
		t.Errorf("a was stored again, and b touched: %+v, before %+v", after, before)
	}
}

// An id that a mark gave to an item, and our giving back of its token, is no sign that it was stored.
func TestMarkedItemsTellNoCAS(t *testing.T) {
	servers.NoLeaks(t)
	p := servers.Memcached(t)
	c := servers.MemcachedClient(t, p.Addr)
	n := openNode(t, nodeConfig{Address: p.Addr}, probetest.Env())
	set(t, c, "a", "v", 100)
	probetest.Survey(t, n)
	stored := casOf(t, p.Addr, "a")
	say(t, p.Addr, "md a I T500")
	if casOf(t, p.Addr, "a") <= stored {
		t.Fatal("a mark gives no id, so that this test shows nothing")
	}
	for range 3 {
		if raw := probetest.Read(t, n, probes.Key{Name: "a"})[0]; !raw.Present || raw.CAS != 0 {
			t.Errorf("%+v", raw)
		}
	}
	set(t, c, "a", "v", 100)
	if raw := probetest.Read(t, n, probes.Key{Name: "a"})[0]; raw.CAS <= stored {
		t.Errorf("stored anew: %+v", raw)
	}
}

// Ids that nothing can be concluded from are not told: of a server that gives none, and of several behind one address.
func TestCASOfNoUse(t *testing.T) {
	servers.NoLeaks(t)
	p, without := servers.Memcached(t), servers.Memcached(t, "-C")
	for _, addr := range []string{p.Addr, without.Addr} {
		set(t, servers.MemcachedClient(t, addr), "a", "v", 100)
	}
	proxy := scripted(t, func(line string, out *bufio.Writer) bool { // memcached's own, as it answers
		switch {
		case line == "stats":
			_, _ = out.WriteString("STAT pid 1\r\nSTAT uptime 5\r\nSTAT version 1.6.23\r\nSTAT limit_maxbytes 1000\r\nSTAT proxy_config_reloads 0\r\nEND\r\n")
		case line == "stats settings":
			_, _ = out.WriteString("END\r\n")
		case line == "mn":
			_, _ = out.WriteString("MN\r\n")
		case strings.HasPrefix(line, "mg a "):
			_, _ = out.WriteString("VA 1 t-1 c12 O0\r\nv\r\n")
		default:
			return false
		}
		return true
	})
	for name, addr := range map[string]string{"-C": without.Addr, "get": oldMemcached(t, p.Addr, "ERROR\r\n"), "proxy": proxy} {
		n := openNode(t, nodeConfig{Address: addr}, probetest.Env())
		for range 2 {
			probetest.Survey(t, n)
			if raw := probetest.Read(t, n, probes.Key{Name: "a"})[0]; !raw.Present || raw.CAS != 0 {
				t.Errorf("%s: %+v", name, raw)
			}
		}
	}
}
