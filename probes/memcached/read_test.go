package memcached

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

func TestReadTellsEachKindOfCopy(t *testing.T) {
	servers.NoLeaks(t)
	p := servers.Memcached(t)
	c := servers.MemcachedClient(t, p.Addr)
	env := probetest.Env()
	env.MaxValueBytes = 1000
	n := openNode(t, nodeConfig{Address: p.Addr}, env)
	long := strings.Repeat("k", 250)
	set(t, c, "s", "value", 100)
	set(t, c, "forever", "", 0)
	set(t, c, "late", "v", int32(time.Now().Add(60*24*time.Hour).Unix()))
	set(t, c, "large", strings.Repeat("x", 1001), 0)
	set(t, c, "fits", strings.Repeat("x", 1000), 0)
	set(t, c, long, "long", 0)
	set(t, c, "ключ", "й", 0)
	got := probetest.Read(t, n, probes.Key{Name: "s"}, probes.Key{Name: "forever"}, probes.Key{Name: "no"}, probes.Key{Name: "large"}, probes.Key{Name: "fits"}, probes.Key{Name: long},
		probes.Key{Name: "late"}, probes.Key{Name: "ключ"}, probes.Key{Name: "s", Check: true},
		probes.Key{Name: ""}, probes.Key{Name: long + "k"}, probes.Key{Name: "a b"}, probes.Key{Name: "a\r\nflush_all"}, probes.Key{Name: "a\x00"}, probes.Key{Name: "a\x7f"},
		probes.Key{Name: "s", Hash: true})
	for _, i := range []int{0, 8} {
		if g := got[i]; !g.Present || string(g.Value) != "value" || !g.HasTTL || g.TTL < 90*time.Second || g.TTL > 100*time.Second || g.NoExpiry {
			t.Errorf("%d: %+v", i, g)
		}
	}
	if g := got[1]; !g.Present || len(g.Value) != 0 || g.HasTTL || !g.NoExpiry {
		t.Errorf("without expiry: %+v", g)
	}
	if g := got[2]; g.Present || g.Err != nil || g.Suspect || g.HasTTL || g.NoExpiry {
		t.Errorf("missing: %+v", g)
	}
	if g := got[4]; len(g.Value) != 1000 {
		t.Errorf("a value that just fits: %+v", g)
	}
	if g := got[5]; string(g.Value) != "long" {
		t.Errorf("a key of 250 bytes: %+v", g)
	}
	if g := got[6]; g.TTL < 59*24*time.Hour {
		t.Errorf("60 days: %+v", g)
	}
	if g := got[7]; string(g.Value) != "й" {
		t.Errorf("a key in UTF-8: %+v", g)
	}
	white := "memcached can't hold a key with white space or control characters"
	for i, want := range map[int]string{
		3: "value of 1001 bytes is larger than --canary.max-value-bytes", 9: "memcached can't hold an empty key",
		10: "memcached can't hold a key of 251 bytes; 250 are the most", 11: white, 12: white, 13: white, 14: white,
		15: "memcached holds no hashes",
	} {
		if g := got[i]; g.Err == nil || g.Err.Error() != want || g.Present || g.HasTTL {
			t.Errorf("%d: %+v, want %q", i, g, want)
		}
	}
	// Neither what can't be sent nor a flush_all reached the server: 8 hits (the large one too), 1 miss.
	if s := probetest.Survey(t, n); s.OwnHits != 8 || s.OwnMisses != 1 || probetest.Others(s) != [2]float64{} || statsOf(t, p.Addr)["cmd_flush"] != "0" {
		t.Errorf("own reads %d and %d, others' %v", s.OwnHits, s.OwnMisses, probetest.Others(s))
	}
	if got := probetest.Read(t, n, probes.Key{Name: "a b"}); got[0].Err == nil {
		t.Error("nothing to send, and nothing told")
	}
}

func TestValuesThatLookLikeProtocol(t *testing.T) {
	servers.NoLeaks(t)
	p := servers.Memcached(t)
	c := servers.MemcachedClient(t, p.Addr)
	values := []string{
		"END\r\n", "EN\r\n", "MN\r\n", "VA 5 t-1 O3\r\nhello\r\n", "VALUE v3 0 2\r\nhi\r\nEND\r\n", "\r\n", "\r", "\n", "ERROR\r\n", "",
		"SERVER_ERROR out of memory\r\n", string([]byte{0, 255, 13, 10, 0}),
	}
	var keys []probes.Key
	for i, v := range values {
		keys = append(keys, probes.Key{Name: "v" + strconv.Itoa(i)})
		set(t, c, keys[i].Name, v, 0)
	}
	for _, addr := range []string{p.Addr, oldMemcached(t, p.Addr, "ERROR\r\n")} {
		n := openNode(t, nodeConfig{Address: addr}, probetest.Env())
		for i, raw := range probetest.Read(t, n, keys...) {
			if !raw.Present || string(raw.Value) != values[i] {
				t.Errorf("%q is told as %+v", values[i], raw)
			}
		}
	}
}

// All keys of a Read go out at once, and answers are told apart though keys repeat.
func TestRoundTrips(t *testing.T) {
	servers.NoLeaks(t)
	p := servers.Memcached(t)
	c := servers.MemcachedClient(t, p.Addr)
	for i := range 500 {
		set(t, c, "k"+strconv.Itoa(i), strconv.Itoa(i), 0)
	}
	keys := make([]probes.Key, 2500)
	for i := range keys {
		keys[i] = probes.Key{Name: "k" + strconv.Itoa(i%1000)}
	}
	// A delay sees to it that answers to what was sent first come after all that is sent without a wait.
	counting := servers.NewProxy(t, p.Addr)
	counting.Delay(30 * time.Millisecond)
	for _, addr := range []string{counting.Addr, oldMemcached(t, counting.Addr, "ERROR\r\n")} {
		n := openNode(t, nodeConfig{Address: addr}, probetest.Env())
		probetest.Survey(t, n)
		for range 2 {
			counting.Reset()
			probetest.Survey(t, n)
			if got := counting.Counts(); addr == counting.Addr && got.RoundTrips != 1 || got.Connections != 0 {
				t.Errorf("a survey: %+v", got)
			}
			counting.Reset()
			for i, raw := range probetest.Read(t, n, keys...) {
				want := strconv.Itoa(i % 1000)
				if i%1000 >= 500 {
					want = ""
				}
				if string(raw.Value) != want || raw.Present != (want != "") {
					t.Fatalf("%s: %+v", keys[i].Name, raw)
				}
			}
			if got := counting.Counts(); addr == counting.Addr && got.RoundTrips > 3 || got.Connections != 0 {
				t.Errorf("2,500 keys: %+v", got)
			}
		}
	}
}

// Many large values over one pipeline neither stand still nor hold more than the budget.
func TestLargeReads(t *testing.T) {
	servers.NoLeaks(t)
	p := servers.Memcached(t)
	c := servers.MemcachedClient(t, p.Addr)
	value := strings.Repeat("x", 100<<10)
	keys := make([]probes.Key, 3000)
	for i := range keys {
		keys[i].Name = fmt.Sprintf("%d:%s", i%50, strings.Repeat("k", 240))
		if i < 50 {
			set(t, c, keys[i].Name, value, 0)
		}
	}
	for _, addr := range []string{p.Addr, oldMemcached(t, p.Addr, "ERROR\r\n")} {
		env := probetest.Env()
		n := openNode(t, nodeConfig{Address: addr}, env)
		got := 0
		err := n.Read(probetest.Within(t, 30*time.Second), keys, func(_ int, raw probes.Raw) {
			if raw.Present && len(raw.Value) == len(value) {
				got++
			}
		})
		if err != nil || got != len(keys) {
			t.Errorf("%d of %d values: %v", got, len(keys), err)
		}
		probetest.Whole(t, env.Budget)
	}
}

// Reads leave no trace: not in the LRU, and not with a token that an application's client should have had.
func TestReadsLeaveNoTrace(t *testing.T) {
	servers.NoLeaks(t)
	p := servers.Memcached(t)
	c := servers.MemcachedClient(t, p.Addr)
	n := openNode(t, nodeConfig{Address: p.Addr}, probetest.Env())
	set(t, c, "k", "v", 1000)
	state := func() (age int, fetched string) {
		for _, f := range strings.Fields(say(t, p.Addr, "me k")[0]) {
			if name, value, _ := strings.Cut(f, "="); name == "la" {
				age, _ = strconv.Atoi(value)
			} else if name == "fetch" {
				fetched = value
			}
		}
		return age, fetched
	}
	servers.Eventually(t, "the item ages", func() bool { age, _ := state(); return age >= 2 })
	if raw := probetest.Read(t, n, probes.Key{Name: "k"})[0]; !raw.Present {
		t.Fatalf("%+v", raw)
	}
	if age, fetched := state(); age < 2 || fetched != "no" {
		t.Errorf("after a read: last access %d s ago, fetched: %s", age, fetched)
	}
	if _, err := c.Get("k"); err != nil {
		t.Fatal(err)
	}
	if _, fetched := state(); fetched != "yes" {
		t.Error("the test can't see traces")
	}
}

// Who first reads an item that was marked stale wins the right to make it anew. We give it back.
func TestRecacheTokensAreGivenBack(t *testing.T) {
	servers.NoLeaks(t)
	p := servers.Memcached(t)
	c := servers.MemcachedClient(t, p.Addr)
	n := openNode(t, nodeConfig{Address: p.Addr}, probetest.Env())
	keys := make([]probes.Key, 1500)
	for i := range keys {
		keys[i] = probes.Key{Name: "k" + strconv.Itoa(i)}
		set(t, c, keys[i].Name, "v", 1000)
	}
	for i := range keys {
		if i%2 == 0 {
			say(t, p.Addr, "md "+keys[i].Name+" I T500")
		}
	}
	want := probetest.Others(probetest.Survey(t, n))
	for _, raw := range probetest.Read(t, n, keys...) {
		if !raw.Present || string(raw.Value) != "v" {
			t.Fatalf("%+v", raw)
		}
	}
	if got := probetest.Others(probetest.Survey(t, n)); got != want {
		t.Errorf("others' hits and misses %v, want %v", got, want)
	}
	for i := range 100 {
		got := say(t, p.Addr, "mg "+keys[i].Name+" t u")[0]
		ttl, _ := strconv.Atoi(strings.Fields(got)[1][1:])
		if stale := i%2 == 0; strings.HasSuffix(got, " X W") != stale || stale && (ttl < 450 || ttl > 500) {
			t.Fatalf("%s: the application's client is told %q", keys[i].Name, got)
		}
	}
	// The application has its token now. We take it from nobody, and leave a new item alone.
	probetest.Read(t, n, keys...)
	if got := say(t, p.Addr, "mg k0 u")[0]; got != "HD Z X" {
		t.Errorf("a token that was won stays won: %q", got)
	}
	set(t, c, "k0", "new", 1000)
	probetest.Read(t, n, keys...)
	if got := say(t, p.Addr, "mg k0 u")[0]; got != "HD" {
		t.Errorf("a new item is not stale: %q", got)
	}
}
