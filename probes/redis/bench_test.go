package redis

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/cacheinv/cacheinv_exporter/internal/test/ratio"
	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

// BenchmarkRead1000 reads 1,000 keys of 100 bytes: the floor is one pipeline of MGET and PTTL by go-redis, replies
// dropped; the guide's way is a round trip for each command.
func BenchmarkRead1000(b *testing.B) {
	r := servers.Redis(b)
	keys, names := make([]probes.Key, 1000), make([]string, 1000)
	for i := range keys {
		names[i] = fmt.Sprintf("user:%d:profile", i)
		keys[i].Name = names[i]
		r.Must(b, "set", names[i], strings.Repeat("x", 100), "ex", 3600)
	}
	ctx := context.Background()
	n := openNode(b, nodeConfig{Address: r.Addr}, probetest.Env())
	probetest.Survey(b, n)
	identified := slices.Clone(keys)
	for i := range identified {
		identified[i].Identity = true
	}
	ratio.Run(b, 50, func() ratio.Cost { return serverCost(b, r) },
		ratio.Variant{Name: "floor", Do: func() error {
			_, err := r.Pipelined(ctx, func(p redis.Pipeliner) error {
				p.MGet(ctx, names...)
				for _, name := range names {
					p.PTTL(ctx, name)
				}
				return nil
			})
			return err
		}},
		ratio.Variant{Name: "exporter", Do: func() error {
			seen := 0
			err := n.Read(ctx, keys, func(_ int, raw probes.Raw) { seen += len(raw.Value) })
			if err == nil && seen != 100_000 {
				err = fmt.Errorf("%d bytes were read", seen)
			}
			return err
		}},
		ratio.Variant{Name: "exporter with the expiry", Do: func() error {
			seen := 0
			err := n.Read(ctx, identified, func(_ int, raw probes.Raw) {
				if raw.ExpiresMS > 0 {
					seen++
				}
			})
			if err == nil && seen != len(keys) {
				err = fmt.Errorf("%d keys told their expiry", seen)
			}
			return err
		}},
		ratio.Variant{Name: "one command per key", Do: func() error {
			for _, name := range names {
				if err := r.Get(ctx, name).Err(); err != nil {
					return err
				}
				if err := r.PTTL(ctx, name).Err(); err != nil {
					return err
				}
			}
			return nil
		}},
	)
}

// serverCost is what the server itself has counted so far; asking for it counts, too.
func serverCost(b *testing.B, r *servers.RedisServer) ratio.Cost {
	b.Helper()
	info, err := r.Info(b.Context(), "stats").Result()
	if err != nil {
		b.Fatal(err)
	}
	number := func(name string) float64 {
		_, rest, _ := strings.Cut(info, name+":")
		value, _, _ := strings.Cut(rest, "\r\n")
		f, err := strconv.ParseFloat(value, 64)
		if err != nil {
			b.Fatal(err)
		}
		return f
	}
	return ratio.Cost{
		Commands: number("total_commands_processed") - 1,
		Bytes:    number("total_net_input_bytes") + number("total_net_output_bytes"),
	}
}

// Reading keys of a Cluster beside reading them from a plain server.
func BenchmarkClusterRead(b *testing.B) {
	for _, cluster := range []bool{false, true} {
		b.Run(fmt.Sprint("cluster=", cluster), func(b *testing.B) {
			var r *servers.RedisServer
			if cluster {
				r = servers.RedisCluster(b, 1, 0).Shards[0][0].RedisServer
			} else {
				r = servers.Redis(b)
			}
			n := openNode(b, nodeConfig{Address: r.Addr}, probetest.Env())
			n.cluster = cluster
			var keys []probes.Key
			for i := range 1000 {
				keys = append(keys, probes.Key{Name: fmt.Sprintf("user:%d:profile", i)})
				r.Must(b, "set", keys[i].Name, strings.Repeat("x", 500), "ex", 3600)
			}
			for b.Loop() {
				if err := n.Read(b.Context(), keys, func(int, probes.Raw) {}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
