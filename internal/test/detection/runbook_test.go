package detection

import (
	"errors"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/test/servers"
	"github.com/cacheinv/cacheinv_exporter/internal/test/shop"
)

// longestIncident is from the page to its end: docs/recovery.md says so.
const longestIncident = 10 * time.Minute

// ending is an incident that is ended as a person on call would do it.
type ending struct {
	name string
	opt  shop.Options
	// more of the configuration; in it restarted is the path of a file that a program makes.
	more string
	// alert that pages, and command that its runbook names.
	alert, command string
	// fault that happens, and what ends it: restarted processors, a network that is whole again.
	fault, ends func(sh *shop.Shop)
	// byHand: what ends it is done before the runbook's lines are pasted; else by a program of recovery.
	byHand bool
}

var endings = []ending{
	{
		name: "ended-backlog", alert: "CacheInvalQueueBacklog", command: "recover",
		more: `recovery:
  patterns: ["product:*:price"]
  restart: [touch, RESTARTED]
  monitor: {depth: 200, every: 1s}`,
		fault: func(sh *shop.Shop) {
			sh.Slow.Store(int64(250 * time.Millisecond))
			sh.Publish(imported(6000)...)
		},
		ends: func(sh *shop.Shop) { sh.Slow.Store(0) },
	},
	{
		name: "ended-partition", alert: "CacheInvalPartitionSuspected", command: "repair", byHand: true,
		fault: func(sh *shop.Shop) { sh.CutOff("redis-3", "memcached-2") },
		ends: func(sh *shop.Shop) {
			sh.Paused.Store(true) // else its own writes would repair most of it
			sh.Join("redis-3", "memcached-2")
		},
	},
}

// TestRunbooksEndIncidents: a page arrives, its runbook is opened, its lines are pasted, and the incident is over.
func TestRunbooksEndIncidents(t *testing.T) {
	s := openStation(t)
	for _, e := range endings {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			s.end(t, e)
		})
	}
}

func (s *station) end(t *testing.T, e ending) {
	dir := t.TempDir()
	config, restarted := filepath.Join(dir, "cacheinv.yml"), filepath.Join(dir, "restarted")
	sh := trading(t, e.opt)
	if err := os.WriteFile(config, []byte(sh.Config(strings.ReplaceAll(e.more, "RESTARTED", restarted))), 0o600); err != nil {
		t.Fatal(err)
	}
	exporter := servers.Exporter(t, s.binary, servers.FreeAddr(t), s.flags(config)...)
	s.watch(e.name, exporter.Addr)
	t.Cleanup(func() { s.watch(e.name, "") })
	began := time.Now()
	await(t, "scrapes before the fault", func() bool { return s.scrapes(t, e.name, began, time.Now(), false) >= healthyScrapes })
	e.fault(sh)
	var alert servers.NotifiedAlert
	await(t, e.alert, func() (ok bool) { alert, ok = s.paged(e.name, e.alert); return ok })
	paged := time.Now()

	if e.byHand {
		e.ends(sh)
	} else {
		defer whenMade(restarted, func() { e.ends(sh) })()
	}
	person := person{t: t, binary: s.binary, config: config, audit: filepath.Join(dir, "audit"), class: alert.Labels["class"]}
	lines := person.mitigation(path.Base(alert.Annotations["runbook_url"]), e.command)
	await(t, "a check that finds nothing", func() bool {
		for _, line := range lines {
			person.paste(line)
		}
		// Keys that had one copy alone, which nothing could be compared to, may have others now.
		time.Sleep(interval)
		return person.checks() == 0
	})
	ends := time.Now()
	await(t, "the end of the page", func() bool {
		if time.Since(ends) > hopeless && !*realTime {
			t.Fatalf("the page stays\n%s", s.evidence(t, e.name, ends))
		}
		return s.over(e.name)
	})
	if took := time.Since(paged); took > longestIncident {
		t.Errorf("it took %s", took)
	}
	t.Logf("paged after %s; over %s after the page", paged.Sub(began).Round(time.Second), time.Since(paged).Round(time.Second))
}

// whenMade calls do once, when a file is there. The function that it gives ends the waiting.
func whenMade(file string, do func()) (stop func()) {
	var stopped atomic.Bool
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for !stopped.Load() {
			if _, err := os.Stat(file); err == nil {
				do()
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	return func() { stopped.Store(true); <-ended }
}

// paged gives an alert as it reached the pager.
func (s *station) paged(cluster, name string) (servers.NotifiedAlert, bool) {
	for _, n := range s.hook.Received("") {
		for _, a := range n.Alerts {
			if n.Receiver == s.pager && a.Status == "firing" && a.Labels["cluster"] == cluster && a.Labels["alertname"] == name {
				return a, true
			}
		}
	}
	return servers.NotifiedAlert{}, false
}

// over: every group of a cluster at the pager was resolved.
func (s *station) over(cluster string) bool {
	open := map[string]bool{}
	for _, n := range s.hook.Received("") {
		if n.Receiver == s.pager && len(n.Alerts) > 0 && n.Alerts[0].Labels["cluster"] == cluster {
			open[n.GroupKey] = n.Status == "firing"
		}
	}
	for _, firing := range open {
		if firing {
			return false
		}
	}
	return true
}

// person is on call, with a terminal.
type person struct {
	t                            *testing.T
	binary, config, audit, class string
}

// mitigation gives the lines of a runbook's mitigation that run a command, as they stand there.
func (p *person) mitigation(runbook, command string) []string {
	p.t.Helper()
	text, err := os.ReadFile(filepath.Join("../../../docs/runbooks", strings.TrimSuffix(runbook, ".md")+".md"))
	if err != nil {
		p.t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## Mitigation\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var lines []string
	for line := range strings.Lines(section) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "cacheinv_exporter "+command+" ") {
			lines = append(lines, line)
		}
	}
	if len(lines) < 2 || strings.Contains(lines[0], "--apply") || !strings.Contains(lines[1], "--apply") {
		p.t.Fatalf("%s has not the plan and then its carrying out: %q", runbook, lines)
	}
	return lines[:2]
}

// paste a line, with the names of this place.
func (p *person) paste(line string) {
	p.t.Helper()
	line = strings.NewReplacer("/etc/cacheinv/cacheinv.yml", p.config, "/var/lib/cacheinv/audit", p.audit, "CLASS", p.class).Replace(line)
	began := time.Now()
	code, out := p.run(line)
	p.t.Logf("$ %s\n%s\nexit code %d after %s", line, out, code, time.Since(began).Round(100*time.Millisecond))
	if applied := strings.Contains(line, "--apply"); applied && code != 0 {
		p.t.Errorf("%s ends with %d", line, code)
	}
}

// checks gives the exit code of check.
func (p *person) checks() int {
	code, _ := p.run("cacheinv_exporter check --config.file=" + p.config)
	return code
}

func (p *person) run(line string) (code int, out string) {
	p.t.Helper()
	cmd := exec.CommandContext(p.t.Context(), "sh", "-c", line)
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(p.binary)+":"+os.Getenv("PATH"))
	b, err := cmd.CombinedOutput()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		p.t.Fatalf("%s: %v", line, err)
	}
	return cmd.ProcessState.ExitCode(), string(b)
}
