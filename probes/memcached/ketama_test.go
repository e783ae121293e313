package memcached

import (
	"bufio"
	"os"
	"strconv"
	"strings"
	"testing"
)

// testdata/ketama.txt holds what the library itself answered.
func TestKetamaIsLibmemcacheds(t *testing.T) {
	f, err := os.Open("testdata/ketama.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var ring *ketama
	pools, keys := 0, 0
	for lines := bufio.NewScanner(f); lines.Scan(); {
		first, rest, _ := strings.Cut(lines.Text(), " ")
		switch first {
		case "#":
		case "pool":
			pools++
			if ring, err = newKetama(poolServers(t, strings.Split(rest, ",")...)); err != nil {
				t.Fatal(err)
			}
		default:
			keys++
			if got := strconv.Itoa(ring.pick(rest)); got != first {
				t.Errorf("pool %d, key %q: server %s, not %s", pools, rest, got, first)
			}
		}
	}
	if pools < 9 || keys < 2700 {
		t.Errorf("only %d keys of %d pools were compared", keys, pools)
	}
}

// poolServers reads servers as the configuration has them.
func poolServers(t testing.TB, written ...string) []poolServer {
	t.Helper()
	out := make([]poolServer, len(written))
	for i, s := range written {
		address, weight, weighted := strings.Cut(s, " ")
		out[i] = poolServer{Address: address, Weight: 1}
		if weighted {
			var err error
			if out[i].Weight, err = strconv.Atoi(weight); err != nil {
				t.Fatal(err)
			}
		}
	}
	return out
}

// A ring of servers that all weigh the same has 160 points for each.
func TestKetamaPoints(t *testing.T) {
	for n := 1; n <= 3; n++ {
		ring, err := newKetama(poolServers(t, []string{"a:11211", "b:11211", "c:11211"}[:n]...))
		if err != nil {
			t.Fatal(err)
		}
		if len(ring.points) != n*ketamaPoints {
			t.Errorf("%d servers have %d points", n, len(ring.points))
		}
	}
	if _, err := newKetama([]poolServer{{Address: "a", Weight: 1}}); err == nil {
		t.Error("an address without a port is taken")
	}
}
