package redis

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/wire"
)

func TestSlotsAreRedissOwn(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.RedisCluster(t, 1, 0).Shards[0][0]
	for _, key := range []string{"", "a", "user:1000", "{user}:1", "a{b}c{d}", "{}x", "a{}b{c}", "{", "}", "a{b", "{{x}}", "\x00\xff", strings.Repeat("k", 300)} {
		want, err := r.Do(t.Context(), "cluster", "keyslot", key).Int()
		if err != nil || slotOf(key) != want {
			t.Errorf("%q: %d, want %d, %v", key, slotOf(key), want, err)
		}
	}
}

// wholeView is three shards, of which the first is the teller's.
const wholeView = `a 10.0.0.1:7000@17000 myself,master - 0 0 1 connected 0-5460
b 10.0.0.2:7000@17000 master - 0 1426238317239 2 connected 5461-10922
c 10.0.0.3:7000@17000 master - 0 1426238317239 3 connected 10923-16383
d 10.0.0.4:7000@17000 slave a 0 1426238317239 1 connected
`

// Whatever stands in one line, the others are read.
func TestClusterNodesWithAnOddLine(t *testing.T) {
	whole, err := parseClusterNodes(wholeView)
	if err != nil || len(whole.skipped) > 0 {
		t.Fatal(err, whole.skipped)
	}
	for name, odd := range map[string]struct {
		line    string
		skipped int
		node    clusterPeer
		slots   int // of e
	}{
		"nothing":                      {"", 0, clusterPeer{}, 0},
		"one word":                     {"e", 1, clusterPeer{}, 0},
		"cut short":                    {"e 10.0.0.5:7000@17000 master - 0", 1, clusterPeer{}, 0},
		"the file's last line":         {"vars currentEpoch 6 lastVoteEpoch 0", 1, clusterPeer{}, 0},
		"a proxy's text":               {"# served by the proxy, which knows no more than this of it", 1, clusterPeer{}, 0},
		"bytes":                        {"\x00\xff\xfe \x01 \x02 \x03 \x04 \x05 \x06 \x07", 1, clusterPeer{}, 0},
		"no role":                      {"e 10.0.0.5:7000@17000 noflags - 0 0 4 connected", 1, clusterPeer{}, 0},
		"a known node again":           {"b 10.9.9.9:7000@17000 slave c 0 0 2 connected 0-16383", 1, clusterPeer{}, 0},
		"a second self":                {"e 10.9.9.9:7000@17000 myself,slave c 0 0 2 connected 0-16383", 1, clusterPeer{}, 0},
		"slots above the last":         {"e 10.0.0.5:7000@17000 master - 0 0 4 connected 16384 16380-99999", 2, clusterPeer{address: "10.0.0.5:7000", primary: true, epoch: 4}, 0},
		"slots backwards":              {"e 10.0.0.5:7000@17000 master - 0 0 4 connected 5-3 7", 1, clusterPeer{address: "10.0.0.5:7000", primary: true, epoch: 4}, 1},
		"a move that is none":          {"e 10.0.0.5:7000@17000 master - 0 0 4 connected [x-] [99999->-a] 8-9", 2, clusterPeer{address: "10.0.0.5:7000", primary: true, epoch: 4}, 2},
		"no number is an epoch":        {"e 10.0.0.5:7000@17000 master - x y z connected", 0, clusterPeer{address: "10.0.0.5:7000", primary: true}, 0},
		"no host":                      {"e :7000@17000 master - 0 0 4 connected", 0, clusterPeer{primary: true, epoch: 4}, 0},
		"a host that is ?":             {"e ?:7000@17000 master - 0 0 4 connected", 0, clusterPeer{primary: true, epoch: 4}, 0},
		"no port":                      {"e 10.0.0.5:0@0 slave - 0 0 4 connected", 0, clusterPeer{epoch: 4}, 0},
		"a port that is no number":     {"e 10.0.0.5:x@0 slave a 0 0 4 connected", 0, clusterPeer{of: "a", epoch: 4}, 0},
		"Redis 3, without a bus port":  {"e 10.0.0.5:7000 slave a 0 0 4 connected", 0, clusterPeer{address: "10.0.0.5:7000", of: "a", epoch: 4}, 0},
		"IPv6":                         {"e fd00::5:7000@17000,,tls-port=0,shard-id=1 slave a 0 0 4 connected", 0, clusterPeer{address: "[fd00::5]:7000", of: "a", epoch: 4}, 0},
		"a host name beside":           {"e 10.0.0.5:7000@17000,e.example slave a 0 0 4 connected", 0, clusterPeer{address: "10.0.0.5:7000", of: "a", epoch: 4}, 0},
		"dead, known by hearsay alone": {"e 10.0.0.5:7000@17000 slave,fail - 1 1 4 disconnected", 0, clusterPeer{address: "10.0.0.5:7000", epoch: 4, failed: true}, 0},
		"an id of any length":          {strings.Repeat("e", 65) + " 10.0.0.5:7000@17000 master - 0 0 4 connected 5", 1, clusterPeer{}, 0},
		"a primary's, of any length":   {"e 10.0.0.5:7000@17000 slave " + strings.Repeat("a", 65) + " 0 0 4 connected", 1, clusterPeer{address: "10.0.0.5:7000", epoch: 4}, 0},
		"no longer addressed":          {"e :0@0 slave,fail,noaddr a 1 1 4 disconnected", 0, clusterPeer{}, 0},
	} {
		for at := range 5 {
			lines := slices.Collect(strings.Lines(wholeView))
			if at == 0 && (name == "a known node again" || name == "a second self") {
				continue // the first one counts
			}
			v, err := parseClusterNodes(strings.Join(slices.Insert(lines, min(at, len(lines)), odd.line+"\n"), ""))
			if name == "a known node again" && at == 1 {
				continue
			}
			if err != nil || v.myself != "a" || !v.primary || len(v.skipped) != odd.skipped {
				t.Errorf("%s, line %d: %+v, %v, skipped %q", name, at, v != nil, err, v.skipped)
				continue
			}
			if v.nodes["e"] != odd.node {
				t.Errorf("%s: e is %+v", name, v.nodes["e"])
			}
			delete(v.nodes, "e")
			delete(v.nodes, "vars")
			if !maps.Equal(v.nodes, whole.nodes) {
				t.Errorf("%s, line %d: %+v, want %+v", name, at, v.nodes, whole.nodes)
			}
			lost := 0
			for slot := range v.owners {
				if owner := v.owner(slot); owner != whole.owner(slot) {
					lost++
				}
			}
			if lost > odd.slots {
				t.Errorf("%s, line %d: %d slots have another owner", name, at, lost)
			}
		}
	}
	if v, err := parseClusterNodes("b 10.0.0.2:7000@17000 master - 0 0 2 connected 0-16383\n"); err == nil {
		t.Errorf("nobody told it: %+v", v)
	}
	_, others, _ := strings.Cut(wholeView, "\n")
	if v, err := parseClusterNodes("a 10.0.0.1:7000@17000 myself,master\n" + others); err != nil || !v.primary || v.owner(16383) != "c" {
		t.Errorf("its own line is cut short: %+v, %v", v, err)
	}
}

// What is said of hosts and ports, and what of it can be asked.
func TestAnnouncedAddresses(t *testing.T) {
	for _, c := range []struct{ host, port, want string }{
		{"10.0.0.1", "6379", "10.0.0.1:6379"},
		{" 10.0.0.1", "6379 ", "10.0.0.1:6379"},
		{"fd00::1", "6379", "[fd00::1]:6379"},
		{"fe80::1%eth0", "6379", "[fe80::1%eth0]:6379"},
		{"redis-0.redis_headless.svc.cluster.local.", "6379", "redis-0.redis_headless.svc.cluster.local.:6379"},
		{"", "6379", ""},
		{"?", "6379", ""},
		{"-", "6379", ""},
		{"(nil)", "6379", ""},
		{"0.0.0.0", "6379", ""},
		{"::", "6379", ""},
		{"a b", "6379", ""},
		{"a\x00", "6379", ""},
		{"user@host", "6379", ""},
		{"redis://host", "6379", ""},
		{strings.Repeat("a", 300), "6379", ""},
		{"host", "", ""},
		{"host", "0", ""},
		{"host", "65536", ""},
		{"host", "-1", ""},
		{"host", "http", ""},
		{"host", "+1", ""},
	} {
		if got := announcedAddress(c.host, c.port); got != c.want {
			t.Errorf("%q and %q: %q, want %q", c.host, c.port, got, c.want)
		}
	}
}

// CLUSTER SHARDS gives nobody the teller's host.
func TestClusterShardsWithOddEndpoints(t *testing.T) {
	node := func(fields ...any) any { return fields }
	shards := []any{
		[]any{"slots", []any{int64(0), int64(5460)}, "nodes", []any{
			node("id", "a", "port", int64(7000), "ip", "10.0.0.1", "endpoint", "a.example", "hostname", "a.example"),
			node("id", "d", "port", int64(7000), "ip", "10.0.0.4", "endpoint", "?"),
			"no node", node("id"), node("id", "x", "port", int64(1), "endpoint", "x"),
		}},
		"no shard", nil,
		[]any{"nodes", int64(5)},
		[]any{"nodes", []any{node("id", "b", "port", int64(7001), "ip", "", "endpoint", ""), node("id", "c", "port", "7", "endpoint", nil)}},
	}
	v, _ := parseClusterNodes(wholeView)
	v.useShards(shardsOf(t, shards, false))
	for id, want := range map[string]string{"a": "a.example:7000", "b": "10.0.0.2:7000", "c": "10.0.0.3:7000", "d": "10.0.0.4:7000"} {
		if v.nodes[id].address != want {
			t.Errorf("%s is at %q, want %q", id, v.nodes[id].address, want)
		}
	}
	for _, odd := range []any{nil, "text", int64(1), []any{}, []any{nil}, []any{[]any{"nodes"}}} {
		v, _ := parseClusterNodes(wholeView)
		v.useShards(shardsOf(t, odd, true))
		if v.nodes["b"].address != "10.0.0.2:7000" {
			t.Errorf("%v: %+v", odd, v.nodes)
		}
	}
}

// shardsOf reads a reply to CLUSTER SHARDS, and sees that nothing of it is left.
func shardsOf(t *testing.T, reply any, secure bool) (out []shardAddress) {
	t.Helper()
	said := []byte(inRESP(reply) + ":7\r\n")
	err := wire.NewConn(probetest.NewReplay(said), errProtocol).Converse(t.Context(), wire.Request{Read: func(x *wire.Exchange) (err error) {
		if out, err = readShards(x, secure); err != nil {
			return err
		}
		if _, n, _, err := readHeader(x); err != nil || n != 7 {
			t.Errorf("%v: behind it comes %d, %v", reply, n, err)
		}
		return nil
	}})
	if err != nil {
		t.Errorf("%v: %v", reply, err)
	}
	return out
}

// inRESP writes a reply of texts, numbers, lists and nil.
func inRESP(reply any) string {
	switch r := reply.(type) {
	case string:
		return servers.BulkText(r)
	case int64:
		return fmt.Sprintf(":%d\r\n", r)
	case []any:
		out := fmt.Sprintf("*%d\r\n", len(r))
		for _, e := range r {
			out += inRESP(e)
		}
		return out
	}
	return "$-1\r\n"
}

// Views that differ in nothing but who tells them, and when, share one map; any other difference is told apart.
func TestClusterViewsThatAreAlike(t *testing.T) {
	s := newClusterViews()
	view := func(text string, shards ...shardAddress) *clusterView {
		t.Helper()
		v, err := s.view(text, shards)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	first := view(wholeView)
	lines := slices.Collect(strings.Lines(strings.Replace(strings.Replace(wholeView, "myself,", "", 1), "master - 0 1426238317239 3", "myself,master - 5 6 3", 1)))
	slices.Reverse(lines)
	if v := view(strings.Join(lines, "")); v.clusterMap != first.clusterMap || v.myself != "c" || !v.primary {
		t.Errorf("the same, told by c: %s, shared: %v", v.myself, v.clusterMap == first.clusterMap)
	}
	for what, text := range map[string]string{
		"a slot":             strings.Replace(wholeView, "0-5460", "0-5459", 1),
		"a role":             strings.Replace(wholeView, "slave a", "master -", 1),
		"whose replica":      strings.Replace(wholeView, "slave a", "slave b", 1),
		"an address":         strings.Replace(wholeView, "10.0.0.4", "10.0.0.5", 1),
		"a failure":          strings.Replace(wholeView, "slave a", "slave,fail a", 1),
		"an epoch":           strings.Replace(wholeView, " 2 connected", " 9 connected", 1),
		"a moving slot":      strings.Replace(wholeView, "5461-10922", "5461-10922 [5461->-c]", 1),
		"a line less":        strings.Replace(wholeView, "d 10.0.0.4:7000@17000 slave a 0 1426238317239 1 connected\n", "", 1),
		"what can't be read": wholeView + "e\n",
		"its own short line": strings.Replace(wholeView, " - 0 0 1 connected 0-5460", "", 1),
	} {
		plain, err := parseClusterNodes(text)
		if err != nil {
			t.Fatal(err)
		}
		if v := view(text); v.clusterMap == first.clusterMap || !maps.Equal(v.nodes, plain.nodes) || !slices.Equal(v.owners, plain.owners) {
			t.Errorf("%s: %+v", what, v)
		}
	}
	if v := view(wholeView, shardAddress{"b", "b.example:7000"}); v.clusterMap == first.clusterMap || v.nodes["b"].address != "b.example:7000" {
		t.Errorf("an endpoint: %+v", v)
	}
	s.keep(map[*clusterMap]bool{first.clusterMap: true})
	if len(s.known) != 1 || s.held != first.size() || view(wholeView).clusterMap != first.clusterMap {
		t.Errorf("%d maps are kept, %d bytes", len(s.known), s.held)
	}
	// Nodes that each tell something else have no more than their room.
	var err error
	told := 0
	for i := 0; err == nil && i < 1<<14; i++ {
		_, err = s.view(strings.ReplaceAll(wholeView, " 2 connected", fmt.Sprintf(" %d connected", 100+i)), nil)
		told++
	}
	if !errors.Is(err, errTooManyViews) || s.held > mostHeld || told < 500 {
		t.Errorf("after %d views, %d bytes: %v", told, s.held, err)
	}
}

// FuzzClusterNodes puts anything between lines that are in order: nothing of those is lost, but where it says otherwise of
// the same nodes or slots.
func FuzzClusterNodes(f *testing.F) {
	f.Add("07c3 127.0.0.1:30004@31004,host slave e7d1 0 1426238317239 4 connected\n" +
		"e7d1 127.0.0.1:30001@31001 master - 0 0 1 connected 0-5460 7000 [93->-292f] [77-<-e7d1]\n")
	f.Add("a :0@0 master,noaddr - 0 0 1 disconnected\nb ::1:7000@1 myself,master - 0 0 1 connected 16383")
	f.Add("a :1 myself,master - 0 0 1 connected 5-3 99999 [x-] -")
	whole, _ := parseClusterNodes(wholeView)
	f.Fuzz(func(t *testing.T, text string) {
		if v, err := parseClusterNodes(text); (v == nil) == (err == nil) {
			t.Fatal(v, err)
		}
		v, err := parseClusterNodes(wholeView + text)
		if err != nil || v.myself != "a" || !v.primary {
			t.Fatal(v, err)
		}
		takesPart := func(string) bool { return true }
		v.ranks(takesPart)
		v.agrees(whole.clusterMap, takesPart)
		for id, n := range whole.nodes {
			if v.nodes[id] != n {
				t.Errorf("%s is %+v", id, v.nodes[id])
			}
		}
		for slot := range v.owners {
			if v.owner(slot) == "" {
				t.Fatalf("slot %d: %s", slot, fmt.Sprint(v.skipped))
			}
		}
	})
}

// Whatever a node answers to CLUSTER INFO, NODES and SHARDS, there is a view, or it was refused, or the connection is of no use; and what
// is kept of it has its bounds.
func FuzzClusterView(f *testing.F) {
	bulk := func(s string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(s), s) }
	info, nodes := bulk("cluster_state:ok\r\ncluster_current_epoch:3\r\n"), bulk(wholeView)
	node := "*8\r\n" + bulk("id") + bulk("a") + bulk("endpoint") + bulk("h") + bulk("port") + ":7000\r\n" + bulk("tls-port") + ":7001\r\n"
	for _, s := range []string{
		info + nodes + "*1\r\n*4\r\n" + bulk("slots") + "*2\r\n:0\r\n:16383\r\n" + bulk("nodes") + "*1\r\n" + node,
		info + nodes + "-ERR Unknown subcommand\r\n", "-NOPERM x\r\n-NOPERM x\r\n-NOPERM x\r\n", info + "-ERR This instance has cluster support disabled\r\n*0\r\n",
		info + nodes + "*2147483647\r\n*0\r\n", info + nodes + "*1\r\n*3\r\n" + bulk("nodes") + "*-1\r\n" + bulk("x"), "$-1\r\n$-1\r\n*-1\r\n",
		info + bulk("a :0@0 myself,master - 0 0 9223372036854775808 connected 0-99999") + "*1\r\n:1\r\n",
	} {
		f.Add([]byte(s), false)
		f.Add([]byte(s), true)
	}
	plain, err := newNode(probes.Identity{}, nodeConfig{Address: "127.0.0.1:1"}, probetest.Env())
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(plain.Close)
	f.Fuzz(func(t *testing.T, said []byte, secure bool) {
		plain.views = newClusterViews()
		if plain.config.TLS = nil; secure {
			plain.config.TLS = &form.TLS{}
		}
		for range 2 { // the second time it is known
			_ = wire.NewConn(probetest.NewReplay(said), errProtocol).Converse(t.Context(), wire.Request{Read: func(x *wire.Exchange) error {
				view, refused, err := plain.readView(x)
				told := 0
				for _, is := range []bool{view != nil, refused != nil, err != nil} {
					if is {
						told++
					}
				}
				if told != 1 {
					t.Errorf("a view: %v, refused: %v, error: %v", view, refused, err)
				}
				if view != nil && (len(view.nodes) > mostPeers+1 || view.myself == "" || view.address == "" || plain.views.held > mostHeld) {
					t.Errorf("%d nodes, myself %q at %q, %d bytes are held", len(view.nodes), view.myself, view.address, plain.views.held)
				}
				return err
			}})
		}
	})
}
