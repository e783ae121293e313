package recovery

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes/backends"
)

// fillScript makes ARGV[2] keys of a pattern and as many others.
const fillScript = `for i = 1, tonumber(ARGV[2]) do
  redis.call('SET', 'user:' .. ARGV[1] .. ':' .. i .. ':profile', 'v')
  redis.call('SET', 'product:' .. ARGV[1] .. ':' .. i .. ':price', 'v')
end`

// A million keys of a pattern, beside as many others, over six Redis: all of them go, none of the others, and the memory that it
// takes does not grow with them.
func TestMillionKeys(t *testing.T) {
	const nodes = 6
	each := 1_000_000 / nodes / 20
	if os.Getenv("CACHEINV_SOAK") != "" {
		each = 1_000_000/nodes + 1
	}
	var redis []*servers.RedisServer
	var lines []string
	var all sync.WaitGroup
	for i := range nodes {
		r := servers.Redis(t)
		redis = append(redis, r)
		lines = append(lines, fmt.Sprintf(`{name: redis-%d, redis: {address: "%s"}}`, i, r.Addr))
		all.Go(func() {
			if err := r.Eval(t.Context(), fillScript, nil, i, each).Err(); err != nil && !strings.Contains(err.Error(), "nil") {
				t.Error(err)
			}
		})
	}
	all.Wait()
	cfg, err := config.Parse("c.yml", fmt.Appendf(nil, `
layers: [{name: l2, ttl: 1h, nodes: [%s]}]
queues: [{name: inv, redis: {node: redis-0, list: inv}, message: {key: "$.key"}}]
recovery: {patterns: ["user:*:profile"], monitor: {every: 10ms, looks: 1}}
`, strings.Join(lines, ", ")), backends.All)
	if err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	var most atomic.Uint64
	var looked atomic.Int64
	unlimited := 0.0
	began := time.Now()
	r, err := Run(t.Context(), cfg, Options{Apply: true, Strategy: Aggressive, Rate: &unlimited, AuditDir: t.TempDir(), Env: testEnv(), Progress: func(p Progress) {
		if step := p.Done / 20_000; looked.Swap(step) != step {
			runtime.GC()
			var now runtime.MemStats
			runtime.ReadMemStats(&now)
			if held := now.HeapAlloc - min(before.HeapAlloc, now.HeapAlloc); held > most.Load() {
				most.Store(held)
			}
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	check(t, r)
	t.Logf("%d keys in %.1f s, at most %d KiB held", nodes*each, took.Seconds(), most.Load()>>10)
	if r.ExitCode != ExitDone || !says(r, fmt.Sprintf("%d keys deleted in all", nodes*each)) {
		t.Errorf("exit code %d", r.ExitCode)
	}
	for _, server := range redis {
		if n := server.DBSize(t.Context()).Val(); n != int64(each) {
			t.Errorf("%d keys are left of %d", n, each)
		}
	}
	if most.Load() > 8<<20 {
		t.Errorf("%d bytes were held", most.Load())
	}
}

// A memcached whose keys are more than are held at once is listed again, until none is left.
func TestManyKeysOfMemcached(t *testing.T) {
	s := newSite(t, "")
	s.memcached.Stop()
	s.memcached = servers.MemcachedAt(t, s.memcached.Addr)
	const keys = heldKeys + 2000
	var sets strings.Builder
	for i := range keys {
		fmt.Fprintf(&sets, "set session:%d 0 0 1 noreply\r\nv\r\n", i)
	}
	s.talk(sets.String()+"mn\r\n", "MN\r\n")
	s.store("product:1:price")
	unlimited := 0.0
	r := s.recover(t.Context(), Options{Apply: true, Strategy: Aggressive, Rate: &unlimited})
	if r.ExitCode != ExitDone || !says(r, fmt.Sprintf("l3 mc-1: %d keys deleted", keys)) {
		t.Errorf("exit code %d", r.ExitCode)
	}
	if sessions, products := s.stored("session"), s.stored("product"); sessions != 0 || products != 1 {
		t.Errorf("%d sessions and %d products are left", sessions, products)
	}
}
