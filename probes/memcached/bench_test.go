package memcached

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/cacheinv/cacheinv_exporter/internal/test/ratio"
	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/internal/probetest"
)

// BenchmarkMemcachedRead1000 reads 1,000 keys of 100 bytes: the floor is one pipeline of mg, its replies dropped unparsed.
func BenchmarkRead1000(b *testing.B) {
	p := servers.Memcached(b)
	client := servers.MemcachedClient(b, p.Addr)
	keys := make([]probes.Key, 1000)
	var pipeline strings.Builder
	for i := range keys {
		keys[i].Name = fmt.Sprintf("user:%d:profile", i)
		set(b, client, keys[i].Name, strings.Repeat("x", 100), 3600)
		fmt.Fprintf(&pipeline, "mg %s t v k q u\r\n", keys[i].Name)
	}
	pipeline.WriteString("mn\r\n")
	n := openNode(b, nodeConfig{Address: p.Addr}, probetest.Env())
	conn, err := net.Dial("tcp", p.Addr)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = conn.Close() })
	replies := bufio.NewReaderSize(conn, 32<<10)
	ratio.Run(b, 50, nil,
		ratio.Variant{Name: "floor", Do: func() error {
			if _, err := conn.Write([]byte(pipeline.String())); err != nil {
				return err
			}
			for {
				line, err := replies.ReadSlice('\n')
				if err != nil || string(line) == "MN\r\n" {
					return err
				}
			}
		}},
		ratio.Variant{Name: "exporter", Do: func() error {
			seen := 0
			err := n.Read(context.Background(), keys, func(_ int, raw probes.Raw) { seen += len(raw.Value) })
			if err == nil && seen != 100_000 {
				err = fmt.Errorf("%d bytes were read", seen)
			}
			return err
		}},
		ratio.Variant{Name: "one command per key", Do: func() error {
			for _, k := range keys {
				if _, err := client.Get(k.Name); err != nil {
					return err
				}
			}
			return nil
		}},
	)
}
