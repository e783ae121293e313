package repair

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
	"github.com/redis/go-redis/v9"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// counts is n in a soak, and a twentieth of it elsewhere.
func counts(n int) int {
	if os.Getenv("CACHEINV_SOAK") != "" {
		return n
	}
	return n / 20
}

// traffic writes ever newer versions of keys to two Redis servers and a memcached, and now and then misses one of them. Each
// key has one writer, which sees with each write what was there before it: never less than what it wrote last.
type traffic struct {
	t      *testing.T
	redis  []*servers.RedisServer
	client *memcache.Client
	keys   int
	writes atomic.Int64
	lost   atomic.Int64 // newer values that were overwritten
}

func keyOf(i int) string { return fmt.Sprintf("t:%d", i) }

func versionOf(value string) int {
	var got struct{ V int }
	if json.Unmarshal([]byte(value), &got) != nil {
		return -1
	}
	return got.V
}

// write of every lane's keys, at a rate for all lanes together, until ctx ends.
func (w *traffic) run(ctx context.Context, lane, lanes, perSecond int) {
	own := (w.keys - lane + lanes - 1) / lanes
	wrote := make([][3]int, own)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	due := 0.0
	for version := 1; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for due += float64(perSecond) / float64(lanes) / 100; due >= 1; due-- {
			version++
			i := rand.IntN(own)
			missed := rand.IntN(6) // half of the time one of the three
			for node := range 3 {
				if node == missed {
					continue
				}
				if before := w.put(ctx, node, keyOf(lane+i*lanes), version); before < wrote[i][node] && ctx.Err() == nil {
					w.lost.Add(1)
				}
				wrote[i][node] = version
			}
			w.writes.Add(1)
		}
	}
}

// put a version on a node, and give the one that was there.
func (w *traffic) put(ctx context.Context, node int, key string, version int) int {
	value := fmt.Sprintf(`{"v":%d,"filler":%q}`, version, strings.Repeat("x", version%200))
	if node < 2 {
		before, err := w.redis[node].SetArgs(ctx, key, value, redis.SetArgs{Get: true, TTL: time.Hour}).Result()
		if err != nil && !errors.Is(err, redis.Nil) && ctx.Err() == nil {
			w.t.Error(err)
		}
		if errors.Is(err, redis.Nil) {
			return 0
		}
		return versionOf(before)
	}
	item, err := w.client.Get(key)
	before := 0
	if err == nil {
		before = versionOf(string(item.Value))
	}
	if err := w.client.Set(&memcache.Item{Key: key, Value: []byte(value), Expiration: 3600}); err != nil {
		w.t.Error(err)
	}
	return before
}

// Beside 1,000 writes a second, of which half miss a node, no newer value is ever overwritten.
func TestBesideTraffic(t *testing.T) {
	const keys, perSecond, lanes = 400, 1000, 4
	w := &traffic{t: t, redis: []*servers.RedisServer{servers.Redis(t), servers.Redis(t)}, keys: keys}
	m := servers.Memcached(t)
	w.client = memcache.New(m.Addr)
	w.client.Timeout, w.client.MaxIdleConns = 5*time.Second, lanes
	t.Cleanup(func() { _ = w.client.Close() })
	var names []string
	for i := range keys {
		names = append(names, fmt.Sprintf("%q", keyOf(i)))
	}
	text := fmt.Sprintf(`
layers:
  - {name: l2, ttl: 1h, nodes: [{name: r1, redis: {address: %q}}, {name: r2, redis: {address: %q}}]}
  - {name: l3, ttl: 1h, nodes: [{name: m1, memcached: {address: %q}}]}
canaries:
  - {class: c, keys: [%s], layers: [l2, l3], version: {json: "$.v"}}
`, w.redis[0].Addr, w.redis[1].Addr, m.Addr, strings.Join(names, ", "))

	ctx, stop := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	for lane := range lanes {
		writers.Go(func() { w.run(ctx, lane, lanes, perSecond) })
	}
	start := time.Now()
	repaired, changed := 0, 0
	for end := start.Add(10 * time.Minute); repaired < counts(10_000) && time.Now().Before(end); {
		opt := options(Newest)
		opt.Apply, opt.Rate = true, 500 // so that time goes by between what is read and what is written
		r, err := Run(t.Context(), parse(t, text), opt)
		if err != nil {
			t.Fatal(err)
		}
		if len(r.NotRepaired)+r.Outcomes[Failed] > 0 {
			t.Errorf("%s, not repaired: %+v", outcomesOf(r), r.NotRepaired)
		}
		repaired, changed = repaired+r.Outcomes[Repaired], changed+r.Outcomes[Changed]
	}
	took := time.Since(start)
	stop()
	writers.Wait()
	t.Logf("%d repaired and %d left alone beside %d writes in %v", repaired, changed, w.writes.Load(), took)
	if lost := w.lost.Load(); lost > 0 {
		t.Errorf("%d newer values were overwritten", lost)
	}
	if repaired < counts(10_000) || changed == 0 {
		t.Errorf("%d were repaired and %d had changed: too few to tell", repaired, changed)
	}
}
