package redis

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

// The server's counts less our own stay as they are, whatever is read.
func TestOwnReadsAreExact(t *testing.T) {
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
			{Name: "short", Identity: true},
			{Name: "s", Identity: true},
			{Name: "no", Identity: true},
			{Name: "h", Hash: true, Identity: true},
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
func TestOwnReadsAreExactUnderChurn(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.Redis(t)
	n := openNode(t, nodeConfig{Address: r.Addr}, probetest.Env())
	keys := make([]probes.Key, 2500)
	for i := range keys {
		keys[i] = probes.Key{Name: fmt.Sprintf("k%d", i%500), Identity: i%2 == 0}
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

func TestOwnReadsAreExactOverAFreeze(t *testing.T) {
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
