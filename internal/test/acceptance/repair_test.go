package acceptance

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// staleKeys are n keys of three Redis servers, of which the last holds an old copy of each, with a TTL of its own.
func staleKeys(t testing.TB, n int) (r []*servers.RedisServer, cfg string) {
	t.Helper()
	var names, addresses []string
	for i := range n {
		names = append(names, fmt.Sprintf("%q", staleKey(i)))
	}
	for range 3 {
		s := servers.Redis(t)
		r, addresses = append(r, s), append(addresses, s.Addr)
	}
	fillStale(t, r, n)
	return r, "layers:\n  - name: l2\n    ttl: 1h\n    nodes:\n" + redisNodes(addresses...) +
		"canaries:\n  - {class: c, keys: [" + strings.Join(names, ", ") + `], layers: [l2], version: {json: "$.v"}}` + "\n"
}

func staleKey(i int) string { return fmt.Sprintf("k:%d", i) }

func fillStale(t testing.TB, r []*servers.RedisServer, n int) {
	t.Helper()
	for which, s := range r {
		pipe := s.Pipeline()
		for i := range n {
			value := fmt.Sprintf(`{"v":2,"of":%d}`, i)
			if which == 2 {
				value = oldJSON(i)
			}
			pipe.Set(t.Context(), staleKey(i), value, staleTTL(i))
		}
		if _, err := pipe.Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func oldJSON(i int) string { return fmt.Sprintf("{\"v\":1, \"of\":%d,\t\"x\":\"\\u0000\"}", i) }

// staleTTL of a key; each seventh has none.
func staleTTL(i int) time.Duration {
	if i%7 == 0 {
		return 0
	}
	return time.Hour + time.Duration(i)*time.Second
}

// wantOld: the last server holds the old copies again, byte for byte and with their TTLs.
func wantOld(t testing.TB, r *servers.RedisServer, n int) {
	t.Helper()
	values, ttls := make([]*redis.StringCmd, n), make([]*redis.DurationCmd, n)
	pipe := r.Pipeline()
	for i := range n {
		values[i], ttls[i] = pipe.Get(t.Context(), staleKey(i)), pipe.PTTL(t.Context(), staleKey(i))
	}
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		left, want := ttls[i].Val(), staleTTL(i)
		if values[i].Val() != oldJSON(i) || want == 0 && left != -1 || want > 0 && (left > want || left < want-2*time.Minute) {
			t.Fatalf("%s holds %q for %v, want %q for %v", staleKey(i), values[i].Val(), left, oldJSON(i), want)
		}
	}
}

// repaired is what a script reads of a report.
type repaired struct {
	Applied  bool
	Writes   []struct{ Node, Key, Action, Outcome string }
	Outcomes map[string]int
	Undo     string `json:"undo_file"`
}

func repairJSON(t testing.TB, code int, args ...string) repaired {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path, append([]string{"repair", "-o", "json"}, args...)...)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	var r repaired
	if failed := json.Unmarshal(out, &r); failed != nil {
		t.Fatalf("%v: %v\n%s\n%s", err, failed, out, said.String())
	}
	if got := cmd.ProcessState.ExitCode(); got != code {
		t.Fatalf("exit code %d, want %d\n%s\n%s", got, code, out, said.String())
	}
	return r
}

// TestRepairKilled: killed anywhere, what was overwritten can be put back from the undo file; and the repair can be run again.
func TestRepairKilled(t *testing.T) {
	const keys = 1000
	r, cfg := staleKeys(t, keys)
	path := writeFile(t, "cacheinv.yml", cfg)
	binary, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	halfway := 0
	for range counts(100) {
		dir := t.TempDir()
		cmd := exec.CommandContext(t.Context(), binary, "repair", "--config.file", path, "--strategy=newest", "--apply", "--rate=2000/s", "--audit.dir", dir)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		servers.Eventually(t, "the first writes are on record", func() bool {
			undo, err := filepath.Glob(filepath.Join(dir, "undo-*.jsonl"))
			return err == nil && len(undo) == 1
		})
		time.Sleep(time.Duration(rand.IntN(500)) * time.Millisecond) // anywhere in it
		if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // killed
		undo, err := filepath.Glob(filepath.Join(dir, "undo-*.jsonl"))
		if err != nil || len(undo) != 1 {
			t.Fatalf("%v (%v)", undo, err)
		}
		changed := 0
		for i := range keys {
			if r[2].Get(t.Context(), staleKey(i)).Val() != oldJSON(i) {
				changed++
			}
		}
		if changed > 0 && changed < keys {
			halfway++
		}
		code := 0
		back := repairJSON(t, code, "--config.file", path, "--undo", undo[0], "--apply", "--rate=0")
		if back.Outcomes["repaired"] != changed || back.Outcomes["changed"]+back.Outcomes["failed"] > 0 {
			t.Errorf("%d were repaired, and undone: %v", changed, back.Outcomes)
		}
		wantOld(t, r[2], keys)
	}
	if halfway == 0 {
		t.Error("none was killed in the middle")
	}
	done := repairJSON(t, 0, "--config.file", path, "--strategy=newest", "--apply", "--rate=0", "--audit.dir", t.TempDir())
	if done.Outcomes["repaired"] != keys {
		t.Errorf("run again: %v", done.Outcomes)
	}
	if code, r := checkJSON(t, "--config.file", path); code != 0 || r.Classes[0].Compared != 3*keys {
		t.Errorf("check gives %d: %+v", code, r.Classes[0])
	}
}

// TestRepairCommand: the command line as a person uses it, and what the exporter counts of it.
func TestRepairCommand(t *testing.T) {
	const keys = 20
	r, cfg := staleKeys(t, keys)
	path, dir := writeFile(t, "cacheinv.yml", cfg), filepath.Join(t.TempDir(), "audit")
	for _, c := range []struct {
		args string
		says string
	}{
		{"", "repair needs --strategy=majority|newest|origin|delete|refresh, or --undo=FILE"},
		{"--strategy=newest --undo=x", "keep one of them"},
		{"--strategy=oldest", "enum value must be one of majority"},
		{"--strategy=majority", `class "c" has a version`},
		{"--strategy=origin", "needs origin in the class"},
		{"--strategy=newest --class=none", `no canary class "none"`},
		{"--strategy=newest --rate=-1", `--rate is "-1"`},
		{"--undo=/none/undo.jsonl", "the undo file can't be read"},
	} {
		args := append([]string{"repair", "--config.file", path}, strings.Fields(c.args)...)
		if code, out := once(t, args...); code != 64 || !strings.Contains(out, c.says) {
			t.Errorf("%s: exit code %d, and it says\n%s", c.args, code, out)
		}
	}
	p := run(t, "--config.file", path, "--audit.dir", dir)
	p.scrape().want(0, "repairs_total", "strategy", "newest", "outcome", "repaired")

	if code, out := once(t, "repair", "--config.file", path, "--strategy=newest"); code != 0 || !strings.Contains(out, "20 to write") || !strings.Contains(out, "k:7") {
		t.Errorf("the plan: exit code %d\n%s", code, out)
	}
	wantOld(t, r[2], keys)
	r[2].Set(t.Context(), staleKey(3), `{"v":3}`, 0) // now the others are stale
	code, out := once(t, "repair", "--config.file", path, "--strategy=newest", "--class=c", "--apply", "--audit.dir", dir)
	if code != 0 || !strings.Contains(out, "21 repaired") || !strings.Contains(out, "To put back") {
		t.Errorf("exit code %d\n%s", code, out)
	}
	if strings.Contains(out, `"of"`) {
		t.Errorf("the report holds values:\n%s", out)
	}
	for i := range 2 {
		if got := r[i].Get(t.Context(), staleKey(3)).Val(); got != `{"v":3}` {
			t.Errorf("redis-%d holds %s", i+1, got)
		}
	}
	if code, out := once(t, "repair", "--config.file", path, "--strategy=newest", "--apply"); code != 0 || !strings.Contains(out, "nothing to do") ||
		!strings.Contains(out, "can't be undone") {
		t.Errorf("again: exit code %d\n%s", code, out)
	}
	undo, err := filepath.Glob(filepath.Join(dir, "undo-*.jsonl"))
	if err != nil || len(undo) != 1 {
		t.Fatalf("%v (%v)", undo, err)
	}
	back := repairJSON(t, 0, "--config.file", path, "--undo", undo[0], "--apply", "--audit.dir", dir)
	if back.Outcomes["repaired"] != 21 || !back.Applied || slices.ContainsFunc(back.Writes, func(w struct{ Node, Key, Action, Outcome string }) bool { return w.Action != "restore" }) {
		t.Errorf("%+v", back)
	}
	servers.Eventually(t, "the exporter has counted them", func() bool {
		return p.scrape().sum("repairs_total", "strategy", "undo", "outcome", "repaired") == 21
	})
	p.scrape().want(21, "repairs_total", "strategy", "newest", "outcome", "repaired")
}
