package redis

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

func TestSurveyTellsWhatInfoTells(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.Redis(t, "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
	r.Must(t, "set", "a", "1")
	r.Must(t, "set", "b", "1")
	one := redis.NewClient(&redis.Options{Addr: r.Addr, DB: 1})
	defer one.Close()
	one.Set(t.Context(), "c", "1", 0)
	s := probetest.Survey(t, openNode(t, nodeConfig{Address: "redis://" + r.Addr + "/1"}, probetest.Env()))
	if s.Role != "primary" || s.Version == "" || len(s.RunID) != 40 || s.EvictionPolicy != "allkeys-lru" || s.Took <= 0 {
		t.Errorf("survey: %+v", s)
	}
	if s.Items != (probes.Count{Value: 3, Known: true}) || s.MemoryLimit != (probes.Count{Value: 100 << 20, Known: true}) ||
		!s.Hits.Known || !s.UptimeSeconds.Known || !s.Evicted.Known {
		t.Errorf("counts: %+v", s)
	}
	if s.Replication == nil || len(s.Replication.ReplID) != 40 || s.Replication.ReplID2 != "" {
		t.Errorf("replication: %+v", s.Replication)
	}
	r.Must(t, "config", "set", "maxmemory", "0")
	if s = probetest.Survey(t, openNode(t, nodeConfig{Address: r.Addr}, probetest.Env())); s.MemoryLimit.Known {
		t.Errorf("no limit is told as %v", s.MemoryLimit)
	}
}

// A backup follows the primary like a replica for as long as it lasts, and listens nowhere.
func TestBackupIsNoReplica(t *testing.T) {
	servers.NoLeaks(t)
	primary, replica := servers.Redis(t), servers.Redis(t)
	replica.Follow(t, primary)
	backup := exec.CommandContext(t.Context(), "redis-cli", "-p", servers.Port(t, primary.Addr), "--replica")
	if err := backup.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = backup.Process.Kill()
		_ = backup.Wait()
	}()
	servers.Eventually(t, "the primary feeds both", func() bool {
		return strings.Contains(primary.Info(t.Context(), "replication").Val(), "connected_slaves:2")
	})
	s := probetest.Survey(t, openNode(t, nodeConfig{Address: primary.Addr}, probetest.Env()))
	if s.Replication == nil || len(s.Replication.Replicas) != 1 || s.Replication.Replicas[0].Address != replica.Addr {
		t.Errorf("replicas: %+v", s.Replication)
	}
}

func TestReadTellsEachKindOfCopy(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.Redis(t)
	env := probetest.Env()
	env.MaxValueBytes = 1000
	n := openNode(t, nodeConfig{Address: r.Addr}, env)
	r.Must(t, "set", "s", "value", "ex", 100)
	r.Must(t, "set", "forever", "")
	r.Must(t, "rpush", "list", "x")
	r.Must(t, "set", "large", strings.Repeat("x", 1001))
	r.Must(t, "hset", "h", "f", "v", "g", "")
	r.Must(t, "hset", "hlarge", "f", strings.Repeat("x", 600), "g", strings.Repeat("x", 600))
	got := probetest.Read(t, n, probes.Key{Name: "s"}, probes.Key{Name: "forever"}, probes.Key{Name: "no"}, probes.Key{Name: "list"}, probes.Key{Name: "list", Check: true},
		probes.Key{Name: "large"}, probes.Key{Name: "h", Hash: true}, probes.Key{Name: "s", Hash: true}, probes.Key{Name: "no", Hash: true}, probes.Key{Name: "hlarge", Hash: true},
		probes.Key{Name: "h", Check: true}, probes.Key{Name: "no", Check: true}, probes.Key{Name: "s", Check: true})
	if g := got[0]; !g.Present || string(g.Value) != "value" || !g.HasTTL || g.TTL < 90*time.Second || g.TTL > 100*time.Second || g.NoExpiry {
		t.Errorf("string: %+v", g)
	}
	if g := got[1]; !g.Present || len(g.Value) != 0 || g.HasTTL || !g.NoExpiry {
		t.Errorf("without expiry: %+v", g)
	}
	for _, i := range []int{2, 8, 11} {
		if g := got[i]; g.Present || g.Err != nil || g.Suspect {
			t.Errorf("missing %d: %+v", i, g)
		}
	}
	if g := got[3]; !g.Suspect || g.Present || g.Err != nil {
		t.Errorf("list, unchecked: %+v", g)
	}
	for i, want := range map[int]string{
		4: "is a list, not a string", 10: "is a hash, not a string", 7: "is not a hash",
		5: "value of 1001 bytes is larger than --canary.max-value-bytes", 9: "value of 1202 bytes is larger than --canary.max-value-bytes",
	} {
		if g := got[i]; g.Err == nil || g.Err.Error() != want || g.Present {
			t.Errorf("%d: %+v, want %q", i, g, want)
		}
	}
	text := ""
	for _, f := range got[6].Fields {
		text += string(f.Name) + "=" + string(f.Value) + ";"
	}
	if g := got[6]; text != "f=v;g=;" || !g.Present {
		t.Errorf("hash: %+v", g)
	}
	if !got[12].Present {
		t.Errorf("checked string: %+v", got[12])
	}
}

// All keys of a Read go out at once, hashes too.
func TestRoundTrips(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.Redis(t)
	r.Must(t, "hset", "h", "f", "v")
	r.Must(t, "set", "s", "v")
	proxy := servers.NewProxy(t, r.Addr)
	proxy.Delay(30 * time.Millisecond) // answers to what was sent first come after all that is sent without a wait
	n := openNode(t, nodeConfig{Address: proxy.Addr}, probetest.Env())
	keys := make([]probes.Key, 2500)
	for i := range keys {
		keys[i] = []probes.Key{{Name: "s"}, {Name: "h", Hash: true}, {Name: "no"}, {Name: "no", Hash: true}, {Name: "h", Check: true}}[i%5]
	}
	probetest.Survey(t, n)
	for range 2 {
		proxy.Reset()
		if _, err := n.Survey(probetest.Within(t, 5*time.Second), &probes.Scan{Count: 100}); err != nil {
			t.Fatal(err)
		}
		if got := proxy.Counts(); got.RoundTrips != 1 || got.Connections != 0 {
			t.Errorf("a survey: %+v", got)
		}
		proxy.Reset()
		for i, raw := range probetest.Read(t, n, keys...) {
			if raw.Present != (i%5 < 2) {
				t.Fatalf("%+v: %+v", keys[i], raw)
			}
		}
		if got := proxy.Counts(); got.RoundTrips > 3 || got.Connections != 0 {
			t.Errorf("2,500 keys: %+v", got)
		}
	}
}

func TestScanGoesRound(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.Redis(t)
	p := r.Pipeline()
	for i := range 500 {
		p.Set(t.Context(), fmt.Sprintf("user:%d", i), "v", 0)
		p.Set(t.Context(), fmt.Sprintf("other:%d", i), "v", 0)
	}
	if _, err := p.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	n := openNode(t, nodeConfig{Address: r.Addr}, probetest.Env())
	found := map[string]int{}
	listed := probetest.NewListed("user:*")
	listed.Count = 100
	for steps := 0; ; steps++ {
		s, err := n.Survey(probetest.Within(t, time.Second), &listed.Scan)
		if err != nil || s.ScanErr != nil || steps > 50 {
			t.Fatal(err, s.ScanErr, steps)
		}
		for _, k := range listed.Take() {
			found[k]++
		}
		if n.cursor == "0" {
			break
		}
	}
	if len(found) != 500 {
		t.Errorf("%d keys found, want 500", len(found))
	}
	if s := probetest.Survey(t, n); s.OwnHits+s.OwnMisses != 0 || s.Hits.Value+s.Misses.Value != 0 {
		t.Errorf("SCAN counted: %+v", s)
	}
}

// Many large values over one pipeline neither stand still nor hold more than the budget.
func TestLargeReads(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.Redis(t)
	env := probetest.Env()
	n := openNode(t, nodeConfig{Address: r.Addr}, env)
	value := strings.Repeat("x", 100<<10)
	keys := make([]probes.Key, 3000)
	for i := range keys {
		keys[i].Name = fmt.Sprintf("%d:%s", i%50, strings.Repeat("k", 500))
		if i < 50 {
			r.Must(t, "set", keys[i].Name, value)
		}
	}
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

// One key that the user may not read costs no other key anything.
func TestForbiddenKeyAmongOthers(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.Redis(t)
	r.Must(t, "acl", "setuser", "seer", "on", ">pw", "~a*", "+info", "+pttl", "+mget", "+type")
	r.Must(t, "acl", "setuser", "deaf", "on", ">pw", "~*", "+info", "+pttl")
	r.Must(t, "rpush", "alist", "x")
	var keys []probes.Key
	for i := range 2500 {
		r.Must(t, "set", fmt.Sprintf("a%d", i), "v")
		keys = append(keys, probes.Key{Name: fmt.Sprintf("a%d", i)})
	}
	keys = append(keys, probes.Key{Name: "b"}, probes.Key{Name: "a-none"}, probes.Key{Name: "alist", Check: true})
	keys[7].Name = "b2"
	n := openNode(t, nodeConfig{Address: r.Addr, Credentials: form.Credentials{Username: "seer", Password: "pw"}}, probetest.Env())
	want := probetest.Others(probetest.Survey(t, n))
	got := probetest.Read(t, n, keys...)
	for i, raw := range got {
		switch forbidden := i == 7 || i == 2500; {
		case forbidden && (raw.Err == nil || !strings.Contains(raw.Err.Error(), "NOPERM")):
			t.Errorf("key %d may not be read: %+v", i, raw)
		case i < 2500 && !forbidden && string(raw.Value) != "v":
			t.Errorf("key %d: %+v", i, raw)
		}
	}
	if missing, list := got[2501], got[2502]; missing.Present || missing.Err != nil || list.Err == nil {
		t.Errorf("missing %+v, a list %+v", missing, list)
	}
	if now := probetest.Others(probetest.Survey(t, n)); now != want {
		t.Errorf("others' hits and misses %v, want %v", now, want)
	}
	deaf := openNode(t, nodeConfig{Address: r.Addr, Credentials: form.Credentials{Username: "deaf", Password: "pw"}}, probetest.Env())
	if raw := probetest.Read(t, deaf, keys[0], keys[1])[1]; raw.Err == nil || !strings.Contains(raw.Err.Error(), "+mget") {
		t.Errorf("without +mget: %+v", raw)
	}
}
