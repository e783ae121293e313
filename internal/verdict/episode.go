package verdict

import (
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/content"
)

// Episode is the time for which a copy has lacked what convicted it when the episode began. Follow makes it, and whoever
// remembers copies keeps it with them.
type Episode struct {
	Since time.Time
	By    Reference
	// Content that the copy held when last read.
	Content content.Digest
	// Version to be reached, of one convicted by version.
	Version content.Version
	// offset to be reached in bytes, of a replica convicted by its primary.
	offset int64
	// regressions of the key when it began.
	regressions int
}

// Sighting is one copy as a sampling found it, for its episode.
type Sighting struct {
	Outcome Outcome
	Content content.Digest
	Version content.Version
	// Reference is the version of what decided.
	Reference content.Version
	TooOld    bool
	// Replica: the copy is still one of a replica; Offset is the node's, PrimaryOffset its primary's.
	Replica               bool
	Offset, PrimaryOffset int64
	// Regressions that the key had so far.
	Regressions int
	// Read is when the first of the two reads was made.
	Read time.Time
}

// Follow takes an episode through one sampling. It returns the state to report, the episode that is open after it
// (nil: none), and whether the one before it ended.
func Follow(e *Episode, s Sighting) (State, *Episode, bool) {
	stale := s.Outcome.State == Stale
	switch {
	case e == nil && stale:
		return Stale, begin(s), false
	case e == nil:
		return s.Outcome.State, nil, false
	case s.Outcome.State == Missing:
		return Missing, nil, true
	case s.Outcome.State == Error:
		return Error, e, false
	case !stale && (s.Content != e.Content || e.confirmedBy(s)):
		return s.Outcome.State, nil, true
	case !stale:
		// Neither that the witnesses went away nor a weaker reference makes it right.
		return Stale, e, false
	case e.By == ByPrimary && !s.Replica, s.Content != e.Content && e.reachedBy(s):
		return Stale, begin(s), true
	}
	e.Content = s.Content
	return Stale, e, false
}

func begin(s Sighting) *Episode {
	return &Episode{
		Since: s.Read, By: s.Outcome.By, Content: s.Content, Version: s.Outcome.Target,
		offset: s.PrimaryOffset, regressions: s.Regressions,
	}
}

// confirmedBy: a copy of unchanged content is right by a reference at least as strong as what convicted it.
func (e *Episode) confirmedBy(s Sighting) bool {
	if e.By == ByPrimary && !s.Replica {
		return true
	}
	if e.By == ByAge {
		return !s.TooOld
	}
	if s.Outcome.State != Fresh || s.Outcome.By == ByNone || s.Outcome.By > e.By {
		return false
	}
	if e.By == ByVersion && s.Outcome.By == ByVersion {
		return s.Reference.Compare(e.Version) >= 0 || s.Regressions > e.regressions
	}
	return true
}

// reachedBy: a copy of other content, wrong again, has what convicted it when the episode began.
func (e *Episode) reachedBy(s Sighting) bool {
	switch e.By {
	case ByVersion:
		return s.Version.Compare(e.Version) >= 0
	case ByPrimary:
		return s.Offset >= e.offset
	default:
		return true
	}
}
