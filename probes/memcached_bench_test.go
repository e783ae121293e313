package probes

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/servertest"
)

// BenchmarkMemcachedRead1000 reads 1,000 keys of 100 bytes: as the exporter does, as the floor (one pipeline of mg,
// replies dropped), and with a get for each key.
func BenchmarkMemcachedRead1000(b *testing.B) {
	p := servertest.Memcached(b)
	client := memcacheClient(b, p.Addr)
	keys := make([]Key, 1000)
	var pipeline strings.Builder
	for i := range keys {
		keys[i].Name = fmt.Sprintf("user:%d:profile", i)
		set(b, client, keys[i].Name, strings.Repeat("x", 100), 3600)
		fmt.Fprintf(&pipeline, "mg %s t v k q u\r\n", keys[i].Name)
	}
	pipeline.WriteString("mn\r\n")
	b.Run("exporter", func(b *testing.B) {
		n := openMemcached(b, config.Memcached{Address: p.Addr}, testOptions())
		b.ReportAllocs()
		for b.Loop() {
			seen := 0
			if err := n.Read(context.Background(), keys, func(_ int, raw Raw) { seen += len(raw.Value) }); err != nil || seen != 100_000 {
				b.Fatal(seen, err)
			}
		}
	})
	b.Run("floor", func(b *testing.B) {
		conn, err := net.Dial("tcp", p.Addr)
		if err != nil {
			b.Fatal(err)
		}
		defer conn.Close()
		r := bufio.NewReaderSize(conn, 32<<10)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := conn.Write([]byte(pipeline.String())); err != nil {
				b.Fatal(err)
			}
			for {
				line, err := r.ReadSlice('\n')
				if err != nil {
					b.Fatal(err)
				}
				if string(line) == "MN\r\n" {
					break
				}
			}
		}
	})
	b.Run("get_by_get", func(b *testing.B) {
		for b.Loop() {
			for _, k := range keys {
				if _, err := client.Get(k.Name); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}
