// Package events says whether what was invalidated took effect: keys come out of the messages of queues, and each is looked at on
// every node that should hold it, at set ages of its event. Judge is what a look means, a pure function. A Tracker remembers
// the events with looks to come and what earlier looks saw; it asks nobody.
package events

import (
	"encoding/binary"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/content"
)

// Result of a look at one copy, or at all copies of an event.
type Result uint8

// The results, in the order in which the first that applies is taken.
const (
	// Error is for a copy that was not read.
	Error Result = iota
	// Gone is for a copy that is missing.
	Gone
	// Current is for a version that is the event's or higher.
	Current
	// Waiting is for a copy as old as before, while the processor has not passed the event.
	Waiting
	// Restored is for a lower version that was stored after the event: an old value came back.
	Restored
	// Survived is for a copy older than the event, though the processor passed it.
	Survived
	// Rewritten is for a copy without a version that says more, stored after the event.
	Rewritten
	// Superseded is for a copy of unknown age, where a newer event of the key came.
	Superseded
	// Unknown is for a copy without evidence of its age.
	Unknown
	// NumResults is how many there are.
	NumResults
)

// String is the label of the result.
func (r Result) String() string {
	return [NumResults]string{"error", "gone", "current", "waiting", "restored", "survived", "rewritten", "superseded", "unknown"}[r]
}

// Bad reports whether the event was without effect.
func (r Result) Bad() bool { return r == Waiting || r == Restored || r == Survived }

// Good reports whether the event took effect.
func (r Result) Good() bool { return r == Gone || r == Current || r == Rewritten }

// worseness orders the results of an event's copies, the worst first.
var worseness = [NumResults]uint8{Restored: 0, Survived: 1, Waiting: 2, Error: 3, Unknown: 4, Superseded: 5, Gone: 6, Rewritten: 7, Current: 8}

// worst of two results.
func worst(a, b Result) Result {
	if worseness[b] < worseness[a] {
		return b
	}
	return a
}

// Copy is one copy at one look. What is zero was not told.
type Copy struct {
	// Failed: it could not be read. Present: it is there, and what follows is valid; neither: it is missing.
	Failed, Present bool
	// Asked and Read are when its reading began and had ended, by our clock.
	Asked, Read time.Time
	Digest      content.Digest
	// Version is zero where the copy has none, where it can't be read, and where it lies too far in the future.
	Version content.Version
	// CAS is memcached's, which rises with each store on a node.
	CAS uint64
	// ExpiresMS is the absolute expiry in milliseconds since 1970, exactly as the server has it.
	ExpiresMS int64
	// TTL that is left; valid where HasTTL.
	TTL    time.Duration
	HasTTL bool
	// Age of an HTTP answer in whole seconds; valid where HasAge.
	Age    time.Duration
	HasAge bool
	// CachedAt is when the copy says that it was made.
	CachedAt time.Time
	// ETag is a hash of it.
	ETag uint64
}

// Progress of those who process a queue, as to one event.
type Progress uint8

// Nothing is known of the progress until it was learned.
const (
	ProgressUnknown Progress = iota
	// Behind: they have not passed the event, or so shortly before the look that it may not have taken effect.
	Behind
	// Passed: they have processed the event.
	Passed
)

// Identity of a copy in its store: what differs once it is stored again. What is zero was not told.
type Identity struct {
	// Seen: there is one.
	Seen bool
	// Content is ContentOf the copy's digest.
	Content   uint64
	CAS       uint64
	ExpiresMS int64
	ETag      uint64
}

// Identity of the copy.
func (c *Copy) Identity() Identity {
	return Identity{Seen: c.Present, Content: ContentOf(c.Digest), CAS: c.CAS, ExpiresMS: c.ExpiresMS, ETag: c.ETag}
}

// ContentOf a digest is its beginning, as it is remembered of a copy.
func ContentOf(d content.Digest) uint64 { return binary.LittleEndian.Uint64(d[:8]) }

// Evidence is what is known of an event, and of the copy at other looks. What is zero is not known.
type Evidence struct {
	// At is when the event was, by our clock.
	At time.Time
	// Version that it wrote.
	Version  content.Version
	Progress Progress
	// Before is the copy's identity as it was at a look before the event; what of it was not yet so then is zero.
	Before Identity
	// HighestBefore is the highest CAS that looks before the event saw on the node, HighestAfter the highest that had been seen
	// by the first look after it.
	HighestBefore, HighestAfter uint64
	// StoredAfter is when an earlier look saw the copy missing, or with a lower CAS: it was stored after that.
	StoredAfter time.Time
	// Effective: an earlier look of this event saw the copy good.
	Effective bool
	// Changed: the content is not what an earlier look saw, or was first seen after the event, in another's place.
	Changed bool
	// TTLMin is the shortest TTL that is ever set.
	TTLMin time.Duration
	// Newer: a newer event of the key came before the look.
	Newer bool
}

// tolerance of times that are told in whole seconds.
const tolerance = time.Second

// Judge says what a look at one copy means for one event: the first result that applies. Nothing but a version or evidence of the
// copy's age convicts, and nothing but a version or evidence of a later store acquits a copy that is there.
func Judge(c Copy, e Evidence) Result {
	if c.Failed {
		return Error
	}
	if !c.Present {
		return Gone
	}
	below := false
	if !e.Version.IsZero() && !c.Version.IsZero() {
		if c.Version.Compare(e.Version) >= 0 {
			return Current
		}
		below = true
	}
	older := below || c.isOlder(&e)
	switch {
	case older && e.Progress == Behind:
		return Waiting
	case below && e.Progress == Passed && c.cameBack(&e):
		return Restored
	case older && e.Progress == Passed:
		return Survived
	case !older && c.isLater(&e):
		return Rewritten
	case e.Newer:
		return Superseded
	}
	return Unknown
}

// isOlder: there is evidence that the copy was stored, or made, before the event.
func (c *Copy) isOlder(e *Evidence) bool {
	same := e.Before.Seen && e.Before.Content == ContentOf(c.Digest)
	switch {
	case c.casRises(e) && c.CAS <= max(e.HighestBefore, e.Before.CAS):
		return true
	// An expiry on a whole second may be a date that is set at each store.
	case same && c.ExpiresMS == e.Before.ExpiresMS && c.ExpiresMS%1000 != 0:
		return true
	case c.HasAge && c.Read.Add(-c.Age).Before(e.At.Add(-tolerance)):
		return true
	case !c.CachedAt.IsZero() && c.CachedAt.Before(e.At.Add(-tolerance)):
		return true
	}
	// A write in place leaves the TTL as it was.
	return e.TTLMin > 0 && c.HasTTL && e.TTLMin-c.TTL > c.Read.Sub(e.At)+tolerance && !c.differs(e)
}

// isLater: there is evidence that the copy was stored after the event.
func (c *Copy) isLater(e *Evidence) bool {
	return c.isStoredAfter(e) || c.casRises(e) && e.HighestAfter > 0 && c.CAS > e.HighestAfter || c.differs(e)
}

// cameBack: a copy of a lower version was stored after the event, as it was good at an earlier look, or as a look or a clock says. Its content
// says nothing, and a CAS above all that were seen may be that of a copy which nobody looked at until now.
func (c *Copy) cameBack(e *Evidence) bool { return e.Effective || c.isStoredAfter(e) }

// isStoredAfter: a look or a clock says that the copy was stored after the event.
func (c *Copy) isStoredAfter(e *Evidence) bool {
	return e.StoredAfter.After(e.At) || c.HasAge && c.Asked.Add(-c.Age-tolerance).After(e.At) ||
		c.CachedAt.After(e.At) && !c.CachedAt.After(c.Read.Add(tolerance))
}

// casRises: the copy has a CAS, and nothing shows that it does not rise with time, as of a server that began anew, or of several behind one
// proxy: one that fell, that stayed while the content changed, or that is not above the highest of before though it came after.
func (c *Copy) casRises(e *Evidence) bool {
	b := &e.Before
	return c.CAS > 0 && (c.CAS > e.HighestBefore || !e.StoredAfter.After(e.At)) && (b.CAS == 0 || c.CAS > b.CAS || c.CAS == b.CAS && b.Content == ContentOf(c.Digest))
}

// differs: the copy's content is another one than before the event.
func (c *Copy) differs(e *Evidence) bool {
	b := &e.Before
	return e.Changed || b.Seen && (b.Content != ContentOf(c.Digest) || b.ETag > 0 && c.ETag > 0 && b.ETag != c.ETag)
}
