package servers

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Sentinels starts n Sentinels that watch primary under a master's name, and waits until they know each other and the
// primary's replicas. Most of them decide. A server that is gone for half a second is down. Lines are added to each
// configuration; {master} in them is the master's name.
func Sentinels(t testing.TB, n int, master string, primary *RedisServer, lines ...string) []*RedisServer {
	t.Helper()
	var all []*RedisServer
	for range n {
		all = append(all, sentinel(t, master, primary, n/2+1, lines))
	}
	for _, s := range all {
		Eventually(t, "the Sentinels know each other and the replicas", func() bool {
			told, err := s.Do(t.Context(), "sentinel", "master", master).Slice()
			if err != nil {
				return false
			}
			info := map[string]string{}
			for i := 0; i+1 < len(told); i += 2 {
				info[fmt.Sprint(told[i])] = fmt.Sprint(told[i+1])
			}
			return info["num-other-sentinels"] == strconv.Itoa(n-1) && info["flags"] == "master" && info["num-slaves"] == replicasOf(t, primary)
		})
	}
	return all
}

func replicasOf(t testing.TB, primary *RedisServer) string {
	t.Helper()
	for line := range strings.Lines(primary.Info(t.Context(), "replication").Val()) {
		if n, ok := strings.CutPrefix(strings.TrimSpace(line), "connected_slaves:"); ok {
			return n
		}
	}
	return ""
}

func sentinel(t testing.TB, master string, primary *RedisServer, quorum int, lines []string) *RedisServer {
	t.Helper()
	addr, dir := FreeAddr(t), t.TempDir()
	text := []string{
		"bind 127.0.0.1", "port " + Port(t, addr), "dir " + dir, "protected-mode no",
		fmt.Sprintf("sentinel monitor %s 127.0.0.1 %s %d", master, Port(t, primary.Addr), quorum),
		fmt.Sprintf("sentinel down-after-milliseconds %s 500", master),
		fmt.Sprintf("sentinel failover-timeout %s 3000", master),
	}
	for _, l := range lines {
		text = append(text, strings.ReplaceAll(l, "{master}", master))
	}
	file := filepath.Join(dir, "sentinel.conf")
	if err := os.WriteFile(file, []byte(strings.Join(text, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	password := ""
	for _, l := range lines {
		if word, ok := strings.CutPrefix(l, "requirepass "); ok {
			password = word
		}
	}
	client := redis.NewClient(&redis.Options{Addr: addr, Password: password, Protocol: 2, DisableIdentity: true, ReadTimeout: time.Minute})
	t.Cleanup(func() { _ = client.Close() })
	answers := func() bool { return client.Ping(t.Context()).Err() == nil }
	return &RedisServer{Process: start(t, addr, answers, "redis-sentinel", file), Client: client}
}
