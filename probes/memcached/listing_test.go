package memcached

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

// listedKeys surveys until want keys were found or a listing failed, and gives them in order.
func listedKeys(t testing.TB, n probes.Node, match string, want int) ([]string, error) {
	t.Helper()
	var found []string
	var refused error
	listed := probetest.NewListed(match)
	servers.Eventually(t, "the keys are listed", func() bool {
		s, err := n.Survey(probetest.Within(t, 5*time.Second), &listed.Scan)
		if err != nil {
			t.Fatal(err)
		}
		if found = append(found, listed.Take()...); errors.Is(s.ScanErr, probes.ErrListing) {
			return false
		}
		refused = s.ScanErr
		return len(found) >= want && want > 0 || refused != nil
	})
	slices.Sort(found)
	return found, refused
}

// relist lets the next listing begin at once.
func relist(n *node) {
	n.keys.listing.mu.Lock()
	defer n.keys.listing.mu.Unlock()
	n.keys.listing.next = time.Time{}
}

func TestListsKeys(t *testing.T) {
	servers.NoLeaks(t)
	p := servers.Memcached(t)
	c := servers.MemcachedClient(t, p.Addr)
	odd := []string{"%", "%41", "+", "?", "&x=y", "/", "é", "\"", "\\", "*", "key=", "END", "\xff", "~", "'"}
	var want []string
	for i := range 5000 {
		name := fmt.Sprintf("user:%d%s:profile", i, odd[i%len(odd)])
		want = append(want, name)
		set(t, c, name, "v", 1000)
		if i%5 == 0 {
			set(t, c, "other:"+name, "v", 0)
		}
	}
	slices.Sort(want)
	proxy := servers.NewProxy(t, p.Addr)
	n := openNode(t, nodeConfig{Address: proxy.Addr}, probetest.Env())
	begunAnew(n)
	probetest.Survey(t, n)
	if got := proxy.Counts().Connections; got != 1 {
		t.Errorf("%d connections without a pattern", got)
	}
	got, err := listedKeys(t, n, "user:*:profile", len(want))
	if err != nil || !slices.Equal(got, want) {
		t.Fatalf("%d keys, want %d: %v", len(got), len(want), err)
	}
	for range 3 {
		listed := probetest.NewListed("")
		s, err := n.Survey(probetest.Within(t, 5*time.Second), &listed.Scan)
		if found := listed.Take(); err != nil || s.ScanErr != nil || len(found) > 0 {
			t.Errorf("%v, %v, %d keys", err, s.ScanErr, len(found))
		}
	}
	if got := proxy.Counts().Connections; got != 2 {
		t.Errorf("%d connections; listing takes one of its own, every 10 minutes at most", got)
	}
	if s := probetest.Survey(t, n); s.OwnHits+s.OwnMisses != 0 || s.Hits.Value+s.Misses.Value != 0 {
		t.Errorf("listing counted: %+v", s)
	}
	keys := make([]probes.Key, len(got))
	for i, k := range got {
		keys[i].Name = k
	}
	for i, raw := range probetest.Read(t, n, keys...) {
		if !raw.Present {
			t.Fatalf("%q: %+v", keys[i].Name, raw)
		}
	}
	relist(n)
	if got, err := listedKeys(t, n, "", len(want)+1000); err != nil || len(got) != len(want)+1000 {
		t.Errorf("%d keys of all: %v", len(got), err)
	}
}

func TestNodesAtOneServerShareAListing(t *testing.T) {
	servers.NoLeaks(t)
	p := servers.Memcached(t)
	c := servers.MemcachedClient(t, p.Addr)
	for i := range 10 {
		set(t, c, "a:"+strconv.Itoa(i), "v", 0)
		set(t, c, "b:"+strconv.Itoa(i), "v", 0)
	}
	proxy := servers.NewProxy(t, p.Addr)
	a := openNode(t, nodeConfig{Address: proxy.Addr}, probetest.Env())
	b := openNode(t, nodeConfig{Address: proxy.Addr}, probetest.Env())
	begunAnew(a)
	if got, err := listedKeys(t, a, "a:*", 10); err != nil || len(got) != 10 || !strings.HasPrefix(got[0], "a:") {
		t.Errorf("%v, %v", got, err)
	}
	// Who comes later waits for the next listing, and has a part in it whoever begins it.
	late := probetest.NewListed("b:*")
	if s, err := b.Survey(probetest.Within(t, time.Second), &late.Scan); err != nil || s.ScanErr != nil || len(late.Take()) > 0 {
		t.Errorf("%v, %v", s.ScanErr, err)
	}
	relist(a)
	if got, err := listedKeys(t, a, "a:*", 10); err != nil || len(got) != 10 || !strings.HasPrefix(got[0], "a:") {
		t.Errorf("%v, %v", got, err)
	}
	var got []string
	servers.Eventually(t, "the other node was given its keys as well", func() bool {
		got = append(got, late.Take()...)
		return len(got) == 10 && strings.HasPrefix(got[0], "b:")
	})
	if got := proxy.Counts().Connections; got != 4 {
		t.Errorf("%d connections, want 2 and one for each listing", got)
	}
	a.Close()
	relist(b)
	if got, err := listedKeys(t, b, "b:*", 10); err != nil || len(got) != 10 {
		t.Errorf("%v, %v", got, err)
	}
}

func TestListingIsRefused(t *testing.T) {
	servers.NoLeaks(t)
	for _, args := range [][]string{{"-X"}, {"-o", "no_lru_crawler"}} {
		p := servers.Memcached(t, args...)
		n := openNode(t, nodeConfig{Address: p.Addr}, probetest.Env())
		begunAnew(n)
		_, err := listedKeys(t, n, "", 0)
		if err == nil || !strings.Contains(err.Error(), "lru_crawler metadump: refused (") || !strings.Contains(err.Error(), "keys instead") {
			t.Errorf("%v: %v", args, err)
		}
		if left := time.Until(n.kept.listing.next); left > listAgain || left < listAgain/2 {
			t.Errorf("%v: asked again in %v", args, left)
		}
		probetest.Read(t, n, probes.Key{Name: "a"})
	}
}

// crawled is a server whose lru_crawler metadump is the test's own.
func crawled(t testing.TB, dump func(what string, out *bufio.Writer) bool) *node {
	t.Helper()
	addr := scripted(t, func(line string, out *bufio.Writer) bool {
		if what, ok := strings.CutPrefix(line, "lru_crawler metadump "); ok {
			return dump(what, out)
		}
		_, _ = out.WriteString(map[string]string{"stats": "STAT uptime 1\r\nEND\r\n", "mn": "MN\r\n"}[line])
		return true
	})
	n := openNode(t, nodeConfig{Address: addr}, probetest.Env())
	begunAnew(n)
	return n
}

// begunAnew: nothing is known of the listings of another server, which had the same port in an earlier test.
func begunAnew(n *node) {
	l := n.keys.listing
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next, l.ended = time.Time{}, false
}

func TestListingByLRUs(t *testing.T) {
	servers.NoLeaks(t)
	var asked []string
	n := crawled(t, func(what string, out *bufio.Writer) bool {
		switch asked = append(asked, what); len(asked) {
		case 1:
			_, _ = out.WriteString("BADCLASS invalid class id\r\n")
		case 2:
			_, _ = out.WriteString("BUSY currently processing crawler request\r\n")
		default:
			_, _ = out.WriteString("key=a exp=-1 la=1 cas=1 fetch=no cls=1 size=1\nkey=b%20c exp=-1\nkey=%zz x\nkey=d\r\nEND\r\n")
		}
		return true
	})
	if got, err := listedKeys(t, n, "", 2); err != nil || !slices.Equal(got, []string{"a", "d"}) {
		t.Errorf("%q, %v", got, err)
	}
	if !slices.Equal(asked, []string{"hash", "all", "all"}) {
		t.Errorf("asked for %v", asked)
	}
}

// Once a key came, a line that can't be used costs itself alone, however long it is. What begins with another line is no listing.
func TestListingWithOddLines(t *testing.T) {
	servers.NoLeaks(t)
	long := strings.Repeat("x", 100<<10)
	for said, fails := range map[string]bool{
		"key=a exp=-1\nwhat is this\n\nkey\nkey=d exp=1\nEND\r\n":                         false,
		"key=a exp=-1\nkey=" + long + " exp=1\n" + long + "\nkey=d " + long + "\nEND\r\n": false,
		"key=" + long + "\nkey=a\nkey=d\nEND\r\n":                                         false,
		"what is this\nkey=a\nkey=d\nEND\r\n":                                             true,
		"key=a\nkey=d\nSERVER_ERROR out of memory\r\n":                                    true,
	} {
		n := crawled(t, func(_ string, out *bufio.Writer) bool {
			_, _ = out.WriteString(said)
			return true
		})
		got, err := listedKeys(t, n, "", 2)
		if (err != nil) != fails || !fails && !slices.Equal(got, []string{"a", "d"}) {
			t.Errorf("%.60q: %q, %v", said, got, err)
		}
	}
}

func TestListingEnds(t *testing.T) {
	servers.NoLeaks(t)
	ended := make(chan struct{})
	n := crawled(t, func(_ string, out *bufio.Writer) bool {
		defer close(ended)
		for i := 0; ; i++ {
			if _, err := fmt.Fprintf(out, "key=user:%d exp=-1 la=1 cas=1 fetch=no cls=1 size=1\n", i); err != nil {
				return false
			}
		}
	})
	if got, err := listedKeys(t, n, "user:*", listMost); err != nil || len(got) != listMost {
		t.Errorf("%d keys, %v", len(got), err)
	}
	<-ended // the server, which would have gone on for ever, was left
	servers.Eventually(t, "the next listing is due much later", func() bool {
		n.kept.listing.mu.Lock()
		defer n.kept.listing.mu.Unlock()
		return time.Until(n.kept.listing.next) > listEvery-time.Minute
	})
}

// A listing that stands still keeps nobody waiting: no survey, no read and no Close.
func TestListingStandsStill(t *testing.T) {
	servers.NoLeaks(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var dumps atomic.Int64
	n := crawled(t, func(_ string, out *bufio.Writer) bool {
		dumps.Add(1)
		_, _ = out.WriteString("key=a exp=-1\n")
		_ = out.Flush()
		<-ctx.Done()
		return false
	})
	for range 5 {
		start := time.Now()
		s, err := n.Survey(probetest.Within(t, 5*time.Second), &probes.Scan{})
		if err != nil || !errors.Is(s.ScanErr, probes.ErrListing) || time.Since(start) > time.Second {
			t.Errorf("%v, %v after %v", err, s.ScanErr, time.Since(start))
		}
	}
	servers.Eventually(t, "it lists", func() bool { return dumps.Load() > 0 }) // beside the surveys
	start := time.Now()
	n.Close()
	if time.Since(start) > time.Second || dumps.Load() != 1 {
		t.Errorf("closing took %v, %d listings", time.Since(start), dumps.Load())
	}
	// A node that comes after it, as after a reload, does not list again so soon.
	again := openNode(t, n.config, probetest.Env())
	if s, err := again.Survey(probetest.Within(t, time.Second), &probes.Scan{}); err != nil || !errors.Is(s.ScanErr, probes.ErrListing) || dumps.Load() != 1 {
		t.Errorf("%v, %v, %d listings", s.ScanErr, err, dumps.Load())
	}
}

func TestLiteralEnds(t *testing.T) {
	for glob, want := range map[string][2]string{
		"": {"", ""}, "*": {"", ""}, "a": {"a", "a"}, "user:*": {"user:", ""}, "*:profile": {"", ":profile"}, "a*b?c": {"a", "c"},
		"a[*]b": {"a", ""}, `a\*b`: {"a", ""}, "a*[b]c": {"a", ""},
	} {
		if p, s := literalEnds(glob); p != want[0] || s != want[1] {
			t.Errorf("%q: %q, %q", glob, p, s)
		}
	}
}
