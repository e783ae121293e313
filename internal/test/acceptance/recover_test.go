package acceptance

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
)

// recovery is what of recover's JSON is looked at here.
type recovery struct {
	Strategy    string  `json:"strategy"`
	Interrupted bool    `json:"interrupted"`
	Next        *string `json:"next"`
	ExitCode    int     `json:"exit_code"`
}

// The command is interrupted, as by Ctrl-C, and killed; the line that it says to run next finishes what is left.
func TestRecoverGoesOnAfterSignals(t *testing.T) {
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	r, other := servers.Redis(t), servers.Redis(t)
	dir := filepath.Join(t.TempDir(), "a folder")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "cacheinv.yml")
	if err := os.WriteFile(file, fmt.Appendf(nil, `
layers: [{name: l2, ttl: 1h, nodes: [{name: redis-1, redis: {address: %q}}, {name: redis-2, redis: {address: %q}}]}]
queues: [{name: inv, redis: {node: redis-1, list: inv}, message: {key: "$.key"}}]
recovery: {standard_above: 10, monitor: {every: 10ms, looks: 1}}
`, r.Addr, other.Addr), 0o600); err != nil {
		t.Fatal(err)
	}
	const messages = 120
	for i := range messages {
		key := fmt.Sprintf("product:%d", i)
		other.Must(t, "set", key, "v")
		r.Must(t, "rpush", "inv", fmt.Sprintf(`{"key":%q}`, key))
	}
	waiting := func() int64 { return r.LLen(t.Context(), "inv").Val() + r.LLen(t.Context(), "inv:processing").Val() }
	begin := func(signal os.Signal) (*bytes.Buffer, error) {
		cmd := exec.Command(path, "recover", "--config.file", file, "--audit.dir", filepath.Join(dir, "audit"), "--rate=40/s", "--apply", "-o", "json")
		var out bytes.Buffer
		cmd.Stdout = &out
		before := waiting()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		servers.Eventually(t, "some messages are applied", func() bool { return waiting() < before })
		if err := cmd.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		return &out, cmd.Wait()
	}
	if _, err := begin(syscall.SIGKILL); err == nil || waiting() == 0 {
		t.Fatalf("killed: %v, %d messages are left", err, waiting())
	}
	out, err := begin(os.Interrupt)
	var exit *exec.ExitError
	var report recovery
	if !errors.As(err, &exit) || exit.ExitCode() != 3 || json.Unmarshal(out.Bytes(), &report) != nil || !report.Interrupted || report.Next == nil {
		t.Fatalf("interrupted: %v\n%s", err, out)
	}
	if waiting() == 0 {
		t.Fatal("no messages are left to go on with")
	}
	paste := exec.Command("sh", "-c", *report.Next+" -o json")
	paste.Env = append(os.Environ(), "PATH="+filepath.Dir(path)+":"+os.Getenv("PATH"))
	said, err := paste.Output()
	if err != nil || json.Unmarshal(said, &report) != nil || report.ExitCode != 0 || report.Strategy != "standard" {
		t.Fatalf("%s: %v\n%s", *report.Next, err, said)
	}
	if n := waiting() + other.DBSize(t.Context()).Val(); n != 0 {
		t.Errorf("%d messages and keys are left", n)
	}
	logs, err := filepath.Glob(filepath.Join(dir, "audit", "audit-*.jsonl"))
	if err != nil || len(logs) != 3 {
		t.Errorf("%d audit logs (%v)", len(logs), err)
	}
	for _, log := range logs {
		if info, err := os.Stat(log); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v (%v)", log, info.Mode(), err)
		}
	}
}

// Without anything that could be reached recover says what is not done, and does not say that all is well.
func TestRecoverWithEverythingDown(t *testing.T) {
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "cacheinv.yml")
	if err := os.WriteFile(file, []byte(`
layers: [{name: l2, ttl: 1h, nodes: [{name: redis-1, redis: {address: "127.0.0.1:1"}}]}]
queues: [{name: inv, redis: {node: redis-1, list: inv}, message: {key: "$.key"}}]
recovery: {monitor: {timeout: 1s, every: 10ms}}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, apply := range [][]string{nil, {"--apply"}} {
		out, err := exec.Command(path, append([]string{"recover", "--config.file", file}, apply...)...).Output()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 3 || !strings.Contains(string(out), "redis-1") {
			t.Errorf("%v: %v\n%s", apply, err, out)
		}
	}
}
