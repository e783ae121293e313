package recovery

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

func program(timeout time.Duration, args ...string) hook {
	return hook{config.Hook{Args: args, Written: args, Timeout: timeout}, "restart"}
}

func TestHookIsRunWithoutAShell(t *testing.T) {
	out := filepath.Join(t.TempDir(), "a file")
	if err := program(time.Minute, "touch", out).run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(out); err != nil {
		t.Error(err)
	}
	if err := program(time.Minute, "test", "$HOME", "=", "$HOME").run(t.Context()); err != nil {
		t.Errorf("an argument is not as it was given: %v", err)
	}
}

// What a program said is shown where it failed: its end, without what would command a terminal and what the environment filled in.
func TestHookThatFails(t *testing.T) {
	t.Setenv("CACHEINV_TEST_TOKEN", "hunter2-hunter2")
	h := program(time.Minute, "sh", "-c", `for i in $(seq 2000); do echo "line $i"; done; printf 'token %s \033[31m\n' "$0" >&2; exit 3`, "hunter2-hunter2")
	h.Written = []string{"sh", "-c", "…", "${CACHEINV_TEST_TOKEN}"}
	err := h.run(t.Context())
	if err == nil {
		t.Fatal("no error")
	}
	text := err.Error()
	lines := strings.Split(text, "\n")
	if len(lines) != outputLines+1 || !strings.Contains(lines[0], "exit status 3") || lines[1] != "line 1992" || lines[outputLines] != "token ${CACHEINV_TEST_TOKEN}  [31m" {
		t.Errorf("it says %q", lines)
	}
	if err := program(time.Minute, filepath.Join(t.TempDir(), "none")).run(t.Context()); err == nil || !strings.Contains(err.Error(), "could not be run") {
		t.Errorf("a program that is not there: %v", err)
	}
}

// A program that hangs is ended with what it started, also where that holds its output open.
func TestHookThatHangs(t *testing.T) {
	servers.NoLeaks(t)
	pid := filepath.Join(t.TempDir(), "pid")
	began := time.Now()
	err := program(200*time.Millisecond, "sh", "-c", `sleep 600 & echo $! >"$0"; wait`, pid).run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "its timeout of 200ms") {
		t.Errorf("it says %v", err)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %s", took)
	}
	child, err := os.ReadFile(pid)
	if err != nil {
		t.Fatal(err)
	}
	servers.Eventually(t, "what the program started has ended", func() bool {
		stat, err := os.ReadFile("/proc/" + strings.TrimSpace(string(child)) + "/stat")
		return err != nil || strings.Contains(string(stat), ") Z ")
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := program(time.Minute, "sleep", "600").run(ctx); err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("interrupted, it says %v", err)
	}
}
