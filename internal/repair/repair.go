// Package repair puts right the copies that the exporter's own verdict calls stale, and no others.
//
// Run reads the canaries once, as check does, and makes a plan of what is to be done with each stale copy (plan.go). With Apply it
// does it (apply.go): each copy is read again, what was there is put on record (undo.go), and then it is exchanged in one
// step on the server, which leaves alone a copy that is no longer what was seen. The plan and what came of it are one
// Report (report.go).
package repair

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/audit"
	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/internal/incident"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// The strategies: where what replaces a stale copy comes from.
const (
	// Majority takes what most of the fresh copies of the key hold.
	Majority = "majority"
	// Newest takes what the fresh copy of the highest version holds.
	Newest = "newest"
	// Origin takes what the class's origin says; what it calls deleted is deleted.
	Origin = "origin"
	// Delete deletes the stale copy: the next read fills it again.
	Delete = "delete"
	// Refresh asks the application to make its copies of the key anew.
	Refresh = "refresh"
)

// undoing is the strategy in the audit log of what puts back what a repair overwrote.
const undoing = "undo"

// Strategies are all, in the order of --help.
func Strategies() []string { return []string{Majority, Newest, Origin, Delete, Refresh} }

// The outcomes of what was to be done with a copy.
const (
	// Repaired copies hold what they should, or are gone where they should be.
	Repaired = "repaired"
	// Requested: the application said that it makes its copies anew.
	Requested = "requested"
	// Changed copies were no longer what the plan saw, and were left alone.
	Changed = "changed"
	// Unchanged: there was nothing to put back.
	Unchanged = "unchanged"
	// Failed: the server or the application refused, or did not answer.
	Failed = "failed"
	// NotRepaired: nothing could be done with the strategy.
	NotRepaired = "not_repaired"
)

// Outcomes are all.
func Outcomes() []string {
	return []string{Repaired, Requested, Changed, Unchanged, Failed, NotRepaired}
}

// AuditStrategies are what the audit log names as the strategy of a repair.
func AuditStrategies() []string { return append(Strategies(), undoing) }

// Options say what is repaired, and how.
type Options struct {
	// Strategy is one of Strategies; empty where Undo is given.
	Strategy string
	// Undo is the undo file of an earlier repair, whose copies are put back; empty: none.
	Undo string
	// Apply what is planned; without it nothing is written.
	Apply bool
	// Force lets majority decide classes that have a version or an origin.
	Force bool
	// Rate bounds the writes a second; 0: none.
	Rate float64
	// AuditDir gets the audit log and the undo file; empty: neither is written.
	AuditDir string
	// ConfigFile of the command line, for the line that undoes the repair.
	ConfigFile string
	// Check says what is read: the class, the limits, how nodes are asked.
	Check incident.CheckOptions
	Log   *slog.Logger
}

// ErrUsage says that the strategy is not for what was asked; it is incident.ErrUsage.
var ErrUsage = incident.ErrUsage

// Run repairs, or makes the plan alone. An error that wraps ErrUsage is the user's. A plan that could be carried out in part
// is no error: the Report says what was not done.
func Run(ctx context.Context, cfg *config.Config, opt Options) (*Report, error) {
	if opt.Undo != "" {
		return runUndo(ctx, cfg, opt)
	}
	if err := fits(cfg, opt); err != nil {
		return nil, err
	}
	var stop func()
	opt.Check.Progress, stop = incident.ProgressBar(os.Stderr, "looking for keys")
	look, err := incident.TakeLook(ctx, cfg, opt.Check)
	stop()
	if err != nil {
		return nil, err
	}
	defer look.Close()
	digests := incident.NewDigests(opt.Check.Sampler.DigestKey)
	p := &planner{
		strategy: opt.Strategy, classes: classesOf(look.Config), nodes: nodesOf(look.Fleet.Nodes(), look.Result), digests: digests,
		inspect: look.Sampler.Inspect, askOrigin: look.Sampler.AskOrigin, turn: limiterOf(opt.Rate).Wait,
	}
	report := p.plan(ctx, look.Result)
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("interrupted before anything was written: %w", err)
	}
	if !opt.Apply {
		return report, nil
	}
	c := &copier{planner: p, env: opt.Check.Env, refreshers: map[string]probes.Refresher{}, asked: map[string]*request{}}
	return report, apply(ctx, report, opt, c)
}

// apply what a report plans, on record where there is a place for it.
func apply(ctx context.Context, report *Report, opt Options, c changer) (err error) {
	report.Applied, report.configFile = true, opt.ConfigFile
	e := newExecutor(report.Strategy, opt.Rate, c)
	defer c.close()
	if opt.AuditDir == "" {
		opt.Log.Warn("nothing of this repair is on record, and it can't be undone; give --audit.dir=DIR for an audit log and an undo file")
	} else {
		now := time.Now()
		if e.audit, err = audit.Open(opt.AuditDir, "audit", now); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, e.audit.Close()) }()
		if e.undo, err = audit.Open(opt.AuditDir, "undo", now); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, e.undo.Close()) }()
		report.AuditFile, report.UndoFile = e.audit.Path(), e.undo.Path()
	}
	show, stop := incident.ProgressBar(os.Stderr, "repairing copies")
	defer stop()
	e.progress = show
	return e.run(ctx, report)
}

// fits says whether the strategy is for the classes that are asked for.
func fits(cfg *config.Config, opt Options) error {
	var classes, without []string
	lacks := func(c *config.Class) (what string, lacking bool) {
		switch opt.Strategy {
		case Newest:
			return "version", c.Version == nil
		case Origin:
			return "origin", c.Origin == nil
		case Refresh:
			return "refresh", c.Refresh == nil
		}
		return "", false
	}
	field := ""
	for i := range cfg.Canaries {
		c := &cfg.Canaries[i]
		if opt.Check.Class != "" && c.Name != opt.Check.Class {
			continue
		}
		if opt.Strategy == Majority && !opt.Force && (c.Version != nil || c.Origin != nil) {
			return fmt.Errorf("%w: --strategy=majority is refused, since class %q has %s, which knows better than most copies; "+
				"write --strategy=%s, choose another class with --class, or insist with --force", ErrUsage, c.Name, knower(c), knowing(c))
		}
		classes = append(classes, c.Name)
		what, lacking := lacks(c)
		if field = what; lacking {
			without = append(without, c.Name)
		}
	}
	if len(classes) > 0 && len(without) == len(classes) {
		return fmt.Errorf("%w: --strategy=%s needs %s in the class, and %s has none; write it in the configuration, or take another strategy",
			ErrUsage, opt.Strategy, field, strings.Join(quoted(without), ", "))
	}
	return nil
}

func knower(c *config.Class) string {
	if c.Version != nil {
		return "a version"
	}
	return "an origin"
}

func knowing(c *config.Class) string {
	if c.Version != nil {
		return Newest
	}
	return Origin
}

func quoted(names []string) []string {
	out := slices.Clone(names)
	for i, n := range out {
		out[i] = fmt.Sprintf("%q", n)
	}
	return out
}

// Main is the command: it writes the report to stdout as text or json, and gives the exit code.
func Main(ctx context.Context, cfg *config.Config, opt Options, output string, stdout io.Writer) (int, error) {
	report, err := Run(ctx, cfg, opt)
	if report == nil {
		return 0, err
	}
	write := report.Text
	if output == "json" {
		write = report.JSON
	}
	if err := errors.Join(err, write(stdout)); err != nil {
		return 0, err
	}
	return report.ExitCode(), nil
}
