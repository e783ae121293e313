package events

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// SkipReason is why a message was left out.
type SkipReason uint8

// The reasons for which messages are left out.
const (
	// Budget is for messages for which there was no room.
	Budget SkipReason = iota
	// NoClass is for messages none of whose keys is a class's.
	NoClass
	// TooOld is for messages older than ten minutes when they were first seen.
	TooOld
	// Unreadable is for messages that do not say which keys they are about.
	Unreadable
	// NumSkipReasons is how many there are.
	NumSkipReasons
)

// String is the label of the reason.
func (r SkipReason) String() string {
	return [NumSkipReasons]string{"budget", "no_class", "too_old", "unreadable"}[r]
}

// QueueReport counts the messages of one queue since the process began.
type QueueReport struct {
	// Seen messages, and those of them that were left out.
	Seen    uint64
	Skipped [NumSkipReasons]uint64
}

// ClassReport is what is known of a class's events. Counts are since the process began.
type ClassReport struct {
	// Within is the promise.
	Within time.Duration
	// Windows as configured.
	Windows []WindowReport
	// Pending events have looks to come.
	Pending int
	// OldestIneffective is the age of the oldest event whose last look was bad; 0: there is none.
	OldestIneffective time.Duration
	// Bad are the latest looks that were bad, the newest last.
	Bad []BadLook
}

// WindowReport counts what was seen at one window.
type WindowReport struct {
	Window
	// Events by their result.
	Events [NumResults]uint64
	// Copies by node.
	Copies []NodeReport
}

// NodeReport counts the copies on one node at one window, by result.
type NodeReport struct {
	Layer, Node string
	Results     [NumResults]uint64
}

// Effect is an event that was seen to have taken effect on a layer.
type Effect struct {
	Layer string
	// After is the time from the event to the first look that saw all copies of the layer good.
	After time.Duration
	// TraceID of the message's traceparent, in hexadecimal; empty: it has none.
	TraceID string
}

// BadLook is a copy that a look found bad.
type BadLook struct {
	Key, Layer, Node string
	// Window as it is written in the configuration.
	Window string
	Result Result
	// Event is when the event was.
	Event time.Time
	// VersionSeen and VersionWanted are empty where there is none.
	VersionSeen, VersionWanted string
	// Lagging: the replica's primary explains it, so that the cause is the network.
	Lagging bool
}

// Report of a class; false: it has no events.
func (t *Tracker) Report(class string) (ClassReport, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.classes[class]
	if c == nil {
		return ClassReport{}, false
	}
	r := ClassReport{Within: c.spec.Within, Bad: slices.Clone(c.bad)}
	for i, w := range c.spec.Windows {
		counts := &c.windows[i]
		report := WindowReport{Window: w, Events: counts.events}
		for name, results := range counts.copies {
			report.Copies = append(report.Copies, NodeReport{Layer: name.layer, Node: name.name, Results: *results})
		}
		slices.SortFunc(report.Copies, func(a, b NodeReport) int {
			return cmp.Or(strings.Compare(a.Layer, b.Layer), strings.Compare(a.Node, b.Node))
		})
		r.Windows = append(r.Windows, report)
	}
	now := t.opt.Now()
	for _, p := range c.events {
		if p.is(over) {
			continue
		}
		r.Pending++
		if p.is(ineffective) {
			r.OldestIneffective = max(r.OldestIneffective, now.Sub(p.time()))
		}
	}
	return r, true
}

// Effects of a class's events since the last call, the oldest first.
func (t *Tracker) Effects(class string) []Effect {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.classes[class]
	if c == nil {
		return nil
	}
	out := c.effects
	c.effects = nil
	return out
}

// QueueReport of a queue; false: no class takes its keys from it.
func (t *Tracker) QueueReport(queue string) (QueueReport, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	q := t.queues[queue]
	if q == nil {
		return QueueReport{}, false
	}
	return q.counts, true
}

// Size of what is remembered.
type Size struct {
	// Pending events, and copies of which something is remembered.
	Pending, Copies int
	// Bytes that they take, as counted.
	Bytes int
	// Evicted are the copies that were forgotten since others needed the room.
	Evicted uint64
}

// Size of what is remembered now.
func (t *Tracker) Size() Size {
	t.mu.Lock()
	defer t.mu.Unlock()
	return Size{
		Pending: t.pending, Copies: t.sights.copies, Evicted: t.sights.evicted,
		Bytes: t.used(),
	}
}
