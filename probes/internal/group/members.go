package group

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/pause"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// Member is one server of a group. A kind of group that knows more of it embeds Member in a struct of its own. All is
// guarded by the Mu of its Members, but for Node and Address during the survey that asks it.
type Member struct {
	// Node is what the fleet sees.
	Node probes.Node
	// Address is the host:port at which it is asked.
	Address string
	// Run is the identity under which it became a node of its own: its run_id, else its stream; empty before that.
	Run string
	// was is where it was in its stream when it was identified last.
	was place
	// Survey is the last one that it answered.
	Survey probes.Survey
	// Answered: it answered in the survey under way, or between surveys in the last one.
	Answered bool
	// Candidate: somebody announced the address, and it never answered. It is asked, and is no node.
	Candidate bool
	// Err is why a candidate did not answer.
	Err error
	// reached: it answered when it was asked last. It belongs to the survey under way.
	reached bool
}

func (m *Member) base() *Member { return m }

// memberOf is a pointer to a struct that embeds Member.
type memberOf interface {
	comparable
	base() *Member
}

// Members are the servers of a group: their names, and which addresses are one server.
type Members[M memberOf] struct {
	// ID is the group's layer and name.
	ID probes.Identity
	// Expected is the configured number of nodes (min_nodes); 0: not configured.
	Expected int
	// Env is what all backends share.
	Env *probes.Env

	// Mu guards what follows, and the members.
	Mu sync.Mutex
	// All members that are asked, in the order that decides which of two addresses of one server is kept.
	All []M
	addresses[M]
	// left are nodes to close at the end of the survey.
	left []probes.Node

	surveyed atomic.Bool // to the end, at least once
}

// NewMembers gives a group without members.
func NewMembers[M memberOf](id probes.Identity, expected int, env *probes.Env) *Members[M] {
	return &Members[M]{ID: id, Expected: expected, Env: env, addresses: newAddresses[M]()}
}

// TryOpen opens a member at an address unless that failed before, or there is no room. A failure is logged once.
func (g *Members[M]) TryOpen(address string, open func() (M, error)) (m M, ok bool) {
	if _, before := g.refused[address]; before {
		g.refused[address] = time.Now()
		return m, false
	}
	if !g.hasRoom(len(g.All), address) {
		return m, false
	}
	m, err := open()
	if err != nil {
		g.Env.Log.Warn("a member of the group can't be asked", "group", g.ID.Name, "address", address, "err", err)
		g.refused[address] = time.Now()
		return m, false
	}
	return m, true
}

// Identify decides by who it says that it is whether a member is a node of its own. false: the same server is a member at
// another address, which is the one to be asked from now on.
func (g *Members[M]) Identify(m M) bool {
	b := m.base()
	run := identity(&b.Survey)
	if !b.Answered || run == "" || b.Run == run && b.Survey.RunID != "" {
		return true
	}
	if other, found := g.holder(m, run); found {
		g.Drop(m)
		g.Alias(b.Address, other)
		return false
	}
	if b.Run != "" && b.Run != run { // another process: what was known of its addresses was the old one's
		g.forgetAliases(m)
	}
	b.Run, b.was = run, placeOf(&b.Survey)
	return true
}

// IsStill reports that a survey is of the server that the member was before, so that no other's answer can say otherwise.
func (m *Member) IsStill(s *probes.Survey) bool { return m.Run != "" && m.Run == s.RunID }

// identity of the server that answered: its run_id, else the stream that a primary without one writes; empty: unknown. A
// replica's stream is others' too.
func identity(s *probes.Survey) string {
	switch {
	case s.RunID != "":
		return s.RunID
	case s.Role == "primary" && s.Replication != nil && s.Replication.ReplID != "":
		return "stream " + s.Replication.ReplID
	}
	return ""
}

// place in a stream. uptime is the process's.
type place struct {
	offset int64
	uptime probes.Count
}

func placeOf(s *probes.Survey) place {
	out := place{uptime: s.UptimeSeconds}
	if s.Replication != nil {
		out.offset = s.Replication.Offset
	}
	return out
}

// longestSurvey bounds how far apart two answers of one server in one survey can be, in seconds.
const longestSurvey = 35

// isSame: two members with one identity are one server. A run_id suffices; primaries that tell only their stream must be at
// the same place in it, or go on from where both were before.
func isSame(a, b *Member) bool {
	if a.Survey.RunID != "" || b.Survey.RunID != "" {
		return true
	}
	if !b.Answered {
		return false
	}
	now, other := placeOf(&a.Survey), placeOf(&b.Survey)
	if up, k := now.uptime, other.uptime; up.Known && k.Known && math.Abs(up.Value-k.Value) > longestSurvey {
		return false
	}
	return now.offset == other.offset ||
		a.Run != "" && b.Run != "" && min(now.offset, other.offset) >= max(a.was.offset, b.was.offset)
}

// holder gives the member, other than m, to which an identity belongs: whose own it is already, else one before m that told it
// in this survey.
func (g *Members[M]) holder(m M, run string) (holder M, found bool) {
	before, isNew := true, m.base().Run != run
	for _, other := range g.All {
		b := other.base()
		switch {
		case other == m:
			before = false
		case !isSame(m.base(), b):
		case b.Run == run && (before || isNew):
			return other, true
		case before && !found && b.Answered && identity(&b.Survey) == run:
			holder, found = other, true
		}
	}
	return holder, found
}

// Drop takes a member out, and forgets its aliases. Its node is closed at the end of the survey.
func (g *Members[M]) Drop(m M) {
	g.All = slices.DeleteFunc(g.All, func(k M) bool { return k == m })
	if address := m.base().Address; g.asked[address] == m {
		delete(g.asked, address)
	}
	g.forgetAliases(m)
	g.CloseLater(m.base().Node)
}

// CloseLater closes a node at the end of the survey: it may still be read.
func (g *Members[M]) CloseLater(n probes.Node) { g.left = append(g.left, n) }

// closeLeft closes the nodes that left.
func (g *Members[M]) closeLeft() {
	g.Mu.Lock()
	left := g.left
	g.left = nil
	g.Mu.Unlock()
	for _, n := range left {
		n.Close()
	}
}

// lookEvery is the wait before a group that is being surveyed is looked at again.
const lookEvery = 5 * time.Millisecond

// WaitFor waits until there holds, which is called with Mu locked, or a survey has ended: before that a group may have no
// member yet, which is no fault.
func (g *Members[M]) WaitFor(ctx context.Context, there func() bool) error {
	for {
		surveyed := g.surveyed.Load()
		g.Mu.Lock()
		ok := there()
		g.Mu.Unlock()
		if ok || surveyed {
			return nil
		}
		if !pause.For(ctx, lookEvery) {
			return probes.NoAnswer(ctx)
		}
	}
}

// mostTold are the candidates of which an error says what they answered.
const mostTold = 3

// Known gives the group as known now. Without a node, its error says what the first candidates answered.
func (g *Members[M]) Known() probes.NodeGroup {
	out := Describe(g.ID, g.Expected, g.Nodes())
	g.Mu.Lock()
	defer g.Mu.Unlock()
	var errs []error
	for _, m := range g.All {
		b := m.base()
		if !b.Candidate {
			continue
		}
		if out.Unreached++; len(errs) < mostTold {
			errs = append(errs, fmt.Errorf("%s: %w", b.Address, cmp.Or(b.Err, errNotYet)))
		}
	}
	if len(out.Nodes) == 0 && len(errs) > 0 {
		out.Err = fmt.Errorf("none of the announced addresses answers: %w", errors.Join(errs...))
	}
	if out.Unreached += g.tooMany; g.tooMany > 0 {
		out.Err = errors.Join(out.Err, errTooMany)
	}
	return out
}

var errNotYet = errors.New("it was not asked yet")

// Nodes implements probes.Members. Candidates are none yet.
func (g *Members[M]) Nodes() []probes.Node {
	g.Mu.Lock()
	defer g.Mu.Unlock()
	out := make([]probes.Node, 0, len(g.All))
	for _, m := range g.All {
		if b := m.base(); !b.Candidate {
			out = append(out, b.Node)
		}
	}
	return out
}

// admit notes what a member answered. A candidate that did is a node from now on; false: it is none yet.
func (g *Members[M]) admit(m M, err error) bool {
	g.Mu.Lock()
	defer g.Mu.Unlock()
	b := m.base()
	answered := err == nil || errors.Is(err, probes.ErrRefused) && !errors.Is(err, probes.ErrOtherServer)
	if b.Err = err; answered {
		b.Candidate = false
	}
	return !b.Candidate
}

// Close implements probes.Members.
func (g *Members[M]) Close() {
	g.Mu.Lock()
	all := slices.Clone(g.All)
	g.Mu.Unlock()
	for _, m := range all {
		m.base().Node.Close()
	}
}
