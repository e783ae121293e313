package recovery

import (
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/drain"
)

// Status of a step.
type Status string

const (
	// Done is all of it.
	Done Status = "done"
	// Planned is for what a run with --apply would do.
	Planned Status = "planned"
	// Skipped is for what was not needed, or to which the procedure did not come.
	Skipped Status = "skipped"
	// Incomplete is for what could be done in part alone.
	Incomplete Status = "incomplete"
	// Failed is for what was tried to no avail.
	Failed Status = "failed"
)

// The steps, in their order.
const (
	stepHealth         = "health"
	stepQueue          = "queue"
	stepBypassOn       = "bypass_on"
	stepStopJobs       = "stop_jobs"
	stepStopProcessors = "stop_processors"
	stepInvalidate     = "force_invalidate"
	stepBacklog        = "backlog"
	stepRestart        = "restart"
	stepWait           = "wait"
	stepValidate       = "validate"
	stepMonitor        = "monitor"
	stepBypassOff      = "bypass_off"
)

// Report is what a run did, or would do.
type Report struct {
	// Applied: it was a run with --apply.
	Applied bool `json:"applied"`
	// Strategy that was chosen, by Depth: the most messages that wait in one queue; null: unknown.
	Strategy Strategy  `json:"strategy"`
	Depth    *int64    `json:"depth"`
	Began    time.Time `json:"began"`
	Seconds  float64   `json:"seconds"`
	// Interrupted: a signal ended it.
	Interrupted bool    `json:"interrupted"`
	Steps       []*Step `json:"steps"`
	// Invalidation is what came of the patterns; null: they were not deleted.
	Invalidation *Invalidation `json:"invalidation"`
	// Backlog is what came of the queues, of a plan BacklogPlan; null: nothing.
	Backlog     *drain.Report `json:"backlog"`
	BacklogPlan *drain.Plan   `json:"backlog_plan"`
	// NotDone is what is left, and what to do about it.
	NotDone []NotDone `json:"not_done"`
	// Audit is the path of the audit log; null: there is none.
	Audit *string `json:"audit"`
	// Next is the command to run; null: there is nothing to do.
	Next *string `json:"next"`
	// ExitCode of the command.
	ExitCode int `json:"exit_code"`

	// stopped is why nothing more is to be done; empty: go on.
	stopped string
	// left: something was not applied or not deleted.
	left bool
}

// Step of the procedure.
type Step struct {
	Step   string `json:"step"`
	Status Status `json:"status"`
	// Seconds that it took; null: it was not begun.
	Seconds *float64 `json:"seconds"`
	// Notes say what was found and done, a line each.
	Notes []string `json:"notes"`
}

// NotDone is one thing that is left.
type NotDone struct {
	What string `json:"what"`
	Why  string `json:"why"`
	// Advice says what to do about it.
	Advice string `json:"advice"`
}

func newReport(opt Options) *Report {
	return &Report{Applied: opt.Apply, Strategy: opt.Strategy, Began: time.Now().UTC(), Steps: []*Step{}, NotDone: []NotDone{}}
}

func (r *Report) step(name string) *Step {
	s := &Step{Step: name, Status: Done, Notes: []string{}}
	r.Steps = append(r.Steps, s)
	return s
}

// notDone notes what is left; it makes the exit code ExitLeft.
func (r *Report) notDone(what, why, advice string) {
	r.left = true
	r.NotDone = append(r.NotDone, NotDone{what, why, advice})
}

// end gives the report its time and its exit code.
func (r *Report) end(began time.Time, interrupted bool) {
	r.Seconds, r.Interrupted = time.Since(began).Seconds(), interrupted
	r.ExitCode = ExitDone
	for _, s := range r.Steps {
		if s.Status == Failed || s.Status == Incomplete {
			r.ExitCode = ExitFailed
		}
	}
	if interrupted {
		r.ExitCode = ExitFailed
	}
	if r.left {
		r.ExitCode = ExitLeft
	}
}

func (s *Step) note(line string) { s.Notes = append(s.Notes, line) }

func (s *Step) skip(why string) {
	s.Status = Skipped
	s.note(why)
}

// plan says what a run with --apply would do.
func (s *Step) plan(line string) {
	s.Status = Planned
	s.note(line)
}

func (s *Step) fail(status Status, line string) {
	s.Status = status
	s.note(line)
}

func (s *Step) took(d time.Duration) {
	if s.Status != Skipped && s.Status != Planned {
		seconds := d.Seconds()
		s.Seconds = &seconds
	}
}
