package acceptance

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/consistency"
	"github.com/cacheinv/cacheinv_exporter/internal/test/ratio"
	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes/backends"
)

// benchValue is JSON of about 100 bytes.
func benchValue(i int) string {
	return fmt.Sprintf(`{"version":%d,"name":"%s"}`, i, strings.Repeat("x", 70))
}

// fill a server with keys of 100 bytes.
func fill(b *testing.B, r *servers.RedisServer, keys int, value func(i int) string) {
	b.Helper()
	pipe := r.Pipeline()
	for i := range keys {
		pipe.Set(b.Context(), benchKey(i), value(i), time.Hour)
	}
	if _, err := pipe.Exec(b.Context()); err != nil {
		b.Fatal(err)
	}
}

func benchKey(i int) string { return fmt.Sprintf("user:%d:profile", i) }

// benchConfig has one class of literal keys over some Redis nodes.
func benchConfig(keys int, addresses ...string) string {
	var list []string
	for i := range keys {
		list = append(list, benchKey(i))
	}
	return "layers:\n  - name: l2\n    ttl: 1h\n    nodes:\n" + redisNodes(addresses...) +
		"canaries:\n  - {class: user, keys: [\"" + strings.Join(list, "\", \"") + "\"], layers: [l2], version: {json: \"$.version\"}}\n"
}

// bare reads all keys in one pipeline of MGET and PTTL, and drops the replies.
func bare(ctx context.Context, c *redis.Client, names []string) error {
	_, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.MGet(ctx, names...)
		for _, name := range names {
			p.PTTL(ctx, name)
		}
		return nil
	})
	return err
}

// each reads key by key, a round trip for each command.
func each(ctx context.Context, c *redis.Client, names []string) error {
	for _, name := range names {
		if err := c.Get(ctx, name).Err(); err != nil {
			return err
		}
		if err := c.PTTL(ctx, name).Err(); err != nil {
			return err
		}
	}
	return nil
}

func benchNames(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = benchKey(i)
	}
	return names
}

// sampling reads, digests and judges, without metrics.
func sampling(b *testing.B, cfg string) func() error {
	b.Helper()
	parsed, err := config.Parse("test.yml", []byte(cfg), backends.All)
	if err != nil {
		b.Fatal(err)
	}
	opt := options()
	fleet, err := parsed.OpenFleet(opt.Env)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(fleet.Close)
	s, err := consistency.NewSampler(parsed, fleet, opt.Sampler, opt.Env, consistency.NewMemory())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(s.Close)
	return func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		return s.Sample(ctx).Classes[0].Err
	}
}

// BenchmarkScrape1000KeysOn1Node is a sampling, and a whole scrape, text and all, beside reading alone: of plain values, and
// of JSON with versions.
func BenchmarkScrape1000KeysOn1Node(b *testing.B) {
	for _, kind := range []struct {
		name  string
		value func(i int) string
		cfg   func(string) string
	}{
		{"plain", func(i int) string { return fmt.Sprintf("%0100d", i) }, func(cfg string) string {
			return strings.Replace(cfg, `, version: {json: "$.version"}`, "", 1)
		}},
		{"versions", benchValue, func(cfg string) string { return cfg }},
	} {
		b.Run(kind.name, func(b *testing.B) {
			r := servers.Redis(b)
			fill(b, r, 1000, kind.value)
			cfg, names := kind.cfg(benchConfig(1000, r.Addr)), benchNames(1000)
			e, sample := start(b, cfg), sampling(b, cfg)
			ratio.Run(b, 50, nil,
				ratio.Variant{Name: "bare pipeline", Do: func() error { return bare(b.Context(), r.Client, names) }},
				ratio.Variant{Name: "sampling", Do: sample},
				ratio.Variant{Name: "whole scrape", Do: func() error { e.get(10 * time.Second); return nil }},
			)
		})
	}
}

// BenchmarkScrape1000KeysOver1ms is the same over a link with 1 ms of delay each way, beside one command per key.
func BenchmarkScrape1000KeysOver1ms(b *testing.B) {
	r := servers.Redis(b)
	fill(b, r, 1000, benchValue)
	p := servers.NewProxy(b, r.Addr)
	p.Delay(time.Millisecond)
	far := redis.NewClient(&redis.Options{Addr: p.Addr, Protocol: 2, DisableIdentity: true})
	b.Cleanup(func() { _ = far.Close() })
	e, names := start(b, benchConfig(1000, p.Addr)), benchNames(1000)
	ratio.Run(b, 3, func() ratio.Cost {
		c := p.Counts()
		return ratio.Cost{Bytes: float64(c.Sent + c.Received), RoundTrips: float64(c.RoundTrips)}
	},
		ratio.Variant{Name: "whole scrape", Do: func() error { e.get(10 * time.Second); return nil }},
		ratio.Variant{Name: "bare pipeline", Do: func() error { return bare(b.Context(), far, names) }},
		ratio.Variant{Name: "one command per key", Do: func() error { return each(b.Context(), far, names) }},
	)
}

// BenchmarkScrape10000KeysOn12Nodes is the largest estate: a scrape by the binary, beside bare pipelines to all nodes at
// once, and what the binary then holds in memory.
func BenchmarkScrape10000KeysOn12Nodes(b *testing.B) {
	var addresses []string
	var started []*servers.RedisServer
	for range 12 {
		r := servers.Redis(b)
		fill(b, r, 10_000, benchValue)
		started, addresses = append(started, r), append(addresses, r.Addr)
	}
	p := run(b, "--config.file", writeFile(b, "cacheinv.yml", benchConfig(10_000, addresses...)), "--scrape.min-interval=0s")
	names := benchNames(10_000)
	ratio.Run(b, 10, nil,
		ratio.Variant{Name: "bare pipelines", Do: func() error {
			var all errgroup.Group
			for _, r := range started {
				all.Go(func() error { return bare(b.Context(), r.Client, names) })
			}
			return all.Wait()
		}},
		ratio.Variant{Name: "whole scrape", Do: func() error { p.get("/metrics"); return nil }},
	)
	page := p.scrape()
	if fresh := page.sum("canary_copies", "state", "fresh"); fresh != 120_000 {
		b.Fatalf("%v fresh copies", fresh)
	}
	b.ReportMetric(resident(b, p.cmd.Process.Pid), "MB-resident-at-most")
	b.ReportMetric(page.one("collector_duration_seconds", "collector", "canary"), "s/sampling")
}

// resident is the most memory that a process ever held, in MB.
func resident(b *testing.B, pid int) float64 {
	b.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	f := strings.Fields(rest)
	kB, err := strconv.ParseFloat(f[0], 64)
	if err != nil {
		b.Fatal(err)
	}
	return kB / 1000
}
