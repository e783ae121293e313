package group

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/cacheinv/cacheinv_exporter/internal/form"
	"github.com/cacheinv/cacheinv_exporter/probes"
)

// DNS is a group with one node for each server behind a DNS name.
type DNS struct {
	// Resolver of the name. It is exported for tests alone.
	Resolver *Resolver

	members *Members[*dnsMember] // by name
	open    func(id probes.Identity, at Address) (probes.Node, error)
	err     error // of the resolver, at the last survey; guarded as the members are
}

type dnsMember struct {
	Member
	at Address
	// gone is since when the name no longer has it; zero: it has.
	gone time.Time
	// down: it did not answer the last time that it was asked.
	down bool
}

// NewDNS gives the group of the servers behind a name. open makes the node of one of them; nothing is asked yet.
func NewDNS(id probes.Identity, name form.DNSName, expected int, env *probes.Env, log *slog.Logger,
	open func(probes.Identity, Address) (probes.Node, error),
) *DNS {
	return &DNS{
		Resolver: NewResolver(name, env, log.With("group", id.Name)), members: NewMembers[*dnsMember](id, expected, env),
		open: open, err: errNotAsked,
	}
}

// Survey implements probes.Members: it asks those of a new answer too. Each settles whether it is a node of its own first.
func (g *DNS) Survey(ctx context.Context, scanFor func(probes.Identity) *probes.Scan, visit func(probes.Node, probes.Survey, error)) {
	g.update(g.Resolver.Addresses(ctx))
	g.members.SurveyAs(ctx, dnsTopology{g.members}, scanFor, visit)
}

// update opens what the name newly has, and forgets what it has not had for too long.
func (g *DNS) update(addresses []Address, err error) {
	g.members.Mu.Lock()
	defer g.members.Mu.Unlock()
	g.err = err
	now := time.Now()
	has := map[Address]bool{}
	for _, a := range addresses {
		has[a] = true
	}
	for _, m := range g.members.All {
		switch {
		case has[m.at]:
			m.gone = time.Time{}
		case m.gone.IsZero():
			m.gone = now
		}
	}
	for _, m := range slices.Clone(g.members.All) {
		if !m.gone.IsZero() && now.Sub(m.gone) > g.members.Env.ForgetAfter {
			g.members.Drop(m)
		}
	}
	var found []Address
	for _, a := range addresses {
		switch m := g.members.Find(a.HostPort()); {
		case m == nil:
			found = append(found, a)
		case !m.gone.IsZero():
			g.move(m, a)
		}
	}
	g.makeRoom(len(found))
	g.add(found)
}

// makeRoom for so many new members: of those that the name no longer has, the longest gone leave early.
func (g *DNS) makeRoom(wanted int) {
	var gone []*dnsMember
	for _, m := range g.members.All {
		if !m.gone.IsZero() {
			gone = append(gone, m)
		}
	}
	slices.SortStableFunc(gone, func(a, b *dnsMember) int { return a.gone.Compare(b.gone) })
	leave := max(0, min(len(gone), len(g.members.All)+wanted-MostMembers))
	for _, m := range gone[:leave] {
		g.members.Drop(m)
	}
}

// add opens members at addresses that are nobody's.
func (g *DNS) add(found []Address) {
	named := map[string]bool{} // what was found at such an address and has moved keeps the name
	for _, m := range g.members.All {
		named[m.Node.Identity().Name] = true
	}
	for _, a := range found {
		id := MemberIdentity(g.members.ID, a.HostPort())
		if named[id.Name] {
			continue
		}
		m, ok := g.members.TryOpen(a.HostPort(), func() (*dnsMember, error) {
			n, err := g.open(id, a)
			return &dnsMember{Member: Member{Node: n, Address: a.HostPort()}, at: a}, err
		})
		if ok {
			g.members.Add(m)
		}
	}
	if len(found) > 0 {
		slices.SortFunc(g.members.All, func(a, b *dnsMember) int {
			return cmp.Compare(a.Node.Identity().Name, b.Node.Identity().Name)
		})
	}
}

// move asks a member at another of its addresses, when the name has lost the one at which it was. It keeps its name.
func (g *DNS) move(m *dnsMember, a Address) {
	n, err := g.open(m.Node.Identity(), a)
	if err != nil {
		return // as bad as where it was
	}
	g.members.CloseLater(m.Node)
	g.members.move(m, a.HostPort())
	m.Node, m.at, m.gone = n, a, time.Time{}
}

// Close implements probes.Members. Lookups end first, so that no member comes after.
func (g *DNS) Close() {
	g.Resolver.Close()
	g.members.Close()
}

// Group implements probes.Members.
func (g *DNS) Group() (probes.NodeGroup, bool) {
	out := g.members.Known()
	g.members.Mu.Lock()
	defer g.members.Mu.Unlock()
	out.Err = errors.Join(g.err, out.Err)
	return out, true
}

// Nodes implements probes.Members.
func (g *DNS) Nodes() []probes.Node { return g.members.Nodes() }

// Pick gives the members whose last survey is the one that is wanted, of those that answer and that the name still has. It
// waits until there is one, or a survey has ended.
func (g *DNS) Pick(ctx context.Context, wanted func(probes.Survey) bool) ([]probes.Node, error) {
	var found []probes.Node
	look := func() bool {
		found = nil
		for _, m := range g.members.All {
			if wanted(m.Survey) && m.gone.IsZero() && !m.down {
				found = append(found, m.Node)
			}
		}
		return len(found) > 0
	}
	err := g.members.WaitFor(ctx, look)
	return found, err
}

// dnsTopology surveys the members that update left: nobody announces others.
type dnsTopology struct{ *Members[*dnsMember] }

// Ask implements Topology.
func (t dnsTopology) Ask(ctx context.Context, m *dnsMember, scan *probes.Scan) (probes.Survey, error) {
	s, err := m.Node.Survey(ctx, scan)
	t.Mu.Lock()
	defer t.Mu.Unlock()
	s.Left = !m.gone.IsZero()
	return s, err
}

// Learn implements Topology.
func (t dnsTopology) Learn(m *dnsMember, s probes.Survey, err error) (sure bool) {
	t.Mu.Lock()
	defer t.Mu.Unlock()
	if m.down = err != nil; m.down {
		return true
	}
	m.Survey, m.Answered = s, true
	return identity(&s) == "" || m.IsStill(&s)
}

// Settle implements Topology.
func (t dnsTopology) Settle(m *dnsMember) bool {
	t.Mu.Lock()
	defer t.Mu.Unlock()
	return t.Identify(m)
}

// Announced implements Topology.
func (dnsTopology) Announced(context.Context, time.Duration) []*dnsMember { return nil }

// End implements Topology.
func (dnsTopology) End() {}
