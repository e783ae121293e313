package acceptance

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// A frozen replica among others, all of them nodes of their own: its lag is its primary's account, under whatever name it is
// configured. The other one's is its own.
func TestFrozenReplicaByItsAddress(t *testing.T) {
	primary, frozen, other := servers.Redis(t), servers.Redis(t), servers.Redis(t)
	frozen.Follow(t, primary)
	other.Follow(t, primary)
	local := func(r *servers.RedisServer) string {
		_, port, _ := net.SplitHostPort(r.Addr)
		return "localhost:" + port // the primary knows it by its IP address
	}
	for _, named := range []func(r *servers.RedisServer) string{func(r *servers.RedisServer) string { return r.Addr }, local} {
		e := start(t, fmt.Sprintf(`layers:
  - name: l2
    ttl: 1h
    nodes:
      - {name: main, redis: {address: "%s"}}
      - {name: frozen, redis: {address: "%s"}}
      - {name: other, redis: {address: "%s"}}
`, named(primary), named(frozen), named(other)))
		var p page
		servers.Eventually(t, "no lag", func() bool {
			p = e.scrape(10 * time.Second)
			return p.number("replication_lag_seconds") == 2 && p.sum("replication_lag_seconds") == 0
		})
		frozen.Freeze(t)
		primary.Must(t, "set", "key", strings.Repeat("x", 10_000))
		e.scrape(time.Second)
		servers.Eventually(t, "the lag grows", func() bool {
			p = e.scrape(time.Second)
			return p.number("replication_lag_seconds", "node", "frozen") == 1 && p.one("replication_lag_seconds", "node", "frozen") > 0
		})
		if bytes := p.one("replication_lag_bytes", "node", "frozen"); bytes < 10_000 {
			t.Errorf("%v bytes behind", bytes)
		}
		p.want(0, "node_up", "node", "frozen")
		p.want(0, "replication_link_up", "node", "frozen")
		p.want(1, "replication_link_up", "node", "other")
		p.want(1, "node_up", "node", "other")
		servers.Eventually(t, "the other has caught up", func() bool { // it was asked while the write was on its way
			return e.scrape(time.Second).one("replication_lag_seconds", "node", "other") == 0
		})
		frozen.Thaw(t)
		servers.Eventually(t, "it has caught up", func() bool {
			p = e.scrape(10 * time.Second)
			return p.number("replication_lag_bytes", "node", "frozen") == 1 && p.one("replication_lag_bytes", "node", "frozen") == 0
		})
	}
}
