package recovery

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/shell"
)

// hook is a program of the configuration, with the name of its field below recovery.
type hook struct {
	config.Hook
	name string
}

func (r *run) hooks() []hook {
	c := r.recovery
	return []hook{
		{c.BypassOn, "bypass.on"},
		{c.BypassOff, "bypass.off"},
		{c.StopJobs, "stop_jobs"},
		{c.StopProcessors, "stop_processors"},
		{c.Restart, "restart"},
		{c.Wait, "wait"},
		{c.Breaker.Command, "breaker.command"},
	}
}

func (r *run) hook(name string) hook {
	for _, h := range r.hooks() {
		if h.name == name {
			return h
		}
	}
	panic("no hook " + name)
}

// shown is the command as the file has it.
func (h hook) shown() string {
	words := make([]string, len(h.Written))
	for i, w := range h.Written {
		words[i] = shell.Quote(w)
	}
	return strings.Join(words, " ")
}

// recordHook in the audit log, before it is run.
func (r *run) recordHook(h hook) error {
	return r.record("run", map[string]any{"hook": h.name, "arguments": h.Written})
}

// runHook has a program of a step run, and notes what came of it; false: it failed. The error is the audit log's.
func (r *run) runHook(ctx context.Context, s *Step, h hook) (ok bool, err error) {
	s.note(h.shown())
	r.tell(Progress{Step: s.Step, Text: h.shown()})
	began := time.Now()
	failed := h.run(ctx)
	fields := map[string]any{"hook": h.name, "seconds": time.Since(began).Seconds(), "ok": failed == nil}
	if failed != nil {
		fields["error"] = failed.Error()
		s.fail(Failed, fmt.Sprintf("recovery.%s: %v", h.name, failed))
		r.report.NotDone = append(r.report.NotDone, NotDone{"recovery." + h.name, "its program failed", "run it by hand: " + h.shown()})
	}
	return failed == nil, r.record("ran", fields)
}

const (
	// outputKept is how much of the end of a program's output is kept, in bytes, and outputLines how many lines of it are shown.
	outputKept, outputLines = 4 << 10, 10
	// hookEnd is how long a program that was ended may hold its output open.
	hookEnd = time.Second
)

// run the program, without a shell and in a process group of its own: Ctrl-C at the terminal is for recover, which lets the program
// end. The error says why it failed, with the end of its output.
func (h hook) run(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, h.Timeout)
	defer cancel()
	cmd := exec.CommandContext(limited, h.Args[0], h.Args[1:]...) //nolint:gosec // the configuration names what is to be run
	out := &lastOutput{}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // with what it started
	cmd.WaitDelay = hookEnd
	err := cmd.Run()
	var exit *exec.ExitError
	why := ""
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		why = "it was ended, since recover was interrupted"
	case limited.Err() != nil:
		why = fmt.Sprintf("it was ended after its timeout of %s", shown(h.Timeout))
	case errors.As(err, &exit):
		why = "it failed (" + exit.String() + ")"
	default:
		why = "it could not be run: " + err.Error()
	}
	if said := h.redact(out.lines()); said != "" {
		why += "; it said:\n" + said
	}
	return errors.New(why)
}

var filledIn = regexp.MustCompile(`\$\{(\w+)\}`)

// redact takes what the environment filled in out of an output: it may be a secret.
func (h hook) redact(said string) string {
	for _, written := range h.Written {
		for _, name := range filledIn.FindAllStringSubmatch(written, -1) {
			if value := os.Getenv(name[1]); value != "" {
				said = strings.ReplaceAll(said, value, name[0])
			}
		}
	}
	return said
}

// lastOutput keeps the end of what is written.
type lastOutput struct {
	mu  sync.Mutex
	end []byte
	cut bool
}

// Write implements io.Writer.
func (o *lastOutput) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.end = append(o.end, p...)
	if more := len(o.end) - outputKept; more > 0 {
		o.end, o.cut = append(o.end[:0], o.end[more:]...), true
	}
	return len(p), nil
}

// lines that were written last, fit to be shown.
func (o *lastOutput) lines() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	text := bytes.ToValidUTF8(o.end, []byte("\ufffd"))
	if _, whole, ok := bytes.Cut(text, []byte{'\n'}); o.cut && ok { // the first line lacks its beginning
		text = whole
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	lines = lines[max(0, len(lines)-outputLines):]
	for i, line := range lines {
		lines[i] = strings.Map(func(c rune) rune {
			if unicode.IsPrint(c) {
				return c
			}
			return ' '
		}, line)
	}
	return strings.TrimSpace(strings.Join(lines, "\n"))
}
