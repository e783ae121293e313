package repair

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/cacheinv/cacheinv_exporter/internal/audit"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// change is one write, ready to be made.
type change struct {
	edit probes.Editable
	key  probes.Key
	// seen is what the server holds now, next what it gets.
	seen, next probes.Stored
	// hook is called instead of an exchange, where it is set.
	hook func(ctx context.Context) error
}

// changer makes changes of what is planned.
type changer interface {
	// prepare what is to be done for a write. An outcome other than "" says that nothing is.
	prepare(ctx context.Context, w *Write) (c change, outcome string, why error)
	// pace is told how a turn to write is waited for.
	pace(turn func(ctx context.Context) error)
	close()
}

// executor carries a plan out: batch by batch, of which what was there is on record before the first write.
type executor struct {
	changer
	strategy    string
	size        int // of a batch
	audit, undo *audit.Log
	progress    func(step, steps int)
	limiter     *rate.Limiter

	mu sync.Mutex
	// down are the nodes that did not answer: nothing more is sent to them.
	down map[string]error
	done int
}

// mostAtOnce bounds a batch, whose values are held in memory.
const mostAtOnce = 64

// newExecutor of a strategy that makes at most perSecond writes; 0: as many as it can.
func newExecutor(strategy string, perSecond float64, c changer) *executor {
	e := &executor{changer: c, strategy: strategy, size: mostAtOnce, limiter: limiterOf(perSecond), down: map[string]error{}}
	if perSecond > 0 {
		e.size = min(max(int(perSecond/4), 1), mostAtOnce) // a batch takes no longer than about a quarter of a second
	}
	c.pace(e.limiter.Wait)
	return e
}

// limiterOf a number of turns a second; 0: any.
func limiterOf(perSecond float64) *rate.Limiter {
	if perSecond > 0 {
		return rate.NewLimiter(rate.Limit(perSecond), 1)
	}
	return rate.NewLimiter(rate.Inf, 1)
}

// run all writes of a report, until ctx ends. The writes in hand are finished then.
func (e *executor) run(ctx context.Context, r *Report) error {
	defer r.count()
	if err := e.recordLeft(r.NotRepaired); err != nil {
		return err
	}
	for at := 0; at < len(r.Writes); at += e.size {
		if ctx.Err() == nil {
			if err := e.batch(ctx, r.Writes[at:min(at+e.size, len(r.Writes))], len(r.Writes)); err != nil {
				return err
			}
		}
		if ctx.Err() != nil {
			break
		}
	}
	for _, w := range r.Writes {
		r.Interrupted = r.Interrupted || w.Outcome == nil
	}
	return nil
}

// batch carries some writes out.
func (e *executor) batch(ctx context.Context, writes []*Write, all int) error {
	changes := make([]change, len(writes))
	each(len(writes), func(i int) { e.ready(ctx, writes[i], &changes[i]) })
	if err := e.recordUndo(writes, changes); err != nil {
		return err
	}
	each(len(writes), func(i int) {
		if w := writes[i]; w.Outcome == nil && ctx.Err() == nil {
			e.change(ctx, w, &changes[i])
		}
		e.step(all)
	})
	return e.recordOutcomes(writes)
}

func each(n int, do func(i int)) {
	var group errgroup.Group
	group.SetLimit(lanes)
	for i := range n {
		group.Go(func() error {
			do(i)
			return nil
		})
	}
	_ = group.Wait() // each has an outcome of its own
}

func (e *executor) step(all int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.done++; e.progress != nil {
		e.progress(e.done, all)
	}
}

// ready prepares a write, or notes why it is not made.
func (e *executor) ready(ctx context.Context, w *Write, out *change) {
	if e.given(w) {
		return
	}
	within, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c, outcome, why := e.prepare(within, w)
	switch {
	case ctx.Err() != nil: // interrupted: it has not begun
	case outcome != "":
		e.note(w, why)
		w.finish(outcome, why)
	default:
		*out = c
	}
}

// given up: the write's node did not answer before.
func (e *executor) given(w *Write) bool {
	if w.Action == actionRefresh {
		return false
	}
	e.mu.Lock()
	why := e.down[w.Node]
	e.mu.Unlock()
	if why != nil {
		w.finish(Failed, errors.New("the node did not answer before: "+why.Error()))
	}
	return why != nil
}

// note whether an error says that the node can't be reached.
func (e *executor) note(w *Write, why error) {
	var network net.Error
	if why == nil || !errors.As(why, &network) && !errors.Is(why, context.DeadlineExceeded) && !errors.Is(why, io.EOF) {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.down[w.Node] = why
}

// change makes one write. It is finished even where ctx ends.
func (e *executor) change(ctx context.Context, w *Write, c *change) {
	if c.hook != nil { // it waits for its turn by itself, once a key
		e.call(ctx, w, c)
		return
	}
	if e.given(w) || e.limiter.Wait(ctx) != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	err := c.edit.Exchange(ctx, c.key, c.seen, c.next)
	switch {
	case err == nil:
		w.finish(Repaired, nil)
	case errors.Is(err, probes.ErrChanged):
		w.finish(Changed, err)
	case errors.Is(err, probes.ErrExpiryUnknown):
		w.finish(NotRepaired, err)
	case errors.Is(err, context.DeadlineExceeded):
		e.note(w, err)
		w.finish(Failed, errors.New("no answer in time; the write may have been carried out all the same"))
	default:
		e.note(w, err)
		w.finish(Failed, err)
	}
}

// call asks the application.
func (e *executor) call(ctx context.Context, w *Write, c *change) {
	err := c.hook(ctx)
	switch {
	case err == nil:
		w.finish(Requested, nil)
	case ctx.Err() == nil:
		w.finish(Failed, err)
	}
}

// entry of the audit log.
type auditEntry struct {
	Time     time.Time `json:"time"`
	Command  string    `json:"command"`
	Strategy string    `json:"strategy"`
	Place
	Action     string   `json:"action,omitempty"`
	From       *string  `json:"from,omitempty"`
	Digest     *string  `json:"digest,omitempty"`
	NewDigest  *string  `json:"new_digest,omitempty"`
	TTLSeconds *float64 `json:"ttl_seconds,omitempty"`
	NoExpiry   *bool    `json:"no_expiry,omitempty"`
	Outcome    string   `json:"outcome"`
	Error      *string  `json:"error,omitempty"`
}

// command is what the audit log calls this command.
const command = "repair"

func (e *executor) recordOutcomes(writes []*Write) error {
	var entries []any
	for _, w := range writes {
		if w.Outcome == nil {
			continue
		}
		entries = append(entries, auditEntry{
			Time: time.Now().UTC(), Command: command, Strategy: e.strategy, Place: w.Place, Action: w.Action, From: w.From,
			Digest: w.Digest, NewDigest: w.NewDigest, TTLSeconds: w.TTLSeconds, NoExpiry: w.NoExpiry, Outcome: *w.Outcome, Error: w.Error,
		})
	}
	return record(e.audit, entries)
}

func (e *executor) recordLeft(left []Left) error {
	var entries []any
	for _, l := range left {
		entries = append(entries, auditEntry{
			Time: time.Now().UTC(), Command: command, Strategy: e.strategy, Place: l.Place, Outcome: NotRepaired, Error: &l.Reason,
		})
	}
	return record(e.audit, entries)
}

func record(log *audit.Log, entries []any) error {
	if log == nil || len(entries) == 0 {
		return nil
	}
	return log.Write(entries...)
}
