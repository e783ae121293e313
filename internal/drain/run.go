package drain

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"golang.org/x/time/rate"

	"github.com/cacheinv/cacheinv_exporter/internal/config"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

const (
	// usualBatch is how many messages are applied at once.
	usualBatch = 500
	// batchesPerSecond at least, where a rate is given.
	batchesPerSecond = 5
	// queueLongest bounds one request to a queue.
	queueLongest = 30 * time.Second
	// lastWords is how long a run that was told to end may take to say what is left.
	lastWords = 5 * time.Second
	// deadIDs of a queue that a report names.
	deadIDs = 20
)

// errAudit ends a run: what is not on record is not done.
var errAudit = errors.New("the audit log can't be written, and what is not on record is not done; see --audit.dir")

// run is one Apply under way.
type run struct {
	*Drainer
	opt     Options
	namer   *namer
	targets *targets
	record  *recorder
	limiter *rate.Limiter
	batch   int
	report  *Report
	// ownKeys are those of all queues.
	ownKeys map[string]bool
}

func (d *Drainer) newRun(opt Options) *run {
	r := &run{Drainer: d, opt: opt, namer: newNamer(d.config.Canaries), targets: newTargets(d.fleet, d.config.Layers)}
	r.batch = opt.Batch
	if r.batch <= 0 {
		r.batch = usualBatch
	}
	if opt.Rate > 0 {
		r.batch = min(r.batch, max(1, int(math.Ceil(opt.Rate/batchesPerSecond))))
		r.limiter = rate.NewLimiter(rate.Limit(opt.Rate), r.batch)
	}
	r.ownKeys = map[string]bool{}
	for _, q := range d.queues {
		if taken, ok := q.(probes.Backlogged); ok {
			for _, key := range taken.OwnKeys() {
				r.ownKeys[key] = true
			}
		}
	}
	r.record = newRecorder(opt.Audit, opt.DeadLetters)
	r.report = &Report{Queues: []QueueReport{}, Nodes: []NodeReport{}, NotInvalidated: []LayerLeft{}}
	return r
}

// chosen are the queues that are drained: those named, else all whose messages can be taken. The others are not.
func (d *Drainer) chosen(names []string) (out []int, others []string, err error) {
	others = []string{}
	for _, name := range names {
		if !slices.ContainsFunc(d.config.Queues, func(q config.Queue) bool { return q.Name == name }) {
			return nil, others, fmt.Errorf("%q is no queue of the configuration; write the name of one", name)
		}
	}
	for i, q := range d.config.Queues {
		_, takeable := d.queues[i].(probes.Backlogged)
		named := slices.Contains(names, q.Name)
		if named && !takeable {
			return nil, others, fmt.Errorf("messages of queue %q can't be taken: it is %s; name a list, a stream or a topic", q.Name, q.Source.Kind())
		}
		if takeable && (named || len(names) == 0) {
			out = append(out, i)
		} else if !takeable && len(names) == 0 && !q.Source.Traits().AtOnce { // else nothing waits there
			others = append(others, q.Name)
		}
	}
	return out, others, nil
}

func (d *Drainer) apply(ctx context.Context, opt Options) (*Report, error) {
	r := d.newRun(opt)
	queues, others, err := d.chosen(opt.Queues)
	r.report.NotTaken = others
	if err != nil {
		return r.report, err
	}
	r.targets.survey(ctx)
	if len(r.targets.units) == 0 && len(queues) > 0 {
		return r.report, errNoTargets
	}
	for _, i := range queues {
		if err = r.drain(ctx, i); err != nil || r.report.Stopped != "" {
			break
		}
	}
	if closing := r.record.close(); err == nil {
		err = closing
	}
	r.report.Nodes, r.report.NotInvalidated = r.targets.used(), append(r.report.NotInvalidated, r.targets.left...)
	r.report.Incomplete = r.report.Incomplete || err != nil || r.report.Stopped != ""
	for _, q := range r.report.Queues {
		r.report.Incomplete = r.report.Incomplete || q.Error != "" || q.Kept > 0
	}
	return r.report, err
}

// drain one queue. What ends it alone is in its report; the error ends the run.
func (r *run) drain(ctx context.Context, index int) error {
	began := time.Now()
	configured, queue := r.config.Queues[index], r.queues[index].(probes.Backlogged) //nolint:forcetypeassert // as chosen
	out := QueueReport{Queue: configured.Name, Kind: configured.Source.Kind()}
	r.record.queue = configured.Name
	fatal, err := r.drainQueue(ctx, queue, &out)
	if err == nil {
		err = fatal
	}
	if err != nil {
		out.Error = err.Error()
	}
	out.Left = r.left(ctx, queue)
	out.Seconds = time.Since(began).Seconds()
	r.report.Queues = append(r.report.Queues, out)
	end := entry{Event: "queue_ends", Left: out.Left, Applied: &out.Applied, Dead: &out.Dead, Kept: &out.Kept, Removed: &out.Removed, Error: out.Error}
	if err := r.record.write(end); err != nil && fatal == nil {
		fatal = fmt.Errorf("%w: %w", errAudit, err)
	}
	return fatal
}

// left messages of a queue, also after ctx has ended; nil: unknown.
func (r *run) left(ctx context.Context, queue probes.Backlogged) *int64 {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
	defer cancel()
	w, err := queue.Waiting(ctx, 0)
	if err != nil {
		return nil
	}
	n := w.Messages + w.Processing
	return &n
}

// drainQueue takes a queue's messages until there are no more.
func (r *run) drainQueue(ctx context.Context, queue probes.Backlogged, out *QueueReport) (fatal, err error) {
	asking, cancel := context.WithTimeout(ctx, queueLongest)
	defer cancel()
	w, err := queue.Waiting(asking, 0)
	if err != nil {
		return nil, err
	}
	out.Waiting, out.Processing = &w.Messages, &w.Processing
	out.ProcessingIn, out.DeadLettersIn = textOrNil(w.ProcessingIn), textOrNil(w.DeadLetters)
	if err := r.record.write(entry{Event: "queue_begins", Waiting: &w.Messages, Processing: &w.Processing}); err != nil {
		return fmt.Errorf("%w: %w", errAudit, err), nil
	}
	taking, err := queue.Take(asking)
	if err != nil {
		return nil, err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
		defer cancel()
		if failed := taking.Close(closing); err == nil {
			err = failed
		}
	}()
	total := w.Messages + w.Processing
	for number := 1; ; number++ {
		if r.opt.Before != nil {
			if err := r.opt.Before(ctx); err != nil {
				r.report.Stopped = err.Error()
				return nil, nil
			}
		}
		if out.Taken > 2*total+usualBatch {
			return nil, fmt.Errorf("twice as many messages came as waited at the beginning (%d), and it goes on; stop what writes them, or have the processors take the rest", total)
		}
		more, fatal, err := r.step(ctx, taking, number, out)
		if fatal != nil || err != nil || !more {
			return fatal, err
		}
		if r.opt.Progress != nil {
			r.opt.Progress(Progress{Queue: out.Queue, Taken: out.Taken, Total: total, Applied: out.Applied, Dead: out.Dead, Kept: out.Kept})
		}
	}
}

// step takes one batch, applies it, and finishes it.
func (r *run) step(ctx context.Context, taking probes.Taking, number int, out *QueueReport) (more bool, fatal, err error) {
	asking, cancel := context.WithTimeout(ctx, queueLongest)
	messages, err := taking.Next(asking, r.batch)
	cancel()
	if err != nil || len(messages) == 0 {
		return false, nil, err
	}
	if r.limiter != nil {
		for n := len(messages); n > 0; n -= r.batch {
			if err := r.limiter.WaitN(ctx, min(n, r.batch)); err != nil {
				return false, nil, err
			}
		}
	}
	b := newBatch(messages)
	count := len(messages)
	if err := r.record.write(entry{Event: "batch_taken", Batch: number, Messages: &count, Keys: b.keys}); err != nil {
		return false, fmt.Errorf("%w: %w", errAudit, err), nil
	}
	r.applyBatch(ctx, b)
	if err := r.recordApplied(b, number, out); err != nil {
		return false, fmt.Errorf("%w: %w", errAudit, err), nil
	}
	asking, cancel = context.WithTimeout(ctx, queueLongest)
	defer cancel()
	finished, err := taking.Finish(asking, b.outcome)
	out.Taken, out.Keys = out.Taken+int64(count), out.Keys+int64(len(b.keys))
	out.Applied, out.Dead, out.Kept, out.Removed = out.Applied+b.applied, out.Dead+b.dead, out.Kept+b.kept, out.Removed+int64(finished)
	removed := int64(finished)
	if err == nil {
		r.record.later(entry{Event: "batch_removed", Batch: number, Removed: &removed})
	}
	return true, nil, err
}

// recordApplied keeps the dead letters, and puts on record what comes before messages are removed.
func (r *run) recordApplied(b *batch, number int, out *QueueReport) error {
	in := ""
	if out.DeadLettersIn != nil {
		in = *out.DeadLettersIn
	} else {
		path, err := r.record.keepDead(b)
		if err != nil {
			return err
		}
		if in = path; path != "" {
			out.DeadFile = path
		}
	}
	for i, m := range b.messages {
		reason, dead := b.reasons[i]
		if !dead {
			continue
		}
		r.record.later(entry{Event: "dead_letter", Batch: number, ID: m.ID, Reason: reason, In: in})
		if len(out.DeadIDs) < deadIDs {
			out.DeadIDs = append(out.DeadIDs, DeadLetter{ID: m.ID, Reason: reason})
		}
	}
	return r.record.write(entry{
		Event: "batch_applied", Batch: number, Applied: &b.applied, Dead: &b.dead, Kept: &b.kept, KeptKeys: b.keptKeys,
	})
}

// textOrNil is null in JSON where there is none.
func textOrNil(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
