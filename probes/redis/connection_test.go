package redis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
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

// A connection whose bytes were lost never answers; the server does, over a new one.
func TestComesBackAfterACutNetwork(t *testing.T) {
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

func TestReconnectsWhereTheServerBeganAnew(t *testing.T) {
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

func TestCredentials(t *testing.T) {
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
	if s, err := blind.Survey(probetest.Within(t, time.Second), nil); err != nil || !s.Unasked || s.Refused == nil || !strings.Contains(s.Refused.Error(), "+info") {
		t.Errorf("without +info: %+v, %v", s, err)
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

// What is no Redis gives errors, not hangs or panics.
func TestRefusesOtherProtocols(t *testing.T) {
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
func TestReadGivenUpHalfWay(t *testing.T) {
	servers.NoLeaks(t)
	r := servers.Redis(t)
	env := probetest.Env()
	n := openNode(t, nodeConfig{Address: r.Addr}, env)
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
		probetest.Whole(t, env.Budget)
	}
}

// Closing does not wait for a frozen server, and leaves nothing behind.
func TestCloseWhileFrozen(t *testing.T) {
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

func TestQueueCommandsOnADeadServer(t *testing.T) {
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

// Keys and a queue's commands over TLS, with certificates on both sides and an ACL user.
func TestTLS(t *testing.T) {
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
