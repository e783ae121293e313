package redis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

func TestRedisSurveyTellsWhatInfoTells(t *testing.T) {
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
func TestRedisBackupIsNoReplica(t *testing.T) {
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

func TestRedisReadTellsEachKindOfCopy(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.Redis(t)
	opt := probetest.Env()
	opt.MaxValueBytes = 1000
	n := openNode(t, nodeConfig{Address: r.Addr}, opt)
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
func TestRedisRoundTrips(t *testing.T) {
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

// The server's counts less our own stay as they are, whatever is read.
func TestRedisOwnReadsAreExact(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.Redis(t)
	for _, db := range []string{"0", "3"} {
		n := openNode(t, nodeConfig{Address: "redis://" + r.Addr + "/" + db}, probetest.Env())
		c := redis.NewClient(&redis.Options{Addr: r.Addr, DB: n.url.DB})
		t.Cleanup(func() { _ = c.Close() })
		c.Set(t.Context(), "s", "v", 0)
		c.RPush(t.Context(), "list", "v")
		c.HSet(t.Context(), "h", "f", "v")
		keys := []probes.Key{
			{Name: "s"},
			{Name: "no"},
			{Name: "list"},
			{Name: "h"},
			{Name: "h", Hash: true},
			{Name: "list", Hash: true},
			{Name: "no", Hash: true},
			{Name: "s", Check: true},
			{Name: "no", Check: true},
			{Name: "list", Check: true},
			{Name: "h", Hash: true, Check: true},
			{Name: "short"},
		}
		want := probetest.Others(probetest.Survey(t, n))
		for round := range 50 {
			c.Set(t.Context(), "short", "v", time.Duration(rand.IntN(3)+1)*time.Millisecond)
			probetest.Read(t, n, keys...)
			if round%2 == 0 { // the second read, for some
				probetest.Read(t, n, probes.Key{Name: "list", Check: true}, probes.Key{Name: "short", Check: true})
			}
			err := n.Do(probetest.Within(t, time.Second), func(ctx context.Context, c redis.Cmdable) (uint64, uint64, error) {
				return 1, 0, c.LLen(ctx, "list").Err()
			})
			if err != nil {
				t.Fatal(err)
			}
			if got := probetest.Others(probetest.Survey(t, n)); got != want {
				t.Fatalf("round %d: others' hits and misses %v, want %v", round, got, want)
			}
		}
	}
}

// While keys come, go and expire between two commands of a pipeline, the count stays exact, too.
func TestRedisOwnReadsAreExactUnderChurn(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.Redis(t)
	n := openNode(t, nodeConfig{Address: r.Addr}, probetest.Env())
	keys := make([]probes.Key, 2500)
	for i := range keys {
		keys[i] = probes.Key{Name: fmt.Sprintf("k%d", i%500)}
	}
	want := probetest.Others(probetest.Survey(t, n))
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			p := r.Pipeline()
			for range 50 {
				k := fmt.Sprintf("k%d", rand.IntN(500))
				if rand.IntN(2) == 0 {
					p.Del(context.Background(), k)
				} else {
					p.Set(context.Background(), k, "v", time.Duration(rand.IntN(20)+1)*time.Millisecond)
				}
			}
			_, _ = p.Exec(context.Background())
		}
	}()
	suspects := 0
	for range 60 {
		for _, raw := range probetest.Read(t, n, keys...) {
			if raw.Suspect {
				suspects++
			}
		}
		probetest.Survey(t, n)
	}
	close(stop)
	<-done
	if got := probetest.Others(probetest.Survey(t, n)); got != want {
		t.Errorf("others' hits and misses %v, want %v", got, want)
	}
	t.Logf("%d keys went away between their two commands", suspects)
}

func TestRedisOwnReadsAreExactOverAFreeze(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.Redis(t)
	n := openNode(t, nodeConfig{Address: r.Addr}, probetest.Env())
	r.Must(t, "set", "k0", strings.Repeat("x", 1000))
	keys := make([]probes.Key, 1000)
	for i := range keys {
		keys[i].Name = fmt.Sprintf("k%d", i%2)
	}
	want := probetest.Others(probetest.Survey(t, n))
	for round := range 5 {
		r.Freeze(t)
		start := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		visits := 0
		err := n.Read(ctx, keys, func(int, probes.Raw) { visits++ })
		if !errors.Is(err, context.DeadlineExceeded) || visits != 0 {
			t.Fatalf("frozen: %v after %d visits", err, visits)
		}
		if _, err = n.Survey(ctx, nil); err == nil {
			t.Fatal("a frozen server answered")
		}
		if d := time.Since(start); d > time.Second {
			t.Fatalf("a frozen server held us for %v", d)
		}
		cancel()
		r.Thaw(t)
		if got := probetest.Others(probetest.Survey(t, n)); got != want {
			t.Fatalf("round %d: others' hits and misses %v, want %v", round, got, want)
		}
	}
	// A queue's command is counted as well when its answer comes late.
	r.Must(t, "rpush", "q", "x")
	r.Freeze(t)
	llen := func(ctx context.Context, c redis.Cmdable) (hits, misses uint64, err error) {
		err = c.LLen(ctx, "q").Err()
		if err == nil {
			hits = 1
		}
		return hits, 0, err
	}
	short := probetest.Within(t, 50*time.Millisecond)
	if err := n.Do(short, llen); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("frozen: %v", err)
	}
	r.Thaw(t)
	if got := probetest.Others(probetest.Survey(t, n)); got != want {
		t.Fatalf("after a queue's command: others' hits and misses %v, want %v", got, want)
	}
	if err := n.Do(probetest.Within(t, time.Second), llen); err != nil {
		t.Fatal(err)
	}
}

// A connection whose bytes were lost never answers; the server does, over a new one.
func TestRedisComesBackAfterACutNetwork(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.Redis(t)
	m := servers.NewProxy(t, r.Addr)
	n := openNode(t, nodeConfig{Address: m.Addr}, probetest.Env())
	probetest.Survey(t, n)
	m.Mute(true)
	if _, err := n.Survey(probetest.Within(t, 50*time.Millisecond), nil); err == nil {
		t.Fatal("an answer over a cut network")
	}
	if _, err := n.Survey(probetest.Within(t, 50*time.Millisecond), nil); err == nil {
		t.Fatal("an answer over a cut network")
	}
	m.Mute(false)
	probetest.Survey(t, n)
}

func TestRedisReconnectsWhereTheServerBeganAnew(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.Redis(t)
	n := openNode(t, nodeConfig{Address: r.Addr}, probetest.Env())
	probetest.Read(t, n, probes.Key{Name: "no"})
	if s := probetest.Survey(t, n); s.OwnMisses != 2 {
		t.Fatalf("own misses %d, want 2", s.OwnMisses)
	}
	r.Stop()
	if _, err := n.Survey(probetest.Within(t, time.Second), nil); err == nil {
		t.Fatal("a stopped server answered")
	}
	servers.RedisAt(t, r.Addr)
	probetest.Read(t, n, probes.Key{Name: "no"})
	probetest.Survey(t, n)
	probetest.Read(t, n, probes.Key{Name: "no"})
	if s := probetest.Survey(t, n); s.OwnMisses != 2 || s.Misses.Value != 4 {
		// The first survey after the start finds that the counts began anew.
		t.Errorf("own misses %d of %v", s.OwnMisses, s.Misses.Value)
	}
	r.Must(t, "client", "kill", "type", "normal")
	probetest.Survey(t, n) // an idle connection that the server closed costs nothing
}

func TestRedisCredentials(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.Redis(t, "--requirepass", "first")
	file := filepath.Join(t.TempDir(), "password")
	write := func(s string) {
		if err := os.WriteFile(file, []byte(s+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("wrong-secret")
	n := openNode(t, nodeConfig{Address: r.Addr, Credentials: form.Credentials{PasswordFile: file}}, probetest.Env())
	if _, err := n.Survey(probetest.Within(t, time.Second), nil); err == nil || !strings.Contains(err.Error(), "AUTH was refused (WRONGPASS)") ||
		strings.Contains(err.Error(), "secret") {
		t.Errorf("wrong password: %v", err)
	}
	write("first")
	probetest.Survey(t, n) // read again at the new connection
	if s := probetest.Survey(t, openNode(t, nodeConfig{Address: "redis://:first@" + r.Addr}, probetest.Env())); s.RunID == "" {
		t.Error("the address's password did not serve")
	}
	bare := openNode(t, nodeConfig{Address: r.Addr}, probetest.Env())
	if _, err := bare.Survey(probetest.Within(t, time.Second), nil); err == nil || !strings.Contains(err.Error(), "NOAUTH") {
		t.Errorf("without a password: %v", err)
	}
	c := redis.NewClient(&redis.Options{Addr: r.Addr, Password: "first"})
	defer c.Close()
	for user, rules := range map[string][]any{
		"blind": {"on", ">pw", "~*", "+mget"},
		"seer":  {"on", ">pw", "~a*", "+info", "+pttl", "+mget", "+type"},
	} {
		if err := c.Do(t.Context(), append([]any{"acl", "setuser", user}, rules...)...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	blind := openNode(t, nodeConfig{Address: r.Addr, Credentials: form.Credentials{Username: "blind", Password: "pw"}}, probetest.Env())
	if _, err := blind.Survey(probetest.Within(t, time.Second), nil); err == nil || !strings.Contains(err.Error(), "+info") {
		t.Errorf("without +info: %v", err)
	}
	seer := openNode(t, nodeConfig{Address: r.Addr, Credentials: form.Credentials{Username: "seer", Password: "pw"}}, probetest.Env())
	s, err := seer.Survey(probetest.Within(t, time.Second), &probes.Scan{Count: 10})
	if err != nil || s.ScanErr == nil || !strings.Contains(s.ScanErr.Error(), "+scan") {
		t.Errorf("without +scan: %v, %v", s.ScanErr, err)
	}
	if raw := probetest.Read(t, seer, probes.Key{Name: "b"})[0]; raw.Err == nil || !strings.Contains(raw.Err.Error(), "NOPERM") {
		t.Errorf("a key out of reach: %+v", raw)
	}
	if raw := probetest.Read(t, seer, probes.Key{Name: "a"})[0]; raw.Err != nil {
		t.Errorf("a key within reach: %+v", raw)
	}
}

func TestRedisScanGoesRound(t *testing.T) {
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
	for steps := 0; ; steps++ {
		s, err := n.Survey(probetest.Within(t, time.Second), &probes.Scan{Count: 100, Match: "user:*"})
		if err != nil || s.ScanErr != nil || steps > 50 {
			t.Fatal(err, s.ScanErr, steps)
		}
		for _, k := range s.Found {
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
func TestRedisLargeReads(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.Redis(t)
	opt := probetest.Env()
	n := openNode(t, nodeConfig{Address: r.Addr}, opt)
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
	if err := opt.Budget.Acquire(probetest.Within(t, time.Second), probes.HeldAtOnce); err != nil {
		t.Errorf("the budget is not given back: %v", err)
	}
	opt.Budget.Release(probes.HeldAtOnce)
}

// What is no Redis gives errors, not hangs or panics.
func TestRedisRefusesOtherProtocols(t *testing.T) {
	servers.NoLeaks(t)
	for _, answer := range []string{
		"HTTP/1.1 400 Bad Request\r\n\r\n", "$-5\r\n", "*99999999999\r\n", "\r\n", "$5\r\nab", "+\r\n+\r\n:1\r\n",
		strings.Repeat("x", 1<<16),
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		var serving sync.WaitGroup
		serving.Go(func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = c.Read(make([]byte, 4096))
				_, _ = io.WriteString(c, answer)
				_ = c.Close()
			}
		})
		n := openNode(t, nodeConfig{Address: l.Addr().String()}, probetest.Env())
		if s, err := n.Survey(probetest.Within(t, time.Second), nil); err == nil && s.RunID != "" {
			t.Errorf("%.20q gives %+v", answer, s)
		}
		if err := n.Read(probetest.Within(t, time.Second), []probes.Key{{Name: "a"}}, func(int, probes.Raw) {}); err == nil {
			t.Errorf("%.20q gives a read", answer)
		}
		l.Close()
		serving.Wait()
	}
}

// A read that is given up half way is counted to its end, and holds nothing meanwhile.
func TestRedisReadGivenUpHalfWay(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.Redis(t)
	opt := probetest.Env()
	n := openNode(t, nodeConfig{Address: r.Addr}, opt)
	keys := make([]probes.Key, 3000)
	for i := range keys {
		keys[i] = probes.Key{Name: fmt.Sprintf("k%d", i%100), Hash: i%100 == 99}
	}
	for i := range 99 {
		r.Must(t, "set", keys[i].Name, strings.Repeat("x", 50_000))
	}
	r.Must(t, "hset", "k99", "f", strings.Repeat("x", 50_000))
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
		if err := opt.Budget.Acquire(probetest.Within(t, time.Second), probes.HeldAtOnce); err != nil {
			t.Fatalf("the budget is not given back: %v", err)
		}
		opt.Budget.Release(probes.HeldAtOnce)
	}
}

// Closing does not wait for a frozen server, and leaves nothing behind.
func TestRedisCloseWhileFrozen(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.Redis(t)
	n := openNode(t, nodeConfig{Address: r.Addr}, probetest.Env())
	probetest.Survey(t, n)
	r.Freeze(t)
	defer r.Thaw(t)
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

func TestRedisQueueCommandsOnADeadServer(t *testing.T) {
	servers.NoLeaks(t)
	n := openNode(t, nodeConfig{Address: servers.FreeAddr(t)}, probetest.Env())
	start := time.Now()
	err := n.Do(probetest.Within(t, 5*time.Second), func(ctx context.Context, c redis.Cmdable) (uint64, uint64, error) {
		return 0, 0, c.LLen(ctx, "q").Err()
	})
	if err == nil || time.Since(start) > 2*time.Second {
		t.Errorf("%v after %v", err, time.Since(start))
	}
}

// One key that the user may not read costs no other key anything.
func TestRedisForbiddenKeyAmongOthers(t *testing.T) {
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

// Keys and a queue's commands over TLS, with certificates on both sides and an ACL user.
func TestRedisTLS(t *testing.T) {
	servers.NoLeaks(t)
	a := probetest.NewAuthority(t)
	server, serverKey, _, _ := probetest.Certificate(t, a, "cache.example")
	ours, oursKey, _, _ := probetest.Certificate(t, a, "exporter-1")
	ca, cert, key := probetest.WriteFile(t, "ca", a.PEM), probetest.WriteFile(t, "cert", ours), probetest.WriteFile(t, "key", oursKey)
	secure := servers.FreeAddr(t)
	r := servers.Redis(t, "--tls-port", servers.Port(t, secure), "--tls-cert-file", probetest.WriteFile(t, "server", server),
		"--tls-key-file", probetest.WriteFile(t, "server-key", serverKey), "--tls-ca-cert-file", ca)
	r.Must(t, "acl", "setuser", "exporter", "on", ">pw", "~*", "+info", "+pttl", "+mget", "+type", "+llen")
	r.Must(t, "set", "a", "v")
	r.Must(t, "rpush", "q", "x", "y")
	good := form.TLS{CAFile: ca, CertFile: cert, KeyFile: key, ServerName: "cache.example"}
	node := func(settings *form.TLS) *node {
		return openNode(t, nodeConfig{
			Address: "rediss://" + secure, Credentials: form.Credentials{Username: "exporter", Password: "pw"}, TLS: settings,
		}, probetest.Env())
	}
	n := node(&good)
	probetest.Survey(t, n)
	if raw := probetest.Read(t, n, probes.Key{Name: "a"})[0]; string(raw.Value) != "v" {
		t.Errorf("%+v", raw)
	}
	err := n.Do(probetest.Within(t, 5*time.Second), func(ctx context.Context, c redis.Cmdable) (hits, misses uint64, err error) {
		if length, err := c.LLen(ctx, "q").Result(); err != nil || length != 2 {
			t.Errorf("%d, %v", length, err)
		}
		return 1, 0, nil
	})
	if err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*form.TLS){
		"unknown authority": func(c *form.TLS) { c.CAFile = "" }, "not other.example": func(c *form.TLS) { c.ServerName = "other.example" },
		"certificate required": func(c *form.TLS) { c.CertFile, c.KeyFile = "", "" }, "tls.ca_file": func(c *form.TLS) { c.CAFile += ".gone" },
	} {
		bad := good
		change(&bad)
		if _, err := node(&bad).Survey(probetest.Within(t, 5*time.Second), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
