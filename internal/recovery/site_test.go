package recovery

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/backends"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func testEnv() *probes.Env {
	return &probes.Env{
		MaxValueBytes: 1 << 20, MaxBody: 1 << 20, ForgetAfter: time.Minute, SampleMessages: 100,
		Budget: probes.NewBudget(), Kept: probes.NewKept(), Log: slog.New(slog.DiscardHandler),
	}
}

// site is caches with an incident: a primary with its replica, a Redis, a memcached, an application that has a local cache and a
// health URL, and a list of invalidations on the primary.
type site struct {
	t                       *testing.T
	primary, replica, other *servers.RedisServer
	memcached               *servers.Process
	app                     *httptest.Server
	// ill: the application says that it is not well.
	ill atomic.Bool
	// notes of the programs that were run, a line each.
	notes string
	// recovery is the block of that name, beside what all tests have.
	recovery string
}

const secretValue = "value-that-is-nobodys-business"

func newSite(t *testing.T, recovery string) *site {
	t.Helper()
	s := &site{t: t, primary: servers.Redis(t), replica: servers.Redis(t), other: servers.Redis(t), recovery: recovery}
	s.replica.Follow(t, s.primary)
	s.memcached = servers.Memcached(t, "-vv")
	s.app = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if s.ill.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(s.app.Close)
	s.notes = filepath.Join(t.TempDir(), "notes")
	return s
}

// program that notes a word, as a YAML list.
func (s *site) program(word string) string {
	return fmt.Sprintf(`[sh, -c, 'echo "$1" >>"$0"', %q, %s]`, s.notes, word)
}

func (s *site) programs() string {
	return fmt.Sprintf("  bypass: {on: %s, off: %s}\n  stop_jobs: %s\n  stop_processors: %s\n  restart: %s\n  wait: %s\n",
		s.program("bypass-on"), s.program("bypass-off"), s.program("stop-jobs"), s.program("stop-processors"), s.program("restart"), s.program("wait"))
}

// ran are the words that programs noted.
func (s *site) ran() []string {
	data, err := os.ReadFile(s.notes)
	if err != nil && !os.IsNotExist(err) {
		s.t.Fatal(err)
	}
	return strings.Fields(string(data))
}

func (s *site) config() *config.Config {
	s.t.Helper()
	text := fmt.Sprintf(`
layers:
  - {name: l1, ttl: 1m, nodes: [{name: app, http: {url: "%[1]s/{key}", health_url: "%[1]s/health"}}]}
  - name: l2
    ttl: 1h
    nodes: [{name: redis-1, redis: {address: "%[2]s"}}, {name: redis-2, redis: {address: "%[3]s"}}, {name: redis-3, redis: {address: "%[4]s"}}]
  - {name: l3, ttl: 1h, nodes: [{name: mc-1, memcached: {address: "%[5]s"}}]}
queues:
  - {name: inv, redis: {node: redis-1, list: inv}, message: {key: "$.key"}}
  - {name: l1-bus, redis: {node: redis-1, channel: l1-invalidation}, subscribers: 3}
canaries:
  - {class: user, pattern: "user:*", layers: [l2, {name: l3, key: "v3:{key}"}]}
  - {class: cart, keys: ["cart:1"], match: "^cart:(?P<id>.*)$", layers: [l2, {name: l3, key: "c-{id}"}]}
recovery:
  patterns: ["user:*:profile", "session:*"]
  aggressive_above: 20
  standard_above: 10
  rate: 100000/s
  health_url: "%[1]s/health"
  monitor: {depth: 1, every: 10ms, looks: 2, timeout: 10s}
%[6]s`, s.app.URL, s.primary.Addr, s.replica.Addr, s.other.Addr, s.memcached.Addr, s.recovery)
	cfg, err := config.Parse("cacheinv.yml", []byte(text), backends.All)
	if err != nil {
		s.t.Fatal(err)
	}
	return cfg
}

// fill the caches with n keys of each kind, under the names that each layer has for them.
func (s *site) fill(n int) {
	s.t.Helper()
	for i := range n {
		for _, key := range []string{fmt.Sprintf("user:%d:profile", i), fmt.Sprintf("session:%d", i), fmt.Sprintf("product:%d:price", i)} {
			s.primary.Must(s.t, "set", key, secretValue)
			s.other.Must(s.t, "set", key, secretValue)
			name := key
			if strings.HasPrefix(key, "user:") {
				name = "v3:" + key
			}
			s.store(name)
		}
	}
	s.follows()
}

// follows waits until the replica has what the primary has.
func (s *site) follows() {
	s.t.Helper()
	servers.Eventually(s.t, "the replica has what its primary has", func() bool {
		return s.primary.DBSize(s.t.Context()).Val() == s.replica.DBSize(s.t.Context()).Val()
	})
}

// enqueue invalidations of products.
func (s *site) enqueue(n int) {
	s.t.Helper()
	for i := range n {
		s.primary.Must(s.t, "rpush", "inv", fmt.Sprintf(`{"key":"product:%d:price"}`, i))
	}
}

// talk sends one command to memcached, and gives what it answers.
func (s *site) talk(command, end string) string {
	s.t.Helper()
	c, err := net.Dial("tcp", s.memcached.Addr)
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte(command)); err != nil {
		s.t.Fatal(err)
	}
	var out bytes.Buffer
	b := make([]byte, 64<<10)
	for !strings.HasSuffix(out.String(), end) {
		n, err := c.Read(b)
		if err != nil {
			s.t.Fatal(err)
		}
		out.Write(b[:n])
	}
	return out.String()
}

func (s *site) store(key string) {
	s.t.Helper()
	s.talk(fmt.Sprintf("set %s 0 0 %d\r\n%s\r\n", key, len(secretValue), secretValue), "STORED\r\n")
}

// stored are the keys of memcached that begin with a prefix.
func (s *site) stored(prefix string) int {
	s.t.Helper()
	return strings.Count("\n"+strings.ReplaceAll(s.talk("lru_crawler metadump hash\r\n", "END\r\n"), "%3A", ":"), "\nkey="+prefix)
}

// left are the keys of a Redis that match a pattern.
func left(t *testing.T, r *servers.RedisServer, pattern string) int {
	t.Helper()
	keys, err := r.Keys(t.Context(), pattern).Result()
	if err != nil {
		t.Fatal(err)
	}
	return len(keys)
}

// recover runs the procedure, and checks what holds of each report.
func (s *site) recover(ctx context.Context, opt Options) *Report {
	s.t.Helper()
	if opt.Env == nil {
		opt.Env = testEnv()
	}
	if opt.Strategy == "" {
		opt.Strategy = Auto
	}
	report, err := Run(ctx, s.config(), opt)
	if err != nil {
		s.t.Fatal(err)
	}
	check(s.t, report)
	return report
}

// check what holds of each report.
func check(t *testing.T, report *Report) {
	t.Helper()
	var text, machine bytes.Buffer
	if err := report.Text(&text); err != nil {
		t.Fatal(err)
	}
	if err := report.JSON(&machine); err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", text.String())
	var back map[string]any
	if err := json.Unmarshal(machine.Bytes(), &back); err != nil || back["exit_code"] != float64(report.ExitCode) {
		t.Errorf("the JSON is %s (%v)", machine.String(), err)
	}
	if strings.Contains(text.String()+machine.String(), secretValue) {
		t.Error("a value is in the report")
	}
	for _, s := range report.Steps {
		if s.Status == Planned && report.Applied {
			t.Errorf("step %s is planned in a run that does things", s.Step)
		}
	}
}

// statuses of the steps that were not skipped.
func statuses(r *Report) map[string]Status {
	out := map[string]Status{}
	for _, s := range r.Steps {
		if s.Status != Skipped {
			out[s.Step] = s.Status
		}
	}
	return out
}

// says reports whether a note or something not done says a text.
func says(r *Report, text string) bool {
	for _, s := range r.Steps {
		if slices.ContainsFunc(s.Notes, func(line string) bool { return strings.Contains(line, text) }) {
			return true
		}
	}
	return slices.ContainsFunc(r.NotDone, func(n NotDone) bool { return strings.Contains(n.What+" "+n.Why+" "+n.Advice, text) })
}
