package servers

import (
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

// Build the exporter's binary, and give its path. flags are go build's.
func Build(t testing.TB, flags ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "cacheinv_exporter")
	cmd := exec.CommandContext(t.Context(), "go", slices.Concat([]string{"build", "-o", path}, flags, []string{"."})...)
	cmd.Dir = root(t)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return path
}

// Exporter starts a binary that was built, to serve on addr.
func Exporter(t testing.TB, binary, addr string, args ...string) *Process {
	t.Helper()
	return start(t, addr, readyAt(addr), binary, append(args, "--web.listen-address", addr)...)
}

// Output of the server so far, on both its streams.
func (p *Process) Output() string { return p.out.String() }
