package recovery

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/common/model"

	"github.com/cacheinv/cacheinv_exporter/internal/drain"
)

// due says whether the program of a step is to be run now. Where it is not, the step says why, or what is planned.
func (r *run) due(s *Step, name, planned string) bool {
	switch {
	case !r.hook(name).Given():
		s.skip("recovery." + name + " is not configured")
	case !r.wants(Standard):
		s.skip("not in a minimal recovery")
	case !r.opt.Apply:
		s.plan(planned)
	default:
		return true
	}
	return false
}

// before runs a program ahead of the backlog. Where it fails the procedure ends: nothing was deleted yet.
func (r *run) before(ctx context.Context, s *Step, name string) error {
	h := r.hook(name)
	if !r.due(s, name, h.shown()) {
		return nil
	}
	work, cancel := inHand(ctx)
	defer cancel()
	if err := r.recordHook(h); err != nil {
		return err
	}
	ok, err := r.runHook(work, s, h)
	if err == nil && !ok {
		r.report.stopped = "the procedure ended at the step " + s.Step
		r.report.notDone("the steps after "+s.Step, "its program failed, and nothing was deleted yet",
			"mend the program, or leave it out of the block recovery, and run the command again")
	}
	return err
}

func (r *run) switchBypassOn(ctx context.Context, s *Step) error {
	err := r.before(ctx, s, "bypass.on")
	r.bypassed = s.Status == Done || s.Status == Failed // one that failed may have switched it on in part
	if s.Status == Planned {
		s.note("at the end, however it comes: " + r.hook("bypass.off").shown())
	}
	return err
}

func (r *run) stopJobs(ctx context.Context, s *Step) error { return r.before(ctx, s, "stop_jobs") }

func (r *run) stopProcessors(ctx context.Context, s *Step) error {
	err := r.before(ctx, s, "stop_processors")
	r.stopped = s.Status == Done || s.Status == Failed
	return err
}

// applyBacklog has the messages of all queues applied, those first that an interrupted run left.
func (r *run) applyBacklog(ctx context.Context, s *Step) error {
	if len(r.queues) == 0 {
		s.skip("no queues are configured")
		return nil
	}
	if !r.opt.Apply {
		r.planBacklog(s)
		return nil
	}
	work, cancel := inHand(ctx)
	defer cancel()
	var stopped error
	report, err := r.drainer.Apply(work, drain.Options{
		Rate: r.recovery.Rate, Audit: r.audit, DeadLetters: r.opt.AuditDir,
		Before: func(context.Context) error {
			stopped = r.gate(ctx)
			return stopped
		},
		Progress: func(p drain.Progress) {
			r.tell(Progress{Step: stepBacklog, Text: p.Queue, Done: p.Taken, Total: p.Total})
		},
	})
	r.report.Backlog = report
	if report != nil {
		r.tellBacklog(s, report)
	}
	switch {
	case err != nil:
		return err
	case errors.Is(stopped, errInterrupted):
		s.fail(Incomplete, "interrupted; what was not applied is still in the queues")
		r.report.notDone("the rest of the backlog", "the command was interrupted", "run "+r.goOn())
	case stopped != nil:
		r.heed(s, stopped)
	}
	return nil
}

func (r *run) planBacklog(s *Step) {
	plan := r.report.BacklogPlan
	s.Status = Planned
	for _, q := range plan.Queues {
		if q.Error != "" {
			r.report.notDone("queue "+q.Queue, q.Error, "its messages stay where they are")
			continue
		}
		if q.Note != "" && (!r.hook("stop_processors").Given() || !r.wants(Standard)) {
			r.report.notDone("queue "+q.Queue, q.Note, "stop its consumers before, or write recovery.stop_processors and ask for --strategy=standard")
		}
		if q.Waiting == nil {
			continue
		}
		waiting, line := *q.Waiting, ""
		if q.Processing != nil {
			waiting += *q.Processing
		}
		line = fmt.Sprintf("%s: apply %s", q.Queue, plural(waiting, "message", "messages"))
		if q.Sampled > 0 {
			line += fmt.Sprintf("; of %d looked at, %s, and %d that can't be applied", q.Sampled, plural(int64(q.DistinctKeys), "key", "keys"), q.Poison)
		}
		if q.DeadLetters != nil {
			line += fmt.Sprintf(" (those go to %s)", *q.DeadLetters)
		}
		s.note(line)
	}
	ready := 0
	for _, n := range plan.Nodes {
		if n.Error == "" {
			ready++
			continue
		}
		s.note(fmt.Sprintf("%s %s: keys can't be deleted there now: %s", n.Layer, n.Node, n.Error))
		r.report.notDone(fmt.Sprintf("keys on %s (%s)", n.Node, n.Layer), n.Error, "their messages would stay in the queue; bring the node back first, or run again then")
	}
	s.note(fmt.Sprintf("delete their keys on %s", plural(int64(ready), "node", "nodes")))
	r.noteLeft(s, plan.NotInvalidated)
}

func (r *run) tellBacklog(s *Step, report *drain.Report) {
	for _, q := range report.Queues {
		line := fmt.Sprintf("%s: %s applied, %s deleted", q.Queue, plural(q.Applied, "message", "messages"), plural(q.Keys, "key", "keys"))
		if q.Dead > 0 {
			line += fmt.Sprintf("; %d can't be applied", q.Dead)
			if q.DeadLettersIn != nil {
				line += " and went to " + *q.DeadLettersIn
			}
		}
		if q.Kept > 0 {
			line += fmt.Sprintf("; %d stay for a later run", q.Kept)
			if q.ProcessingIn != nil {
				line += " in " + *q.ProcessingIn
			}
		}
		if q.Left != nil && *q.Left > 0 {
			line += fmt.Sprintf("; %d are left", *q.Left)
		}
		s.note(line)
		if q.Error != "" {
			s.fail(Incomplete, fmt.Sprintf("%s: %s", q.Queue, q.Error))
			r.report.notDone("queue "+q.Queue, q.Error, "its messages are still there; mend that and run "+r.goOn())
		}
	}
	for _, n := range report.Nodes {
		if n.Failed == 0 && n.Waiting == 0 && n.Error == "" {
			continue
		}
		s.fail(Incomplete, fmt.Sprintf("%s %s: %d keys could not be deleted, and %d messages wait for that: %s", n.Layer, n.Node, n.Failed, n.Waiting, n.Error))
		r.report.notDone(fmt.Sprintf("%s that wait for %s (%s)", plural(n.Waiting, "message", "messages"), n.Node, n.Layer), n.Error,
			"bring the node back and run "+r.goOn())
	}
	r.noteLeft(s, report.NotInvalidated)
	if report.Incomplete && len(r.report.NotDone) == 0 && report.Stopped == "" {
		s.fail(Incomplete, "not everything could be applied")
		r.report.notDone("a part of the backlog", "see the queues above", "run "+r.goOn())
	}
}

// noteLeft names the layers in which nothing can be deleted. That is no failure.
func (r *run) noteLeft(s *Step, left []drain.LayerLeft) {
	for _, l := range left {
		until := "until they are evicted: copies there do not expire"
		if l.TTLSeconds != nil {
			until = "for at most " + shown(time.Duration(*l.TTLSeconds)*time.Second)
		}
		s.note(fmt.Sprintf("%s is not invalidated: nothing can be deleted there (%s); old copies stay %s", l.Layer, plural(int64(len(l.Nodes)), "node", "nodes"), until))
	}
}

// restart the processors.
func (r *run) restart(ctx context.Context, s *Step) error {
	h := r.hook("restart")
	if !r.due(s, "restart", h.shown()) {
		return nil
	}
	work, cancel := inHand(ctx)
	defer cancel()
	if err := r.recordHook(h); err != nil {
		return err
	}
	r.stopped = false
	_, err := r.runHook(work, s, h)
	return err
}

// wait for the restart to be done, by a program that knows.
func (r *run) wait(ctx context.Context, s *Step) error {
	h := r.hook("wait")
	if !r.due(s, "wait", fmt.Sprintf("%s, for at most %s", h.shown(), shown(h.Timeout))) {
		return nil
	}
	if err := r.recordHook(h); err != nil {
		return err
	}
	_, err := r.runHook(ctx, s, h)
	return err
}

// putBack what the run changed besides caches and queues: processors that it stopped are started, and the bypass is switched off,
// however the run ended. The bypass was off before; where it stays on, nobody would notice that caches are no longer read.
func (r *run) putBack(ctx context.Context) {
	for _, back := range []struct {
		due        bool
		step, hook string
	}{{r.stopped, stepRestart, "restart"}, {r.bypassed, stepBypassOff, "bypass.off"}} {
		if !back.due {
			continue
		}
		s := r.report.step(back.step)
		began := time.Now()
		h := r.hook(back.hook)
		if err := r.recordHook(h); err != nil {
			s.note(err.Error()) // it is run all the same: what the run changed must not stay
		}
		if _, err := r.runHook(context.WithoutCancel(ctx), s, h); err != nil {
			s.note(err.Error())
		}
		s.took(time.Since(began))
	}
}

// shown as the configuration has it, such as 10m.
func shown(d time.Duration) string {
	if d < time.Millisecond {
		return d.String()
	}
	return model.Duration(d).String()
}
