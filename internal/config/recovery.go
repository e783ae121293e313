package config

import (
	"slices"
	"strings"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/internal/glob"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// Recovery is what the command recover does, besides applying the backlog.
type Recovery struct {
	// Patterns are globs of the keys that are deleted everywhere where the backlog is deeper than AggressiveAbove.
	Patterns []string
	// AggressiveAbove and StandardAbove are depths, in messages, above which the recovery is aggressive (patterns, backlog and
	// restart) or standard (backlog and restart); else it is minimal (the backlog alone).
	AggressiveAbove, StandardAbove int64
	// Rate of keys and messages in a second.
	Rate float64
	// Health tells whether the application is well; nil: not configured.
	Health probes.HealthSource
	// BypassOn and BypassOff switch the emergency bypass of the caches; both are given, or none.
	BypassOn, BypassOff Hook
	// StopJobs stops batch jobs that send invalidations; StopProcessors stops the processors, which Restart starts again.
	StopJobs, StopProcessors Hook
	// Restart the processors, and Wait until that is done.
	Restart, Wait Hook
	Breaker       Breaker
	Monitor       Monitor
}

// Hook is a program that is run without a shell. One that is not given has no Args.
type Hook struct {
	// Args are the program and its arguments. They may hold what the environment filled in.
	Args []string
	// Written are the same as the file has them, to be shown.
	Written []string
	// Timeout after which the program is ended.
	Timeout time.Duration
}

// Given reports whether the hook is configured.
func (h Hook) Given() bool { return len(h.Args) > 0 }

// Breaker is asked between batches, and stops the recovery where what it harms is not well.
type Breaker struct {
	// Health and Command are asked, those that are given.
	Health  probes.HealthSource
	Command Hook
	// Every is the least time between two askings; Failures is how many in a row stop the recovery.
	Every    time.Duration
	Failures int
}

// Monitor says when the incident is over.
type Monitor struct {
	// Depth of each queue, in messages, at or below which it is.
	Depth int64
	// Every is the time between two looks; Looks is how many in a row must find all well.
	Every time.Duration
	Looks int
	// Timeout after which it is not over, and recover says so.
	Timeout time.Duration
}

// Defaults of recovery, where the file says nothing.
const (
	defaultAggressiveAbove, defaultStandardAbove = 5000, 1000
	defaultRecoveryRate                          = 1000
	defaultHookTimeout, defaultWaitTimeout       = time.Minute, 10 * time.Minute
	defaultBreakerEvery, defaultBreakerFailures  = time.Second, 3
	defaultMonitorDepth, defaultMonitorLooks     = 100, 3
	defaultMonitorEvery, defaultMonitorTimeout   = 5 * time.Second, 10 * time.Minute
)

// DefaultRecovery is the recovery of a configuration without a block for it: the backlog is applied, and nothing else is known.
func DefaultRecovery() Recovery {
	return Recovery{
		AggressiveAbove: defaultAggressiveAbove, StandardAbove: defaultStandardAbove, Rate: defaultRecoveryRate,
		Breaker: Breaker{Every: defaultBreakerEvery, Failures: defaultBreakerFailures},
		Monitor: Monitor{Depth: defaultMonitorDepth, Every: defaultMonitorEvery, Looks: defaultMonitorLooks, Timeout: defaultMonitorTimeout},
	}
}

// recovery reads the block. The layers and queues were read before.
func (r *reader) recovery(v form.Value) *Recovery {
	b := v.Block()
	out := DefaultRecovery()
	r.patterns(b.Get("patterns"), &out)
	aggressive, standard := b.Get("aggressive_above"), b.Get("standard_above")
	out.AggressiveAbove = aggressive.Whole(out.AggressiveAbove, 1<<53)
	out.StandardAbove = standard.Whole(out.StandardAbove, 1<<53)
	if out.StandardAbove > out.AggressiveAbove {
		at := standard
		if !at.Given() {
			at = aggressive
		}
		at.Fault("makes standard_above %d, more than aggressive_above %d; write the smaller number as standard_above", out.StandardAbove, out.AggressiveAbove)
	}
	if rate := b.Get("rate"); rate.Given() {
		out.Rate = rate.RateLimit()
	}
	out.Health = r.health(b.Get("health_url"))
	r.hooks(b, &out)
	if breaker := b.Get("breaker"); breaker.Given() {
		out.Breaker = r.breaker(breaker)
	}
	if monitor := b.Get("monitor"); monitor.Given() {
		out.Monitor = readMonitor(monitor, out.Monitor)
	}
	b.Done()
	return &out
}

// patterns of keys that are deleted. None may take the keys of a queue along.
func (r *reader) patterns(v form.Value, out *Recovery) {
	words, items := v.Words("patterns", "a glob of keys, such as user:*:profile")
	for i, pattern := range words {
		if pattern == "" {
			continue
		}
		out.Patterns = append(out.Patterns, pattern)
		for _, q := range r.config.Queues {
			keyed, ok := q.Source.(probes.KeyedQueue)
			if !ok {
				continue
			}
			keys := keyed.Keys()
			if at := slices.IndexFunc(keys, func(key string) bool { return glob.Match(pattern, key) }); at >= 0 {
				items[i].Fault("%s matches %q, a key of queue %q that would be deleted with its messages; write a narrower pattern", items[i].Quoted(), keys[at], q.Name)
				break
			}
		}
	}
}

// health reads a URL that tells whether an application is well, by the backend that plays this role; nil: not given.
func (r *reader) health(v form.Value) probes.HealthSource {
	if !v.Given() {
		return nil
	}
	for _, k := range r.backends {
		if k.Health != nil {
			return k.Health(v)
		}
	}
	return nil
}

func (r *reader) hooks(b *form.Block, out *Recovery) {
	short, long := b.Get("hook_timeout"), b.Get("wait_timeout")
	timeout := short.PositiveDuration(defaultHookTimeout, "how long a program may run, such as 1m")
	waiting := long.PositiveDuration(defaultWaitTimeout, "how long wait may run, such as 10m")
	if bypass := b.Get("bypass"); bypass.Given() {
		x := bypass.Block()
		on, off := x.Get("on"), x.Get("off")
		x.Require(on, "the program that switches the bypass on, as a list of arguments")
		x.Require(off, "the program that switches the bypass off again, as a list of arguments")
		out.BypassOn, out.BypassOff = readHook(on, timeout), readHook(off, timeout)
		x.Done()
	}
	stop, restart, wait := b.Get("stop_processors"), b.Get("restart"), b.Get("wait")
	out.StopJobs = readHook(b.Get("stop_jobs"), timeout)
	out.StopProcessors, out.Restart, out.Wait = readHook(stop, timeout), readHook(restart, timeout), readHook(wait, waiting)
	if restart.Given() {
		return
	}
	if stop.Given() {
		stop.Fault("stands without restart, so that the processors would stay stopped; write restart: the program that starts them")
	}
	if wait.Given() {
		wait.Fault("stands without restart, and there is nothing to wait for; write restart too, or leave it out")
	}
}

// readHook reads a program and its arguments.
func readHook(v form.Value, timeout time.Duration) Hook {
	h := Hook{Timeout: timeout}
	for i, item := range v.List("arguments, the program first") {
		text, ok := item.Text("an argument")
		switch {
		case !ok:
			return Hook{}
		case i == 0 && strings.TrimSpace(text) == "":
			item.Fault("is empty; write the program to run")
			return Hook{}
		case i == 0 && strings.ContainsAny(text, " \t\n"):
			item.Fault("is one text with white space, and no shell splits it; write each argument as an item of its own")
			return Hook{}
		}
		h.Args, h.Written = append(h.Args, text), append(h.Written, item.Written())
	}
	return h
}

func (r *reader) breaker(v form.Value) Breaker {
	b := v.Block()
	url, command := b.Get("url"), b.Get("command")
	if b.NoneGiven(url, command) {
		b.Fault("has neither url nor command; write at least one, such as url: http://origin/health")
	}
	const askEvery = "the least time between two askings, such as 1s"
	out := Breaker{
		Health: r.health(url), Command: readHook(command, b.Get("timeout").PositiveDuration(10*time.Second, "how long command may run, such as 10s")),
		Every:    b.Get("every").PositiveDuration(defaultBreakerEvery, askEvery),
		Failures: int(b.Get("failures").Whole(defaultBreakerFailures, 1000)),
	}
	b.Done()
	return out
}

func readMonitor(v form.Value, out Monitor) Monitor {
	b := v.Block()
	out.Depth = b.Get("depth").Whole(out.Depth, 1<<53)
	out.Every = b.Get("every").PositiveDuration(out.Every, "the time between two looks, such as 5s")
	out.Looks = int(b.Get("looks").Whole(int64(out.Looks), 1000))
	out.Timeout = b.Get("timeout").PositiveDuration(out.Timeout, "how long recover watches, such as 10m")
	b.Done()
	return out
}
