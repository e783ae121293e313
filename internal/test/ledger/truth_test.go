package ledger

import (
	"time"
)

// truth of a look: what it must, may or must not tell, from what the shop knows of it.
type truth struct {
	must, may bool
	why       string
}

const (
	// learning is how long after the end of a scrape that saw the processor's commit a copy may count as one that survived: a second, and
	// what times lose that are kept in tenths of a second.
	learning = 1300 * time.Millisecond
	// ageTold is how long before an event a copy was stored whose Age in whole seconds says that it was.
	ageTold = 3 * time.Second
)

// look at an event at a window, on a node. The shop's lock is held.
func (e *event) look(n *node, window time.Duration, scrapes []scrape) truth {
	var stale *copied
	for _, c := range e.row.copies[n] {
		if c.version < e.version && (c.removedBy.IsZero() || c.removedBy.After(e.at)) {
			stale = c
		}
	}
	due := e.at.Add(window)
	i := firstFrom(scrapes, due)
	switch {
	case stale == nil:
		return truth{why: "no copy is older"}
	case !stale.removedBy.IsZero() && !stale.removedBy.After(due):
		return truth{why: "the older copy was gone in time"}
	case i == len(scrapes) || !stale.removedBy.IsZero() && stale.removedFrom.Before(scrapes[i].end):
		return truth{may: true, why: "the older copy went while it was looked at"}
	case !e.evidence(n, stale, e.at, scrapes):
		return truth{may: true, why: "nothing shows how old the copy is"}
	}
	return truth{must: true, may: true, why: "the older copy stood"}
}

// evidence that a copy is older than the event: a version, an age, or that an earlier look saw it, since when a whole scrape has been. The
// shop's lock is held.
func (e *event) evidence(n *node, c *copied, by time.Time, scrapes []scrape) bool {
	switch {
	case e.row.class == versioned:
		return true
	case n.layer == "l1":
		return c.storedBy.Add(ageTold).Before(e.at)
	}
	for _, earlier := range e.row.events {
		if earlier == e {
			return false
		}
		for _, w := range windows {
			due := earlier.at.Add(w)
			i := firstFrom(scrapes, due) + 1
			if !due.Before(c.storedBy) && i < len(scrapes) && scrapes[i].end.Before(by) {
				return true
			}
		}
	}
	return false
}

// learned: by a scrape it was long enough known that the processor had passed the event. The shop's lock is held.
func (e *event) learned(scrapes []scrape, by int) bool {
	if e.committed.IsZero() {
		return false
	}
	for i := firstFrom(scrapes, e.committed); i < by; i++ {
		if scrapes[i].learned && scrapes[i].end.Add(learning).Before(scrapes[by].start) {
			return true
		}
	}
	return false
}
