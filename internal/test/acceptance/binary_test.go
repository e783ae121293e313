package acceptance

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

var update = flag.Bool("update", false, "write testdata anew")

var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "cacheinv")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "cacheinv_exporter")
	out, err := exec.Command("go", "build", "-o", path, "../../..").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return path, nil
})

// program is the exporter's binary with a command line.
type program struct {
	t    testing.TB
	cmd  *exec.Cmd
	url  string
	out  *journal
	done chan error
}

// run the binary as a server on a free port.
func run(t testing.TB, args ...string) *program {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	address := servers.FreeAddr(t)
	p := &program{t: t, url: "http://" + address, out: &journal{}, done: make(chan error, 1)}
	p.cmd = exec.Command(path, append(args, "--web.listen-address", address)...)
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.done <- p.cmd.Wait() }()
	t.Cleanup(func() { _ = p.end(os.Kill) })
	servers.Eventually(t, "the exporter is ready", func() bool {
		select {
		case err := <-p.done:
			p.done <- err
			t.Fatalf("the exporter ended: %v\n%s", err, p.out)
		default:
		}
		status, _, err := fetch(p.url + "/-/ready")
		return err == nil && status == http.StatusOK
	})
	return p
}

// end the program; its error is that of its exit code.
func (p *program) end(how os.Signal) error {
	if p.cmd.ProcessState == nil {
		_ = p.cmd.Process.Signal(how) // it may have ended by itself
	}
	err := <-p.done
	p.done <- err
	return err
}

// interrupt is Ctrl-C.
var interrupt = os.Interrupt

var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 30 * time.Second}

func fetch(url string) (int, string, error) {
	r, err := client.Get(url) //nolint:noctx // the client has a timeout
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = r.Body.Close() }()
	b, err := io.ReadAll(r.Body)
	return r.StatusCode, string(b), err
}

func (p *program) get(path string) string {
	p.t.Helper()
	status, body, err := fetch(p.url + path)
	if err != nil || status != http.StatusOK {
		p.t.Fatalf("%s: status %d, %v; the program says:\n%s", path, status, err, p.out)
	}
	return body
}

func (p *program) scrape() page {
	p.t.Helper()
	return parse(p.t, p.get("/metrics"))
}

// once runs a command of the binary to its end.
func once(t testing.TB, args ...string) (code int, output string) {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

func writeFile(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// estate is a small one of everything, in a fixed state.
func estate(t testing.TB) string {
	t.Helper()
	var addresses []string
	for i := range 2 {
		r := servers.Redis(t)
		r.Must(t, "set", "user:1:profile", fmt.Sprintf(`{"version":%d,"name":"marker-value"}`, 7-i), "ex", 3600)
		r.Must(t, "set", "user:2:profile", `{"version":3,"name":"marker-value"}`, "ex", 3600)
		r.Must(t, "rpush", "invalidation_queue", "marker-value")
		addresses = append(addresses, r.Addr)
	}
	m := servers.Memcached(t)
	setMemcached(t, m.Addr, map[string]string{"user:1:profile": `{"version":7,"name":"marker-value"}`})
	app := startWeb(testOf(t), 0)
	app.setBody("2.3.1")
	return "layers:\n  - name: l2\n    ttl: 1h\n    max_staleness: 5s\n    nodes:\n" + redisNodes(addresses...) + fmt.Sprintf(`
  - name: l3
    ttl: 24h
    nodes:
      - {name: memcached-1, memcached: {address: "%s"}}
      - {name: gone, memcached: {address: "127.0.0.1:1"}}
queues:
  - {name: invalidation_queue, redis: {node: redis-1, list: invalidation_queue}, capacity: 20000}
canaries:
  - class: user_profile
    keys: ["user:1:profile", "user:2:profile", "user:3:profile"]
    layers: [l2, l3]
    version: {json: "$.version"}
versions:
  - {app: web, nodes: {app-1: "%s/version"}}
`, m.Addr, app.URL)
}

func testOf(t testing.TB) *testing.T {
	t.Helper()
	own, ok := t.(*testing.T)
	if !ok {
		t.Fatal("needs a test")
	}
	return own
}

// volatile series have another value in each run.
var volatile = regexp.MustCompile(`^(cacheinv_(?:node_scrape_duration_seconds|collector_duration_seconds|node_uptime_seconds|` +
	`node_memory_used_bytes|config_last_reload_success_timestamp_seconds|canary_oldest_stale_seconds|canary_ttl_skew_seconds|build_info|` +
	`node_misses_total|node_hits_total|node_own_reads_total)(?:\{[^}]*\})?) .*`)

var serverVersion = regexp.MustCompile(`(version|goversion|revision|branch|goarch|goos|tags)="[^"]*"`)

// TestGoldenScrape is the whole binary's answer over an estate in a fixed state.
func TestGoldenScrape(t *testing.T) {
	p := run(t, "--config.file", writeFile(t, "cacheinv.yml", estate(t)))
	var b strings.Builder
	text := p.get("/metrics")
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(strings.TrimPrefix(strings.TrimPrefix(line, "# HELP "), "# TYPE "), "cacheinv_") {
			continue
		}
		line = volatile.ReplaceAllString(strings.TrimSuffix(line, "\n"), "$1 VALUE")
		b.WriteString(serverVersion.ReplaceAllString(line, `$1="VERSION"`) + "\n")
	}
	const path = "testdata/golden.prom"
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), b.String()); d != "" {
		t.Error(d)
	}
	promtool(t, text)
	if err := p.end(syscall.SIGTERM); err != nil {
		t.Errorf("it ended with %v; it says:\n%s", err, p.out)
	}
}

// promtool finds nothing to say about a page.
func promtool(t *testing.T, text string) {
	t.Helper()
	cmd := exec.Command("promtool", "check", "metrics")
	cmd.Stdin = strings.NewReader(text)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil || out.Len() > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out.String())
	}
}

// TestReload: SIGHUP loads a changed file, a bad one changes nothing and says so.
func TestReload(t *testing.T) {
	cfg := estate(t)
	path := writeFile(t, "cacheinv.yml", cfg)
	p := run(t, "--config.file", path)
	first := p.scrape()
	first.want(1, "config_last_reload_successful")
	first.want(5, "layer_max_staleness_seconds", "layer", "l2")
	change := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	change(strings.Replace(cfg, "max_staleness: 5s", "max_staleness: 7s", 1))
	servers.Eventually(t, "the new file is in use", func() bool {
		return p.scrape().sum("layer_max_staleness_seconds", "layer", "l2") == 7
	})
	age := p.scrape().one("canary_oldest_stale_seconds", "class", "user_profile", "node", "redis-2")
	change(strings.Replace(cfg, "ttl: 24h", "tttl: 24h", 1))
	servers.Eventually(t, "the failure is told", func() bool { return p.scrape().sum("config_last_reload_successful") == 0 })
	after := p.scrape()
	after.want(7, "layer_max_staleness_seconds", "layer", "l2")
	if !strings.Contains(p.out.String(), path+":") || !strings.Contains(p.out.String(), "did you mean ttl?") {
		t.Errorf("the log does not say what is wrong:\n%s", p.out)
	}
	if got := after.one("canary_oldest_stale_seconds", "class", "user_profile", "node", "redis-2"); got < age {
		t.Errorf("the episode began anew: %v s after %v s", got, age)
	}
	if own := after.one("node_own_reads_total", "node", "redis-1", "result", "hit"); own < first.one("node_own_reads_total", "node", "redis-1", "result", "hit") {
		t.Errorf("own reads went back to %v", own)
	}
}
