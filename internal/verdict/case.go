package verdict

import (
	"math"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/content"
)

// Presence of a copy in one read.
type Presence uint8

// A copy is Unread until a node said something about it.
const (
	Unread Presence = iota
	Absent
	Present
)

// Observation is one copy in one read.
type Observation struct {
	Presence Presence
	// TooOld: its cached_at is older than the class's max_age, and the origin did not vouch for the content since.
	TooOld bool
	// Future: the version lies too far in the future. (It stands here since there are as many observations as keys and
	// nodes: behind the version it would cost 8 bytes.)
	Future  bool
	Content content.Digest
	// Version is zero where there is none, where it can't be read, and where it lies too far in the future.
	Version content.Version
}

// Same says whether both reads found the same content, or none.
func (o *Observation) Same(p *Observation) bool {
	return o.Presence == p.Presence && (o.Presence != Present || o.Content == p.Content)
}

// CopyAt is the index of a copy in Case.Copies, and in all that is said of them in that order.
type CopyAt int

// Primary says whose replica a copy is. The zero value is for a copy that is no replica's.
type Primary struct {
	// Group is one number above 0 for all replicas of one primary in the case, whether that is in the case or not.
	Group int
	// InCase: the primary has a copy in the case, At.
	InCase bool
	At     CopyAt
}

// Copy is one key on one node, read twice.
type Copy struct {
	// Layer indexes Case.Layers.
	Layer   int
	Primary Primary
	// Reads are the first and the second; the second is that of the first where none was needed.
	Reads [2]Observation
	// Held is how long the content of the last read has been seen on the copy.
	Held time.Duration
	// Past is what earlier samplings saw of it. Only a second read needs it.
	Past Past
	// Left: the node left its source, and is only asked for a while yet.
	Left bool
}

// Past is what earlier samplings saw of a copy.
type Past struct {
	// Seen: the copy was there once.
	Seen bool
	// Present: it was at the last sampling.
	Present bool
	// Fell: its version went down to what it holds, other than by spread, and has not risen since.
	Fell bool
	// Content that was seen last.
	Content content.Digest
	// Version that was seen last, kept while the copy is missing.
	Version content.Version
}

// held: the copy held this content at the last sampling.
func (p *Past) held(d content.Digest) bool { return p.Present && p.Content == d }

// Known is a content that was seen on the key earlier.
type Known struct {
	Content content.Digest
	// First orders contents by when they were first seen.
	First int64
}

// IsReplica says whether the copy is a replica's, be its primary in the case or not.
func (c *Copy) IsReplica() bool { return c.Primary.Group != 0 }

// Answer is what the origin said in one round.
type Answer struct {
	Asked bool
	// Deleted: 404 or 410.
	Deleted bool
	Content content.Digest
	Version content.Version
}

// Case is all that is known of one key when its copies are judged.
type Case struct {
	// Layers' max_staleness, for the class.
	Layers []time.Duration
	Copies []Copy
	// Origin's answers, before the first judgement and before the second read.
	Origin [2]Answer
	// MaxLag of the origin.
	MaxLag time.Duration
	// Reread: a second read was needed.
	Reread bool
	// Versions: the class has versions.
	Versions bool
	// Regressed: since an earlier sampling a regression keeps versions from deciding. Highest is the highest version that
	// was seen before.
	Regressed bool
	Highest   content.Version
	// Known contents of the key.
	Known []Known
	// Remembered is the highest version confirmed earlier; zero: none.
	Remembered        content.Version
	RememberedContent content.Digest
}

// Final is the index of the last read that was made, in Copy.Reads and Origin.
func (c *Case) Final() int {
	if c.Reread {
		return 1
	}
	return 0
}

// neverSeen is when a content that is not known was first seen: in this sampling.
const neverSeen = math.MaxInt64

// firstSeen orders contents by when the key first held them.
func (c *Case) firstSeen(d content.Digest) int64 {
	for i := range c.Known {
		if c.Known[i].Content == d {
			return c.Known[i].First
		}
	}
	return neverSeen
}

// JudgedByPrimary says whether the copy is a replica's whose primary was read. Such a copy has no vote, since it can only
// hold what its primary held.
func (c *Case) JudgedByPrimary(i CopyAt, read int) bool {
	p := &c.Copies[i].Primary
	return p.InCase && c.Copies[p.At].Reads[read].Presence != Unread
}
