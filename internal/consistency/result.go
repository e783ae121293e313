package consistency

import (
	"errors"
	"fmt"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/content"
	"github.com/cacheinv/cacheinv_exporter/internal/verdict"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// Windows of stale copies and divergent keys.
var Windows = [...]time.Duration{0, time.Minute, 5 * time.Minute, 10 * time.Minute}

// Reason why a missing copy is no surprise.
type Reason uint8

// The reasons, the first that holds counts.
const (
	Loading Reason = iota
	Restart
	Resharding
	Eviction
	NumReasons
)

// String is the reason's label value.
func (r Reason) String() string {
	return [...]string{"loading", "restart", "resharding", "eviction"}[r]
}

// Result of one sampling.
type Result struct {
	Began, Ended time.Time
	Nodes        []NodeResult
	Groups       []probes.NodeGroup
	Classes      []ClassResult
}

// NodeResult is what one node told in a sampling.
type NodeResult struct {
	probes.Identity
	Survey probes.Survey
	// Up: it answered.
	Up bool
	// Took is the time that its survey and reads needed.
	Took time.Duration
	Err  error
}

// Refuses reports that the node answered, and refused what it was asked: nothing is known of it, though it can be reached.
func (n *NodeResult) Refuses() bool { return !n.Up && errors.Is(n.Err, probes.ErrRefused) }

// ClassResult is a canary class after a sampling. Totals count since the process began.
type ClassResult struct {
	Class string
	// Keys with a present copy, by what decided them.
	Keys        [verdict.NumReferences]int
	SampledKeys int
	Nodes       []ClassNode
	Layers      []ClassLayer
	// Divergent keys per window.
	Divergent             [len(Windows)]int
	VersionConflicts      int
	VersionRegressions    uint64
	OriginBehind          int
	HasVersion, HasOrigin bool
	// VersionKind: integer, timestamp…; empty without versions.
	VersionKind string
	// OriginRequests since start: ok, not_found, error.
	OriginRequests map[string]uint64
	// KeyConsistent of literal keys: 1, 0; a key with neither is not in it.
	KeyConsistent map[string]bool
	// Matrix of the keys, for the incident page.
	Matrix Matrix
	// Reports, key by key, where asked for (check).
	Reports []KeyReport
	// Err: something that this class needed failed (a node, the origin).
	Err error
}

// ClassNode is a class on one node.
type ClassNode struct {
	Layer, Node string
	// Read: at least one copy was read. Why none of those asked for was, where the node answered; nil where it did not, too.
	Read         bool
	Why          error
	Copies       [verdict.NumStates]int
	Reads        [verdict.NumStates]uint64
	Convicted    [verdict.NumReferences]int
	Overdue      int
	OverdueReads uint64
	StaleWindows [len(Windows)]int
	OldestStale  time.Duration
	// VersionLag is how far the furthest copy is behind its reference, in versions or seconds by the class's kind.
	VersionLag float64
	Suppressed [NumReasons]int
	// Unversioned are present copies in which the class's version is not there or can't be read.
	Unversioned int
	// Survivors are copies that others of their layer lost without a known cause: of a delete that did not reach everyone.
	Survivors int
	// StillSurvivors of these were survivors at an earlier sampling: no delete that was on its way to them.
	StillSurvivors int
	// Strays are copies of keys that other servers of the node's pool should hold; they are no part of Copies.
	// StraysRead: the node was asked for such keys and answered.
	Strays     int
	StraysRead bool
	// Immortal copies have no expiry in a layer that has a TTL, OverLimit more left to live than the layer's TTL; unknown
	// without TTLsRead.
	Immortal, OverLimit int
	TTLsRead            bool
}

// Compared copies: those that a verdict was passed on.
func (n *ClassNode) Compared() int {
	return n.Copies[verdict.Fresh] + n.Copies[verdict.Stale] + n.Copies[verdict.Undecided]
}

// ClassLayer is a class in one layer.
type ClassLayer struct {
	Layer string
	// TTLSkew in seconds: the largest spread between the copies of one key; TTLKnown where any TTL was read.
	TTLSkew  float64
	TTLKnown bool
	// EndedEpisodes since the last sampling, in seconds: what the time to consistency observes.
	EndedEpisodes []float64
}

// KeyReport is one key for check.
type KeyReport struct {
	Key       string
	Reference verdict.Reference
	Copies    []CopyReport
	// Vars are what templates of the class may name for the key.
	Vars map[string]string
}

// CopyReport is one copy for check.
type CopyReport struct {
	Layer, Node string
	// Name of the key in this layer.
	Name  string
	State verdict.State
	// Variant that this is about, where the node holds several; else empty.
	Variant  string
	Present  bool
	Digest   content.Digest
	Version  content.Version
	TTL      time.Duration
	HasTTL   bool
	NoExpiry bool
	// Err says why a copy is Error.
	Err error
	// Value only where asked for: what the copy holds, or begins with. ValueSize is how many bytes it holds.
	Value     []byte
	ValueSize int
	// cachedAt is when the copy says it was made, in unix nanoseconds; 0: it does not.
	cachedAt int64
}

// Unlearned says what nodes and groups were asked for and did not tell, though they can be reached: views, listings, all of a node.
func (r *Result) Unlearned() []string {
	var out []string
	for i := range r.Groups {
		if g := &r.Groups[i]; g.Err != nil {
			out = append(out, fmt.Sprintf("%s %s: %v", g.Layer, g.Name, g.Err))
		}
	}
	for i := range r.Nodes {
		n := &r.Nodes[i]
		switch {
		case n.Refuses():
			out = append(out, fmt.Sprintf("%s %s answers, and refuses what it is asked: %v", n.Layer, n.Name, n.Err))
		case n.Survey.ScanErr != nil:
			out = append(out, fmt.Sprintf("%s %s does not list its keys: %v", n.Layer, n.Name, n.Survey.ScanErr))
		}
	}
	return out
}
