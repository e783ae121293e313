package repair

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/consistency"
	"github.com/cacheinv/cacheinv_exporter/internal/incident"
	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes"
	"github.com/cacheinv/cacheinv_exporter/probes/backends"
)

// A client of go-redis that could not dial looks once more for up to a second after it was closed.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

// parse a configuration.
func parse(t testing.TB, text string) *config.Config {
	t.Helper()
	cfg, err := config.Parse("c.yml", []byte(text), backends.All)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// options of a strategy, as the command line gives them, but for the rate: none.
func options(strategy string) Options {
	log := slog.New(slog.DiscardHandler)
	return Options{Strategy: strategy, Log: log, Check: incident.CheckOptions{
		Sampler: consistency.Options{RereadDelay: 20 * time.Millisecond, ScanCount: 1000, DigestKey: []byte("a key of tests")},
		Env: &probes.Env{
			MaxValueBytes: 1 << 20, MaxBody: 4 << 20, ForgetAfter: time.Minute, Budget: probes.NewBudget(), Kept: probes.NewKept(), Log: log,
		},
	}}
}

// run a repair, and check its exit code.
func run(t testing.TB, text string, opt Options, code int) *Report {
	t.Helper()
	r, err := Run(t.Context(), parse(t, text), opt)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.ExitCode(); got != code {
		var b strings.Builder
		_ = r.Text(&b)
		t.Fatalf("exit code %d, want %d:\n%s", got, code, b.String())
	}
	return r
}

// outcomesOf a report, as text.
func outcomesOf(r *Report) string { return fmt.Sprint(r.Outcomes) }

// estate is three Redis servers in l2 and two memcached servers in l3, which hold the same keys in the same form.
type estate struct {
	t      testing.TB
	redis  []*servers.RedisServer
	mem    []*servers.Process
	client []*memcache.Client
}

func newEstate(t testing.TB) *estate {
	t.Helper()
	e := &estate{t: t}
	for range 3 {
		e.redis = append(e.redis, servers.Redis(t))
	}
	for range 2 {
		m := servers.Memcached(t, "-vv")
		c := memcache.New(m.Addr)
		c.Timeout = 5 * time.Second
		t.Cleanup(func() { _ = c.Close() })
		e.mem, e.client = append(e.mem, m), append(e.client, c)
	}
	return e
}

func (e *estate) config(class string) string {
	return fmt.Sprintf(`
layers:
  - name: l2
    ttl: 1h
    nodes:
      - {name: r1, redis: {address: %q}}
      - {name: r2, redis: {address: %q}}
      - {name: r3, redis: {address: %q}}
  - name: l3
    ttl: 24h
    nodes:
      - {name: m1, memcached: {address: %q}}
      - {name: m2, memcached: {address: %q}}
canaries:
  - {class: c, layers: [l2, l3], %s}
`, e.redis[0].Addr, e.redis[1].Addr, e.redis[2].Addr, e.mem[0].Addr, e.mem[1].Addr, class)
}

const flags = 1<<31 + 5

// fill all copies of a key with value, but those on r3 and m2 with old; ttl in seconds, 0: no expiry.
func (e *estate) fill(key, value, old string, ttl int) {
	e.t.Helper()
	for i, r := range e.redis {
		v := value
		if i == 2 {
			v = old
		}
		if err := r.Set(e.t.Context(), key, v, time.Duration(ttl)*time.Second).Err(); err != nil {
			e.t.Fatal(err)
		}
	}
	for i, c := range e.client {
		item := &memcache.Item{Key: key, Value: []byte(value), Flags: flags, Expiration: int32(ttl)}
		if i == 1 {
			item.Value = []byte(old)
		}
		if err := c.Set(item); err != nil {
			e.t.Fatal(err)
		}
	}
}

// want what r3 and m2 hold of a key; "": nothing. Their TTL is at most that of fill, and hardly less.
func (e *estate) want(key, value string, ttl int) {
	e.t.Helper()
	ctx := e.t.Context()
	got, _ := e.redis[2].Get(ctx, key).Result()
	left := e.redis[2].PTTL(ctx, key).Val()
	switch {
	case got != value:
		e.t.Errorf("r3 holds %q of %s, want %q", got, key, value)
	case value == "":
	case ttl == 0 && left != -1:
		e.t.Errorf("r3: %s expires in %v, want never", key, left)
	case ttl > 0 && (left > time.Duration(ttl)*time.Second || left < time.Duration(ttl-20)*time.Second):
		e.t.Errorf("r3: %s expires in %v, want %d s", key, left, ttl)
	}
	item, err := e.client[1].Get(key)
	switch {
	case value == "" && errors.Is(err, memcache.ErrCacheMiss):
	case err != nil:
		e.t.Errorf("m2: %s: %v, want %q", key, err, value)
	case string(item.Value) != value || item.Flags != flags:
		e.t.Errorf("m2 holds %q with %d of %s, want %q with %d", item.Value, item.Flags, key, value, flags)
	default:
		if left := mgTTL(e.t, e.mem[1].Addr, key); left != -1 && (ttl == 0 || left > ttl+1 || left < ttl-20) || left == -1 && ttl > 0 {
			e.t.Errorf("m2: %s expires in %d s, want %d s", key, left, ttl)
		}
	}
}

// mgTTL is what a memcached says of a key's TTL, in seconds; -1: none.
func mgTTL(t testing.TB, addr, key string) int {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "mg %s t\r\n", key)
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	ttl := 0
	if _, err := fmt.Sscanf(line, "HD t%d", &ttl); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	return ttl
}

// watched are the commands that a Redis server was sent, as it logs them itself.
type watched struct {
	conn  net.Conn
	lines *bufio.Scanner
	r     *servers.RedisServer
}

func monitor(t testing.TB, r *servers.RedisServer) *watched {
	t.Helper()
	conn, err := net.Dial("tcp", r.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	fmt.Fprint(conn, "MONITOR\r\n")
	w := &watched{conn: conn, lines: bufio.NewScanner(conn), r: r}
	if !w.lines.Scan() || w.lines.Text() != "+OK" {
		t.Fatalf("MONITOR: %q", w.lines.Text())
	}
	return w
}

// commands since it began, in lower case.
func (w *watched) commands(t testing.TB) []string {
	t.Helper()
	w.r.Must(t, "echo", "the end")
	var out []string
	for w.lines.Scan() {
		if strings.Contains(w.lines.Text(), `"echo" "the end"`) {
			return out
		}
		if _, command, ok := strings.Cut(w.lines.Text(), `] "`); ok {
			command, _, _ = strings.Cut(command, `"`)
			out = append(out, strings.ToLower(command))
		}
	}
	t.Fatal("MONITOR ended")
	return nil
}

// app is an application: what its origin says, and which refreshes it was asked for.
type app struct {
	*httptest.Server
	mu     sync.Mutex
	status int
	bodies map[string]string
	asked  []string
}

func newApp(t testing.TB) *app {
	t.Helper()
	a := &app{status: http.StatusOK, bodies: map[string]string{}}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		defer a.mu.Unlock()
		key := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
		if r.Method == http.MethodPost {
			a.asked = append(a.asked, key)
			w.WriteHeader(a.status)
			return
		}
		body, ok := a.bodies[key]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
		}
		fmt.Fprint(w, body)
	}))
	t.Cleanup(a.Close)
	return a
}

func (a *app) requests() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.asked)
}

// Each strategy: its plan writes nothing, as the servers themselves log; carried out, it puts right what is stale and that
// alone.
func TestStrategies(t *testing.T) {
	for _, c := range []struct {
		strategy, class string
		// old and value are of key 1, and what is there afterwards.
		old, value, after string
		outcome           string
	}{
		{Majority, ``, "old \x00\xff", "new \xfe\r\n", "new \xfe\r\n", "map[repaired:4]"},
		{Newest, `version: {json: "$.v"}`, `{"v":1}`, `{"v":2,"a":[1.0]}`, `{"v":2,"a":[1.0]}`, "map[repaired:4]"},
		{Origin, `version: {json: "$.v"}, origin: {http: {url: "APP/{key}"}, select: "$.data"}`, `{"v":1}`, `{"v":2}`, `{"v":2}`, "map[repaired:4]"},
		{Delete, ``, "old", "new", "", "map[repaired:4]"},
		{Refresh, `refresh: {http: {url: "APP/refresh/{key}"}}`, "old", "new", "old", "map[requested:4]"},
	} {
		t.Run(c.strategy, func(t *testing.T) {
			e, a := newEstate(t), newApp(t)
			a.bodies["1"], a.bodies["2"] = `{"data":{"v":2}}`, `{"data":{"v":2}}`
			text := e.config(`keys: ["1", "2", "same"], ` + strings.ReplaceAll(c.class, "APP", a.URL))
			e.fill("1", c.value, c.old, 600)
			e.fill("2", c.value, c.old, 0)
			same := c.value
			e.fill("same", same, same, 600)
			a.bodies["same"] = `{"data":{"v":2}}`

			var watch []*watched
			for _, r := range e.redis {
				watch = append(watch, monitor(t, r))
			}
			before := []int{len(e.mem[0].Output()), len(e.mem[1].Output())}
			plan := run(t, text, options(c.strategy), 0)
			if len(plan.Writes) != 4 || *plan.Stale != 4 || *plan.Compared != 15 || plan.Applied || plan.Outcomes != nil {
				t.Fatalf("the plan is %+v", plan)
			}
			for i, w := range watch {
				for _, command := range w.commands(t) {
					if !slices.Contains([]string{"client", "info", "mget", "pttl", "type"}, command) {
						t.Errorf("r%d got %q from a plan", i+1, command)
					}
				}
			}
			for i, m := range e.mem {
				if _, err := e.client[i].Get("the-end"); !errors.Is(err, memcache.ErrCacheMiss) {
					t.Fatal(err)
				}
				servers.Eventually(t, "memcached logs the last command", func() bool { return strings.Contains(m.Output()[before[i]:], "the-end") })
				wantReads(t, fmt.Sprintf("m%d", i+1), m.Output()[before[i]:])
			}
			if len(a.requests()) > 0 {
				t.Errorf("a plan asked for %v", a.requests())
			}

			opt := options(c.strategy)
			opt.Apply, opt.AuditDir = true, filepath.Join(t.TempDir(), "audit")
			done := run(t, text, opt, 0)
			if outcomesOf(done) != c.outcome || len(done.NotRepaired)+len(done.Unreadable) > 0 {
				t.Errorf("%s: %+v", outcomesOf(done), done)
			}
			e.want("1", c.after, 600)
			e.want("2", c.after, 0)
			e.want("same", same, 600)
			if got := a.requests(); c.strategy == Refresh && (len(got) != 2 || got[0] == got[1]) {
				t.Errorf("the application was asked for %v", got)
			}
			wantPrivate(t, opt.AuditDir, c.strategy, 4)
			if c.strategy == Refresh {
				return
			}
			undo := options("")
			undo.Undo, undo.Check.Class = done.UndoFile, "c"
			if plan := run(t, text, undo, 0); len(plan.Writes) != 4 {
				t.Errorf("the undo's plan is %+v", plan)
			}
			e.want("1", c.after, 600)
			undo.Apply, undo.AuditDir = true, opt.AuditDir
			undone := run(t, text, undo, 0)
			if outcomesOf(undone) != "map[repaired:4]" {
				t.Errorf("undone: %s", outcomesOf(undone))
			}
			e.want("1", c.old, 600)
			e.want("2", c.old, 0)
			e.want("same", same, 600)
			if again := run(t, text, undo, 0); outcomesOf(again) != "map[unchanged:4]" {
				t.Errorf("undone again: %s", outcomesOf(again))
			}
			undo.Undo = undone.UndoFile // an undo can be undone
			run(t, text, undo, 0)
			e.want("1", c.after, 600)
			e.want("2", c.after, 0)
		})
	}
}

// wantReads: what a memcached logs of its commands (-vv) is reads alone.
func wantReads(t *testing.T, name, log string) {
	t.Helper()
	seen := 0
	for line := range strings.Lines(log) {
		fields := strings.Fields(line)
		if !strings.HasPrefix(line, "<") || len(fields) < 2 || fields[1] == "new" || fields[1] == "connection" || strings.Contains(line, "get the-end") ||
			strings.Contains(line, "gets the-end") {
			continue
		}
		seen++
		if !slices.Contains([]string{"version", "stats", "mn", "mg"}, fields[1]) {
			t.Errorf("%s got %q from a plan", name, line)
		}
	}
	if seen == 0 {
		t.Errorf("%s logs no commands: %q", name, log)
	}
}

// wantPrivate: both files are their owner's alone, the audit log has a line for each copy, and no value.
func wantPrivate(t *testing.T, dir, strategy string, lines int) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(names) != 2 {
		t.Fatalf("%v (%v)", names, err)
	}
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v (%v)", name, info, err)
		}
	}
	data, err := os.ReadFile(names[0]) // audit-… comes before undo-…
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(data, []byte("\n")); n != lines || bytes.Contains(data, []byte("old")) || bytes.Contains(data, []byte(`"v"`)) {
		t.Errorf("the audit log has %d lines, want %d:\n%s", n, lines, data)
	}
	for line := range bytes.Lines(data) {
		var entry map[string]any
		if err := json.Unmarshal(line, &entry); err != nil || entry["command"] != "repair" || entry["strategy"] != strategy || entry["node"] == nil || entry["outcome"] == nil {
			t.Errorf("%s (%v)", line, err)
		}
	}
}

// Copies that change between the plan and its carrying out are left alone, whatever they change to.
func TestChangedCopiesAreLeftAlone(t *testing.T) {
	for _, change := range []string{"written", "deleted", "another type", "its source was written", "its source was deleted"} {
		t.Run(change, func(t *testing.T) {
			e := newEstate(t)
			text := e.config(`keys: ["1"], version: {json: "$.v"}`)
			e.fill("1", `{"v":2}`, `{"v":1}`, 600)
			opt := options(Newest)
			opt.Apply = true
			look, err := incident.TakeLook(t.Context(), parse(t, text), opt.Check)
			if err != nil {
				t.Fatal(err)
			}
			defer look.Close()
			digests := incident.NewDigests(nil)
			p := &planner{
				strategy: Newest, classes: classesOf(look.Config), nodes: nodesOf(look.Fleet.Nodes(), look.Result), digests: digests,
				inspect: look.Sampler.Inspect, askOrigin: look.Sampler.AskOrigin,
			}
			report := p.plan(t.Context(), look.Result)
			if len(report.Writes) != 2 {
				t.Fatalf("%+v", report.Writes)
			}
			ctx, r := t.Context(), e.redis[2]
			want := `{"v":1}`
			switch change {
			case "written":
				want = `{"v":3}`
				r.Set(ctx, "1", want, 0)
				err = e.client[1].Set(&memcache.Item{Key: "1", Value: []byte(want)})
			case "deleted":
				want = ""
				r.Del(ctx, "1")
				err = e.client[1].Delete("1")
			case "another type":
				want = ""
				r.Del(ctx, "1")
				r.RPush(ctx, "1", "x")
				err = e.client[1].Delete("1")
			case "its source was written", "its source was deleted":
				for _, s := range e.redis[:2] {
					s.Del(ctx, "1")
					if change == "its source was written" {
						s.Set(ctx, "1", `{"v":3}`, 0)
					}
				}
				err = e.client[0].Set(&memcache.Item{Key: "1", Value: []byte(`{"v":3}`)})
			}
			if err != nil {
				t.Fatal(err)
			}
			c := &copier{planner: p, env: opt.Check.Env, refreshers: map[string]probes.Refresher{}, asked: map[string]*request{}}
			if err := apply(ctx, report, opt, c); err != nil || outcomesOf(report) != "map[changed:2]" || report.ExitCode() != 0 {
				t.Errorf("%s (%v), exit code %d", outcomesOf(report), err, report.ExitCode())
			}
			if got := r.Get(ctx, "1").Val(); got != want {
				t.Errorf("r3 holds %q, want %q", got, want)
			}
			if item, err := e.client[1].Get("1"); want == "" && !errors.Is(err, memcache.ErrCacheMiss) || want != "" && (err != nil || string(item.Value) != want) {
				t.Errorf("m2 holds %+v (%v), want %q", item, err, want)
			}
		})
	}
}

// A hash, in a Cluster whose primaries and replicas are stale, from two servers beside it.
func TestClusterAndHashes(t *testing.T) {
	cluster := servers.RedisCluster(t, 3, 1)
	one, two := servers.Redis(t), servers.Redis(t)
	ctx := t.Context()
	const keys = 30
	var names []string
	for i := range keys {
		key := fmt.Sprintf("h:%d", i)
		names = append(names, fmt.Sprintf("%q", key))
		for _, r := range []*servers.RedisServer{one, two} {
			r.HSet(ctx, key, "v", 2, "name", "new\xff")
			r.Expire(ctx, key, time.Hour)
		}
		owner := cluster.Shards[cluster.Owner(t, key)][0]
		owner.HSet(ctx, key, "v", 1, "name", "old", "gone", "x")
		owner.Expire(ctx, key, time.Duration(1000+i)*time.Second)
	}
	cluster.Settled(t)
	text := fmt.Sprintf(`
layers:
  - name: l2
    ttl: 1h
    nodes:
      - {name: one, redis: {address: %q}}
      - {name: two, redis: {address: %q}}
      - {name: cluster, redis: {cluster: [%q]}}
canaries:
  - {class: c, type: hash, keys: [%s], layers: [l2], version: {field: v}}
`, one.Addr, two.Addr, cluster.Addrs()[0], strings.Join(names, ", "))
	servers.Eventually(t, "the replicas hold what their primaries do", func() bool {
		r, err := Run(ctx, parse(t, text), options(Newest))
		return err == nil && len(r.Writes) == keys && len(r.Following) == keys && len(r.NotRepaired) == 0
	})
	opt := options(Newest)
	opt.Apply, opt.AuditDir = true, t.TempDir()
	done := run(t, text, opt, 0)
	if want := fmt.Sprintf("map[repaired:%d]", keys); outcomesOf(done) != want {
		t.Errorf("%s, want %s", outcomesOf(done), want)
	}
	for i := range keys {
		key := fmt.Sprintf("h:%d", i)
		owner := cluster.Shards[cluster.Owner(t, key)][0]
		got, left := owner.HGetAll(ctx, key).Val(), owner.TTL(ctx, key).Val()
		if len(got) != 2 || got["name"] != "new\xff" || left < time.Duration(980+i)*time.Second || left > time.Duration(1000+i)*time.Second {
			t.Errorf("%s holds %q for %v", key, got, left)
		}
	}
	undo := options("")
	undo.Undo, undo.Apply = done.UndoFile, true
	run(t, text, undo, 0)
	for i := range keys {
		key := fmt.Sprintf("h:%d", i)
		owner := cluster.Shards[cluster.Owner(t, key)][0]
		if got, left := owner.HGetAll(ctx, key).Val(), owner.TTL(ctx, key).Val(); len(got) != 3 || got["gone"] != "x" || left > time.Duration(1000+i)*time.Second || left < time.Duration(980+i)*time.Second {
			t.Errorf("%s holds %q for %v", key, got, left)
		}
	}
}

// A node that is down costs its own copies alone, and is told.
func TestNodeDown(t *testing.T) {
	e := newEstate(t)
	text := e.config(`keys: ["1"], version: {json: "$.v"}`)
	e.fill("1", `{"v":2}`, `{"v":1}`, 600)
	e.redis[1].Stop()
	opt := options(Newest)
	opt.Apply = true
	r := run(t, text, opt, 3)
	if outcomesOf(r) != "map[repaired:2]" || len(r.Unreadable) != 1 || r.Unreadable[0].Node != "r2" {
		t.Errorf("%s, %+v", outcomesOf(r), r.Unreadable)
	}
	e.want("1", `{"v":2}`, 600)
	var b strings.Builder
	if err := r.Text(&b); err != nil || !strings.Contains(b.String(), "r2") || !strings.Contains(b.String(), "connection refused") {
		t.Errorf("the report says (%v):\n%s", err, b.String())
	}
}

// oneBehind are three Redis with k:0 and so on, all of which are stale on the third, and a configuration of them.
func oneBehind(t *testing.T, keys int) (r []*servers.RedisServer, text string) {
	t.Helper()
	r = []*servers.RedisServer{servers.Redis(t), servers.Redis(t), servers.Redis(t)}
	var names []string
	for i := range keys {
		names = append(names, fmt.Sprintf(`"k:%d"`, i))
		for n, s := range r {
			s.Set(t.Context(), fmt.Sprintf("k:%d", i), fmt.Sprintf(`{"v":%d}`, 2-n/2), time.Hour)
		}
	}
	text = fmt.Sprintf(`
layers: [{name: l2, ttl: 1h, nodes: [{name: r1, redis: {address: %q}}, {name: r2, redis: {address: %q}}, {name: r3, redis: {address: %q}}]}]
canaries: [{class: c, keys: [%s], layers: [l2], version: {json: "$.v"}}]
`, r[0].Addr, r[1].Addr, r[2].Addr, strings.Join(names, ", "))
	return r, text
}

// One that goes down meanwhile is not asked for each of its copies: those that were in hand then are all that it is asked for.
func TestNodeGoesDown(t *testing.T) {
	const keys = 1500 // at the rate they would last for longer than it takes to see that some are repaired
	r, text := oneBehind(t, keys)
	opt := options(Newest)
	opt.Apply, opt.Rate, opt.AuditDir = true, 200, t.TempDir()
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for t.Context().Err() == nil {
			_, calls, _ := strings.Cut(r[2].Info(t.Context(), "commandstats").Val(), "cmdstat_set:calls=")
			var n int
			if _, err := fmt.Sscanf(calls, "%d", &n); err == nil && n > keys+60 { // more than a batch was repaired
				r[2].Stop()
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	report := run(t, text, opt, 3)
	<-stopped
	if report.Outcomes[Repaired] == 0 || report.Outcomes[Failed] == 0 || report.Outcomes[Repaired]+report.Outcomes[Failed] != keys {
		t.Errorf("%s", outcomesOf(report))
	}
	asked := 0
	for _, w := range report.Writes {
		if w.Error != nil && !strings.HasPrefix(*w.Error, "the node did not answer before: ") {
			asked++
		}
	}
	if asked == 0 || asked > lanes {
		t.Errorf("%d writes failed at the node of %s", asked, outcomesOf(report))
	}
}

// Keys that are no UTF-8 stay distinct in the plan, in the audit log and in the undo file, also where a layer names them otherwise.
func TestOddKeys(t *testing.T) {
	right, wrong := servers.Redis(t), servers.Redis(t)
	odd := []string{"user:\xfe", "user:\xff"}
	for _, key := range odd {
		for db, name := range []string{key, "v2:" + key} {
			for version, s := range map[int]*servers.RedisServer{2: right, 1: wrong} {
				s.Must(t, "eval", `redis.call('select', ARGV[2]) return redis.call('set', KEYS[1], ARGV[1], 'ex', 600)`, 1, name, fmt.Sprintf(`{"v":%d}`, version), db)
			}
		}
	}
	text := fmt.Sprintf(`
layers:
  - {name: l2, ttl: 1h, nodes: [{name: r1, redis: {address: "redis://%[1]s/0"}}, {name: r2, redis: {address: "redis://%[2]s/0"}}]}
  - {name: l3, ttl: 1h, nodes: [{name: r3, redis: {address: "redis://%[1]s/1"}}, {name: r4, redis: {address: "redis://%[2]s/1"}}]}
canaries: [{class: c, pattern: "user:*", layers: [l2, {name: l3, key: "v2:{key}"}], version: {json: "$.v"}}]
`, right.Addr, wrong.Addr)
	want := []string{
		`r2 user:\xfe "user:\xfe"  ""`, `r2 user:\xff "user:\xff"  ""`,
		`r4 user:\xfe "user:\xfe" v2:user:\xfe "v2:user:\xfe"`, `r4 user:\xff "user:\xff" v2:user:\xff "v2:user:\xff"`,
	}
	places := func(all []Place) (out []string) {
		for _, p := range all {
			out = append(out, fmt.Sprintf("%s %s %q %s %q", p.Node, p.Key, p.KeyBase64, p.StoredKey, p.StoredKeyBase64))
		}
		slices.Sort(out)
		return out
	}
	opt := options(Newest)
	opt.Apply, opt.AuditDir = true, t.TempDir()
	done := run(t, text, opt, 0)
	opt = options("")
	opt.Undo, opt.Apply = done.UndoFile, true
	undone := run(t, text, opt, 0)
	for what, r := range map[string]*Report{"repair": done, "undo": undone} {
		var b bytes.Buffer
		var got Report
		if err := r.JSON(&b); err != nil || json.Unmarshal(b.Bytes(), &got) != nil {
			t.Fatal(err, &b)
		}
		var all []Place
		for _, w := range got.Writes {
			all = append(all, w.Place)
		}
		if d := cmp.Diff(want, places(all)); d != "" || outcomesOf(r) != "map[repaired:4]" {
			t.Errorf("%s: %s\n%s", what, outcomesOf(r), d)
		}
	}
	data, err := os.ReadFile(done.AuditFile)
	if err != nil {
		t.Fatal(err)
	}
	var all []Place
	for line := range bytes.Lines(data) {
		var e auditEntry
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatal(err)
		}
		all = append(all, e.Place)
	}
	if d := cmp.Diff(want, places(all)); d != "" {
		t.Errorf("the audit log: %s", d)
	}
	for _, key := range odd {
		if got := wrong.Get(t.Context(), key).Val(); got != `{"v":1}` {
			t.Errorf("%q holds %q after the undo", key, got)
		}
	}
}

// Interrupted, it finishes the writes in hand, and tells what was not begun.
func TestInterrupted(t *testing.T) {
	const keys = 400
	r, text := oneBehind(t, keys)
	repaired := func() int {
		n := 0
		for i := range keys {
			if r[2].Get(context.WithoutCancel(t.Context()), fmt.Sprintf("k:%d", i)).Val() == `{"v":2}` {
				n++
			}
		}
		return n
	}
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	opt := options(Newest)
	opt.Apply, opt.Rate, opt.AuditDir = true, 100, t.TempDir()
	begun := make(chan struct{})
	go func() {
		defer close(begun)
		for repaired() < 20 && t.Context().Err() == nil {
			time.Sleep(time.Millisecond)
		}
		interrupt()
	}()
	report, err := Run(ctx, parse(t, text), opt)
	<-begun
	if err != nil || !report.Interrupted || report.ExitCode() != 3 {
		t.Fatalf("%+v (%v)", report, err)
	}
	if n := repaired(); n != report.Outcomes[Repaired] || n < 20 || n == keys {
		t.Errorf("%d are repaired, and %s told", n, outcomesOf(report))
	}
}

// The rate is kept.
func TestRate(t *testing.T) {
	e := newEstate(t)
	var names []string
	for i := range 20 {
		names = append(names, fmt.Sprintf(`"%d"`, i))
		e.fill(fmt.Sprint(i), `{"v":2}`, `{"v":1}`, 600)
	}
	opt := options(Delete)
	opt.Apply, opt.Rate = true, 40
	start := time.Now()
	if r := run(t, e.config(`keys: [`+strings.Join(names, ", ")+`], version: {json: "$.v"}`), opt, 0); outcomesOf(r) != "map[repaired:40]" {
		t.Errorf("%s", outcomesOf(r))
	}
	if took := time.Since(start); took < 39*time.Second/40 {
		t.Errorf("40 writes took %v at 40 a second", took)
	}
}

// A refresh that the application refuses is told for each of its copies, and asked for once a key.
func TestRefreshRefused(t *testing.T) {
	e, a := newEstate(t), newApp(t)
	a.status = http.StatusServiceUnavailable
	e.fill("1", "new", "old", 0)
	opt := options(Refresh)
	opt.Apply = true
	r := run(t, e.config(fmt.Sprintf(`keys: ["1"], refresh: {http: {url: "%s/refresh/{key}"}}`, a.URL)), opt, 3)
	if outcomesOf(r) != "map[failed:2]" || len(a.requests()) != 1 || !strings.Contains(*r.Writes[0].Error, "status 503") {
		t.Errorf("%s after %v", outcomesOf(r), a.requests())
	}
}

// What an undo file can't be.
func TestUndoFile(t *testing.T) {
	e := newEstate(t)
	text := e.config(`keys: ["1"]`)
	dir := t.TempDir()
	for name, content := range map[string]string{"garbage": "garbage\n", "audit": `{"command":"recover","node":"r1"}` + "\n"} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		opt := options("")
		opt.Undo = path
		if _, err := Run(t.Context(), parse(t, text), opt); err == nil || !strings.Contains(err.Error(), path+":1") {
			t.Errorf("%s: %v", name, err)
		}
	}
	e.fill("1", "new", "old", 600)
	opt := options(Majority)
	opt.Apply, opt.AuditDir = true, dir
	done := run(t, text, opt, 0)
	data, err := os.ReadFile(done.UndoFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(done.UndoFile, append(data, data[:len(data)/3]...), 0o600); err != nil { // as a crash leaves it
		t.Fatal(err)
	}
	e.redis[2].Set(t.Context(), "1", "newer", 0)
	undo := options("")
	undo.Undo, undo.Apply = done.UndoFile, true
	if r := run(t, text, undo, 3); outcomesOf(r) != "map[changed:1 repaired:1]" {
		t.Errorf("%s", outcomesOf(r))
	}
	if got := e.redis[2].Get(t.Context(), "1").Val(); got != "newer" {
		t.Errorf("an undo overwrote what came after the repair with %q", got)
	}
}
