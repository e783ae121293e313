// Package recovery is the command recover: the emergency procedure that ends an incident, step by step. It looks at the nodes
// and at the queues, chooses by their depth how far to go, deletes the keys of patterns, has the backlog applied (package drain),
// restarts the processors, sees whether deletes arrive everywhere, and watches until it is over.
//
// [Run] does it, or says what it would do; a [Report] is what came of it.
package recovery

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/audit"
	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/drain"
	"github.com/cacheinv/cacheinv_exporter/internal/pause"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// ErrUsage says that recover was asked for something that the configuration does not have.
var ErrUsage = errors.New("wrong usage")

// Exit codes of recover.
const (
	// ExitDone: all was done, or can be.
	ExitDone = 0
	// ExitFailed: all messages were applied and all keys deleted, but a program failed, a delete did not arrive everywhere, or it
	// was not over in time.
	ExitFailed = 1
	// ExitLeft: something could not be applied or deleted. Messages are still in the queue.
	ExitLeft = 3
)

// Strategy is how far a recovery goes.
type Strategy string

const (
	// Auto chooses by the depth.
	Auto Strategy = "auto"
	// Aggressive deletes the keys of the patterns, applies the backlog and restarts the processors.
	Aggressive Strategy = "aggressive"
	// Standard applies the backlog and restarts the processors.
	Standard Strategy = "standard"
	// Minimal applies the backlog, and runs no program.
	Minimal Strategy = "minimal"
)

// Strategies that may be asked for.
func Strategies() []string {
	return []string{string(Auto), string(Aggressive), string(Standard), string(Minimal)}
}

// Options of a run.
type Options struct {
	// Apply does it; else the run is a plan, and writes nothing.
	Apply bool
	// Strategy that is wanted; Auto goes by the depth.
	Strategy Strategy
	// Rate of keys and messages in a second; nil: the configuration's. 0: as fast as it can.
	Rate *float64
	// AllowFlushAll lets a server that does not list its keys be emptied, where patterns are to be deleted.
	AllowFlushAll bool
	// AuditDir gets an audit log; empty: there is none.
	AuditDir string
	// Again are flags, quoted for a shell, that go along in the command that the report says to run next.
	Again []string
	// Env is handed on to the backends.
	Env *probes.Env
	// Progress is told how far a step is; may be nil. It may be called by several goroutines at once.
	Progress func(Progress)
}

// Progress of a step.
type Progress struct {
	// Step as in the report.
	Step string
	// Text says what is known in short; may be empty.
	Text string
	// Done of Total messages or keys; Total is 0 where it is not known.
	Done, Total int64
}

// interruptGrace is how long what is in hand may take once the run was interrupted.
const interruptGrace = 20 * time.Second

// run is one run of the procedure.
type run struct {
	opt      Options
	config   *config.Config
	recovery config.Recovery
	fleet    *probes.Fleet
	queues   []probes.Queue
	drainer  drainer
	audit    *audit.Log
	health   probes.Health // nil: not configured
	breaker  *breaker

	report *Report
	// nodes as the health step saw them.
	nodes []nodeSeen
	// bypassed: the bypass was, or may have been, switched on. stopped: the processors were stopped.
	bypassed, stopped bool
}

// drainer is what a run needs of *drain.Drainer.
type drainer interface {
	Plan(ctx context.Context, opt drain.Options) (*drain.Plan, error)
	Apply(ctx context.Context, opt drain.Options) (*drain.Report, error)
}

// Run the procedure over cfg. When ctx ends, the batch in hand is finished, and the report says how to go on. An error that wraps ErrUsage
// is the user's; with any other one the report holds what was done until then.
func Run(ctx context.Context, cfg *config.Config, opt Options) (*Report, error) {
	r := &run{opt: opt, config: cfg, recovery: config.DefaultRecovery(), report: newReport(opt)}
	if cfg.Recovery != nil {
		r.recovery = *cfg.Recovery
	}
	if opt.Rate != nil {
		r.recovery.Rate = *opt.Rate
	}
	if err := r.usage(); err != nil {
		return nil, err
	}
	if err := r.open(); err != nil {
		r.close()
		return nil, err
	}
	defer r.close()
	began := time.Now()
	err := r.procedure(ctx)
	r.report.end(began, ctx.Err() != nil)
	if r.report.left || !r.opt.Apply {
		next := r.goOn()
		r.report.Next = &next
	}
	return r.report, err
}

// usage refuses what can't be meant, before anything is opened.
func (r *run) usage() error {
	if len(r.config.Queues) == 0 && r.opt.Strategy == Auto {
		return fmt.Errorf("%w: the configuration has no queues, so there is no backlog to go by; write queues, or give --strategy", ErrUsage)
	}
	if !r.opt.Apply {
		return nil
	}
	for _, h := range r.hooks() {
		if !h.Given() {
			continue
		}
		if _, err := exec.LookPath(h.Args[0]); err != nil {
			return fmt.Errorf("%w: recovery.%s: the program %s can't be run here (%w); install it where recover runs, or write its whole path",
				ErrUsage, h.name, h.Written[0], errors.Unwrap(err))
		}
	}
	return nil
}

// open all that is asked. What was opened before an error is closed by close.
func (r *run) open() error {
	var err error
	if r.fleet, err = r.config.OpenFleet(r.opt.Env); err != nil {
		return fmt.Errorf("opening the nodes: %w", err)
	}
	if r.queues, err = r.config.OpenQueues(r.fleet, r.opt.Env); err != nil {
		return fmt.Errorf("opening the queues: %w", err)
	}
	r.drainer = drain.New(r.config, r.fleet, r.queues)
	if r.recovery.Health != nil {
		if r.health, err = r.recovery.Health.Open(r.opt.Env); err != nil {
			return fmt.Errorf("recovery.health_url: %w", err)
		}
	}
	if r.breaker, err = newBreaker(r.recovery.Breaker, r.opt.Env); err != nil {
		return fmt.Errorf("recovery.breaker.url: %w", err)
	}
	if r.opt.Apply && r.opt.AuditDir != "" {
		if r.audit, err = audit.Open(r.opt.AuditDir, "audit", time.Now()); err != nil {
			return err
		}
		path := r.audit.Path()
		r.report.Audit = &path
	}
	return nil
}

func (r *run) close() {
	if r.audit != nil {
		_ = r.audit.Close() // each line was synced
	}
	if r.breaker != nil {
		r.breaker.close()
	}
	if r.health != nil {
		r.health.Close()
	}
	for _, q := range r.queues {
		q.Close()
	}
	if r.fleet != nil {
		r.fleet.Close()
	}
}

// procedure takes the steps in their order. What a step could not do is in the report; an error ends the run.
func (r *run) procedure(ctx context.Context) error {
	defer r.putBack(ctx)
	if err := r.record("recover_begins", map[string]any{"strategy": r.opt.Strategy, "rate": r.recovery.Rate}); err != nil {
		return err
	}
	if err := r.do(ctx, stepHealth, r.lookAtHealth); err != nil {
		return err
	}
	if err := r.do(ctx, stepQueue, r.lookAtQueues); err != nil {
		return err
	}
	steps := []struct {
		name string
		run  func(context.Context, *Step) error
	}{
		{stepBypassOn, r.switchBypassOn},
		{stepStopJobs, r.stopJobs},
		{stepStopProcessors, r.stopProcessors},
		{stepInvalidate, r.invalidate},
		{stepBacklog, r.applyBacklog},
		{stepRestart, r.restart},
		{stepWait, r.wait},
		{stepValidate, r.validate},
		{stepMonitor, r.monitor},
	}
	for _, s := range steps {
		if err := r.do(ctx, s.name, s.run); err != nil {
			return err
		}
	}
	return nil
}

// do one step, unless the run was interrupted or something before it stopped the procedure.
func (r *run) do(ctx context.Context, name string, step func(context.Context, *Step) error) error {
	s := r.report.step(name)
	if r.report.stopped != "" {
		s.skip(r.report.stopped)
		return nil
	}
	if ctx.Err() != nil {
		s.skip("interrupted")
		if name == stepBacklog && len(r.report.NotDone) == 0 {
			r.report.notDone("the backlog", "the command was interrupted", "run "+r.goOn())
		}
		return nil
	}
	began := time.Now()
	err := step(ctx, s)
	s.took(time.Since(began))
	if err != nil {
		s.fail(Failed, err.Error())
		r.report.notDone("the rest of the step "+name+" and what comes after it", err.Error(), "mend that and run "+r.goOn())
		return err
	}
	if s.Status == Skipped || s.Status == Planned {
		return nil
	}
	return r.record("step", map[string]any{"step": name, "status": s.Status, "seconds": s.Seconds})
}

// record what is done in the audit log, if there is one. What can't be recorded ends the run.
func (r *run) record(event string, fields map[string]any) error {
	if r.audit == nil {
		return nil
	}
	fields["time"], fields["event"] = time.Now().UTC(), event
	if err := r.audit.Write(fields); err != nil {
		return fmt.Errorf("the audit log can't be written, and nothing more is done: %w; see that --audit.dir has room, and run the command again", err)
	}
	return nil
}

func (r *run) tell(p Progress) {
	if r.opt.Progress != nil {
		r.opt.Progress(p)
	}
}

// gate is passed before each batch: it fails where the run was interrupted, or the breaker says stop.
func (r *run) gate(ctx context.Context) error {
	if ctx.Err() != nil {
		return errInterrupted
	}
	return r.breaker.check(ctx)
}

// interrupted by a signal.
func interrupted(ctx context.Context) bool { return ctx.Err() != nil }

var errInterrupted = errors.New("interrupted")

// inHand gives a context for a batch that is finished although ctx has ended, within interruptGrace.
func inHand(ctx context.Context) (context.Context, context.CancelFunc) {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		pause.For(work, interruptGrace)
		cancel()
	})
	return work, func() {
		stop()
		cancel()
	}
}

// wants reports whether the strategy that was chosen has a step.
func (r *run) wants(least Strategy) bool {
	rank := map[Strategy]int{Minimal: 0, Standard: 1, Aggressive: 2}
	return rank[r.report.Strategy] >= rank[least]
}

// goOn is the command that goes on where this run ended.
func (r *run) goOn() string {
	words := append([]string{"cacheinv_exporter", "recover"}, r.opt.Again...)
	// What is left may be less than the strategy's depth, and its other steps are still to be taken.
	if r.opt.Apply && r.report.Strategy != Minimal || r.opt.Strategy != Auto {
		words = append(words, "--strategy="+string(r.report.Strategy))
	}
	if r.opt.AllowFlushAll {
		words = append(words, "--allow-flush-all")
	}
	return strings.Join(append(words, "--apply"), " ")
}
