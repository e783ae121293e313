// Package hostile has servers that attack who reads from them, and one exporter that is attacked: it must stay up, small and right
// about the honest nodes beside them.
package hostile

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// MostMemory is what the exporter may hold at its peak in every attack, in bytes of resident memory.
const MostMemory = 200 << 20

// An Attack is what a server answers as no honest one does.
type Attack struct {
	Name string
	// Start begins it, and gives what the configuration says of its servers. They end with the test.
	Start func(t testing.TB) Config
}

// Config is a part of a configuration. Each string is one element of its list, beginning with "  - ". Names in it begin with the
// attack's name, so that several attacks fit in one configuration.
type Config struct {
	Layers, Queues, Classes []string
	// More is what else stands at the top of the file.
	More string
}

// Attacks are all of them; each file of them adds its own.
func Attacks() []Attack {
	var all []Attack
	for _, some := range [][]Attack{streams(), discoveryAttacks(), nameAttacks(), Starving(), queueReplies(), ManyElements(), kafkaReplies(), stallingKafka()} {
		all = append(all, some...)
	}
	return all
}

// Victim is the exporter's real binary, with honest nodes and what attacks it.
type Victim struct {
	*servers.Process
	// honest are the nodes whose data must be there at each scrape, each with honestKeys fresh copies.
	honest []string
	client http.Client
	// timeout that its scrapes announce.
	timeout time.Duration
	// file is its configuration, and base what of it stands without attacks.
	file string
	base Config
}

const honestKeys = 6

// Start a built exporter (build, servers.Build) with some honest Redis and memcached and attacks beside them.
func Start(t testing.TB, binary string, honest int, attacks []Attack, args ...string) *Victim {
	t.Helper()
	v := &Victim{client: http.Client{Timeout: time.Minute}, timeout: 10 * time.Second}
	c := &v.base
	nodes := ""
	for i := range honest {
		name := fmt.Sprintf("honest-%d", i+1)
		v.honest = append(v.honest, name)
		nodes += "      - " + honestNode(t, name, i) + "\n"
	}
	keys := make([]string, honestKeys)
	for i := range keys {
		keys[i] = fmt.Sprintf("%q", "honest:"+strconv.Itoa(i))
	}
	c.Layers = []string{"  - name: honest\n    ttl: 24h\n    max_staleness: 5s\n    nodes:\n" + nodes}
	c.Classes = []string{fmt.Sprintf("  - {class: honest, layers: [honest], version: {json: $.version}, keys: [%s]}\n", strings.Join(keys, ", "))}
	var started []Config
	for _, a := range attacks {
		started = append(started, a.Start(t))
	}
	v.file = filepath.Join(t.TempDir(), "cacheinv.yml")
	v.configure(t, started...)
	v.Process = servers.Exporter(t, binary, servers.FreeAddr(t), append([]string{"--config.file", v.file, "--scrape.min-interval=0s"}, args...)...)
	return v
}

// configure writes the file, with the honest nodes and attacks that were started.
func (v *Victim) configure(t testing.TB, attacks ...Config) {
	t.Helper()
	c := v.base
	for _, more := range attacks {
		c.Layers = slices.Concat(c.Layers, more.Layers)
		c.Queues = slices.Concat(c.Queues, more.Queues)
		c.Classes = slices.Concat(c.Classes, more.Classes)
		c.More += more.More
	}
	if err := os.WriteFile(v.file, []byte(c.text()), 0o600); err != nil {
		t.Fatal(err)
	}
}

// honestNode is a real server with fresh copies of all keys, as the configuration has it. They outlive the longest siege.
func honestNode(t testing.TB, name string, i int) string {
	t.Helper()
	if i%2 == 1 {
		m := servers.Memcached(t)
		client := servers.MemcachedClient(t, m.Addr)
		for k := range honestKeys {
			if err := client.Set(&memcache.Item{Key: fmt.Sprintf("honest:%d", k), Value: []byte(`{"version":1}`), Expiration: 24 * 3600}); err != nil {
				t.Fatal(err)
			}
		}
		return fmt.Sprintf("{name: %s, memcached: {address: %q}}", name, m.Addr)
	}
	r := servers.Redis(t)
	for k := range honestKeys {
		r.Must(t, "set", fmt.Sprintf("honest:%d", k), `{"version":1}`, "ex", 24*3600)
	}
	return fmt.Sprintf("{name: %s, redis: {address: %q}}", name, r.Addr)
}

func (c Config) text() string {
	out := "layers:\n" + strings.Join(c.Layers, "")
	if len(c.Queues) > 0 {
		out += "queues:\n" + strings.Join(c.Queues, "")
	}
	return out + "canaries:\n" + strings.Join(c.Classes, "") + c.More
}

// Scrape the victim once, with Prometheus' usual timeout of 10 s, and demand that every honest node was read whole.
func (v *Victim) Scrape(t testing.TB) string {
	t.Helper()
	status, body := v.ask(t)
	if status != http.StatusOK {
		t.Fatalf("status %d: %s; it says:\n%s", status, body, tail(v.Output()))
	}
	for _, node := range v.honest {
		for _, want := range [][3]string{
			{"cacheinv_node_up{", fmt.Sprintf("node=%q", node), "} 1"},
			{"cacheinv_canary_copies{", fmt.Sprintf(`node=%q,state="fresh"`, node), fmt.Sprintf("} %d", honestKeys)},
		} {
			if line(string(body), want[0], want[1], want[2]) == "" {
				t.Errorf("without %q; it says:\n%s", want, tail(v.Output()))
			}
		}
	}
	return string(body)
}

// line of a page that begins, goes on and ends so; empty: there is none. Pages are large, and expressions are slow with the race detector.
func line(page, begins, has, ends string) string {
	for l := range strings.Lines(page) {
		if l = strings.TrimSuffix(l, "\n"); strings.HasPrefix(l, begins) && strings.Contains(l, has) && strings.HasSuffix(l, ends) {
			return l
		}
	}
	return ""
}

// ask for the victim's metrics, and give the answer whole.
func (v *Victim) ask(t testing.TB) (status int, body []byte) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+v.Addr+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Prometheus-Scrape-Timeout-Seconds", strconv.FormatFloat(v.timeout.Seconds(), 'f', -1, 64))
	answer, err := v.client.Do(request)
	if err != nil {
		t.Fatalf("no answer: %v; it says:\n%s", err, tail(v.Output()))
	}
	defer func() { _ = answer.Body.Close() }()
	if body, err = io.ReadAll(answer.Body); err != nil {
		t.Fatalf("status %d, %v: %s; it says:\n%s", answer.StatusCode, err, body, tail(v.Output()))
	}
	return answer.StatusCode, body
}

var peak = regexp.MustCompile(`VmHWM:\s+(\d+) kB`)

// PeakMemory the victim ever held, in bytes of resident memory.
func (v *Victim) PeakMemory(t testing.TB) int64 {
	t.Helper()
	return peakMemoryOf(t, v.PID(), v.Output)
}

// peakMemoryOf a process, which says something.
func peakMemoryOf(t testing.TB, pid int, says func() string) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	m := peak.FindSubmatch(status)
	if m == nil {
		t.Fatalf("no VmHWM: it has ended; it says:\n%s", tail(says()))
	}
	kB, err := strconv.ParseInt(string(m[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kB << 10
}

// Small demands that the victim never held more than it may.
func (v *Victim) Small(t testing.TB) {
	t.Helper()
	if got := v.PeakMemory(t); got > MostMemory {
		t.Errorf("%d MiB of resident memory at the peak, at most %d", got>>20, MostMemory>>20)
	}
}

func tail(s string) string { return s[max(0, len(s)-3000):] }
