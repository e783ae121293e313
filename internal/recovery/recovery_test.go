package recovery

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/probes/backends"
)

// The whole procedure of a deep backlog: every step in its order, what was asked gone everywhere, and nothing else.
func TestAggressive(t *testing.T) {
	s := newSite(t, "")
	s.recovery = s.programs()
	s.fill(30)
	s.enqueue(25)
	s.primary.Must(t, "rpush", "inv", "no JSON "+secretValue)
	dir := t.TempDir()
	r := s.recover(t.Context(), Options{Apply: true, AuditDir: dir})
	if r.ExitCode != ExitDone || r.Strategy != Aggressive || r.Depth == nil || *r.Depth != 26 || r.Next != nil {
		t.Errorf("exit code %d, strategy %s, depth %v, next %v", r.ExitCode, r.Strategy, r.Depth, r.Next)
	}
	want := []string{"bypass-on", "stop-jobs", "stop-processors", "restart", "wait", "bypass-off"}
	if got := s.ran(); !slices.Equal(got, want) {
		t.Errorf("programs ran as %v, want %v", got, want)
	}
	s.follows()
	for name, server := range map[string]*servers.RedisServer{"primary": s.primary, "replica": s.replica, "other": s.other} {
		if users, sessions, products := left(t, server, "user:*"), left(t, server, "session:*"), left(t, server, "product:*"); users+sessions > 0 || products != 5 {
			t.Errorf("%s holds %d users, %d sessions and %d products", name, users, sessions, products)
		}
	}
	if users, sessions, products := s.stored("v3:user"), s.stored("session"), s.stored("product"); users+sessions > 0 || products != 5 {
		t.Errorf("memcached holds %d users, %d sessions and %d products", users, sessions, products)
	}
	if n := s.primary.LLen(t.Context(), "inv").Val(); n != 0 {
		t.Errorf("%d messages are left", n)
	}
	for _, want := range []string{"inv:dead-letter", "l1 is not invalidated", "l3: patterns can't find the keys of class cart, which are named c-{id} there"} {
		if !says(r, want) {
			t.Errorf("the report does not say: %s", want)
		}
	}
	if n := left(t, s.primary, "cacheinv:recover:*"); n > 0 {
		t.Errorf("%d keys of the validation are left", n)
	}
	if says(r, "l1-bus") {
		t.Error("the report speaks of a channel, in which nothing waits")
	}
	audited(t, dir)
}

// audited checks the audit log: it names keys and programs, and holds no values.
func audited(t *testing.T, dir string) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "audit-*.jsonl"))
	if err != nil || len(paths) != 1 {
		t.Fatalf("%d audit logs (%v)", len(paths), err)
	}
	data, err := os.ReadFile(paths[0])
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	for _, want := range []string{`"event":"recover_begins"`, `"hook":"bypass.on"`, `"hook":"bypass.off"`, `"session:7"`, `"v3:user:7:profile"`, `"event":"batch_applied"`, `"step":"monitor"`} {
		if !strings.Contains(text, want) {
			t.Errorf("the audit log has no %s", want)
		}
	}
	if strings.Contains(text, secretValue) {
		t.Error("the audit log holds a value")
	}
}

// By the depth: at or below standard_above the backlog is applied, and no program is run.
func TestStrategies(t *testing.T) {
	s := newSite(t, "")
	s.recovery = s.programs()
	for _, tt := range []struct {
		messages int
		opt      Options
		want     Strategy
		programs int
	}{
		{10, Options{Apply: true}, Minimal, 0},
		{11, Options{Apply: true}, Standard, 6},
		{20, Options{Apply: true}, Standard, 6},
		{0, Options{Apply: true, Strategy: Standard}, Standard, 6},
		{0, Options{Apply: true}, Minimal, 0},
	} {
		t.Run(fmt.Sprint(tt.messages, tt.opt.Strategy), func(t *testing.T) {
			s.t = t
			if err := os.RemoveAll(s.notes); err != nil {
				t.Fatal(err)
			}
			s.fill(3)
			s.enqueue(tt.messages)
			r := s.recover(t.Context(), tt.opt)
			if r.ExitCode != ExitDone || r.Strategy != tt.want || len(s.ran()) != tt.programs {
				t.Errorf("exit code %d, strategy %s, programs %v", r.ExitCode, r.Strategy, s.ran())
			}
			if users := left(t, s.other, "user:*"); users != 3 {
				t.Errorf("%d keys of the patterns are left of 3", users)
			}
			if n := s.primary.LLen(t.Context(), "inv").Val(); n != 0 {
				t.Errorf("%d messages are left", n)
			}
		})
	}
}

// reading are the commands that a plan may send.
var reading = []string{
	"info", "scan", "llen", "lrange", "lindex", "memory", "client", "hello", "auth", "select", "ping", "replconf", "monitor", "command", "readonly",
	"xinfo", "xlen", "xrange", "xpending", "get",
}

// A plan writes nothing, whatever the strategy; the servers' own logs of commands say so.
func TestPlanWritesNothing(t *testing.T) {
	s := newSite(t, "")
	s.recovery = s.programs()
	s.fill(30)
	s.enqueue(25)
	logs := map[string]func() []string{"primary": monitor(t, s.primary), "other": monitor(t, s.other)}
	logged := len(s.memcached.Output())
	for _, strategy := range []Strategy{Auto, Aggressive, Standard, Minimal} {
		r := s.recover(t.Context(), Options{Strategy: strategy, AuditDir: filepath.Join(t.TempDir(), "audit"), AllowFlushAll: true})
		if r.ExitCode != ExitDone || r.Next == nil || !strings.Contains(*r.Next, "--apply") {
			t.Errorf("%s: exit code %d, next %v", strategy, r.ExitCode, r.Next)
		}
		if r.Strategy == Aggressive && (!says(r, "l2 redis-3: 60 keys match") || !says(r, "l3 mc-1: 60 keys match")) {
			t.Error("the plan does not say how many keys match")
		}
	}
	if got := s.ran(); len(got) > 0 {
		t.Errorf("a plan ran %v", got)
	}
	for name, stop := range logs {
		lines := stop()
		for _, line := range lines {
			command := strings.ToLower(line)
			if !slices.Contains(reading, command) {
				t.Errorf("%s was sent %s", name, line)
			}
		}
		if len(lines) == 0 {
			t.Errorf("%s logged nothing", name)
		}
	}
	for line := range strings.Lines(s.memcached.Output()[logged:]) {
		for _, word := range []string{" set ", " delete ", " flush_all", " ms ", " md ", " cas ", " touch "} {
			if strings.Contains(line+" ", word) {
				t.Errorf("memcached was sent %s", line)
			}
		}
	}
}

// monitor gives the names of the commands that a server got from others, once it is called.
func monitor(t *testing.T, r *servers.RedisServer) func() []string {
	t.Helper()
	c, err := net.Dial("tcp", r.Addr)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("MONITOR\r\n")); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(c)
	if !lines.Scan() || lines.Text() != "+OK" {
		t.Fatalf("MONITOR: %s", lines.Text())
	}
	var mu sync.Mutex
	var commands []string
	done := make(chan struct{})
	go func() {
		defer close(done)
		for lines.Scan() {
			if _, rest, ok := strings.Cut(lines.Text(), `] "`); ok {
				name, _, _ := strings.Cut(rest, `"`)
				mu.Lock()
				commands = append(commands, name)
				mu.Unlock()
			}
		}
	}()
	t.Cleanup(func() { c.Close(); <-done })
	return func() []string {
		r.Must(t, "ping")
		servers.Eventually(t, "the log of commands is whole", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return slices.Contains(commands, "ping")
		})
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(commands)
	}
}

// With a node down the rest is done; its messages stay, and a run once it is back finishes them.
func TestNodeDown(t *testing.T) {
	s := newSite(t, "")
	s.recovery = s.programs()
	s.fill(30)
	s.enqueue(25)
	s.other.Stop()
	r := s.recover(t.Context(), Options{Apply: true})
	if r.ExitCode != ExitLeft || r.Next == nil || !strings.Contains(*r.Next, "--strategy=aggressive --apply") {
		t.Errorf("exit code %d, next %v", r.ExitCode, r.Next)
	}
	if !says(r, "keys of the patterns on redis-3") || !says(r, "25 messages that wait for redis-3") {
		t.Error("what waits for the node is not named")
	}
	if got := statuses(r); got[stepMonitor] != "" || got[stepBypassOff] != Done || got[stepRestart] != Done {
		t.Errorf("the steps are %v", got)
	}
	if n := s.primary.LLen(t.Context(), "inv").Val() + s.primary.LLen(t.Context(), "inv:processing").Val(); n != 25 {
		t.Errorf("%d messages are left of 25", n)
	}
	if n := left(t, s.primary, "session:*"); n != 0 {
		t.Errorf("the node that is up holds %d sessions", n)
	}
	s.other = servers.RedisAt(t, s.other.Addr)
	s.fill(30)
	r = s.recover(t.Context(), Options{Apply: true, Strategy: Aggressive})
	if r.ExitCode != ExitDone {
		t.Errorf("exit code %d once the node is back", r.ExitCode)
	}
	if n := left(t, s.other, "session:*") + left(t, s.other, "product:?:price"); n != 0 {
		t.Errorf("it holds %d keys that were invalidated", n)
	}
	if n := s.primary.LLen(t.Context(), "inv").Val() + s.primary.LLen(t.Context(), "inv:processing").Val(); n != 0 {
		t.Errorf("%d messages are left", n)
	}
}

// What an interrupted run left is finished by the next one, at any depth.
func TestInterrupted(t *testing.T) {
	s := newSite(t, "")
	s.recovery = s.programs()
	s.fill(30)
	s.enqueue(25)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	slow := 5.0 // of such a rate a batch is one message
	r := s.recover(ctx, Options{Apply: true, Rate: &slow, Strategy: Standard, Progress: func(p Progress) {
		if p.Step == stepBacklog && p.Done > 0 {
			cancel()
		}
	}})
	if r.ExitCode != ExitLeft || !r.Interrupted || r.Next == nil || !says(r, "interrupted") {
		t.Errorf("exit code %d, interrupted %t, next %v", r.ExitCode, r.Interrupted, r.Next)
	}
	if got := s.ran(); !slices.Equal(got, []string{"bypass-on", "stop-jobs", "stop-processors", "restart", "bypass-off"}) {
		t.Errorf("programs ran as %v", got)
	}
	waiting := s.primary.LLen(t.Context(), "inv").Val() + s.primary.LLen(t.Context(), "inv:processing").Val()
	if waiting == 0 || waiting == 25 {
		t.Errorf("%d messages are left of 25", waiting)
	}
	if r = s.recover(t.Context(), Options{Apply: true, Strategy: Minimal}); r.ExitCode != ExitDone {
		t.Errorf("the next run has exit code %d", r.ExitCode)
	}
	if n := left(t, s.other, "product:*"); n != 5 {
		t.Errorf("%d products are left of 5 without a message", n)
	}
}

// Interrupted among the patterns, what is in hand is finished and nothing more is begun.
func TestInterruptedAmongPatterns(t *testing.T) {
	s := newSite(t, "")
	s.fill(30)
	s.enqueue(25)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	slow := 100.0 // of such a rate a batch is ten keys
	r := s.recover(ctx, Options{Apply: true, Rate: &slow, Progress: func(p Progress) {
		if p.Step == stepInvalidate && p.Done > 0 {
			cancel()
		}
	}})
	if r.ExitCode != ExitLeft || !r.Interrupted || r.Next == nil || !strings.Contains(*r.Next, "--strategy=aggressive") || statuses(r)[stepBacklog] != "" {
		t.Errorf("exit code %d, interrupted %t, next %v, steps %v", r.ExitCode, r.Interrupted, r.Next, statuses(r))
	}
	deleted := int64(0)
	for _, n := range r.Invalidation.Nodes {
		deleted += n.Deleted
	}
	here := left(t, s.primary, "user:*") + left(t, s.primary, "session:*") + left(t, s.other, "user:*") + left(t, s.other, "session:*") + s.stored("v3:user") + s.stored("session")
	if deleted == 0 || deleted > 60 || int64(here) != 180-deleted {
		t.Errorf("%d keys were deleted by the report, and %d of 180 are left", deleted, here)
	}
	if n := s.primary.LLen(t.Context(), "inv").Val(); n != 25 {
		t.Errorf("%d messages are left of 25", n)
	}
}

// A pattern that the configuration could not refuse leaves the keys of queues alone.
func TestPatternsLeaveQueuesAlone(t *testing.T) {
	s := newSite(t, "")
	s.fill(3)
	s.enqueue(3)
	s.primary.Must(t, "rpush", "inv:dead-letter", "x")
	s.follows()
	cfg := s.config()
	cfg.Recovery.Patterns = []string{"inv*"}
	r, err := Run(t.Context(), cfg, Options{Apply: true, Strategy: Aggressive, Env: testEnv()})
	if err != nil {
		t.Fatal(err)
	}
	check(t, r)
	if dead := s.primary.LLen(t.Context(), "inv:dead-letter").Val(); r.ExitCode != ExitDone || dead != 1 || left(t, s.other, "product:*") != 0 {
		t.Errorf("exit code %d, %d dead letters, %d products", r.ExitCode, dead, left(t, s.other, "product:*"))
	}
}

// An application that falls ill stops the recovery; one that was ill before has no say.
func TestBreakerStopsTheRecovery(t *testing.T) {
	s := newSite(t, "")
	s.recovery = s.programs()
	s.fill(30)
	s.enqueue(25)
	cfg := s.config()
	cfg.Recovery.Breaker = config.Breaker{Every: 1, Failures: 2}
	slow := 5.0
	r, err := Run(t.Context(), cfg, Options{Apply: true, Strategy: Standard, Rate: &slow, Env: testEnv(), Progress: func(p Progress) {
		s.ill.Store(s.ill.Load() || p.Step == stepBacklog && p.Done > 0)
	}})
	if err != nil {
		t.Fatal(err)
	}
	check(t, r)
	if r.ExitCode != ExitLeft || !says(r, "recovery.health_url is not well: status 503") || r.Next == nil {
		t.Errorf("exit code %d, next %v", r.ExitCode, r.Next)
	}
	if got := s.ran(); !slices.Equal(got, []string{"bypass-on", "stop-jobs", "stop-processors", "restart", "bypass-off"}) {
		t.Errorf("programs ran as %v", got)
	}
	if n := s.primary.LLen(t.Context(), "inv").Val(); n == 0 || n == 25 {
		t.Errorf("%d messages are left of 25", n)
	}
	cfg.Recovery.Monitor.Timeout = 1
	if r, err = Run(t.Context(), cfg, Options{Apply: true, Strategy: Standard, Env: testEnv()}); err != nil {
		t.Fatal(err)
	}
	check(t, r)
	if r.ExitCode != ExitFailed || statuses(r)[stepBacklog] != Done || statuses(r)[stepMonitor] != Failed || !says(r, "not over after") {
		t.Errorf("ill before: exit code %d, steps %v", r.ExitCode, statuses(r))
	}
	if n := s.primary.LLen(t.Context(), "inv").Val(); n != 0 {
		t.Errorf("%d messages are left", n)
	}
}

// A breaker that says stop before anything was done has nothing done at all.
func TestBreakerAtTheBeginning(t *testing.T) {
	s := newSite(t, "")
	s.recovery = s.programs() + "  breaker: {command: [sh, -c, 'echo 30% errors; exit 1'], every: 1ms, failures: 2}\n"
	s.fill(3)
	s.enqueue(25)
	r := s.recover(t.Context(), Options{Apply: true})
	if r.ExitCode != ExitLeft || !says(r, "30% errors") || len(s.ran()) > 0 {
		t.Errorf("exit code %d, programs %v", r.ExitCode, s.ran())
	}
	if n := s.primary.LLen(t.Context(), "inv").Val(); n != 25 {
		t.Errorf("%d messages are left of 25", n)
	}
}

// A program that fails before anything was deleted ends the procedure; what it may have changed is put back.
func TestProgramFails(t *testing.T) {
	s := newSite(t, "")
	all := s.programs()
	for _, tt := range []struct {
		instead, step string
		exit          int
		ran           []string
		waiting       int64
	}{
		{"bypass-on", stepBypassOn, ExitLeft, []string{"bypass-off"}, 12},
		{"stop-processors", stepStopProcessors, ExitLeft, []string{"bypass-on", "stop-jobs", "restart", "bypass-off"}, 12},
		{"restart", stepRestart, ExitFailed, []string{"bypass-on", "stop-jobs", "stop-processors", "wait", "bypass-off"}, 0},
		{"wait", stepWait, ExitFailed, []string{"bypass-on", "stop-jobs", "stop-processors", "restart", "bypass-off"}, 0},
		{"bypass-off", stepBypassOff, ExitFailed, []string{"bypass-on", "stop-jobs", "stop-processors", "restart", "wait"}, 0},
	} {
		t.Run(tt.instead, func(t *testing.T) {
			s.t = t
			if err := os.RemoveAll(s.notes); err != nil {
				t.Fatal(err)
			}
			s.primary.Must(t, "del", "inv")
			s.enqueue(12)
			s.recovery = strings.Replace(all, s.program(tt.instead), "[sh, -c, 'echo no such deployment; exit 1']", 1)
			r := s.recover(t.Context(), Options{Apply: true})
			if r.ExitCode != tt.exit || statuses(r)[tt.step] != Failed || !says(r, "no such deployment") || !slices.Equal(s.ran(), tt.ran) {
				t.Errorf("exit code %d, steps %v, programs %v", r.ExitCode, statuses(r), s.ran())
			}
			if n := s.primary.LLen(t.Context(), "inv").Val(); n != tt.waiting {
				t.Errorf("%d messages are left of %d", n, tt.waiting)
			}
		})
	}
	s.t, s.recovery = t, "  restart: [no-such-program]\n"
	_, err := Run(t.Context(), s.config(), Options{Apply: true, Strategy: Auto, Env: testEnv()})
	if !errors.Is(err, ErrUsage) || !strings.Contains(err.Error(), "recovery.restart: the program no-such-program can't be run here") {
		t.Errorf("a program that is not there: %v", err)
	}
}

// A memcached that does not list its keys is emptied only where that is allowed.
func TestFlushAll(t *testing.T) {
	s := newSite(t, "")
	s.memcached.Stop()
	s.memcached = servers.MemcachedAt(t, s.memcached.Addr, "-vv", "-X")
	s.store("session:1")
	s.store("product:1:price")
	s.enqueue(25)
	r := s.recover(t.Context(), Options{Apply: true})
	if r.ExitCode != ExitLeft || !says(r, "--allow-flush-all deletes every key of this server instead") {
		t.Errorf("exit code %d", r.ExitCode)
	}
	if n := strings.Count(s.talk("get session:1 product:30:price\r\n", "END\r\n"), "VALUE"); n != 1 {
		t.Errorf("memcached has %d of its keys", n)
	}
	s.store("product:30:price")
	if r = s.recover(t.Context(), Options{Apply: true, Strategy: Aggressive, AllowFlushAll: true}); r.ExitCode != ExitDone || !says(r, "flush_all deleted all of its keys") {
		t.Errorf("exit code %d where it is allowed", r.ExitCode)
	}
	if n := strings.Count(s.talk("get session:1 product:30:price\r\n", "END\r\n"), "VALUE"); n != 0 {
		t.Errorf("memcached has %d keys after a flush", n)
	}
}

// In a Redis Cluster the keys of every shard are deleted, and a delete is seen on every node.
func TestCluster(t *testing.T) {
	c := servers.RedisCluster(t, 3, 1)
	text := fmt.Sprintf(`
layers: [{name: l2, ttl: 1h, nodes: [{name: cluster, redis: {cluster: [%q]}}]}]
queues: [{name: inv, redis: {node: cluster, list: inv}, message: {key: "$.key"}}]
recovery: {patterns: ["user:*"], monitor: {every: 10ms, looks: 2}}
`, c.Addrs()[0])
	cfg, err := config.Parse("c.yml", []byte(text), backends.All)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 300 {
		for _, key := range []string{fmt.Sprintf("user:%d", i), fmt.Sprintf("product:%d", i)} {
			c.Shards[c.Owner(t, key)][0].Must(t, "set", key, secretValue)
		}
	}
	queue := c.Shards[c.Owner(t, "inv")][0]
	for i := range 100 {
		queue.Must(t, "rpush", "inv", fmt.Sprintf(`{"key":"product:%d"}`, i))
	}
	r, err := Run(t.Context(), cfg, Options{Apply: true, Strategy: Aggressive, Env: testEnv()})
	if err != nil {
		t.Fatal(err)
	}
	check(t, r)
	if r.ExitCode != ExitDone || !says(r, "l2: a delete arrives on 6 nodes") || !says(r, "300 keys deleted in all") {
		t.Errorf("exit code %d", r.ExitCode)
	}
	users, products := 0, 0
	for _, shard := range c.Shards {
		users, products = users+left(t, shard[0].RedisServer, "user:*"), products+left(t, shard[0].RedisServer, "product:*")
	}
	if users != 0 || products != 200 {
		t.Errorf("%d users and %d products are left", users, products)
	}
}

// Usage is refused before anything is opened.
func TestUsage(t *testing.T) {
	cfg, err := config.Parse("c.yml", []byte(`layers: [{name: l2, ttl: 1h, nodes: [{name: a, redis: {address: "127.0.0.1:1"}}]}]`), backends.All)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Run(t.Context(), cfg, Options{Strategy: Auto, Env: testEnv()}); !errors.Is(err, ErrUsage) || !strings.Contains(err.Error(), "no queues") {
		t.Errorf("without queues: %v", err)
	}
	if got := slices.Sorted(maps.Keys(map[string]bool{"auto": true, "aggressive": true, "standard": true, "minimal": true})); !slices.Equal(got, slices.Sorted(slices.Values(Strategies()))) {
		t.Errorf("the strategies are %v", Strategies())
	}
}
