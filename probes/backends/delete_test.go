package backends_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

func TestDeleter(t *testing.T) {
	_, _, r, _, nodes := writableFleet(t)
	ctx := t.Context()
	keys := []string{"a", "none", "b"}
	for _, i := range []int{0, 2} {
		for _, k := range keys {
			if k != "none" {
				if err := nodes[i].Put(ctx, k, []byte("v"), time.Minute); err != nil {
					t.Fatal(err)
				}
			}
		}
		for n, err := range nodes[i].(probes.Deleter).Delete(ctx, keys) {
			if err != nil {
				t.Errorf("%v, %s: %v", nodes[i].Identity(), keys[n], err)
			}
		}
		values := [][]byte{[]byte("v"), []byte("v"), []byte("v")}
		if got, err := nodes[i].Watch(ctx, keys, values); err != nil || !slices.Equal(got, []probes.Seen{probes.Gone, probes.Gone, probes.Gone}) {
			t.Errorf("%v: %v (%v)", nodes[i].Identity(), got, err)
		}
	}
	for _, err := range nodes[1].(probes.Deleter).Delete(ctx, keys) {
		if !errors.Is(err, probes.ErrReplica) {
			t.Errorf("a replica says %v", err)
		}
	}
	if got := nodes[2].(probes.Deleter).Delete(ctx, []string{"with space", "a", strings.Repeat("x", 251)}); !errors.Is(got[0], probes.ErrCannotHold) || got[1] != nil || !errors.Is(got[2], probes.ErrCannotHold) {
		t.Errorf("%v", got)
	}
	// One key that may not be deleted refuses itself alone.
	r.Must(t, "acl", "setuser", "default", "resetkeys", "~a")
	if got := nodes[0].(probes.Deleter).Delete(ctx, []string{"a", "b"}); got[0] != nil || got[1] == nil || !strings.Contains(got[1].Error(), "NOPERM") {
		t.Errorf("%v", got)
	}
}

func TestDeleteOnServersThatFail(t *testing.T) {
	servers.NoLeaks(t)
	r, m := servers.Redis(t), servers.Memcached(t)
	f := openAll(t, node("a", "redis", r.Addr), node("b", "memcached", m.Addr))
	var keys []string
	for i := range 100 {
		keys = append(keys, strings.Repeat("k", i+1))
	}
	all := func(ctx context.Context, what string, want func(error) bool) {
		t.Helper()
		for _, n := range f.Nodes() {
			began := time.Now()
			for i, err := range n.(probes.Deleter).Delete(ctx, keys) {
				if !want(err) {
					t.Fatalf("%s, %s, key %d: %v", what, n.Identity().Name, i, err)
				}
			}
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("%s, %s: took %v", what, n.Identity().Name, took)
			}
		}
	}
	all(t.Context(), "running", func(err error) bool { return err == nil })
	r.Freeze(t)
	m.Freeze(t)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	all(ctx, "frozen", func(err error) bool { return errors.Is(err, context.DeadlineExceeded) })
	r.Stop()
	m.Stop()
	all(t.Context(), "stopped", func(err error) bool { return err != nil })
	servers.RedisAt(t, r.Addr)
	servers.MemcachedAt(t, m.Addr)
	all(t.Context(), "running again", func(err error) bool { return err == nil })
}
