package recovery

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes/backends"
)

// The rights that docs/configuration.md names suffice, for a list and for a stream.
func TestRightsOfThePageSuffice(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "configuration.md"))
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^ACL SETUSER recover .*$`).FindString(string(page))
	if line == "" {
		t.Fatal("the page has no rights for recover")
	}
	var acl []any
	for _, word := range strings.Fields(line) {
		acl = append(acl, word)
	}
	for kind, enqueue := range map[string]func(r *servers.RedisServer, key string){
		"list: invalidation_queue": func(r *servers.RedisServer, key string) {
			r.Must(t, "rpush", "invalidation_queue", fmt.Sprintf(`{"key":%q}`, key))
		},
		"stream: invalidation_queue, groups: [processors]": func(r *servers.RedisServer, key string) {
			r.Must(t, "xadd", "invalidation_queue", "*", "key", key)
		},
	} {
		r := servers.Redis(t)
		r.Must(t, acl...)
		for i := range 12 {
			r.Must(t, "set", fmt.Sprintf("user:%d", i), secretValue)
			r.Must(t, "set", fmt.Sprintf("product:%d", i), secretValue)
			enqueue(r, fmt.Sprintf("product:%d", i))
		}
		if strings.HasPrefix(kind, "stream") {
			r.Must(t, "xgroup", "create", "invalidation_queue", "processors", "0")
		}
		cfg, err := config.Parse("c.yml", fmt.Appendf(nil, `
layers: [{name: l2, ttl: 1h, nodes: [{name: a, redis: {address: %q, username: recover, password: PASSWORD}}]}]
queues: [{name: inv, redis: {node: a, %s}, message: {key: "$.key"}}]
recovery: {patterns: ["user:*"], monitor: {every: 10ms, looks: 1}}
`, r.Addr, kind), backends.All)
		if err != nil {
			t.Fatal(err)
		}
		report, err := Run(t.Context(), cfg, Options{Apply: true, Strategy: Aggressive, Env: testEnv()})
		if err != nil {
			t.Fatal(err)
		}
		check(t, report)
		if n := left(t, r, "user:*") + left(t, r, "product:*"); report.ExitCode != ExitDone || n != 0 {
			t.Errorf("%s: exit code %d, %d keys are left", kind, report.ExitCode, n)
		}
	}
}
