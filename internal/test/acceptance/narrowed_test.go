package acceptance

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// TestNarrowedPattern: after SIGHUP a class reads, and reports, no key that its new pattern does not take.
func TestNarrowedPattern(t *testing.T) {
	var addresses []string
	for i := range 3 {
		r := servers.Redis(t)
		addresses = append(addresses, r.Addr)
		for k := range 10 {
			r.Must(t, "set", fmt.Sprintf("user:%d", k), "same")
			r.Must(t, "set", fmt.Sprintf("cart:%d", k), map[bool]string{true: "old", false: "new"}[i == 2]) // the third missed these
		}
	}
	cfg := "layers:\n  - name: l2\n    ttl: 1h\n    nodes:\n" + redisNodes(addresses...) +
		"canaries:\n  - {class: c, pattern: \"*:*\", sample: 100, layers: [l2]}\n"
	path := writeFile(t, "cacheinv.yml", cfg)
	p := run(t, "--config.file", path, "--scrape.min-interval", "0s")
	servers.Eventually(t, "all keys are sampled, and those of the carts are stale", func() bool {
		s := p.scrape()
		return s.sum("canary_sampled_keys", "class", "c") == 20 && s.sum("canary_copies", "class", "c", "state", "stale") == 10
	})
	if err := os.WriteFile(path, []byte(strings.Replace(cfg, "*:*", "user:*", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	servers.Eventually(t, "the carts are read no more", func() bool { return p.scrape().sum("canary_sampled_keys", "class", "c") == 10 })
	s := p.scrape()
	s.want(0, "canary_divergent_keys", "class", "c", "window", "0s")
	if stale, fresh := s.sum("canary_copies", "class", "c", "state", "stale"), s.sum("canary_copies", "class", "c", "state", "fresh"); stale != 0 || fresh != 30 {
		t.Errorf("%v copies are stale and %v fresh, want 0 and 30", stale, fresh)
	}
}
