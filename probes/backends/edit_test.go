package backends_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

// want a copy to be there as it should; left is what it should have left to live, 0: no expiry.
func wantStored(t *testing.T, n probes.Editable, key probes.Key, value string, flags uint32, left time.Duration) probes.Stored {
	t.Helper()
	s, err := n.Load(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if !s.Present || string(s.Value) != value || s.Flags != flags || s.NoExpiry != (left == 0) {
		t.Errorf("%s: %+v, want %q", n.Identity().Name, s, value)
	}
	if is := time.Until(s.Expires); left > 0 && (is > left+time.Second || is < left-10*time.Second) {
		t.Errorf("%s: %v are left, want %v", n.Identity().Name, is, left)
	}
	return s
}

func TestEditable(t *testing.T) {
	servers.NoLeaks(t)
	_, _, _, replica, nodes := writableFleet(t)
	ctx := t.Context()
	key := probes.Key{Name: "k"}
	old, next := "old\x00\xff\r\n'", probes.Stored{Present: true, Value: []byte("new\x00\r\n"), KeepExpiry: true}
	for _, i := range []int{0, 2} {
		n := nodes[i].(probes.Editable)
		t.Run(n.Identity().Kind, func(t *testing.T) {
			if s, err := n.Load(ctx, key); err != nil || s.Present {
				t.Errorf("nothing is %+v (%v)", s, err)
			}
			if err := nodes[i].Put(ctx, "k", []byte(old), 20*24*time.Hour); err != nil {
				t.Fatal(err)
			}
			first := wantStored(t, n, key, old, 0, 20*24*time.Hour)
			if err := n.Exchange(ctx, key, first, next); err != nil {
				t.Fatal(err)
			}
			second := wantStored(t, n, key, string(next.Value), 0, 20*24*time.Hour)
			if err := n.Exchange(ctx, key, first, next); !errors.Is(err, probes.ErrChanged) {
				t.Errorf("a copy that changed: %v", err)
			}
			if err := n.Exchange(ctx, key, first, probes.Stored{}); !errors.Is(err, probes.ErrChanged) {
				t.Errorf("a copy that changed was deleted: %v", err)
			}
			if err := n.Exchange(ctx, key, probes.Stored{}, first); !errors.Is(err, probes.ErrChanged) {
				t.Errorf("there was something: %v", err)
			}
			if err := n.Exchange(ctx, key, second, probes.Stored{}); err != nil {
				t.Fatal(err)
			}
			if s, err := n.Load(ctx, key); err != nil || s.Present {
				t.Errorf("a deleted copy is %+v (%v)", s, err)
			}
			if err := n.Exchange(ctx, key, second, next); !errors.Is(err, probes.ErrChanged) {
				t.Errorf("a copy that went: %v", err)
			}
			first.Expires = time.Now().Add(40 * 24 * time.Hour) // memcached takes more than 30 days as a time
			if err := n.Exchange(ctx, key, probes.Stored{}, first); err != nil {
				t.Fatal(err)
			}
			third := wantStored(t, n, key, old, 0, 40*24*time.Hour)
			if err := n.Exchange(ctx, key, third, probes.Stored{Present: true, Value: []byte("x"), NoExpiry: true}); err != nil {
				t.Fatal(err)
			}
			if err := n.Exchange(ctx, key, wantStored(t, n, key, "x", 0, 0), next); err != nil {
				t.Fatal(err)
			}
			wantStored(t, n, key, string(next.Value), 0, 0) // no expiry stays none
		})
	}
	behind := nodes[1].(probes.Editable)
	servers.Eventually(t, "the replica has the key", func() bool { return replica.Exists(ctx, "k").Val() == 1 })
	if err := behind.Exchange(ctx, key, wantStored(t, behind, key, string(next.Value), 0, 0), next); !errors.Is(err, probes.ErrReplica) {
		t.Errorf("a replica says %v", err)
	}
	replica.Freeze(t)
	defer replica.Thaw(t)
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	if _, err := behind.Load(short, key); err == nil {
		t.Error("a frozen node answers")
	}
}

func TestEditableHashes(t *testing.T) {
	r := servers.Redis(t)
	n := openAll(t, node("a", "redis", r.Addr)).Nodes()[0].(probes.Editable)
	ctx, key := t.Context(), probes.Key{Name: "h", Hash: true}
	var fields []any
	for i := range 1000 { // no small one: its order is the table's
		fields = append(fields, fmt.Sprintf("f%d\xff", i), fmt.Sprint(i))
	}
	r.HSet(ctx, "h", fields...)
	r.Expire(ctx, "h", time.Hour)
	seen, err := n.Load(ctx, key)
	if err != nil || len(seen.Fields) != 1000 {
		t.Fatalf("%d fields (%v)", len(seen.Fields), err)
	}
	next := probes.Stored{Present: true, KeepExpiry: true, Fields: []probes.Field{{Name: []byte("only"), Value: []byte("1")}}}
	r.HSet(ctx, "h", "f7\xff", "8")
	if err := n.Exchange(ctx, key, seen, next); !errors.Is(err, probes.ErrChanged) {
		t.Errorf("one field changed: %v", err)
	}
	r.HSet(ctx, "h", "f7\xff", "7")
	slices.Reverse(seen.Fields)
	if err := n.Exchange(ctx, key, seen, next); err != nil {
		t.Fatal(err)
	}
	if got, ttl := r.HGetAll(ctx, "h").Val(), r.PTTL(ctx, "h").Val(); len(got) != 1 || got["only"] != "1" || ttl < 50*time.Minute {
		t.Errorf("%v for %v", got, ttl)
	}
	r.Del(ctx, "h")
	if err := n.Exchange(ctx, key, probes.Stored{}, seen); err != nil {
		t.Fatal(err)
	}
	if got, ttl := r.HLen(ctx, "h").Val(), r.PTTL(ctx, "h").Val(); got != 1000 || ttl < 50*time.Minute {
		t.Errorf("%v fields for %v", got, ttl)
	}
	r.Set(ctx, "h", "text", 0)
	if _, err := n.Load(ctx, key); !errors.Is(err, probes.ErrChanged) {
		t.Errorf("another type: %v", err)
	}
	if err := n.Exchange(ctx, key, seen, next); !errors.Is(err, probes.ErrChanged) {
		t.Errorf("another type: %v", err)
	}
}

// The client's flags stay, and a copy of the same value that was written again is another one.
func TestEditableMemcached(t *testing.T) {
	m := servers.Memcached(t)
	n := openAll(t, node("a", "memcached", m.Addr)).Nodes()[0].(probes.Editable)
	client := servers.MemcachedClient(t, m.Addr)
	set := func(value string) {
		t.Helper()
		if err := client.Set(&memcache.Item{Key: "k", Value: []byte(value), Flags: 1 << 31, Expiration: 100}); err != nil {
			t.Fatal(err)
		}
	}
	key := probes.Key{Name: "k"}
	set("old")
	seen := wantStored(t, n, key, "old", 1<<31, 100*time.Second)
	set("old")
	next := probes.Stored{Present: true, Value: []byte("new"), KeepExpiry: true}
	if err := n.Exchange(t.Context(), key, seen, next); !errors.Is(err, probes.ErrChanged) {
		t.Errorf("written again: %v", err)
	}
	if err := n.Exchange(t.Context(), key, wantStored(t, n, key, "old", 1<<31, 100*time.Second), next); err != nil {
		t.Fatal(err)
	}
	seen = wantStored(t, n, key, "new", 1<<31, 100*time.Second)
	next.Flags, next.HasFlags = 7, true
	if err := n.Exchange(t.Context(), key, seen, next); err != nil {
		t.Fatal(err)
	}
	wantStored(t, n, key, "new", 7, 100*time.Second)
	seen.Expires, seen.NoExpiry = time.Time{}, false // as a proxy tells it
	if err := n.Exchange(t.Context(), key, seen, next); !errors.Is(err, probes.ErrExpiryUnknown) {
		t.Errorf("unknown expiry: %v", err)
	}
	if _, err := n.Load(t.Context(), probes.Key{Name: "white space"}); err == nil {
		t.Error("a key that can't be")
	}
	m.Stop()
	if _, err := n.Load(t.Context(), key); err == nil {
		t.Error("a server that ended answers")
	}
	if err := n.Exchange(t.Context(), key, probes.Stored{}, probes.Stored{Present: true, NoExpiry: true}); err == nil || errors.Is(err, probes.ErrChanged) {
		t.Errorf("a server that ended says %v", err)
	}
}

// What may not be read or written is told, and what to grant; not what was sent.
func TestEditableRefused(t *testing.T) {
	r := servers.Redis(t)
	r.Set(t.Context(), "k", "marker", 0)
	r.Must(t, "acl", "setuser", "reader", "on", ">x", "~*", "+@read")
	n := openAll(t, fmt.Sprintf(`{name: a, redis: {address: %q, username: reader, password: x}}`, r.Addr)).Nodes()[0].(probes.Editable)
	key := probes.Key{Name: "k"}
	_, err := n.Load(t.Context(), key)
	if err == nil || !strings.Contains(err.Error(), "grant the node's user +eval") {
		t.Errorf("Load: %v", err)
	}
	r.Must(t, "acl", "setuser", "reader", "+eval", "+evalsha", "+type")
	seen, err := n.Load(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	err = n.Exchange(t.Context(), key, seen, probes.Stored{Present: true, Value: []byte("marker2"), NoExpiry: true})
	if err == nil || !strings.Contains(err.Error(), "grant the node's user") || strings.Contains(err.Error(), "marker") {
		t.Errorf("Exchange: %v", err)
	}
}

// Writes log in as reads do, also where the connection is opened anew.
func TestEditableBehindALogin(t *testing.T) {
	m := servers.Memcached(t, "-u", "root", "-Y", probetest.WriteFile(t, "users", "me:secret\n"))
	n := openAll(t, fmt.Sprintf(`{name: a, memcached: {address: %q, username: me, password: secret}}`, m.Addr)).Nodes()[0].(probes.Editable)
	key, value := probes.Key{Name: "k"}, probes.Stored{Present: true, Value: []byte("v"), NoExpiry: true}
	if err := n.Exchange(t.Context(), key, probes.Stored{}, value); err != nil {
		t.Fatal(err)
	}
	wantStored(t, n, key, "v", 0, 0)
	addr := m.Addr
	m.Stop()
	servers.MemcachedAt(t, addr, "-u", "root", "-Y", probetest.WriteFile(t, "users", "me:secret\n"))
	servers.Eventually(t, "the next write finds the new server", func() bool { return n.Exchange(t.Context(), key, probes.Stored{}, value) == nil })
	wantStored(t, n, key, "v", 0, 0)
	wrong := openAll(t, fmt.Sprintf(`{name: a, memcached: {address: %q, username: me, password: wrong}}`, m.Addr)).Nodes()[0].(probes.Editable)
	if err := wrong.Exchange(t.Context(), key, probes.Stored{}, value); err == nil || !strings.Contains(err.Error(), "password") {
		t.Errorf("a wrong password: %v", err)
	}
}

// Where a server knows no meta commands it tells no TTL: copies can be deleted, and not replaced.
func TestEditableWithoutMetaCommands(t *testing.T) {
	var mu sync.Mutex
	var stored []string
	addr := servers.Listen(t, func(conn net.Conn) {
		r := bufio.NewReader(conn)
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			switch verb, _, _ := strings.Cut(strings.TrimSpace(line), " "); verb {
			case "stats":
				fmt.Fprint(conn, "STAT version 1.4.0\r\nEND\r\n")
			case "get", "gets":
				fmt.Fprint(conn, "VALUE k 3 5 77\r\nvalue\r\nEND\r\n")
			case "cas":
				value, _ := r.ReadString('\n')
				mu.Lock()
				stored = append(stored, strings.TrimSpace(line)+" "+strings.TrimSpace(value))
				mu.Unlock()
				fmt.Fprint(conn, "STORED\r\n")
			default:
				fmt.Fprint(conn, "ERROR\r\n")
			}
		}
	})
	n := openAll(t, node("a", "memcached", addr)).Nodes()[0].(probes.Editable)
	key := probes.Key{Name: "k"}
	s, err := n.Load(t.Context(), key)
	if err != nil || !s.Present || string(s.Value) != "value" || s.Flags != 3 || s.Token != 77 || s.NoExpiry || !s.Expires.IsZero() {
		t.Fatalf("%+v (%v)", s, err)
	}
	if err := n.Exchange(t.Context(), key, s, probes.Stored{Present: true, Value: []byte("new"), KeepExpiry: true}); !errors.Is(err, probes.ErrExpiryUnknown) {
		t.Errorf("replaced: %v", err)
	}
	if err := n.Exchange(t.Context(), key, s, probes.Stored{}); err != nil {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if want := []string{"cas k 3 -1 0 77 "}; !slices.Equal(stored, want) {
		t.Errorf("the server got %q, want %q", stored, want)
	}
}
