package memcached

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

func TestOwnReadsAreExactUnderChurn(t *testing.T) {
	servers.NoLeaks(t)
	p := servers.Memcached(t)
	c := servers.MemcachedClient(t, p.Addr)
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

func TestOwnReadsAreExactOverAFreeze(t *testing.T) {
	servers.NoLeaks(t)
	p := servers.Memcached(t)
	set(t, servers.MemcachedClient(t, p.Addr), "k0", strings.Repeat("x", 1000), 0)
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
func TestOwnReadsAreExactOverARestart(t *testing.T) {
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
			_, _ = servers.MemcachedClient(t, p.Addr).Get("no")
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

// A read that is given up half way is counted to its end, and holds nothing meanwhile.
func TestReadGivenUpHalfWay(t *testing.T) {
	servers.NoLeaks(t)
	p := servers.Memcached(t)
	c := servers.MemcachedClient(t, p.Addr)
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
				if visits == 0 {
					<-ctx.Done() // however fast the server is
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
