package memcached

import (
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/bradfitz/gomemcache/memcache"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

// statsOf gives what a memcached's own stats print.
func statsOf(t testing.TB, addr string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for line := range strings.Lines(say(t, addr, "stats")[0]) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "STAT" {
			out[f[1]] = f[2]
		}
	}
	return out
}

func TestSurveyTellsWhatStatsTell(t *testing.T) {
	servers.NoLeaks(t)
	p := servers.Memcached(t, "-m", "2")
	c := servers.MemcachedClient(t, p.Addr)
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
	told := statsOf(t, p.Addr)
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
func TestSurveyTellsThePolicy(t *testing.T) {
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
func TestSurveyCountsExpiredItems(t *testing.T) {
	servers.NoLeaks(t)
	p := servers.Memcached(t)
	c := servers.MemcachedClient(t, p.Addr)
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
		return statsOf(t, p.Addr)["curr_items"] == "0"
	})
	if s := probetest.Survey(t, n); s.Expired != (probes.Count{Value: 20, Known: true}) {
		t.Errorf("expired: %v, want 20", s.Expired)
	}
	say(t, p.Addr, "flush_all")
	if s := probetest.Survey(t, n); s.Expired.Known {
		t.Errorf("expired after flush_all: %v", s.Expired)
	}
}
