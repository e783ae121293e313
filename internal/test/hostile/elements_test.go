package hostile

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// mostHonestMemory is what the exporter may hold of an estate without faults of 10,000 keys by 12 nodes.
const mostHonestMemory = 100 << 20

// What is large without a fault, and what is asked for by hand.
func TestStaysSmall(t *testing.T) {
	binary := build(t)
	t.Run("an honest estate", func(t *testing.T) { honestEstate(t, binary) })
	t.Run("many keys to list", func(t *testing.T) { manyKeysToList(t, binary) })
	t.Run("check --show-values", func(t *testing.T) { checkShowsValues(t, binary) })
}

// An estate of 10,000 keys by 12 nodes, literal ones and those of patterns: it is small, and all of it is read.
func honestEstate(t *testing.T, binary string) {
	const keys, nodes, literal = 10_000, 12, 8_000
	value := func(i int) string {
		return fmt.Sprintf(`{"id":%d,"name":"Jane Doe","email":"jane-%d@example.com","plan":"pro","version":17,"tags":["a","b"],"bio":%q}`, i, i, strings.Repeat("x", 200))
	}
	var config strings.Builder
	config.WriteString("layers:\n  - name: l2\n    ttl: 1h\n    nodes:\n")
	var filling sync.WaitGroup
	for n := range nodes {
		if n%3 == 2 {
			m := servers.Memcached(t)
			filling.Go(func() { fillMemcached(t, m.Addr, "user:", keys, value) })
			fmt.Fprintf(&config, "      - {name: n%d, memcached: {address: %q}}\n", n, m.Addr)
			continue
		}
		r := servers.Redis(t)
		filling.Go(func() { fillRedis(t, r, "user:", keys, value) })
		fmt.Fprintf(&config, "      - {name: n%d, redis: {address: %q}}\n", n, r.Addr)
	}
	filling.Wait()
	config.WriteString("canaries:\n  - {class: user, layers: [l2], version: {json: $.version}, pattern: \"user:*\", sample: " + strconv.Itoa(keys-literal) + ", keys: [")
	for i := range literal {
		fmt.Fprintf(&config, "\"user:%d\", ", i)
	}
	config.WriteString("]}\n")
	v := startWith(t, binary, config.String())
	fresh := regexp.MustCompile(`(?m)^cacheinv_canary_copies\{[^}]*node="n\d+",state="fresh"[^}]*\} (\d+)$`)
	whole := func() (n int) {
		for _, m := range fresh.FindAllStringSubmatch(v.Scrape(t), -1) {
			if m[1] == strconv.Itoa(keys) {
				n++
			}
		}
		return n
	}
	servers.Eventually(t, "all keys are read on all nodes", func() bool { return whole() == nodes })
	for range 5 {
		if n := whole(); n != nodes {
			t.Errorf("%d nodes were read whole", n)
		}
	}
	peakMemory := v.PeakMemory(t)
	t.Logf("%d MiB of resident memory at the peak", peakMemory>>20)
	if peakMemory > mostHonestMemory {
		t.Errorf("%d MiB of resident memory at the peak, at most %d", peakMemory>>20, mostHonestMemory>>20)
	}
}

// Servers with many keys are listed beside the scrapes, which lose nothing by it; the sample comes in time, and memory stays small.
func manyKeysToList(t *testing.T, binary string) {
	nodes, keys, sample := 4, 50_000, 100
	if os.Getenv("CACHEINV_SOAK") != "" {
		nodes, keys = 24, 200_000
	}
	var config strings.Builder
	config.WriteString("layers:\n  - name: l3\n    ttl: 1h\n    nodes:\n")
	var filling sync.WaitGroup
	for n := range nodes {
		m := servers.Memcached(t, "-m", "256")
		filling.Go(func() {
			fillMemcached(t, m.Addr, "user:some-longer-name:", keys, func(int) string { return `{"version":1}` })
		})
		fmt.Fprintf(&config, "      - {name: n%d, memcached: {address: %q}}\n", n, m.Addr)
	}
	filling.Wait()
	fmt.Fprintf(&config, "canaries:\n  - {class: user, layers: [l3], version: {json: $.version}, pattern: \"user:*\", sample: %d, keys: [\"user:some-longer-name:1\"]}\n", sample)
	v := startWith(t, binary, config.String())
	literal := regexp.MustCompile(`(?m)^cacheinv_canary_copies\{[^}]*node="n\d+",state="fresh"[^}]*\} [1-9]\d*$`)
	sampled := regexp.MustCompile(`(?m)^cacheinv_canary_sampled_keys\{class="user"\} (\d+)$`)
	servers.Eventually(t, "the sample is complete", func() bool {
		said := v.Scrape(t)
		if n := len(literal.FindAllString(said, -1)); n != nodes {
			t.Errorf("%d nodes were read in a scrape", n)
		}
		m := sampled.FindStringSubmatch(said)
		return m != nil && m[1] == strconv.Itoa(sample) && !strings.Contains(v.get(t, "/api/v1/status"), probes.ErrListing.Error())
	})
	v.Small(t)
	t.Logf("%d MiB of resident memory at the peak", v.PeakMemory(t)>>20)
}

// check shows some of many large values, and says of which it does not.
func checkShowsValues(t *testing.T, binary string) {
	const keys = 40
	var config strings.Builder
	config.WriteString("layers:\n  - name: l2\n    ttl: none\n    nodes:\n")
	for n := range 3 {
		value := servers.BulkText(strings.Repeat(string(rune('a'+n)), 1<<20))
		address := servers.RedisSaying(t, func(command []string) string {
			switch command[0] {
			case "INFO":
				return servers.BulkText("redis_version:7.0.0\r\nrole:master\r\n")
			case "PTTL":
				return ":-1\r\n"
			case "TYPE":
				return "+string\r\n"
			case "MGET":
				return fmt.Sprintf("*%d\r\n", len(command)-1) + strings.Repeat(value, len(command)-1)
			}
			return ""
		})
		fmt.Fprintf(&config, "      - {name: n%d, redis: {address: %q}}\n", n, address)
	}
	fmt.Fprintf(&config, "canaries:\n  - {class: user, layers: [l2], keys: %s}\n", keyNames(keys))
	file := writeConfig(t, config.String())
	for _, output := range []string{"json", "table"} {
		out, peakMemory := runCheck(t, binary, file, output)
		t.Logf("%s: %d MiB at the peak, %d bytes", output, peakMemory>>20, len(out))
		if peakMemory > MostMemory {
			t.Errorf("%s: %d MiB of resident memory at the peak, at most %d", output, peakMemory>>20, MostMemory>>20)
		}
		for _, want := range map[string][]string{
			"json":  {`"value": "aaaa`, `"value": "cccc`, `"value_bytes": 1048576`},
			"table": {"aaaa… (1048576 bytes; -o json shows more)", "cccc"},
		}[output] {
			if !strings.Contains(out, want) {
				t.Errorf("%s: without %s", output, want)
			}
		}
		if n := strings.Count(out, "value\": \"aaaa"); output == "json" && n != keys {
			t.Errorf("%d of %d keys' values are shown", n, keys)
		}
	}
}

// get a page of the victim's.
func (v *Victim) get(t testing.TB, path string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+v.Addr+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := v.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// runCheck gives what check prints, and the most memory that it held until it had printed the beginning: its output is held up there.
func runCheck(t testing.TB, binary, file, output string) (said string, peakMemory int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	const setPipeSize, page = 1031, 4096 // F_SETPIPE_SZ
	if _, _, failed := syscall.Syscall(syscall.SYS_FCNTL, w.Fd(), setPipeSize, page); failed != 0 {
		t.Fatal(failed)
	}
	cmd := exec.CommandContext(ctx, binary, "check", "--config.file", file, "--show-values", "-o", output)
	var errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = w, &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = w.Close() // the process has its own
	out := make([]byte, page)
	_, begun := io.ReadFull(r, out)
	peakMemory = peakMemoryOf(t, cmd.Process.Pid, errs.String)
	rest, err := io.ReadAll(r)
	_ = cmd.Wait() // 1: copies differ
	if begun != nil || err != nil || cmd.ProcessState.ExitCode() != 1 {
		t.Fatalf("exit code %d, %v, %v: %s", cmd.ProcessState.ExitCode(), begun, err, errs.String())
	}
	return string(out) + string(rest), peakMemory
}

func writeConfig(t testing.TB, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "cacheinv.yml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// startWith a configuration of its own.
func startWith(t testing.TB, binary, config string) *Victim {
	t.Helper()
	v := &Victim{}
	v.client.Timeout = time.Minute
	v.Process = servers.Exporter(t, binary, servers.FreeAddr(t), "--config.file", writeConfig(t, config), "--scrape.min-interval=0s")
	return v
}

func fillRedis(t testing.TB, r *servers.RedisServer, prefix string, keys int, value func(int) string) {
	_, err := r.Pipelined(t.Context(), func(p redis.Pipeliner) error {
		for i := range keys {
			p.Set(t.Context(), prefix+strconv.Itoa(i), value(i), time.Hour)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// fillMemcached stores keys without a round trip for each.
func fillMemcached(t testing.TB, address, prefix string, keys int, value func(int) string) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Error(err)
		return
	}
	defer func() { _ = conn.Close() }()
	var b bytes.Buffer
	for i := range keys {
		v := value(i)
		fmt.Fprintf(&b, "set %s%d 0 3600 %d noreply\r\n%s\r\n", prefix, i, len(v), v)
	}
	b.WriteString("version\r\n")
	if _, err := conn.Write(b.Bytes()); err != nil {
		t.Error(err)
		return
	}
	answer := make([]byte, len("VERSION"))
	if _, err := conn.Read(answer); err != nil || string(answer) != "VERSION" {
		t.Errorf("%v: %q", err, answer)
	}
}
