package memcached

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
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

func memcacheClient(t testing.TB, addr string) *memcache.Client {
	t.Helper()
	c := memcache.New(addr)
	c.Timeout = 10 * time.Second
	t.Cleanup(func() { _ = c.Close() })
	return c
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

// tell gives what a memcached's own stats print.
func tell(t testing.TB, addr string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for line := range strings.Lines(say(t, addr, "stats")[0]) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "STAT" {
			out[f[1]] = f[2]
		}
	}
	return out
}

func TestMemcachedSurveyTellsWhatStatsTell(t *testing.T) {
	servers.NoLeaks(t)
	p := servers.Memcached(t, "-m", "2")
	c := memcacheClient(t, p.Addr)
	set(t, c, "a", "value", 0)
	for i := range 3000 { // more than there is memory for
		set(t, c, "fill:"+strconv.Itoa(i), strings.Repeat("x", 2000), 0)
	}
	for range 5 {
		_, _ = c.Get("fill:2999")
		_, _ = c.Get("no")
	}
	n := openNode(t, nodeConfig{Address: p.Addr}, probetest.Env())
	s := probetest.Survey(t, n)
	told := tell(t, p.Addr)
	for name, got := range map[string]probes.Count{
		"get_hits": s.Hits, "get_misses": s.Misses, "evictions": s.Evicted, "curr_items": s.Items, "bytes": s.MemoryUsed,
		"limit_maxbytes": s.MemoryLimit,
	} {
		if want := probes.ParseCount(told[name]); !got.Known || got != want {
			t.Errorf("%s: %v, and stats says %v", name, got, want)
		}
	}
	if s.Hits.Value != 5 || s.Misses.Value != 5 || s.Evicted.Value == 0 {
		t.Errorf("the test's own traffic is not in %+v", s)
	}
	if up := probes.ParseCount(told["uptime"]).Value; !s.UptimeSeconds.Known || up-s.UptimeSeconds.Value > 2 || s.UptimeSeconds.Value > up {
		t.Errorf("uptime: %v, and stats says %v", s.UptimeSeconds, up)
	}
	if s.Version != told["version"] || s.Version == "" || s.Took <= 0 {
		t.Errorf("survey: %+v", s)
	}
	if s.Role != "" || s.RunID != "" || s.EvictionPolicy != "" || s.Replication != nil || s.Loading || s.Unasked {
		t.Errorf("memcached has none of this: %+v", s)
	}
}

// The policy is asked for once it is known that it is a memcached that answers, in the same round trip as the rest.
func TestMemcachedSurveyTellsThePolicy(t *testing.T) {
	servers.NoLeaks(t)
	for policy, args := range map[string][]string{
		"segmented-lru": nil, "lru": {"-o", "no_lru_maintainer"}, "noeviction": {"-M"},
	} {
		p := servers.Memcached(t, args...)
		proxy := servers.NewProxy(t, p.Addr)
		n := openNode(t, nodeConfig{Address: proxy.Addr}, probetest.Env())
		probetest.Survey(t, n)
		proxy.Reset()
		if s := probetest.Survey(t, n); s.EvictionPolicy != policy {
			t.Errorf("%v: the policy is %q, want %s", args, s.EvictionPolicy, policy)
		}
		if trips := proxy.Counts().RoundTrips; trips != 1 {
			t.Errorf("%d round trips", trips)
		}
	}
}

// An expired item is counted once, whoever drops it; after flush_all nothing tells.
func TestMemcachedSurveyCountsExpiredItems(t *testing.T) {
	servers.NoLeaks(t)
	p := servers.Memcached(t)
	c := memcacheClient(t, p.Addr)
	n := openNode(t, nodeConfig{Address: p.Addr}, probetest.Env())
	for i := range 20 {
		set(t, c, "k"+strconv.Itoa(i), "v", 1)
	}
	for i := range 10 { // dropped by a read; the others by the crawler
		servers.Eventually(t, "the item expires", func() bool {
			_, err := c.Get("k" + strconv.Itoa(i))
			return errors.Is(err, memcache.ErrCacheMiss)
		})
	}
	servers.Eventually(t, "the crawler drops the rest", func() bool {
		say(t, p.Addr, "lru_crawler crawl all")
		return tell(t, p.Addr)["curr_items"] == "0"
	})
	if s := probetest.Survey(t, n); s.Expired != (probes.Count{Value: 20, Known: true}) {
		t.Errorf("expired: %v, want 20", s.Expired)
	}
	say(t, p.Addr, "flush_all")
	if s := probetest.Survey(t, n); s.Expired.Known {
		t.Errorf("expired after flush_all: %v", s.Expired)
	}
}

func TestMemcachedReadTellsEachKindOfCopy(t *testing.T) {
	servers.NoLeaks(t)
	p := servers.Memcached(t)
	c := memcacheClient(t, p.Addr)
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
	if s := probetest.Survey(t, n); s.OwnHits != 8 || s.OwnMisses != 1 || probetest.Others(s) != [2]float64{} || tell(t, p.Addr)["cmd_flush"] != "0" {
		t.Errorf("own reads %d and %d, others' %v", s.OwnHits, s.OwnMisses, probetest.Others(s))
	}
	if got := probetest.Read(t, n, probes.Key{Name: "a b"}); got[0].Err == nil {
		t.Error("nothing to send, and nothing told")
	}
}

func TestMemcachedValuesThatLookLikeProtocol(t *testing.T) {
	servers.NoLeaks(t)
	p := servers.Memcached(t)
	c := memcacheClient(t, p.Addr)
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
func TestMemcachedRoundTrips(t *testing.T) {
	servers.NoLeaks(t)
	p := servers.Memcached(t)
	c := memcacheClient(t, p.Addr)
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

func TestMemcachedOwnReadsAreExactUnderChurn(t *testing.T) {
	servers.NoLeaks(t)
	p := servers.Memcached(t)
	c := memcacheClient(t, p.Addr)
	nodes := []*node{ // two layers may name one server
		openNode(t, nodeConfig{Address: p.Addr}, probetest.Env()), openNode(t, nodeConfig{Address: p.Addr}, probetest.Env()),
	}
	keys := make([]probes.Key, 2500)
	for i := range keys {
		keys[i] = probes.Key{Name: fmt.Sprintf("k%d", i%500)}
	}
	want := probetest.Others(probetest.Survey(t, nodes[0]))
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			k := fmt.Sprintf("k%d", rand.IntN(500))
			if rand.IntN(2) == 0 {
				_ = c.Delete(k)
			} else {
				_ = c.Set(&memcache.Item{Key: k, Value: []byte("v"), Expiration: int32(rand.IntN(2) + 1)})
			}
		}
	}()
	var reading sync.WaitGroup
	for _, n := range nodes {
		reading.Go(func() {
			for range 30 {
				if got := probetest.Others(probetest.Survey(t, n)); got != want {
					t.Errorf("others' hits and misses %v, want %v", got, want)
				}
				probetest.Read(t, n, keys...)
			}
		})
	}
	reading.Wait()
	close(stop)
	<-done
	for _, n := range nodes {
		s := probetest.Survey(t, n)
		if got := probetest.Others(s); got != want || s.OwnHits+s.OwnMisses != 2*30*2500 || s.OwnHits == 0 || s.OwnMisses == 0 {
			t.Errorf("others' hits and misses %v, want %v; own %d and %d", got, want, s.OwnHits, s.OwnMisses)
		}
	}
}

func TestMemcachedOwnReadsAreExactOverAFreeze(t *testing.T) {
	servers.NoLeaks(t)
	p := servers.Memcached(t)
	set(t, memcacheClient(t, p.Addr), "k0", strings.Repeat("x", 1000), 0)
	n := openNode(t, nodeConfig{Address: p.Addr}, probetest.Env())
	keys := make([]probes.Key, 1000)
	for i := range keys {
		keys[i].Name = fmt.Sprintf("k%d", i%2)
	}
	want := probetest.Others(probetest.Survey(t, n))
	for round := range 5 {
		p.Freeze(t)
		start := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		visits := 0
		err := n.Read(ctx, keys, func(int, probes.Raw) { visits++ })
		if !errors.Is(err, context.DeadlineExceeded) || visits != 0 {
			t.Fatalf("frozen: %v after %d visits", err, visits)
		}
		if _, err = n.Survey(ctx, &probes.Scan{}); err == nil {
			t.Fatal("a frozen server answered")
		}
		if d := time.Since(start); d > time.Second {
			t.Fatalf("a frozen server held us for %v", d)
		}
		cancel()
		p.Thaw(t)
		s := probetest.Survey(t, n)
		if got := probetest.Others(s); got != want || s.OwnHits != uint64(500*(round+1)) {
			t.Fatalf("round %d: others' hits and misses %v, want %v; own %d", round, got, want, s.OwnHits)
		}
	}
}

// A server that began anew has counted none of our reads; those over the new connection count at once.
func TestMemcachedOwnReadsAreExactOverARestart(t *testing.T) {
	servers.NoLeaks(t)
	p := servers.Memcached(t)
	n := openNode(t, nodeConfig{Address: p.Addr}, probetest.Env())
	other := openNode(t, nodeConfig{Address: p.Addr}, probetest.Env())
	probetest.Read(t, n, probes.Key{Name: "no"})
	if s := probetest.Survey(t, other); s.OwnMisses != 1 {
		t.Fatalf("own misses %d, want 1", s.OwnMisses)
	}
	for range 3 {
		p.Stop()
		if _, err := n.Survey(probetest.Within(t, time.Second), nil); err == nil {
			t.Fatal("a stopped server answered")
		}
		p = servers.MemcachedAt(t, p.Addr)
		// More misses than before, of others as well: the counts alone don't tell of the restart.
		for range 10 {
			_, _ = memcacheClient(t, p.Addr).Get("no")
		}
		probetest.Read(t, n, probes.Key{Name: "no"}, probes.Key{Name: "no"})
		probetest.Read(t, other, probes.Key{Name: "no"})
		if s := probetest.Survey(t, n); s.OwnMisses != 3 || s.Misses.Value != 13 {
			t.Errorf("own misses %d of %v, want 3 of 13", s.OwnMisses, s.Misses.Value)
		}
	}
	say(t, p.Addr, "stats reset")
	probetest.Read(t, n, probes.Key{Name: "no"})
	if s := probetest.Survey(t, n); s.Misses.Value != 1 || s.OwnMisses != 0 { // that they were reset shows in the survey after
		t.Errorf("own misses %d of %v", s.OwnMisses, s.Misses.Value)
	}
	probetest.Read(t, n, probes.Key{Name: "no"})
	if s := probetest.Survey(t, n); s.Misses.Value != 2 || s.OwnMisses != 1 {
		t.Errorf("own misses %d of %v", s.OwnMisses, s.Misses.Value)
	}
}

// An idle connection that the server closed costs nothing.
func TestMemcachedIdleConnection(t *testing.T) {
	servers.NoLeaks(t)
	p := servers.Memcached(t, "-o", "idle_timeout=1")
	n := openNode(t, nodeConfig{Address: p.Addr}, probetest.Env())
	probetest.Survey(t, n)
	servers.Eventually(t, "the server closes the connection", func() bool { return tell(t, p.Addr)["idle_kicks"] != "0" })
	probetest.Survey(t, n)
	if raw := probetest.Read(t, n, probes.Key{Name: "no"})[0]; raw.Err != nil {
		t.Error(raw.Err)
	}
}

// A read that is given up half way is counted to its end, and holds nothing meanwhile.
func TestMemcachedReadGivenUpHalfWay(t *testing.T) {
	servers.NoLeaks(t)
	p := servers.Memcached(t)
	c := memcacheClient(t, p.Addr)
	env := probetest.Env()
	keys := make([]probes.Key, 3000)
	for i := range keys {
		keys[i] = probes.Key{Name: fmt.Sprintf("k%d", i%100)}
	}
	for i := range 99 {
		set(t, c, keys[i].Name, strings.Repeat("x", 2_000), 0)
	}
	for _, addr := range []string{p.Addr, oldMemcached(t, p.Addr, "ERROR\r\n")} {
		n := openNode(t, nodeConfig{Address: addr}, env)
		want := probetest.Others(probetest.Survey(t, n))
		for _, visits := range []int{0, 1, 100, 999, 1500} {
			ctx, cancel := context.WithCancel(context.Background())
			if visits == 0 {
				time.AfterFunc(2*time.Millisecond, cancel)
			}
			seen := 0
			err := n.Read(ctx, keys, func(int, probes.Raw) {
				if seen++; seen == visits {
					cancel()
				}
			})
			at := seen
			if !errors.Is(err, context.Canceled) {
				t.Fatalf("given up after %d: %v", visits, err)
			}
			if got := probetest.Others(probetest.Survey(t, n)); got != want {
				t.Fatalf("given up after %d: others' hits and misses %v, want %v", visits, got, want)
			}
			if seen != at {
				t.Error("keys were handed on after Read returned")
			}
			probetest.Whole(t, env.Budget)
		}
	}
}

// Many large values over one pipeline neither stand still nor hold more than the budget.
func TestMemcachedLargeReads(t *testing.T) {
	servers.NoLeaks(t)
	p := servers.Memcached(t)
	c := memcacheClient(t, p.Addr)
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
func TestMemcachedReadsLeaveNoTrace(t *testing.T) {
	servers.NoLeaks(t)
	p := servers.Memcached(t)
	c := memcacheClient(t, p.Addr)
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
func TestMemcachedRecacheTokensAreGivenBack(t *testing.T) {
	servers.NoLeaks(t)
	p := servers.Memcached(t)
	c := memcacheClient(t, p.Addr)
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

// Closing does not wait for a frozen server, and leaves nothing behind.
func TestMemcachedCloseWhileFrozen(t *testing.T) {
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

func TestMemcachedFrozenBeforeTheFirstConnection(t *testing.T) {
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

func TestMemcachedDeadServer(t *testing.T) {
	servers.NoLeaks(t)
	n := openNode(t, nodeConfig{Address: servers.FreeAddr(t)}, probetest.Env())
	start := time.Now()
	if _, err := n.Survey(probetest.Within(t, 5*time.Second), &probes.Scan{}); err == nil {
		t.Error("a dead server answered")
	}
	if err := n.Read(probetest.Within(t, 5*time.Second), []probes.Key{{Name: "a"}}, func(int, probes.Raw) {}); err == nil {
		t.Error("a dead server answered")
	}
	if n.manner.plain || n.manner.mute || time.Since(start) > 2*time.Second {
		t.Errorf("%+v after %v", n.manner, time.Since(start))
	}
	if _, err := newNode(probes.Identity{}, nodeConfig{Address: "no-port"}, probetest.Env()); err == nil {
		t.Error("an address without a port")
	}
}

// A connection whose bytes were lost never answers; the server does, over a new one.
func TestMemcachedComesBackAfterACutNetwork(t *testing.T) {
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
