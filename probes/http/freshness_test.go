package http

import (
	"io"
	"math"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

// What an edge's 200 means, by its headers.
func TestEdgeCacheStatus(t *testing.T) {
	servers.NoLeaks(t)
	var headers atomic.Pointer[http.Header]
	s := startServer(t, func(w http.ResponseWriter, _ *http.Request) {
		for name, values := range *headers.Load() {
			w.Header()[name] = values
		}
		_, _ = io.WriteString(w, "body")
	})
	custom := &cacheStatusConfig{Header: "x-edge", Hit: regexp.MustCompile("(?i)hit")}
	first := &cacheStatusConfig{First: true}
	for _, c := range []struct {
		name    string
		headers http.Header
		status  *cacheStatusConfig
		hit     bool
	}{
		{"none", nil, nil, true},
		{"empty", http.Header{"Cache-Status": {""}, "X-Cache": {" , "}}, nil, true},

		{"configured hit", http.Header{"X-Edge": {"Hit"}}, custom, true},
		{"configured miss", http.Header{"X-Edge": {"Miss"}}, custom, false},
		{"configured before all", http.Header{"X-Edge": {"hit"}, "Cache-Status": {"a;fwd=miss"}, "X-Cache": {"MISS"}}, custom, true},
		{"configured, the last member", http.Header{"X-Edge": {"HIT, MISS"}}, custom, false},
		{"configured, absent", http.Header{"X-Cache": {"MISS"}}, custom, false},
		{"configured, nothing at all", nil, custom, true},
		{"not configured", http.Header{"X-Edge": {"Miss"}}, nil, true},

		{"rfc hit", http.Header{"Cache-Status": {"ExampleCache; hit"}}, nil, true},
		{"rfc stale hit", http.Header{"Cache-Status": {"ExampleCache; hit; ttl=-412"}}, nil, true},
		{"rfc hit true", http.Header{"Cache-Status": {"ExampleCache;hit=?1;ttl=3"}}, nil, true},
		{"rfc hit false", http.Header{"Cache-Status": {"ExampleCache;hit=?0"}}, nil, false},
		{"rfc miss", http.Header{"Cache-Status": {"ExampleCache; fwd=uri-miss; stored"}}, nil, false},
		{"rfc revalidated", http.Header{"Cache-Status": {"ExampleCache; fwd=stale; fwd-status=304"}}, nil, true},
		{"rfc revalidated as asked", http.Header{"Cache-Status": {"ExampleCache; fwd=request; fwd-status=304; ttl=60"}}, nil, true},
		{"rfc revalidated, the other way round", http.Header{"Cache-Status": {"ExampleCache;fwd-status=304;fwd=stale"}}, nil, true},
		{"rfc stale if error", http.Header{"Cache-Status": {"ExampleCache; fwd=stale; fwd-status=503"}}, nil, true},
		{"rfc replaced", http.Header{"Cache-Status": {"ExampleCache; fwd=stale; fwd-status=200; stored"}}, nil, false},
		{"rfc replaced, untold", http.Header{"Cache-Status": {"ExampleCache; fwd=stale"}}, nil, false},
		{"rfc an odd status", http.Header{"Cache-Status": {"ExampleCache; fwd=stale; fwd-status=soon"}}, nil, false},
		{"rfc a status alone", http.Header{"Cache-Status": {"ExampleCache; fwd-status=304"}, "X-Cache": {"MISS"}}, nil, false},
		{"rfc another's revalidation", http.Header{"Cache-Status": {"OriginCache; fwd=stale; fwd-status=304, CDN; fwd=uri-miss"}}, nil, false},
		{"rfc both", http.Header{"Cache-Status": {"ExampleCache; hit; fwd=stale"}}, nil, false},
		{"rfc says nothing", http.Header{"Cache-Status": {"ExampleCache; detail=hit"}}, nil, true},
		{"rfc says nothing, X-Cache does", http.Header{"Cache-Status": {"ExampleCache"}, "X-Cache": {"MISS"}}, nil, false},
		{"rfc the last is closest", http.Header{"Cache-Status": {"OriginCache; hit; ttl=1100, \"CDN\"; fwd=uri-miss"}}, nil, false},
		{"rfc the last is closest, hit", http.Header{"Cache-Status": {"OriginCache; fwd=miss, CDN; hit"}}, nil, true},
		{"rfc several lines", http.Header{"Cache-Status": {"OriginCache; hit", "CDN; fwd=miss"}}, nil, false},
		{"rfc strings", http.Header{"Cache-Status": {`"a, b; fwd=miss \", c"; hit; detail="x; fwd=miss, y"`}}, nil, true},
		{"rfc before the others", http.Header{"Cache-Status": {"a;hit"}, "Cf-Cache-Status": {"MISS"}, "X-Cache": {"MISS"}}, nil, true},

		{"cf hit", http.Header{"Cf-Cache-Status": {"HIT"}}, nil, true},
		{"cf miss", http.Header{"Cf-Cache-Status": {"MISS"}, "X-Cache": {"HIT"}}, nil, false},
		{"cf expired", http.Header{"Cf-Cache-Status": {"EXPIRED"}}, nil, false},
		{"cf bypass", http.Header{"Cf-Cache-Status": {"BYPASS"}}, nil, false},
		{"cf dynamic", http.Header{"Cf-Cache-Status": {"DYNAMIC"}}, nil, false},
		{"cf none", http.Header{"Cf-Cache-Status": {"NONE/UNKNOWN"}}, nil, false},
		{"cf stale", http.Header{"Cf-Cache-Status": {"STALE"}}, nil, true},
		{"cf updating", http.Header{"Cf-Cache-Status": {"UPDATING"}}, nil, true},
		{"cf revalidated", http.Header{"Cf-Cache-Status": {"REVALIDATED"}}, nil, true},

		{"hit", http.Header{"X-Cache": {"HIT"}}, nil, true},
		{"miss", http.Header{"X-Cache": {"MISS"}}, nil, false},
		{"cloudfront hit", http.Header{"X-Cache": {"Hit from cloudfront"}}, nil, true},
		{"cloudfront refresh hit", http.Header{"X-Cache": {"RefreshHit from cloudfront"}}, nil, true},
		{"cloudfront miss", http.Header{"X-Cache": {"Miss from cloudfront"}}, nil, false},
		{"akamai", http.Header{"X-Cache": {"TCP_MEM_HIT from a23-45 (AkamaiGHost/11)"}}, nil, true},
		{"akamai miss", http.Header{"X-Cache": {"TCP_MISS from a23-45"}}, nil, false},
		{"squid, a host with hit in its name", http.Header{"X-Cache": {"MISS from white-1"}}, nil, false},
		{"fastly shield hit", http.Header{"X-Cache": {"HIT, MISS"}}, nil, false},
		{"fastly edge hit", http.Header{"X-Cache": {"MISS, HIT"}}, nil, true},
		{"two lines", http.Header{"X-Cache": {"HIT", "MISS"}}, nil, false},
		{"varnish hit for pass", http.Header{"X-Cache": {"hit-for-pass"}}, nil, false},
		{"nginx stale", http.Header{"X-Cache": {"STALE"}}, nil, true},
		{"nginx revalidated", http.Header{"X-Cache": {"REVALIDATED"}}, nil, true},
		{"nginx expired", http.Header{"X-Cache": {"EXPIRED"}}, nil, false},
		{"apache revalidated", http.Header{"X-Cache": {"REVALIDATE from www.example.com"}}, nil, true},
		{"squid revalidated", http.Header{"X-Cache": {"TCP_REFRESH_UNMODIFIED from squid-1"}}, nil, true},
		{"squid replaced", http.Header{"X-Cache": {"TCP_REFRESH_MODIFIED from hit-1"}}, nil, false},
		{"squid, its origin failed", http.Header{"X-Cache": {"TCP_REFRESH_FAIL_OLD from squid-1"}}, nil, true},
		{"akamai revalidated", http.Header{"X-Cache": {"TCP_REFRESH_HIT from a23-45"}}, nil, true},

		{"first, rfc", http.Header{"Cache-Status": {"CDN; hit, OriginCache; fwd=uri-miss"}}, first, true},
		{"first, rfc, a miss", http.Header{"Cache-Status": {"CDN; fwd=uri-miss", "OriginCache; hit"}}, first, false},
		{"first, rfc, empty members", http.Header{"Cache-Status": {" , ,CDN; hit", "OriginCache; fwd=miss"}}, first, true},
		{"first, X-Cache", http.Header{"X-Cache": {"HIT, MISS"}}, first, true},
		{"first, X-Cache, a miss", http.Header{"X-Cache": {"MISS", "HIT"}}, first, false},
		{"first, none", nil, first, true},
		{"first of one configured", http.Header{"X-Edge": {"HIT, MISS"}}, &cacheStatusConfig{Header: "x-edge", Hit: custom.Hit, First: true}, true},
		{"nginx bypass", http.Header{"X-Cache": {"BYPASS"}}, nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			headers.Store(&c.headers)
			node := nodeAt(t, s)
			node.Edge, node.OnlyIfCached, node.CacheStatus = true, true, c.status
			n := openNode(t, node, probetest.Env())
			want, fills := "present", uint64(0)
			if !c.hit {
				want, fills = "missing", 1
			}
			if got := stateOf(probetest.Read(t, n, probes.Key{Name: "a"})[0]); got != want {
				t.Errorf("%s, want %s", got, want)
			}
			if got := probetest.Survey(t, n).Fills; got != fills {
				t.Errorf("%d fills, want %d", got, fills)
			}
			node.Edge = false // an application's cache: whatever the headers say, what it holds is content
			if got := stateOf(probetest.Read(t, openNode(t, node, probetest.Env()), probes.Key{Name: "a"})[0]); got != "present" {
				t.Errorf("no edge: %s", got)
			}
		})
	}
}

func TestRemainingTTL(t *testing.T) {
	now := time.Date(2024, 5, 1, 12, 0, 0, 0, time.UTC)
	date := func(d time.Duration) string { return now.Add(d).Format(http.TimeFormat) }
	for _, c := range []struct {
		name   string
		h      http.Header
		shared bool
		want   time.Duration
		has    bool
	}{
		{"none", http.Header{}, true, 0, false},
		{"no number", http.Header{"Cache-Control": {"max-age=soon, no-store"}}, true, 0, false},
		{"max-age", http.Header{"Cache-Control": {"public, max-age=60"}}, false, time.Minute, true},
		{"case and quotes", http.Header{"Cache-Control": {`Public,MAX-AGE="60"`}}, false, time.Minute, true},
		{"second line", http.Header{"Cache-Control": {"public", "max-age=60"}}, false, time.Minute, true},
		{"first of two", http.Header{"Cache-Control": {"max-age=60, max-age=90"}}, false, time.Minute, true},
		{"inside a string", http.Header{"Cache-Control": {`private="x, max-age=5", max-age=60`}}, false, time.Minute, true},
		{"age", http.Header{"Cache-Control": {"max-age=60"}, "Age": {"45"}}, true, 15 * time.Second, true},
		{"past", http.Header{"Cache-Control": {"max-age=60"}, "Age": {"100"}}, true, 0, true},
		{"age unreadable", http.Header{"Cache-Control": {"max-age=60"}, "Age": {"-5"}}, true, time.Minute, true},
		{"huge", http.Header{"Cache-Control": {"max-age=99999999999999999999"}}, true, (1<<31 - 1) * time.Second, true},
		{"huge age", http.Header{"Cache-Control": {"max-age=60"}, "Age": {"99999999999999999999"}}, true, 0, true},
		{"shared", http.Header{"Cache-Control": {"max-age=60, s-maxage=600"}}, true, 10 * time.Minute, true},
		{"private", http.Header{"Cache-Control": {"s-maxage=600, max-age=60"}}, false, time.Minute, true},
		{"private, s-maxage alone", http.Header{"Cache-Control": {"s-maxage=600"}}, false, 10 * time.Minute, true},
		{"expires", http.Header{"Expires": {date(time.Hour)}, "Date": {date(30 * time.Minute)}, "Age": {"60"}}, true, 29 * time.Minute, true},
		{"expires without date", http.Header{"Expires": {date(time.Hour)}}, true, time.Hour, true},
		{"expires passed", http.Header{"Expires": {date(-time.Hour)}}, true, 0, true},
		{"expires passed 2000 years ago", http.Header{"Expires": {"Mon, 01 Jan 0001 00:00:00 GMT"}, "Age": {"5"}}, true, 0, true},
		{"expires 0", http.Header{"Expires": {"0"}}, true, 0, true},
		{"max-age before expires", http.Header{"Expires": {date(time.Hour)}, "Cache-Control": {"max-age=60"}}, true, time.Minute, true},
	} {
		if got, has := remainingTTL(c.h, c.shared, now); got != c.want || has != c.has {
			t.Errorf("%s: %v, %t, want %v, %t", c.name, got, has, c.want, c.has)
		}
	}
}

func TestTTLFromHeaders(t *testing.T) {
	servers.NoLeaks(t)
	s := startServer(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60, s-maxage=100")
		w.Header().Set("Age", "40")
	})
	for _, c := range []struct {
		from, edge bool
		want       time.Duration
	}{{false, true, 0}, {true, true, time.Minute}, {true, false, 20 * time.Second}} {
		node := nodeAt(t, s)
		node.TTLFromHeaders, node.Edge = c.from, c.edge
		got := probetest.Read(t, openNode(t, node, probetest.Env()), probes.Key{Name: "a"})[0]
		if got.TTL != c.want || got.HasTTL != c.from || got.NoExpiry {
			t.Errorf("%+v: %+v", c, got)
		}
	}
}

// What stands behind a list's last comma decides alone, or what stands before its first, and no header makes a parser fail.
func FuzzCacheStatus(f *testing.F) {
	for _, s := range []string{"", "a; hit", `"a, \"b"; hit, c;fwd=miss`, "HIT, MISS", "max-age=60, s-maxage=\"5\"", "a;hit=?0;;,", "max-age=99999999999999999999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		h := http.Header{"Cache-Status": {s}, "X-Cache": {s}, "Cache-Control": {s}, "Age": {s}, "Expires": {s}}
		isFill(h, nil)
		isFill(h, &cacheStatusConfig{Header: "X-Cache", Hit: regexp.MustCompile("hit")})
		for _, shared := range []bool{true, false} {
			if ttl, has := remainingTTL(h, shared, time.Now()); ttl < 0 || !has {
				t.Errorf("TTL %v, %t", ttl, has) // Expires is there
			}
		}
		if strings.ContainsAny(s, `"\`) {
			return // what follows may be inside of a string
		}
		for _, last := range []string{"x;hit", "x;fwd=miss"} {
			h.Set("Cache-Status", s+", "+last)
			if isFill(h, nil) != (last != "x;hit") {
				t.Errorf("%q: the last member does not decide", h.Get("Cache-Status"))
			}
			h.Set("Cache-Status", last+", "+s)
			if isFill(h, &cacheStatusConfig{First: true}) != (last != "x;hit") {
				t.Errorf("%q: the first member does not decide", h.Get("Cache-Status"))
			}
		}
		if !strings.ContainsAny(s, ",;=") {
			h = http.Header{"Cache-Control": {s + "x, max-age=7"}}
			if ttl, has := remainingTTL(h, true, time.Now()); ttl != 7*time.Second || !has {
				t.Errorf("%q: TTL %v, %t", h.Get("Cache-Control"), ttl, has)
			}
		}
	})
}

// Age and entity tag are told of copies, where the answer has them.
func TestAgeAndTagAreTold(t *testing.T) {
	servers.NoLeaks(t)
	headers := map[string][2]string{ // Age and ETag by key
		"both": {"61", `"one"`}, "same": {"0", `"one"`}, "other": {"7", `W/"one"`}, "none": {"", ""}, "odd": {"-5", ""}, "late": {"99999999999", ""}, "empty": {"1.5", `""`},
	}
	s := startServer(t, func(w http.ResponseWriter, r *http.Request) {
		h, ok := headers[strings.TrimPrefix(r.URL.Path, "/k/")]
		for i, name := range []string{"Age", "ETag"} {
			if h[i] != "" {
				w.Header().Set(name, h[i])
			}
		}
		if !ok {
			w.Header().Set("Age", "5")
			w.WriteHeader(http.StatusNotFound)
		}
	})
	n := openNode(t, nodeAt(t, s), probetest.Env())
	got := map[string]probes.Raw{}
	names := []string{"both", "same", "other", "none", "odd", "late", "empty", "missing"}
	var keys []probes.Key
	for _, name := range names {
		keys = append(keys, probes.Key{Name: name})
	}
	for i, raw := range probetest.Read(t, n, keys...) {
		got[names[i]] = raw
	}
	for name, want := range map[string]time.Duration{"both": 61 * time.Second, "same": 0, "other": 7 * time.Second, "late": math.MaxInt32 * time.Second} {
		if raw := got[name]; !raw.HasAge || raw.Age != want {
			t.Errorf("%s: %+v", name, raw)
		}
	}
	for _, name := range []string{"none", "odd", "empty", "missing"} {
		if raw := got[name]; raw.HasAge || raw.Age != 0 || raw.ETag != 0 && name != "empty" {
			t.Errorf("%s: %+v", name, raw)
		}
	}
	if one := got["both"].ETag; one == 0 || one != got["same"].ETag || one == got["other"].ETag || got["empty"].ETag == 0 {
		t.Errorf("tags: %+v", got)
	}
}
