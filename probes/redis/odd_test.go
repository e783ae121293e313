package redis

import (
	"context"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/wire"
)

// A reply that can't be used costs the copy that it is about, and no other.
func TestOddRepliesCostThemselvesAlone(t *testing.T) {
	keys := []probes.Key{{Name: "a"}, {Name: "b"}, {Name: "h", Hash: true}, {Name: "i", Hash: true}}
	const good = "$2\r\nhi\r\n"
	hash := "*2\r\n$1\r\nf\r\n$1\r\nv\r\n"
	for name, c := range map[string]struct {
		ttl, value, hash string
		wantTTL          time.Duration // of a; -1: unknown
		lost             string        // of a's or h's error; empty: none
		hashLost         bool
	}{
		"19 digits":            {ttl: ":9223372036854775807\r\n", wantTTL: math.MaxInt64},
		"30 digits":            {ttl: ":" + strings.Repeat("9", 30) + "\r\n", wantTTL: math.MaxInt64},
		"a sign":               {ttl: ":+1000\r\n", wantTTL: time.Second},
		"a text for a TTL":     {ttl: "$4\r\n1000\r\n", wantTTL: -1},
		"a fraction":           {ttl: ":1.5\r\n", wantTTL: -1},
		"a list for a TTL":     {ttl: "*2\r\n:1\r\n*1\r\n$2\r\nab\r\n", wantTTL: -1},
		"a TTL refused":        {ttl: "-ERR no\r\n", wantTTL: -1},
		"a long refusal":       {ttl: "-ERR " + strings.Repeat("x", 100<<10) + "\r\n", wantTTL: -1},
		"a number for a value": {value: ":5\r\n", lost: "of another kind"},
		"a list for a value":   {value: "*3\r\n:1\r\n$-1\r\n*1\r\n+x\r\n", lost: "of another kind"},
		"a proxy's refusal":    {value: "-upstream failure\r\n", lost: "upstream failure"},
		"three parts of hash":  {hash: "*3\r\n$1\r\nf\r\n$1\r\nv\r\n$1\r\ng\r\n", lost: "of another kind", hashLost: true},
		"a hash with nil":      {hash: "*2\r\n$1\r\nf\r\n$-1\r\n", lost: "of another kind", hashLost: true},
		"a hash with a list":   {hash: "*2\r\n$1\r\nf\r\n*1\r\n:1\r\n", lost: "of another kind", hashLost: true},
		"a text for a hash":    {hash: "+OK\r\n", lost: "of another kind", hashLost: true},
	} {
		said := orElse(c.ttl, ":5\r\n") + ":6\r\n:7\r\n:8\r\n*2\r\n" + orElse(c.value, good) + good + orElse(c.hash, hash) + hash
		got := replayRead(t, said, keys)
		switch a := got[0]; {
		case c.ttl != "" && c.wantTTL < 0 && (a.HasTTL || a.NoExpiry), c.ttl != "" && c.wantTTL >= 0 && a.TTL != c.wantTTL:
			t.Errorf("%s: %+v", name, a)
		case c.value == "" && string(a.Value) != "hi":
			t.Errorf("%s: a is %+v", name, a)
		}
		lost := got[0]
		if c.hashLost {
			lost = got[2]
		}
		if (c.lost != "") != (lost.Err != nil) || lost.Err != nil && !strings.Contains(lost.Err.Error(), c.lost) {
			t.Errorf("%s: %+v, want %q", name, lost, c.lost)
		}
		if b, i := got[1], got[3]; string(b.Value) != "hi" || b.TTL != 6*time.Millisecond || len(i.Fields) != 1 || i.TTL != 8*time.Millisecond {
			t.Errorf("%s: others are %+v, %+v", name, b, i)
		}
	}
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// replayRead reads keys from a server that says so.
func replayRead(t *testing.T, said string, keys []probes.Key) []probes.Raw {
	t.Helper()
	n, err := newNode(probes.Identity{}, nodeConfig{Address: "127.0.0.1:1"}, probetest.Env())
	if err != nil {
		t.Fatal(err)
	}
	got := make([]probes.Raw, len(keys))
	p := &pipeline{node: n, keys: keys, visit: func(i int, r probes.Raw) {
		r.Value = []byte(string(r.Value))
		got[i] = r
	}}
	if err := wire.NewConn(probetest.NewReplay([]byte(said)), errProtocol).Converse(context.Background(), wire.Request{Commands: p.commands(), Read: p.read}); err != nil {
		t.Errorf("%.60q: %v", said, err)
	}
	return got
}

// INFO of any length and SCAN with any element leave the node up, and the rest of the keys found.
func TestOddSurveys(t *testing.T) {
	long := strings.Repeat("errorstat_ERR x:count=1\r\n", 100_000)
	info := "# Server\r\nredis_version:7.0.0\r\nrun_id:r1\r\n# Replication\r\nrole:master\r\nmaster_repl_offset:9223372036854775807\r\n# Errorstats\r\n" + long +
		"# Keyspace\r\ndb0:keys=3,expires=0\r\n"
	key := strings.Repeat("k", 2<<20)
	for name, c := range map[string]struct {
		info, scan string
		found      string
		refused    bool
	}{
		"long INFO":        {info: info, scan: "*2\r\n$1\r\n0\r\n*1\r\n$1\r\na\r\n", found: "a"},
		"a long key":       {scan: "*2\r\n$1\r\n0\r\n*3\r\n$1\r\na\r\n" + bulk(key) + "$1\r\nb\r\n", found: "ab"},
		"elements no keys": {scan: "*2\r\n$1\r\n0\r\n*5\r\n$1\r\na\r\n$-1\r\n*1\r\n:1\r\n:7\r\n$1\r\nb\r\n", found: "ab"},
		"an odd cursor":    {scan: "*2\r\n*0\r\n*1\r\n$1\r\na\r\n", found: "a", refused: true},
		"no list of keys":  {scan: "*2\r\n$1\r\n0\r\n+OK\r\n", refused: true},
		"a text for SCAN":  {scan: "+OK\r\n", refused: true},
		"three parts":      {scan: "*3\r\n$1\r\n0\r\n*0\r\n*1\r\n:1\r\n", refused: true},
	} {
		n, err := newNode(probes.Identity{}, nodeConfig{Address: "127.0.0.1:1"}, probetest.Env())
		if err != nil {
			t.Fatal(err)
		}
		told := orElse(c.info, "redis_version:7.0.0\r\nrole:master\r\nrun_id:r1\r\nmaster_repl_offset:9223372036854775807\r\n# Keyspace\r\ndb0:keys=3\r\n")
		var s probes.Survey
		after := ""
		listed := probetest.NewListed("")
		ask := n.surveyRequest(wire.Request{Read: func(*wire.Exchange) error { return nil }}, &listed.Scan, func(got probes.Survey, _ error) { s = got })
		err = wire.NewConn(probetest.NewReplay([]byte(bulk(told)+c.scan+"+next\r\n")), errProtocol).Converse(context.Background(), ask,
			wire.Request{Read: func(x *wire.Exchange) (err error) {
				after, err = readText(x)
				return err
			}})
		if err != nil || after != "next" {
			t.Errorf("%s: %v, then %q", name, err, after)
		}
		if s.RunID != "r1" || s.Items != (probes.Count{Value: 3, Known: true}) || s.Role != "primary" || s.Replication.Offset != math.MaxInt64 {
			t.Errorf("%s: %+v", name, s)
		}
		if got := strings.Join(listed.Take(), ""); got != c.found || (s.ScanErr != nil) != c.refused {
			t.Errorf("%s: found %.20q, %v", name, got, s.ScanErr)
		}
	}
}

func bulk(s string) string { return string(appendArg(nil, s)) }

// A real server's longest TTL, its long INFO, and a key with a name of 2 MiB.
func TestLongRepliesOfAServer(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.Redis(t)
	r.Must(t, "set", "long", "v")
	r.Must(t, "pexpire", "long", "9223370000000000000")
	r.Must(t, "set", "thousand", "v", "ex", 1000*365*24*3600)
	r.Must(t, "set", "other", "v", "px", 50_000)
	r.Must(t, "set", strings.Repeat("k", 2<<20), "v")
	n := openNode(t, nodeConfig{Address: r.Addr}, probetest.Env())
	got := probetest.Read(t, n, probes.Key{Name: "long"}, probes.Key{Name: "thousand"}, probes.Key{Name: "other"})
	for i, g := range got {
		if g.Err != nil || string(g.Value) != "v" || !g.HasTTL || (g.TTL > time.Minute) != (i < 2) || g.TTL <= 0 {
			t.Errorf("%d: %+v", i, g)
		}
	}
	listed := probetest.NewListed("")
	s, err := n.Survey(probetest.Within(t, 5*time.Second), &listed.Scan)
	if found := listed.Take(); err != nil || s.ScanErr != nil || len(found) != 3 {
		t.Errorf("%d keys found, %v, %v", len(found), s.ScanErr, err)
	}
}

// Whatever one well-formed reply is, in the place of a TTL, of a value or of a hash: it costs no other key anything.
func FuzzOneOddReply(f *testing.F) {
	for _, said := range []string{
		":5\r\n", ":99999999999999999999\r\n", ":x\r\n", "$-1\r\n", "*-1\r\n", "*0\r\n", "*2\r\n+a\r\n*1\r\n:1\r\n", "-ERR x\r\n", "-NOPERM x\r\n", "+OK\r\n",
		"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n$2\r\nhi\r\n",
	} {
		f.Add([]byte(said))
	}
	keys := []probes.Key{{Name: "a"}, {Name: "b"}, {Name: "h", Hash: true}, {Name: "i", Hash: true}}
	const value, hash = "$2\r\nhi\r\n", "*2\r\n$1\r\nf\r\n$1\r\nv\r\n"
	f.Fuzz(func(t *testing.T, said []byte) {
		whole := false
		_ = wire.NewConn(probetest.NewReplay(append(said[:len(said):len(said)], "+end\r\n"...)), errProtocol).Converse(context.Background(), wire.Request{Read: func(x *wire.Exchange) error {
			kind, n, _, err := readHeader(x)
			if err != nil {
				return err
			}
			if err := skip(x, kind, n); err != nil {
				return err
			}
			text, err := readText(x)
			whole = text == "end"
			return err
		}})
		if !whole {
			return // not one reply
		}
		odd := string(said)
		for where, all := range []string{
			odd + ":6\r\n:7\r\n:8\r\n*2\r\n" + value + value + hash + hash,
			":5\r\n:6\r\n:7\r\n:8\r\n*2\r\n" + odd + value + hash + hash,
			":5\r\n:6\r\n:7\r\n:8\r\n*2\r\n" + value + value + odd + hash,
		} {
			got := replayRead(t, all, keys)
			if b, i := got[1], got[3]; string(b.Value) != "hi" || b.TTL != 6*time.Millisecond || len(i.Fields) != 1 {
				t.Errorf("%d, %q: others are %+v, %+v", where, odd, b, i)
			}
		}
	})
}
