package acceptance

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// peer is an exporter that is measured, ours among them.
type peer struct {
	name string
	pid  int
	// urls that make up one scrape, asked at once.
	urls []string

	took []time.Duration
	cpu  time.Duration
}

// startPeer from the folder of peers' binaries, listening on an address that args and env are given; nil: it is not there, and left out by name.
func startPeer(b *testing.B, name string, args func(address string) (args, env []string), urls func(address string) []string) *peer {
	b.Helper()
	path := filepath.Join(os.Getenv("CACHEINV_PEERS"), name)
	if _, err := os.Stat(path); os.Getenv("CACHEINV_PEERS") == "" || err != nil {
		b.Logf("%s is left out: make bench-peers could not build it, and PEERS has none", name)
		return nil
	}
	address := servers.FreeAddr(b)
	flags, env := args(address)
	cmd := exec.Command(path, flags...)
	cmd.Env = append(os.Environ(), env...)
	out := &journal{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended by itself
		_ = cmd.Wait()
	})
	p := &peer{name: name, pid: cmd.Process.Pid, urls: urls(address)}
	servers.Eventually(b, name+" answers", func() bool { _, err := p.scrape(); return err == nil })
	return p
}

// ours is the binary of this repository.
func ours(b *testing.B, cfg string) *peer {
	b.Helper()
	p := run(b, "--config.file", writeFile(b, "cacheinv.yml", cfg), "--scrape.min-interval=0s")
	return &peer{name: "cacheinv_exporter", pid: p.cmd.Process.Pid, urls: []string{p.url + "/metrics"}}
}

// scrape once, and give how long it took.
func (p *peer) scrape() (time.Duration, error) {
	began := time.Now()
	var all errgroup.Group
	for _, u := range p.urls {
		all.Go(func() error {
			resp, err := http.Get(u) //nolint:noctx // on this machine
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				return fmt.Errorf("%s: status %d", p.name, resp.StatusCode)
			}
			_, err = io.Copy(io.Discard, resp.Body)
			return err
		})
	}
	err := all.Wait()
	return time.Since(began), err
}

// cpuTime that the process took so far, in ticks of 10 ms.
func (p *peer) cpuTime(b *testing.B) time.Duration {
	b.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.pid))
	if err != nil {
		b.Fatal(err)
	}
	f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// compare the peers turn by turn, and print the table of docs/performance.md. before is called before each scrape; nil: nothing is.
func compare(b *testing.B, what string, before func(), peers ...*peer) {
	b.Helper()
	if before == nil {
		before = func() {}
	}
	peers = slices.DeleteFunc(peers, func(p *peer) bool { return p == nil })
	const rounds = 20
	for range 3 { // connections, caches, and what is read once
		for _, p := range peers {
			before()
			if _, err := p.scrape(); err != nil {
				b.Fatal(err)
			}
		}
	}
	for _, p := range peers {
		p.took, p.cpu = nil, 0
	}
	for b.Loop() {
		for round := range rounds {
			for i := range peers {
				p := peers[(i+round)%len(peers)] // none is always first
				before()
				cpu := p.cpuTime(b)
				took, err := p.scrape()
				if err != nil {
					b.Fatal(err)
				}
				p.took = append(p.took, took)
				p.cpu += p.cpuTime(b) - cpu
			}
		}
	}
	var table strings.Builder
	table.WriteString("| what | exporter | median | ours as a part | CPU a scrape | ours as a part |\n")
	mine := peers[0]
	for _, p := range peers {
		slices.Sort(p.took)
		median, first := p.took[len(p.took)/2], mine.took[len(mine.took)/2]
		n := time.Duration(len(p.took))
		fmt.Fprintf(&table, "| %s | %s | %v | %.2f | %v | %.2f |\n", what, p.name, median.Round(100*time.Microsecond), float64(first)/float64(median),
			(p.cpu / n).Round(100*time.Microsecond), float64(mine.cpu)/float64(max(p.cpu, 1)))
		if p != mine {
			b.ReportMetric(float64(first)/float64(median), "of_"+p.name)
		}
	}
	b.Log("\n" + table.String())
}

// BenchmarkPeersKafka: a topic of 1,000 partitions and a group that is behind in each; our look at messages included. First nothing
// comes, then a message in each partition before each scrape.
func BenchmarkPeersKafka(b *testing.B) {
	const partitions = 1000
	k := servers.Kafka(b)
	if r, err := kafkaAdmin(b, k.Addr).CreateTopic(b.Context(), partitions, 1, nil, "inv"); err != nil || r.Err != nil {
		b.Fatal(err, r.Err)
	}
	produce(b, k.Addr, "inv", partitions, 20)
	at := map[int32]int64{}
	for i := range int32(partitions) {
		at[i] = 5
	}
	commit(b, k.Addr, "g", "inv", at)
	metrics := func(address string) []string { return []string{"http://" + address + "/metrics"} }
	peers := []*peer{
		ours(b, fmt.Sprintf("queues:\n  - {name: inv, kafka: {brokers: [\"%s\"], topics: [inv], groups: [g]}, message: {key: \"$.key\"}}\n", k.Addr)),
		startPeer(b, "kminion", func(address string) (args, env []string) {
			_, port, _ := strings.Cut(address, ":")
			return nil, []string{"KAFKA_BROKERS=" + k.Addr, "EXPORTER_HOST=127.0.0.1", "EXPORTER_PORT=" + port, "LOGGER_LEVEL=error"}
		}, metrics),
		startPeer(b, "kafka_exporter", func(address string) (args, env []string) {
			return []string{"--kafka.server=" + k.Addr, "--web.listen-address=" + address}, nil
		}, metrics),
	}
	for _, topic := range []struct {
		what   string
		before func()
	}{
		{"1,000 partitions, one Kafka", nil},
		{"the same, a message in each before each scrape", func() { produce(b, k.Addr, "inv", partitions, 1) }},
	} {
		b.Run(topic.what, func(b *testing.B) { compare(b, topic.what, topic.before, peers...) })
	}
}

// BenchmarkPeersRedis: 1,000 keys on each of six Redis.
func BenchmarkPeersRedis(b *testing.B) {
	var addresses []string
	for range 6 {
		r := servers.Redis(b)
		fill(b, r, 1000, benchValue)
		addresses = append(addresses, r.Addr)
	}
	keys := url.QueryEscape(strings.Join(benchNames(1000), ","))
	compare(b, "1,000 keys on six Redis", nil, ours(b, benchConfig(1000, addresses...)),
		startPeer(b, "redis_exporter", func(address string) (args, env []string) {
			return []string{"--web.listen-address=" + address, "--redis.addr="}, nil
		}, func(address string) (urls []string) {
			for _, a := range addresses {
				urls = append(urls, "http://"+address+"/scrape?target="+url.QueryEscape("redis://"+a)+"&check-single-keys="+keys)
			}
			return urls
		}))
}

// BenchmarkPeersMemcached: the statistics of three memcached, which are all that the peer reads.
func BenchmarkPeersMemcached(b *testing.B) {
	cfg := "layers:\n  - name: l3\n    ttl: 1h\n    nodes:\n"
	var addresses []string
	for i := range 3 {
		m := servers.Memcached(b)
		addresses = append(addresses, m.Addr)
		cfg += fmt.Sprintf("      - {name: mc-%d, memcached: {address: \"%s\"}}\n", i, m.Addr)
	}
	compare(b, "statistics of three memcached", nil, ours(b, cfg),
		startPeer(b, "memcached_exporter", func(address string) (args, env []string) {
			return []string{"--web.listen-address=" + address, "--memcached.address="}, nil
		}, func(address string) (urls []string) {
			for _, a := range addresses {
				urls = append(urls, "http://"+address+"/scrape?target="+url.QueryEscape(a))
			}
			return urls
		}))
}
