package repair

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/cacheinv/cacheinv_exporter/internal/consistency"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// copier prepares what a plan says: it reads again what the plan saw, and gives way where that has changed.
type copier struct {
	*planner
	env *probes.Env
	// mayAsk waits until the application may be asked once more.
	mayAsk func(ctx context.Context) error

	mu         sync.Mutex
	refreshers map[string]probes.Refresher // by class
	asked      map[string]*request         // by class and key
}

// request to make the copies of a key anew, which is sent once.
type request struct {
	once sync.Once
	err  error
}

func (c *copier) pace(turn func(ctx context.Context) error) { c.mayAsk = turn }

func (c *copier) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.refreshers {
		r.Close()
	}
}

var errSourceChanged = errors.New("what it would get has changed since it was read")

// prepare implements changer. What is to be put is read before the copy whose place it takes: a write that comes in between
// changes that copy, which is then left alone.
func (c *copier) prepare(ctx context.Context, w *Write) (change, string, error) {
	if w.Action == actionRefresh {
		return c.refresh(w)
	}
	next, outcome, why := c.next(ctx, w)
	if outcome != "" {
		return change{}, outcome, why
	}
	edit := c.nodes[w.Node].edit
	seen, now, err := c.load(ctx, w.Class, w.Layer, edit, w.key)
	switch {
	case errors.Is(err, probes.ErrChanged), err == nil && now != w.seen:
		return change{}, Changed, probes.ErrChanged
	case err != nil:
		return change{}, Failed, err
	case next.Present && !next.HasFlags && seen.Flags != 0 && c.optional(w):
		return change{}, NotRepaired, fmt.Errorf("its client's flags (%d) may say how it is encoded, and the copy that it would get has none; "+
			"use --strategy=delete or refresh", seen.Flags)
	}
	return change{edit: edit, key: w.key, seen: seen, next: next}, "", nil
}

// optional: decoding in the write's layer goes by what is found in the value.
func (c *copier) optional(w *Write) bool {
	l := layerOf(c.classes[w.Class], w.Layer)
	return slices.ContainsFunc(l.Decode, func(step string) bool { return strings.HasSuffix(step, "?") })
}

// load a copy, and see what it holds.
func (c *copier) load(
	ctx context.Context, class, layer string, edit probes.Editable, key probes.Key,
) (probes.Stored, consistency.Seen, error) {
	stored, err := edit.Load(ctx, key)
	if err != nil {
		return probes.Stored{}, consistency.Seen{}, err
	}
	seen, err := c.inspect(class, layer, stored.Raw())
	if err != nil { // it could be read before
		return probes.Stored{}, consistency.Seen{}, fmt.Errorf("%w: %w", probes.ErrChanged, err)
	}
	return stored, seen, nil
}

// next is what takes the place of the stale copy.
func (c *copier) next(ctx context.Context, w *Write) (next probes.Stored, outcome string, why error) {
	switch {
	case w.From != nil && *w.From == Origin:
		next, why = c.fromOrigin(ctx, w)
	case w.Action == actionDelete:
		return probes.Stored{}, "", nil
	default:
		next, why = c.fromSources(ctx, w)
	}
	switch {
	case errors.Is(why, errSourceChanged):
		return probes.Stored{}, Changed, why
	case why != nil:
		return probes.Stored{}, Failed, why
	case !next.Present:
		return probes.Stored{}, "", nil
	}
	next.KeepExpiry, next.Token = true, 0
	got, err := c.inspect(w.Class, w.Layer, next.Raw())
	if err != nil || !got.Present || got.Digest != w.want.Digest {
		return probes.Stored{}, NotRepaired, errors.New("what the layer stores can't be made of it; use --strategy=delete or refresh")
	}
	return next, "", nil
}

// fromSources gives the first of the sources that still holds what it did.
func (c *copier) fromSources(ctx context.Context, w *Write) (probes.Stored, error) {
	var failed error
	for i := range w.sources {
		s := &w.sources[i]
		stored, seen, err := c.load(ctx, w.Class, s.place.Layer, c.nodes[s.place.Node].edit, s.key)
		switch {
		case err == nil && seen == s.seen:
			return stored, nil
		case err != nil && !errors.Is(err, probes.ErrChanged) && failed == nil:
			failed = fmt.Errorf("reading %s/%s: %w", s.place.Layer, s.place.Node, err)
		}
	}
	if failed == nil {
		failed = errSourceChanged
	}
	return probes.Stored{}, failed
}

// fromOrigin asks once more, since the plan may be minutes old.
func (c *copier) fromOrigin(ctx context.Context, w *Write) (probes.Stored, error) {
	truth, err := c.askOrigin(ctx, w.Class, w.name)
	switch {
	case err != nil:
		return probes.Stored{}, fmt.Errorf("the origin did not answer: %w", err)
	case truth.Deleted && w.Action == actionDelete:
		return probes.Stored{}, nil
	case truth.Deleted || truth.Seen != w.want:
		return probes.Stored{}, errSourceChanged
	}
	return probes.Stored{Present: true, Value: truth.Body}, nil
}

// refresh prepares to ask the application, once for all copies of a key.
func (c *copier) refresh(w *Write) (change, string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.refreshers[w.Class]
	if r == nil {
		var err error
		if r, err = c.classes[w.Class].Refresh.Open(c.env); err != nil {
			return change{}, Failed, err
		}
		c.refreshers[w.Class] = r
	}
	name := w.Class + "\x00" + w.name
	q := c.asked[name]
	if q == nil {
		q = &request{}
		c.asked[name] = q
	}
	return change{hook: func(ctx context.Context) error {
		q.once.Do(func() {
			if q.err = c.mayAsk(ctx); q.err != nil {
				return
			}
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
			defer cancel()
			q.err = r.Refresh(ctx, w.vars)
		})
		return q.err
	}}, "", nil
}
