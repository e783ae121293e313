package probes

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
)

// BenchmarkRedisRead1000 reads 1,000 keys of 100 bytes: as the exporter does, as the floor (one pipeline, replies
// dropped), and with a round trip for each command.
func BenchmarkRedisRead1000(b *testing.B) {
	r := startRedis(b)
	keys, names := make([]Key, 1000), make([]string, 1000)
	for i := range keys {
		names[i] = fmt.Sprintf("user:%d:profile", i)
		keys[i].Name = names[i]
		r.do(b, "set", names[i], strings.Repeat("x", 100), "ex", 3600)
	}
	ctx := context.Background()
	n := openRedis(b, config.Redis{Address: r.addr}, testOptions())
	b.Run("exporter", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			seen := 0
			if err := n.Read(ctx, keys, func(_ int, raw Raw) { seen += len(raw.Value) }); err != nil || seen != 100_000 {
				b.Fatal(seen, err)
			}
		}
	})
	b.Run("floor", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, err := r.Pipelined(ctx, func(p redis.Pipeliner) error {
				p.MGet(ctx, names...)
				for _, k := range names {
					p.PTTL(ctx, k)
				}
				return nil
			})
			if err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("command_by_command", func(b *testing.B) {
		for b.Loop() {
			for _, k := range names {
				if r.Get(ctx, k).Err() != nil || r.PTTL(ctx, k).Err() != nil {
					b.Fatal("no answer")
				}
			}
		}
	})
}
