package backends_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

func listAll(ctx context.Context, n probes.Node, match string) (keys []string, err error) {
	err = n.(probes.Lister).List(ctx, match, func(some []string) error {
		keys = append(keys, some...)
		return nil
	})
	slices.Sort(keys)
	return slices.Compact(keys), err
}

// Every node that can list its keys gives all of them, those of the glob at least.
func TestList(t *testing.T) {
	r, m := servers.Redis(t), servers.Memcached(t)
	f := openAll(t, node("a", "redis", r.Addr), node("b", "memcached", m.Addr))
	var want []string
	for i := range 2500 {
		want = append(want, fmt.Sprintf("user:%04d:profile", i))
	}
	odd := []string{"a%20b", "häufig", "x:[1]*"}
	for _, n := range f.Nodes() {
		for _, key := range slices.Concat(want, odd) {
			if err := n.(probes.Writable).Put(t.Context(), key, []byte("v"), time.Hour); err != nil {
				t.Fatal(err)
			}
		}
		all := slices.Sorted(slices.Values(slices.Concat(want, odd)))
		if got, err := listAll(t.Context(), n, ""); err != nil || !slices.Equal(got, all) {
			t.Errorf("%s lists %d keys of %d (%v)", n.Identity().Name, len(got), len(all), err)
		}
		got, err := listAll(t.Context(), n, "user:*:profile")
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s lists %d keys of %d that match (%v)", n.Identity().Name, len(got), len(want), err)
		}
		enough := errors.New("enough")
		calls := 0
		err = n.(probes.Lister).List(t.Context(), "", func([]string) error { calls++; return enough })
		if !errors.Is(err, enough) || calls != 1 {
			t.Errorf("%s goes on after an error: %d calls, %v", n.Identity().Name, calls, err)
		}
	}
}

// A server that refuses to list its keys says so, and what to do.
func TestListRefused(t *testing.T) {
	r, m := servers.Redis(t), servers.Memcached(t, "-X")
	r.Must(t, "acl", "setuser", "default", "-scan")
	f := openAll(t, node("a", "redis", r.Addr), node("b", "memcached", m.Addr))
	for i, want := range []string{"+scan", "without -X"} {
		n := f.Nodes()[i]
		if _, err := listAll(t.Context(), n, ""); !errors.Is(err, probes.ErrNoList) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s says %v", n.Identity().Name, err)
		}
	}
}

// A server that hangs does not hold who lists its keys.
func TestListOfAServerThatHangs(t *testing.T) {
	r, m := servers.Redis(t), servers.Memcached(t)
	f := openAll(t, node("a", "redis", r.Addr), node("b", "memcached", m.Addr))
	r.Freeze(t)
	m.Freeze(t)
	for _, n := range f.Nodes() {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		_, err := listAll(ctx, n, "")
		cancel()
		if err == nil {
			t.Errorf("%s lists its keys", n.Identity().Name)
		}
	}
	r.Thaw(t)
	m.Thaw(t)
}

// A flush deletes every key of a memcached.
func TestFlush(t *testing.T) {
	m := servers.Memcached(t)
	n := openAll(t, node("b", "memcached", m.Addr)).Nodes()[0]
	if err := n.(probes.Writable).Put(t.Context(), "k", []byte("v"), time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := n.(probes.Flusher).Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := n.(probes.Writable).Watch(t.Context(), []string{"k"}, [][]byte{[]byte("v")}); err != nil || got[0] != probes.Gone {
		t.Errorf("after a flush a key is %v (%v)", got, err)
	}
}
