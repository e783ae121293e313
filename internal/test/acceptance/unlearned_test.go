package acceptance

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// TestNothingLearned: what could not be read is told by check and diagnose, which end with 2. A server that refuses is no network's
// fault, and one that refuses INFO alone is read all the same.
func TestNothingLearned(t *testing.T) {
	servers.NoLeaks(t)
	a, b := servers.Redis(t), servers.Redis(t)
	for _, r := range []*servers.RedisServer{a, b} {
		r.Must(t, "set", "user:1:profile", `{"version":1}`, "ex", 3600)
	}
	for user, rules := range map[string][]any{
		"noinfo": {"~*", "+mget", "+pttl", "+type", "+hgetall", "+scan"}, "noscan": {"~*", "+@all", "-scan"}, "noread": {"~*", "+@all", "-mget"}, "nothing": {},
	} {
		b.Must(t, append([]any{"acl", "setuser", user, "on", ">pw"}, rules...)...)
	}
	binary := servers.Memcached(t, "-B", "binary")
	for name, c := range map[string]struct {
		node, class string
		code        int
		want        string
	}{
		"INFO refused":    {fmt.Sprintf(`redis: {address: "%s", username: noinfo, password: pw}`, b.Addr), "", 0, "odd is read, and does not tell of itself: INFO was refused (NOPERM)"},
		"SCAN refused":    {fmt.Sprintf(`redis: {address: "%s", username: noscan, password: pw}`, b.Addr), `, pattern: "user:*"`, 2, "+scan"},
		"copies refused":  {fmt.Sprintf(`redis: {address: "%s", username: noread, password: pw}`, b.Addr), "", 2, "+mget"},
		"all refused":     {fmt.Sprintf(`redis: {address: "%s", username: nothing, password: pw}`, b.Addr), "", 2, "NOPERM"},
		"a wrong login":   {fmt.Sprintf(`redis: {address: "%s", username: nobody, password: pw}`, b.Addr), "", 2, "AUTH was refused (WRONGPASS); check username and password_file"},
		"no memcached":    {fmt.Sprintf(`memcached: {address: "%s"}`, b.Addr), "", 2, "is its address that of a memcached"},
		"no Redis":        {fmt.Sprintf(`redis: {address: "%s"}`, servers.Memcached(t).Addr), "", 2, "is its address that of a Redis"},
		"binary protocol": {fmt.Sprintf(`memcached: {address: "%s"}`, binary.Addr), "", 2, "binary protocol alone"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := fmt.Sprintf(`
layers:
  - name: l2
    ttl: 1h
    nodes:
      - {name: good, redis: {address: "%s"}}
      - {name: odd, %s}
canaries:
  - {class: user_profile, keys: ["user:1:profile"], layers: [l2], version: {json: "$.version"}%s}
`, a.Addr, c.node, c.class)
			code, d := diagnose(t, cfg)
			text := ""
			for _, s := range d.Steps {
				text += strings.Join(s.Evidence, "\n")
			}
			if want := map[int]string{0: "none", 2: "unknown"}[c.code]; code != c.code || *d.Verdict != want || !strings.Contains(text, c.want) {
				t.Errorf("diagnose: code %d, %s:\n%s", code, *d.Verdict, text)
			}
			code, table := once(t, "check", "--log.level", "error", "--config.file", writeFile(t, "cacheinv.yml", cfg))
			if code != c.code || code != 0 && !strings.Contains(table, c.want) || !strings.Contains(table, "good") {
				t.Errorf("check: code %d:\n%s", code, table)
			}
		})
	}
}

// TestRefusalsInMetrics: what two odd nodes answer shows in their own series, and takes nothing from the others: a TTL of a thousand
// years, a key's name of 2 MiB, INFO refused, and a queue whose password was rotated.
func TestRefusalsInMetrics(t *testing.T) {
	servers.NoLeaks(t)
	good, odd, queue := servers.Redis(t), servers.Redis(t), servers.Redis(t)
	for _, r := range []*servers.RedisServer{good, odd} {
		r.Must(t, "set", "user:1:profile", `{"version":1}`, "ex", 3600)
	}
	odd.Must(t, "pexpire", "user:1:profile", "9223370000000000000")
	odd.Must(t, "set", "user:"+strings.Repeat("x", 2<<20)+":profile", `{"version":1}`)
	odd.Must(t, "acl", "setuser", "least", "on", ">pw", "~*", "+mget", "+pttl", "+type", "+scan")
	queue.Must(t, "acl", "setuser", "worker", "on", ">first", "~*", "+@all")
	for range 7 {
		queue.Must(t, "rpush", "invalidation_queue", "x")
	}
	e := start(t, fmt.Sprintf(`
layers:
  - name: l2
    ttl: 1h
    nodes:
      - {name: good, redis: {address: "%s"}}
      - {name: odd, redis: {address: "%s", username: least, password: pw}}
  - name: l3
    ttl: 1h
    nodes:
      - {name: queue, redis: {address: "%s", username: worker, password: first}}
queues:
  - {name: inv, redis: {node: queue, list: invalidation_queue}}
canaries:
  - {class: user_profile, keys: ["user:1:profile"], pattern: "user:*:profile", layers: [l2], version: {json: "$.version"}}
`, good.Addr, odd.Addr, queue.Addr))
	p := e.scrape(10 * time.Second)
	p.want(7, "queue_depth", "queue", "inv")
	p.want(1, "queue_up", "queue", "inv")
	queue.Must(t, "acl", "setuser", "worker", "resetpass", ">second")
	queue.Must(t, "client", "kill", "user", "worker")
	p = e.scrape(10 * time.Second)
	for _, node := range []string{"good", "odd"} {
		p.want(1, "node_up", "node", node)
		p.want(1, "canary_copies", "node", node, "state", "fresh")
		p.want(0, "canary_copies", "node", node, "state", "error")
	}
	p.want(1, "canary_ttl_over_limit_copies", "node", "odd")
	p.want(0, "canary_ttl_over_limit_copies", "node", "good")
	p.want(1, "node_items", "node", "good")
	if n := p.number("node_items", "node", "odd"); n != 0 {
		t.Errorf("%d series of what INFO was not asked for", n)
	}
	p.want(0, "node_up", "node", "queue")
	p.want(1, "node_refused", "node", "queue")
	p.want(0, "node_refused", "node", "odd")
	p.want(0, "queue_up", "queue", "inv")
	if n := p.number("queue_depth", "queue", "inv"); n != 0 {
		t.Errorf("%d series of a depth that nobody knows", n)
	}
	p.want(0, "cause_score", "cause", "network")
}
