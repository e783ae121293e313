package acceptance

import (
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cacheinv/cacheinv_exporter/internal/test/cases"
	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

func (w *webNode) setBody(body string) { w.set(cases.Value{Bytes: []byte(body)}) }

func setMemcached(t testing.TB, address string, values map[string]string) {
	t.Helper()
	client := servers.MemcachedClient(t, address)
	for key, value := range values {
		if err := client.Set(&memcache.Item{Key: key, Value: []byte(value), Expiration: 3600}); err != nil {
			t.Fatal(err)
		}
	}
}

// established counts the connections from anywhere to a port of 127.0.0.1.
func established(t testing.TB, address string) int {
	t.Helper()
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(servers.Port(t, address))
	if err != nil {
		t.Fatal(err)
	}
	remote := fmt.Sprintf("0100007F:%04X", port)
	n := 0
	for line := range strings.Lines(string(table)) {
		if fields := strings.Fields(line); len(fields) > 3 && fields[2] == remote && fields[3] == "01" {
			n++
		}
	}
	return n
}

// memcachedStats are the numbers that a memcached itself prints.
func memcachedStats(t testing.TB, address string) map[string]float64 {
	t.Helper()
	c, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := fmt.Fprint(c, "stats\r\nquit\r\n"); err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "STAT" {
			if v, err := strconv.ParseFloat(f[2], 64); err == nil {
				out[f[1]] = v
			}
		}
	}
	return out
}

// produce n messages into each partition of a topic.
func produce(t testing.TB, broker, topic string, partitions int32, n int) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var records []*kgo.Record
	for p := range partitions {
		for range n {
			records = append(records, &kgo.Record{Topic: topic, Partition: p, Value: []byte("{}")})
		}
	}
	if err := client.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// commit offsets for a group.
func commit(t testing.TB, broker, group, topic string, offsets map[int32]int64) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(broker))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	all := kadm.Offsets{}
	for p, at := range offsets {
		all.AddOffset(topic, p, at, -1)
	}
	admin := kadm.NewClient(client)
	var last error
	defer func() {
		if t.Failed() {
			t.Logf("the commit of %v: %v", offsets, last)
		}
	}()
	servers.Eventually(t, "the commit is taken", func() bool {
		last = admin.CommitAllOffsets(t.Context(), group, all)
		return last == nil
	})
}
