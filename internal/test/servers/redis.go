package servers

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// RedisServer is a redis-server with a client beside it.
type RedisServer struct {
	*Process
	*redis.Client
}

// Redis starts a redis-server without persistence.
func Redis(t testing.TB, args ...string) *RedisServer {
	t.Helper()
	return RedisAt(t, FreeAddr(t), args...)
}

// RedisAt starts a redis-server on addr.
func RedisAt(t testing.TB, addr string, args ...string) *RedisServer {
	t.Helper()
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(&redis.Options{Addr: addr, Protocol: 2, DisableIdentity: true, ReadTimeout: time.Minute})
	t.Cleanup(func() { _ = client.Close() })
	answers := func() bool {
		err := client.Ping(t.Context()).Err()
		return err == nil || strings.Contains(err.Error(), "NOAUTH")
	}
	p := start(t, addr, answers, "redis-server", append([]string{
		"--bind", host, "--port", Port(t, addr), "--save", "", "--appendonly", "no", "--dir", t.TempDir(),
		"--repl-diskless-sync-delay", "0",
	}, args...)...)
	return &RedisServer{Process: p, Client: client}
}

// Must runs a command.
func (r *RedisServer) Must(t testing.TB, args ...any) {
	t.Helper()
	if err := r.Do(t.Context(), args...).Err(); err != nil {
		t.Fatal(fmt.Errorf("%v: %w", args[0], err))
	}
}

// Follow makes r a replica of p and waits until the link is up.
func (r *RedisServer) Follow(t testing.TB, p *RedisServer) {
	t.Helper()
	port, own := Port(t, p.Addr), Port(t, r.Addr)
	r.Must(t, "replicaof", "127.0.0.1", port)
	Eventually(t, "the link is up", func() bool {
		info := r.Info(t.Context(), "replication").Val()
		return strings.Contains(info, "master_port:"+port) && strings.Contains(info, "master_link_status:up")
	})
	Eventually(t, "the replica is online", func() bool {
		return strings.Contains(p.Info(t.Context(), "replication").Val(), "port="+own+",state=online")
	})
}
