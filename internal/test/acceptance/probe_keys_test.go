package acceptance

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// TestProbeKeysAreNoCanaries: the keys of an invalidation probe do not become canaries of a class, whatever letters they
// are of. check-config refuses a key that the class's pattern matches, and of one that passes the sample holds none.
func TestProbeKeysAreNoCanaries(t *testing.T) {
	first, second := servers.Redis(t), servers.Redis(t)
	// The processor deletes late, so that keys of probes are there whenever the keys are listed.
	p := &processor{redis: []*redis.Client{first.Client, second.Client}, delay: time.Second}
	p.run(t, fromList(first.Client, "inv"))
	for i := range 3 {
		for _, r := range []*servers.RedisServer{first, second} {
			r.Must(t, "SET", fmt.Sprintf("ключ:%d", i), "v", "EX", 600)
		}
	}
	cfg := fmt.Sprintf("layers:\n  - name: l2\n    ttl: 1h\n    nodes:\n%scanaries:\n  - {class: user, pattern: \"ключ:[^п]*\", layers: [{name: l2}]}\n"+
		"invalidation_probes:\n  - {name: p, interval: 50ms, timeout: 5s, layers: [l2], key: \"ключ:п{id}\", publish: {redis: {node: redis-1, list: inv}, message: %s}}\n",
		redisNodes(first.Addr, second.Addr), probeMessage)

	for _, overlapping := range []string{"ключ:*", "[к][к][^a]?юч:*", `*[z-a\]п]*`} {
		file := writeFile(t, "overlapping.yml", strings.Replace(cfg, `"ключ:[^п]*"`, "'"+overlapping+"'", 1))
		code, output := once(t, "check-config", "--config.file", file)
		if code != 64 || !strings.Contains(output, `matches the pattern of class "user"`) {
			t.Errorf("%q gives code %d: %s", overlapping, code, output)
		}
	}
	if code, output := once(t, "check-config", "--config.file", writeFile(t, "apart.yml", cfg)); code != 0 {
		t.Errorf("a pattern beside the probe's keys gives code %d: %s", code, output)
	}

	e := start(t, cfg)
	servers.Eventually(t, "probes are there while the keys are listed", func() bool {
		at := e.scrape(10 * time.Second)
		at.want(0, "invalidation_probe_failures_total", "node", "redis-1", "reason", "setup")
		count, _ := at.duration("redis-1")
		return count > 20
	})
	at := e.scrape(10 * time.Second)
	at.want(3, "canary_sampled_keys", "class", "user")
	at.want(3, "canary_copies", "class", "user", "node", "redis-2", "state", "fresh")
}
