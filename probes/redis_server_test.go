package probes

import (
	"context"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	servers.Eventually(t, what, ok)
}

func noLeaks(t *testing.T) {
	t.Helper()
	servers.NoLeaks(t)
}

func testOptions() Options {
	return Options{MaxValueBytes: 1 << 20, MaxBody: 4 << 20, ForgetAfter: 10 * time.Minute, Budget: NewBudget(), Servers: NewServers()}
}

func openRedis(t testing.TB, c config.Redis, opt Options) *redisNode {
	t.Helper()
	n, err := newRedisNode(Identity{Layer: "l2", Name: "redis-1", Kind: "redis"}, c, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return n
}

func within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func survey(t testing.TB, n Node) Survey {
	t.Helper()
	s, err := n.Survey(within(t, 5*time.Second), nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// read gives what Read tells of each key, with values copied.
func read(t testing.TB, n Node, keys ...Key) []Raw {
	t.Helper()
	out := make([]Raw, len(keys))
	visited := make([]int, len(keys))
	err := n.Read(within(t, 10*time.Second), keys, func(i int, r Raw) {
		visited[i]++
		r.Value = append([]byte(nil), r.Value...)
		var copied []Field
		for _, f := range r.Fields {
			copied = append(copied, Field{Name: append([]byte(nil), f.Name...), Value: append([]byte(nil), f.Value...)})
		}
		r.Fields = copied
		out[i] = r
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, times := range visited {
		if times != 1 {
			t.Fatalf("key %d was visited %d times", i, times)
		}
	}
	return out
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func freeAddr(t testing.TB) string {
	t.Helper()
	return servers.FreeAddr(t)
}
