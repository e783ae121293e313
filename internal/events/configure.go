package events

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/cacheinv/cacheinv_exporter/probes"
)

// mostWindows and mostLayers of a class: what is pending counts them in a byte, and a bit each.
const (
	mostWindows = 16
	mostLayers  = 16
)

// Configure says what is followed from now on. What was learned stays where the configuration still justifies it: a class, window,
// layer or queue that is gone takes along what belongs to it. The error names what is wrong with each spec that can't be
// followed; the others are.
func (t *Tracker) Configure(specs []Spec) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	classes, queues := map[string]*class{}, map[string]*queue{}
	var faults []error
	for _, s := range specs {
		c, err := t.newClass(s)
		if err != nil {
			faults = append(faults, fmt.Errorf("class %s: events: %w", s.Class, err))
			continue
		}
		old := t.classes[s.Class]
		c.keep(old)
		switch {
		case old == nil || old.spec.Queue != s.Queue || old.spec.Contents != s.Contents:
			t.numbers++
			c.number = t.numbers
		case old.spec.Source != s.Source || old.spec.Reading != s.Reading:
			c.number = old.number // the copies are the same
		default:
			t.keepEvents(c, old)
			delete(t.classes, s.Class)
		}
		classes[s.Class] = c
		if queues[s.Queue] == nil {
			q := t.queues[s.Queue]
			if q == nil || q.source != s.Source {
				q = &queue{source: s.Source, index: map[probes.Partition]uint16{}}
			}
			queues[s.Queue] = q
		}
	}
	for _, gone := range t.classes {
		for _, p := range gone.events {
			t.finish(gone, p)
		}
	}
	t.classes, t.queues = classes, queues
	return errors.Join(faults...)
}

func (t *Tracker) newClass(s Spec) (*class, error) {
	s.Windows = slices.Clone(s.Windows)
	slices.SortFunc(s.Windows, func(a, b Window) int { return cmp.Compare(a.Age, b.Age) })
	if len(s.Windows) == 0 || len(s.Windows) > mostWindows || len(s.Layers) > mostLayers {
		return nil, fmt.Errorf("has %d windows and %d layers; at most %d and %d can be looked at", len(s.Windows), len(s.Layers), mostWindows, mostLayers)
	}
	c := &class{spec: s, candidates: newCandidates(t.opt.HashKey, s.Sample), windows: make([]windowCounts, len(s.Windows))}
	for i := range c.windows {
		c.windows[i].copies = map[nodeName]*[NumResults]uint64{}
	}
	var err error
	c.extractor, err = newExtractor(&c.spec)
	return c, err
}

// keep the counts of the windows and layers that are still there, and what was bad at them.
func (c *class) keep(old *class) {
	if old == nil {
		return
	}
	gone := func(layer string) bool { return c.layer(layer) < 0 }
	for i, w := range c.spec.Windows {
		if at := slices.Index(old.spec.Windows, w); at >= 0 {
			c.windows[i] = old.windows[at]
			maps.DeleteFunc(c.windows[i].copies, func(n nodeName, _ *[NumResults]uint64) bool { return gone(n.layer) })
		}
	}
	label := func(s string) bool {
		return slices.ContainsFunc(c.spec.Windows, func(w Window) bool { return w.Label == s })
	}
	c.bad = slices.DeleteFunc(old.bad, func(b BadLook) bool { return gone(b.Layer) || !label(b.Window) })
	c.effects = slices.DeleteFunc(old.effects, func(e Effect) bool { return gone(e.Layer) })
}

// keepEvents of a class whose windows and layers may have changed.
func (t *Tracker) keepEvents(c, old *class) {
	c.number = old.number
	for _, p := range old.events {
		looked := time.Duration(0)
		if p.next > 0 {
			looked = old.spec.Windows[p.next-1].Age
		}
		p.next = 0
		for _, w := range c.spec.Windows {
			if w.Age <= looked {
				p.next++
			}
		}
		effective := uint16(0)
		for i, l := range old.spec.Layers {
			if at := c.layer(l.Name); at >= 0 && p.effective&(1<<i) != 0 {
				effective |= 1 << at
			}
		}
		p.effective = effective
		if !slices.ContainsFunc(c.spec.Layers, func(l Layer) bool { return l.MaxStaleness < looked }) {
			p.set(ineffective, false) // no layer is asked any more that was looked at
		}
		if c.settled(p) {
			t.finish(old, p)
			continue
		}
		c.events = append(c.events, p)
	}
}
