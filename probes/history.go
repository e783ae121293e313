package probes

import (
	"context"
	"errors"
	"sync"
	"time"
)

// errOverlap says that a history is still asked on behalf of an earlier sampling.
var errOverlap = errors.New("still busy with an earlier sampling")

// Attempts are invalidations, and those of them that failed, since the process began.
type Attempts struct{ Total, Failed float64 }

// History is one configured history of invalidations.
type History interface {
	// Sample counts what is new. It returns soon after ctx ends; what was counted by then stands beside an error, too.
	Sample(ctx context.Context) error
	// Attempts so far; false where nothing was learned yet. It never waits for a sampling.
	Attempts() (Attempts, bool)
	Close()
}

// Histories are what was counted, and up to where. They outlive configurations.
type Histories struct {
	mu sync.Mutex
	by map[string]*tally
}

// NewHistories that hold nothing. Each history counts from the time when it is first opened.
func NewHistories() *Histories { return &Histories{by: map[string]*tally{}} }

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

func (h *Histories) of(name string) *tally {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.by[name]
	if t == nil {
		t = &tally{began: time.Now()}
		h.by[name] = t
	}
	return t
}

// tally is what was counted of one history.
type tally struct {
	// sampling is held while the history is asked, and guards what follows.
	sampling sync.Mutex
	// began is when the source was first opened.
	began time.Time
	// source is what the position is of: a changed configuration begins anew, and the counts go on.
	source string
	// position is up to where the source was counted, in its backend's own terms; nil: not begun.
	position any

	mu      sync.Mutex
	counted Attempts
	known   bool
}

// begin a sampling of a source; end it with end. errOverlap: another one is under way, perhaps of the configuration before.
func (t *tally) begin(source string) (end func(), err error) {
	if !t.sampling.TryLock() {
		return nil, errOverlap
	}
	if t.source != source {
		if t.source != "" {
			t.began = time.Now()
		}
		t.source, t.position = source, nil
	}
	return t.sampling.Unlock, nil
}

// add what a sampling found; it makes the counts known.
func (t *tally) add(total, failed float64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counted.Total += total
	t.counted.Failed += failed
	t.known = true
}

// Attempts implements History.
func (t *tally) Attempts() (Attempts, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.counted, t.known
}
