package probes

import (
	"context"
	"errors"
	"sync"
	"time"
)

// ErrBusy is the error of a History that is still asked on behalf of an earlier sampling.
var ErrBusy = errors.New("still busy with an earlier sampling")

// Attempts are invalidations, and those of them that failed, since the process began.
type Attempts struct{ Total, Failed float64 }

// History is one configured record of invalidation attempts.
type History interface {
	// Sample counts what is new. It returns soon after ctx ends; what was counted by then counts beside an error, too.
	Sample(ctx context.Context) error
	// Attempts so far; false where nothing was learned yet. It never waits for a sampling.
	Attempts() (Attempts, bool)
	Close()
}

// Histories are the tallies of all histories, by name. They outlive configurations, so that the counts go on after a reload.
type Histories struct {
	mu sync.Mutex
	by map[string]*Tally
}

// NewHistories that hold nothing. Each history counts from the time when it is first opened.
func NewHistories() *Histories { return &Histories{by: map[string]*Tally{}} }

// Keep only the histories with these names.
func (h *Histories) Keep(names map[string]bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for name := range h.by {
		if !names[name] {
			delete(h.by, name)
		}
	}
}

// Of gives the tally of a history; one that was not known yet begins now, at 0.
func (h *Histories) Of(name string) *Tally {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.by[name]
	if t == nil {
		t = &Tally{Began: time.Now()}
		h.by[name] = t
	}
	return t
}

// Tally is what was counted of one history, and up to where. A History embeds it: Sample calls Begin, and then Add.
type Tally struct {
	// sampling is held while the history is asked, and guards what follows.
	sampling sync.Mutex
	// Began is when the source was first opened.
	Began time.Time
	// source is what the position is of: a changed configuration begins anew, and the counts go on.
	source string
	// Position is up to where the source was counted, in its backend's own terms; nil: not begun.
	Position any

	mu      sync.Mutex
	counted Attempts
	known   bool
}

// Begin a sampling of a source; end it with end. ErrBusy: another one is under way, perhaps of the configuration before.
func (t *Tally) Begin(source string) (end func(), err error) {
	if !t.sampling.TryLock() {
		return nil, ErrBusy
	}
	if t.source != source {
		if t.source != "" {
			t.Began = time.Now()
		}
		t.source, t.Position = source, nil
	}
	return t.sampling.Unlock, nil
}

// Add what a sampling found; it makes the counts known.
func (t *Tally) Add(total, failed float64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counted.Total += total
	t.counted.Failed += failed
	t.known = true
}

// Attempts implements History.
func (t *Tally) Attempts() (Attempts, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.counted, t.known
}
